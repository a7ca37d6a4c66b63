//! Held: open, no slot, no deadline, cordoned and visible. Left by evidence where a machine came back
//! by itself, else by a person.

use jiff::Timestamp;

use super::{Decision, Look};
use crate::{facts::Cordon, reason::Reason, trigger::add};

pub(super) fn step(look: &Look<'_>) -> Decision {
    let Look { run, node, .. } = look;
    let ready = node.in_service();
    let ours = look.cordon() == Cordon::Ours;
    // Held before its cordon (the label came first) has no mark; only a cordon that was there can
    // have been lifted.
    let cordoned_before = look.cordon() != Cordon::None || run.past_no_return();
    if cordoned_before && !node.unschedulable {
        return look.roll_back(Reason::CordonLifted, "somebody uncordoned the held node");
    }
    // Giving a node back that is not Ready or bears the hold label would only lead back here.
    let can_give_back = !ours || (ready && !node.hold);
    if run.cancel && can_give_back {
        return look.roll_back(Reason::CancelRequested, "the held run was cancelled");
    }
    let lifted = run.reason == Reason::HoldLabel && !node.hold;
    let back = (matches!(run.reason, Reason::NoBoot | Reason::Unreachable)
        || was_turned_back(run.reason))
        && ready;
    if (lifted || back) && look.booted() {
        return match not_yet_steady(look) {
            Some(until) if !lifted => Decision::wait(run.reason, run.message.clone(), Some(until)),
            Some(_) | None => look.verify(),
        };
    }
    if lifted {
        let ending = run.ending.unwrap_or(Reason::HoldLifted);
        return look.roll_back(ending, "the label rerail.dev/hold was taken off");
    }
    // A machine that was rebooted is not given back for being Ready alone (SAFE-19); one whose roll-back
    // had begun is.
    let undone = !run.past_no_return() || run.ending.is_some();
    if back && undone && run.reason == Reason::Unreachable {
        let ending = run.ending.unwrap_or(Reason::Unreachable);
        return look.roll_back(ending, "the node is Ready again");
    }
    Decision::wait(run.reason, run.message.clone(), None)
}

/// A retry that was given up before its reboot: what the run was held for before still counts, and a
/// machine that boots after all is verified.
fn was_turned_back(reason: Reason) -> bool {
    let reasons = [
        Reason::DrainTimeout,
        Reason::DrainRefused,
        Reason::DrainForbidden,
        Reason::PolicyDeleted,
        Reason::PolicySuspended,
        Reason::PolicyNotEnforcing,
        Reason::NodeDeleting,
        Reason::ClaimedByOther,
    ];
    reasons.contains(&reason)
}

/// A machine that came back by itself must have been Ready for `verify.ready` before its run takes a
/// place again: one in a boot loop is Ready for a moment after each boot, and would keep the others
/// from being helped, for as long as it loops.
fn not_yet_steady(look: &Look<'_>) -> Option<Timestamp> {
    let since = look.seen.memory.ready_since.unwrap_or(look.seen.now);
    let until = add(since, look.contract.verify.ready);
    (until > look.seen.now).then_some(until)
}
