//! Specs to validated policies. The API server has refused most bad specs already; what is refused
//! here was stored before the rules existed, or cannot be said in CEL.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use rerail_core::{
    alert::DEFAULT_PREFIX,
    drain::filter::{DrainOptions, EmptyDir, Unmanaged},
    facts::ATTEMPTS_KEPT,
    policy as core,
    priority::PriorityRange,
    words::one_line,
};

use super::limits::{self, LimitError};
use crate::{
    names,
    policy::{
        AttemptsSpec, DeleteOrRefuse, DrainSpec, Mode, NodeSelection, OnNotCured, PrioritySpec,
        RebootMethod, RemediationPolicy, RemedySpec, Requirement, TriggerClass, TriggerSpec,
        TriggerVerify, VerifySpec,
    },
    remediation::FrozenPlan,
};

/// Why a spec is no policy. The policy is Stalled with this message and starts nothing; others go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Neither or both of selector and all, or an empty selector.
    #[error("`spec.nodes`: set exactly one of `selector` (not empty) and `all: true`")]
    Selection,
    /// A selector expression that Kubernetes would refuse.
    #[error(
        "`spec.nodes.selector`: operator `{0}` with these values is no requirement; use In, NotIn, Exists or DoesNotExist"
    )]
    Expression(String),
    /// No trigger.
    #[error("`spec.triggers`: at least one trigger is needed")]
    NoTrigger,
    /// A trigger on conditions of any type: `Ready` among them, whose `True` is health.
    #[error("`spec.triggers`: a condition type, or its beginning before the `*`, is needed")]
    TriggerType,
    /// No remedy, or an empty one.
    #[error(
        "`spec.remedies`: each needs exactly one remedy, and there must be at least one; use `reboot: {{method: Command}}`"
    )]
    Remedy,
    /// More remedies than attempts.
    #[error(
        "`spec.remedies`: {remedies} remedies need `spec.attempts.max` of at least {remedies}, not {max}"
    )]
    Attempts {
        /// Remedies listed.
        remedies: usize,
        /// Attempts allowed.
        max: u32,
    },
    /// Bounds in the wrong order.
    #[error("`spec.priority`: must be min <= default <= max <= 9999")]
    Priority,
    /// An attempts limit out of range.
    #[error("`spec.attempts.max` must be 1 to 32, not {0}")]
    AttemptsRange(u32),
    /// A budget, a breaker or ageing out of range.
    #[error("spec.{0}")]
    Limit(#[from] LimitError),
}

/// The validated policy.
pub fn policy(object: &RemediationPolicy) -> Result<core::Policy, PolicyError> {
    let spec = &object.spec;
    Ok(core::Policy {
        name: object.name_any(),
        generation: object.metadata.generation.unwrap_or_default(),
        mode: match spec.mode {
            Mode::DryRun if rerail_core::mutant!("dry-run-acts") => core::Mode::Enforce,
            Mode::DryRun => core::Mode::DryRun,
            Mode::Enforce => core::Mode::Enforce,
        },
        suspended: spec.suspended,
        selector: selection(&spec.nodes)?,
        priority: priority_range(&spec.priority)?,
        ageing: limits::ageing(&spec.priority.ageing)?,
        budget: limits::budget(&spec.budget)?,
        breaker: limits::breaker(&spec.breaker, object.annotations().get(names::RESET_BREAKER))?,
        contract: contract(
            &spec.triggers,
            &spec.drain,
            &spec.remedies,
            &spec.verify,
            &spec.attempts,
        )?,
    })
}

/// The bounds of what a message may claim.
pub fn priority_range(spec: &PrioritySpec) -> Result<PriorityRange, PolicyError> {
    // A run could not say so: the schema of its priority goes to 9999.
    if spec.min > spec.default || spec.default > spec.max || spec.max > 9999 {
        return Err(PolicyError::Priority);
    }
    Ok(PriorityRange { min: spec.min, max: spec.max, default: spec.default })
}

/// The contract that a run has frozen.
pub fn frozen(plan: &FrozenPlan) -> Result<core::Contract, PolicyError> {
    contract(&plan.triggers, &plan.drain, &plan.remedies, &plan.verify, &plan.attempts)
}

fn contract(
    triggers: &[TriggerSpec],
    drain: &DrainSpec,
    remedies: &[RemedySpec],
    verify: &VerifySpec,
    attempts: &AttemptsSpec,
) -> Result<core::Contract, PolicyError> {
    if triggers.is_empty() {
        return Err(PolicyError::NoTrigger);
    }
    let types = || triggers.iter().map(|trigger| trigger.condition.condition_type.as_str());
    if types().any(|name| name.trim_end_matches('*').is_empty()) {
        return Err(PolicyError::TriggerType);
    }
    if attempts.max == 0 || attempts.max as usize > ATTEMPTS_KEPT {
        return Err(PolicyError::AttemptsRange(attempts.max));
    }
    if remedies.is_empty() {
        return Err(PolicyError::Remedy);
    }
    if remedies.len() > attempts.max as usize {
        return Err(PolicyError::Attempts { remedies: remedies.len(), max: attempts.max });
    }
    Ok(core::Contract {
        triggers: triggers.iter().map(trigger).collect(),
        drain: drain_contract(drain),
        remedies: remedies.iter().map(remedy).collect::<Result<_, _>>()?,
        verify: core::VerifyContract {
            ready: verify.ready.value(),
            daemon_sets: verify.daemon_sets == Requirement::Required,
            probe_pod: verify.probe_pod == Requirement::Required,
            timeout: verify.timeout.value(),
            on_not_cured: match verify.on_not_cured {
                OnNotCured::Hold => core::OnNotCured::Hold,
                OnNotCured::Uncordon => core::OnNotCured::Uncordon,
            },
            settle: verify.settle.value(),
        },
        attempts: core::Attempts {
            max: attempts.max,
            per: attempts.per.value(),
            backoff: attempts.backoff.value(),
        },
    })
}

/// Alerts also resolve because a node's series vanish during its reboot (planner.md, Cleared).
const ALERT_CLEAR_FOR: jiff::SignedDuration = jiff::SignedDuration::from_mins(2);

fn trigger(spec: &TriggerSpec) -> core::Trigger {
    let condition = &spec.condition;
    let from_alerts = condition.condition_type.starts_with(DEFAULT_PREFIX);
    let default_clear_for = if from_alerts { ALERT_CLEAR_FOR } else { jiff::SignedDuration::ZERO };
    core::Trigger {
        condition_type: core::TypePattern::parse(&condition.condition_type),
        class: match spec.class {
            TriggerClass::Fault => core::Class::Fault,
            TriggerClass::Maintenance => core::Class::Maintenance,
        },
        statuses: condition.status.iter().map(|status| format!("{status:?}")).collect(),
        reason: condition.reason.clone(),
        hold_for: condition.hold_for.value(),
        stale_after: condition.stale_after.value(),
        must_clear: spec.verify == TriggerVerify::MustClear,
        clear_for: spec.clear_for.as_ref().map_or(default_clear_for, |d| d.value()),
    }
}

fn drain_contract(spec: &DrainSpec) -> core::DrainContract {
    core::DrainContract {
        timeout: spec.timeout.value(),
        options: DrainOptions {
            empty_dir: match spec.empty_dir {
                DeleteOrRefuse::Delete => EmptyDir::Delete,
                DeleteOrRefuse::Refuse => EmptyDir::Refuse,
            },
            unmanaged: match spec.unmanaged {
                DeleteOrRefuse::Delete => Unmanaged::Delete,
                DeleteOrRefuse::Refuse => Unmanaged::Refuse,
            },
            skip_terminating_after: spec.skip_terminating_after.as_ref().map(|d| d.value()),
            grace_period_seconds: spec.grace_period_seconds,
            ..DrainOptions::default()
        },
    }
}

fn remedy(spec: &RemedySpec) -> Result<core::Remedy, PolicyError> {
    let reboot = spec.reboot.as_ref().ok_or(PolicyError::Remedy)?;
    let action = core::Action::Reboot(match reboot.method {
        RebootMethod::Command => core::RebootMethod::Command,
        RebootMethod::Signal => core::RebootMethod::Signal,
    });
    Ok(core::Remedy { action, timeout: spec.timeout.value() })
}

fn selection(nodes: &NodeSelection) -> Result<core::NodeSelector, PolicyError> {
    match (&nodes.selector, nodes.all) {
        (None, true) => Ok(core::NodeSelector::All),
        (Some(selector), false) => requirements(selector),
        (None, false) | (Some(_), true) => Err(PolicyError::Selection),
    }
}

fn requirements(selector: &LabelSelector) -> Result<core::NodeSelector, PolicyError> {
    let labels = selector.match_labels.iter().flatten();
    let mut all: Vec<_> = labels
        .map(|(key, value)| core::Requirement::In(key.clone(), vec![value.clone()]))
        .collect();
    for expression in selector.match_expressions.iter().flatten() {
        let key = expression.key.clone();
        let values = expression.values.clone().unwrap_or_default();
        all.push(match (expression.operator.as_str(), values.is_empty()) {
            ("In", false) => core::Requirement::In(key, values),
            ("NotIn", false) => core::Requirement::NotIn(key, values),
            ("Exists", true) => core::Requirement::Exists(key),
            ("DoesNotExist", true) => core::Requirement::DoesNotExist(key),
            (operator, _) => return Err(PolicyError::Expression(one_line(operator, 40))),
        });
    }
    if all.is_empty() {
        return Err(PolicyError::Selection);
    }
    Ok(core::NodeSelector::Labels(all))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stored(spec: serde_json::Value) -> Result<core::Policy, PolicyError> {
        let mut object = json!({
            "apiVersion": "rerail.dev/v1alpha1", "kind": "RemediationPolicy",
            "metadata": { "name": "a", "annotations": { "rerail.dev/reset-breaker": "2026-01-01T00:00:00Z" } },
            "spec": { "nodes": { "all": true }, "triggers": [{ "condition": { "type": "Sick" } }] },
        });
        for (field, value) in spec.as_object().into_iter().flatten() {
            object["spec"][field] = value.clone();
        }
        policy(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn a_spec_that_was_stored_out_of_range_is_no_policy_and_says_why() {
        for (spec, expected) in [
            (
                json!({ "budget": { "maxUnavailable": "110%" } }),
                "spec.budget.maxUnavailable: `110%`",
            ),
            (json!({ "budget": { "maxDomains": 0 } }), "spec.budget.maxDomains: 0 is out of range"),
            (json!({ "breaker": { "window": "0s" } }), "spec.breaker.window: 0s is out of range"),
            (json!({ "priority": { "ageing": { "floor": 10000 } } }), "spec.priority.ageing.floor"),
            (json!({ "triggers": [{ "condition": { "type": "*" } }] }), "a condition type, or its"),
            (json!({ "priority": { "min": 10 } }), "must be min <= default <= max"),
            (json!({ "priority": { "max": 10000 } }), "must be min <= default <= max <= 9999"),
        ] {
            let error = stored(spec.clone()).unwrap_err().to_string();
            assert!(error.contains(expected), "{spec}: {error}");
        }
    }

    #[test]
    fn limits_class_and_reset_are_those_of_the_object() {
        let policy = stored(json!({
            "triggers": [{ "condition": { "type": "Uptime" }, "class": "Maintenance" }],
            "budget": { "maxUnavailable": 5, "maxStarts": { "count": 3, "per": "2h" } },
            "breaker": { "reset": "Manual" },
            "priority": { "ageing": { "every": "0s" } },
        }))
        .unwrap();
        assert_eq!(policy.contract.triggers[0].class, core::Class::Maintenance);
        assert_eq!(policy.budget.max_unavailable.to_string(), "5");
        assert_eq!(policy.budget.max_starts.count, 3);
        assert!(policy.breaker.manual_reset && policy.breaker.reset_at.is_some());
        assert!(policy.ageing.every.is_zero());
    }
}
