//! Budgets in every scope: of policies that overlap, of what others took out, and in small clusters
//! (planner.md, Budgets; SAFE-4).

use std::time::Duration;

use rerail_controlplane::Options;
use rerail_core::step::Step;
use rerail_e2e::ClusterOptions;
use rerail_fleet::{FleetOptions, Pool, truth::Limits};

use crate::{
    hands::quiet,
    queue::{QUICK, fast, on_racks, wide},
    shared::{Stage, by_itself, on_its_own},
};

/// Why a node waits whose start would pass a limit.
const BUDGET: &str = "BudgetExhausted";

/// Another policy over the same nodes, for other conditions, that allows none of them out.
async fn stingy(stage: &Stage, spec: &str) {
    let pool = stage.pool;
    let yaml = format!(
        "apiVersion: rerail.dev/v1alpha1
kind: RemediationPolicy
metadata: {{name: {pool}-stingy}}
spec:
  {spec}
  nodes: {{selector: {{matchLabels: {{pool: {pool}}}}}}}
  triggers: [{{condition: {{type: NeverSeen}}}}]
  budget: {{maxUnavailable: 0}}"
    );
    stage.cluster().apply(&yaml).await.unwrap();
}

#[test]
fn a_policy_without_budget_keeps_every_policy_from_its_nodes_unless_it_enforces_nothing() {
    on_racks("overlap", 1, 3, wide(1), |stage| async move {
        stingy(&stage, "mode: DryRun").await;
        stage.budgeted("{maxUnavailable: 1}", QUICK).await;
        stage.sicken(&stage.nodes[0], "[P6] deadlock").await;
        stage.run_in(&stage.nodes[0], Step::Succeeded).await;

        stingy(&stage, "mode: Enforce").await;
        stage.sicken(&stage.nodes[1], "[P0] deadlock").await;
        let waits = stage.waiting(&stage.nodes[1], BUDGET).await;
        assert!(waits.message.contains("overlap-stingy"), "{}", waits.message);
        quiet().await;
        assert!(stage.cluster().runs_of(&stage.nodes[1]).await.unwrap().is_empty(), "SAFE-4");

        // Lowering a limit cancels nobody, and raising it lets them start.
        stage.cluster().policies().delete("overlap-stingy", &Default::default()).await.unwrap();
        stage.run_in(&stage.nodes[1], Step::Succeeded).await;
        stage.finish_within(Limits { out: Some(1), ..Limits::default() }).await;
    });
}

/// A policy that is suspended starts nothing by itself. What it promises about its nodes stands.
#[test]
fn a_suspended_policy_still_bounds_what_others_do_to_its_nodes() {
    on_racks("suspended", 1, 3, wide(1), |stage| async move {
        stingy(&stage, "mode: Enforce\n  suspended: true").await;
        stage.budgeted("{maxUnavailable: 1}", QUICK).await;
        stage.sicken(&stage.nodes[0], "[P6] deadlock").await;
        let waits = stage.waiting(&stage.nodes[0], BUDGET).await;
        assert!(waits.message.contains("suspended-stingy"), "{}", waits.message);
        stingy(&stage, "mode: DryRun\n  suspended: true").await;
        stage.run_in(&stage.nodes[0], Step::Succeeded).await;
        stage.finish_within(Limits { out: Some(1), ..Limits::default() }).await;
    });
}

/// Nodes whose death is noticed soon.
fn nervous() -> ClusterOptions {
    let plane =
        Options { node_monitor_grace_period: Some(Duration::from_secs(10)), ..Options::default() };
    let fleet = FleetOptions { lease_interval: Duration::from_secs(2), ..fast() };
    ClusterOptions { plane, fleet, ..wide(1) }
}

#[test]
fn cordons_of_others_and_nodes_that_are_not_ready_count() {
    on_racks("others", 1, 10, nervous(), |stage| async move {
        let nodes = stage.nodes.clone();
        stage.cordon(&nodes[7]).await;
        stage.cordon(&nodes[8]).await;
        stage.machine(&nodes[9]).power_off().await.unwrap();
        stage.is_not_ready(&nodes[9]).await;
        stage.budgeted("{maxUnavailable: \"30%\"}", QUICK).await;
        stage.sicken(&nodes[0], "[P6] deadlock").await;
        let waits = stage.waiting(&nodes[0], BUDGET).await;
        for out in &nodes[7..] {
            assert!(waits.message.contains(out), "{out} is not named: {}", waits.message);
        }
        quiet().await;
        assert!(stage.cluster().runs_of(&nodes[0]).await.unwrap().is_empty(), "SAFE-4");
        stage.uncordon(&nodes[7]).await;
        stage.run_in(&nodes[0], Step::Succeeded).await;
        stage.machine(&nodes[9]).power_on().await.unwrap();
        stage.uncordon(&nodes[8]).await;
        stage.finish_within(Limits { out: Some(3), ..Limits::default() }).await;
    });
}

/// The defaults of policy and cluster.
fn small() -> ClusterOptions {
    ClusterOptions { fleet: fast(), config: Some("{}\n".to_owned()), ..ClusterOptions::default() }
}

async fn one_node(stage: Stage) {
    stage.budgeted("{}", QUICK).await;
    stage.sicken(&stage.nodes[0], "[P6] deadlock").await;
    stage.all_healed(&stage.nodes).await;
    stage.finish_within(Limits { out: Some(1), ..Limits::default() }).await;
}

async fn three_nodes(stage: Stage) {
    stage.budgeted("{}", QUICK).await;
    for (node, priority) in stage.nodes.iter().zip([6, 4, 2]) {
        stage.sicken(node, &format!("[P{priority}] deadlock")).await;
    }
    stage.all_healed(&stage.nodes).await;
    let limits =
        Limits { out: Some(1), open_domains: Some(1), in_order: true, ..Limits::default() };
    stage.finish_within(limits).await;
}

async fn four_nodes(stage: Stage) {
    let (persons, sick) = (stage.nodes[3].clone(), stage.nodes[0].clone());
    stage.cordon(&persons).await;
    stage.budgeted("{maxUnavailable: \"25%\"}", QUICK).await;
    stage.sicken(&sick, "[P6] deadlock").await;
    let waits = stage.waiting(&sick, BUDGET).await;
    assert!(waits.message.contains(&persons), "{}", waits.message);
    stage.sicken(&persons, "[P0] deadlock").await;
    stage.waiting(&persons, "CordonedByOther").await;
    quiet().await;
    assert!(stage.cluster().runs_of(&sick).await.unwrap().is_empty(), "SAFE-4");
    assert!(stage.cluster().runs_of(&persons).await.unwrap().is_empty(), "SAFE-6");
    stage.uncordon(&persons).await;
    stage.all_healed([&persons, &sick]).await;
    let limits = Limits { out: Some(1), in_order: true, ..Limits::default() };
    stage.finish_within(limits).await;
}

/// Three small clusters, beside each other.
#[test]
fn in_clusters_of_one_three_and_four_nodes_one_is_out_at_a_time() {
    by_itself(async {
        let pool = |name: &str, nodes| Pool::new(name, nodes, 1);
        futures::join!(
            on_its_own("one", pool("one", 1), small(), one_node),
            on_its_own("three", pool("three", 3), small(), three_nodes),
            on_its_own("four", pool("four", 4), small(), four_nodes),
        );
    });
}
