//! Asks one Alertmanager or one Prometheus what fires.

use jiff::{SignedDuration, Timestamp};
use rerail_core::words::quoted;
use serde::Deserialize;

use crate::{
    fetch::{Access, Fetch, FetchError, Fetched},
    shown::{self, AnswerError, Shown},
};

/// Whom to ask for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// An Alertmanager, at `/api/v2`.
    Alertmanager {
        /// Regular expression for the whole name of a receiver.
        receiver: String,
        /// Alerts that are silenced count.
        silenced: bool,
        /// Alerts that are inhibited count.
        inhibited: bool,
        /// Alerts that are muted count.
        muted: bool,
    },
    /// A Prometheus, at `/api/v1`.
    Prometheus,
}

/// What a server has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Alerts that fire and count.
    pub alerts: Vec<Shown>,
    /// How many could not be read.
    pub unreadable: usize,
    /// For how long the server has been up; `None` if it does not tell.
    pub up_for: Option<SignedDuration>,
}

/// Why a server has told nothing.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is no answer.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The answer is an error.
    #[error("the server answered {status}: {words}")]
    Status {
        /// HTTP status.
        status: u16,
        /// The beginning of what it said.
        words: String,
    },
    /// It does not answer in time.
    #[error("no answer within {0:?}")]
    Deadline(std::time::Duration),
    /// The answer says nothing.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

impl AskError {
    /// True if other credentials could help.
    pub fn is_about_access(&self) -> bool {
        matches!(
            self,
            AskError::Status { status: 401 | 403, .. } | AskError::Fetch(FetchError::Access(_))
        )
    }
}

impl Question {
    /// The address of the alerts, below the address of a server.
    pub fn alerts_url(&self, base: &str) -> String {
        let base = base.trim_end_matches('/');
        match self {
            Question::Alertmanager { receiver, silenced, inhibited, muted: _ } => {
                let mut query = form_urlencoded::Serializer::new(String::new());
                query.append_pair("active", "true");
                query.append_pair("silenced", &silenced.to_string());
                query.append_pair("inhibited", &inhibited.to_string());
                query.append_pair("receiver", receiver);
                format!("{base}/api/v2/alerts?{}", query.finish())
            }
            Question::Prometheus => format!("{base}/api/v1/alerts"),
        }
    }

    fn status_url(&self, base: &str) -> String {
        let base = base.trim_end_matches('/');
        match self {
            Question::Alertmanager { .. } => format!("{base}/api/v2/status"),
            Question::Prometheus => format!("{base}/api/v1/status/runtimeinfo"),
        }
    }

    fn read(&self, body: &[u8]) -> Result<shown::Answer, AnswerError> {
        match self {
            Question::Alertmanager { muted, .. } => {
                let mut answer = shown::alertmanager(body)?;
                answer.alerts.retain(|alert| *muted || !alert.muted);
                Ok(answer)
            }
            Question::Prometheus => shown::prometheus(body),
        }
    }

    fn started(&self, body: &[u8]) -> Option<Timestamp> {
        match self {
            Question::Alertmanager { .. } => {
                Some(serde_json::from_slice::<OfAlertmanager>(body).ok()?.uptime)
            }
            Question::Prometheus => {
                Some(serde_json::from_slice::<OfPrometheus>(body).ok()?.data.start_time)
            }
        }
    }
}

#[derive(Deserialize)]
struct OfAlertmanager {
    /// When it began, whatever the name.
    uptime: Timestamp,
}

#[derive(Deserialize)]
struct OfPrometheus {
    data: RuntimeInfo,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuntimeInfo {
    start_time: Timestamp,
}

/// Asks the server at an address.
///
/// # Errors
/// If there is no answer from which it is known what fires.
pub async fn ask(
    fetch: &dyn Fetch,
    question: &Question,
    base: &str,
    access: &Access,
) -> Result<Answered, AskError> {
    let answer = fetch.get(&question.alerts_url(base), access).await?;
    let answer = question.read(&good(&answer)?.body)?;
    // Afterwards, so that a server that has begun anew in between counts as young.
    let status = fetch.get(&question.status_url(base), access).await?;
    let up_for = match good(&status) {
        Ok(status) => question
            .started(&status.body)
            .zip(status.date)
            .map(|(started, now)| now.duration_since(started)),
        // What stands in between may let alerts through and nothing else.
        Err(AskError::Status { status: 401 | 403 | 404 | 405 | 501, .. }) => None,
        Err(error) => return Err(error),
    };
    Ok(Answered { alerts: answer.alerts, unreadable: answer.unreadable, up_for })
}

fn good(answer: &Fetched) -> Result<&Fetched, AskError> {
    if answer.status == 200 {
        return Ok(answer);
    }
    let words = String::from_utf8_lossy(&answer.body[..answer.body.len().min(200)]);
    Err(AskError::Status { status: answer.status, words: quoted(&words) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use futures::{FutureExt, future::BoxFuture};

    use super::*;

    /// Answers by address.
    struct Canned(BTreeMap<&'static str, (u16, &'static str)>);

    impl Fetch for Canned {
        fn get<'a>(
            &'a self,
            url: &'a str,
            _: &'a Access,
        ) -> BoxFuture<'a, Result<Fetched, FetchError>> {
            let date = Some("2026-01-01T01:00:00Z".parse().unwrap());
            let found = self.0.iter().find(|(path, _)| url.contains(*path));
            let answer = found.map(|(_, (status, body))| Fetched {
                status: *status,
                date,
                body: Bytes::from_static(body.as_bytes()),
            });
            async move { answer.ok_or_else(|| FetchError::Unreachable("refused".into())) }.boxed()
        }
    }

    fn alertmanager(muted: bool) -> Question {
        let receiver = "node-condition-k8s|a b".to_owned();
        Question::Alertmanager { receiver, silenced: false, inhibited: true, muted }
    }

    fn asked(
        question: &Question,
        answers: &[(&'static str, u16, &'static str)],
    ) -> Result<Answered, AskError> {
        let answers = answers.iter().map(|(path, status, body)| (*path, (*status, *body)));
        let fetch = Canned(answers.collect());
        let access = Access::default();
        ask(&fetch, question, "http://am/x/", &access).now_or_never().unwrap()
    }

    const MUTED: &str = r#"[{"labels":{"alertname":"A"},"status":{"mutedBy":["nights"]}}]"#;

    #[test]
    fn addresses_keep_the_path_of_the_server_and_escape() {
        assert_eq!(
            alertmanager(true).alerts_url("http://am/x/"),
            "http://am/x/api/v2/alerts?active=true&silenced=false&inhibited=true&receiver=node-condition-k8s%7Ca+b"
        );
        assert_eq!(Question::Prometheus.alerts_url("http://p"), "http://p/api/v1/alerts");
    }

    #[test]
    fn what_is_muted_counts_only_where_it_shall() {
        let answers = [
            ("v2/alerts", 200, MUTED),
            ("v2/status", 200, r#"{"uptime":"2026-01-01T00:00:00.5Z"}"#),
        ];
        let counts = asked(&alertmanager(true), &answers).unwrap();
        assert_eq!(counts.alerts.len(), 1);
        assert_eq!(counts.up_for, Some(SignedDuration::from_millis(3_599_500)));
        assert_eq!(asked(&alertmanager(false), &answers).unwrap().alerts.len(), 0);
    }

    #[test]
    fn a_server_that_does_not_tell_since_when_it_is_up_is_believed_and_one_that_breaks_off_is_not()
    {
        let with = |status, body| {
            asked(&alertmanager(true), &[("v2/alerts", 200, "[]"), ("v2/status", status, body)])
        };
        assert_eq!(with(404, "").unwrap().up_for, None);
        assert_eq!(with(200, "{}").unwrap().up_for, None);
        assert!(matches!(with(503, "away"), Err(AskError::Status { status: 503, .. })));
        let alone = asked(&alertmanager(true), &[("v2/alerts", 200, "[]")]);
        assert!(matches!(alone, Err(AskError::Fetch(_))));
    }

    #[test]
    fn an_error_says_what_the_server_said_in_one_line() {
        let error =
            asked(&Question::Prometheus, &[("alerts", 401, "<html>\n \u{1b} Unauthorized")]);
        let error = error.unwrap_err();
        assert!(error.is_about_access());
        assert_eq!(error.to_string(), "the server answered 401: <html> Unauthorized");
    }
}
