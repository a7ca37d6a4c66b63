//! Why something does not start now, as values.

use jiff::Timestamp;

use crate::reason::words;

words! {
/// Why something does not start now.
pub enum WaitReason {
    /// A trigger's status has not lasted for its `for` yet.
    NotLongEnough,
    /// The trigger's report is stale, or its status Unknown.
    TriggerUnknown,
    /// The trigger shows nothing newer than the end of the node's last run.
    NoNewEvidence,
    /// The kill switch is on, or cannot be read.
    Paused,
    /// The node bears the label `rerail.dev/hold`.
    HoldLabel,
    /// The node bears the label `rerail.dev/ignore`.
    Ignored,
    /// The node is being deleted.
    NodeDeleting,
    /// Control-plane nodes are never touched.
    ControlPlane,
    /// Another controller is taking the node down; the message names its mark on the node.
    ClaimedByOther,
    /// Somebody else has cordoned the node.
    CordonedByOther,
    /// The node is not Ready, and none of the policy's remedies reaches it.
    NoReachableRemedy,
    /// The node's attempts are used up.
    AttemptsExhausted,
    /// The node rests after a run that did not succeed.
    Backoff,
    /// The node has a run that has not ended, or that still keeps its place.
    ActiveRun,
    /// The operator's clock and the API server's differ too much to judge what is recent.
    ClockSkew,
    /// What the operator knows of nodes, runs or policies is too old to judge how many nodes are out.
    OutOfDate,
    /// No good configuration of the cluster-wide limits has been read since the operator started.
    NotConfigured,
    /// More than half of all nodes are not Ready: something else is wrong than nodes.
    Meltdown,
    /// Something that writes conditions for the policy's triggers has not spoken since the operator
    /// started.
    WarmingUp,
    /// Too many nodes of the policy are not Ready (`breaker.unhealthy`).
    Unhealthy,
    /// The same condition is newly true on many nodes: the detector is suspected.
    Storm,
    /// As many failure domains are open as may be (`maxDomains`).
    OtherDomainsOpen,
    /// The node's failure domain starts nothing until a more urgent node elsewhere has started; the
    /// message names that node.
    DomainClosed,
    /// The node lacks every topology label, and another such node is under remediation.
    MissingTopologyLabels,
    /// As many nodes are out as may be; the message names the limit, and nodes that use it up.
    BudgetExhausted,
    /// As many runs have started lately as may be (`maxStarts`).
    StartsExhausted,
    /// Its admission failed several times in a row; others pass for a while. The message says why.
    AdmissionFailing,
    /// The run names a policy that does not exist or is not valid.
    PolicyMissing,
    /// The run names a policy that does not select the node.
    NotSelected,
    /// The run's policy is suspended or does not enforce.
    PolicyNotEnforcing,
    /// The run names a node that does not exist, or whose UID is another.
    NodeMissing,
}
}

impl WaitReason {
    /// Whether only somebody's doing ends it: neither time nor what becomes of other nodes.
    pub fn is_for_people(self) -> bool {
        match self {
            WaitReason::HoldLabel
            | WaitReason::Ignored
            | WaitReason::ControlPlane
            | WaitReason::CordonedByOther
            | WaitReason::ClaimedByOther
            | WaitReason::NoReachableRemedy
            | WaitReason::AttemptsExhausted
            | WaitReason::NoNewEvidence
            | WaitReason::Paused
            | WaitReason::NotConfigured
            | WaitReason::PolicyMissing
            | WaitReason::NotSelected
            | WaitReason::PolicyNotEnforcing
            | WaitReason::NodeMissing => true,
            WaitReason::Backoff
            | WaitReason::NotLongEnough
            | WaitReason::TriggerUnknown
            | WaitReason::NodeDeleting
            | WaitReason::ActiveRun
            | WaitReason::ClockSkew
            | WaitReason::OutOfDate
            | WaitReason::Meltdown
            | WaitReason::WarmingUp
            | WaitReason::Unhealthy
            | WaitReason::Storm
            | WaitReason::OtherDomainsOpen
            | WaitReason::DomainClosed
            | WaitReason::MissingTopologyLabels
            | WaitReason::BudgetExhausted
            | WaitReason::StartsExhausted
            | WaitReason::AdmissionFailing => false,
        }
    }
}

/// Why, in a sentence, and when it can change by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// In one word.
    pub reason: WaitReason,
    /// In a sentence.
    pub message: String,
    /// The earliest time that it can change without an event; `None` = only by an event.
    pub recheck_at: Option<Timestamp>,
}

impl Wait {
    pub(super) fn new(reason: WaitReason, message: impl Into<String>) -> Self {
        Wait { reason, message: message.into(), recheck_at: None }
    }

    pub(super) fn until(self, time: Timestamp) -> Self {
        Wait { recheck_at: Some(time), ..self }
    }
}

/// What one gate says of one pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Pass,
    /// Not now.
    Wait(Wait),
    /// Not as things are configured: neither time nor the end of a run changes it.
    Refuse(Wait),
}

impl Verdict {
    /// Why not, if not.
    pub fn wait(&self) -> Option<&Wait> {
        match self {
            Verdict::Pass => None,
            Verdict::Wait(wait) | Verdict::Refuse(wait) => Some(wait),
        }
    }

    pub(super) fn into_wait(self) -> Option<Wait> {
        match self {
            Verdict::Pass => None,
            Verdict::Wait(wait) | Verdict::Refuse(wait) => Some(wait),
        }
    }
}

impl From<Option<Wait>> for Verdict {
    fn from(wait: Option<Wait>) -> Self {
        wait.map_or(Verdict::Pass, Verdict::Wait)
    }
}
