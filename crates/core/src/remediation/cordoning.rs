//! Cordoning: `unschedulable` and our mark, in one patch, on a node that nobody else has cordoned.

use super::{Decision, Effect, Look, turn_back};
use crate::{facts::Cordon, reason::Reason, run::IntentEffect, step::Step, trigger::add};

pub(super) fn step(look: &Look<'_>) -> Decision {
    if look.node.hold {
        return look.hold(Reason::HoldLabel, "the node bears the label rerail.dev/hold");
    }
    if let Some((reason, message)) = turn_back(look) {
        return look.give_up(reason, message);
    }
    if look.deadline_passed() {
        return look.give_up(Reason::CordonedByOther, "the node could not be cordoned in time");
    }
    match look.cordon() {
        Cordon::None => Decision::act(Effect::Cordon, Reason::Admitted, "cordoning the node"),
        Cordon::Ours => {
            let mut next = look.enter(Step::Draining, Reason::Cordoned, "the node is cordoned");
            next.deadline = Some(add(look.seen.now, look.contract.drain.timeout));
            next.intent = Some(look.intent(IntentEffect::Drain, look.run.attempt));
            Decision::change(next)
        }
        Cordon::OursLifted => look.give_up(Reason::CordonLifted, "somebody lifted our cordon"),
        Cordon::OursTakenOver | Cordon::Other => {
            look.give_up(Reason::CordonedByOther, "somebody else has cordoned the node")
        }
        Cordon::OtherRun => {
            let message = "the node bears the mark of another run, which has to come off first";
            Decision::wait(Reason::CordonedByOther, message, look.run.deadline)
        }
    }
}
