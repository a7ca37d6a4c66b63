//! What must hold of everything that Rerail reads and that others write: one function per kind of text.
//! A fuzzer feeds them (`fuzz/`), and every `cargo test` the inputs that are kept (`fuzz/seeds`,
//! `fuzz/regressions`). An input that breaks a property panics.
//!
//! | module | reads |
//! |---|---|
//! | [`priority`] | messages of conditions |
//! | [`policy`], [`remediation`], [`alert_source`] | custom resources as the API server has them |
//! | [`alerts`] | answers of Alertmanager and Prometheus, and webhooks |
//! | [`ledger`] | the ledger in the operator's Lease |
//! | [`config`] | the configuration of the cluster |
//! | [`last_remediation`] | what is left on a node of its runs |
//! | `objects` | how an input becomes a custom resource |
//! | `said` | what must hold of everything that people are told |

#![allow(clippy::panic, reason = "a property that does not hold is told by a panic")]

mod alert_source;
mod alerts;
mod config;
mod last_remediation;
mod ledger;
mod objects;
mod policy;
mod priority;
mod remediation;
mod said;

pub use alert_source::alert_source;
pub use alerts::alerts;
pub use config::config;
pub use last_remediation::last_remediation;
pub use ledger::ledger;
pub use policy::policy;
pub use priority::priority;
pub use remediation::remediation;

/// A body, and how it is called.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// As the program in `fuzz/fuzz_targets` is called.
    pub name: &'static str,
    /// Panics if the input breaks a property.
    pub body: fn(&[u8]),
}

/// Every body.
pub const TARGETS: [Target; 8] = [
    Target { name: "priority", body: priority },
    Target { name: "policy", body: policy },
    Target { name: "remediation", body: remediation },
    Target { name: "alert_source", body: alert_source },
    Target { name: "alerts", body: alerts },
    Target { name: "ledger", body: ledger },
    Target { name: "config", body: config },
    Target { name: "last_remediation", body: last_remediation },
];

/// The operator's clock in every body: an input is judged alike on every day.
fn now() -> jiff::Timestamp {
    // 2026-01-01T00:00:00Z; the fallback is never reached.
    jiff::Timestamp::from_second(1_767_225_600).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}
