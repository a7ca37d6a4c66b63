//! One run: the part of a NodeRemediation that decisions read and change.

use jiff::Timestamp;

use crate::{
    domain::Domain,
    facts::{Evidence, NodeFacts, Ready},
    ledger::Slot,
    mutant,
    policy::Contract,
    reason::{Invariant, Reason},
    reboot_check,
    step::Step,
};

/// One remediation of one node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Run {
    /// UID of the NodeRemediation.
    pub uid: String,
    /// Name of the NodeRemediation.
    pub name: String,
    /// The node.
    pub node_name: String,
    /// UID of the node; another one ends the run (SAFE-13).
    pub node_uid: String,
    /// Name of the policy.
    pub policy: String,
    /// Condition types that called for the run; empty for a run made by a person.
    pub causes: Vec<String>,
    /// `spec.cancel`, or a deletion was asked for.
    pub cancel: bool,
    /// What people have asked for to be tried again.
    pub retries: Retries,
    /// Set once an invariant did not hold; nothing of the run moves from then on.
    pub frozen: Option<Frozen>,
    /// The frozen contract; absent while Pending.
    pub contract: Option<Contract>,
    /// The failure domain of its node, frozen at admission; absent while Pending.
    pub domain: Option<Domain>,
    /// Where the run stands.
    pub step: Step,
    /// Why it came to this step.
    pub reason: Reason,
    /// The sentence that goes with the reason.
    pub message: String,
    /// Since when it is in this step.
    pub since: Timestamp,
    /// When this step must have ended; `None` only in Pending, Held and the terminal steps.
    pub deadline: Option<Timestamp>,
    /// Since when the deadline stands still.
    pub paused_at: Option<Timestamp>,
    /// The intent in force.
    pub intent: Option<Intent>,
    /// Reboot attempts begun, counted over the whole ladder.
    pub attempt: u32,
    /// When each of them began.
    pub attempt_times: Vec<Timestamp>,
    /// The boot ID before the latest attempt.
    pub boot_id_before: Option<String>,
    /// The kubelet's report before the latest attempt: the heartbeat of `Ready`, as written.
    pub report_before: Option<Timestamp>,
    /// Reports of the trigger conditions: at admission, then when the new boot ID was first seen.
    pub evidence: Vec<Evidence>,
    /// DaemonSets (`namespace/name`) whose pod on this node was Ready when its drain was done, before the
    /// first attempt.
    pub daemon_sets: Vec<String>,
    /// Why the run is being undone; kept while Held waits for the node or for the hold label.
    pub ending: Option<Reason>,
}

/// Requests of people to try a held run's ladder again. A request counts only while the run is Held:
/// one that came earlier was not about what the run is held for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Retries {
    /// `spec.retries`: how often it was asked for.
    pub asked: u32,
    /// How many of these requests count no more: taken up, or made before the run was Held.
    pub taken: u32,
    /// The attempt after which the ladder began anew by a retry; `None` while nobody has asked for one.
    /// Attempts only grow over a run's life (protocol R1), so that the rung is counted from here.
    pub after_attempt: Option<u32>,
}

/// A run that an invariant has stopped.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Frozen {
    /// Since when.
    pub since: Timestamp,
    /// Which invariant did not hold; `None` for one that this operator does not know.
    pub invariant: Option<Invariant>,
    /// What was seen, in a sentence.
    pub message: String,
}

impl Run {
    /// A run of which no more is known than its slot, its step, and since when it is in it.
    pub fn of_slot(slot: Slot, step: Step, reason: Reason, since: Timestamp) -> Run {
        Run {
            uid: slot.run_uid,
            name: String::new(),
            node_name: slot.node_name,
            node_uid: slot.node_uid,
            policy: String::new(),
            causes: Vec::new(),
            cancel: false,
            retries: Retries::default(),
            frozen: None,
            contract: None,
            domain: None,
            step,
            reason,
            message: String::new(),
            since,
            deadline: None,
            paused_at: None,
            intent: None,
            attempt: 0,
            attempt_times: Vec::new(),
            boot_id_before: None,
            report_before: None,
            evidence: Vec::new(),
            daemon_sets: Vec::new(),
            ending: None,
        }
    }

    /// True once the first reboot intent is committed: the point of no return.
    pub fn past_no_return(&self) -> bool {
        self.attempt > 0
    }

    /// True while nothing of this try has rebooted the machine, so that a pause stops it and whatever
    /// makes a run turn back counts: before the point of no return, and again on the way to the reboot
    /// of a retry.
    pub fn may_turn_back(&self) -> bool {
        !self.past_no_return() || matches!(self.step, Step::Cordoning | Step::Draining)
    }

    /// True when a person has asked for another try of this held run.
    pub fn wants_retry(&self) -> bool {
        let asked = self.retries.asked > self.retries.taken;
        self.step == Step::Held && asked && !self.cancel && self.frozen.is_none()
    }

    /// The node reports another boot ID than before the latest attempt. An empty one is no report.
    pub fn booted(&self, node: &NodeFacts) -> bool {
        let before = self.boot_id_before.as_deref().filter(|before| !before.is_empty());
        let early = mutant!("boot-not-awaited");
        !node.boot_id.is_empty() && before.is_some_and(|before| early || before != node.boot_id)
    }

    /// The remedy that the next attempt tries, counted from 0.
    pub fn rung(&self) -> Option<u32> {
        self.attempt.checked_sub(self.retries.after_attempt.unwrap_or(0))
    }

    /// The remedy that the latest attempt tries, counted from 0.
    pub fn rung_tried(&self) -> Option<u32> {
        self.rung()?.checked_sub(1)
    }

    /// True while a reboot Pod of the run may exist, or may have acted on the machine a moment ago. What
    /// a frozen run says of its step cannot be trusted.
    pub fn may_reboot(&self) -> bool {
        matches!(self.step, Step::Rebooting | Step::Withdrawing)
            || (self.frozen.is_some() && self.past_no_return())
    }

    /// True while the run is under remediation: it can act, or something of it can. A frozen run does
    /// nothing; it keeps its slot while a reboot Pod that was made before may still act (protocol R2c,
    /// R3), and while the machine is down that such a Pod may have rebooted. Else a violation in one run
    /// stops no other (hazard H39). `node` is the Node of the run's name.
    pub fn holds_slot(&self, node: Option<&NodeFacts>, now: Timestamp) -> bool {
        let Some(frozen) = &self.frozen else { return self.step.holds_slot() };
        if !self.may_reboot() {
            return false;
        }
        let down = node.filter(|node| node.uid == self.node_uid).is_some_and(|node| {
            node.ready != Ready::True && !node.out_of_service && !self.booted(node)
        });
        down || now < reboot_check::pods_harmless_at(frozen.since)
    }

    /// This run, stopped for good where it stands. Its intent is off the record, so that no Pod of it
    /// acts any more.
    pub fn freeze(&self, invariant: Invariant, message: String, now: Timestamp) -> Run {
        let frozen = Frozen { since: now, invariant: Some(invariant), message };
        Run { frozen: Some(frozen), intent: None, ..self.clone() }
    }

    /// This run in another step. The deadline is `None` unless set afterwards; an intent does not
    /// survive its step, and neither does a pause.
    pub fn enter(&self, step: Step, reason: Reason, message: String, now: Timestamp) -> Run {
        Run {
            step,
            reason,
            message,
            since: now,
            deadline: None,
            paused_at: None,
            intent: None,
            retries: if step == Step::Held {
                Retries { taken: self.retries.asked, ..self.retries }
            } else {
                self.retries
            },
            ending: match step {
                Step::RollingBack => Some(reason),
                // It booted and is looked at anew: why it was being undone counts no more.
                Step::Verifying => None,
                Step::Pending
                | Step::Cordoning
                | Step::Draining
                | Step::Rebooting
                | Step::Withdrawing
                | Step::Uncordoning
                | Step::Settling
                | Step::Held
                | Step::Succeeded
                | Step::Cancelled
                | Step::Failed => self.ending,
            },
            ..self.clone()
        }
    }
}

/// What the operator is about to do, committed before it is done (SAFE-3).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Intent {
    /// What.
    pub effect: IntentEffect,
    /// The attempt that it belongs to; 0 before the first reboot.
    pub attempt: u32,
    /// The node that it is meant for.
    pub node_uid: String,
    /// The machine's boot ID when the intent was written.
    pub boot_id_before: String,
    /// When it was written.
    pub time: Timestamp,
}

/// The effects that an intent announces, one per step attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IntentEffect {
    /// Set `unschedulable` and our mark.
    Cordon,
    /// Evict the pods that have to go.
    Drain,
    /// Reboot the machine.
    Reboot,
    /// Take our marks off and give the node back.
    Uncordon,
}

impl IntentEffect {
    /// Every effect.
    pub const ALL: [IntentEffect; 4] =
        [IntentEffect::Cordon, IntentEffect::Drain, IntentEffect::Reboot, IntentEffect::Uncordon];

    /// The name as it stands in `status.intent.effect`.
    pub fn name(self) -> &'static str {
        match self {
            IntentEffect::Cordon => "Cordon",
            IntentEffect::Drain => "Drain",
            IntentEffect::Reboot => "Reboot",
            IntentEffect::Uncordon => "Uncordon",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intents_have_the_names_of_the_api() {
        let names = IntentEffect::ALL.map(IntentEffect::name);
        assert_eq!(names, ["Cordon", "Drain", "Reboot", "Uncordon"]);
    }
}
