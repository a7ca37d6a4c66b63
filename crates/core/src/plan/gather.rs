//! All candidates, those whose run exists already included, and what comes of them.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    DomainReport, PairReport, Plan, Wait, World,
    candidate::{self, Claim},
    glance::{Glances, Rules},
    look::{Chosen, Entry, Look},
    scope::Budgets,
    slots,
    turn::{Asked, Outcome, round},
};
use crate::{policy::Mode, priority::Priority, run::Run, step::Step};

/// What there is to decide about.
pub(super) struct Gathered<'a> {
    look: Look<'a>,
    entries: Vec<Entry<'a>>,
    /// Pairs that are no candidates, and why.
    waits: Vec<PairReport>,
    discard: Vec<String>,
}

impl<'a> Gathered<'a> {
    pub(super) fn of(world: &'a World, glances: &'a Glances) -> Self {
        let look = Look::at(world, glances);
        let mut gathered =
            Gathered { look, entries: Vec::new(), waits: Vec::new(), discard: Vec::new() };
        gathered.nodes();
        gathered.runs();
        gathered
    }

    /// The nodes of which a trigger says something; there is nothing to be said of the others.
    fn nodes(&mut self) {
        let Look { world, known, policies, glances, counted, .. } = &self.look;
        for noted in counted.noted.iter().filter(|noted| noted.loud) {
            let (node, kind) = (noted.node, glances.kind(noted.kind));
            for at in kind.policies.iter().copied().filter(|at| !policies[*at].policy.suspended) {
                let policy = policies[at].policy;
                match candidate::of_pair(world, known, policy, node) {
                    candidate::Verdict::Nothing => {}
                    candidate::Verdict::Wait(priority, wait) => {
                        self.waits.push(pair(&node.name, &policy.name, priority, wait));
                    }
                    candidate::Verdict::Candidate(claim) => self.entries.push(Entry {
                        claim,
                        policy: at,
                        node,
                        selected_by: Cow::Borrowed(kind.scopes()),
                        run: None,
                        home: Cow::Borrowed(&kind.domain),
                        domain: None,
                        scopes: Vec::new(),
                    }),
                }
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
        let pairs = self.entries.iter().enumerate();
        let mut free: BTreeMap<_, _> =
            pairs.map(|(at, entry)| ((entry.node.name.as_str(), entry.policy), at)).collect();
        let mut of_people = Vec::new();
        for run in pending {
            let same_node = world.node(&run.node_name).is_some_and(|n| n.uid == run.node_uid);
            let enforced = world.policies.get(&run.policy).is_some_and(|p| p.mode == Mode::Enforce);
            let policy = self.look.policy(&run.policy).filter(|_| same_node && enforced);
            let wanted = policy.and_then(|policy| free.remove(&(run.node_name.as_str(), policy)));
            match wanted.and_then(|at| self.entries.get_mut(at)) {
                Some(entry) => entry.run = Some(run),
                None if run.causes.is_empty() => of_people.push(run),
                // Its admission may still land: it stays until that is settled, and its slot with it.
                None if world.ledger.holds(&run.uid) => {}
                // The operator's own, whose node is no candidate any more, or has another run.
                None => self.discard.push(run.name.clone()),
            }
        }
        of_people.extend(asked);
        self.of_people(&of_people);
    }

    /// They need no trigger: what the pair's triggers wait for is not what they wait for.
    fn of_people(&mut self, runs: &[&'a Run]) {
        let world = self.look.world;
        let pairs: BTreeSet<_> =
            runs.iter().map(|run| (run.node_name.as_str(), run.policy.as_str())).collect();
        self.waits.retain(|wait| !pairs.contains(&(wait.node.as_str(), wait.policy.as_str())));
        let mut told = BTreeMap::new();
        for run in runs.iter().copied() {
            match candidate::of_person(world, &self.look.known, run) {
                Ok(claim) => self.entries.extend(self.entry(claim, run)),
                Err(wait) => {
                    let report = pair(&run.node_name, &run.policy, None, wait);
                    told.insert((run.node_name.as_str(), run.policy.as_str()), report);
                }
            }
        }
        self.waits.extend(told.into_values());
    }

    fn entry(&self, claim: Claim<'a>, run: &'a Run) -> Option<Entry<'a>> {
        let world = self.look.world;
        let node = world.node(&run.node_name)?;
        let selecting = Rules::of(world).selecting(node);
        let home = slots::domain(world, run.domain.as_ref(), &node.name, Some(node));
        Some(Entry {
            claim,
            policy: self.look.policy(&run.policy)?,
            node,
            selected_by: selecting.filter(|_| !node.control_plane).collect(),
            run: Some(run),
            home: Cow::Owned(home),
            domain: None,
            scopes: Vec::new(),
        })
    }

    /// Gives each candidate its turn. A DryRun policy is planned beside, alone, as if it enforced:
    /// against the real slots, and the budgets of those that do enforce and its own.
    pub(super) fn decide(self, asked: &mut Option<Asked<'_>>) -> Plan {
        let Gathered { mut look, mut entries, waits, discard } = self;
        look.order(&mut entries);
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
            let unhealthy = chosen.unhealthy.clone();
            plan.unhealthy.extend(unhealthy.map(|message| (name.clone(), message)));
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
