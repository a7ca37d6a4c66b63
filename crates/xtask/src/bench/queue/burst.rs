//! A hundred conditions at once, with priorities from 1 to 9 in no order.

use std::time::Duration;

use serde::Serialize;

use super::{
    scene::{ANY_RACKS, Budget, Scene},
    single::between,
    wave::{self, Play, Wave},
};
use crate::bench::{BenchError, progress};

/// Nodes of a burst.
const NODES: usize = 100;

/// After this time what has not started by then is well again: that the order is kept is seen by then.
const CUT: Duration = Duration::from_secs(30);

/// One burst. Times are in seconds.
#[derive(Debug, Serialize)]
pub struct Burst {
    /// The budget in words.
    pub budget: &'static str,
    /// Conditions.
    pub conditions: usize,
    /// From the first condition that was seen to the last.
    pub span: f64,
    /// Runs that got a slot before the first one gave it back: those that the budget allows.
    pub allowed: usize,
    /// From the last condition to the last allowed cordon.
    pub last: f64,
    /// From the first condition to the last allowed cordon.
    pub all: f64,
    /// Times from each allowed node's condition to its cordon, the middle one.
    pub middle: f64,
    /// Starts in all.
    pub starts: usize,
    /// Of these, while somebody more urgent could have had the place.
    pub inversions: usize,
    /// Requests of both operators per start.
    pub requests: f64,
}

/// Measures bursts under two budgets. What is measured before an error counts.
pub async fn measure(scene: &mut Scene, bursts: &mut Vec<Burst>) -> Result<(), BenchError> {
    let budgets = [
        ("100 nodes", Budget { nodes: 100, racks: ANY_RACKS }, None),
        ("one rack (20)", Budget { nodes: 20, racks: 1 }, Some(CUT)),
    ];
    for (words, budget, cut) in budgets {
        progress::stage(&format!("a burst of {NODES} conditions, budget {words}"));
        let nodes = scene.take(NODES)?;
        let play = Play { nodes: &nodes, urgency, budget, cut };
        let wave = wave::play(scene, play).await?;
        bursts.push(burst(words, &wave)?);
    }
    Ok(())
}

fn urgency(position: usize) -> u16 {
    u16::try_from(position * 31 % 9).unwrap_or(0) + 1
}

fn burst(budget: &'static str, wave: &Wave) -> Result<Burst, BenchError> {
    let missing = || BenchError::Unseen { node: "the burst".to_owned(), what: "a cordon" };
    let sick = || wave.tracks.values().filter_map(|track| track.sick);
    let (first, last) = sick().min().zip(sick().max()).ok_or_else(missing)?;
    // Without a ledger a slot is taken and given back as the run's status says.
    let slots = wave.tracks.values().filter(|track| track.cordoned.is_some());
    let starts = slots.clone().count();
    let freed = wave.tracks.values().filter_map(|track| track.released.or(track.ended)).min();
    let allowed = slots.filter(|track| {
        track.slot.or(track.admitted).zip(freed).is_some_and(|(slot, freed)| slot < freed)
    });
    let cordons: Vec<_> =
        allowed.filter_map(|track| Some((track.sick?, track.cordoned?))).collect();
    let cordon = cordons.iter().map(|(_, cordon)| *cordon).max().ok_or_else(missing)?;
    let mut each: Vec<_> =
        cordons.iter().map(|(sick, cordon)| between(*sick, *cordon).as_secs_f64()).collect();
    each.sort_by(f64::total_cmp);
    let seconds = |from, to| between(from, to).as_secs_f64();
    Ok(Burst {
        budget,
        conditions: sick().count(),
        span: seconds(first, last),
        allowed: cordons.len(),
        last: seconds(last, cordon),
        all: seconds(first, cordon),
        middle: each.get(each.len() / 2).copied().unwrap_or_default(),
        starts,
        inversions: wave.inversions,
        requests: wave.requests as f64 / starts.max(1) as f64,
    })
}
