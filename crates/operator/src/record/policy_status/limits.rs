//! How far a policy's budget is used, and what its breaker stops.

use rerail_api::{
    convert::limits::storm_records,
    limits::{BudgetStatus, StormStatus},
};
use rerail_core::{
    facts::{NodeFacts, Ready},
    plan::World,
};

/// What the breaker of a policy keeps from starting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stopped {
    /// Why, in one word and in a sentence; `None` = nothing is stopped.
    pub why: Option<(&'static str, String)>,
    /// The condition types that are stopped.
    pub storms: Vec<StormStatus>,
}

/// The limit of a policy, and the nodes that count: under remediation, not Ready, cordoned or being
/// deleted (planner.md, Budgets).
pub(super) fn budget(world: &World, policy: &str) -> BudgetStatus {
    let Some(policy) = world.policies.get(policy) else { return BudgetStatus::default() };
    let selected: Vec<&NodeFacts> =
        world.nodes.values().map(|n| &**n).filter(|n| policy.selector.matches(&n.labels)).collect();
    let limit = policy.budget.max_unavailable.limit(selected.len(), policy.budget.min_floor);
    let held = |node: &NodeFacts| {
        let mut runs = world.open_runs.iter().filter(|run| run.node_name == node.name);
        runs.any(|run| run.holds_slot(Some(node), world.now))
    };
    let out = |node: &&&NodeFacts| {
        node.ready != Ready::True || node.unschedulable || node.deleting || held(node)
    };
    let used = selected.iter().filter(out).count();
    let count = super::count;
    let summary = format!("{}/{}", count(used), count(limit));
    BudgetStatus { limit: count(limit), used: count(used), summary }
}

/// What the breaker of a policy stops now.
pub(super) fn stopped(world: &World, policy: &str) -> Stopped {
    let storms = world.storms.get(policy).map(storm_records).unwrap_or_default();
    Stopped { why: None, storms }
}
