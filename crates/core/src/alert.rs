//! Alerts, and what they make of a node's conditions: the contract of Sciuro
//! (<https://github.com/cloudflare/sciuro>, v0.3.2) with its known faults mended. Which alert belongs
//! to which node is a CEL expression, evaluated at the edge; here is everything else.
//!
//! | module | answers |
//! |---|---|
//! | this one | what one alert says, or why it says nothing |
//! | [`source`] | what fires by several servers, and whether their silence means anything |
//! | [`conditions`] | which conditions of a node have to be written |
//! | [`plan`] | the same of all nodes |

use std::{collections::BTreeMap, fmt};

use crate::facts::cut_message;

pub mod conditions;
pub mod plan;
pub mod source;

/// The label that names an alert.
pub const NAME_LABEL: &str = "alertname";
/// The label that says how urgent it is.
pub const PRIORITY_LABEL: &str = "priority";
/// The annotation that becomes the condition's message.
pub const SUMMARY_ANNOTATION: &str = "summary";

/// Priority of an alert without one, or with one that is no number. Sciuro's, too; smaller is more
/// urgent.
pub const DEFAULT_PRIORITY: i64 = 9;

/// Which alert belongs to which node, in CEL, where nobody says otherwise: the label `node` is the node's
/// name, long or short. Sciuro's manifest has the same.
pub const DEFAULT_EXPRESSION: &str =
    r#""node" in labels && (labels["node"] == FullName || labels["node"] == ShortName)"#;

/// What types of conditions from alerts begin with, where nobody says otherwise. Sciuro's, too.
pub const DEFAULT_PREFIX: &str = "AlertManager_";

/// The longest type of a condition that is read or written: the longest that a policy can name.
pub const TYPE_LIMIT: usize = 316;

/// Labels of one alert that are looked at. Prometheus refuses rules with more than some dozens.
pub const LABELS_LIMIT: usize = 256;

/// The longest label value that is repeated in a message about it, in characters.
const SHOWN: usize = 40;

/// A firing alert that can become a condition. Ordered by its labels, so that of two equally urgent ones
/// the same wins whatever the order that a server tells them in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alert {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Type of the condition: prefix and name.
    pub condition_type: String,
    /// How urgent it is; smaller is more.
    pub priority: i64,
    /// Message of the condition: `[P6] summary`.
    pub message: String,
}

/// What is wrong with an alert. It concerns this one alert; every other counts as if it were not there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flaw {
    /// It has no name, so that no condition can be named for it: left out.
    NoName,
    /// Its name makes no type of a condition: left out.
    Name(String),
    /// It has more labels than [`LABELS_LIMIT`]: left out.
    Labels {
        /// Its name.
        alert: String,
        /// How many it has.
        count: usize,
    },
    /// Its priority is no number: it counts with [`DEFAULT_PRIORITY`].
    Priority {
        /// Its name.
        alert: String,
        /// What its label says.
        value: String,
    },
}

impl Flaw {
    /// The flaw in one word, for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Flaw::NoName => "NoName",
            Flaw::Name(_) => "NameUnusable",
            Flaw::Labels { .. } => "TooManyLabels",
            Flaw::Priority { .. } => "PriorityMalformed",
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::NoName => f.write_str(
                "an alert without the label `alertname` is left out: no condition can be named for it",
            ),
            Flaw::Name(name) => write!(
                f,
                "alert `{}` is left out: prefix and name must have at most {TYPE_LIMIT} bytes and no control characters",
                shown(name)
            ),
            Flaw::Labels { alert, count } => write!(
                f,
                "alert `{}` is left out: it has {count} labels, and at most {LABELS_LIMIT} are looked at",
                shown(alert)
            ),
            Flaw::Priority { alert, value } => write!(
                f,
                "alert `{}` counts with priority {DEFAULT_PRIORITY}: its label `priority` is `{}`, which is no whole number",
                shown(alert),
                shown(value)
            ),
        }
    }
}

/// A text that somebody else wrote, short enough and without control characters, for a message.
fn shown(text: &str) -> String {
    let mut characters = text.chars().map(|c| if c.is_control() { '?' } else { c });
    let start: String = characters.by_ref().take(SHOWN).collect();
    if characters.next().is_some() { format!("{start}…") } else { start }
}

/// Reads one alert. What is wrong with it is told beside it; without an alert it is left out.
pub fn read(
    labels: BTreeMap<String, String>,
    summary: Option<&str>,
    prefix: &str,
) -> (Option<Alert>, Option<Flaw>) {
    let name = match labels.get(NAME_LABEL) {
        Some(name) if !name.is_empty() => name.clone(),
        _ => return (None, Some(Flaw::NoName)),
    };
    let condition_type = format!("{prefix}{name}");
    if condition_type.len() > TYPE_LIMIT || name.chars().any(char::is_control) {
        return (None, Some(Flaw::Name(name)));
    }
    if labels.len() > LABELS_LIMIT {
        return (None, Some(Flaw::Labels { alert: name, count: labels.len() }));
    }
    let written = labels.get(PRIORITY_LABEL);
    // What Go's `strconv.Atoi` takes: a sign and ASCII digits, nothing around them.
    let read = written.map_or(Some(DEFAULT_PRIORITY), |value| value.parse().ok());
    let flaw = match (read, written) {
        (None, Some(value)) => Some(Flaw::Priority { alert: name, value: value.clone() }),
        _ => None,
    };
    let priority = read.unwrap_or(DEFAULT_PRIORITY);
    // Beyond Sciuro: a summary of several lines, or one that moves a terminal's cursor, is one line.
    let line = |text: &str| text.replace(char::is_control, " ");
    let message = match summary {
        Some(summary) => {
            cut_message(&format!("[P{priority}] {}", line(cut_message(summary)))).to_owned()
        }
        None => format!("[P{priority}]"),
    };
    (Some(Alert { labels, condition_type, priority, message }), flaw)
}

#[cfg(test)]
mod tests;
