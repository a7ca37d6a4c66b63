//! `rerail alerts test`.

use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
};

use clap::Args;
use rerail_alerts::{
    expression::{self, Expression, ExpressionError, Verdict},
    shown::{self, AnswerError, Shown},
};
use rerail_core::alert::{self, conditions};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    CommandError,
    outlook::{
        self, Output,
        words::{count, table, wrapped},
    },
};

#[derive(Debug, Args)]
pub struct TestArguments {
    /// The CEL expression of an AlertSource: `labels`, `FullName`, `ShortName`.
    #[arg(long, default_value = expression::DEFAULT)]
    expression: String,
    /// Alerts as Alertmanager's /api/v2/alerts, Prometheus' /api/v1/alerts or Alertmanager's webhook give
    /// them, or as a list of objects with `labels`; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    alerts: PathBuf,
    /// Name of the node. May be given several times.
    #[arg(long = "node", value_name = "NAME", required = true)]
    nodes: Vec<String>,
    /// What the types of the conditions begin with.
    #[arg(long, default_value = alert::DEFAULT_PREFIX)]
    prefix: String,
    /// For people, or for programs.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Why nothing could be tested.
#[derive(Debug, thiserror::Error)]
pub enum AlertsError {
    #[error("--expression: {0}")]
    Expression(#[from] ExpressionError),
    #[error("--alerts: {} cannot be read: {source}", named(path))]
    Read { path: PathBuf, source: std::io::Error },
    #[error("--alerts: {}: {source}", named(path))]
    Answer { path: PathBuf, source: AnswerError },
}

/// A file as it is told of.
fn named(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

/// What a test shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestView {
    /// Version of the shape.
    pub version: u32,
    /// The expression.
    pub expression: String,
    /// Alerts of the file that could not be read.
    pub unreadable: usize,
    /// Each node that was asked for.
    pub nodes: Vec<NodeTest>,
}

/// What a test shows of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeTest {
    /// Its name, `FullName` of the expression.
    pub name: String,
    /// Its name before the first dot, `ShortName` of the expression.
    pub short_name: String,
    /// Each alert of the file.
    pub alerts: Vec<AlertTest>,
    /// The conditions that it would get.
    pub conditions: Vec<ConditionView>,
}

/// What a test shows of one alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertTest {
    /// Its label `alertname`.
    pub name: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// True if it belongs to the node.
    pub matches: bool,
    /// Why.
    pub why: String,
    /// What is wrong with it.
    pub flaw: Option<String>,
}

/// A condition that a node would get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConditionView {
    /// Its type.
    #[serde(rename = "type")]
    pub condition_type: String,
    /// Its message.
    pub message: String,
}

pub fn run(arguments: TestArguments) -> Result<(), CommandError> {
    let view = test(&arguments)?;
    match arguments.output {
        Output::Json => outlook::print_json(&view),
        Output::Table => outlook::print(&text(&view)),
    }
}

fn test(arguments: &TestArguments) -> Result<TestView, AlertsError> {
    let expression = Expression::parse(&arguments.expression)?;
    let path = &arguments.alerts;
    let failed = |source| AlertsError::Read { path: path.clone(), source };
    let mut body = Vec::new();
    match path.as_os_str() == "-" {
        true => std::io::stdin().read_to_end(&mut body).map(drop).map_err(failed)?,
        false => body = std::fs::read(path).map_err(failed)?,
    }
    let answer =
        shown::any(&body).map_err(|source| AlertsError::Answer { path: path.clone(), source })?;
    let of_node = |name: &String| of_node(name, &expression, &answer.alerts, &arguments.prefix);
    Ok(TestView {
        version: 1,
        expression: arguments.expression.clone(),
        unreadable: answer.unreadable,
        nodes: arguments.nodes.iter().map(of_node).collect(),
    })
}

fn of_node(name: &str, expression: &Expression, alerts: &[Shown], prefix: &str) -> NodeTest {
    let mut firing = Vec::new();
    let mut tests = Vec::new();
    for shown in alerts {
        let verdict = expression.verdict(&shown.labels, name);
        let (usable, flaw) = alert::read(shown.labels.clone(), shown.summary.as_deref(), prefix);
        let matches = verdict == Verdict::Match;
        firing.extend(usable.filter(|_| matches));
        tests.push(AlertTest {
            name: shown.labels.get(alert::NAME_LABEL).cloned(),
            labels: shown.labels.clone(),
            matches,
            why: why(expression, shown, &verdict),
            flaw: flaw.map(|flaw| flaw.to_string()),
        });
    }
    let seen = firing.iter().map(|alert| (alert, jiff::Timestamp::UNIX_EPOCH));
    let wants = conditions::wanted(seen);
    let condition = |(kind, wanted): (&&str, &conditions::Wanted<'_>)| ConditionView {
        condition_type: (*kind).to_owned(),
        message: wanted.alert.message.clone(),
    };
    NodeTest {
        name: name.to_owned(),
        short_name: expression::short_name(name).to_owned(),
        alerts: tests,
        conditions: wants.conditions.iter().map(condition).collect(),
    }
}

/// What the labels are that the expression compares with a node's name; else that it is true or false.
fn why(expression: &Expression, shown: &Shown, verdict: &Verdict) -> String {
    if let Verdict::Failed(why) = verdict {
        return format!("the expression fails: {why}");
    }
    let says = |label: &String| match shown.labels.get(label) {
        Some(value) => format!("label `{label}` is `{value}`"),
        None => format!("it has no label `{label}`"),
    };
    match expression.name_labels() {
        Some(labels) => labels.iter().map(says).collect::<Vec<_>>().join(", "),
        None => format!("the expression is {}", *verdict == Verdict::Match),
    }
}

fn text(view: &TestView) -> String {
    let mut text = wrapped(&format!("Expression: {}", view.expression), 2);
    if view.unreadable > 0 {
        let unreadable = count(view.unreadable, "alert");
        text.push_str(&format!("! {unreadable} of the file could not be read.\n"));
    }
    for node in &view.nodes {
        text.push_str(&of_node_text(node));
    }
    text
}

fn of_node_text(node: &NodeTest) -> String {
    let matching = node.alerts.iter().filter(|alert| alert.matches).count();
    let all = count(node.alerts.len(), "alert");
    let mut text = format!("\nNode {}: {matching} of {all} match\n", node.name);
    let row = |alert: &AlertTest| {
        let name = alert.name.clone().unwrap_or_else(|| "(no name)".into());
        let why = alert.flaw.as_ref().map_or_else(String::new, |flaw| format!("; {flaw}"));
        let matches = if alert.matches { "yes" } else { "no" };
        vec![name, matches.into(), format!("{}{why}", alert.why)]
    };
    if !node.alerts.is_empty() {
        text.push_str(&table(&["ALERT", "MATCHES", "WHY"], node.alerts.iter().map(row)));
    }
    if !node.conditions.is_empty() {
        let rows =
            node.conditions.iter().map(|c| vec![c.condition_type.clone(), c.message.clone()]);
        text.push_str(&format!("\nConditions\n{}", table(&["TYPE", "MESSAGE"], rows)));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tested(expression: &str, alerts: serde_json::Value, node: &str) -> TestView {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), alerts.to_string()).unwrap();
        test(&TestArguments {
            expression: expression.into(),
            alerts: file.path().into(),
            nodes: vec![node.into()],
            prefix: "AlertManager_".into(),
            output: Output::Table,
        })
        .unwrap()
    }

    fn example() -> serde_json::Value {
        let alert = |name: &str, node: &str, priority: &str| {
            json!({ "labels": { "alertname": name, "node": node, "priority": priority },
                    "annotations": { "summary": "a summary" } })
        };
        json!([
            alert("CalicoTooManyInterfacesEarly", "worker1a", "6"),
            alert("WorkerUptimeTooHigh", "worker2b", "9"),
            alert("Odd", "worker1a", "P5"),
            { "labels": { "alertname": "Watchdog" } },
            { "labels": { "node": "worker1a" } },
            7,
        ])
    }

    #[test]
    fn a_test_shows_what_matches_why_and_what_the_node_would_get() {
        let text = text(&tested(expression::DEFAULT, example(), "worker1a"));
        for line in [
            "! 1 alert of the file could not be read.",
            "Node worker1a: 3 of 5 alerts match",
            "CalicoTooManyInterfacesEarly  yes      label `node` is `worker1a`",
            "WorkerUptimeTooHigh           no       label `node` is `worker2b`",
            "Watchdog                      no       it has no label `node`",
            "AlertManager_CalicoTooManyInterfacesEarly  [P6] a summary",
            "AlertManager_Odd                           [P9] a summary",
            "alert `Odd` counts with priority",
            "no condition can be named for it",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn an_expression_that_fails_says_on_what() {
        let view = tested("labels.instance.startsWith(FullName)", example(), "worker1a");
        assert!(view.nodes[0].conditions.is_empty());
        let why = &view.nodes[0].alerts[0].why;
        assert_eq!(why, "the expression fails: the alert has no label `instance`");
    }
}
