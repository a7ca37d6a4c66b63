//! What people see of a run: why it waits, in its status; what happened, as Events and metrics.

use jiff::SignedDuration;
use kube::runtime::events::EventType;
use rerail_api::{NodeRemediation, convert::status, remediation::DrainRecord};
use rerail_core::{
    drain::progress::DrainPlan, reason::Reason, remediation::Decision, run::Run, step::Step,
};

use super::{DriveError, Driver, Next};

/// A status is written for its words alone not sooner than this after the last write.
const NOTE_EVERY: SignedDuration = SignedDuration::from_secs(2);

impl Driver {
    /// Nothing to do now: put on record why, if that is news.
    pub(super) async fn wait(
        &mut self,
        object: &NodeRemediation,
        run: &Run,
        decision: &Decision,
        drain: Option<&DrainPlan>,
    ) -> Result<Next, DriveError> {
        // A drain that has not been looked at yet has nothing to say.
        let unlooked = run.step == Step::Draining && drain.is_none();
        let news = is_news(object, decision, drain) || self.more_urgent(object, run).is_some();
        if run.step == Step::Pending || unlooked || !news {
            return Ok(Next::Wait(decision.recheck_at));
        }
        let now = self.context.now();
        let may_at = self.written_at.and_then(|at| at.checked_add(NOTE_EVERY).ok());
        if let Some(may_at) = may_at.filter(|may_at| *may_at > now) {
            let until = decision.recheck_at.map_or(may_at, |at| at.min(may_at));
            return Ok(Next::Wait(Some(until)));
        }
        self.write(object, run, run, Some((decision, drain))).await?;
        if worth_an_event(decision.reason) {
            self.context.events.run(
                object,
                EventType::Warning,
                run.step.name(),
                decision.reason.name(),
                &decision.message,
            );
        }
        Ok(Next::Again)
    }

    /// A run went from one step to another: Events, metrics, a line in the log.
    pub(super) fn announce(&self, object: &NodeRemediation, run: &Run, next: &Run) {
        let metrics = &self.context.deps.metrics;
        metrics.step_ended(run.step.name(), next.since.duration_since(run.since));
        if next.step.is_terminal() || next.step == Step::Held {
            metrics.outcome(&run.policy, next.step.name(), next.reason.name());
        }
        tracing::info!(remediation = %run.name, node = %run.node_name, from = %run.step, step = %next.step,
            reason = %next.reason, message = %next.message, "step");
        let kind = match next.step {
            Step::Held | Step::Failed | Step::RollingBack | Step::Withdrawing => EventType::Warning,
            Step::Cordoning
            | Step::Draining
            | Step::Rebooting
            | Step::Succeeded
            | Step::Cancelled => EventType::Normal,
            // Nothing has been done to the node, or nothing more: the run's status has these.
            Step::Pending | Step::Verifying | Step::Uncordoning | Step::Settling => return,
        };
        let message = format!("{}: {} ({})", run.name, next.message, next.step);
        self.context.events.run(object, kind, next.step.name(), next.reason.name(), &message);
    }
}

fn worth_an_event(reason: Reason) -> bool {
    matches!(reason, Reason::DrainBlocked | Reason::EffectUnresolved | Reason::Paused)
}

fn is_news(object: &NodeRemediation, decision: &Decision, drain: Option<&DrainPlan>) -> bool {
    let Some(current) = &object.status else { return true };
    let same = current.said().is_some_and(|said| {
        said.reason == decision.reason.name() && said.message == decision.message
    });
    !same
        || drain.is_some_and(|plan| {
            blocked(current.drain.as_ref()) != blocked(Some(&status::drain(plan)))
        })
}

/// Who waits for whom; how long, and how many have gone, is no news by itself.
fn blocked(record: Option<&DrainRecord>) -> Vec<(&str, Option<&str>)> {
    let pods = record.map(|record| record.blocked.as_slice()).unwrap_or_default();
    pods.iter().map(|blocked| (blocked.pod.as_str(), blocked.budget.as_deref())).collect()
}
