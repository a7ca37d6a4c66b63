//! The node lifecycle controller: nodes that are not heard of, taints by condition, and the Pods that
//! have to leave because of them (`pkg/controller/nodelifecycle`, `pkg/controller/tainteviction`).

use http::Method;
use serde_json::{Value, json};

use crate::{
    meta,
    world::{
        api::{self, Media, NODES, PODS, Who, controller},
        known::{self, Tolerates, tolerates},
        queue::{Event, Sync},
        state::State,
    },
};

const NODE_CONTROLLER: Who<'static> = controller("node-controller");
const TAINT_MANAGER: Who<'static> = controller("taint-manager");

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Conditions of which a kubelet that is not heard of says nothing any more.
pub(in crate::world) const REPORTED: [&str; 4] =
    ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

impl State {
    /// Every few seconds: whoever was not heard of for the grace period is Unknown.
    pub(in crate::world) fn monitor(&mut self) {
        let silent: Vec<String> = self
            .known
            .nodes
            .keys()
            .filter(|node| {
                let heard = self.heard.get(*node).copied().unwrap_or_default();
                self.now.saturating_sub(heard) > self.times.grace
            })
            .cloned()
            .collect();
        for node in silent {
            self.mark_unknown(&node);
        }
    }

    fn mark_unknown(&mut self, name: &str) {
        let Some(node) = api::read(&self.server, self.places.nodes, &name.to_owned()) else {
            return;
        };
        if known::status_of(&node, "Ready") == "Unknown" {
            return;
        }
        let now = meta::time(self.clock);
        let conditions: Vec<Value> = REPORTED
            .iter()
            .map(|kind| {
                let never = known::condition(&node, kind).is_none();
                let (reason, message) = match never {
                    true => ("NodeStatusNeverUpdated", "Kubelet never posted node status."),
                    false => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
                };
                json!({ "type": kind, "status": "Unknown", "reason": reason, "message": message,
                    "lastTransitionTime": now })
            })
            .collect();
        let patch = json!({ "status": { "conditions": conditions } });
        let path = NODES.path(name, "status");
        let _ = self.ask(NODE_CONTROLLER, &Method::PATCH, &path, Media::Strategic, Some(&patch));
    }

    /// After a change: the taints that the node's state asks for, and its Pods' readiness.
    pub(in crate::world) fn sync_taints(&mut self, name: &str) {
        let Some(node) = api::read(&self.server, self.places.nodes, &name.to_owned()) else {
            return;
        };
        let key = match known::status_of(&node, "Ready") {
            "True" => None,
            "False" => Some(NOT_READY),
            _ => Some(UNREACHABLE),
        };
        let cordoned = node["spec"]["unschedulable"] == true;
        let mut wanted: Vec<(&str, &str)> = Vec::new();
        if cordoned {
            wanted.push((UNSCHEDULABLE, "NoSchedule"));
        }
        for effect in ["NoSchedule", "NoExecute"] {
            wanted.extend(key.map(|key| (key, effect)));
        }
        self.write_taints(name, &node, &wanted);
        if key.is_some() {
            self.mark_pods_not_ready(name);
        }
    }

    fn write_taints(&mut self, name: &str, node: &Value, wanted: &[(&str, &str)]) {
        let own = |key: &str| [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&key);
        let all = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
        let is = |taint: &Value, (key, effect): (&str, &str)| {
            taint["key"] == key && taint["effect"] == effect
        };
        let mut taints: Vec<Value> = all
            .iter()
            .filter(|taint| {
                let key = meta::text(taint, &["key"]);
                !own(key) || wanted.iter().any(|pair| is(taint, *pair))
            })
            .cloned()
            .collect();
        for &(key, effect) in wanted {
            if !taints.iter().any(|taint| is(taint, (key, effect))) {
                let now = meta::time(self.clock);
                taints.push(json!({ "key": key, "effect": effect, "timeAdded": now }));
            }
        }
        if taints == all {
            return;
        }
        let version = meta::of(node, "resourceVersion");
        let patch =
            json!({ "metadata": { "resourceVersion": version }, "spec": { "taints": taints } });
        let path = NODES.path(name, "");
        let _ = self.ask(NODE_CONTROLLER, &Method::PATCH, &path, Media::Merge, Some(&patch));
    }

    /// The Pods of a node that is not ready are not ready either, whatever they themselves say.
    fn mark_pods_not_ready(&mut self, node: &str) {
        for (key, pod) in self.known.pods_on(node) {
            if !known::is_ready(&pod) {
                continue;
            }
            let patch = json!({
                "metadata": { "uid": meta::of(&pod, "uid") },
                "status": { "conditions": [{
                    "type": "Ready", "status": "False", "lastTransitionTime": meta::time(self.clock),
                }] },
            });
            let path = PODS.path(&key, "status");
            let _ =
                self.ask(NODE_CONTROLLER, &Method::PATCH, &path, Media::Strategic, Some(&patch));
        }
    }

    /// The Pods that do not tolerate a node's NoExecute taints, or not for so long, are deleted.
    pub(in crate::world) fn sync_evictions(&mut self, name: &str) {
        let Some(node) = self.known.nodes.get(name).cloned() else { return };
        let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
        let taints: Vec<&Value> =
            taints.iter().filter(|one| one["effect"] == "NoExecute").collect();
        if taints.is_empty() {
            return;
        }
        let mut again: Option<i64> = None;
        for (key, pod) in self.known.pods_on(name) {
            if meta::is_deleting(&pod) || known::has_ended(&pod) {
                continue;
            }
            let left = taints.iter().filter_map(|taint| self.time_left(&pod, taint)).min();
            match left {
                Some(left) if left <= 0 => self.evict_by_taint(&key, &pod),
                Some(left) => again = Some(again.map_or(left, |known| known.min(left))),
                None => {}
            }
        }
        if let Some(seconds) = again.and_then(|seconds| u64::try_from(seconds).ok()) {
            // A change of the node may bring the look forward, and then plans the next one.
            let event = Event::Sync(Sync::Evict(name.to_owned()));
            self.plan(seconds.saturating_mul(1_000), event);
        }
    }

    /// For how many seconds a Pod may stay in spite of a taint; `None` for ever.
    fn time_left(&self, pod: &Value, taint: &Value) -> Option<i64> {
        let key = meta::text(taint, &["key"]);
        match tolerates(pod, key, "NoExecute") {
            Tolerates::Always => None,
            Tolerates::No => Some(0),
            Tolerates::Seconds(seconds) => {
                let added = meta::text(taint, &["timeAdded"]).parse().unwrap_or(self.clock);
                Some(seconds - self.clock.duration_since(added).as_secs())
            }
        }
    }

    fn evict_by_taint(&mut self, key: &str, pod: &Value) {
        let options = json!({ "kind": "DeleteOptions", "apiVersion": "v1",
            "preconditions": { "uid": meta::of(pod, "uid") } });
        let path = PODS.path(key, "");
        let _ = self.ask(TAINT_MANAGER, &Method::DELETE, &path, Media::Json, Some(&options));
    }
}
