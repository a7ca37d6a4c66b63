//! What an observer sees of nodes, runs and the ledger, and when. All times are of one clock, that of
//! the truth log.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Node};
use kube::{
    Api, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use rerail_api::{NodeRemediation, remediation::StepName};
use rerail_core::step::Step;
use rerail_e2e::{Cluster, LEASE, LEDGER};
use rerail_fleet::now;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinSet,
};

use super::scene::CONDITION;
use crate::bench::BenchError;

enum Fact {
    Node { name: String, sick: bool, cordoned: bool },
    Run { node: String, uid: String, step: Option<Step> },
    Lease { holder: String, slots: Vec<String> },
}

struct Seen {
    at: Timestamp,
    fact: Fact,
}

/// When what was first seen of a node and its latest run.
#[derive(Debug, Clone, Default)]
pub struct Track {
    /// The condition is True.
    pub sick: Option<Timestamp>,
    /// Its run is there.
    pub created: Option<Timestamp>,
    /// The ledger holds its slot.
    pub slot: Option<Timestamp>,
    /// The run is beyond Pending.
    pub admitted: Option<Timestamp>,
    /// `unschedulable`.
    pub cordoned: Option<Timestamp>,
    /// The run is in step Rebooting: the drain is done.
    pub rebooting: Option<Timestamp>,
    /// Schedulable again.
    pub uncordoned: Option<Timestamp>,
    /// The ledger no longer holds its slot.
    pub released: Option<Timestamp>,
    /// The run has ended.
    pub ended: Option<Timestamp>,
    /// How.
    pub result: Option<Step>,
    uid: String,
}

/// The observer.
pub struct Film {
    seen: UnboundedReceiver<Seen>,
    /// What was seen since [`Film::begin`], by node.
    pub tracks: BTreeMap<String, Track>,
    /// Who held the Lease, from when on.
    pub holders: Vec<(Timestamp, String)>,
    slots: Vec<String>,
    _watches: JoinSet<()>,
}

impl Film {
    /// Starts all watches.
    pub fn start(cluster: &Cluster) -> Self {
        let (sender, seen) = unbounded_channel();
        let mut watches = JoinSet::new();
        let nodes = Api::<Node>::all(cluster.client.clone());
        let everything = watcher::Config::default;
        watches.spawn(follow(nodes, everything(), sender.clone(), node));
        watches.spawn(follow(cluster.runs(), everything(), sender.clone(), run));
        let ours = watcher::Config::default().fields(&format!("metadata.name={LEASE}"));
        watches.spawn(follow(cluster.leases(), ours, sender, lease));
        Film {
            seen,
            tracks: BTreeMap::new(),
            holders: Vec::new(),
            slots: Vec::new(),
            _watches: watches,
        }
    }

    /// Forgets what was seen of nodes so far.
    pub fn begin(&mut self) {
        while let Ok(seen) = self.seen.try_recv() {
            self.see(seen);
        }
        self.tracks.clear();
    }

    /// Looks until `done` says so; `Err` when that takes longer than `patience`.
    pub async fn until(
        &mut self,
        what: &'static str,
        patience: Duration,
        done: impl Fn(&Film) -> bool,
    ) -> Result<(), BenchError> {
        let watching = async {
            while !done(self) {
                let Some(seen) = self.seen.recv().await else { return };
                self.see(seen);
            }
        };
        let watched = tokio::time::timeout(patience, watching).await;
        watched.map_err(|_| BenchError::Unseen { node: self.last_open(), what })
    }

    /// A node whose run has not ended, for people.
    fn last_open(&self) -> String {
        let open = self.tracks.iter().filter(|(_, track)| track.ended.is_none());
        let open: Vec<_> = open.map(|(node, _)| node.as_str()).take(3).collect();
        open.join(", ")
    }

    fn see(&mut self, Seen { at, fact }: Seen) {
        match fact {
            Fact::Node { name, sick, cordoned } => {
                if !sick && !cordoned && !self.tracks.contains_key(&name) {
                    return;
                }
                let track = self.tracks.entry(name).or_default();
                if sick {
                    track.sick.get_or_insert(at);
                }
                if cordoned {
                    track.cordoned.get_or_insert(at);
                } else if track.cordoned.is_some() {
                    track.uncordoned.get_or_insert(at);
                }
            }
            Fact::Run { node, uid, step } => {
                self.tracks.entry(node).or_default().run(at, uid, step)
            }
            Fact::Lease { holder, slots } => {
                if self.holders.last().is_none_or(|(_, last)| *last != holder) {
                    self.holders.push((at, holder));
                }
                for node in slots.iter().filter(|node| !self.slots.contains(node)) {
                    self.tracks.entry(node.clone()).or_default().slot.get_or_insert(at);
                }
                for node in self.slots.iter().filter(|node| !slots.contains(node)) {
                    self.tracks.entry(node.clone()).or_default().released.get_or_insert(at);
                }
                self.slots = slots;
            }
        }
    }
}

impl Track {
    fn run(&mut self, at: Timestamp, uid: String, step: Option<Step>) {
        // What an earlier run of the node still says in its last moments is not about this one.
        if self.uid != uid && step.is_some_and(Step::is_terminal) {
            return;
        }
        self.uid = uid;
        self.created.get_or_insert(at);
        let Some(step) = step.filter(|step| *step != Step::Pending) else { return };
        self.admitted.get_or_insert(at);
        if step == Step::Rebooting {
            self.rebooting.get_or_insert(at);
        }
        if step.is_terminal() {
            self.ended.get_or_insert(at);
            self.result = Some(step);
        }
    }
}

async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    sender: UnboundedSender<Seen>,
    fact: fn(&K) -> Fact,
) where
    K: kube::Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let events = watcher(api, config).default_backoff().applied_objects();
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        // An error is followed by a new list; what it does not show is reported as unseen.
        let Ok(event) = event else { continue };
        if sender.send(Seen { at: now(), fact: fact(&event) }).is_err() {
            return;
        }
    }
}

fn node(node: &Node) -> Fact {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    Fact::Node {
        name: node.name_any(),
        sick: conditions.any(|c| c.type_ == CONDITION && c.status == "True"),
        cordoned: node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false),
    }
}

fn run(run: &NodeRemediation) -> Fact {
    let step = match run.status.as_ref().map(|status| &status.step) {
        Some(StepName::Known(step)) => Some(*step),
        Some(StepName::Unknown(_)) | None => None,
    };
    Fact::Run { node: run.spec.node_name.clone(), uid: run.uid().unwrap_or_default(), step }
}

fn lease(lease: &Lease) -> Fact {
    let spec = lease.spec.as_ref();
    let ledger = lease.annotations().get(LEDGER);
    let ledger: Value = ledger.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let slots = ledger.get("slots").and_then(Value::as_array).into_iter().flatten();
    let node = |slot: &Value| Some(slot.get("nodeName")?.as_str()?.to_owned());
    Fact::Lease {
        holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
        slots: slots.filter_map(node).collect(),
    }
}
