//! Step by step: what a run does in each situation.

use super::*;
use crate::{
    drain::{
        filter::RefuseReason,
        progress::{Blocked, DrainPlan},
    },
    reboot_check::{EXIT_COMMAND_FAILED, EXIT_REFUSED},
};

fn pod(name: &str) -> PodRef {
    PodRef { namespace: "shop".into(), name: name.into(), uid: format!("uid-{name}") }
}

fn drained() -> Option<DrainPlan> {
    Some(DrainPlan { done: true, ..DrainPlan::default() })
}

#[test]
fn admission_freezes_the_contract_and_commits_the_intent_to_cordon() {
    let run = run(Step::Cordoning);
    assert_eq!(run.contract, Some(contract()));
    assert_eq!(run.intent.as_ref().map(|i| (i.effect, i.attempt)), Some((IntentEffect::Cordon, 0)));
    assert_eq!(run.evidence, vec![node().conditions["Sick"].evidence.clone()]);
    assert_eq!(run.deadline, Some(at(600)));
}

#[test]
fn pending_waits_until_it_is_admitted_or_cancelled() {
    let mut scene = scene(Step::Pending);
    assert_eq!(scene.waits(), Reason::Pending);
    scene.run.cancel = true;
    assert_eq!(scene.goes_to(), (Step::Cancelled, Reason::CancelRequested));
}

#[test]
fn cordoning_cordons_a_free_node_and_then_drains() {
    let mut scene = scene(Step::Cordoning);
    assert_eq!(scene.effect(), Effect::Cordon);
    cordon(&mut scene.node);
    let next = scene.changed();
    assert_eq!((next.step, next.deadline), (Step::Draining, Some(at(10 + 1800))));
    assert_eq!(next.intent.unwrap().effect, IntentEffect::Drain);
}

#[test]
fn cordoning_leaves_a_node_that_somebody_else_has_taken() {
    type Case = (fn(&mut NodeFacts), Reason);
    let cases: [Case; 3] = [
        (|n| n.unschedulable = true, Reason::CordonedByOther),
        (|n| n.cordoned_by = Some("run-1".into()), Reason::CordonLifted),
        (
            |n| {
                cordon(n);
                n.cordon_field_ours = false;
            },
            Reason::CordonedByOther,
        ),
    ];
    for (change, reason) in cases {
        let mut scene = scene(Step::Cordoning);
        change(&mut scene.node);
        assert_eq!(scene.goes_to(), (Step::RollingBack, reason));
    }
    let mut scene = scene(Step::Cordoning);
    scene.node.cordoned_by = Some("run-0".into());
    assert_eq!(scene.waits(), Reason::CordonedByOther, "that run's mark comes off first");
    scene.now = at(600);
    assert_eq!(scene.goes_to(), (Step::RollingBack, Reason::CordonedByOther));
}

#[test]
fn before_the_point_of_no_return_a_run_turns_back_for_each_of_these() {
    type Case = (fn(&mut Scene), Reason);
    let cases: [Case; 7] = [
        (|s| s.run.cancel = true, Reason::CancelRequested),
        (|s| s.policy = PolicyStanding::Deleted, Reason::PolicyDeleted),
        (|s| s.policy = PolicyStanding::Suspended, Reason::PolicySuspended),
        (|s| s.policy = PolicyStanding::NotEnforcing, Reason::PolicyNotEnforcing),
        (|s| s.node.deleting = true, Reason::NodeDeleting),
        (|s| s.node.claim = Some("taint x".into()), Reason::ClaimedByOther),
        (|s| set(&mut s.node, condition("Sick", "False", 9)), Reason::TriggerCleared),
    ];
    for (change, reason) in cases {
        for step in [Step::Cordoning, Step::Draining] {
            let mut scene = scene(step);
            change(&mut scene);
            assert_eq!(scene.goes_to(), (Step::RollingBack, reason), "{step}");
        }
    }
}

#[test]
fn an_absent_or_stale_trigger_turns_nothing_back() {
    let mut scene = scene(Step::Cordoning);
    scene.node.conditions.remove("Sick");
    assert_eq!(scene.effect(), Effect::Cordon);
    let mut stale = condition("Sick", "False", 9);
    stale.changed_at = at(-3600);
    set(&mut scene.node, stale);
    assert_eq!(scene.effect(), Effect::Cordon);
}

#[test]
fn a_run_made_by_a_person_is_not_undone_by_clear_triggers() {
    let mut scene = scene(Step::Draining);
    scene.run.causes.clear();
    set(&mut scene.node, condition("Sick", "False", 9));
    scene.drain = drained();
    assert_eq!(scene.goes_to(), (Step::Rebooting, Reason::RebootPodPending));
}

#[test]
fn the_daemon_sets_that_verification_wants_are_those_of_before_the_first_attempt() {
    let mut scene = scene(Step::Draining);
    scene.drain = drained();
    scene.daemon_sets_ready = None;
    assert_eq!(scene.waits(), Reason::DrainInProgress);
    scene.daemon_sets_ready = Some((0..70).map(|number| format!("kube-system/{number}")).collect());
    let first = scene.changed();
    assert_eq!((first.attempt, first.daemon_sets.len()), (1, 64));
    scene.run.attempt = 1;
    scene.run.daemon_sets = sets();
    assert_eq!(scene.changed().daemon_sets, sets(), "a later one keeps them");
}

#[test]
fn the_hold_label_holds_a_run_in_every_step_where_it_could_still_act_on_the_node() {
    for step in
        [Step::Cordoning, Step::Draining, Step::Verifying, Step::Uncordoning, Step::RollingBack]
    {
        let mut scene = scene(step);
        scene.node.hold = true;
        assert_eq!(scene.goes_to(), (Step::Held, Reason::HoldLabel), "{step}");
    }
    let mut scene = scene(Step::Rebooting);
    scene.node.hold = true;
    assert_eq!(scene.goes_to(), (Step::Withdrawing, Reason::HoldLabel));
}

#[test]
fn draining_ends_when_somebody_lifts_or_takes_the_cordon() {
    type Case = (fn(&mut NodeFacts), Reason);
    let cases: [Case; 5] = [
        (|n| n.unschedulable = false, Reason::CordonLifted),
        (
            |n| {
                n.unschedulable = false;
                n.cordoned_by = None;
            },
            Reason::CordonLifted,
        ),
        (|n| n.cordoned_by = None, Reason::CordonedByOther),
        (|n| n.cordoned_by = Some("run-0".into()), Reason::CordonedByOther),
        (|n| n.cordon_field_ours = false, Reason::CordonedByOther),
    ];
    for (change, reason) in cases {
        let mut scene = scene(Step::Draining);
        change(&mut scene.node);
        assert_eq!(scene.goes_to(), (Step::RollingBack, reason));
    }
}

#[test]
fn draining_evicts_waits_and_says_who_waits_for_whom() {
    let mut scene = scene(Step::Draining);
    assert_eq!(scene.waits(), Reason::DrainInProgress, "no list of pods yet");
    let evict = DrainPlan { evict: vec![pod("web-1")], total: 1, ..DrainPlan::default() };
    scene.drain = Some(evict);
    assert_eq!(scene.effect(), Effect::Evict(vec![pod("web-1")]));
    let budget = Some("web".to_owned());
    let blocked = Blocked { pod: pod("web-1"), budget, since: at(0), message: String::new() };
    let recheck_at = Some(at(15));
    scene.drain = Some(DrainPlan { blocked: vec![blocked], recheck_at, ..DrainPlan::default() });
    let decision = scene.look();
    assert_eq!(decision.reason, Reason::DrainBlocked);
    assert_eq!(decision.message, "pod shop/web-1 waits for budget web");
    assert_eq!(decision.recheck_at, Some(at(15)));
    // Of many, the first five are named.
    let mut says = |pods: usize| {
        let terminating = (1..=pods).map(|number| pod(&format!("p{number}"))).collect();
        scene.drain = Some(DrainPlan { terminating, ..DrainPlan::default() });
        scene.look().message
    };
    let five = "waiting for pods to end: shop/p1; shop/p2; shop/p3; shop/p4; shop/p5";
    assert_eq!(says(5), five);
    assert_eq!(says(7), format!("{five}; and 2 more"));
}

#[test]
fn draining_rolls_back_on_refusal_on_forbidden_and_in_the_end_by_time() {
    let refused = vec![(pod("db-0"), RefuseReason::DaemonSet)];
    let failed = vec![(pod("db-0"), "forbidden".to_owned())];
    let terminating = vec![pod("db-0")];
    let cases = [
        (DrainPlan { refused, ..DrainPlan::default() }, 10, Reason::DrainRefused),
        (DrainPlan { failed, ..DrainPlan::default() }, 10, Reason::DrainForbidden),
        (DrainPlan { terminating, ..DrainPlan::default() }, 1800, Reason::DrainTimeout),
    ];
    for (plan, now, reason) in cases {
        let mut scene = scene(Step::Draining);
        scene.drain = Some(plan);
        scene.now = at(now);
        assert_eq!(scene.goes_to(), (Step::RollingBack, reason));
    }
    let mut scene = scene(Step::Draining);
    scene.now = at(1800);
    assert_eq!(scene.goes_to(), (Step::RollingBack, Reason::DrainTimeout), "pods never listed");
}

#[test]
fn a_daemon_set_that_cannot_be_read_just_now_is_asked_for_again() {
    let why = RefuseReason::DaemonSetLookupFailed { name: "x".into(), message: "500".into() };
    let mut scene = scene(Step::Draining);
    scene.drain = Some(DrainPlan { refused: vec![(pod("x-1"), why)], ..DrainPlan::default() });
    let decision = scene.look();
    assert_eq!((decision.action, decision.recheck_at), (Action::Wait, Some(at(40))));
}

#[test]
fn a_refusal_after_evictions_have_begun_is_named_until_the_deadline() {
    let mut scene = scene(Step::Draining);
    let refused = vec![(pod("db-0"), RefuseReason::DaemonSet)];
    scene.drain = Some(DrainPlan { refused, evicted: 3, ..DrainPlan::default() });
    let decision = scene.look();
    assert_eq!(decision.action, Action::Wait);
    assert!(decision.message.contains("shop/db-0"), "{}", decision.message);
}

#[test]
fn the_point_of_no_return_is_one_write_with_attempt_intent_and_boot_id() {
    let mut scene = scene(Step::Draining);
    scene.drain = drained();
    let next = scene.changed();
    assert_eq!(next.step, Step::Rebooting);
    assert_eq!((next.attempt, next.attempt_times.as_slice()), (1, [at(10)].as_slice()));
    assert_eq!(next.boot_id_before.as_deref(), Some("boot-1"));
    assert_eq!(next.deadline, Some(at(910)));
    let intent = next.intent.unwrap();
    assert_eq!((intent.effect, intent.attempt), (IntentEffect::Reboot, 1));
    assert_eq!((intent.node_uid.as_str(), intent.boot_id_before.as_str()), ("node-1", "boot-1"));
}

#[test]
fn a_drained_node_is_not_rebooted_while_it_is_not_ready_or_names_no_boot() {
    type Case = fn(&mut NodeFacts);
    let cases: [Case; 2] =
        [|n| set(n, condition("Ready", "Unknown", 5)), |n| n.boot_id = String::new()];
    for change in cases {
        let mut scene = scene(Step::Draining);
        scene.drain = drained();
        change(&mut scene.node);
        assert_eq!(scene.waits(), Reason::WaitingForReady);
        scene.now = at(1800);
        assert_eq!(scene.goes_to(), (Step::RollingBack, Reason::DrainTimeout));
    }
}

#[test]
fn an_attempt_on_record_twice_counts_once_and_old_ones_do_not_count() {
    let mut scene = scene(Step::Draining);
    scene.drain = drained();
    let day = 24 * 3600;
    scene.node.last_remediation.attempts = vec![at(10 - day), at(-300), at(-200)];
    assert_eq!(scene.goes_to(), (Step::Rebooting, Reason::RebootPodPending));
    scene.run.attempt_times = vec![at(-200)];
    assert_eq!(scene.goes_to(), (Step::Rebooting, Reason::RebootPodPending));
    scene.node.last_remediation.attempts.push(at(-100));
    assert_eq!(scene.goes_to(), (Step::RollingBack, Reason::AttemptsExhausted));
}

#[test]
fn rebooting_creates_its_pod_once_and_waits_for_a_new_boot_id() {
    let mut scene = scene(Step::Rebooting);
    assert_eq!(scene.effect(), Effect::CreateRebootPod(RebootMethod::Command));
    let waiting = PodSeen::Waiting { why: "ContainerCreating".into(), deleting: false };
    let killed = ended(143, 5, None);
    let cases = [
        (PodSeen::Unknown, Reason::RebootPodPending),
        (waiting, Reason::RebootPodPending),
        (PodSeen::Running { deleting: false }, Reason::WaitingForBoot),
        (ended(0, 5, None), Reason::WaitingForBoot),
        (killed, Reason::WaitingForBoot),
        (PodSeen::Lost, Reason::WaitingForBoot),
    ];
    for (pod, reason) in cases {
        scene.reboot_pod = pod;
        assert_eq!(scene.waits(), reason);
    }
    scene.node.boot_id = String::new();
    assert_eq!(scene.waits(), Reason::WaitingForBoot, "an empty boot ID is no boot");
    scene.node.boot_id = "boot-2".into();
    let next = scene.changed();
    assert_eq!((next.step, next.reason), (Step::Verifying, Reason::Booted));
    assert_eq!((next.deadline, next.intent), (Some(at(10 + 1200)), None));
}

#[test]
fn each_attempt_reboots_as_its_remedy_says() {
    let remedies = RebootMethod::ALL.map(|method| Remedy {
        action: policy::Action::Reboot(method),
        ..contract().remedies[0].clone()
    });
    for (attempt, method) in (0..).zip(RebootMethod::ALL) {
        let mut scene = scene(Step::Draining);
        scene.drain = drained();
        scene.run.contract.as_mut().unwrap().remedies = remedies.to_vec();
        scene.run.attempt = attempt;
        let next = scene.changed();
        assert_eq!(next.message, format!("attempt {}: {}", attempt + 1, method.announced()));
        scene.run = next;
        assert_eq!(scene.effect(), Effect::CreateRebootPod(method));
        scene.run.contract.as_mut().unwrap().remedies.truncate(attempt as usize);
        assert_eq!(scene.goes_to(), (Step::Withdrawing, Reason::RebootFailed));
    }
}

#[test]
fn rebooting_without_a_matching_intent_or_cordon_is_withdrawn_before_a_pod_is_made() {
    type Case = fn(&mut Scene);
    let cases: [Case; 6] = [
        |s| s.run.intent = None,
        |s| s.run.intent.as_mut().unwrap().attempt = 2,
        |s| s.run.intent.as_mut().unwrap().node_uid = "node-2".into(),
        |s| s.run.intent.as_mut().unwrap().boot_id_before = "boot-0".into(),
        |s| s.run.intent.as_mut().unwrap().effect = IntentEffect::Drain,
        |s| s.node.unschedulable = false,
    ];
    for change in cases {
        let mut scene = scene(Step::Rebooting);
        change(&mut scene);
        assert_eq!(scene.changed().step, Step::Withdrawing);
    }
}

#[test]
fn a_reboot_that_cannot_work_is_withdrawn_with_its_reason() {
    type Case = (fn(&mut Scene), Reason);
    let cases: [Case; 5] = [
        (|s| s.run.cancel = true, Reason::CancelRequested),
        (|s| s.now = at(900), Reason::RebootTimeout),
        (
            |s| s.reboot_pod = ended(EXIT_REFUSED, 5, Some(Refusal::NotCordonedByRun)),
            Reason::RebootRefused,
        ),
        (|s| s.reboot_pod = ended(EXIT_COMMAND_FAILED, 5, None), Reason::RebootFailed),
        (|s| s.reboot_pod = ended(1, 5, None), Reason::RebootFailed),
    ];
    for (change, reason) in cases {
        let mut scene = scene(Step::Rebooting);
        change(&mut scene);
        let next = scene.changed();
        assert_eq!((next.step, next.reason, next.intent), (Step::Withdrawing, reason, None));
    }
}

#[test]
fn withdrawing_stops_the_pod_first() {
    let mut scene = scene(Step::Withdrawing);
    scene.reboot_pod = PodSeen::Running { deleting: false };
    assert_eq!(scene.effect(), Effect::DeleteRebootPod);
    scene.reboot_pod = PodSeen::Running { deleting: true };
    assert_eq!(scene.waits(), Reason::Withdrawing);
    scene.now = at(600);
    assert_eq!(scene.waits(), Reason::EffectUnresolved);
}

/// Pods that must stay are told only where no budget keeps any.
#[test]
fn what_keeps_a_drain_is_told_a_budget_first() {
    let refused = || vec![(pod("stays-0"), RefuseReason::DaemonSet)];
    let blocked = || {
        let message = "no".to_owned();
        vec![Blocked { pod: pod("web-0"), budget: Some("web".into()), since: at(5), message }]
    };
    let cases = [
        (vec![], vec![], Reason::DrainInProgress, "evicting pods"),
        (vec![], refused(), Reason::DrainInProgress, "pods that must stay: "),
        (blocked(), vec![], Reason::DrainBlocked, "waits for budget web"),
        (blocked(), refused(), Reason::DrainBlocked, "waits for budget web"),
    ];
    for (blocked, refused, reason, says) in cases {
        let mut scene = scene(Step::Draining);
        // What had begun goes on beside Pods that came later and must stay.
        scene.drain = Some(DrainPlan { blocked, refused, evicted: 1, ..DrainPlan::default() });
        let decision = scene.look();
        assert_eq!(decision.reason, reason, "{}", decision.message);
        assert!(decision.message.contains(says), "{}", decision.message);
    }
}

/// A withdrawn attempt of which nothing can act any more.
fn resolved() -> Scene {
    let mut scene = scene(Step::Withdrawing);
    scene.reboot_pod = ended(1, 5, None);
    set(&mut scene.node, condition("Ready", "True", 9));
    scene
}

#[test]
fn a_reboot_that_was_started_is_not_given_up_while_the_machine_may_still_go_down() {
    for exit_code in [0, 143] {
        let mut scene = resolved();
        scene.reboot_pod = ended(exit_code, 5, None);
        let Decision { reason, message, recheck_at, .. } = scene.look();
        assert_eq!((reason, recheck_at), (Reason::Withdrawing, Some(at(70))), "{message}");
        assert_eq!(message, "the reboot was started; the machine may still go down");
        // The time of a Pod whose object vanished has passed; now a report from before proves nothing.
        scene.now = at(71);
        scene.memory.report_at_pod_end = Some(at(9));
        assert_eq!(scene.waits(), Reason::Withdrawing);
        set(&mut scene.node, condition("Ready", "True", 72));
        assert_eq!(scene.goes_to(), (Step::Held, Reason::NoBoot));
    }
}

/// Another copy of the Pod may have been made that nobody saw; the next look is when it can act no more.
#[test]
fn a_reboot_that_was_refused_is_not_given_up_while_an_earlier_copy_may_live() {
    let mut scene = resolved();
    scene.memory = Memory::default();
    let Decision { reason, message, recheck_at, .. } = scene.look();
    assert_eq!((reason, recheck_at), (Reason::Withdrawing, Some(at(70))), "{message}");
    assert!(message.starts_with("an earlier copy of the reboot Pod may live"), "{message}");
}

#[test]
fn a_resolved_attempt_is_followed_by_what_fits_its_reason() {
    type Case = (fn(&mut Scene), (Step, Reason));
    let cases: [Case; 10] = [
        (|_| {}, (Step::Held, Reason::NoBoot)),
        (|s| s.run.reason = Reason::HoldLabel, (Step::Held, Reason::HoldLabel)),
        (|s| s.node.hold = true, (Step::Held, Reason::HoldLabel)),
        (|s| s.run.reason = Reason::CancelRequested, (Step::RollingBack, Reason::CancelRequested)),
        (|s| s.run.cancel = true, (Step::RollingBack, Reason::CancelRequested)),
        (|s| s.node.unschedulable = false, (Step::RollingBack, Reason::CordonLifted)),
        (|s| s.node.cordoned_by = None, (Step::RollingBack, Reason::CordonedByOther)),
        (|s| set(&mut s.node, condition("Ready", "False", 9)), (Step::Held, Reason::NoBoot)),
        (
            |s| {
                two_rungs(&mut s.run);
                s.node.last_remediation.attempts.clone_from(&s.run.attempt_times);
            },
            (Step::Rebooting, Reason::RebootPodPending),
        ),
        (
            |s| {
                two_rungs(&mut s.run);
                s.node.last_remediation.attempts = vec![at(-300), at(-200)];
            },
            (Step::Held, Reason::AttemptsExhausted),
        ),
    ];
    for (number, (change, expected)) in cases.into_iter().enumerate() {
        let mut scene = resolved();
        change(&mut scene);
        assert_eq!(scene.goes_to(), expected, "case {number}");
    }
}

#[test]
fn no_further_attempt_begins_on_a_node_that_names_no_boot() {
    let mut scene = resolved();
    two_rungs(&mut scene.run);
    scene.node.boot_id = String::new();
    // The report after the Pod's end, seen by this process.
    scene.look();
    assert_eq!(scene.goes_to(), (Step::Held, Reason::NoBoot));
}

pub(super) fn two_rungs(run: &mut Run) {
    let contract = run.contract.as_mut().unwrap();
    contract.remedies.push(contract.remedies[0].clone());
}

#[test]
fn no_further_attempt_begins_once_something_would_have_turned_the_run_back() {
    type Case = fn(&mut Scene);
    let cases: [Case; 5] = [
        |s| s.policy = PolicyStanding::Suspended,
        |s| s.policy = PolicyStanding::Deleted,
        |s| s.policy = PolicyStanding::NotEnforcing,
        |s| s.node.deleting = true,
        |s| set(&mut s.node, condition("Sick", "False", 9)),
    ];
    for change in cases {
        let mut scene = resolved();
        two_rungs(&mut scene.run);
        change(&mut scene);
        assert_eq!(scene.goes_to(), (Step::Held, Reason::NoBoot));
    }
}

#[test]
fn uncordoning_is_one_closing_write_and_ends_when_the_node_shows_it() {
    let mut scene = scene(Step::Uncordoning);
    let effect = scene.effect();
    let close_of =
        |uncordon| Effect::Close { uncordon, result: Step::Succeeded, reason: Reason::Healed };
    assert_eq!(effect, close_of(true));
    scene.node.unschedulable = false;
    assert_eq!(scene.effect(), close_of(false), "somebody was faster");
    close(&mut scene.node, &scene.run, Step::Succeeded);
    assert_eq!(scene.goes_to(), (Step::Succeeded, Reason::Healed));
    scene.run.contract.as_mut().unwrap().verify.settle = secs(60);
    let next = scene.changed();
    assert_eq!((next.step, next.deadline), (Step::Settling, Some(at(70))));
}

#[test]
fn a_node_that_is_not_ready_is_not_given_back() {
    for step in [Step::Uncordoning, Step::RollingBack] {
        let mut scene = scene(step);
        set(&mut scene.node, condition("Ready", "False", 9));
        assert_eq!(scene.goes_to(), (Step::Held, Reason::Unreachable), "{step}");
    }
}

#[test]
fn settling_ends_by_time() {
    let mut scene = scene(Step::Settling);
    assert_eq!(scene.waits(), Reason::Settling);
    scene.now = at(300);
    assert_eq!(scene.goes_to(), (Step::Succeeded, Reason::Healed));
}

#[test]
fn a_roll_back_ends_as_its_reason_says() {
    let cases = [
        (Reason::DrainTimeout, Step::Failed),
        (Reason::DrainRefused, Step::Failed),
        (Reason::DrainForbidden, Step::Failed),
        (Reason::NotCured, Step::Failed),
        (Reason::CancelRequested, Step::Cancelled),
        (Reason::TriggerCleared, Step::Cancelled),
        (Reason::CordonLifted, Step::Cancelled),
        (Reason::CordonedByOther, Step::Cancelled),
        (Reason::ClaimedByOther, Step::Cancelled),
        (Reason::PolicySuspended, Step::Cancelled),
        (Reason::HoldLifted, Step::Cancelled),
    ];
    for (reason, result) in cases {
        let mut scene = scene(Step::RollingBack);
        scene.run.reason = reason;
        assert_eq!(scene.effect(), Effect::Close { uncordon: true, result, reason });
        close(&mut scene.node, &scene.run, result);
        assert_eq!(scene.goes_to(), (result, reason));
    }
}

#[test]
fn terminal_is_final() {
    for step in [Step::Succeeded, Step::Cancelled, Step::Failed] {
        for node_is in [NodeIs::There, NodeIs::Gone, NodeIs::Replaced] {
            let mut scene = scene(step);
            scene.node_is = node_is;
            scene.run.cancel = true;
            assert_eq!(scene.decide().action, Action::Wait);
        }
    }
}

#[test]
fn a_run_without_its_frozen_plan_does_nothing() {
    let mut scene = scene(Step::Draining);
    scene.run.contract = None;
    scene.drain = drained();
    assert_eq!(scene.decide().action, Action::Wait);
}
