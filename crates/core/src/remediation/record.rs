//! What is left on the node of its runs (SAFE-14): by the closing write (protocol R4), and before a further
//! attempt.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    facts::{ATTEMPTS_KEPT, LastRemediation, LastRun, NodeFacts},
    mutant,
    reason::Reason,
    run::Run,
    step::Step,
    sweep::Stray,
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
        evidence,
    }
}

/// The node's `last-remediation` after the end of a run that is gone. What this process knew of it is
/// recorded like that of any other; of one that nobody knows only its UID is left. If its end was not seen it
/// may have rebooted the machine once more than is on record, and that counts (SAFE-14): earlier attempts of
/// a run are on the node's record before it begins another.
pub fn record_without_run(stray: &Stray, node: &NodeFacts, now: Timestamp) -> LastRemediation {
    let before = node.last_remediation.clone();
    let uncounted = mutant!("lost-run-not-counted");
    let may_have_more = stray.run.is_none() || stray.unseen;
    let guess = (may_have_more && !uncounted).then_some(stray.since);
    if let Some(run) = stray.run.as_ref().filter(|_| !uncounted) {
        let attempt_times = run.attempt_times.iter().copied().chain(guess).collect();
        let run = Run { attempt_times, ..run.clone() };
        return record(&run, node, Step::Cancelled, Reason::RunDeleted, now);
    }
    let last = LastRun {
        uid: stray.run_uid.clone(),
        name: String::new(),
        result: Step::Cancelled.name().to_owned(),
        reason: Reason::RunDeleted.name().to_owned(),
        end_time: now,
    };
    let attempts = together(&Vec::from_iter(guess), &before);
    let sequence = before.sequence.saturating_add(1);
    LastRemediation { sequence, last: Some(last), attempts, ..before }
}

/// The node's `last-remediation` with the attempts that the run has made until now; `None` where they are
/// there.
pub fn record_attempts(run: &Run, before: &LastRemediation) -> Option<LastRemediation> {
    let attempts = together(&run.attempt_times, before);
    // On record they are less exact than in mind.
    let seconds = |attempts: &[Timestamp]| -> Vec<i64> {
        attempts.iter().map(|attempt| attempt.as_second()).collect()
    };
    let news = seconds(&attempts) != seconds(&before.attempts);
    news.then(|| LastRemediation { attempts, ..before.clone() })
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
