//! The Lease as this process has seen it. A version counts from when it was seen first, by the clock
//! since boot: whether a Lease has expired is a matter of our own observation alone.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{ResourceExt, runtime::watcher::Event};
use rerail_core::{lease::Observed, ledger::Slot, mutant};
use tokio::sync::Notify;

use super::object;
use crate::observe::watch::is_newer;

#[derive(Default)]
struct Inner {
    lease: Option<Lease>,
    since: Duration,
    synced: bool,
    /// Between the beginning and the end of a list.
    listed: Option<Option<Lease>>,
    /// A fresh read has shown an older version than one that was known before.
    rewound: Option<Rewound>,
}

/// The API server does not know any more what it has told: etcd was restored from a backup.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the API server shows the Lease rerail-operator in version {shown} and has shown version {known} before: etcd was restored from a backup, and what this operator knows has not happened"
)]
pub struct Rewound {
    shown: String,
    known: String,
}

/// What is known of the Lease.
#[derive(Default)]
pub struct Seat {
    inner: Mutex<Inner>,
    /// Rung when it changed.
    pub changed: Notify,
    /// Rung when etcd was restored.
    rewound: Notify,
    /// Counts the tries of this process to acquire it.
    acquisitions: AtomicU64,
}

impl Seat {
    /// The number of one more try to acquire it: with the identity of the process, unique for each
    /// term (protocol R6).
    pub(crate) fn next_acquisition(&self) -> u64 {
        self.acquisitions.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Takes in an event of the watch, seen at `now` on the clock since boot.
    pub fn event(&self, event: Event<Lease>, now: Duration) {
        match event {
            Event::Init => self.lock().listed = Some(None),
            Event::InitApply(lease) => self.lock().listed = Some(Some(lease)),
            Event::InitDone => {
                let listed = self.lock().listed.take().flatten();
                match listed {
                    Some(lease) => self.put(lease, now),
                    None => self.gone(now),
                }
            }
            Event::Apply(lease) => self.put(lease, now),
            Event::Delete(_) => self.gone(now),
        }
    }

    /// Takes in a read, or the answer to a write. A version that is not newer changes nothing, so that
    /// a watch that lags behind cannot make a Lease look abandoned or alive.
    pub fn put(&self, lease: Lease, now: Duration) {
        let mut inner = self.lock();
        inner.synced = true;
        let (new, old) = (
            lease.resource_version(),
            inner.lease.as_ref().and_then(ResourceExt::resource_version),
        );
        if old.is_some() && (new == old || !is_newer(new.as_deref(), old.as_deref())) {
            return;
        }
        inner.lease = Some(lease);
        inner.since = now;
        drop(inner);
        self.changed.notify_one();
    }

    /// Compares a fresh read that was sent at `sent`, on the clock since boot, with what was known by then.
    /// Versions only grow (KEP-5504), and such a read shows the latest: an older one says that etcd was
    /// restored. Caches would take everything that is there for old, for ever.
    pub fn compare(&self, read: &Lease, sent: Duration) {
        let mut inner = self.lock();
        let shown = read.resource_version();
        let known = inner.lease.as_ref().and_then(ResourceExt::resource_version);
        let newer = is_newer(shown.as_deref(), known.as_deref());
        if known.is_none() || inner.since >= sent || newer || mutant!("rewind-unseen") {
            return;
        }
        let (shown, known) = (shown.unwrap_or_default(), known.unwrap_or_default());
        inner.rewound = Some(Rewound { shown, known });
        drop(inner);
        self.rewound.notify_one();
    }

    /// Resolves when etcd was restored. For one who waits.
    pub async fn rewound(&self) -> Rewound {
        loop {
            if let Some(rewound) = self.lock().rewound.clone() {
                return rewound;
            }
            self.rewound.notified().await;
        }
    }

    /// Takes in that there is none.
    pub fn gone(&self, now: Duration) {
        let mut inner = self.lock();
        let news = !inner.synced || inner.lease.is_some();
        inner.synced = true;
        inner.lease = None;
        if news {
            inner.since = now;
            drop(inner);
            self.changed.notify_one();
        }
    }

    /// The Lease, and what the core needs to know of it; `None` before the first look.
    pub fn observed(&self) -> Option<(Option<Lease>, Observed)> {
        let inner = self.lock();
        inner.synced.then(|| {
            let seen = inner.lease.as_ref().map(object::seen);
            (inner.lease.clone(), Observed { seen, since: inner.since })
        })
    }

    /// The slots of the Lease as it was seen last; none if there is none, or nobody can read it.
    pub fn slots(&self) -> Vec<Slot> {
        let lease = self.lock().lease.clone();
        let document = lease.and_then(|lease| object::document(&lease).ok().flatten());
        document.map(|document| document.slots).unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::coordination::v1::LeaseSpec, apimachinery::pkg::apis::meta::v1::ObjectMeta,
    };

    use super::*;

    fn lease(version: &str, holder: &str) -> Lease {
        Lease {
            metadata: ObjectMeta {
                resource_version: Some(version.into()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec { holder_identity: Some(holder.into()), ..LeaseSpec::default() }),
        }
    }

    fn since(seat: &Seat) -> (Option<String>, u64) {
        let (_, observed) = seat.observed().unwrap();
        (observed.seen.map(|seen| seen.holder), observed.since.as_secs())
    }

    #[test]
    fn a_version_counts_from_when_it_was_seen_first_and_an_older_one_not_at_all() {
        let (seat, at) = (Seat::default(), Duration::from_secs);
        assert!(seat.observed().is_none());
        seat.put(lease("5", "a"), at(10));
        seat.event(Event::Apply(lease("5", "a")), at(20));
        seat.event(Event::Apply(lease("4", "b")), at(21));
        assert_eq!(since(&seat), (Some("a".into()), 10));
        seat.event(Event::Apply(lease("6", "a")), at(22));
        assert_eq!(since(&seat), (Some("a".into()), 22));
        seat.event(Event::Init, at(23));
        seat.event(Event::InitDone, at(24));
        assert_eq!(since(&seat), (None, 24));
        seat.event(Event::Init, at(25));
        seat.event(Event::InitApply(lease("9", "c")), at(26));
        seat.event(Event::InitDone, at(27));
        assert_eq!(since(&seat), (Some("c".into()), 27));
    }

    #[test]
    fn an_older_version_in_a_fresh_read_says_that_etcd_was_restored() {
        use futures::FutureExt;

        let (seat, at) = (Seat::default(), Duration::from_secs);
        seat.compare(&lease("3", "a"), at(5));
        seat.put(lease("7", "a"), at(10));
        // Sent before version 7 was known, and overtaken by it.
        seat.compare(&lease("6", "a"), at(10));
        seat.compare(&lease("7", "a"), at(11));
        seat.compare(&lease("8", "b"), at(12));
        assert_eq!(seat.rewound().now_or_never(), None);
        seat.compare(&lease("6", "a"), at(13));
        let rewound = seat.rewound().now_or_never().unwrap().to_string();
        assert!(rewound.contains("version 6") && rewound.contains("version 7"), "{rewound}");
    }
}
