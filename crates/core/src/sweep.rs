//! What becomes of a node whose run is gone: deleted by force, or with its finalizer taken off. The
//! mark on the node is then the last trace, and what the run began may still happen (protocol R3, R10;
//! counterexample W13). Keeps SAFE-6 (only a cordon of ours is lifted), SAFE-4 (the slot stays while
//! anything can act) and LIVE-3 (no mark without an open run).
//!
//! Without the run there is no deciding whether the machine is well. Whoever deletes a run by force
//! gives its node back: it is made schedulable as soon as nothing can act on it any more and it is
//! Ready.

use jiff::Timestamp;

use crate::{
    facts::{Cordon, NodeFacts},
    mutant,
    reboot_check::pods_harmless_at,
    run::Run,
};

/// A run that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stray {
    /// UID of the run, as its mark says.
    pub run_uid: String,
    /// Name of the node.
    pub node_name: String,
    /// The run as this process saw it last; `None` where only the mark is left.
    pub run: Option<Run>,
    /// When it was first seen to be gone.
    pub since: Timestamp,
    /// How the run ended was not seen: it was gone when this operator started, or a list did not show it any
    /// more. It may have been acting, and have rebooted the machine once more than is known. A mark that
    /// appears later and names a run that this operator never saw is not of its own writing: it is
    /// taken off, and holds no slot, so that a kubelet cannot stop the cluster by an annotation.
    pub unseen: bool,
    /// The kubelet's report when nothing could act any more, first look after that.
    pub report_at_end: Option<Timestamp>,
}

/// What is done about a stray.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sweep {
    /// There is nothing of it left.
    Done,
    /// Delete the Pods that bear its UID.
    DeletePods,
    /// The closing write: mark off, outcome on record, and schedulable again if `uncordon`.
    Close {
        /// Also make the node schedulable.
        uncordon: bool,
    },
    /// Not yet.
    Wait {
        /// Why, in a sentence.
        message: String,
        /// When it can go on without an event.
        recheck_at: Option<Timestamp>,
    },
}

impl Stray {
    /// A reboot Pod of the run may exist, or have acted: nothing shows that it had not come so far.
    fn may_reboot(&self) -> bool {
        self.run.as_ref().is_none_or(Run::may_reboot)
    }

    /// Takes in one look, before a decision: a report from before the moment at which nothing can act
    /// any more may precede a reboot (W12).
    pub fn observe(&mut self, node: &NodeFacts, now: Timestamp) {
        if now >= pods_harmless_at(self.since) {
            self.report_at_end = self.report_at_end.or(node.heartbeat());
        }
    }

    /// True while its slot is not free (protocol R3). A machine that never reports again keeps it, as
    /// it would with the run, if this operator knows that it was being rebooted.
    pub fn holds_slot(&self, node: Option<&NodeFacts>, now: Timestamp) -> bool {
        let Some(node) = node.filter(|node| self.is_of(node)) else {
            return self.may_reboot() && self.had_slot() && now < pods_harmless_at(self.since);
        };
        let settled =
            now >= pods_harmless_at(self.since) && (self.run.is_none() || self.reported(node));
        self.had_slot() && !self.closed(node) && !settled
    }

    fn had_slot(&self) -> bool {
        self.run.as_ref().map_or(self.unseen, |run| run.holds_slot(None, self.since))
    }

    fn is_of(&self, node: &NodeFacts) -> bool {
        self.run.as_ref().is_none_or(|run| run.node_uid == node.uid)
    }

    fn closed(&self, node: &NodeFacts) -> bool {
        let marked = node.cordoned_by.as_ref() == Some(&self.run_uid);
        let written =
            node.last_remediation.last.as_ref().is_some_and(|last| last.uid == self.run_uid);
        !marked && (written || self.run.is_none())
    }

    fn reported(&self, node: &NodeFacts) -> bool {
        !self.may_reboot()
            || node.out_of_service
            || self.run.as_ref().is_some_and(|run| run.booted(node))
            || self.report_at_end.is_some_and(|at_end| node.heartbeat() != Some(at_end))
    }
}

/// What is to be done. `node` is the Node of that name, if there is one; `pods` says whether a Pod that
/// bears the run's UID is there that the kubelet has not seen end.
pub fn sweep(stray: &Stray, node: Option<&NodeFacts>, pods: bool, now: Timestamp) -> Sweep {
    if mutant!("sweep-off") {
        return Sweep::Wait { message: String::new(), recheck_at: None };
    }
    if pods && !mutant!("sweep-at-once") {
        return Sweep::DeletePods;
    }
    let harmless_at = pods_harmless_at(stray.since);
    let wait = |message: &str, recheck_at| Sweep::Wait { message: message.into(), recheck_at };
    let Some(node) = node.filter(|node| stray.is_of(node) && !stray.closed(node)) else {
        // Nothing is left to write; the machine may still be rebooted (W8).
        return match stray.holds_slot(node, now) {
            true => wait("its node is gone, and its machine may still reboot", Some(harmless_at)),
            false => Sweep::Done,
        };
    };
    let booted = stray.run.as_ref().is_some_and(|run| run.booted(node));
    if stray.may_reboot() && !booted && !mutant!("sweep-at-once") {
        if now < harmless_at {
            let message = "its reboot Pod's process may live a little longer";
            return wait(message, Some(harmless_at));
        }
        if !stray.reported(node) {
            return wait("the node has not reported since its reboot Pod could act", None);
        }
    }
    if node.hold {
        return wait("the node bears the label rerail.dev/hold", None);
    }
    let uncordon = node.cordon(&stray.run_uid) == Cordon::Ours;
    if uncordon && !node.in_service() {
        return wait(
            "the node is not Ready, or out of service; it stays cordoned until it is",
            None,
        );
    }
    Sweep::Close { uncordon }
}

#[cfg(test)]
mod tests;
