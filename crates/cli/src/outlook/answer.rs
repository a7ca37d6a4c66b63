//! The answer about a node in one sentence, and what would have to change. Every reason has its advice;
//! a new one makes the compiler ask for it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rerail_core::{
    facts::NodeFacts,
    plan::{Wait, WaitReason},
};

use super::{
    view::{PairView, RunView, Why},
    words::{Dial, some},
};

/// What the answer begins with.
pub struct Answer {
    /// In one word.
    pub state: &'static str,
    /// In one sentence.
    pub sentence: String,
    /// The earliest time that it can start by itself.
    pub earliest: Option<Timestamp>,
    /// What would have to change for it to start.
    pub needs: Vec<String>,
}

/// The answer about a node.
pub fn of(node: &NodeFacts, run: Option<&RunView>, pairs: &[PairView], dial: &Dial) -> Answer {
    if let Some(run) = run {
        return under_way(node, run, dial);
    }
    let starts = |pair: &&PairView| pair.wait.is_none() && pair.priority.is_some();
    let enforcing = |pair: &&PairView| pair.mode != "DryRun";
    if let Some(pair) = pairs.iter().filter(enforcing).find(starts) {
        return starting(node, pair, dial);
    }
    // Nearest to a start: an enforcing policy before one that only shows, a candidate before what is none.
    let mut waiting: Vec<_> = pairs.iter().filter(|pair| pair.wait.is_some()).collect();
    waiting.sort_by_key(|pair| (pair.mode == "DryRun", pair.priority.is_none(), pair.place));
    if let Some(pair) = waiting.iter().copied().find(enforcing) {
        return waits(node, pair);
    }
    if let Some(pair) = pairs.iter().find(starts) {
        return would_start(node, pair);
    }
    match waiting.first() {
        Some(pair) => waits(node, pair),
        None => quiet(node, pairs),
    }
}

fn under_way(node: &NodeFacts, run: &RunView, dial: &Dial) -> Answer {
    let RunView { name, step, message, .. } = run;
    let lasted = dial.lasted(run.since);
    if run.frozen {
        let sentence =
            format!("Node {} has run {name}, which stands still for good: {message}.", node.name);
        let needs = vec![format!("the run must go: kubectl delete nrem {name}")];
        return Answer { state: "Held", sentence, earliest: None, needs };
    }
    if step == "Held" {
        let sentence = format!(
            "Node {} is held by run {name} for {lasted}, and waits for a person: {}: {message}.",
            node.name, run.reason
        );
        let needs = vec![
            format!("to try again, cordon, drain and reboot: rerail retry {name}"),
            format!("to give the node back as it is: rerail release {name}"),
        ];
        return Answer { state: "Held", sentence: dotted(sentence), earliest: None, needs };
    }
    let deadline = match run.deadline {
        Some(time) => format!(" (deadline {})", dial.until(time)),
        None => String::new(),
    };
    let sentence = format!(
        "Node {} is under remediation: run {name} is {step} for {lasted}{deadline}: {message}.",
        node.name
    );
    Answer { state: "UnderWay", sentence: dotted(sentence), earliest: None, needs: Vec::new() }
}

/// One full stop, whatever the message ended with.
fn dotted(sentence: String) -> String {
    format!("{}.", sentence.trim_end_matches(['.', ':', ' ']))
}

fn called_for(pair: &PairView) -> String {
    let cause = match pair.causes.as_slice() {
        [] => "a person asked for it".to_owned(),
        causes => some(causes),
    };
    let effective = pair.effective_priority.map_or(String::new(), |p| format!("P{p}, "));
    format!("{effective}{cause}, policy {}", pair.policy)
}

fn starting(node: &NodeFacts, pair: &PairView, dial: &Dial) -> Answer {
    let place = match pair.place {
        Some(1) | None => "first in the order".to_owned(),
        Some(place) => format!("number {place} in the order"),
    };
    let preview = if pair.previewed { ", if the previewed policy were applied" } else { "" };
    let sentence =
        format!("Node {} starts now, {place}: {}{preview}.", node.name, called_for(pair));
    Answer { state: "Starts", sentence, earliest: Some(dial.at), needs: Vec::new() }
}

fn would_start(node: &NodeFacts, pair: &PairView) -> Answer {
    let sentence = format!(
        "Node {} would start now ({}), but the policy's mode is DryRun: nothing is done.",
        node.name,
        called_for(pair)
    );
    let needs = vec![format!("policy {} must have `mode: Enforce`", pair.policy)];
    Answer { state: "WouldStart", sentence, earliest: None, needs }
}

fn waits(node: &NodeFacts, pair: &PairView) -> Answer {
    let first = pair.wait.as_ref();
    let (reason, message) =
        first.map_or(("", ""), |why| (why.reason.as_str(), why.message.as_str()));
    let message = message.trim_end_matches('.');
    let sentence =
        format!("Node {} waits: {message} ({reason}, policy {}).", node.name, pair.policy);
    let mut failing: Vec<_> = pair.gates.iter().filter_map(|gate| gate.why.as_ref()).collect();
    if failing.is_empty() {
        failing.extend(first);
    }
    failing.extend(&pair.then);
    let need = |why: &&Why| match &why.advice {
        Some(advice) => format!("{}: {advice}", why.reason),
        None => format!("{}: {}", why.reason, why.message),
    };
    let mut needs: Vec<_> = failing.iter().map(need).collect();
    if pair.mode == "DryRun" {
        needs.push(format!("policy {} must have `mode: Enforce`", pair.policy));
    }
    let mut seen = BTreeSet::new();
    needs.retain(|need| seen.insert(need.clone()));
    Answer { state: "Waits", sentence, earliest: pair.earliest_time, needs }
}

fn quiet(node: &NodeFacts, pairs: &[PairView]) -> Answer {
    let names = |of: fn(&&PairView) -> bool| -> Vec<String> {
        pairs.iter().filter(of).map(|pair| pair.policy.clone()).collect()
    };
    let (active, suspended) =
        (names(|p| p.selected && !p.suspended), names(|p| p.selected && p.suspended));
    let (state, sentence) = match (active.as_slice(), suspended.as_slice()) {
        ([], []) => (
            "NotSelected",
            format!("No policy selects node {}: nothing is done for it.", node.name),
        ),
        ([], suspended) => (
            "NotSelected",
            format!(
                "Every policy that selects node {} is suspended: {}.",
                node.name,
                some(suspended)
            ),
        ),
        (active, _) => (
            "Healthy",
            format!("Nothing calls for node {}: no trigger is true ({}).", node.name, some(active)),
        ),
    };
    Answer { state, sentence, earliest: None, needs: Vec::new() }
}

/// A wait with its advice.
pub fn why(wait: &Wait, node: &str) -> Why {
    // A storm that only a person closes tells how in its message.
    let by_hand = wait.message.split_once("kubectl ").filter(|_| wait.reason == WaitReason::Storm);
    let advice = match by_hand {
        Some((_, command)) => {
            format!("look at what writes the condition; when it is right: kubectl {command}")
        }
        None => advice(wait.reason).replace("NODE", node),
    };
    Why { advice: Some(advice), ..super::of_plan::why(wait) }
}

/// What has to happen, or can be done, so that this reason goes.
fn advice(reason: WaitReason) -> &'static str {
    match reason {
        WaitReason::NotLongEnough => "the condition must last for the trigger's `for`",
        WaitReason::TriggerUnknown => {
            "whoever writes the condition must report it afresh; look at that program"
        }
        WaitReason::NoNewEvidence => "the condition must be reported anew since the last run ended",
        WaitReason::Paused => {
            "the entry must end, or be taken out of the ConfigMap rerail-system/rerail-pause"
        }
        WaitReason::HoldLabel => "kubectl label node NODE rerail.dev/hold-",
        WaitReason::Ignored => "kubectl label node NODE rerail.dev/ignore-",
        WaitReason::NodeDeleting => "nothing: the node is going",
        WaitReason::ControlPlane => "nothing: control-plane nodes are never touched",
        WaitReason::ClaimedByOther => {
            "the other controller must finish, or take its mark off the node"
        }
        WaitReason::CordonedByOther => "when nobody is at work on it: kubectl uncordon NODE",
        WaitReason::NoReachableRemedy => {
            "the node must be Ready again: a reboot through the node cannot reach it"
        }
        WaitReason::AttemptsExhausted => {
            "an attempt must leave the window, or the policy allow more (`attempts`)"
        }
        WaitReason::Backoff => "the rest after the last run must pass (`attempts.backoff`)",
        WaitReason::ActiveRun => "the run that has the node must end",
        WaitReason::ClockSkew => "set the clocks, and restart the operator",
        WaitReason::OutOfDate => "the API server must answer the operator's lists and watches",
        WaitReason::NotConfigured => {
            "put a valid `config.yaml` into the ConfigMap rerail-system/rerail-config"
        }
        WaitReason::Meltdown => {
            "nodes must be Ready again; look for what they have in common: network, API server, \
             power"
        }
        WaitReason::WarmingUp => "the source must report once, or two minutes pass",
        WaitReason::Unhealthy => {
            "nodes must be Ready again, or the policy allow more (`breaker.unhealthy`)"
        }
        WaitReason::Storm => {
            "look at what writes the condition; when it is right, a probe closes the storm"
        }
        WaitReason::OtherDomainsOpen => {
            "the runs in the open domains must end, or more be allowed (`maxDomains`)"
        }
        WaitReason::DomainClosed => "the more urgent node must start, or need nothing any more",
        WaitReason::MissingTopologyLabels => {
            "give the node its topology labels, or wait for the other node without them"
        }
        WaitReason::BudgetExhausted => "nodes that are out must come back, or the budget be raised",
        WaitReason::StartsExhausted => {
            "a start must leave the window, or the policy allow more (`budget.maxStarts`)"
        }
        WaitReason::AdmissionFailing => "the error must go; the operator goes on trying",
        WaitReason::PolicyMissing => "apply the policy, or release the run",
        WaitReason::NotSelected => "the policy must select the node, or release the run",
        WaitReason::PolicyNotEnforcing => {
            "the policy must have `mode: Enforce` and not be suspended"
        }
        WaitReason::NodeMissing => "release the run: its node is gone",
    }
}
