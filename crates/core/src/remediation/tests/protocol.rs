//! The rules of the action protocol, each by the counterexample that it closes (protocol.md).

use super::*;
use crate::reboot_check::EXIT_REFUSED;

fn cancelled_while_its_pod_runs() -> Scene {
    let mut scene = scene(Step::Rebooting);
    scene.reboot_pod = PodSeen::Running { deleting: false };
    scene.run.cancel = true;
    scene.run = scene.changed();
    scene
}

/// R1: the Pod compares the kernel's boot ID. What is left for the core: a Pod that refuses since the
/// machine has booted is no failure, and no second boot is asked for.
#[test]
fn w1_a_pod_that_runs_again_after_the_boot_causes_no_second_boot() {
    let mut scene = scene(Step::Rebooting);
    scene.reboot_pod = ended(EXIT_REFUSED, 9, Some(Refusal::BootIDDiffers));
    assert_eq!(scene.waits(), Reason::WaitingForBoot);
    scene.node.boot_id = "boot-2".into();
    assert_eq!(scene.goes_to(), (Step::Verifying, Reason::Booted));
}

/// R2: a cancel after the intent withdraws it, and gives nothing back before the Pod is over and the
/// node has reported since.
#[test]
fn w2_a_cancel_after_the_intent_waits_for_the_pod_that_may_have_read_it() {
    let mut scene = cancelled_while_its_pod_runs();
    assert_eq!((scene.run.step, &scene.run.intent), (Step::Withdrawing, &None));
    assert!(scene.run.step.holds_slot());
    assert_eq!(scene.effect(), Effect::DeleteRebootPod);
    scene.reboot_pod = PodSeen::Running { deleting: true };
    scene.waits();
    scene.reboot_pod = ended(EXIT_REFUSED, 20, Some(Refusal::IntentWithdrawn));
    scene.now = at(30);
    assert_eq!(scene.waits(), Reason::Withdrawing, "no report since the Pod's end");
    set(&mut scene.node, condition("Ready", "True", 20));
    assert_eq!(scene.waits(), Reason::Withdrawing, "nor one of the same time");
    set(&mut scene.node, condition("Ready", "True", 25));
    assert_eq!(scene.goes_to(), (Step::RollingBack, Reason::CancelRequested));
}

/// W12: the command of a Pod that has started it may still take the machine down, as long as a Pod whose object
/// vanished; a report from before that proves nothing.
#[test]
fn w12_a_report_from_before_a_started_reboot_is_harmless_proves_nothing() {
    let mut scene = cancelled_while_its_pod_runs();
    scene.reboot_pod = ended(0, 20, None);
    for (now, report) in [(30, 25), (60, 55), (85, 55)] {
        scene.now = at(now);
        set(&mut scene.node, condition("Ready", "True", report));
        assert_eq!(scene.waits(), Reason::Withdrawing, "at {now}");
    }
    scene.now = at(95);
    set(&mut scene.node, condition("Ready", "True", 90));
    assert_eq!(scene.goes_to(), (Step::RollingBack, Reason::CancelRequested));
}

/// R2: the same for the attempt's deadline.
#[test]
fn w3_a_deadline_withdraws_and_a_late_boot_is_verified() {
    let mut scene = scene(Step::Rebooting);
    scene.reboot_pod = ended(0, 880, None);
    scene.now = at(900);
    scene.run = scene.changed();
    assert_eq!(scene.run.step, Step::Withdrawing);
    assert_eq!(scene.waits(), Reason::Withdrawing, "the last report is older than the Pod's end");
    scene.now = at(2000);
    assert_eq!(scene.waits(), Reason::EffectUnresolved, "said, and the slot stays");
    assert!(scene.run.step.holds_slot());
    scene.node.boot_id = "boot-2".into();
    assert_eq!(scene.goes_to(), (Step::Verifying, Reason::Booted));
}

/// R4: a run that is cancelled before its cordon is seen on the node still writes the node before it
/// ends, so that a cordon decided earlier, by whomever, cannot land afterwards.
#[test]
fn w4_a_cancel_before_the_cordon_is_seen_writes_the_node_all_the_same() {
    let mut scene = scene(Step::Cordoning);
    scene.run.cancel = true;
    scene.run = scene.changed();
    assert_eq!(scene.run.step, Step::RollingBack);
    let reason = Reason::CancelRequested;
    let expected = Effect::Close { uncordon: false, result: Step::Cancelled, reason };
    assert_eq!(scene.effect(), expected);
    close(&mut scene.node, &scene.run, Step::Cancelled);
    assert_eq!(scene.goes_to(), (Step::Cancelled, reason));
}

/// R4: the same without a change of leader: our own late patch lands during the roll-back, and is
/// undone by the closing write, which is made on what the node shows now.
#[test]
fn w14_our_own_late_cordon_is_undone_by_the_closing_write() {
    let mut scene = scene(Step::Cordoning);
    scene.run.cancel = true;
    scene.run = scene.changed();
    cordon(&mut scene.node);
    assert!(matches!(scene.effect(), Effect::Close { uncordon: true, .. }));
}

/// R2c: the machine of a replaced node may still run the Pod; the slot stays until it cannot act.
#[test]
fn w8_a_replaced_node_keeps_its_slot_until_the_pod_cannot_act() {
    for node_is in [NodeIs::Gone, NodeIs::Replaced] {
        let mut scene = scene(Step::Rebooting);
        scene.node_is = node_is;
        scene.run = scene.changed();
        assert_eq!((scene.run.step, scene.run.reason), (Step::Withdrawing, Reason::NodeReplaced));
        assert_eq!(scene.waits(), Reason::Withdrawing);
        assert_eq!(scene.look().recheck_at, Some(at(10 + 70)));
        scene.now = at(80);
        assert_eq!(scene.goes_to(), (Step::Cancelled, Reason::NodeReplaced));
    }
}

#[test]
fn w8_a_replaced_node_ends_any_run_without_an_attempt_under_way_at_once() {
    for step in Step::ALL {
        if step.is_terminal() || matches!(step, Step::Rebooting | Step::Withdrawing) {
            continue;
        }
        let mut scene = scene(step);
        scene.node_is = NodeIs::Replaced;
        assert_eq!(scene.goes_to(), (Step::Cancelled, Reason::NodeReplaced), "{step}");
    }
}

/// R9: a person uncordoned and cordoned again, unseen: only the mark comes off.
#[test]
fn w9_a_persons_cordon_on_our_mark_is_left() {
    for step in [Step::Uncordoning, Step::RollingBack] {
        let mut scene = scene(step);
        scene.node.cordon_field_ours = false;
        assert!(matches!(scene.effect(), Effect::Close { uncordon: false, .. }), "{step}");
    }
}

/// R2: "refused, boot ID differs" beside a node that still reports the old one is a boot under way.
#[test]
fn w12_a_second_copy_of_the_pod_that_refuses_is_no_failed_attempt() {
    let mut scene = scene(Step::Withdrawing);
    scene.reboot_pod = ended(EXIT_REFUSED, 5, Some(Refusal::BootIDDiffers));
    set(&mut scene.node, condition("Ready", "True", 9));
    assert_eq!(scene.waits(), Reason::Withdrawing);
}

/// R2c: what the kubelet says of one copy says nothing of another. Found by the model: a Pod that has read
/// run and node loses its object, a second one is made and refuses after a cancel, and the first acts.
#[test]
fn w12_a_copy_that_refused_does_not_speak_for_one_that_vanished() {
    type Case = fn(&mut Scene);
    let cases: [(Case, bool); 4] = [
        (|_| {}, true),
        // Another process began the attempt, or this one forgot.
        (|s| s.memory = Memory::default(), false),
        // The first copy was seen, and then it was not.
        (
            |s| {
                s.reboot_pod = PodSeen::Running { deleting: false };
                s.look();
                s.reboot_pod = PodSeen::Absent;
                s.look();
            },
            false,
        ),
        // Two were asked for.
        (
            |s| {
                s.look();
                s.memory.reboot_pod_asked_for();
                s.memory.reboot_pod_asked_for();
            },
            false,
        ),
    ];
    for (index, (change, at_once)) in cases.into_iter().enumerate() {
        let mut scene = scene(Step::Rebooting);
        change(&mut scene);
        scene.reboot_pod = PodSeen::Running { deleting: false };
        scene.run.cancel = true;
        scene.run = scene.changed();
        scene.reboot_pod = ended(EXIT_REFUSED, 20, Some(Refusal::IntentWithdrawn));
        scene.now = at(30);
        set(&mut scene.node, condition("Ready", "True", 25));
        let expected = (Step::RollingBack, Reason::CancelRequested);
        match at_once {
            true => assert_eq!(scene.goes_to(), expected, "case {index}"),
            false => {
                assert_eq!(scene.waits(), Reason::Withdrawing, "case {index}");
                scene.now = at(80);
                assert_eq!(scene.waits(), Reason::Withdrawing, "case {index}: no report since");
                set(&mut scene.node, condition("Ready", "True", 85));
                assert_eq!(scene.goes_to(), expected, "case {index}");
            }
        }
    }
}

/// R2c: a report from before the moment at which a vanished Pod is harmless may precede its reboot.
#[test]
fn w12_a_report_before_a_vanished_pod_is_harmless_proves_nothing() {
    let mut scene = scene(Step::Withdrawing);
    for (now, expected) in [(10, None), (40, None), (71, None), (75, None), (90, Some(()))] {
        scene.now = at(now);
        // The node reports at 30 and at 80.
        let report = [0, 30, 80].into_iter().rfind(|time| *time <= now).unwrap();
        set(&mut scene.node, condition("Ready", "True", report));
        let changed = matches!(scene.look().action, Action::Change(_)).then_some(());
        assert_eq!(changed, expected, "at {now}");
    }
}

/// R3: a run whose object is deleted goes the same way as a cancelled one: a finalizer keeps the
/// object, and the deletion shows as `cancel`. Nothing ends while its Pod can act.
#[test]
fn w13_a_deleted_run_with_a_pod_under_way_does_not_end_at_once() {
    for pod in [PodSeen::Unknown, PodSeen::Absent, PodSeen::Running { deleting: true }] {
        let mut scene = scene(Step::Rebooting);
        scene.run.cancel = true;
        scene.reboot_pod = pod;
        scene.run = scene.changed();
        assert_eq!(scene.run.step, Step::Withdrawing);
        assert_eq!(scene.waits(), Reason::Withdrawing);
    }
}
