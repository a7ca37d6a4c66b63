//! Admission: the run exists first, Pending and harmless; then one status write makes it Cordoning,
//! with its contract frozen and its intent on record (SAFE-3, SAFE-15). Before that, everything that
//! the decision rests on is read afresh and decided again (SAFE-5, SAFE-22).

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{ResourceExt, runtime::events::EventType};
use rerail_api::{
    NodeRemediation, RemediationPolicy,
    convert::{self, policy::PolicyError, run::RunError, status},
    names,
    remediation::{CauseSpec, DomainLabelRecord, FrozenPlan, NodeRemediationSpec},
};
use rerail_core::{
    domain::{Domain, DomainLabel},
    facts::{NodeFacts, cut_message},
    plan::{Candidate, Cause, plan},
    remediation,
    run::Run,
    step::Step,
};
use sha2::{Digest, Sha256};

use super::world;
use crate::{act, check, client::CallError, context::Context};

/// How many sequence numbers are tried when names are taken by ended runs: a node whose annotation
/// was lost has as many runs as the history keeps.
const SEQUENCES_TRIED: u64 = 64;

/// Why a candidate was not admitted.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    /// The API server did not answer as hoped.
    #[error(transparent)]
    Call(#[from] CallError),
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

/// Looks again, and admits the candidate if it is still the one. Otherwise nothing is done, and the
/// next turn of the planner sees what has changed.
/// `resting` nodes are looked away from, as they were when the candidate was chosen.
pub async fn admit(
    context: &Context,
    candidate: &Candidate,
    resting: &BTreeSet<String>,
) -> Result<(), AdmitError> {
    let client = &context.clients.read;
    let (node, policy_object, pauses, runs) = tokio::try_join!(
        check::node(context, &candidate.node),
        check::policy(client, &candidate.policy),
        check::pauses(client),
        check::all_runs(context),
    )?;
    let (Some(node), Some(policy_object)) = (node, policy_object) else { return Ok(()) };
    let policy = convert::policy::policy(&policy_object)?;

    let mut world = world::from_caches(context, context.now());
    world.nodes.insert(candidate.node.clone(), node.facts.clone());
    world.policies.insert(candidate.policy.clone(), policy.clone());
    world.pauses = Some(pauses);
    world.open_runs = world::open_runs(&runs);
    world.nodes.retain(|name, _| !resting.contains(name));
    let again = plan(&world).admit;
    let same = |c: &Candidate| (&c.node, &c.policy) == (&candidate.node, &candidate.policy);
    let Some(candidate) = again.into_iter().find(same) else {
        return Ok(());
    };

    let Some(object) = pending_run(context, &candidate, &node.facts).await? else { return Ok(()) };
    let object =
        act::run::set_finalizer(&context.clients.act, &object, true, context.now()).await?;
    let run = convert::run::run(&object)?;
    let same_node = run.node_name == candidate.node && run.node_uid == node.facts.uid;
    if !same_node || run.policy != candidate.policy {
        return Err(AdmitError::OtherRun(run.name));
    }
    if run.wants_retry() {
        return retry(context, &object, &run, &node.facts).await;
    }
    if run.step != Step::Pending || run.cancel {
        context.learn(&object);
        return Ok(());
    }
    let pods = check::pods(client, &candidate.node).await?;
    let now = context.now();
    let daemon_sets = check::ready_daemon_sets(&pods).into_iter().take(64).collect();
    let next = remediation::admit(&run, &node.facts, &policy.contract, daemon_sets, now);
    let note = status::Note { reason: next.reason, message: &next.message };
    let mut status = context.status_of(&object, &next, note);
    status.plan = Some(freeze(&policy_object, next.daemon_sets.clone(), &candidate.domain)?);
    status.failure_domain = candidate.domain.to_string();
    status.priority = Some(i32::from(candidate.priority.0));
    status.causes = candidate.causes.iter().take(16).map(cause).collect();
    let written = act::run::replace_status(&context.clients.act, &object, status).await?;
    context.learn(&written);
    context.events_admitted(&written);
    Ok(())
}

/// A held run goes the whole way again, with the contract that it was admitted with.
async fn retry(
    context: &Context,
    object: &NodeRemediation,
    run: &Run,
    node: &NodeFacts,
) -> Result<(), AdmitError> {
    let next = remediation::retry(run, node, context.now());
    let note = status::Note { reason: next.reason, message: &next.message };
    let status = context.status_of(object, &next, note);
    let written = act::run::replace_status(&context.clients.act, object, status).await?;
    context.learn(&written);
    let (step, reason) = (next.step.name(), next.reason.name());
    tracing::info!(remediation = %run.name, node = %run.node_name, message = %next.message, "tried again");
    let message = format!("{}: {}", run.name, next.message);
    context.events.run(&written, EventType::Normal, step, reason, &message);
    Ok(())
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
            return Ok(found);
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
            return Ok(Some(found));
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

fn freeze(
    policy: &RemediationPolicy,
    daemon_sets: Vec<String>,
    domain: &Domain,
) -> Result<FrozenPlan, serde_json::Error> {
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
    plan.daemon_sets = daemon_sets;
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
