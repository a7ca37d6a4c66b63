//! What can be done to single requests, and which of the faults of the safety document there are.

use clap::ValueEnum;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

/// What is done to one request of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
#[value(rename_all = "kebab-case")]
pub enum Spoil {
    /// 429 with Retry-After, as priority and fairness answers; nothing is done.
    Throttled,
    /// 500; half of them after the write was done, as when etcd answers too late.
    InternalError,
    /// 503; nothing is done.
    Unavailable,
    /// 504; half of them after the write was done.
    GatewayTimeout,
    /// 409 to a write, although nobody has changed the object.
    Conflict,
    /// 401, as when a token was rotated.
    Unauthorized,
    /// 403, as when a role was edited.
    Forbidden,
    /// 404, although it is there.
    NotFound,
    /// The connection is refused.
    Refused,
    /// The request is lost on its way, and nobody says so.
    RequestLost,
    /// It is done, and the connection breaks before the answer.
    ReplyLost,
    /// It is done, and the answer never comes.
    ReplyNever,
    /// It is done after half a minute, whoever still waits for it.
    SlowRequest,
    /// It is done, and answered after half a minute.
    SlowReply,
    /// It is done, and half of the answer's body comes.
    Truncated,
    /// It is delivered twice, and the second answer comes.
    Twice,
    /// A watch ends early, between two lines.
    WatchCut,
    /// A watch ends early, within a line.
    WatchTorn,
    /// A watch's connection is reset.
    WatchReset,
    /// A watch says nothing any more, and does not end.
    WatchStall,
    /// A watch has no bookmarks.
    WatchNoBookmarks,
    /// A watch says 410: everything has to be listed again.
    WatchResync,
    /// A watch is late, and so the types of objects are out of order.
    WatchLate,
}

impl Spoil {
    /// All of them.
    pub fn all() -> &'static [Spoil] {
        Spoil::value_variants()
    }

    /// As it is written on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// True for what befalls watches alone.
    pub fn is_of_watches(self) -> bool {
        !self.fits(&Method::GET, false) && !self.fits(&Method::PUT, false)
    }

    /// Whether it makes sense for such a request.
    pub fn fits(self, method: &Method, is_watch: bool) -> bool {
        match self {
            Spoil::Conflict => [Method::PUT, Method::PATCH].contains(method),
            Spoil::Twice => method != Method::GET,
            Spoil::WatchCut
            | Spoil::WatchTorn
            | Spoil::WatchReset
            | Spoil::WatchStall
            | Spoil::WatchNoBookmarks
            | Spoil::WatchResync
            | Spoil::WatchLate => is_watch,
            Spoil::NotFound | Spoil::Truncated => !is_watch,
            Spoil::Throttled
            | Spoil::InternalError
            | Spoil::Unavailable
            | Spoil::GatewayTimeout
            | Spoil::Unauthorized
            | Spoil::Forbidden
            | Spoil::Refused
            | Spoil::RequestLost
            | Spoil::ReplyLost
            | Spoil::ReplyNever
            | Spoil::SlowRequest
            | Spoil::SlowReply => true,
        }
    }

    /// The status, reason and message of an answer that is made up.
    pub fn answer(self) -> Option<(StatusCode, &'static str, &'static str)> {
        Some(match self {
            Spoil::Throttled => (
                StatusCode::TOO_MANY_REQUESTS,
                "TooManyRequests",
                "the server has received too many requests and has asked us to try again later",
            ),
            Spoil::InternalError => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalError",
                "Internal error occurred: etcdserver: request timed out",
            ),
            Spoil::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "apiserver is shutting down",
            ),
            Spoil::GatewayTimeout => (
                StatusCode::GATEWAY_TIMEOUT,
                "Timeout",
                "Timeout: request did not complete within the allotted timeout",
            ),
            Spoil::Conflict => (
                StatusCode::CONFLICT,
                "Conflict",
                "the object has been modified; please apply your changes to the latest version and try again",
            ),
            Spoil::Unauthorized => (StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized"),
            Spoil::Forbidden => {
                (StatusCode::FORBIDDEN, "Forbidden", "forbidden by this run's seed")
            }
            Spoil::NotFound => (StatusCode::NOT_FOUND, "NotFound", "not found by this run's seed"),
            Spoil::Refused
            | Spoil::RequestLost
            | Spoil::ReplyLost
            | Spoil::ReplyNever
            | Spoil::SlowRequest
            | Spoil::SlowReply
            | Spoil::Truncated
            | Spoil::Twice
            | Spoil::WatchCut
            | Spoil::WatchTorn
            | Spoil::WatchReset
            | Spoil::WatchStall
            | Spoil::WatchNoBookmarks
            | Spoil::WatchResync
            | Spoil::WatchLate => return None,
        })
    }
}

/// Whether a fault of the safety document is injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// All that it names.
    There,
    /// Some of it; what is missing.
    Partly(&'static str),
    /// Nothing of it yet; why.
    Pending(&'static str),
}

/// A fault of the safety document.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Its number there.
    pub id: &'static str,
    /// What is injected, and by which knob.
    pub says: &'static str,
    /// Whether it is there.
    pub state: State,
}

/// All faults of the safety document.
pub const FAULTS: &[Fault] = &[
    Fault {
        id: "FAULT-1",
        says: "an operator is killed before and after each of its requests (`kill`, exhaustive), and at drawn times; or is asked to end",
        state: State::There,
    },
    Fault {
        id: "FAULT-2",
        says: "an operator is stopped for 1 ms to 10 min, before or behind its fence",
        state: State::Partly("its timers go on while it is stopped"),
    },
    Fault {
        id: "FAULT-3",
        says: "one to three operators (`--operators` for more), of which one may be gone for good; a Lease that is stolen, deleted, or written back from an old copy; replies later than the Lease",
        state: State::There,
    },
    Fault {
        id: "FAULT-4",
        says: "wall clocks that are off by up to 4 s or an hour, drawn anew at each start; clocks since boot that run 5 % fast or slow; kubelets whose clocks jump back an hour, or ahead",
        state: State::There,
    },
    Fault {
        id: "FAULT-5",
        says: "every answer and every loss, request by request (`throttled` to `twice`, `--spoiled` of a thousand)",
        state: State::There,
    },
    Fault {
        id: "FAULT-6",
        says: "watches that are cut, torn, reset, mute, late, without bookmarks, or have to list again",
        state: State::Partly("lists are quorum reads, so that none is stale"),
    },
    Fault {
        id: "FAULT-7",
        says: "spells in which everything fails, or all writes do (a full etcd); etcd restored from a backup of up to 10 min ago, with everybody who speaks to it started anew, as its manual asks",
        state: State::There,
    },
    Fault {
        id: "FAULT-8",
        says: "people and foreign controllers cordon, uncordon, label, taint, delete and recreate nodes, and reboot them",
        state: State::There,
    },
    Fault {
        id: "FAULT-9",
        says: "machines boot slowly, twice, not at all, to a broken state, with their clocks a day behind or hours ahead, or tell an old boot ID",
        state: State::There,
    },
    Fault {
        id: "FAULT-10",
        says: "baseboard management controllers that lie",
        state: State::Pending("the operator speaks to none"),
    },
    Fault {
        id: "FAULT-11",
        says: "budgets that allow no eviction, evictions that fail, Pods that a finalizer keeps",
        state: State::There,
    },
    Fault {
        id: "FAULT-12",
        says: "storms of conditions and of alerts, which flap or come back, texts that are none; two Alertmanagers that are silent, hang, answer garbage, forget, are late, see nothing, or tell of alerts twice, of other clusters and of no node",
        state: State::There,
    },
    Fault {
        id: "FAULT-13",
        says: "partitions between an operator and the API server, one way or both; between nodes and the API server",
        state: State::Partly(
            "of other connections only those to Alertmanagers exist, which break for both operators at once",
        ),
    },
    Fault {
        id: "FAULT-14",
        says: "a policy whose budget or mode is edited, or that is suspended, deleted and made again; the whole cluster paused",
        state: State::Partly("one version of the operator and of its resources only"),
    },
    Fault {
        id: "FAULT-15",
        says: "sinks of notifications and diagnostics that hang",
        state: State::Pending("there are none"),
    },
    Fault {
        id: "FAULT-16",
        says: "admission webhooks that are away",
        state: State::Pending("the simulated server has no webhooks"),
    },
    Fault {
        id: "FAULT-17",
        says: "spells in which operators are cut off, stopped or away overlap, and end in another order than they began",
        state: State::Partly("of at most three operators, and of single machines"),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_listed_in_their_order_and_once() {
        for (at, fault) in FAULTS.iter().enumerate() {
            assert_eq!(fault.id, format!("FAULT-{}", at + 1));
        }
        assert_eq!(FAULTS.len(), 17);
    }

    #[test]
    fn every_request_can_be_spoiled_and_no_watch_by_what_ends_other_answers() {
        for (method, is_watch) in [(Method::GET, true), (Method::GET, false), (Method::PUT, false)]
        {
            let fitting: Vec<_> =
                Spoil::all().iter().filter(|spoil| spoil.fits(&method, is_watch)).collect();
            assert!(fitting.len() > 10);
            assert_eq!(fitting.contains(&&Spoil::WatchCut), is_watch);
            assert_eq!(fitting.contains(&&Spoil::Truncated), !is_watch);
        }
    }
}
