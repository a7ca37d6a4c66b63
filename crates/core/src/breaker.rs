//! When something else is suspected than the nodes (planner.md, Gates: Meltdown and Breaker; hazards H08
//! and H12). Too many nodes that are not Ready are more often a network than machines, and many nodes
//! that show the same condition at once are more often a broken detector. Only starts are stopped: a run
//! in progress is never blocked, whatever is suspected.

mod storm;

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{budget::CountOrPercent, mutant, policy::Policy};

pub use storm::{Assessment, Members, storms};

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

/// Why nothing may start in the whole cluster: more than half of all nodes, and more than three, are not
/// Ready. `down` = how many are, those with a slot not counted: they are down by our own doing.
pub fn meltdown(total: usize, down: usize) -> Option<String> {
    let off = mutant!("meltdown-ignored");
    (down > FEW && down.saturating_mul(2) > total && !off).then(|| {
        format!(
            "{down} of all {total} nodes are not Ready and not under remediation, more than half: nothing starts before that is over"
        )
    })
}

/// Why nothing of this policy may start (planner.md, Breaker, rule a): more of the `total` nodes in its
/// scope than `unhealthy`, and more than three, are not Ready and hold no slot; `down` = how many.
pub fn unhealthy(policy: &Policy, total: usize, down: usize) -> Option<String> {
    let limit = policy.breaker.unhealthy;
    let too_many = match limit {
        CountOrPercent::Count(count) => down > count as usize,
        CountOrPercent::Percent(percent) => {
            down.saturating_mul(100) > total.saturating_mul(percent as usize)
        }
    };
    (too_many && down > FEW && !mutant!("unhealthy-ignored")).then(|| {
        format!(
            "{down} of the {total} nodes of policy {} are not Ready and not under remediation, more than {limit} (breaker.unhealthy): more is wrong than single nodes",
            policy.name
        )
    })
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
