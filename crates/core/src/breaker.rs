//! Storms: many nodes that show the same condition at once are more often a broken detector than
//! broken machines (planner.md, Breaker; hazard H08). Never blocks what is under way.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{facts::NodeFacts, plan::World, policy::Policy};

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

/// The storms of a policy by condition type, as its status has them.
pub type Storms = BTreeMap<String, Storm>;

/// Why nothing may start, and when time alone may change that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// In a sentence.
    pub message: String,
    /// The earliest time that it can change without an event; `None` = only by an event.
    pub recheck_at: Option<Timestamp>,
}

/// How the storms of a policy stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assessment {
    /// To be recorded.
    pub storms: Storms,
}

impl Assessment {
    /// Why another run for this condition type may not start, when `_admitted` of it start already.
    pub fn verdict(&self, _condition_type: &str, _admitted: u32) -> Option<Stop> {
        None
    }
}

/// Why the whole cluster counts as lost, if it does; `_held` = the nodes with a slot.
pub fn meltdown(_world: &World, _held: &BTreeSet<&str>) -> Option<String> {
    None
}

/// Why too many nodes of a policy are not Ready, if they are.
pub fn unhealthy(
    _world: &World,
    _policy: &Policy,
    _selected: &[&NodeFacts],
    _held: &BTreeSet<&str>,
) -> Option<String> {
    None
}

/// How the storms of a policy stand now.
pub fn storms(world: &World, policy: &Policy, _selected: &[&NodeFacts]) -> Assessment {
    Assessment { storms: world.storms.get(&policy.name).cloned().unwrap_or_default() }
}
