//! Is the machine healthy after its boot?

use super::{steps::two_rungs, *};

fn healthy_after_boot() -> Scene {
    let mut scene = scene(Step::Verifying);
    set(&mut scene.node, condition("Sick", "False", 5));
    scene.run.evidence = trigger::evidence(&contract().triggers, &scene.node, at(0));
    scene.look();
    scene.now = at(100);
    set(&mut scene.node, condition("Ready", "True", 90));
    set(&mut scene.node, condition("Sick", "False", 90));
    scene.look();
    scene.now = at(110);
    scene.probe_pod = ended(0, 100, None);
    scene
}

#[test]
fn no_probe_pod_is_asked_for_where_the_policy_wants_none() {
    let mut scene = healthy_after_boot();
    scene.probe_pod = PodSeen::Absent;
    assert_eq!(scene.effect(), Effect::CreateProbePod);
    scene.run.contract.as_mut().unwrap().verify.probe_pod = false;
    assert_eq!(scene.goes_to().0, Step::Uncordoning);
}

#[test]
fn a_machine_that_shows_no_new_boot_is_not_verified_whatever_was_remembered() {
    let mut scene = healthy_after_boot();
    scene.look();
    scene.node.boot_id = "boot-1".into();
    let decision = scene.decide();
    assert_eq!((decision.action, decision.reason), (Action::Wait, Reason::WaitingForReady));
}

#[test]
fn a_machine_that_is_healthy_after_its_boot_is_given_back() {
    let mut scene = healthy_after_boot();
    let next = scene.changed();
    assert_eq!((next.step, next.reason), (Step::Uncordoning, Reason::Verified));
    assert_eq!(next.intent.unwrap().effect, IntentEffect::Uncordon);
}

/// Those that the attempt found are not waited for where the policy does not want it.
#[test]
fn daemon_sets_are_not_waited_for_where_the_policy_does_not_want_it() {
    let mut scene = healthy_after_boot();
    scene.run.daemon_sets = vec!["kube-system/never".into()];
    assert_eq!(scene.waits(), Reason::WaitingForDaemonSets);
    scene.run.contract.as_mut().unwrap().verify.daemon_sets = false;
    assert_eq!(scene.goes_to().0, Step::Uncordoning);
}

/// To the second, and the next look is then.
#[test]
fn a_node_is_verified_once_it_was_ready_and_clear_for_as_long_as_it_must() {
    let since = |memory: Option<Timestamp>| at(110).duration_since(memory.unwrap());
    let verified = |mut scene: Scene| {
        let decision = scene.look();
        assert!(matches!(decision.action, Action::Change(_)), "{decision:?}");
    };
    let waits = |mut scene: Scene, reason| {
        let decision = scene.look();
        assert_eq!((decision.reason, decision.recheck_at), (reason, Some(at(111))));
    };
    let clear = |more| {
        let mut scene = healthy_after_boot();
        let clear_for = since(scene.memory.clear_since) + secs(more);
        scene.run.contract.as_mut().unwrap().triggers[0].clear_for = clear_for;
        scene
    };
    verified(clear(0));
    waits(clear(1), Reason::WaitingForClear);
    let ready = |more| {
        let mut scene = healthy_after_boot();
        let ready = since(scene.memory.ready_since) + secs(more);
        scene.run.contract.as_mut().unwrap().verify.ready = ready;
        scene
    };
    verified(ready(0));
    waits(ready(1), Reason::WaitingForReady);
}

/// A person asked for it, and for no trigger.
#[test]
fn a_run_without_a_cause_waits_for_no_trigger() {
    let mut scene = healthy_after_boot();
    scene.run.contract.as_mut().unwrap().triggers[0].clear_for = secs(3600);
    assert_eq!(scene.waits(), Reason::WaitingForClear);
    scene.run.causes.clear();
    assert_eq!(scene.goes_to().0, Step::Uncordoning);
}

#[test]
fn verification_names_what_is_missing() {
    type Case = (fn(&mut Scene), Reason);
    let cases: [Case; 8] = [
        (|s| s.node.boot_id = "boot-1".into(), Reason::WaitingForReady),
        (|s| set(&mut s.node, condition("Ready", "False", 90)), Reason::WaitingForReady),
        (|s| s.memory.ready_since = Some(at(60)), Reason::WaitingForReady),
        (|s| s.run.report_before = s.node.heartbeat(), Reason::WaitingForReport),
        (
            |s| s.daemon_sets_ready = Some(vec!["kube-system/kube-proxy".into()]),
            Reason::WaitingForDaemonSets,
        ),
        (|s| s.daemon_sets_ready = None, Reason::WaitingForDaemonSets),
        (|s| s.probe_pod = PodSeen::Running { deleting: false }, Reason::WaitingForProbePod),
        (|s| set(&mut s.node, condition("Sick", "True", 90)), Reason::WaitingForClear),
    ];
    for (change, reason) in cases {
        let mut scene = healthy_after_boot();
        change(&mut scene);
        assert_eq!(scene.waits(), reason);
    }
}

#[test]
fn the_probe_pod_is_made_and_made_again_after_a_failure() {
    let mut scene = healthy_after_boot();
    scene.probe_pod = PodSeen::Absent;
    assert_eq!(scene.effect(), Effect::CreateProbePod);
    for failed in [PodSeen::Lost, ended(1, 100, None)] {
        scene.probe_pod = failed;
        assert_eq!(scene.effect(), Effect::DeleteProbePod);
    }
}

#[test]
fn verification_gives_up_with_the_reason_that_fits() {
    let mut scene = healthy_after_boot();
    scene.now = at(1200);
    scene.probe_pod = PodSeen::Absent;
    assert_eq!(scene.goes_to(), (Step::Held, Reason::VerificationUnknown));
    set(&mut scene.node, condition("Sick", "True", 1100));
    assert_eq!(scene.goes_to(), (Step::Held, Reason::NotCured));
    scene.run.contract.as_mut().unwrap().verify.on_not_cured = OnNotCured::Uncordon;
    assert_eq!(scene.goes_to(), (Step::RollingBack, Reason::NotCured));
    set(&mut scene.node, condition("Ready", "Unknown", 1100));
    assert_eq!(scene.goes_to(), (Step::Held, Reason::Unreachable));
}

#[test]
fn a_machine_that_booted_and_is_ready_is_never_rebooted_again() {
    let mut scene = healthy_after_boot();
    two_rungs(&mut scene.run);
    scene.now = at(1200);
    set(&mut scene.node, condition("Sick", "True", 1100));
    assert_eq!(scene.goes_to(), (Step::Held, Reason::NotCured));
}
