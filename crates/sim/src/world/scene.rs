//! Scenes: what a cluster is, and what happens in it, as YAML.
//!
//! ```yaml
//! apiVersion: scenario.rerail.dev/v1alpha1
//! kind: Scenario
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
//! until: 2h                                 # it is played no longer than that; default: until all is quiet
//! expect: {clearedWithin: 1h, maxUnavailable: 1}   # for `rerail simulate`
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
mod expect;
mod groups;
mod limits;
mod slips;
mod span;
mod workloads;

use std::collections::BTreeSet;

use rerail_api::duration::GoDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Act,
    options::{Spec, Times},
};

pub use expect::Expect;
pub use groups::{NodeGroup, Taint};
pub use limits::LONGEST;
pub use span::Span;
pub use workloads::{Budget, DaemonSet, Deployment};
pub(super) use workloads::{PLACED, STARTS_AFTER, STOPS_AFTER};

/// `apiVersion` of the only version of the format that there is.
pub const API_VERSION: &str = "scenario.rerail.dev/v1alpha1";
/// `kind` of a scene.
pub const KIND: &str = "Scenario";

/// For fields that need not be written.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A cluster, and what happens in it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scene {
    /// The version of this format: `scenario.rerail.dev/v1alpha1`.
    pub api_version: String,
    /// `Scenario`.
    pub kind: String,
    /// A short name.
    pub name: String,
    /// What it shows, for people.
    #[serde(default, skip_serializing_if = "is_default")]
    pub about: String,
    /// How long things take on the machines.
    #[serde(default, skip_serializing_if = "is_default")]
    pub times: SceneTimes,
    /// The machines, in groups that are alike.
    pub nodes: Vec<NodeGroup>,
    /// Applications.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deployments: Vec<Deployment>,
    /// What runs on every node.
    #[serde(default, skip_serializing_if = "is_default")]
    pub daemon_sets: Vec<DaemonSet>,
    /// RemediationPolicies.
    #[serde(default, skip_serializing_if = "is_default")]
    pub policies: Vec<Value>,
    /// When the policies are applied. Default: at the beginning.
    #[serde(default, skip_serializing_if = "is_default")]
    pub policies_at: Option<GoDuration>,
    /// The operator's configuration, as YAML in YAML. Without it the operator starts nothing.
    #[serde(default, skip_serializing_if = "is_default")]
    pub config: Option<String>,
    /// Objects that are there from the beginning.
    #[serde(default, skip_serializing_if = "is_default")]
    pub objects: Vec<Value>,
    /// What happens when.
    #[serde(default, skip_serializing_if = "is_default")]
    pub timeline: Vec<Entry>,
    /// What happens now and then.
    #[serde(default, skip_serializing_if = "is_default")]
    pub random: Vec<Random>,
    /// It is played no longer than that. Default: until nothing more can happen by itself, or a day after
    /// the last entry of the timeline; for nodes that rest after a run that failed, six hours after it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub until: Option<GoDuration>,
    /// What is to come of it; `rerail simulate` fails where it does not.
    #[serde(default, skip_serializing_if = "is_default")]
    pub expect: Expect,
}

/// Times that a scene sets; see [`Times`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SceneTimes {
    /// From power lost to kernel started. Default: `20s..60s`.
    #[serde(skip_serializing_if = "is_default")]
    pub boot: Option<Span>,
    /// From a reboot command that succeeded to the machine going down. Default: `1s..4s`.
    #[serde(skip_serializing_if = "is_default")]
    pub shutdown: Option<Span>,
    /// From the kernel's start to the kubelet's first report, which is "not ready". Default: `1s..3s`.
    #[serde(skip_serializing_if = "is_default")]
    pub kubelet: Option<Span>,
    /// From there to the report that it is ready. Default: `2s..10s`.
    #[serde(skip_serializing_if = "is_default")]
    pub ready: Option<Span>,
    /// From there to ordinary Pods running again, and healed conditions being told. Default: `2s..10s`.
    #[serde(skip_serializing_if = "is_default")]
    pub settle: Option<Span>,
    /// From a Pod being bound to it running. Default: `500ms..4s`.
    #[serde(skip_serializing_if = "is_default")]
    pub pod_start: Option<Span>,
    /// From a Pod being told to end to its process ending. Default: `200ms..5s`.
    #[serde(skip_serializing_if = "is_default")]
    pub pod_stop: Option<Span>,
    /// How late anybody sees what changed: kubelets and controllers. Default: `2ms..40ms`.
    #[serde(skip_serializing_if = "is_default")]
    pub watch: Option<Span>,
    /// How often a kubelet renews its node's Lease. Default: `10s`.
    #[serde(skip_serializing_if = "is_default")]
    pub lease: Option<GoDuration>,
    /// How often a kubelet reports its node's status when nothing changes. Default: `5m`.
    #[serde(skip_serializing_if = "is_default")]
    pub report: Option<GoDuration>,
    /// How often the writers of conditions refresh them. Default: `1m`.
    #[serde(skip_serializing_if = "is_default")]
    pub heartbeat: Option<GoDuration>,
    /// After so long without a Lease or a report, a node's Ready is Unknown. Default: `40s`.
    #[serde(skip_serializing_if = "is_default")]
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

/// Something that happens once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// When, from the beginning of the scene.
    pub at: GoDuration,
    /// What.
    #[serde(rename = "do")]
    pub act: Act,
}

/// Something that happens now and then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Random {
    /// How often the dice are thrown.
    pub every: GoDuration,
    /// With which probability it happens then, from 0 to 1.
    pub chance: f64,
    /// From when on. Default: the beginning.
    #[serde(default, skip_serializing_if = "is_default")]
    pub from: Option<GoDuration>,
    /// Until when. Default: for ever.
    #[serde(default, skip_serializing_if = "is_default")]
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
        "the scenario cannot be read: {0}\nThe format is described in docs/reference/scenario.md; examples/scenarios has examples."
    )]
    Unreadable(String),
    /// It is of another version, or of none.
    #[error(
        "the scenario says `apiVersion: {version}` and `kind: {kind}`; this program reads `{API_VERSION}` and `{KIND}`"
    )]
    Version {
        /// Its `apiVersion`.
        version: String,
        /// Its `kind`.
        kind: String,
    },
    /// It says nothing of what it is.
    #[error(
        "the text has neither `apiVersion` nor `kind`: a scenario begins with `apiVersion: {API_VERSION}` and `kind: {KIND}`"
    )]
    NoVersion,
    /// It can be read, and makes no sense.
    #[error("the scenario makes no sense at {place}: {problem}; {advice}")]
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

impl SceneError {
    /// The same, at another place of the scene.
    fn at(self, other: String) -> Self {
        match self {
            SceneError::Wrong { problem, advice, .. } => {
                SceneError::Wrong { place: other, problem, advice }
            }
            error => error,
        }
    }
}

/// What tells the version.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Head {
    api_version: String,
    kind: String,
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
        let unreadable = |error: serde_saphyr::Error| {
            let words = &serde_saphyr::UserMessageFormatter;
            SceneError::Unreadable(error.render_with_formatter(words))
        };
        let Head { api_version: version, kind } =
            serde_saphyr::from_str(text).map_err(unreadable)?;
        if version.is_empty() && kind.is_empty() {
            return Err(SceneError::NoVersion);
        }
        // Before all fields: those of another version need not be known.
        if (version.as_str(), kind.as_str()) != (API_VERSION, KIND) {
            return Err(SceneError::Version { version, kind });
        }
        let scene: Scene = serde_saphyr::from_str(text).map_err(unreadable)?;
        scene.check()?;
        Ok(scene)
    }

    /// Says what makes no sense, as [`Scene::parse`] does, of a scene that was put together.
    pub fn check(&self) -> Result<(), SceneError> {
        check::check(self)
    }

    /// What an API server would say of a policy, if it refuses it.
    pub fn check_policy(policy: &Value) -> Result<(), String> {
        match check::check_policy(policy) {
            Err(SceneError::Wrong { problem, .. }) => Err(problem),
            Err(other) => Err(other.to_string()),
            Ok(()) => Ok(()),
        }
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

    /// What happens in it, by its timeline and by dice.
    pub fn acts(&self) -> impl Iterator<Item = &Act> + Clone {
        let timeline = self.timeline.iter().map(|entry| &entry.act);
        timeline.chain(self.random.iter().map(|random| &random.act))
    }

    /// The machines.
    pub fn specs(&self) -> Vec<Spec> {
        self.nodes.iter().flat_map(NodeGroup::specs).collect()
    }

    /// Namespaces of applications that not every cluster has.
    fn namespaces(&self) -> BTreeSet<&str> {
        let used = self.deployments.iter().map(|one| &one.namespace);
        let used = used.chain(self.daemon_sets.iter().map(|one| &one.namespace));
        used.map(String::as_str).filter(|name| !crate::store::NAMESPACES.contains(name)).collect()
    }

    /// The policies, whole.
    pub fn whole_policies(&self) -> Vec<Value> {
        self.policies.iter().cloned().map(policy).collect()
    }

    /// All objects that are made at the beginning, in order, the Nodes excepted, and policies that come
    /// later.
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
        if self.policies_at.is_none() {
            objects.extend(self.whole_policies());
        }
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

#[cfg(test)]
mod tests;
