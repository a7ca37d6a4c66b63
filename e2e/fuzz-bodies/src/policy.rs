//! RemediationPolicies: from what the API server has to what is planned by.

use std::sync::LazyLock;

use jiff::SignedDuration;
use rerail_api::{RemediationPolicy, convert};
use rerail_core::{
    budget::CountOrPercent,
    facts::ATTEMPTS_KEPT,
    policy::{Action, Contract, Mode, NodeSelector, Policy, RebootMethod, Requirement},
};
use serde_json::Value;

use crate::{
    objects::{good, limit_is_written, object, stored, words_are_known},
    said::said,
};

static GOOD: LazyLock<Value> = LazyLock::new(|| good(include_str!("good/policy.yaml")));

/// No duration of a policy is longer.
const A_YEAR: SignedDuration = SignedDuration::from_hours(8760);

/// A policy is one that can be worked with, or is refused with a reason.
pub fn policy(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let Some(value) = object(&GOOD, &text) else { return };
    let Some(object) = stored::<RemediationPolicy>(&value) else { return };
    words_are_known(&value, "/spec/mode", &["DryRun", "Enforce"]);
    words_are_known(&value, "/spec/breaker/reset", &["Automatic", "Manual"]);
    words_are_known(&value, "/status/breaker/*/state", &["Open", "Probing", "Ramp"]);
    words_of_contract(&value, "/spec");
    durations(&value);
    let storms = convert::limits::storms(
        &object.status.as_ref().map(|status| status.breaker.clone()).unwrap_or_default(),
    );
    let records = convert::limits::storm_records(&storms);
    assert!(records.len() <= rerail_api::limits::STORMS_KEPT);
    match convert::policy::policy(&object) {
        Err(error) => said(&error.to_string()),
        Ok(policy) => usable(&policy, &value),
    }
}

/// The words of what a run freezes.
pub(crate) fn words_of_contract(value: &Value, root: &str) {
    let known =
        |pointer: &str, words: &[&str]| words_are_known(value, &format!("{root}{pointer}"), words);
    known("/triggers/*/class", &["Fault", "Maintenance"]);
    known("/triggers/*/verify", &["MustClear", "Ignore"]);
    known("/triggers/*/condition/status/*", &["True", "False", "Unknown"]);
    known("/drain/emptyDir", &["Delete", "Refuse"]);
    known("/drain/unmanaged", &["Delete", "Refuse"]);
    known("/remedies/*/reboot/method", &["Command", "Signal"]);
    known("/verify/daemonSets", &["Required", "Ignore"]);
    known("/verify/probePod", &["Required", "Ignore"]);
    known("/verify/onNotCured", &["Hold", "Uncordon"]);
}

/// What was read as a duration is one to Go, too, since the API server looks at it with Go's eyes.
fn durations(value: &Value) {
    for pointer in ["/spec/attempts/per", "/spec/verify/ready", "/spec/drain/timeout"] {
        let Some(text) = value.pointer(pointer).and_then(Value::as_str) else { continue };
        assert!(
            by_go(text).is_some_and(|milliseconds| milliseconds <= A_YEAR.as_millis()),
            "{text}"
        );
    }
    let Some(text) = value.pointer("/metadata/labels/duration").and_then(Value::as_str) else {
        return;
    };
    // Whatever the schema lets through is read, or an object is stored that nobody can work with.
    let allowed = by_go(text).filter(|time| text.len() <= 32 && *time <= A_YEAR.as_millis());
    let read = text.parse::<rerail_api::duration::GoDuration>();
    assert_eq!(read.as_ref().ok().map(|read| read.value().as_millis()), allowed, "{text:?}");
    if let Err(error) = read {
        said(&error.to_string());
    }
}

/// `([0-9]+(ms|s|m|h))+` in milliseconds, as Go adds it up.
fn by_go(text: &str) -> Option<i128> {
    let (mut total, mut rest) = (0_i128, text);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: i128 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
        let (unit, milliseconds) = units.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        total = total.checked_add(number.checked_mul(milliseconds)?)?;
    }
    (!text.is_empty()).then_some(total)
}

fn usable(policy: &Policy, value: &Value) {
    let says = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    assert_eq!(policy.mode == Mode::Enforce, says("/spec/mode") == Some("Enforce"), "{value}");
    let range = policy.priority;
    assert!(range.min <= range.default && range.default <= range.max && range.max <= 9999);
    assert!(policy.ageing.floor <= 9999 && !policy.ageing.every.is_negative());
    let budget = policy.budget;
    for limit in [
        budget.max_unavailable,
        budget.max_unavailable_per_domain,
        policy.breaker.unhealthy,
        policy.breaker.correlated,
    ] {
        match limit {
            CountOrPercent::Count(count) => assert!(count <= 100_000),
            CountOrPercent::Percent(percent) => assert!(percent <= 100),
        }
    }
    assert!((1..=100_000).contains(&budget.max_domains) && budget.min_floor <= 100_000);
    assert!((1..=1000).contains(&budget.max_starts.count));
    for time in [budget.max_starts.per, policy.breaker.window] {
        assert!(time.is_positive() && time <= A_YEAR);
    }
    match &policy.selector {
        NodeSelector::All => assert_eq!(value.pointer("/spec/nodes/all"), Some(&Value::Bool(true))),
        NodeSelector::Labels(all) => {
            assert!(!all.is_empty(), "an empty selector would select every node");
            assert!(!all.iter().any(|requirement| matches!(requirement,
                Requirement::In(_, values) | Requirement::NotIn(_, values) if values.is_empty())));
        }
    }
    let at = |pointer: &str| value.pointer(pointer);
    limit_is_written(at("/spec/budget/maxUnavailable"), budget.max_unavailable);
    limit_is_written(at("/spec/budget/maxUnavailablePerDomain"), budget.max_unavailable_per_domain);
    limit_is_written(at("/spec/breaker/unhealthy"), policy.breaker.unhealthy);
    limit_is_written(at("/spec/breaker/correlated"), policy.breaker.correlated);
    let count = |pointer: &str| at(pointer).and_then(Value::as_u64);
    let most = count("/spec/budget/maxDomains");
    assert!(most.is_none_or(|most| most == u64::from(budget.max_domains)));
    contract_is_written(&policy.contract, value, "/spec");
    can_be_kept(&policy.contract);
}

/// Durations and counts of what a run freezes are those that are written.
pub(crate) fn contract_is_written(contract: &Contract, value: &Value, root: &str) {
    let at = |pointer: &str| value.pointer(&format!("{root}{pointer}"));
    let time = |pointer: &str, read: SignedDuration| {
        let Some(text) = at(pointer).and_then(Value::as_str) else { return };
        assert_eq!(by_go(text), Some(read.as_millis()), "{pointer}: {text}");
    };
    time("/attempts/per", contract.attempts.per);
    time("/attempts/backoff", contract.attempts.backoff);
    time("/verify/ready", contract.verify.ready);
    time("/verify/timeout", contract.verify.timeout);
    time("/verify/settle", contract.verify.settle);
    time("/drain/timeout", contract.drain.timeout);
    for (number, remedy) in contract.remedies.iter().enumerate() {
        time(&format!("/remedies/{number}/timeout"), remedy.timeout);
        let method = at(&format!("/remedies/{number}/reboot/method")).and_then(Value::as_str);
        let read = match remedy.action {
            Action::Reboot(RebootMethod::Command) => "Command",
            Action::Reboot(RebootMethod::Signal) => "Signal",
        };
        assert!(method.is_none_or(|method| method == read), "{method:?} was read as {read}");
    }
    for (number, trigger) in contract.triggers.iter().enumerate() {
        time(&format!("/triggers/{number}/condition/for"), trigger.hold_for);
        time(&format!("/triggers/{number}/clearFor"), trigger.clear_for);
    }
    let most = at("/attempts/max").and_then(Value::as_u64);
    assert!(most.is_none_or(|most| most == u64::from(contract.attempts.max)));
}

/// What a run promises has an end and a bound.
pub(crate) fn can_be_kept(contract: &Contract) {
    assert!(!contract.triggers.is_empty() && !contract.remedies.is_empty());
    assert!((1..=ATTEMPTS_KEPT).contains(&(contract.attempts.max as usize)));
    assert!(contract.remedies.len() <= contract.attempts.max as usize);
    let remedies = contract.remedies.iter().map(|remedy| remedy.timeout);
    let triggers = contract.triggers.iter().flat_map(|t| [t.hold_for, t.stale_after, t.clear_for]);
    let verify = &contract.verify;
    let others = [verify.ready, verify.timeout, verify.settle, contract.drain.timeout];
    let attempts = [contract.attempts.per, contract.attempts.backoff];
    for time in remedies.chain(triggers).chain(others).chain(attempts) {
        assert!(!time.is_negative() && time <= A_YEAR, "{time}");
    }
    for trigger in &contract.triggers {
        assert!(
            trigger.statuses.iter().all(|s| ["True", "False", "Unknown"].contains(&s.as_str()))
        );
        assert!(!trigger.condition_type.matches(""), "a trigger on conditions of any type");
    }
}
