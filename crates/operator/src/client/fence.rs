//! The fence around the client that writes: nothing is sent by a process that does not lead, nor when
//! less of its Lease is left than the call may take (SAFE-2). It asks the clock since boot at the
//! moment of sending, so that a process that was stopped, or a machine that slept, sends nothing of
//! what it had decided before.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use rerail_core::{lease::Limits, mutant};
use tower::{BoxError, Layer, Service};

use super::describe;
use crate::deps::BootClock;

/// A write that was not sent.
#[derive(Debug, thiserror::Error)]
enum Fenced {
    /// Not the leader, or not any more.
    #[error("not sent: this operator does not lead, or its Lease is too old to begin anything")]
    NotLeading,
    /// The Lease ran out while the call was under way.
    #[error("no answer before the Lease ran out; it will be looked up whether it was done")]
    RanOut,
}

#[derive(Default)]
enum State {
    /// No operator: a command of a person, or a program of the tests.
    #[default]
    Open,
    /// An operator, with its right to act.
    Armed { clock: Arc<dyn BootClock>, limits: Option<Limits> },
}

/// Who may write, shared by a client and the task that keeps the Lease.
#[derive(Clone, Default)]
pub struct Fence(Arc<Mutex<State>>);

impl Fence {
    /// From now on nothing is sent but by a leader.
    pub fn arm(&self, clock: Arc<dyn BootClock>) {
        *self.lock() = State::Armed { clock, limits: None };
    }

    /// Gives the right to act until then; `None` takes it.
    pub fn set(&self, new: Option<Limits>) {
        if let State::Armed { limits, .. } = &mut *self.lock() {
            *limits = new;
        }
    }

    /// How long a write that is sent now may take; `None` = as long as any.
    fn may_take(&self) -> Result<Option<std::time::Duration>, Fenced> {
        match &*self.lock() {
            State::Open => Ok(None),
            State::Armed { clock, limits } => {
                let now = clock.since_boot();
                match limits {
                    _ if mutant!("fence-open") => Ok(None),
                    Some(limits) if now < limits.begin => Ok(Some(limits.end.saturating_sub(now))),
                    Some(_) | None => Err(Fenced::NotLeading),
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Layer<S> for Fence {
    type Service = FencedService<S>;

    fn layer(&self, inner: S) -> FencedService<S> {
        FencedService { inner, fence: self.clone() }
    }
}

/// A service whose writes pass the fence.
#[derive(Clone)]
pub struct FencedService<S> {
    inner: S,
    fence: Fence,
}

/// True for what may be sent at any time: reads, the Lease itself, which is a compare-and-swap with
/// times of its own, and Events, which change nothing.
pub fn is_free<B>(request: &http::Request<B>) -> bool {
    let (_, resource) = describe(request.method(), request.uri());
    request.method() == http::Method::GET || resource == "leases" || resource == "events"
}

impl<S, B> Service<http::Request<B>> for FencedService<S>
where
    S: Service<http::Request<B>>,
    S::Error: Into<BoxError>,
    S::Response: Send + 'static,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let left = if is_free(&request) { Ok(None) } else { self.fence.may_take() };
        match left {
            Err(fenced) => Box::pin(async move { Err(fenced.into()) }),
            Ok(None) => {
                let answer = self.inner.call(request);
                Box::pin(async move { answer.await.map_err(Into::into) })
            }
            Ok(Some(left)) => {
                let answer = self.inner.call(request);
                Box::pin(async move {
                    match tokio::time::timeout(left, answer).await {
                        Ok(answer) => answer.map_err(Into::into),
                        Err(_) => Err(Fenced::RanOut.into()),
                    }
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU64, Ordering},
        time::Duration,
    };

    use tower::{ServiceExt, service_fn};

    use super::*;

    #[derive(Default)]
    struct Hand(AtomicU64);

    impl BootClock for Hand {
        fn since_boot(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::Relaxed))
        }
    }

    fn request(method: &str, uri: &str) -> http::Request<()> {
        http::Request::builder().method(method).uri(uri).body(()).unwrap()
    }

    async fn send(fence: &Fence, method: &str, uri: &str) -> Result<&'static str, String> {
        let server = service_fn(|_: http::Request<()>| async { Ok::<_, BoxError>("done") });
        let sent = fence.layer(server).oneshot(request(method, uri)).await;
        sent.map_err(|error| error.to_string())
    }

    const NODE: &str = "/api/v1/nodes/n1";

    #[tokio::test]
    async fn nothing_is_written_by_who_does_not_lead_or_whose_lease_is_too_old() {
        let (fence, clock) = (Fence::default(), Arc::new(Hand::default()));
        assert!(send(&fence, "PATCH", NODE).await.is_ok(), "a person's command");
        fence.arm(clock.clone());
        let refused = send(&fence, "PATCH", NODE).await.unwrap_err();
        assert!(refused.contains("does not lead"), "{refused}");
        let limits = Limits { begin: Duration::from_secs(10), end: Duration::from_secs(15) };
        fence.set(Some(limits));
        clock.0.store(9_999, Ordering::Relaxed);
        assert!(send(&fence, "PATCH", NODE).await.is_ok());
        clock.0.store(10_000, Ordering::Relaxed);
        for method in ["PATCH", "POST", "PUT", "DELETE"] {
            assert!(send(&fence, method, NODE).await.is_err(), "{method}");
        }
        fence.set(None);
        clock.0.store(0, Ordering::Relaxed);
        assert!(send(&fence, "PATCH", NODE).await.is_err());
    }

    #[tokio::test]
    async fn reads_the_lease_itself_and_events_always_pass() {
        let fence = Fence::default();
        fence.arm(Arc::new(Hand::default()));
        let lease = "/apis/coordination.k8s.io/v1/namespaces/rerail-system/leases/rerail-operator";
        let events = "/apis/events.k8s.io/v1/namespaces/default/events";
        for (method, uri) in [("GET", NODE), ("PUT", lease), ("POST", events)] {
            assert!(send(&fence, method, uri).await.is_ok(), "{method} {uri}");
        }
    }

    #[tokio::test]
    async fn a_call_is_given_up_when_the_lease_runs_out() {
        let fence = Fence::default();
        fence.arm(Arc::new(Hand::default()));
        let limits = Limits { begin: Duration::from_millis(20), end: Duration::from_millis(30) };
        fence.set(Some(limits));
        let silent =
            service_fn(|_: http::Request<()>| std::future::pending::<Result<(), BoxError>>());
        let error = fence.layer(silent).oneshot(request("PATCH", NODE)).await.unwrap_err();
        assert!(error.to_string().contains("before the Lease ran out"), "{error}");
    }
}
