//! What every rule reads, found once for each plan.

use std::{borrow::Cow, collections::BTreeMap};

use jiff::Timestamp;

use super::{
    Candidate, World,
    candidate::{Claim, Known, True},
    domain::Domains,
    glance::{Counted, Glances},
    order, pace,
};
use crate::{
    breaker::{self, Assessment, Members},
    domain::Domain,
    facts::{NodeFacts, Ready},
    policy::{Mode, Policy},
    run::Run,
};

/// A policy and the nodes that it is about.
pub(super) struct Chosen<'a> {
    pub policy: &'a Policy,
    /// How many its selector matches.
    pub matched: usize,
    /// Those of them that are no control-plane nodes: its scope.
    pub members: Members<'a>,
    /// How many of these are not Ready and hold no slot.
    down: usize,
    /// Why nothing of it starts because too many of its nodes are not Ready.
    pub unhealthy: Option<String>,
    pub storms: Assessment,
}

impl<'a> Chosen<'a> {
    fn of(policy: &'a Policy) -> Self {
        Chosen {
            policy,
            matched: 0,
            members: Members::default(),
            down: 0,
            unhealthy: None,
            storms: Assessment::default(),
        }
    }

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
    pub claim: Claim<'a>,
    /// Position of its policy.
    pub policy: usize,
    pub node: &'a NodeFacts,
    /// Positions of the policies in whose scope the node is.
    pub selected_by: Cow<'a, [usize]>,
    /// Its run, where there is one.
    pub run: Option<&'a Run>,
    /// Its failure domain: a held run keeps its own.
    pub home: Cow<'a, Domain>,
    /// Number of its failure domain; `None` = there are no domains.
    pub domain: Option<usize>,
    /// The budgets that it needs.
    pub scopes: Vec<usize>,
}

impl Entry<'_> {
    pub(super) fn told(&self, look: &Look<'_>) -> Candidate {
        let Claim { causes, priority, effective, since } = &self.claim;
        Candidate {
            node: self.node.name.clone(),
            policy: look.policies[self.policy].policy.name.clone(),
            run: self.run.map(|run| run.name.clone()),
            causes: causes.iter().map(True::told).collect(),
            priority: *priority,
            effective: *effective,
            since: *since,
            domain: Domain::clone(&self.home),
        }
    }
}

/// What every rule reads.
pub(super) struct Look<'a> {
    pub world: &'a World,
    pub known: Known<'a>,
    /// In order of their names.
    pub policies: Vec<Chosen<'a>>,
    pub glances: &'a Glances,
    pub counted: Counted<'a>,
    pub meltdown: Option<String>,
    pub starts: BTreeMap<&'a str, Vec<Timestamp>>,
    pub domains: Domains<'a>,
}

impl<'a> Look<'a> {
    /// Counts the nodes, and judges meltdown and breakers.
    pub(super) fn at(world: &'a World, glances: &'a Glances) -> Self {
        let mut look = Look {
            world,
            known: Known::of(world),
            policies: world.policies.values().map(Chosen::of).collect(),
            glances,
            counted: glances.count(world),
            meltdown: None,
            starts: pace::starts(world),
            domains: Domains::default(),
        };
        look.count();
        look.assess();
        look
    }

    /// Position of a policy.
    pub(super) fn policy(&self, name: &str) -> Option<usize> {
        self.policies.binary_search_by(|chosen| chosen.policy.name.as_str().cmp(name)).ok()
    }

    fn count(&mut self) {
        let mut domains = vec![None; self.policies.len()];
        for (kind, count) in self.glances.kinds(&self.counted) {
            for policy in &kind.policies {
                self.policies[*policy].matched += count;
            }
            for policy in kind.scopes() {
                let members = &mut self.policies[*policy].members;
                members.total += count;
                if !members.in_several_domains {
                    let first = domains[*policy].get_or_insert(&kind.domain);
                    members.in_several_domains = *first != &kind.domain;
                }
            }
        }
        for noted in &self.counted.noted {
            let down = noted.node.ready != Ready::True && !self.known.slots.holds(noted.node);
            for policy in self.glances.kind(noted.kind).scopes() {
                let chosen = &mut self.policies[*policy];
                chosen.down += usize::from(down);
                if noted.loud {
                    chosen.members.showing.push(noted.node);
                }
            }
        }
    }

    fn assess(&mut self) {
        let world = self.world;
        let noted = self.counted.noted.iter().map(|noted| noted.node);
        let down = noted.filter(|node| node.ready != Ready::True && !self.known.slots.holds(node));
        self.meltdown = breaker::meltdown(world.nodes.len(), down.count());
        if world.melting && self.meltdown.is_none() {
            self.known.meltdown_ended = Some(world.now);
        }
        for chosen in &mut self.policies {
            let policy = chosen.policy;
            chosen.unhealthy = breaker::unhealthy(policy, chosen.members.total, chosen.down);
            match policy.suspended {
                true => {
                    let storms = world.storms.get(&policy.name).cloned().unwrap_or_default();
                    chosen.storms.storms = storms;
                }
                false => chosen.storms = breaker::storms(world, policy, &chosen.members),
            }
        }
    }

    /// Puts the candidates in their order, and finds the failure domain of each.
    pub(super) fn order(&mut self, entries: &mut [Entry<'a>]) {
        entries.sort_by(|a, b| order::key(self.world, a).cmp(&order::key(self.world, b)));
        self.domains = Domains::of(self, entries);
        for entry in entries {
            entry.domain = self.domains.id(&entry.home);
        }
    }
}
