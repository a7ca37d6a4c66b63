//! The gates between a candidate and its start, in order. The first failing one is the reason shown.

use jiff::{SignedDuration, Timestamp};

use super::{Candidate, Wait, WaitReason, World};
use crate::{
    clock::ALLOWED_SKEW,
    facts::NodeFacts,
    policy::{Mode, Policy},
    reboot_check,
    run::Run,
    step::Step,
    trigger::add,
};

pub(super) struct Question<'a> {
    pub world: &'a World,
    pub policy: &'a Policy,
    pub node: &'a NodeFacts,
    pub candidate: &'a Candidate,
    /// What this plan admits already.
    pub admitted: Option<&'a Candidate>,
}

type Gate = fn(&Question<'_>) -> Option<Wait>;

/// planner.md, Gates; the ones of later features take their places between these.
const GATES: [Gate; 6] = [paused, clock, hold, attempts, backoff, one_at_a_time];

pub(super) fn first_failing(question: &Question<'_>) -> Option<Wait> {
    GATES.iter().find_map(|gate| gate(question))
}

fn paused(question: &Question<'_>) -> Option<Wait> {
    let Some(pauses) = &question.world.pauses else {
        let message = crate::facts::PAUSE_UNREADABLE;
        return Some(Wait::new(WaitReason::Paused, message));
    };
    let pause = pauses.in_force(&question.node.name, &question.policy.name, question.world.now)?;
    let wait = Wait::new(WaitReason::Paused, pause.text.clone());
    Some(Wait { recheck_at: pause.until, ..wait })
}

/// Backoff, attempts and `for` are judged by times that outlive a process: by a wrong clock a node would
/// be rebooted too early, or too often (hazard H05).
fn clock(question: &Question<'_>) -> Option<Wait> {
    let skew = question.world.clock_skew?;
    // Without its size, which differs from answer to answer; a metric has it.
    let direction = if skew.is_negative() { "ahead of" } else { "behind" };
    let message = format!(
        "the operator's clock is {direction} the API server's by more than {} s; set the clocks, and restart the operator",
        ALLOWED_SKEW.as_secs()
    );
    Some(Wait::new(WaitReason::ClockSkew, message))
}

fn hold(question: &Question<'_>) -> Option<Wait> {
    question
        .node
        .hold
        .then(|| Wait::new(WaitReason::HoldLabel, "the node bears the label rerail.dev/hold"))
}

/// An attempt is a disruptive effect on the machine, counted per node over all runs (SAFE-14).
fn attempts(question: &Question<'_>) -> Option<Wait> {
    let allowed = question.policy.contract.attempts;
    let window = question.world.now.saturating_sub(allowed.per).unwrap_or(Timestamp::MIN);
    // Those of a held run that is to be tried again are on the node only when it has ended.
    let named = |run: &&Run| Some(&run.name) == question.candidate.run.as_ref();
    let own = question.world.open_runs.iter().filter(named).flat_map(|run| &run.attempt_times);
    let closed = &question.node.last_remediation.attempts;
    let own = own.filter(|time| !closed.iter().any(|known| known.as_second() == time.as_second()));
    let mut recent: Vec<_> = closed.iter().chain(own).filter(|time| **time > window).collect();
    recent.sort();
    if recent.len() < allowed.max as usize {
        return None;
    }
    let message = format!("{} attempts within the policy's window; none is left", recent.len());
    let wait = Wait::new(WaitReason::AttemptsExhausted, message);
    // The window frees an attempt when its `max`-th youngest leaves it.
    let leaves = recent.len().checked_sub(allowed.max as usize).and_then(|index| recent.get(index));
    Some(match leaves {
        Some(time) => wait.until(add(**time, allowed.per)),
        None => wait,
    })
}

/// Longest rest between runs, whatever the number of blocked drains (planner.md, rule 4).
const BACKOFF_LIMIT: SignedDuration = SignedDuration::from_hours(6);

fn backoff(question: &Question<'_>) -> Option<Wait> {
    let memory = &question.node.last_remediation;
    let last = memory.last.as_ref().filter(|last| last.result != Step::Succeeded.name())?;
    let base = question.policy.contract.attempts.backoff;
    // A trigger that is true only since after the last end was clear in between.
    let causes = &question.candidate.causes;
    let cleared = !causes.is_empty() && causes.iter().all(|cause| cause.since > last.end_time);
    let doublings = if cleared { 0 } else { memory.roll_backs.saturating_sub(1).min(16) };
    let rest = base.saturating_mul(1 << doublings).min(BACKOFF_LIMIT.max(base));
    let until = add(last.end_time, rest);
    (until > question.world.now).then(|| {
        let message =
            format!("the last run ended {} ({}); the node rests", last.result, last.reason);
        Wait::new(WaitReason::Backoff, message).until(until)
    })
}

fn one_at_a_time(question: &Question<'_>) -> Option<Wait> {
    // A DryRun policy shows what it would start, beside what really runs.
    if question.policy.mode == Mode::DryRun {
        return None;
    }
    if let Some(admitted) = question.admitted {
        if admitted.node == question.node.name {
            let message = format!("policy {} takes this node first", admitted.policy);
            return Some(Wait::new(WaitReason::ActiveRun, message));
        }
        let message = format!("node {} ({}) is taken first", admitted.node, admitted.priority);
        return Some(Wait::new(WaitReason::OneAtATime, message));
    }
    let World { now, strays, open_runs, .. } = question.world;
    let holds_slot = |run: &&Run| run.holds_slot(question.world.node(&run.node_name), *now);
    let under_way = open_runs.iter().filter(holds_slot);
    if let Some(run) = under_way.min_by_key(|run| &run.name) {
        let message = format!("run {} is under way; one at a time", run.name);
        return Some(Wait::new(WaitReason::OneAtATime, message));
    }
    let stray = strays
        .iter()
        .find(|stray| stray.holds_slot(question.world.node(&stray.node_name), *now))?;
    let message = format!(
        "the run of node {node} was deleted by force; its place is kept until nothing of it can act and the node has \
         reported, or bears the taint node.kubernetes.io/out-of-service, or is deleted",
        node = stray.node_name
    );
    // What frees the place is partly time: it is asked again when time alone may have done it.
    let recheck = reboot_check::pods_harmless_at(stray.since);
    let wait = Wait::new(WaitReason::OneAtATime, message);
    Some(if recheck > *now { wait.until(recheck) } else { wait })
}
