//! Scenarios on a real API server, one file each. Those that kill, pause or configure the operator
//! have a control plane of their own; the others share a few, kept apart by pools of nodes, and take
//! turns, since what is under way in a cluster counts for all of its nodes. `turns.rs` says who is next.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

mod alerts;
mod api_faults;
mod audit;
mod bridge;
mod budgets;
mod claims;
mod clearing;
mod clock;
mod config;
mod cordons;
mod differential;
mod doors;
mod drain;
mod dry_beside;
mod dryrun;
mod footprint;
mod frozen;
mod gone;
mod graver;
mod hands;
mod healthy;
mod hold;
mod invalid;
mod kill_sweep;
mod lease;
mod ledger;
mod machines;
mod malformed;
mod meltdown;
mod nodes;
mod outage;
mod own_node;
mod pair;
mod pause;
mod person;
mod plan_command;
mod policies;
mod queue;
mod racks;
mod reset_breaker;
mod restart;
mod shared;
mod sick;
mod sources;
mod stops;
mod stored;
mod storm;
mod takeover;
mod token;
mod turns;
mod uninstall;
mod watch_faults;
mod workloads;
