//! Why a run is where it is: one CamelCase word for machines, with the sentence for people built
//! where the decision is made.

/// A text that is none of the words of a documented list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no word that this operator knows; a newer operator may have written it")]
pub struct UnknownWord(pub String);

/// An enum of documented CamelCase words: their names, their meanings for the reference pages, and the
/// way back from a name.
macro_rules! words {
    (
        $(#[$attribute:meta])*
        pub enum $Type:ident { $($(#[doc = $doc:literal])+ $Word:ident,)+ }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $Type { $($(#[doc = $doc])+ $Word,)+ }

        impl $Type {
            /// Every word.
            pub const ALL: &'static [$Type] = &[$($Type::$Word,)+];

            /// The word as it stands in status, Events and metrics.
            pub fn name(self) -> &'static str {
                match self { $($Type::$Word => stringify!($Word),)+ }
            }

            /// What it means, for the reference pages.
            pub fn meaning(self) -> &'static str {
                match self { $($Type::$Word => concat!($($doc,)+).trim_ascii(),)+ }
            }
        }

        impl std::str::FromStr for $Type {
            type Err = $crate::reason::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let known = $Type::ALL.iter().copied().find(|word| word.name() == text);
                known.ok_or_else(|| $crate::reason::UnknownWord(text.to_owned()))
            }
        }

        impl std::fmt::Display for $Type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(crate) use words;

words! {
/// Why a run is where it is, or why it ended.
pub enum Reason {
    /// Created, and not admitted yet.
    Pending,
    /// Admitted; the node is about to be cordoned.
    Admitted,
    /// The node is cordoned with our mark.
    Cordoned,
    /// A person asked for another try of the held run.
    RetryRequested,
    /// Pods are being evicted.
    DrainInProgress,
    /// An eviction is refused by a PodDisruptionBudget; the message names the pod and the budget.
    DrainBlocked,
    /// Every pod that has to go is gone.
    Drained,
    /// The drain did not end within `drain.timeout`.
    DrainTimeout,
    /// A pod must not be evicted by this policy; the message names it and the setting.
    DrainRefused,
    /// The operator is not allowed to evict a pod; the message names it.
    DrainForbidden,
    /// The reboot Pod has been asked for and has not started yet.
    RebootPodPending,
    /// The reboot was started; the machine has not reported a new boot ID yet.
    WaitingForBoot,
    /// The reboot Pod refused to act; the message says why.
    RebootRefused,
    /// The reboot command failed; the message has its words.
    RebootFailed,
    /// The machine did not report a new boot ID within the remedy's timeout.
    RebootTimeout,
    /// It is not certain yet that nothing of the withdrawn attempt can still act.
    Withdrawing,
    /// It cannot be found out whether the withdrawn attempt can still act: the node does not report.
    EffectUnresolved,
    /// The machine reported a new boot ID.
    Booted,
    /// The node is not Ready, or not for long enough.
    WaitingForReady,
    /// The kubelet has not reported since the boot was seen.
    WaitingForReport,
    /// DaemonSet pods that were Ready at admission are not Ready again; the message names them.
    WaitingForDaemonSets,
    /// The probe Pod has not run yet.
    WaitingForProbePod,
    /// A trigger has not cleared, or not for long enough.
    WaitingForClear,
    /// The machine is healthy.
    Verified,
    /// The run keeps its place for `verify.settle`.
    Settling,
    /// The machine was healed and given back.
    Healed,
    /// The machine booted, is Ready, and a trigger is true on new evidence.
    NotCured,
    /// The machine booted, and there is no new evidence about its triggers, or it is not healthy.
    VerificationUnknown,
    /// Every remedy was tried, and the machine did not report a new boot ID.
    NoBoot,
    /// Attempts are used up; the next remedy may not be tried.
    AttemptsExhausted,
    /// The node is not Ready, so that it cannot be given back safely.
    Unreachable,
    /// A person set the label `rerail.dev/hold`.
    HoldLabel,
    /// The hold label was taken off; the run is undone.
    HoldLifted,
    /// Somebody asked for the end of the run.
    CancelRequested,
    /// No trigger is true any more, on new evidence.
    TriggerCleared,
    /// The node is no candidate any more.
    NoCandidate,
    /// The policy was deleted.
    PolicyDeleted,
    /// The policy was suspended.
    PolicySuspended,
    /// The policy's mode is not Enforce any more.
    PolicyNotEnforcing,
    /// Somebody else has cordoned the node.
    CordonedByOther,
    /// Somebody lifted our cordon.
    CordonLifted,
    /// The Node object is gone, or another has its name.
    NodeReplaced,
    /// The node is being deleted.
    NodeDeleting,
    /// Another controller is taking the node down; the message names its mark on the node.
    ClaimedByOther,
    /// Paused by the ConfigMap `rerail-pause`; the message says by whom and until when.
    Paused,
    /// Something that must always hold did not: nothing is done for this run any more. Deleting the
    /// NodeRemediation gives its node back.
    InvariantViolated,
    /// The NodeRemediation was deleted by force, without its finalizer; the node was given back.
    RunDeleted,
}
}

words! {
/// Something that must always hold of a run.
pub enum Invariant {
    /// A run that has begun has its frozen plan (SAFE-15).
    Plan,
    /// The frozen plan, the node and the policy of a run never change (SAFE-13, SAFE-15).
    Contract,
    /// A run moves only along the graph of steps, and what has ended stays ended (SAFE-18).
    StepGraph,
    /// An intent names the run's own node, its latest attempt, and an effect of its step (SAFE-3).
    Intent,
    /// Attempts are counted one by one, each on record, and never more than the plan allows (SAFE-1,
    /// SAFE-14).
    Attempts,
    /// Every step but Pending, Held and the last ones has a deadline.
    Deadline,
    /// A node has at most one run that has begun (SAFE-22).
    OneRunPerNode,
    /// An effect belongs to the step of its run, was announced, and goes to the run's own node (SAFE-3,
    /// SAFE-13).
    Effect,
    /// Pods are evicted, and machines rebooted, only under the run's own cordon (SAFE-6, SAFE-21).
    OwnCordon,
    /// Only a cordon of ours on a Ready node is lifted, and success is claimed only after a new boot
    /// (SAFE-6, SAFE-19, SAFE-20).
    EarnedUncordon,
}
}
