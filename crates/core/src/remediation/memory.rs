//! What this process remembers of a run between two looks. Losing it only makes a run wait longer.

use jiff::Timestamp;

use super::{PodSeen, booted, withdrawing};
use crate::{
    facts::NodeFacts,
    run::Run,
    step::Step,
    trigger::{self, Standing},
};

/// Memory of one run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// Since when the node has been Ready and in service without a break, by our own clock.
    pub ready_since: Option<Timestamp>,
    /// Since when every trigger that must clear has been clear without a break, and the reports.
    pub clear_since: Option<Timestamp>,
    /// The kubelet's report when the withdrawn attempt's Pod was first seen over.
    pub report_at_pod_end: Option<Timestamp>,
    stay: Option<Stay>,
}

/// What the memory is about: one stay in one step, on one boot of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
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
        if self.stay.as_ref() != Some(&stay) {
            *self = Memory { stay: Some(stay), ..Memory::default() };
        }
        // A watch may lag behind: what it shows from before the boot is no recovery.
        let before_boot = run.step == Step::Verifying && !booted(run, node);
        if node.in_service() && !before_boot {
            start(&mut self.ready_since, now);
        } else {
            self.ready_since = None;
            self.clear_since = None;
        }
        if run.step == Step::Verifying && !before_boot {
            self.observe_verifying(run, node, now);
        }
        if run.step == Step::Withdrawing && pod_is_over(run, pod, now) {
            self.report_at_pod_end = self.report_at_pod_end.or(node.heartbeat());
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

/// Nothing of the withdrawn attempt acts any more: by the kubelet's word, or, where the Pod's object
/// vanished, by time (protocol R2c). A report that came before that may precede a reboot (W12).
fn pod_is_over(run: &Run, pod: &PodSeen, now: Timestamp) -> bool {
    match pod {
        PodSeen::Ended { exit_code, .. } if !withdrawing::started(*exit_code) => true,
        PodSeen::Absent | PodSeen::Lost | PodSeen::Ended { .. } => {
            withdrawing::lost_pod_harmless_at(run) <= now
        }
        PodSeen::Unknown | PodSeen::Waiting { .. } | PodSeen::Running { .. } => false,
    }
}
