//! One line of the truth log.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Why a machine went down or booted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Cause {
    /// A reboot Pod of the operator passed the check and acted.
    Pod {
        /// UID of the run the Pod was made for.
        run: String,
        /// The attempt the Pod was made for.
        attempt: u32,
    },
    /// A test, or a person at the command line.
    Script,
    /// The machine by itself.
    Spontaneous,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EventKind {
    /// A Node object was made, or made again with another UID.
    Created,
    /// The Node object was deleted by the fleet.
    Removed,
    /// A reboot Pod passed the check and its command succeeded: the machine will go down.
    Act,
    /// A reboot Pod ended without acting.
    Refused,
    /// The machine lost power or hangs: its kubelet is silent from now on.
    Down,
    /// A kernel started: `bootID` is new.
    Boot,
    /// The kubelet reported Ready=True after it had not been so.
    Ready,
    /// The kubelet reported Ready=False after it had been True.
    NotReady,
    /// A Pod of the operator started or ended.
    Pod,
    /// A foreign condition was set or cleared.
    Condition,
    /// A fault was injected, or all faults were cleared.
    Fault,
}

/// One thing that really happened. What a field does not apply to, it is absent from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TruthEvent {
    /// When, to the microsecond.
    #[serde(serialize_with = "micros")]
    pub t: Timestamp,
    /// What.
    pub event: EventKind,
    /// Name of the node.
    pub node: String,
    /// UID of the Node object.
    #[serde(rename = "nodeUID")]
    pub node_uid: String,
    /// The *kernel's* boot ID after the event.
    #[serde(rename = "bootID")]
    pub boot_id: String,
    /// The kernel's boot ID before a boot.
    #[serde(rename = "previousBootID", default, skip_serializing_if = "Option::is_none")]
    pub previous_boot_id: Option<String>,
    /// Zone and rack.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Value of the node's label `pool`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pool: String,
    /// True for a control-plane node.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub control_plane: bool,
    /// Why, for acts, power and boots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// For acts: `spec.unschedulable` in a read made right before the act; absent if that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordoned: Option<bool>,
    /// For acts: the cordon's owner mark in the same read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordoned_by: Option<String>,
    /// A few words for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

impl TruthEvent {
    /// Run and attempt, if a Pod of the operator caused this.
    pub fn pod_cause(&self) -> Option<(&str, u32)> {
        match &self.cause {
            Some(Cause::Pod { run, attempt }) => Some((run, *attempt)),
            _ => None,
        }
    }
}

impl fmt::Display for TruthEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6} {:?} {}", self.t, self.event, self.node)?;
        if let Some(cause) = &self.cause {
            match cause {
                Cause::Pod { run, attempt } => write!(f, " by run {run} attempt {attempt}")?,
                Cause::Script => write!(f, " by script")?,
                Cause::Spontaneous => write!(f, " by itself")?,
            }
        }
        if self.event == EventKind::Boot {
            write!(f, " boot ID {}", self.boot_id)?;
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

fn micros<S: serde::Serializer>(t: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&crate::clock::micros(*t))
}
