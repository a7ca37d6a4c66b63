//! Pods to what the drain and the runs want to know of them.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;
use rerail_core::{
    drain::filter::{Lookup, Owner, PodFacts, PodPhase, Toleration, tolerates_unschedulable},
    mutant,
    reboot_check::Report,
    remediation::PodSeen,
};

use crate::names;

/// What the drain wants to know of a pod. `operator` is the operator's own Pod, as
/// `namespace/name`: it is never evicted by itself.
pub fn facts(pod: &Pod, operator: Option<&str>) -> PodFacts {
    let metadata = &pod.metadata;
    let spec = pod.spec.as_ref();
    let namespace = metadata.namespace.clone().unwrap_or_default();
    let name = metadata.name.clone().unwrap_or_default();
    let owners =
        metadata.owner_references.as_deref().unwrap_or_default().iter().map(|owner| Owner {
            api_version: owner.api_version.clone(),
            kind: owner.kind.clone(),
            name: owner.name.clone(),
            controller: owner.controller.unwrap_or(false),
        });
    let volumes = spec.and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    let annotations = metadata.annotations.as_ref();
    let ours = is_ours(pod) || operator.is_some_and(|own| own == format!("{namespace}/{name}"));
    PodFacts {
        uid: metadata.uid.clone().unwrap_or_default(),
        node_name: spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        owners: owners.collect(),
        phase: phase(pod),
        mirror: annotations.is_some_and(|a| a.contains_key("kubernetes.io/config.mirror")),
        empty_dir: volumes.iter().any(|volume| volume.empty_dir.is_some()),
        deletion_time: metadata.deletion_timestamp.as_ref().map(|time| time.0),
        daemon_set_lookup: Lookup::NotAsked,
        tolerates_unschedulable: tolerates_unschedulable(&tolerations(pod)),
        ready: is_ready(pod),
        ours,
        namespace,
        name,
    }
}

/// True for the reboot and probe Pods that the operator makes.
pub fn is_ours(pod: &Pod) -> bool {
    let label = pod.metadata.labels.as_ref().and_then(|labels| labels.get(names::MANAGED_BY));
    label.is_some_and(|value| value == names::MANAGED_BY_RERAIL)
        && pod.metadata.namespace.as_deref() == Some(names::NODE_NAMESPACE)
}

fn phase(pod: &Pod) -> PodPhase {
    match pod.status.as_ref().and_then(|status| status.phase.as_deref()) {
        Some("Pending") => PodPhase::Pending,
        Some("Running") => PodPhase::Running,
        Some("Succeeded") => PodPhase::Succeeded,
        Some("Failed") => PodPhase::Failed,
        _ => PodPhase::Unknown,
    }
}

fn tolerations(pod: &Pod) -> Vec<Toleration> {
    let tolerations =
        pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    tolerations
        .iter()
        .map(|toleration| Toleration {
            key: text(&toleration.key),
            operator: text(&toleration.operator),
            value: text(&toleration.value),
            effect: text(&toleration.effect),
        })
        .collect()
}

/// True when the Pod's condition `Ready` is True.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref());
    conditions.unwrap_or_default().iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// `namespace/name` of the DaemonSet that controls the Pod, if one does.
pub fn daemon_set(pod: &Pod) -> Option<String> {
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    let owner =
        owners.iter().find(|owner| owner.controller == Some(true) && owner.kind == "DaemonSet")?;
    Some(format!("{}/{}", pod.metadata.namespace.as_deref()?, owner.name))
}

/// How one of the run's own Pods stands. `None` = a successful read showed that there is none.
pub fn seen(pod: Option<&Pod>) -> PodSeen {
    let Some(pod) = pod else { return PodSeen::Absent };
    let deleting = pod.metadata.deletion_timestamp.is_some();
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_deref());
    let container = containers.and_then(|containers| containers.first());
    if let Some(ended) = container.and_then(ended) {
        return ended;
    }
    if container.and_then(|c| c.state.as_ref()?.running.as_ref()).is_some() {
        return PodSeen::Running { deleting };
    }
    match phase(pod) {
        PodPhase::Succeeded | PodPhase::Failed => PodSeen::Lost,
        PodPhase::Pending | PodPhase::Running | PodPhase::Unknown => PodSeen::Waiting {
            why: waiting_reason(container, status.and_then(|s| s.reason.clone())),
            deleting,
        },
    }
}

/// The same for the probe Pod of a node that shows this boot ID: one that was made for another boot has
/// proved nothing about this one (SAFE-19).
pub fn probe_seen(pod: Option<&Pod>, boot_id: &str) -> PodSeen {
    let made_for = pod.map(|pod| pod.annotations().get(names::BOOT_ID).map(String::as_str));
    match made_for {
        Some(made_for) if made_for != Some(boot_id) && !mutant!("probe-of-any-boot") => {
            PodSeen::Lost
        }
        _ => seen(pod),
    }
}

fn waiting_reason(container: Option<&ContainerStatus>, pod_reason: Option<String>) -> String {
    let waiting = container.and_then(|container| container.state.as_ref()?.waiting.as_ref());
    waiting
        .and_then(|waiting| waiting.reason.clone())
        .or(pod_reason)
        .unwrap_or_else(|| "no word yet".into())
}

/// The reason of a container that kubelet could not find when its Pod ended; the code beside it is made up
/// (`kubelet_pods.go` of Kubernetes 1.36, `convertToAPIContainerStatuses`).
const NOT_FOUND: &str = "ContainerStatusUnknown";

fn ended(container: &ContainerStatus) -> Option<PodSeen> {
    let terminated = container.state.as_ref()?.terminated.as_ref()?;
    if terminated.reason.as_deref() == Some(NOT_FOUND) {
        return Some(PodSeen::Lost);
    }
    let report =
        terminated.message.as_deref().and_then(|text| serde_json::from_str::<Report>(text).ok());
    Some(PodSeen::Ended {
        exit_code: terminated.exit_code,
        finished_at: terminated.finished_at.as_ref().map(|time| time.0),
        report,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a real kubelet wrote it of a reboot Pod whose sandbox could not be made, and whose deadline passed.
    #[test]
    fn a_container_that_kubelet_could_not_find_has_not_ended_as_its_code_says() {
        let status = serde_json::json!({
            "phase": "Failed",
            "containerStatuses": [{
                "name": "rerail", "image": "localhost/rerail:rerail", "imageID": "", "ready": false,
                "restartCount": 0, "started": false,
                "state": { "terminated": {
                    "exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": null, "finishedAt": null,
                    "message": "The container could not be located when the pod was terminated",
                } },
            }],
        });
        let pod: Pod = serde_json::from_value(serde_json::json!({ "status": status })).unwrap();
        assert_eq!(seen(Some(&pod)), PodSeen::Lost);
    }

    /// Seed 95 of the explorer: the machine lost its power after the probe, and its next boot was taken for
    /// verified.
    #[test]
    fn a_probe_counts_for_the_boot_that_it_was_made_for() {
        let probe = |boot: Option<&str>| -> Pod {
            let annotations = boot.map(|boot| serde_json::json!({ (names::BOOT_ID): boot }));
            serde_json::from_value(serde_json::json!({
                "metadata": { "name": "probe", "annotations": annotations },
                "status": { "containerStatuses": [{ "name": "rerail", "ready": false, "restartCount": 0,
                    "image": "", "imageID": "", "state": { "terminated": { "exitCode": 0 } } }] },
            }))
            .unwrap()
        };
        let is_good = |boot: Option<&str>| {
            matches!(probe_seen(Some(&probe(boot)), "b"), PodSeen::Ended { exit_code: 0, .. })
        };
        assert!(is_good(Some("b")));
        assert!(!is_good(Some("a")) && !is_good(None));
        assert_eq!(probe_seen(None, "b"), PodSeen::Absent);
    }
}
