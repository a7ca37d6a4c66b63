//! One pod → evict, leave or refuse.
//!
//! The rules are the five filters of `kubectl drain`, in its order (skipDeleted, daemonSet, mirror,
//! localStorage, unreplicated), with these deliberate differences (contracts: kubectl drain, §4):
//! - **b2** a controller of kind `DaemonSet` counts whatever its API group, and so does a pod that
//!   tolerates the cordon: both would come straight back to the node.
//! - **b4** three switches (`emptyDir`, `unmanaged`, `orphanedDaemonSet`) instead of one `force`;
//!   and no warning is lost to a later filter.
//! - **b6** pods that are already terminating can be left where the node will be powered off.
//!
//! The node-name check of b1 needs the drained node and is in [`super::progress`].

use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

/// `apiVersion` of the DaemonSets that Kubernetes itself runs.
const APPS_V1: &str = "apps/v1";
/// Key of the taint that a cordon puts on a node.
const UNSCHEDULABLE_TAINT: &str = "node.kubernetes.io/unschedulable";
/// Effect of that taint.
const UNSCHEDULABLE_EFFECT: &str = "NoSchedule";

/// `status.phase` of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PodPhase {
    /// Accepted, not all containers started.
    Pending,
    /// Bound to a node, at least one container runs.
    Running,
    /// All containers ended with success.
    Succeeded,
    /// All containers ended, at least one with failure.
    Failed,
    /// Not reported, or a phase this version does not know.
    Unknown,
}

impl PodPhase {
    /// True if nothing runs any more (contracts: kubectl drain, filters 2, 4 and 5: "any finished
    /// pod can be removed").
    #[must_use]
    pub fn finished(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed => true,
            Self::Pending | Self::Running | Self::Unknown => false,
        }
    }
}

/// One entry of `metadata.ownerReferences`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Owner {
    /// API group and version, e.g. `apps/v1`; may be empty.
    pub api_version: String,
    /// Kind, e.g. `ReplicaSet`.
    pub kind: String,
    /// Name of the owner.
    pub name: String,
    /// True if this owner manages the pod (`controller: true`).
    pub controller: bool,
}

/// What a GET of the pod's DaemonSet answered. Ask only if [`needs_lookup`] says so.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Lookup {
    /// Nobody asked: the DaemonSet is taken to exist, so the pod is never taken for an orphan.
    #[default]
    NotAsked,
    /// It exists.
    Found,
    /// 404: the pod is an orphan.
    NotFound,
    /// 403: the operator may not read DaemonSets.
    Forbidden,
    /// Any other failure, with the server's text.
    Failed(String),
}

/// One entry of `spec.tolerations`, empty strings for missing fields.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Toleration {
    /// Taint key; empty with `Exists` matches every key.
    pub key: String,
    /// `Equal` (the default), `Exists`, or an operator this version does not know (matches nothing).
    pub operator: String,
    /// Taint value, for `Equal`.
    pub value: String,
    /// Taint effect; empty matches every effect.
    pub effect: String,
}

/// True if a pod with these tolerations may be scheduled to a cordoned node, that is, tolerates
/// `node.kubernetes.io/unschedulable:NoSchedule` (contracts: kubectl drain, b2).
#[must_use]
pub fn tolerates_unschedulable(tolerations: &[Toleration]) -> bool {
    tolerations.iter().any(|t| {
        let effect = t.effect.is_empty() || t.effect == UNSCHEDULABLE_EFFECT;
        let matches = match t.operator.as_str() {
            "Exists" => t.key.is_empty() || t.key == UNSCHEDULABLE_TAINT,
            "" | "Equal" => t.key == UNSCHEDULABLE_TAINT && t.value.is_empty(),
            _ => false,
        };
        effect && matches
    })
}

/// What the drain needs to know of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodFacts {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID; the eviction names it as a precondition (contracts: kubectl drain, b1).
    pub uid: String,
    /// `spec.nodeName`; empty if not scheduled.
    pub node_name: String,
    /// Owner references.
    pub owners: Vec<Owner>,
    /// Phase.
    pub phase: PodPhase,
    /// True if the pod carries the annotation `kubernetes.io/config.mirror` (a static pod).
    pub mirror: bool,
    /// True if any volume is an `emptyDir`.
    pub empty_dir: bool,
    /// `metadata.deletionTimestamp`: the time of the delete request **plus** the grace period.
    pub deletion_time: Option<Timestamp>,
    /// What is known of the pod's DaemonSet.
    pub daemon_set_lookup: Lookup,
    /// See [`tolerates_unschedulable`].
    pub tolerates_unschedulable: bool,
    /// True if the pod is Ready; for reports only.
    pub ready: bool,
    /// True for the operator's own pods (the operator, its reboot and probe pods): always left.
    pub ours: bool,
}

impl PodFacts {
    /// The owner that manages the pod, if any.
    #[must_use]
    pub fn controller(&self) -> Option<&Owner> {
        self.owners.iter().find(|owner| owner.controller)
    }

    /// The DaemonSet that manages the pod, of whatever API group (contracts: kubectl drain, b2).
    #[must_use]
    pub fn daemon_set(&self) -> Option<&Owner> {
        self.controller().filter(|owner| owner.kind == "DaemonSet")
    }
}

/// What to do with pods that have an `emptyDir` (contracts: kubectl drain, filter 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum EmptyDir {
    /// Evict them; the data is lost.
    #[default]
    Delete,
    /// Do not drain a node that has such pods.
    Refuse,
}

/// What to do with pods that no controller manages (contracts: kubectl drain, filter 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Unmanaged {
    /// Evict them; nothing creates them again.
    Delete,
    /// Do not drain a node that has such pods.
    #[default]
    Refuse,
}

/// What to do with pods whose `apps/v1` DaemonSet no longer exists (contracts: kubectl drain,
/// filter 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum OrphanedDaemonSet {
    /// Evict them, like kubectl with `--force`. Needs the lookup.
    Delete,
    /// Do not drain a node that has such pods, like kubectl without `--force`. Needs the lookup.
    Refuse,
    /// Treat them like any DaemonSet pod. Needs no lookup.
    #[default]
    Leave,
}

/// What to do with pods of DaemonSets, and pods that tolerate the cordon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum DaemonSetPods {
    /// Leave them on the node, like kubectl with `--ignore-daemonsets`.
    #[default]
    Ignore,
    /// Do not drain a node that has such pods, like kubectl without it.
    Refuse,
}

/// What to do with pods that are already terminating.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum TerminatingPods {
    /// Wait until they are gone (or until `skip_terminating_after`).
    #[default]
    Wait,
    /// Leave them. Only for a node that is not Ready and whose next remedy is power: its kubelet
    /// cannot end them (contracts: kubectl drain, b6).
    LeaveForPowerOff,
}

/// How to drain; frozen with the run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct DrainOptions {
    /// Policy field `drain.emptyDir`.
    pub empty_dir: EmptyDir,
    /// Policy field `drain.unmanaged`.
    pub unmanaged: Unmanaged,
    /// Policy field `drain.orphanedDaemonSet`.
    pub orphaned_daemon_set: OrphanedDaemonSet,
    /// Policy field `drain.skipTerminatingAfter`: leave a terminating pod this long after its grace
    /// period ended, counted in whole seconds. `None`, zero or negative: never.
    pub skip_terminating_after: Option<SignedDuration>,
    /// Policy field `drain.gracePeriodSeconds`, for the body of the eviction; `None` is the pod's
    /// own. Does not change any decision here.
    pub grace_period_seconds: Option<i64>,
    /// Pods of DaemonSets.
    pub daemon_set: DaemonSetPods,
    /// Terminating pods.
    pub terminating: TerminatingPods,
}

/// A side effect of an eviction that a person may want to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum EvictWarning {
    /// The pod's `emptyDir` volumes are deleted with it.
    #[error("its emptyDir data is deleted with it")]
    EmptyDirLost,
    /// No controller creates the pod again.
    #[error("no controller will create it again")]
    Unmanaged,
    /// The pod's DaemonSet no longer exists.
    #[error("its DaemonSet no longer exists, so nothing will create it again")]
    OrphanedDaemonSet,
}

/// Why a pod stays on the node without hindering the drain.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LeaveReason {
    /// The operator's own pod.
    #[error("belongs to Rerail itself")]
    Ours,
    /// Managed by a DaemonSet.
    #[error("is managed by DaemonSet {name} ({api_version}), which would start it here again")]
    DaemonSet {
        /// API version of the DaemonSet.
        api_version: String,
        /// Name of the DaemonSet.
        name: String,
    },
    /// May be scheduled to a cordoned node.
    #[error("tolerates the cordon (taint node.kubernetes.io/unschedulable), so it would come back")]
    ToleratesUnschedulable,
    /// Static pod of the kubelet.
    #[error("is a static pod; only its manifest on the node can remove it")]
    Mirror,
    /// Terminating for longer than `skip_terminating_after`.
    #[error("is still terminating {over_seconds} s after its grace period ended; not waited for")]
    TerminatingTooLong {
        /// Whole seconds since the end of the grace period.
        over_seconds: i64,
    },
    /// Terminating on a node that will be powered off.
    #[error("is terminating on a node that does not answer and will be powered off")]
    TerminatingBeforePowerOff,
}

/// Why a node with this pod is not drained. The texts say what to change.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RefuseReason {
    /// Managed by a DaemonSet, and these are not ignored.
    #[error("is managed by a DaemonSet; allow the drain to ignore DaemonSet pods")]
    DaemonSet,
    /// The operator may not read the DaemonSet.
    #[error(
        "DaemonSet {name} could not be read (forbidden): grant `get` on daemonsets.apps, or set \
         drain.orphanedDaemonSet: Leave"
    )]
    DaemonSetForbidden {
        /// Name of the DaemonSet.
        name: String,
    },
    /// Reading the DaemonSet failed otherwise.
    #[error(
        "DaemonSet {name} could not be read ({message}); asked again by itself, or set \
         drain.orphanedDaemonSet: Leave"
    )]
    DaemonSetLookupFailed {
        /// Name of the DaemonSet.
        name: String,
        /// The server's text.
        message: String,
    },
    /// The pod's DaemonSet does not exist.
    #[error(
        "its DaemonSet {name} no longer exists: delete the pod, or set drain.orphanedDaemonSet: \
         Delete or Leave"
    )]
    OrphanedDaemonSet {
        /// Name of the DaemonSet that is gone.
        name: String,
    },
    /// Has an `emptyDir`.
    #[error("has emptyDir data, which an eviction deletes: set drain.emptyDir: Delete to allow it")]
    EmptyDir,
    /// No controller.
    #[error(
        "has no controller that would create it again: delete it, or set drain.unmanaged: Delete"
    )]
    Unmanaged,
}

/// What becomes of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodDecision {
    /// It has to leave the node.
    Evict {
        /// Side effects, in the order of the filters.
        warnings: Vec<EvictWarning>,
    },
    /// It stays and does not hinder the drain.
    Leave {
        /// Why.
        reason: LeaveReason,
    },
    /// It hinders the drain of the whole node.
    Refuse {
        /// Why, and what to do.
        reason: RefuseReason,
    },
}

/// True if [`classify`] would look at `pod.daemon_set_lookup` under these options: the caller then
/// GETs the DaemonSet first.
#[must_use]
pub fn needs_lookup(pod: &PodFacts, options: &DrainOptions) -> bool {
    let asked = match options.orphaned_daemon_set {
        OrphanedDaemonSet::Delete | OrphanedDaemonSet::Refuse => true,
        OrphanedDaemonSet::Leave => false,
    };
    asked
        && !pod.ours
        && !pod.phase.finished()
        && pod.daemon_set().is_some_and(|owner| owner.api_version == APPS_V1)
}

/// Decides about one pod at `now` (contracts: kubectl drain, D3, in its order). Pods of Rerail come
/// first: they are always left.
#[must_use]
pub fn classify(pod: &PodFacts, options: &DrainOptions, now: Timestamp) -> PodDecision {
    if pod.ours {
        return PodDecision::Leave { reason: LeaveReason::Ours };
    }
    if let Some(reason) = skip_terminating(pod, options, now) {
        return PodDecision::Leave { reason };
    }
    let mut warnings = Vec::new();
    match daemon(pod, options) {
        Verdict::Next(None) => {}
        Verdict::Next(Some(warning)) => warnings.push(warning),
        Verdict::Stop(decision) => return decision,
    }
    if pod.mirror {
        return PodDecision::Leave { reason: LeaveReason::Mirror };
    }
    if pod.empty_dir && !pod.phase.finished() {
        match options.empty_dir {
            EmptyDir::Delete => warnings.push(EvictWarning::EmptyDirLost),
            EmptyDir::Refuse => return PodDecision::Refuse { reason: RefuseReason::EmptyDir },
        }
    }
    if pod.controller().is_none() && !pod.phase.finished() {
        match options.unmanaged {
            Unmanaged::Delete => warnings.push(EvictWarning::Unmanaged),
            Unmanaged::Refuse => return PodDecision::Refuse { reason: RefuseReason::Unmanaged },
        }
    }
    PodDecision::Evict { warnings }
}

/// Filter 1 and b6. The server's `deletionTimestamp` includes the grace period, so the limit counts
/// from the end of it, in whole seconds.
fn skip_terminating(pod: &PodFacts, options: &DrainOptions, now: Timestamp) -> Option<LeaveReason> {
    let deletion_time = pod.deletion_time?;
    match options.terminating {
        TerminatingPods::Wait => {}
        TerminatingPods::LeaveForPowerOff => return Some(LeaveReason::TerminatingBeforePowerOff),
    }
    let limit = options.skip_terminating_after.filter(SignedDuration::is_positive)?;
    let over_seconds = now.duration_since(deletion_time).as_secs();
    (over_seconds > limit.as_secs()).then_some(LeaveReason::TerminatingTooLong { over_seconds })
}

/// Outcome of one filter.
enum Verdict {
    /// The next filter decides; perhaps with a warning.
    Next(Option<EvictWarning>),
    /// Decided.
    Stop(PodDecision),
}

/// Filter 2 and b2: DaemonSets of every API group, and pods that tolerate the cordon. Only
/// `apps/v1` DaemonSets are looked up; the others are taken to exist.
fn daemon(pod: &PodFacts, options: &DrainOptions) -> Verdict {
    if pod.phase.finished() {
        return Verdict::Next(None);
    }
    let Some(owner) = pod.daemon_set() else {
        return if pod.tolerates_unschedulable {
            leave_daemon(options, LeaveReason::ToleratesUnschedulable)
        } else {
            Verdict::Next(None)
        };
    };
    if needs_lookup(pod, options) {
        let name = owner.name.clone();
        let refused = match &pod.daemon_set_lookup {
            Lookup::NotAsked | Lookup::Found => None,
            Lookup::Forbidden => Some(RefuseReason::DaemonSetForbidden { name }),
            Lookup::Failed(message) => {
                Some(RefuseReason::DaemonSetLookupFailed { name, message: message.clone() })
            }
            Lookup::NotFound => match options.orphaned_daemon_set {
                OrphanedDaemonSet::Delete => {
                    return Verdict::Next(Some(EvictWarning::OrphanedDaemonSet));
                }
                OrphanedDaemonSet::Refuse => Some(RefuseReason::OrphanedDaemonSet { name }),
                OrphanedDaemonSet::Leave => None,
            },
        };
        if let Some(reason) = refused {
            return Verdict::Stop(PodDecision::Refuse { reason });
        }
    }
    let (api_version, name) = (owner.api_version.clone(), owner.name.clone());
    leave_daemon(options, LeaveReason::DaemonSet { api_version, name })
}

fn leave_daemon(options: &DrainOptions, reason: LeaveReason) -> Verdict {
    Verdict::Stop(match options.daemon_set {
        DaemonSetPods::Ignore => PodDecision::Leave { reason },
        DaemonSetPods::Refuse => PodDecision::Refuse { reason: RefuseReason::DaemonSet },
    })
}

#[cfg(test)]
mod tests;
