//! When something else is suspected than the nodes (planner.md, Gates: Meltdown and Breaker; hazards H08
//! and H12). Too many nodes that are not Ready are more often a network than machines, and many nodes
//! that show the same condition at once are more often a broken detector. Only starts are stopped: a run
//! in progress is never blocked, whatever is suspected.

mod storm;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{
    budget::CountOrPercent,
    facts::{NodeFacts, Ready},
    plan::World,
    policy::Policy,
};

pub use storm::{Assessment, storms};

/// So many nodes are never a reason by themselves, however small the cluster is.
const FEW: usize = 3;

/// How one condition type stands that once was a storm. A type that is not on record is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storm {
    /// Nothing starts for this type.
    Open {
        /// Since when.
        since: Timestamp,
    },
    /// The storm is over: one run may start, to see whether its remedy helps.
    Probing {
        /// Since when: runs that ended later belong to it.
        since: Timestamp,
    },
    /// A probe succeeded: `allowed` runs may start, then twice as many.
    Ramp {
        /// Runs that may start in this round: 1, 2, 4 …
        allowed: u32,
        /// When the round began: runs that ended later belong to it.
        since: Timestamp,
    },
}

impl Storm {
    /// Since when it is as it is.
    pub fn since(&self) -> Timestamp {
        match self {
            Storm::Open { since } | Storm::Probing { since } | Storm::Ramp { since, .. } => *since,
        }
    }
}

/// The storms of a policy by condition type, as its status has them.
pub type Storms = BTreeMap<String, Storm>;

/// A run that ended lately: what a storm learns from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedRun {
    /// Name of its policy.
    pub policy: String,
    /// The condition types that called for it.
    pub causes: Vec<String>,
    /// False for whatever did not succeed, a cancelled run too.
    pub succeeded: bool,
    /// When it ended.
    pub end: Timestamp,
}

/// Why nothing may start, and when time alone may change that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// In a sentence.
    pub message: String,
    /// The earliest time that it can change without an event; `None` = only by an event.
    pub recheck_at: Option<Timestamp>,
}

/// The names of the nodes with a slot: under remediation, however their run is known.
pub fn held_nodes(world: &World) -> BTreeSet<&str> {
    let now = world.now;
    let runs = world.open_runs.iter().filter(|run| run.holds_slot(world.node(&run.node_name), now));
    let strays = world.strays.iter().filter(|s| s.holds_slot(world.node(&s.node_name), now));
    runs.map(|run| run.node_name.as_str())
        .chain(strays.map(|stray| stray.node_name.as_str()))
        .chain(world.ledger.slots.iter().map(|slot| slot.node_name.as_str()))
        .collect()
}

/// Why nothing may start in the whole cluster: more than half of all nodes, and more than three, are not
/// Ready. `held` = the names of the nodes with a slot, which are down by our own doing and do not count.
pub fn meltdown(world: &World, held: &BTreeSet<&str>) -> Option<String> {
    let total = world.nodes.len();
    let down = down(world.nodes.values().map(|node| &**node), held);
    (down > FEW && down.saturating_mul(2) > total).then(|| {
        format!(
            "{down} of all {total} nodes are not Ready and not under remediation, more than half: nothing starts before that is over"
        )
    })
}

/// Why nothing of this policy may start (planner.md, Breaker, rule a): more of the nodes that it selects
/// than `unhealthy`, and more than three, are not Ready and hold no slot.
pub fn unhealthy(
    _world: &World,
    policy: &Policy,
    selected: &[&NodeFacts],
    held: &BTreeSet<&str>,
) -> Option<String> {
    let (total, limit) = (selected.len(), policy.breaker.unhealthy);
    let down = down(selected.iter().copied(), held);
    let too_many = match limit {
        CountOrPercent::Count(count) => down > count as usize,
        CountOrPercent::Percent(percent) => {
            down.saturating_mul(100) > total.saturating_mul(percent as usize)
        }
    };
    (too_many && down > FEW).then(|| {
        format!(
            "{down} of the {total} nodes of policy {} are not Ready and not under remediation, more than {limit} (breaker.unhealthy): more is wrong than single nodes",
            policy.name
        )
    })
}

fn down<'a>(nodes: impl Iterator<Item = &'a NodeFacts>, held: &BTreeSet<&str>) -> usize {
    nodes.filter(|node| node.ready != Ready::True && !held.contains(node.name.as_str())).count()
}

/// On how many of `total` nodes a type must become true at once to be a storm (planner.md, Breaker, rule
/// b): at least three, and a percentage is rounded up.
pub fn correlated(limit: CountOrPercent, total: usize) -> usize {
    let share = match limit {
        CountOrPercent::Count(count) => count as usize,
        CountOrPercent::Percent(percent) => total.saturating_mul(percent as usize).div_ceil(100),
    };
    share.max(FEW)
}

#[cfg(test)]
mod tests;
