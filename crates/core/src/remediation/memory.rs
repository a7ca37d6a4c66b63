//! What this process remembers of a run between two looks. Losing it only makes a run wait longer.

use jiff::Timestamp;

use super::{PodSeen, withdrawing};
use crate::{
    facts::NodeFacts,
    run::Run,
    step::Step,
    trigger::{self, Standing},
};

/// Memory of one run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Memory {
    /// Since when the node has been Ready and in service without a break, by our own clock.
    pub ready_since: Option<Timestamp>,
    /// Since when every trigger that must clear has been clear without a break, and the reports.
    pub clear_since: Option<Timestamp>,
    /// The kubelet's report when the withdrawn attempt's Pod was first seen over.
    pub report_at_pod_end: Option<Timestamp>,
    stay: Option<Stay>,
    copies: Option<Copies>,
}

/// What this process knows of the reboot Pods of one attempt. Their name is the same for all, so that one
/// is there at most; but a Pod whose object was deleted by force may live on beside the next (R2c), and
/// the word of the kubelet about the next says nothing of it. Only a process that has followed an attempt
/// from before its first Pod can tell that there was one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Copies {
    attempt: u32,
    /// How many were asked for by this process; those that were there already apart.
    asked: u32,
    /// One was seen.
    seen: bool,
    /// Another one may exist, out of sight.
    doubtful: bool,
}

impl Copies {
    /// What is known after one more look.
    fn follow(before: Option<Copies>, run: &Run, pod: &PodSeen) -> Copies {
        let begin = |doubtful| Copies { attempt: run.attempt, asked: 0, seen: false, doubtful };
        let mut copies = match before {
            Some(copies) if copies.attempt == run.attempt => copies,
            Some(copies) if copies.attempt.saturating_add(1) == run.attempt => begin(false),
            // Another process may have begun it.
            Some(_) | None => begin(run.past_no_return()),
        };
        match pod {
            PodSeen::Waiting { .. } | PodSeen::Running { .. } | PodSeen::Ended { .. } => {
                copies.seen = true;
            }
            PodSeen::Absent | PodSeen::Lost => copies.doubtful |= copies.seen,
            PodSeen::Unknown => {}
        }
        copies
    }
}

/// What the memory is about: one stay in one step, on one boot of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Stay {
    step: Step,
    since: Timestamp,
    boot_id: String,
}

impl Memory {
    /// Takes in one look. Called before every decision, and with every version of the node that a
    /// watch shows in between, so that a flap of Ready or of a trigger starts the clocks again.
    pub fn observe(&mut self, run: &Run, node: &NodeFacts, pod: &PodSeen, now: Timestamp) {
        let stay = Stay { step: run.step, since: run.since, boot_id: node.boot_id.clone() };
        let copies = Some(Copies::follow(self.copies.take(), run, pod));
        if self.stay.as_ref() != Some(&stay) {
            *self = Memory { stay: Some(stay), ..Memory::default() };
        }
        self.copies = copies;
        // A watch may lag behind: what it shows from before the boot is no recovery.
        let before_boot = run.step == Step::Verifying && !run.booted(node);
        if node.in_service() && !before_boot {
            start(&mut self.ready_since, now);
        } else {
            self.ready_since = None;
            self.clear_since = None;
        }
        if run.step == Step::Verifying && !before_boot {
            self.observe_verifying(run, node, now);
        }
        if run.step == Step::Withdrawing && self.pod_is_over(run, pod, now) {
            self.report_at_pod_end = self.report_at_pod_end.or(node.heartbeat());
        }
    }

    /// A reboot Pod was asked for, and was not there already or may have been made.
    pub fn reboot_pod_asked_for(&mut self) {
        if let Some(copies) = &mut self.copies {
            copies.asked = copies.asked.saturating_add(1);
            copies.doubtful |= copies.asked > 1;
        }
    }

    /// True when the reboot Pod that is seen is certainly the only one of the run's latest attempt.
    pub(super) fn is_only_copy(&self, run: &Run) -> bool {
        self.copies.as_ref().is_some_and(|copies| copies.attempt == run.attempt && !copies.doubtful)
    }

    /// Nothing of the withdrawn attempt acts any more: by the kubelet's word, or, where a Pod's object
    /// vanished or may have, by time (protocol R2c). A report that came before that may precede a reboot
    /// (W12).
    fn pod_is_over(&self, run: &Run, pod: &PodSeen, now: Timestamp) -> bool {
        let by_time = withdrawing::lost_pod_harmless_at(run) <= now;
        match pod {
            PodSeen::Ended { exit_code, .. } if !withdrawing::started(*exit_code) => {
                by_time || self.is_only_copy(run)
            }
            PodSeen::Absent | PodSeen::Lost | PodSeen::Ended { .. } => by_time,
            PodSeen::Unknown | PodSeen::Waiting { .. } | PodSeen::Running { .. } => false,
        }
    }

    fn observe_verifying(&mut self, run: &Run, node: &NodeFacts, now: Timestamp) {
        let Some(contract) = &run.contract else { return };
        let standing = trigger::standing(
            &contract.triggers,
            node,
            &run.causes,
            &run.evidence,
            now,
            |trigger| trigger.must_clear,
        );
        match standing {
            Standing::Clear if self.ready_since.is_some() => start(&mut self.clear_since, now),
            Standing::Clear | Standing::TrueOnNewEvidence | Standing::Unknown => {
                self.clear_since = None;
            }
        }
    }
}

/// Starts a clock, or leaves it running. A clock of ours that was set back starts it again, since
/// time that has not come yet would never pass.
fn start(since: &mut Option<Timestamp>, now: Timestamp) {
    *since = Some(since.map_or(now, |since| since.min(now)));
}
