//! What is known about the cluster when a decision is made. Nothing here asks anybody: the operator
//! fills these in, and every time is on the operator's own clock unless it says "as written".

mod conditions;
mod labels;
mod text;

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use conditions::Conditions;
pub use labels::Labels;

/// Types of the conditions that kubelets and cloud providers write themselves. True is bad for all but
/// Ready (<https://kubernetes.io/docs/reference/node/node-status/#condition>).
pub const OF_KUBELET: [&str; 5] =
    ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"];

/// A node's `Ready` condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ready {
    /// Status `True`.
    True,
    /// Status `False`.
    False,
    /// Status `Unknown` or anything else, or no such condition: absence is not health.
    Unknown,
}

/// Identifies one report of a condition. Another tuple is newer evidence; nobody's clock is compared
/// with ours (planner.md, Evidence).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Hash)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// The condition's type.
    #[serde(rename = "type", with = "text")]
    pub condition_type: Arc<str>,
    /// The condition's status.
    #[serde(with = "text")]
    pub status: Arc<str>,
    /// `lastTransitionTime`, as written.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_transition_time: Option<Timestamp>,
    /// `lastHeartbeatTime`, as written.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_heartbeat_time: Option<Timestamp>,
}

/// One condition of a node, and what the operator's own clock saw of it. Its texts are shared between
/// the nodes that say the same: most conditions of most nodes do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConditionFact {
    /// The report itself.
    pub evidence: Evidence,
    /// The condition's reason, possibly empty.
    pub reason: Arc<str>,
    /// The condition's message, cut to [`MESSAGE_LIMIT`] bytes.
    pub message: Arc<str>,
    /// Since when the status is what it is: when the operator first saw it; at the operator's first
    /// list `lastTransitionTime`, never later than now.
    pub status_since: Timestamp,
    /// When the report last changed: when the operator first saw it; at the operator's first list
    /// `lastHeartbeatTime`, never later than now.
    pub changed_at: Timestamp,
}

impl ConditionFact {
    /// The condition's type.
    pub fn condition_type(&self) -> &str {
        &self.evidence.condition_type
    }

    /// The condition's status.
    pub fn status(&self) -> &str {
        &self.evidence.status
    }
}

/// How much of a condition's message is kept, in bytes. Longer ones are cut at a character boundary:
/// one node's 1 MB message must not cost the others memory (SAFE-16, SAFE-17).
pub const MESSAGE_LIMIT: usize = 1024;

/// The first [`MESSAGE_LIMIT`] bytes of a message, cut at a character boundary.
pub fn cut_message(message: &str) -> &str {
    let mut end = message.len().min(MESSAGE_LIMIT);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

/// Taint by which a person, or a fencing agent, says that a node's machine is off.
pub const OUT_OF_SERVICE_TAINT: &str = "node.kubernetes.io/out-of-service";

/// A node as decisions see it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodeFacts {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`; a node recreated under its old name has another.
    pub uid: String,
    /// `metadata.labels`.
    pub labels: Labels,
    /// True with a control-plane role label or taint.
    pub control_plane: bool,
    /// True once a deletion was asked for.
    pub deleting: bool,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// The run named by the annotation `rerail.dev/cordoned-by`.
    pub cordoned_by: Option<String>,
    /// True when `managedFields` gives `spec.unschedulable` to our field manager (protocol R9).
    pub cordon_field_ours: bool,
    /// The `Ready` condition.
    pub ready: Ready,
    /// `nodeInfo.bootID`; empty before the kubelet's first report.
    pub boot_id: String,
    /// Every condition by type, `Ready` included.
    pub conditions: Conditions,
    /// The annotation `rerail.dev/last-remediation`.
    pub last_remediation: LastRemediation,
    /// True with the label `rerail.dev/hold`.
    pub hold: bool,
    /// True with the label `rerail.dev/ignore`.
    pub ignore: bool,
    /// The mark by which another controller says that it is taking the node down (SAFE-7), as people
    /// know it: `taint …` or `annotation …`.
    pub claim: Option<String>,
    /// True with the taint [`OUT_OF_SERVICE_TAINT`]. Kubernetes goes by the same word: it then takes
    /// the node's pods and volumes for free.
    pub out_of_service: bool,
}

impl NodeFacts {
    /// The node is Ready, and nobody says that its machine is off.
    pub fn in_service(&self) -> bool {
        self.ready == Ready::True && !self.out_of_service
    }

    /// The kubelet's latest report: the heartbeat of `Ready`, as written.
    pub fn heartbeat(&self) -> Option<Timestamp> {
        self.conditions.get("Ready")?.evidence.last_heartbeat_time
    }

    /// Whose cordon this is, if the node is cordoned or marked at all.
    pub fn cordon(&self, run_uid: &str) -> Cordon {
        match (&self.cordoned_by, self.unschedulable) {
            (None, false) => Cordon::None,
            (None, true) => Cordon::Other,
            (Some(owner), unschedulable) if owner == run_uid => match unschedulable {
                true if self.cordon_field_ours => Cordon::Ours,
                true => Cordon::OursTakenOver,
                false => Cordon::OursLifted,
            },
            (Some(_), _) => Cordon::OtherRun,
        }
    }
}

/// Whose cordon a node bears, from one run's point of view (SAFE-6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cordon {
    /// Schedulable and unmarked.
    None,
    /// Cordoned with our mark, and the field is still ours.
    Ours,
    /// Our mark, and unschedulable, but somebody lifted our cordon and cordoned again (protocol R9).
    OursTakenOver,
    /// Our mark, but schedulable: somebody lifted our cordon.
    OursLifted,
    /// Cordoned without a mark: a person's, or another controller's.
    Other,
    /// Bears the mark of another run.
    OtherRun,
}

/// The node's memory of its runs: the annotation `rerail.dev/last-remediation`. It survives the
/// deletion of every NodeRemediation and a reinstallation of the operator (SAFE-14).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, Hash)]
#[serde(rename_all = "camelCase", default)]
pub struct LastRemediation {
    /// Sequence number of the next run of this node; part of its name.
    pub sequence: u64,
    /// Times of disruptive attempts on the machine, oldest first, at most [`ATTEMPTS_KEPT`].
    pub attempts: Vec<Timestamp>,
    /// Drains in a row that were blocked and rolled back.
    pub roll_backs: u32,
    /// The last run that ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<LastRun>,
    /// The reports of the trigger conditions at the end of the last run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
}

/// How many attempt times a node's annotation keeps; no policy may allow more in its window.
pub const ATTEMPTS_KEPT: usize = 32;

/// How many condition reports are kept with a run and on a node.
pub const EVIDENCE_KEPT: usize = 16;

/// The last run of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Hash)]
#[serde(rename_all = "camelCase")]
pub struct LastRun {
    /// UID of the run.
    pub uid: String,
    /// Name of the run.
    pub name: String,
    /// `Succeeded`, `Cancelled` or `Failed`.
    pub result: String,
    /// Why it ended so.
    pub reason: String,
    /// When it ended.
    pub end_time: Timestamp,
}

/// One entry of the kill switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// What is paused.
    pub scope: PauseScope,
    /// Who paused, and why, for people.
    pub text: String,
    /// When it ends by itself; `None` = never.
    pub until: Option<Timestamp>,
}

impl Pause {
    /// It has not ended by itself.
    pub fn lasts(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| until > now)
    }
}

/// What a pause covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PauseScope {
    /// Everything.
    All,
    /// The runs of one policy.
    Policy(String),
    /// One node.
    Node(String),
}

/// What people read while the kill switch cannot be read: when in doubt nothing is started.
pub const PAUSE_UNREADABLE: &str =
    "the ConfigMap rerail-pause cannot be read, which counts as paused";

/// The kill switch as last read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pauses(pub Vec<Pause>);

impl Pauses {
    /// The first entry that is in force for a node and policy: why it is paused, and until when.
    pub fn in_force(&self, node: &str, policy: &str, now: Timestamp) -> Option<&Pause> {
        self.0.iter().find(|pause| {
            let covered = match &pause.scope {
                PauseScope::All => true,
                PauseScope::Policy(name) => name == policy,
                PauseScope::Node(name) => name == node,
            };
            covered && pause.lasts(now)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_between_characters() {
        let short = "é".repeat(MESSAGE_LIMIT / 2);
        assert_eq!(cut_message(&short), short, "exactly as long as may be");
        let long = format!("x{}", "é".repeat(MESSAGE_LIMIT));
        // One more byte would be half a character.
        assert_eq!(cut_message(&long).len(), MESSAGE_LIMIT - 1);
        let wide = format!("xx{}", "🚂".repeat(MESSAGE_LIMIT));
        assert_eq!(cut_message(&wide).len(), MESSAGE_LIMIT - 2);
    }
}
