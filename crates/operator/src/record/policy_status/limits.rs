//! How far budgets are used, and what breakers stop.

use rerail_api::{
    convert::limits::storm_records,
    limits::{BudgetStatus, StormState, StormStatus},
};
use rerail_core::plan::{Plan, Scope, World};

/// What the breaker of a policy keeps from starting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stopped {
    /// Why, in one word and in a sentence; `None` = nothing is stopped.
    pub why: Option<(&'static str, String)>,
    /// The condition types that are stopped.
    pub storms: Vec<StormStatus>,
}

/// What the plan says of limits.
pub(super) struct Outlook<'a> {
    world: &'a World,
    plan: &'a Plan,
}

impl<'a> Outlook<'a> {
    pub(super) fn of(world: &'a World, plan: &'a Plan) -> Self {
        Outlook { world, plan }
    }

    /// The limit of the cluster; `None` without a configuration.
    pub(super) fn cluster(&self) -> Option<BudgetStatus> {
        self.world.config.as_ref()?;
        self.budget_of(|scope| *scope == Scope::Cluster)
    }

    /// The limit of a policy, and the nodes that count (planner.md, Budgets); `None` while it is not in
    /// force.
    pub(super) fn budget(&self, policy: &str) -> Option<BudgetStatus> {
        self.budget_of(|scope| matches!(scope, Scope::Policy(name) if name == policy))
    }

    /// What the breaker of a policy stops now. A policy that is not in force keeps its record.
    pub(super) fn stopped(&self, name: &str, before: &[StormStatus]) -> Stopped {
        let Some(storms) = self.plan.storms.get(name) else {
            return Stopped { why: None, storms: before.to_vec() };
        };
        let storms = storm_records(storms);
        let unhealthy = self.plan.unhealthy.get(name).cloned();
        let melting = self.plan.meltdown.clone().map(|message| ("Meltdown", message));
        let why = melting
            .or_else(|| unhealthy.map(|message| ("Unhealthy", message)))
            .or_else(|| (!storms.is_empty()).then(|| ("Storm", told(&storms))));
        Stopped { why, storms }
    }

    fn budget_of(&self, wanted: impl Fn(&Scope) -> bool) -> Option<BudgetStatus> {
        let scope = self.plan.scopes.iter().find(|report| wanted(&report.scope))?;
        // What the plan starts counts when it has begun, and what a DryRun would start never does.
        let (limit, used) = (super::count(scope.limit), super::count(scope.now));
        Some(BudgetStatus { limit, used, summary: format!("{used}/{limit}") })
    }
}

/// The stopped types in a sentence.
fn told(storms: &[StormStatus]) -> String {
    let each = storms.iter().map(|storm| {
        let StormStatus { condition_type, state, allowed, since } = storm;
        match state {
            StormState::Open => format!("{condition_type}: nothing starts, since {since}"),
            StormState::Probing => format!("{condition_type}: one run as a probe, since {since}"),
            StormState::Ramp => format!("{condition_type}: {allowed} runs at most, since {since}"),
        }
    });
    let each: Vec<_> = each.collect();
    format!("became true on many nodes at once: {}", each.join("; "))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use jiff::Timestamp;
    use rerail_api::{
        Node, RemediationPolicy,
        convert::{
            node::{self, Look},
            policy::policy,
        },
    };
    use serde_json::json;

    use rerail_core::{budget::CountOrPercent, facts::NodeFacts, plan::plan};

    use super::*;

    fn node(number: usize, ready: &str, cordoned: bool) -> Arc<NodeFacts> {
        let object: Node = serde_json::from_value(json!({
            "metadata": {
                "name": format!("n{number}"), "uid": format!("u{number}"),
                "labels": { "rack": format!("r{}", number % 2) },
            },
            "spec": { "unschedulable": cordoned },
            "status": { "conditions": [
                { "type": "Ready", "status": ready, "lastTransitionTime": "1970-01-01T00:00:00Z" },
                { "type": "Sick", "status": "True", "lastTransitionTime": "1970-01-01T00:00:00Z" },
            ] },
        }))
        .unwrap();
        let look = Look { now: Timestamp::UNIX_EPOCH, earlier: None, first_list: true };
        Arc::new(node::facts(&object, look, &mut |text| text.into()))
    }

    fn world(nodes: Vec<Arc<NodeFacts>>) -> World {
        let object: RemediationPolicy = serde_json::from_value(json!({
            "apiVersion": "rerail.dev/v1alpha1", "kind": "RemediationPolicy",
            "metadata": { "name": "a" },
            "spec": {
                "nodes": { "all": true }, "triggers": [{ "condition": { "type": "Sick" } }],
                "budget": { "maxUnavailable": "30%" },
            },
        }))
        .unwrap();
        let policy = policy(&object).unwrap();
        World {
            nodes: nodes.into_iter().map(|node| (node.name.clone(), node)).collect(),
            policies: BTreeMap::from([("a".to_owned(), policy)]),
            ..World::empty(Timestamp::UNIX_EPOCH)
        }
    }

    #[test]
    fn what_is_out_counts_once_against_the_policy_and_the_cluster() {
        let mut nodes: Vec<_> = (0..8).map(|number| node(number, "True", false)).collect();
        nodes.push(node(8, "False", true));
        nodes.push(node(9, "True", true));
        let world = world(nodes);
        let decided = plan(&world);
        let outlook = Outlook::of(&world, &decided);
        assert_eq!(outlook.budget("a").unwrap().summary, "2/3");
        assert_eq!(outlook.cluster().unwrap().summary, "2/2");
        assert_eq!(outlook.budget("unknown"), None);
        let mut free = self::world((0..10).map(|number| node(number, "True", false)).collect());
        free.policies.get_mut("a").unwrap().breaker.correlated = CountOrPercent::Count(1000);
        let decided = plan(&free);
        assert_eq!(decided.would_start["a"].len(), 1);
        assert_eq!(Outlook::of(&free, &decided).budget("a").unwrap().summary, "0/3");
        let unconfigured = World { config: None, ..world.clone() };
        assert_eq!(Outlook::of(&unconfigured, &plan(&unconfigured)).cluster(), None);
    }

    #[test]
    fn the_most_that_is_wrong_is_told_and_the_storms_are_on_record_all_the_same() {
        let storm = |ready| world((0..6).map(|number| node(number, ready, false)).collect());
        let why = |world: &World| {
            let stopped = Outlook::of(world, &plan(world)).stopped("a", &[]);
            assert_eq!(stopped.storms.len(), 1, "{stopped:?}");
            stopped.why.unwrap()
        };
        let (reason, message) = why(&storm("True"));
        assert_eq!(reason, "Storm");
        assert!(message.contains("Sick: nothing starts, since 1970"), "{message}");
        assert_eq!(why(&storm("Unknown")).0, "Meltdown");
    }

    #[test]
    fn a_policy_that_is_not_in_force_keeps_its_record() {
        let world = world(vec![]);
        let since = Timestamp::UNIX_EPOCH;
        let before = [StormStatus {
            condition_type: "Sick".into(),
            state: StormState::Open,
            allowed: 0,
            since,
        }];
        let stopped = Outlook::of(&world, &plan(&world)).stopped("invalid", &before);
        assert_eq!((stopped.why, stopped.storms.as_slice()), (None, before.as_slice()));
    }
}
