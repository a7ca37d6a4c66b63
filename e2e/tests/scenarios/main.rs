//! Scenarios on a real API server, one file each. Those that kill, pause or configure the operator
//! have a control plane of their own; the others share one, kept apart by pools of nodes, and take
//! turns, since one run at a time is under way in a cluster.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

mod api_faults;
mod audit;
mod claims;
mod clearing;
mod clock;
mod cordons;
mod doors;
mod drain;
mod dryrun;
mod footprint;
mod frozen;
mod gone;
mod hands;
mod healthy;
mod hold;
mod invalid;
mod kill_sweep;
mod ledger;
mod machines;
mod malformed;
mod nodes;
mod outage;
mod pause;
mod person;
mod policies;
mod restart;
mod shared;
mod sick;
mod stored;
mod token;
mod uninstall;
mod watch_faults;
mod workloads;
