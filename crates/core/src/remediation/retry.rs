//! A held run is tried again because a person asks for it. It has passed the planner's gates like a new
//! run, since Held holds no slot, and goes the whole way: cordon, drain, and the ladder from its first
//! rung, as new attempts. Attempts of earlier tries still count (SAFE-14).

use jiff::Timestamp;

use super::{NODE_WRITE_TIMEOUT, intent};
use crate::{
    facts::NodeFacts,
    reason::Reason,
    run::{IntentEffect, Retries, Run},
    step::Step,
    trigger::add,
};

/// The admission of a held run that a person wants tried again.
pub fn retry(run: &Run, node: &NodeFacts, now: Timestamp) -> Run {
    let message = format!("retry {} was asked for while Held ({})", run.retries.asked, run.reason);
    Run {
        deadline: Some(add(now, NODE_WRITE_TIMEOUT)),
        intent: Some(intent(run, node, IntentEffect::Cordon, run.attempt, now)),
        retries: Retries {
            asked: run.retries.asked,
            taken: run.retries.asked,
            after_attempt: Some(run.attempt),
        },
        ending: None,
        ..run.enter(Step::Cordoning, Reason::RetryRequested, message, now)
    }
}
