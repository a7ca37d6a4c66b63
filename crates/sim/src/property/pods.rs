//! Pods, as far as drains are judged by them.

use jiff::Timestamp;
use rerail_api::names;
use serde_json::Value;

use super::node::at_path;
use crate::meta;

/// A Pod that is bound to a node.
#[derive(Debug, Clone)]
pub(super) struct PodTruth {
    pub node: String,
    /// When it was first seen on its node.
    pub seen: Timestamp,
    pub finished: bool,
    pub ready: bool,
    pub terminating: bool,
    /// Name of its DaemonSet, with the namespace.
    pub daemon_set: Option<String>,
    /// It stays where it is, whatever is drained: static, of a DaemonSet, tolerating the cordon, ours.
    pub stays: bool,
}

impl PodTruth {
    /// `None` for one that is bound to no node.
    pub fn of(pod: &Value, seen: Timestamp) -> Option<Self> {
        let node = meta::text(pod, &["spec", "nodeName"]);
        if node.is_empty() {
            return None;
        }
        let phase = meta::text(pod, &["status", "phase"]);
        let namespace = meta::of(pod, "namespace");
        let owners = meta::get(pod, "ownerReferences").and_then(Value::as_array);
        let controller = owners.into_iter().flatten().find(|owner| owner["controller"] == true);
        let daemon_set = controller
            .filter(|owner| meta::text(owner, &["kind"]) == "DaemonSet")
            .map(|owner| format!("{namespace}/{}", meta::text(owner, &["name"])));
        let annotations = meta::get(pod, "annotations");
        let mirror =
            annotations.is_some_and(|all| all.get("kubernetes.io/config.mirror").is_some());
        // The operator does not drive itself out before somebody else leads.
        let own = matches!(namespace, names::NODE_NAMESPACE | names::SYSTEM_NAMESPACE);
        let conditions = at_path(pod, &["status", "conditions"]).and_then(Value::as_array);
        let ready = conditions.into_iter().flatten().any(|condition| {
            meta::text(condition, &["type"]) == "Ready"
                && meta::text(condition, &["status"]) == "True"
        });
        Some(PodTruth {
            node: node.to_owned(),
            seen,
            finished: matches!(phase, "Succeeded" | "Failed"),
            ready,
            terminating: meta::is_deleting(pod),
            stays: mirror || own || daemon_set.is_some() || tolerates_cordon(pod),
            daemon_set,
        })
    }
}

fn tolerates_cordon(pod: &Value) -> bool {
    let tolerations = at_path(pod, &["spec", "tolerations"]).and_then(Value::as_array);
    tolerations.into_iter().flatten().any(|toleration| {
        let text = |key: &str| meta::text(toleration, &[key]);
        let key = text("key");
        let fits = match text("operator") {
            "Exists" => key.is_empty() || key == "node.kubernetes.io/unschedulable",
            _ => key == "node.kubernetes.io/unschedulable" && text("value").is_empty(),
        };
        fits && matches!(text("effect"), "" | "NoSchedule")
    })
}

/// Is it one of the Pods that the operator runs on nodes? Then: which component, of which run.
pub(super) fn ours(pod: &Value) -> Option<(&str, &str)> {
    let label = |key: &str| at_path(pod, &["metadata", "labels"])?.get(key)?.as_str();
    let managed = label(names::MANAGED_BY) == Some(names::MANAGED_BY_RERAIL);
    (managed && meta::of(pod, "namespace") == names::NODE_NAMESPACE)
        .then(|| (label(names::COMPONENT).unwrap_or(""), label(names::RUN_UID).unwrap_or("")))
}

/// The attempt for which a reboot Pod was made, by its arguments.
pub(super) fn attempt(pod: &Value) -> Option<u32> {
    let containers = at_path(pod, &["spec", "containers"]).and_then(Value::as_array)?;
    let args = containers.iter().filter_map(|c| c.get("args")?.as_array()).flatten();
    args.filter_map(|arg| arg.as_str()?.strip_prefix("--attempt=")?.parse().ok()).next()
}
