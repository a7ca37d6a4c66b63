//! Each invariant holds on the usual way, and each breach is told.

use std::sync::Arc;

use super::*;
use crate::{
    drain::progress::PodRef,
    facts::LastRemediation,
    plan::World,
    policy::RebootMethod,
    reason::Reason,
    remediation::tests::{at, condition, cordon, node, node_in, pending_run, run, secs, set},
    run::{Intent, Retries},
};

fn broken(violation: Option<Violation>) -> Option<Invariant> {
    violation.map(|violation| violation.invariant)
}

fn intent(effect: IntentEffect, attempt: u32) -> Option<Intent> {
    Some(Intent {
        effect,
        attempt,
        node_uid: "node-1".into(),
        boot_id_before: "boot-1".into(),
        time: at(0),
    })
}

#[test]
fn every_step_of_the_usual_way_is_sound() {
    for step in Step::ALL {
        assert_eq!(of_run(&run(step)), None, "{step}");
        assert_eq!(of_change(&run(step), &run(step)), None, "{step}");
    }
}

/// An attempt that lies a whole window back is not in it any more.
#[test]
fn attempts_are_counted_within_the_window_that_the_latest_one_ends() {
    for (first, expected) in [(0, None), (1, Some(Invariant::Attempts))] {
        let mut run = run(Step::Rebooting);
        let contract = run.contract.as_mut().unwrap();
        contract.remedies.push(contract.remedies[0].clone());
        contract.attempts.max = 1;
        contract.attempts.per = secs(600);
        run.attempt = 2;
        run.attempt_times = vec![at(first), at(600)];
        run.intent = intent(IntentEffect::Reboot, 2);
        assert_eq!(broken(of_run(&run)), expected, "{first}");
    }
}

/// Earlier attempts go on the node's record only once there is one, and only in the steps that can lead to another.
#[test]
fn only_a_run_that_has_an_attempt_is_remembered_before_the_next_one() {
    for (step, attempt, expected) in [
        (Step::Draining, 1, None),
        (Step::Verifying, 2, None),
        (Step::Withdrawing, 1, None),
        (Step::Draining, 0, Some(Invariant::Effect)),
        (Step::Rebooting, 1, Some(Invariant::Effect)),
        (Step::Cordoning, 1, Some(Invariant::Effect)),
    ] {
        let run = Run { attempt, ..run(step) };
        let mut node = node_in(Step::Draining);
        cordon(&mut node);
        assert_eq!(broken(of_effect(&run, &node, &Effect::Remember)), expected, "{step} {attempt}");
    }
}

/// Found by fuzzing: a UID on the record is whatever somebody wrote there.
#[test]
fn what_is_quoted_from_the_record_stays_one_short_line() {
    let mut run = run(Step::Rebooting);
    run.intent = intent(IntentEffect::Reboot, 1);
    run.node_uid = format!("\u{1b}[31m\n{}", "x".repeat(5000));
    let told = of_run(&run).unwrap().to_string();
    assert!(told.chars().count() < 600 && !told.contains(char::is_control), "{told:?}");
}

#[test]
fn a_run_that_is_not_as_it_must_be_is_told() {
    type Case = (Step, fn(&mut Run), Invariant);
    let cases: [Case; 12] = [
        (Step::Draining, |r| r.contract = None, Invariant::Plan),
        (Step::Draining, |r| r.deadline = None, Invariant::Deadline),
        (Step::Verifying, |r| r.intent = intent(IntentEffect::Reboot, 1), Invariant::Intent),
        (Step::Withdrawing, |r| r.intent = intent(IntentEffect::Reboot, 1), Invariant::Intent),
        (Step::Rebooting, |r| r.intent = intent(IntentEffect::Reboot, 2), Invariant::Intent),
        (
            Step::Rebooting,
            |r| r.intent.as_mut().unwrap().node_uid = "node-2".into(),
            Invariant::Intent,
        ),
        (
            Step::Rebooting,
            |r| r.intent.as_mut().unwrap().boot_id_before = "boot-0".into(),
            Invariant::Intent,
        ),
        (Step::Verifying, |r| (r.attempt, r.attempt_times) = (0, vec![]), Invariant::Attempts),
        (Step::Verifying, |r| r.boot_id_before = None, Invariant::Attempts),
        (Step::Held, |r| r.attempt_times.push(at(1)), Invariant::Attempts),
        (Step::Verifying, |r| r.attempt = 3, Invariant::Attempts),
        (
            Step::Verifying,
            |r| {
                r.contract.as_mut().unwrap().attempts.max = 2;
                (r.attempt, r.retries.after_attempt) = (3, Some(2));
                r.attempt_times = vec![at(1), at(2), at(3)];
            },
            Invariant::Attempts,
        ),
    ];
    for (index, (step, change, expected)) in cases.into_iter().enumerate() {
        let mut run = run(step);
        change(&mut run);
        assert_eq!(broken(of_run(&run)), Some(expected), "case {index}");
        let frozen = run.freeze(expected, "seen".into(), at(20));
        assert_eq!(of_run(&frozen), None, "told once");
    }
}

#[test]
fn a_ladder_that_was_begun_anew_is_counted_from_there() {
    let mut run = run(Step::Verifying);
    run.retries = Retries { asked: 1, taken: 1, after_attempt: Some(1) };
    (run.attempt, run.attempt_times) = (2, vec![at(0), at(5)]);
    assert_eq!(of_run(&run), None);
    run.retries.after_attempt = Some(3);
    assert_eq!(broken(of_run(&run)), Some(Invariant::Attempts));
}

#[test]
fn a_change_that_must_not_be_is_told() {
    type Case = (Step, fn(&mut Run), Invariant);
    let cases: [Case; 9] = [
        (Step::Draining, |r| r.node_uid = "node-2".into(), Invariant::Contract),
        (Step::Draining, |r| r.policy = "other".into(), Invariant::Contract),
        // An attempt begins with its step and with its intent.
        (Step::Draining, |r| r.attempt += 1, Invariant::Attempts),
        (Step::Rebooting, |r| (r.attempt, r.intent) = (r.attempt + 1, None), Invariant::Attempts),
        (Step::Draining, |r| r.contract.as_mut().unwrap().attempts.max = 9, Invariant::Contract),
        (Step::Draining, |r| r.step = Step::Verifying, Invariant::StepGraph),
        (Step::Succeeded, |r| r.step = Step::Draining, Invariant::StepGraph),
        (Step::Rebooting, |r| r.attempt = 0, Invariant::Attempts),
        (Step::Verifying, |r| r.attempt = 2, Invariant::Attempts),
    ];
    for (index, (step, change, expected)) in cases.into_iter().enumerate() {
        let before = run(step);
        let mut after = before.clone();
        change(&mut after);
        assert_eq!(broken(of_change(&before, &after)), Some(expected), "case {index}");
    }
}

#[test]
fn an_effect_that_must_not_be_is_told() {
    let evict = || {
        let of = |name: &str| name.to_owned();
        Effect::Evict(vec![PodRef { namespace: of("web"), name: of("a"), uid: of("u") }])
    };
    let close = |uncordon, result| Effect::Close { uncordon, result, reason: Reason::Healed };
    let effects = || {
        [
            (Step::Cordoning, Effect::Cordon),
            (Step::Draining, evict()),
            (Step::Rebooting, Effect::CreateRebootPod(RebootMethod::Command)),
            (Step::Withdrawing, Effect::DeleteRebootPod),
            (Step::Verifying, Effect::CreateProbePod),
            (Step::Uncordoning, close(true, Step::Succeeded)),
            (Step::RollingBack, close(true, Step::Failed)),
        ]
    };
    let announced = |step| Run {
        intent: match step {
            Step::Uncordoning | Step::RollingBack => intent(IntentEffect::Uncordon, 1),
            Step::Draining => intent(IntentEffect::Drain, 0),
            _ => run(step).intent,
        },
        ..run(step)
    };
    for (step, effect) in effects() {
        let (run, mut node) = (announced(step), node_in(step));
        assert_eq!(of_effect(&run, &node, &effect), None, "{step}");
        // On another node, in every other step, and without its intent it is wrong.
        for other in Step::ALL.into_iter().filter(|other| *other != step) {
            let probe = matches!(effect, Effect::Close { .. });
            let twin = matches!(other, Step::Uncordoning | Step::RollingBack);
            if !(probe && twin) {
                assert!(
                    of_effect(&announced(other), &node, &effect).is_some(),
                    "{other} {effect:?}"
                );
            }
        }
        if run.intent.is_some() {
            let silent = Run { intent: None, ..run.clone() };
            assert_eq!(broken(of_effect(&silent, &node, &effect)), Some(Invariant::Effect));
        }
        node.uid = "node-2".into();
        assert_eq!(broken(of_effect(&run, &node, &effect)), Some(Invariant::Effect));
    }
    let mut lifted = node_in(Step::Draining);
    lifted.unschedulable = false;
    let draining = announced(Step::Draining);
    assert_eq!(broken(of_effect(&draining, &lifted, &evict())), Some(Invariant::OwnCordon));
    let rebooting = announced(Step::Rebooting);
    let reboot = Effect::CreateRebootPod(RebootMethod::Command);
    assert_eq!(broken(of_effect(&rebooting, &lifted, &reboot)), Some(Invariant::OwnCordon));
    // The machine has booted already.
    let mut booted = node_in(Step::Rebooting);
    booted.boot_id = "boot-2".into();
    assert_eq!(broken(of_effect(&rebooting, &booted, &reboot)), Some(Invariant::Effect));
}

#[test]
fn an_uncordon_is_earned() {
    type Case = fn(&mut NodeFacts);
    let run = Run { intent: intent(IntentEffect::Uncordon, 1), ..run(Step::Uncordoning) };
    let close = Effect::Close { uncordon: true, result: Step::Succeeded, reason: Reason::Healed };
    let cases: [Case; 4] = [
        |n| n.cordon_field_ours = false,
        |n| set(n, condition("Ready", "False", 9)),
        |n| n.hold = true,
        |n| n.boot_id = "boot-1".into(),
    ];
    for (index, change) in cases.into_iter().enumerate() {
        let mut node = node_in(Step::Uncordoning);
        change(&mut node);
        let found = broken(of_effect(&run, &node, &close));
        assert_eq!(found, Some(Invariant::EarnedUncordon), "case {index}");
    }
}

#[test]
fn of_two_runs_of_one_node_the_one_without_the_mark_is_told() {
    let (mut first, mut second) = (run(Step::Draining), run(Step::Cordoning));
    (first.uid, first.name) = ("run-2".into(), "b".into());
    (second.uid, second.name) = ("run-1".into(), "c".into());
    let pending = Run { name: "a".into(), uid: "run-0".into(), ..pending_run() };
    let mut node = node();
    cordon(&mut node);
    node.last_remediation = LastRemediation::default();
    let mut world = World {
        nodes: [(node.name.clone(), Arc::new(node))].into(),
        open_runs: vec![pending, first, second],
        ..World::empty(at(0))
    };
    let found = check(&world);
    let names: Vec<_> = found.iter().map(|v| (v.run.as_str(), v.invariant)).collect();
    assert_eq!(names, [("b", Invariant::OneRunPerNode)]);
    world.nodes.clear();
    assert_eq!(check(&world)[0].run, "c", "without a mark the first by name goes on");
}

#[test]
fn a_frozen_run_frees_its_slot_when_nothing_of_it_can_act() {
    for step in Step::ALL {
        let frozen = run(step).freeze(Invariant::Intent, "seen".into(), at(0));
        // Its step cannot be trusted: any run that has rebooted its machine may be rebooting it now.
        let acts = frozen.past_no_return();
        let mut node = node_in(Step::Rebooting);
        assert_eq!(frozen.holds_slot(Some(&node), at(69)), acts, "{step}");
        assert!(!frozen.holds_slot(Some(&node), at(70)), "{step}");
        set(&mut node, condition("Ready", "Unknown", 60));
        assert_eq!(frozen.holds_slot(Some(&node), at(70)), acts, "{step}: its machine is down");
        node.out_of_service = true;
        assert!(!frozen.holds_slot(Some(&node), at(70)), "{step}: a person says that it is off");
        assert!(!frozen.holds_slot(None, at(70)), "{step}: its node is gone");
        assert_eq!(frozen.intent, None, "{step}: no Pod of it may act");
    }
}
