//! The status of policies: what waits and why, what a DryRun policy would start. Written when it says
//! something new, at most once a second for each policy; how far storms are at once, and before anything
//! starts by it.

mod conditions;
mod limits;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use kube::{Api, ResourceExt, api::Patch, core::DynamicObject};
use rerail_api::{
    RemediationPolicy,
    convert::policy::{self, PolicyError},
    policy::{Counts, RemediationPolicyStatus, WaitingNode},
};
use rerail_core::{
    facts::cut_message,
    plan::{PairReport, Plan, World},
    run::Run,
    step::Step,
};
use serde_json::json;

use crate::{
    act::patch_params,
    client::{CallError, call},
    context::Context,
    observe::{
        config::Problem,
        objects::{self, Entry, Malformed},
    },
    plan::good,
    record::conditions::Before,
};
use conditions::{breaker_open, budget_exhausted, configured, paused, spec_conditions};
use limits::Outlook;

/// How many nodes a status names.
const NAMED: usize = 20;

/// A policy's status is written at most this often.
const EVERY: SignedDuration = SignedDuration::from_secs(1);

/// When each policy's status was written last, and what was said of those that cannot be read.
#[derive(Default)]
pub struct Statuses {
    written: BTreeMap<String, Timestamp>,
    malformed: BTreeMap<String, String>,
}

/// Some status was not written; it is tried again.
#[derive(Debug)]
pub struct NotYet;

/// Writes the statuses that have something new to say.
pub async fn write(
    context: &Context,
    statuses: &mut Statuses,
    world: &World,
    plan: &Plan,
) -> Result<(), NotYet> {
    let mut all = Ok(());
    let entries = context.policies.snapshot();
    forget(context, statuses, &entries);
    let outlook = Outlook::of(world, plan);
    context.deps.metrics.cluster(
        outlook.cluster().map(|budget| (budget.limit.into(), budget.used.into())),
        plan.meltdown.is_some(),
    );
    for entry in entries {
        let done = match entry {
            Entry::Good(object) => one(context, statuses, world, plan, &outlook, &object).await,
            Entry::Malformed(malformed) => unreadable(context, statuses, &malformed).await,
        };
        all = all.and(done);
    }
    all
}

/// Puts storms on record that began, moved or ended, before anything starts by it: what is left to a later
/// turn would be judged anew, from the old record and with the runs of the new round under way. Returns the
/// policies of which that failed; nothing may start for them (SAFE-5).
pub async fn record_storms(
    context: &Context,
    statuses: &mut Statuses,
    world: &World,
    plan: &Plan,
) -> BTreeSet<String> {
    let mut failed = BTreeSet::new();
    let outlook = Outlook::of(world, plan);
    for object in good(context.policies.snapshot()) {
        let name = object.name_any();
        let recorded = object.status.as_ref().map(|status| status.breaker.as_slice());
        if outlook.stopped(&name, recorded.unwrap_or_default()).storms
            == recorded.unwrap_or_default()
        {
            continue;
        }
        let wanted = status(&object, world, plan, &outlook, context.config.problem().as_ref());
        if put(context, statuses, &object, wanted).await.is_err() {
            failed.insert(name);
        }
    }
    failed
}

/// Forgets policies that are gone, in memory and in the metrics.
fn forget(context: &Context, statuses: &mut Statuses, entries: &[Entry<RemediationPolicy>]) {
    let names: Vec<_> = entries
        .iter()
        .map(|entry| match entry {
            Entry::Good(object) => object.name_any(),
            Entry::Malformed(malformed) => malformed.object.name_any(),
        })
        .collect();
    statuses.malformed.retain(|name, _| names.contains(name));
    statuses.written.retain(|name, _| {
        let stays = names.contains(name);
        if !stays {
            context.deps.metrics.forget_policy(name);
        }
        stays
    });
}

async fn one(
    context: &Context,
    statuses: &mut Statuses,
    world: &World,
    plan: &Plan,
    outlook: &Outlook<'_>,
    object: &RemediationPolicy,
) -> Result<(), NotYet> {
    let name = object.name_any();
    let wanted = status(object, world, plan, outlook, context.config.problem().as_ref());
    let metrics = &context.deps.metrics;
    metrics.policy_runs(&name, wanted.counts.active.into(), wanted.counts.held.into());
    metrics.policy_budget(&name, wanted.budget.limit.into(), wanted.budget.used.into());
    metrics.policy_breaker(&name, is_true(&wanted, "BreakerOpen"));
    if object.status.as_ref() == Some(&wanted) {
        return Ok(());
    }
    let now = context.now();
    if statuses.written.get(&name).is_some_and(|at| now.duration_since(*at) < EVERY) {
        return Err(NotYet);
    }
    put(context, statuses, object, wanted).await
}

/// Writes a policy's status.
async fn put(
    context: &Context,
    statuses: &mut Statuses,
    object: &RemediationPolicy,
    wanted: RemediationPolicyStatus,
) -> Result<(), NotYet> {
    let name = object.name_any();
    statuses.written.insert(name.clone(), context.now());
    // The version makes it a compare-and-swap: what is said belongs to the spec that was read.
    let patch =
        json!({ "metadata": { "resourceVersion": object.resource_version() }, "status": wanted });
    let api: Api<RemediationPolicy> = Api::all(context.clients.act.clone());
    match call(
        || format!("write the status of RemediationPolicy {name}"),
        api.patch_status(&name, &patch_params(), &Patch::Merge(patch)),
    )
    .await
    {
        Ok(written) => {
            context.policies.put(written, None);
            Ok(())
        }
        Err(error) => failed(&name, &error),
    }
}

fn is_true(status: &RemediationPolicyStatus, condition: &str) -> bool {
    status.conditions.iter().any(|c| c.type_ == condition && c.status == "True")
}

fn failed(name: &str, error: &CallError) -> Result<(), NotYet> {
    if !error.is_conflict() && !error.is_not_found() {
        tracing::warn!(policy = name, %error, "the status was not written; trying again");
    }
    Err(NotYet)
}

/// A policy that cannot be read is Stalled, with the reason on record; the others go on (SAFE-17).
async fn unreadable(
    context: &Context,
    statuses: &mut Statuses,
    malformed: &Malformed,
) -> Result<(), NotYet> {
    let name = malformed.object.name_any();
    if statuses.malformed.get(&name) == Some(&malformed.error) {
        return Ok(());
    }
    context.deps.metrics.malformed("RemediationPolicy");
    tracing::error!(policy = %name, error = %malformed.error, "the policy cannot be read and starts nothing");
    let message = format!("the policy cannot be read and starts nothing: {}", malformed.error);
    let generation = malformed.object.metadata.generation.unwrap_or_default();
    let from = Before { conditions: &[], generation, now: context.now() };
    let conditions = spec_conditions(from, Err(&message));
    let status = RemediationPolicyStatus {
        observed_generation: generation,
        conditions,
        ..RemediationPolicyStatus::default()
    };
    let api: Api<DynamicObject> =
        Api::all_with(context.clients.act.clone(), &objects::resource::<RemediationPolicy>());
    let mut patch = json!({ "status": status });
    // What the breaker remembers is not forgotten while the policy cannot be read.
    if let Some(status) = patch["status"].as_object_mut() {
        status.remove("breaker");
    }
    let patch = Patch::Merge(patch);
    let written = call(
        || format!("write the status of RemediationPolicy {name}"),
        api.patch_status(&name, &patch_params(), &patch),
    )
    .await;
    // Told once, even if the status cannot be written: the schema may refuse the whole object.
    statuses.malformed.insert(name.clone(), malformed.error.clone());
    written.map(|_| ()).or_else(|error| failed(&name, &error)).or(Ok(()))
}

/// What is to be said of a policy now.
fn status(
    object: &RemediationPolicy,
    world: &World,
    plan: &Plan,
    outlook: &Outlook<'_>,
    config: Option<&Problem>,
) -> RemediationPolicyStatus {
    let name = object.name_any();
    let before = object.status.clone().unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or_default();
    let valid = policy::policy(object).map_err(|error: PolicyError| error.to_string());
    let from = Before { conditions: &before.conditions, generation, now: world.now };
    let budget = outlook.budget(&name);
    let stopped = outlook.stopped(&name, &before.breaker);
    let mut conditions = spec_conditions(from, valid.as_ref().map(|_| ()).map_err(String::as_str));
    conditions.push(paused(from, &name, world));
    conditions.push(budget_exhausted(from, budget.as_ref()));
    conditions.push(breaker_open(from, &stopped));
    conditions.push(configured(from, config));
    let runs = || world.open_runs.iter().filter(|run| run.policy == name);
    let holds_slot = |run: &&Run| run.holds_slot(world.node(&run.node_name), world.now);
    let waiting: Vec<_> =
        plan.report.iter().filter(|pair| pair.policy == name && pair.wait.is_some()).collect();
    let would = plan.would_start.get(&name).map(Vec::as_slice).unwrap_or_default();
    RemediationPolicyStatus {
        observed_generation: generation,
        conditions,
        counts: Counts {
            matched: count(plan.matched.get(&name).copied().unwrap_or_default()),
            waiting: count(waiting.len()),
            active: count(runs().filter(holds_slot).count()),
            held: count(runs().filter(|run| waits_for_a_person(run)).count()),
        },
        budget: budget.unwrap_or_default(),
        breaker: stopped.storms,
        would_start: would
            .iter()
            .take(NAMED)
            .map(|candidate| WaitingNode {
                node: candidate.node.clone(),
                priority: Some(candidate.priority.0.into()),
                reason: "WouldStart".into(),
                message: candidate
                    .causes
                    .first()
                    .map(|cause| cause.message.clone())
                    .unwrap_or_default(),
                until: None,
            })
            .collect(),
        waiting: waiting.into_iter().take(NAMED).map(waiting_node).collect(),
    }
}

fn waits_for_a_person(run: &Run) -> bool {
    run.step == Step::Held || run.frozen.is_some()
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn waiting_node(pair: &PairReport) -> WaitingNode {
    let wait = pair.wait.as_ref();
    WaitingNode {
        node: pair.node.clone(),
        priority: pair.priority.map(|priority| priority.0.into()),
        reason: wait.map(|wait| wait.reason.name().to_owned()).unwrap_or_default(),
        // It may quote an annotation that a kubelet can write.
        message: wait.map(|wait| cut_message(&wait.message).to_owned()).unwrap_or_default(),
        until: wait.and_then(|wait| wait.recheck_at),
    }
}
