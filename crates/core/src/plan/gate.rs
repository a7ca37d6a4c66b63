//! The gates between a candidate and its start, in order (planner.md, Gates). The first failing one is
//! the reason shown. SAFE-5: nothing is admitted past one that does not pass.

use jiff::{SignedDuration, Timestamp};

use super::{
    GateReport, Source, Verdict, Wait, WaitReason, World,
    look::{Entry, Look},
    scope::Budgets,
    turn::Turn,
};
use crate::{
    breaker::Stop,
    clock::ALLOWED_SKEW,
    mutant,
    policy::{Trigger, TypePattern},
    run::Run,
    step::Step,
    trigger::add,
};

/// May this candidate start, after those that were admitted before it?
#[derive(Clone, Copy)]
pub(super) struct Question<'q, 'a> {
    pub look: &'q Look<'a>,
    pub budgets: &'q Budgets<'a>,
    pub turn: &'q Turn<'a>,
    pub entry: &'q Entry<'a>,
}

type Gate = (&'static str, fn(&Question<'_, '_>) -> Verdict);

/// Those that ask what others do not change: whoever passes them waits for its turn only. Gates of later
/// features (window, approval, guards) take their places between these.
const ALONE: [Gate; 10] = [
    ("paused", paused),
    ("clock", clock),
    ("recency", recent),
    ("configuration", configured),
    ("meltdown", meltdown),
    ("warming up", warming_up),
    ("breaker", breaker),
    ("hold", hold),
    ("attempts", attempts),
    ("backoff", backoff),
];

/// Those that share out what there is.
const SHARED: [Gate; 3] =
    [("domain", super::domain::gate), ("budgets", super::scope::gate), ("pace", super::pace::gate)];

fn first(gates: &[Gate], question: &Question<'_, '_>) -> Option<Wait> {
    gates.iter().find_map(|(_, gate)| gate(question).into_wait())
}

/// The first failing gate before the domain's.
pub(super) fn alone(question: &Question<'_, '_>) -> Option<Wait> {
    first(&ALONE, question)
}

/// The first failing gate when the candidate's turn comes; it has passed the others. Of those only the
/// breaker counts what was admitted before.
pub(super) fn shared(question: &Question<'_, '_>) -> Option<Wait> {
    breaker(question).into_wait().or_else(|| first(&SHARED, question))
}

/// What every gate says.
pub(super) fn all(question: &Question<'_, '_>) -> Vec<GateReport> {
    let gates = ALONE.iter().chain(&SHARED);
    gates.map(|(name, gate)| GateReport { gate: name, verdict: gate(question) }).collect()
}

fn paused(question: &Question<'_, '_>) -> Verdict {
    let Question { look, entry, .. } = question;
    let Some(pauses) = &look.world.pauses else {
        return Verdict::Wait(Wait::new(WaitReason::Paused, crate::facts::PAUSE_UNREADABLE));
    };
    let policy = look.policies[entry.policy].policy;
    let pause = pauses.in_force(&entry.node.name, &policy.name, look.world.now);
    let wait = |pause: &crate::facts::Pause| {
        let wait = Wait::new(WaitReason::Paused, pause.text.clone());
        Wait { recheck_at: pause.until, ..wait }
    };
    pause.filter(|_| !mutant!("pause-ignored-at-start")).map(wait).into()
}

/// Backoff, attempts and `for` are judged by times that outlive a process: by a wrong clock a node would
/// be rebooted too early, or too often (hazard H05).
fn clock(question: &Question<'_, '_>) -> Verdict {
    let Some(skew) = question.look.world.clock_skew else { return Verdict::Pass };
    // Without its size, which differs from answer to answer; a metric has it.
    let direction = if skew.is_negative() { "ahead of" } else { "behind" };
    let message = format!(
        "the operator's clock is {direction} the API server's by more than {} s; set the clocks, and restart the operator",
        ALLOWED_SKEW.as_secs()
    );
    Verdict::Wait(Wait::new(WaitReason::ClockSkew, message))
}

/// How many nodes are out is counted by what is known of all of them: by old knowledge more may go than may
/// be out (SAFE-4).
fn recent(question: &Question<'_, '_>) -> Verdict {
    let Some(kind) = question.look.world.out_of_date else { return Verdict::Pass };
    let message = format!(
        "the API server has not told of {kind} for so long that it is not known how many nodes are out; \
         they are listed anew when it answers"
    );
    Verdict::Wait(Wait::new(WaitReason::OutOfDate, message))
}

/// Without the cluster-wide limits there is no knowing what may be out at once (SAFE-4).
fn configured(question: &Question<'_, '_>) -> Verdict {
    if question.look.world.config.is_some() {
        return Verdict::Pass;
    }
    let message = "the configuration of the cluster-wide limits could not be read since the operator started; \
                   mend the ConfigMap rerail-config";
    Verdict::Wait(Wait::new(WaitReason::NotConfigured, message))
}

fn meltdown(question: &Question<'_, '_>) -> Verdict {
    let meltdown = question.look.meltdown.as_ref();
    meltdown.map(|message| Wait::new(WaitReason::Meltdown, message.clone())).into()
}

/// How long a silent source is waited for after the start (planner.md, Gates).
const WARM_UP: SignedDuration = SignedDuration::from_mins(2);

fn warm_at(world: &World) -> Timestamp {
    add(world.started, WARM_UP)
}

/// The sources that have said nothing although there was time: what they wrote before the start is
/// Unknown.
pub(super) fn silent_for_long(world: &World) -> impl Iterator<Item = &Source> {
    let warm = world.now >= warm_at(world);
    world.sources.iter().filter(move |source| warm && !source.synced)
}

fn warming_up(question: &Question<'_, '_>) -> Verdict {
    let Question { look, entry, .. } = question;
    let until = warm_at(look.world);
    if look.world.now >= until {
        return Verdict::Pass;
    }
    let triggers = &look.policies[entry.policy].policy.contract.triggers;
    let mut silent = look.world.sources.iter().filter(|source| !source.synced);
    let silent = silent.find(|source| triggers.iter().any(|trigger| writes(source, trigger)));
    let wait = |source: &Source| {
        let message = format!("{} has not reported since the operator started", source.name);
        Wait::new(WaitReason::WarmingUp, message).until(until)
    };
    silent.map(wait).into()
}

/// Some condition type is both of the source and of the trigger.
fn writes(source: &Source, trigger: &Trigger) -> bool {
    match &trigger.condition_type {
        TypePattern::Exact(exact) => exact.starts_with(&source.prefix),
        TypePattern::Prefix(prefix) => {
            prefix.starts_with(&source.prefix) || source.prefix.starts_with(prefix)
        }
    }
}

/// A candidate with several causes starts for any of them that is no storm: another fault is still
/// cured. A run made by a person has no cause, and is no part of a storm.
fn breaker(question: &Question<'_, '_>) -> Verdict {
    let Question { look, turn, entry, .. } = question;
    let chosen = &look.policies[entry.policy];
    if let Some(message) = &chosen.unhealthy {
        return Verdict::Wait(Wait::new(WaitReason::Unhealthy, message.clone()));
    }
    let mut stopped: Option<Stop> = None;
    for cause in &entry.claim.causes {
        let kind = cause.condition.condition_type();
        let admitted = turn.started_for(entry.policy, kind);
        match (chosen.storms.verdict(kind, admitted), &stopped) {
            (None, _) => return Verdict::Pass,
            (Some(stop), None) => stopped = Some(stop),
            (Some(stop), Some(first)) => {
                let earliest = first.recheck_at.into_iter().chain(stop.recheck_at).min();
                stopped = Some(Stop { message: first.message.clone(), recheck_at: earliest });
            }
        }
    }
    let wait =
        |Stop { message, recheck_at }| Wait { reason: WaitReason::Storm, message, recheck_at };
    stopped.map(wait).into()
}

fn hold(question: &Question<'_, '_>) -> Verdict {
    let wait = || Wait::new(WaitReason::HoldLabel, "the node bears the label rerail.dev/hold");
    question.entry.node.hold.then(wait).into()
}

/// An attempt is a disruptive effect on the machine, counted per node over all runs (SAFE-14).
fn attempts(question: &Question<'_, '_>) -> Verdict {
    let Question { look, entry, .. } = question;
    let allowed = look.policies[entry.policy].policy.contract.attempts;
    let window = look.world.now.saturating_sub(allowed.per).unwrap_or(Timestamp::MIN);
    // The last one of a held run that is to be tried again is on the node only before its next.
    let own = entry.run.map(|run: &Run| run.attempt_times.as_slice()).unwrap_or_default();
    let closed = &entry.node.last_remediation.attempts;
    let known =
        |time: &&Timestamp| closed.iter().any(|known| known.as_second() == time.as_second());
    let own = own.iter().filter(|time| !known(time));
    let mut recent: Vec<_> = closed.iter().chain(own).filter(|time| **time > window).collect();
    recent.sort();
    let over = recent.len().checked_sub(allowed.max as usize);
    let Some(over) = over.filter(|_| !mutant!("attempts-not-counted")) else {
        return Verdict::Pass;
    };
    let message = format!("{} attempts within the policy's window; none is left", recent.len());
    let wait = Wait::new(WaitReason::AttemptsExhausted, message);
    // The window frees an attempt when its `max`-th youngest leaves it.
    match recent.get(over) {
        Some(time) => Verdict::Wait(wait.until(add(**time, allowed.per))),
        None => Verdict::Refuse(wait),
    }
}

/// Longest rest between runs, whatever the number of blocked drains (planner.md, rule 4).
const BACKOFF_LIMIT: SignedDuration = SignedDuration::from_hours(6);

fn backoff(question: &Question<'_, '_>) -> Verdict {
    let Question { look, entry, .. } = question;
    let memory = &entry.node.last_remediation;
    let last = memory.last.as_ref().filter(|last| last.result != Step::Succeeded.name());
    let Some(last) = last else { return Verdict::Pass };
    let base = look.policies[entry.policy].policy.contract.attempts.backoff;
    // A trigger that is true only since after the last end was clear in between.
    let causes = &entry.claim.causes;
    let cleared = !causes.is_empty()
        && causes.iter().all(|cause| cause.condition.status_since > last.end_time);
    let doublings = if cleared { 0 } else { memory.roll_backs.saturating_sub(1).min(16) };
    let rest = base.saturating_mul(1 << doublings).min(BACKOFF_LIMIT.max(base));
    let until = add(last.end_time, rest);
    if until <= look.world.now {
        return Verdict::Pass;
    }
    let message = format!("the last run ended {} ({}); the node rests", last.result, last.reason);
    Verdict::Wait(Wait::new(WaitReason::Backoff, message).until(until))
}
