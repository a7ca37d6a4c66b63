//! The conditions of a policy.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use rerail_api::limits::BudgetStatus;
use rerail_core::plan::World;

use super::limits::Stopped;
use crate::{observe::config::Problem, record::conditions::Before};

/// Ready, Reconciling and Stalled speak of the spec only, so that GitOps waits stay green while
/// machines are repaired.
pub(super) fn spec_conditions(from: Before<'_>, valid: Result<(), &str>) -> Vec<Condition> {
    let (reason, message) = match valid {
        Ok(()) => ("Valid", "the policy is valid and in force"),
        Err(message) => ("Invalid", message),
    };
    let stalled = if valid.is_err() { message } else { "" };
    vec![
        from.condition("Ready", valid.is_ok(), reason, message),
        from.condition("Reconciling", false, reason, ""),
        from.condition("Stalled", valid.is_err(), reason, stalled),
    ]
}

pub(super) fn paused(from: Before<'_>, policy: &str, world: &World) -> Condition {
    // No node has an empty name, so that pauses of single nodes do not count here.
    let found = world.pauses.as_ref().map(|pauses| pauses.in_force("", policy, world.now));
    match found {
        None => {
            let message = rerail_core::facts::PAUSE_UNREADABLE;
            from.condition("Paused", true, "Unreadable", message)
        }
        Some(None) => from.condition("Paused", false, "NotPaused", ""),
        Some(Some(pause)) => from.condition("Paused", true, "Paused", &pause.text),
    }
}

/// True while no Ready node of the policy can start, whoever is next.
pub(super) fn budget_exhausted(from: Before<'_>, budget: Option<&BudgetStatus>) -> Condition {
    let Some(BudgetStatus { limit, used, .. }) = budget else {
        return from.condition("BudgetExhausted", false, "NotInForce", "");
    };
    let (exhausted, reason) = match used >= limit {
        true => (true, "BudgetExhausted"),
        false => (false, "WithinBudget"),
    };
    let message = format!(
        "{used} of the {limit} nodes that may be out are under remediation, not Ready, cordoned or being deleted"
    );
    from.condition("BudgetExhausted", exhausted, reason, if exhausted { &message } else { "" })
}

/// True while the breaker keeps anything from starting.
pub(super) fn breaker_open(from: Before<'_>, stopped: &Stopped) -> Condition {
    let Some((reason, message)) = &stopped.why else {
        return from.condition("BreakerOpen", false, "Closed", "");
    };
    from.condition("BreakerOpen", true, reason, message)
}

/// False while `rerail-config` as it stands is not in force.
pub(super) fn configured(from: Before<'_>, problem: Option<&Problem>) -> Condition {
    match problem {
        None => from.condition("Configured", true, "Configured", ""),
        Some(problem) => from.condition("Configured", false, problem.reason(), &problem.message()),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn said(condition: Condition) -> (String, String, String) {
        (condition.status, condition.reason, condition.message)
    }

    #[test]
    fn a_condition_keeps_its_time_for_as_long_as_its_status_lasts() {
        let first = Before { conditions: &[], generation: 1, now: Timestamp::UNIX_EPOCH };
        let budget = BudgetStatus { limit: 1, used: 1, summary: String::new() };
        let before = [budget_exhausted(first, Some(&budget))];
        let later = Timestamp::from_second(60).unwrap();
        let from = Before { conditions: &before, generation: 2, now: later };
        let again = budget_exhausted(from, Some(&BudgetStatus { used: 2, ..budget.clone() }));
        assert_eq!(again.last_transition_time.0, Timestamp::UNIX_EPOCH);
        assert!(again.message.starts_with("2 of the 1 nodes"), "{}", again.message);
        let free = budget_exhausted(from, Some(&BudgetStatus { used: 0, ..budget }));
        assert_eq!((free.status.as_str(), free.last_transition_time.0), ("False", later));
    }

    #[test]
    fn a_configuration_that_is_not_in_force_is_told_with_its_error() {
        let from = Before { conditions: &[], generation: 1, now: Timestamp::UNIX_EPOCH };
        assert_eq!(said(configured(from, None)).0, "True");
        let problem = Problem { error: "unknown field `a`".into(), last_good: true };
        let (status, reason, message) = said(configured(from, Some(&problem)));
        assert_eq!((status.as_str(), reason.as_str()), ("False", "LastGoodInForce"));
        assert!(message.contains("unknown field `a`"), "{message}");
    }
}
