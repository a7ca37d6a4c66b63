//! SAFE-24: what the operator reports of alerts is what servers have shown. By what machines really have;
//! what a server shows may be a minute old, and holds for a while when it shows nothing more.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    court::{Court, Seen},
    past::earlier,
};
use crate::meta;

/// Reasons of the contract that Sciuro has with its readers.
const REASONS: [&str; 3] = ["AlertIsFiring", "AlertIsNotFiring", "AlertsUnavailable"];

/// What types of conditions from alerts begin with in every scene.
const PREFIX: &str = "AlertManager_";

/// The longest that an alert may be told after its end: a server that is a minute behind, whose last answer
/// holds for a minute, and a write that is half a minute under way; with some to spare.
const TRUE_FOR: SignedDuration = SignedDuration::from_secs(240);

/// The same of an end that was none: only an answer of now tells it.
const FALSE_FOR: SignedDuration = SignedDuration::from_secs(150);

/// Whether a condition is one of those.
pub(super) fn is_of_alert(condition: &Value) -> bool {
    let text = |field| meta::text(condition, &[field]);
    text("type").starts_with(PREFIX) && REASONS.contains(&text("reason"))
}

/// Types and statuses of a node's conditions from alerts.
fn of_alerts(node: &Value) -> BTreeMap<&str, &str> {
    let all = node.pointer("/status/conditions").and_then(Value::as_array);
    let ours = all.into_iter().flatten().filter(|condition| is_of_alert(condition));
    ours.map(|one| (meta::text(one, &["type"]), meta::text(one, &["status"]))).collect()
}

/// Whether a write of a node says again what its alerts say, and nothing else.
pub(super) fn only_renewed(before: &Value, after: &Value) -> bool {
    let same = |pointer: &str| before.pointer(pointer) == after.pointer(pointer);
    same("/spec")
        && same("/metadata/annotations")
        && same("/metadata/labels")
        && of_alerts(before) == of_alerts(after)
}

/// How long an alert that is new may be hidden: servers that are silent, late or have forgotten.
const HIDDEN_FOR: SignedDuration = SignedDuration::from_secs(300);

/// The shortest time after which it is fit to say the same again: less than three quarters of the shortest
/// `heartbeatInterval` of the scenes.
const RENEWED_AFTER: SignedDuration = SignedDuration::from_secs(40);

impl Court {
    /// Whether the same was said again too soon.
    pub(super) fn is_too_often(&mut self, node: &Value, at: Timestamp) -> bool {
        let last = self.renewed.insert(meta::of(node, "name").to_owned(), at);
        last.is_some_and(|last| last > earlier(at, RENEWED_AFTER))
    }

    /// How long a condition may be true before anybody can have told the operator of it.
    pub(super) fn hidden_for(&self, kind: &str) -> SignedDuration {
        let told_by_servers = self.alerts_from_servers && kind.starts_with(PREFIX);
        if told_by_servers { HIDDEN_FOR } else { SignedDuration::ZERO }
    }

    /// Conditions that the operator has changed.
    pub(super) fn reported(
        &mut self,
        seen: &Seen,
        name: &str,
        before: &Arc<Value>,
        after: &Arc<Value>,
    ) {
        let (was, is) = (of_alerts(before), of_alerts(after));
        let mut wrong = Vec::new();
        for (kind, status) in &is {
            if was.get(kind) == Some(status) {
                continue;
            }
            match *status {
                "True" => self.saw("alert-told"),
                "Unknown" => self.saw("alert-unknown"),
                _ => self.saw("alert-ended"),
            }
            wrong.extend(self.is_told_wrongly(name, kind, status, seen.at));
        }
        let gone = was.keys().filter(|kind| !is.contains_key(*kind));
        wrong.extend(gone.map(|kind| format!("{kind} is taken off, and nobody has waited for it")));
        for message in wrong {
            self.blame("SAFE-24", seen.at, name, message);
        }
    }

    fn is_told_wrongly(
        &self,
        node: &str,
        kind: &str,
        status: &str,
        at: Timestamp,
    ) -> Option<String> {
        let machine = self.machines.get(node)?;
        let (sick, well) = (machine.sick.get(kind), machine.well.get(kind));
        let lately =
            |time: Option<&Timestamp>, long| time.is_some_and(|at_| *at_ >= earlier(at, long));
        match status {
            "True" if sick.is_none() && !lately(well, TRUE_FOR) => {
                Some(format!("{kind} is told, and no alert of it fires"))
            }
            "False" if sick.is_some() && !lately(sick, FALSE_FOR) => {
                Some(format!("the end of {kind} is told, and its alert has fired all the time"))
            }
            _ => None,
        }
    }
}
