//! Adapters for Sciuro: which alert belongs to which node, and what becomes of a node's conditions.
//! Two differences are deliberate, and each passes only as its rule says:
//!
//! - SCI-2: an alert that cannot be used concerns itself alone. Without a name it counts as if it were
//!   not there; with a priority that is no number as if it had none; where the expression fails on it, it
//!   does not match.
//! - SCI-3: a condition that becomes Unknown keeps its last message.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rerail_alerts::{
    expression::{Expression, Verdict as Says},
    matching::{Matcher, NodeNames},
};
use rerail_api::duration::GoDuration;
use rerail_core::alert::{
    Alert,
    conditions::{Change, Reported, Rules, changes, wanted},
    read,
    source::Absence,
};
use serde::Deserialize;
use serde_json::Value;

use super::{Case, FileReport, Verdict, note_unread, plain};

const MATCH_FIELDS: [&str; 4] = ["expr", "node", "labels", "result"];
const CONDITION_FIELDS: [&str; 9] = [
    "name",
    "existing",
    "matchedAlerts",
    "fetchError",
    "linger",
    "now",
    "expect",
    "expectError",
    "prefix",
];

/// Runs a file of expressions.
pub(super) fn run_matches(entries: &[Value]) -> FileReport {
    run(entries, &MATCH_FIELDS, |entry| {
        let case: MatchCase = serde_json::from_value(entry.clone()).map_err(|e| e.to_string())?;
        case.verdict()
    })
}

/// Runs a file of conditions.
pub(super) fn run_conditions(entries: &[Value]) -> FileReport {
    run(entries, &CONDITION_FIELDS, |entry| {
        let case: ConditionCase =
            serde_json::from_value(entry.clone()).map_err(|e| e.to_string())?;
        case.verdict()
    })
}

fn run(
    entries: &[Value],
    fields: &[&str],
    run_case: impl Fn(&Value) -> Result<Verdict, String>,
) -> FileReport {
    let mut report = FileReport::default();
    for (index, entry) in entries.iter().enumerate() {
        let name = entry.get("name").map_or_else(|| format!("case {}", index + 1), plain);
        note_unread(&mut report.notes, &name, entry, fields);
        let verdict = run_case(entry).unwrap_or_else(Verdict::Wrong);
        report.cases.push(Case { name, verdict });
    }
    report
}

#[derive(Debug, Deserialize)]
struct MatchCase {
    expr: String,
    node: String,
    labels: BTreeMap<String, String>,
    result: String,
}

impl MatchCase {
    fn verdict(&self) -> Result<Verdict, String> {
        let says = match Expression::parse(&self.expr) {
            Ok(expression) => {
                let says = expression.verdict(&self.labels, &self.node);
                let mut matcher = Matcher::new(expression);
                matcher.set_names(NodeNames::new([self.node.as_str()])).finish(&mut matcher);
                matcher.trial([&self.labels].into_iter()).finish(&mut matcher);
                let found = !matcher.nodes_of(&self.labels).nodes.is_empty();
                if found != (says == Says::Match) {
                    return Err(format!("alone it says {says:?}, among all nodes {found}"));
                }
                says
            }
            Err(error) => Says::Failed(error.to_string()),
        };
        Ok(match (self.result.as_str(), &says) {
            ("match", Says::Match) | ("no-match", Says::NoMatch) => Verdict::Same,
            ("no-match", Says::Failed(why)) if why.contains("not true or false") => Verdict::Same,
            (result, Says::Failed(why)) if self.is_missed(result, why) => {
                Verdict::Deliberate(format!("SCI-2: does not match, since {why}"))
            }
            (result, says) => Verdict::Wrong(format!("expected {result}, got {says:?}")),
        })
    }

    /// True where Sciuro ends with an error and so do we. Where it misses a label, we miss one, too; where
    /// both sides of `&&` miss one, cel-go tells of the left and ours of the right.
    fn is_missed(&self, result: &str, why: &str) -> bool {
        let Some(error) = result.strip_prefix("ERROR") else { return false };
        let Some((_, key)) = error.rsplit_once("no such key: ") else { return true };
        let ours = why.split('`').nth(1).unwrap_or_default();
        let absent = |key: &str| !self.labels.contains_key(key) && self.expr.contains(key);
        absent(key) && absent(ours)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConditionCase {
    existing: Option<Vec<Condition>>,
    matched_alerts: Option<Vec<Matched>>,
    #[serde(default)]
    fetch_error: bool,
    linger: GoDuration,
    now: Timestamp,
    expect: Option<Vec<Condition>>,
    expect_error: Option<String>,
    #[serde(default = "default_prefix")]
    prefix: String,
}

fn default_prefix() -> String {
    "AlertManager_".to_owned()
}

#[derive(Debug, Clone, Deserialize)]
struct Matched {
    labels: BTreeMap<String, String>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
    last_heartbeat_time: Option<Timestamp>,
    last_transition_time: Option<Timestamp>,
}

impl ConditionCase {
    fn verdict(&self) -> Result<Verdict, String> {
        let alerts = self.matched_alerts.clone().unwrap_or_default();
        let got = self.after(&alerts);
        let same = |expected: Vec<Condition>, rule: Option<String>| match (
            got == sorted(expected.clone()),
            rule,
        ) {
            (true, None) => Verdict::Same,
            (true, Some(rule)) => Verdict::Deliberate(rule),
            (false, _) => Verdict::Wrong(format!("expected {expected:?}, got {got:?}")),
        };
        match (&self.expect, &self.expect_error) {
            (Some(expected), None) => {
                let (ours, kept) = self.with_messages_kept(expected);
                Ok(same(ours, kept.then(|| "SCI-3: keeps its last message".to_owned())))
            }
            (None, Some(error)) => {
                let usable = usable(&alerts, error)?;
                let rule = format!("SCI-2: `{error}` concerns this alert alone");
                Ok(same(self.after(&usable), Some(rule)))
            }
            _ => Err("needs exactly one of `expect` and `expectError`".to_owned()),
        }
    }

    /// What Sciuro makes of the node, with the messages that we keep where nobody can tell; true if that
    /// makes a difference.
    fn with_messages_kept(&self, expected: &[Condition]) -> (Vec<Condition>, bool) {
        let mut ours = expected.to_vec();
        for condition in ours.iter_mut().filter(|c| c.reason == "AlertsUnavailable") {
            let before = self.existing.iter().flatten().find(|c| c.kind == condition.kind);
            condition.message = before.map(|c| c.message.clone()).unwrap_or_default();
        }
        let differs = ours != expected;
        (ours, differs)
    }

    /// The node's conditions after these alerts, sorted.
    fn after(&self, alerts: &[Matched]) -> Vec<Condition> {
        let read = |alert: &Matched| {
            let summary = alert.annotations.as_ref().and_then(|a| a.get("summary"));
            read(alert.labels.clone(), summary.map(String::as_str), &self.prefix).0
        };
        let alerts: Vec<Alert> = alerts.iter().filter_map(read).collect();
        let wants = wanted(alerts.iter().map(|alert| (alert, self.now)));
        let existing = self.existing.clone().unwrap_or_default();
        let reported = existing.iter().map(|c| Reported {
            condition_type: &c.kind,
            status: &c.status,
            reason: &c.reason,
            message: &c.message,
            heartbeat: c.last_heartbeat_time,
            transition: c.last_transition_time,
        });
        let absence = match self.fetch_error {
            true => Absence::Unknown,
            false => Absence::NotFiring { at: self.now },
        };
        let rules = Rules {
            prefix: &self.prefix,
            linger: self.linger.value(),
            // Sciuro writes heartbeats whenever it looks.
            heartbeat_every: jiff::SignedDuration::ZERO,
            booted_at: None,
        };
        let mut result = existing.clone();
        for (kind, change) in changes(reported, &wants, absence, rules, self.now) {
            result.retain(|c| c.kind != kind);
            if let Change::Set(c) = change {
                result.push(Condition {
                    kind: kind.to_owned(),
                    status: c.status.as_str().to_owned(),
                    reason: c.reason.to_owned(),
                    message: c.message,
                    last_heartbeat_time: Some(c.heartbeat),
                    last_transition_time: Some(c.transition),
                });
            }
        }
        sorted(result)
    }
}

fn sorted(mut conditions: Vec<Condition>) -> Vec<Condition> {
    conditions.sort();
    conditions
}

/// The alerts as they count by rule SCI-2, for an error that Sciuro ends with.
fn usable(alerts: &[Matched], error: &str) -> Result<Vec<Matched>, String> {
    let named = |alert: &&Matched| alert.labels.get("alertname").is_some_and(|n| !n.is_empty());
    let mut usable: Vec<Matched> = alerts.iter().filter(named).cloned().collect();
    let mut found = usable.len() < alerts.len();
    if error.contains("malformed alert priority") {
        for alert in &mut usable {
            let bad = alert.labels.get("priority").is_some_and(|p| p.parse::<i64>().is_err());
            if bad {
                alert.labels.remove("priority");
                found = true;
            }
        }
    } else if !error.contains("no alertname label") {
        return Err(format!("the error `{error}` is not known"));
    }
    // What was taken away stays part of the labels that decide between equals; none of the cases has any.
    if found { Ok(usable) } else { Err(format!("no alert gives the error `{error}`")) }
}
