//! Admission of a set: the runs exist first, Pending and harmless; then one write of the ledger gives
//! them their slots; then one status write each makes them Cordoning, with contract frozen and intent
//! on record (SAFE-3, SAFE-4, SAFE-15). Before that, everything that
//! the decision rests on is read afresh and decided again (SAFE-5, SAFE-22).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{ResourceExt, runtime::events::EventType};
use rerail_api::{
    NodeRemediation, RemediationPolicy,
    convert::{self, policy::PolicyError, run::RunError, status},
    names,
    remediation::{
        CauseSpec, DomainLabelRecord, FrozenPlan, NodeRemediationSpec, NodeRemediationStatus,
    },
};
use rerail_core::{
    domain::{Domain, DomainLabel},
    facts::{NodeFacts, cut_message},
    ledger::{self, Change, ClaimStanding, Slot, Start},
    mutant,
    plan::{Candidate, Cause, Memo, World, plan_with},
    remediation,
    run::Run,
    step::Step,
};
use sha2::{Digest, Sha256};

use super::world;
use crate::{
    act, check,
    client::CallError,
    context::Context,
    lead::LeadError,
    observe::objects::{self, Entry},
};

/// Requests under way at once for one set.
const AT_ONCE: usize = 32;

/// How many sequence numbers are tried when names are taken by ended runs: a node whose annotation
/// was lost has as many runs as the history keeps.
const SEQUENCES_TRIED: u64 = 64;

/// Why a candidate was not admitted.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    /// The API server did not answer as hoped.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Its policy could not be read, which all of its nodes share.
    #[error("{0}")]
    Unread(String),
    /// The policy has become invalid.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The run cannot be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The frozen plan could not be hashed.
    #[error("the policy could not be frozen: {0}")]
    Freeze(#[from] serde_json::Error),
    /// The run under the candidate's name is not the candidate's.
    #[error(
        "NodeRemediation {0} is of another node or policy than the one to be admitted; delete it, or let it end"
    )]
    OtherRun(String),
    /// Too many ended runs of the node, and no number in its annotation.
    #[error(
        "the first {SEQUENCES_TRIED} names for a run of node {0} are taken by ended runs; delete old NodeRemediations of this node"
    )]
    NoName(String),
}

/// Why a whole set was not admitted: what concerns all of it. Nothing is counted against its nodes.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// The API server did not answer as hoped.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The right to act was not confirmed, or the ledger not written.
    #[error(transparent)]
    Lead(#[from] LeadError),
}

/// What became of a set.
#[derive(Default)]
pub struct Outcome {
    /// Nodes whose runs were admitted.
    pub admitted: Vec<String>,
    /// Nodes whose admission failed, and why.
    pub failed: Vec<(String, AdmitError)>,
}

/// One of the set, ready for the ledger.
struct Prepared {
    candidate: Candidate,
    object: NodeRemediation,
    run: Run,
    /// The status that admits it.
    status: NodeRemediationStatus,
    next: Run,
}

/// Everything that the set is judged on, read afresh.
struct Fresh {
    world: World,
    policies: BTreeMap<String, RemediationPolicy>,
    /// UIDs of the runs whose slots go.
    release: BTreeSet<String>,
    /// How many slots had been claimed before that.
    claimed: u64,
}

/// Looks again, and admits those of the set that are still chosen. Three writes, in this order: each
/// run, Pending and harmless; the ledger, for all of them at once and together with what is released;
/// each run's status (planner.md, The ledger). Between any two of them the operator may die.
/// `resting` nodes are looked away from, as they were when the set was chosen.
pub async fn admit(
    context: &Context,
    memo: &mut Memo,
    chosen: &[Candidate],
    resting: &BTreeSet<String>,
) -> Result<Outcome, SetError> {
    let mut outcome = Outcome::default();
    let fresh = look(context, chosen, resting, &mut outcome).await?;
    let mut again = plan_with(memo, &fresh.world);
    if mutant!("admission-without-look") {
        again.admit = chosen.to_vec();
    }
    context.meltdown.observe(again.meltdown.is_some(), fresh.world.now);
    let pair = |c: &Candidate| (c.node.clone(), c.policy.clone());
    let wanted: BTreeSet<_> = chosen.iter().map(pair).collect();
    let failed: BTreeSet<_> = outcome.failed.iter().map(|(node, _)| node.clone()).collect();
    let still =
        again.admit.into_iter().filter(|c| wanted.contains(&pair(c)) && !failed.contains(&c.node));
    let prepared: Vec<_> = stream::iter(still)
        .map(|candidate| {
            let fresh = &fresh;
            async move { (candidate.node.clone(), prepare(context, fresh, candidate).await) }
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let mut set = Vec::new();
    for (node, prepared) in prepared {
        match prepared {
            Ok(Some(prepared)) => set.push(prepared),
            Ok(None) => {}
            Err(error) => outcome.failed.push((node, error)),
        }
    }
    write_ledger(context, &set, fresh.release, fresh.claimed).await?;
    let written: Vec<_> = stream::iter(set)
        .map(|prepared| async move {
            (prepared.candidate.node.clone(), commit(context, prepared).await)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    for (node, written) in written {
        match written {
            Ok(()) => outcome.admitted.push(node),
            Err(error) => outcome.failed.push((node, error)),
        }
    }
    Ok(outcome)
}

/// The fresh reads: nodes and policies of the set, kill switch, configuration, all runs, and the Lease. A node or
/// policy that cannot be read fails by itself.
async fn look(
    context: &Context,
    chosen: &[Candidate],
    resting: &BTreeSet<String>,
    outcome: &mut Outcome,
) -> Result<Fresh, SetError> {
    let client = &context.clients.read;
    let claimed = context.term.lease.claimed();
    let names: BTreeSet<_> = chosen.iter().map(|candidate| candidate.policy.clone()).collect();
    let nodes = stream::iter(chosen.iter().map(|candidate| candidate.node.clone()))
        .map(|name| async move {
            let node = check::node(context, &name).await;
            (name, node)
        })
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>();
    let policies = stream::iter(names)
        .map(|name| async move {
            let policy = check::policy(client, &name).await;
            (name, policy)
        })
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>();
    let lease = &context.term.lease;
    let shared = async {
        let calls = async {
            tokio::try_join!(check::pauses(client), check::config(client), check::all_runs(context))
        };
        let (confirmed, read) = tokio::join!(lease.confirm(), calls);
        confirmed?;
        Ok::<_, SetError>(read?)
    };
    let (nodes, read_policies, shared) = tokio::join!(nodes, policies, shared);
    let (pauses, config, runs) = shared?;

    let (mut world, _) = world::from_caches(context, context.now());
    world.pauses = Some(pauses);
    // One that is not good any more leaves the last good one in force.
    if let Ok(config) = convert::config::config(config.as_ref()) {
        world.config = Some(config);
    }
    for (name, node) in nodes {
        match node {
            Ok(Some(node)) => {
                world.nodes.insert(name, node.facts);
            }
            Ok(None) => {
                world.nodes.remove(&name);
            }
            Err(error) => outcome.failed.push((name, error.into())),
        }
    }
    let policies = take_in(&mut world, read_policies, chosen, outcome);
    let release = world::look_at_runs(context, &mut world, world::every_run(&runs));
    world::look_away(&mut world, resting);
    Ok(Fresh { world, policies, release, claimed })
}

/// Puts policies as they were read into the world. The candidates of one that could not be read fail.
fn take_in(
    world: &mut World,
    read: Vec<(String, Result<Option<RemediationPolicy>, CallError>)>,
    chosen: &[Candidate],
    outcome: &mut Outcome,
) -> BTreeMap<String, RemediationPolicy> {
    let mut policies = BTreeMap::new();
    for (name, read) in read {
        let of_it = || chosen.iter().filter(|candidate| candidate.policy == name);
        let read = match read {
            Ok(None) => {
                world.policies.remove(&name);
                continue;
            }
            Ok(Some(object)) => match convert::policy::policy(&object) {
                Ok(policy) => Ok((object, policy)),
                Err(error) => Err(AdmitError::from(error)),
            },
            Err(error) => Err(error.into()),
        };
        match read {
            Ok((object, policy)) => {
                world.policies.insert(name.clone(), policy);
                policies.insert(name, object);
            }
            Err(error) => {
                let text = error.to_string();
                let failed = of_it()
                    .map(|candidate| (candidate.node.clone(), AdmitError::Unread(text.clone())));
                outcome.failed.extend(failed);
            }
        }
    }
    policies
}

/// Makes the candidate's run exist, and decides what its status will be.
async fn prepare(
    context: &Context,
    fresh: &Fresh,
    candidate: Candidate,
) -> Result<Option<Prepared>, AdmitError> {
    let (Some(node), Some(policy), Some(policy_object)) = (
        fresh.world.node(&candidate.node),
        fresh.world.policies.get(&candidate.policy),
        fresh.policies.get(&candidate.policy),
    ) else {
        return Ok(None);
    };
    let Some(object) = pending_run(context, &candidate, node).await? else { return Ok(None) };
    let now = context.now();
    let object = act::run::set_finalizer(&context.clients.act, &object, true, now).await?;
    // Before it has a slot: a slot whose run nobody knows is one of a run that is gone.
    context.runs.put(object.clone(), None);
    let run = convert::run::run(&object)?;
    let same_node = run.node_name == candidate.node && run.node_uid == node.uid;
    if !same_node || run.policy != candidate.policy {
        return Err(AdmitError::OtherRun(run.name));
    }
    // One that waits has no driver that would see it; its admission would be refused for ever.
    if context.is_superseded_by(&object) {
        return Ok(None);
    }
    if run.wants_retry() {
        // A held run goes the whole way again, with the contract that it was admitted with.
        let next = remediation::retry(&run, node, context.now());
        let note = status::Note { reason: next.reason, message: &next.message };
        let status = context.status_of(&object, &next, note);
        return Ok(Some(Prepared { candidate, object, run, status, next }));
    }
    if run.step != Step::Pending || run.cancel {
        context.learn(&object);
        return Ok(None);
    }
    let next = remediation::admit(&run, node, &policy.contract, context.now());
    let note = status::Note { reason: next.reason, message: &next.message };
    let mut status = context.status_of(&object, &next, note);
    status.plan = Some(freeze(policy_object, &candidate.domain)?);
    status.failure_domain = candidate.domain.to_string();
    status.priority = Some(i32::from(candidate.priority.0));
    status.causes = candidate.causes.iter().take(16).map(cause).collect();
    Ok(Some(Prepared { candidate, object, run, status, next }))
}

/// One `PUT` for what comes and what goes. A ledger that is full still releases.
async fn write_ledger(
    context: &Context,
    set: &[Prepared],
    release: BTreeSet<String>,
    claimed: u64,
) -> Result<(), LeadError> {
    let now = context.now();
    let start = |prepared: &Prepared| Start { time: now, policy: prepared.run.policy.clone() };
    let change = Change {
        release: release.clone(),
        add: set.iter().map(|prepared| Slot::of(&prepared.run)).collect(),
        starts: set.iter().map(start).collect(),
        ..Change::default()
    };
    let written = context.term.lease.admit(change, claimed).await;
    if written.is_err() && !set.is_empty() && !release.is_empty() {
        context.term.lease.change(Change { release, ..Change::default() }).await?;
    }
    written
}

/// The status write: from here on the run acts. Until an answer came it is in doubt whether it landed.
async fn commit(context: &Context, prepared: Prepared) -> Result<(), AdmitError> {
    let Prepared { object, run, status, next, .. } = prepared;
    context.term.doubt(&run.uid);
    let asked = context.now();
    let written = act::run::replace_status(&context.clients.act, &object, status).await?;
    context.term.settle(&run.uid);
    context.learn_answer(&written, asked);
    if run.step == Step::Held {
        let (step, reason) = (next.step.name(), next.reason.name());
        tracing::info!(remediation = %run.name, node = %run.node_name, message = %next.message, "tried again");
        let message = format!("{}: {}", run.name, next.message);
        context.events.run(&written, EventType::Normal, step, reason, &message);
    } else {
        context.events_admitted(&written);
    }
    Ok(())
}

/// Looks what became of admissions whose answer was lost. A run that did not move is touched, so that
/// no late write can land on it; then its slot may go (protocol R3). The same for a claim of a slot
/// whose driver did not come to use it. False when something is left in doubt.
pub async fn settle(context: &Context) -> bool {
    settle_claims(context);
    let doubted = context.term.in_doubt();
    if doubted.is_empty() {
        return true;
    }
    let runs = match check::all_runs(context).await {
        Ok(runs) => runs,
        Err(error) => {
            tracing::warn!(%error, "it is not known yet whether runs were admitted; trying again");
            return false;
        }
    };
    let mut all = true;
    for uid in doubted {
        let found = runs.iter().find(|run| run.uid().as_deref() == Some(&uid));
        let Some(Entry::Good(object)) = found.map(objects::read::<NodeRemediation>) else {
            // Gone, or not to be read: then by its status, like any other such run.
            context.term.settle(&uid);
            continue;
        };
        let moved = convert::run::run(&object).is_ok_and(|run| run.step.holds_slot());
        if moved {
            context.learn(&object);
            context.term.settle(&uid);
            continue;
        }
        match act::run::touch(&context.clients.act, &object, context.now()).await {
            Ok(object) => {
                context.learn(&object);
                context.term.settle(&uid);
            }
            Err(error) => {
                tracing::warn!(remediation = %object.name_any(), %error, "its slot stays until it is known whether it was admitted");
                all = false;
            }
        }
    }
    all
}

/// Forgets claims that have led to a change of their runs: then the runs themselves say what they hold.
/// Only here, before the planner looks: what it then sees is not older than the claim. One that has
/// led to nothing for long is a doubt from now on.
fn settle_claims(context: &Context) {
    for (uid, claim) in context.term.lease.claims() {
        let run = context.runs.get(&claim.run).filter(|run| run.uid().as_ref() == Some(&uid));
        // One that cannot be read is not known to have moved.
        let step = run.map(|run| convert::run::run(&run).map_or(Step::Held, |run| run.step));
        match ledger::claim_standing(step, claim.since, context.now()) {
            ClaimStanding::Stands => continue,
            ClaimStanding::Used => {}
            ClaimStanding::Doubtful => context.term.doubt(&uid),
        }
        context.term.lease.forget_claim(&uid, &claim);
    }
}

impl Context {
    fn events_admitted(&self, object: &NodeRemediation) {
        let message = match &object.spec.cause {
            Some(cause) => {
                format!("{}: {} is {}", object.name_any(), cause.condition_type, cause.message)
            }
            None => format!(
                "{}: asked for by {}",
                object.name_any(),
                object.spec.requested_by.as_deref().unwrap_or("a person")
            ),
        };
        tracing::info!(remediation = %object.name_any(), node = %object.spec.node_name, policy = %object.spec.policy_name, "admitted");
        self.events.run(object, EventType::Normal, "Cordoning", "Admitted", &message);
    }
}

/// The candidate's run: the one that exists, or a new one under a name that makes it the only one
/// (hazard H06).
async fn pending_run(
    context: &Context,
    candidate: &Candidate,
    node: &NodeFacts,
) -> Result<Option<NodeRemediation>, AdmitError> {
    if let Some(name) = &candidate.run {
        let found = check::run(context, name).await?;
        // A person's wish that was taken back a moment ago is nobody's; a trigger is still there.
        if found.is_some() || candidate.causes.is_empty() {
            return Ok(found.map(Arc::unwrap_or_clone));
        }
    }
    let first = node.last_remediation.sequence;
    // Wrapping: a kubelet can write any number into the annotation.
    for sequence in (0..SEQUENCES_TRIED).map(|ahead| first.wrapping_add(ahead)) {
        let object = new_run(candidate, node, sequence, context.now());
        match act::run::create(&context.clients.act, &object).await {
            Ok(created) => return Ok(Some(created)),
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
        // Taken: by our own lost reply, or by an ended run that the annotation does not know.
        if let Some(found) = check::run(context, &object.name_any()).await?
            && !convert::run::run(&found)?.step.is_terminal()
        {
            return Ok(Some(Arc::unwrap_or_clone(found)));
        }
    }
    Err(AdmitError::NoName(node.name.clone()))
}

fn new_run(
    candidate: &Candidate,
    node: &NodeFacts,
    sequence: u64,
    now: Timestamp,
) -> NodeRemediation {
    let name = run_name(&node.name, &node.uid, sequence);
    let note = act::run::cleanup_note(&name, &node.name, now);
    let spec = NodeRemediationSpec {
        node_name: node.name.clone(),
        node_uid: node.uid.clone(),
        policy_name: candidate.policy.clone(),
        cause: candidate.causes.first().map(cause),
        requested_by: None,
        cancel: false,
        retries: 0,
    };
    NodeRemediation {
        metadata: ObjectMeta {
            name: Some(name),
            finalizers: Some(vec![names::FINALIZER.to_owned()]),
            annotations: Some([(names::CLEANUP_NOTE.to_owned(), note)].into()),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    }
}

/// `<node, at most 200>-<8 hex of hash(node UID, sequence)>`: the same for whoever creates it.
pub fn run_name(node: &str, node_uid: &str, sequence: u64) -> String {
    let digest = Sha256::digest(format!("{node_uid}/{sequence}"));
    let hex: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let node: String = node.chars().take(200).collect();
    format!("{}-{hex}", node.trim_end_matches(['.', '-']))
}

fn cause(cause: &Cause) -> CauseSpec {
    CauseSpec {
        condition_type: cause.condition_type.clone(),
        reason: cut_message(&cause.reason).to_owned(),
        message: cut_message(&cause.message).to_owned(),
        priority: i32::from(cause.priority.0),
        since: cause.since,
    }
}

fn freeze(policy: &RemediationPolicy, domain: &Domain) -> Result<FrozenPlan, serde_json::Error> {
    let spec = &policy.spec;
    let mut plan = FrozenPlan {
        policy_generation: policy.metadata.generation.unwrap_or_default(),
        hash: String::new(),
        triggers: spec.triggers.clone(),
        drain: spec.drain.clone(),
        remedies: spec.remedies.clone(),
        verify: spec.verify.clone(),
        attempts: spec.attempts.clone(),
        daemon_sets: Vec::new(),
        domain: None,
    };
    let digest = Sha256::digest(serde_json::to_vec(&plan)?);
    plan.hash = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let label = |label: &DomainLabel| DomainLabelRecord {
        key: label.key.clone(),
        value: label.value.clone(),
    };
    plan.domain = Some(domain.0.iter().map(label).collect());
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_by_node_uid_and_sequence_and_stay_legal() {
        let name = run_name("worker1a", "uid-1", 0);
        assert_eq!(name, run_name("worker1a", "uid-1", 0));
        assert_ne!(name, run_name("worker1a", "uid-1", 1));
        assert_ne!(name, run_name("worker1a", "uid-2", 0));
        assert!(name.starts_with("worker1a-") && name.len() == "worker1a-".len() + 8);
        let long = run_name(&format!("{}.{}", "a".repeat(199), "b".repeat(50)), "uid", 0);
        assert!(long.len() <= 209 && !long.contains(".-"), "{long}");
    }
}
