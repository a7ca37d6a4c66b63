//! A scheduler: every Pod without a node gets the one that has the fewest Pods, if any may have it.

use std::{collections::BTreeMap, sync::Arc};

use http::Method;
use serde_json::{Value, json};

use crate::{
    meta,
    store::Key,
    world::{
        api::{Media, PODS, Who},
        known::{self, Tolerates, has_labels, tolerates, tolerates_taint},
        state::State,
    },
};

const SCHEDULER: Who<'static> = Who { name: "scheduler", program: "kube-scheduler" };
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// The one node that a Pod wants, if it wants one: a DaemonSet's Pods do.
fn wanted(pod: &Value) -> Option<&str> {
    pod.pointer("/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchFields/0/values/0")?
        .as_str()
}

/// True when a node may have a Pod, its room apart.
pub(super) fn may_have(node: &Value, pod: &Value) -> bool {
    let tolerated = tolerates(pod, UNSCHEDULABLE, "NoSchedule") != Tolerates::No;
    let cordoned = node["spec"]["unschedulable"] == true && !tolerated;
    let tainted = node["spec"]["taints"].as_array().into_iter().flatten().any(|taint| {
        taint["effect"] != "PreferNoSchedule" && tolerates_taint(pod, taint) == Tolerates::No
    });
    !cordoned && !tainted && has_labels(node, &pod["spec"]["nodeSelector"])
}

impl State {
    pub(in crate::world) fn sync_scheduler(&mut self) {
        let nodes: Vec<(Key, Arc<Value>)> =
            self.known.nodes.iter().map(|(name, node)| (name.clone(), node.clone())).collect();
        let mut counts: BTreeMap<Key, usize> = nodes
            .iter()
            .map(|(name, _)| {
                (name.clone(), self.known.on_node.get(name).map_or(0, |all| all.len()))
            })
            .collect();
        let room = |node: &Value| {
            let text = meta::text(node, &["status", "allocatable", "pods"]);
            text.parse().unwrap_or(0_usize)
        };
        for key in self.known.unbound.clone() {
            let Some(pod) = self.known.pods.get(&key).cloned() else { continue };
            if meta::is_deleting(&pod) || known::has_ended(&pod) {
                continue;
            }
            let only = wanted(&pod);
            let best = nodes
                .iter()
                .filter(|(name, node)| {
                    only.is_none_or(|only| only == name)
                        && may_have(node, &pod)
                        && counts.get(name).is_some_and(|count| *count < room(node))
                })
                .min_by_key(|(name, _)| counts.get(name).copied().unwrap_or_default());
            match best {
                Some((name, _)) => {
                    let name = name.clone();
                    *counts.entry(name.clone()).or_default() += 1;
                    self.bind(&key, &name);
                }
                None => self.no_room(&key, &pod, nodes.len()),
            }
        }
    }

    fn bind(&mut self, key: &Key, node: &str) {
        let name = key.rsplit('/').next().unwrap_or_default();
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": { "name": name },
            "target": { "apiVersion": "v1", "kind": "Node", "name": node },
        });
        let path = PODS.path(key, "binding");
        let _ = self.ask(SCHEDULER, &Method::POST, &path, Media::Json, Some(&binding));
    }

    fn no_room(&mut self, key: &Key, pod: &Value, nodes: usize) {
        if known::status_of(pod, "PodScheduled") == "False" {
            return;
        }
        let patch = json!({
            "metadata": { "uid": meta::of(pod, "uid") },
            "status": { "conditions": [{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": format!("0/{nodes} nodes are available"),
                "lastTransitionTime": meta::time(self.clock),
            }] },
        });
        let path = PODS.path(key, "status");
        let _ = self.ask(SCHEDULER, &Method::PATCH, &path, Media::Strategic, Some(&patch));
    }
}
