//! A slow planner, written from the sentences of planner.md and of design note 014. It shares types with
//! the planner, and no function: sets are built anew for every question, and nothing is counted ahead.
//! What is no rule of the planner is asked where it is defined: who holds a slot ([`Run::holds_slot`],
//! `Stray::holds_slot`), and the breaker.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{
    breaker,
    budget::CountOrPercent,
    domain::{Domain, DomainLabel},
    facts::{ConditionFact, Cordon},
    policy::{Class, Trigger},
    step::Step,
};

/// What the planner should say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Answer {
    pub admit: Vec<(String, String, Option<String>)>,
    pub would_start: BTreeMap<String, Vec<String>>,
    pub discard: Vec<String>,
    /// Sorted.
    pub said: Vec<(String, String, Option<WaitReason>)>,
    pub closed: BTreeMap<Domain, String>,
    pub reserved: BTreeMap<Domain, String>,
}

impl Answer {
    pub(super) fn of(plan: &Plan) -> Answer {
        let said = plan.report.iter().map(|pair| {
            let reason = pair.wait.as_ref().map(|wait| wait.reason);
            (pair.node.clone(), pair.policy.clone(), reason)
        });
        let mut said: Vec<_> = said.collect();
        said.sort();
        let mut discard = plan.discard.clone();
        discard.sort();
        let domains = || plan.domains.iter();
        let closed = domains().filter_map(|d| Some((d.domain.clone(), d.closed_by.clone()?)));
        let reserved = domains().filter_map(|d| Some((d.domain.clone(), d.reserved_for.clone()?)));
        let named = |all: &Vec<Candidate>| all.iter().map(|c| c.node.clone()).collect();
        let would = plan.would_start.iter().map(|(policy, all)| (policy.clone(), named(all)));
        Answer {
            admit: plan
                .admit
                .iter()
                .map(|c| (c.node.clone(), c.policy.clone(), c.run.clone()))
                .collect(),
            would_start: would.collect(),
            discard,
            said,
            closed: closed.collect(),
            reserved: reserved.collect(),
        }
    }
}

#[derive(Debug, Clone)]
struct Wants {
    node: String,
    policy: String,
    run: Option<String>,
    types: Vec<String>,
    sinces: Vec<Timestamp>,
    effective: u16,
    since: Timestamp,
    domain: Domain,
}

#[derive(Debug, Clone)]
struct Holds {
    node: String,
    policy: Option<String>,
    domain: Domain,
}

struct Slow<'a> {
    world: &'a World,
    holds: Vec<Holds>,
}

pub(super) fn reference(world: &World) -> Answer {
    let mut slow = Slow { world, holds: Vec::new() };
    slow.holds = slow.holding();
    let mut answer = Answer::default();
    let mut wants = Vec::new();
    for policy in world.policies.values().filter(|policy| !policy.suspended) {
        for node in world.nodes.values().filter(|n| policy.selector.matches(&n.labels)) {
            match slow.pair(policy, node) {
                Ok(found) => wants.push(found),
                Err(None) => {}
                Err(Some(reason)) => answer.say(&node.name, &policy.name, Some(reason)),
            }
        }
    }
    slow.existing(&mut wants, &mut answer);
    wants.sort_by_key(|w| {
        let own = world.own_node.as_ref() == Some(&w.node);
        (w.effective, own, w.since, w.node.clone(), w.policy.clone(), w.run.clone())
    });
    let enforces = |name: &str| world.policies[name].mode == Mode::Enforce;
    let (real, dry): (Vec<_>, Vec<_>) = wants.into_iter().partition(|w| enforces(&w.policy));
    let mut round = Round::new(&slow, None);
    for (wants, reason) in round.decide(&real) {
        answer.say(&wants.node, &wants.policy, reason);
        if reason.is_none() {
            answer.admit.push((wants.node, wants.policy, wants.run));
        }
    }
    answer.closed = round.closed;
    for (_, domain, node) in round.reserved.into_iter().rev() {
        answer.reserved.insert(domain, node);
    }
    for policy in world.policies.values().filter(|policy| policy.mode == Mode::DryRun) {
        let own: Vec<_> = dry.iter().filter(|w| w.policy == policy.name).cloned().collect();
        for (wants, reason) in Round::new(&slow, Some(&policy.name)).decide(&own) {
            answer.say(&wants.node, &wants.policy, reason);
            if reason.is_none() {
                answer.would_start.entry(wants.policy).or_default().push(wants.node);
            }
        }
    }
    answer.said.sort();
    answer.discard.sort();
    answer
}

impl Answer {
    fn say(&mut self, node: &str, policy: &str, reason: Option<WaitReason>) {
        self.said.push((node.to_owned(), policy.to_owned(), reason));
    }
}

fn keys(world: &World) -> Vec<String> {
    world.config.as_ref().map(|config| config.topology_keys.clone()).unwrap_or_default()
}

fn domain_of(world: &World, name: &str) -> Domain {
    let keys = keys(world);
    let label =
        |key: &String| world.nodes.get(name).and_then(|n| n.labels.get(key)).map(str::to_owned);
    if !keys.is_empty() && keys.iter().all(|key| label(key).is_none()) {
        return Domain(vec![DomainLabel { key: "metadata.name".into(), value: name.into() }]);
    }
    let labels = keys
        .iter()
        .map(|key| DomainLabel { key: key.clone(), value: label(key).unwrap_or_default() });
    Domain(labels.collect())
}

fn frozen_or_now(world: &World, frozen: Option<&Domain>, name: &str) -> Domain {
    match frozen {
        Some(frozen) if !frozen.0.is_empty() && !keys(world).is_empty() => frozen.clone(),
        _ => domain_of(world, name),
    }
}

fn off(node: &NodeFacts) -> bool {
    node.ready != Ready::True || node.out_of_service
}

fn out(node: &NodeFacts) -> bool {
    off(node) || node.unschedulable || node.deleting
}

fn in_scope(policy: &Policy, node: &NodeFacts) -> bool {
    policy.selector.matches(&node.labels) && !node.control_plane
}

fn allowed(limit: CountOrPercent, total: usize, floor: u32) -> usize {
    match limit {
        CountOrPercent::Count(count) => count as usize,
        CountOrPercent::Percent(0) => 0,
        CountOrPercent::Percent(percent) => {
            let share = (percent as usize * total) / 100;
            if share < floor as usize { floor as usize } else { share }
        }
    }
}

impl Slow<'_> {
    /// Open runs, strays, and what the ledger has beyond these.
    fn holding(&self) -> Vec<Holds> {
        let World { now, open_runs, strays, ledger, .. } = self.world;
        let mut holds = Vec::new();
        let mut known = Vec::new();
        let of_run = |node: &str, run: Option<&Run>| Holds {
            node: node.to_owned(),
            policy: run.map(|run| run.policy.clone()),
            domain: frozen_or_now(self.world, run.and_then(|run| run.domain.as_ref()), node),
        };
        for run in open_runs {
            if run.holds_slot(self.world.node(&run.node_name), *now) {
                known.push(&run.uid);
                holds.push(of_run(&run.node_name, Some(run)));
            }
        }
        for stray in strays {
            if stray.holds_slot(self.world.node(&stray.node_name), *now) {
                known.push(&stray.run_uid);
                holds.push(of_run(&stray.node_name, stray.run.as_ref()));
            }
        }
        for slot in ledger.slots.iter().filter(|slot| !known.contains(&&slot.run_uid)) {
            let run = open_runs.iter().find(|run| run.uid == slot.run_uid);
            holds.push(of_run(&slot.node_name, run));
        }
        holds
    }

    fn pair(&self, policy: &Policy, node: &NodeFacts) -> Result<Wants, Option<WaitReason>> {
        // (effective, since, type), the most urgent first.
        let mut causes: Vec<(u16, Timestamp, String)> = Vec::new();
        let mut waits: Vec<(Option<Timestamp>, WaitReason)> = Vec::new();
        for trigger in &policy.contract.triggers {
            for condition in node.conditions.values() {
                let kind = condition.condition_type();
                if !trigger.condition_type.matches(kind) {
                    continue;
                }
                match self.reads(trigger, condition, node) {
                    None => {}
                    Some(Ok(())) => {
                        let aged = self.aged(policy, trigger, condition);
                        causes.push((aged, condition.status_since, kind.to_owned()));
                    }
                    Some(Err(wait)) => waits.push(wait),
                }
            }
        }
        causes.sort();
        let Some((effective, since, _)) = causes.first().cloned() else {
            // Where something is only too young, that is said: it ends by itself.
            let young = waits.iter().any(|(until, _)| until.is_some());
            let first = waits.first().map(|(_, reason)| *reason);
            return Err(if young { Some(WaitReason::NotLongEnough) } else { first });
        };
        if let Some(reason) = self.against(policy, node, None) {
            return Err(Some(reason));
        }
        Ok(Wants {
            node: node.name.clone(),
            policy: policy.name.clone(),
            run: None,
            types: causes.iter().map(|(_, _, kind)| kind.clone()).collect(),
            sinces: causes.iter().map(|(_, since, _)| *since).collect(),
            effective,
            since,
            domain: domain_of(self.world, &node.name),
        })
    }

    /// `Ok` = true; `Err` = something is there that is not true (until then).
    #[allow(clippy::type_complexity)]
    fn reads(
        &self,
        trigger: &Trigger,
        condition: &ConditionFact,
        node: &NodeFacts,
    ) -> Option<Result<(), (Option<Timestamp>, WaitReason)>> {
        let now = self.world.now;
        let unknown = Some(Err((None, WaitReason::TriggerUnknown)));
        let beats = condition.evidence.last_heartbeat_time.is_some();
        let stale = condition.changed_at.checked_add(trigger.stale_after).unwrap() < now;
        if beats && stale && !trigger.stale_after.is_zero() {
            return unknown;
        }
        if !trigger.statuses.iter().any(|status| status == condition.status()) {
            return if condition.status() == "Unknown" { unknown } else { None };
        }
        if trigger.reason.as_ref().is_some_and(|reason| **reason != *condition.reason) {
            return unknown;
        }
        let warm = self.world.started.checked_add(secs(120)).unwrap();
        let silent = |source: &&Source| !source.synced && now >= warm;
        let kind = condition.condition_type();
        if self.world.sources.iter().filter(silent).any(|s| kind.starts_with(&s.prefix)) {
            return unknown;
        }
        let since = self.world.meltdown_ended.unwrap_or(Timestamp::MIN).max(condition.status_since);
        let until = since.checked_add(trigger.hold_for).unwrap_or(Timestamp::MAX);
        if until > now {
            return Some(Err((Some(until), WaitReason::NotLongEnough)));
        }
        if node.last_remediation.evidence.contains(&condition.evidence) {
            return Some(Err((None, WaitReason::NoNewEvidence)));
        }
        Some(Ok(()))
    }

    fn aged(&self, policy: &Policy, trigger: &Trigger, condition: &ConditionFact) -> u16 {
        let digits = condition.message.strip_prefix("[P").and_then(|rest| rest.split_once(']'));
        let number = match (condition.message.starts_with("[P"), digits) {
            (false, _) => policy.priority.default,
            (true, Some((digits, _))) => digits.parse().unwrap_or(policy.priority.max),
            (true, None) => policy.priority.max,
        };
        let mut priority = number.clamp(policy.priority.min, policy.priority.max);
        if trigger.class == Class::Maintenance || policy.ageing.every.is_zero() {
            return priority;
        }
        let mut age = self.world.now.duration_since(condition.status_since);
        while age >= policy.ageing.every && priority > policy.ageing.floor {
            age -= policy.ageing.every;
            priority -= 1;
        }
        priority
    }

    fn against(&self, policy: &Policy, node: &NodeFacts, own: Option<&Run>) -> Option<WaitReason> {
        let retried = own.filter(|run| run.step == Step::Held);
        let begun =
            |run: &&Run| run.node_uid == node.uid && run.step != Step::Pending && Some(*run) != own;
        let cordon = node.cordon(retried.map_or("", |run| &run.uid));
        let rules = [
            (node.control_plane, WaitReason::ControlPlane),
            (node.ignore && retried.is_none(), WaitReason::Ignored),
            (node.deleting, WaitReason::NodeDeleting),
            (self.world.open_runs.iter().any(|run| begun(&run)), WaitReason::ActiveRun),
            (self.holds.iter().any(|slot| slot.node == node.name), WaitReason::ActiveRun),
            (node.claim.is_some(), WaitReason::ClaimedByOther),
            (!matches!(cordon, Cordon::None | Cordon::Ours), WaitReason::CordonedByOther),
            (
                off(node) && !policy.contract.remedies.iter().any(|r| r.action.reaches_not_ready()),
                WaitReason::NoReachableRemedy,
            ),
        ];
        rules.into_iter().find(|(holds, _)| *holds).map(|(_, reason)| reason)
    }

    fn existing(&self, wants: &mut Vec<Wants>, answer: &mut Answer) {
        let runs = &self.world.open_runs;
        let mut pending: Vec<_> = runs
            .iter()
            .filter(|r| r.step == Step::Pending && !r.cancel && r.frozen.is_none())
            .collect();
        pending.sort_by_key(|run| (!run.causes.is_empty(), &run.name));
        let mut people = Vec::new();
        for run in pending {
            let same = |w: &&mut Wants| {
                let node = &self.world.nodes[&w.node];
                let pair = (&w.node, &w.policy) == (&run.node_name, &run.policy);
                let enforced = self.world.policies[&w.policy].mode == Mode::Enforce;
                pair && w.run.is_none() && node.uid == run.node_uid && enforced
            };
            if let Some(found) = wants.iter_mut().find(same) {
                found.run = Some(run.name.clone());
            } else if run.causes.is_empty() {
                people.push(run);
            } else {
                answer.discard.push(run.name.clone());
            }
        }
        people.extend(runs.iter().filter(|run| {
            let asked = run.retries.asked > run.retries.taken;
            run.step == Step::Held && asked && !run.cancel && run.frozen.is_none()
        }));
        let said = |run: &Run, said: &(String, String, Option<WaitReason>)| {
            (&said.0, &said.1) == (&run.node_name, &run.policy)
        };
        let mut of_people: Vec<(String, String, Option<WaitReason>)> = Vec::new();
        for run in people {
            answer.said.retain(|known| !said(run, known));
            match self.person(run) {
                Ok(found) => wants.push(found),
                Err(reason) => {
                    of_people.retain(|known| !said(run, known));
                    of_people.push((run.node_name.clone(), run.policy.clone(), Some(reason)));
                }
            }
        }
        answer.said.extend(of_people);
    }

    fn person(&self, run: &Run) -> Result<Wants, WaitReason> {
        let policy = self.world.policies.get(&run.policy).ok_or(WaitReason::PolicyMissing)?;
        let node = self.world.nodes.get(&run.node_name).ok_or(WaitReason::NodeMissing)?;
        if node.uid != run.node_uid {
            return Err(WaitReason::NodeMissing);
        }
        if policy.suspended || policy.mode == Mode::DryRun {
            return Err(WaitReason::PolicyNotEnforcing);
        }
        if !policy.selector.matches(&node.labels) {
            return Err(WaitReason::NotSelected);
        }
        match self.against(policy, node, Some(run)) {
            Some(reason) => Err(reason),
            None => Ok(Wants {
                node: node.name.clone(),
                policy: policy.name.clone(),
                run: Some(run.name.clone()),
                types: vec![],
                sinces: vec![],
                effective: policy.priority.default,
                since: run.since,
                domain: frozen_or_now(self.world, run.domain.as_ref(), &node.name),
            }),
        }
    }
}

/// One round of turns: the real one, or that of one DryRun policy.
struct Round<'a> {
    slow: &'a Slow<'a>,
    /// Policies whose budgets count.
    policies: Vec<&'a Policy>,
    holds: Vec<Holds>,
    admitted: Vec<Wants>,
    closed: BTreeMap<Domain, String>,
    reserved: Vec<(String, Domain, String)>,
}

impl<'a> Round<'a> {
    fn new(slow: &'a Slow<'a>, dry: Option<&str>) -> Self {
        let counts = |p: &&Policy| p.mode == Mode::Enforce || dry == Some(p.name.as_str());
        Round {
            slow,
            policies: slow.world.policies.values().filter(counts).collect(),
            holds: slow.holds.clone(),
            admitted: Vec::new(),
            closed: BTreeMap::new(),
            reserved: Vec::new(),
        }
    }

    fn decide(&mut self, wants: &[Wants]) -> Vec<(Wants, Option<WaitReason>)> {
        let waiting: Vec<_> = wants.iter().filter(|w| self.alone(w).is_none()).cloned().collect();
        for want in &waiting {
            self.close_for(want, &waiting);
        }
        let mut said = Vec::new();
        for want in wants {
            let taken = self.admitted.iter().any(|w| w.node == want.node);
            let reason = taken
                .then_some(WaitReason::ActiveRun)
                .or_else(|| self.alone(want))
                .or_else(|| self.domain(want))
                .or_else(|| (!self.room(want, &self.holds)).then_some(WaitReason::BudgetExhausted))
                .or_else(|| self.pace(want).then_some(WaitReason::StartsExhausted));
            if reason.is_none() {
                self.admitted.push(want.clone());
                self.holds.push(Holds {
                    node: want.node.clone(),
                    policy: Some(want.policy.clone()),
                    domain: want.domain.clone(),
                });
            }
            said.push((want.clone(), reason));
        }
        said
    }

    fn alone(&self, want: &Wants) -> Option<WaitReason> {
        let world = self.slow.world;
        let (policy, node) = (&world.policies[&want.policy], &world.nodes[&want.node]);
        let paused = world.pauses.as_ref().is_none_or(|pauses| {
            pauses.0.iter().any(|pause| {
                let about = match &pause.scope {
                    PauseScope::All => true,
                    PauseScope::Policy(name) => *name == policy.name,
                    PauseScope::Node(name) => *name == node.name,
                };
                about && pause.until.is_none_or(|until| until > world.now)
            })
        });
        let held: BTreeSet<&str> = self.slow.holds.iter().map(|slot| slot.node.as_str()).collect();
        let members: Vec<&NodeFacts> =
            world.nodes.values().map(|n| &**n).filter(|n| in_scope(policy, n)).collect();
        let storms = breaker::storms(world, policy, &members);
        let stormy = |kind: &String| {
            let mine = self.admitted.iter().filter(|w| w.policy == policy.name);
            let before = mine.filter(|w| w.types.contains(kind)).count();
            storms.verdict(kind, before as u32).is_some()
        };
        let rules = [
            (paused, WaitReason::Paused),
            (world.clock_skew.is_some(), WaitReason::ClockSkew),
            (world.config.is_none(), WaitReason::NotConfigured),
            (breaker::meltdown(world, &held).is_some(), WaitReason::Meltdown),
            (self.cold(policy), WaitReason::WarmingUp),
            (breaker::unhealthy(world, policy, &members, &held).is_some(), WaitReason::Unhealthy),
            (!want.types.is_empty() && want.types.iter().all(stormy), WaitReason::Storm),
            (node.hold, WaitReason::HoldLabel),
            (self.exhausted(policy, node, want), WaitReason::AttemptsExhausted),
            (self.rests(policy, node, want), WaitReason::Backoff),
        ];
        rules.into_iter().find(|(holds, _)| *holds).map(|(_, reason)| reason)
    }

    fn cold(&self, policy: &Policy) -> bool {
        let world = self.slow.world;
        let warm = world.started.checked_add(secs(120)).unwrap();
        let silent = world.sources.iter().filter(|source| !source.synced);
        let fits = |source: &Source| {
            // These tests know no other condition types.
            let kinds = ["Sick", "SickToo", "Bad"].iter().filter(|k| k.starts_with(&source.prefix));
            let mut kinds = kinds.copied();
            kinds.any(|k| policy.contract.triggers.iter().any(|t| t.condition_type.matches(k)))
        };
        world.now < warm && silent.into_iter().any(fits)
    }

    fn exhausted(&self, policy: &Policy, node: &NodeFacts, want: &Wants) -> bool {
        let world = self.slow.world;
        let runs = world.open_runs.iter().filter(|run| want.run.as_ref() == Some(&run.name));
        let mut times: BTreeSet<i64> =
            runs.flat_map(|r| &r.attempt_times).map(|t| t.as_second()).collect();
        let closed: Vec<i64> =
            node.last_remediation.attempts.iter().map(|t| t.as_second()).collect();
        times.retain(|time| !closed.contains(time));
        let opened = world.now.as_second() - policy.contract.attempts.per.as_secs();
        let recent = closed.iter().chain(&times).filter(|time| **time > opened).count();
        recent >= policy.contract.attempts.max as usize
    }

    fn rests(&self, policy: &Policy, node: &NodeFacts, want: &Wants) -> bool {
        let memory = &node.last_remediation;
        let Some(last) = memory.last.as_ref().filter(|last| last.result != "Succeeded") else {
            return false;
        };
        let base = policy.contract.attempts.backoff.as_secs();
        let mut rest = base;
        let anew =
            !want.sinces.is_empty() && want.sinces.iter().all(|since| *since > last.end_time);
        for _ in 1..if anew { 1 } else { memory.roll_backs } {
            rest = (rest * 2).min((6 * 3600).max(base));
        }
        last.end_time.as_second() + rest > self.slow.world.now.as_second()
    }

    fn pace(&self, want: &Wants) -> bool {
        let world = self.slow.world;
        let starts = &world.policies[&want.policy].budget.max_starts;
        let recent = world.ledger.starts.iter().filter(|start| {
            let age = world.now.as_second() - start.time.as_second();
            start.policy == want.policy && age < starts.per.as_secs()
        });
        let now = self.admitted.iter().filter(|w| w.policy == want.policy).count();
        recent.count() + now >= starts.count as usize
    }

    /// Room in every scope, with these slots.
    fn room(&self, want: &Wants, holds: &[Holds]) -> bool {
        let world = self.slow.world;
        let Some(config) = &world.config else { return false };
        let node = &world.nodes[&want.node];
        // Nodes whose slots are taken away count as free of trouble.
        let gone = |name: &str| {
            self.holds.iter().any(|slot| slot.node == name) && !holds.iter().any(|s| s.node == name)
        };
        let fits = |limit: usize, slots: BTreeSet<&str>, others: BTreeSet<&str>| match out(node) {
            true => slots.len() < limit,
            false => slots.union(&others).count() < limit,
        };
        let all = || world.nodes.values().map(|node| &**node);
        let broken = || all().filter(|node| out(node) && !gone(&node.name));
        let slots = || holds.iter();
        let cluster = allowed(config.max_unavailable, world.nodes.len(), config.min_floor);
        let mut fit = fits(
            cluster,
            slots().map(|slot| slot.node.as_str()).collect(),
            broken().map(|node| node.name.as_str()).collect(),
        );
        for policy in self.policies.iter().filter(|p| p.name == want.policy || in_scope(p, node)) {
            let of_policy = |slot: &&Holds| {
                let selected = world.nodes.get(&slot.node).is_some_and(|n| in_scope(policy, n));
                selected || slot.policy.as_ref() == Some(&policy.name)
            };
            let limit = policy.budget.max_unavailable;
            let total = all().filter(|node| in_scope(policy, node)).count();
            fit &= fits(
                allowed(limit, total, policy.budget.min_floor),
                slots().filter(of_policy).map(|slot| slot.node.as_str()).collect(),
                broken().filter(|n| in_scope(policy, n)).map(|n| n.name.as_str()).collect(),
            );
            for domain in BTreeSet::from([want.domain.clone(), domain_of(world, &want.node)]) {
                if domain.0.is_empty() {
                    continue;
                }
                let here =
                    |name: &str| world.nodes.contains_key(name) && domain_of(world, name) == domain;
                let in_domain = |slot: &&Holds| slot.domain == domain || here(&slot.node);
                let member = |node: &&NodeFacts| in_scope(policy, node) && here(&node.name);
                fit &= fits(
                    allowed(
                        policy.budget.max_unavailable_per_domain,
                        all().filter(member).count(),
                        policy.budget.min_floor,
                    ),
                    slots().filter(of_policy).filter(in_domain).map(|s| s.node.as_str()).collect(),
                    broken().filter(member).map(|n| n.name.as_str()).collect(),
                );
            }
        }
        fit
    }

    fn open(&self, holds: &[Holds], policy: Option<&str>) -> BTreeSet<Domain> {
        let of = holds.iter().filter(|slot| policy.is_none() || slot.policy.as_deref() == policy);
        of.map(|slot| slot.domain.clone()).filter(|domain| !domain.0.is_empty()).collect()
    }

    fn most(&self, want: &Wants, own: bool) -> usize {
        let world = self.slow.world;
        match own {
            true => world.policies[&want.policy].budget.max_domains as usize,
            false => world.config.as_ref().unwrap().max_domains as usize,
        }
    }

    fn lonely(domain: &Domain) -> bool {
        domain.0.iter().any(|label| label.key == "metadata.name")
    }

    /// Before anything is admitted: a place for this candidate?
    fn close_for(&mut self, want: &Wants, waiting: &[Wants]) {
        let policy = Some(want.policy.as_str());
        let here = self.reserved.iter().any(|(p, d, _)| (p, d) == (&want.policy, &want.domain));
        if want.domain.0.is_empty()
            || here
            || self.closed.contains_key(&want.domain)
            || self.open(&self.holds, policy).contains(&want.domain)
            || self.pace(want)
        {
            return;
        }
        let reserve = (want.policy.clone(), want.domain.clone(), want.node.clone());
        if self.place(want, &self.holds) {
            if self.alone_without_labels(want, &self.holds) && self.room(want, &self.holds) {
                self.reserved.push(reserve);
            }
            return;
        }
        let urgency = |domain: &Domain| {
            waiting.iter().filter(|w| w.domain == *domain).map(|w| w.effective).min()
        };
        let mut open: Vec<_> = self.open(&self.holds, None).into_iter().collect();
        open.sort_by_key(|d| std::cmp::Reverse(urgency(d).map_or(u32::MAX, u32::from)));
        for victim in open {
            let less = urgency(&victim).is_none_or(|urgency| urgency > want.effective);
            if !less || self.closed.contains_key(&victim) || victim == want.domain {
                continue;
            }
            let without: Vec<_> =
                self.holds.iter().filter(|slot| slot.domain != victim).cloned().collect();
            if self.place(want, &without)
                && self.alone_without_labels(want, &without)
                && self.room(want, &without)
            {
                self.closed.insert(victim, want.node.clone());
                self.reserved.push(reserve);
                return;
            }
        }
    }

    fn place(&self, want: &Wants, holds: &[Holds]) -> bool {
        [false, true].into_iter().all(|own| {
            let policy = own.then_some(want.policy.as_str());
            let before = self.open(&self.holds, policy);
            let open = self.open(holds, policy);
            if before.contains(&want.domain) {
                return open.len() <= self.most(want, own);
            }
            let stay = open.into_iter().filter(|domain| !self.closed.contains_key(domain));
            let kept = self.reserved.iter().filter(|(p, _, _)| !own || *p == want.policy);
            let kept = kept.map(|(_, domain, _)| domain.clone()).filter(|d| !before.contains(d));
            let mut all: BTreeSet<Domain> = stay.chain(kept).collect();
            all.insert(want.domain.clone());
            all.len() <= self.most(want, own)
        })
    }

    fn alone_without_labels(&self, want: &Wants, holds: &[Holds]) -> bool {
        let open = self.open(holds, None);
        let reserved = self.reserved.iter().map(|(_, domain, _)| domain);
        let mut others = open.iter().chain(reserved).filter(|domain| **domain != want.domain);
        !Self::lonely(&want.domain) || !others.any(Self::lonely)
    }

    fn domain(&self, want: &Wants) -> Option<WaitReason> {
        let domain = &want.domain;
        if domain.0.is_empty() {
            return None;
        }
        if self.closed.contains_key(domain) {
            return Some(WaitReason::DomainClosed);
        }
        // Places kept for those that come before the first that keeps one here.
        let kept = |own: bool, open: &BTreeSet<Domain>| -> BTreeSet<Domain> {
            let mut kept = BTreeSet::new();
            for (policy, reserved, _) in &self.reserved {
                if reserved == domain && (!own || *policy == want.policy) {
                    break;
                }
                if reserved != domain
                    && (!own || *policy == want.policy)
                    && !open.contains(reserved)
                {
                    kept.insert(reserved.clone());
                }
            }
            kept
        };
        let open = self.open(&self.holds, None);
        let before = kept(false, &open);
        let mut others = open.iter().chain(&before).filter(|other| *other != domain);
        if Self::lonely(domain) && others.any(Self::lonely) {
            return Some(WaitReason::MissingTopologyLabels);
        }
        let own_open = self.open(&self.holds, Some(&want.policy));
        let own_before = kept(true, &own_open);
        let fits = |open: &BTreeSet<Domain>, kept: &BTreeSet<Domain>, most: usize| {
            let places = if open.contains(domain) { 0 } else { kept.len() + 1 };
            open.len() + places <= most
        };
        let free = fits(&open, &before, self.most(want, false))
            && fits(&own_open, &own_before, self.most(want, true));
        (!free).then_some(WaitReason::OtherDomainsOpen)
    }
}
