//! One seed, one history.

use super::*;

/// Everything that anybody could see, line by line.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<String>>>);

impl Observer for Journal {
    fn committed(&mut self, store: &Store, commit: &Commit) {
        let plural = &store.resource(commit.resource).plural;
        let (at, by, gone) = (commit.at, &commit.by, commit.change.gone);
        let line = format!("{at} {by} {plural} {gone} {}", commit.change.after);
        self.0.lock().unwrap().push(line);
    }

    fn happened(&mut self, _: &Store, happening: &Happening) {
        self.0.lock().unwrap().push(format!("{happening:?}"));
    }
}

const BUSY: &str = "
name: busy
nodes: [{prefix: n-, count: 6, racks: 2}]
deployments: [{name: web, replicas: 12, budget: {maxUnavailable: 2}}]
daemonSets: [{name: exporter}]
timeline:
- {at: 1m, do: {fault: {nodes: [n-001], fault: {flaps: {times: 2}}}}}
- {at: 2m, do: {kured: {nodes: [n-001]}}}
- {at: 3m, do: {scaleDown: {nodes: [n-002]}}}
- {at: 4m, do: {recreateNode: {nodes: [n-003]}}}
random:
- {every: 1m, chance: 0.5, do: {power: {nodes: ['*'], pick: 1, to: panic}}}
- {every: 2m, chance: 0.5, do: {sicken: {nodes: ['*'], pick: 2, with: {condition: Deadlock}}}}
";

fn history(seed: u64) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let server = Server::new(ServerOptions { seed, ..ServerOptions::default() });
        let journal = Journal::default();
        server.observe(journal.clone());
        let world = World::open(&server, read(BUSY), seed).unwrap();
        seconds(1200).await;
        no_complaints(&world);
        journal.0.lock().unwrap().clone()
    })
}

#[test]
fn the_same_seed_gives_the_same_history_and_another_seed_another() {
    let first = history(3);
    let second = std::thread::spawn(|| history(3)).join().unwrap();
    let differ = first.iter().zip(&second).position(|(a, b)| a != b);
    if let Some(at) = differ {
        panic!("line {at}:\n{}\n{}", first[at], second[at]);
    }
    assert_eq!(first.len(), second.len());
    let boots = first.iter().filter(|line| line.contains("Boot {")).count();
    assert!(first.len() > 1000 && boots > 3, "{} lines, {boots} boots", first.len());
    assert_ne!(first, history(4));
}
