//! How a storm opens, is probed, and closes (planner.md, Breaker, rule b).
//!
//! What is known of a round is read from the runs themselves, so that a restart forgets nothing: a round
//! begins only when no run of the type is under way, and a run of the type that ends later belongs to
//! it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::{Stop, Storm, Storms, correlated};
use crate::{
    domain::Domain,
    facts::NodeFacts,
    mutant,
    plan::World,
    policy::{Breaker, Class, Policy},
    run::Run,
    step::Step,
    trigger::{self, add},
};

/// What the nodes show of one condition type.
#[derive(Debug, Default)]
struct Shown<'a> {
    /// Nodes on which it is true, and that no run of the type works on.
    waiting: usize,
    /// Nodes on which it is true.
    all: usize,
    /// Those on which it is newly true, with the time.
    newly: Vec<(Timestamp, &'a NodeFacts)>,
}

/// How the runs of one condition type went in the present round.
#[derive(Debug, Default, Clone, Copy)]
struct Round {
    /// Under way.
    active: usize,
    /// Ended well.
    succeeded: usize,
    /// Ended otherwise, or waiting for a person.
    failed: usize,
}

impl Round {
    fn started(self) -> usize {
        self.active + self.succeeded + self.failed
    }
}

/// How the storms of a policy stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assessment {
    /// To be recorded in the policy's status.
    pub storms: Storms,
    /// Runs of the present round, by type.
    started: BTreeMap<String, usize>,
    /// When a type that is Open may be probed, by type; absent where only an event can change it.
    probe_at: BTreeMap<String, Timestamp>,
    /// The policy, where only a person closes its storms.
    manual: Option<String>,
}

impl Assessment {
    /// Why no further run may start that only types like this one call for, when `admitted` of them
    /// start already by this very plan. `None` = it may, as far as this type is concerned; a node that
    /// also has another fault, of a type that is not stopped, is cured for that one.
    pub fn verdict(&self, condition_type: &str, admitted: u32) -> Option<Stop> {
        let (allowed, round) = match self.storms.get(condition_type)? {
            Storm::Open { since } => return Some(self.open(condition_type, *since)),
            Storm::Probing { .. } => (1, "its remedy is tried on one node".to_owned()),
            Storm::Ramp { allowed, .. } => {
                (*allowed, format!("it goes on in rounds, and this one is of {allowed}"))
            }
        };
        let started = self.started.get(condition_type).copied().unwrap_or(0);
        if started.saturating_add(admitted as usize) < allowed as usize {
            return None;
        }
        let message = format!(
            "{condition_type} became true on many nodes at once: {round}; the next begins when every run of this one has ended well"
        );
        Some(Stop { message, recheck_at: None })
    }

    fn open(&self, condition_type: &str, since: Timestamp) -> Stop {
        let since = whole_second(since);
        let probe_at = self.probe_at.get(condition_type).copied();
        let then = match (&self.manual, probe_at) {
            (Some(policy), _) => format!(
                "until a person resets it: kubectl annotate --overwrite rpol {policy} rerail.dev/reset-breaker={since}"
            ),
            (None, Some(time)) => format!("before {time}, and then one run as a probe"),
            (None, None) => {
                "until the runs under way have ended, and then one as a probe".to_owned()
            }
        };
        let message = format!(
            "{condition_type} became true on many nodes at once ({since}), which is more often a broken detector than broken nodes: nothing starts for it {then}"
        );
        Stop { message, recheck_at: probe_at.filter(|_| self.manual.is_none()) }
    }
}

/// The time in whole seconds, not earlier: who resets the breaker at this time resets this storm.
fn whole_second(time: Timestamp) -> Timestamp {
    let seconds = time.as_second().saturating_add(i64::from(time.subsec_nanosecond() > 0));
    Timestamp::from_second(seconds).unwrap_or(time)
}

/// The nodes in the scope of a policy.
#[derive(Debug, Default)]
pub struct Members<'a> {
    /// How many there are.
    pub total: usize,
    /// Those on which a trigger of the policy finds a status that it lists, at least.
    pub showing: Vec<&'a NodeFacts>,
    /// They are in several failure domains.
    pub in_several_domains: bool,
}

/// How the storms of a policy stand now; the ones on record are `world.storms`. Total, and a fixpoint:
/// looked at again in the same world, with the result on record, nothing changes.
pub fn storms(world: &World, policy: &Policy, members: &Members<'_>) -> Assessment {
    let shown = shown(world, policy, &members.showing);
    let known = world.storms.get(&policy.name);
    let manual = policy.breaker.manual_reset.then(|| policy.name.clone());
    let mut assessment = Assessment { manual, ..Assessment::default() };
    let recorded = known.into_iter().flat_map(|storms| storms.keys().map(String::as_str));
    let types: BTreeSet<&str> = shown.keys().copied().chain(recorded).collect();
    let nothing = Shown::default();
    for condition_type in types {
        let look = Look {
            world,
            policy,
            members,
            condition_type,
            shown: shown.get(condition_type).unwrap_or(&nothing),
            threshold: correlated(policy.breaker.correlated, members.total),
        };
        let before = known.and_then(|storms| storms.get(condition_type));
        let Some(storm) = look.next(before) else { continue };
        let round = look.round(storm.since());
        if let Some(at) = look.probe_at(&storm, round) {
            assessment.probe_at.insert(condition_type.to_owned(), at);
        }
        assessment.started.insert(condition_type.to_owned(), round.started());
        assessment.storms.insert(condition_type.to_owned(), storm);
    }
    assessment
}

/// What the nodes show, by type. Class Maintenance is exempt: budgets bound it.
fn shown<'a>(
    world: &World,
    policy: &'a Policy,
    showing: &[&'a NodeFacts],
) -> BTreeMap<&'a str, Shown<'a>> {
    let mut runs: BTreeMap<&str, Vec<&Run>> = BTreeMap::new();
    for run in world.open_runs.iter().filter(|run| is_active(run)) {
        runs.entry(&run.node_name).or_default().push(run);
    }
    let mut shown: BTreeMap<&str, Shown<'_>> = BTreeMap::new();
    for node in showing {
        let runs = runs.get(node.name.as_str()).map(Vec::as_slice).unwrap_or_default();
        for (condition_type, since) in faults(policy, node) {
            let works = |run: &&&Run| run.causes.iter().any(|cause| cause == condition_type);
            let worked_on = runs.iter().any(|run| works(&run));
            let shown = shown.entry(condition_type).or_default();
            shown.all += 1;
            shown.waiting += usize::from(!worked_on);
            // What a node shows beside the cause of its run may be our own doing: it is being rebooted.
            let ours = !runs.is_empty() && !worked_on;
            if !ours && is_new(&policy.breaker, since, world.now) {
                shown.newly.push((since, node));
            }
        }
    }
    shown
}

/// The condition types that a trigger of class Fault lists on a node, and since when.
fn faults<'a>(policy: &Policy, node: &'a NodeFacts) -> BTreeMap<&'a str, Timestamp> {
    let faults = policy.contract.triggers.iter().filter(|trigger| match trigger.class {
        Class::Fault => true,
        Class::Maintenance => false,
    });
    let mut found = BTreeMap::new();
    for fault in faults {
        let fits = node.conditions.values().filter(|condition| {
            fault.condition_type.matches(condition.condition_type())
                && trigger::asks_for_remedy(fault, condition)
        });
        found.extend(fits.map(|condition| (condition.condition_type(), condition.status_since)));
    }
    found
}

/// Newly true, and not before a person said that it is well.
fn is_new(breaker: &Breaker, since: Timestamp, now: Timestamp) -> bool {
    let forgiven = reset_at(breaker, now).is_some_and(|reset| since <= reset);
    !forgiven && add(since, breaker.window) > now
}

/// When a person has reset the breaker. A time to come counts when it has come: nobody switches the
/// breaker off for ever.
fn reset_at(breaker: &Breaker, now: Timestamp) -> Option<Timestamp> {
    breaker.reset_at.filter(|reset| *reset <= now)
}

/// Begun, and at work. A held or frozen run waits for a person, perhaps for long.
fn is_active(run: &Run) -> bool {
    run.frozen.is_none() && run.step.holds_slot()
}

/// One condition type of one policy.
struct Look<'a> {
    world: &'a World,
    policy: &'a Policy,
    members: &'a Members<'a>,
    condition_type: &'a str,
    shown: &'a Shown<'a>,
    threshold: usize,
}

impl Look<'_> {
    /// The state that follows on `before`; `None` = closed.
    fn next(&self, before: Option<&Storm>) -> Option<Storm> {
        let (breaker, now) = (&self.policy.breaker, self.world.now);
        let reset = reset_at(breaker, now);
        let before = before.filter(|storm| reset.is_none_or(|reset| storm.since() > reset));
        let opened = Some(Storm::Open { since: now });
        if self.is_storm() {
            return match before {
                Some(Storm::Open { since }) => Some(Storm::Open { since: *since }),
                Some(Storm::Probing { .. } | Storm::Ramp { .. }) | None => opened,
            };
        }
        let before = before?;
        let round = self.round(before.since());
        let is_over = self.shown.all == 0 && round.active == 0;
        match before {
            Storm::Open { .. } if breaker.manual_reset => Some(before.clone()),
            _ if is_over => None,
            Storm::Open { .. } => match self.probe_at(before, round) {
                Some(at) if at <= now => Some(Storm::Probing { since: now }),
                Some(_) | None => Some(before.clone()),
            },
            Storm::Probing { .. } | Storm::Ramp { .. } if round.failed > 0 => opened,
            Storm::Probing { .. } => self.after(before, round, 1, 1),
            Storm::Ramp { allowed, .. } => {
                self.after(before, round, *allowed, allowed.saturating_mul(2))
            }
        }
    }

    /// A round of `size` goes on, or the next begins, or what waits is not more than what has just gone
    /// well at once, and the storm is over.
    fn after(&self, before: &Storm, round: Round, size: u32, next: u32) -> Option<Storm> {
        if round.active > 0 || round.started() < size as usize {
            return Some(before.clone());
        }
        if self.shown.waiting <= size as usize {
            return None;
        }
        Some(Storm::Ramp { allowed: next, since: self.world.now })
    }

    /// When an Open storm may be probed, as far as time decides: it no longer grows, and a window has
    /// passed, so that a failed probe is not followed by the next at once. `None` while runs of the type
    /// are under way: what they show is waited for.
    fn probe_at(&self, storm: &Storm, round: Round) -> Option<Timestamp> {
        if round.active > 0 || !matches!(storm, Storm::Open { .. }) {
            return None;
        }
        let window: SignedDuration = self.policy.breaker.window;
        let rested = add(storm.since(), window);
        if !self.is_storm() {
            return Some(rested);
        }
        let mut times: Vec<_> = self.shown.newly.iter().map(|(since, _)| *since).collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        let calm = times.get(self.threshold.saturating_sub(1)).map(|since| add(*since, window));
        Some(calm.map_or(rested, |calm| calm.max(rested)))
    }

    /// Newly true on many nodes, and not in one failure domain alone, if there are more: a rack that
    /// loses its power is no broken detector.
    fn is_storm(&self) -> bool {
        let newly = &self.shown.newly;
        newly.len() >= self.threshold
            && !mutant!("storm-ignored")
            && (self.in_two_domains(newly.iter().map(|(_, node)| *node))
                || !self.members.in_several_domains)
    }

    fn in_two_domains<'n>(&self, nodes: impl Iterator<Item = &'n NodeFacts>) -> bool {
        let keys = self.world.config.as_ref().map(|config| config.topology_keys.as_slice());
        let keys = keys.unwrap_or_default();
        let mut domains = nodes.map(|node| Domain::of(&node.name, &node.labels, keys));
        let Some(first) = domains.next() else { return false };
        domains.any(|domain| domain != first)
    }

    /// The runs of this type that belong to the round that began then.
    fn round(&self, since: Timestamp) -> Round {
        let of_type = |policy: &str, causes: &[String]| {
            policy == self.policy.name && causes.iter().any(|cause| cause == self.condition_type)
        };
        let mut round = Round::default();
        for run in self.world.open_runs.iter().filter(|run| of_type(&run.policy, &run.causes)) {
            let stopped = run.frozen.as_ref().map_or(run.since, |frozen| frozen.since);
            if is_active(run) {
                round.active += 1;
            } else if run.step != Step::Pending && stopped > since {
                round.failed += 1;
            }
        }
        let ended = self.world.ended.iter().filter(|run| of_type(&run.policy, &run.causes));
        for run in ended.filter(|run| run.end > since) {
            match run.succeeded {
                true => round.succeeded += 1,
                false => round.failed += 1,
            }
        }
        round
    }
}
