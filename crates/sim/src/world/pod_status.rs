//! What a kubelet writes about a Pod, as pure functions. Each patch carries the Pod's UID: the API server
//! refuses it for another Pod of the same name.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::machine::End;
use crate::meta;

/// Admitted, containers not yet started.
pub(super) fn waiting(pod: &Value, taken: Timestamp) -> Value {
    let state = json!({ "waiting": { "reason": "ContainerCreating" } });
    patch(pod, "Pending", taken, taken, &state, false, 0)
}

/// Containers running.
pub(super) fn running(pod: &Value, taken: Timestamp, since: Timestamp, restarts: u64) -> Value {
    let state = json!({ "running": { "startedAt": meta::time(since) } });
    patch(pod, "Running", taken, since, &state, true, restarts)
}

/// No container runs, and the kubelet will start them again.
pub(super) fn stopped(pod: &Value, now: Timestamp) -> Value {
    let condition = |kind: &str| {
        json!({ "type": kind, "status": "False", "reason": "ContainersNotReady",
            "lastTransitionTime": meta::time(now) })
    };
    let containers = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    let containers: Vec<Value> = containers
        .map(|container| json!({ "name": container["name"], "ready": false, "started": false }))
        .collect();
    json!({
        "metadata": { "uid": meta::of(pod, "uid") },
        "status": {
            "conditions": [condition("Ready"), condition("ContainersReady")],
            "containerStatuses": containers,
        },
    })
}

/// Containers ended by themselves, with the machine, or by being stopped.
pub(super) fn ended(pod: &Value, taken: Timestamp, end: &End) -> Value {
    let phase = if end.exit_code == 0 { "Succeeded" } else { "Failed" };
    let state = json!({ "terminated": {
        "exitCode": end.exit_code, "reason": end.reason, "message": end.message,
        "startedAt": meta::time(taken), "finishedAt": meta::time(end.at),
    } });
    let mut patch = patch(pod, phase, taken, end.at, &state, false, 0);
    if end.deadline {
        patch["status"]["reason"] = json!("DeadlineExceeded");
        patch["status"]["message"] =
            json!("Pod was active on the node longer than the specified deadline");
    }
    patch
}

fn patch(
    pod: &Value,
    phase: &str,
    taken: Timestamp,
    transition: Timestamp,
    state: &Value,
    ready: bool,
    restarts: u64,
) -> Value {
    let containers: Vec<Value> = pod["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|container| {
            // The states of a container exclude each other; a strategic patch would merge them.
            let mut all = json!({ "waiting": null, "running": null, "terminated": null });
            if let (Some(all), Some(state)) = (all.as_object_mut(), state.as_object()) {
                all.extend(state.clone());
            }
            json!({
                "name": container["name"], "image": container["image"], "imageID": "",
                "restartCount": restarts, "ready": ready, "started": ready, "state": all,
            })
        })
        .collect();
    let condition = |kind: &str, status: bool| {
        json!({
            "type": kind, "status": if status { "True" } else { "False" }, "reason": null,
            "lastTransitionTime": meta::time(transition),
        })
    };
    json!({
        "metadata": { "uid": meta::of(pod, "uid") },
        "status": {
            "phase": phase,
            "startTime": meta::time(taken),
            "conditions": [
                condition("PodScheduled", true),
                condition("Initialized", true),
                condition("ContainersReady", ready),
                condition("Ready", ready),
            ],
            "containerStatuses": containers,
        },
    })
}
