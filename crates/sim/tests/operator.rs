//! The unchanged operator, its watches, its election and its clients, on the simulated API server and
//! tokio's paused clock: one sick node, all the way.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in helpers too")]

mod attach;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use attach::{clients, deps};
use futures::FutureExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, Client, api::ListParams};
use rerail_api::{NodeRemediation, RemediationPolicy, remediation::StepName};
use rerail_core::step::Step;
use rerail_operator::deps::NoFetch;
use rerail_sim::{
    Options, Server, Store,
    observe::{Cause, Happening, Observer, What},
    store::Commit,
    world::{Scene, World},
};
use tokio::{
    task::{LocalSet, spawn_local},
    time::sleep,
};

async fn run_of(client: &Client, node: &str) -> Option<NodeRemediation> {
    let runs: Api<NodeRemediation> = Api::all(client.clone());
    let of_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    runs.list(&of_node).await.unwrap().items.pop()
}

/// A node's run when it has ended, after at most an hour.
async fn ended(client: &Client, node: &str) -> NodeRemediation {
    for _ in 0..3600 {
        sleep(Duration::from_secs(1)).await;
        let run = run_of(client, node).await;
        let step =
            run.as_ref().and_then(|run| run.status.as_ref()).map(|status| status.step.clone());
        if let (Some(run), Some(StepName::Known(step))) = (run, step)
            && step.is_terminal()
        {
            return run;
        }
    }
    let policies: Api<RemediationPolicy> = Api::all(client.clone());
    let policies = policies.list(&ListParams::default()).await.unwrap();
    panic!("no end within an hour: {:#?}\n{:#?}", run_of(client, node).await, policies.items);
}

/// RUST_LOG tells the operator's story when a test fails.
fn tell() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}

/// What really happened, in order.
#[derive(Clone, Default)]
struct Story(Arc<Mutex<Vec<Happening>>>);

impl Observer for Story {
    fn committed(&mut self, _: &Store, _: &Commit) {}

    fn happened(&mut self, _: &Store, happening: &Happening) {
        self.0.lock().unwrap().push(happening.clone());
    }
}

impl Story {
    fn of(&self, subject: &str) -> Vec<What> {
        let all = self.0.lock().unwrap();
        all.iter().filter(|one| one.subject == subject).map(|one| one.what.clone()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn the_operator_remediates_a_node_on_the_simulated_server() {
    // The compiler cannot see that the operator's future may go to another thread.
    LocalSet::new().run_until(healthy()).await;
}

async fn healthy() {
    tell();
    let server = Server::new(Options::default());
    let story = Story::default();
    server.observe(story.clone());
    let world = World::open(&server, Scene::named("single-run").unwrap(), 1).unwrap();
    let before = world.machine("worker-001").unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let operator = spawn_local(rerail_operator::run(
        clients(&server),
        deps(&server, NoFetch),
        stopped.map(drop),
    ));
    let client = server.client();
    let run = ended(&client, "worker-001").await;
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
    let node = nodes.get("worker-001").await.unwrap();
    assert_eq!(node.spec.unwrap_or_default().unschedulable, None);
    let after = world.machine("worker-001").unwrap();
    assert_ne!(after.boot_id, before.boot_id);
    assert_eq!(node.status.unwrap().node_info.unwrap().boot_id, after.boot_id);
    assert_eq!((after.boots, after.sick.len()), (1, 0));
    // The truth: the Pod of the run's one attempt acted, and that is why the machine booted.
    let cause = Cause::Pod { run: run.metadata.uid.unwrap(), attempt: 1 };
    let what = story.of("worker-001");
    let at = |wanted: &What| what.iter().position(|one| one == wanted).unwrap();
    let sick = |on| What::Sick { condition: "KernelDeadlock".to_owned(), on };
    let boot = What::Boot { boot_id: after.boot_id.clone(), cause: cause.clone() };
    assert!(at(&sick(true)) < at(&What::Acts(cause.clone())));
    assert!(at(&What::Acts(cause.clone())) < at(&What::Down(cause)));
    assert!(at(&boot) < at(&sick(false)));
    // The application is whole again, on the other nodes.
    let pods: Api<Pod> = Api::namespaced(client, "default");
    let web = pods.list(&ListParams::default().labels("app=web")).await.unwrap();
    assert_eq!(web.items.len(), 4);
    assert_eq!(world.complaints(), Vec::<String>::new());
    stop.send(()).unwrap();
    operator.await.unwrap().unwrap();
}
