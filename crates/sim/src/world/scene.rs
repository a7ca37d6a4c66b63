//! Scenes: what a cluster is, and what happens in it, as YAML.
//!
//! ```yaml
//! name: small
//! about: Two racks, one sick node.           # for people
//! times: {boot: 20s..60s, podStart: 2s}      # of machines; what is left out has its default
//! nodes:
//! - prefix: worker-                          # worker-001, worker-002, ...
//!   count: 6
//!   racks: 2                                 # in blocks: rack-a, rack-b; 0 for none
//!   zones: [zone-1]                          # in blocks, too
//!   labels: {pool: worker}
//! - {prefix: master-, count: 3, controlPlane: true}
//! deployments:
//! - name: web
//!   replicas: 12
//!   budget: {maxUnavailable: 10%}            # a PodDisruptionBudget; or minAvailable
//!   grace: 30s                               # terminationGracePeriodSeconds
//!   stopsAfter: 2s                           # what the processes take to end; `startsAfter` likewise
//!   nodes: {pool: worker}                    # nodeSelector
//! daemonSets:
//! - name: node-exporter
//! policies:                                  # RemediationPolicies; apiVersion and kind may be left out
//! - metadata: {name: workers}
//!   spec:
//!     mode: Enforce
//!     nodes: {selector: {matchLabels: {pool: worker}}}
//!     triggers: [{condition: {type: KernelDeadlock}}]
//! config: |                                  # what `rerail-config` holds
//!   maxUnavailable: "20%"
//! objects: []                                # anything else that is there from the beginning
//! timeline:
//! - at: 30s
//!   do: {sicken: {nodes: [worker-001], with: {condition: KernelDeadlock, message: "[P3] stuck"}}}
//! - at: 10m
//!   do: {cordon: {nodes: ["worker-*"], by: ann}}
//! random:
//! - every: 1m                                # each minute, with this probability
//!   chance: 0.2
//!   from: 5m
//!   until: 2h
//!   do: {sicken: {nodes: ["worker-*"], pick: 1, with: {condition: KernelDeadlock}}}
//! ```
//!
//! What can stand after `do` is [`Act`]; what can go wrong with machines is [`Fault`](super::Fault).
//! Fields that nobody knows are refused.

mod check;
mod span;

use std::collections::{BTreeMap, BTreeSet};

use rerail_api::duration::GoDuration;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Act,
    options::{RACK, Spec, Times, ZONE},
};

pub use span::Span;

/// A cluster, and what happens in it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scene {
    /// A short name.
    pub name: String,
    /// What it shows, for people.
    #[serde(default)]
    pub about: String,
    /// How long things take on the machines.
    #[serde(default)]
    pub times: SceneTimes,
    /// The machines, in groups that are alike.
    pub nodes: Vec<NodeGroup>,
    /// Applications.
    #[serde(default)]
    pub deployments: Vec<Deployment>,
    /// What runs on every node.
    #[serde(default)]
    pub daemon_sets: Vec<DaemonSet>,
    /// RemediationPolicies.
    #[serde(default)]
    pub policies: Vec<Value>,
    /// The operator's configuration, as YAML in YAML.
    #[serde(default)]
    pub config: Option<String>,
    /// Objects that are there from the beginning.
    #[serde(default)]
    pub objects: Vec<Value>,
    /// What happens when.
    #[serde(default)]
    pub timeline: Vec<Entry>,
    /// What happens now and then.
    #[serde(default)]
    pub random: Vec<Random>,
}

/// Times that a scene sets; see [`Times`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[allow(missing_docs, reason = "as in `Times`")]
pub struct SceneTimes {
    pub boot: Option<Span>,
    pub shutdown: Option<Span>,
    pub kubelet: Option<Span>,
    pub ready: Option<Span>,
    pub settle: Option<Span>,
    pub pod_start: Option<Span>,
    pub pod_stop: Option<Span>,
    pub watch: Option<Span>,
    pub lease: Option<GoDuration>,
    pub report: Option<GoDuration>,
    pub heartbeat: Option<GoDuration>,
    pub grace: Option<GoDuration>,
}

impl SceneTimes {
    /// The times, where nothing is said those of `Times::default()`.
    pub fn times(&self) -> Times {
        let mut times = Times::default();
        for (said, to) in [
            (&self.boot, &mut times.boot),
            (&self.shutdown, &mut times.shutdown),
            (&self.kubelet, &mut times.kubelet),
            (&self.ready, &mut times.ready),
            (&self.settle, &mut times.settle),
            (&self.pod_start, &mut times.pod_start),
            (&self.pod_stop, &mut times.pod_stop),
            (&self.watch, &mut times.watch),
        ] {
            if let Some(span) = said {
                *to = span.millis();
            }
        }
        for (said, to) in [
            (&self.lease, &mut times.lease),
            (&self.report, &mut times.report),
            (&self.heartbeat, &mut times.heartbeat),
            (&self.grace, &mut times.grace),
        ] {
            if let Some(duration) = said {
                *to = millis(duration).max(1);
            }
        }
        times
    }
}

/// Whole milliseconds.
pub(super) fn millis(duration: &GoDuration) -> u64 {
    u64::try_from(duration.value().as_millis()).unwrap_or_default()
}

/// Machines that are alike.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeGroup {
    /// Names are this and a number of three digits, from 001.
    pub prefix: String,
    /// How many.
    pub count: usize,
    /// In so many racks, in blocks of the same size.
    #[serde(default)]
    pub racks: usize,
    /// In these zones, in blocks of the same size.
    #[serde(default)]
    pub zones: Vec<String>,
    /// More labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Whether they are nodes of the control plane.
    #[serde(default)]
    pub control_plane: bool,
    /// The most Pods that run on one of them.
    #[serde(default = "capacity")]
    pub pods: usize,
}

fn capacity() -> usize {
    110
}

impl NodeGroup {
    /// The machines.
    pub fn specs(&self) -> impl Iterator<Item = Spec> {
        (0..self.count).map(|index| {
            let mut labels = self.labels.clone();
            if self.racks > 0 {
                let rack = letters(index * self.racks.min(self.count) / self.count);
                labels.entry(RACK.to_owned()).or_insert(format!("rack-{rack}"));
            }
            if let Some(zone) = self.zones.get(index * self.zones.len() / self.count) {
                labels.entry(ZONE.to_owned()).or_insert(zone.clone());
            }
            let name = format!("{}{:03}", self.prefix, index + 1);
            Spec { name, labels, control_plane: self.control_plane, pods: self.pods }
        })
    }
}

/// 0 is a, 25 is z, 26 is aa.
fn letters(mut number: usize) -> String {
    let mut text = Vec::new();
    loop {
        text.insert(0, b'a' + u8::try_from(number % 26).unwrap_or(0));
        number /= 26;
        if number == 0 {
            break;
        }
        number -= 1;
    }
    text.into_iter().map(char::from).collect()
}

/// An application: a Deployment and, if it has one, its budget.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Deployment {
    /// Its name, and the value of the label `app` of its Pods.
    pub name: String,
    /// Its namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// How many Pods.
    pub replicas: u32,
    /// The spec of its PodDisruptionBudget, without the selector.
    #[serde(default)]
    pub budget: Option<Budget>,
    /// `terminationGracePeriodSeconds`.
    #[serde(default)]
    pub grace: Option<GoDuration>,
    /// What its processes take to end when they are told to.
    #[serde(default)]
    pub stops_after: Option<GoDuration>,
    /// What its processes take to become ready.
    #[serde(default)]
    pub starts_after: Option<GoDuration>,
    /// Finalizers of its Pods.
    #[serde(default)]
    pub finalizers: Vec<String>,
    /// Labels of the nodes on which its Pods run.
    #[serde(default)]
    pub nodes: BTreeMap<String, String>,
}

fn default_namespace() -> String {
    "default".to_owned()
}

/// How many Pods of an application may be missing.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Budget {
    /// A number, or a percentage such as `10%`.
    #[serde(default)]
    pub max_unavailable: Option<Value>,
    /// A number, or a percentage.
    #[serde(default)]
    pub min_available: Option<Value>,
}

/// What runs on every node.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DaemonSet {
    /// Its name, and the value of the label `app` of its Pods.
    pub name: String,
    /// Its namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Whether it runs on nodes of the control plane, too.
    #[serde(default)]
    pub control_plane: bool,
    /// Labels of the nodes on which it runs.
    #[serde(default)]
    pub nodes: BTreeMap<String, String>,
}

/// Something that happens once.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// When, from the beginning of the scene.
    pub at: GoDuration,
    /// What.
    #[serde(rename = "do")]
    pub act: Act,
}

/// Something that happens now and then.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Random {
    /// How often the dice are thrown.
    pub every: GoDuration,
    /// With which probability it happens then, from 0 to 1.
    pub chance: f64,
    /// From when on. Default: the beginning.
    #[serde(default)]
    pub from: Option<GoDuration>,
    /// Until when. Default: for ever.
    #[serde(default)]
    pub until: Option<GoDuration>,
    /// What.
    #[serde(rename = "do")]
    pub act: Act,
}

/// Why a text is no scene.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SceneError {
    /// It cannot be read.
    #[error(
        "the scene cannot be read: {0}\nThe format is described at rerail_sim::world::Scene; scenes/*.yaml are examples."
    )]
    Unreadable(String),
    /// It can be read, and makes no sense.
    #[error("the scene makes no sense at {place}: {problem}; {advice}")]
    Wrong {
        /// Where, such as `timeline[3]`.
        place: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        advice: String,
    },
    /// No scene that comes with this crate has that name.
    #[error("no scene is called `{0}`; there are {known}", known = names().join(", "))]
    Unknown(String),
}

/// Scenes that come with this crate.
const SCENES: &[(&str, &str)] = &[
    ("demo", include_str!("../../scenes/demo.yaml")),
    ("single-run", include_str!("../../scenes/single-run.yaml")),
];

fn names() -> Vec<&'static str> {
    SCENES.iter().map(|(name, _)| *name).collect()
}

impl Scene {
    /// Reads a scene.
    pub fn parse(text: &str) -> Result<Self, SceneError> {
        let scene: Scene = serde_saphyr::from_str(text)
            .map_err(|error| SceneError::Unreadable(error.to_string()))?;
        check::check(&scene)?;
        Ok(scene)
    }

    /// A scene that comes with this crate, by its name.
    pub fn named(name: &str) -> Result<Self, SceneError> {
        let text = SCENES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text);
        Scene::parse(text.ok_or_else(|| SceneError::Unknown(name.to_owned()))?)
    }

    /// Names and texts of the scenes that come with this crate.
    pub fn all() -> &'static [(&'static str, &'static str)] {
        SCENES
    }

    /// The machines.
    pub fn specs(&self) -> Vec<Spec> {
        self.nodes.iter().flat_map(NodeGroup::specs).collect()
    }

    /// Namespaces of applications that not every cluster has.
    fn namespaces(&self) -> BTreeSet<&str> {
        let used = self.deployments.iter().map(|one| &one.namespace);
        let used = used.chain(self.daemon_sets.iter().map(|one| &one.namespace));
        used.map(String::as_str).filter(|name| !["default", "kube-system"].contains(name)).collect()
    }

    /// All objects that are made at the beginning, in order, the Nodes excepted.
    pub fn objects(&self) -> Vec<Value> {
        let mut objects: Vec<Value> =
            self.namespaces().iter().map(|name| namespace(name)).collect();
        objects.extend(self.objects.iter().cloned());
        if let Some(config) = &self.config {
            let (namespace, name) =
                (rerail_api::names::SYSTEM_NAMESPACE, rerail_api::names::CONFIG_CONFIG_MAP);
            objects.push(json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": { "namespace": namespace, "name": name },
                "data": { (rerail_api::names::CONFIG_KEY): config },
            }));
        }
        objects.extend(self.daemon_sets.iter().map(DaemonSet::object));
        objects.extend(self.deployments.iter().flat_map(Deployment::objects));
        objects.extend(self.policies.iter().cloned().map(policy));
        objects
    }
}

fn namespace(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } })
}

/// A policy with what may be left out.
fn policy(mut policy: Value) -> Value {
    if policy.get("apiVersion").is_none() {
        let (group, version) = (rerail_api::names::GROUP, rerail_api::names::VERSION);
        policy["apiVersion"] = json!(format!("{group}/{version}"));
    }
    if policy.get("kind").is_none() {
        policy["kind"] = json!("RemediationPolicy");
    }
    policy
}

/// Annotation of a Pod: what its process takes to end.
pub(super) const STOPS_AFTER: &str = "sim.rerail.dev/stops-after";
/// Annotation of a Pod: what its process takes to become ready.
pub(super) const STARTS_AFTER: &str = "sim.rerail.dev/starts-after";

impl Deployment {
    /// The Deployment, and its budget.
    pub fn objects(&self) -> Vec<Value> {
        let Deployment { name, namespace, .. } = self;
        let mut template = json!({
            "metadata": { "labels": { "app": name } },
            "spec": { "containers": [{ "name": "app", "image": "app:1" }] },
        });
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
        if !self.nodes.is_empty() {
            template["spec"]["nodeSelector"] = json!(self.nodes);
        }
        let mut objects = vec![json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": name, "namespace": namespace },
            "spec": {
                "replicas": self.replicas, "selector": { "matchLabels": { "app": name } },
                "template": template,
            },
        })];
        if let Some(budget) = &self.budget {
            let mut spec = json!({ "selector": { "matchLabels": { "app": name } } });
            for (field, value) in [
                ("maxUnavailable", &budget.max_unavailable),
                ("minAvailable", &budget.min_available),
            ] {
                if let Some(value) = value {
                    spec[field] = value.clone();
                }
            }
            objects.push(json!({
                "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
                "metadata": { "name": name, "namespace": namespace }, "spec": spec,
            }));
        }
        objects
    }
}

impl DaemonSet {
    /// The DaemonSet.
    pub fn object(&self) -> Value {
        let DaemonSet { name, namespace, .. } = self;
        let mut template = json!({
            "metadata": { "labels": { "app": name } },
            "spec": { "containers": [{ "name": "app", "image": "app:1" }] },
        });
        if self.control_plane {
            let key = super::options::CONTROL_PLANE;
            template["spec"]["tolerations"] =
                json!([{ "key": key, "operator": "Exists", "effect": "NoSchedule" }]);
        }
        if !self.nodes.is_empty() {
            template["spec"]["nodeSelector"] = json!(self.nodes);
        }
        json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": { "name": name, "namespace": namespace },
            "spec": { "selector": { "matchLabels": { "app": name } }, "template": template },
        })
    }
}

#[cfg(test)]
mod tests;
