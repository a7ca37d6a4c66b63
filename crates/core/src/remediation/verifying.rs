//! Verifying: the uncordon is earned (SAFE-19).

use jiff::Timestamp;

use super::{Decision, Effect, Look, NODE_WRITE_TIMEOUT, PodSeen, why_not_in_service};
use crate::{
    mutant,
    policy::OnNotCured,
    reason::Reason,
    run::IntentEffect,
    step::Step,
    trigger::{Standing, add},
};

/// How many causes a message names.
const NAMED: usize = 3;

/// One thing that is not yet as it must be.
struct Missing {
    reason: Reason,
    message: String,
    recheck_at: Option<Timestamp>,
    effect: Option<Effect>,
}

impl Missing {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Missing { reason, message: message.into(), recheck_at: None, effect: None }
    }
}

pub(super) fn step(look: &Look<'_>) -> Decision {
    if look.node.hold {
        return look.hold(Reason::HoldLabel, "the node bears the label rerail.dev/hold");
    }
    let checks = [ready, report, daemon_sets, probe_pod, clear];
    let Some(missing) = checks.iter().find_map(|check| check(look)) else {
        let mut next = look.enter(Step::Uncordoning, Reason::Verified, "the machine is healthy");
        next.deadline = Some(add(look.seen.now, NODE_WRITE_TIMEOUT));
        next.intent = Some(look.intent(IntentEffect::Uncordon, look.run.attempt));
        return Decision::change(next);
    };
    if look.deadline_passed() {
        return give_up(look, &missing);
    }
    if let Some(effect) = missing.effect {
        return Decision::act(effect, missing.reason, missing.message);
    }
    let recheck = [missing.recheck_at, look.run.deadline].into_iter().flatten().min();
    Decision::wait(missing.reason, missing.message, recheck)
}

/// `verify.timeout` has passed. A machine that booted and is Ready is never rebooted again.
fn give_up(look: &Look<'_>, missing: &Missing) -> Decision {
    if !look.node.in_service() {
        return match look.next_attempt() {
            Ok(next) => look.begin(next),
            Err(_) => {
                let message = format!("the machine booted, and {}", why_not_in_service(look.node));
                look.hold(Reason::Unreachable, message)
            }
        };
    }
    let made_by_person = look.run.causes.is_empty();
    let cured = look.standing(|trigger| trigger.must_clear);
    if !made_by_person && cured == Standing::TrueOnNewEvidence {
        let message = "the machine booted and is Ready, and its trigger is true on new evidence";
        return match look.contract.verify.on_not_cured {
            OnNotCured::Hold => look.hold(Reason::NotCured, message),
            OnNotCured::Uncordon => look.roll_back(Reason::NotCured, message),
        };
    }
    let message = format!("not verified within verify.timeout: {}", missing.message);
    look.hold(Reason::VerificationUnknown, message)
}

fn ready(look: &Look<'_>) -> Option<Missing> {
    if !look.booted() {
        return Some(Missing::new(Reason::WaitingForReady, "the node shows no new boot ID"));
    }
    let Some(since) = look.seen.memory.ready_since else {
        return Some(Missing::new(Reason::WaitingForReady, why_not_in_service(look.node)));
    };
    let until = add(since, look.contract.verify.ready);
    let early = mutant!("verify-without-ready");
    (until > look.seen.now && !early).then(|| Missing {
        recheck_at: Some(until),
        ..Missing::new(Reason::WaitingForReady, "the node is Ready, and not yet for verify.ready")
    })
}

/// The kubelet has reported since the boot: the report that brought the new boot ID has another
/// heartbeat than the last one before the attempt. Other, not later: a machine's clock may be wrong
/// until some time after its boot. An idle kubelet reports only every five minutes, so that waiting
/// for yet another report would cost each machine that.
fn report(look: &Look<'_>) -> Option<Missing> {
    let report = look.node.heartbeat();
    let since_boot = report.is_some() && report != look.run.report_before;
    (!since_boot)
        .then(|| Missing::new(Reason::WaitingForReport, "no kubelet report since the boot"))
}

fn daemon_sets(look: &Look<'_>) -> Option<Missing> {
    let ignored = !look.contract.verify.daemon_sets || mutant!("verify-without-daemon-sets");
    if ignored || look.run.daemon_sets.is_empty() {
        return None;
    }
    let Some(ready) = &look.seen.daemon_sets_ready else {
        return Some(Missing::new(Reason::WaitingForDaemonSets, "listing the DaemonSet pods"));
    };
    let missing: Vec<_> = look
        .run
        .daemon_sets
        .iter()
        .filter(|name| !ready.contains(name))
        .map(String::as_str)
        .collect();
    (!missing.is_empty()).then(|| {
        let message = format!("no Ready pod here of DaemonSets {}", missing.join(", "));
        Missing::new(Reason::WaitingForDaemonSets, message)
    })
}

fn probe_pod(look: &Look<'_>) -> Option<Missing> {
    if !look.contract.verify.probe_pod || mutant!("verify-without-probe") {
        return None;
    }
    let missing = |message: String| Missing::new(Reason::WaitingForProbePod, message);
    match &look.seen.probe_pod {
        PodSeen::Ended { exit_code: 0, .. } => None,
        PodSeen::Unknown => Some(missing("looking for the probe Pod".into())),
        PodSeen::Absent => Some(Missing {
            effect: Some(Effect::CreateProbePod),
            ..missing("a probe Pod will show whether Pods start here".into())
        }),
        PodSeen::Waiting { why, .. } => {
            Some(missing(format!("the probe Pod has not started: {why}")))
        }
        PodSeen::Running { .. } => Some(missing("the probe Pod runs".into())),
        PodSeen::Lost | PodSeen::Ended { .. } => Some(Missing {
            effect: Some(Effect::DeleteProbePod),
            ..missing(
                "the probe Pod failed, or is of an earlier boot; it will be tried again".into(),
            )
        }),
    }
}

/// Triggers that must clear are clear on new evidence, for `clearFor` from post-boot Ready on.
fn clear(look: &Look<'_>) -> Option<Missing> {
    if look.run.causes.is_empty() || mutant!("verify-without-clear") {
        return None;
    }
    let needed = look.contract.triggers.iter().filter(|trigger| trigger.must_clear);
    let longest = needed.map(|trigger| trigger.clear_for).max()?;
    let Some(since) = look.seen.memory.clear_since else {
        let causes: Vec<_> = look.run.causes.iter().take(NAMED).map(String::as_str).collect();
        let message = format!("a trigger has not cleared; the run is for {}", causes.join(", "));
        return Some(Missing::new(Reason::WaitingForClear, message));
    };
    let until = add(since, longest);
    (until > look.seen.now).then(|| Missing {
        recheck_at: Some(until),
        ..Missing::new(Reason::WaitingForClear, "the triggers are clear, and not yet for clearFor")
    })
}
