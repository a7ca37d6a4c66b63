//! What the closing write leaves on the node (protocol R4): its memory of the runs (SAFE-14).

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    facts::{ATTEMPTS_KEPT, LastRemediation, LastRun, NodeFacts},
    mutant,
    reason::Reason,
    run::Run,
    step::Step,
    trigger,
};

/// The node's `last-remediation` after the end of a run.
///
/// The reports of the trigger conditions are recorded only by a run that tried something on the
/// machine. They keep an alert that lags behind a repair from starting a second run; where nothing
/// was tried there is nothing to lag behind, and a condition that is reported only when it changes
/// would otherwise never call again after a blocked drain.
pub fn record(
    run: &Run,
    node: &NodeFacts,
    result: Step,
    reason: Reason,
    now: Timestamp,
) -> LastRemediation {
    let before = &node.last_remediation;
    let last = LastRun {
        uid: run.uid.clone(),
        name: run.name.clone(),
        result: result.name().to_owned(),
        reason: reason.name().to_owned(),
        end_time: now,
    };
    let evidence = match &run.contract {
        Some(contract) if run.past_no_return() => trigger::evidence(&contract.triggers, node, now),
        Some(_) | None => before.evidence.clone(),
    };
    LastRemediation {
        sequence: before.sequence.saturating_add(1),
        attempts: together(&run.attempt_times, before),
        roll_backs: roll_backs(before.roll_backs, result, reason),
        last: Some(last),
        lost: None,
        evidence,
    }
}

/// The node's `last-remediation` after the end of a run that is gone. What this process knew of it is
/// recorded like that of any other; of one that nobody knows only its UID is left. It may have rebooted
/// the machine, and counts as one attempt (SAFE-14), unless who knew it put its attempts on record.
pub fn record_without_run(
    run_uid: &str,
    run: Option<&Run>,
    node: &NodeFacts,
    now: Timestamp,
) -> LastRemediation {
    let is_counted = node.last_remediation.lost.as_deref() == Some(run_uid);
    if let Some(run) = run.filter(|_| !mutant!("lost-run-not-counted")) {
        let attempt_times = if is_counted { Vec::new() } else { run.attempt_times.clone() };
        let run = Run { attempt_times, ..run.clone() };
        return record(&run, node, Step::Cancelled, Reason::RunDeleted, now);
    }
    let last = LastRun {
        uid: run_uid.to_owned(),
        name: String::new(),
        result: Step::Cancelled.name().to_owned(),
        reason: Reason::RunDeleted.name().to_owned(),
        end_time: now,
    };
    let before = node.last_remediation.clone();
    let sequence = before.sequence.saturating_add(1);
    let guess = !is_counted && !mutant!("lost-run-not-counted");
    let guess = Vec::from_iter(guess.then_some(now));
    let attempts = together(&guess, &before);
    LastRemediation { sequence, last: Some(last), lost: None, attempts, ..before }
}

/// The node's `last-remediation` with all attempts of a run that is gone; `None` where that is on record.
pub fn record_lost(run: &Run, before: &LastRemediation) -> Option<LastRemediation> {
    let all = together(&run.attempt_times, before);
    // On record they are less exact than in mind.
    let seconds = |attempts: &[Timestamp]| -> Vec<i64> {
        attempts.iter().map(|attempt| attempt.as_second()).collect()
    };
    let known = before.lost.as_ref() == Some(&run.uid);
    let news = !known || seconds(&all) != seconds(&before.attempts);
    news.then(|| LastRemediation { attempts: all, lost: Some(run.uid.clone()), ..before.clone() })
}

/// Both memories, each attempt once, the youngest kept.
fn together(own: &[Timestamp], before: &LastRemediation) -> Vec<Timestamp> {
    let known = before.attempts.iter().chain(own);
    let by_second: BTreeMap<i64, Timestamp> = known.map(|time| (time.as_second(), *time)).collect();
    let surplus = by_second.len().saturating_sub(ATTEMPTS_KEPT);
    by_second.into_values().skip(surplus).collect()
}

/// Drains in a row that were blocked; success and a cleared trigger start anew (planner.md, rule 4).
fn roll_backs(before: u32, result: Step, reason: Reason) -> u32 {
    let blocked = [Reason::DrainTimeout, Reason::DrainRefused, Reason::DrainForbidden];
    if blocked.contains(&reason) {
        before.saturating_add(1)
    } else if result == Step::Succeeded || reason == Reason::TriggerCleared {
        0
    } else {
        before
    }
}
