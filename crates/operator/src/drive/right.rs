//! The right to act: a slot in the acknowledged ledger, and a Lease that a fresh read shows in this
//! term's hands (SAFE-2, SAFE-4; planner.md, The ledger).

use rerail_core::{lease::OwnPod, remediation::Effect, run::Run};

use super::{DriveError, Driver, look::Look};
use crate::lead::own_pod;

/// Effects before which the Lease is read.
pub(super) fn needs_lease(effect: &Effect) -> bool {
    match effect {
        Effect::Cordon | Effect::Evict(_) | Effect::CreateRebootPod(_) => true,
        Effect::Remember
        | Effect::DeleteRebootPod
        | Effect::CreateProbePod
        | Effect::DeleteProbePod
        | Effect::Close { .. } => false,
    }
}

impl Driver {
    /// True when the run's UID is in the ledger. One that goes on by itself, such as a held run whose
    /// machine came back, gets its slot here first: its node is out already, so that no limit is asked.
    /// The look that led here is then made anew.
    pub(super) async fn has_right(&self, run: &Run) -> Result<bool, DriveError> {
        let lease = &self.context.term.lease;
        // A held run has none by its step: what it has may be on its way to be released.
        if lease.holds(&run.uid) && (run.step.holds_slot() || lease.has_claim(&run.uid)) {
            return Ok(true);
        }
        lease.claim(run, self.context.now()).await?;
        tracing::info!(remediation = %run.name, step = %run.step, "the run goes on, and has its slot back");
        Ok(false)
    }

    /// The part of the last look that concerns the Lease: before the cordon, before evictions and before
    /// a reboot Pod.
    pub(super) async fn confirm_right(
        &self,
        effect: &Effect,
        look: &Look,
    ) -> Result<(), DriveError> {
        if look.confirmed || !needs_lease(effect) {
            return Ok(());
        }
        Ok(self.context.term.lease.confirm().await?)
    }

    /// The node is drained but for what stays there. True when our own Pod is there and somebody else
    /// can take over: then the Lease is given away, and the next leader evicts our Pod (hazard H31).
    pub(super) async fn steps_down(&self, run: &Run) -> Result<bool, DriveError> {
        match own_pod::decide(&self.context, &run.node_name).await? {
            OwnPod::Elsewhere => Ok(false),
            OwnPod::Leave => {
                tracing::info!(remediation = %run.name, node = %run.node_name,
                    "no other operator is ready: this one stays, and comes back with its node");
                Ok(false)
            }
            OwnPod::StepDown => {
                tracing::info!(remediation = %run.name, node = %run.node_name,
                    "this operator runs on the node: it gives its Lease away, so that the next one evicts it");
                self.context.term.lease.release().await;
                Ok(true)
            }
        }
    }
}
