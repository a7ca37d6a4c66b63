//! Acts. Five words name the modules: observe → plan → check → act → record. All deciding is in
//! `rerail-core`; this crate asks it, looks again, and does what comes out.
//!
//! | module | does |
//! |---|---|
//! | [`observe`] | watches, folded into small indexes; wakes whoever needs to know |
//! | [`plan`] | one loop: who is next, and the admission of that one |
//! | [`drive`] | one driver for each open run: look, decide, check, act, record |
//! | [`alerts`] | firing alerts become conditions of nodes |
//! | [`sweep`] | what runs that are gone have left behind |
//! | [`check`] | the last look: fresh reads before anything is done |
//! | [`act`] | every effect on the cluster, one file each |
//! | [`lead`] | who may act: the Lease, its ledger, recovery |
//! | [`record`] | status of policies, Events, metrics |
//! | [`client`] | two clients, every call with a deadline |
//! | [`deps`], [`context`] | what comes from outside, and what planner and drivers share |
//! | [`release`] | the end of everything: every node given back |
//! | [`rbac`] | what the operator may do, each right with its reason |
//!
//! The entry is [`run`]: stand by until the Lease is ours, adopt what is open, then plan and drive until
//! told to stop.

pub mod act;
pub mod alerts;
pub mod check;
pub mod client;
pub mod context;
pub mod deps;
pub mod drive;
pub mod lead;
pub mod observe;
pub mod plan;
pub mod rbac;
pub mod record;
pub mod release;
mod run;
pub mod sweep;

pub use run::{StartError, run};
