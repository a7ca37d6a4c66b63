//! Runs that are deleted by force in the middle of it (protocol W13, R3, R10).

use std::time::Duration;

use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use rerail_api::{NodeRemediation, names};
use rerail_core::step::Step;
use rerail_e2e::{ClusterOptions, Operator, OperatorOptions, PATIENCE, wait_for};
use rerail_fleet::Fault;
use serde_json::json;

use crate::{
    shared::{ANOTHER, Stage, alone, play},
    workloads::PATIENT,
};

/// Longer than R2c keeps a place.
const KEPT: Duration = Duration::from_secs(150);

/// `kubectl delete`, with the finalizer edited away first.
async fn delete_by_force(stage: &Stage, run: &NodeRemediation) {
    let (runs, name) = (stage.cluster().runs(), run.name_any());
    let none = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    runs.patch(&name, &PatchParams::default(), &none).await.unwrap();
    runs.delete(&name, &DeleteParams::default()).await.unwrap();
}

impl Stage {
    /// Waits until a node is schedulable, without a mark, and knows how its last run ended.
    pub async fn is_given_back_in_time(&self, node: &str, reason: &str) {
        let look = || async {
            let marks = self.marks(node).await;
            if marks.owner.is_none() && !marks.cordoned { Ok(()) } else { Err(marks) }
        };
        wait_for(&format!("{node}: given back"), PATIENCE, look).await.unwrap();
        self.is_given_back(node, "Cancelled", reason).await;
    }
}

#[test]
fn a_run_that_is_deleted_by_force_in_mid_drain_gives_its_node_back() {
    play("gone-drain", 2, |stage| async move {
        let (node, other) = (stage.nodes[0].clone(), stage.nodes[1].clone());
        let run = stage.blocked_drain(&node, PATIENT).await;
        stage.sicken(&other, "task blocked").await;
        stage.waiting(&other, ANOTHER).await;
        stage
            .edit_policy(json!({ "nodes": { "selector": { "matchLabels": {
            "pool": "gone-drain", "kubernetes.io/hostname": other } } } }))
            .await;
        delete_by_force(&stage, &run).await;
        stage.is_given_back_in_time(&node, "RunDeleted").await;
        stage.event("Node", &node, "RunDeleted").await;
        assert_eq!(stage.boots(&node), 0);
        stage.run_in(&other, Step::Succeeded).await;
        stage.finish().await;
    });
}

#[test]
fn a_run_that_is_deleted_by_force_while_its_machine_is_down_keeps_its_place_until_it_is_up() {
    play("gone-down", 2, |stage| async move {
        let (node, other) = (stage.nodes[0].clone(), stage.nodes[1].clone());
        stage.policy("Enforce", PATIENT).await;
        stage.inject(&node, Fault::SlowBoot { factor: 12 });
        stage.sicken(&node, "task blocked").await;
        let run = stage.run_in(&node, Step::Rebooting).await;
        stage.goes_down(&node).await;
        stage.sicken(&other, "task blocked").await;
        delete_by_force(&stage, &run).await;
        stage.waiting(&other, ANOTHER).await;
        let marks = stage.marks(&node).await;
        assert_eq!((marks.cordoned, marks.owner), (true, run.uid()));
        // The truth log judges in the end whether two machines were down at a time.
        stage.run_in(&other, Step::Succeeded).await;
        stage.is_given_back_in_time(&node, "RunDeleted").await;
        let attempts = stage.marks(&node).await.memory.unwrap()["attempts"].clone();
        assert_eq!(attempts.as_array().unwrap().len(), 1, "SAFE-14: the attempt counts");
        assert_eq!(stage.boots(&node), 1);
        stage.finish().await;
    });
}

/// Nobody remembers the run: the operator was down when it went. The mark is the last trace; its place
/// is kept for as long as a Pod of it could act. A mark that somebody forged holds no place.
#[test]
fn a_mark_that_is_found_at_the_start_keeps_a_place_and_one_that_appears_later_does_not() {
    alone("gone-mark", 3, ClusterOptions::default(), |stage| async move {
        let (node, other, forged) =
            (stage.nodes[0].clone(), stage.nodes[1].clone(), stage.nodes[2].clone());
        let run = stage.blocked_drain(&node, PATIENT).await;
        stage.cluster().plane.kill_component(stage.shared.operator.name()).unwrap();
        delete_by_force(&stage, &run).await;
        stage.release().await;
        stage.cure(&node).await;
        stage.sicken(&other, "task blocked").await;
        let options = OperatorOptions { name: "second".into(), ..OperatorOptions::default() };
        let operator = Operator::start(&stage.cluster().plane, options).await.unwrap();
        stage.waiting(&other, ANOTHER).await;
        assert!(stage.is_cordoned(&node).await);
        // A kubelet can write any annotation on its own node.
        let mark = json!({ "metadata": { "annotations": { names::CORDONED_BY: "forged" } } });
        stage.patch_node(&forged, "kubelet", mark).await;
        // The place is free by time; then the forged mark stops nobody.
        let healed = || async {
            let run = stage.cluster().runs_of(&other).await.unwrap().pop();
            let step = run.and_then(|run| run.status).map(|status| status.step);
            match step {
                Some(rerail_api::remediation::StepName::Known(Step::Succeeded)) => Ok(()),
                step => Err(step),
            }
        };
        wait_for("the other node to be healed", KEPT, healed).await.unwrap();
        for swept in [&node, &forged] {
            let unmarked = || async {
                stage.kubelet_reports(swept).await;
                let marks = stage.marks(swept).await;
                if marks.owner.is_none() { Ok(()) } else { Err(marks) }
            };
            wait_for("the mark to be swept", KEPT, unmarked).await.unwrap();
            stage.is_given_back(swept, "Cancelled", "RunDeleted").await;
            assert_eq!(stage.boots(swept), 0);
        }
        wait_for("both to be counted", PATIENCE, || async {
            let page = operator.get("/metrics").await?;
            if page.contains("rerail_nodes_swept_total 2") { Ok(()) } else { Err(page) }
        })
        .await
        .unwrap();
        stage.finish().await;
    });
}
