//! Runs back to the status of their NodeRemediation.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use rerail_core::{
    drain::progress::DrainPlan,
    facts::Evidence,
    reason::Reason,
    run::{Frozen, Intent, IntentEffect, Run},
    step::Step,
};

use super::run::current_record;
use crate::remediation::{
    BlockedPod, DrainRecord, EffectName, EvidenceRecord, FrozenRecord, IntentRecord,
    NodeRemediationStatus, STEPS_KEPT, StepName, StepRecord, StepState,
};

/// How many blocked pods a status names.
const BLOCKED_NAMED: usize = 20;

/// Which term writes.
#[derive(Debug, Clone, Copy)]
pub struct Term<'a> {
    /// Its number.
    pub epoch: i64,
    /// Its identity, unique per acquisition.
    pub leader: &'a str,
}

/// What a status write says besides the run itself.
#[derive(Debug, Clone, Copy)]
pub struct Note<'a> {
    /// Why the run is where it is now, in one word.
    pub reason: Reason,
    /// The same in a sentence.
    pub message: &'a str,
}

/// The status that says where `run` stands, made from the one that it had.
pub fn status(
    before: &NodeRemediationStatus,
    run: &Run,
    generation: i64,
    term: Term<'_>,
    note: Note<'_>,
    now: Timestamp,
) -> NodeRemediationStatus {
    let mut next = before.clone();
    next.epoch = term.epoch;
    next.leader = term.leader.to_owned();
    next.observed_generation = generation;
    next.step = StepName::Known(run.step);
    next.attempt = run.attempt;
    next.retries = run.retries.taken;
    next.ladder_start = run.retries.after_attempt;
    next.frozen = run.frozen.as_ref().map(|frozen| frozen_record(frozen, before));
    next.paused_time = run.paused_at;
    next.intent = run.intent.as_ref().map(|intent| intent_record(intent, run.step, term.epoch));
    next.evidence = run.evidence.iter().map(evidence_record).collect();
    if let Some(plan) = &mut next.plan {
        plan.daemon_sets = run.daemon_sets.clone();
    }
    record_step(&mut next, run, now);
    next.conditions = conditions(&next, run, generation, note, now);
    next
}

/// The status of a run that has not been admitted: why it waits, for the person who made it.
pub fn pending(
    before: &NodeRemediationStatus,
    run: &Run,
    generation: i64,
    term: Term<'_>,
    (reason, message): (&str, &str),
    now: Timestamp,
) -> NodeRemediationStatus {
    let note = Note { reason: Reason::Pending, message };
    let mut next = status(before, run, generation, term, note, now);
    let speaks = |condition: &&mut Condition| {
        condition.type_ == "Succeeded" || condition.type_ == "Reconciling"
    };
    for condition in next.conditions.iter_mut().filter(speaks) {
        condition.reason = reason.to_owned();
    }
    next
}

/// Closes the record of the step that was left, and opens or updates the one of the step now.
fn record_step(status: &mut NodeRemediationStatus, run: &Run, now: Timestamp) {
    let known = current_record(status, run.step)
        .is_some_and(|record| record.start_time == run.since && record.completion_time.is_none());
    if known {
        for record in status
            .steps
            .iter_mut()
            .filter(|r| r.start_time == run.since && r.name == run.step.name())
        {
            record.deadline = run.deadline;
        }
        return;
    }
    if run.step == Step::Pending {
        return;
    }
    for record in status.steps.iter_mut().filter(|record| record.completion_time.is_none()) {
        record.state = StepState::Done;
        record.completion_time = Some(now);
    }
    if run.step == Step::Draining {
        // The place of a step that this policy does not ask for stays visible.
        upsert(status, skipped("Diagnosing", now));
    }
    let ended = run.step.is_terminal();
    upsert(
        status,
        StepRecord {
            name: run.step.name().to_owned(),
            attempt: run.attempt,
            state: if ended { StepState::Done } else { StepState::Running },
            start_time: run.since,
            completion_time: ended.then_some(now),
            deadline: run.deadline,
            boot_id_before: run.boot_id_before.clone().filter(|_| run.step == Step::Rebooting),
            heartbeat_time_before: run.report_before.filter(|_| run.step == Step::Rebooting),
            reason: run.reason.name().to_owned(),
            message: cut(&run.message, 1024),
        },
    );
}

fn skipped(name: &str, now: Timestamp) -> StepRecord {
    StepRecord {
        name: name.to_owned(),
        attempt: 0,
        state: StepState::Skipped,
        start_time: now,
        completion_time: Some(now),
        deadline: None,
        boot_id_before: None,
        heartbeat_time_before: None,
        reason: "NotConfigured".to_owned(),
        message: String::new(),
    }
}

fn upsert(status: &mut NodeRemediationStatus, record: StepRecord) {
    status
        .steps
        .retain(|old| (old.name.as_str(), old.attempt) != (record.name.as_str(), record.attempt));
    if status.steps.len() >= STEPS_KEPT {
        // Attempts count for as long as the run lives (SAFE-14); they are fewer than there is room for.
        let oldest = status.steps.iter().position(|old| old.name != Step::Rebooting.name());
        status.steps.remove(oldest.unwrap_or(0));
    }
    status.steps.push(record);
}

/// The first `limit` bytes, cut at a character boundary.
fn cut(text: &str, limit: usize) -> String {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn intent_record(intent: &Intent, step: Step, epoch: i64) -> IntentRecord {
    IntentRecord {
        effect: match intent.effect {
            IntentEffect::Cordon => EffectName::Cordon,
            IntentEffect::Drain => EffectName::Drain,
            IntentEffect::Reboot => EffectName::Reboot,
            IntentEffect::Uncordon => EffectName::Uncordon,
        },
        step: step.name().to_owned(),
        attempt: intent.attempt,
        node_uid: intent.node_uid.clone(),
        boot_id_before: intent.boot_id_before.clone(),
        epoch,
        time: intent.time,
    }
}

/// What an operator that knew more invariants wrote stays as it is.
fn frozen_record(frozen: &Frozen, before: &NodeRemediationStatus) -> FrozenRecord {
    let known = frozen.invariant.map(|invariant| invariant.name().to_owned());
    let written = || before.frozen.as_ref().map(|record| record.invariant.clone());
    FrozenRecord {
        time: frozen.since,
        invariant: known.or_else(written).unwrap_or_default(),
        message: cut(&frozen.message, 1024),
    }
}

fn evidence_record(evidence: &Evidence) -> EvidenceRecord {
    EvidenceRecord {
        condition_type: evidence.condition_type.to_string(),
        status: evidence.status.to_string(),
        last_transition_time: evidence.last_transition_time,
        last_heartbeat_time: evidence.last_heartbeat_time,
    }
}

/// How far a drain is, for people.
pub fn drain(plan: &DrainPlan) -> DrainRecord {
    let blocked = plan.blocked.iter().take(BLOCKED_NAMED).map(|blocked| BlockedPod {
        pod: cut(&format!("{}/{}", blocked.pod.namespace, blocked.pod.name), 512),
        budget: blocked.budget.as_deref().map(|budget| cut(budget, 253)),
        since: blocked.since,
    });
    DrainRecord { total: plan.total, evicted: plan.evicted, blocked: blocked.collect() }
}

/// Every condition, written on first sight, `Unknown` included.
fn conditions(
    status: &NodeRemediationStatus,
    run: &Run,
    generation: i64,
    note: Note<'_>,
    now: Timestamp,
) -> Vec<Condition> {
    let (reason, message) = (note.reason.name(), cut(note.message, 4096));
    let open = !run.step.is_terminal();
    let stalled =
        run.step == Step::Held || run.frozen.is_some() || note.reason == Reason::EffectUnresolved;
    let summary = match run.step {
        Step::Succeeded => "True",
        Step::Cancelled | Step::Failed => "False",
        Step::Pending
        | Step::Cordoning
        | Step::Draining
        | Step::Rebooting
        | Step::Withdrawing
        | Step::Verifying
        | Step::Uncordoning
        | Step::Settling
        | Step::RollingBack
        | Step::Held => "Unknown",
    };
    let mut all = vec![
        ("Succeeded", summary, reason, message.clone()),
        ("Reconciling", truth(open && !stalled), reason, String::new()),
        ("Stalled", truth(stalled), reason, if stalled { message } else { String::new() }),
        ("DiagnosticsCollected", "Unknown", "NotConfigured", String::new()),
    ];
    for (name, step, next) in MILESTONES {
        let done = status.steps.iter().any(|r| next.contains(&r.name.as_str()));
        let tried = status.steps.iter().any(|r| r.name == step);
        let (value, why) = match (done, tried, open) {
            (true, ..) => ("True", "Done"),
            (false, true, false) => ("False", reason),
            (false, true, true) => ("Unknown", "InProgress"),
            (false, false, _) => ("Unknown", "NotReached"),
        };
        all.push((name, value, why, String::new()));
    }
    all.into_iter()
        .map(|(name, value, why, message)| {
            let old = status.conditions.iter().find(|c| c.type_ == name && c.status == value);
            Condition {
                type_: name.to_owned(),
                status: value.to_owned(),
                reason: why.to_owned(),
                message,
                last_transition_time: old.map_or(Time(now), |old| old.last_transition_time.clone()),
                observed_generation: Some(generation),
            }
        })
        .collect()
}

/// A condition, the step that works on it, and the steps of which one shows that it is done.
const MILESTONES: [(&str, &str, &[&str]); 5] = [
    ("Cordoned", "Cordoning", &["Draining"]),
    ("Drained", "Draining", &["Rebooting"]),
    ("Rebooted", "Rebooting", &["Verifying"]),
    ("Verified", "Verifying", &["Uncordoning"]),
    ("Uncordoned", "Uncordoning", &["Settling", "Succeeded"]),
];

fn truth(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}
