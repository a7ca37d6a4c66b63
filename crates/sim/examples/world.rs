//! How fast a world goes: a scene with the unchanged operator, for some virtual hours. Prints what was
//! done and how long it took.
//!
//! `cargo run --release -p rerail-sim --example world -- [SCENE] [HOURS] [SEED]`, where SCENE is the name
//! of one that comes with the crate, or a file.

#![allow(clippy::unwrap_used, clippy::panic, reason = "an example ends by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "it measures real time, which nothing in the world sees"
)]

#[path = "../tests/attach/mod.rs"]
mod attach;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::FutureExt;
use rerail_operator::deps::NoFetch;
use rerail_sim::{
    Options, Server, Store,
    observe::{Happening, Observer, What},
    store::Commit,
    world::{Scene, World},
};
use tokio::task::{LocalSet, spawn_local};

/// What was done.
#[derive(Default)]
struct Figures {
    commits: BTreeMap<String, u64>,
    boots: u64,
    not_done: Vec<String>,
}

#[derive(Clone, Default)]
struct Counter(Arc<Mutex<Figures>>);

impl Observer for Counter {
    fn committed(&mut self, store: &Store, commit: &Commit) {
        let plural = &store.resource(commit.resource).plural;
        let mut figures = self.0.lock().unwrap();
        *figures.commits.entry(format!("{plural} by {}", commit.by)).or_default() += 1;
    }

    fn happened(&mut self, _: &Store, happening: &Happening) {
        let mut figures = self.0.lock().unwrap();
        match &happening.what {
            What::Boot { .. } => figures.boots += 1,
            What::Fault(text) if text.starts_with("not done") => {
                figures.not_done.push(text.clone())
            }
            _ => {}
        }
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let scene = args.next().unwrap_or_else(|| "demo".to_owned());
    let hours: u64 = args.next().map_or(2, |text| text.parse().unwrap());
    let seed: u64 = args.next().map_or(1, |text| text.parse().unwrap());
    let scene = match std::fs::read_to_string(&scene) {
        Ok(text) => Scene::parse(&text),
        Err(_) => Scene::named(&scene),
    };
    let scene = scene.unwrap_or_else(|error| panic!("{error}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, play(scene, hours, seed));
}

async fn play(scene: Scene, hours: u64, seed: u64) {
    let began = std::time::Instant::now();
    let server = Server::new(Options { seed, ..Options::default() });
    let counter = Counter::default();
    server.observe(counter.clone());
    let (name, nodes) = (scene.name.clone(), scene.specs().len());
    let world = World::open(&server, scene, seed).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let deps = attach::deps(&server, NoFetch);
    let operator =
        spawn_local(rerail_operator::run(attach::clients(&server), deps, stopped.map(drop)));
    let opened = began.elapsed();
    tokio::time::sleep(Duration::from_secs(hours * 3600)).await;
    let took = began.elapsed();
    println!("scene {name}, {nodes} nodes, seed {seed}: opened in {opened:?}");
    tell(&world, &counter, hours, took);
    stop.send(()).unwrap();
    operator.await.unwrap().unwrap();
}

fn tell(world: &World, counter: &Counter, hours: u64, took: Duration) {
    let figures = counter.0.lock().unwrap();
    println!(
        "{hours} h in {took:?}: {:.0} times real time",
        f64::from(u32::try_from(hours * 3600).unwrap()) / took.as_secs_f64()
    );
    println!("{} boots, {} commits", figures.boots, figures.commits.values().sum::<u64>());
    let mut most: Vec<_> = figures.commits.iter().collect();
    most.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (what, count) in most.iter().take(25) {
        println!("{count:>8} {what}");
    }
    let truth = world.truth();
    let names = |all: Vec<&rerail_sim::world::MachineView>| {
        all.iter().map(|one| one.name.clone()).collect::<Vec<_>>().join(" ")
    };
    println!("down: {}", names(truth.down().collect()));
    println!("sick: {}", names(truth.sick().collect()));
    println!("not done: {:?}, complaints: {:?}", figures.not_done, world.complaints());
    let memory = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    println!("{}", memory.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
}
