//! How recent the caches are by which starts are decided. What is to be started is read afresh, but how
//! many other nodes are out is counted by what the watches have told (SAFE-4). A process that was cut
//! off goes on with caches as old as that, and has the Lease again before its watches have told
//! anything.
//!
//! A list tells what was there when it was asked for. A watch tells all that has happened since the version
//! that it was opened at, and so carries on what is known, as long as no gap is between them: after a gap
//! what it has to tell comes in its own time, and only a list shows that all is there. A watch counts once
//! its body has told something, were it only a bookmark: where only heads come through, nothing is told.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use rerail_core::mutant;
use tower::{BoxError, Layer, Service};

use super::watch::WATCH_SECONDS;
use crate::{
    client::{CALL_DEADLINE, describe},
    deps::BootClock,
};

/// Older than this nothing starts by it. A quiet watch tells nothing but a bookmark shortly before its end;
/// the next one has [`CALL_DEADLINE`] to begin, and tells as late.
pub const RECENT: Duration =
    Duration::from_secs(2 * WATCH_SECONDS as u64).saturating_add(CALL_DEADLINE);

/// How often it is looked whether a watch has been silent for too long.
const LOOK: Duration = Duration::from_secs(5);

/// The nodes, as their resource is called.
pub const NODES: &str = "nodes";

/// The runs.
pub const RUNS: &str = "noderemediations";

/// The policies.
pub const POLICIES: &str = "remediationpolicies";

/// The kinds of objects that starts are decided by.
const KINDS: [&str; 3] = [NODES, RUNS, POLICIES];

/// What is known of one kind; times are on the clock since boot.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// What is known is not older than this; `None` before a list is complete.
    as_of: Option<Duration>,
    /// No watch has told anything since the list, however long that took: the first one carries it on.
    just_listed: bool,
    /// The last sign of life.
    heard: Duration,
}

impl Known {
    fn is_recent(&self, now: Duration) -> bool {
        self.as_of.is_some_and(|as_of| now.saturating_sub(as_of) <= RECENT)
    }
}

#[derive(Default)]
struct State {
    clock: Option<Arc<dyn BootClock>>,
    kinds: BTreeMap<&'static str, Known>,
}

/// How recent the caches of a process are; clones are the same. One who keeps none never arms it.
#[derive(Clone, Default)]
pub struct Recency(Arc<Mutex<State>>);

impl Recency {
    /// From now on what watches tell is noted.
    pub fn arm(&self, clock: Arc<dyn BootClock>) {
        self.lock().clock = Some(clock);
    }

    fn now(&self) -> Duration {
        self.lock().clock.as_ref().map(|clock| clock.since_boot()).unwrap_or_default()
    }

    /// A list is begun: what the watch before it told is not carried on. Returns when.
    pub(super) fn list_begins(&self, resource: &'static str) -> Duration {
        let now = self.now();
        self.lock().kinds.insert(resource, Known { heard: now, ..Known::default() });
        now
    }

    /// A part of a list has come.
    pub(super) fn list_goes_on(&self, resource: &'static str) {
        let now = self.now();
        self.lock().kinds.entry(resource).or_default().heard = now;
    }

    /// Every object is known as it was when the list began.
    pub(super) fn listed(&self, resource: &'static str, began: Duration) {
        let known = Known { as_of: Some(began), just_listed: true, heard: self.now() };
        self.lock().kinds.insert(resource, known);
    }

    /// A watch that was asked for then has told something.
    fn told(&self, resource: &str, asked: Duration) {
        let now = self.now();
        let mut state = self.lock();
        let Some((_, known)) = state.kinds.iter_mut().find(|(kind, _)| **kind == resource) else {
            return;
        };
        if known.as_of.is_some() && (known.just_listed || known.is_recent(now)) {
            *known = Known { as_of: known.as_of.max(Some(asked)), just_listed: false, heard: now };
        }
    }

    /// The first kind of objects of which not enough is known to start anything by it.
    pub fn out_of_date(&self) -> Option<&'static str> {
        let now = self.now();
        let state = self.lock();
        state.clock.as_ref()?;
        let is_old =
            |kind: &&&str| state.kinds.get(**kind).is_none_or(|known| !known.is_recent(now));
        KINDS.iter().find(is_old).copied().filter(|_| !mutant!("caches-of-any-age"))
    }

    /// Resolves when nothing was told for too long, and no list is under way: one has to be made.
    pub(super) async fn overdue(&self, resource: &'static str) {
        let began = self.now();
        loop {
            tokio::time::sleep(LOOK).await;
            let known = self.lock().kinds.get(resource).copied().unwrap_or_default();
            let now = self.now();
            let silent = now.saturating_sub(known.heard.max(began)) > RECENT;
            if silent && !known.is_recent(now) && !mutant!("caches-of-any-age") {
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

/// What comes through it.
pub type Noted = UnsyncBoxBody<bytes::Bytes, BoxError>;

/// A service whose watches are noted when they tell something.
#[derive(Clone)]
pub struct Noting<S> {
    inner: S,
    recency: Recency,
}

impl<S, B, C> Service<http::Request<B>> for Noting<S>
where
    S: Service<http::Request<B>, Response = http::Response<C>>,
    S::Future: Send + 'static,
    C: http_body::Body<Data = bytes::Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = http::Response<Noted>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let (verb, resource) = describe(request.method(), request.uri());
        let asked = (verb == "watch").then(|| self.recency.now());
        let (answer, recency) = (self.inner.call(request), self.recency.clone());
        Box::pin(async move {
            let answer = answer.await?;
            let mut first = asked.filter(|_| answer.status().is_success());
            Ok(answer.map(|body| {
                let noted = body.map_err(Into::into).map_frame(move |frame| {
                    if let Some(asked) = first.take() {
                        recency.told(&resource, asked);
                    }
                    frame
                });
                noted.boxed_unsync()
            }))
        })
    }
}

#[cfg(test)]
mod tests;
