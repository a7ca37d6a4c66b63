//! What the operator gets from outside: clock, identity and settings. Only the command line knows
//! signals, sockets and files.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
pub use rerail_alerts::fetch::{Access, Fetch, FetchError, Fetched, NoFetch};
use rerail_api::names;
use rerail_core::lease::Times;

use crate::{alerts::Pushes, record::metrics::Metrics};

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

/// The machine's clock since boot: the one by which the right to act is measured (SAFE-2).
pub trait BootClock: Send + Sync {
    /// Since the machine's boot, the time that it was suspended included.
    fn since_boot(&self) -> Duration;
}

/// `CLOCK_BOOTTIME`. Rust's `Instant` stands still while the machine sleeps, and a leader that slept
/// past its Lease would not know it (hazard H03).
pub struct SystemBootClock;

impl BootClock for SystemBootClock {
    fn since_boot(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // Never negative since boot.
        Duration::try_from(now).unwrap_or_default()
    }
}

/// Ends the process when it should have stopped to act and has not: whatever holds up the runtime must
/// not hold this up, too. Simulation leaves it out.
pub trait Watchdog: Send + Sync {
    /// The process has to be fed again, or told to be at rest, before `until` on the clock since boot.
    /// `None`: it does not act.
    fn feed(&self, until: Option<Duration>);
}

/// Ends nothing: where a clock stands still while something computes, as in simulation, nobody is late.
pub struct NoWatchdog;

impl Watchdog for NoWatchdog {
    fn feed(&self, _: Option<Duration>) {}
}

/// The Lease that is held by whoever leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Default for LeaseName {
    /// The operator's.
    fn default() -> Self {
        LeaseName { namespace: names::SYSTEM_NAMESPACE.to_owned(), name: names::LEASE.to_owned() }
    }
}

/// How this operator does things, from its command line.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of the operator's own Pod; it never evicts itself. Empty outside a cluster.
    pub pod_name: String,
    /// Name of the node that this Pod runs on. Empty outside a cluster.
    pub node_name: String,
    /// Image of the reboot and probe Pods: the operator's own.
    pub node_image: String,
    /// What the reboot Pod runs, as an argument vector; no shell looks at it.
    pub reboot_command: Vec<String>,
    /// The times of leader election.
    pub election: Times,
    /// The Lease that is held while this process leads.
    pub lease: LeaseName,
}

impl Settings {
    /// Those of an operator that runs in no Pod, as in simulation.
    pub fn outside_a_cluster() -> Self {
        Settings {
            pod_name: String::new(),
            node_name: String::new(),
            node_image: "rerail".to_owned(),
            reboot_command: vec!["reboot".to_owned()],
            election: Times::default(),
            lease: LeaseName::default(),
        }
    }

    /// The operator's Pod as `namespace/name`.
    pub fn own_pod(&self) -> Option<String> {
        let namespace = names::SYSTEM_NAMESPACE;
        (!self.pod_name.is_empty()).then(|| format!("{namespace}/{}", self.pod_name))
    }
}

/// Everything from outside.
pub struct Deps {
    /// The clock.
    pub clock: Box<dyn Clock>,
    /// The clock by which the right to act is measured.
    pub boot_clock: Arc<dyn BootClock>,
    /// Ends a process that cannot step down by itself.
    pub watchdog: Box<dyn Watchdog>,
    /// Identity of this process, unique per start. Each term adds a number (protocol R6).
    pub identity: String,
    /// How servers other than the API server are reached.
    pub fetch: Arc<dyn Fetch>,
    /// Who asks for alert sources to be polled now.
    pub pushes: Arc<Pushes>,
    /// Settings.
    pub settings: Settings,
    /// Counters.
    pub metrics: Metrics,
}
