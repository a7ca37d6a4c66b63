//! A slow planner, written from the sentences of planner.md and of design note 014. It shares types with
//! the planner, and no function: sets are built anew for every question, and nothing is counted ahead.
//! What is no rule of the planner is asked where it is defined: who holds a slot ([`Run::holds_slot`],
//! `Stray::holds_slot`), and the breaker.

mod round;

use std::collections::{BTreeMap, BTreeSet};

use round::Round;

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

    fn down(&self, node: &NodeFacts) -> bool {
        node.ready != Ready::True && self.holds.iter().all(|slot| slot.node != node.name)
    }

    fn melts(&self) -> bool {
        let down = self.world.nodes.values().filter(|node| self.down(node)).count();
        breaker::meltdown(self.world.nodes.len(), down).is_some()
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
        let over = self.world.melting && !self.melts();
        let ended = if over { Some(now) } else { self.world.meltdown_ended };
        let since = ended.unwrap_or(Timestamp::MIN).max(condition.status_since);
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
            } else if !self.world.ledger.slots.iter().any(|slot| slot.run_uid == run.uid) {
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
