//! Held: open, no slot, no deadline, cordoned and visible. Left by evidence where a machine came back
//! by itself, else by a person.

use super::{Decision, Look};
use crate::{
    facts::{Cordon, Ready},
    reason::Reason,
};

pub(super) fn step(look: &Look<'_>) -> Decision {
    let Look { run, node, .. } = look;
    let ready = node.ready == Ready::True;
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
    let back = matches!(run.reason, Reason::NoBoot | Reason::Unreachable) && ready;
    if (lifted || back) && look.booted() {
        return look.verify();
    }
    if lifted {
        let ending = run.ending.unwrap_or(Reason::HoldLifted);
        return look.roll_back(ending, "the label rerail.dev/hold was taken off");
    }
    if back && run.reason == Reason::Unreachable {
        let ending = run.ending.unwrap_or(Reason::Unreachable);
        return look.roll_back(ending, "the node is Ready again");
    }
    Decision::wait(run.reason, run.message.clone(), None)
}
