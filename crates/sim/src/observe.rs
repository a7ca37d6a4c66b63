//! Whoever wants to see everything that happens: the judge of the properties, the trace, a picture.

use std::sync::Arc;

use jiff::Timestamp;

use crate::store::{Commit, Key, Store};

/// Sees what happens in the simulated world, in the order in which it happens. Called under the store's
/// lock, before anybody else sees the change: it must not call the server.
pub trait Observer: Send {
    /// An object was made, changed or taken away.
    fn committed(&mut self, store: &Store, commit: &Commit);

    /// Something happened that is not an object's change.
    fn happened(&mut self, store: &Store, happening: &Happening);

    /// Somebody was told how an object is, or how all of a kind are.
    fn read(&mut self, _read: &Read) {}
}

/// A read that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// When, by the server's clock.
    pub at: Timestamp,
    /// Who: the name under which the request came.
    pub by: Arc<str>,
    /// Where the resource stands ([`Store::resource`]).
    pub resource: usize,
    /// The object; `None` for a list.
    pub key: Option<Key>,
}

/// When a request left the client; an extension of the request, set by whoever holds requests up on
/// their way. Without it, it is the time at which the server was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent(pub Timestamp);

/// What really happened to a machine or to an operator, whatever the API server has been told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    /// When, by the world's clock (not by that of the machine or the operator).
    pub at: Timestamp,
    /// The node's name, or the operator's.
    pub subject: String,
    /// What.
    pub what: What,
}

/// Why a machine goes down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// A reboot Pod of the operator passed the check ([`rerail_core::reboot_check`]) and acted.
    Pod {
        /// UID of the run for which the Pod was made.
        run: String,
        /// The attempt for which it was made.
        attempt: u32,
    },
    /// A person, another controller, or a script.
    Foreign(String),
    /// The machine by itself.
    Spontaneous,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The machine is there, and up.
    Appeared {
        /// The UID of its Node object.
        node_uid: String,
        /// The kernel's boot ID.
        boot_id: String,
    },
    /// The machine is gone for good, and its Node object with it.
    Vanished,
    /// A reboot Pod of the operator passed its check and will act.
    Acts(Cause),
    /// A reboot Pod of the operator ended without acting, with the reason.
    Refused(String),
    /// The machine goes down; its kubelet is silent from now on.
    Down(Cause),
    /// A kernel has started.
    Boot {
        /// The kernel's new boot ID.
        boot_id: String,
        /// Why the machine had gone down.
        cause: Cause,
    },
    /// The kubelet can, or cannot, run Pods: the truth, before it is reported.
    Ready(bool),
    /// A foreign condition became true, or false: the truth, before it is reported.
    Sick {
        /// The condition's type.
        condition: String,
        /// Whether it is true.
        on: bool,
    },
    /// An operator process started.
    OperatorStarted,
    /// An operator process ended: killed, or stopped in order.
    OperatorEnded {
        /// True if it was killed.
        killed: bool,
    },
    /// A fault was injected; a few words for people.
    Fault(String),
    /// etcd was restored from a backup: what has come since then never was, as far as anybody can read.
    Restored,
}
