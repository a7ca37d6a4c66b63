//! A rolling reboot in virtual time: the production planner decides, machines take their time, and every
//! decision is looked at by [`Judge`], which shares no function with the planner.

pub mod judge;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rerail_core::{
    domain::Domain,
    facts::Ready,
    ledger::Start,
    plan::{Memo, World, plan_with},
    reason::Reason,
    run::{Retries, Run},
    step::Step,
};
use serde::{Deserialize, Serialize};

use self::judge::Judge;
use crate::{
    ideal,
    world::{self, Limits, POLICY_NAME, RACK},
};

/// Nodes of the cluster, and those of them that are rebooted: whole racks.
const NODES: usize = 1_000;
const REBOOTED: usize = 500;

/// Shortest and longest boot: 3 s less and more 30 %, in microseconds.
const BOOT: (u64, u64) = (2_100_000, 3_900_000);

/// Each case is played with so many draws of boot times.
const SEEDS: u64 = 5;

/// One budget, played with several draws of boot times.
#[derive(Debug, Serialize, Deserialize)]
pub struct Rolling {
    /// The budget in words.
    pub budget: String,
    /// The nodes' priorities in words.
    pub priorities: String,
    /// Nodes that were rebooted in each play.
    pub rebooted: usize,
    /// Each play.
    pub plays: Vec<Play>,
}

/// One play.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Play {
    /// From the first start to the last end, in seconds.
    pub took: f64,
    /// What no schedule stays below, in seconds; none where nodes come to want a run by and by.
    pub bound: Option<f64>,
    /// Times that the planner was asked.
    pub plans: usize,
    /// The most nodes that were out at once.
    pub most_out: usize,
    /// The most racks that were open at once.
    pub most_racks: usize,
    /// Starts while somebody more urgent could have had the place, or had to get it.
    pub inversions: usize,
    /// Limits that were passed, and nodes that were never rebooted, in words.
    pub violations: Vec<String>,
}

impl Play {
    /// Makespan efficiency: the bound over what it took.
    pub fn efficiency(&self) -> Option<f64> {
        Some(self.bound? / self.took)
    }
}

const BUDGETS: [(&str, Limits); 5] = [
    ("1 node", Limits { nodes: 1, racks: 1_000 }),
    ("5 nodes", Limits { nodes: 5, racks: 1_000 }),
    ("5 nodes of one rack", Limits { nodes: 5, racks: 1 }),
    ("one rack (20)", Limits { nodes: 20, racks: 1 }),
    ("two racks (40)", Limits { nodes: 40, racks: 2 }),
];

/// Every budget: all nodes equally urgent from the beginning on; and priorities from 1 to 9 in no order,
/// half of the nodes by and by.
pub fn measure() -> Vec<Rolling> {
    let case = |(budget, limits): (&str, Limits), mixed: bool| {
        let priorities = if mixed { "[P1] to [P9], half by and by" } else { "equal" };
        eprintln!("  {REBOOTED} nodes, {budget}, priorities {priorities}");
        Rolling {
            budget: budget.to_owned(),
            priorities: priorities.to_owned(),
            rebooted: REBOOTED,
            plays: (1..=SEEDS).map(|seed| Show::new(limits, seed, mixed).play()).collect(),
        }
    };
    [false, true].into_iter().flat_map(|mixed| BUDGETS.map(|budget| case(budget, mixed))).collect()
}

/// What happens next in the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The node's reboot ends, and it is back in service.
    Back(usize),
    /// The node comes to want a run.
    Wants(usize),
    /// The planner said that time alone may change something.
    Recheck,
}

struct Show {
    world: World,
    memo: Memo,
    boots: Vec<u64>,
    urgency: Vec<u16>,
    /// By time since the beginning, in microseconds.
    events: BTreeSet<(u64, Event)>,
    now: u64,
    judge: Judge,
    play: Play,
}

impl Show {
    fn new(limits: Limits, seed: u64, mixed: bool) -> Self {
        let mut draw = Draw(seed);
        let boots: Vec<u64> = (0..REBOOTED).map(|_| draw.within(BOOT.0, BOOT.1)).collect();
        let urgency: Vec<u16> =
            (0..REBOOTED).map(|_| if mixed { draw.within(1, 9) as u16 } else { 7 }).collect();
        let racks: ideal::Racks = boots.chunks(RACK).map(<[u64]>::to_vec).collect();
        let bound = ideal::bound(&racks, limits.nodes as usize, limits.racks as usize);
        let late = |index: usize| mixed && index % 2 == 1;
        let wants = |index: usize| urgency.get(index).copied().filter(|_| !late(index));
        let world = world::world(NODES, limits, wants);
        let mut judge = Judge::new(limits);
        let mut events = BTreeSet::new();
        for (index, urgency) in urgency.iter().enumerate() {
            if late(index) {
                events.insert((draw.within(1, bound / 2), Event::Wants(index)));
            } else {
                judge.wants(index, *urgency, 0);
            }
        }
        let bound = (!mixed).then_some(seconds(bound));
        let play = Play { bound, ..Play::default() };
        let memo = Memo::default();
        Show { world, memo, boots, urgency, events, now: 0, judge, play }
    }

    fn play(mut self) -> Play {
        loop {
            self.admit();
            let Some((at, event)) = self.events.pop_first() else { break };
            self.now = at;
            self.world.now = time(at);
            match event {
                Event::Back(index) => self.back(index),
                Event::Wants(index) => self.wants(index),
                Event::Recheck => {}
            }
        }
        self.play.took = seconds(self.now);
        self.play.inversions = self.judge.inversions;
        (self.play.most_out, self.play.most_racks) = self.judge.most();
        self.play.violations = self.judge.violations();
        self.play
    }

    /// Asks until nobody else may start, as the operator does: a start wakes its planner.
    fn admit(&mut self) {
        loop {
            let plan = plan_with(&mut self.memo, &self.world);
            self.play.plans += 1;
            let rechecks = |(_, event): &(u64, Event)| *event == Event::Recheck;
            self.events.retain(|event| !rechecks(event));
            let at = plan.recheck_at.filter(|at| *at > self.world.now).map(micros);
            // Beyond the last event nothing is waited for that could still change.
            if let Some(at) = at.filter(|_| !self.events.is_empty()) {
                self.events.insert((at, Event::Recheck));
            }
            if plan.admit.is_empty() {
                return;
            }
            for candidate in plan.admit {
                let Some(index) = world::index(&candidate.node) else { continue };
                self.judge.starts(index, self.now);
                let run = start(&mut self.world, index);
                self.world.open_runs.push(run);
                let start = Start { time: self.world.now, policy: candidate.policy };
                self.world.ledger.starts.push(start);
                let boot = self.boots.get(index).copied().unwrap_or(0);
                self.events.insert((self.now + boot, Event::Back(index)));
            }
        }
    }

    fn back(&mut self, index: usize) {
        let name = name(index);
        self.judge.ends(index);
        self.world.open_runs.retain(|run| run.node_name != name);
        let now = self.world.now;
        change(&mut self.world, index, |node| {
            node.unschedulable = false;
            node.cordoned_by = None;
            node.ready = Ready::True;
            node.boot_id.push('+');
            for (kind, status) in [("Ready", "True"), (world::CONDITION, "False")] {
                if let Some(condition) = node.conditions.get_mut(kind) {
                    condition.evidence.status = status.into();
                    condition.evidence.last_transition_time = Some(now);
                    condition.status_since = now;
                }
            }
        });
    }

    fn wants(&mut self, index: usize) {
        let (urgency, now) = (self.urgency.get(index).copied().unwrap_or(9), self.world.now);
        self.judge.wants(index, urgency, self.now);
        change(&mut self.world, index, |node| {
            if let Some(condition) = node.conditions.get_mut(world::CONDITION) {
                condition.evidence.status = "True".into();
                condition.evidence.last_transition_time = Some(now);
                condition.message = format!("[P{urgency}] up for more than 30 days").into();
                condition.status_since = now;
            }
        });
    }
}

/// The run of a node that is being rebooted, and the node as such a run makes it.
pub fn start(world: &mut World, index: usize) -> Run {
    let name = name(index);
    let uid = format!("run-{index}");
    let keys = world.config.as_ref().map(|config| config.topology_keys.clone());
    let keys = keys.unwrap_or_default();
    let domain = world.node(&name).map(|node| Domain::of(&name, &node.labels, &keys));
    let contract = world.policies.get(POLICY_NAME).map(|policy| policy.contract.clone());
    change(world, index, |node| {
        node.unschedulable = true;
        node.cordoned_by = Some(uid.clone());
        node.cordon_field_ours = true;
        node.ready = Ready::Unknown;
        if let Some(condition) = node.conditions.get_mut("Ready") {
            condition.evidence.status = "Unknown".into();
        }
    });
    Run {
        uid,
        name: format!("{name}-00000000"),
        node_uid: format!("uid-{name}"),
        node_name: name,
        policy: POLICY_NAME.to_owned(),
        causes: vec![world::CONDITION.to_owned()],
        cancel: false,
        retries: Retries::default(),
        frozen: None,
        contract,
        domain,
        step: Step::Rebooting,
        reason: Reason::Admitted,
        message: String::new(),
        since: world.now,
        deadline: Some(world.now + SignedDuration::from_mins(15)),
        paused_at: None,
        intent: None,
        attempt: 1,
        attempt_times: vec![world.now],
        boot_id_before: Some("boot".to_owned()),
        report_before: None,
        evidence: Vec::new(),
        daemon_sets: Vec::new(),
        ending: None,
    }
}

fn change(
    world: &mut World,
    index: usize,
    change: impl FnOnce(&mut rerail_core::facts::NodeFacts),
) {
    if let Some(node) = world.nodes.get_mut(&name(index)) {
        change(Arc::make_mut(node));
    }
}

fn name(index: usize) -> String {
    format!("worker{index:06}")
}

fn time(micros: u64) -> Timestamp {
    world::began() + SignedDuration::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

fn micros(time: Timestamp) -> u64 {
    u64::try_from(time.duration_since(world::began()).as_micros()).unwrap_or(0)
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// Numbers that look random, the same for the same seed: splitmix64.
struct Draw(u64);

impl Draw {
    fn within(&mut self, low: u64, high: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        low + (z ^ (z >> 31)) % (high - low + 1)
    }
}
