//! Nodes that go, come again, do not answer, or are not to be touched at all.

use kube::ResourceExt;
use rerail_api::remediation::StepName;
use rerail_core::step::Step;
use rerail_e2e::{PATIENCE, wait_for};
use rerail_fleet::{ConditionOptions, Fault, Pool, Replacement};

use crate::{
    hands::quiet,
    shared::{SHORT, Stage, play, play_on, said},
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
        stage.waiting(&other, "OneAtATime").await;
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
    stage.inject(&node, Fault::SlowBoot { factor: 4 });
    stage.sicken(&node, "deadlock").await;
    stage.goes_down(&node).await;
    stage.sicken(&other, "deadlock").await;
    stage.waiting(&other, "OneAtATime").await;
    stage.run_in(&node, Step::Rebooting).await.metadata
}

#[test]
fn a_node_that_goes_while_rebooting_keeps_its_place_until_nothing_can_act_any_more() {
    play("node-gone-late", 2, |stage| async move {
        let (node, other) = (stage.nodes[0].clone(), stage.nodes[1].clone());
        rebooting(&stage).await;
        stage.cluster().fleet.delete_node(&node).await.unwrap();
        let run = stage.run_in(&node, Step::Withdrawing).await;
        assert_eq!(said(&run).0, "NodeReplaced");
        quiet().await;
        stage.waiting(&other, "OneAtATime").await;
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
        stage.waiting(&node, "NoReachableRemedy").await;
        stage.is_untouched(&node).await;
        assert!(!stage.is_cordoned(&node).await);
        stage.finish().await;
    });
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

#[test]
fn a_machine_that_does_not_boot_keeps_its_place_until_a_person_brings_it_back() {
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
        stage.waiting(&other, "OneAtATime").await;
        quiet().await;
        let marks = stage.marks(&node).await;
        assert_eq!((marks.cordoned, marks.owner), (true, run.uid()));
        stage.run_in(&node, Step::Withdrawing).await;
        assert!(stage.cluster().runs_of(&other).await.unwrap().is_empty());
        stage.machine(&node).power_on().await.unwrap();
        let run = stage.run_in(&node, Step::Succeeded).await;
        assert_eq!((said(&run).0.as_str(), run.status.unwrap().attempt), ("Healed", 1));
        stage.run_in(&other, Step::Succeeded).await;
        stage.finish().await;
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
        let held = || async {
            stage.kubelet_reports(&node).await;
            let run = stage.cluster().runs_of(&node).await.unwrap().pop().unwrap();
            let status = run.status.clone().unwrap();
            match status.step {
                StepName::Known(Step::Held) => Ok(run),
                other => Err(other),
            }
        };
        let run = wait_for("the run to be Held", PATIENCE, held).await.unwrap();
        let (reason, message) = said(&run);
        assert_eq!(reason, "NoBoot");
        assert!(message.contains("reboot command failed"), "{message}");
        assert!(stage.is_cordoned(&node).await);
        assert_eq!(stage.boots(&node), 0);
        stage.finish().await;
    });
}
