//! A later, graver cause: it raises a run that has begun, and the place of a node that waits (planner.md,
//! Who is a candidate; goal 14).

use rerail_api::{NodeRemediation, remediation::NodeRemediationStatus};
use rerail_core::step::Step;

use crate::{
    hands::quiet,
    shared::{ANOTHER, CONDITION, Stage, play},
    workloads::PATIENT,
};

/// The other fault; a reboot heals it, too.
const OTHER: &str = "DiskFailing";

async fn policy(stage: &Stage) {
    let pool = stage.pool;
    let yaml = format!(
        "apiVersion: rerail.dev/v1alpha1
kind: RemediationPolicy
metadata: {{name: {pool}}}
spec:
  mode: Enforce
  nodes: {{selector: {{matchLabels: {{pool: {pool}}}}}}}
  triggers: [{{condition: {{type: {CONDITION}}}}}, {{condition: {{type: {OTHER}}}}}]
  budget: {{maxUnavailable: 100%}}
  breaker: {{correlated: 1000}}{PATIENT}"
    );
    stage.cluster().apply(&yaml).await.unwrap();
}

/// The node shows the other fault, with this message.
async fn fails(stage: &Stage, node: &str, message: &str) {
    let fleet = &stage.cluster().fleet;
    fleet.set_condition(node, OTHER, "True", "Smart", message).await.unwrap();
}

/// Priority and causes, most urgent first.
fn urgency(status: &NodeRemediationStatus) -> (Option<i32>, Vec<&str>) {
    let causes = status.causes.iter().map(|cause| cause.condition_type.as_str());
    (status.priority, causes.collect())
}

/// The nodes that wait, in their order.
async fn queue(stage: &Stage, what: &str, expected: &[(&str, i32)]) {
    stage
        .policy_when(what, |status| {
            let waiting = status.waiting.iter().filter(|waiting| waiting.reason == ANOTHER);
            let waiting = waiting.map(|w| (w.node.as_str(), w.priority.unwrap_or(-1)));
            waiting.eq(expected.iter().copied())
        })
        .await;
}

async fn healed(stage: &Stage, node: &str) -> NodeRemediation {
    let run = stage.run_in(node, Step::Succeeded).await;
    assert_eq!(stage.cluster().runs_of(node).await.unwrap().len(), 1, "one node, one run");
    run
}

#[test]
fn a_graver_cause_that_appears_later_raises_the_run_and_the_place_in_the_queue() {
    play("graver", 3, |stage| async move {
        let [begun, calm, worse] = [0, 1, 2].map(|number| stage.nodes[number].clone());
        policy(&stage).await;
        stage.guard(&begun).await;
        stage.sicken(&begun, "[P6] task umount blocked").await;
        stage.blocked(&begun).await;
        stage.sicken(&calm, "[P5] task umount blocked").await;
        stage.sicken(&worse, "[P6] task umount blocked").await;
        queue(&stage, "in order", &[(&calm, 5), (&worse, 6)]).await;

        fails(&stage, &begun, "[P2] disk is failing").await;
        stage.run_when(&begun, "it is raised", |status| status.priority == Some(2)).await;
        fails(&stage, &worse, "[P3] disk is failing").await;
        queue(&stage, "the graver one is first", &[(&worse, 3), (&calm, 5)]).await;
        // Neither falls, nor does a lesser cause raise anything.
        fails(&stage, &begun, "[P8] disk is less busy").await;
        fails(&stage, &calm, "[P7] disk is failing").await;
        quiet().await;
        queue(&stage, "as before", &[(&worse, 3), (&calm, 5)]).await;
        let run = stage.blocked(&begun).await;
        assert_eq!(urgency(&run.status.unwrap()), (Some(2), vec![OTHER, CONDITION]));

        stage.release().await;
        for (node, urgent) in [
            (&begun, (Some(2), vec![OTHER, CONDITION])),
            (&worse, (Some(3), vec![OTHER, CONDITION])),
            (&calm, (Some(5), vec![CONDITION, OTHER])),
        ] {
            assert_eq!(urgency(&healed(&stage, node).await.status.unwrap()), urgent, "{node}");
        }
        let order: Vec<_> = stage.admissions().await.into_iter().map(|one| one.node).collect();
        assert_eq!(order, [begun, worse, calm]);
        stage.finish().await;
    });
}
