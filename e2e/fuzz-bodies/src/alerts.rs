//! Answers of Alertmanager and Prometheus, and webhooks. What is before the first line break says which: `a`,
//! `p`, `w`, or `f` for a file that may be any of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use jiff::{SignedDuration, Timestamp};
use rerail_alerts::{
    ask::{Question, ask},
    fetch::{Access, Fetch, FetchError, Fetched},
    shown::{self, ALERTS_LIMIT, Answer, AnswerError, Shown},
};
use rerail_core::{
    alert::{
        self, Alert, DEFAULT_PREFIX, TYPE_LIMIT,
        conditions::{Change, Condition, FIRING_KEPT, Reported, Rules, changes, wanted},
        source::Absence,
    },
    facts::MESSAGE_LIMIT,
};
use serde_json::json;

use crate::{now, said::said};

/// An answer is read alert by alert, or refused with a reason; what becomes of it fits on a node.
pub fn alerts(input: &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (kind, body) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    match kind {
        b"a" => answered(body, shown::alertmanager(body), Some(alertmanager())),
        b"p" => answered(body, shown::prometheus(body), Some(Question::Prometheus)),
        b"w" => answered(body, shown::webhook(body), None),
        _ => answered(body, shown::any(body), None),
    }
}

fn alertmanager() -> Question {
    let receiver = "node-condition-k8s".to_owned();
    Question::Alertmanager { receiver, silenced: true, inhibited: true, muted: true }
}

fn answered(body: &[u8], answer: Result<Answer, AnswerError>, question: Option<Question>) {
    if let Some(question) = question {
        asked(body, &question, &answer);
    }
    match answer {
        Ok(answer) => shows(answer),
        Err(error) => said(&error.to_string()),
    }
}

/// A server that answers this to everything.
struct Server(Bytes, u16);

impl Fetch for Server {
    fn get<'a>(&'a self, _: &'a str, _: &'a Access) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        let answer = Fetched { status: self.1, date: Some(now()), body: self.0.clone() };
        Box::pin(std::future::ready(Ok(answer)))
    }
}

fn asked(body: &[u8], question: &Question, answer: &Result<Answer, AnswerError>) {
    let access = Access::default();
    for status in [200, 503] {
        let server = Server(Bytes::copy_from_slice(body), status);
        match ask(&server, question, "http://am", &access).now_or_never() {
            Some(Ok(told)) => {
                let alerts = answer.as_ref().map(|answer| (&answer.alerts, answer.unreadable));
                assert_eq!(alerts.ok(), Some((&told.alerts, told.unreadable)));
                assert_eq!(status, 200);
            }
            Some(Err(error)) => {
                said(&error.to_string());
                assert!(status == 503 || answer.is_err());
            }
            None => panic!("a server that answers at once is waited for"),
        }
    }
}

fn shows(answer: Answer) {
    assert!(answer.alerts.len() + answer.unreadable <= ALERTS_LIMIT);
    read_again(&answer);
    let mut usable = Vec::new();
    for shown in answer.alerts {
        let (labels, summary) = (shown.labels.clone(), shown.summary.as_deref());
        let (alert, flaw) = alert::read(shown.labels, summary, DEFAULT_PREFIX);
        assert!(alert.is_some() || flaw.is_some(), "an alert is left out, and nobody is told");
        if let Some(flaw) = flaw {
            said(&flaw.to_string());
        }
        if let Some(alert) = alert {
            assert_eq!(alert.labels, labels);
            fits(&alert.condition_type, &alert.message);
            usable.push(alert);
        }
    }
    become_conditions(&usable);
}

/// What is written as Alertmanager shows it is read as it was.
fn read_again(answer: &Answer) {
    let by = |quiet: bool| if quiet { vec!["x"] } else { Vec::new() };
    let write = |shown: &Shown| {
        let summary = shown.summary.as_ref().map(|summary| json!({ "summary": summary }));
        let status = json!({ "silencedBy": by(shown.silenced), "inhibitedBy": by(shown.inhibited), "mutedBy": by(shown.muted) });
        json!({ "labels": shown.labels, "annotations": summary, "status": status })
    };
    let written = json!(answer.alerts.iter().map(write).collect::<Vec<_>>()).to_string();
    let read = shown::alertmanager(written.as_bytes());
    assert_eq!(read.ok().map(|read| read.alerts).as_ref(), Some(&answer.alerts), "{written}");
}

/// What stands on a node is bounded, and shows no more than it is.
fn fits(condition_type: &str, message: &str) {
    assert!(condition_type.starts_with(DEFAULT_PREFIX) && condition_type.len() <= TYPE_LIMIT);
    assert!(message.len() <= MESSAGE_LIMIT && message.starts_with("[P"), "{message:?}");
    let control = condition_type.chars().chain(message.chars()).find(|c| c.is_control());
    assert!(control.is_none(), "{control:?} in a condition: {condition_type:?} {message:?}");
}

/// What is to be written of a node with these alerts is little, is right once it is written, and can end.
fn become_conditions(alerts: &[Alert]) {
    let wants = wanted(alerts.iter().map(|alert| (alert, now())));
    assert!(wants.conditions.len() <= FIRING_KEPT);
    let rules = Rules {
        prefix: DEFAULT_PREFIX,
        linger: SignedDuration::from_hours(96),
        heartbeat_every: SignedDuration::from_mins(5),
        booted_at: None,
    };
    let at = Absence::NotFiring { at: now() };
    let mut node: BTreeMap<String, Condition> = BTreeMap::new();
    apply(&mut node, changes([], &wants, at, rules, now()));
    assert_eq!(node.len(), wants.conditions.len());
    for (kind, condition) in &node {
        fits(kind, &condition.message);
    }
    let again = changes(reported(&node), &wants, at, rules, now());
    assert!(again.is_empty(), "written twice: {again:?}");
    let later = now() + SignedDuration::from_mins(6);
    let over = Absence::NotFiring { at: later };
    let mut quiet = node.clone();
    apply(&mut quiet, changes(reported(&node), &wanted([]), over, rules, later));
    assert!(quiet.values().all(|condition| condition.status.as_str() == "False"));
    let held = changes(reported(&node), &wanted([]), Absence::Held, rules, later);
    assert!(held.is_empty(), "who has not spoken says nothing: {held:?}");
    let much_later = later + SignedDuration::from_hours(97);
    let gone = Absence::NotFiring { at: much_later };
    apply_removals(&mut quiet, gone, rules, much_later);
    assert!(quiet.is_empty(), "{quiet:?}");
}

fn apply_removals(
    node: &mut BTreeMap<String, Condition>,
    absence: Absence,
    rules: Rules<'_>,
    at: Timestamp,
) {
    let before = node.clone();
    apply(node, changes(reported(&before), &wanted([]), absence, rules, at));
}

fn apply(node: &mut BTreeMap<String, Condition>, changes: BTreeMap<&str, Change>) {
    for (kind, change) in changes {
        match change {
            Change::Set(condition) => {
                node.insert(kind.to_owned(), condition);
            }
            Change::Remove => {
                node.remove(kind);
            }
        }
    }
}

fn reported(node: &BTreeMap<String, Condition>) -> impl Iterator<Item = Reported<'_>> {
    node.iter().map(|(kind, condition)| Reported {
        condition_type: kind,
        status: condition.status.as_str(),
        reason: condition.reason,
        message: &condition.message,
        heartbeat: Some(condition.heartbeat),
        transition: Some(condition.transition),
    })
}
