//! The planner's world, from caches, lists and fresh reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use kube::core::DynamicObject;
use rerail_api::{
    NodeRemediation, RemediationPolicy,
    convert::{policy, run},
};
use rerail_core::{
    config::ClusterConfig,
    facts::{NodeFacts, Pauses},
    ledger::Slot,
    mutant,
    plan::{Held, World},
    policy::Policy,
    reason::Reason,
    run::Run,
    step::Step,
    sweep::Stray,
};

use super::{good, meltdown::Watched, storms};
use crate::{
    context::Context,
    observe::objects::{self, Entry},
};

/// What a world is made of: from caches, or from lists.
pub struct Known {
    /// The operator's clock.
    pub now: Timestamp,
    /// The nodes.
    pub nodes: BTreeMap<String, Arc<NodeFacts>>,
    /// The policies.
    pub policies: Vec<Entry<RemediationPolicy>>,
    /// The runs, ended ones too.
    pub runs: Vec<Entry<NodeRemediation>>,
    /// The kill switch; `None` when it could not be read.
    pub pauses: Option<Pauses>,
    /// Runs that are gone and whose nodes are not closed yet.
    pub strays: Vec<Stray>,
    /// The API server's clock less the operator's, where they differ by more than is allowed.
    pub clock_skew: Option<SignedDuration>,
    /// The kind of objects of which what is known is too old to start anything by it.
    pub out_of_date: Option<&'static str>,
    /// The configuration of the whole cluster; `None` when none was good, and nothing starts.
    pub config: Option<ClusterConfig>,
    /// The ledger.
    pub held: Held,
    /// The node that the operator runs on, where that is known.
    pub own_node: Option<String>,
}

/// What the term knows of its slots.
fn held(context: &Context) -> Held {
    // The claims first: one that is forgotten meanwhile has its slot acknowledged.
    let claims = context.term.lease.claims();
    let mut held = Held {
        ledger: context.term.lease.ledger(),
        in_doubt: context.term.in_doubt(),
        done: context.strays.done(),
    };
    for (_, claim) in claims.into_iter().filter(|_| !mutant!("claim-not-kept")) {
        held.claimed(claim.slot);
    }
    held
}

/// The world that these make, and the UIDs of the runs whose slots may go. The one place for whoever
/// plans: the operator and `rerail plan`. `watched` = what this process knows of the last meltdown.
pub fn world(known: Known, watched: &Watched) -> (World, BTreeSet<String>) {
    let storms = storms::recorded(readable(&known.policies));
    let mut world = World {
        nodes: known.nodes,
        ended: storms::ended(readable(&known.runs), &storms),
        storms,
        policies: policies(good(known.policies)),
        pauses: known.pauses,
        strays: known.strays,
        clock_skew: known.clock_skew,
        out_of_date: known.out_of_date,
        config: known.config,
        own_node: known.own_node,
        ..World::empty(known.now)
    };
    let runs = known.runs.into_iter().filter_map(any_run).collect();
    let record = known.held.ledger.meltdown;
    let release = world.take_in_runs(runs, known.held);
    let last = watched.with(record);
    world.melting = last.since.is_some();
    // One that is still to come was taken by a clock that was ahead.
    world.meltdown_ended = last.ended.map(|ended| ended.min(world.now));
    (world, release)
}

/// What the caches show, and the slots that may go.
pub fn from_caches(context: &Context, now: Timestamp) -> (World, BTreeSet<String>) {
    let own_node = context.deps.settings.node_name.clone();
    let known = Known {
        now,
        nodes: context.nodes.snapshot(),
        policies: context.policies.snapshot(),
        runs: context.runs.snapshot(),
        pauses: context.pauses(),
        strays: context.strays.snapshot(),
        clock_skew: context.clients.server_clock.skew(now),
        out_of_date: context.clients.recency.out_of_date(),
        config: context.config.current(),
        held: held(context),
        own_node: (!own_node.is_empty()).then_some(own_node),
    };
    world(known, &context.meltdown)
}

fn readable<K>(entries: &[Entry<K>]) -> impl Iterator<Item = &K> {
    entries.iter().filter_map(|entry| match entry {
        Entry::Good(object) => Some(&**object),
        Entry::Malformed(_) => None,
    })
}

/// Puts other runs into the world of a term. Returns the slots that may go.
pub fn look_at_runs(context: &Context, world: &mut World, runs: Vec<Run>) -> BTreeSet<String> {
    world.take_in_runs(runs, held(context))
}

/// Keeps these nodes from being chosen. They still count in every budget, as ignored ones do.
pub fn look_away(world: &mut World, nodes: &BTreeSet<String>) {
    for name in nodes {
        if let Some(node) = world.nodes.get_mut(name) {
            let mut facts = NodeFacts::clone(node);
            facts.ignore = true;
            *node = Arc::new(facts);
        }
    }
}

/// The valid policies by name; an invalid one is isolated and told of in its status.
fn policies(objects: impl Iterator<Item = Arc<RemediationPolicy>>) -> BTreeMap<String, Policy> {
    objects
        .filter(|object| object.metadata.deletion_timestamp.is_none())
        .filter_map(|object| policy::policy(&object).ok())
        .map(|policy| (policy.name.clone(), policy))
        .collect()
}

/// Every run of a fresh list, ended ones included.
pub fn every_run(objects: &[DynamicObject]) -> Vec<Run> {
    objects.iter().filter_map(|object| any_run(objects::read::<NodeRemediation>(object))).collect()
}

/// Every run that the caches show.
pub fn every_run_cached(context: &Context) -> Vec<Run> {
    context.runs.snapshot().into_iter().filter_map(any_run).collect()
}

/// A run. One that cannot be read still stands for its node and, unless its status says that it has
/// ended, for a slot: in doubt it may be acting.
fn any_run(entry: Entry<NodeRemediation>) -> Option<Run> {
    match entry {
        Entry::Good(object) => match run::run(&object) {
            Ok(run) => Some(run),
            Err(_) => unreadable(&serde_json::to_value(&*object).ok()?),
        },
        Entry::Malformed(malformed) => unreadable(&serde_json::to_value(&malformed.object).ok()?),
    }
}

fn unreadable(object: &serde_json::Value) -> Option<Run> {
    let text = |pointer: &str| {
        object.pointer(pointer).and_then(|v| v.as_str()).unwrap_or_default().to_owned()
    };
    let step = match text("/status/step").as_str() {
        "" => Step::Pending,
        name => name.parse().unwrap_or(Step::Withdrawing),
    };
    let slot = Slot {
        run_uid: text("/metadata/uid"),
        node_name: text("/spec/nodeName"),
        node_uid: text("/spec/nodeUID"),
    };
    // Pending runs of the operator are discarded when nobody wants them; this one must not be.
    let step = if step == Step::Pending { Step::Held } else { step };
    Some(Run {
        name: text("/metadata/name"),
        policy: text("/spec/policyName"),
        // A cause nobody has: not taken for a run made by a person, and never admitted.
        causes: vec!["Unreadable".to_owned()],
        ..Run::of_slot(slot, step, Reason::Pending, Timestamp::UNIX_EPOCH)
    })
}
