//! Alerts as others show them: Alertmanager's API v2, Prometheus' API v1, and Alertmanager's webhook,
//! version 4. One alert that cannot be read costs no other.

use std::collections::BTreeMap;

use rerail_core::words::{one_line, quoted};
use serde::{Deserialize, de::IgnoredAny};

/// Alerts of one answer that are looked at. A server that shows more has a broken rule, and its answer is
/// refused whole: a part of it would make the rest look as if it did not fire.
pub const ALERTS_LIMIT: usize = 10_000;

/// An alert that fires.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shown {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotation `summary`.
    pub summary: Option<String>,
    /// True if somebody has silenced it.
    pub silenced: bool,
    /// True if another alert inhibits it.
    pub inhibited: bool,
    /// True if its route is muted at this time. Alertmanagers before 0.28 do not tell.
    pub muted: bool,
}

/// What an answer shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// Alerts that fire.
    pub alerts: Vec<Shown>,
    /// How many could not be read.
    pub unreadable: usize,
}

/// Why an answer says nothing.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// It is not what the API answers.
    #[error("the answer is not understood: {0}; is this the address of an {1}?")]
    Shape(String, &'static str),
    /// A file holds none of the shapes that are known.
    #[error(
        "these are no alerts as Alertmanager, Prometheus or a webhook gives them, and no list of objects with `labels`: {0}"
    )]
    File(String),
    /// Prometheus says that it could not answer.
    #[error("the server could not answer: {0}")]
    Refused(String),
    /// It is too much.
    #[error("it shows {0} alerts, and at most {ALERTS_LIMIT} are looked at; is a rule broken?")]
    TooMany(usize),
}

/// One alert, or what could not be read in its place.
#[derive(Deserialize)]
#[serde(untagged)]
enum Lenient<T> {
    Good(T),
    Bad(IgnoredAny),
}

#[derive(Deserialize)]
struct OfAlertmanager {
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    silenced_by: Option<Vec<IgnoredAny>>,
    inhibited_by: Option<Vec<IgnoredAny>>,
    muted_by: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
struct OfPrometheus {
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    state: String,
}

#[derive(Deserialize)]
struct PrometheusAnswer {
    status: String,
    error: Option<String>,
    data: Option<PrometheusAlerts>,
}

#[derive(Deserialize)]
struct PrometheusAlerts {
    alerts: Vec<Lenient<OfPrometheus>>,
}

#[derive(Deserialize)]
struct OfWebhook {
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    status: String,
}

#[derive(Deserialize)]
struct Webhook {
    version: String,
    alerts: Vec<Lenient<OfWebhook>>,
}

fn shown(
    labels: BTreeMap<String, String>,
    annotations: Option<BTreeMap<String, String>>,
    status: &Status,
) -> Shown {
    let some = |list: &Option<Vec<IgnoredAny>>| list.as_ref().is_some_and(|by| !by.is_empty());
    Shown {
        labels,
        summary: annotations.and_then(|mut all| all.remove("summary")),
        silenced: some(&status.silenced_by),
        inhibited: some(&status.inhibited_by),
        muted: some(&status.muted_by),
    }
}

fn gather<T>(
    all: Vec<Lenient<T>>,
    read: impl Fn(T) -> Option<Shown>,
) -> Result<Answer, AnswerError> {
    if all.len() > ALERTS_LIMIT {
        return Err(AnswerError::TooMany(all.len()));
    }
    let mut answer = Answer::default();
    for one in all {
        match one {
            Lenient::Good(alert) => answer.alerts.extend(read(alert)),
            Lenient::Bad(_) => answer.unreadable += 1,
        }
    }
    Ok(answer)
}

/// What Alertmanager's `GET /api/v2/alerts` shows.
///
/// # Errors
/// If it is not such an answer, or too much.
pub fn alertmanager(body: &[u8]) -> Result<Answer, AnswerError> {
    let all: Vec<Lenient<OfAlertmanager>> = serde_json::from_slice(body)
        .map_err(|error| AnswerError::Shape(quoted(&error), "Alertmanager with its API v2"))?;
    gather(all, |alert| Some(shown(alert.labels, alert.annotations, &alert.status)))
}

/// What Prometheus' `GET /api/v1/alerts` shows; an alert that is still pending does not fire.
///
/// # Errors
/// If it is not such an answer, Prometheus could not answer, or it is too much.
pub fn prometheus(body: &[u8]) -> Result<Answer, AnswerError> {
    let answer: PrometheusAnswer = serde_json::from_slice(body)
        .map_err(|error| AnswerError::Shape(quoted(&error), "API of Prometheus"))?;
    let Some(data) = answer.data.filter(|_| answer.status == "success") else {
        return Err(AnswerError::Refused(quoted(&answer.error.unwrap_or(answer.status))));
    };
    gather(data.alerts, |alert| {
        let fires = alert.state == "firing";
        fires.then(|| shown(alert.labels, alert.annotations, &Status::default()))
    })
}

/// What a message of Alertmanager's webhook shows, version 4. It is a part of what fires, and anybody may
/// have sent it.
///
/// # Errors
/// If it is not such a message, or too much.
pub fn webhook(body: &[u8]) -> Result<Answer, AnswerError> {
    let message: Webhook = serde_json::from_slice(body)
        .map_err(|error| AnswerError::Shape(quoted(&error), "Alertmanager webhook"))?;
    if message.version != "4" {
        return Err(AnswerError::Refused(format!(
            "the webhook has version `{}`, and 4 is known",
            one_line(&message.version, 20)
        )));
    }
    gather(message.alerts, |alert| {
        let fires = alert.status == "firing";
        fires.then(|| shown(alert.labels, alert.annotations, &Status::default()))
    })
}

/// What a file shows that somebody has saved from any of the three, or wrote by hand as a list of objects
/// with `labels`.
///
/// # Errors
/// If it is none of these.
pub fn any(body: &[u8]) -> Result<Answer, AnswerError> {
    // The first that fits; the error is that of the most common one.
    let found = prometheus(body).or_else(|_| webhook(body)).or_else(|_| alertmanager(body));
    found.map_err(|error| match error {
        AnswerError::Shape(error, _) => AnswerError::File(error),
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(answer: &Answer) -> Vec<&str> {
        answer.alerts.iter().map(|alert| alert.labels["alertname"].as_str()).collect()
    }

    #[test]
    fn alertmanager_shows_alerts_with_who_keeps_them_quiet() {
        let body = json!([
            { "labels": { "alertname": "A" }, "annotations": { "summary": "s" }, "fingerprint": "1",
              "status": { "state": "active", "silencedBy": [], "inhibitedBy": [], "mutedBy": [] } },
            { "labels": { "alertname": "B" },
              "status": { "state": "suppressed", "silencedBy": ["x"], "inhibitedBy": ["y"], "mutedBy": ["z"] } },
            { "labels": { "alertname": "C" }, "annotations": null, "status": { "silencedBy": null } },
        ]);
        let answer = alertmanager(body.to_string().as_bytes()).unwrap();
        assert_eq!(names(&answer), ["A", "B", "C"]);
        assert_eq!(answer.alerts[0].summary.as_deref(), Some("s"));
        let quiet = |n: usize| {
            let alert = &answer.alerts[n];
            (alert.silenced, alert.inhibited, alert.muted)
        };
        assert_eq!(
            [quiet(0), quiet(1), quiet(2)],
            [(false, false, false), (true, true, true), (false, false, false)]
        );
    }

    #[test]
    fn one_that_cannot_be_read_costs_no_other() {
        let body = json!([{ "labels": { "alertname": 7 } }, { "labels": { "alertname": "A" } }, null, [1]]);
        let answer = alertmanager(body.to_string().as_bytes()).unwrap();
        assert_eq!((names(&answer), answer.unreadable), (vec!["A"], 3));
    }

    #[test]
    fn of_prometheus_only_what_fires_counts() {
        let alert = |name, state| json!({ "labels": { "alertname": name }, "state": state, "activeAt": "2026-01-01T00:00:00Z", "value": "1e+00" });
        let body = json!({ "status": "success", "data": { "alerts": [alert("A", "pending"), alert("B", "firing")] } });
        assert_eq!(names(&prometheus(body.to_string().as_bytes()).unwrap()), ["B"]);
        let refused =
            json!({ "status": "error", "errorType": "execution", "error": "out of memory" });
        let error = prometheus(refused.to_string().as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "the server could not answer: out of memory");
        let long = format!("out\u{1b}[31m of\nmemory {}", "x".repeat(1 << 20));
        let refused = json!({ "status": "error", "error": long }).to_string();
        let error = prometheus(refused.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("the server could not answer: out [31m of memory xx"), "{error}");
        assert!(error.len() < 300, "{error}");
    }

    #[test]
    fn what_is_no_answer_says_so() {
        for body in
            ["", "<html>login</html>", "{}", "null", "[", "\u{0}", "{\"status\":\"success\"}"]
        {
            assert!(prometheus(body.as_bytes()).is_err(), "{body}");
            assert!(alertmanager(body.as_bytes()).is_err(), "{body}");
            assert!(webhook(body.as_bytes()).is_err(), "{body}");
        }
        let error = alertmanager(b"<html>").unwrap_err().to_string();
        assert!(
            error.ends_with("is this the address of an Alertmanager with its API v2?"),
            "{error}"
        );
        let many = serde_json::to_vec(&vec![json!({ "labels": {} }); ALERTS_LIMIT + 1]).unwrap();
        assert!(
            matches!(alertmanager(&many), Err(AnswerError::TooMany(count)) if count == ALERTS_LIMIT + 1)
        );
        let third = json!({ "version": "3", "alerts": [] }).to_string();
        assert!(webhook(third.as_bytes()).unwrap_err().to_string().contains("version `3`"));
    }

    #[test]
    fn a_file_may_be_any_of_them() {
        let list = json!([{ "labels": { "alertname": "A" } }]);
        let pushed = json!({ "version": "4", "groupKey": "g", "truncatedAlerts": 0, "status": "firing",
            "receiver": "r", "alerts": [{ "status": "firing", "labels": { "alertname": "A" } },
            { "status": "resolved", "labels": { "alertname": "B" } }] });
        let asked = json!({ "status": "success", "data": { "alerts": [{ "labels": { "alertname": "A" }, "state": "firing" }] } });
        for body in [list, pushed, asked] {
            assert_eq!(names(&any(body.to_string().as_bytes()).unwrap()), ["A"]);
        }
        assert!(any(b"{}").unwrap_err().to_string().starts_with("these are no alerts"));
    }
}
