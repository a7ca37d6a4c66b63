//! Failure domains: how many may be open, and which (planner.md, Domains; goal 19). A domain is open
//! while a run of it holds a slot.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    Verdict, Wait, WaitReason, World,
    gate::Question,
    glance::Rules,
    look::{Entry, Look},
    order, slots,
};
use crate::{domain::Domain, facts::NodeFacts, mutant};

/// The domains that matter to a plan, numbered in their order: those of candidates and of slots.
#[derive(Default)]
pub(super) struct Domains<'a> {
    all: Vec<Domain>,
    keys: &'a [String],
    /// Those that are made of today's topology keys, in order of their values.
    labelled: Vec<usize>,
    /// Nodes that are their own domain.
    own: BTreeMap<String, usize>,
}

impl<'a> Domains<'a> {
    /// The domains of the candidates and of the held slots. That of a held run may not be its node's any
    /// more; both count.
    pub(super) fn of(look: &Look<'a>, entries: &[Entry<'a>]) -> Self {
        let present = entries.iter().filter(|entry| entry.run.is_some()).map(|entry| entry.node);
        let present: Vec<_> =
            present.map(|node| slots::domain(look.world, None, &node.name, Some(node))).collect();
        let homes = entries.iter().map(|entry| &*entry.home);
        let held = look.known.slots.all().map(|slot| &slot.domain);
        let mut all: Vec<&Domain> = homes.chain(&present).chain(held).collect();
        all.retain(|domain| !domain.is_none());
        all.sort();
        all.dedup();
        Domains::new(look.world, all.into_iter().cloned().collect())
    }

    /// `all` is sorted.
    fn new(world: &'a World, all: Vec<Domain>) -> Self {
        let keys = Rules::of(world).topology_keys;
        let mut labelled = Vec::new();
        let mut own = BTreeMap::new();
        for (id, domain) in all.iter().enumerate() {
            if domain.is_unlabelled() {
                own.extend(domain.0.first().map(|label| (label.value.clone(), id)));
            } else if domain.0.iter().map(|label| &label.key).eq(keys) {
                labelled.push(id);
            }
        }
        // The keys are the same, so that the order of the domains is that of their values.
        Domains { all, keys, labelled, own }
    }

    pub(super) fn get(&self, id: usize) -> &Domain {
        &self.all[id]
    }

    pub(super) fn id(&self, domain: &Domain) -> Option<usize> {
        self.all.binary_search(domain).ok()
    }

    /// The domain that the node's labels say, if it matters.
    pub(super) fn present(&self, node: &NodeFacts) -> Option<usize> {
        if self.all.is_empty() {
            return None;
        }
        let value = |key: &String| node.labels.get(key.as_str()).map(AsRef::<str>::as_ref);
        let values: Vec<Option<&str>> = self.keys.iter().map(value).collect();
        if values.iter().all(Option::is_none) {
            return self.own.get(&node.name).copied();
        }
        let values = || values.iter().map(|value| value.unwrap_or_default());
        let order = |id: &usize| {
            let known = self.all[*id].0.iter().map(|label| label.value.as_str());
            known.cmp(values())
        };
        self.labelled.binary_search_by(order).ok().map(|found| self.labelled[found])
    }

    fn is_unlabelled(&self, id: usize) -> bool {
        self.all[id].is_unlabelled()
    }
}

/// A place that is kept for a candidate, most urgent first.
#[derive(Debug, Clone)]
pub(super) struct Reservation {
    pub policy: usize,
    pub domain: usize,
    pub node: String,
}

/// Which domains are open, which are closed, and what is reserved.
#[derive(Default, Clone)]
pub(super) struct Places {
    pub open: BTreeSet<usize>,
    /// Those that the runs of a policy keep open.
    pub open_of: Vec<BTreeSet<usize>>,
    /// Closed domains, each with the node for which it is closed.
    pub closed: BTreeMap<usize, String>,
    pub reserved: Vec<Reservation>,
    /// When time alone may free a place.
    pub frees_at: Option<Timestamp>,
    /// When ageing alone may change the order.
    pub ages_at: Option<Timestamp>,
}

impl Places {
    /// What the held slots keep open.
    pub(super) fn of(look: &Look<'_>) -> Self {
        let mut places = Places {
            open_of: vec![BTreeSet::new(); look.policies.len()],
            frees_at: look.known.slots.all().filter_map(|slot| slot.frees_at).min(),
            ..Places::default()
        };
        for slot in look.known.slots.all() {
            let Some(domain) = look.domains.id(&slot.domain) else { continue };
            places.take(domain, slot.policy.and_then(|name| look.policy(name)));
        }
        places
    }

    pub(super) fn take(&mut self, domain: usize, policy: Option<usize>) {
        self.open.insert(domain);
        if let Some(open) = policy.and_then(|policy| self.open_of.get_mut(policy)) {
            open.insert(domain);
        }
    }
}

/// How many domains may be open, over all and for one policy.
pub(super) fn limits(look: &Look<'_>, policy: usize) -> (usize, usize) {
    let all = look.world.config.as_ref().map_or(0, |config| config.max_domains);
    (all as usize, look.policies[policy].policy.budget.max_domains as usize)
}

pub(super) fn gate(question: &Question<'_, '_>) -> Verdict {
    let Question { look, turn, entry, .. } = question;
    let Some(domain) = entry.domain else { return Verdict::Pass };
    let places = &turn.places;
    let recheck_at = places.frees_at.into_iter().chain(places.ages_at).min();
    let wait =
        |reason, message: String| Verdict::Wait(Wait { recheck_at, ..Wait::new(reason, message) });
    if let Some(node) = places.closed.get(&domain) {
        let name = look.domains.get(domain);
        let message = format!(
            "failure domain {name} starts nothing until node {node}, more urgent, has started"
        );
        return wait(WaitReason::DomainClosed, message);
    }
    let kept = kept_before(places, entry.policy, domain);
    let unlabelled = |id: &&usize| **id != domain && look.domains.is_unlabelled(**id);
    if look.domains.is_unlabelled(domain)
        && let Some(other) = places.open.iter().chain(&kept.all).find(unlabelled)
    {
        let message = format!(
            "the node has none of the labels {}; so has node {}, and at most one such node is repaired at a time",
            look.domains.keys.join(", "),
            look.domains.get(*other)
        );
        return wait(WaitReason::MissingTopologyLabels, message);
    }
    let (max, own_max) = limits(look, entry.policy);
    let own = &places.open_of[entry.policy];
    let full = taken(&places.open, &kept.all, domain) > max;
    let own_full = taken(own, &kept.own, domain) > own_max;
    if !full && !own_full || mutant!("max-domains-ignored") {
        return Verdict::Pass;
    }
    let (limit, open, kept, whose) = match full {
        true => (max, &places.open, &kept.all, String::new()),
        false => {
            let whose = format!(" for policy {}", look.policies[entry.policy].policy.name);
            (own_max, own, &kept.own, whose)
        }
    };
    let message = crowded(look, limit, open, kept, &whose);
    match limit {
        0 => Verdict::Refuse(Wait::new(WaitReason::OtherDomainsOpen, message)),
        _ => wait(WaitReason::OtherDomainsOpen, message),
    }
}

/// Places that are kept for more urgent candidates elsewhere and are not taken yet.
struct Kept {
    all: BTreeSet<usize>,
    own: BTreeSet<usize>,
}

fn kept_before(places: &Places, policy: usize, domain: usize) -> Kept {
    let open_of = &places.open_of[policy];
    let reserved = &places.reserved;
    let before = reserved.iter().take_while(|reserved| reserved.domain != domain);
    let all = before.map(|reserved| reserved.domain).filter(|id| !places.open.contains(id));
    let before = reserved.iter().take_while(|r| (r.policy, r.domain) != (policy, domain));
    let own = before.filter(|reserved| reserved.policy == policy && reserved.domain != domain);
    let own = own.map(|reserved| reserved.domain).filter(|id| !open_of.contains(id));
    Kept { all: all.collect(), own: own.collect() }
}

/// How many domains would be open. One that is open already needs no new place.
fn taken(open: &BTreeSet<usize>, kept: &BTreeSet<usize>, domain: usize) -> usize {
    match open.contains(&domain) {
        true => open.len(),
        false => open.len() + kept.len() + 1,
    }
}

fn crowded(
    look: &Look<'_>,
    limit: usize,
    open: &BTreeSet<usize>,
    kept: &BTreeSet<usize>,
    whose: &str,
) -> String {
    let names = |ids: &BTreeSet<usize>| {
        let names: Vec<_> =
            ids.iter().take(3).map(|id| look.domains.get(*id).to_string()).collect();
        names.join(", ")
    };
    let domains = if limit == 1 { "failure domain" } else { "failure domains" };
    let mut message = format!("at most {limit} {domains} may be open{whose}");
    if !open.is_empty() {
        message += &format!("; open: {}", names(open));
    }
    if !kept.is_empty() {
        message += &format!("; next: {}", names(kept));
    }
    message
}

/// When ageing alone may change who is more urgent.
pub(super) fn ages_at(look: &Look<'_>, waiting: &[&Entry<'_>]) -> Option<Timestamp> {
    let step = |entry: &&Entry<'_>| {
        let ageing = look.policies[entry.policy].policy.ageing;
        order::next_step(&entry.claim.causes, ageing, look.world.now)
    };
    waiting.iter().filter_map(step).min()
}
