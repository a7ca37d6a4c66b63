//! Adapter for answers of the Eviction API: a recorded HTTP answer → [`EvictionReply`], and the
//! prose of `ours` → the outcome and the wait it asks for.

use jiff::{SignedDuration, Timestamp};
use rerail_core::drain::eviction::{EvictionOutcome, EvictionReply, StatusBody, StatusCause};
use rerail_core::drain::progress::{DrainProgress, PodRef};
use serde_json::Value;

use super::{Case, FileReport, Verdict, note_unread, plain};

const CASE_FIELDS: [&str; 8] =
    ["name", "http", "headers", "body", "podTerminating", "kubectl", "kube_rs_evict", "ours"];

/// What the prose asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Expectation {
    /// The deletion began.
    Accepted,
    /// Nothing left to do for this pod.
    Done,
    /// The name belongs to another pod.
    Replaced,
    /// A budget says no; what the prose names has to be told. `at_least` is the shortest wait.
    Blocked { budget: Option<String>, needs: Option<u32>, has: Option<u32>, at_least: Option<i64> },
    /// More than one budget.
    MultipleBudgets,
    /// Overload, no budget; the wait in seconds.
    Throttled(Option<i64>),
    /// Retried after exactly these seconds, for a reason that is no exhausted budget.
    RetryAfter(i64),
    /// Retried after a while, soon.
    Retry,
    /// Retried with a wait that grows.
    Backoff,
    /// Retried after 30 s or more.
    Slowly,
    /// Never retried.
    Permanent,
    /// Not evicted again while it is on its way out.
    WaitForDeletion,
}

/// Runs all cases of a file.
pub(super) fn run(entries: &[Value]) -> FileReport {
    let mut report = FileReport::default();
    for (index, entry) in entries.iter().enumerate() {
        let name = entry.get("name").map_or_else(|| format!("case {}", index + 1), plain);
        note_unread(&mut report.notes, &name, entry, &CASE_FIELDS);
        let verdict = run_case(entry).unwrap_or_else(Verdict::Wrong);
        report.cases.push(Case { name, verdict });
    }
    report
}

fn run_case(case: &Value) -> Result<Verdict, String> {
    let reply = reply(case)?;
    let prose = prose(case)?;
    let expected =
        Expectation::read(prose).ok_or_else(|| format!("cannot read the expectation `{prose}`"))?;
    let outcome = EvictionOutcome::from_reply(&reply);
    Ok(match expected.holds(&outcome) {
        true => Verdict::Same,
        false => Verdict::Wrong(format!(
            "expected {expected:?}, got {outcome:?}, waits {} s",
            wait_seconds(&outcome, 1)
        )),
    })
}

/// The prose about ours; "same" means kubectl's.
fn prose(case: &Value) -> Result<&str, String> {
    let text = |key: &str| case.get(key).and_then(Value::as_str).map(str::trim);
    match text("ours") {
        Some(ours) if ours.eq_ignore_ascii_case("same") || ours.starts_with("same as kubectl") => {
            text("kubectl").ok_or_else(|| "cannot read the expectation: same as what?".to_owned())
        }
        Some(ours) => Ok(ours),
        None => Err("cannot read the expectation: no text in `ours`".to_owned()),
    }
}

/// A recorded answer → what the operator would make of it.
fn reply(case: &Value) -> Result<EvictionReply, String> {
    let http = case.get("http").and_then(Value::as_u64).and_then(|n| u16::try_from(n).ok());
    let pod_terminating = case.get("podTerminating");
    Ok(EvictionReply {
        http: http.ok_or("malformed: `http` is no status code")?,
        retry_after: case.get("headers").and_then(retry_after),
        status: case.get("body").and_then(status),
        pod_terminating: match pod_terminating {
            None => false,
            Some(value) => value.as_bool().ok_or("malformed: `podTerminating` is no boolean")?,
        },
    })
}

fn retry_after(headers: &Value) -> Option<u32> {
    let headers = headers.as_object()?;
    let (_, value) = headers.iter().find(|(key, _)| key.eq_ignore_ascii_case("retry-after"))?;
    plain(value).trim().parse().ok()
}

/// The body, if it is a JSON object; proxies and the overload filter answer plain text.
fn status(body: &Value) -> Option<StatusBody> {
    let object = body.as_object()?;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or("").to_owned();
    let details = object.get("details");
    let cause = |cause: &Value| StatusCause {
        reason: text(cause.get("reason")),
        message: text(cause.get("message")),
    };
    let number = |value: Option<&Value>| value.and_then(Value::as_u64);
    Some(StatusBody {
        failure: object.get("status").and_then(Value::as_str) == Some("Failure"),
        reason: text(object.get("reason")),
        message: text(object.get("message")),
        code: number(object.get("code")).and_then(|n| u16::try_from(n).ok()).unwrap_or(0),
        details_kind: text(details.and_then(|d| d.get("kind"))),
        causes: details
            .and_then(|d| d.get("causes"))
            .and_then(Value::as_array)
            .map(|causes| causes.iter().map(cause).collect())
            .unwrap_or_default(),
        retry_after_seconds: number(details.and_then(|d| d.get("retryAfterSeconds")))
            .and_then(|n| u32::try_from(n).ok()),
    })
}

impl Expectation {
    /// Reads the prose by its key words, the most specific first.
    fn read(prose: &str) -> Option<Self> {
        let text = prose.to_lowercase();
        let has = |word: &str| text.contains(word);
        let seconds = number_after(&text, "retry after ");
        Some(if has("multiplepdb") || has("more than one poddisruptionbudget") {
            Self::MultipleBudgets
        } else if text.starts_with("blocked") {
            Self::Blocked {
                budget: field(prose, "pdb"),
                needs: field(prose, "desired").and_then(|n| n.parse().ok()),
                has: field(prose, "current").and_then(|n| n.parse().ok()),
                at_least: number_after(&text, ">="),
            }
        } else if has("throttl") || has("do not report a pdb") {
            Self::Throttled(seconds)
        } else if has("permanent") {
            Self::Permanent
        } else if has("slowly") || has("slow retry") {
            Self::Slowly
        } else if text.starts_with("accepted") {
            Self::Accepted
        } else if has("new pod") {
            Self::Replaced
        } else if has("wait for deletion") || has("wait for the deletion") {
            Self::WaitForDeletion
        } else if let Some(seconds) = seconds {
            Self::RetryAfter(seconds)
        } else if has("backoff") || has("back-off") {
            Self::Backoff
        } else if text.starts_with("retry") {
            Self::Retry
        } else if text.split(|c: char| !c.is_alphanumeric()).any(|word| word == "done") {
            Self::Done
        } else {
            return None;
        })
    }

    /// True if the outcome, and the wait that the drain loop makes of it, are as expected.
    fn holds(&self, outcome: &EvictionOutcome) -> bool {
        use EvictionOutcome as O;
        let wait = wait_seconds(outcome, 1);
        match self {
            Self::Accepted => *outcome == O::Accepted,
            Self::Done => matches!(outcome, O::Gone | O::ReplacedByOther),
            Self::Replaced => *outcome == O::ReplacedByOther,
            Self::MultipleBudgets => matches!(outcome, O::MultipleBudgets { .. }),
            Self::Throttled(seconds) => {
                matches!(outcome, O::Throttled { .. }) && seconds.is_none_or(|s| s == wait)
            }
            Self::RetryAfter(seconds) => {
                wait == *seconds
                    && matches!(outcome, O::BudgetNotObserved { .. } | O::ServerError { .. })
            }
            Self::Retry => {
                !outcome.permanent()
                    && wait <= 10
                    && !matches!(outcome, O::Accepted | O::Gone | O::ReplacedByOther)
            }
            Self::Backoff => {
                matches!(outcome, O::ServerError { .. }) && wait_seconds(outcome, 2) > wait
            }
            Self::Slowly => !outcome.permanent() && outcome.blocked_by_budget() && wait >= 30,
            Self::Permanent => outcome.permanent(),
            Self::WaitForDeletion => *outcome == O::NamespaceTerminating { pod_terminating: true },
            Self::Blocked { budget, needs, has, at_least } => {
                let O::BlockedByBudget { budget: b, needs: n, has: h, .. } = outcome else {
                    return false;
                };
                (budget.is_none() || budget == b)
                    && (needs.is_none() || needs == n)
                    && (has.is_none() || has == h)
                    && at_least.is_none_or(|s| wait >= s)
            }
        }
    }
}

/// How long the drain loop waits after `times` such answers in a row, in seconds.
fn wait_seconds(outcome: &EvictionOutcome, times: u32) -> i64 {
    let mut progress = DrainProgress::new();
    let uid = "uid".to_owned();
    let pod = PodRef { namespace: "default".to_owned(), name: "pod".to_owned(), uid };
    let now = Timestamp::UNIX_EPOCH;
    for _ in 0..times {
        progress.record(&pod, outcome.clone(), now);
    }
    let wait = progress.not_before(&pod.uid).map(|due| due.duration_since(now));
    wait.unwrap_or(SignedDuration::ZERO).as_secs()
}

/// The number that follows `marker`: "retry after 10s" → 10.
fn number_after(text: &str, marker: &str) -> Option<i64> {
    let (_, rest) = text.split_once(marker)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// The value of `key` in "Blocked{pdb:'web',desired:2,current:2}".
fn field(prose: &str, key: &str) -> Option<String> {
    let (_, rest) = prose.split_once('{')?;
    let (inside, _) = rest.split_once('}')?;
    inside.split(',').find_map(|part| {
        let (name, value) = part.split_once(':')?;
        (name.trim() == key).then(|| value.trim().trim_matches(['\'', '"']).to_owned())
    })
}
