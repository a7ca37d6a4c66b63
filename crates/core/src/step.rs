//! The steps of a run and the graph between them (SAFE-18). The same graph is compiled into the
//! CRD's CEL rules, so that the API server refuses what the graph does not have.

use std::{fmt, str::FromStr};

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Created; harmless, holds no slot.
    Pending,
    /// Admitted; the node is being cordoned.
    Cordoning,
    /// Pods are being evicted.
    Draining,
    /// A reboot intent is in force.
    Rebooting,
    /// A reboot intent was withdrawn, and it is not yet certain that nothing can act on it.
    Withdrawing,
    /// The machine booted; is it healthy?
    Verifying,
    /// The node is being given back.
    Uncordoning,
    /// Given back; the run keeps its place for a while.
    Settling,
    /// Our marks are being taken off after a run that ends without success.
    RollingBack,
    /// Cordoned, visible, and waiting for a person or for evidence; holds no slot.
    Held,
    /// Ended: healed and given back.
    Succeeded,
    /// Ended: nothing was wrong any more, somebody said so, or the node went.
    Cancelled,
    /// Ended: it did not work.
    Failed,
}

/// A text that names no step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no step of a NodeRemediation; a newer operator may have written it")]
pub struct UnknownStep(pub String);

impl Step {
    /// Every step, in the order of a run.
    pub const ALL: [Step; 13] = [
        Step::Pending,
        Step::Cordoning,
        Step::Draining,
        Step::Rebooting,
        Step::Withdrawing,
        Step::Verifying,
        Step::Uncordoning,
        Step::Settling,
        Step::RollingBack,
        Step::Held,
        Step::Succeeded,
        Step::Cancelled,
        Step::Failed,
    ];

    /// The steps that may follow.
    pub fn successors(self) -> &'static [Step] {
        use Step::*;
        match self {
            Pending => &[Cordoning, Cancelled],
            Cordoning => &[Draining, RollingBack, Held, Cancelled],
            Draining => &[Rebooting, RollingBack, Held, Cancelled],
            Rebooting => &[Verifying, Withdrawing],
            Withdrawing => &[Verifying, Rebooting, RollingBack, Held, Cancelled],
            Verifying => &[Uncordoning, Rebooting, Held, RollingBack, Cancelled],
            Uncordoning => &[Settling, Succeeded, Held, Cancelled],
            Settling => &[Succeeded, Cancelled],
            RollingBack => &[Cancelled, Failed, Held],
            // Back to Cordoning by a person's retry, which is admitted like a new run.
            Held => &[Cordoning, Verifying, RollingBack, Cancelled],
            Succeeded | Cancelled | Failed => &[],
        }
    }

    /// True when the graph has an edge to `next`, or the run stays where it is.
    pub fn may_become(self, next: Step) -> bool {
        self == next || self.successors().contains(&next)
    }

    /// True once a run has ended for good.
    pub fn is_terminal(self) -> bool {
        self.successors().is_empty()
    }

    /// True while a run of this step is under remediation: it can act, or something of it can.
    pub fn holds_slot(self) -> bool {
        match self {
            Step::Pending | Step::Held | Step::Succeeded | Step::Cancelled | Step::Failed => false,
            Step::Cordoning
            | Step::Draining
            | Step::Rebooting
            | Step::Withdrawing
            | Step::Verifying
            | Step::Uncordoning
            | Step::Settling
            | Step::RollingBack => true,
        }
    }

    /// The name, as it stands in `status.step`.
    pub fn name(self) -> &'static str {
        match self {
            Step::Pending => "Pending",
            Step::Cordoning => "Cordoning",
            Step::Draining => "Draining",
            Step::Rebooting => "Rebooting",
            Step::Withdrawing => "Withdrawing",
            Step::Verifying => "Verifying",
            Step::Uncordoning => "Uncordoning",
            Step::Settling => "Settling",
            Step::RollingBack => "RollingBack",
            Step::Held => "Held",
            Step::Succeeded => "Succeeded",
            Step::Cancelled => "Cancelled",
            Step::Failed => "Failed",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Step {
    type Err = UnknownStep;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Step::ALL
            .into_iter()
            .find(|step| step.name() == text)
            .ok_or_else(|| UnknownStep(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_step_is_reached_and_every_open_step_can_end() {
        let mut seen = BTreeSet::from([Step::Pending]);
        while let Some(next) =
            seen.iter().flat_map(|s| s.successors()).find(|s| !seen.contains(s)).copied()
        {
            seen.insert(next);
        }
        assert_eq!(seen, BTreeSet::from(Step::ALL));
        for step in Step::ALL {
            let mut reach = BTreeSet::from([step]);
            while let Some(next) =
                reach.iter().flat_map(|s| s.successors()).find(|s| !reach.contains(s)).copied()
            {
                reach.insert(next);
            }
            assert!(reach.iter().any(|s| s.is_terminal()), "{step} never ends");
        }
    }

    #[test]
    fn a_reboot_attempt_is_left_without_a_boot_only_through_withdrawing() {
        assert_eq!(Step::Rebooting.successors(), [Step::Verifying, Step::Withdrawing]);
    }

    #[test]
    fn from_cordoning_on_a_run_succeeds_or_fails_only_after_its_closing_write() {
        for step in Step::ALL {
            for end in [Step::Succeeded, Step::Failed] {
                if step.successors().contains(&end) {
                    assert!(
                        matches!(step, Step::Uncordoning | Step::Settling | Step::RollingBack),
                        "{step} → {end}"
                    );
                }
            }
        }
    }

    #[test]
    fn names_are_read_back_and_others_refused() {
        for step in Step::ALL {
            assert_eq!(step.name().parse(), Ok(step));
        }
        assert_eq!("Rebooted".parse::<Step>(), Err(UnknownStep("Rebooted".into())));
    }
}
