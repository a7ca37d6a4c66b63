//! What must always hold of a run, whatever decided it. The checks are written apart from the decisions
//! and share no function with them, so that a mistake there shows here. They run in the tests, and in
//! production: a run is looked at before anything is decided for it, each change of it before it is
//! written, and each effect immediately before it is sent. A violation freezes that one run
//! ([`Run::freeze`]), is announced, and stops nothing else.

use std::collections::BTreeMap;

use crate::{
    facts::{Cordon, NodeFacts},
    mutant,
    plan::World,
    remediation::Effect,
    run::{IntentEffect, Run},
    step::Step,
    words::one_line,
};

pub use crate::reason::Invariant;

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{invariant}: {message}")]
pub struct Violation {
    /// Name of the run that it concerns: this one is frozen.
    pub run: String,
    /// What did not hold.
    pub invariant: Invariant,
    /// What was seen instead.
    pub message: String,
}

fn violation(run: &Run, invariant: Invariant, message: impl Into<String>) -> Violation {
    // It may quote what stands on the record: UIDs, boot IDs.
    let message = one_line(&message.into(), 500);
    Violation { run: run.name.clone(), invariant, message }
}

/// Everything that can be checked in one snapshot. Runs that are frozen already are not looked at.
pub fn check(world: &World) -> Vec<Violation> {
    let runs = || world.open_runs.iter().filter(|run| run.frozen.is_none());
    let mut found: Vec<_> = runs().filter_map(of_run).collect();
    let mut by_node: BTreeMap<&str, Vec<&Run>> = BTreeMap::new();
    for run in runs().filter(|run| run.step != Step::Pending && !run.step.is_terminal()) {
        by_node.entry(&run.node_uid).or_default().push(run);
    }
    for mut runs in by_node.into_values().filter(|runs| runs.len() > 1) {
        // The one that the node bears the mark of goes on; without a mark the first by name.
        runs.sort_by_key(|run| {
            let node = world.node(&run.node_name);
            let marked = node.is_some_and(|node| node.cordoned_by.as_ref() == Some(&run.uid));
            // One that cannot be read has no contract, and moves for nobody.
            (!marked, run.contract.is_none(), run.name.clone())
        });
        let first = runs.remove(0);
        found.extend(runs.into_iter().map(|run| {
            let message = format!("run {} of this node has begun, too", first.name);
            violation(run, Invariant::OneRunPerNode, message)
        }));
    }
    found
}

/// What must hold of a run by itself.
pub fn of_run(run: &Run) -> Option<Violation> {
    if mutant!() {
        return None;
    }
    if run.step == Step::Pending || run.step.is_terminal() || run.frozen.is_some() {
        return None;
    }
    let Some(contract) = &run.contract else {
        return Some(violation(run, Invariant::Plan, "the run has begun and has no frozen plan"));
    };
    if run.deadline.is_none() && run.step != Step::Held {
        let message = format!("step {} has no deadline", run.step);
        return Some(violation(run, Invariant::Deadline, message));
    }
    of_intent(run).or_else(|| {
        let (remedies, max) = (contract.remedies.len(), contract.attempts.max as usize);
        of_attempts(run, remedies, max, contract.attempts.per)
    })
}

fn of_intent(run: &Run) -> Option<Violation> {
    let intent = run.intent.as_ref()?;
    let fits = match intent.effect {
        IntentEffect::Cordon => run.step == Step::Cordoning,
        IntentEffect::Drain => run.step == Step::Draining,
        IntentEffect::Reboot => run.step == Step::Rebooting,
        IntentEffect::Uncordon => matches!(run.step, Step::Uncordoning | Step::RollingBack),
    };
    let message = if !fits {
        format!("an intent to {} stands in step {}", intent.effect.name(), run.step)
    } else if intent.node_uid != run.node_uid {
        format!("the intent names node UID {}, the run {}", intent.node_uid, run.node_uid)
    } else if intent.effect == IntentEffect::Reboot
        && (intent.attempt != run.attempt
            || Some(&intent.boot_id_before) != run.boot_id_before.as_ref())
    {
        format!(
            "the reboot intent is of attempt {}, boot ID {}; the run is at attempt {}",
            intent.attempt, intent.boot_id_before, run.attempt
        )
    } else {
        return None;
    };
    Some(violation(run, Invariant::Intent, message))
}

fn of_attempts(
    run: &Run,
    remedies: usize,
    max: usize,
    per: jiff::SignedDuration,
) -> Option<Violation> {
    let attempted = match run.step {
        Step::Rebooting
        | Step::Withdrawing
        | Step::Verifying
        | Step::Uncordoning
        | Step::Settling => true,
        Step::Pending
        | Step::Cordoning
        | Step::Draining
        | Step::RollingBack
        | Step::Held
        | Step::Succeeded
        | Step::Cancelled
        | Step::Failed => false,
    };
    let (attempt, on_record) = (run.attempt as usize, run.attempt_times.len());
    let latest = run.attempt_times.iter().max();
    let in_window = latest.map_or(0, |latest| {
        let since = latest.saturating_sub(per).unwrap_or(jiff::Timestamp::MIN);
        run.attempt_times.iter().filter(|time| **time > since).count()
    });
    let message = if attempted && (attempt == 0 || run.boot_id_before.is_none()) {
        format!("step {} without an attempt, or without the boot ID before it", run.step)
    } else if on_record > attempt {
        format!("{on_record} attempts are on record, and {attempt} were counted")
    } else if run.rung().is_none_or(|rung| rung as usize > remedies) {
        format!("attempt {attempt} is beyond a ladder of {remedies}")
    } else if in_window > max {
        format!("{in_window} attempts in a window that allows {max}")
    } else {
        return None;
    };
    Some(violation(run, Invariant::Attempts, message))
}

/// What must hold between two states of a run, whoever wrote the second.
pub fn of_change(before: &Run, after: &Run) -> Option<Violation> {
    if mutant!() {
        return None;
    }
    let same = (&before.uid, &before.node_name, &before.node_uid, &before.policy)
        == (&after.uid, &after.node_name, &after.node_uid, &after.policy);
    if !same {
        let message = "the run is of another node or policy than before";
        return Some(violation(before, Invariant::Contract, message));
    }
    if before.contract.is_some() && before.contract != after.contract {
        return Some(violation(before, Invariant::Contract, "the frozen plan has changed"));
    }
    if !before.step.may_become(after.step) {
        let message = format!("from step {} to {}", before.step, after.step);
        return Some(violation(before, Invariant::StepGraph, message));
    }
    let grown = after.attempt.checked_sub(before.attempt);
    let begins = after.step == Step::Rebooting && after.intent.is_some();
    if grown.is_none_or(|grown| grown > 1 || (grown == 1 && !begins)) {
        let message =
            format!("from attempt {} to {} in step {}", before.attempt, after.attempt, after.step);
        return Some(violation(before, Invariant::Attempts, message));
    }
    None
}

/// What must hold immediately before an effect is sent, on the node as it was just read.
pub fn of_effect(run: &Run, node: &NodeFacts, effect: &Effect) -> Option<Violation> {
    if mutant!() {
        return None;
    }
    if node.uid != run.node_uid || run.frozen.is_some() {
        let message = format!("an effect on node UID {}, of a run of {}", node.uid, run.node_uid);
        return Some(violation(run, Invariant::Effect, message));
    }
    let ours = node.cordon(&run.uid) == Cordon::Ours;
    let announced = |wanted| run.intent.as_ref().is_some_and(|intent| intent.effect == wanted);
    let (fits, under_cordon) = match effect {
        Effect::Cordon => (
            run.step == Step::Cordoning && announced(IntentEffect::Cordon) && !node.unschedulable,
            true,
        ),
        Effect::Remember => (
            matches!(run.step, Step::Draining | Step::Verifying | Step::Withdrawing)
                && run.attempt > 0,
            ours,
        ),
        Effect::Evict(_) => {
            (run.step == Step::Draining && announced(IntentEffect::Drain) && !run.cancel, ours)
        }
        Effect::CreateRebootPod(_) => (
            run.step == Step::Rebooting
                && announced(IntentEffect::Reboot)
                // A node that names no boot ID has not shown a boot; the Pod asks the kernel.
                && (node.boot_id.is_empty() || run.boot_id_before.as_ref() == Some(&node.boot_id)),
            ours,
        ),
        Effect::DeleteRebootPod => (run.step == Step::Withdrawing && run.intent.is_none(), true),
        Effect::CreateProbePod | Effect::DeleteProbePod => (run.step == Step::Verifying, true),
        Effect::Close { uncordon, result, .. } => {
            let step = matches!(run.step, Step::Uncordoning | Step::RollingBack);
            if let Some(message) = unearned(run, node, ours && *uncordon, *uncordon, *result) {
                return Some(violation(run, Invariant::EarnedUncordon, message));
            }
            (step && announced(IntentEffect::Uncordon) && result.is_terminal(), true)
        }
    };
    if !fits {
        let message = format!("in step {} with intent {:?}: {effect:?}", run.step, run.intent);
        return Some(violation(run, Invariant::Effect, message));
    }
    (!under_cordon).then(|| {
        let cordon = node.cordon(&run.uid);
        violation(run, Invariant::OwnCordon, format!("the node's cordon is {cordon:?}: {effect:?}"))
    })
}

fn unearned(
    run: &Run,
    node: &NodeFacts,
    ours: bool,
    uncordon: bool,
    result: Step,
) -> Option<String> {
    let before = run.boot_id_before.as_deref().unwrap_or_default();
    if uncordon && (!ours || !node.in_service() || node.hold) {
        return Some(format!(
            "an uncordon where the cordon is {:?} and Ready is {:?}",
            node.cordon(&run.uid),
            node.ready
        ));
    }
    let booted = !before.is_empty() && !node.boot_id.is_empty() && node.boot_id != before;
    (result == Step::Succeeded && !(booted && run.step == Step::Uncordoning))
        .then(|| format!("success in step {} without a new boot ID", run.step))
}

#[cfg(test)]
mod tests;
