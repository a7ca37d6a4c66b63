//! RECORD: what people see of it: status, Events and metrics.

pub(crate) mod conditions;
pub mod events;
pub mod metrics;
pub mod policy_status;
