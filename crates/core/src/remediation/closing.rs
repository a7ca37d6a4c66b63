//! The ends of a run: giving the node back, or undoing. Each ends with the closing write, which
//! takes our marks off and writes the outcome, also when there is no mark to take off: it moves the
//! node's resourceVersion, so that no late patch of ours can land afterwards (protocol R4).

use super::{Decision, Effect, Look, why_not_in_service};
use crate::{facts::Cordon, mutant, reason::Reason, step::Step, trigger::add};

/// The node's own annotation says that the closing write of this run was committed.
fn closed(look: &Look<'_>) -> bool {
    let last = look.node.last_remediation.last.as_ref();
    last.is_some_and(|last| last.uid == look.run.uid) || mutant!("closing-skipped")
}

pub(super) fn uncordoning(look: &Look<'_>) -> Decision {
    if closed(look) {
        let settle = look.contract.verify.settle;
        if settle.is_zero() {
            return healed(look);
        }
        let mut next =
            look.enter(Step::Settling, Reason::Settling, "given back; watching it for a while");
        next.deadline = Some(add(look.seen.now, settle));
        return Decision::change(next);
    }
    if look.node.hold {
        return look.hold(Reason::HoldLabel, "the node bears the label rerail.dev/hold");
    }
    if !look.node.in_service() || !look.booted() || look.deadline_passed() {
        let message = "the node is not Ready, names no boot, or could not be written";
        return look.hold(Reason::Unreachable, message);
    }
    let close = Effect::Close {
        uncordon: look.cordon() == Cordon::Ours && !mutant!("k4-cordon-forgotten"),
        result: Step::Succeeded,
        reason: Reason::Healed,
    };
    Decision::act(close, Reason::Verified, "giving the node back")
}

pub(super) fn settling(look: &Look<'_>) -> Decision {
    // It has been given back; who wants the run to end needs not wait for the rest.
    if look.deadline_passed() || look.run.cancel {
        return healed(look);
    }
    Decision::wait(Reason::Settling, "given back; watching it for a while", look.run.deadline)
}

fn healed(look: &Look<'_>) -> Decision {
    let message = format!("healed after {} reboot attempt(s)", look.run.attempt);
    Decision::change(look.enter(Step::Succeeded, Reason::Healed, message))
}

/// How a run that is undone for this reason ends.
fn result(reason: Reason) -> Step {
    let somebodys_wish = [
        Reason::CancelRequested,
        Reason::TriggerCleared,
        Reason::NoCandidate,
        Reason::PolicyDeleted,
        Reason::PolicySuspended,
        Reason::PolicyNotEnforcing,
        Reason::HoldLabel,
        Reason::HoldLifted,
        Reason::CordonedByOther,
        Reason::CordonLifted,
        Reason::NodeDeleting,
        Reason::ClaimedByOther,
        Reason::NodeReplaced,
    ];
    if somebodys_wish.contains(&reason) { Step::Cancelled } else { Step::Failed }
}

pub(super) fn rolling_back(look: &Look<'_>) -> Decision {
    let reason = look.run.reason;
    if closed(look) {
        return Decision::change(look.enter(result(reason), reason, look.run.message.clone()));
    }
    let ours = look.cordon() == Cordon::Ours;
    // Where somebody lifted our cordon there is nothing to hold, and the run can end.
    if ours && look.node.hold {
        return look.hold(Reason::HoldLabel, "the node bears the label rerail.dev/hold");
    }
    if ours && !look.node.in_service() && !mutant!("uncordon-not-ready") {
        let message =
            format!("{}; it stays cordoned until it is back", why_not_in_service(look.node));
        return look.hold(Reason::Unreachable, message);
    }
    if look.deadline_passed() {
        return look.hold(Reason::Unreachable, "the node could not be written");
    }
    let uncordon = ours || mutant!("k2-uncordon-always");
    let close = Effect::Close { uncordon, result: result(reason), reason };
    Decision::act(close, reason, look.run.message.clone())
}
