//! What happens to a request, and how a stream ends.

use std::time::Duration;

use serde_json::json;

use crate::Asked;

/// What happens to a request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The API server never sees it: throttled, failing, starting up, or a gateway in between.
    Instead(Reply),
    /// The API server has done it, and the client does not learn so.
    Lost(Reply),
    /// It is on its way for this long, and arrives even if the client has given it up meanwhile.
    Late(Duration),
    /// It is done at once, and the answer is on its way for this long.
    SlowReply(Duration),
    /// It is done, and the connection breaks in the middle of the answer's body.
    CutReply,
    /// A watch that is opened, with an ERROR event 410 and nothing else: its version is too old.
    Expired,
}

/// What a client gets that does not get the API server's answer.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A status with a body as the API server writes it.
    Status {
        /// The HTTP status code.
        code: u16,
        /// The header `Retry-After`, in seconds.
        retry_after: Option<u32>,
    },
    /// An orderly end of the connection, without an answer.
    Closed,
    /// A reset of the connection.
    Reset,
    /// No answer, on a connection that stays open.
    Silence,
}

impl Reply {
    /// A status without `Retry-After`.
    pub fn status(code: u16) -> Self {
        Reply::Status { code, retry_after: None }
    }

    /// 429 that asks to come again after so many seconds.
    pub fn throttled(seconds: u32) -> Self {
        Reply::Status { code: 429, retry_after: Some(seconds) }
    }
}

/// How a watch that is open ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// In good order, as at its timeout.
    Clean,
    /// In the middle of a line, and of the chunked body.
    HalfLine,
    /// By a TCP reset.
    Reset,
    /// Not at all: the connection is alive, and nothing comes any more.
    Mute,
    /// With an ERROR event 410: the versions that it needs are compacted away.
    Expired,
}

/// What a client that is cut in mid-line has got of it.
pub(crate) const HALF_LINE: &str = r#"{"type":"MODIFIED","object":{"kind":"#;

/// The body of a made-up answer. It names the object, so that it lies well.
pub(crate) fn status_body(asked: &Asked, code: u16, retry_after: Option<u32>) -> String {
    let status = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": format!("{} {} {:?}: made up by the fault proxy", asked.verb, asked.resource, asked.name),
        "reason": reason(asked, code),
        "details": {
            "name": asked.name,
            "kind": asked.resource.split('/').next(),
            "retryAfterSeconds": retry_after.unwrap_or(0),
        },
        "code": code,
    });
    status.to_string()
}

/// The line of a watch that says that it has to begin anew.
pub(crate) fn expired_event(asked: &Asked) -> String {
    let status = status_body(asked, 410, None);
    format!("{{\"type\":\"ERROR\",\"object\":{status}}}\n")
}

fn reason(asked: &Asked, code: u16) -> &'static str {
    match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 if asked.verb == "create" => "AlreadyExists",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    }
}
