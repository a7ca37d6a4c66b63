//! Performs one effect that was decided on and checked.

use futures::{StreamExt, stream};
use jiff::Timestamp;
use rerail_api::{NodeRemediation, convert::last_remediation, names};
use rerail_core::{
    drain::progress::PodRef,
    invariants,
    remediation::{self, Effect},
    run::Run,
};

use super::{DriveError, Driver, LAG, Next, look::Look};
use crate::act::{self, node::NodeWriteError, pods::Made};

/// Evictions of one effect, all under way at once; between two effects the run is looked at again.
const EVICTIONS_AT_ONCE: usize = 16;

impl Driver {
    pub(super) async fn perform(
        &mut self,
        object: &NodeRemediation,
        run: &Run,
        effect: Effect,
        look: &Look,
    ) -> Result<Next, DriveError> {
        // The decision, looked at by somebody else, on the same facts.
        let facts = look.facts.as_deref();
        if let Some(violation) = facts.and_then(|node| invariants::of_effect(run, node, &effect)) {
            return self.freeze(object, run, violation).await;
        }
        if let Some(overtaken) = self.overtake(object).await {
            return overtaken;
        }
        if run.step.holds_slot() && !self.has_right(run).await? {
            return Ok(Next::Again);
        }
        let node = look.node.as_ref();
        let context = self.context.clone();
        let client = &context.clients.act;
        let settings = &context.deps.settings;
        tracing::info!(remediation = %run.name, node = %run.node_name, step = %run.step, attempt = run.attempt,
            epoch = context.term.epoch, effect = effect_name(&effect), "acting");
        match effect {
            Effect::Evict(pods) => self.evict(run, pods).await,
            Effect::Cordon => {
                let Some(node) = node else { return Ok(Next::Again) };
                let asked = context.now();
                let patch = act::node::cordon(client, &node.object, &run.uid, &run.name, asked);
                return self.node_written(patch.await, look, asked);
            }
            Effect::Remember => {
                let Some(node) = node else { return Ok(Next::Again) };
                let memory = remediation::record_attempts(run, &node.facts.last_remediation);
                if let Some(memory) = memory {
                    let text = last_remediation::encode(&memory)?;
                    let asked = context.now();
                    let patch = act::node::remember(client, &node.object, text);
                    let next = self.node_written(patch.await, look, asked);
                    // What follows may be a reboot: it gets a last look of its own, at the kill switch and
                    // the policy, too (SAFE-5).
                    self.after_write = None;
                    return next;
                }
            }
            Effect::CreateRebootPod(method) => {
                let made = act::pods::create_reboot(client, object, run, method, settings).await;
                if !matches!(made, Ok(Made::Before)) {
                    self.memory.reboot_pod_asked_for();
                }
                made?;
            }
            Effect::CreateProbePod => {
                let Some(node) = node else { return Ok(Next::Again) };
                let boot_id = &node.facts.boot_id;
                act::pods::create_probe(client, object, run, boot_id, settings).await?;
            }
            Effect::DeleteRebootPod => {
                act::pods::delete(client, &names::reboot_pod_name(&run.uid, run.attempt)).await?;
            }
            Effect::DeleteProbePod => {
                act::pods::delete(client, &names::probe_pod_name(&run.uid, run.attempt)).await?;
            }
            Effect::Close { uncordon, result, reason } => {
                let Some(node) = node else { return Ok(Next::Again) };
                let memory = remediation::record(run, &node.facts, result, reason, context.now());
                let text = last_remediation::encode(&memory)?;
                let asked = context.now();
                let patch = act::node::close(client, &node.object, &run.uid, uncordon, text);
                return self.node_written(patch.await, look, asked);
            }
        }
        // The answer to an effect is what the watches show of it; look again soon in any case.
        Ok(Next::Wait(context.now().saturating_add(std::time::Duration::from_secs(1)).ok()))
    }

    /// Deletes our Pods at the end of a run. They go with the run in any case, so that one that cannot
    /// be deleted keeps nothing waiting.
    pub(super) async fn delete_pods(&self, run: &Run) {
        if !run.past_no_return() {
            return;
        }
        for name in [
            names::reboot_pod_name(&run.uid, run.attempt),
            names::probe_pod_name(&run.uid, run.attempt),
        ] {
            if let Err(error) = act::pods::delete(&self.context.clients.act, &name).await {
                tracing::warn!(remediation = %run.name, %error, "a Pod of the run stays until the run is deleted");
            }
        }
    }

    fn node_written(
        &mut self,
        written: Result<rerail_api::Node, NodeWriteError>,
        look: &Look,
        asked: Timestamp,
    ) -> Result<Next, DriveError> {
        match written {
            Ok(node) => {
                self.keep_after_write(look, asked, node);
                Ok(Next::Again)
            }
            // Somebody wrote the node in between, most often its kubelet. The short pause is for the
            // case that it was refused for another reason, and will be again.
            Err(NodeWriteError::Refused(error)) => {
                tracing::info!(remediation = %self.name, %error, "the node was not written");
                Ok(Next::Wait(self.context.now().saturating_add(LAG).ok()))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn evict(&mut self, run: &Run, pods: Vec<PodRef>) {
        let client = self.context.clients.act.clone();
        let grace = run.contract.as_ref().and_then(|c| c.drain.options.grace_period_seconds);
        let outcomes: Vec<_> = stream::iter(pods.into_iter().take(EVICTIONS_AT_ONCE))
            .map(|pod| {
                let client = client.clone();
                async move {
                    let outcome = act::evict::evict(&client, &pod, grace, false).await;
                    (pod, outcome)
                }
            })
            .buffer_unordered(EVICTIONS_AT_ONCE)
            .collect()
            .await;
        let now = self.context.now();
        if let Some(progress) = self.progress.as_mut() {
            for (pod, outcome) in outcomes {
                tracing::debug!(remediation = %run.name, pod = %format!("{}/{}", pod.namespace, pod.name), ?outcome, "eviction");
                progress.record(&pod, outcome, now);
            }
        }
    }
}

fn effect_name(effect: &Effect) -> &'static str {
    match effect {
        Effect::Cordon => "Cordon",
        Effect::Remember => "Remember",
        Effect::Evict(_) => "Evict",
        Effect::CreateRebootPod(_) => "CreateRebootPod",
        Effect::DeleteRebootPod => "DeleteRebootPod",
        Effect::CreateProbePod => "CreateProbePod",
        Effect::DeleteProbePod => "DeleteProbePod",
        Effect::Close { .. } => "Close",
    }
}
