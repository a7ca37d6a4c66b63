//! SAFE-5, SAFE-7, SAFE-17, SAFE-23 and LIVE-6 at an admission: what must not be so when a run
//! is given its slot (planner.md, Who is a candidate, Order, Gates).

use jiff::{SignedDuration, Timestamp};
use rerail_api::{
    limits::StormState,
    policy::{RemediationPolicyStatus, TriggerClass, TriggerSpec},
};
use serde_json::Value;

use super::{
    court::{Court, Seen},
    node::{NodeTruth, Said},
    past::{earlier, later},
    policy::{PolicyTruth, asks, domain, is_paused, share_up},
    run::RunTruth,
};

type Wrong = Vec<(&'static str, String)>;

/// So many nodes are never a reason by themselves (planner.md, Breaker and Meltdown).
const FEW: usize = 3;

impl Court {
    /// What is wrong with the start of this run.
    pub(super) fn gates_of(&self, seen: &Seen, uid: &str) -> Wrong {
        let mut wrong = Wrong::new();
        let Some(run) = self.runs.get(uid) else { return wrong };
        let Some(policy) = self.policies.get(&run.policy) else {
            return vec![("SAFE-5", format!("its policy {} does not exist", run.policy))];
        };
        let never = |holds: fn(&PolicyTruth) -> bool| {
            policy.throughout(seen.from, |version| !version.as_ref().is_some_and(holds))
        };
        if never(PolicyTruth::enforces) {
            wrong.push(("SAFE-23", format!("policy {} does not enforce", run.policy)));
        }
        if never(|policy| !policy.spec.suspended) {
            wrong.push(("SAFE-5", format!("policy {} is suspended", run.policy)));
        }
        let margin = self.lag();
        let paused = |entries: &Vec<_>| is_paused(entries, &run.node, &run.policy, seen.at, margin);
        if self.pauses.throughout(seen.from, paused) {
            wrong.push(("SAFE-5", "it is paused".to_owned()));
        }
        let Some(node) = self.nodes.get(&run.node) else { return wrong };
        self.of_node(seen, run, node, &mut wrong);
        self.of_cluster(seen, run, &mut wrong);
        let Some(Some(version)) = policy.within(seen.from).last() else { return wrong };
        if !run.by_person && !is_retry(run) {
            self.of_cause(seen, run, node, version, &mut wrong);
            self.of_storm(seen, run, version, &mut wrong);
            wrong.extend(self.overtaken(seen, run, node, version));
        }
        wrong
    }

    fn of_node(&self, seen: &Seen, run: &RunTruth, node: &NodeTruth, wrong: &mut Wrong) {
        let always =
            |value: &super::past::Recent<bool>| value.throughout(seen.from, |value| *value);
        if node.uid != run.node_uid {
            wrong.push(("SAFE-13", format!("node {} has another UID", run.node)));
        }
        if always(&node.hold) {
            wrong.push(("SAFE-5", "its node bears the label rerail.dev/hold".to_owned()));
        }
        if always(&node.ignore) && !is_retry(run) {
            wrong.push(("SAFE-5", "its node bears the label rerail.dev/ignore".to_owned()));
        }
        if always(&node.foreign) {
            wrong.push(("SAFE-7", "its node is cordoned or claimed by somebody else".to_owned()));
        }
        if node.ready.throughout(seen.from, |ready| !*ready) {
            wrong.push(("SAFE-5", "its node is not Ready, and no remedy reaches it".to_owned()));
        }
        let others = self.runs.values().filter(|other| {
            other.name != run.name
                && other.node_uid == run.node_uid
                && other.is_open()
                && other.begun
        });
        for other in others {
            wrong.push(("SAFE-22", format!("run {} of its node is open", other.name)));
        }
    }

    /// Meltdown, and too many nodes of the policy that are not Ready.
    fn of_cluster(&self, seen: &Seen, run: &RunTruth, wrong: &mut Wrong) {
        let down = |node: &&(&String, &NodeTruth)| {
            node.1.ready.throughout(seen.old, |ready| !*ready) && !self.has_slot(node.0)
        };
        let all: Vec<_> = self.nodes.iter().collect();
        let count = all.iter().filter(down).count();
        if count > FEW && count * 2 > all.len() + self.vanished.len() {
            wrong.push(("SAFE-5", format!("{count} of {} nodes are not Ready", all.len())));
        }
        let Some(policy) = self.policies.get(&run.policy) else { return };
        let unhealthy = policy.throughout(seen.from, |version| {
            let Some(version) = version else { return false };
            let members = || {
                all.iter().filter(|(_, node)| {
                    !node.control_plane
                        && node.labels.throughout(seen.old, |labels| version.selects(labels))
                })
            };
            let down = members().filter(down).count();
            let limit = &version.spec.breaker.unhealthy;
            let too_many = match limit {
                k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(count) => {
                    down > usize::try_from(*count).unwrap_or(0)
                }
                share @ k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::String(_) => {
                    down > share_up(share, members().count())
                }
            };
            too_many && down > FEW
        });
        if unhealthy {
            wrong
                .push(("SAFE-5", format!("too many nodes of policy {} are not Ready", run.policy)));
        }
    }

    fn has_slot(&self, node: &str) -> bool {
        self.lease.slots.values().any(|slot| slot.node == node)
            || self.runs.values().any(|run| run.node == node && run.is_active())
    }

    /// A trigger of the policy is really true on the node, long enough and not stale.
    fn of_cause(
        &self,
        seen: &Seen,
        run: &RunTruth,
        node: &NodeTruth,
        policy: &PolicyTruth,
        wrong: &mut Wrong,
    ) {
        let shown = node.conditions.iter().any(|(kind, said)| {
            policy.triggers(kind).any(|trigger| self.is_true(trigger, said, seen))
        });
        // What changed a moment ago may have been read before.
        let just_now = node.conditions.values().any(|said| said.since >= seen.from);
        if !shown && !just_now {
            wrong.push((
                "SAFE-5",
                format!("no trigger of policy {} is true on node {}", run.policy, run.node),
            ));
        }
    }

    fn is_true(&self, trigger: &TriggerSpec, said: &Said, seen: &Seen) -> bool {
        let since = said.transition.map_or(said.since, |transition| transition.min(said.since));
        let lasted = later(since, trigger.condition.hold_for.value()) <= later(seen.at, self.lag());
        // An operator counts from when its watch brought the report.
        asks(trigger, said) && lasted && is_fresh(trigger, said, seen.old.min(seen.from))
    }

    /// Many nodes show the same at once: then nothing starts that only such types call for.
    fn of_storm(&self, seen: &Seen, run: &RunTruth, policy: &PolicyTruth, wrong: &mut Wrong) {
        let Some(node) = self.nodes.get(&run.node) else { return };
        let causes: Vec<&String> = node
            .conditions
            .iter()
            .filter(|(kind, said)| {
                policy.triggers(kind).any(|trigger| self.is_true(trigger, said, seen))
            })
            .map(|(kind, _)| kind)
            .collect();
        let stormy = |kind: &&String| self.is_storm(seen, policy, kind);
        if !causes.is_empty() && causes.iter().all(stormy) {
            wrong.push(("SAFE-5", format!("a storm of {causes:?} is going on")));
        }
    }

    fn is_storm(&self, seen: &Seen, policy: &PolicyTruth, kind: &str) -> bool {
        let breaker = &policy.spec.breaker;
        let opened =
            later(earlier(seen.at, breaker.window.value()), self.leniency.watch.saturating_mul(2));
        let members = || {
            self.nodes.iter().filter(|(_, node)| {
                !node.control_plane
                    && node.labels.throughout(seen.old, |labels| policy.selects(labels))
            })
        };
        let newly = || {
            members().filter(|(name, node)| {
                let Some(said) = node.conditions.get(kind) else { return false };
                // By what the node itself says it may be older; what a person forgave does not count.
                let forgiven =
                    policy.reset.is_some_and(|reset| said.since <= later(reset, self.lag()));
                let since =
                    said.transition.map_or(said.since, |transition| transition.min(said.since));
                let new = since > opened && said.since < seen.old && !forgiven;
                new && policy.is_fault(kind, said) && !self.is_worked_on_for_another(name, kind)
            })
        };
        let needed = share_up(&breaker.correlated, members().count()).max(FEW);
        if newly().count() < needed {
            return false;
        }
        let Some(limits) = self.limits.get() else { return false };
        let several = |mut domains: Box<dyn Iterator<Item = Option<Vec<String>>> + '_>| {
            let first = domains.next();
            domains.any(|domain| Some(domain) != first)
        };
        let of =
            |(name, node): (&String, &NodeTruth)| domain(&limits.keys, node.labels.get(), name);
        several(Box::new(newly().map(of))) || !several(Box::new(members().map(of)))
    }

    fn is_worked_on_for_another(&self, node: &str, kind: &str) -> bool {
        self.runs.values().any(|run| {
            run.node == node
                && (run.is_active() || run.is_open() && run.begun)
                && !run.status.causes.iter().any(|cause| cause.condition_type == kind)
        })
    }

    /// Somebody of the same policy and domain waits who is more urgent, and nothing else tells them
    /// apart (LIVE-6).
    fn overtaken(
        &self,
        seen: &Seen,
        run: &RunTruth,
        node: &NodeTruth,
        policy: &PolicyTruth,
    ) -> Option<(&'static str, String)> {
        let own = self.urgency(policy, node, seen, seen.at)?;
        let home = self.domain_of(&run.node);
        let enforcing = |node: &NodeTruth| -> Vec<&String> {
            let selects = |policy: &super::past::Recent<Option<PolicyTruth>>| {
                policy
                    .get()
                    .as_ref()
                    .is_some_and(|policy| policy.enforces() && policy.selects(node.labels.get()))
            };
            self.policies
                .iter()
                .filter(|(_, policy)| selects(policy))
                .map(|(name, _)| name)
                .collect()
        };
        let all = enforcing(node);
        let other = self.nodes.iter().find(|(name, other)| {
            let plain = **name != run.node
                && other.labels.since() < seen.old
                && node.labels.since() < seen.old
                && other.out.throughout(seen.old, |out| !*out)
                && node.out.throughout(seen.old, |out| !*out)
                && other.hold.throughout(seen.old, |hold| !*hold)
                && other.ignore.throughout(seen.old, |ignore| !*ignore)
                && other.foreign.throughout(seen.old, |foreign| !*foreign)
                && !other.control_plane
                && !self.acts.contains_key(&other.uid)
                && !self.runs.values().any(|run| run.node == **name)
                && self.domain_of(name) == home
                && enforcing(other) == all
                && !self.is_paused_for(seen, name, &run.policy);
            // With a margin: it must have been more urgent already when the decision was made.
            let more = |at| {
                self.urgency(policy, other, seen, at).is_some_and(|(urgency, ..)| urgency < own.0)
            };
            plain && self.same_types(policy, node, other, seen) && more(seen.old)
        });
        let (name, _) = other?;
        Some(("LIVE-6", format!("node {name} is more urgent than P{}, and waits", own.0)))
    }

    fn is_paused_for(&self, seen: &Seen, node: &str, policy: &str) -> bool {
        self.pauses.at_some_time(seen.from, |entries| {
            is_paused(entries, node, policy, seen.from, SignedDuration::ZERO)
        })
    }

    /// The most urgent true trigger, aged by `at`; and its type.
    fn urgency<'a>(
        &self,
        policy: &PolicyTruth,
        node: &'a NodeTruth,
        seen: &Seen,
        at: Timestamp,
    ) -> Option<(u16, &'a str)> {
        let mut best: Option<(u16, &str)> = None;
        for (kind, said) in &node.conditions {
            for trigger in policy.triggers(kind).filter(|trigger| self.is_true(trigger, said, seen))
            {
                let claimed = policy.priority(&said.message);
                let ageing = &policy.spec.priority.ageing;
                let every = ageing.every.value();
                let waited = at.duration_since(said.since);
                let steps = match every > SignedDuration::ZERO && !waited.is_negative() {
                    true => waited.as_secs() / every.as_secs().max(1),
                    false => 0,
                };
                let aged = match trigger.class {
                    TriggerClass::Maintenance => claimed,
                    TriggerClass::Fault => {
                        let aged = i64::from(claimed).saturating_sub(steps);
                        u16::try_from(aged).unwrap_or(0).max(ageing.floor.min(claimed))
                    }
                };
                if best.is_none_or(|(known, _)| aged < known) {
                    best = Some((aged, kind));
                }
            }
        }
        best
    }

    /// Both are sick of the same, since before anything was decided and for a while to come: no storm
    /// concerns only one, and neither has been silent for long.
    fn same_types(&self, policy: &PolicyTruth, a: &NodeTruth, b: &NodeTruth, seen: &Seen) -> bool {
        let types = |node: &NodeTruth| -> Option<Vec<String>> {
            let shown = node
                .conditions
                .iter()
                .filter(|(kind, said)| policy.triggers(kind).any(|trigger| asks(trigger, said)));
            let all: Vec<_> = shown.collect();
            let settled = all.iter().all(|(kind, said)| {
                said.since < seen.old
                    && policy.triggers(kind).all(|trigger| {
                        later(said.since, trigger.condition.hold_for.value()) < seen.old
                            && is_fresh(trigger, said, later(seen.at, self.lag()))
                    })
            });
            settled.then(|| all.into_iter().map(|(kind, _)| kind.clone()).collect())
        };
        types(a).is_some_and(|kinds| !kinds.is_empty() && types(b) == Some(kinds))
    }

    /// What the policy's status says of storms: opened, closed; and how many starts each round had.
    pub(super) fn storms_told(&mut self, before: Option<&Value>, after: &Value) {
        let read = |object: &Value| -> RemediationPolicyStatus {
            object
                .get("status")
                .and_then(|status| serde::Deserialize::deserialize(status).ok())
                .unwrap_or_default()
        };
        if before.is_some_and(|before| before.get("status") == after.get("status")) {
            return;
        }
        let (before, after) = (before.map(read).unwrap_or_default(), read(after));
        for storm in &after.breaker {
            let known =
                before.breaker.iter().find(|known| known.condition_type == storm.condition_type);
            if known.is_none_or(|known| known.state != storm.state) {
                match storm.state {
                    StormState::Open => self.saw("storm-opens"),
                    StormState::Probing => self.saw("storm-probe"),
                    StormState::Ramp => self.saw("storm-ramp"),
                }
            }
        }
        let gone = |known: &&rerail_api::limits::StormStatus| {
            !after.breaker.iter().any(|storm| storm.condition_type == known.condition_type)
        };
        if before.breaker.iter().any(|storm| gone(&storm)) {
            self.saw("storm-closes");
        }
    }
}

/// A person wants a held run tried again: no trigger is asked for.
fn is_retry(run: &RunTruth) -> bool {
    run.step() == Some(rerail_core::step::Step::Held)
}

/// Whether the condition was reported so recently that it still counts at this time.
fn is_fresh(trigger: &TriggerSpec, said: &Said, at: Timestamp) -> bool {
    let stale = trigger.condition.stale_after.value();
    stale == SignedDuration::ZERO
        || !NodeTruth::has_heartbeat(said)
        || later(said.reported, stale) >= at
}
