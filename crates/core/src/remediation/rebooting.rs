//! Rebooting: a Pod on the node acts; a new boot ID is the evidence (SAFE-1).

use super::{Decision, Effect, Look, PodSeen};
use crate::{
    facts::Cordon,
    mutant,
    policy::{Action, RebootMethod},
    reason::Reason,
    reboot_check::{EXIT_COMMAND_FAILED, Refusal, Report},
    run::IntentEffect,
};

pub(super) fn step(look: &Look<'_>) -> Decision {
    if look.booted() {
        return look.verify();
    }
    if look.run.cancel && !mutant!("cancel-ignored") {
        return look.withdraw(Reason::CancelRequested, "the run was cancelled");
    }
    if look.node.hold {
        return look.withdraw(Reason::HoldLabel, "the node bears the label rerail.dev/hold");
    }
    if look.deadline_passed() {
        let message = "the machine reported no new boot ID within the remedy's timeout";
        return look.withdraw(Reason::RebootTimeout, message);
    }
    if !intended(look) && !mutant!("reboot-without-intent") {
        return look.withdraw(Reason::RebootFailed, "the status names no intent for this attempt");
    }
    let wait = |reason, message: &str| Decision::wait(reason, message, look.run.deadline);
    match &look.seen.reboot_pod {
        PodSeen::Unknown => wait(Reason::RebootPodPending, "looking for the reboot Pod"),
        // The Pod would refuse, and pods that came since the cordon was lifted were not drained.
        PodSeen::Absent if look.cordon() != Cordon::Ours => {
            look.withdraw(Reason::CordonLifted, "the cordon is not ours any more")
        }
        PodSeen::Absent => match method(look) {
            None => look.withdraw(Reason::RebootFailed, "the plan has no remedy for this attempt"),
            Some(method) => {
                let effect = Effect::CreateRebootPod(method);
                Decision::act(effect, Reason::RebootPodPending, method.announced())
            }
        },
        PodSeen::Waiting { why, .. } => {
            wait(Reason::RebootPodPending, &format!("the reboot Pod has not started: {why}"))
        }
        PodSeen::Running { .. } => wait(Reason::WaitingForBoot, "the reboot Pod is at work"),
        PodSeen::Lost => wait(Reason::WaitingForBoot, "the reboot Pod is over; no word of its end"),
        PodSeen::Ended { exit_code, report, .. } => ended(look, *exit_code, report.as_ref()),
    }
}

/// How the latest attempt reboots.
fn method(look: &Look<'_>) -> Option<RebootMethod> {
    let remedy = look.contract.remedies.get(look.run.rung_tried()? as usize)?;
    let Action::Reboot(method) = remedy.action;
    Some(method)
}

/// The committed intent names this attempt, this node and the boot ID that is to change (SAFE-3).
fn intended(look: &Look<'_>) -> bool {
    look.run.intent.as_ref().is_some_and(|intent| {
        intent.effect == IntentEffect::Reboot
            && intent.attempt == look.run.attempt
            && intent.node_uid == look.node.uid
            && look.run.boot_id_before.as_ref() == Some(&intent.boot_id_before)
    })
}

fn ended(look: &Look<'_>, exit_code: i32, report: Option<&Report>) -> Decision {
    let booting = |message| Decision::wait(Reason::WaitingForBoot, message, look.run.deadline);
    match report.and_then(|report| report.refusal) {
        // It has booted; the kubelet will say so. Never a failure (protocol R2, W12).
        Some(Refusal::BootIDDiffers) => {
            return booting("the machine has booted; awaiting its report");
        }
        Some(refusal) => return look.withdraw(Reason::RebootRefused, format!("{refusal}")),
        None => {}
    }
    match exit_code {
        0 => booting("the reboot was started"),
        // A shell's 128 + signal: the machine going down may well have killed the Pod.
        128.. => booting("the reboot Pod was killed, as by a machine that goes down"),
        EXIT_COMMAND_FAILED => {
            let words = report.map_or("no message", |report| report.message.as_str());
            look.withdraw(
                Reason::RebootFailed,
                format!("the machine could not be told to reboot: {words}"),
            )
        }
        code => {
            let words = report.map_or("no message", |report| report.message.as_str());
            look.withdraw(
                Reason::RebootFailed,
                format!("the reboot Pod ended with code {code}: {words}"),
            )
        }
    }
}
