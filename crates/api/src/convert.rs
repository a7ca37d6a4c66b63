//! From what the API server holds to what the core decides on, and back. Pure; time is an argument.

pub mod config;
pub mod last_remediation;
pub mod ledger;
pub mod limits;
pub mod node;
pub mod pause;
pub mod pod;
pub mod policy;
pub mod run;
pub mod status;
