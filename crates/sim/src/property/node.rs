//! Nodes: what their objects say, and what their machines really are.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use rerail_api::names;
use rerail_core::facts::LastRemediation;
use serde_json::Value;

use super::past::Recent;
use crate::{meta, observe::Cause};

/// Marks by which others say that they take a node down (docs/design/006).
const CLAIMS: [&str; 3] =
    ["ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted", "karpenter.sh/disruption"];
const KURED: &str = "weave.works/kured-reboot-in-progress";
const CONTROL_PLANE: [&str; 3] = [
    "node-role.kubernetes.io/control-plane",
    "node-role.kubernetes.io/master",
    "node-role.kubernetes.io/etcd",
];
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// One condition as its object shows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    pub status: String,
    pub reason: String,
    pub message: String,
    /// Since when it has this status, as the API server saw it.
    pub since: Timestamp,
    /// When the report last changed.
    pub reported: Timestamp,
    /// `lastTransitionTime`, as written.
    pub transition: Option<Timestamp>,
    heartbeat: Option<Timestamp>,
}

/// A node as people, its kubelet and the operator have written it.
#[derive(Debug)]
pub(super) struct NodeTruth {
    pub uid: String,
    /// The object with its labels, for selectors.
    pub labels: Recent<Arc<Value>>,
    pub ready: Recent<bool>,
    /// Cannot take work: not Ready, cordoned, being deleted or off.
    pub out: Recent<bool>,
    pub cordoned: Recent<bool>,
    pub mark: Recent<Option<String>>,
    /// Cordoned by somebody else than us, or claimed by another controller.
    pub foreign: Recent<bool>,
    pub claimed: Recent<bool>,
    pub hold: Recent<bool>,
    pub ignore: Recent<bool>,
    pub deleting: bool,
    pub control_plane: bool,
    /// An operator made it unschedulable, when it last became so.
    pub cordon_is_ours: bool,
    /// The boot ID that it reports.
    pub boot_id: String,
    pub conditions: BTreeMap<String, Said>,
    /// Attempts on its machine that it has on record.
    pub attempts: Vec<Timestamp>,
}

impl NodeTruth {
    pub fn new(object: &Arc<Value>, at: Timestamp) -> Self {
        let mut node = NodeTruth {
            uid: meta::of(object, "uid").to_owned(),
            labels: Recent::always(labelled(object)),
            ready: Recent::always(false),
            out: Recent::always(true),
            cordoned: Recent::always(false),
            mark: Recent::always(None),
            foreign: Recent::always(false),
            claimed: Recent::always(false),
            hold: Recent::always(false),
            ignore: Recent::always(false),
            deleting: false,
            control_plane: false,
            cordon_is_ours: false,
            boot_id: String::new(),
            conditions: BTreeMap::new(),
            attempts: Vec::new(),
        };
        node.update(None, object, at, false);
        node
    }

    /// Takes in a version; `ours` = an operator wrote it.
    pub fn update(
        &mut self,
        before: Option<&Value>,
        object: &Arc<Value>,
        at: Timestamp,
        ours: bool,
    ) {
        let same = |path: &[&str]| {
            before.is_some_and(|before| at_path(before, path) == at_path(object, path))
        };
        if !same(&["status"]) {
            self.read_status(object, at);
        }
        if !same(&["metadata", "annotations", names::LAST_REMEDIATION]) {
            self.attempts = memory(object).attempts;
        }
        let unschedulable = is_cordoned(object);
        if unschedulable && !self.cordoned.get() {
            self.cordon_is_ours = ours || is_restored(object);
        }
        self.cordoned.set(unschedulable, at);
        self.deleting = meta::is_deleting(object);
        if !same(&["metadata", "labels"]) {
            let (key, present) = (labelled(object), |key: &str| {
                at_path(object, &["metadata", "labels"])
                    .is_some_and(|labels| labels.get(key).is_some())
            });
            self.labels.set(key, at);
            self.hold.set(present(names::HOLD), at);
            self.ignore.set(present(names::IGNORE), at);
        }
        let taints: BTreeSet<&str> = taints(object).collect();
        self.control_plane = CONTROL_PLANE.iter().any(|role| {
            taints.contains(role)
                || at_path(object, &["metadata", "labels"])
                    .is_some_and(|labels| labels.get(role).is_some())
        });
        let claimed = CLAIMS.iter().any(|claim| taints.contains(claim))
            || annotation(object, KURED).is_some();
        self.claimed.set(claimed, at);
        self.mark.set(annotation(object, names::CORDONED_BY).map(str::to_owned), at);
        self.foreign.set(claimed || (unschedulable && !self.cordon_is_ours), at);
        let off = taints.contains(OUT_OF_SERVICE);
        self.out.set(!*self.ready.get() || unschedulable || self.deleting || off, at);
    }

    /// Its kubelet's latest report, if it is of now, bears another time.
    pub fn clock_is_wrong(&self, now: Timestamp) -> bool {
        let Some(ready) = self.conditions.get("Ready").filter(|ready| ready.reported == now) else {
            return false;
        };
        ready
            .heartbeat
            .is_some_and(|told| now.duration_since(told).abs() > jiff::SignedDuration::from_mins(1))
    }

    fn read_status(&mut self, object: &Value, at: Timestamp) {
        self.boot_id = meta::text(object, &["status", "nodeInfo", "bootID"]).to_owned();
        let conditions = at_path(object, &["status", "conditions"]).and_then(Value::as_array);
        let mut seen = BTreeSet::new();
        for condition in conditions.into_iter().flatten() {
            let text = |key: &str| meta::text(condition, &[key]);
            let kind = text("type");
            seen.insert(kind.to_owned());
            let status =
                if matches!(text("status"), "True" | "False") { text("status") } else { "Unknown" };
            let (transition, heartbeat) =
                (text("lastTransitionTime").parse().ok(), text("lastHeartbeatTime").parse().ok());
            let known = self.conditions.get(kind);
            let since =
                known.filter(|known| known.status == status).map_or(at, |known| known.since);
            let unchanged = known.filter(|known| {
                known.status == status
                    && known.transition == transition
                    && known.heartbeat == heartbeat
            });
            let reported = unchanged.map_or(at, |known| known.reported);
            let said = Said {
                status: status.to_owned(),
                reason: text("reason").to_owned(),
                message: text("message").to_owned(),
                since,
                reported,
                transition,
                heartbeat,
            };
            self.conditions.insert(kind.to_owned(), said);
        }
        self.conditions.retain(|kind, _| seen.contains(kind));
        let ready = self.conditions.get("Ready").is_some_and(|ready| ready.status == "True");
        self.ready.set(ready, at);
    }

    /// A condition that nobody renews counts for nothing after a while; one without heartbeats is
    /// never stale.
    pub fn has_heartbeat(said: &Said) -> bool {
        said.heartbeat.is_some()
    }
}

/// A machine, whatever its Node object says.
#[derive(Debug, Default)]
pub(super) struct Machine {
    pub boot_id: String,
    /// Every boot, with why the machine had gone down.
    pub boots: Vec<(Timestamp, Cause)>,
    /// Foreign conditions that are really true.
    pub sick: BTreeMap<String, Timestamp>,
    /// Since when it is not sick any more of what it was.
    pub well: BTreeMap<String, Timestamp>,
    /// Since when it is down; `None` = it runs.
    pub down: Option<Timestamp>,
    pub gone: bool,
}

/// A cordon of ours that comes back with a backup: nobody else can write the field in our name.
fn is_restored(object: &Value) -> bool {
    let managers = at_path(object, &["metadata", "managedFields"]).and_then(Value::as_array);
    annotation(object, names::CORDONED_BY).is_some()
        && managers.into_iter().flatten().any(|entry| {
            meta::text(entry, &["manager"]) == names::FIELD_MANAGER
                && at_path(entry, &["fieldsV1", "f:spec", "f:unschedulable"]).is_some()
        })
}

/// What a selector looks at.
fn labelled(object: &Value) -> Arc<Value> {
    let labels = at_path(object, &["metadata", "labels"]).cloned().unwrap_or(Value::Null);
    Arc::new(serde_json::json!({ "metadata": { "labels": labels } }))
}

pub(super) fn label<'a>(labels: &'a Value, key: &str) -> Option<&'a str> {
    at_path(labels, &["metadata", "labels"])?.get(key)?.as_str()
}

pub(super) fn is_cordoned(object: &Value) -> bool {
    at_path(object, &["spec", "unschedulable"]).and_then(Value::as_bool).unwrap_or(false)
}

pub(super) fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    at_path(object, &["metadata", "annotations"])?.get(key)?.as_str()
}

pub(super) fn taints(object: &Value) -> impl Iterator<Item = &str> {
    let taints = at_path(object, &["spec", "taints"]).and_then(Value::as_array);
    taints.into_iter().flatten().map(|taint| meta::text(taint, &["key"]))
}

pub(super) fn at_path<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, key| value.get(key))
}

/// What a node remembers of its runs.
pub(super) fn memory(node: &Value) -> LastRemediation {
    let text = annotation(node, names::LAST_REMEDIATION);
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}
