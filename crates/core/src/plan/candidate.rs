//! Who is a candidate: planner.md, rules 1 to 3. Rule 4 (attempts, backoff) is a gate.

use jiff::Timestamp;

use super::{Candidate, Wait, WaitReason, World};
use crate::{
    domain::Domain,
    facts::{ATTEMPTS_KEPT, Cordon, NodeFacts},
    policy::{Mode, Policy},
    priority::{self, Priority},
    run::Run,
    step::Step,
    trigger::{self, Reading},
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
    /// Its priority, within the policy's range.
    pub priority: Priority,
    /// Since when it has been true.
    pub since: Timestamp,
}

pub(super) enum Verdict {
    /// No trigger says anything.
    Nothing,
    /// A trigger is there, and something stands against it.
    Wait(Option<Priority>, Wait),
    /// A candidate; the gates decide.
    Candidate(Candidate),
}

pub(super) fn of_pair(world: &World, policy: &Policy, node: &NodeFacts) -> Verdict {
    let causes = match causes(world, policy, node) {
        Ok(causes) => causes,
        Err(Some(wait)) => return Verdict::Wait(None, wait),
        Err(None) => return Verdict::Nothing,
    };
    let Some(first) = causes.first() else { return Verdict::Nothing };
    let (priority, since) = (first.priority, first.since);
    if let Some(wait) = standing_against(world, policy, node, None) {
        return Verdict::Wait(Some(priority), wait);
    }
    Verdict::Candidate(Candidate {
        node: node.name.clone(),
        policy: policy.name.clone(),
        run: None,
        causes,
        priority,
        effective: priority,
        since,
        domain: domain(world, node),
    })
}

/// A run that a person made, or wants tried again: no trigger, and every other rule.
pub(super) fn of_person(world: &World, run: &Run) -> Result<Candidate, Wait> {
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
    if let Some(wait) = standing_against(world, policy, node, Some(run)) {
        return Err(wait);
    }
    Ok(Candidate {
        node: node.name.clone(),
        policy: policy.name.clone(),
        run: Some(run.name.clone()),
        causes: Vec::new(),
        priority: Priority(policy.priority.default),
        effective: Priority(policy.priority.default),
        since: run.since,
        domain: domain(world, node),
    })
}

fn domain(world: &World, node: &NodeFacts) -> Domain {
    let keys = world.config.as_ref().map(|config| config.topology_keys.as_slice());
    Domain::of(&node.name, &node.labels, keys.unwrap_or_default())
}

/// The triggers that are true on new evidence, most urgent first. `Err` when none is: with what is to
/// be said of it, if anything.
fn causes(world: &World, policy: &Policy, node: &NodeFacts) -> Result<Vec<Cause>, Option<Wait>> {
    let mut causes = Vec::new();
    let mut wait: Option<Wait> = None;
    for found in trigger::matches(&policy.contract.triggers, node, world.now) {
        let condition = found.condition;
        let kind = condition.condition_type();
        match found.reading {
            Reading::True if trigger::is_new(condition, &node.last_remediation.evidence) => {
                causes.push(Cause {
                    condition_type: kind.to_owned(),
                    reason: condition.reason.clone(),
                    message: condition.message.clone(),
                    priority: priority::priority(&condition.message, policy.priority),
                    since: condition.status_since,
                });
            }
            Reading::True => {
                let message = format!("{kind} has not been reported anew since the last run ended");
                wait.get_or_insert(Wait::new(WaitReason::NoNewEvidence, message));
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
        (a.priority, a.since, &a.condition_type).cmp(&(b.priority, b.since, &b.condition_type))
    });
    causes.dedup_by(|a, b| a.condition_type == b.condition_type);
    Ok(causes)
}

/// `own` is the candidate's run, where there is one already: a held one bears its mark on the node.
fn standing_against(
    world: &World,
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
    // A Pending run has begun nothing. It is a candidate beside others, and must not keep the node
    // from all help, perhaps for ever, by naming a policy that does not exist.
    let begun =
        |run: &&Run| run.node_uid == node.uid && run.step != Step::Pending && own != Some(*run);
    if let Some(run) = world.open_runs.iter().filter(begun).min_by_key(|run| &run.name) {
        let message = format!("run {} of this node is in step {}", run.name, run.step);
        return Some(Wait::new(WaitReason::ActiveRun, message));
    }
    // Before the cordon: who takes a node down often cordons it, too, and the mark says more.
    if let Some(claim) = &node.claim {
        let message = format!("another controller is taking the node down: {claim}");
        return Some(Wait::new(WaitReason::ClaimedByOther, message));
    }
    // The empty UID is no run's: whatever mark or cordon is there is not a future run's own.
    let cordon = node.cordon(held.map_or("", |run| &run.uid));
    if cordon != Cordon::None && cordon != Cordon::Ours {
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
