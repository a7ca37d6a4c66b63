//! The operator as users run it, two replicas of it, each in front of the simulated API server instead
//! of a real one. Nothing of it is another: `rerail_operator::run`, its election and its watches.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, future::LocalBoxFuture};
use http::{Method, Request, Response};
use jiff::Timestamp;
use kube::client::Body;
use rerail_operator::{
    StartError,
    client::Clients,
    deps::{BootClock, Clock, Deps, NoFetch, NoWatchdog, Settings},
    record::metrics::Metrics,
};
use rerail_sim::{
    Answered, Server,
    observe::{Happening, What},
};
use serde_json::Value;
use tokio::{
    sync::oneshot,
    task::{JoinHandle, spawn_local},
    time::Instant,
};
use tower::{BoxError, Service, layer::util::Identity};

/// The replicas, by the names of their pods.
const REPLICAS: [&str; 2] = ["rerail-operator-a", "rerail-operator-b"];

/// How long they may take to finish what they are at, by the cluster's clock.
const LAST_ACTS: Duration = Duration::from_secs(20);

/// The cluster's clock, which is every machine's.
struct SimClock(Server);

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

/// Since a machine's boot, long ago.
struct SinceBoot(Instant);

impl BootClock for SinceBoot {
    fn since_boot(&self) -> Duration {
        Duration::from_secs(24 * 3600) + self.0.elapsed()
    }
}

/// Why an operator is not at work any more.
#[derive(Debug, thiserror::Error)]
pub enum CrewError {
    /// It gave up.
    #[error("the operator ended: {0}")]
    Ended(#[from] StartError),
    /// A bug.
    #[error("the operator broke down: {0}; this is a bug, and worth a report")]
    Broken(#[from] tokio::task::JoinError),
}

/// The replicas at work.
pub struct Crew {
    server: Server,
    replicas: Vec<Replica>,
}

struct Replica {
    name: &'static str,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), StartError>>,
}

impl Crew {
    /// Starts them. Within a `LocalSet`.
    pub fn start(server: &Server) -> Self {
        let replicas = REPLICAS.map(|name| Replica::start(server, name));
        Crew { server: server.clone(), replicas: replicas.into() }
    }

    /// Stops them in order: what is under way is finished and on record, and the Lease is released.
    pub async fn stop(self) -> Result<(), CrewError> {
        for Replica { name, stop, task } in self.replicas {
            let _ = stop.send(());
            // One that cannot finish is left behind; the world ends anyway.
            if let Ok(ended) = tokio::time::timeout(LAST_ACTS, task).await {
                ended??;
            }
            happened(&self.server, name, What::OperatorEnded { killed: false });
        }
        Ok(())
    }

    /// True when one of them has ended by itself, which it never should.
    pub fn is_broken(&self) -> bool {
        self.replicas.iter().any(|replica| replica.task.is_finished())
    }
}

impl Replica {
    fn start(server: &Server, name: &'static str) -> Replica {
        let server = server.acting_as(name);
        happened(&server, name, What::OperatorStarted);
        let (stop, stopped) = oneshot::channel::<()>();
        let metrics = Metrics::default();
        let clients = clients(&server, &metrics);
        let run = rerail_operator::run(clients, deps(&server, name, metrics), stopped.map(drop));
        let run: LocalBoxFuture<'_, _> = run.boxed_local();
        Replica { name, stop, task: spawn_local(run) }
    }
}

fn happened(server: &Server, name: &str, what: What) {
    server.happened(&Happening { at: server.now(), subject: name.to_owned(), what });
}

/// The layers that the operator puts around its transports, but for what belongs to sockets.
fn clients(server: &Server, metrics: &Metrics) -> Clients {
    Clients::over(OnItsClock(server.clone()), &Identity::new(), metrics)
}

fn deps(server: &Server, name: &str, metrics: Metrics) -> Arc<Deps> {
    Arc::new(Deps {
        clock: Box::new(SimClock(server.clone())),
        boot_clock: Arc::new(SinceBoot(Instant::now())),
        watchdog: Box::new(NoWatchdog),
        identity: format!("{name}_1"),
        fetch: Arc::new(NoFetch),
        pushes: Arc::default(),
        settings: Settings { pod_name: name.to_owned(), ..Settings::outside_a_cluster() },
        metrics,
    })
}

/// kube's recorder of Events reads the clock of the machine that it runs on, and knows no other. On the
/// way to the server its times become those of the simulated machine.
#[derive(Clone)]
struct OnItsClock(Server);

impl Service<Request<Body>> for OnItsClock {
    type Response = Response<Answered>;
    type Error = BoxError;
    type Future = <Server as Service<Request<Body>>>::Future;

    fn poll_ready(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_event = request.uri().path().starts_with("/apis/events.k8s.io/");
        let writes = matches!(*request.method(), Method::POST | Method::PATCH | Method::PUT);
        if !(is_event && writes) {
            return self.0.call(request);
        }
        let mut server = self.0.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await?;
            let body = dated(&body, server.now());
            server.call(Request::from_parts(parts, Body::from(body))).await
        })
    }
}

/// An Event with these times in place of its own.
fn dated(body: &Bytes, now: Timestamp) -> Vec<u8> {
    let Ok(mut event) = serde_json::from_slice::<Value>(body) else { return body.to_vec() };
    let now = Value::String(format!("{now:.6}"));
    for pointer in ["/eventTime", "/series/lastObservedTime"] {
        if let Some(time) = event.pointer_mut(pointer)
            && !time.is_null()
        {
            *time = now.clone();
        }
    }
    event.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_bear_the_times_of_the_cluster() {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        let event = json!({ "eventTime": "2031-05-05T05:05:05.000001Z", "series": { "count": 2,
            "lastObservedTime": "2031-05-05T05:05:06.000001Z" }, "note": "n" });
        let dated: Value =
            serde_json::from_slice(&dated(&Bytes::from(event.to_string()), now)).unwrap();
        let time = "2026-01-01T00:10:00.000000Z";
        assert_eq!(
            dated,
            json!({ "eventTime": time, "series": { "count": 2, "lastObservedTime": time }, "note": "n" })
        );
        assert_eq!(super::dated(&Bytes::from("nonsense"), now), b"nonsense");
    }
}
