//! What the edit or the end of a policy or a run means for work under way.

use kube::{ResourceExt, api::DeleteParams};
use rerail_api::NodeRemediation;
use rerail_core::step::Step;
use rerail_e2e::{PATIENCE, wait_for};
use rerail_fleet::Fault;
use serde_json::{Value, json};

use crate::{
    hands::quiet,
    shared::{ANOTHER, SHORT, Stage, play, said},
    workloads::PATIENT,
};

/// Work under way is undone for this reason before the reboot.
async fn is_undone(stage: &Stage, reason: &str) {
    let node = &stage.nodes[0];
    let run = stage.run_in(node, Step::Cancelled).await;
    assert_eq!(said(&run).0, reason);
    stage.is_given_back(node, "Cancelled", reason).await;
    assert!(stage.guarded().await.is_some());
    assert_eq!(stage.boots(node), 0);
}

/// The machine of the stage is down, and takes a while to boot.
async fn rebooting(stage: &Stage) -> NodeRemediation {
    let node = &stage.nodes[0];
    stage.policy("Enforce", SHORT).await;
    stage.inject(node, Fault::SlowBoot { factor: 10 });
    stage.sicken(node, "deadlock").await;
    stage.goes_down(node).await;
    stage.run_in(node, Step::Rebooting).await
}

/// Work under way is finished after the reboot.
async fn is_finished(stage: &Stage) {
    let node = &stage.nodes[0];
    let run = stage.run_in(node, Step::Succeeded).await;
    assert_eq!((said(&run).0.as_str(), run.status.unwrap().attempt), ("Healed", 1));
    assert!(!stage.is_cordoned(node).await);
    assert_eq!(stage.boots(node), 1);
}

#[test]
fn a_run_keeps_the_contract_that_it_began_with() {
    play("policy-edit", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        let before = stage.blocked_drain(&node, PATIENT).await.status.unwrap().plan;
        let edited = "
  drain: {timeout: 1s, unmanaged: Refuse}
  remedies: [{reboot: {method: Command}, timeout: 1s}]
  verify: {ready: 1s, timeout: 2s}
  attempts: {max: 1, per: 1h, backoff: 1h}";
        stage.policy("Enforce", edited).await;
        quiet().await;
        stage.blocked(&node).await;
        stage.release().await;
        let run = stage.run_in(&node, Step::Succeeded).await;
        assert_eq!(said(&run).0, "Healed");
        let after = run.status.unwrap().plan;
        assert_eq!(after.as_ref().map(|plan| plan.policy_generation), Some(1));
        assert_eq!(after, before);
        stage.finish().await;
    });
}

#[test]
fn the_deletion_of_the_policy_undoes_a_run_before_its_reboot() {
    play("policy-gone", 1, |stage| async move {
        stage.blocked_drain(&stage.nodes[0], PATIENT).await;
        stage.cluster().policies().delete(stage.pool, &DeleteParams::default()).await.unwrap();
        is_undone(&stage, "PolicyDeleted").await;
        stage.finish().await;
    });
}

async fn edited_before(stage: Stage, edit: Value, reason: &str) {
    stage.blocked_drain(&stage.nodes[0], PATIENT).await;
    stage.edit_policy(edit).await;
    is_undone(&stage, reason).await;
    stage.finish().await;
}

#[test]
fn the_suspension_of_the_policy_undoes_a_run_before_its_reboot() {
    play("policy-off", 1, |stage| {
        edited_before(stage, json!({"suspended": true}), "PolicySuspended")
    });
}

#[test]
fn a_policy_that_goes_to_dry_run_undoes_a_run_before_its_reboot() {
    play("policy-dry", 1, |stage| {
        edited_before(stage, json!({"mode": "DryRun"}), "PolicyNotEnforcing")
    });
}

#[test]
fn the_deletion_of_the_policy_lets_a_run_finish_after_its_reboot() {
    play("policy-gone-late", 1, |stage| async move {
        rebooting(&stage).await;
        stage.cluster().policies().delete(stage.pool, &DeleteParams::default()).await.unwrap();
        is_finished(&stage).await;
        stage.finish().await;
    });
}

#[test]
fn suspension_and_dry_run_let_a_run_finish_after_its_reboot() {
    play("policy-off-late", 1, |stage| async move {
        rebooting(&stage).await;
        stage.edit_policy(json!({"suspended": true, "mode": "DryRun"})).await;
        is_finished(&stage).await;
        stage.finish().await;
    });
}

#[test]
fn a_run_that_is_cancelled_before_its_reboot_is_undone() {
    play("cancel-before", 1, |stage| async move {
        let run = stage.blocked_drain(&stage.nodes[0], PATIENT).await;
        stage.cancel(&run).await;
        is_undone(&stage, "CancelRequested").await;
        stage.finish().await;
    });
}

#[test]
fn a_run_that_is_cancelled_after_its_reboot_finishes() {
    play("cancel-after", 1, |stage| async move {
        let run = rebooting(&stage).await;
        stage.cancel(&run).await;
        is_finished(&stage).await;
        stage.finish().await;
    });
}

#[test]
fn a_run_that_is_deleted_in_mid_drain_is_undone_and_goes() {
    play("run-deleted", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        let run = stage.blocked_drain(&node, PATIENT).await;
        let runs = stage.cluster().runs();
        runs.delete(&run.name_any(), &DeleteParams::default()).await.unwrap();
        let gone = || async {
            match runs.get_opt(&run.name_any()).await {
                Ok(None) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        };
        wait_for("the run to go", PATIENCE, gone).await.unwrap();
        stage.is_given_back(&node, "Cancelled", "CancelRequested").await;
        assert!(stage.guarded().await.is_some());
        assert_eq!(stage.boots(&node), 0);
        stage.waiting(&node, "Backoff").await;
        stage.finish().await;
    });
}

#[test]
fn the_most_urgent_node_is_healed_first_and_one_at_a_time() {
    play("urgent", 2, |stage| async move {
        let (calm, urgent) = (stage.nodes[0].clone(), stage.nodes[1].clone());
        stage.sicken(&calm, "[P6] uptime").await;
        stage.sicken(&urgent, "[P2] disk is failing").await;
        stage.policy("Enforce", SHORT).await;
        let message = stage.waiting(&calm, ANOTHER).await.message;
        let first = stage.run_in(&urgent, Step::Succeeded).await;
        let second = stage.run_in(&calm, Step::Succeeded).await;
        assert!(message.contains("rack-b"), "{message}");
        let (first, second) = (first.status.unwrap(), second.status.unwrap());
        assert_eq!((first.priority, second.priority), (Some(2), Some(6)));
        let ended = first.steps.last().unwrap().start_time;
        let began = second.steps.first().unwrap().start_time;
        assert!(ended <= began, "{ended} {began}");
        stage.finish().await;
    });
}
