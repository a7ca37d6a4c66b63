//! What really happened, apart from what anybody believes.

mod check;
mod event;
mod log;
mod starts;
mod unavailable;

pub use check::{Limits, RunSummary, Violation, check};
pub use event::{Cause, EventKind, TruthEvent};
pub(crate) use log::TruthLog;
pub use starts::{NodeSeen, check_starts};
pub use unavailable::{Moment, unavailable_over_time};
