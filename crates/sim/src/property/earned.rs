//! SAFE-19: the uncordon is earned. Judged on machines, not on what anybody believes of them.

use std::sync::Arc;

use jiff::SignedDuration;
use rerail_api::{
    names,
    policy::{OnNotCured, Requirement, TriggerVerify},
};
use rerail_core::step::Step;
use serde_json::Value;

use super::{
    court::{Court, Seen},
    past::{earlier, later},
    pods::ours,
    policy::{asks, fits},
};
use crate::meta;

/// For so long a node may pass for Ready whose kubelet says nothing: `--node-monitor-grace-period`, 40 s by
/// default until Kubernetes 1.32 and 50 s since, and a round of the node controller.
const UNHEARD: SignedDuration = SignedDuration::from_secs(60);

impl Court {
    /// A run goes to Uncordoning: it says that the machine is healthy.
    pub(super) fn verified(&mut self, seen: &Seen, uid: &str) {
        let wrong = self.not_healthy(seen, uid);
        let name = self.runs[uid].name.clone();
        for message in wrong {
            self.blame("SAFE-19", seen.at, &name, message);
        }
    }

    fn not_healthy(&self, seen: &Seen, uid: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        let run = &self.runs[uid];
        let (Some(node), Some(plan)) = (self.nodes.get(&run.node), &run.status.plan) else {
            return wrong;
        };
        let before = run.boot_before.get(&run.status.attempt);
        let machine = self.machines.get(&run.node);
        let really = machine.map(|machine| machine.boot_id.as_str()).unwrap_or(&node.boot_id);
        if before.is_none_or(|before| before == really || *before == node.boot_id) {
            wrong.push(format!("its machine still has boot ID {really}"));
        }
        // A kubelet that has reported since, and told the old boot ID, is beyond anybody's power.
        let reported = node.conditions.get("Ready").map(|said| said.reported);
        if machine.is_some_and(|machine| {
            machine.down.is_none()
                && !node.boot_id.is_empty()
                && machine.boot_id != node.boot_id
                && machine.boots.last().is_some_and(|(at, _)| {
                    later(*at, UNHEARD) < seen.at && reported.is_none_or(|reported| reported <= *at)
                })
        }) {
            wrong.push(format!(
                "its machine has booted again, and the node reports {}",
                node.boot_id
            ));
        }
        let needed = plan.verify.ready.value();
        let since = later(earlier(seen.at, needed), self.lag());
        if !node.ready.throughout(since.min(seen.at), |ready| *ready) {
            wrong.push(format!("its node was not Ready for {} s", needed.as_secs()));
        }
        // A boot that its kubelet has had no way to tell of may not be known yet.
        let boots = machine.iter().flat_map(|machine| machine.boots.iter().rev());
        let booted = boots.map(|(at, _)| *at).find(|at| {
            later(*at, UNHEARD) < seen.at || reported.is_some_and(|reported| reported > *at)
        });
        if plan.verify.probe_pod == Requirement::Required {
            let probe = self.probed.get(&names::probe_pod_name(uid, run.status.attempt));
            if probe.is_none_or(|(_, at)| {
                booted.is_some_and(|booted| {
                    *at < booted && run.acts.iter().any(|(_, acted)| acted < at)
                })
            }) {
                wrong.push("no probe Pod has succeeded since its boot".to_owned());
            }
        }
        if plan.verify.daemon_sets == Requirement::Required {
            for wanted in &plan.daemon_sets {
                let here = self.pods.values().any(|pod| {
                    pod.node == run.node && pod.ready && pod.daemon_set.as_ref() == Some(wanted)
                });
                let lately = self
                    .lost_ready
                    .get(&(run.node.clone(), wanted.clone()))
                    .is_some_and(|at| *at >= seen.from);
                if !here && !lately {
                    wrong.push(format!("no Ready pod of DaemonSet {wanted} is on its node"));
                }
            }
        }
        if !run.by_person {
            wrong.extend(self.still_sick(seen, uid));
        }
        wrong
    }

    /// What has to clear has not.
    fn still_sick(&self, seen: &Seen, uid: &str) -> Option<String> {
        let run = &self.runs[uid];
        let plan = run.status.plan.as_ref()?;
        let node = self.nodes.get(&run.node)?;
        let clears =
            || plan.triggers.iter().filter(|trigger| trigger.verify == TriggerVerify::MustClear);
        let of = |kind: &str| clears().any(|trigger| fits(&trigger.condition.condition_type, kind));
        let sick = self.machines.get(&run.node)?.sick.iter().find(|(kind, since)| {
            // What its node says is known, or is known not to be.
            let said = node.conditions.get(*kind).is_some_and(|said| said.status != "False");
            let hidden = if said { SignedDuration::ZERO } else { self.hidden_for(kind) };
            of(kind) && **since < earlier(seen.from, hidden)
        });
        if let Some((kind, _)) = sick {
            return Some(format!("its machine still has {kind}"));
        }
        let shown = node.conditions.iter().find(|(kind, said)| {
            said.since < seen.from
                && clears().any(|trigger| {
                    fits(&trigger.condition.condition_type, kind) && asks(trigger, said)
                })
        });
        shown.map(|(kind, _)| format!("its node still shows {kind}"))
    }

    /// A node is made schedulable for a run.
    pub(super) fn given_back(&mut self, seen: &Seen, node: &str, uid: &str) {
        let Some(run) = self.runs.get(uid).filter(|run| run.gone.is_none()) else { return };
        let name = run.name.clone();
        match run.step() {
            Some(Step::Uncordoning) => {
                let again = self.machines.get(node).is_some_and(|machine| {
                    machine.boot_id
                        == run.boot_before.get(&run.status.attempt).cloned().unwrap_or_default()
                });
                if again {
                    self.blame("SAFE-19", seen.at, &name, "given back without a boot");
                }
            }
            Some(Step::RollingBack) => {
                let reason = run.status.said().map(|said| said.reason.clone()).unwrap_or_default();
                let keeps = run
                    .status
                    .plan
                    .as_ref()
                    .is_none_or(|plan| plan.verify.on_not_cured == OnNotCured::Hold);
                let rebooted = run.acts.iter().any(|(_, acted)| *acted < seen.at);
                let excused = run.cancelled.is_some()
                    || matches!(
                        reason.as_str(),
                        "CancelRequested" | "CordonLifted" | "CordonedByOther" | "HoldLifted"
                    )
                    || (reason == "NotCured" && !keeps);
                if rebooted && !excused {
                    self.blame(
                        "SAFE-19",
                        seen.at,
                        &name,
                        format!("rolled back after its reboot ({reason}), and given back"),
                    );
                }
                self.calm(seen, node, uid);
            }
            _ => {}
        }
    }

    /// Nothing of the run can act any more when its node is given back (protocol R2).
    fn calm(&mut self, seen: &Seen, node: &str, uid: &str) {
        let Some(run) = self.runs.get(uid) else { return };
        let name = run.name.clone();
        let acted = run.acts.last().map(|(_, at)| *at);
        let Some(machine) = self.machines.get(node) else { return };
        let booted = acted.is_none_or(|acted| machine.boots.iter().any(|(at, _)| *at > acted));
        let just = acted.is_some_and(|acted| later(acted, SignedDuration::from_secs(60)) > seen.at);
        // One that went down a moment ago by no doing of the run still says that it is Ready.
        let silent = self
            .nodes
            .get(node)
            .is_none_or(|node| node.ready.throughout(seen.look, |ready| !*ready));
        // Nor can anybody know of a reboot that hung for long and goes on.
        let soon =
            |since| acted.is_some_and(|acted| since <= later(acted, SignedDuration::from_secs(60)));
        let down = machine.down.is_some_and(|since| silent || (!booted && soon(since)));
        if down || (!booted && just) {
            self.blame(
                "SAFE-3",
                seen.at,
                &name,
                "its node is given back while its machine goes down",
            );
        }
    }

    /// SAFE-21 and evictions; and what probes show.
    pub(super) fn pod_changed(
        &mut self,
        store: &crate::store::Store,
        seen: &Seen,
        before: Option<&Arc<Value>>,
        after: Option<&Arc<Value>>,
        object: &Arc<Value>,
    ) {
        let key = crate::store::key_of(object);
        if seen.ours {
            self.operator_and_pod(store, seen, before, after, object);
        }
        if let Some(after) = after
            && ours(after).is_some_and(|(component, _)| component == names::COMPONENT_PROBE)
            && meta::text(after, &["status", "phase"]) == "Succeeded"
        {
            let (name, uid) = (meta::of(after, "name"), meta::of(after, "uid"));
            if self.probed.get(name).is_none_or(|(known, _)| known != uid) {
                self.probed.insert(name.to_owned(), (uid.to_owned(), seen.at));
            }
        }
        let kept =
            |pod: &Arc<Value>| meta::grace(pod) == Some(0) && !meta::finalizers(pod).is_empty();
        if after.is_some_and(kept) {
            self.saw("pod-kept");
        }
        let known = self.pods.remove(&key);
        let first = known.as_ref().map_or(seen.at, |pod| pod.seen);
        let same = before
            .zip(after)
            .is_none_or(|(before, after)| meta::of(before, "uid") == meta::of(after, "uid"));
        let now = after
            .and_then(|after| super::pods::PodTruth::of(after, if same { first } else { seen.at }));
        if let Some(known) =
            known.filter(|known| known.ready && now.as_ref().is_none_or(|now| !now.ready))
            && let Some(set) = known.daemon_set
        {
            self.lost_ready.insert((known.node, set), seen.at);
        }
        if let Some(now) = now {
            self.pods.insert(key, now);
        }
    }
}
