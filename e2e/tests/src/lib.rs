//! What the scenarios and `cargo xtask try` stand on: a real control plane, a fleet of fake machines,
//! and the operator as a process of its own, each under its own identity and with the RBAC that
//! `config/` ships.

mod brisk;
mod cargo;
mod cluster;
mod election;
mod error;
mod get;
mod judge;
pub mod kill;
mod kubeconfig;
mod lease;
pub mod monitoring;
mod operator;
mod settings;
mod terms;
mod wait;

pub use brisk::{Brisk, Story};
pub use cargo::{cargo, optimised, program};
pub use cluster::{Cluster, ClusterOptions, from_yaml};
pub use election::Election;
pub use error::Error;
pub use get::{get, post};
pub use judge::{Verdict, judge};
pub use kubeconfig::{config, with_token_file};
pub use lease::{LEASE, LEDGER};
pub use operator::{Operator, OperatorOptions, Requests, free_port};
pub use terms::{Term, Terms, stale_effects};
pub use wait::{PATIENCE, wait_for};
