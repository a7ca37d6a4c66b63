//! Runs that exist already: made by people, or by an operator that stopped before it admitted them.

use super::*;

fn by_operator() -> Run {
    Run { name: "n1-0a1b2c3d".into(), ..run_of_n1(Step::Pending) }
}

fn with_runs(runs: Vec<Run>) -> World {
    World { open_runs: runs, ..one() }
}

fn without_trigger(runs: Vec<Run>) -> World {
    World { open_runs: runs, ..world(vec![healthy("n1")]) }
}

#[test]
fn a_pending_run_is_taken_up_by_the_candidate_that_it_was_made_for() {
    let plan = plan(&with_runs(vec![by_operator()]));
    assert_eq!(plan.admit.into_iter().next().unwrap().run.as_deref(), Some("n1-0a1b2c3d"));
    assert!(plan.discard.is_empty());
}

#[test]
fn a_pending_run_of_the_operator_is_discarded_when_its_node_is_no_candidate_any_more() {
    type Case = fn(&mut World);
    let cases: [Case; 8] = [
        |w| set(n1(w), condition("Sick", "False", 50)),
        |w| n1(w).uid = "uid-other".into(),
        |w| n1(w).unschedulable = true,
        |w| w.nodes.clear(),
        |w| w.policies.clear(),
        |w| workers(w).suspended = true,
        |w| workers(w).mode = Mode::DryRun,
        |w| w.open_runs.push(run_of_n1(Step::Draining)),
    ];
    for (number, change) in cases.into_iter().enumerate() {
        let mut world = with_runs(vec![by_operator()]);
        change(&mut world);
        let plan = plan(&world);
        assert_eq!(plan.discard, ["n1-0a1b2c3d"], "case {number}");
        let adopted = plan.admit.into_iter().next().and_then(|candidate| candidate.run);
        assert_eq!(adopted, None, "case {number}");
    }
}

/// Its deletion left a slot that nobody gave back any more.
#[test]
fn a_pending_run_whose_admission_is_in_doubt_stays() {
    let run = by_operator();
    let mut world = with_runs(vec![run.clone()]);
    world.ledger.slots.push(crate::ledger::Slot::of(&run));
    let plan = plan(&world);
    assert_eq!((plan.admit.first(), plan.discard.len()), (None, 0));
    assert_eq!(plan.report[0].wait.as_ref().map(|wait| wait.reason), Some(WaitReason::ActiveRun));
}

#[test]
fn a_slot_that_a_driver_has_claimed_counts_once_and_stays() {
    let slot = crate::ledger::Slot::of(&by_operator());
    let mut held = Held::default();
    held.claimed(slot.clone());
    held.claimed(slot.clone());
    assert_eq!((held.ledger.slots, held.in_doubt), (vec![slot.clone()], [slot.run_uid].into()));
}

/// Of the ledger's slots only those are kept beside the runs whose runs do not say so themselves.
#[test]
fn slots_of_runs_that_have_begun_are_not_counted_twice() {
    let named =
        |uid: &str, step| Run { uid: uid.into(), ..Run { node_name: uid.into(), ..run(step) } };
    let runs = vec![
        named("begun", Step::Draining),
        named("doubtful", Step::Pending),
        named("waits", Step::Pending),
        named("ended", Step::Failed),
        // It is about to take its slot again, and holds none as long as it is seen as it was (SAFE-4).
        named("held", Step::Held),
    ];
    let slots = runs.iter().map(crate::ledger::Slot::of).collect();
    let held = Held {
        ledger: crate::ledger::Ledger { slots, ..Default::default() },
        in_doubt: ["doubtful", "held"].map(str::to_owned).into(),
        ..Held::default()
    };
    let mut world = one();
    let gone = world.take_in_runs(runs, held);
    let left: Vec<_> = world.ledger.slots.iter().map(|slot| slot.run_uid.as_str()).collect();
    assert_eq!(left, ["doubtful", "held"]);
    assert_eq!(gone, ["ended".to_owned(), "waits".to_owned()].into());
    let open: Vec<_> = world.open_runs.iter().map(|run| run.uid.as_str()).collect();
    assert_eq!(open, ["begun", "doubtful", "waits", "held"]);
}

#[test]
fn a_pending_run_behind_a_gate_stays() {
    let mut world = with_runs(vec![by_operator()]);
    n1(&mut world).hold = true;
    let plan = plan(&world);
    assert_eq!((plan.admit.first(), plan.discard.len()), (None, 0));
}

#[test]
fn a_cancelled_pending_run_is_not_admitted() {
    for run in [by_operator(), by_person()] {
        let plan = plan(&with_runs(vec![Run { cancel: true, ..run }]));
        assert_eq!(plan.admit.into_iter().next().and_then(|candidate| candidate.run), None);
        assert!(plan.discard.is_empty(), "it ends by itself");
    }
}

#[test]
fn a_run_made_by_a_person_needs_no_trigger_and_starts_at_the_policys_default_priority() {
    let candidate = plan(&without_trigger(vec![by_person()])).admit.into_iter().next().unwrap();
    assert_eq!(candidate.run.as_deref(), Some("by-alice"));
    assert_eq!((candidate.priority, candidate.causes.len()), (Priority(9), 0));
}

#[test]
fn a_run_made_by_a_person_passes_all_other_rules_and_gates() {
    type Case = (fn(&mut World), WaitReason);
    let cases: [Case; 16] = [
        (|w| w.nodes.clear(), WaitReason::NodeMissing),
        (|w| n1(w).uid = "uid-other".into(), WaitReason::NodeMissing),
        (|w| w.policies.clear(), WaitReason::PolicyMissing),
        (|w| workers(w).suspended = true, WaitReason::PolicyNotEnforcing),
        (|w| workers(w).mode = Mode::DryRun, WaitReason::PolicyNotEnforcing),
        (|w| workers(w).selector = NodeSelector::Labels(vec![]), WaitReason::NotSelected),
        (|w| n1(w).control_plane = true, WaitReason::ControlPlane),
        (|w| n1(w).ignore = true, WaitReason::Ignored),
        (|w| n1(w).deleting = true, WaitReason::NodeDeleting),
        (|w| w.open_runs.push(run_of_n1(Step::Held)), WaitReason::ActiveRun),
        (|w| n1(w).unschedulable = true, WaitReason::CordonedByOther),
        (|w| n1(w).ready = Ready::Unknown, WaitReason::NoReachableRemedy),
        (|w| w.pauses = None, WaitReason::Paused),
        (|w| n1(w).hold = true, WaitReason::HoldLabel),
        (|w| n1(w).last_remediation.attempts = vec![at(1); 3], WaitReason::AttemptsExhausted),
        (
            |w| n1(w).last_remediation.last = last(Step::Failed, Reason::DrainTimeout, 90),
            WaitReason::Backoff,
        ),
    ];
    for (change, reason) in cases {
        let mut world = without_trigger(vec![by_person()]);
        change(&mut world);
        assert_eq!(wait(&world).reason, reason);
        let plan = plan(&world);
        assert_eq!((plan.admit.first(), plan.discard.len()), (None, 0), "{reason}: it waits");
    }
}

#[test]
fn what_triggers_wait_for_does_not_hold_up_a_person() {
    let mut world = with_runs(vec![by_person()]);
    set(n1(&mut world), condition("Sick", "Unknown", 0));
    let plan = plan(&world);
    assert_eq!(plan.admit.into_iter().next().unwrap().run.as_deref(), Some("by-alice"));
    assert_eq!(plan.report.len(), 1, "and the pair has one word to say: {:?}", plan.report);
}

#[test]
fn beside_a_run_made_by_a_person_the_operators_own_is_discarded() {
    for runs in [vec![by_operator(), by_person()], vec![by_person(), by_operator()]] {
        let plan = plan(&with_runs(runs));
        assert_eq!(plan.admit.into_iter().next().unwrap().run.as_deref(), Some("by-alice"));
        assert_eq!(plan.discard, ["n1-0a1b2c3d"]);
    }
}

#[test]
fn a_pending_run_for_a_policy_that_does_not_exist_keeps_nobody_from_help() {
    let typo = Run { policy: "wrokers".into(), ..by_person() };
    let plan = plan(&with_runs(vec![typo]));
    let candidate = plan.admit.into_iter().next().unwrap();
    assert_eq!((candidate.policy.as_str(), candidate.run), ("workers", None));
}

#[test]
fn of_two_runs_made_by_people_for_one_node_one_starts() {
    let second = Run { name: "by-bob".into(), uid: "run-2".into(), ..by_person() };
    for runs in [vec![by_person(), second.clone()], vec![second, by_person()]] {
        let plan = plan(&without_trigger(runs));
        assert_eq!(plan.admit.into_iter().next().unwrap().run.as_deref(), Some("by-alice"));
        let waits = plan.report.iter().find_map(|report| report.wait.as_ref()).unwrap();
        assert_eq!(waits.reason, WaitReason::ActiveRun);
    }
}

#[test]
fn a_pending_run_does_not_hide_an_active_one() {
    let world = with_runs(vec![by_operator(), run_of_n1(Step::Held)]);
    assert_eq!(wait(&world).reason, WaitReason::ActiveRun);
}

/// A held run of `n1` whose retry somebody asks for; its node bears its mark.
fn held_and_asked() -> World {
    let mut held = run_of_n1(Step::Held);
    held.retries.asked = 1;
    let mut world = with_runs(vec![held]);
    cordon(n1(&mut world));
    world
}

#[test]
fn a_retry_is_admitted_like_a_run_and_needs_no_trigger() {
    let mut world = held_and_asked();
    let expected = Some("worker1a-0a1b2c3d".to_owned());
    assert_eq!(plan(&world).admit.into_iter().next().unwrap().run, expected);
    *n1(&mut world) = {
        let mut node = healthy("n1");
        cordon(&mut node);
        node
    };
    assert_eq!(plan(&world).admit.into_iter().next().unwrap().run, expected);
    n1(&mut world).ignore = true;
    assert_eq!(
        plan(&world).admit.into_iter().next().unwrap().run,
        expected,
        "the label touches no run that has begun"
    );
    world.open_runs[0].retries.taken = 1;
    assert_eq!(plan(&world).admit, [], "nobody asks any more");
}

#[test]
fn a_retry_passes_all_gates() {
    type Case = (fn(&mut World), WaitReason);
    let cases: [Case; 9] = [
        (|w| w.pauses = None, WaitReason::Paused),
        (|w| w.out_of_date = Some("nodes"), WaitReason::OutOfDate),
        (|w| w.clock_skew = Some(secs(9)), WaitReason::ClockSkew),
        (|w| n1(w).hold = true, WaitReason::HoldLabel),
        (|w| n1(w).cordon_field_ours = false, WaitReason::CordonedByOther),
        (|w| set(n1(w), condition("Ready", "False", 9)), WaitReason::NoReachableRemedy),
        (
            |w| w.open_runs[0].attempt_times = vec![at(1), at(2), at(3)],
            WaitReason::AttemptsExhausted,
        ),
        (|w| workers(w).suspended = true, WaitReason::PolicyNotEnforcing),
        (
            |w| {
                let mut other = run_of_n1(Step::Draining);
                (other.name, other.uid) = ("a".into(), "uid-a".into());
                (other.node_name, other.node_uid) = ("n2".into(), "uid-n2".into());
                w.open_runs.push(other);
            },
            WaitReason::BudgetExhausted,
        ),
    ];
    for (change, expected) in cases {
        let mut world = held_and_asked();
        change(&mut world);
        assert_eq!(wait(&world).reason, expected);
    }
}

#[test]
fn attempts_that_the_node_and_the_held_run_both_know_count_once() {
    let mut world = held_and_asked();
    world.open_runs[0].attempt_times = vec![at(1), at(2)];
    n1(&mut world).last_remediation.attempts = vec![at(1), at(2)];
    assert!(!plan(&world).admit.is_empty());
}
