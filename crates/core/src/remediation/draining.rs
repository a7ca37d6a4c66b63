//! Draining: through the Eviction API, until every pod that has to go is gone (SAFE-21).

use jiff::SignedDuration;

use super::{Decision, Effect, Look, turn_back};
use crate::{
    drain::{
        filter::RefuseReason,
        progress::{DrainPlan, PodRef},
    },
    facts::Cordon,
    mutant,
    reason::Reason,
    run::Run,
    trigger::add,
};

/// How many pods a message names before it says how many more there are.
const NAMED: usize = 5;

/// How many DaemonSets a run remembers (the schema's bound of `status.plan.daemonSets`).
const DAEMON_SETS_KEPT: usize = 64;

/// When a DaemonSet that could not be read is asked for again.
const ASK_AGAIN: SignedDuration = SignedDuration::from_secs(30);

pub(super) fn step(look: &Look<'_>) -> Decision {
    if look.node.hold {
        return look.hold(Reason::HoldLabel, "the node bears the label rerail.dev/hold");
    }
    match look.cordon() {
        Cordon::Ours => {}
        Cordon::None | Cordon::OursLifted => {
            return look.give_up(Reason::CordonLifted, "somebody lifted our cordon");
        }
        Cordon::OursTakenOver | Cordon::Other | Cordon::OtherRun => {
            return look.give_up(Reason::CordonedByOther, "somebody else has cordoned the node");
        }
    }
    if let Some((reason, message)) = turn_back(look) {
        return look.give_up(reason, message);
    }
    let Some(plan) = look.seen.drain else {
        return late(look, "the pods of the node could not be listed").unwrap_or_else(|| {
            Decision::wait(
                Reason::DrainInProgress,
                "listing the pods of the node",
                look.run.deadline,
            )
        });
    };
    drain(look, plan)
}

fn drain(look: &Look<'_>, plan: &DrainPlan) -> Decision {
    if let Some((pod, why)) = plan.failed.first() {
        return look.give_up(Reason::DrainForbidden, format!("{}: {why}", name(pod)));
    }
    let for_good = plan.refused.iter().any(|(_, why)| !may_pass(why));
    if for_good && plan.evicted == 0 && plan.evict.is_empty() {
        let texts = plan.refused.iter().map(|(pod, why)| format!("{}: {why}", name(pod)));
        return look.give_up(Reason::DrainRefused, list(texts));
    }
    if plan.done || mutant!("drain-skipped") {
        return drained(look);
    }
    let (reason, message) = progress(plan);
    if let Some(decision) = late(look, &message) {
        if mutant!("drain-timeout-reboots") {
            return drained(look);
        }
        return decision;
    }
    if !plan.evict.is_empty() {
        return Decision::act(Effect::Evict(plan.evict.clone()), reason, message);
    }
    let ask_again = plan.refused.iter().any(|(_, why)| may_pass(why));
    let ask_again = ask_again.then(|| add(look.seen.now, ASK_AGAIN));
    let recheck = [plan.recheck_at, ask_again, look.run.deadline].into_iter().flatten().min();
    Decision::wait(reason, message, recheck)
}

/// A refusal that is no word about the pod: its DaemonSet could not be read just now.
fn may_pass(why: &RefuseReason) -> bool {
    matches!(why, RefuseReason::DaemonSetLookupFailed { .. })
}

fn late(look: &Look<'_>, message: &str) -> Option<Decision> {
    look.deadline_passed().then(|| {
        look.give_up(Reason::DrainTimeout, format!("not drained within drain.timeout: {message}"))
    })
}

/// Everything that has to go is gone: the reboot intent, the point of no return.
fn drained(look: &Look<'_>) -> Decision {
    if !look.node.in_service() || look.node.boot_id.is_empty() {
        let message = "the node is drained and not Ready, or reports no boot ID; a Pod cannot act";
        return late(look, message).unwrap_or_else(|| {
            Decision::wait(Reason::WaitingForReady, message, look.run.deadline)
        });
    }
    let Some(ready) = &look.seen.daemon_sets_ready else {
        let message = "listing the DaemonSet pods";
        return late(look, message).unwrap_or_else(|| {
            Decision::wait(Reason::DrainInProgress, message, look.run.deadline)
        });
    };
    match look.next_attempt() {
        // Verification wants those back that ran before the machine was touched; later ones may be
        // missing for what the attempt did.
        Ok(next) if look.run.attempt == 0 => {
            let daemon_sets = ready.iter().take(DAEMON_SETS_KEPT).cloned().collect();
            Decision::change(Run { daemon_sets, ..next })
        }
        Ok(next) => look.begin(next),
        Err((reason, message)) => look.give_up(reason, message),
    }
}

fn progress(plan: &DrainPlan) -> (Reason, String) {
    if plan.blocked.is_empty() && !plan.refused.is_empty() {
        let texts = plan.refused.iter().map(|(pod, why)| format!("{}: {why}", name(pod)));
        return (Reason::DrainInProgress, format!("pods that must stay: {}", list(texts)));
    }
    if plan.blocked.is_empty() {
        let waiting = plan.terminating.iter().map(name);
        let message = match plan.terminating.is_empty() {
            true => "evicting pods".to_owned(),
            false => format!("waiting for pods to end: {}", list(waiting)),
        };
        return (Reason::DrainInProgress, message);
    }
    let texts = plan.blocked.iter().map(|blocked| match &blocked.budget {
        Some(budget) => format!("pod {} waits for budget {budget}", name(&blocked.pod)),
        None => format!("pod {}: {}", name(&blocked.pod), blocked.message),
    });
    (Reason::DrainBlocked, list(texts))
}

fn name(pod: &PodRef) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}

fn list(items: impl ExactSizeIterator<Item = String>) -> String {
    let more = items.len().saturating_sub(NAMED);
    let mut text = items.take(NAMED).collect::<Vec<_>>().join("; ");
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    text
}
