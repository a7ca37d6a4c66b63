//! Nodes that go, come again, do not answer, or are not to be touched at all.

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use rerail_core::{facts::OUT_OF_SERVICE_TAINT, step::Step};
use rerail_e2e::PATIENCE;
use rerail_fleet::{ConditionOptions, Fault, Pool, Replacement};
use serde_json::json;

use crate::{
    hands::quiet,
    shared::{ANOTHER, SHORT, Stage, admin, play, play_on, said},
    workloads::PATIENT,
};

/// A Node object, Ready, that nothing was ever done to.
async fn is_new(stage: &Stage, node: &str, old_uid: &str) {
    stage.is_untouched(node).await;
    assert!(!stage.is_cordoned(node).await);
    assert_ne!(stage.node(node).await.uid().unwrap(), old_uid);
}

#[test]
fn a_node_that_goes_in_mid_drain_ends_its_run_and_frees_the_place() {
    play("node-gone", 2, |stage| async move {
        let (node, other) = (stage.nodes[0].clone(), stage.nodes[1].clone());
        stage.blocked_drain(&node, PATIENT).await;
        stage.sicken(&other, "deadlock").await;
        stage.waiting(&other, ANOTHER).await;
        stage.cluster().fleet.delete_node(&node).await.unwrap();
        let run = stage.run_in(&node, Step::Cancelled).await;
        assert_eq!(said(&run).0, "NodeReplaced");
        stage.run_in(&other, Step::Succeeded).await;
        stage.finish().await;
    });
}

async fn replaced_in_mid_drain(stage: Stage, with: Replacement) {
    let node = stage.nodes[0].clone();
    let old = stage.blocked_drain(&node, PATIENT).await;
    stage.cluster().fleet.replace_node(&node, with).await.unwrap();
    let run = stage.run_in(&node, Step::Cancelled).await;
    assert_eq!((run.uid(), said(&run).0), (old.uid(), "NodeReplaced".to_owned()));
    is_new(&stage, &node, &old.spec.node_uid).await;
    assert_eq!(stage.boots(&node), 0);
    stage.finish().await;
}

#[test]
fn another_machine_under_the_old_name_is_not_touched() {
    play("node-other", 1, |stage| replaced_in_mid_drain(stage, Replacement::OtherMachine));
}

#[test]
fn the_same_machine_under_a_new_node_object_is_not_touched() {
    play("node-same", 1, |stage| replaced_in_mid_drain(stage, Replacement::SameMachine));
}

/// A run whose machine is down; the other node is sick, too, and waits.
async fn rebooting(stage: &Stage) -> kube::core::ObjectMeta {
    let (node, other) = (stage.nodes[0].clone(), stage.nodes[1].clone());
    stage.policy("Enforce", SHORT).await;
    stage.inject(&node, Fault::SlowBoot { factor: 12 });
    stage.sicken(&node, "deadlock").await;
    stage.goes_down(&node).await;
    stage.sicken(&other, "deadlock").await;
    stage.waiting(&other, ANOTHER).await;
    stage.run_in(&node, Step::Rebooting).await.metadata
}

#[test]
fn a_node_that_goes_while_rebooting_keeps_its_place_until_nothing_can_act_any_more() {
    play("node-gone-late", 2, |stage| async move {
        let (node, other) = (stage.nodes[0].clone(), stage.nodes[1].clone());
        rebooting(&stage).await;
        stage.cluster().fleet.delete_node(&node).await.unwrap();
        let run = stage.run_in(&node, Step::Withdrawing).await;
        assert_eq!(run.status.unwrap().steps.pop().unwrap().reason, "NodeReplaced");
        quiet().await;
        stage.waiting(&other, ANOTHER).await;
        let run = stage.run_in(&node, Step::Cancelled).await;
        assert_eq!(said(&run).0, "NodeReplaced");
        stage.run_in(&other, Step::Succeeded).await;
        stage.finish().await;
    });
}

#[test]
fn a_machine_that_registers_anew_while_rebooting_is_not_touched() {
    play("node-same-late", 2, |stage| async move {
        let (node, other) = (stage.nodes[0].clone(), stage.nodes[1].clone());
        let old = rebooting(&stage).await;
        let old_uid = stage.node(&node).await.uid().unwrap();
        stage.cluster().fleet.replace_node(&node, Replacement::SameMachine).await.unwrap();
        let run = stage.run_in(&node, Step::Cancelled).await;
        assert_eq!((run.uid(), said(&run).0), (old.uid, "NodeReplaced".to_owned()));
        is_new(&stage, &node, &old_uid).await;
        assert_eq!(stage.boots(&node), 1);
        stage.run_in(&other, Step::Succeeded).await;
        stage.finish().await;
    });
}

#[test]
fn a_node_that_goes_while_it_is_verified_or_held_is_not_touched() {
    play("node-gone-sick", 2, |stage| async move {
        let (node, other) = (stage.nodes[0].clone(), stage.nodes[1].clone());
        let rest = "
  remedies: [{reboot: {method: Command}, timeout: 60s}]
  verify: {ready: 1s, timeout: 5s}";
        stage.policy("Enforce", rest).await;
        for (node, step) in [(&node, Step::Verifying), (&other, Step::Held)] {
            stage.inject(node, Fault::StaysNotReady);
            stage.sicken(node, "deadlock").await;
            let old = stage.run_in(node, step).await;
            stage.cluster().fleet.replace_node(node, Replacement::OtherMachine).await.unwrap();
            let run = stage.run_in(node, Step::Cancelled).await;
            assert_eq!((run.uid(), said(&run).0), (old.uid(), "NodeReplaced".to_owned()));
            is_new(&stage, node, &old.spec.node_uid).await;
        }
        stage.finish().await;
    });
}

#[test]
fn a_node_that_is_not_ready_is_not_even_cordoned() {
    play("node-not-ready", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        stage.inject(&node, Fault::StaysNotReady);
        stage.machine(&node).spontaneous_reboot().await.unwrap();
        let machine = stage.machine(&node);
        machine
            .wait_until("up and not Ready", PATIENCE, |view| {
                !view.ready && view.boots == 1 && view.reported_boot_id == view.kernel_boot_id
            })
            .await
            .unwrap();
        stage.policy("Enforce", SHORT).await;
        // The boot has just healed what a boot heals, or is about to; this must stay.
        let stays = ConditionOptions { heal_on_boot: false, ..ConditionOptions::default() };
        machine
            .set_condition(crate::shared::CONDITION, "True", "DeadlockDetected", "deadlock", stays)
            .await
            .unwrap();
        since_an_hour(&stage, &node).await;
        stage.waiting(&node, "NoReachableRemedy").await;
        stage.is_untouched(&node).await;
        assert!(!stage.is_cordoned(&node).await);
        // It answers again, and is still sick.
        machine.clear_faults().await.unwrap();
        stage.run_in(&node, Step::Verifying).await;
        stage.cured_until_healed(&node).await;
        assert_eq!(stage.boots(&node), 2);
        stage.finish().await;
    });
}

/// The node has not been Ready for an hour, by its own word.
async fn since_an_hour(stage: &Stage, node: &str) {
    let nodes: Api<Node> = Api::all(admin(stage.cluster()).await);
    let conditions = stage.node(node).await.status.unwrap().conditions.unwrap();
    let mut ready = conditions.into_iter().find(|condition| condition.type_ == "Ready").unwrap();
    assert_ne!(ready.status, "True");
    let hour = jiff::SignedDuration::from_hours(1);
    let time = ready.last_transition_time.as_mut().unwrap();
    time.0 = time.0.checked_sub(hour).unwrap();
    let patch = Patch::Strategic(json!({ "status": { "conditions": [ready] } }));
    nodes.patch_status(node, &PatchParams::default(), &patch).await.unwrap();
}

#[test]
fn a_control_plane_node_is_never_touched() {
    let pool = "node-control";
    play_on(pool, Pool::new(pool, 1, 1).control_plane(), |stage| async move {
        let node = stage.nodes[0].clone();
        stage.policy("Enforce", SHORT).await;
        stage.sicken(&node, "deadlock").await;
        stage.waiting(&node, "ControlPlane").await;
        // Not even where every node is selected. The other pools have no such condition.
        let yaml = format!(
            "apiVersion: rerail.dev/v1alpha1
kind: RemediationPolicy
metadata: {{name: {pool}}}
spec:
  mode: Enforce
  nodes: {{all: true}}
  triggers: [{{condition: {{type: ControlPlaneOnly}}}}]"
        );
        stage.cluster().policies().delete(pool, &Default::default()).await.unwrap();
        stage.cluster().apply(&yaml).await.unwrap();
        let fleet = &stage.cluster().fleet;
        fleet.set_condition(&node, "ControlPlaneOnly", "True", "Sick", "very").await.unwrap();
        stage.waiting(&node, "ControlPlane").await;
        stage.is_untouched(&node).await;
        assert!(!stage.is_cordoned(&node).await);
        stage.finish().await;
    });
}

/// Nobody can tell whether a machine that went dark on its way down will still boot. Its run keeps its
/// place until somebody who has looked says that the machine is off.
#[test]
fn a_machine_that_does_not_boot_keeps_its_place_until_a_person_says_that_it_is_off() {
    play("node-dark", 2, |stage| async move {
        let (node, other) = (stage.nodes[0].clone(), stage.nodes[1].clone());
        let rest = "
  remedies: [{reboot: {method: Command}, timeout: 6s}]
  verify: {ready: 1s, timeout: 60s}";
        stage.policy("Enforce", rest).await;
        stage.inject(&node, Fault::NeverBoots);
        stage.sicken(&node, "deadlock").await;
        stage.goes_down(&node).await;
        let run = stage.run_in(&node, Step::Withdrawing).await;
        let steps = run.status.clone().unwrap().steps;
        assert_eq!(steps.last().unwrap().reason, "RebootTimeout");
        stage.sicken(&other, "deadlock").await;
        stage.waiting(&other, ANOTHER).await;
        quiet().await;
        let marks = stage.marks(&node).await;
        assert_eq!((marks.cordoned, marks.owner), (true, run.uid()));
        stage.run_in(&node, Step::Withdrawing).await;
        assert!(stage.cluster().runs_of(&other).await.unwrap().is_empty());
        stage.taint(&node, &format!("{OUT_OF_SERVICE_TAINT}=nodeshutdown:NoExecute"));
        stage.is_held(&node, "NoBoot", OUT_OF_SERVICE_TAINT).await;
        stage.run_in(&other, Step::Succeeded).await;
        // It has power again; as long as it is said to be off nothing is done with it.
        stage.machine(&node).power_on().await.unwrap();
        let machine = stage.machine(&node);
        machine.wait_until("Ready", PATIENCE, |view| view.ready).await.unwrap();
        stage.rests(&stage.shared.operator).await;
        stage.run_in(&node, Step::Held).await;
        stage.taint(&node, &format!("{OUT_OF_SERVICE_TAINT}-"));
        stage.run_in(&node, Step::Verifying).await;
        let run = stage.cured_until_healed(&node).await;
        assert_eq!((said(&run).0.as_str(), run.status.unwrap().attempt), ("Healed", 1));
        stage.is_given_back(&node, "Succeeded", "Healed").await;
        stage.finish_with_machines_left_behind().await;
    });
}

#[test]
fn a_reboot_command_that_fails_leaves_the_node_held() {
    play("node-command", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        stage.policy("Enforce", SHORT).await;
        stage.inject(&node, Fault::RebootCommandFails);
        stage.sicken(&node, "deadlock").await;
        let run = stage.run_in(&node, Step::Withdrawing).await;
        let withdrawn = run.status.unwrap().steps.pop().unwrap();
        assert_eq!(withdrawn.reason, "RebootFailed");
        // A report of the kubelet that is later than the end of the Pod proves that it did not boot.
        quiet().await;
        stage.run_in(&node, Step::Withdrawing).await;
        stage.reports_until(&node, Step::Held).await;
        stage.is_held(&node, "NoBoot", "reboot command failed").await;
        assert_eq!(stage.boots(&node), 0);
        stage.finish().await;
    });
}

/// The next remedy needs no privileged Pod; a fake machine lets a Pod do only what its rights allow.
#[test]
fn a_reboot_command_that_fails_is_followed_by_a_signal() {
    play("node-signal", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        let command = "{reboot: {method: Command}, timeout: 60s}";
        let both = format!("{command}, {{reboot: {{method: Signal}}, timeout: 60s}}");
        stage.policy("Enforce", &SHORT.replace(command, &both)).await;
        stage.inject(&node, Fault::RebootCommandFails);
        stage.sicken(&node, "deadlock").await;
        stage.run_in(&node, Step::Withdrawing).await;
        stage.reports_until(&node, Step::Succeeded).await;
        let status = stage.run_in(&node, Step::Succeeded).await.status.unwrap();
        assert_eq!(status.attempt, 2);
        assert_eq!(stage.boots(&node), 1);
        stage.finish().await;
    });
}
