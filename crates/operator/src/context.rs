//! What planner and drivers share.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use rerail_api::{
    NodeRemediation, RemediationPolicy,
    convert::{pause, status::Term},
    names,
};
use rerail_core::facts::Pauses;

use crate::{
    client::Clients,
    deps::Deps,
    observe::{nodes::Nodes, objects::Objects, wake::Wakers},
    record::events::Events,
};

/// Everything that one term of the operator shares.
pub struct Context {
    /// Connections.
    pub clients: Clients,
    /// Clock, identity, settings, metrics.
    pub deps: Arc<Deps>,
    /// Number of this term: higher than that of any run at its start.
    pub epoch: i64,
    /// The nodes.
    pub nodes: Nodes,
    /// The runs.
    pub runs: Objects<NodeRemediation>,
    /// The policies.
    pub policies: Objects<RemediationPolicy>,
    /// The kill switch.
    pub pause: Objects<ConfigMap>,
    /// Who is woken.
    pub wakers: Wakers,
    /// Events.
    pub events: Events,
}

impl Context {
    /// The operator's clock.
    pub fn now(&self) -> Timestamp {
        self.deps.clock.now()
    }

    /// This term, as status writes bear it.
    pub fn term(&self) -> Term<'_> {
        Term { epoch: self.epoch, leader: &self.deps.identity }
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
        Some(pause::pauses(self.pause.get(names::PAUSE_CONFIG_MAP).as_ref()))
    }

    /// True when this term has adopted the run.
    pub fn is_adopted(&self, object: &NodeRemediation) -> bool {
        let term = self.term();
        object.status.as_ref().is_some_and(|s| s.epoch == term.epoch && s.leader == term.leader)
    }

    /// Takes in the answer to a write or a fresh read of a run.
    pub fn learn(&self, object: &NodeRemediation) {
        self.runs.put(object.clone());
        self.wakers.run(&object.name_any());
        self.wakers.planner.notify_one();
        self.wakers.supervisor.notify_one();
    }
}
