//! Which properties there are, and which of them are judged. `docs/reference/properties.md` is made of
//! this.

/// A property of the formal list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Property {
    /// `SAFE-n`, `LIVE-n` or `SELF-n`.
    pub id: &'static str,
    /// What must hold, in a sentence.
    pub says: &'static str,
    /// Whether it is judged.
    pub state: State,
}

/// Whether a property is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is.
    Checked {
        /// How: on what, and when.
        how: &'static str,
    },
    /// It speaks of something that the product does not have yet.
    Pending {
        /// What it needs.
        needs: &'static str,
    },
}

impl Property {
    /// True if it is judged.
    pub fn is_checked(&self) -> bool {
        matches!(self.state, State::Checked { .. })
    }
}

const fn checked(id: &'static str, says: &'static str, how: &'static str) -> Property {
    Property { id, says, state: State::Checked { how } }
}

const fn pending(id: &'static str, says: &'static str, needs: &'static str) -> Property {
    Property { id, says, state: State::Pending { needs } }
}

/// Every property: safety, liveness, and what the operator finds of itself.
pub const PROPERTIES: &[Property] = &[
    checked(
        "SAFE-1",
        "At most one boot per attempt of a run; attempts only grow.",
        "boots of the machine stamped with run and attempt; the attempt in each status",
    ),
    checked(
        "SAFE-2",
        "No status of an older term, and nothing is sent by an operator whose Lease does not give it the right any more.",
        "epoch and leader of each status write; the time at which each write of an operator was sent, against its last renewal",
    ),
    checked(
        "SAFE-3",
        "Every effect was announced in a committed status before, by the term that does it.",
        "each write of an operator on nodes and Pods, and each reboot, against the run's intent, step and leader at that moment",
    ),
    checked(
        "SAFE-4",
        "No start exceeds a limit: cluster, policy, failure domain, open domains, pace; slots go only when nothing can act any more.",
        "nodes, slots and runs counted anew at each write of the ledger and each admission",
    ),
    checked(
        "SAFE-5",
        "Nothing starts while paused, in a storm or a meltdown, or without a true and fresh trigger; hold and pause stop a run before its point of no return.",
        "pauses, labels and conditions as they were during the last look, at each admission and effect; windows, approvals and guards are not there yet",
    ),
    checked(
        "SAFE-6",
        "Only own marks are removed, only own cordons are lifted, and nothing else of a node is changed.",
        "each change of a Node by an operator, and who had cordoned it",
    ),
    checked(
        "SAFE-7",
        "A cordon or claim of somebody else, a cancel and a disruption budget are respected.",
        "marks of others at each cordon, eviction and reboot intent; budgets at each eviction",
    ),
    pending(
        "SAFE-8",
        "The quorum of etcd and storage domains survive each disruptive effect.",
        "control-plane and storage nodes, which are never touched yet",
    ),
    checked(
        "SAFE-9",
        "Nothing is done on reads older than 5 s.",
        "the operator's reads of node, run and Lease before each cordon, eviction, reboot Pod and closing write",
    ),
    pending("SAFE-10", "A power call goes to the machine that is meant.", "power through a BMC"),
    pending(
        "SAFE-11",
        "A machine that was powered off is powered on again.",
        "power through a BMC",
    ),
    pending(
        "SAFE-12",
        "Nothing is deleted by force from a machine that is not proven off.",
        "fencing",
    ),
    checked(
        "SAFE-13",
        "No effect on a node other than the one that the run was made for, by UID.",
        "UIDs at each effect and reboot",
    ),
    checked(
        "SAFE-14",
        "Reboots of a machine in any window are bounded, over all its runs.",
        "reboots by the operator's Pods, by UID of the node, against attempts of the frozen plan",
    ),
    checked(
        "SAFE-15",
        "A run keeps to the plan that was frozen at its admission, which is what its policy said.",
        "the plan in each status; attempts against its remedies",
    ),
    checked(
        "SAFE-16",
        "State is bounded: a run has at most 16 KiB, a node's history at most 8 KiB.",
        "the size of each object written; the operator's queues and memory are bounded by its own tests",
    ),
    checked(
        "SAFE-17",
        "What nodes say of themselves is bounded: a malformed priority never outranks a readable one.",
        "the priority of each admission, read anew from its message",
    ),
    checked(
        "SAFE-18",
        "Steps follow the graph; an end is an end; a frozen run does nothing.",
        "each change of step",
    ),
    checked(
        "SAFE-19",
        "A node is given back only when its machine is really healthy after its boot, or as a person or the policy said.",
        "boots, readiness, probes, DaemonSets and sickness of the machine itself at Verified and at each uncordon",
    ),
    checked(
        "SAFE-20",
        "The record is honest: each reboot has its record, and an end is written on the node before the run says so.",
        "status and closing write at each end",
    ),
    checked(
        "SAFE-21",
        "Drained before the reboot, and only from a node with our mark.",
        "pods on the node at the reboot intent; each eviction",
    ),
    checked("SAFE-22", "At most one run of a node has begun and not ended.", "each admission"),
    checked(
        "SAFE-23",
        "A policy in mode DryRun does nothing.",
        "the policy's mode at each admission and effect",
    ),
    checked(
        "SAFE-24",
        "A condition from an alert says what a server has shown lately.",
        "each condition from an alert that an operator writes, against what the machine really has",
    ),
    checked("LIVE-1", "Every admitted run ends, or is held.", "at rest"),
    pending("LIVE-2", "Power that is owed is given back.", "power through a BMC"),
    checked("LIVE-3", "No node keeps our mark without an open run.", "at rest"),
    checked("LIVE-4", "A blocked drain ends by its deadline.", "at rest"),
    checked(
        "LIVE-5",
        "After `rerail release-all` no mark, finalizer or slot is left.",
        "after the command, in three of ten histories in which faults go on to the end",
    ),
    checked(
        "LIVE-6",
        "Whoever waits is told why, and nobody less urgent is taken first.",
        "at each admission, among nodes that nothing else tells apart; at rest, in the policy's status",
    ),
    checked("LIVE-7", "No run that cannot act keeps a slot.", "at rest"),
    checked("LIVE-8", "As long as one operator is alive, one leads.", "at rest"),
    checked(
        "LIVE-9",
        "Every curable node is Ready, schedulable and unmarked, and stays so without further writes.",
        "at rest, twice",
    ),
    checked(
        "LIVE-10",
        "After a storm runs start in rounds of one, two, four.",
        "at each status of a policy, against the storm on record",
    ),
    checked("LIVE-11", "Effects per cured node are bounded.", "at rest"),
    checked(
        "SELF-1",
        "The operator's own invariants never freeze a run whose status nobody else has written.",
        "each status written",
    ),
];

/// Something that has to be seen at least once in a set of runs, or they prove nothing about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sometimes {
    /// Its name.
    pub id: &'static str,
    /// What is seen.
    pub says: &'static str,
}

const fn sometimes(id: &'static str, says: &'static str) -> Sometimes {
    Sometimes { id, says }
}

/// What a set of runs must show, or it is vacuous.
pub const SOMETIMES: &[Sometimes] = &[
    sometimes("run-succeeds", "a run succeeds"),
    sometimes(
        "run-rolls-back",
        "a run turns back before its reboot, or gives its node back without success",
    ),
    sometimes("run-held", "a run is held and waits for a person"),
    sometimes("run-fails", "a run ends as Failed"),
    sometimes("run-cancelled", "a person cancels a run, and it ends"),
    sometimes("run-paused", "a run stands still because of a pause"),
    sometimes("run-adopted", "a run is carried on by another term than the one that began it"),
    sometimes("run-deleted", "an open run's object goes"),
    sometimes("second-attempt", "a second attempt is made"),
    sometimes("retry", "a held run is tried again for a person"),
    sometimes("reboot-withdrawn", "a reboot intent is withdrawn"),
    sometimes("reboot-pod-acts", "a reboot Pod acts"),
    sometimes("reboot-pod-refuses", "a reboot Pod refuses"),
    sometimes("eviction", "a pod is evicted"),
    sometimes("drain-blocked", "a drain waits for a disruption budget"),
    sometimes("drain-timeout", "a drain does not end in time"),
    sometimes("budget-full", "a limit is reached exactly"),
    sometimes("storm-opens", "a storm opens"),
    sometimes("storm-probe", "a storm is probed"),
    sometimes("storm-ramp", "starts go on in rounds after a storm"),
    sometimes("storm-closes", "a storm closes"),
    sometimes("meltdown", "a meltdown is on record"),
    sometimes("lease-taken", "an operator takes the Lease"),
    sometimes("lease-deleted", "the Lease is deleted"),
    sometimes("lease-edited", "the Lease is written by somebody who is no operator"),
    sometimes("double-leader", "an operator takes the Lease while the one before it still runs"),
    sometimes("operator-killed", "an operator is killed"),
    sometimes("foreign-cordon", "somebody cordons a node under remediation"),
    sometimes("node-replaced", "a node under remediation is deleted"),
    sometimes(
        "policy-withdrawn",
        "a policy is deleted, suspended or taken out of force while a run of it is at work",
    ),
    sometimes("pod-kept", "a finalizer keeps a Pod that has ended"),
    sometimes("clock-wrong", "a kubelet reports by a clock that is more than a minute off"),
    sometimes("swept", "the node of a run that is gone is given back"),
    sometimes("fault", "a fault is injected"),
    sometimes("etcd-restored", "etcd is restored from a backup"),
    sometimes("alert-told", "an alert becomes a condition of its node"),
    sometimes("alert-ended", "the end of an alert becomes a condition of its node"),
    sometimes("alert-unknown", "nobody can tell of an alert any more"),
    sometimes("reply-lost", "a reply is lost after its write was done"),
];

/// The same, of what the product does not have yet.
pub const SOMETIMES_PENDING: &[Sometimes] = &[
    sometimes(
        "out-of-band",
        "a reboot through the node fails and power is used; needs power through a BMC",
    ),
    sometimes(
        "quarantine",
        "a machine that nothing cures is put into quarantine; needs quarantine",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_list_is_complete_and_every_name_is_there_once() {
        let ids: BTreeSet<_> = PROPERTIES.iter().map(|property| property.id.to_owned()).collect();
        assert_eq!(ids.len(), PROPERTIES.len());
        let formal =
            (1..=24).map(|n| format!("SAFE-{n}")).chain((1..=11).map(|n| format!("LIVE-{n}")));
        for id in formal {
            assert!(ids.contains(&id), "{id}");
        }
        let names: BTreeSet<_> =
            SOMETIMES.iter().chain(SOMETIMES_PENDING).map(|one| one.id).collect();
        assert_eq!(names.len(), SOMETIMES.len() + SOMETIMES_PENDING.len());
    }
}
