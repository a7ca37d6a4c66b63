//! NodeRemediations to runs.

use jiff::Timestamp;
use kube::ResourceExt;
use rerail_core::{
    domain::{Domain, DomainLabel},
    facts::Evidence,
    reason::Reason,
    run::{Frozen, Intent, IntentEffect, Retries, Run},
    step::Step,
    words::one_line,
};

use super::policy::{self, PolicyError};
use crate::{
    NodeRemediation,
    remediation::{
        DomainLabelRecord, EffectName, EvidenceRecord, FrozenPlan, FrozenRecord, IntentRecord,
        NodeRemediationStatus, StepName, StepRecord,
    },
};

/// Why a run cannot be carried on. It is frozen as it is, visibly; no other run is concerned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// A step that this operator does not know.
    #[error(
        "NodeRemediation {run} is in step `{step}`, which this operator does not know; it is left alone. Run the newer operator again, or set `spec.cancel` there"
    )]
    UnknownStep {
        /// Name of the run.
        run: String,
        /// The step.
        step: String,
    },
    /// A frozen plan that is no contract.
    #[error(
        "NodeRemediation {run} has a frozen plan that cannot be carried out ({source}); it is left alone. Undo its marks by hand: kubectl uncordon {node}"
    )]
    Plan {
        /// Name of the run.
        run: String,
        /// Its node.
        node: String,
        /// What is wrong.
        source: PolicyError,
    },
    /// No UID: not an object that an API server stored.
    #[error("NodeRemediation {run} has no UID")]
    NoUid {
        /// Name of the run.
        run: String,
    },
}

/// The run that an object stands for.
pub fn run(object: &NodeRemediation) -> Result<Run, RunError> {
    let name = object.name_any();
    let empty = NodeRemediationStatus::default();
    let status = object.status.as_ref().unwrap_or(&empty);
    let step = match &status.step {
        StepName::Known(step) => *step,
        StepName::Unknown(step) => {
            return Err(RunError::UnknownStep { run: name, step: one_line(step, 40) });
        }
    };
    let contract = status.plan.as_ref().map(policy::frozen).transpose().map_err(|source| {
        RunError::Plan { run: name.clone(), node: one_line(&object.spec.node_name, 253), source }
    })?;
    let current = current_record(status, step);
    let created = object.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let reboots = || status.steps.iter().filter(|record| record.name == Step::Rebooting.name());
    let latest = reboots().max_by_key(|record| record.attempt);
    let rolling_back = status.steps.iter().rfind(|record| record.name == Step::RollingBack.name());
    Ok(Run {
        uid: object.uid().ok_or_else(|| RunError::NoUid { run: name.clone() })?,
        node_name: object.spec.node_name.clone(),
        node_uid: object.spec.node_uid.clone(),
        policy: object.spec.policy_name.clone(),
        causes: causes(object, status),
        cancel: object.spec.cancel || object.metadata.deletion_timestamp.is_some(),
        retries: Retries {
            asked: object.spec.retries,
            taken: status.retries,
            after_attempt: status.ladder_start,
        },
        frozen: status.frozen.as_ref().map(frozen),
        contract,
        domain: status.plan.as_ref().and_then(domain),
        step,
        reason: current.and_then(|record| record.reason.parse().ok()).unwrap_or(Reason::Pending),
        message: current.map(|record| record.message.clone()).unwrap_or_default(),
        since: current.map_or(created, |record| record.start_time),
        deadline: current.and_then(|record| record.deadline),
        paused_at: status.paused_time,
        intent: status.intent.as_ref().map(intent),
        attempt: status.attempt,
        attempt_times: reboots().map(|record| record.start_time).collect(),
        boot_id_before: latest.and_then(|record| record.boot_id_before.clone()),
        report_before: latest.and_then(|record| record.heartbeat_time_before),
        evidence: status.evidence.iter().map(evidence).collect(),
        daemon_sets: status.plan.as_ref().map(|plan| plan.daemon_sets.clone()).unwrap_or_default(),
        ending: rolling_back.and_then(|record| record.reason.parse().ok()),
        name,
    })
}

fn domain(plan: &FrozenPlan) -> Option<Domain> {
    let label = |label: &DomainLabelRecord| DomainLabel {
        key: label.key.clone(),
        value: label.value.clone(),
    };
    Some(Domain(plan.domain.as_ref()?.iter().map(label).collect()))
}

/// The record of the step that the run is in: the one of the highest attempt.
pub(super) fn current_record(status: &NodeRemediationStatus, step: Step) -> Option<&StepRecord> {
    status
        .steps
        .iter()
        .filter(|record| record.name == step.name())
        .max_by_key(|record| record.attempt)
}

fn causes(object: &NodeRemediation, status: &NodeRemediationStatus) -> Vec<String> {
    let spec = object.spec.cause.iter().map(|cause| cause.condition_type.clone());
    let mut all: Vec<_> = spec.collect();
    for cause in &status.causes {
        if !all.contains(&cause.condition_type) {
            all.push(cause.condition_type.clone());
        }
    }
    all
}

fn frozen(record: &FrozenRecord) -> Frozen {
    Frozen {
        since: record.time,
        invariant: record.invariant.parse().ok(),
        message: record.message.clone(),
    }
}

fn intent(record: &IntentRecord) -> Intent {
    Intent {
        effect: match record.effect {
            EffectName::Cordon => IntentEffect::Cordon,
            EffectName::Drain => IntentEffect::Drain,
            EffectName::Reboot => IntentEffect::Reboot,
            EffectName::Uncordon => IntentEffect::Uncordon,
        },
        attempt: record.attempt,
        node_uid: record.node_uid.clone(),
        boot_id_before: record.boot_id_before.clone(),
        time: record.time,
    }
}

fn evidence(record: &EvidenceRecord) -> Evidence {
    Evidence {
        condition_type: record.condition_type.as_str().into(),
        status: record.status.as_str().into(),
        last_transition_time: record.last_transition_time,
        last_heartbeat_time: record.last_heartbeat_time,
    }
}
