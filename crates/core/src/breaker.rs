//! Storms: many nodes that show the same condition at once are more often a broken detector than
//! broken machines (planner.md, Breaker; hazard H08). Never blocks what is under way.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// How one condition type stands that once was a storm. A type that is not on record is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storm {
    /// Nothing starts for this type, but one probe once the storm is no longer growing.
    Open {
        /// Since when.
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
