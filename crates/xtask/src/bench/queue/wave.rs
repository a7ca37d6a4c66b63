//! Many nodes get the condition at once; how it goes until the last of them is well.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::try_join_all;
use jiff::Timestamp;
use rerail_bench::{rolling::judge::Judge, world};
use rerail_core::step::Step;
use rerail_e2e::judge;
use rerail_fleet::{
    now,
    truth::{EventKind, Limits, TruthEvent},
};

use super::{
    film::{Film, Track},
    scene::{ANY_RACKS, Budget, CONDITION, Scene},
};
use crate::bench::BenchError;

/// How long one wave may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// How often the writer of conditions reports of nodes that came back.
const REPORTS: Duration = Duration::from_secs(5);

/// How long before the first run of a set is made a condition must have been seen to have been thought
/// of: operators gather what comes for a moment, plan, and read the whole set afresh.
const CONSIDERED: Duration = Duration::from_millis(500);

/// What a machine did by itself, or because it was told to.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// Its reboot was ordered.
    pub act: Timestamp,
    /// The last fact: Ready, and the condition False.
    pub back: Timestamp,
}

/// What was seen.
pub struct Wave {
    /// Before the first condition was written.
    pub began: Timestamp,
    /// By node.
    pub tracks: BTreeMap<String, Track>,
    /// By node; those that were rebooted.
    pub machines: BTreeMap<String, Machine>,
    /// Requests of both operators.
    pub requests: u64,
    /// Starts while somebody more urgent could have had the place.
    pub inversions: usize,
}

/// How a wave is played.
pub struct Play<'a> {
    /// The nodes.
    pub nodes: &'a [String],
    /// How urgent each is, by its position.
    pub urgency: fn(usize) -> u16,
    /// The limits in force.
    pub budget: Budget,
    /// After this time what has not started is well again by itself.
    pub cut: Option<Duration>,
}

/// Plays a wave, and judges it.
pub async fn play(scene: &mut Scene, play: Play<'_>) -> Result<Wave, BenchError> {
    scene.budget(play.budget).await?;
    scene.film.begin();
    let before = scene.requests().await?;
    let began = now();
    let told = play.nodes.iter().enumerate().map(|(position, node)| {
        let message = format!("[P{}] task umount blocked", (play.urgency)(position));
        let scene = &*scene;
        async move { scene.tell(node, "True", &message).await }
    });
    try_join_all(told).await?;
    let mut taken_back = None;
    if let Some(cut) = play.cut {
        watch_for(&mut scene.film, cut).await?;
        taken_back = Some(now());
        let waiting = |node: &&String| {
            scene.film.tracks.get(*node).is_none_or(|track| track.created.is_none())
        };
        let left: Vec<_> = play.nodes.iter().filter(waiting).collect();
        try_join_all(left.iter().map(|node| scene.tell(node, "False", "no problem"))).await?;
    }
    let nodes = play.nodes;
    let cut = play.cut.is_some();
    let over = |film: &Film| {
        nodes.iter().all(|node| {
            let track = film.tracks.get(node);
            let over = |track: &Track| {
                let released = track.slot.is_none() || track.released.is_some();
                (track.ended.is_some() && released) || (cut && track.created.is_none())
            };
            track.is_some_and(over)
        })
    };
    if cut {
        // A run may have begun in the moment in which its cause was taken back.
        watch_for(&mut scene.film, Duration::from_secs(1)).await?;
    }
    see_the_end(scene, nodes, began, over).await?;
    watch_for(&mut scene.film, Duration::from_secs(1)).await?;
    let after = scene.requests().await?;
    let requests = after.iter().zip(&before).map(|(after, before)| after.since(before).total());
    let mut tracks = scene.film.tracks.clone();
    // Last words of earlier waves.
    tracks.retain(|node, _| nodes.contains(node));
    let truth = of_nodes(scene, nodes, began);
    let mut wave = Wave {
        began,
        machines: nodes.iter().filter_map(|node| machine(&truth, node)).collect(),
        tracks,
        requests: requests.sum(),
        inversions: 0,
    };
    examine(scene, &play, &mut wave, &truth, taken_back).await?;
    Ok(wave)
}

/// Watches until it is over. Meanwhile the writer of the conditions reports anew of nodes that came back
/// and wait: after a boot that no operator saw, its next word is needed.
async fn see_the_end(
    scene: &mut Scene,
    nodes: &[String],
    began: Timestamp,
    over: impl Fn(&Film) -> bool,
) -> Result<(), BenchError> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match scene.film.until("the end of its run", REPORTS, &over).await {
            Err(BenchError::Unseen { .. }) if tokio::time::Instant::now() < deadline => {}
            other => return other,
        }
        let truth = of_nodes(scene, nodes, began);
        let waits = |node: &&String| {
            let track = scene.film.tracks.get(*node);
            let open = track.is_some_and(|track| track.uncordoned.is_none());
            open && machine(&truth, node).is_some()
        };
        let waiting: Vec<_> = nodes.iter().filter(waits).collect();
        try_join_all(waiting.iter().map(|node| scene.tell(node, "False", "no problem"))).await?;
    }
}

/// Looks for some time, whatever is seen.
async fn watch_for(film: &mut Film, time: Duration) -> Result<(), BenchError> {
    match film.until("", time, |_| false).await {
        Ok(()) | Err(BenchError::Unseen { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn of_nodes(scene: &Scene, nodes: &[String], since: Timestamp) -> Vec<TruthEvent> {
    let mut events = scene.cluster.fleet.truth();
    let ours = |event: &TruthEvent| event.event == EventKind::Created || event.t >= since;
    events.retain(|event| nodes.contains(&event.node) && ours(event));
    events
}

fn machine(truth: &[TruthEvent], node: &str) -> Option<(String, Machine)> {
    let of_node = || truth.iter().filter(|event| event.node == node);
    let act = of_node().find(|event| event.event == EventKind::Act)?.t;
    let well = format!("{CONDITION}=False");
    let first = |is_it: &dyn Fn(&TruthEvent) -> bool| {
        of_node().find(|event| event.t > act && is_it(event)).map(|event| event.t)
    };
    let ready = first(&|event| event.event == EventKind::Ready)?;
    let cleared =
        first(&|event| event.event == EventKind::Condition && event.detail.starts_with(&well))?;
    let back = ready.max(cleared);
    Some((node.to_owned(), Machine { act, back }))
}

/// Safety by the truth log, and limits and order by what the ledger said.
async fn examine(
    scene: &mut Scene,
    play: &Play<'_>,
    wave: &mut Wave,
    truth: &[TruthEvent],
    taken_back: Option<Timestamp>,
) -> Result<(), BenchError> {
    let Budget { nodes, racks } = play.budget;
    let limits = Limits {
        out: Some(nodes),
        open_domains: (racks < ANY_RACKS).then_some(racks),
        ..Limits::default()
    };
    let verdict = judge(&scene.cluster, truth, &limits).await?;
    scene.violations.extend(verdict.violations);
    let failed = wave.tracks.iter().filter(|(_, track)| track.result == Some(Step::Failed));
    scene.violations.extend(failed.map(|(node, _)| format!("the run of {node} failed")));
    let limit = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let limits = world::Limits { nodes: limit(nodes), racks: limit(racks) };
    let (inversions, violations) = by_ledger(scene, play, &wave.tracks, limits, taken_back);
    wave.inversions = inversions;
    scene.violations.extend(violations);
    if inversions > 0 {
        scene.violations.push(format!("{inversions} starts while somebody more urgent waited"));
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Ends,
    Leaves,
    Wants,
    Starts { decided: u64 },
}

/// Every start by the ledger. What is admitted in one write is in no order; the most urgent is taken
/// for the first.
fn by_ledger(
    scene: &Scene,
    play: &Play<'_>,
    tracks: &BTreeMap<String, Track>,
    limits: world::Limits,
    taken_back: Option<Timestamp>,
) -> (usize, Vec<String>) {
    let mut moments = Vec::new();
    let mut violations = Vec::new();
    let mut decisions: BTreeMap<Timestamp, u64> = BTreeMap::new();
    for track in tracks.values() {
        if let Some((slot, created)) = track.slot.zip(track.created) {
            let created = micros(created);
            let decided = decisions.entry(slot).or_insert(created);
            *decided = created.min(*decided);
        }
    }
    let considered = u64::try_from(CONSIDERED.as_micros()).unwrap_or(0);
    for (position, node) in play.nodes.iter().enumerate() {
        let (index, urgency) = (scene.index(node), (play.urgency)(position));
        let Some(track) = tracks.get(node) else { continue };
        let Some(sick) = track.sick else { continue };
        moments.push((sick, urgency, index, Moment::Wants));
        let Some(slot) = track.slot else {
            if track.created.is_some() {
                violations.push(format!("the run of {node} was never seen in the ledger"));
            }
            moments.extend(taken_back.map(|at| (at, urgency, index, Moment::Leaves)));
            continue;
        };
        let decided = decisions.get(&slot).copied().unwrap_or(0).saturating_sub(considered);
        moments.push((slot, urgency, index, Moment::Starts { decided }));
        moments.extend(track.released.map(|at| (at, urgency, index, Moment::Ends)));
    }
    moments.sort_by_key(|(at, urgency, index, moment)| (*at, order(*moment), *urgency, *index));
    let mut judge = Judge::new(limits);
    for (at, urgency, index, moment) in moments {
        match moment {
            Moment::Ends => judge.ends(index),
            Moment::Leaves => judge.leaves(index),
            Moment::Wants => judge.wants(index, urgency, micros(at)),
            Moment::Starts { decided } => judge.starts(index, decided),
        }
    }
    let inversions = judge.inversions;
    violations.extend(judge.violations());
    (inversions, violations)
}

/// Of what was seen in one moment, what goes comes before what comes.
fn order(moment: Moment) -> u8 {
    match moment {
        Moment::Ends => 0,
        Moment::Leaves => 1,
        Moment::Wants => 2,
        Moment::Starts { .. } => 3,
    }
}

fn micros(time: Timestamp) -> u64 {
    u64::try_from(time.as_microsecond()).unwrap_or(0)
}
