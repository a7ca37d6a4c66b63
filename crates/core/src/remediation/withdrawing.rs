//! Withdrawing: the intent is off the record; now wait until nothing can act on it any more
//! (protocol R2, R2c). Until then the run keeps its slot.

use jiff::Timestamp;

use super::{Decision, Effect, Look, PodSeen, why_not_in_service};
use crate::{
    facts::{Cordon, OUT_OF_SERVICE_TAINT},
    mutant,
    reason::Reason,
    reboot_check::{self, Refusal},
    run::Run,
};

/// When no Pod of the withdrawn attempt can act any more, even one whose object vanished.
pub(super) fn lost_pod_harmless_at(run: &Run) -> Timestamp {
    reboot_check::pods_harmless_at(run.since)
}

pub(super) fn step(look: &Look<'_>) -> Decision {
    if look.booted() {
        return look.verify();
    }
    if mutant!("withdraw-skipped") {
        return resolved(look);
    }
    let unresolved = |message: &str, recheck| {
        if look.deadline_passed() {
            return Decision::wait(Reason::EffectUnresolved, doors(look, message), recheck);
        }
        Decision::wait(
            Reason::Withdrawing,
            message,
            recheck.min(look.run.deadline).or(look.run.deadline),
        )
    };
    let harmless_at = lost_pod_harmless_at(look.run);
    match &look.seen.reboot_pod {
        PodSeen::Waiting { deleting: false, .. } | PodSeen::Running { deleting: false } => {
            let message = "stopping the reboot Pod";
            return Decision::act(Effect::DeleteRebootPod, Reason::Withdrawing, message);
        }
        // Somebody has looked, and says that the machine is off: nothing on it acts any more, and
        // whoever gives it power boots it.
        _ if look.node.out_of_service => return resolved(look),
        PodSeen::Unknown => return unresolved("looking for the reboot Pod", None),
        PodSeen::Waiting { .. } | PodSeen::Running { .. } => {
            return unresolved("the kubelet has not stopped the reboot Pod yet", None);
        }
        PodSeen::Absent | PodSeen::Lost if look.seen.now < harmless_at => {
            let message = "the reboot Pod's object is gone; its process may live a little longer";
            return Decision::wait(Reason::Withdrawing, message, Some(harmless_at));
        }
        // It has booted, whatever the node object still says (protocol R2, W12).
        PodSeen::Ended { report: Some(report), .. }
            if report.refusal == Some(Refusal::BootIDDiffers) =>
        {
            return unresolved("the machine has booted; awaiting its report", None);
        }
        PodSeen::Ended { exit_code, .. } if started(*exit_code) && look.seen.now < harmless_at => {
            let message = "the reboot was started; the machine may still go down";
            return Decision::wait(Reason::Withdrawing, message, Some(harmless_at));
        }
        PodSeen::Ended { .. }
            if look.seen.now < harmless_at && !look.seen.memory.is_only_copy(look.run) =>
        {
            let message =
                "an earlier copy of the reboot Pod may live a little longer, out of sight";
            return Decision::wait(Reason::Withdrawing, message, Some(harmless_at));
        }
        PodSeen::Absent | PodSeen::Lost | PodSeen::Ended { .. } => {}
    }
    if !reported_since(look) {
        return unresolved("the node has not reported since the reboot Pod ended", None);
    }
    resolved(look)
}

/// The Pod's end says that the reboot command was started, or may have been. The command returns
/// before the machine goes down (`systemctl reboot` only asks for it), so that the Pod's end proves
/// nothing yet; the machine gets as long as a Pod whose object vanished.
pub(super) fn started(exit_code: i32) -> bool {
    exit_code == 0 || exit_code >= 128
}

/// The kubelet has reported later than the Pod's end: by the node's own clock where the kubelet said
/// when the Pod ended, else by a report that differs from the one seen when the Pod was first over.
fn reported_since(look: &Look<'_>) -> bool {
    let Some(report) = look.node.heartbeat() else { return false };
    match look.seen.reboot_pod {
        PodSeen::Ended { exit_code, finished_at: Some(at), .. }
            if !started(exit_code) && look.seen.memory.is_only_copy(look.run) =>
        {
            return report > at;
        }
        _ => {}
    }
    look.seen.memory.report_at_pod_end.is_some_and(|at_end| at_end != report)
}

/// What a person can do about a machine of which nobody can tell whether it will still reboot.
fn doors(look: &Look<'_>, message: &str) -> String {
    let node = &look.node.name;
    format!(
        "cannot tell whether the machine will still reboot: {message}; power it on or repair it; or \
         make sure that it is off, and say so: kubectl taint node {node} \
         {OUT_OF_SERVICE_TAINT}=nodeshutdown:NoExecute; or delete its Node object if it is gone for \
         good"
    )
}

/// What became of the attempt, for the person who finds the run held.
fn story(look: &Look<'_>) -> String {
    let why = &look.run.message;
    if look.node.out_of_service {
        return format!("{why}; {}", why_not_in_service(look.node));
    }
    match look.seen.reboot_pod {
        PodSeen::Ended { exit_code, .. } if started(exit_code) => format!(
            "{why}; the reboot was started, and the node still reports the boot before it: see what \
             keeps the machine from going down (an unmount that hangs, an inhibitor), or power-cycle \
             it; once it has booted it is verified by itself"
        ),
        _ => why.clone(),
    }
}

/// Nothing of the attempt can act any more, and the machine has not booted.
fn resolved(look: &Look<'_>) -> Decision {
    let why = look.run.message.clone();
    match (look.run.reason, look.cordon()) {
        (Reason::HoldLabel, _) => look.hold(Reason::HoldLabel, why),
        (Reason::CancelRequested, _) => look.roll_back(Reason::CancelRequested, why),
        _ if look.run.cancel => look.roll_back(Reason::CancelRequested, "the run was cancelled"),
        (_, Cordon::None | Cordon::OursLifted) => {
            look.roll_back(Reason::CordonLifted, "somebody lifted our cordon")
        }
        (_, Cordon::OursTakenOver | Cordon::Other | Cordon::OtherRun) => {
            look.roll_back(Reason::CordonedByOther, "somebody else has cordoned the node")
        }
        (_, Cordon::Ours) => match look.next_attempt() {
            Ok(next) => look.begin(next),
            Err((Reason::Unreachable, message)) => {
                look.hold(Reason::NoBoot, format!("{}; {message}", story(look)))
            }
            Err((reason, message)) => look.hold(reason, format!("{}; {message}", story(look))),
        },
    }
}
