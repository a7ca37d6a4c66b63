//! The times of leader election, as operators are told them.

use std::time::Duration;

/// How long a Lease is good, and how often it is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Election {
    /// For how long nobody else takes a Lease that was seen renewed.
    pub lease: Duration,
    /// For how long after its last renewal a leader acts.
    pub renew_deadline: Duration,
    /// Between two renewals.
    pub retry_period: Duration,
}

impl Election {
    /// What an operator has by default.
    pub const DEFAULT: Self = Self::millis(15_000, 10_000, 5_000);
    /// Nobody waits long for the next leader. A busy machine loses one now and then.
    pub const SHORT: Self = Self::millis(3_000, 2_000, 1_000);

    const fn millis(lease: u64, renew_deadline: u64, retry_period: u64) -> Self {
        Election {
            lease: Duration::from_millis(lease),
            renew_deadline: Duration::from_millis(renew_deadline),
            retry_period: Duration::from_millis(retry_period),
        }
    }

    /// As command line arguments.
    pub fn arguments(&self) -> [String; 3] {
        [
            ("lease-duration", self.lease),
            ("renew-deadline", self.renew_deadline),
            ("retry-period", self.retry_period),
        ]
        .map(|(name, time)| format!("--leader-elect-{name}={}ms", time.as_millis()))
    }
}
