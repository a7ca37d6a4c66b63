//! A run that breaks an invariant is stopped where it stands, visibly, and nothing else is
//! (`rerail_core::invariants`).

use kube::runtime::events::EventType;
use rerail_api::NodeRemediation;
use rerail_core::{
    invariants::{self, Violation},
    reason::Reason,
    remediation::{Action, Decision},
    run::Run,
};

use super::{DriveError, Driver, Next};
use crate::act;

impl Driver {
    /// What is wrong with the run as it was just read, compared with how it was.
    pub(super) fn violation(&self, run: &Run) -> Option<Violation> {
        self.context
            .suspects
            .take(&self.name)
            .or_else(|| invariants::of_run(run))
            .or_else(|| self.last.as_ref().and_then(|last| invariants::of_change(last, run)))
    }

    /// Puts on record that nothing of the run moves any more, and announces it.
    pub(super) async fn freeze(
        &mut self,
        object: &NodeRemediation,
        run: &Run,
        violation: Violation,
    ) -> Result<Next, DriveError> {
        let Violation { invariant, message, .. } = violation;
        tracing::error!(remediation = %run.name, node = %run.node_name, step = %run.step, %invariant, %message,
            "an invariant does not hold: the run is frozen");
        let told = format!(
            "{invariant} does not hold: {message}; nothing is done for this run any more. Look at its node, then \
             give it back: kubectl delete noderemediation {}",
            run.name
        );
        let next = run.freeze(invariant, told.clone(), self.context.now());
        let decision = Decision {
            action: Action::Wait,
            reason: Reason::InvariantViolated,
            message: told.clone(),
            recheck_at: None,
        };
        let written = self.write(object, run, &next, Some((&decision, None))).await?;
        let known = self.context.runs.get(&self.name);
        let status = known.as_ref().and_then(|object| object.status.as_ref());
        if status.is_none_or(|status| status.frozen.is_none()) {
            return Ok(written); // somebody else wrote the run in between; it is looked at again
        }
        self.context.deps.metrics.violated(invariant);
        let reason = Reason::InvariantViolated.name();
        self.context.events.run(object, EventType::Warning, "Freeze", reason, &told);
        Ok(written)
    }

    /// A frozen run waits for a person to delete it; what it left on its node is then swept.
    pub(super) async fn frozen(&mut self, object: &NodeRemediation) -> Result<Next, DriveError> {
        if object.metadata.deletion_timestamp.is_none() {
            return Ok(Next::Wait(None));
        }
        match act::run::set_finalizer(&self.context.clients.act, object, false, self.context.now())
            .await
        {
            Ok(object) => {
                self.context.runs.put(object, None);
                Ok(Next::Ended)
            }
            Err(error) => self.refresh(object, error).await,
        }
    }
}
