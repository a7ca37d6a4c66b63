//! Who is next, and why not the others: `plan(&World) -> Plan`, deterministic for a snapshot. The
//! reasons are part of the result; status, Events and messages only print them.
//!
//! Until budgets and domains exist, one run at a time in the whole cluster holds a slot
//! ([`WaitReason::OneAtATime`]). The gates are a list to which later ones are added.

mod candidate;
mod gate;

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use crate::{
    breaker::Storms,
    config::ClusterConfig,
    domain::Domain,
    facts::{NodeFacts, Pauses},
    ledger::Ledger,
    policy::{Mode, Policy},
    priority::Priority,
    reason::words,
    run::Run,
    step::Step,
    sweep::Stray,
};

pub use candidate::Cause;

/// Everything the planner looks at.
#[derive(Debug, Clone)]
pub struct World {
    /// The operator's clock.
    pub now: Timestamp,
    /// Nodes by name.
    pub nodes: BTreeMap<String, Arc<NodeFacts>>,
    /// Policies that are valid, by name.
    pub policies: BTreeMap<String, Policy>,
    /// Runs that have not ended.
    pub open_runs: Vec<Run>,
    /// The kill switch; `None` when it could not be read, which counts as paused.
    pub pauses: Option<Pauses>,
    /// Runs that are gone and whose nodes are not closed yet.
    pub strays: Vec<Stray>,
    /// The API server's clock less the operator's, where they differ by more than is allowed.
    pub clock_skew: Option<SignedDuration>,
    /// The configuration of the whole cluster; `None` when none was good since the start, and nothing
    /// starts.
    pub config: Option<ClusterConfig>,
    /// Slots that the ledger holds beyond those of `open_runs` and `strays`, and the recent starts.
    pub ledger: Ledger,
    /// The storms on record, by policy.
    pub storms: BTreeMap<String, Storms>,
    /// When the last meltdown ended: every `for` counts from there at the earliest.
    pub meltdown_ended: Option<Timestamp>,
    /// Where conditions come from, beside the nodes themselves.
    pub sources: Vec<Source>,
    /// When this operator began to plan.
    pub started: Timestamp,
    /// The node that the operator itself runs on: taken last among equals (hazard H31).
    pub own_node: Option<String>,
}

impl World {
    /// A world in which nothing is, with the default configuration.
    pub fn empty(now: Timestamp) -> Self {
        World {
            now,
            nodes: BTreeMap::new(),
            policies: BTreeMap::new(),
            open_runs: Vec::new(),
            pauses: Some(Pauses::default()),
            strays: Vec::new(),
            clock_skew: None,
            config: Some(ClusterConfig::default()),
            ledger: Ledger::default(),
            storms: BTreeMap::new(),
            meltdown_ended: None,
            sources: Vec::new(),
            started: now,
            own_node: None,
        }
    }

    /// What is known of a node.
    pub fn node(&self, name: &str) -> Option<&NodeFacts> {
        self.nodes.get(name).map(|node| &**node)
    }
}

/// Something that writes conditions, whose silence says nothing until it has spoken once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name, for people.
    pub name: String,
    /// The condition types that it writes begin so.
    pub prefix: String,
    /// True once it has written what it knows.
    pub synced: bool,
}

/// A pair of node and policy that wants a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The node.
    pub node: String,
    /// The policy.
    pub policy: String,
    /// A Pending run that exists already.
    pub run: Option<String>,
    /// The triggers that are true, most urgent first; empty for a run made by a person.
    pub causes: Vec<Cause>,
    /// Of the most urgent cause, as its message says.
    pub priority: Priority,
    /// The same after ageing: what the order goes by.
    pub effective: Priority,
    /// Since when it has been waiting.
    pub since: Timestamp,
    /// The failure domain of the node.
    pub domain: Domain,
}

words! {
/// Why something does not start now.
pub enum WaitReason {
    /// A trigger's status has not lasted for its `for` yet.
    NotLongEnough,
    /// The trigger's report is stale, or its status Unknown.
    TriggerUnknown,
    /// The trigger shows nothing newer than the end of the node's last run.
    NoNewEvidence,
    /// The kill switch is on, or cannot be read.
    Paused,
    /// The node bears the label `rerail.dev/hold`.
    HoldLabel,
    /// The node bears the label `rerail.dev/ignore`.
    Ignored,
    /// The node is being deleted.
    NodeDeleting,
    /// Control-plane nodes are never touched.
    ControlPlane,
    /// Another controller is taking the node down; the message names its mark on the node.
    ClaimedByOther,
    /// Somebody else has cordoned the node.
    CordonedByOther,
    /// The node is not Ready, and none of the policy's remedies reaches it.
    NoReachableRemedy,
    /// The node's attempts are used up.
    AttemptsExhausted,
    /// The node rests after a run that did not succeed.
    Backoff,
    /// The node has a run that has not ended.
    ActiveRun,
    /// Another run is under way; one at a time in the whole cluster.
    OneAtATime,
    /// The operator's clock and the API server's differ too much to judge what is recent.
    ClockSkew,
    /// Its admission failed several times in a row; others pass for a while. The message says why.
    AdmissionFailing,
    /// The run names a policy that does not exist or is not valid.
    PolicyMissing,
    /// The run names a policy that does not select the node.
    NotSelected,
    /// The run's policy is suspended or does not enforce.
    PolicyNotEnforcing,
    /// The run names a node that does not exist, or whose UID is another.
    NodeMissing,
}
}

/// Why, in a sentence, and when it can change by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// In one word.
    pub reason: WaitReason,
    /// In a sentence.
    pub message: String,
    /// The earliest time that it can change without an event; `None` = only by an event.
    pub recheck_at: Option<Timestamp>,
}

impl Wait {
    fn new(reason: WaitReason, message: impl Into<String>) -> Self {
        Wait { reason, message: message.into(), recheck_at: None }
    }

    fn until(self, time: Timestamp) -> Self {
        Wait { recheck_at: Some(time), ..self }
    }
}

/// What the planner says of one pair of node and policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairReport {
    /// The node.
    pub node: String,
    /// The policy.
    pub policy: String,
    /// The priority, where a trigger is true or the run is a person's.
    pub priority: Option<Priority>,
    /// Why it does not start; `None` = it is the one to start (for DryRun: it would start).
    pub wait: Option<Wait>,
}

/// What the planner decided.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Those to start now, in order.
    pub admit: Vec<Candidate>,
    /// What a DryRun policy would start, by policy.
    pub would_start: BTreeMap<String, Vec<Candidate>>,
    /// Pending runs made by the operator whose node is no candidate any more.
    pub discard: Vec<String>,
    /// Every selected pair with something to say, in order.
    pub report: Vec<PairReport>,
    /// How many nodes each policy selects.
    pub matched: BTreeMap<String, usize>,
    /// When to plan again if nothing happens before.
    pub recheck_at: Option<Timestamp>,
}

/// Decides who is next.
pub fn plan(world: &World) -> Plan {
    let mut plan = Plan::default();
    let mut wanting = Vec::new();
    for policy in world.policies.values() {
        let selected = world.nodes.values().filter(|node| policy.selector.matches(&node.labels));
        let mut matched = 0;
        for node in selected {
            matched += 1;
            if policy.suspended {
                continue;
            }
            match candidate::of_pair(world, policy, node) {
                candidate::Verdict::Nothing => {}
                candidate::Verdict::Wait(priority, wait) => {
                    plan.refuse(node, policy, priority, wait)
                }
                candidate::Verdict::Candidate(candidate) => wanting.push(candidate),
            }
        }
        plan.matched.insert(policy.name.clone(), matched);
    }
    // A cancelled one ends by itself. People's come first: where both made one, theirs is taken.
    let mut pending: Vec<_> = world.open_runs.iter().filter(is_pending).collect();
    pending.sort_by_key(|run| (!run.causes.is_empty(), &run.name));
    for run in pending {
        pending_run(world, run, &mut wanting, &mut plan);
    }
    for run in world.open_runs.iter().filter(|run| run.wants_retry()) {
        of_person(world, run, &mut wanting, &mut plan);
    }
    wanting.sort_by(|a, b| key(a).cmp(&key(b)));
    for candidate in wanting {
        judge(world, candidate, &mut plan);
    }
    plan.recheck_at = plan.report.iter().filter_map(|pair| pair.wait.as_ref()?.recheck_at).min();
    plan
}

fn is_pending(run: &&Run) -> bool {
    run.step == Step::Pending && !run.cancel && run.frozen.is_none()
}

/// Order: priority, waiting since, node name; then the policy's, so that it is total.
fn key(candidate: &Candidate) -> (Priority, Timestamp, &str, &str) {
    (candidate.priority, candidate.since, &candidate.node, &candidate.policy)
}

/// A Pending run is the candidate itself. One that the operator made for a node that is no candidate
/// any more, or that has another Pending run, is discarded; one that a person made waits until it
/// may start.
fn pending_run(world: &World, run: &Run, wanting: &mut Vec<Candidate>, plan: &mut Plan) {
    let same_node = world.nodes.get(&run.node_name).is_some_and(|node| node.uid == run.node_uid);
    let enforced = world.policies.get(&run.policy).is_some_and(|p| p.mode == Mode::Enforce);
    let free = wanting.iter_mut().find(|candidate| {
        let pair = candidate.node == run.node_name && candidate.policy == run.policy;
        pair && candidate.run.is_none()
    });
    if let Some(candidate) = free.filter(|_| same_node && enforced) {
        candidate.run = Some(run.name.clone());
        return;
    }
    if !run.causes.is_empty() {
        plan.discard.push(run.name.clone());
        return;
    }
    of_person(world, run, wanting, plan);
}

/// A run that a person made, or a held one that a person wants tried again.
fn of_person(world: &World, run: &Run, wanting: &mut Vec<Candidate>, plan: &mut Plan) {
    // It needs no trigger: what the pair's triggers wait for is not what it waits for.
    plan.report.retain(|pair| (&pair.node, &pair.policy) != (&run.node_name, &run.policy));
    match candidate::of_person(world, run) {
        Ok(candidate) => wanting.push(candidate),
        Err(wait) => plan.report.push(PairReport {
            node: run.node_name.clone(),
            policy: run.policy.clone(),
            priority: None,
            wait: Some(wait),
        }),
    }
}

fn judge(world: &World, candidate: Candidate, plan: &mut Plan) {
    let Some((policy, node)) =
        world.policies.get(&candidate.policy).zip(world.nodes.get(&candidate.node))
    else {
        return;
    };
    let admitted = plan.admit.first();
    let wait = gate::first_failing(&gate::Question {
        world,
        policy,
        node,
        candidate: &candidate,
        admitted,
    });
    plan.report.push(PairReport {
        node: node.name.clone(),
        policy: policy.name.clone(),
        priority: Some(candidate.priority),
        wait: wait.clone(),
    });
    if wait.is_some() {
        return;
    }
    match policy.mode {
        Mode::DryRun => plan.would_start.entry(policy.name.clone()).or_default().push(candidate),
        Mode::Enforce => plan.admit.push(candidate),
    }
}

impl Plan {
    fn refuse(
        &mut self,
        node: &NodeFacts,
        policy: &Policy,
        priority: Option<Priority>,
        wait: Wait,
    ) {
        self.report.push(PairReport {
            node: node.name.clone(),
            policy: policy.name.clone(),
            priority,
            wait: Some(wait),
        });
    }
}

#[cfg(test)]
mod tests;
