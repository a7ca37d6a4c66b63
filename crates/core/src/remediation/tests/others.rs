//! What other controllers and people do to a run's node, and how the run gets out of their way.

use super::*;

const CLAIM: &str = "taint karpenter.sh/disrupted";

fn claimed(step: Step) -> Scene {
    let mut scene = scene(step);
    scene.node.claim = Some(CLAIM.into());
    scene
}

#[test]
fn a_run_that_gives_way_to_another_controller_names_its_mark() {
    let mut scene = claimed(Step::Draining);
    assert!(scene.changed().message.ends_with(CLAIM));
}

#[test]
fn after_the_point_of_no_return_a_claimed_node_is_finished_and_given_back() {
    let mut rebooting = claimed(Step::Rebooting);
    assert_eq!(rebooting.effect(), Effect::CreateRebootPod(RebootMethod::Command));
    rebooting.node.boot_id = "boot-2".into();
    assert_eq!(rebooting.changed().step, Step::Verifying);
    let mut uncordoning = claimed(Step::Uncordoning);
    assert!(matches!(uncordoning.effect(), Effect::Close { uncordon: true, .. }));
}

#[test]
fn no_further_attempt_begins_on_a_claimed_node() {
    let mut scene = claimed(Step::Withdrawing);
    scene.reboot_pod = ended(1, 5, None);
    set(&mut scene.node, condition("Ready", "True", 9));
    let remedies = &mut scene.run.contract.as_mut().unwrap().remedies;
    remedies.push(remedies[0].clone());
    let next = scene.changed();
    assert_eq!((next.step, next.reason), (Step::Held, Reason::NoBoot));
    assert!(next.message.contains(CLAIM), "{}", next.message);
}

/// A withdrawn attempt on a machine that somebody says is off, though its node may still look Ready.
fn off(pod: PodSeen) -> Scene {
    let mut scene = scene(Step::Withdrawing);
    scene.reboot_pod = pod;
    scene.node.out_of_service = true;
    let remedies = &mut scene.run.contract.as_mut().unwrap().remedies;
    remedies.push(remedies[0].clone());
    scene
}

#[test]
fn the_word_that_a_machine_is_off_resolves_the_doubt_about_it() {
    let deleting = PodSeen::Running { deleting: true };
    let lost = [PodSeen::Unknown, PodSeen::Absent, PodSeen::Lost, deleting, ended(0, 5, None)];
    for pod in lost {
        let next = off(pod.clone()).changed();
        assert_eq!((next.step, next.reason), (Step::Held, Reason::NoBoot), "{pod:?}");
        assert!(next.message.contains(crate::facts::OUT_OF_SERVICE_TAINT), "{}", next.message);
    }
    // The Pod's object is asked to go all the same, so that Kubernetes can take it away.
    assert_eq!(off(PodSeen::Running { deleting: false }).effect(), Effect::DeleteRebootPod);
    // Why the attempt was withdrawn counts before it.
    let mut cancelled = off(PodSeen::Absent);
    cancelled.run.cancel = true;
    cancelled.run = cancelled.changed();
    assert_eq!(cancelled.run.step, Step::RollingBack);
    assert_eq!(cancelled.goes_to(), (Step::Held, Reason::Unreachable), "not given back while off");
}

#[test]
fn who_cannot_be_told_whether_a_machine_will_reboot_learns_how_to_end_the_doubt() {
    let mut scene = scene(Step::Withdrawing);
    scene.now = at(700);
    let decision = scene.look();
    assert_eq!(decision.reason, Reason::EffectUnresolved);
    let door = "kubectl taint node worker1a \
                node.kubernetes.io/out-of-service=nodeshutdown:NoExecute";
    assert!(decision.message.contains(door), "{}", decision.message);
}

#[test]
fn a_machine_that_comes_back_is_verified_only_when_nobody_says_any_more_that_it_is_off() {
    let mut held = scene(Step::Held);
    held.node.out_of_service = true;
    held.node.boot_id = "boot-2".into();
    held.look();
    held.now = at(1000);
    assert_eq!(held.waits(), Reason::NoBoot);
    held.node.out_of_service = false;
    held.look();
    held.now = at(1060);
    assert_eq!(held.goes_to(), (Step::Verifying, Reason::Booted));

    let mut verifying = scene(Step::Verifying);
    verifying.node.out_of_service = true;
    assert_eq!(verifying.waits(), Reason::WaitingForReady);
    verifying.now = at(1200);
    let next = verifying.changed();
    assert_eq!((next.step, next.reason), (Step::Held, Reason::Unreachable));
    assert!(next.message.contains(crate::facts::OUT_OF_SERVICE_TAINT), "{}", next.message);
}

#[test]
fn a_held_machine_that_did_not_go_down_or_is_not_ready_is_told_of_in_words() {
    let mut withdrawn = scene(Step::Withdrawing);
    withdrawn.run.message = "no new boot ID in time".into();
    withdrawn.reboot_pod = ended(0, 5, None);
    withdrawn.memory.report_at_pod_end = Some(at(9));
    withdrawn.now = at(71);
    withdrawn.look();
    set(&mut withdrawn.node, condition("Ready", "True", 72));
    let message = withdrawn.changed().message;
    assert!(message.starts_with("no new boot ID in time; the reboot was started"), "{message}");

    let mut sick = scene(Step::Verifying);
    let mut ready = condition("Ready", "False", 9);
    sick.now = at(1200);
    for (reason, says) in [("KubeletNotReady", "not Ready: KubeletNotReady"), ("", "not Ready")] {
        ready.reason = reason.into();
        set(&mut sick.node, ready.clone());
        let message = sick.changed().message;
        assert!(message.ends_with(&format!("the node is {says}")), "{message}");
    }
}

/// Somebody lifts our cordon after the point of no return: the machine is verified all the same, and
/// nothing but our marks is taken off.
#[test]
fn after_the_point_of_no_return_a_lifted_cordon_changes_nothing_but_the_end() {
    type Case = fn(&mut NodeFacts);
    let lifted: Case = |node| node.unschedulable = false;
    let taken_over: Case = |node| node.cordon_field_ours = false;
    for change in [lifted, taken_over] {
        let mut rebooting = scene(Step::Rebooting);
        change(&mut rebooting.node);
        rebooting.reboot_pod = ended(0, 5, None);
        assert_eq!(rebooting.waits(), Reason::WaitingForBoot);
        rebooting.node.boot_id = "boot-2".into();
        assert_eq!(rebooting.changed().step, Step::Verifying);

        let mut verifying = scene(Step::Verifying);
        change(&mut verifying.node);
        assert_eq!(verifying.waits(), Reason::WaitingForReady);

        let mut uncordoning = scene(Step::Uncordoning);
        change(&mut uncordoning.node);
        assert!(matches!(
            uncordoning.effect(),
            Effect::Close { uncordon: false, result: Step::Succeeded, .. }
        ));
    }
}
