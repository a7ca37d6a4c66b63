use std::sync::atomic::{AtomicU64, Ordering};

use http_body_util::{Full, StreamBody};
use kube::{Api, Client, client::Body, runtime::watcher};
use rerail_api::RemediationPolicy;
use tower::{ServiceExt, service_fn};

use super::*;
use crate::observe::watch::follow_recent;

#[derive(Default)]
struct Seconds(AtomicU64);

impl BootClock for Seconds {
    fn since_boot(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

impl Seconds {
    fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::Relaxed);
    }
}

/// Everything was listed at 0, and a watch has told something since.
fn recency() -> (Recency, Arc<Seconds>) {
    let (recency, clock) = (Recency::default(), Arc::new(Seconds::default()));
    recency.arm(clock.clone());
    assert_eq!(recency.out_of_date(), Some(NODES), "nothing was listed yet");
    for kind in KINDS {
        recency.listed(kind, secs(0));
        recency.told(kind, secs(0));
    }
    assert_eq!(recency.out_of_date(), None);
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
    clock.set(50);
    KINDS.iter().for_each(|kind| recency.told(kind, secs(50)));
    clock.set(160);
    assert_eq!(recency.out_of_date(), None, "asked for 110 s ago");
    clock.set(161);
    recency.told(NODES, secs(161));
    assert_eq!(recency.out_of_date(), Some(NODES), "what it has to tell may not have come");
    let began = recency.list_begins(NODES);
    recency.told(NODES, secs(161));
    assert_eq!(recency.out_of_date(), Some(NODES), "the list is not complete");
    recency.listed(NODES, began);
    assert_eq!(recency.out_of_date(), Some(RUNS));
}

#[test]
fn a_watch_counts_from_when_it_was_asked_for() {
    let (recency, clock) = recency();
    clock.set(100);
    KINDS.iter().for_each(|kind| recency.told(kind, secs(52)));
    clock.set(163);
    assert_eq!(recency.out_of_date(), Some(NODES));
}

/// Of a very large cluster, through an API server that is slow.
#[test]
fn the_watch_behind_a_list_that_took_long_carries_it_on() {
    let (recency, clock) = recency();
    for kind in KINDS {
        clock.set(200);
        let began = recency.list_begins(kind);
        clock.set(400);
        recency.list_goes_on(kind);
        recency.listed(kind, began);
    }
    assert_eq!(recency.out_of_date(), Some(NODES));
    KINDS.iter().for_each(|kind| recency.told(kind, secs(401)));
    assert_eq!(recency.out_of_date(), None);
}

#[tokio::test]
async fn what_a_watch_tells_is_noted_and_nothing_else() {
    let (recency, clock) = recency();
    clock.set(40);
    let as_of = || recency.lock().kinds[NODES].as_of;
    let requests = [
        ("/api/v1/nodes?limit=50", 200, "x", 0),
        ("/api/v1/nodes?watch=true", 410, "x", 0),
        ("/api/v1/pods?watch=true", 200, "x", 0),
        ("/api/v1/nodes?watch=true", 200, "", 0),
        ("/api/v1/nodes?watch=true", 200, "x", 40),
    ];
    for (uri, status, body, expected) in requests {
        let answer = move |_| async move {
            let body = Full::new(bytes::Bytes::from_static(body.as_bytes()));
            http::Response::builder().status(status).body(body).map_err(|e| e.to_string())
        };
        let request = http::Request::get(uri).body(()).unwrap();
        let answer = recency.layer(service_fn(answer)).oneshot(request).await.unwrap();
        assert_eq!(as_of(), Some(secs(0)), "a head tells nothing: {uri} {status}");
        answer.into_body().collect().await.unwrap();
        assert_eq!(as_of(), Some(secs(expected)), "{uri} {status}");
    }
}

/// On the runtime's clock, which is paused.
struct SinceStart(tokio::time::Instant);

impl BootClock for SinceStart {
    fn since_boot(&self) -> Duration {
        secs(1_000) + self.0.elapsed()
    }
}

/// A way that lets heads through, and no bodies of watches.
#[tokio::test(start_paused = true)]
async fn where_no_watch_tells_anything_a_list_is_made_again_and_again() {
    let recency = Recency::default();
    recency.arm(Arc::new(SinceStart(tokio::time::Instant::now())));
    let lists = Arc::new(AtomicU64::new(0));
    let counted = lists.clone();
    let answer = move |request: http::Request<Body>| {
        let (verb, _) = describe(request.method(), request.uri());
        let list = r#"{"kind":"RemediationPolicyList","apiVersion":"rerail.dev/v1alpha1","metadata":{"resourceVersion":"7"},"items":[]}"#;
        if verb == "list" {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        async move {
            let silent = StreamBody::new(futures::stream::pending::<
                Result<http_body::Frame<bytes::Bytes>, BoxError>,
            >());
            let body = match verb {
                "list" => Full::from(list).map_err(BoxError::from).boxed_unsync(),
                _ => silent.boxed_unsync(),
            };
            Ok::<_, BoxError>(http::Response::new(body))
        }
    };
    let client = Client::new(recency.layer(service_fn(answer)), "default");
    let policies = (Api::<RemediationPolicy>::all(client), watcher::Config::default());
    let following =
        follow_recent(recency.clone(), POLICIES, policies, "policies".to_owned(), |_| {});
    let so_far = || {
        let known = recency.lock().kinds[POLICIES];
        (known.is_recent(recency.now()), lists.load(Ordering::Relaxed))
    };
    let looks = async {
        tokio::time::sleep(secs(100)).await;
        assert_eq!(so_far(), (true, 1));
        tokio::time::sleep(secs(12)).await;
        assert_eq!(so_far(), (false, 1), "112 s after the only list");
        tokio::time::sleep(secs(8)).await;
        assert_eq!(so_far(), (true, 2));
        tokio::time::sleep(secs(280)).await;
        assert_eq!(so_far().1, 4);
    };
    tokio::select! {
        biased;
        () = following => panic!("it ends"),
        () = looks => {}
    }
}
