//! The planner's world, from caches, lists and fresh reads.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use kube::core::DynamicObject;
use rerail_api::{
    NodeRemediation, RemediationPolicy,
    convert::{policy, run},
};
use rerail_core::{
    breaker,
    config::ClusterConfig,
    facts::{NodeFacts, Pauses},
    plan::World,
    policy::Policy,
    run::{Retries, Run},
    step::Step,
    sweep::Stray,
};

use super::{good, storms};
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
    /// The configuration of the whole cluster; `None` when none was good, and nothing starts.
    pub config: Option<ClusterConfig>,
}

/// The world that these make. The one place for whoever plans: the operator and `rerail plan`.
pub fn world(known: Known) -> World {
    let storms = storms::recorded(readable(&known.policies));
    World {
        nodes: known.nodes,
        ended: storms::ended(readable(&known.runs), &storms),
        storms,
        policies: policies(good(known.policies)),
        open_runs: known.runs.into_iter().filter_map(open_run).collect(),
        pauses: known.pauses,
        strays: known.strays,
        clock_skew: known.clock_skew,
        config: known.config,
        ..World::empty(known.now)
    }
}

/// What the caches show.
pub fn from_caches(context: &Context, now: Timestamp) -> World {
    let mut world = world(Known {
        now,
        nodes: context.nodes.snapshot(),
        policies: context.policies.snapshot(),
        runs: context.runs.snapshot(),
        pauses: context.pauses(),
        strays: context.strays.snapshot(),
        clock_skew: context.clients.server_clock.skew(now),
        config: context.config.current(),
    });
    // Before the plan: the very one that sees the end must not start what has waited out its `for`
    // while nobody could be believed.
    let melting = breaker::meltdown(&world, &breaker::held_nodes(&world)).is_some();
    world.meltdown_ended = context.meltdown.observe(melting, now);
    world
}

fn readable<K>(entries: &[Entry<K>]) -> impl Iterator<Item = &K> {
    entries.iter().filter_map(|entry| match entry {
        Entry::Good(object) => Some(&**object),
        Entry::Malformed(_) => None,
    })
}

/// The valid policies by name; an invalid one is isolated and told of in its status.
fn policies(objects: impl Iterator<Item = RemediationPolicy>) -> BTreeMap<String, Policy> {
    objects
        .filter(|object| object.metadata.deletion_timestamp.is_none())
        .filter_map(|object| policy::policy(&object).ok())
        .map(|policy| (policy.name.clone(), policy))
        .collect()
}

/// The open runs of a fresh list.
pub fn open_runs(objects: &[DynamicObject]) -> Vec<Run> {
    objects.iter().filter_map(|object| open_run(objects::read::<NodeRemediation>(object))).collect()
}

/// A run that has not ended. One that cannot be read still stands for its node and, unless its
/// status says that it has ended, for a slot: in doubt it may be acting.
fn open_run(entry: Entry<NodeRemediation>) -> Option<Run> {
    match entry {
        Entry::Good(object) => match run::run(&object) {
            Ok(run) => (!run.step.is_terminal()).then_some(run),
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
    if step.is_terminal() {
        return None;
    }
    Some(Run {
        uid: text("/metadata/uid"),
        name: text("/metadata/name"),
        node_name: text("/spec/nodeName"),
        node_uid: text("/spec/nodeUID"),
        policy: text("/spec/policyName"),
        // A cause nobody has: not taken for a run made by a person, and never admitted.
        causes: vec!["Unreadable".to_owned()],
        cancel: false,
        retries: Retries::default(),
        frozen: None,
        contract: None,
        domain: None,
        // Pending runs of the operator are discarded when nobody wants them; this one must not be.
        step: if step == Step::Pending { Step::Held } else { step },
        reason: rerail_core::reason::Reason::Pending,
        message: String::new(),
        since: Timestamp::UNIX_EPOCH,
        deadline: None,
        paused_at: None,
        intent: None,
        attempt: 0,
        attempt_times: Vec::new(),
        boot_id_before: None,
        report_before: None,
        evidence: Vec::new(),
        daemon_sets: Vec::new(),
        ending: None,
    })
}
