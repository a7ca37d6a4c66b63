//! Rolling reboots under several budgets: how much longer than they had to take.

use std::collections::BTreeMap;

use rerail_bench::ideal;
use serde::Serialize;

use super::{
    scene::{ANY_RACKS, Budget, RACK, Scene},
    single::between,
    wave::{self, Play, Wave},
};
use crate::bench::{BenchError, figures::Series, progress};

/// One rolling reboot.
#[derive(Debug, Serialize)]
pub struct Rolling {
    /// The budget in words.
    pub budget: &'static str,
    /// Nodes.
    pub nodes: usize,
    /// From before the first condition was written until the last uncordon was seen, in seconds.
    pub took: f64,
    /// What no schedule of these boots stays below, in seconds.
    pub ideal: f64,
    /// From slot to uncordon, less what the machine took by itself.
    pub overhead: Series,
    /// Requests of both operators per run.
    pub requests: f64,
    /// Starts while somebody more urgent could have had the place.
    pub inversions: usize,
}

/// Budgets, and how many nodes are rebooted under each: so many that a wave takes about a minute.
const CASES: [(&str, Budget, usize); 4] = [
    ("1 node", Budget { nodes: 1, racks: 1 }, 10),
    ("5 nodes", Budget { nodes: 5, racks: ANY_RACKS }, 60),
    ("one rack (20)", Budget { nodes: 20, racks: 1 }, 160),
    ("two racks (40)", Budget { nodes: 40, racks: 2 }, 240),
];

/// Measures all of them. What is measured before an error counts.
pub async fn measure(scene: &mut Scene, all: &mut Vec<Rolling>) -> Result<(), BenchError> {
    for (words, budget, nodes) in CASES {
        progress::stage(&format!("a rolling reboot of {nodes} nodes, budget {words}"));
        let nodes = scene.take(nodes)?;
        let play = Play { nodes: &nodes, urgency: |_| 7, budget, cut: None };
        let wave = wave::play(scene, play).await?;
        all.push(rolling(scene, words, budget, &wave)?);
    }
    Ok(())
}

fn rolling(
    scene: &Scene,
    words: &'static str,
    budget: Budget,
    wave: &Wave,
) -> Result<Rolling, BenchError> {
    let missing = || BenchError::Unseen { node: "a node".to_owned(), what: "its uncordon" };
    let mut racks: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    let mut overhead = Series::default();
    for (node, machine) in &wave.machines {
        let physical = between(machine.act, machine.back);
        let micros = u64::try_from(physical.as_micros()).unwrap_or(u64::MAX);
        racks.entry(scene.index(node) / RACK).or_default().push(micros);
        let track = wave.tracks.get(node).ok_or_else(missing)?;
        let slot = track.slot.or(track.admitted).ok_or_else(missing)?;
        let whole = between(slot, track.uncordoned.ok_or_else(missing)?);
        overhead.add(whole.saturating_sub(physical));
    }
    let racks: ideal::Racks = racks.into_values().collect();
    let last = wave.tracks.values().filter_map(|track| track.uncordoned).max();
    let last = last.ok_or_else(missing)?;
    Ok(Rolling {
        budget: words,
        nodes: wave.machines.len(),
        took: between(wave.began, last).as_secs_f64(),
        ideal: ideal::bound(&racks, budget.nodes, budget.racks) as f64 / 1e6,
        overhead,
        requests: wave.requests as f64 / wave.machines.len().max(1) as f64,
        inversions: wave.inversions,
    })
}
