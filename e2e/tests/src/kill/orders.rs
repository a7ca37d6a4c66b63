//! What a dying operator and its parent say to each other, one JSON document per line: orders on its
//! standard input, what it does on its standard output.

use std::fmt;

use serde::{Deserialize, Serialize};

/// When around a request the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Moment {
    /// The request is not sent.
    Before,
    /// The API server has answered, so it has committed what was asked; nobody in the operator has
    /// seen the answer.
    After,
}

/// One request that was counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Counted from 1 since the latest order.
    pub number: usize,
    /// The Kubernetes verb.
    pub verb: String,
    /// The resource with its subresource, such as `pods/eviction`.
    pub resource: String,
}

/// Which request kills.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Which {
    /// The one with this number since the order, from 1.
    Number(usize),
    /// The first one of this kind since the order.
    First {
        /// The verb.
        verb: String,
        /// The resource.
        resource: String,
    },
}

/// Where an operator dies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillPoint {
    /// At which request.
    pub which: Which,
    /// Before it is sent or after it is answered.
    pub moment: Moment,
}

/// What the parent wants. Each order starts the count anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Count, and live.
    Live,
    /// Count, and die there.
    Die(KillPoint),
}

/// The last words of an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dies {
    /// At this request.
    pub request: Request,
    /// At this moment of it.
    pub moment: Moment,
}

/// What the process says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// The latest order is taken; requests count from here.
    Counting,
    /// A request is about to be sent.
    Request(Request),
    /// It ends now.
    Dies(Dies),
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Moment::Before => "before",
            Moment::After => "after",
        })
    }
}

impl fmt::Display for KillPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.which {
            Which::Number(number) => write!(f, "{} request {number}", self.moment),
            Which::First { verb, resource } => {
                write!(f, "{} the first {verb} {resource}", self.moment)
            }
        }
    }
}

impl Which {
    /// Whether this request is the one.
    pub(super) fn is(&self, request: &Request) -> bool {
        match self {
            Which::Number(number) => request.number == *number,
            Which::First { .. } => self.is_kind_of(request),
        }
    }

    /// Whether it is a kind, and this request is of it.
    pub(super) fn is_kind_of(&self, request: &Request) -> bool {
        match self {
            Which::Number(_) => false,
            Which::First { verb, resource } => {
                (&request.verb, &request.resource) == (verb, resource)
            }
        }
    }
}
