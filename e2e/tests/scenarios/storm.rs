//! A storm: many nodes with one condition at once are more often a broken detector than broken
//! machines (planner.md, Breaker; H08).

use futures::future::join_all;
use rerail_core::step::Step;
use rerail_e2e::{PATIENCE, wait_for};
use rerail_fleet::{Pool, truth::Limits};
use serde_json::json;

use crate::{
    hands::quiet,
    queue::{Admission, QUICK, wide},
    shared::{CONDITION, Stage, by_itself, on_its_own},
};

/// The other fault.
const OTHER: &str = "DiskFailing";

const BREAKER: &str = "{correlated: \"25%\", window: 15s}";

async fn policy(stage: &Stage, breaker: &str) {
    let pool = stage.pool;
    let yaml = format!(
        "apiVersion: rerail.dev/v1alpha1
kind: RemediationPolicy
metadata: {{name: {pool}}}
spec:
  mode: Enforce
  suspended: true
  nodes: {{selector: {{matchLabels: {{pool: {pool}}}}}}}
  triggers: [{{condition: {{type: {CONDITION}}}}}, {{condition: {{type: {OTHER}}}}}]
  budget: {{maxUnavailable: 100%, maxDomains: 2}}
  breaker: {breaker}{QUICK}"
    );
    stage.cluster().apply(&yaml).await.unwrap();
    stage.policy_when("its nodes are known", |status| status.counts.matched == 10).await;
}

/// A node gets the other fault; its reboot heals it.
async fn fails(stage: &Stage, node: &str) {
    let fleet = &stage.cluster().fleet;
    fleet.set_condition(node, OTHER, "True", "Smart", "[P6] disk is failing").await.unwrap();
}

/// Eight of ten nodes in two racks show the same condition at once.
pub async fn breaks_out(stage: &Stage) {
    let sick = stage.nodes[..8].iter();
    join_all(sick.map(|node| stage.sicken(node, "[P0] task umount blocked"))).await;
}

pub async fn is_open(stage: &Stage, open: bool) {
    let status = if open { "True" } else { "False" };
    stage
        .policy_when(&format!("BreakerOpen is {status}"), |policy| {
            policy.conditions.iter().any(|c| c.type_ == "BreakerOpen" && c.status == status)
        })
        .await;
}

/// One run as a probe, then rounds of one, two, four. A round that had fewer candidates in its moment
/// is complete when they have ended, so the bound is by what has ended: 1, 1, 2, 4 … under way.
fn ramp(admissions: &[Admission]) {
    assert_eq!(admissions.len(), 8, "{admissions:?}");
    for (before, run) in admissions.iter().enumerate() {
        let earlier = admissions[..before].iter();
        let ended = earlier.filter(|one| one.ended.is_some_and(|end| end <= run.admitted)).count();
        let under_way = before - ended + 1;
        assert!(under_way <= 1 << ended.saturating_sub(1), "{run:?} of {admissions:?}");
    }
}

/// The runs of the storm's nodes.
pub async fn of_the_storm(stage: &Stage) -> Vec<Admission> {
    let mut admissions = stage.admissions().await;
    admissions.retain(|run| stage.nodes[..8].contains(&run.node));
    admissions
}

/// A storm under a policy with this breaker.
pub async fn begun(stage: &Stage, breaker: &str) {
    policy(stage, breaker).await;
    breaks_out(stage).await;
    stage.edit_policy(json!({ "suspended": false })).await;
    is_open(stage, true).await;
}

pub async fn ended(stage: Stage) {
    stage.all_healed(&stage.nodes[..8]).await;
    is_open(&stage, false).await;
    stage.finish_within(Limits { open_domains: Some(2), ..Limits::default() }).await;
}

async fn another_fault_is_cured(stage: Stage) {
    begun(&stage, BREAKER).await;
    fails(&stage, &stage.nodes[9]).await;
    stage.run_in(&stage.nodes[9], Step::Succeeded).await;
    stage.all_healed(&stage.nodes[..8]).await;
    ramp(&of_the_storm(&stage).await);
    ended(stage).await;
}

/// What is known of the storm is in the policy's status, and the next operator goes by it.
async fn the_operator_is_restarted(stage: Stage) {
    begun(&stage, BREAKER).await;
    let (operator, plane) = (&stage.shared.operator, &stage.cluster().plane);
    operator.kill(plane).unwrap();
    operator.start_again(plane).await.unwrap();
    quiet().await;
    assert!(of_the_storm(&stage).await.len() <= 1, "the probe at most");
    wait_for("the probe and the run after it", PATIENCE, || async {
        let admissions = of_the_storm(&stage).await;
        let ended = admissions.iter().filter(|run| run.ended.is_some()).count();
        if ended >= 2 { Ok(()) } else { Err(admissions) }
    })
    .await
    .unwrap();
    operator.kill(plane).unwrap();
    operator.start_again(plane).await.unwrap();
    stage.all_healed(&stage.nodes[..8]).await;
    ramp(&of_the_storm(&stage).await);
    ended(stage).await;
}

/// Two storms in two clusters, beside each other.
#[test]
fn a_storm_is_probed_and_left_in_rounds_also_by_the_next_operator_and_keeps_no_other_fault() {
    by_itself(async {
        let pool = |name: &str| Pool::new(name, 10, 2);
        futures::join!(
            on_its_own("storm", pool("storm"), wide(2), another_fault_is_cured),
            on_its_own("stormy", pool("stormy"), wide(2), the_operator_is_restarted),
        );
    });
}
