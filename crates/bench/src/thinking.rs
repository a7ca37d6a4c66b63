//! How long one full plan takes: every node looked at, every candidate ordered, every gate asked.

use std::{hint::black_box, time::Instant};

use rerail_core::plan::{World, plan};
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

/// Plans that are not counted: caches are cold, pages are new.
const WARMING: usize = 2;

/// Times of full plans of one world.
#[derive(Debug, Serialize, Deserialize)]
pub struct Thinking {
    /// Nodes of the world.
    pub nodes: usize,
    /// Those that want a run.
    pub candidates: usize,
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

fn of(nodes: usize, share: usize) -> [Thinking; 2] {
    eprintln!("  {nodes} nodes, {share} of a thousand want a run");
    let limits = Limits { nodes: 20, racks: 1 };
    // Evenly over the racks, with priorities from 1 to 9 in no order.
    let wants = |index: usize| (index * 7 + index / 1_000) % 1_000 < share;
    let urgency = |index: usize| wants(index).then(|| urgency(index));
    let mut world = world::world(nodes, limits, urgency);
    let fresh = times(&world);
    let first = 0..RACK.min(nodes);
    let runs: Vec<_> = first.map(|index| rolling::start(&mut world, index)).collect();
    world.open_runs = runs;
    let busy = times(&world);
    let candidates = (0..nodes).filter(|index| wants(*index)).count();
    [(fresh, 0), (busy, RACK)].map(|((microseconds, admitted), under_way)| Thinking {
        nodes,
        candidates,
        under_way,
        admitted,
        microseconds,
    })
}

fn urgency(index: usize) -> u16 {
    u16::try_from(index * 31 % 9).unwrap_or(0) + 1
}

#[allow(
    clippy::disallowed_methods,
    reason = "how long it takes is what is measured; the plan's own time is in the world"
)]
fn times(world: &World) -> (Vec<f64>, usize) {
    let admitted = plan(world).admit.len();
    (0..WARMING).for_each(|_| drop(black_box(plan(black_box(world)))));
    let began = Instant::now();
    let mut times = Vec::new();
    while times.len() < AT_LEAST || began.elapsed().as_secs_f64() < PATIENCE {
        let began = Instant::now();
        let plan = black_box(plan(black_box(world)));
        times.push(began.elapsed().as_secs_f64() * 1e6);
        drop(plan);
    }
    (times, admitted)
}
