//! What is remembered between looks, what a pause does to time, and what a run leaves behind.

use super::*;
use crate::{facts::ATTEMPTS_KEPT, remediation::record};

fn observe(memory: &mut Memory, run: &Run, node: &NodeFacts, now: i64) {
    memory.observe(run, node, &PodSeen::Absent, at(now));
}

#[test]
fn a_flap_of_ready_starts_both_clocks_again() {
    let (run, mut node) = (run(Step::Verifying), node_in(Step::Verifying));
    set(&mut node, condition("Sick", "False", 5));
    let mut memory = Memory::default();
    observe(&mut memory, &run, &node, 10);
    assert_eq!((memory.ready_since, memory.clear_since), (Some(at(10)), Some(at(10))));
    set(&mut node, condition("Ready", "Unknown", 20));
    observe(&mut memory, &run, &node, 20);
    assert_eq!((memory.ready_since, memory.clear_since), (None, None));
    set(&mut node, condition("Ready", "True", 30));
    observe(&mut memory, &run, &node, 30);
    assert_eq!((memory.ready_since, memory.clear_since), (Some(at(30)), Some(at(30))));
}

#[test]
fn a_flap_of_a_trigger_starts_its_clock_again() {
    let (run, mut node) = (run(Step::Verifying), node_in(Step::Verifying));
    set(&mut node, condition("Sick", "False", 5));
    let mut memory = Memory::default();
    observe(&mut memory, &run, &node, 10);
    set(&mut node, condition("Sick", "True", 20));
    observe(&mut memory, &run, &node, 20);
    assert_eq!((memory.ready_since, memory.clear_since), (Some(at(10)), None));
}

#[test]
fn an_old_version_of_the_node_from_a_lagging_watch_is_no_recovery() {
    let (run, mut node) = (run(Step::Verifying), node_in(Step::Verifying));
    node.boot_id = "boot-1".into();
    let mut memory = Memory::default();
    observe(&mut memory, &run, &node, 10);
    assert_eq!(memory.ready_since, None);
}

#[test]
fn a_second_boot_during_verification_starts_everything_again() {
    let (run, mut node) = (run(Step::Verifying), node_in(Step::Verifying));
    let mut memory = Memory::default();
    observe(&mut memory, &run, &node, 10);
    node.boot_id = "boot-3".into();
    set(&mut node, condition("Ready", "True", 50));
    observe(&mut memory, &run, &node, 50);
    assert_eq!(memory.ready_since, Some(at(50)));
}

#[test]
fn another_stay_in_the_same_step_remembers_nothing() {
    let (mut run, node) = (run(Step::Verifying), node_in(Step::Verifying));
    let mut memory = Memory::default();
    observe(&mut memory, &run, &node, 10);
    run.since = at(40);
    observe(&mut memory, &run, &node, 50);
    assert_eq!(memory.ready_since, Some(at(50)));
}

#[test]
fn a_clock_that_is_set_back_does_not_stop_the_clocks() {
    let (run, node) = (run(Step::Verifying), node_in(Step::Verifying));
    let mut memory = Memory::default();
    observe(&mut memory, &run, &node, 7200);
    observe(&mut memory, &run, &node, 10);
    assert_eq!(memory.ready_since, Some(at(10)));
}

#[test]
fn a_pause_stops_effects_and_deadlines_before_the_point_of_no_return() {
    for step in [Step::Cordoning, Step::Draining, Step::RollingBack] {
        let mut scene = scene(step);
        let deadline = scene.run.deadline.unwrap();
        scene.paused = true;
        let decision = scene.look();
        assert_eq!((decision.reason, &*decision.message), (Reason::Paused, "paused by alice"));
        scene.run = scene.changed();
        assert_eq!((scene.run.step, scene.run.paused_at), (step, Some(at(10))));
        scene.now = at(7210);
        assert_eq!(scene.waits(), Reason::Paused);
        assert_eq!(scene.look().recheck_at, Some(at(7270)), "a pause may end by itself");
        scene.paused = false;
        scene.run = scene.changed();
        assert_eq!((scene.run.step, scene.run.paused_at), (step, None));
        assert_eq!(scene.run.deadline, Some(add(deadline, secs(7200))));
    }
}

#[test]
fn a_paused_run_still_ends_when_its_node_goes() {
    let mut scene = scene(Step::Draining);
    scene.paused = true;
    scene.run = scene.changed();
    scene.node_is = NodeIs::Gone;
    let next = scene.changed();
    assert_eq!((next.step, next.reason), (Step::Cancelled, Reason::NodeReplaced));
    assert_eq!(next.paused_at, None);
}

#[test]
fn after_the_point_of_no_return_a_pause_changes_nothing() {
    let mut scene = scene(Step::Rebooting);
    scene.paused = true;
    assert_eq!(scene.effect(), Effect::CreateRebootPod(RebootMethod::Command));
    scene.run.paused_at = Some(at(5));
    assert_eq!(scene.changed().paused_at, None, "and a leftover mark is taken off");
}

#[test]
fn a_clock_set_back_during_a_pause_takes_no_time_away() {
    let mut scene = scene(Step::Draining);
    scene.run.paused_at = Some(at(500));
    assert_eq!(scene.changed().deadline, scene.run.deadline);
}

#[test]
fn the_record_counts_each_attempt_once_and_keeps_the_youngest() {
    let mut node = node();
    node.last_remediation.attempts = (0..40).map(|n| at(n * 60 - 9000)).collect();
    let mut run = run(Step::Uncordoning);
    run.attempt_times = vec![at(39 * 60 - 9000), at(0)];
    let left = record(&run, &node, Step::Succeeded, Reason::Healed, at(100));
    assert_eq!(left.attempts.len(), ATTEMPTS_KEPT);
    assert_eq!(left.attempts.last(), Some(&at(0)));
    assert_eq!(left.attempts.iter().filter(|t| **t == at(39 * 60 - 9000)).count(), 1);
    assert_eq!((left.sequence, left.evidence.len()), (1, 1));
}

#[test]
fn the_record_counts_blocked_drains_in_a_row() {
    let cases = [
        (Step::Failed, Reason::DrainTimeout, 3),
        (Step::Failed, Reason::DrainRefused, 3),
        (Step::Failed, Reason::DrainForbidden, 3),
        (Step::Cancelled, Reason::CancelRequested, 2),
        (Step::Cancelled, Reason::TriggerCleared, 0),
        (Step::Succeeded, Reason::Healed, 0),
    ];
    for (result, reason, expected) in cases {
        let mut node = node();
        node.last_remediation.roll_backs = 2;
        let left = record(&run(Step::RollingBack), &node, result, reason, at(100));
        assert_eq!(left.roll_backs, expected, "{reason}");
    }
}

#[test]
fn a_run_that_tried_nothing_leaves_no_evidence_for_an_alert_to_lag_behind() {
    let run = run(Step::RollingBack);
    let left = record(&run, &node(), Step::Failed, Reason::DrainTimeout, at(100));
    assert!(left.evidence.is_empty());
}

#[test]
fn the_first_copy_of_a_reboot_pod_is_the_only_one_and_the_second_is_not() {
    let mut scene = scene(Step::Rebooting);
    scene.look();
    for only in [true, false, false] {
        scene.memory.reboot_pod_asked_for();
        assert_eq!(scene.memory.is_only_copy(&scene.run), only);
    }
}
