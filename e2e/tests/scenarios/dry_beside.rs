//! A DryRun policy beside one that enforces, with a queue before both: it tells what it would start, and
//! takes nothing from anybody by that (planner.md, Who is a candidate; Budgets).

use kube::Api;
use rerail_api::{RemediationPolicy, policy::RemediationPolicyStatus};
use rerail_core::step::Step;
use rerail_e2e::{PATIENCE, wait_for};
use rerail_fleet::truth::Limits;

use crate::{
    hands::quiet,
    queue::{QUICK, on_racks, wide},
    shared::{CONDITION, Stage},
};

const DRY: &str = "dry-beside-too";

/// A condition that only the DryRun policy looks at.
const OTHER: &str = "DiskFailing";

async fn dry_policy(stage: &Stage) {
    let pool = stage.pool;
    let yaml = format!(
        "apiVersion: rerail.dev/v1alpha1
kind: RemediationPolicy
metadata: {{name: {DRY}}}
spec:
  mode: DryRun
  nodes: {{selector: {{matchLabels: {{pool: {pool}}}}}}}
  triggers: [{{condition: {{type: {CONDITION}}}}}, {{condition: {{type: {OTHER}}}}}]
  budget: {{maxUnavailable: 4, maxDomains: 2}}
  breaker: {{correlated: 1000}}"
    );
    stage.cluster().apply(&yaml).await.unwrap();
}

/// Waits until the DryRun policy would start these, while so many nodes are out.
async fn tells(stage: &Stage, would_start: &[&String], used: i32) -> RemediationPolicyStatus {
    let policies: Api<RemediationPolicy> = stage.cluster().policies();
    wait_for(&format!("{DRY}: {used} out, and would start {would_start:?}"), PATIENCE, || async {
        let policy = policies.get(DRY).await.map_err(|error| error.to_string())?;
        let status = policy.status.unwrap_or_default();
        let would = status.would_start.iter().map(|would| &would.node);
        let told = would.eq(would_start.iter().copied()) && status.budget.used == used;
        if told { Ok(status) } else { Err(format!("{status:?}")) }
    })
    .await
    .unwrap()
}

fn is(status: &RemediationPolicyStatus, condition: &str) -> bool {
    status.conditions.iter().any(|c| c.type_ == condition && c.status == "True")
}

#[test]
fn a_dry_run_beside_a_queue_tells_its_plan_and_takes_no_place_in_it() {
    on_racks("dry-beside", 3, 3, wide(2), |stage| async move {
        let node = |number: usize| &stage.nodes[number];
        let sick = [node(0), node(1), node(3), node(6)];
        let only_dry = [node(4), node(7), node(8)];
        for node in sick {
            stage.sicken(node, "[P6] task umount blocked").await;
        }
        for node in only_dry {
            let fleet = &stage.cluster().fleet;
            fleet
                .set_condition(node, OTHER, "True", "Smart", "[P7] disk is failing")
                .await
                .unwrap();
        }
        dry_policy(&stage).await;
        // Two racks, and four nodes of them; none of it is out.
        let status = tells(&stage, &[node(0), node(1), node(3), node(4)], 0).await;
        assert_eq!(status.budget.summary, "0/4");
        assert!(!is(&status, "BudgetExhausted"), "{status:?}");
        quiet().await;
        assert!(stage.admissions().await.is_empty());
        let metrics = stage.shared.operator.get("/metrics").await.unwrap();
        let used = format!("rerail_budget_used_nodes{{policy=\"{DRY}\"}} 0\n");
        assert!(metrics.contains(&used), "{metrics}");

        // One of the queue stays under way, and the others go past it.
        stage.guard(node(0)).await;
        stage.budgeted("{maxUnavailable: 2, maxDomains: 2}", QUICK).await;
        stage.blocked(node(0)).await;
        stage.all_healed(sick[1..].iter().copied()).await;
        assert_eq!(stage.most_out(), 2, "what only a dry run would start is in nobody's way");
        // The rack that is open is one of its two; what the other policy allows bounds it, too.
        let status = tells(&stage, &[node(4)], 1).await;
        assert_eq!((status.budget.summary.as_str(), status.counts.active), ("1/4", 0));

        stage.release().await;
        stage.run_in(node(0), Step::Succeeded).await;
        tells(&stage, &only_dry[..2], 0).await;
        let mut started: Vec<_> =
            stage.admissions().await.into_iter().map(|one| one.node).collect();
        started.sort();
        assert_eq!(started.iter().collect::<Vec<_>>(), sick, "nothing of the dry run was started");
        let limits = Limits { out: Some(2), open_domains: Some(2), ..Limits::default() };
        stage.finish_within(limits).await;
    });
}
