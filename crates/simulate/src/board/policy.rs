//! Policies: their budgets, their storms, and who waits for what.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rerail_api::{
    limits::StormState,
    policy::{RemediationPolicyStatus, WaitingNode},
};
use rerail_core::plan::WaitReason;
use serde_json::Value;

use super::{Board, Most, Seen, Tone, by, text};

/// A condition type that is stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storm {
    /// The condition's type.
    pub condition: String,
    /// How it stands, in words.
    pub state: String,
}

/// A storm that there was, or is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WasStorm {
    /// The policy.
    pub policy: String,
    /// The condition's type.
    pub condition: String,
    /// When it began.
    pub since: Timestamp,
    /// When it was over.
    pub until: Option<Timestamp>,
}

/// A node that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waits {
    /// The node.
    pub node: String,
    /// Its priority.
    pub priority: Option<i32>,
    /// Why, in one word.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
    /// The earliest time that it can change by itself.
    pub until: Option<Timestamp>,
}

/// A policy.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Its mode.
    pub mode: String,
    /// Its budget.
    pub budget: Most,
    /// Its storms.
    pub storms: Vec<Storm>,
    /// Who waits, as the policy has it; at most 20 are listed.
    pub waiting: Vec<Waits>,
    /// How many wait.
    pub waiting_number: usize,
    /// The operator has spoken of it.
    pub is_known: bool,
    generation: i64,
    /// Which node was told to wait for which reason.
    told: BTreeSet<(String, String)>,
}

impl Board {
    pub(super) fn see_policy(&mut self, seen: &Seen<'_>) {
        let name = text(seen.object, "/metadata/name").to_owned();
        if seen.gone {
            self.policies.remove(&name);
            self.note_storms(seen.at, &name, &[]);
            self.tell(seen.at, Tone::Others, "", format!("policy {name} deleted{}", by(seen.by)));
            return;
        }
        let status = seen.object.get("status").cloned().unwrap_or(Value::Null);
        let status: RemediationPolicyStatus = serde_json::from_value(status).unwrap_or_default();
        let generation = seen.object.pointer("/metadata/generation").and_then(Value::as_i64);
        let generation = generation.unwrap_or_default();
        let known = self.policies.get(&name).cloned();
        if known.as_ref().is_none_or(|known| known.generation != generation) {
            let what = if known.is_some() { "changed" } else { "applied" };
            self.tell(seen.at, Tone::Others, "", format!("policy {name} {what}{}", by(seen.by)));
        }
        let mut policy = known.unwrap_or_default();
        policy.generation = generation;
        policy.mode = text(seen.object, "/spec/mode").to_owned();
        policy.budget.is(number(status.budget.used), number(status.budget.limit));
        policy.is_known = status.observed_generation > 0;
        policy.waiting_number = number(status.counts.waiting);
        policy.waiting = status.waiting.iter().map(waits).collect();
        let storms: Vec<Storm> = status.breaker.iter().map(storm).collect();
        let before = std::mem::replace(&mut policy.storms, storms);
        let now = policy.storms.clone();
        let new = not_told(&mut policy);
        self.note_storms(seen.at, &name, &now);
        self.policies.insert(name, policy);
        self.tell_of_storms(seen.at, &before, &now);
        self.tell_who_waits(seen.at, new);
    }

    fn note_storms(&mut self, at: Timestamp, policy: &str, now: &[Storm]) {
        let is_on = |was: &WasStorm| now.iter().any(|storm| storm.condition == was.condition);
        let open = |was: &&mut WasStorm| was.policy == policy && was.until.is_none();
        for over in self.storms.iter_mut().filter(open).filter(|was| !is_on(was)) {
            over.until = Some(at);
        }
        for storm in now {
            let known = self.storms.iter().any(|was| {
                was.policy == policy && was.until.is_none() && was.condition == storm.condition
            });
            if !known {
                let (policy, condition) = (policy.to_owned(), storm.condition.clone());
                self.storms.push(WasStorm { policy, condition, since: at, until: None });
            }
        }
    }

    fn tell_of_storms(&mut self, at: Timestamp, before: &[Storm], now: &[Storm]) {
        for storm in now.iter().filter(|storm| !before.contains(storm)) {
            self.tell(at, Tone::Storm, "", format!("{}: {}", storm.condition, storm.state));
        }
        for over in before {
            if !now.iter().any(|storm| storm.condition == over.condition) {
                self.tell(at, Tone::Storm, "", format!("{}: over", over.condition));
            }
        }
    }

    fn tell_who_waits(&mut self, at: Timestamp, new: BTreeMap<String, Vec<Waits>>) {
        for (reason, nodes) in new {
            let Some(first) = nodes.first() else { continue };
            let others = match nodes.len().saturating_sub(1) {
                0 => String::new(),
                1 => " (one more waits so)".to_owned(),
                more => format!(" ({more} more wait so)"),
            };
            let (node, what) = (first.node.clone(), format!("{reason}: {}{others}", first.message));
            self.tell(at, Tone::Waits, &node, what);
        }
    }
}

/// Who waits for what they were not told to wait for yet, by the reason.
fn not_told(policy: &mut Policy) -> BTreeMap<String, Vec<Waits>> {
    let mut new: BTreeMap<String, Vec<Waits>> = BTreeMap::new();
    // A node with a run does not wait.
    let active = WaitReason::ActiveRun.name();
    for waits in policy.waiting.iter().filter(|waits| waits.reason != active) {
        if policy.told.insert((waits.node.clone(), waits.reason.clone())) {
            new.entry(waits.reason.clone()).or_default().push(waits.clone());
        }
    }
    new
}

fn waits(node: &WaitingNode) -> Waits {
    Waits {
        node: node.node.clone(),
        priority: node.priority,
        reason: node.reason.clone(),
        message: node.message.clone(),
        until: node.until,
    }
}

fn storm(status: &rerail_api::limits::StormStatus) -> Storm {
    let state = match status.state {
        StormState::Open => "on many nodes at once: nothing starts for it".to_owned(),
        StormState::Probing => "one node is tried".to_owned(),
        StormState::Ramp => match status.allowed {
            1 => "1 more may start".to_owned(),
            more => format!("{more} more may start"),
        },
    };
    Storm { condition: status.condition_type.clone(), state }
}

fn number(number: i32) -> usize {
    usize::try_from(number).unwrap_or(0)
}
