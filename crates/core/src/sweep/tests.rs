//! Runs that are gone: W13, and what R3 and R10 make of it.

use super::*;
use crate::{
    facts::{LastRun, NodeFacts},
    remediation::{
        record_without_run,
        tests::{at, close, condition, node, node_in, run, set},
    },
    step::Step,
};

fn stray(step: Option<Step>) -> Stray {
    Stray {
        run_uid: "run-1".into(),
        node_name: "worker1a".into(),
        run: step.map(run),
        since: at(0),
        unseen: true,
        report_at_end: None,
    }
}

#[track_caller]
fn waits(stray: &Stray, node: &NodeFacts, now: Timestamp) -> Option<Timestamp> {
    match sweep(stray, Some(node), false, now) {
        Sweep::Wait { recheck_at, .. } => recheck_at,
        other => panic!("expected a wait, got {other:?}"),
    }
}

/// The run is deleted by force while its Pod, or a patch, is under way.
#[test]
fn w13_nothing_is_given_back_while_a_pod_of_the_run_could_act() {
    for step in [None, Some(Step::Rebooting), Some(Step::Withdrawing)] {
        let mut stray = stray(step);
        let mut node = node_in(Step::Rebooting);
        assert_eq!(sweep(&stray, Some(&node), true, at(1)), Sweep::DeletePods);
        for now in [1, 69] {
            stray.observe(&node, at(now));
            assert_eq!(waits(&stray, &node, at(now)), Some(at(70)));
            assert!(stray.holds_slot(Some(&node), at(now)));
        }
        // The report that was there when nothing could act any more may precede the reboot.
        stray.observe(&node, at(71));
        assert_eq!(waits(&stray, &node, at(71)), None);
        set(&mut node, condition("Ready", "True", 80));
        stray.observe(&node, at(81));
        assert_eq!(sweep(&stray, Some(&node), false, at(81)), Sweep::Close { uncordon: true });
    }
}

/// To the second: what may act until then may not act at it.
#[test]
fn w13_the_wait_for_a_pod_ends_when_it_can_act_no_more() {
    let mut stray = stray(Some(Step::Rebooting));
    let mut node = node_in(Step::Rebooting);
    stray.observe(&node, at(70));
    assert_eq!(waits(&stray, &node, at(70)), None, "only a report is waited for");
    set(&mut node, condition("Ready", "True", 80));
    assert_eq!(sweep(&stray, Some(&node), false, at(80)), Sweep::Close { uncordon: true });
}

#[test]
fn w13_a_boot_that_is_seen_needs_no_more_waiting() {
    let stray = stray(Some(Step::Rebooting));
    let mut node = node_in(Step::Rebooting);
    node.boot_id = "boot-2".into();
    assert_eq!(sweep(&stray, Some(&node), false, at(5)), Sweep::Close { uncordon: true });
}

/// Also where no mark is seen: a cordon that is under way must not land afterwards (R4).
#[test]
fn w13_a_run_that_had_begun_gets_its_closing_write_without_a_mark_too() {
    let stray = stray(Some(Step::Cordoning));
    let mut node = node_in(Step::Cordoning);
    assert!(stray.holds_slot(Some(&node), at(1)));
    assert_eq!(sweep(&stray, Some(&node), false, at(1)), Sweep::Close { uncordon: false });
    close(&mut node, stray.run.as_ref().unwrap(), Step::Cancelled);
    assert_eq!(sweep(&stray, Some(&node), false, at(1)), Sweep::Done);
    assert!(!stray.holds_slot(Some(&node), at(1)));
}

#[test]
fn a_node_is_given_back_only_when_it_is_ready_and_its_cordon_is_ours() {
    type Case = (fn(&mut NodeFacts), Option<bool>);
    let cases: [Case; 5] = [
        (|_| {}, Some(true)),
        (|n| n.cordon_field_ours = false, Some(false)),
        (|n| n.unschedulable = false, Some(false)),
        (|n| set(n, condition("Ready", "Unknown", 9)), None),
        (|n| n.hold = true, None),
    ];
    for (index, (change, uncordon)) in cases.into_iter().enumerate() {
        let stray = stray(Some(Step::Draining));
        let mut node = node_in(Step::Draining);
        change(&mut node);
        let done = sweep(&stray, Some(&node), false, at(1));
        match uncordon {
            Some(uncordon) => assert_eq!(done, Sweep::Close { uncordon }, "case {index}"),
            None => assert!(matches!(done, Sweep::Wait { .. }), "case {index}"),
        }
    }
}

#[test]
fn a_node_that_is_gone_or_another_is_not_touched() {
    let stray = stray(Some(Step::Draining));
    assert_eq!(sweep(&stray, None, false, at(1)), Sweep::Done);
    let mut node = node_in(Step::Draining);
    node.uid = "node-2".into();
    assert_eq!(sweep(&stray, Some(&node), false, at(1)), Sweep::Done);
    assert!(!stray.holds_slot(Some(&node), at(1)));
    let rebooting = Stray { run: Some(run(Step::Rebooting)), ..stray };
    assert_eq!(sweep(&rebooting, None, true, at(1)), Sweep::DeletePods);
    let kept = sweep(&rebooting, None, false, at(69));
    assert!(matches!(kept, Sweep::Wait { recheck_at: Some(_), .. }), "{kept:?}");
    assert_eq!(sweep(&rebooting, None, false, at(70)), Sweep::Done);
    assert!(rebooting.holds_slot(None, at(69)), "its machine may still be rebooted (W8)");
    assert!(!rebooting.holds_slot(None, at(70)));
}

/// A machine that never reports again: a person's word that it is off ends the doubt, and gives nothing
/// back before it is in service.
#[test]
fn a_machine_that_is_said_to_be_off_keeps_no_place_and_stays_cordoned() {
    let mut stray = stray(Some(Step::Withdrawing));
    let mut node = node_in(Step::Rebooting);
    set(&mut node, condition("Ready", "Unknown", 9));
    stray.observe(&node, at(100));
    assert!(stray.holds_slot(Some(&node), at(100)));
    node.out_of_service = true;
    assert!(!stray.holds_slot(Some(&node), at(100)));
    assert!(matches!(sweep(&stray, Some(&node), false, at(100)), Sweep::Wait { .. }));
}

/// What a frozen run says of its step cannot be trusted.
#[test]
fn a_frozen_run_that_is_deleted_may_be_rebooting_whatever_its_step() {
    let mut frozen = run(Step::Verifying);
    frozen = frozen.freeze(crate::invariants::Invariant::Intent, "x".into(), at(0));
    let stray = Stray { run: Some(frozen), ..stray(None) };
    let node = node_in(Step::Rebooting);
    assert_eq!(waits(&stray, &node, at(1)), Some(at(70)));
    assert!(stray.holds_slot(Some(&node), at(1)));
}

/// A kubelet can write any annotation on its own node.
#[test]
fn a_mark_that_nobody_of_us_wrote_stops_no_other_node() {
    let forged = Stray { unseen: false, ..stray(None) };
    let node = node_in(Step::Draining);
    assert!(!forged.holds_slot(Some(&node), at(1)));
    let found_at_start = stray(None);
    assert!(found_at_start.holds_slot(Some(&node), at(69)));
    assert!(!found_at_start.holds_slot(Some(&node), at(70)), "by time, whatever the node says");
}

#[test]
fn the_outcome_is_on_record_with_what_is_known() {
    let known = run(Step::Rebooting);
    let seen = Stray { unseen: false, ..stray(Some(Step::Rebooting)) };
    let memory = record_without_run(&seen, &node(), at(90));
    assert_eq!((memory.sequence, memory.attempts.as_slice()), (1, [at(0)].as_slice()));
    let gone = Stray { run_uid: "run-9".into(), since: at(80), ..stray(None) };
    let memory = record_without_run(&gone, &node(), at(90));
    let last = LastRun {
        uid: "run-9".into(),
        name: String::new(),
        result: "Cancelled".into(),
        reason: "RunDeleted".into(),
        end_time: at(90),
    };
    assert_eq!((memory.sequence, memory.last), (1, Some(last)));
    // It may have rebooted the machine (SAFE-14): seed 75 of the explorer.
    assert_eq!(memory.attempts, [at(80)]);
    let slot = crate::ledger::Slot::of(&known);
    let by_slot = Some(crate::ledger::lost_run(&slot, at(80)));
    let by_slot = Stray { run: by_slot, ..gone.clone() };
    assert_eq!(record_without_run(&by_slot, &node(), at(90)).attempts, [at(80)]);
    // A list does not show it any more: what it did since it was seen last, nobody knows.
    let by_list = Stray { run: Some(crate::ledger::unseen_end(&known, at(80))), ..gone };
    let memory = record_without_run(&by_list, &node(), at(90));
    assert_eq!(memory.attempts, [at(0), at(80)]);
    assert!(by_list.holds_slot(Some(&node_in(Step::Rebooting)), at(81)));
}
