//! Recovery at the beginning of every term (protocol R5): list the runs, raise the epoch above any of
//! theirs, adopt every open one, repair the ledger. Nothing is admitted before. What the ledger says is
//! decided by `rerail_core::ledger::recovered`.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use kube::{ResourceExt, core::DynamicObject};
use rerail_api::{
    NodeRemediation,
    convert::{self, status},
};
use rerail_core::{
    ledger::{self, Change, Known},
    mutant,
    step::Step,
};

use super::{Handle, LeadError, Term};
use crate::{
    act, check,
    context::{Context, Shared},
    observe::objects::{self, Entry},
    plan::world,
    sweep,
};

/// How often adoption is tried for all runs before the others go on.
const ROUNDS: u32 = 5;

/// Between two rounds, and before a recovery that failed is begun again.
const PAUSE: Duration = Duration::from_secs(1);

/// Status writes under way at once.
const AT_ONCE: usize = 16;

/// Recovers, however long the API server takes; the term's end ends this, too.
pub(crate) async fn recover(shared: Arc<Shared>, handle: Handle, epoch: i64) -> Arc<Context> {
    let mut epoch = epoch;
    loop {
        match try_recover(&shared, &handle, &mut epoch).await {
            Ok(context) => return context,
            Err(error) => {
                tracing::warn!(%error, "the ledger is not recovered yet, and nothing starts; trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn try_recover(
    shared: &Arc<Shared>,
    handle: &Handle,
    epoch: &mut i64,
) -> Result<Arc<Context>, LeadError> {
    let listed = check::all_runs(shared).await?;
    let marks = listed.iter().filter_map(mark);
    if let Some(higher) = ledger::epoch_above(marks, *epoch, &handle.identity) {
        handle.raise(higher).await?;
        *epoch = higher;
    }
    let term = Term::new(*epoch, handle.clone());
    let context = Arc::new(Context::new(shared.clone(), Arc::new(term)));
    let not_adopted = adopt(&context, &listed).await;
    // As it is after the adoption: a write that landed before it counts.
    let listed = check::all_runs(shared).await?;
    let runs = world::every_run(&listed);
    let before = handle.ledger();
    context.strays.keep(|uid| before.holds(uid));
    sweep::notice(&context, true);
    for object in &listed {
        // The watch may be behind the list, and what is in the list is not gone.
        if let Entry::Good(object) = objects::read::<NodeRemediation>(object) {
            context.runs.put(object, None);
        }
    }
    sweep::notice_slots(&context);
    context.wakers.sweeper.notify_one();
    let (nodes, strays) = (context.nodes.snapshot(), context.strays.snapshot());
    let known = Known {
        runs: &runs,
        strays: &strays,
        nodes: &nodes,
        in_doubt: &BTreeSet::new(),
        done: &context.strays.done(),
        now: context.now(),
    };
    let slots = ledger::recovered(&before, &known, &not_adopted);
    tracing::info!(epoch = *epoch, term = %handle.identity, runs = runs.len(), slots = slots.len(),
        "recovered: every open run is adopted, and the ledger repaired");
    handle.change(Change { replace: Some(slots), ..Change::default() }).await?;
    Ok(context)
}

/// Epoch and leader that a run bears, readable or not.
fn mark(run: &DynamicObject) -> Option<(i64, &str)> {
    let status = run.data.get("status")?;
    let leader = status.get("leader").and_then(|leader| leader.as_str()).unwrap_or_default();
    Some((status.get("epoch")?.as_i64()?, leader))
}

/// Writes this term into every open run, Pending and Held included (R5, point 4), so that no older
/// operator can move one. Returns the UIDs of those that could not be written: their drivers go on
/// trying, and they keep nobody waiting (SAFE-17).
async fn adopt(context: &Context, listed: &[DynamicObject]) -> BTreeSet<String> {
    let mut left: Vec<DynamicObject> = listed.to_vec();
    for round in 0..ROUNDS {
        if round > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let tried: Vec<_> = stream::iter(left)
            .map(|object| async move {
                let adopted = adopt_one(context, &object).await;
                (object, adopted)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        left =
            tried.into_iter().filter(|(_, adopted)| !adopted).map(|(object, _)| object).collect();
        if left.is_empty() {
            break;
        }
    }
    left.iter().filter_map(ResourceExt::uid).collect()
}

/// True when the run needs no adoption any more.
async fn adopt_one(context: &Context, listed: &DynamicObject) -> bool {
    let Entry::Good(mut object) = objects::read::<NodeRemediation>(listed) else {
        // One that cannot be read cannot be written; it stands for its slot by what its status says.
        return !world::every_run(std::slice::from_ref(listed))
            .iter()
            .any(|run| !run.step.is_terminal());
    };
    // A conflict is read again and tried again, a few times at once.
    for _ in 0..4 {
        let Ok(run) = convert::run::run(&object) else { return false };
        let adopted = context.is_adopted(&object) || mutant!("adoption-skipped");
        if run.step.is_terminal() || adopted {
            return true;
        }
        let status = if run.step == Step::Pending {
            let before = object.status.clone().unwrap_or_default();
            let said = before.said().map(|said| (said.reason.clone(), said.message.clone()));
            let (reason, message) = said.unwrap_or_default();
            let reason = if reason.is_empty() { "Pending".to_owned() } else { reason };
            let generation = object.metadata.generation.unwrap_or_default();
            let why = (reason.as_str(), message.as_str());
            status::pending(&before, &run, generation, context.term(), why, context.now())
        } else {
            let said = object.status.as_ref().and_then(|status| status.said());
            let message = said.map_or(run.message.clone(), |said| said.message.clone());
            let reason = said.and_then(|said| said.reason.parse().ok()).unwrap_or(run.reason);
            context.status_of(&object, &run, status::Note { reason, message: &message })
        };
        match act::run::replace_status(&context.clients.act, &object, status).await {
            Ok(written) => {
                context.learn(&written);
                return true;
            }
            Err(error) => {
                let conflict = error.is_conflict();
                tracing::info!(remediation = %run.name, %error, "not adopted yet");
                match check::run(context, &run.name).await {
                    Ok(None) => return true,
                    Ok(Some(found)) => object = found,
                    Err(_) => return false,
                }
                if !conflict && !context.is_adopted(&object) {
                    return false;
                }
            }
        }
    }
    false
}
