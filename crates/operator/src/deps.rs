//! What the operator gets from outside: clock, identity and settings. Only the command line knows
//! signals, sockets and files.

use jiff::Timestamp;

use crate::record::metrics::Metrics;

/// The operator's clock.
pub trait Clock: Send + Sync {
    /// Now. Never steps back while the process lives.
    fn now(&self) -> Timestamp;
}

/// The machine's clock, read once, and the steady time since then: a step of the wall clock moves no
/// deadline of a running operator (hazard H05).
pub struct SteadyClock {
    started: Timestamp,
    origin: tokio::time::Instant,
}

impl SteadyClock {
    /// Starts the clock.
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place where the operator reads a wall clock"
    )]
    pub fn start() -> Self {
        SteadyClock { started: Timestamp::now(), origin: tokio::time::Instant::now() }
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        self.started.saturating_add(self.origin.elapsed()).unwrap_or(Timestamp::MAX)
    }
}

/// How this operator does things, from its command line.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of the operator's own Pod; it never evicts itself. Empty outside a cluster.
    pub pod_name: String,
    /// Image of the reboot and probe Pods: the operator's own.
    pub node_image: String,
    /// What the reboot Pod runs, as an argument vector; no shell looks at it.
    pub reboot_command: Vec<String>,
}

impl Settings {
    /// The operator's Pod as `namespace/name`.
    pub fn own_pod(&self) -> Option<String> {
        let namespace = rerail_api::names::SYSTEM_NAMESPACE;
        (!self.pod_name.is_empty()).then(|| format!("{namespace}/{}", self.pod_name))
    }
}

/// Everything from outside.
pub struct Deps {
    /// The clock.
    pub clock: Box<dyn Clock>,
    /// Identity of this process, unique per start: the term of its writes.
    pub identity: String,
    /// Settings.
    pub settings: Settings,
    /// Counters.
    pub metrics: Metrics,
}
