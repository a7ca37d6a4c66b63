//! What a kubelet writes about a Pod of the operator, as pure functions.
//!
//! Each patch carries the Pod's UID: the API server refuses it for another Pod of the same name.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::clock::seconds;
use crate::machine::Ended;

/// Admitted, containers not yet started.
pub(crate) fn waiting(pod: &Pod, start: Timestamp) -> Value {
    let state = json!({"waiting": {"reason": "ContainerCreating"}});
    patch(pod, "Pending", start, start, &state, false)
}

/// Containers running.
pub(crate) fn running(pod: &Pod, start: Timestamp, started: Timestamp) -> Value {
    let state = json!({"running": {"startedAt": seconds(started)}});
    patch(pod, "Running", start, started, &state, true)
}

/// Containers ended by themselves, with the machine, or by being stopped.
pub(crate) fn ended(pod: &Pod, start: Timestamp, started: Timestamp, ended: &Ended) -> Value {
    let phase = if ended.exit_code == 0 { "Succeeded" } else { "Failed" };
    patch(pod, phase, start, ended.at, &terminated(started, ended), false)
}

/// Stopped by `activeDeadlineSeconds`.
pub(crate) fn deadline(pod: &Pod, start: Timestamp, started: Timestamp, ended: &Ended) -> Value {
    let mut patch = patch(pod, "Failed", start, ended.at, &terminated(started, ended), false);
    patch["status"]["reason"] = json!("DeadlineExceeded");
    patch["status"]["message"] =
        json!("Pod was active on the node longer than the specified deadline");
    patch
}

fn terminated(started: Timestamp, ended: &Ended) -> Value {
    json!({"terminated": {
        "exitCode": ended.exit_code,
        "reason": ended.reason,
        "message": ended.message,
        "startedAt": seconds(started),
        "finishedAt": seconds(ended.at),
    }})
}

fn patch(
    pod: &Pod,
    phase: &str,
    start: Timestamp,
    transition: Timestamp,
    state: &Value,
    ready: bool,
) -> Value {
    let containers: Vec<Value> = pod
        .spec
        .iter()
        .flat_map(|spec| &spec.containers)
        .map(|container| {
            let image = container.image.clone().unwrap_or_default();
            json!({
                "name": container.name,
                "image": image,
                "imageID": "",
                "restartCount": 0,
                "ready": ready,
                "started": ready,
                "state": state,
            })
        })
        .collect();
    let condition = |kind: &str, status: bool| {
        json!({
            "type": kind,
            "status": if status { "True" } else { "False" },
            "lastTransitionTime": seconds(transition),
        })
    };
    json!({
        "metadata": {"uid": pod.uid()},
        "status": {
            "phase": phase,
            "startTime": seconds(start),
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

/// True when the Pod's containers have ended for good.
pub(crate) fn is_terminal(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_tells_code_and_message_of_every_container() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "reboot-u-1", "uid": "u"},
            "spec": {"containers": [{"name": "reboot", "image": "rerail"}]},
        }))
        .unwrap();
        let at: Timestamp = "2026-01-01T00:00:01Z".parse().unwrap();
        let end = Ended { exit_code: 10, reason: "Error", message: "m".into(), at };
        let patch = ended(&pod, at, at, &end);
        assert_eq!(patch["metadata"]["uid"], "u");
        assert_eq!(patch["status"]["phase"], "Failed");
        let terminated = &patch["status"]["containerStatuses"][0]["state"]["terminated"];
        assert_eq!((&terminated["exitCode"], &terminated["message"]), (&json!(10), &json!("m")));
        assert_eq!(terminated["finishedAt"], "2026-01-01T00:00:01Z");
        assert_eq!(deadline(&pod, at, at, &end)["status"]["reason"], "DeadlineExceeded");
        let fine = ended(&pod, at, at, &Ended { exit_code: 0, ..end });
        assert_eq!(fine["status"]["phase"], "Succeeded");
    }
}
