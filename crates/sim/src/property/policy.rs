//! Policies, limits and pauses: what people have asked for, read for judging by it.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rerail_api::{
    names,
    policy::{ConditionStatus, Mode, RemediationPolicySpec, TriggerClass, TriggerSpec},
};
use serde_json::Value;

use super::node::{Said, annotation};
use crate::{meta, selector::Labels};

/// A policy at one time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PolicyTruth {
    pub spec: RemediationPolicySpec,
    selector: Option<Labels>,
    pub reset: Option<Timestamp>,
}

impl PolicyTruth {
    /// `None` for one that cannot be read.
    pub fn of(object: &Value) -> Option<Self> {
        let spec: RemediationPolicySpec =
            serde::Deserialize::deserialize(object.get("spec")?).ok()?;
        let selector = object["spec"]["nodes"].get("selector").and_then(Labels::of_object);
        let reset = annotation(object, names::RESET_BREAKER).and_then(|text| text.parse().ok());
        Some(PolicyTruth { spec, selector, reset })
    }

    pub fn enforces(&self) -> bool {
        self.spec.mode == Mode::Enforce
    }

    /// Nothing but a budget of it counts while it is suspended.
    pub fn in_force(&self) -> bool {
        self.enforces() && !self.spec.suspended
    }

    /// By labels alone; nodes of the control plane are never selected.
    pub fn selects(&self, labels: &Value) -> bool {
        self.spec.nodes.all
            || self.selector.as_ref().is_some_and(|selector| selector.matches(labels))
    }

    /// The triggers that a condition type fits.
    pub fn triggers<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a TriggerSpec> {
        self.spec
            .triggers
            .iter()
            .filter(move |trigger| fits(&trigger.condition.condition_type, kind))
    }

    /// True when a condition shows what a trigger of class Fault asks for.
    pub fn is_fault(&self, kind: &str, said: &Said) -> bool {
        self.triggers(kind)
            .any(|trigger| trigger.class == TriggerClass::Fault && asks(trigger, said))
    }

    /// The priority of a message by the policy's rules (planner.md, Order).
    pub fn priority(&self, message: &str) -> u16 {
        let rules = &self.spec.priority;
        let claimed = match claimed(message) {
            Claimed::Nothing => rules.default,
            Claimed::Nonsense => rules.max,
            Claimed::Number(number) => number,
        };
        claimed.clamp(rules.min, rules.max.max(rules.min))
    }
}

enum Claimed {
    Nothing,
    Nonsense,
    Number(u16),
}

/// `[P` and one to four digits and `]`, then a space or the end.
fn claimed(message: &str) -> Claimed {
    if !message.starts_with("[P") {
        return Claimed::Nothing;
    }
    let head = message.split(' ').next().unwrap_or_default();
    let inside =
        head.strip_prefix("[P").and_then(|rest| rest.strip_suffix(']')).unwrap_or_default();
    let digits = (1..=4).contains(&inside.len()) && inside.chars().all(|c| c.is_ascii_digit());
    match inside.parse() {
        Ok(number) if digits => Claimed::Number(number),
        _ => Claimed::Nonsense,
    }
}

/// A type as written, or its beginning before a star.
pub(super) fn fits(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => kind.starts_with(beginning),
        None => pattern == kind,
    }
}

/// The condition shows a status, and the reason, that the trigger lists.
pub(super) fn asks(trigger: &TriggerSpec, said: &Said) -> bool {
    let listed = trigger.condition.status.iter().any(|status| match status {
        ConditionStatus::True => said.status == "True",
        ConditionStatus::False => said.status == "False",
        ConditionStatus::Unknown => said.status == "Unknown",
    });
    listed && trigger.condition.reason.as_ref().is_none_or(|reason| *reason == said.reason)
}

/// How many nodes a limit allows, of so many (planner.md, Budgets). An unreadable one allows none.
pub(super) fn allowed(limit: &IntOrString, total: usize, floor: u32) -> usize {
    match limit {
        IntOrString::Int(count) => usize::try_from(*count).unwrap_or(0),
        IntOrString::String(text) => {
            let percent: Option<usize> = text.strip_suffix('%').and_then(|text| text.parse().ok());
            match percent {
                None | Some(0) => 0,
                Some(percent) => (total * percent / 100).max(floor as usize),
            }
        }
    }
}

/// How many nodes a share is, rounded up (planner.md, Breaker).
pub(super) fn share_up(limit: &IntOrString, total: usize) -> usize {
    match limit {
        IntOrString::Int(count) => usize::try_from(*count).unwrap_or(0),
        IntOrString::String(text) => {
            let percent =
                text.strip_suffix('%').and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
            (total * percent).div_ceil(100)
        }
    }
}

/// The limits of the whole cluster.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Limits {
    pub keys: Vec<String>,
    pub unavailable: IntOrString,
    pub floor: u32,
    pub domains: u32,
}

impl Limits {
    /// Reads `rerail-config`. One that cannot be read leaves the last good one in force.
    pub fn of(object: &Value) -> Option<Self> {
        let text = object.get("data")?.get(names::CONFIG_KEY)?.as_str()?;
        let fields: Value = serde_saphyr::from_str(text).ok()?;
        let mut limits = Limits {
            keys: vec![
                "topology.kubernetes.io/zone".to_owned(),
                "node-restriction.kubernetes.io/rack".to_owned(),
            ],
            unavailable: IntOrString::String("20%".to_owned()),
            floor: 1,
            domains: 1,
        };
        if fields.is_null() {
            return Some(limits);
        }
        for (name, value) in fields.as_object()? {
            match name.as_str() {
                "topologyKeys" => {
                    let keys = value.as_array()?.iter().map(|key| key.as_str().map(str::to_owned));
                    limits.keys = keys.collect::<Option<_>>()?;
                }
                "maxUnavailable" => {
                    limits.unavailable = serde::Deserialize::deserialize(value).ok()?;
                }
                "minFloor" => limits.floor = u32::try_from(value.as_u64()?).ok()?,
                "maxDomains" => limits.domains = u32::try_from(value.as_u64()?).ok()?,
                _ => return None,
            }
        }
        Some(limits)
    }
}

/// One entry of the kill switch.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// Empty = everything.
    scope: String,
    until: Option<Timestamp>,
}

/// The entries of `rerail-pause`. What cannot be read pauses everything.
pub(super) fn pauses(object: Option<&Value>) -> Vec<Entry> {
    let data = object.and_then(|object| object.get("data")).and_then(Value::as_object);
    let entry = |text: &Value| {
        let fields: Option<Value> = text.as_str().and_then(|text| serde_json::from_str(text).ok());
        let scope = fields.as_ref().map(|fields| meta::text(fields, &["scope"]).to_owned());
        let until = fields.as_ref().and_then(|fields| meta::text(fields, &["until"]).parse().ok());
        let known = scope.as_ref().is_some_and(|scope| {
            scope == "all" || scope.starts_with("policy/") || scope.starts_with("node/")
        });
        match (known, scope) {
            (true, Some(scope)) if scope != "all" => Entry { scope, until },
            (true, _) => Entry { scope: String::new(), until },
            (false, _) => Entry { scope: String::new(), until: None },
        }
    };
    data.into_iter().flat_map(|data| data.values().map(entry)).collect()
}

/// True when an entry stops this node or policy; one that is about to end, or has just ended, does not
/// count.
pub(super) fn is_paused(
    entries: &[Entry],
    node: &str,
    policy: &str,
    at: Timestamp,
    margin: SignedDuration,
) -> bool {
    entries.iter().any(|entry| {
        let covers = entry.scope.is_empty()
            || entry.scope.strip_prefix("node/") == Some(node)
            || entry.scope.strip_prefix("policy/") == Some(policy);
        covers && entry.until.is_none_or(|until| super::past::earlier(until, margin) > at)
    })
}

/// The failure domain of a node; `None` = there are no domains. One without any label of the kind is
/// its own.
pub(super) fn domain(keys: &[String], labels: &Value, name: &str) -> Option<Vec<String>> {
    if keys.is_empty() {
        return None;
    }
    let values: Vec<_> = keys.iter().map(|key| super::node::label(labels, key)).collect();
    if values.iter().all(Option::is_none) {
        return Some(vec![UNLABELLED.to_owned(), name.to_owned()]);
    }
    Some(values.into_iter().map(|value| value.unwrap_or_default().to_owned()).collect())
}

/// What begins the domain of a node that has none of the labels; no label can have this value.
pub(super) const UNLABELLED: &str = "\u{0}unlabelled";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_shares_are_those_of_the_documentation() {
        let percent = |text: &str| IntOrString::String(text.to_owned());
        let cases = [
            (percent("10%"), 60, 1, 6),
            (percent("17%"), 60, 1, 10),
            (percent("10%"), 3, 1, 1),
            (percent("20%"), 4, 0, 0),
            (percent("0%"), 100, 1, 0),
            (percent("x"), 100, 1, 0),
            (IntOrString::Int(5), 3, 1, 5),
        ];
        for (limit, total, floor, expected) in cases {
            assert_eq!(allowed(&limit, total, floor), expected, "{limit:?} of {total}");
        }
        assert_eq!(share_up(&percent("25%"), 9), 3);
        assert_eq!(share_up(&percent("25%"), 8), 2);
    }

    #[test]
    fn a_priority_is_read_as_the_documentation_says() {
        let object = serde_json::json!({ "spec": { "nodes": { "all": true }, "mode": "Enforce",
            "triggers": [{ "condition": { "type": "A" } }], "priority": { "min": 2 } } });
        let policy = PolicyTruth::of(&object).unwrap();
        for (message, expected) in [
            ("[P6] x", 6),
            ("[P0] x", 2),
            ("x", 9),
            ("[P6]x", 99),
            ("[P99999] x", 99),
            ("[P7]", 7),
            ("[Px] ", 99),
        ] {
            assert_eq!(policy.priority(message), expected, "{message}");
        }
    }
}
