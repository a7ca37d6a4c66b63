//! What runs on the machines of a scene.

use std::collections::BTreeMap;

use rerail_api::duration::GoDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::is_default;

/// Annotation of a Pod: what its process takes to end.
pub(in crate::world) const STOPS_AFTER: &str = "sim.rerail.dev/stops-after";
/// Annotation of a Pod: what its process takes to become ready.
pub(in crate::world) const STARTS_AFTER: &str = "sim.rerail.dev/starts-after";
/// Label of Pods whose labels a scene gives: the name of their owner.
const WORKLOAD: &str = "sim.rerail.dev/workload";
/// Annotation of a Deployment and its ReplicaSet: nodes on which the first Pods run, with commas between.
pub(in crate::world) const PLACED: &str = "sim.rerail.dev/placed";

/// An application: a Deployment and, if it has one, its budget.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Deployment {
    /// Its name.
    pub name: String,
    /// Its namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// How many Pods.
    pub replicas: u32,
    /// The spec of its PodDisruptionBudget, without the selector.
    #[serde(default, skip_serializing_if = "is_default")]
    pub budget: Option<Budget>,
    /// `terminationGracePeriodSeconds`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub grace: Option<GoDuration>,
    /// What its processes take to end when they are told to.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stops_after: Option<GoDuration>,
    /// What its processes take to become ready.
    #[serde(default, skip_serializing_if = "is_default")]
    pub starts_after: Option<GoDuration>,
    /// Finalizers of its Pods.
    #[serde(default, skip_serializing_if = "is_default")]
    pub finalizers: Vec<String>,
    /// Labels of its Pods. Default: `app`, which is its name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub labels: BTreeMap<String, String>,
    /// Tolerations of its Pods, as Kubernetes writes them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tolerations: Vec<Value>,
    /// Whether its Pods keep data in an `emptyDir`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub empty_dir: bool,
    /// Nodes on which its first Pods run, one for each; where it names none, the scheduler chooses.
    #[serde(default, skip_serializing_if = "is_default")]
    pub placed: Vec<String>,
    /// Labels of the nodes on which its Pods run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub nodes: BTreeMap<String, String>,
}

fn default_namespace() -> String {
    "default".to_owned()
}

/// How many Pods of an application may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Budget {
    /// A number, or a percentage such as `10%`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_unavailable: Option<Value>,
    /// A number, or a percentage.
    #[serde(default, skip_serializing_if = "is_default")]
    pub min_available: Option<Value>,
}

/// What runs on every node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DaemonSet {
    /// Its name.
    pub name: String,
    /// Its namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Labels of its Pods. Default: `app`, which is its name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub labels: BTreeMap<String, String>,
    /// Tolerations of its Pods, as Kubernetes writes them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tolerations: Vec<Value>,
    /// Whether it runs on nodes of the control plane, too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub control_plane: bool,
    /// Labels of the nodes on which it runs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub nodes: BTreeMap<String, String>,
}

/// Labels of Pods: those that are given, with one that tells their owner and that no budget of a cluster asks for;
/// or `app` for their owner.
fn labels(name: &str, given: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let key = if given.is_empty() { "app" } else { WORKLOAD };
    let own = (key.to_owned(), name.to_owned());
    given.clone().into_iter().chain([own]).collect()
}

impl Deployment {
    /// The Deployment, and its budget.
    pub fn objects(&self) -> Vec<Value> {
        let Deployment { name, namespace, .. } = self;
        let labels = labels(name, &self.labels);
        let mut metadata = json!({ "name": name, "namespace": namespace });
        if !self.placed.is_empty() {
            metadata["annotations"][PLACED] = json!(self.placed.join(","));
        }
        let mut objects = vec![json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
            "spec": {
                "replicas": self.replicas, "selector": { "matchLabels": labels },
                "template": self.template(&labels),
            },
        })];
        objects.extend(self.budget.as_ref().map(|budget| {
            let mut spec = json!({ "selector": { "matchLabels": labels } });
            for (field, value) in [
                ("maxUnavailable", &budget.max_unavailable),
                ("minAvailable", &budget.min_available),
            ] {
                if let Some(value) = value {
                    spec[field] = value.clone();
                }
            }
            json!({
                "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
                "metadata": { "name": name, "namespace": namespace }, "spec": spec,
            })
        }));
        objects
    }

    fn template(&self, labels: &BTreeMap<String, String>) -> Value {
        let mut template = template(labels, &self.tolerations, &self.nodes);
        for (key, after) in [(STOPS_AFTER, &self.stops_after), (STARTS_AFTER, &self.starts_after)] {
            if let Some(after) = after {
                template["metadata"]["annotations"][key] = json!(after);
            }
        }
        if !self.finalizers.is_empty() {
            template["metadata"]["finalizers"] = json!(self.finalizers);
        }
        if let Some(grace) = &self.grace {
            template["spec"]["terminationGracePeriodSeconds"] = json!(grace.value().as_secs());
        }
        if self.empty_dir {
            template["spec"]["volumes"] = json!([{ "name": "scratch", "emptyDir": {} }]);
        }
        template
    }
}

impl DaemonSet {
    /// The DaemonSet.
    pub fn object(&self) -> Value {
        let DaemonSet { name, namespace, .. } = self;
        let labels = labels(name, &self.labels);
        let mut tolerations = self.tolerations.clone();
        if self.control_plane {
            let key = crate::world::options::CONTROL_PLANE;
            tolerations.push(json!({ "key": key, "operator": "Exists", "effect": "NoSchedule" }));
        }
        json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": { "name": name, "namespace": namespace },
            "spec": {
                "selector": { "matchLabels": labels },
                "template": template(&labels, &tolerations, &self.nodes),
            },
        })
    }
}

/// What Pods have in common.
fn template(
    labels: &BTreeMap<String, String>,
    tolerations: &[Value],
    nodes: &BTreeMap<String, String>,
) -> Value {
    let mut template = json!({
        "metadata": { "labels": labels },
        "spec": { "containers": [{ "name": "app", "image": "app:1" }] },
    });
    if !tolerations.is_empty() {
        template["spec"]["tolerations"] = json!(tolerations);
    }
    if !nodes.is_empty() {
        template["spec"]["nodeSelector"] = json!(nodes);
    }
    template
}
