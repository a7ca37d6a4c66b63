//! SAFE-21: drained before it is rebooted; and what an operator does to Pods.

use std::sync::Arc;

use rerail_api::names;
use rerail_core::step::Step;
use serde_json::Value;

use super::{
    court::{Court, Seen},
    effect::Effect,
    node::NodeTruth,
    pods::{attempt, ours},
    policy::PolicyTruth,
    run::RunTruth,
};
use crate::{meta, selector::Labels, store::Store};

/// So many pods are named.
const NAMED: usize = 3;

impl Court {
    /// What people and other controllers have said against a reboot.
    fn stopped_by_people(
        &self,
        seen: &Seen,
        run: &RunTruth,
        node: &NodeTruth,
        was: Step,
    ) -> Vec<(&'static str, String)> {
        let stop = |value: &super::past::Recent<bool>| value.throughout(seen.from, |value| *value);
        let mut wrong: Vec<(&'static str, String)> = Vec::new();
        if run.status.attempt <= 1 || was == Step::Draining {
            if stop(&node.foreign) {
                wrong.push((
                    "SAFE-7",
                    "it goes to the reboot, and somebody else has cordoned or claims the node"
                        .to_owned(),
                ));
            }
            if node.cordoned.throughout(seen.from, |cordoned| !*cordoned) {
                wrong.push((
                    "SAFE-7",
                    "it goes to the reboot, and somebody has lifted its cordon".to_owned(),
                ));
            }
            if run.cancelled.is_some_and(|at| at < seen.from) {
                wrong.push(("SAFE-7", "it goes to the reboot, and was cancelled".to_owned()));
            }
            let margin = self.lag();
            let paused = |entries: &Vec<_>| {
                super::policy::is_paused(entries, &run.node, &run.policy, seen.at, margin)
            };
            if self.pauses.throughout(seen.from, paused) {
                wrong.push(("SAFE-5", "it goes to the reboot while it is paused".to_owned()));
            }
        }
        if !self.policy_at_some_time(run, seen.from, PolicyTruth::in_force) {
            wrong.push((
                "SAFE-5",
                "it goes to the reboot, and its policy is not in force".to_owned(),
            ));
        }
        if stop(&node.hold) {
            wrong.push((
                "SAFE-5",
                "it goes to the reboot, and the node bears rerail.dev/hold".to_owned(),
            ));
        }
        wrong
    }

    /// A run goes to Rebooting: of a drained node nothing is left that had to go.
    pub(super) fn drained(&mut self, seen: &Seen, uid: &str, was: Step) {
        let run = &self.runs[uid];
        let name = run.name.clone();
        let Some(node) = self.nodes.get(&run.node) else { return };
        let mut wrong = self.stopped_by_people(seen, run, node, was);
        if was == Step::Draining {
            let skips = run
                .status
                .plan
                .as_ref()
                .is_some_and(|plan| plan.drain.skip_terminating_after.is_some());
            let left: Vec<_> = self
                .pods
                .iter()
                .filter(|(_, pod)| {
                    pod.node == run.node
                        && !pod.stays
                        && !pod.finished
                        && pod.seen < seen.from
                        && !(pod.terminating && skips)
                })
                .map(|(key, _)| key.as_str())
                .take(NAMED)
                .collect();
            if !left.is_empty() {
                wrong.push((
                    "SAFE-21",
                    format!("it goes to the reboot, and on its node are {}", left.join(", ")),
                ));
            }
        }
        for (property, message) in wrong {
            self.blame(property, seen.at, &name, message);
        }
    }

    pub(super) fn operator_and_pod(
        &mut self,
        store: &Store,
        seen: &Seen,
        before: Option<&Arc<Value>>,
        after: Option<&Arc<Value>>,
        object: &Arc<Value>,
    ) {
        let node = meta::text(object, &["spec", "nodeName"]).to_owned();
        let node_uid = self.nodes.get(&node).map(|node| node.uid.clone()).unwrap_or_default();
        if let Some((component, run)) = ours(object) {
            if before.is_some() {
                return;
            }
            let (component, run) = (component.to_owned(), run.to_owned());
            // A node that was replaced a moment ago: the Pod refuses by itself.
            let pinned = self.runs.get(&run).map(|run| run.node_uid.clone()).unwrap_or(node_uid);
            match component.as_str() {
                names::COMPONENT_REBOOT => {
                    let attempt = attempt(object).unwrap_or(0);
                    let name = names::reboot_pod_name(&run, attempt);
                    if meta::of(object, "name") != name {
                        let message =
                            format!("its reboot Pod is called {}", meta::of(object, "name"));
                        self.blame("SAFE-1", seen.at, &run, message);
                    }
                    self.acted(seen, &run, Effect::RebootPod(attempt), &node, &pinned);
                }
                names::COMPONENT_PROBE => self.acted(seen, &run, Effect::ProbePod, &node, &pinned),
                _ => {
                    self.blame("SAFE-3", seen.at, &run, format!("a Pod of component `{component}`"))
                }
            }
            return;
        }
        // An eviction first says on the pod that it is a target; also on one that somebody else has told to
        // end a moment ago.
        let same = |before: &Arc<Value>, after: &Arc<Value>| {
            let kept =
                ["deletionTimestamp", "labels", "annotations", "finalizers", "ownerReferences"];
            before.get("spec") == after.get("spec")
                && kept.iter().all(|key| meta::get(before, key) == meta::get(after, key))
        };
        if before.zip(after).is_some_and(|(before, after)| same(before, after)) {
            return;
        }
        let goes = after.is_none_or(|after| meta::is_deleting(after));
        let went = before.is_some_and(|before| meta::is_deleting(before));
        if !goes || went {
            self.blame(
                "SAFE-6",
                seen.at,
                &crate::store::key_of(object),
                "the operator made or changed a Pod of somebody else",
            );
            return;
        }
        self.evicted(store, seen, object, &node, &node_uid);
    }

    fn evicted(
        &mut self,
        store: &Store,
        seen: &Seen,
        pod: &Arc<Value>,
        node: &str,
        node_uid: &str,
    ) {
        self.saw("eviction");
        let marked = self.nodes.get(node).and_then(|node| {
            let marks: Vec<_> = node.mark.within(seen.from).flatten().cloned().collect();
            marks.last().cloned()
        });
        let key = crate::store::key_of(pod);
        let Some(uid) = marked else {
            self.blame(
                "SAFE-21",
                seen.at,
                &key,
                format!("it is evicted from node {node}, which bears no mark"),
            );
            return;
        };
        self.acted(seen, &uid, Effect::Evict, node, node_uid);
        if !self.asked_its_budgets(store, pod) {
            self.blame("SAFE-7", seen.at, &key, "it is deleted past its disruption budget");
        }
        if self.pods.get(&key).is_some_and(|pod| pod.stays) {
            self.blame("SAFE-21", seen.at, &key, "it is evicted, and belongs where it is");
        }
    }

    /// An eviction leaves its trace in the budget of a pod that was at work.
    fn asked_its_budgets(&self, store: &Store, pod: &Arc<Value>) -> bool {
        let Some(kinds) = self.kinds else { return true };
        let ready =
            self.pods.get(&crate::store::key_of(pod)).is_some_and(|pod| pod.ready && !pod.finished);
        if !ready || meta::text(pod, &["status", "phase"]) == "Pending" {
            return true;
        }
        let namespace = meta::of(pod, "namespace");
        let name = meta::of(pod, "name");
        let budgets = store.table(kinds.budgets).objects().values();
        budgets.filter(|budget| meta::of(budget, "namespace") == namespace).all(|budget| {
            let selects = budget["spec"].get("selector").and_then(Labels::of_object);
            let selects = selects.is_some_and(|selector| selector.matches(pod));
            let asked = budget["status"]["disruptedPods"].get(name).is_some();
            !selects || asked
        })
    }
}
