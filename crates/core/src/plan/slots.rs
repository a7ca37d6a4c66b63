//! Who is under remediation: everything that holds a slot, however its run is known (planner.md,
//! Budgets; SAFE-4). A run keeps the policy and the failure domain that it was admitted with, whatever
//! becomes of the labels (hazard H23).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{World, glance::Rules};
use crate::{
    domain::Domain,
    facts::{Labels, NodeFacts},
    ledger, mutant,
    reboot_check::pods_harmless_at,
    run::Run,
};

/// One held slot.
pub(super) struct Slot<'a> {
    /// Name of the run, or its UID where no more is known.
    pub run: &'a str,
    /// Its policy, where that is known.
    pub policy: Option<&'a str>,
    /// Its failure domain.
    pub domain: Domain,
    /// When time alone may free it.
    pub frees_at: Option<Timestamp>,
    /// Its run was deleted by force.
    pub stray: bool,
}

/// The held slots by name of node.
pub(super) struct Slots<'a> {
    pub by_node: BTreeMap<&'a str, Vec<Slot<'a>>>,
}

impl<'a> Slots<'a> {
    pub(super) fn of(world: &'a World) -> Self {
        let now = world.now;
        let mut slots = Slots { by_node: BTreeMap::new() };
        let mut counted = BTreeSet::new();
        let node = |name: &str| world.nodes.get(name).map(|node| &**node);
        for run in world.open_runs.iter().filter(|run| run.holds_slot(node(&run.node_name), now)) {
            counted.insert(run.uid.as_str());
            let frees_at = run.frozen.as_ref().map(|frozen| frozen.since);
            slots.add(world, &run.node_name, &run.name, Some(run), frees_at, false);
        }
        for stray in world.strays.iter().filter(|s| s.holds_slot(node(&s.node_name), now)) {
            counted.insert(&stray.run_uid);
            let name = stray.run.as_ref().map_or(&stray.run_uid, |run| &run.name);
            slots.add(world, &stray.node_name, name, stray.run.as_ref(), Some(stray.since), true);
        }
        // A slot is free when the ledger says so, not before.
        let open: BTreeMap<_, _> = match world.ledger.slots.is_empty() {
            true => BTreeMap::new(),
            false => world.open_runs.iter().map(|run| (run.uid.as_str(), run)).collect(),
        };
        let uncounted = |s: &&ledger::Slot| !counted.contains(s.run_uid.as_str());
        for slot in world.ledger.slots.iter().filter(uncounted) {
            if mutant!("budget-ignores-slots") {
                continue;
            }
            let run = open.get(slot.run_uid.as_str()).copied();
            let name = run.map_or(&slot.run_uid, |run| &run.name);
            slots.add(world, &slot.node_name, name, run, None, false);
        }
        slots
    }

    fn add(
        &mut self,
        world: &World,
        node: &'a str,
        name: &'a str,
        run: Option<&'a Run>,
        harmful_since: Option<Timestamp>,
        stray: bool,
    ) {
        let frozen = run.and_then(|run| run.domain.as_ref());
        let slot = Slot {
            run: name,
            policy: run.map(|run| run.policy.as_str()),
            domain: domain(world, frozen, node, world.node(node)),
            frees_at: harmful_since.map(pods_harmless_at).filter(|time| *time > world.now),
            stray,
        };
        self.by_node.entry(node).or_default().push(slot);
    }

    /// True when a slot of the node is held.
    pub(super) fn holds(&self, node: &NodeFacts) -> bool {
        self.by_node.contains_key(node.name.as_str())
    }

    /// Every slot.
    pub(super) fn all(&self) -> impl Iterator<Item = &Slot<'a>> {
        self.by_node.values().flatten()
    }
}

/// The failure domain of a run: the one frozen into it, else that of its node's labels. A node of
/// which nothing is known is its own.
pub(super) fn domain(
    world: &World,
    frozen: Option<&Domain>,
    name: &str,
    node: Option<&NodeFacts>,
) -> Domain {
    let keys = Rules::of(world).topology_keys;
    let forgets = mutant!("domain-from-labels-now");
    match frozen.filter(|frozen| !keys.is_empty() && !frozen.is_none() && !forgets) {
        Some(frozen) => frozen.clone(),
        None => match node {
            Some(node) => Domain::of(name, &node.labels, keys),
            None => Domain::of(name, &Labels::default(), keys),
        },
    }
}
