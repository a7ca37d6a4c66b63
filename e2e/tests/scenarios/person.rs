//! Runs that people make: the same gates as the operator's own, no trigger, and an answer.

use kube::ResourceExt;
use rerail_api::{NodeRemediation, remediation::StepName};
use rerail_core::step::Step;

use crate::shared::{SHORT, Stage, play, said};

async fn ask(stage: &Stage, name: &str, node: &str, uid: &str, policy: &str) -> NodeRemediation {
    let yaml = format!(
        "apiVersion: rerail.dev/v1alpha1
kind: NodeRemediation
metadata: {{name: {name}}}
spec: {{nodeName: {node}, nodeUID: {uid}, policyName: {policy}, requestedBy: jane}}"
    );
    let made = stage.cluster().create(&yaml).await.unwrap();
    stage.cluster().runs().get(&made.name_any()).await.unwrap()
}

/// Waits until a Pending run says that it waits for this reason.
async fn says(stage: &Stage, node: &str, reason: &str) -> NodeRemediation {
    let run = stage
        .run_when(node, &format!("waits: {reason}"), |status| {
            status.conditions.iter().any(|c| c.type_ == "Succeeded" && c.reason == reason)
        })
        .await;
    let status = run.status.clone().unwrap();
    assert_eq!(status.step, StepName::Known(Step::Pending));
    let said = status.conditions.iter().find(|c| c.type_ == "Succeeded").unwrap();
    assert_eq!(said.status, "Unknown");
    assert!(status.steps.is_empty() && status.intent.is_none());
    run
}

#[test]
fn a_run_made_by_a_person_heals_a_node_without_a_trigger() {
    play("person", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        stage.policy("Enforce", SHORT).await;
        let uid = stage.node(&node).await.uid().unwrap();
        ask(&stage, "person-asks", &node, &uid, "person").await;
        let run = stage.run_in(&node, Step::Succeeded).await;
        assert_eq!((run.name_any().as_str(), said(&run).0.as_str()), ("person-asks", "Healed"));
        assert_eq!(run.status.unwrap().attempt, 1);
        assert!(!stage.is_cordoned(&node).await);
        stage.finish().await;
    });
}

#[test]
fn a_persons_run_passes_the_same_gates_and_says_what_it_waits_for() {
    play("asked", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        stage.policy("DryRun", SHORT).await;
        let uid = stage.node(&node).await.uid().unwrap();
        ask(&stage, "asked-gates", &node, &uid, "asked").await;
        says(&stage, &node, "PolicyNotEnforcing").await;
        stage.cluster().fleet.set_label(&node, "rerail.dev/hold", Some("")).await.unwrap();
        stage.policy("Enforce", SHORT).await;
        let run = says(&stage, &node, "HoldLabel").await;
        assert!(said(&run).1.contains("rerail.dev/hold"), "{}", said(&run).1);
        let waiting = stage.waiting(&node, "HoldLabel").await;
        assert_eq!(waiting.priority, Some(9), "the policy's default");
        // What has not begun is cancelled at once, whatever it waits for.
        stage.cancel(&run).await;
        stage.run_in(&node, Step::Cancelled).await;
        stage.cluster().fleet.set_label(&node, "rerail.dev/hold", None).await.unwrap();
        stage.finish().await;
    });
}

#[test]
fn a_run_that_names_what_is_not_there_waits_and_says_so() {
    play("astray", 2, |stage| async move {
        let (node, other) = (stage.nodes[0].clone(), stage.nodes[1].clone());
        stage.policy("Enforce", SHORT).await;
        let uid = stage.node(&node).await.uid().unwrap();
        ask(&stage, "astray-policy", &node, &uid, "no-such-policy").await;
        let run = says(&stage, &node, "PolicyMissing").await;
        assert!(said(&run).1.contains("no-such-policy"), "{}", said(&run).1);
        ask(&stage, "astray-uid", &other, "another-uid", "astray").await;
        let run = says(&stage, &other, "NodeMissing").await;
        assert!(said(&run).1.contains("another-uid"), "{}", said(&run).1);
        // Neither keeps its node from being helped: a run with a trigger comes and goes.
        stage.sicken(&node, "[P5] task blocked").await;
        stage.run_in(&node, Step::Succeeded).await;
        let answer = says_by_name(&stage, "astray-policy").await;
        assert_eq!(answer.0, "PolicyMissing");
        for name in ["astray-policy", "astray-uid"] {
            stage.cluster().runs().delete(name, &Default::default()).await.unwrap();
        }
        stage.finish().await;
    });
}

async fn says_by_name(stage: &Stage, name: &str) -> (String, String) {
    said(&stage.cluster().runs().get(name).await.unwrap())
}
