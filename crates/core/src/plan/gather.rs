//! All candidates, those whose run exists already included, and what comes of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Candidate, DomainReport, PairReport, Plan, Wait, World,
    candidate::{self, Known},
    domain::Domains,
    look::{Chosen, Entry, Look, is_out},
    pace,
    scope::Budgets,
    slots,
    turn::{Asked, Outcome, round},
};
use crate::{
    breaker::Assessment,
    facts::NodeFacts,
    policy::{Mode, Policy},
    priority::Priority,
    run::Run,
    step::Step,
};

/// What there is to decide about.
pub(super) struct Gathered<'a> {
    look: Look<'a>,
    candidates: Vec<Candidate>,
    /// Pairs that are no candidates, and why.
    waits: Vec<PairReport>,
    discard: Vec<String>,
}

impl<'a> Gathered<'a> {
    pub(super) fn of(world: &'a World) -> Self {
        let chosen = |policy: &'a Policy| Chosen {
            policy,
            members: Vec::new(),
            matched: 0,
            unhealthy: None,
            storms: Assessment::default(),
        };
        let mut gathered = Gathered {
            look: Look {
                world,
                known: Known::of(world),
                policies: world.policies.values().map(chosen).collect(),
                out: Vec::new(),
                meltdown: None,
                starts: pace::starts(world),
                domains: Domains::default(),
            },
            candidates: Vec::new(),
            waits: Vec::new(),
            discard: Vec::new(),
        };
        for node in world.nodes.values() {
            gathered.node(node);
        }
        gathered.runs();
        gathered
    }

    /// A healthy node costs the match of each selector, and one look at its conditions.
    fn node(&mut self, node: &'a NodeFacts) {
        let Look { world, known, policies, out, .. } = &mut self.look;
        if is_out(node) {
            out.push(node);
        }
        for chosen in policies.iter_mut() {
            if !chosen.policy.selector.matches(&node.labels) {
                continue;
            }
            chosen.matched += 1;
            if !node.control_plane {
                chosen.members.push(node);
            }
            if chosen.policy.suspended {
                continue;
            }
            match candidate::of_pair(world, known, chosen.policy, node) {
                candidate::Verdict::Nothing => {}
                candidate::Verdict::Wait(priority, wait) => {
                    self.waits.push(pair(&node.name, &chosen.policy.name, priority, wait));
                }
                candidate::Verdict::Candidate(candidate) => self.candidates.push(candidate),
            }
        }
    }

    /// Runs that exist and want to start. A cancelled one ends by itself. People's come first: where
    /// both made one, theirs is taken.
    fn runs(&mut self) {
        let world = self.look.world;
        let mut pending: Vec<_> = world.open_runs.iter().filter(is_pending).collect();
        let asked: Vec<_> = world.open_runs.iter().filter(|run| run.wants_retry()).collect();
        if pending.is_empty() && asked.is_empty() {
            return;
        }
        pending.sort_by_key(|run| (!run.causes.is_empty(), &run.name));
        let pairs = self.candidates.iter().enumerate();
        let mut free: BTreeMap<_, _> =
            pairs.map(|(at, c)| ((c.node.clone(), c.policy.clone()), at)).collect();
        let mut of_people = Vec::new();
        for run in pending {
            let pair = (run.node_name.clone(), run.policy.clone());
            let same_node = world.node(&run.node_name).is_some_and(|n| n.uid == run.node_uid);
            let enforced = world.policies.get(&run.policy).is_some_and(|p| p.mode == Mode::Enforce);
            let wanted = if same_node && enforced { free.remove(&pair) } else { None };
            match wanted.and_then(|at| self.candidates.get_mut(at)) {
                Some(candidate) => candidate.run = Some(run.name.clone()),
                None if run.causes.is_empty() => of_people.push(run),
                // The operator's own, whose node is no candidate any more, or has another run.
                None => self.discard.push(run.name.clone()),
            }
        }
        of_people.extend(asked);
        // They need no trigger: what the pair's triggers wait for is not what they wait for.
        let pairs: BTreeSet<_> =
            of_people.iter().map(|run| (run.node_name.as_str(), run.policy.as_str())).collect();
        self.waits.retain(|wait| !pairs.contains(&(wait.node.as_str(), wait.policy.as_str())));
        let mut told = BTreeMap::new();
        for run in of_people {
            match candidate::of_person(world, &self.look.known, run) {
                Ok(candidate) => self.candidates.push(candidate),
                Err(wait) => {
                    let report = pair(&run.node_name, &run.policy, None, wait);
                    told.insert((run.node_name.as_str(), run.policy.as_str()), report);
                }
            }
        }
        self.waits.extend(told.into_values());
    }

    /// Gives each candidate its turn. A DryRun policy is planned beside, alone, as if it enforced:
    /// against the real slots, and the budgets of those that do enforce and its own.
    pub(super) fn decide(self, asked: &mut Option<Asked<'_>>) -> Plan {
        let Gathered { mut look, candidates, waits, discard } = self;
        look.assess();
        let mut entries = look.entries(candidates);
        look.domains = domains(&look, &entries);
        for entry in &mut entries {
            entry.domain = look.domains.id(&entry.candidate.domain);
        }
        let budgets = Budgets::of(&look, &mut entries);
        let of = |wanted: &dyn Fn(&Chosen<'_>) -> bool| -> Vec<&Entry<'a>> {
            entries.iter().filter(|entry| wanted(&look.policies[entry.policy])).collect()
        };
        let mut plan = Plan { discard, ..Plan::default() };
        let enforced = round(&look, &budgets, &of(&|chosen| chosen.enforces()), asked);
        plan.domains = domain_reports(&look, &enforced);
        let enforces = |policy: Option<usize>| policy.is_none_or(|id| look.policies[id].enforces());
        plan.scopes = budgets.report(&enforced.turn.used, &enforced.blocked, enforces);
        plan.admit = enforced.admitted;
        plan.report = enforced.reports;
        for (id, chosen) in look.policies.iter().enumerate() {
            let name = &chosen.policy.name;
            plan.matched.insert(name.clone(), chosen.matched);
            plan.storms.insert(name.clone(), chosen.storms.storms.clone());
            if chosen.enforces() {
                continue;
            }
            let beside = round(&look, &budgets, &of(&|other| other.policy.name == *name), asked);
            let own = |policy| policy == Some(id);
            plan.scopes.extend(budgets.report(&beside.turn.used, &beside.blocked, own));
            plan.report.extend(beside.reports);
            if !beside.admitted.is_empty() {
                plan.would_start.insert(name.clone(), beside.admitted);
            }
        }
        plan.report.extend(waits);
        plan.meltdown = look.meltdown.take();
        let waits = plan.report.iter().filter_map(|pair| pair.wait.as_ref()?.recheck_at);
        plan.recheck_at = waits.min();
        plan
    }
}

fn is_pending(run: &&Run) -> bool {
    run.step == Step::Pending && !run.cancel && run.frozen.is_none()
}

fn pair(node: &str, policy: &str, priority: Option<Priority>, wait: Wait) -> PairReport {
    PairReport { node: node.to_owned(), policy: policy.to_owned(), priority, wait: Some(wait) }
}

/// The domains of the candidates and of the held slots. That of a held run may not be its node's any
/// more; both count.
fn domains<'a>(look: &Look<'a>, entries: &[Entry<'a>]) -> Domains<'a> {
    let world = look.world;
    let present = |entry: &&Entry<'a>| entry.run.is_some();
    let present = entries.iter().filter(present).map(|entry| entry.node);
    let present = present.map(|node| slots::domain(world, None, &node.name, Some(node)));
    let frozen = entries.iter().map(|entry| entry.candidate.domain.clone());
    let held = look.known.slots.all().map(|slot| slot.domain.clone());
    Domains::new(world, frozen.chain(present).chain(held).collect())
}

fn domain_reports(look: &Look<'_>, outcome: &Outcome<'_>) -> Vec<DomainReport> {
    let places = &outcome.turn.places;
    let reserved = places.reserved.iter().map(|reserved| reserved.domain);
    let ids: BTreeSet<_> =
        places.open.iter().chain(places.closed.keys()).copied().chain(reserved).collect();
    let report = |id: usize| DomainReport {
        domain: look.domains.get(id).clone(),
        open: places.open.contains(&id),
        waiting: outcome.urgency.get(&id).copied(),
        closed_by: places.closed.get(&id).cloned(),
        reserved_for: {
            let mut of_it = places.reserved.iter().filter(|reserved| reserved.domain == id);
            of_it.next().map(|reserved| reserved.node.clone())
        },
    };
    ids.into_iter().map(report).collect()
}
