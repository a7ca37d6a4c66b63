//! What a kubelet writes about its node, as pure functions.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeSpec, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use crate::clock::{micros, seconds};
use crate::machine::Spec;

/// Label on a fleet node: `running` while the machine is on and can run containers, absent
/// otherwise. kwok plays ordinary Pods only on nodes that have it.
///
/// A machine that is off writes nothing. It is the fleet, in the role of a hypervisor, that takes
/// this label away; no operator may rely on such a mark.
pub const KUBELET_LABEL: &str = "fleet.rerail.dev/kubelet";

const WORKER_ROLE: &str = "node-role.kubernetes.io/worker";
const CONTROL_PLANE_ROLE: &str = "node-role.kubernetes.io/control-plane";

/// The Node object as it is first created; the status follows by patch.
pub(crate) fn node_object(spec: &Spec) -> Node {
    let mut labels = BTreeMap::from(
        [
            ("kubernetes.io/hostname", spec.name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", "amd64"),
            (KUBELET_LABEL, "running"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    let role = if spec.pool.control_plane { CONTROL_PLANE_ROLE } else { WORKER_ROLE };
    labels.insert(role.to_owned(), String::new());
    let optional = [
        ("pool", Some(&spec.pool.name)),
        ("topology.kubernetes.io/zone", Some(&spec.pool.zone)),
        ("node-restriction.kubernetes.io/rack", spec.rack.as_ref()),
    ];
    for (key, value) in optional {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            labels.insert(key.to_owned(), value.clone());
        }
    }
    labels.extend(spec.pool.labels.clone());
    let taints = spec.pool.control_plane.then(|| {
        vec![Taint {
            key: CONTROL_PLANE_ROLE.to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        }]
    });
    Node {
        metadata: ObjectMeta {
            name: Some(spec.name.clone()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec { taints, ..NodeSpec::default() }),
        status: None,
    }
}

/// The patch of the kubelet's label.
pub(crate) fn label_patch(running: bool) -> Value {
    json!({"metadata": {"labels": {KUBELET_LABEL: running.then_some("running")}}})
}

/// What the kubelet knows when it reports.
pub(crate) struct Report<'a> {
    pub spec: &'a Spec,
    pub boot_id: &'a str,
    pub system_uuid: &'a str,
    pub kubelet_version: &'a str,
    /// `None` when Ready is True, else reason and message.
    pub not_ready: Option<(&'a str, &'a str)>,
    pub now: Timestamp,
}

/// The kubelet's status report: a strategic merge patch that names only its own conditions, so
/// that those of others stay (the list merges by `type`). Transition times are kept where the
/// condition in the API already has the same status, as a kubelet does; the node controller may
/// have changed it to Unknown meanwhile.
pub(crate) fn status_patch(report: &Report<'_>, existing: &Node) -> Value {
    let healthy = |kind: &str, reason: &str, message: &str| {
        condition(existing, kind, "False", reason, message, report.now)
    };
    let ready = match report.not_ready {
        None => condition(
            existing,
            "Ready",
            "True",
            "KubeletReady",
            "kubelet is posting ready status",
            report.now,
        ),
        Some((reason, message)) => {
            condition(existing, "Ready", "False", reason, message, report.now)
        }
    };
    let resources = json!({"cpu": "8", "memory": "32Gi", "pods": "110"});
    let number = report.spec.number;
    json!({"status": {
        "capacity": resources,
        "allocatable": resources,
        "addresses": [
            {
                "type": "InternalIP",
                "address": format!("10.{}.{}.{}", 64 + number / 62_500, number / 250 % 250, 1 + number % 250),
            },
            {"type": "Hostname", "address": report.spec.name},
        ],
        "nodeInfo": {
            "bootID": report.boot_id,
            "systemUUID": report.system_uuid,
            "machineID": report.system_uuid.replace('-', ""),
            "kubeletVersion": report.kubelet_version,
            "kubeProxyVersion": "",
            "kernelVersion": "6.1.0-fleet",
            "osImage": "Rerail fake machine",
            "containerRuntimeVersion": "fleet://1",
            "operatingSystem": "linux",
            "architecture": "amd64",
        },
        "conditions": [
            healthy(
                "MemoryPressure",
                "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available",
            ),
            healthy("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            healthy("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            ready,
        ],
    }})
}

/// One condition with heartbeat now, and its transition time kept unless the status changes.
pub(crate) fn condition(
    existing: &Node,
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Value {
    let transition = existing
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref())
        .and_then(|conditions| conditions.iter().find(|condition| condition.type_ == kind))
        .filter(|condition| condition.status == status)
        .and_then(|condition| condition.last_transition_time.as_ref())
        .map_or(now, |time| time.0);
    json!({
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": seconds(now),
        "lastTransitionTime": seconds(transition),
    })
}

/// The boot ID that the node reported last.
pub(crate) fn boot_id(node: &Node) -> Option<&str> {
    Some(node.status.as_ref()?.node_info.as_ref()?.boot_id.as_str())
}

/// When the node reported last that it is Ready, or not.
pub(crate) fn heartbeat(node: &Node) -> Option<Timestamp> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
    Some(ready.last_heartbeat_time.as_ref()?.0)
}

/// The Lease of a node, for its first write and, as a merge patch, for every later one.
pub(crate) fn lease(name: &str, node_uid: &str, now: Timestamp) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node_uid},
            ],
        },
        "spec": {
            "holderIdentity": name,
            "leaseDurationSeconds": 40,
            "renewTime": micros(now),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pool;

    fn spec(pool: Pool) -> Spec {
        Spec { name: "worker001".into(), number: 251, rack: pool.rack(0), pool }
    }

    fn report(spec: &Spec, ready: bool, now: &str, existing: &Node) -> Value {
        let report = Report {
            spec,
            boot_id: "boot-1",
            system_uuid: "a-b",
            kubelet_version: "v1.36.3",
            not_ready: (!ready).then_some(("KubeletNotReady", "starting")),
            now: now.parse().unwrap(),
        };
        status_patch(&report, existing)
    }

    fn ready_of(patch: &Value) -> &Value {
        &patch["status"]["conditions"][3]
    }

    #[test]
    fn transition_times_move_only_with_the_status() {
        let spec = spec(Pool::default());
        let mut node = node_object(&spec);
        let first = report(&spec, true, "2026-01-01T00:00:00Z", &node);
        assert_eq!(ready_of(&first)["lastTransitionTime"], "2026-01-01T00:00:00Z");
        node.status = serde_json::from_value(first["status"].clone()).unwrap();
        let second = report(&spec, true, "2026-01-01T00:05:00Z", &node);
        assert_eq!(ready_of(&second)["lastTransitionTime"], "2026-01-01T00:00:00Z");
        assert_eq!(ready_of(&second)["lastHeartbeatTime"], "2026-01-01T00:05:00Z");
        let third = report(&spec, false, "2026-01-01T00:06:00Z", &node);
        assert_eq!(ready_of(&third)["lastTransitionTime"], "2026-01-01T00:06:00Z");
        assert_eq!(third["status"]["conditions"][0]["lastTransitionTime"], "2026-01-01T00:00:00Z");
        assert_eq!(first["status"]["addresses"][0]["address"], "10.64.1.2");
    }

    #[test]
    fn labels_tell_pool_rack_and_role() {
        let worker = node_object(&spec(Pool::new("a", 2, 2).label("x", "y")));
        let labels = worker.metadata.labels.unwrap();
        for (key, value) in [
            ("pool", "a"),
            ("x", "y"),
            ("node-restriction.kubernetes.io/rack", "rack-a"),
            ("topology.kubernetes.io/zone", "zone-1"),
            (WORKER_ROLE, ""),
            (KUBELET_LABEL, "running"),
        ] {
            assert_eq!(labels.get(key).map(String::as_str), Some(value), "{key}");
        }
        let master = node_object(&spec(Pool::new("m", 1, 0).control_plane()));
        let labels = master.metadata.labels.unwrap();
        assert!(labels.contains_key(CONTROL_PLANE_ROLE) && !labels.contains_key(WORKER_ROLE));
        assert!(!labels.contains_key("node-restriction.kubernetes.io/rack"));
        assert_eq!(master.spec.unwrap().taints.unwrap()[0].effect, "NoSchedule");
    }

    #[test]
    fn the_label_goes_by_null() {
        assert_eq!(label_patch(true)["metadata"]["labels"][KUBELET_LABEL], "running");
        assert!(label_patch(false)["metadata"]["labels"][KUBELET_LABEL].is_null());
    }
}
