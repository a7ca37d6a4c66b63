//! What the budgets say, computed once more and without the planner: by sets of names.

use std::collections::{BTreeMap, BTreeSet};

use rerail_core::{
    facts::{NodeFacts, Ready},
    ledger::Ledger,
    run::Run,
};

use super::state::{PER_RACK, POOL, RACK, State};

/// One start: its node and its policy.
pub(super) type Start<'a> = (&'a str, &'a str);

/// A scope: the cluster, a policy, or a policy in a rack.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Cluster,
    Policy(String),
    Rack(String, String),
}

/// A node in a policy and a rack, for itself or for a run that holds its place.
fn scopes(policy: &str, rack: &str) -> [Scope; 3] {
    [
        Scope::Cluster,
        Scope::Policy(policy.to_owned()),
        Scope::Rack(policy.to_owned(), rack.to_owned()),
    ]
}

fn label<'a>(node: &'a NodeFacts, key: &str) -> &'a str {
    node.labels.get(key).unwrap_or_default()
}

/// The rack that a run was admitted in.
fn rack_of(run: &Run) -> Option<&str> {
    let labels = run.domain.as_ref()?.0.iter();
    labels.filter(|label| label.key == RACK).map(|label| label.value.as_str()).next()
}

/// Why these starts, in this order, are more than the limits allow; the ledger is as it will be but for
/// them.
pub(super) fn exceeded(state: &State, ledger: &Ledger, starts: &[Start<'_>]) -> Option<String> {
    let mut out: BTreeMap<Scope, BTreeSet<String>> = BTreeMap::new();
    let mut open: BTreeSet<String> = BTreeSet::new();
    for node in &state.nodes {
        let (pool, rack) = (label(node, POOL), label(node, RACK));
        let run = holder(state, ledger, node);
        let held = run.is_some() || ledger.slots.iter().any(|slot| slot.node_name == node.name);
        let away = node.unschedulable || node.deleting || node.ready != Ready::True;
        let mut places = BTreeSet::new();
        if held || away {
            places.extend(scopes(pool, rack));
        }
        if let Some(run) = run {
            let frozen = rack_of(run).unwrap_or(rack);
            for policy in [pool, run.policy.as_str()] {
                places.extend(scopes(policy, frozen));
                places.extend(scopes(policy, rack));
            }
        }
        if held {
            open.insert(run.and_then(rack_of).unwrap_or(rack).to_owned());
        }
        for place in places {
            out.entry(place).or_default().insert(node.name.clone());
        }
    }
    for (name, policy) in starts {
        let node = state.nodes.iter().find(|node| node.name == *name)?;
        let rack = label(node, RACK);
        for scope in scopes(policy, rack) {
            let limit = match scope {
                Scope::Cluster => state.cluster_limit,
                Scope::Policy(_) => state.policy_limit,
                Scope::Rack(..) => PER_RACK,
            };
            let users = out.entry(scope.clone()).or_default();
            if users.insert((*name).to_owned()) && users.len() > limit as usize {
                return Some(format!(
                    "{name} starts, and {scope:?} has {users:?}: at most {limit}"
                ));
            }
        }
        open.insert(rack.to_owned());
        if open.len() > usize::from(state.purse.domains) {
            return Some(format!("{name} starts, and the racks {open:?} are open"));
        }
    }
    None
}

/// The run for which a node is under remediation, by the ledger or by what it does. Of a run that has ended
/// and whose slot is only not released yet nothing can act: its slot counts where its node is now.
fn holder<'a>(state: &'a State, ledger: &Ledger, node: &NodeFacts) -> Option<&'a Run> {
    let runs = state.runs.iter().map(|stored| &stored.run);
    let mut of_node = runs.filter(|run| run.node_name == node.name);
    of_node.find(|run| !run.step.is_terminal() && (run.step.holds_slot() || ledger.holds(&run.uid)))
}
