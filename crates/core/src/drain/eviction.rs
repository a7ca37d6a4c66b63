//! One answer of the Eviction API → what it means for the pod (contracts: Eviction API, E1–E11, and
//! what was observed on a real API server).
//!
//! The answer may come from a proxy, a webhook or a broken server: every text is taken as hostile,
//! the classification is total, and nothing here counts a pod as gone: only its absence does.

/// Shortest and longest wait, in seconds, that a server's `Retry-After` can ask for.
pub const RETRY_AFTER_RANGE: (u32, u32) = (1, 60);
/// Wait in seconds when the server did not say: the budget is not observed yet, or timed out (E5–E7).
const BUDGET_RETRY_SECONDS: u32 = 10;
/// Wait in seconds when the server is overloaded and did not say (E10).
const THROTTLED_RETRY_SECONDS: u32 = 1;
/// Longest text kept from an answer, in characters.
const MESSAGE_LIMIT: usize = 300;
/// Longest name that Kubernetes gives an object, in bytes.
const NAME_LIMIT: usize = 253;
/// Cause of a 403 for an object in a namespace that is being deleted.
const NAMESPACE_CAUSE: &str = "NamespaceTerminating";

/// The answer as received. Missing texts are empty, missing numbers 0 or `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EvictionReply {
    /// HTTP status code; 0 if no answer came.
    pub http: u16,
    /// Header `Retry-After`, in seconds; `None` if missing or a date.
    pub retry_after: Option<u32>,
    /// The body, if it is a Kubernetes `Status`.
    pub status: Option<StatusBody>,
    /// True if a fresh read shows a deletion timestamp on the pod (same UID).
    pub pod_terminating: bool,
}

/// The fields of a Kubernetes `Status` that matter here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatusBody {
    /// True if `status` is `Failure`. Older servers answer HTTP 201 with a failure in the body.
    pub failure: bool,
    /// Machine-readable reason, e.g. `TooManyRequests`.
    pub reason: String,
    /// Text for people.
    pub message: String,
    /// The code inside the body; 0 if missing.
    pub code: u16,
    /// `details.kind`.
    pub details_kind: String,
    /// `details.causes`.
    pub causes: Vec<StatusCause>,
    /// `details.retryAfterSeconds`; `None` or 0 if missing.
    pub retry_after_seconds: Option<u32>,
}

/// One entry of `details.causes`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatusCause {
    /// Machine-readable reason, e.g. `DisruptionBudget`.
    pub reason: String,
    /// Text for people.
    pub message: String,
}

/// What the answer means. Every wait is in seconds, within [`RETRY_AFTER_RANGE`]; every message is
/// one line of at most 300 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EvictionOutcome {
    /// The deletion began. Wait until the pod is seen gone.
    Accepted,
    /// 404: no such pod.
    Gone,
    /// 409: the name now belongs to another pod (UID precondition); never evict that one.
    ReplacedByOther,
    /// A PodDisruptionBudget allows no disruption now.
    BlockedByBudget {
        /// Name of the budget, if the answer tells it.
        budget: Option<String>,
        /// Healthy pods the budget needs, if told.
        needs: Option<u32>,
        /// Healthy pods there are, if told.
        has: Option<u32>,
        /// The server's text.
        message: String,
        /// Wait, if the server asks for one; it usually does not (E5).
        retry_after: Option<u32>,
    },
    /// The budget's controller has not caught up (E5, E7), or the budget could not be updated (E6).
    BudgetNotObserved {
        /// Name of the budget, if the answer tells it.
        budget: Option<String>,
        /// The server's text.
        message: String,
        /// Wait; 10 if the server does not say.
        retry_after: u32,
    },
    /// The API server is overloaded; no budget is involved (E10).
    Throttled {
        /// The server's text.
        message: String,
        /// Wait; 1 if the server does not say.
        retry_after: u32,
    },
    /// More than one PodDisruptionBudget selects the pod, which the API does not support (E3).
    MultipleBudgets {
        /// The server's text.
        message: String,
    },
    /// The namespace is being deleted.
    NamespaceTerminating {
        /// True: the pod goes with it, wait. False: its turn will come, try again.
        pod_terminating: bool,
    },
    /// 403: the operator may not evict, or an admission webhook says no. Permanent.
    Forbidden {
        /// The server's text.
        message: String,
    },
    /// The budget's status is out of its range; its controller heals it (E5).
    BudgetMisbehaving {
        /// The server's text.
        message: String,
    },
    /// The request itself was refused (400, 405, 422 and the like). Permanent.
    Rejected {
        /// HTTP status code.
        http: u16,
        /// The server's text.
        message: String,
    },
    /// The server failed, or no answer came: the eviction may or may not have begun.
    ServerError {
        /// HTTP status code; 0 if no answer came.
        http: u16,
        /// The server's text.
        message: String,
        /// Wait, if the server asks for one.
        retry_after: Option<u32>,
    },
}

impl EvictionOutcome {
    /// Reads an answer. Total.
    #[must_use]
    pub fn from_reply(reply: &EvictionReply) -> Self {
        let body = reply.status.as_ref();
        let failed_body = body.filter(|b| b.failure || b.code >= 400);
        if (200..300).contains(&reply.http) && failed_body.is_none() {
            return Self::Accepted;
        }
        let code = effective_code(reply.http, failed_body);
        let message = tidy(body.map_or("", |b| b.message.as_str()));
        let retry_after = retry_after(reply);
        match code {
            404 => Self::Gone,
            409 => Self::ReplacedByOther,
            429 => too_many_requests(body, message, retry_after),
            403 => forbidden(body, message, reply.pod_terminating),
            _ if mentions(&message, "more than one poddisruptionbudget") => {
                Self::MultipleBudgets { message }
            }
            504 => gateway_timeout(message, retry_after),
            // 401: a token being rotated; 408, 425: the server asks to come again.
            400..=499 if !matches!(code, 401 | 408 | 425) => Self::Rejected { http: code, message },
            _ => Self::ServerError { http: code, message, retry_after },
        }
    }

    /// The request got no answer (connection lost, deadline passed).
    #[must_use]
    pub fn no_answer(message: &str) -> Self {
        Self::ServerError { http: 0, message: tidy(message), retry_after: None }
    }

    /// True if a PodDisruptionBudget stands in the way: a change of a budget is a reason to try
    /// again at once.
    #[must_use]
    pub fn blocked_by_budget(&self) -> bool {
        match self {
            Self::BlockedByBudget { .. }
            | Self::BudgetNotObserved { .. }
            | Self::MultipleBudgets { .. }
            | Self::BudgetMisbehaving { .. } => true,
            Self::Accepted
            | Self::Gone
            | Self::ReplacedByOther
            | Self::Throttled { .. }
            | Self::NamespaceTerminating { .. }
            | Self::Forbidden { .. }
            | Self::Rejected { .. }
            | Self::ServerError { .. } => false,
        }
    }

    /// True if asking again cannot help.
    #[must_use]
    pub fn permanent(&self) -> bool {
        match self {
            Self::Forbidden { .. } | Self::Rejected { .. } => true,
            Self::Accepted
            | Self::Gone
            | Self::ReplacedByOther
            | Self::BlockedByBudget { .. }
            | Self::BudgetNotObserved { .. }
            | Self::Throttled { .. }
            | Self::MultipleBudgets { .. }
            | Self::NamespaceTerminating { .. }
            | Self::BudgetMisbehaving { .. }
            | Self::ServerError { .. } => false,
        }
    }

    /// Name of the budget in the way, if the answer told it.
    #[must_use]
    pub fn budget(&self) -> Option<&str> {
        match self {
            Self::BlockedByBudget { budget, .. } | Self::BudgetNotObserved { budget, .. } => {
                budget.as_deref()
            }
            Self::Accepted
            | Self::Gone
            | Self::ReplacedByOther
            | Self::Throttled { .. }
            | Self::MultipleBudgets { .. }
            | Self::NamespaceTerminating { .. }
            | Self::Forbidden { .. }
            | Self::BudgetMisbehaving { .. }
            | Self::Rejected { .. }
            | Self::ServerError { .. } => None,
        }
    }

    /// The server's text, or a sentence of ours where it has none.
    #[must_use]
    pub fn message(&self) -> &str {
        let (text, instead) = match self {
            Self::Accepted => ("", "eviction accepted"),
            Self::Gone => ("", "the pod is gone"),
            Self::ReplacedByOther => ("", "another pod has taken the name"),
            Self::BlockedByBudget { message, .. } => {
                (message.as_str(), "a disruption budget allows no eviction now")
            }
            Self::BudgetNotObserved { message, .. } => {
                (message.as_str(), "the disruption budget is still being processed")
            }
            Self::Throttled { message, .. } => (message.as_str(), "the API server is overloaded"),
            Self::MultipleBudgets { message } => {
                (message.as_str(), "more than one PodDisruptionBudget selects the pod")
            }
            Self::NamespaceTerminating { .. } => ("", "the namespace is being deleted"),
            Self::Forbidden { message } => (message.as_str(), "the eviction is forbidden"),
            Self::BudgetMisbehaving { message } => {
                (message.as_str(), "the status of the disruption budget is out of range")
            }
            Self::Rejected { message, .. } => (message.as_str(), "the eviction was refused"),
            Self::ServerError { message, .. } => (message.as_str(), "the API server failed"),
        };
        if text.is_empty() { instead } else { text }
    }
}

/// The HTTP code, or, where a 2xx carries a failure, the code or reason in the body.
fn effective_code(http: u16, failed_body: Option<&StatusBody>) -> u16 {
    let Some(body) = failed_body.filter(|_| (200..300).contains(&http)) else {
        return http;
    };
    if body.code >= 400 {
        return body.code;
    }
    match body.reason.as_str() {
        "BadRequest" => 400,
        "Unauthorized" => 401,
        "Forbidden" => 403,
        "NotFound" => 404,
        "MethodNotAllowed" => 405,
        "Conflict" => 409,
        "Invalid" => 422,
        "TooManyRequests" => 429,
        "Timeout" => 504,
        _ => 500,
    }
}

/// The header, else the body; 0 counts as not said.
fn retry_after(reply: &EvictionReply) -> Option<u32> {
    let body = reply.status.as_ref().and_then(|b| b.retry_after_seconds);
    reply
        .retry_after
        .filter(|s| *s > 0)
        .or(body.filter(|s| *s > 0))
        .map(|s| s.clamp(RETRY_AFTER_RANGE.0, RETRY_AFTER_RANGE.1))
}

/// 429: a budget says no only if a cause says so (E10).
fn too_many_requests(
    body: Option<&StatusBody>,
    message: String,
    retry_after: Option<u32>,
) -> EvictionOutcome {
    let cause = body.and_then(|b| b.causes.iter().find(|c| c.reason == "DisruptionBudget"));
    let Some(cause) = cause else {
        let retry_after = retry_after.unwrap_or(THROTTLED_RETRY_SECONDS);
        return EvictionOutcome::Throttled { message, retry_after };
    };
    let told = BudgetText::parse(&cause.message);
    let message = if cause.message.is_empty() { message } else { tidy(&cause.message) };
    let processing = mentions(&cause.message, "still being processed");
    // A wait without numbers is the same case in other words: exhausted budgets name no wait (E5).
    if processing || (retry_after.is_some() && told.needs.is_none()) {
        let retry_after = retry_after.unwrap_or(BUDGET_RETRY_SECONDS);
        return EvictionOutcome::BudgetNotObserved { budget: told.budget, message, retry_after };
    }
    let BudgetText { budget, needs, has } = told;
    EvictionOutcome::BlockedByBudget { budget, needs, has, message, retry_after }
}

/// 403: the namespace goes, the budget's status is broken (E5), or we may not.
fn forbidden(body: Option<&StatusBody>, message: String, pod_terminating: bool) -> EvictionOutcome {
    let namespace = body.is_some_and(|b| b.causes.iter().any(|c| c.reason == NAMESPACE_CAUSE));
    if namespace {
        return EvictionOutcome::NamespaceTerminating { pod_terminating };
    }
    let kind = body.map_or("", |b| b.details_kind.as_str());
    let budget = ["poddisruptionbudget", "poddisruptionbudgets"]
        .iter()
        .any(|name| kind.eq_ignore_ascii_case(name))
        || mentions(&message, "pdb disruptions allowed is negative")
        || mentions(&message, "disruptedpods map too big");
    if budget {
        EvictionOutcome::BudgetMisbehaving { message }
    } else {
        EvictionOutcome::Forbidden { message }
    }
}

/// 504: the budget was written by others again and again (E6), or the server was slow.
fn gateway_timeout(message: String, retry_after: Option<u32>) -> EvictionOutcome {
    let retry_after = retry_after.unwrap_or(BUDGET_RETRY_SECONDS);
    if mentions(&message, "poddisruptionbudget") {
        let budget = message.split('"').nth(1).and_then(object_name);
        EvictionOutcome::BudgetNotObserved { budget, message, retry_after }
    } else {
        EvictionOutcome::ServerError { http: 504, message, retry_after: Some(retry_after) }
    }
}

/// What "The disruption budget NAME needs N healthy pods and has M currently" tells.
#[derive(Default)]
struct BudgetText {
    budget: Option<String>,
    needs: Option<u32>,
    has: Option<u32>,
}

impl BudgetText {
    /// Reads what it can; any text is allowed.
    fn parse(text: &str) -> Self {
        let Some((_, rest)) = text.split_once("disruption budget ") else {
            return Self::default();
        };
        let mut words = rest.split_whitespace();
        let budget = words.next().and_then(object_name);
        let after = |word: &str| {
            let mut words = rest.split_whitespace().skip(1).skip_while(|w| *w != word);
            words.nth(1).and_then(|number| number.parse().ok())
        };
        Self { budget, needs: after("needs"), has: after("has") }
    }
}

/// A word that can be the name of a Kubernetes object.
fn object_name(word: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let ok = !word.is_empty() && word.len() <= NAME_LIMIT && word.chars().all(allowed);
    ok.then(|| word.to_owned())
}

/// True if `text` contains `part` (given in lower case), whatever the case.
fn mentions(text: &str, part: &str) -> bool {
    text.to_ascii_lowercase().contains(part)
}

/// One line, bounded, without control characters: safe for a status, a log and a terminal.
fn tidy(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut line: String = text.chars().take(MESSAGE_LIMIT).map(clean).collect();
    if text.chars().nth(MESSAGE_LIMIT).is_some() {
        line.pop();
        line.push('…');
    }
    line.trim().to_owned()
}

#[cfg(test)]
mod tests;
