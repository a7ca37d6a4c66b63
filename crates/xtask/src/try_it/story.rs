//! The live part: what the run's status says, as it says it, and what the machine really does.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt, api::ListParams};
use rerail_api::{NodeRemediation, remediation::StepName};
use rerail_e2e::{Cluster, Error, wait_for};
use rerail_fleet::{EventKind, TruthEvent};
use serde_json::Value;
use tokio::time::Instant;

/// Longer than every timeout of the show together.
const PATIENCE: Duration = Duration::from_secs(180);

/// Waits until the pods of the workload run.
pub async fn workload_ready(cluster: &Cluster) -> Result<(), Error> {
    let resource = kube::core::ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(
        "apps",
        "v1",
        "Deployment",
    ));
    let api: Api<kube::core::DynamicObject> =
        Api::namespaced_with(cluster.client.clone(), "default", &resource);
    wait_for("6 ready pods of web", PATIENCE, || async {
        let web = api.get("web").await.map_err(|error| error.to_string())?;
        match web.data.pointer("/status/readyReplicas").and_then(Value::as_i64) {
            Some(6) => Ok(()),
            other => Err(format!("{other:?} are ready")),
        }
    })
    .await
}

/// The node with the most pods of the workload.
pub async fn busiest_node(cluster: &Cluster) -> Result<String, Error> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "default");
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for pod in pods.list(&ListParams::default().labels("app=web")).await? {
        if let Some(node) = pod.spec.and_then(|spec| spec.node_name) {
            *count.entry(node).or_default() += 1;
        }
    }
    let busiest = count.into_iter().max_by_key(|(_, pods)| *pods);
    busiest.map(|(node, _)| node).ok_or_else(|| Error::Waited {
        what: "a pod of web on a node".into(),
        seconds: 0,
        seen: "none".into(),
    })
}

/// Tells what happens to the node until its run has ended.
pub async fn tell(cluster: &Cluster, node: &str, began: Instant) -> Result<NodeRemediation, Error> {
    let mut machine = cluster.fleet.subscribe();
    let mut told = BTreeSet::new();
    loop {
        while let Ok(event) = machine.try_recv() {
            if let Some(line) = machine_line(&event, node) {
                say(began, "\u{1b}[35mmachine\u{1b}[0m", "", &line);
            }
        }
        if let Some(run) = cluster.runs_of(node).await?.pop() {
            tell_run(&run, &mut told, began);
            if ended(&run) {
                return Ok(run);
            }
        }
        if began.elapsed() > PATIENCE {
            return Err(Error::Waited {
                what: format!("the end of the run of {node}"),
                seconds: PATIENCE.as_secs(),
                seen: "see above".into(),
            });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn say(began: Instant, who: &str, step: &str, message: &str) {
    anstream::println!("  {:>6.2} s  {who}  {step:<12} {message}", began.elapsed().as_secs_f64());
}

fn tell_run(run: &NodeRemediation, told: &mut BTreeSet<String>, began: Instant) {
    let Some(status) = &run.status else { return };
    for record in status.steps.iter().filter(|record| record.reason != "NotConfigured") {
        if told.insert(format!("{}/{}", record.name, record.attempt)) {
            say(began, "\u{1b}[32mrerail \u{1b}[0m", &record.name, &record.message);
        }
    }
    let Some(said) = status.conditions.iter().find(|c| c.type_ == "Succeeded") else { return };
    let news = !status.steps.iter().any(|record| record.message == said.message);
    if news && told.insert(said.message.clone()) {
        say(began, "\u{1b}[32mrerail \u{1b}[0m", "", &said.message);
    }
}

fn machine_line(event: &TruthEvent, node: &str) -> Option<String> {
    if event.node != node {
        return None;
    }
    match event.event {
        EventKind::Act => Some("the reboot Pod has checked everything once more, and acts".into()),
        EventKind::Down => Some("goes down".into()),
        EventKind::Boot => Some(format!("boots, with boot ID {}", event.boot_id)),
        _ => None,
    }
}

fn ended(run: &NodeRemediation) -> bool {
    let step = run.status.as_ref().map(|status| &status.step);
    matches!(step, Some(StepName::Known(step)) if step.is_terminal()) && run.finalizers().is_empty()
}
