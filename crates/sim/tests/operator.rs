//! The unchanged operator, its watches, its election and its clients, on the simulated API server and
//! tokio's paused clock: one sick node, all the way.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in helpers too")]

mod kubelet;

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{ConfigMap, Node, Pod},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use kubelet::{CONDITION, Kubelet};
use rerail_api::{NodeRemediation, RemediationPolicy, names, remediation::StepName};
use rerail_core::{lease::Times, step::Step};
use rerail_operator::{
    client::{Clients, Fence, ServerClock},
    deps::{BootClock, Clock, Deps, Settings, Watchdog},
    record::metrics::Metrics,
};
use rerail_sim::{Options, Server};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::{
    task::{LocalSet, spawn_local},
    time::{Instant, sleep},
};
use tower::Layer;

struct SimClock(Server);

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

struct SinceStart(Instant);

impl BootClock for SinceStart {
    fn since_boot(&self) -> Duration {
        // A machine that has been up for a while.
        Duration::from_secs(3600) + self.0.elapsed()
    }
}

struct NoWatchdog;

impl Watchdog for NoWatchdog {
    fn feed(&self, _: Option<Duration>) {}
}

/// The layers that the operator puts around its transports, but for what belongs to sockets.
fn clients(server: &Server) -> Clients {
    let (server_clock, fence) = (ServerClock::default(), Fence::default());
    let read = Client::new(server_clock.layer(server.clone()), "default");
    let act = Client::new(fence.layer(server_clock.layer(server.clone())), "default");
    Clients { read, act, server_clock, fence }
}

fn deps(server: &Server) -> Arc<Deps> {
    Arc::new(Deps {
        clock: Box::new(SimClock(server.clone())),
        boot_clock: Arc::new(SinceStart(Instant::now())),
        watchdog: Box::new(NoWatchdog),
        identity: "sim_1".into(),
        settings: Settings {
            pod_name: String::new(),
            node_name: String::new(),
            node_image: "rerail".into(),
            reboot_command: vec!["reboot".into()],
            election: Times::default(),
        },
        metrics: Metrics::default(),
    })
}

async fn create<K>(api: &Api<K>, object: serde_json::Value) -> K
where
    K: kube::Resource + Serialize + DeserializeOwned + Clone + std::fmt::Debug,
{
    let object = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap()
}

/// Two nodes, of which `n1` is sick; an application of one pod there, whose budget allows one eviction.
async fn set_the_scene(server: &Server) {
    let client = server.client();
    let nodes: Api<Node> = Api::all(client.clone());
    for name in ["n1", "n2"] {
        create(&nodes, json!({ "metadata": { "name": name, "labels": { "pool": "a" } } })).await;
        // What the node lifecycle controller takes off when the node is ready.
        let no_taints = Patch::Merge(json!({ "spec": { "taints": null } }));
        nodes.patch(name, &PatchParams::default(), &no_taints).await.unwrap();
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let owner = json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u", "controller": true });
    create(
        &pods,
        json!({
            "metadata": { "name": "web", "labels": { "app": "web" }, "ownerReferences": [owner] },
            "spec": { "nodeName": "n1", "containers": [{ "name": "c", "image": "i" }] },
        }),
    )
    .await;
    let running = json!({ "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] } });
    pods.patch_status("web", &PatchParams::default(), &Patch::Strategic(running)).await.unwrap();
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(client.clone(), "default");
    create(
        &budgets,
        json!({
            "metadata": { "name": "web" },
            "spec": { "maxUnavailable": 1, "selector": { "matchLabels": { "app": "web" } } },
        }),
    )
    .await;
    let status = json!({ "status": { "observedGeneration": 1, "currentHealthy": 1, "desiredHealthy": 0,
        "expectedPods": 1, "disruptionsAllowed": 1 } });
    budgets.patch_status("web", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), names::SYSTEM_NAMESPACE);
    create(&maps, json!({
        "metadata": { "name": names::CONFIG_CONFIG_MAP }, "data": { names::CONFIG_KEY: "maxUnavailable: 100%\n" },
    })).await;
    let policies: Api<RemediationPolicy> = Api::all(client);
    create(&policies, json!({
        "apiVersion": "rerail.dev/v1alpha1", "kind": "RemediationPolicy", "metadata": { "name": "p" },
        "spec": {
            "mode": "Enforce", "nodes": { "selector": { "matchLabels": { "pool": "a" } } },
            "triggers": [{ "condition": { "type": CONDITION } }], "budget": { "maxUnavailable": "100%" },
        },
    })).await;
}

async fn run_of(client: &Client, node: &str) -> Option<NodeRemediation> {
    let runs: Api<NodeRemediation> = Api::all(client.clone());
    let of_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    runs.list(&of_node).await.unwrap().items.pop()
}

/// The step that a node's run is in after at most an hour.
async fn ended(client: &Client) -> NodeRemediation {
    for _ in 0..3600 {
        sleep(Duration::from_secs(1)).await;
        let run = run_of(client, "n1").await;
        let step =
            run.as_ref().and_then(|run| run.status.as_ref()).map(|status| status.step.clone());
        if let (Some(run), Some(StepName::Known(step))) = (run, step)
            && step.is_terminal()
        {
            return run;
        }
    }
    let policies: Api<RemediationPolicy> = Api::all(client.clone());
    let policy = policies.get("p").await.unwrap().status;
    panic!("no end within an hour: {:#?}\n{policy:#?}", run_of(client, "n1").await);
}

#[tokio::test(start_paused = true)]
async fn the_operator_remediates_a_node_on_the_simulated_server() {
    // The compiler cannot see that the operator's future may go to another thread.
    LocalSet::new().run_until(healthy()).await;
}

async fn healthy() {
    // RUST_LOG tells the operator's story when this fails.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    let server = Server::new(Options::default());
    set_the_scene(&server).await;
    for (node, sick) in [("n1", true), ("n2", false)] {
        tokio::spawn(Kubelet::new(&server, node, sick).run());
    }
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let operator =
        spawn_local(rerail_operator::run(clients(&server), deps(&server), stopped.map(drop)));
    let client = server.client();
    let run = ended(&client).await;
    let status = run.status.unwrap();
    assert_eq!(status.step, StepName::Known(Step::Succeeded));
    let steps: Vec<_> = status.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(
        steps,
        [
            "Cordoning",
            "Diagnosing",
            "Draining",
            "Rebooting",
            "Verifying",
            "Uncordoning",
            "Succeeded"
        ]
    );
    let nodes: Api<Node> = Api::all(client.clone());
    let node = nodes.get("n1").await.unwrap();
    assert_eq!(node.spec.unwrap_or_default().unschedulable, None);
    assert_eq!(node.status.unwrap().node_info.unwrap().boot_id, "boot-n1-2");
    let pods: Api<Pod> = Api::namespaced(client, "default");
    assert!(pods.get_opt("web").await.unwrap().is_none(), "evicted");
    stop.send(()).unwrap();
    operator.await.unwrap().unwrap();
}
