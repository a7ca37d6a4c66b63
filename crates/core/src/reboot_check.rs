//! The reboot Pod's last check: one pure function that the Pod on a real machine, the fake
//! machines of the end-to-end tests and the simulator all call.
//!
//! Keeps SAFE-1 (at most one boot per attempt), SAFE-3 (intent first) and SAFE-13 (identity):
//! the Pod of a dead leader, of a cancelled run or of an earlier attempt does nothing, and so
//! does a Pod that the kubelet starts a second time after the machine has booted (protocol R1).

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How long a reboot Pod may hesitate between its last successful read of the API and its act, in
/// seconds, on the machine's own boot-time clock. Older knowledge is no permission (protocol R2c).
pub const ACT_WITHIN_SECONDS: u64 = 2;

/// `activeDeadlineSeconds` of a reboot Pod. Once this and a margin have passed since an intent was
/// withdrawn, a Pod whose object vanished cannot act any more (protocol R2c).
pub const POD_DEADLINE_SECONDS: i64 = 60;

/// Added to the reboot Pod's own deadline before a Pod whose object vanished counts as harmless: the
/// kubelet starts counting when it starts the Pod, and its clock is not ours.
const LOST_POD_MARGIN_SECONDS: i64 = 10;

/// When no reboot Pod can act any more whose intent was off the record, or whose run was gone, at
/// `since`. The one timing assumption of the protocol (R2c).
pub fn pods_harmless_at(since: Timestamp) -> Timestamp {
    let longest = SignedDuration::from_secs(POD_DEADLINE_SECONDS + LOST_POD_MARGIN_SECONDS);
    since.saturating_add(longest).unwrap_or(Timestamp::MAX)
}

/// What a reboot Pod was made for; travels as the arguments of its command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Hash)]
pub struct Expected {
    /// Name of the NodeRemediation.
    pub run_name: String,
    /// UID of the NodeRemediation.
    pub run_uid: String,
    /// Name of the node.
    pub node_name: String,
    /// UID of the Node object.
    pub node_uid: String,
    /// The attempt, counted over the run's whole ladder from 1.
    pub attempt: u32,
    /// The boot ID of the machine when the intent was written.
    pub boot_id_before: String,
}

/// Why the arguments of a reboot Pod cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// An argument that every reboot Pod carries is absent.
    #[error("argument `{0}` is missing; reboot Pods are made by the operator, not by hand")]
    Missing(&'static str),
    /// `--attempt` is not a number from 1.
    #[error("argument `--attempt={0}` is not a number from 1")]
    Attempt(String),
}

impl Expected {
    /// The arguments as the operator writes them into the Pod, in a fixed order.
    pub fn to_args(&self) -> Vec<String> {
        vec![
            format!("--run={}", self.run_name),
            format!("--run-uid={}", self.run_uid),
            format!("--node={}", self.node_name),
            format!("--node-uid={}", self.node_uid),
            format!("--attempt={}", self.attempt),
            format!("--boot-id-before={}", self.boot_id_before),
        ]
    }

    /// Reads the arguments back; unknown ones are ignored, so that a newer operator may add some.
    pub fn from_args<S: AsRef<str>>(args: &[S]) -> Result<Self, ArgsError> {
        let value = |name: &'static str| {
            args.iter()
                .find_map(|arg| arg.as_ref().strip_prefix(name)?.strip_prefix('='))
                .filter(|value| !value.is_empty())
                .map(str::to_owned)
                .ok_or(ArgsError::Missing(name))
        };
        let attempt = value("--attempt")?;
        Ok(Self {
            run_name: value("--run")?,
            run_uid: value("--run-uid")?,
            node_name: value("--node")?,
            node_uid: value("--node-uid")?,
            attempt: match attempt.parse() {
                Ok(number) if number > 0 => number,
                _ => return Err(ArgsError::Attempt(attempt)),
            },
            boot_id_before: value("--boot-id-before")?,
        })
    }
}

/// The reboot intent as read from the run's status.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IntentSeen {
    /// The attempt that the intent names.
    pub attempt: u32,
    /// The node UID that the intent names.
    pub node_uid: String,
    /// The boot ID that the intent wants to see replaced.
    pub boot_id_before: String,
}

/// The NodeRemediation as the Pod just read it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RunSeen {
    /// UID of the object that has the run's name now.
    pub uid: String,
    /// The reboot intent in force; `None` when the status names none, or one of another effect.
    pub reboot_intent: Option<IntentSeen>,
}

/// The Node as the Pod just read it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodeSeen {
    /// UID of the object that has the node's name now.
    pub uid: String,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// Value of the annotation `rerail.dev/cordoned-by`.
    pub cordoned_by: Option<String>,
}

/// Everything the check looks at. `None` for an object that a successful read showed to be absent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Seen {
    /// `/proc/sys/kernel/random/boot_id` of the host's kernel, never `nodeInfo.bootID`, which a
    /// kubelet may not have reported yet.
    pub kernel_boot_id: String,
    /// The run, if it exists.
    pub run: Option<RunSeen>,
    /// The node, if it exists.
    pub node: Option<NodeSeen>,
}

/// Why a reboot Pod does nothing. The text is what a person reads in the Pod's termination message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Hash)]
pub enum Refusal {
    /// The machine has booted since the intent: the attempt is done, or somebody else rebooted.
    BootIDDiffers,
    /// The run does not exist any more.
    RunGone,
    /// Another object has the run's name.
    RunReplaced,
    /// The run's status holds no reboot intent: it was withdrawn.
    IntentWithdrawn,
    /// The intent is of another attempt.
    AttemptDiffers,
    /// The intent names another boot ID or another node.
    IntentDiffers,
    /// The node does not exist any more.
    NodeGone,
    /// Another object has the node's name.
    NodeReplaced,
    /// The node is schedulable, or the cordon is not this run's.
    NotCordonedByRun,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::BootIDDiffers => "the machine has already booted since this attempt's intent",
            Refusal::RunGone => "the NodeRemediation does not exist any more",
            Refusal::RunReplaced => "another NodeRemediation has this name now",
            Refusal::IntentWithdrawn => "the run has withdrawn its reboot intent",
            Refusal::AttemptDiffers => "the run's reboot intent is of another attempt",
            Refusal::IntentDiffers => "the run's reboot intent names another node or boot ID",
            Refusal::NodeGone => "the Node does not exist any more",
            Refusal::NodeReplaced => "another Node object has this name now",
            Refusal::NotCordonedByRun => "the node's cordon is not this run's, or was lifted",
        })
    }
}

/// What the Pod may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Reboot, within [`ACT_WITHIN_SECONDS`] of the reads.
    Reboot,
    /// Do nothing, and say why.
    Refuse(Refusal),
}

/// Decides whether the Pod made for `expected` may reboot the machine that shows `seen`.
///
/// The kernel's boot ID is compared first: whatever else has changed, a machine that has booted
/// must not be booted again by this attempt.
pub fn check(expected: &Expected, seen: &Seen) -> Verdict {
    match refusal(expected, seen) {
        Some(refusal) => Verdict::Refuse(refusal),
        None => Verdict::Reboot,
    }
}

fn refusal(expected: &Expected, seen: &Seen) -> Option<Refusal> {
    if seen.kernel_boot_id.trim() != expected.boot_id_before {
        return Some(Refusal::BootIDDiffers);
    }
    let Some(run) = &seen.run else { return Some(Refusal::RunGone) };
    if run.uid != expected.run_uid {
        return Some(Refusal::RunReplaced);
    }
    let Some(intent) = &run.reboot_intent else { return Some(Refusal::IntentWithdrawn) };
    if intent.attempt != expected.attempt {
        return Some(Refusal::AttemptDiffers);
    }
    if intent.boot_id_before != expected.boot_id_before || intent.node_uid != expected.node_uid {
        return Some(Refusal::IntentDiffers);
    }
    let Some(node) = &seen.node else { return Some(Refusal::NodeGone) };
    if node.uid != expected.node_uid {
        return Some(Refusal::NodeReplaced);
    }
    if !node.unschedulable || node.cordoned_by.as_deref() != Some(expected.run_uid.as_str()) {
        return Some(Refusal::NotCordonedByRun);
    }
    None
}

/// Exit code of a reboot Pod that did nothing because the check refused.
pub const EXIT_REFUSED: i32 = 10;

/// Exit code of a reboot Pod that could not read what it has to check, or read it too late.
pub const EXIT_UNCERTAIN: i32 = 11;

/// Exit code of a reboot Pod whose reboot command failed.
pub const EXIT_COMMAND_FAILED: i32 = 12;

/// What a reboot Pod leaves in its termination message, as JSON, for the operator to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// True when the reboot command was started and did not fail.
    pub acted: bool,
    /// Why nothing was done, if the check refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refusal: Option<Refusal>,
    /// The sentence for people.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_says_why_in_words_of_its_own() {
        let all = [
            Refusal::BootIDDiffers,
            Refusal::RunGone,
            Refusal::RunReplaced,
            Refusal::IntentWithdrawn,
            Refusal::AttemptDiffers,
            Refusal::IntentDiffers,
            Refusal::NodeGone,
            Refusal::NodeReplaced,
            Refusal::NotCordonedByRun,
        ];
        let texts: std::collections::BTreeSet<_> = all.iter().map(ToString::to_string).collect();
        assert!(texts.len() == all.len() && texts.iter().all(|text| text.len() > 20), "{texts:?}");
    }

    fn expected() -> Expected {
        Expected {
            run_name: "worker1a-0a1b2c3d".into(),
            run_uid: "run-1".into(),
            node_name: "worker1a".into(),
            node_uid: "node-1".into(),
            attempt: 2,
            boot_id_before: "boot-1".into(),
        }
    }

    fn seen() -> Seen {
        Seen {
            kernel_boot_id: "boot-1\n".into(),
            run: Some(RunSeen {
                uid: "run-1".into(),
                reboot_intent: Some(IntentSeen {
                    attempt: 2,
                    node_uid: "node-1".into(),
                    boot_id_before: "boot-1".into(),
                }),
            }),
            node: Some(NodeSeen {
                uid: "node-1".into(),
                unschedulable: true,
                cordoned_by: Some("run-1".into()),
            }),
        }
    }

    #[test]
    fn reboots_only_when_everything_is_as_intended() {
        assert_eq!(check(&expected(), &seen()), Verdict::Reboot);
    }

    type Change = fn(&mut Seen);

    #[test]
    fn refuses_each_difference_by_name() {
        let cases: [(Change, Refusal); 11] = [
            (|s| s.kernel_boot_id = "boot-2".into(), Refusal::BootIDDiffers),
            (|s| s.run = None, Refusal::RunGone),
            (|s| s.run.as_mut().unwrap().uid = "run-2".into(), Refusal::RunReplaced),
            (|s| s.run.as_mut().unwrap().reboot_intent = None, Refusal::IntentWithdrawn),
            (|s| intent(s).attempt = 1, Refusal::AttemptDiffers),
            (|s| intent(s).boot_id_before = "boot-0".into(), Refusal::IntentDiffers),
            (|s| intent(s).node_uid = "node-2".into(), Refusal::IntentDiffers),
            (|s| s.node = None, Refusal::NodeGone),
            (|s| s.node.as_mut().unwrap().uid = "node-2".into(), Refusal::NodeReplaced),
            (|s| s.node.as_mut().unwrap().unschedulable = false, Refusal::NotCordonedByRun),
            (|s| s.node.as_mut().unwrap().cordoned_by = None, Refusal::NotCordonedByRun),
        ];
        for (change, refusal) in cases {
            let mut seen = seen();
            change(&mut seen);
            assert_eq!(check(&expected(), &seen), Verdict::Refuse(refusal));
        }
    }

    fn intent(seen: &mut Seen) -> &mut IntentSeen {
        seen.run.as_mut().unwrap().reboot_intent.as_mut().unwrap()
    }

    #[test]
    fn a_boot_wins_over_every_other_difference() {
        let seen = Seen { kernel_boot_id: "boot-2".into(), run: None, node: None };
        assert_eq!(check(&expected(), &seen), Verdict::Refuse(Refusal::BootIDDiffers));
    }

    #[test]
    fn arguments_survive_the_journey_and_bad_ones_are_named() {
        let args = expected().to_args();
        assert_eq!(Expected::from_args(&args), Ok(expected()));
        assert_eq!(Expected::from_args(&args[1..]), Err(ArgsError::Missing("--run")));
        let mut bad = args.clone();
        bad[4] = "--attempt=0".into();
        assert_eq!(Expected::from_args(&bad), Err(ArgsError::Attempt("0".into())));
    }
}
