//! What one look at a node shows, whatever the rest of the world is: enough to count it, and to tell
//! whether more than counting is needed. Most nodes of a large cluster need no more.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::World;
use crate::{domain::Domain, facts::NodeFacts, policy::Policy, trigger};

/// Nodes that every budget counts alike.
#[derive(Debug)]
pub(super) struct Kind {
    /// Positions of the policies whose selector matches them, in order.
    pub policies: Vec<usize>,
    pub control_plane: bool,
    /// Their failure domain, as their labels say.
    pub domain: Domain,
}

impl Kind {
    /// In the scope of the policy.
    pub(super) fn in_scope(&self, policy: usize) -> bool {
        self.scopes().contains(&policy)
    }

    /// Those of the policies that they are in the scope of. Control-plane nodes are in none.
    pub(super) fn scopes(&self) -> &[usize] {
        if self.control_plane { &[] } else { &self.policies }
    }
}

/// One node.
#[derive(Debug)]
pub(super) struct Glance {
    kind: usize,
    out: bool,
    /// Until when no trigger of a policy that selects it says anything; `None` = one does now.
    quiet_until: Option<Timestamp>,
}

/// What a look at a node depends on beside the node.
#[derive(Clone, Copy)]
pub(super) struct Rules<'w> {
    pub policies: &'w BTreeMap<String, Policy>,
    pub topology_keys: &'w [String],
}

impl<'w> Rules<'w> {
    pub(super) fn of(world: &'w World) -> Self {
        let keys = world.config.as_ref().map(|config| config.topology_keys.as_slice());
        Rules { policies: &world.policies, topology_keys: keys.unwrap_or_default() }
    }

    /// Positions of the policies whose selector matches the node.
    pub(super) fn selecting(self, node: &NodeFacts) -> impl Iterator<Item = usize> {
        let policies = self.policies.values().enumerate();
        policies.filter(|(_, policy)| policy.selector.matches(&node.labels)).map(|(at, _)| at)
    }

    /// Until when no trigger says anything of the node.
    fn quiet_until(self, selecting: &[usize], node: &NodeFacts) -> Option<Timestamp> {
        let policies = self.policies.values().enumerate();
        let in_force = policies.filter(|(at, policy)| !policy.suspended && selecting.contains(at));
        let triggers = in_force.flat_map(|(_, policy)| &policy.contract.triggers);
        let mut until = triggers.flat_map(|trigger| {
            let fits = |kind: &str| trigger.condition_type.matches(kind);
            let conditions = node.conditions.values().filter(move |c| fits(c.condition_type()));
            conditions.map(move |condition| trigger::clear_until(trigger, condition))
        });
        until.try_fold(Timestamp::MAX, |until, one| Some(until.min(one?)))
    }
}

/// All nodes, in order of their names.
#[derive(Debug, Default)]
pub(super) struct Glances {
    all: Vec<Glance>,
    kinds: Vec<Kind>,
    of_domain: BTreeMap<Domain, Vec<usize>>,
    /// The kind that is tried first: neighbours by name are often alike, and a node keeps its kind.
    likely: usize,
    /// How many looks were taken.
    #[cfg(test)]
    pub looks: usize,
}

/// A node of which more is to be known than its kind.
#[derive(Clone, Copy)]
pub(super) struct Noted<'a> {
    pub node: &'a NodeFacts,
    pub kind: usize,
    /// A trigger of a policy that selects it says something.
    pub loud: bool,
}

/// A node that cannot work, whatever the reason: it counts against every budget of its scopes (U).
pub(super) fn is_out(node: &NodeFacts) -> bool {
    !node.in_service() || node.unschedulable || node.deleting
}

/// All nodes, counted.
pub(super) struct Counted<'a> {
    /// How many there are of each kind.
    of_kind: Vec<usize>,
    /// Those that are out (U), or of which a trigger says something, in order of their names.
    pub noted: Vec<Noted<'a>>,
}

impl Glances {
    pub(super) fn of(world: &World) -> Self {
        let rules = Rules::of(world);
        let mut glances = Glances::default();
        glances.all.reserve(world.nodes.len());
        for node in world.nodes.values() {
            glances.push(rules, node, None);
        }
        glances
    }

    /// Adds the next node, which may have been looked at before.
    pub(super) fn push(&mut self, rules: Rules<'_>, node: &NodeFacts, known: Option<Glance>) {
        let glance = known.unwrap_or_else(|| self.glance(rules, node));
        self.all.push(glance);
    }

    /// Looks again at the node with this number.
    pub(super) fn renew(&mut self, rules: Rules<'_>, number: usize, node: &NodeFacts) {
        self.likely = self.all[number].kind;
        self.all[number] = self.glance(rules, node);
    }

    /// Takes the nodes out, to be put in anew.
    pub(super) fn take(&mut self) -> Vec<Glance> {
        std::mem::take(&mut self.all)
    }

    /// Most kinds may be kinds of which there are no nodes any more.
    pub(super) fn are_crowded(&self) -> bool {
        self.size() > 2 * self.all.len() + 64
    }

    /// Counts the nodes of the world that was looked at. A node that works, and of which no trigger says
    /// anything, is not touched.
    pub(super) fn count<'a>(&self, world: &'a World) -> Counted<'a> {
        let mut counted = Counted { of_kind: vec![0; self.kinds.len()], noted: Vec::new() };
        for (glance, node) in self.all.iter().zip(world.nodes.values()) {
            counted.of_kind[glance.kind] += 1;
            let loud = glance.quiet_until.is_none_or(|until| until < world.now);
            if loud || glance.out {
                counted.noted.push(Noted { node, kind: glance.kind, loud });
            }
        }
        counted
    }

    /// How many kinds there are.
    pub(super) fn size(&self) -> usize {
        self.kinds.len()
    }

    pub(super) fn kind(&self, number: usize) -> &Kind {
        &self.kinds[number]
    }

    /// The kinds of which there are nodes, and how many.
    pub(super) fn kinds<'g>(
        &'g self,
        counted: &'g Counted<'_>,
    ) -> impl Iterator<Item = (&'g Kind, usize)> {
        let all = self.kinds.iter().zip(counted.of_kind.iter().copied());
        all.filter(|(_, count)| *count > 0)
    }

    /// How many nodes of a failure domain are in the scope of a policy.
    pub(super) fn members(&self, counted: &Counted<'_>, policy: usize, domain: &Domain) -> usize {
        let kinds = self.of_domain.get(domain).into_iter().flatten();
        let in_scope = kinds.filter(|kind| self.kinds[**kind].in_scope(policy));
        in_scope.map(|kind| counted.of_kind[*kind]).sum()
    }

    fn glance(&mut self, rules: Rules<'_>, node: &NodeFacts) -> Glance {
        #[cfg(test)]
        {
            self.looks += 1;
        }
        let kind = self.kind_of(rules, node);
        self.likely = kind;
        let quiet_until = rules.quiet_until(&self.kinds[kind].policies, node);
        Glance { kind, out: is_out(node), quiet_until }
    }

    /// Number of the node's kind, which may be new.
    fn kind_of(&mut self, rules: Rules<'_>, node: &NodeFacts) -> usize {
        let likely = self.kinds.get(self.likely).filter(|kind| {
            kind.control_plane == node.control_plane
                && rules.selecting(node).eq(kind.policies.iter().copied())
                && kind.domain.is_of(&node.name, &node.labels, rules.topology_keys)
        });
        if likely.is_some() {
            return self.likely;
        }
        let kind = Kind {
            policies: rules.selecting(node).collect(),
            control_plane: node.control_plane,
            domain: Domain::of(&node.name, &node.labels, rules.topology_keys),
        };
        if let Some(known) = self.find(&kind) {
            return known;
        }
        let new = self.kinds.len();
        self.of_domain.entry(kind.domain.clone()).or_default().push(new);
        self.kinds.push(kind);
        new
    }

    fn find(&self, kind: &Kind) -> Option<usize> {
        let of_domain = self.of_domain.get(&kind.domain)?.iter().copied();
        let same = |known: &Kind| {
            (known.control_plane, &known.policies) == (kind.control_plane, &kind.policies)
        };
        of_domain.into_iter().find(|at| same(&self.kinds[*at]))
    }
}
