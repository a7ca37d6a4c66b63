//! What came of a run.

use std::{collections::BTreeMap, fmt, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A property that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Its name, such as `SAFE-1`.
    pub property: String,
    /// When.
    pub at: Timestamp,
    /// Of what: a node, a run, an operator.
    pub subject: String,
    /// What was seen.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { property, at, subject, message } = self;
        write!(f, "{property} {subject}: {message} (at {at})")
    }
}

/// What came of a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// What did not hold.
    pub violations: Vec<Violation>,
    /// What was seen, and how often: properties are worth nothing in a run in which nothing happens.
    pub seen: BTreeMap<String, u64>,
    /// Requests of operators.
    pub requests: u64,
    /// How long it took on the virtual clock.
    pub lasted: Duration,
    /// Everything that happened, as one number.
    pub trace: u64,
    /// Everything that happened, where that was to be kept.
    #[serde(skip)]
    pub lines: Vec<String>,
    /// What people want to read, where that was to be kept.
    #[serde(skip)]
    pub timeline: Vec<String>,
}

impl Outcome {
    /// True if every property held.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty()
    }

    /// Names of the properties that did not hold.
    pub fn broken(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.violations.iter().map(|one| one.property.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}
