//! One run after the other, each of one node among many that are well: how long each stage takes.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::{
    film::Track,
    scene::{Budget, Scene},
    wave::{self, Machine, Play},
};
use crate::bench::{BenchError, figures::Series, progress};

/// The stages, in order.
const STAGES: [&str; 7] = [
    "condition -> run created",
    "-> slot in the ledger",
    "-> cordon",
    "-> drained, reboot intended",
    "-> machine goes down",
    "last fact -> uncordon",
    "uncordon -> run ended",
];

/// Times by stage.
#[derive(Debug, Serialize)]
pub struct Single {
    /// Each stage.
    pub stages: Vec<(&'static str, Series)>,
    /// Condition to cordon.
    pub condition_to_cordon: Series,
    /// Condition to uncordon, less what the machine took by itself.
    pub overhead: Series,
    /// Requests of both operators, per run.
    pub requests: f64,
}

/// Times so many runs.
pub async fn measure(scene: &mut Scene, runs: usize) -> Result<Single, BenchError> {
    let bar = progress::bar("single runs", runs);
    let mut stages: Vec<_> = STAGES.iter().map(|stage| (*stage, Series::default())).collect();
    let (mut cordon, mut overhead) = (Series::default(), Series::default());
    let mut requests = 0;
    let nodes = scene.take(runs)?;
    for (number, node) in nodes.iter().enumerate() {
        let play = Play {
            nodes: std::slice::from_ref(node),
            urgency: |_| 6,
            budget: Budget { nodes: 1, racks: 1 },
            cut: None,
        };
        let wave = wave::play(scene, play).await?;
        requests += wave.requests;
        let missing = || BenchError::Unseen { node: node.clone(), what: "a stage of its run" };
        let track = wave.tracks.get(node).ok_or_else(missing)?;
        let machine = wave.machines.get(node).ok_or_else(missing)?;
        let all = times(track, machine).ok_or_else(missing)?;
        for ((_, series), (from, to)) in stages.iter_mut().zip(all) {
            series.add(between(from, to));
        }
        let ends = track.sick.zip(track.cordoned).zip(track.uncordoned);
        let ((sick, cordoned), uncordoned) = ends.ok_or_else(missing)?;
        cordon.add(between(sick, cordoned));
        let machine = between(machine.act, machine.back);
        overhead.add(between(sick, uncordoned).saturating_sub(machine));
        bar.at(number + 1, runs);
    }
    bar.end();
    let requests = requests as f64 / runs.max(1) as f64;
    Ok(Single { stages, condition_to_cordon: cordon, overhead, requests })
}

fn times(track: &Track, machine: &Machine) -> Option<[(Timestamp, Timestamp); STAGES.len()]> {
    let (sick, created, cordoned) = (track.sick?, track.created?, track.cordoned?);
    // Without a ledger a run has its slot when it is admitted.
    let slot = track.slot.or(track.admitted)?;
    Some([
        (sick, created),
        (created, slot),
        (slot, cordoned),
        (cordoned, track.rebooting?),
        (track.rebooting?, machine.act),
        (machine.back, track.uncordoned?),
        (track.uncordoned?, track.ended?),
    ])
}

/// Two watches may show two things in the other order than they happened in; that is no time at all.
pub fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}
