//! How long one full plan takes: every node looked at, every candidate ordered, every gate asked.

use std::{hint::black_box, sync::Arc, time::Instant};

use rerail_core::plan::{Memo, World, plan, plan_with};
use serde::{Deserialize, Serialize};

use crate::{
    rolling,
    world::{self, Limits, RACK},
};

const NODES: [usize; 3] = [1_000, 10_000, 100_000];

/// Of a thousand nodes so many want a run.
const CANDIDATES: [usize; 3] = [10, 100, 1_000];

/// As many plans as fit into this time, in seconds, but at least [`AT_LEAST`].
const PATIENCE: f64 = 1.0;

const AT_LEAST: usize = 20;

/// Of so many nodes one has reported since the plan before, where that is remembered: what a cluster
/// reports in a second, since a kubelet reports every five minutes.
const REPORTED: usize = 300;

/// Plans that are not counted: caches are cold, pages are new.
const WARMING: usize = 2;

/// Times of full plans of one world.
#[derive(Debug, Serialize, Deserialize)]
pub struct Thinking {
    /// Nodes of the world.
    pub nodes: usize,
    /// Those that want a run.
    pub candidates: usize,
    /// The planner remembers what it has seen of nodes that have not changed since the plan before.
    pub memo: bool,
    /// Runs that are under way: none, or a whole rack.
    pub under_way: usize,
    /// How many the plan admits.
    pub admitted: usize,
    /// The times of all plans, in microseconds.
    pub microseconds: Vec<f64>,
}

/// Plans for worlds of every size, with one rack at a time: once with nothing under way, so that a rack
/// is chosen and filled; and once with a rack under way, so that all others wait.
/// Worlds of more than `largest` nodes are left out.
pub fn measure(largest: usize) -> Vec<Thinking> {
    let sizes = NODES.into_iter().filter(|nodes| *nodes <= largest);
    let sizes = sizes.flat_map(|nodes| CANDIDATES.map(|share| (nodes, share)));
    sizes.flat_map(|(nodes, share)| of(nodes, share)).collect()
}

fn of(nodes: usize, share: usize) -> Vec<Thinking> {
    eprintln!("  {nodes} nodes, {share} of a thousand want a run");
    let limits = Limits { nodes: 20, racks: 1 };
    // Evenly over the racks, with priorities from 1 to 9 in no order.
    let wants = |index: usize| (index * 7 + index / 1_000) % 1_000 < share;
    let urgency = |index: usize| wants(index).then(|| urgency(index));
    let mut world = world::world(nodes, limits, urgency);
    let candidates = (0..nodes).filter(|index| wants(*index)).count();
    let thinking = |world: &mut World, under_way, memo| {
        let admitted = plan(world).admit.len();
        let microseconds = times(world, memo);
        Thinking { nodes, candidates, memo, under_way, admitted, microseconds }
    };
    let fresh = [false, true].map(|memo| thinking(&mut world, 0, memo));
    let first = 0..RACK.min(nodes);
    let runs: Vec<_> = first.map(|index| rolling::start(&mut world, index)).collect();
    world.open_runs = runs;
    let busy = [false, true].map(|memo| thinking(&mut world, RACK, memo));
    fresh.into_iter().chain(busy).collect()
}

fn urgency(index: usize) -> u16 {
    u16::try_from(index * 31 % 9).unwrap_or(0) + 1
}

#[allow(
    clippy::disallowed_methods,
    reason = "how long it takes is what is measured; the plan's own time is in the world"
)]
fn times(world: &mut World, remembers: bool) -> Vec<f64> {
    let mut memo = Memo::default();
    let mut decide = |world: &World| match remembers {
        true => plan_with(&mut memo, world),
        false => plan(world),
    };
    (0..WARMING).for_each(|_| drop(black_box(decide(black_box(world)))));
    let began = Instant::now();
    let mut times = Vec::new();
    while times.len() < AT_LEAST || began.elapsed().as_secs_f64() < PATIENCE {
        if remembers {
            report(world, times.len());
        }
        let began = Instant::now();
        let plan = black_box(decide(black_box(world)));
        times.push(began.elapsed().as_secs_f64() * 1e6);
        drop(plan);
    }
    times
}

/// Some nodes report that nothing has changed.
fn report(world: &mut World, turn: usize) {
    for node in world.nodes.values_mut().skip(turn % REPORTED).step_by(REPORTED) {
        let mut facts = node.as_ref().clone();
        if let Some(condition) = facts.conditions.get_mut(world::CONDITION) {
            condition.changed_at = world.now;
        }
        *node = Arc::new(facts);
    }
}
