//! What planner and drivers share: what lasts as long as the process, and the term.

use std::{
    collections::BTreeMap,
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use rerail_api::{
    AlertSource, NodeRemediation, RemediationPolicy,
    convert::{
        pause,
        status::{self, Note},
    },
    names,
    remediation::NodeRemediationStatus,
};
use rerail_core::{facts::Pauses, invariants::Violation, lease, mutant, run::Run};

use crate::{
    check::InCommon,
    client::Clients,
    deps::Deps,
    drive::turns::Turns,
    lead::{self, seat::Seat},
    observe::{config::Config, nodes::Nodes, objects::Objects, rewind::Rewind, wake::Wakers},
    plan::meltdown::Watched,
    record::events::Events,
    sweep::Strays,
};

/// Violations found in the whole, by the run that each concerns.
#[derive(Default)]
pub struct Suspects(Mutex<BTreeMap<String, Violation>>);

impl Suspects {
    /// Hands violations to the drivers of their runs, in place of those of an earlier look.
    pub fn replace(&self, found: Vec<Violation>) {
        let found = found.into_iter().map(|violation| (violation.run.clone(), violation));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = found.collect();
    }

    /// The violation found for a run, once.
    pub fn take(&self, run: &str) -> Option<Violation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(run)
    }
}

/// Everything that lasts as long as the process, whoever leads.
pub struct Shared {
    /// Connections.
    pub clients: Clients,
    /// What the last looks of many runs have in common.
    pub in_common: InCommon,
    /// Clock, identity, settings, metrics.
    pub deps: Arc<Deps>,
    /// The Lease, as it was seen.
    pub seat: Seat,
    /// Whether etcd was restored meanwhile.
    pub rewind: Rewind,
    /// The nodes.
    pub nodes: Nodes,
    /// The runs.
    pub runs: Objects<NodeRemediation>,
    /// The policies.
    pub policies: Objects<RemediationPolicy>,
    /// The alert sources.
    pub alert_sources: Objects<AlertSource>,
    /// The kill switch.
    pub pause: Objects<ConfigMap>,
    /// The configuration of the whole cluster.
    pub config: Config,
    /// The last meltdown, as this process knows of it.
    pub meltdown: Watched,
    /// Who is woken.
    pub wakers: Wakers,
    /// Events.
    pub events: Events,
    /// Runs that are gone and whose nodes are not closed yet.
    pub strays: Strays,
    /// Runs that the planner found to break an invariant, for their drivers to freeze.
    pub suspects: Suspects,
    /// Whose turn it is.
    pub turns: Turns,
}

/// Everything that one term of the operator shares. It ends with its term.
pub struct Context {
    shared: Arc<Shared>,
    /// The term: its right to act.
    pub term: Arc<lead::Term>,
}

impl Deref for Context {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Shared {
    /// The operator's clock.
    pub fn now(&self) -> Timestamp {
        self.deps.clock.now()
    }

    /// The kill switch as last seen; `None` when it has not been read or cannot be.
    pub fn pauses(&self) -> Option<Pauses> {
        if !self.pause.synced() {
            return None;
        }
        let known = self.pause.snapshot();
        if known.iter().any(|entry| matches!(entry, crate::observe::objects::Entry::Malformed(_))) {
            return None;
        }
        Some(pause::pauses(self.pause.get(names::PAUSE_CONFIG_MAP).as_deref()))
    }

    /// Takes in a run as a call of our own showed it.
    pub fn learn(&self, object: &NodeRemediation) {
        self.take_in(object, None);
    }

    /// The same with the time at which the call was sent: it counts as a fresh read of then.
    pub fn learn_answer(&self, object: &NodeRemediation, asked: Timestamp) {
        self.take_in(object, Some(asked));
    }

    fn take_in(&self, object: &NodeRemediation, asked: Option<Timestamp>) {
        self.runs.put(object.clone(), asked);
        self.wakers.run(&object.name_any());
        self.wakers.planner.notify_one();
        self.wakers.supervisor.notify_one();
    }
}

impl Context {
    /// A term with what lasts beyond it.
    pub fn new(shared: Arc<Shared>, term: Arc<lead::Term>) -> Self {
        Context { shared, term }
    }

    /// This term, as status writes bear it.
    pub fn term(&self) -> status::Term<'_> {
        status::Term { epoch: self.term.epoch, leader: &self.term.identity }
    }

    /// The status that this term writes of a run: made from the one that it has.
    pub fn status_of(
        &self,
        object: &NodeRemediation,
        run: &Run,
        note: Note<'_>,
    ) -> NodeRemediationStatus {
        let before = object.status.clone().unwrap_or_default();
        let generation = object.metadata.generation.unwrap_or_default();
        let term = self.term();
        let mut status = status::status(&before, run, generation, term, note, self.now());
        if mutant!("adoption-without-term") && !before.leader.is_empty() {
            status.leader = before.leader;
        }
        status
    }

    /// True when this term has adopted the run.
    pub fn is_adopted(&self, object: &NodeRemediation) -> bool {
        let term = self.term();
        object.status.as_ref().is_some_and(|s| s.epoch == term.epoch && s.leader == term.leader)
    }

    /// True when another term writes this run, one that is not older than ours: this process must not
    /// act any more (protocol R6). The task that keeps the Lease is told, and the term ends.
    pub fn is_superseded_by(&self, object: &NodeRemediation) -> bool {
        let Some(status) = &object.status else { return false };
        let mark = (status.epoch, status.leader.as_str());
        let superseded = lease::supersedes(mark, self.term.epoch, &self.term.identity);
        if superseded {
            self.term.lease.superseded_by(status.epoch);
        }
        superseded
    }
}
