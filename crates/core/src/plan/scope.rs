//! Budgets: how many nodes may be out at once, in every scope that a node is in (planner.md, Budgets;
//! SAFE-4, goals 17 and 18). U = nodes that are not in service, cordoned or being deleted; S = nodes
//! under remediation.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    Scope, ScopeReport, Verdict, Wait, WaitReason,
    gate::Question,
    glance::{Noted, is_out},
    look::{Entry, Look},
    slots::Slot,
};
use crate::{budget::CountOrPercent, facts::NodeFacts, mutant};

/// How many users of a budget a reason names.
const NAMED: usize = 3;

/// How far a scope is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Use {
    /// |S|
    pub slots: usize,
    /// |S ∪ U|
    pub out: usize,
}

/// One scope of a budget, as the cluster stands before anything is admitted.
pub(super) struct Budget<'a> {
    pub scope: Scope,
    /// Position of its policy.
    policy: Option<usize>,
    /// Number of its failure domain.
    domain: Option<usize>,
    limit: CountOrPercent,
    min_floor: u32,
    total: usize,
    pub used: Use,
    /// Some nodes that are out and not under remediation, cordoned ones first.
    others: Vec<&'a str>,
    /// Some nodes under remediation.
    held: Vec<&'a str>,
    frees_at: Option<Timestamp>,
}

impl Budget<'_> {
    pub(super) fn limit(&self) -> usize {
        self.limit.limit(self.total, self.min_floor)
    }
}

/// All scopes that matter, and what the held slots take of them.
#[derive(Default)]
pub(super) struct Budgets<'a> {
    pub all: Vec<Budget<'a>>,
    /// Number of the scope of a policy in a domain.
    of_domain: BTreeMap<(usize, usize), usize>,
    /// Of each node with a slot: the domains of its slots, and the scopes that it counts in.
    pub held: Vec<(Vec<usize>, Vec<usize>)>,
}

/// Number of the cluster's scope; policies follow in their order.
const CLUSTER: usize = 0;

fn of_policy(policy: usize) -> usize {
    policy + 1
}

impl<'a> Budgets<'a> {
    /// Finds the scopes of the candidates, and counts.
    pub(super) fn of(look: &Look<'a>, entries: &mut [Entry<'a>]) -> Self {
        let mut budgets = Budgets { all: base(look), ..Budgets::default() };
        for entry in entries {
            entry.scopes = budgets.scopes_of(look, entry);
        }
        budgets.count_domains(look);
        budgets.count_slots(look);
        budgets.count_others(look);
        budgets
    }

    /// The candidate's policy first, the cluster last. A suspended policy still protects its nodes; a
    /// DryRun one bounds nothing but what it would do itself.
    fn scopes_of(&mut self, look: &Look<'a>, entry: &Entry<'a>) -> Vec<usize> {
        let bounds = |policy: &usize| *policy != entry.policy && look.policies[*policy].enforces();
        let mut policies = vec![entry.policy];
        policies.extend(entry.selected_by.iter().copied().filter(bounds));
        let mut scopes: Vec<_> = policies.iter().map(|policy| of_policy(*policy)).collect();
        let present = entry.run.and_then(|_| look.domains.present(entry.node));
        let other = present.filter(|present| Some(*present) != entry.domain);
        for domain in entry.domain.into_iter().chain(other) {
            scopes.extend(policies.iter().map(|policy| self.in_domain(look, *policy, domain)));
        }
        scopes.push(CLUSTER);
        scopes
    }

    fn in_domain(&mut self, look: &Look<'a>, policy: usize, domain: usize) -> usize {
        if mutant!("per-domain-ignored") {
            return CLUSTER;
        }
        let new = self.all.len();
        let id = *self.of_domain.entry((policy, domain)).or_insert(new);
        if id == new {
            let chosen = look.policies[policy].policy;
            let name = (chosen.name.clone(), look.domains.get(domain).clone());
            let limit = chosen.budget.max_unavailable_per_domain;
            let floor = chosen.budget.min_floor;
            let scope = Scope::PolicyDomain(name.0, name.1);
            let of_domain = budget(scope, Some(policy), limit, floor, 0);
            self.all.push(Budget { domain: Some(domain), ..of_domain });
        }
        id
    }

    fn count_domains(&mut self, look: &Look<'a>) {
        for ((policy, domain), id) in &self.of_domain {
            let domain = look.domains.get(*domain);
            self.all[*id].total = look.glances.members(&look.counted, *policy, domain);
        }
    }

    fn count_slots(&mut self, look: &Look<'a>) {
        for (name, slots) in &look.known.slots.by_node {
            let node = look.world.node(name);
            let scopes = self.scopes_of_slots(look, node, slots);
            let frees_at = slots.iter().filter_map(|slot| slot.frees_at).min();
            for id in &scopes {
                let budget = &mut self.all[*id];
                budget.used.slots += 1;
                budget.used.out += 1;
                budget.frees_at = budget.frees_at.into_iter().chain(frees_at).min();
                name_one(&mut budget.held, name);
            }
            let mut domains: Vec<_> = slots
                .iter()
                .map(|slot| look.domains.id(&slot.domain).unwrap_or(usize::MAX))
                .collect();
            domains.dedup();
            self.held.push((domains, scopes));
        }
    }

    /// A slot counts where its node is now, and where its run was admitted.
    fn scopes_of_slots(
        &self,
        look: &Look<'a>,
        node: Option<&NodeFacts>,
        slots: &[Slot<'a>],
    ) -> Vec<usize> {
        let present = node.and_then(|node| look.domains.present(node));
        let frozen = slots.iter().filter_map(|slot| look.domains.id(&slot.domain));
        let mut domains: Vec<_> = frozen.chain(present).collect();
        domains.sort_unstable();
        domains.dedup();
        let mut scopes = vec![CLUSTER];
        for (policy, chosen) in look.policies.iter().enumerate() {
            let name = Some(chosen.policy.name.as_str());
            let its_run = slots.iter().any(|slot| slot.policy == name);
            if !its_run && !node.is_some_and(|node| chosen.selects(node)) {
                continue;
            }
            scopes.push(of_policy(policy));
            let in_domain = |domain: &usize| self.of_domain.get(&(policy, *domain)).copied();
            scopes.extend(domains.iter().filter_map(in_domain));
        }
        scopes
    }

    fn count_others(&mut self, look: &Look<'a>) {
        let out = look.counted.noted.iter().filter(|noted| is_out(noted.node));
        let others: Vec<_> = out.filter(|noted| !look.known.slots.holds(noted.node)).collect();
        // A cordon that somebody forgot is what people can do something about.
        for cordoned in [true, false] {
            for other in others.iter().filter(|other| other.node.unschedulable == cordoned) {
                self.count_other(look, other);
            }
        }
    }

    fn count_other(&mut self, look: &Look<'a>, other: &Noted<'a>) {
        let present = look.domains.present(other.node);
        let mut count = |id: usize| {
            let budget = &mut self.all[id];
            budget.used.out += 1;
            name_one(&mut budget.others, &other.node.name);
        };
        count(CLUSTER);
        for policy in look.glances.kind(other.kind).scopes() {
            count(of_policy(*policy));
            let scope = present.and_then(|domain| self.of_domain.get(&(*policy, domain)));
            if let Some(id) = scope {
                count(*id);
            }
        }
    }

    /// The first scope that has no room for the candidate. A node that is out already costs no more
    /// capacity; for it only the number of repairs counts.
    pub(super) fn full(
        &self,
        entry: &Entry<'_>,
        used: impl Fn(usize) -> Use,
    ) -> Option<(usize, Use)> {
        let out = is_out(entry.node);
        let scopes = entry.scopes.iter().map(|id| (*id, used(*id)));
        scopes.into_iter().find(|(id, used)| {
            let alone = mutant!("budget-ignores-out");
            let taken = if out || alone { used.slots } else { used.out };
            taken >= self.all[*id].limit()
        })
    }

    /// What a candidate's slot takes of a scope beyond what its node takes of it already: nothing where a node
    /// that is out counts. Where the run was admitted, and its node is not any more, it takes a place.
    pub(super) fn taken_by(&self, look: &Look<'_>, entry: &Entry<'_>, id: usize) -> usize {
        let domain = self.all[id].domain;
        let is_there = domain.is_none_or(|one| look.domains.present(entry.node) == Some(one));
        usize::from(!(is_out(entry.node) && is_there))
    }

    /// How the scopes stand: the cluster's (`None`) and those of the policies that it is to be about.
    pub(super) fn report(
        &self,
        used: &[Use],
        blocked: &[usize],
        about: impl Fn(Option<usize>) -> bool,
    ) -> Vec<ScopeReport> {
        let all = self.all.iter().zip(used.iter().zip(blocked));
        all.filter(|(budget, _)| about(budget.policy))
            .map(|(budget, (used, blocked))| ScopeReport {
                scope: budget.scope.clone(),
                limit: budget.limit(),
                now: budget.used.out,
                used: used.out,
                slots: used.slots,
                blocked: *blocked,
            })
            .collect()
    }
}

fn name_one<'a>(names: &mut Vec<&'a str>, name: &'a str) {
    if names.len() < NAMED {
        names.push(name);
    }
}

fn budget<'a>(
    scope: Scope,
    policy: Option<usize>,
    limit: CountOrPercent,
    min_floor: u32,
    total: usize,
) -> Budget<'a> {
    Budget {
        scope,
        policy,
        domain: None,
        limit,
        min_floor,
        total,
        used: Use::default(),
        others: Vec::new(),
        held: Vec::new(),
        frees_at: None,
    }
}

/// The cluster, and each policy.
fn base<'a>(look: &Look<'a>) -> Vec<Budget<'a>> {
    let config = look.world.config.as_ref();
    let (limit, floor) = config
        .map_or((CountOrPercent::Count(0), 0), |config| (config.max_unavailable, config.min_floor));
    let mut all = vec![budget(Scope::Cluster, None, limit, floor, look.world.nodes.len())];
    for (id, chosen) in look.policies.iter().enumerate() {
        let (policy, total) = (chosen.policy, chosen.members.total);
        let (limit, floor) = (policy.budget.max_unavailable, policy.budget.min_floor);
        all.push(budget(Scope::Policy(policy.name.clone()), Some(id), limit, floor, total));
    }
    all
}

pub(super) fn gate(question: &Question<'_, '_>) -> Verdict {
    let Question { look, budgets, turn, entry } = question;
    let Some((id, used)) = budgets.full(entry, |id| turn.used[id]) else {
        return Verdict::Pass;
    };
    let budget = &budgets.all[id];
    let message = exhausted(look, budgets, id, used, is_out(entry.node), &turn.named[id]);
    let wait = Wait::new(WaitReason::BudgetExhausted, message);
    match budget.limit() {
        0 => Verdict::Refuse(wait),
        _ => Verdict::Wait(Wait { recheck_at: budget.frees_at, ..wait }),
    }
}

fn exhausted(
    look: &Look<'_>,
    budgets: &Budgets<'_>,
    id: usize,
    used: Use,
    out: bool,
    admitted: &[&str],
) -> String {
    let budget = &budgets.all[id];
    let suspended = budget.policy.is_some_and(|policy| look.policies[policy].policy.suspended);
    let suspended = if suspended { " (suspended; its budget still holds)" } else { "" };
    let limit = budget.limit();
    let share = match budget.limit {
        CountOrPercent::Count(_) => String::new(),
        CountOrPercent::Percent(_) => format!(" ({} of {})", budget.limit, budget.total),
    };
    let held = budget.held.iter().chain(admitted).map(|name| holder(look, name));
    let (count, what, users): (_, _, Vec<_>) = match out {
        true => (used.slots, "under remediation", held.take(NAMED).collect()),
        false => {
            let others = budget.others.iter().map(|name| described(look, name));
            (used.out, "unavailable", others.chain(held).take(NAMED).collect())
        }
    };
    let names = if users.is_empty() { String::new() } else { format!(": {}", users.join(", ")) };
    let more = if count > users.len() && !users.is_empty() { " …" } else { "" };
    format!(
        "{}{suspended}: {count} of at most {limit}{share} nodes {what}{names}{more}",
        budget.scope
    )
}

/// A node under remediation. What keeps the slot of a run that is gone needs a word.
fn holder(look: &Look<'_>, name: &str) -> String {
    let slots = look.known.slots.by_node.get(name).map(Vec::as_slice).unwrap_or_default();
    match slots.iter().any(|slot| slot.stray) {
        true => format!(
            "{name} (its run was deleted by force; its place is kept until nothing of it can act and the node has \
             reported, or bears the taint node.kubernetes.io/out-of-service, or is deleted)"
        ),
        false => name.to_owned(),
    }
}

/// Why a node is out that is not under remediation.
fn described(look: &Look<'_>, name: &str) -> String {
    let Some(node) = look.world.node(name) else { return name.to_owned() };
    let why = match node {
        NodeFacts { unschedulable: true, .. } => "cordoned",
        NodeFacts { deleting: true, .. } => "being deleted",
        NodeFacts { out_of_service: true, .. } => "out of service",
        NodeFacts { .. } => "not Ready",
    };
    format!("{name} ({why})")
}
