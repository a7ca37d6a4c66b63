//! Ends a leader that should have stepped down and did not. A thread of its own, since a blocked
//! runtime would hold a task up (hazard H03); it reads the clock since boot, since a machine that slept
//! must not count the time as none (SAFE-2).

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use rerail_operator::deps::{BootClock, SystemBootClock, Watchdog};

/// The longest rest between two looks at the clock: a machine that slept is noticed this soon after.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Until when the process may act without being fed again.
#[derive(Default)]
struct Fed {
    until: Mutex<Option<Duration>>,
    changed: Condvar,
}

/// A watchdog that aborts the process.
pub struct ThreadWatchdog(Arc<Fed>);

impl ThreadWatchdog {
    /// Starts the thread. It bites with `abort`, which nothing in the process can delay.
    pub fn start() -> std::io::Result<Self> {
        Self::with(SystemBootClock, || {
            anstream::eprintln!(
                "the Lease could not be renewed in time, and this operator did not step down by itself: it is aborted"
            );
            std::process::abort()
        })
    }

    fn with(
        clock: impl BootClock + 'static,
        bite: impl Fn() + Send + 'static,
    ) -> std::io::Result<Self> {
        let fed = Arc::new(Fed::default());
        let shared = fed.clone();
        thread::Builder::new()
            .name("watchdog".into())
            .spawn(move || watch(&shared, &clock, &bite))?;
        Ok(ThreadWatchdog(fed))
    }
}

impl Watchdog for ThreadWatchdog {
    fn feed(&self, until: Option<Duration>) {
        *self.0.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
        self.0.changed.notify_all();
    }
}

fn watch(fed: &Fed, clock: &impl BootClock, bite: &impl Fn()) {
    let mut until = fed.until.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let left = until.map(|until| until.saturating_sub(clock.since_boot()));
        match left {
            Some(Duration::ZERO) => {
                bite();
                *until = None;
            }
            // Asleep while nothing is to be watched: an idle operator wakes for nothing.
            None => until = fed.changed.wait(until).unwrap_or_else(PoisonError::into_inner),
            Some(left) => {
                let waited = fed.changed.wait_timeout(until, left.min(LOOK_EVERY));
                until = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Hand(Arc<AtomicU64>);

    impl BootClock for Hand {
        fn since_boot(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::Relaxed))
        }
    }

    const SOON: Duration = Duration::from_secs(5);
    const NOT_YET: Duration = Duration::from_millis(700);

    #[test]
    fn it_bites_when_it_was_not_fed_in_time_whatever_else_is_blocked_and_not_before() {
        let clock = Hand::default();
        let (bites, bitten) = mpsc::channel();
        let watchdog =
            ThreadWatchdog::with(clock.clone(), move || bites.send(()).unwrap()).unwrap();
        watchdog.feed(Some(Duration::from_secs(100)));
        assert!(bitten.recv_timeout(NOT_YET).is_err(), "fed, and in time");
        // The clock jumps, as after a SIGSTOP or a sleep of the machine; nobody tells the thread.
        clock.0.store(99_999, Ordering::Relaxed);
        assert!(bitten.recv_timeout(NOT_YET).is_err(), "one millisecond is left");
        watchdog.feed(Some(Duration::from_secs(200)));
        clock.0.store(150_000, Ordering::Relaxed);
        assert!(bitten.recv_timeout(NOT_YET).is_err(), "fed again");
        watchdog.feed(None);
        clock.0.store(500_000, Ordering::Relaxed);
        assert!(bitten.recv_timeout(NOT_YET).is_err(), "stepped down in order");
        watchdog.feed(Some(Duration::from_secs(600)));
        clock.0.store(600_000, Ordering::Relaxed);
        assert!(bitten.recv_timeout(SOON).is_ok());
    }

    #[test]
    fn the_real_clock_bites_within_half_a_second() {
        let (bites, bitten) = mpsc::channel();
        let watchdog =
            ThreadWatchdog::with(SystemBootClock, move || bites.send(()).unwrap()).unwrap();
        watchdog.feed(Some(SystemBootClock.since_boot() + Duration::from_millis(200)));
        assert!(bitten.recv_timeout(Duration::from_millis(100)).is_err());
        assert!(bitten.recv_timeout(SOON).is_ok());
    }
}
