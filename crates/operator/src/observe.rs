//! OBSERVE: watches, folded into small indexes. Whoever needs to know is woken; nothing is decided
//! here. Pods are watched only on nodes under remediation.

pub mod config;
pub mod nodes;
pub mod objects;
pub mod pods;
pub mod recency;
pub mod rewind;
pub mod texts;
pub mod wake;
pub mod watch;
