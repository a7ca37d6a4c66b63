//! What the operator makes of AlertSources, on the simulated API server and tokio's paused clock, with an
//! Alertmanager in a function.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in helpers too")]

mod attach;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use attach::{clients, deps};
use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use rerail_api::AlertSource;
use rerail_operator::{
    alerts::{Answer, Presented},
    deps::{Access, Deps, Fetch, FetchError, Fetched},
};
use rerail_sim::{
    Options, Server,
    world::{self, Spec, World},
};
use serde_json::{Value, json};
use tokio::{
    task::{JoinHandle, LocalSet, spawn_local},
    time::sleep,
};

/// What an Alertmanager shows; `None`: it is away.
#[derive(Clone)]
struct Shown(Arc<Mutex<Option<Value>>>);

impl Fetch for Shown {
    fn get<'a>(
        &'a self,
        url: &'a str,
        _: &'a Access,
    ) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        let shown = self.0.lock().unwrap().clone();
        let body = match (shown, url.ends_with("/status")) {
            (None, _) => Err(FetchError::Unreachable("connection refused".into())),
            (Some(_), true) => Ok(json!({ "uptime": "2020-01-01T00:00:00Z" })),
            (Some(alerts), false) => Ok(alerts),
        };
        let fetched = body.map(|body| Fetched {
            status: 200,
            date: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            body: body.to_string().into_bytes().into(),
        });
        std::future::ready(fetched).boxed()
    }
}

/// One node, one Alertmanager, one operator that leads.
struct Cluster {
    client: Client,
    shown: Shown,
    deps: Arc<Deps>,
    stop: tokio::sync::oneshot::Sender<()>,
    operator: JoinHandle<Result<(), rerail_operator::StartError>>,
    _world: World,
}

fn hot() -> Value {
    json!([{ "labels": { "alertname": "Hot", "node": "worker", "priority": "4" } }])
}

impl Cluster {
    async fn start() -> Self {
        let server = Server::new(Options::default());
        let world = World::new(&server, world::Options::default());
        world.join(Spec::new("worker")).unwrap();
        let config = json!({ "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "namespace": "rerail-system", "name": "rerail-config" },
            "data": { "config.yaml": "{}" } });
        world.create(&config).unwrap();
        let shown = Shown(Arc::new(Mutex::new(Some(hot()))));
        let deps = deps(&server, shown.clone());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let operator =
            spawn_local(rerail_operator::run(clients(&server), deps.clone(), stopped.map(drop)));
        let client = server.client();
        sleep(Duration::from_secs(5)).await;
        Cluster { client, shown, deps, stop, operator, _world: world }
    }

    fn sources(&self) -> Api<AlertSource> {
        Api::all(self.client.clone())
    }

    async fn source(&self, name: &str, more: Value) {
        let mut spec = json!({ "alertmanager": { "urls": ["http://am"], "receiver": "r" } });
        for (field, value) in more.as_object().unwrap() {
            spec[field] = value.clone();
        }
        let object = json!({ "apiVersion": "rerail.dev/v1alpha1", "kind": "AlertSource",
            "metadata": { "name": name }, "spec": spec });
        let object = serde_json::from_value(object).unwrap();
        self.sources().create(&PostParams::default(), &object).await.unwrap();
    }

    async fn change(&self, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({ "spec": spec }));
        self.sources().patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Types and statuses of conditions from alerts, after so many seconds.
    async fn conditions_after(&self, seconds: u64) -> Vec<(String, String)> {
        sleep(Duration::from_secs(seconds)).await;
        let nodes: Api<Node> = Api::all(self.client.clone());
        let conditions = nodes.get("worker").await.unwrap().status.unwrap().conditions.unwrap();
        let ours = conditions.into_iter().filter(|condition| condition.type_.starts_with("A_"));
        ours.map(|condition| (condition.type_, condition.status)).collect()
    }

    fn push(&self, token: &str) -> Answer {
        self.deps.pushes.push("main", &Presented { token: Some(token), has_name: &|_| false })
    }

    async fn secret(&self, token: &str) {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), "rerail-system");
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "stringData": { "token": token },
            "metadata": { "name": "hook", "annotations": { "rerail.dev/alert-sources": "main" } } });
        let secret: Secret = serde_json::from_value(secret).unwrap();
        let _ = secrets.delete("hook", &DeleteParams::default()).await;
        secrets.create(&PostParams::default(), &secret).await.unwrap();
    }
}

fn some(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(kind, status)| ((*kind).to_owned(), (*status).to_owned())).collect()
}

async fn on_a_cluster<F: Future<Output = ()>>(scenario: impl FnOnce(Cluster) -> F) {
    // The compiler cannot see that the operator's future may go to another thread.
    LocalSet::new().run_until(async { scenario(Cluster::start().await).await }).await;
}

#[tokio::test(start_paused = true)]
async fn conditions_of_a_prefix_that_a_source_gives_up_go_also_where_the_next_one_begins_with_it() {
    on_a_cluster(|cluster| async move {
        cluster.source("main", json!({ "conditionPrefix": "A_" })).await;
        assert_eq!(cluster.conditions_after(10).await, some(&[("A_Hot", "True")]));
        cluster.change("main", json!({ "conditionPrefix": "A_X_" })).await;
        assert_eq!(cluster.conditions_after(30).await, some(&[("A_X_Hot", "True")]));
        // One that cannot be worked with is still there; its conditions are not, once it has gone.
        cluster.change("main", json!({ "expression": "labels.node =" })).await;
        assert_eq!(cluster.conditions_after(30).await, some(&[("A_X_Hot", "True")]));
        cluster.sources().delete("main", &DeleteParams::default()).await.unwrap();
        assert_eq!(cluster.conditions_after(30).await, some(&[]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_falls_silent_makes_nothing_false_and_in_time_everything_unknown() {
    on_a_cluster(|cluster| async move {
        cluster.source("main", json!({ "conditionPrefix": "A_", "staleAfter": "1m" })).await;
        assert_eq!(cluster.conditions_after(10).await, some(&[("A_Hot", "True")]));
        *cluster.shown.0.lock().unwrap() = None;
        assert_eq!(cluster.conditions_after(50).await, some(&[("A_Hot", "True")]));
        assert_eq!(cluster.conditions_after(20).await, some(&[("A_Hot", "Unknown")]));
        *cluster.shown.0.lock().unwrap() = Some(json!([]));
        assert_eq!(cluster.conditions_after(10).await, some(&[("A_Hot", "False")]));
        // Who does not lead any more says nothing of what fires.
        let page = cluster.deps.metrics.page().unwrap();
        assert!(page.contains("rerail_alert_source_up{source=\"main\""), "{page}");
        cluster.stop.send(()).unwrap();
        cluster.operator.await.unwrap().unwrap();
        let page = cluster.deps.metrics.page().unwrap();
        assert!(!page.contains("source=\"main\""), "{page}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_token_that_changes_counts_within_half_a_minute_however_seldom_its_source_is_polled() {
    on_a_cluster(|cluster| async move {
        let push = json!({ "pollInterval": "10m", "staleAfter": "20m", "heartbeatInterval": "10m",
            "push": { "bearerTokenSecretName": "hook" } });
        assert_eq!(cluster.push("first"), Answer::Denied, "there is no such source");
        cluster.secret("first").await;
        cluster.source("main", push).await;
        sleep(Duration::from_secs(5)).await;
        assert_eq!(
            (cluster.push("first"), cluster.push("second")),
            (Answer::Polled, Answer::Denied)
        );
        cluster.secret("second").await;
        sleep(Duration::from_secs(35)).await;
        assert_eq!(
            (cluster.push("first"), cluster.push("second")),
            (Answer::Denied, Answer::Polled)
        );
    })
    .await;
}
