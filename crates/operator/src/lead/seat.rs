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
use rerail_core::{lease::Observed, ledger::Slot};
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
    /// The newest version that was ever seen, also of one that is gone.
    newest: Option<String>,
}

/// What is known of the Lease.
#[derive(Default)]
pub struct Seat {
    inner: Mutex<Inner>,
    /// Rung when it changed.
    pub changed: Notify,
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
        if is_newer(new.as_deref(), inner.newest.as_deref()) {
            inner.newest.clone_from(&new);
        }
        if old.is_some() && (new == old || !is_newer(new.as_deref(), old.as_deref())) {
            return;
        }
        inner.lease = Some(lease);
        inner.since = now;
        drop(inner);
        self.changed.notify_one();
    }

    /// The newest version that was seen so far, whether or not there is still one.
    pub fn newest(&self) -> Option<String> {
        self.lock().newest.clone()
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
    fn the_newest_version_is_known_also_of_a_lease_that_is_gone() {
        let (seat, at) = (Seat::default(), Duration::from_secs);
        assert_eq!(seat.newest(), None);
        seat.put(lease("7", "a"), at(10));
        seat.put(lease("6", "a"), at(11));
        seat.gone(at(12));
        assert_eq!(seat.newest().as_deref(), Some("7"));
        seat.put(lease("5", "b"), at(13));
        assert_eq!(seat.newest().as_deref(), Some("7"));
        seat.put(lease("9", "b"), at(14));
        assert_eq!(seat.newest().as_deref(), Some("9"));
    }
}
