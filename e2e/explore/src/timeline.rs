//! A run as people read it: when, who, what. Kept only for runs that are looked at again.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use rerail_api::names;
use rerail_sim::{
    Store,
    observe::{Cause, Happening, Observer, What},
    store::Commit,
};
use serde_json::Value;

/// Everything that is worth telling; clones are the same.
#[derive(Clone)]
pub struct Timeline {
    began: Timestamp,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Timeline {
    /// Of a run that begins at `began`.
    pub fn new(began: Timestamp) -> Self {
        Timeline { began, lines: Arc::default() }
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One more line.
    pub fn add(&self, at: Timestamp, who: &str, what: &str) {
        let line = format!("{} {who:<14} {what}", clock(at.duration_since(self.began)));
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

/// `1:02:03.456`, or without the hours.
fn clock(passed: SignedDuration) -> String {
    let millis = passed.as_millis();
    let (seconds, minutes, hours) = (millis / 1000 % 60, millis / 60_000 % 60, millis / 3_600_000);
    let hours = if hours > 0 { format!("{hours}:") } else { String::new() };
    format!("{hours}{minutes:02}:{seconds:02}.{:03}", millis % 1000)
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

impl Observer for Timeline {
    fn committed(&mut self, store: &Store, commit: &Commit) {
        let change = &commit.change;
        let (before, after) = (change.before.as_deref(), change.result().map(|after| &**after));
        let name = text(&change.after, "/metadata/name");
        let told = match store.resource(commit.resource).plural.as_str() {
            "nodes" => of_node(before, after),
            "noderemediations" => of_run(before, after),
            "pods" => of_pod(before, after),
            "leases" if name == names::LEASE => of_lease(before, after),
            "configmaps" => Some(if change.gone { "deleted" } else { "written" }.to_owned()),
            "remediationpolicies" => of_policy(before, after),
            _ => None,
        };
        if let Some(told) = told {
            let kind = &store.resource(commit.resource).kind;
            self.add(commit.at, &commit.by, &format!("{kind} {name}: {told}"));
        }
    }

    fn happened(&mut self, _: &Store, happening: &Happening) {
        let why = |cause: &Cause| match cause {
            Cause::Pod { attempt, .. } => format!("by the reboot Pod of attempt {attempt}"),
            Cause::Foreign(who) => format!("by {who}"),
            Cause::Spontaneous => "by itself".to_owned(),
        };
        let told = match &happening.what {
            // The mishap says it, and of how old a backup.
            What::Appeared { .. } | What::Restored => return,
            What::Vanished => "is gone for good".to_owned(),
            What::Acts(cause) => format!("acts, {}", why(cause)),
            What::Refused(reason) => format!("the reboot Pod refuses: {reason}"),
            What::Down(cause) => format!("goes down, {}", why(cause)),
            What::Boot { boot_id, cause } => format!("BOOTS as {boot_id}, {}", why(cause)),
            What::Ready(ready) => {
                if *ready { "can run Pods" } else { "cannot run Pods" }.to_owned()
            }
            What::Sick { condition, on } => {
                format!("{condition} is {} true", if *on { "now" } else { "no longer" })
            }
            What::OperatorStarted => "starts".to_owned(),
            What::OperatorEnded { killed } => if *killed { "is killed" } else { "ends" }.to_owned(),
            What::Fault(what) => what.clone(),
        };
        self.add(happening.at, &happening.subject, &told);
    }
}

fn of_node(before: Option<&Value>, after: Option<&Value>) -> Option<String> {
    let (before, after) = match (before, after) {
        (Some(before), Some(after)) => (before, after),
        (None, Some(_)) => return Some("made".to_owned()),
        _ => return Some("deleted".to_owned()),
    };
    let mut told = Vec::new();
    let cordoned = |node: &Value| node.pointer("/spec/unschedulable") == Some(&Value::Bool(true));
    match (cordoned(before), cordoned(after)) {
        (false, true) => told.push("cordoned".to_owned()),
        (true, false) => told.push("UNCORDONED".to_owned()),
        _ => {}
    }
    let of = |node: &Value| -> Vec<(String, String)> {
        let annotations = node.pointer("/metadata/annotations").and_then(Value::as_object);
        let ours = annotations.into_iter().flatten().filter(|(key, _)| key.contains("rerail.dev"));
        ours.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect()
    };
    let (old, new) = (of(before), of(after));
    told.extend(new.iter().filter(|pair| !old.contains(pair)).map(|(key, value)| {
        let key = key.rsplit('/').next().unwrap_or(key);
        format!("{key} = {value}")
    }));
    let gone = old.iter().filter(|(key, _)| !new.iter().any(|(other, _)| other == key));
    told.extend(gone.map(|(key, _)| format!("no {}", key.rsplit('/').next().unwrap_or(key))));
    let boot = "/status/nodeInfo/bootID";
    if text(before, boot) != text(after, boot) {
        told.push(format!("reports boot {}", text(after, boot)));
    }
    (!told.is_empty()).then(|| told.join(", "))
}

fn of_run(before: Option<&Value>, after: Option<&Value>) -> Option<String> {
    let Some(after) = after else { return Some("deleted".to_owned()) };
    let empty = Value::Null;
    let before = before.unwrap_or(&empty);
    let mut told = Vec::new();
    for (what, pointer) in [
        ("step", "/status/step"),
        ("reason", "/status/reason"),
        ("leader", "/status/leader"),
        ("intent for boot", "/status/intent/bootIDBefore"),
    ] {
        if text(before, pointer) != text(after, pointer) {
            told.push(format!("{what} {}", text(after, pointer)));
        }
    }
    if before.is_null() {
        told.insert(0, format!("made for {}", text(after, "/spec/nodeName")));
    }
    (!told.is_empty()).then(|| told.join(", "))
}

/// What of a policy is not as it was.
fn of_policy(before: Option<&Value>, after: Option<&Value>) -> Option<String> {
    let Some(after) = after else { return Some("deleted".to_owned()) };
    let mut told = Vec::new();
    if before.is_none_or(|before| before.get("spec") != after.get("spec")) {
        told.push("spec written".to_owned());
    }
    let status = |policy: &Value, key: &str| policy.get("status")?.get(key).cloned();
    for (key, value) in after.get("status").and_then(Value::as_object).into_iter().flatten() {
        if before.and_then(|before| status(before, key)).as_ref() != Some(value) {
            let value: String = value.to_string().chars().take(400).collect();
            told.push(format!("{key} {value}"));
        }
    }
    (!told.is_empty()).then(|| told.join(", "))
}

fn of_pod(before: Option<&Value>, after: Option<&Value>) -> Option<String> {
    let known = after.or(before)?;
    let ours = text(known, "/metadata/namespace") == names::NODE_NAMESPACE;
    match (before, after) {
        (None, Some(_)) if ours => Some("made".to_owned()),
        (Some(_), None) if ours => Some("deleted".to_owned()),
        (Some(before), Some(after)) => {
            let ending = |pod: &Value| pod.pointer("/metadata/deletionTimestamp").is_some();
            if ending(after) && !ending(before) {
                return Some("told to end".to_owned());
            }
            let phase = text(after, "/status/phase");
            (ours && text(before, "/status/phase") != phase).then(|| phase.to_owned())
        }
        _ => None,
    }
}

fn of_lease(before: Option<&Value>, after: Option<&Value>) -> Option<String> {
    let holder = |lease: Option<&Value>| {
        lease.map(|lease| text(lease, "/spec/holderIdentity").to_owned()).unwrap_or_default()
    };
    if after.is_none() {
        return Some("deleted".to_owned());
    }
    let slots = |lease: Option<&Value>| {
        let ledger = lease.map(|lease| text(lease, "/metadata/annotations/rerail.dev~1ledger"));
        let ledger = ledger.and_then(|ledger| serde_json::from_str::<Value>(ledger).ok());
        let slots = ledger.and_then(|mut ledger| Some(ledger.get_mut("slots")?.take()));
        let nodes = slots.iter().filter_map(Value::as_array).flatten();
        nodes.map(|slot| slot.to_string()).collect::<Vec<_>>()
    };
    let mut told = Vec::new();
    if holder(before) != holder(after) {
        told.push(format!("held by `{}`", holder(after)));
    }
    if slots(before) != slots(after) {
        told.push(format!("slots {}", slots(after).join(" ")));
    }
    (!told.is_empty()).then(|| told.join(", "))
}
