//! Held: what it is left by, and that it is left for good.

use super::*;

#[test]
fn held_is_left_by_the_evidence_that_fits_its_reason() {
    let booted: fn(&mut Scene) = |s| s.node.boot_id = "boot-2".into();
    let nothing: fn(&mut Scene) = |_| {};
    let before: fn(&mut Scene) = |s| (s.run.attempt, s.run.boot_id_before) = (0, None);
    let not_ready: fn(&mut Scene) = |s| set(&mut s.node, condition("Ready", "False", 9));
    let cases = [
        (Reason::NoBoot, nothing, None),
        (Reason::NoBoot, booted, Some((Step::Verifying, Reason::Booted))),
        (Reason::Unreachable, not_ready, None),
        (Reason::Unreachable, booted, Some((Step::Verifying, Reason::Booted))),
        // Before the point of no return it is given back for being Ready; after it only with its boot.
        (Reason::Unreachable, before, Some((Step::RollingBack, Reason::Unreachable))),
        (Reason::Unreachable, nothing, None),
        (Reason::HoldLabel, nothing, Some((Step::RollingBack, Reason::HoldLifted))),
        (Reason::HoldLabel, booted, Some((Step::Verifying, Reason::Booted))),
        (Reason::NotCured, booted, None),
        (Reason::VerificationUnknown, booted, None),
        (Reason::AttemptsExhausted, booted, None),
    ];
    for (reason, change, expected) in cases {
        let mut scene = scene(Step::Held);
        scene.run.reason = reason;
        change(&mut scene);
        match expected {
            Some(expected) => {
                // A machine that came back by itself has to be Ready for `verify.ready` first.
                scene.look();
                scene.now = at(10 + 60);
                assert_eq!(scene.goes_to(), expected, "{reason}");
            }
            None => assert_eq!(scene.waits(), reason),
        }
    }
}

#[test]
fn a_held_roll_back_goes_on_for_the_reason_that_it_had() {
    for reason in [Reason::Unreachable, Reason::HoldLabel] {
        let mut scene = scene(Step::Held);
        scene.run.reason = reason;
        scene.run.ending = Some(Reason::DrainTimeout);
        assert_eq!(scene.goes_to(), (Step::RollingBack, Reason::DrainTimeout));
    }
}

#[test]
fn a_person_ends_any_held_run_by_uncordon_or_cancel() {
    for reason in Reason::ALL {
        let mut held = scene(Step::Held);
        held.run.reason = *reason;
        let mut uncordoned = held.clone();
        uncordoned.node.unschedulable = false;
        assert_eq!(uncordoned.goes_to(), (Step::RollingBack, Reason::CordonLifted), "{reason}");
        held.run.cancel = true;
        assert_eq!(held.goes_to(), (Step::RollingBack, Reason::CancelRequested), "{reason}");
    }
}

#[test]
fn a_held_node_under_a_hold_label_or_not_ready_is_not_given_back_by_a_cancel() {
    type Case = fn(&mut NodeFacts);
    let cases: [Case; 2] = [|n| n.hold = true, |n| set(n, condition("Ready", "False", 9))];
    for change in cases {
        let mut scene = scene(Step::Held);
        scene.run.cancel = true;
        change(&mut scene.node);
        assert_eq!(scene.waits(), Reason::NoBoot);
        scene.node.cordoned_by = None;
        assert_eq!(scene.changed().step, Step::RollingBack, "nothing of ours to give back");
    }
}

#[test]
fn a_run_held_before_its_cordon_waits_for_the_label_and_then_ends() {
    let mut scene = scene(Step::Cordoning);
    scene.node.hold = true;
    scene.run = scene.changed();
    assert_eq!(scene.waits(), Reason::HoldLabel, "no cordon of ours was lifted");
    scene.node.hold = false;
    assert_eq!(scene.goes_to(), (Step::RollingBack, Reason::HoldLifted));
}

#[test]
fn lifting_the_cordon_under_a_hold_label_ends_the_run_without_a_loop() {
    let mut scene = scene(Step::Draining);
    scene.node.hold = true;
    scene.node.unschedulable = false;
    scene.run = scene.changed();
    assert_eq!(scene.run.step, Step::Held);
    scene.run = scene.changed();
    assert_eq!(scene.run.step, Step::RollingBack);
    assert!(matches!(scene.effect(), Effect::Close { uncordon: false, .. }));
}

#[test]
fn a_machine_in_a_boot_loop_takes_no_place_again_before_it_stays_ready() {
    let mut scene = scene(Step::Held);
    scene.run.reason = Reason::Unreachable;
    for boot in 2..10 {
        scene.node.boot_id = format!("boot-{boot}");
        set(&mut scene.node, condition("Ready", "True", 40 * boot));
        scene.now = at(40 * boot);
        let decision = scene.look();
        assert_eq!((decision.action, decision.reason), (Action::Wait, Reason::Unreachable));
        assert_eq!(decision.recheck_at, Some(at(40 * boot + 60)));
    }
    scene.now = at(40 * 9 + 60);
    assert_eq!(scene.goes_to(), (Step::Verifying, Reason::Booted));
}
