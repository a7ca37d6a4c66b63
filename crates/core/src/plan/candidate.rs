//! Who is a candidate: planner.md, rules 1 to 3. Rule 4 (attempts, backoff) is a gate.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Wait, WaitReason, World, gate, order, slots::Slots};
use crate::{
    facts::{ATTEMPTS_KEPT, ConditionFact, Cordon, NodeFacts},
    mutant,
    policy::{Class, Mode, Policy, Trigger},
    priority::{self, Priority},
    run::Run,
    step::Step,
    trigger::{self, Match, Reading, add},
};

/// A trigger that is true on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Type of the condition.
    pub condition_type: String,
    /// Its reason.
    pub reason: String,
    /// Its message, bounded.
    pub message: String,
    /// What its trigger is about.
    pub class: Class,
    /// Its priority, within the policy's range.
    pub priority: Priority,
    /// The same after ageing.
    pub effective: Priority,
    /// Since when it has been true.
    pub since: Timestamp,
}

/// The same, as long as it is not told: most candidates of a turn wait, and nothing of them is copied.
#[derive(Clone, Copy)]
pub(super) struct True<'a> {
    pub condition: &'a ConditionFact,
    pub class: Class,
    pub priority: Priority,
    pub effective: Priority,
}

impl True<'_> {
    pub(super) fn told(&self) -> Cause {
        Cause {
            condition_type: self.condition.condition_type().to_owned(),
            reason: self.condition.reason.to_string(),
            message: self.condition.message.to_string(),
            class: self.class,
            priority: self.priority,
            effective: self.effective,
            since: self.condition.status_since,
        }
    }
}

/// What makes a pair a candidate.
pub(super) struct Claim<'a> {
    /// Most urgent first; empty for a run made by a person.
    pub causes: Vec<True<'a>>,
    pub priority: Priority,
    pub effective: Priority,
    pub since: Timestamp,
}

pub(super) enum Verdict<'a> {
    /// No trigger says anything.
    Nothing,
    /// A trigger is there, and something stands against it.
    Wait(Option<Priority>, Wait),
    /// A candidate; the gates decide.
    Candidate(Claim<'a>),
}

/// What is known of runs, found once for each plan.
pub(super) struct Known<'a> {
    pub slots: Slots<'a>,
    /// Runs that have begun, by UID of their node, in order of their names.
    begun: BTreeMap<&'a str, Vec<&'a Run>>,
    /// When the last meltdown ended: every `for` counts from there at the earliest.
    pub meltdown_ended: Option<Timestamp>,
}

impl<'a> Known<'a> {
    pub(super) fn of(world: &'a World) -> Self {
        let mut begun: BTreeMap<&str, Vec<&Run>> = BTreeMap::new();
        // A Pending run has begun nothing. It is a candidate beside others, and must not keep the node
        // from all help, perhaps for ever, by naming a policy that does not exist.
        for run in world.open_runs.iter().filter(|run| run.step != Step::Pending) {
            begun.entry(&run.node_uid).or_default().push(run);
        }
        begun.values_mut().for_each(|runs| runs.sort_by_key(|run| &run.name));
        Known { slots: Slots::of(world), begun, meltdown_ended: world.meltdown_ended }
    }
}

pub(super) fn of_pair<'a>(
    world: &World,
    known: &Known<'_>,
    policy: &'a Policy,
    node: &'a NodeFacts,
) -> Verdict<'a> {
    let causes = match causes(world, known, policy, node) {
        Ok(causes) => causes,
        Err(Some(wait)) => return Verdict::Wait(None, wait),
        Err(None) => return Verdict::Nothing,
    };
    let Some(first) = causes.first() else { return Verdict::Nothing };
    let (priority, effective, since) =
        (first.priority, first.effective, first.condition.status_since);
    if let Some(wait) = standing_against(known, policy, node, None) {
        return Verdict::Wait(Some(priority), wait);
    }
    Verdict::Candidate(Claim { causes, priority, effective, since })
}

/// A run that a person made, or wants tried again: no trigger, and every other rule.
pub(super) fn of_person(
    world: &World,
    known: &Known<'_>,
    run: &Run,
) -> Result<Claim<'static>, Wait> {
    let missing = |reason, message: String| Err(Wait::new(reason, message));
    let Some(policy) = world.policies.get(&run.policy) else {
        let message = format!("policy {} does not exist or is not valid", run.policy);
        return missing(WaitReason::PolicyMissing, message);
    };
    let Some(node) = world.nodes.get(&run.node_name).filter(|node| node.uid == run.node_uid) else {
        let message = format!("no node {} with UID {}", run.node_name, run.node_uid);
        return missing(WaitReason::NodeMissing, message);
    };
    if policy.suspended || policy.mode != Mode::Enforce {
        let message = format!("policy {} is suspended or does not enforce", policy.name);
        return missing(WaitReason::PolicyNotEnforcing, message);
    }
    if !policy.selector.matches(&node.labels) {
        let message = format!("policy {} does not select node {}", policy.name, node.name);
        return missing(WaitReason::NotSelected, message);
    }
    if run.attempt as usize >= ATTEMPTS_KEPT {
        let message = format!("a run has at most {ATTEMPTS_KEPT} attempts; release it");
        return missing(WaitReason::AttemptsExhausted, message);
    }
    if let Some(wait) = standing_against(known, policy, node, Some(run)) {
        return Err(wait);
    }
    let priority = Priority(policy.priority.default);
    Ok(Claim { causes: Vec::new(), priority, effective: priority, since: run.since })
}

/// The triggers that are true on new evidence, most urgent first. `Err` when none is: with what is to
/// be said of it, if anything.
fn causes<'a>(
    world: &World,
    known: &Known<'_>,
    policy: &'a Policy,
    node: &'a NodeFacts,
) -> Result<Vec<True<'a>>, Option<Wait>> {
    let mut causes: Vec<True<'a>> = Vec::new();
    let mut wait: Option<Wait> = None;
    for found in trigger::matches(&policy.contract.triggers, node, world.now) {
        let kind = found.condition.condition_type();
        match reading(world, known, &found) {
            Reading::True => {
                if !trigger::is_new(found.condition, &node.last_remediation.evidence) {
                    let message =
                        format!("{kind} has not been reported anew since the last run ended");
                    wait.get_or_insert(Wait::new(WaitReason::NoNewEvidence, message));
                    continue;
                }
                let cause = cause(world, policy, found.trigger, found.condition);
                // Of two that are as urgent now, the fault will be more so: it ages.
                let rank = |cause: &True<'_>| (cause.effective, cause.class);
                match causes.iter_mut().find(|known| known.condition.condition_type() == kind) {
                    Some(known) if rank(known) <= rank(&cause) => {}
                    Some(known) => *known = cause,
                    None => causes.push(cause),
                }
            }
            Reading::Pending { until } => {
                let earlier = wait.as_ref().and_then(|wait| wait.recheck_at);
                if earlier.is_none_or(|earlier| until < earlier) {
                    let message = format!("{kind} is not true for long enough yet");
                    wait = Some(Wait::new(WaitReason::NotLongEnough, message).until(until));
                }
            }
            Reading::Unknown => {
                let message = format!("{kind} is stale or Unknown, which starts nothing");
                wait.get_or_insert(Wait::new(WaitReason::TriggerUnknown, message));
            }
            Reading::Clear => {}
        }
    }
    if causes.is_empty() {
        return Err(wait);
    }
    causes.sort_by(|a, b| {
        let key = |cause: &True<'a>| (cause.effective, cause.condition.status_since);
        let kinds = || a.condition.condition_type().cmp(b.condition.condition_type());
        key(a).cmp(&key(b)).then_with(kinds)
    });
    Ok(causes)
}

/// What a condition says, with what the cluster makes of it: every `for` starts again when a meltdown
/// ends, and what a source wrote that has not spoken since the start is Unknown.
fn reading(world: &World, known: &Known<'_>, found: &Match<'_>) -> Reading {
    let until = match found.reading {
        Reading::True => world.now,
        Reading::Pending { until } => until,
        Reading::Unknown | Reading::Clear => return found.reading,
    };
    let kind = found.condition.condition_type();
    if gate::silent_for_long(world).any(|source| kind.starts_with(&source.prefix)) {
        return Reading::Unknown;
    }
    let anew = known.meltdown_ended.map(|ended| add(ended, found.trigger.hold_for));
    let until = anew.map_or(until, |anew| anew.max(until));
    if until <= world.now { Reading::True } else { Reading::Pending { until } }
}

fn cause<'a>(
    world: &World,
    policy: &Policy,
    trigger: &Trigger,
    condition: &'a ConditionFact,
) -> True<'a> {
    let (class, since) = (trigger.class, condition.status_since);
    let priority = priority::priority(&condition.message, policy.priority);
    let effective = order::effective(priority, class, policy.ageing, since, world.now);
    True { condition, class, priority, effective }
}

/// `own` is the candidate's run, where there is one already: a held one bears its mark on the node.
fn standing_against(
    known: &Known<'_>,
    policy: &Policy,
    node: &NodeFacts,
    own: Option<&Run>,
) -> Option<Wait> {
    let wait = |reason, message: &str| Some(Wait::new(reason, message));
    if node.control_plane {
        return wait(WaitReason::ControlPlane, "control-plane nodes are never touched");
    }
    let held = own.filter(|run| run.step == Step::Held);
    // The label keeps nodes from being selected; it does not touch a run that has begun.
    if node.ignore && held.is_none() {
        return wait(WaitReason::Ignored, "the node bears the label rerail.dev/ignore");
    }
    if node.deleting {
        return wait(WaitReason::NodeDeleting, "the node is being deleted");
    }
    let begun = known.begun.get(node.uid.as_str()).into_iter().flatten();
    if let Some(run) = begun.copied().find(|run| own != Some(*run)) {
        let message = format!("run {} of this node is in step {}", run.name, run.step);
        return Some(Wait::new(WaitReason::ActiveRun, message));
    }
    if let Some(wait) = place_kept(known, node) {
        return Some(wait);
    }
    // Before the cordon: who takes a node down often cordons it, too, and the mark says more.
    if let Some(claim) = &node.claim {
        let message = format!("another controller is taking the node down: {claim}");
        return Some(Wait::new(WaitReason::ClaimedByOther, message));
    }
    // The empty UID is no run's: whatever mark or cordon is there is not a future run's own.
    let cordon = node.cordon(held.map_or("", |run| &run.uid));
    let foreign = cordon != Cordon::None && cordon != Cordon::Ours;
    if foreign && !mutant!("foreign-cordon-ignored") {
        return wait(
            WaitReason::CordonedByOther,
            "the node is cordoned, and not by a run of its own",
        );
    }
    let reachable = policy.contract.remedies.iter().any(|remedy| remedy.action.reaches_not_ready());
    if !node.in_service() && !reachable {
        let message = match node.out_of_service {
            true => "the node is out of service, and no remedy of the policy reaches such a node",
            false => "the node is not Ready, and no remedy of the policy reaches such a node",
        };
        return wait(WaitReason::NoReachableRemedy, message);
    }
    None
}

/// Something of an earlier run on this node may still act, or its slot is not released yet.
fn place_kept(known: &Known<'_>, node: &NodeFacts) -> Option<Wait> {
    let slot = known.slots.by_node.get(node.name.as_str())?.first()?;
    let message = match slot.stray {
        true => format!(
            "run {} of this node was deleted by force; its place is kept until nothing of it can act and the node has \
             reported, or bears the taint node.kubernetes.io/out-of-service",
            slot.run
        ),
        false => format!("run {} of this node still holds its slot", slot.run),
    };
    let wait = Wait::new(WaitReason::ActiveRun, message);
    Some(Wait { recheck_at: slot.frees_at, ..wait })
}
