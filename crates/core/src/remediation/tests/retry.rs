//! The retry of a held run: a new way through the ladder, with everything that a run must keep.

use super::*;

/// A run held after its only rung, whose retry has been admitted.
fn retried(step: Step) -> Scene {
    let mut scene = scene(Step::Held);
    scene.run.retries.asked = 1;
    assert!(scene.run.wants_retry());
    let admitted = retry(&scene.run, &scene.node, at(10));
    scene.run = match step {
        Step::Cordoning => admitted,
        step => Run {
            deadline: Some(at(1800)),
            intent: Some(Intent {
                effect: IntentEffect::Drain,
                ..admitted.intent.clone().unwrap()
            }),
            ..admitted.enter(step, Reason::Cordoned, "as usual".into(), at(10))
        },
    };
    scene
}

#[test]
fn a_retry_is_not_being_undone_any_more() {
    let held = scene(Step::Held);
    let undone = Run { ending: Some(Reason::HoldLabel), ..held.run };
    assert_eq!(retry(&undone, &held.node, at(10)).ending, None);
}

/// Of a write that does not come through somebody hears.
#[test]
fn the_cordon_of_a_retry_has_a_deadline() {
    let scene = retried(Step::Cordoning);
    assert_eq!(scene.run.deadline, Some(add(at(10), NODE_WRITE_TIMEOUT)));
}

#[test]
fn a_retry_goes_the_whole_way_again_as_a_new_attempt() {
    let mut scene = retried(Step::Cordoning);
    assert_eq!((scene.run.step, scene.run.reason), (Step::Cordoning, Reason::RetryRequested));
    assert!(!scene.run.wants_retry(), "taken up once");
    scene.run = scene.changed();
    assert_eq!(scene.run.step, Step::Draining);
    scene.drain = Some(DrainPlan { done: true, ..DrainPlan::default() });
    scene.remembers();
    scene.run = scene.changed();
    assert_eq!((scene.run.step, scene.run.attempt), (Step::Rebooting, 2));
    assert_eq!(scene.run.intent.as_ref().unwrap().attempt, 2);
    assert_eq!(scene.run.attempt_times.len(), 2);
    // The ladder has one rung; the second try has climbed it, and is held like the first.
    scene.now = at(2000);
    scene.run = scene.changed();
    assert_eq!(scene.run.step, Step::Withdrawing);
    scene.now = at(2100);
    scene.look();
    set(&mut scene.node, condition("Ready", "True", 2110));
    assert_eq!(scene.goes_to(), (Step::Held, Reason::NoBoot));
}

/// SAFE-14: should the run be deleted by force, whoever finds only its slot or its mark counts one attempt
/// for it (seed 589 and the story `deleted` of the explorer).
#[test]
fn earlier_attempts_are_on_the_nodes_record_before_a_further_one_begins() {
    let mut scene = retried(Step::Draining);
    scene.drain = Some(DrainPlan { done: true, ..DrainPlan::default() });
    let (made, before) = (scene.run.attempt_times.clone(), scene.node.last_remediation.clone());
    assert_eq!((made.len(), before.attempts.len()), (1, 0));
    assert_eq!(scene.effect(), Effect::Remember);
    let memory = record_attempts(&scene.run, &before).unwrap();
    assert_eq!(memory, LastRemediation { attempts: made, ..before }, "and nothing else changes");
    assert_eq!(record_attempts(&scene.run, &memory), None, "once");
    let mut late = scene.clone();
    late.now = add(late.run.deadline.unwrap(), NODE_WRITE_TIMEOUT);
    assert_eq!(late.goes_to(), (Step::Held, Reason::Unreachable), "what cannot be written");
    scene.node.last_remediation = memory;
    assert_eq!(scene.changed().attempt_times.len(), 2);
    // The end of the run has each once.
    let all = record(&scene.changed(), &scene.node, Step::Failed, Reason::NoBoot, at(50)).attempts;
    assert_eq!(all.len(), 2);
}

#[test]
fn only_a_request_made_while_the_run_is_held_counts() {
    let mut early = run(Step::Draining);
    early.retries.asked = 1;
    assert!(!early.wants_retry());
    let held = early.enter(Step::Held, Reason::NoBoot, String::new(), at(5));
    assert!(!held.wants_retry(), "it was not about what the run is held for");
    let asked = Run { retries: crate::run::Retries { asked: 2, ..held.retries }, ..held };
    assert!(asked.wants_retry());
    assert!(
        !asked.freeze(crate::invariants::Invariant::Intent, String::new(), at(6)).wants_retry()
    );
}

/// SAFE-19: a machine that was rebooted is given back only when verified, or by a person's word.
#[test]
fn what_turns_a_retry_back_leaves_the_machine_held() {
    type Case = (fn(&mut Scene), Reason);
    let cases: [Case; 4] = [
        (|s| s.policy = PolicyStanding::Deleted, Reason::PolicyDeleted),
        (|s| s.policy = PolicyStanding::Suspended, Reason::PolicySuspended),
        (|s| s.now = at(1900), Reason::DrainTimeout),
        (
            |s| s.node.last_remediation.attempts = vec![at(1), at(2), at(3)],
            Reason::AttemptsExhausted,
        ),
    ];
    for (change, reason) in cases {
        let mut scene = retried(Step::Draining);
        scene.drain = Some(DrainPlan { terminating: vec![], ..DrainPlan::default() });
        if reason == Reason::AttemptsExhausted {
            scene.drain = Some(DrainPlan { done: true, ..DrainPlan::default() });
        }
        change(&mut scene);
        assert_eq!(scene.goes_to(), (Step::Held, reason));
    }
}

/// It was asked for, whatever the trigger says by now.
#[test]
fn a_retry_needs_no_trigger() {
    let mut scene = retried(Step::Draining);
    set(&mut scene.node, condition("Sick", "False", 9));
    scene.drain = Some(DrainPlan { done: true, ..DrainPlan::default() });
    scene.remembers();
    assert_eq!(scene.goes_to().0, Step::Rebooting);
}

/// The door that was open before the retry is open after it.
#[test]
fn a_machine_that_boots_after_a_retry_was_turned_back_is_verified() {
    let mut scene = retried(Step::Draining);
    scene.policy = PolicyStanding::Suspended;
    scene.run = scene.changed();
    assert_eq!((scene.run.step, scene.waits()), (Step::Held, Reason::PolicySuspended));
    scene.node.boot_id = "boot-2".into();
    scene.look();
    scene.now = at(200);
    assert_eq!(scene.goes_to(), (Step::Verifying, Reason::Booted));
}

#[test]
fn a_run_has_a_limit_of_attempts_whatever_its_policy_and_whoever_asks() {
    let mut scene = retried(Step::Draining);
    let kept = crate::facts::ATTEMPTS_KEPT as u32;
    (scene.run.attempt, scene.run.retries.after_attempt) = (kept, Some(kept));
    scene.drain = Some(DrainPlan { done: true, ..DrainPlan::default() });
    assert_eq!(scene.goes_to(), (Step::Held, Reason::AttemptsExhausted));
}

#[test]
fn a_person_still_ends_a_retry_by_cancel_or_uncordon() {
    let mut cancelled = retried(Step::Draining);
    cancelled.run.cancel = true;
    assert_eq!(cancelled.goes_to(), (Step::RollingBack, Reason::CancelRequested));
    let mut lifted = retried(Step::Draining);
    lifted.node.unschedulable = false;
    assert_eq!(lifted.goes_to(), (Step::RollingBack, Reason::CordonLifted));
}

#[test]
fn a_pause_stops_a_retry_before_its_reboot() {
    let mut scene = retried(Step::Draining);
    scene.paused = true;
    assert!(scene.changed().paused_at.is_some());
}

#[test]
fn a_frozen_run_does_nothing_in_any_step_whatever_happens() {
    for step in Step::ALL.into_iter().filter(|step| !step.is_terminal()) {
        for node_is in [NodeIs::There, NodeIs::Gone, NodeIs::Replaced] {
            let mut scene = scene(step);
            let invariant = crate::invariants::Invariant::Intent;
            scene.run = scene.run.freeze(invariant, "what was seen".into(), at(5));
            scene.run.cancel = true;
            scene.node_is = node_is;
            scene.now = at(1_000_000);
            assert_eq!(scene.waits(), Reason::InvariantViolated, "{step}");
        }
    }
}
