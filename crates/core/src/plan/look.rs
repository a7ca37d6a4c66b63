//! What every rule reads, found once for each plan.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Candidate, World, candidate::Known, domain::Domains, order};
use crate::{
    breaker::{self, Assessment},
    facts::NodeFacts,
    policy::{Mode, Policy},
    run::Run,
};

/// A policy and the nodes that it is about.
pub(super) struct Chosen<'a> {
    pub policy: &'a Policy,
    /// Those that its selector matches and that are no control-plane nodes: its scope.
    pub members: Vec<&'a NodeFacts>,
    /// How many its selector matches.
    pub matched: usize,
    /// Why nothing of it starts because too many of its nodes are not Ready.
    pub unhealthy: Option<String>,
    pub storms: Assessment,
}

impl Chosen<'_> {
    /// In the scope of the policy.
    pub(super) fn selects(&self, node: &NodeFacts) -> bool {
        !node.control_plane && self.policy.selector.matches(&node.labels)
    }

    pub(super) fn enforces(&self) -> bool {
        self.policy.mode == Mode::Enforce
    }
}

/// A candidate, and what belongs to it.
pub(super) struct Entry<'a> {
    pub candidate: Candidate,
    /// Position of its policy.
    pub policy: usize,
    pub node: &'a NodeFacts,
    /// Its run, where there is one.
    pub run: Option<&'a Run>,
    /// Its failure domain; `None` = there are no domains.
    pub domain: Option<usize>,
    /// The budgets that it needs.
    pub scopes: Vec<usize>,
}

/// A node that cannot work, whatever the reason: it counts against every budget of its scopes (U).
pub(super) fn is_out(node: &NodeFacts) -> bool {
    !node.in_service() || node.unschedulable || node.deleting
}

/// What every rule reads.
pub(super) struct Look<'a> {
    pub world: &'a World,
    pub known: Known<'a>,
    /// In order of their names.
    pub policies: Vec<Chosen<'a>>,
    /// The nodes that are out (U).
    pub out: Vec<&'a NodeFacts>,
    pub meltdown: Option<String>,
    pub starts: BTreeMap<&'a str, Vec<Timestamp>>,
    pub domains: Domains<'a>,
}

impl<'a> Look<'a> {
    /// Position of a policy.
    pub(super) fn policy(&self, name: &str) -> Option<usize> {
        self.policies.binary_search_by(|chosen| chosen.policy.name.as_str().cmp(name)).ok()
    }

    /// Meltdown and breakers, which need every node.
    pub(super) fn assess(&mut self) {
        let world = self.world;
        let held = self.known.slots.held();
        self.meltdown = breaker::meltdown(world, &held);
        for chosen in &mut self.policies {
            let policy = chosen.policy;
            if policy.suspended {
                let storms = world.storms.get(&policy.name).cloned().unwrap_or_default();
                chosen.storms.storms = storms;
                continue;
            }
            chosen.unhealthy = breaker::unhealthy(world, policy, &chosen.members, &held);
            chosen.storms = breaker::storms(world, policy, &chosen.members);
        }
    }

    /// The candidates in their order, with what belongs to each.
    pub(super) fn entries(&self, mut candidates: Vec<Candidate>) -> Vec<Entry<'a>> {
        candidates.sort_by(|a, b| order::key(self.world, a).cmp(&order::key(self.world, b)));
        let named = candidates.iter().any(|candidate| candidate.run.is_some());
        let runs: BTreeMap<&str, &Run> = match named {
            true => self.world.open_runs.iter().map(|run| (run.name.as_str(), run)).collect(),
            false => BTreeMap::new(),
        };
        let entry = |candidate: Candidate| {
            let node = self.world.nodes.get(&candidate.node)?;
            Some(Entry {
                policy: self.policy(&candidate.policy)?,
                node,
                run: candidate.run.as_ref().and_then(|name| runs.get(name.as_str()).copied()),
                domain: None,
                scopes: Vec::new(),
                candidate,
            })
        };
        candidates.into_iter().filter_map(entry).collect()
    }
}
