//! Ordinary Pods at a boot. Their containers ended with the machine; a kubelet says so, starts them
//! again and says that, too. kwok starts each Pod only once and leaves the rest to the fleet
//! (e2e/controlplane/kwok/pod.yaml).

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use rerail_api::names;
use serde_json::{Value, json};
use tracing::warn;

use crate::api::{call, is_not_found};
use crate::clock;
use crate::fleet::Inner;
use crate::machine::{Machine, Power};

/// Annotation of a Pod that a test plays by hand; kwok and the fleet leave it alone.
const HANDS_OFF: &str = "fleet.rerail.dev/hands-off";

/// What is reported about Pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Report {
    /// Right after the kernel's start: no container runs.
    Stopped,
    /// The containers have been started again.
    Restarted,
    /// They run, and somebody (the node controller, while the node was not Ready) said otherwise.
    Running,
}

/// Reports the running Pods of the node, apart from those that a fault keeps from running.
pub(crate) async fn report(fleet: &Inner, machine: &Machine, report: Report) {
    let (no_pods, no_daemonsets) = {
        let state = machine.state();
        (state.effects.no_pods, state.effects.no_daemonsets)
    };
    let ready = report != Report::Stopped;
    for pod in ordinary(fleet, machine).await {
        let held = no_pods || (no_daemonsets && is_daemon(&pod));
        if is_ready(&pod) == ready || (ready && held) {
            continue;
        }
        let namespace = pod.namespace().unwrap_or_default();
        let pods: Api<Pod> = Api::namespaced(fleet.client.clone(), &namespace);
        let name = pod.name_any();
        let patch = Patch::Strategic(status(&pod, report));
        let params = PatchParams::default();
        let patched = pods.patch_status(&name, &params, &patch);
        match call(|| format!("report Pod {namespace}/{name}"), patched).await {
            Err(error) if !is_not_found(&error) => warn!("{error}"),
            _ => {}
        }
    }
}

/// The node controller marks the Pods of a node that is not Ready as not ready, and may do so a little
/// late; a kubelet goes on saying what is so, until its machine goes down.
pub(crate) async fn go_on_reporting(fleet: &Inner, machine: &Machine) {
    let boots = machine.state().boots;
    for pause in [1, 2, 4, 8, 16, 32] {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        let (is_on, same) = {
            let state = machine.state();
            (state.power == Power::On, state.boots == boots)
        };
        if !is_on || !same {
            return;
        }
        report(fleet, machine, Report::Running).await;
    }
}

/// The Pods on the node that have begun to run and are not the operator's.
async fn ordinary(fleet: &Inner, machine: &Machine) -> Vec<Pod> {
    let name = &machine.spec.name;
    let all: Api<Pod> = Api::all(fleet.client.clone());
    let params = ListParams::default().fields(&format!("spec.nodeName={name}"));
    match call(|| format!("list the Pods of node {name}"), all.list(&params)).await {
        Ok(found) => found.items.into_iter().filter(is_ordinary).collect(),
        Err(error) => {
            warn!("{error}");
            Vec::new()
        }
    }
}

fn is_ordinary(pod: &Pod) -> bool {
    let running = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
    let ours = pod.labels().get(names::MANAGED_BY).is_some_and(|by| by == names::MANAGED_BY_RERAIL);
    running && !ours && !pod.annotations().contains_key(HANDS_OFF)
}

fn is_daemon(pod: &Pod) -> bool {
    pod.owner_references().iter().any(|owner| owner.kind == "DaemonSet")
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

fn status(pod: &Pod, report: Report) -> Value {
    let ready = report != Report::Stopped;
    let now = clock::seconds(clock::now());
    let condition = |kind: &str| {
        json!({
            "type": kind,
            "status": if ready { "True" } else { "False" },
            "lastTransitionTime": now,
            "reason": (!ready).then_some("ContainersNotReady"),
            "message": null,
        })
    };
    let containers: Vec<Value> = pod
        .status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten())
        .filter_map(|container| serde_json::to_value(container).ok())
        .map(|mut container| {
            container["ready"] = json!(ready);
            container["started"] = json!(ready);
            if report == Report::Restarted {
                let restarts = container["restartCount"].as_i64().unwrap_or(0);
                container["restartCount"] = json!(restarts + 1);
                container["state"] = json!({"running": {"startedAt": now}});
            }
            container
        })
        .collect();
    json!({
        "metadata": {"uid": pod.uid()},
        "status": {
            "conditions": [condition("Ready"), condition("ContainersReady")],
            "containerStatuses": containers,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(owner: &str, manager: &str, annotations: &[&str]) -> Pod {
        let annotations: Value =
            annotations.iter().map(|key| ((*key).to_owned(), json!("true"))).collect();
        serde_json::from_value(json!({
            "metadata": {
                "name": "p", "uid": "u", "labels": {names::MANAGED_BY: manager},
                "annotations": annotations,
                "ownerReferences": [
                    {"apiVersion": "apps/v1", "kind": owner, "name": "o", "uid": "o"},
                ],
            },
            "status": {"phase": "Running", "containerStatuses": [
                {"name": "c", "ready": false, "restartCount": 2, "image": "i", "imageID": "i"},
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn only_ordinary_pods_are_ours_to_report() {
        assert!(is_ordinary(&pod("ReplicaSet", "", &[])));
        assert!(!is_ordinary(&pod("ReplicaSet", "", &[HANDS_OFF])));
        assert!(!is_ordinary(&pod("Job", "rerail", &[])));
        assert!(is_daemon(&pod("DaemonSet", "", &[])) && !is_daemon(&pod("ReplicaSet", "", &[])));
    }

    #[test]
    fn only_a_restart_counts_as_one() {
        let pod = pod("ReplicaSet", "", &[]);
        let container = |report| status(&pod, report)["status"]["containerStatuses"][0].clone();
        assert_eq!(container(Report::Restarted)["restartCount"], 3);
        assert_eq!(container(Report::Running)["restartCount"], 2);
        assert_eq!(container(Report::Stopped)["ready"], false);
    }
}
