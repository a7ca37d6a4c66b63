//! What the controllers and kubelets know: the objects as their watches have brought them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Value, json};

use crate::{meta, selector::Labels, store::Key};

/// Objects by kind, and who belongs to whom.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub nodes: BTreeMap<Key, Arc<Value>>,
    pub pods: BTreeMap<Key, Arc<Value>>,
    pub on_node: BTreeMap<String, BTreeSet<Key>>,
    pub unbound: BTreeSet<Key>,
    pub of_owner: BTreeMap<String, BTreeSet<Key>>,
    pub budgets: BTreeMap<Key, Budget>,
    pub deployments: BTreeMap<Key, Arc<Value>>,
    pub replica_sets: BTreeMap<Key, Arc<Value>>,
    pub daemon_sets: BTreeMap<Key, Arc<Value>>,
    /// When Events were last written, in milliseconds.
    pub events: BTreeMap<Key, u64>,
}

/// A PodDisruptionBudget, and the Pods that it covers.
#[derive(Debug)]
pub(super) struct Budget {
    pub object: Arc<Value>,
    labels: Option<Labels>,
    pub pods: BTreeSet<Key>,
}

impl Budget {
    fn covers(&self, pod: &Value) -> bool {
        meta::of(pod, "namespace") == meta::of(&self.object, "namespace")
            && self.labels.as_ref().is_some_and(|labels| labels.matches(pod))
    }
}

impl Known {
    /// Takes in a budget.
    pub(super) fn put_budget(&mut self, key: &Key, object: &Arc<Value>) {
        let known = self.budgets.get_mut(key);
        let selects = |budget: &Value| budget["spec"]["selector"].clone();
        if let Some(known) = known.filter(|known| selects(&known.object) == selects(object)) {
            known.object = object.clone();
            return;
        }
        let labels = Labels::of_object(&object["spec"]["selector"]);
        let mut budget = Budget { object: object.clone(), labels, pods: BTreeSet::new() };
        let covered = self.pods.iter().filter(|(_, pod)| budget.covers(pod));
        budget.pods = covered.map(|(key, _)| key.clone()).collect();
        self.budgets.insert(key.clone(), budget);
    }

    /// The Pods that a budget covers; `None` for one whose selector cannot be read.
    pub(super) fn pods_under(&self, budget: &Key) -> Option<Vec<(Key, Arc<Value>)>> {
        let budget = self.budgets.get(budget).filter(|budget| budget.labels.is_some())?;
        Some(self.these(Some(&budget.pods)))
    }

    /// The budgets that cover a Pod.
    pub(super) fn budgets_over(&self, pod: &Key) -> Vec<Key> {
        let over = self.budgets.iter().filter(|(_, budget)| budget.pods.contains(pod));
        over.map(|(key, _)| key.clone()).collect()
    }

    /// Takes in a Pod.
    pub(super) fn put_pod(&mut self, key: &Key, pod: &Arc<Value>) {
        let before = self.pods.get(key);
        let labels = |pod: &Value| meta::get(pod, "labels").cloned();
        if before.is_none_or(|before| labels(before) != labels(pod)) {
            for budget in self.budgets.values_mut() {
                match budget.covers(pod) {
                    true => budget.pods.insert(key.clone()),
                    false => budget.pods.remove(key),
                };
            }
        }
        if before.is_some_and(|before| belongs(before) == belongs(pod)) {
            self.pods.insert(key.clone(), pod.clone());
            return;
        }
        self.unlist(key);
        match node_of(pod) {
            "" => self.unbound.insert(key.clone()),
            node => self.on_node.entry(node.to_owned()).or_default().insert(key.clone()),
        };
        if let Some((_, uid)) = owner(pod) {
            self.of_owner.entry(uid.to_owned()).or_default().insert(key.clone());
        }
        self.pods.insert(key.clone(), pod.clone());
    }

    /// Forgets a Pod.
    pub(super) fn drop_pod(&mut self, key: &Key) {
        self.unlist(key);
        for budget in self.budgets.values_mut() {
            budget.pods.remove(key);
        }
    }

    fn unlist(&mut self, key: &Key) {
        let Some(pod) = self.pods.remove(key) else { return };
        self.unbound.remove(key);
        if let Some(pods) = self.on_node.get_mut(node_of(&pod)) {
            pods.remove(key);
            if pods.is_empty() {
                self.on_node.remove(node_of(&pod));
            }
        }
        if let Some((_, uid)) = owner(&pod)
            && let Some(pods) = self.of_owner.get_mut(uid)
        {
            pods.remove(key);
            if pods.is_empty() {
                self.of_owner.remove(uid);
            }
        }
    }

    /// The Pods bound to a node.
    pub(super) fn pods_on(&self, node: &str) -> Vec<(Key, Arc<Value>)> {
        self.these(self.on_node.get(node))
    }

    /// The Pods of a controller, by its UID.
    pub(super) fn pods_of(&self, uid: &str) -> Vec<(Key, Arc<Value>)> {
        self.these(self.of_owner.get(uid))
    }

    fn these(&self, keys: Option<&BTreeSet<Key>>) -> Vec<(Key, Arc<Value>)> {
        let keys = keys.into_iter().flatten();
        keys.filter_map(|key| Some((key.clone(), self.pods.get(key)?.clone()))).collect()
    }
}

/// By what a Pod is found: its node and its owner.
fn belongs(pod: &Value) -> (&str, Option<(&str, &str)>) {
    (node_of(pod), owner(pod))
}

/// The node that a Pod is bound to; empty when it is bound to none.
pub(super) fn node_of(pod: &Value) -> &str {
    meta::text(pod, &["spec", "nodeName"])
}

/// Kind and UID of what controls an object.
pub(super) fn owner(object: &Value) -> Option<(&str, &str)> {
    let owners = meta::get(object, "ownerReferences")?.as_array()?;
    let one = owners.iter().find(|one| one["controller"] == true)?;
    Some((one["kind"].as_str()?, one["uid"].as_str()?))
}

/// A condition of an object's status.
pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|one| one["type"] == kind)
}

/// The status of a condition; empty when it is not there.
pub(super) fn status_of<'a>(object: &'a Value, kind: &str) -> &'a str {
    condition(object, kind).map(|one| meta::text(one, &["status"])).unwrap_or_default()
}

/// True for a Pod that is ready, or a node that is.
pub(super) fn is_ready(object: &Value) -> bool {
    status_of(object, "Ready") == "True"
}

/// The phase of a Pod.
pub(super) fn phase(pod: &Value) -> &str {
    meta::text(pod, &["status", "phase"])
}

/// True for a Pod that has ended.
pub(super) fn has_ended(pod: &Value) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// The taints of a node, as key and effect.
#[cfg(test)]
pub(super) fn taints(node: &Value) -> impl Iterator<Item = (&str, &str)> {
    let taints = node["spec"]["taints"].as_array();
    let text = |taint, field| meta::text(taint, &[field]);
    taints.into_iter().flatten().map(move |taint| (text(taint, "key"), text(taint, "effect")))
}

/// Whether a Pod tolerates a taint, and for how long if not for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tolerates {
    No,
    Seconds(i64),
    Always,
}

/// The same of a taint without a value.
pub(super) fn tolerates(pod: &Value, key: &str, effect: &str) -> Tolerates {
    tolerates_taint(pod, &json!({ "key": key, "effect": effect }))
}

/// Looks at tolerations by key, effect and, where they ask for one, value.
pub(super) fn tolerates_taint(pod: &Value, taint: &Value) -> Tolerates {
    let of = |field: &str| meta::text(taint, &[field]).to_owned();
    let (key, effect, value) = (of("key"), of("effect"), of("value"));
    let all = pod["spec"]["tolerations"].as_array();
    let fits = |one: &&Value| {
        let (own_key, own_effect) = (meta::text(one, &["key"]), meta::text(one, &["effect"]));
        let any_value = meta::text(one, &["operator"]) == "Exists";
        (own_key.is_empty() || own_key == key)
            && (own_effect.is_empty() || own_effect == effect)
            && (any_value || meta::text(one, &["value"]) == value)
    };
    let mut best = Tolerates::No;
    for one in all.into_iter().flatten().filter(fits) {
        match (one["tolerationSeconds"].as_i64(), best) {
            (None, _) => return Tolerates::Always,
            // The shortest counts, as in the taint manager.
            (Some(seconds), Tolerates::Seconds(known)) if known <= seconds => {}
            (Some(seconds), _) => best = Tolerates::Seconds(seconds),
        }
    }
    best
}

/// True when a node has all labels of a selector.
pub(super) fn has_labels(node: &Value, selector: &Value) -> bool {
    let wanted = selector.as_object().into_iter().flatten();
    wanted.into_iter().all(|(key, value)| {
        meta::get(node, "labels").and_then(|labels| labels.get(key)) == Some(value)
    })
}
