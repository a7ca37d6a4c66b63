//! How recent the caches are by which starts are decided. What is to be started is read afresh, but how
//! many other nodes are out is counted by what the watches have told (SAFE-4). A process that was cut
//! off goes on with caches as old as that, and has the Lease again before its watches have told
//! anything.
//!
//! A list tells what was there when it was asked for. A watch that was opened tells all that has happened
//! since the version that it was opened at, and so carries on what is known, as long as no gap is between
//! them: after a gap what it has to tell comes in its own time, and only a list shows that all is there.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use rerail_core::mutant;
use tower::{Layer, Service};

use crate::{
    client::{CALL_DEADLINE, DEAD_AFTER, describe},
    deps::BootClock,
};

/// Older than this nothing starts by it. A watch is opened anew before it is [`DEAD_AFTER`] old, and the
/// answer to that has [`CALL_DEADLINE`] to begin.
pub const RECENT: Duration = DEAD_AFTER.saturating_add(CALL_DEADLINE);

/// How often it is looked whether a watch has been silent for too long.
const LOOK: Duration = Duration::from_secs(5);

/// The kinds of objects that starts are decided by, as their resources are called.
pub const KINDS: [&str; 3] = ["nodes", "noderemediations", "remediationpolicies"];

#[derive(Default)]
struct State {
    clock: Option<Arc<dyn BootClock>>,
    /// By resource: what is known is not older than this, on the clock since boot.
    as_of: BTreeMap<&'static str, Duration>,
}

/// How recent the caches of a process are; clones are the same. One who keeps none never arms it.
#[derive(Clone, Default)]
pub struct Recency(Arc<Mutex<State>>);

impl Recency {
    /// From now on the beginnings of watches are noted.
    pub fn arm(&self, clock: Arc<dyn BootClock>) {
        self.lock().clock = Some(clock);
    }

    /// The time on the clock since boot; `None` before it is armed.
    pub fn now(&self) -> Option<Duration> {
        self.lock().clock.as_ref().map(|clock| clock.since_boot())
    }

    /// Every object is known as it was when a list began.
    pub fn listed(&self, resource: &'static str, began: Duration) {
        let mut state = self.lock();
        let as_of = state.as_of.entry(resource).or_default();
        *as_of = began.max(*as_of);
    }

    /// A watch that was asked for then has begun.
    fn opened(&self, resource: &str, sent: Duration) {
        let mut state = self.lock();
        let Some(now) = state.clock.as_ref().map(|clock| clock.since_boot()) else { return };
        if let Some((_, as_of)) = state.as_of.iter_mut().find(|(known, _)| **known == resource)
            && now.saturating_sub(*as_of) <= RECENT
        {
            *as_of = sent.max(*as_of);
        }
    }

    /// The first kind of objects of which not enough is known to start anything by it.
    pub fn out_of_date(&self) -> Option<&'static str> {
        let state = self.lock();
        let now = state.clock.as_ref()?.since_boot();
        let is_old = |resource: &&&str| {
            let as_of = state.as_of.get(**resource);
            as_of.is_none_or(|as_of| now.saturating_sub(*as_of) > RECENT)
        };
        KINDS.iter().find(is_old).copied().filter(|_| !mutant!("caches-of-any-age"))
    }

    /// Resolves when what is known has been too old for so long that a list has to be made; counted from
    /// now at the earliest, for one that is under way.
    pub(super) async fn overdue(&self, resource: &'static str) {
        let began = self.now().unwrap_or_default();
        loop {
            tokio::time::sleep(LOOK).await;
            let as_of = self.lock().as_of.get(resource).copied().unwrap_or_default();
            let now = self.now().unwrap_or_default();
            if now.saturating_sub(as_of.max(began)) > RECENT {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Layer<S> for Recency {
    type Service = Noting<S>;

    fn layer(&self, inner: S) -> Noting<S> {
        Noting { inner, recency: self.clone() }
    }
}

/// A service whose watches are noted when they begin.
#[derive(Clone)]
pub struct Noting<S> {
    inner: S,
    recency: Recency,
}

impl<S, B, C> Service<http::Request<B>> for Noting<S>
where
    S: Service<http::Request<B>, Response = http::Response<C>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let (verb, resource) = describe(request.method(), request.uri());
        let sent = self.recency.now().filter(|_| verb == "watch");
        let answer = self.inner.call(request);
        let Some(sent) = sent else { return Box::pin(answer) };
        let recency = self.recency.clone();
        Box::pin(async move {
            let answer = answer.await?;
            if answer.status().is_success() {
                recency.opened(&resource, sent);
            }
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Default)]
    struct Seconds(AtomicU64);

    impl BootClock for Seconds {
        fn since_boot(&self) -> Duration {
            Duration::from_secs(self.0.load(Ordering::Relaxed))
        }
    }

    fn recency() -> (Recency, Arc<Seconds>) {
        let (recency, clock) = (Recency::default(), Arc::new(Seconds::default()));
        recency.arm(clock.clone());
        (recency, clock)
    }

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Seed 1000556 of the explorer: cut off for four minutes, it had the Lease again before its watches
    /// had told it that two nodes were down (SAFE-4).
    #[test]
    fn after_a_gap_only_a_list_shows_that_all_is_known() {
        let (recency, clock) = recency();
        assert_eq!(recency.out_of_date(), Some("nodes"), "nothing was listed yet");
        for kind in KINDS {
            recency.listed(kind, secs(0));
        }
        assert_eq!(recency.out_of_date(), None);
        clock.0.store(50, Ordering::Relaxed);
        for kind in KINDS {
            recency.opened(kind, secs(50));
        }
        clock.0.store(120, Ordering::Relaxed);
        assert_eq!(recency.out_of_date(), None, "opened 70 s ago");
        clock.0.store(121, Ordering::Relaxed);
        recency.opened("nodes", secs(121));
        assert_eq!(recency.out_of_date(), Some("nodes"), "what it has to tell may not have come");
        recency.listed("nodes", secs(121));
        assert_eq!(recency.out_of_date(), Some("noderemediations"));
    }

    #[test]
    fn an_answer_counts_from_when_it_was_asked_for() {
        let (recency, clock) = recency();
        for kind in KINDS {
            recency.listed(kind, secs(0));
        }
        clock.0.store(60, Ordering::Relaxed);
        for kind in KINDS {
            recency.opened(kind, secs(52));
        }
        clock.0.store(123, Ordering::Relaxed);
        assert_eq!(recency.out_of_date(), Some("nodes"));
        recency.listed("nodes", secs(40));
        assert_eq!(recency.out_of_date(), Some("nodes"), "a list that took so long is as old");
    }

    #[tokio::test]
    async fn a_watch_that_begins_is_noted_and_nothing_else() {
        use tower::{ServiceExt, service_fn};
        let (recency, clock) = recency();
        recency.listed("nodes", secs(0));
        clock.0.store(40, Ordering::Relaxed);
        let as_of = || recency.lock().as_of["nodes"];
        let requests = [
            ("/api/v1/nodes?limit=50", 200, 0),
            ("/api/v1/nodes?watch=true", 410, 0),
            ("/api/v1/pods?watch=true", 200, 0),
            ("/api/v1/nodes?watch=true", 200, 40),
        ];
        for (uri, status, expected) in requests {
            let answer = move |_| async move {
                http::Response::builder().status(status).body(()).map_err(|e| e.to_string())
            };
            let request = http::Request::get(uri).body(()).unwrap();
            recency.layer(service_fn(answer)).oneshot(request).await.unwrap();
            assert_eq!(as_of(), secs(expected), "{uri} {status}");
        }
    }
}
