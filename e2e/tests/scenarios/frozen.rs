//! An invariant that does not hold, in production: that run is frozen and announced; nothing else stops.

use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use rerail_api::{NodeRemediation, remediation::StepName};
use rerail_core::step::Step;
use serde_json::{Value, json};

use crate::{
    doors::{rerail, words},
    shared::{SHORT, Stage, admin, play, said},
    workloads::PATIENT,
};

/// Somebody who may write everything changes a run's status behind the operator's back. Epoch and leader
/// stay, so that the schema lets it pass.
async fn garble(stage: &Stage, run: &NodeRemediation, status: Value) {
    let runs: Api<NodeRemediation> = Api::all(admin(stage.cluster()).await);
    let params = PatchParams::default();
    runs.patch_status(&run.name_any(), &params, &Patch::Merge(json!({ "status": status })))
        .await
        .unwrap();
}

#[test]
fn a_run_that_breaks_an_invariant_is_frozen_and_announced_and_stops_nothing_else() {
    play("frozen", 3, |stage| async move {
        let (node, other) = (stage.nodes[0].clone(), stage.nodes[1].clone());
        let run = stage.blocked_drain(&node, PATIENT).await;
        garble(&stage, &run, json!({ "intent": { "nodeUID": "another-node" } })).await;
        let frozen = stage.run_when(&node, "frozen", |status| status.frozen.is_some()).await;
        let status = frozen.status.clone().unwrap();
        assert_eq!(status.step, StepName::Known(Step::Draining), "it stays where it was");
        assert_eq!((status.frozen.unwrap().invariant.as_str(), status.intent), ("Intent", None));
        let (reason, message) = said(&frozen);
        assert_eq!(reason, "InvariantViolated");
        assert!(message.contains("kubectl delete noderemediation"), "{message}");
        let stalled = status.conditions.iter().find(|c| c.type_ == "Stalled").unwrap();
        assert_eq!(stalled.status, "True");
        stage.event("NodeRemediation", &run.name_any(), "InvariantViolated").await;
        stage.event("Node", &node, "InvariantViolated").await;
        let page = stage.shared.operator.get("/metrics").await.unwrap();
        assert!(page.contains(r#"rerail_invariant_violations_total{invariant="Intent"} 1"#));
        stage.policy_when("a run that waits for a person", |status| status.counts.held == 1).await;
        // It moves for nobody any more; its node is free of its budget, and nothing is evicted.
        stage.release().await;
        // The others go on meanwhile.
        stage.sicken(&other, "task blocked").await;
        stage.run_in(&other, Step::Succeeded).await;
        let still = stage.run_in(&node, Step::Draining).await;
        assert_eq!((still.status.unwrap().attempt, stage.boots(&node)), (0, 0));
        assert!(stage.pods_on(&node).await.iter().any(|pod| pod.contains("guarded")));
        let refused = rerail(stage.cluster(), &["release", &run.name_any()]).await;
        assert!(words(&refused).contains("frozen"), "{}", words(&refused));
        // Deleted it goes, and what it left is swept.
        stage.edit_policy(json!({ "suspended": true })).await;
        let runs = stage.cluster().runs();
        runs.delete(&run.name_any(), &DeleteParams::default()).await.unwrap();
        stage.no_run(&node).await;
        stage.is_given_back_in_time(&node, "RunDeleted").await;
        stage.finish().await;
    });
}

/// What a decision could not have written: a step that the graph does not have is refused by the schema;
/// an attempt that nobody began is seen by the operator.
#[test]
fn a_counter_that_was_tampered_with_freezes_the_run() {
    play("frozen-count", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        let run = stage.blocked_drain(&node, PATIENT).await;
        garble(&stage, &run, json!({ "ladderStart": 3 })).await;
        let frozen = stage.run_when(&node, "frozen", |status| status.frozen.is_some()).await;
        let frozen = frozen.status.unwrap().frozen.unwrap();
        assert_eq!(frozen.invariant, "Attempts");
        stage.policy("DryRun", SHORT).await;
        let runs = stage.cluster().runs();
        runs.delete(&run.name_any(), &DeleteParams::default()).await.unwrap();
        stage.is_given_back_in_time(&node, "RunDeleted").await;
        stage.finish().await;
    });
}
