//! What lasts from one plan to the next: what was seen of each node. A node is looked at again when it,
//! a policy or the topology keys have changed; nothing else goes into it.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    World,
    glance::{Glances, Rules},
};
use crate::{facts::NodeFacts, policy::Policy};

/// The memory of whoever plans again and again, for [`plan_with`](super::plan_with). It changes no plan.
#[derive(Debug, Default)]
pub struct Memo {
    policies: BTreeMap<String, Policy>,
    topology_keys: Vec<String>,
    /// In order of their names. They are kept alive, so that facts at the same address are the same.
    nodes: Vec<Arc<NodeFacts>>,
    /// Of these nodes, under these policies and keys.
    glances: Glances,
}

impl Memo {
    /// What is to be seen of the nodes of this world.
    pub(super) fn glances(&mut self, world: &World) -> &Glances {
        let rules = Rules::of(world);
        let same = self.policies == *rules.policies && self.topology_keys == rules.topology_keys;
        if !same || self.glances.are_crowded() {
            *self = Memo {
                policies: rules.policies.clone(),
                topology_keys: rules.topology_keys.to_vec(),
                nodes: world.nodes.values().cloned().collect(),
                glances: Glances::of(world),
            };
            return &self.glances;
        }
        let nodes = world.nodes.values().enumerate();
        let known = |at: usize| self.nodes.get(at);
        let new = |(at, node): &(usize, &Arc<NodeFacts>)| {
            known(*at).is_none_or(|known| !Arc::ptr_eq(known, node))
        };
        let new: Vec<_> = nodes.filter(new).collect();
        let in_place =
            |(at, node): &(usize, &Arc<NodeFacts>)| known(*at).is_some_and(|k| k.name == node.name);
        if self.nodes.len() != world.nodes.len() || !new.iter().all(in_place) {
            self.align(world);
            return &self.glances;
        }
        for (at, node) in new {
            self.glances.renew(rules, at, node);
            self.nodes[at] = node.clone();
        }
        &self.glances
    }

    /// How many kinds of nodes are remembered.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.glances.size()
    }

    /// How many looks at nodes were taken since a policy or the topology keys changed.
    #[cfg(test)]
    pub(super) fn looks(&self) -> usize {
        self.glances.looks
    }

    /// Nodes have come or gone: what is known of the others takes its new place.
    fn align(&mut self, world: &World) {
        let rules = Rules::of(world);
        let nodes = std::mem::take(&mut self.nodes).into_iter();
        let mut known = nodes.zip(self.glances.take()).peekable();
        for node in world.nodes.values() {
            while known.next_if(|(known, _)| known.name < node.name).is_some() {}
            let same = known.next_if(|(known, _)| Arc::ptr_eq(known, node));
            self.glances.push(rules, node, same.map(|(_, glance)| glance));
            self.nodes.push(node.clone());
        }
    }
}
