//! A run that a person made and that waits says why, in its own status: its policy may not exist, and
//! so has no status to look at.

use rerail_api::{
    NodeRemediation,
    convert::{self, status},
};
use rerail_core::{
    plan::{Plan, World},
    run::Run,
    step::Step,
};

use crate::{act, context::Context};

/// Some status was not written; it is tried again.
#[derive(Debug)]
pub struct NotYet;

/// Writes why each Pending run of a person waits, where that is news.
pub async fn tell(context: &Context, world: &World, plan: &Plan) -> Result<(), NotYet> {
    let mut all = Ok(());
    for run in world.open_runs.iter().filter(|run| is_persons(run)) {
        let Some(wait) = plan.report.iter().find_map(|pair| {
            let same = pair.node == run.node_name && pair.policy == run.policy;
            pair.wait.as_ref().filter(|_| same)
        }) else {
            continue;
        };
        let Some(object) = context.runs.get(&run.name) else { continue };
        // As it is now: this turn may have admitted it.
        let Some(run) = convert::run::run(&object).ok().filter(is_persons) else { continue };
        let why = (wait.reason.name(), wait.message.as_str());
        if says(&object, why) {
            continue;
        }
        let before = object.status.clone().unwrap_or_default();
        let generation = object.metadata.generation.unwrap_or_default();
        let status = status::pending(&before, &run, generation, context.term(), why, context.now());
        match act::run::replace_status(&context.clients.act, &object, status).await {
            Ok(written) => context.learn(&written),
            Err(error) => {
                if !error.is_conflict() && !error.is_not_found() {
                    tracing::warn!(remediation = %run.name, %error, "it is not on record why the run waits; trying again");
                }
                all = Err(NotYet);
            }
        }
    }
    all
}

fn is_persons(run: &Run) -> bool {
    run.step == Step::Pending && run.causes.is_empty() && !run.cancel
}

fn says(object: &NodeRemediation, (reason, message): (&str, &str)) -> bool {
    let said = object.status.as_ref().and_then(|status| status.said());
    said.is_some_and(|said| said.reason == reason && said.message == message)
}
