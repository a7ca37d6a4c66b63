//! The task that keeps the Lease, against API servers in a function.

use std::{
    collections::VecDeque,
    sync::{Mutex, atomic::AtomicU32},
};

use jiff::Timestamp;
use kube::client::Body;
use rerail_api::names;
use rerail_core::{
    ledger::{Slot, lost_run},
    run::Run,
};
use serde_json::json;
use tower::{BoxError, layer::util::Identity, service_fn};

use super::*;
use crate::{
    client::{CALL_DEADLINE, Clients},
    deps::{
        BootClock, Deps, LeaseName, NoFetch, NoWatchdog, Settings, SteadyClock, SystemBootClock,
        Watchdog,
    },
    record::metrics::Metrics,
    run::begin,
};

fn deps() -> Arc<Deps> {
    deps_with(Arc::new(SystemBootClock), Box::new(NoWatchdog))
}

fn deps_with(boot_clock: Arc<dyn BootClock>, watchdog: Box<dyn Watchdog>) -> Arc<Deps> {
    Arc::new(Deps {
        clock: Box::new(SteadyClock::start()),
        boot_clock,
        watchdog,
        identity: "operator-1-1".into(),
        fetch: Arc::new(NoFetch),
        pushes: Arc::default(),
        settings: Settings::outside_a_cluster(),
        metrics: Metrics::default(),
    })
}

/// A term with an API server that takes everything.
fn term() -> (Arc<Shared>, Keeper, Handle) {
    term_with(|request: http::Request<Body>| async move {
        let body = request.into_body().collect_bytes().await?;
        Ok::<_, BoxError>(http::Response::new(Body::from(body)))
    })
}

/// A term with an API server of this behaviour.
fn term_with<A>(
    answer: impl Fn(http::Request<Body>) -> A + Clone + Send + Sync + 'static,
) -> (Arc<Shared>, Keeper, Handle)
where
    A: Future<Output = Result<http::Response<Body>, BoxError>> + Send + 'static,
{
    let deps = deps();
    let shared = shared_with(deps.clone(), answer);
    let term = "operator-1-1_1";
    let document = Document::taken_over(None, term, nonce(term, 1));
    let (times, now) = (Times::default(), deps.clock.now());
    let lease =
        object::written(None, &document, (&LeaseName::default(), term), &times, now).unwrap();
    let sent = deps.boot_clock.since_boot();
    let (keeper, handle) = Keeper::begin(shared.clone(), lease, document, sent);
    (shared, keeper, handle)
}

fn shared_with<A>(
    deps: Arc<Deps>,
    answer: impl Fn(http::Request<Body>) -> A + Clone + Send + Sync + 'static,
) -> Arc<Shared>
where
    A: Future<Output = Result<http::Response<Body>, BoxError>> + Send + 'static,
{
    let clients = Clients::over(service_fn(answer), &Identity::new(), &deps.metrics);
    begin(clients, deps).0
}

fn run_of(uid: &str) -> Run {
    let slot =
        Slot { run_uid: uid.into(), node_name: format!("node-{uid}"), node_uid: "uid".into() };
    lost_run(&slot, Timestamp::UNIX_EPOCH)
}

/// Seed 140 of the explorer: the planner had not seen that a held run took its slot again (SAFE-4).
#[tokio::test]
async fn nobody_is_admitted_or_released_without_a_claim_that_was_made_meanwhile() {
    let (_shared, keeper, handle) = term();
    let admission = || Change { add: vec![Slot::of(&run_of("next"))], ..Change::default() };
    let keeping = tokio::spawn(keeper.keep());
    let decided_at = handle.claimed();
    handle.claim(&run_of("held"), Timestamp::UNIX_EPOCH).await.unwrap();
    let overtaken = handle.admit(admission(), decided_at).await;
    assert!(matches!(overtaken, Err(LeadError::Overtaken)), "{overtaken:?}");
    let release = Change { release: ["held".to_owned()].into(), ..Change::default() };
    handle.change(release.clone()).await.unwrap();
    assert!(handle.holds("held") && !handle.holds("next"));
    handle.admit(admission(), handle.claimed()).await.unwrap();
    assert!(handle.holds("held") && handle.holds("next"));
    let claim = handle.claims()["held"].clone();
    handle.forget_claim("held", &claim);
    handle.change(release).await.unwrap();
    assert!(!handle.holds("held"));
    handle.release().await;
    assert_eq!(keeping.await.unwrap(), Lost::Released);
}

/// Keeps one Lease, as an API server does, and fails as it is told: for each request in turn.
#[derive(Clone, Default)]
struct OneLease {
    lease: Arc<Mutex<(u64, Vec<u8>)>>,
    failures: Arc<Mutex<VecDeque<bool>>>,
}

impl OneLease {
    /// A term with this API server.
    fn term(&self) -> (Arc<Shared>, Keeper, Handle) {
        let serve = self.clone();
        term_with(move |request| {
            let server = serve.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await?;
                Ok(server.answer(&parts.method, &body))
            }
        })
    }

    fn answer(&self, method: &http::Method, body: &[u8]) -> http::Response<Body> {
        let status = |code: u16| {
            let text = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                "reason": if code == 409 { "Conflict" } else { "InternalError" }, "message": "told to fail" });
            let response = http::Response::builder().status(code);
            response.body(Body::from(text.to_string().into_bytes())).unwrap()
        };
        let mut lease = self.lease.lock().unwrap();
        let fails = self.failures.lock().unwrap().pop_front().unwrap_or(false);
        if method == http::Method::PUT {
            let mut sent: serde_json::Value = serde_json::from_slice(body).unwrap();
            let version = sent["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok());
            if version.is_some_and(|version: u64| version != lease.0) {
                return status(409);
            }
            let next = lease.0 + 1;
            sent["metadata"]["resourceVersion"] = json!(next.to_string());
            *lease = (next, sent.to_string().into_bytes());
        }
        // It is done all the same.
        if fails { status(500) } else { http::Response::new(Body::from(lease.1.clone())) }
    }
}

/// Seed 133 of the explorer: the answer to a write was lost, and the look that followed failed. The next
/// write was built before the look at what the first had done, and took two slots back (SAFE-4).
#[tokio::test]
async fn a_write_whose_answer_was_lost_is_not_taken_back_by_the_next() {
    let server = OneLease::default();
    let (_shared, keeper, handle) = server.term();
    let keeping = tokio::spawn(keeper.keep());
    let add = |uid: &str| Change { add: vec![Slot::of(&run_of(uid))], ..Change::default() };
    handle.change(add("zero")).await.unwrap();
    // It is done and not answered, and the look at it is not answered, either.
    server.failures.lock().unwrap().extend([true, true]);
    let lost = handle.change(add("first")).await;
    assert!(matches!(lost, Err(LeadError::NotWritten(_))), "{lost:?}");
    handle.change(add("second")).await.unwrap();
    for uid in ["zero", "first", "second"] {
        assert!(handle.holds(uid), "{uid}");
    }
    let stored: Lease = serde_json::from_slice(&server.lease.lock().unwrap().1).unwrap();
    let document = object::document(&stored).unwrap().unwrap();
    assert_eq!(document.ledger(), handle.ledger());
    handle.release().await;
    assert_eq!(keeping.await.unwrap(), Lost::Released);
}

/// Before, it asked again and again for an order that nobody could give.
#[tokio::test]
async fn when_nobody_works_any_more_the_lease_is_given_away() {
    let (shared, keeper, handle) = term();
    drop(handle);
    let lost = tokio::time::timeout(Duration::from_secs(5), keeper.keep()).await;
    assert!(matches!(lost, Ok(Lost::Released)), "{lost:?}");
    let (lease, _) = shared.seat.observed().unwrap();
    assert_eq!(object::seen(&lease.unwrap()).holder, "", "given away");
}

/// A restore of etcd: the watch waits at a version that is ahead, and never brings what a person did.
#[tokio::test(start_paused = true)]
async fn an_operator_that_is_frozen_reads_the_lease_now_and_then() {
    let server = OneLease::default();
    let (shared, _keeper, _handle) = server.term();
    let lease = |version: &str, annotations: serde_json::Value| {
        json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {}, "metadata": {
            "name": names::LEASE, "resourceVersion": version, "annotations": annotations } })
    };
    let garbage = lease("4", json!({ names::LEDGER: "garbage" }));
    shared.seat.put(serde_json::from_value(garbage).unwrap(), Duration::ZERO);
    *server.lease.lock().unwrap() = (5, lease("5", json!({})).to_string().into_bytes());
    let (_stop, stopping) = tokio::sync::watch::channel(false);
    let taken = super::super::stand_by::acquire(&shared, stopping, Duration::ZERO);
    let taken = tokio::time::timeout(Duration::from_mins(1), taken).await;
    assert!(taken.unwrap().is_some());
}

/// The clock of a test's runtime.
struct Virtual(tokio::time::Instant);

impl BootClock for Virtual {
    fn since_boot(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Counts what would have ended the process at once.
struct Bites(Virtual, Arc<AtomicU32>);

impl Watchdog for Bites {
    fn feed(&self, until: Option<Duration>) {
        if until.is_some_and(|until| until <= self.0.since_boot()) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Seen on an overloaded machine: the acquiring write was answered when the right to act had gone, and the
/// watchdog aborted a process that had nothing to step down from. Operators would have fallen over again
/// and again while their API server is slow.
#[tokio::test(start_paused = true)]
async fn a_lease_that_is_taken_too_slowly_begins_no_term_and_bites_nobody() {
    let (server, slow) = (OneLease::default(), Arc::new(AtomicU32::new(2)));
    let began = tokio::time::Instant::now();
    let bites = Arc::new(AtomicU32::default());
    let watchdog = Box::new(Bites(Virtual(began), bites.clone()));
    let serve = server.clone();
    let shared = shared_with(deps_with(Arc::new(Virtual(began)), watchdog), move |request| {
        let (server, slow) = (serve.clone(), slow.clone());
        async move {
            let (parts, body) = request.into_parts();
            let answer = server.answer(&parts.method, &body.collect_bytes().await?);
            // The write is waited for in vain; the look behind it is answered just in time.
            if slow.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
            {
                tokio::time::sleep(CALL_DEADLINE - Duration::from_millis(100)).await;
            }
            Ok(answer)
        }
    });
    let free = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {},
        "metadata": { "name": names::LEASE, "resourceVersion": "5" } });
    *server.lease.lock().unwrap() = (5, free.to_string().into_bytes());
    shared.seat.put(serde_json::from_value(free).unwrap(), Duration::ZERO);
    let (_stop, stopping) = tokio::sync::watch::channel(false);
    let taken = super::super::stand_by::acquire(&shared, stopping, Duration::ZERO);
    let taken = tokio::time::timeout(Duration::from_mins(2), taken).await.unwrap();
    let (keeper, _handle) = taken.unwrap();
    assert_eq!(bites.load(Ordering::Relaxed), 0);
    assert!(!keeper.is_too_late());
    // That of the first try was waited out, as anybody's.
    let lease = Times::default().lease;
    assert!(began.elapsed() > Times::default().renew_deadline + lease, "{:?}", began.elapsed());
    assert_eq!(keeper.epoch(), 2);
}
