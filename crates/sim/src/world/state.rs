//! The world's state, and what it does with the next event.

use std::{collections::BTreeMap, sync::Arc};

use http::Method;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    Error, Options, Scene, Times,
    api::{self, Media, Places, Who},
    draw::{Draw, Range},
    ears::Inbox,
    known::{self, Known},
    machine::Machine,
    queue::{Event, Queue, Sync},
};
use crate::{
    Server,
    body::Body,
    meta,
    observe::{Happening, What},
    store::Commit,
};

/// How often the node lifecycle controller looks at all nodes.
const MONITOR: u64 = 5_000;
/// How often old things are swept.
const SWEEP: u64 = 20_000;
/// How many complaints are kept.
const COMPLAINTS: usize = 100;

/// Everything that changes in a world.
pub(super) struct State {
    pub server: Server,
    pub places: Places,
    pub times: Times,
    pub draw: Draw,
    pub queue: Queue,
    /// Milliseconds since the world began.
    pub now: u64,
    /// What the server's clock says.
    pub clock: Timestamp,
    pub machines: BTreeMap<String, Machine>,
    /// Machines that ever were: addresses are not used again.
    pub numbered: usize,
    pub known: Known,
    /// When each node was last heard of, in milliseconds.
    pub heard: BTreeMap<String, u64>,
    /// Since when nodes that are gone have Pods, in milliseconds.
    pub orphaned: BTreeMap<String, u64>,
    /// The lives that the next machine with a name does not begin with.
    pub buried: BTreeMap<String, u64>,
    pub scene: Option<Arc<Scene>>,
    /// There are Alertmanagers that somebody asks: what is said of alerts is none of the world's business.
    pub alerts_are_shown: bool,
    /// Requests of the world itself that were refused for no good reason.
    pub complaints: Vec<String>,
}

impl State {
    pub(super) fn new(server: &Server, options: Options) -> Self {
        let places = server.with(|store, _| Places::of(store));
        let mut state = State {
            server: server.clone(),
            places,
            times: options.times,
            draw: Draw::new(options.seed),
            queue: Queue::default(),
            now: 0,
            clock: server.now(),
            machines: BTreeMap::new(),
            numbered: 0,
            known: Known::default(),
            heard: BTreeMap::new(),
            orphaned: BTreeMap::new(),
            buried: BTreeMap::new(),
            scene: None,
            alerts_are_shown: false,
            complaints: Vec::new(),
        };
        state.queue.at(MONITOR, Event::Monitor);
        state.queue.at(SWEEP, Event::Sweep);
        state
    }

    /// Takes in what changed, and does what is due; returns when the next event is.
    pub(super) fn turn(&mut self, inbox: &Inbox, now: u64) -> Option<u64> {
        self.now = now;
        self.clock = self.server.now();
        loop {
            for commit in inbox.take() {
                self.notice(&commit);
            }
            if inbox.take_restored() {
                self.start_anew();
                continue;
            }
            let Some(event) = self.queue.due(now) else { break };
            self.handle(event);
        }
        self.queue.next()
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Sync(sync) => self.sync(&sync),
            Event::Machine(node, life, step) => self.machine_step(&node, life, step),
            Event::Pod(node, life, uid, step) => self.pod_step(&node, life, &uid, step),
            Event::Heartbeat(node) => self.heartbeat(&node),
            Event::TellConditions(node) => self.tell_conditions(&node),
            Event::Monitor => {
                self.monitor();
                self.plan(MONITOR, Event::Monitor);
            }
            Event::Sweep => {
                self.sweep();
                self.plan(SWEEP, Event::Sweep);
            }
            Event::Collect(uid) => self.collect(&uid),
            Event::Script(at) => self.script(at),
            Event::Policies => self.policies(),
            Event::Dice(at) => self.dice(at),
            Event::Follow(follow) => self.follow(follow),
        }
    }

    fn sync(&mut self, sync: &Sync) {
        match sync {
            Sync::Kubelet(node) => self.sync_kubelet(node),
            Sync::Taints(node) => self.sync_taints(node),
            Sync::Evict(node) => self.sync_evictions(node),
            Sync::Budget(key) => self.sync_budget(key),
            Sync::Deployment(key) => self.sync_deployment(key),
            Sync::ReplicaSet(key) => self.sync_replica_set(key),
            Sync::DaemonSet(key) => self.sync_daemon_set(key),
            Sync::Account(namespace) => self.sync_account(namespace),
            Sync::Scheduler => self.sync_scheduler(),
        }
    }

    /// True when every Pod that can run does, and every controller has seen to what it has to.
    pub(super) fn is_settled(&self) -> bool {
        let runs = |pod: &Value| known::has_ended(pod) || known::is_ready(pod);
        let counted = |budget: &Value| {
            budget["status"]["observedGeneration"] == budget["metadata"]["generation"]
        };
        let made = |set: &Arc<Value>| {
            let wanted = set["spec"]["replicas"].as_u64().unwrap_or(1);
            let pods = self.known.of_owner.get(meta::of(set, "uid")).map_or(0, |pods| pods.len());
            u64::try_from(pods).unwrap_or(u64::MAX) >= wanted
        };
        self.known.pods.values().all(|pod| runs(pod))
            && self.known.budgets.values().all(|budget| counted(&budget.object))
            && self.known.deployments.len() <= self.known.replica_sets.len()
            && self.known.replica_sets.values().all(made)
    }

    /// Plans an event in so many milliseconds.
    pub(super) fn plan(&mut self, millis: u64, event: Event) {
        self.queue.at(self.now.saturating_add(millis.max(1)), event);
    }

    /// Plans a look at what has changed, as late as a watch brings it.
    pub(super) fn wake(&mut self, sync: Sync) {
        if !self.queue.has(&sync) {
            let late = self.draw.millis("watch", "", self.times.watch);
            self.plan(late, Event::Sync(sync));
        }
    }

    pub(super) fn millis(&mut self, purpose: &'static str, subject: &str, range: Range) -> u64 {
        self.draw.millis(purpose, subject, range)
    }

    /// Four percent more or less, so that what began together does not go on together for ever.
    pub(super) fn jittered(&mut self, purpose: &'static str, subject: &str, millis: u64) -> u64 {
        self.draw.millis(purpose, subject, (millis - millis / 25, millis + millis / 25))
    }

    /// Tells what really happened.
    pub(super) fn happened(&self, subject: &str, what: What) {
        let subject = subject.to_owned();
        self.server.happened(&Happening { at: self.server.now(), subject, what });
    }

    /// Asks the server. What is gone or has changed meanwhile is no news to anybody; anything else that
    /// is refused is remembered ([`super::World::complaints`]).
    pub(super) fn ask(
        &mut self,
        who: Who<'_>,
        method: &Method,
        path: &str,
        media: Media,
        body: Option<&Value>,
    ) -> Result<Body, Error> {
        let answer = api::ask(&self.server, who, method, path, media, body);
        if let Err(Error::Refused { code, .. }) = &answer
            && !matches!(code, 404 | 409 | 429)
            && let Err(error) = &answer
            && self.complaints.len() < COMPLAINTS
        {
            self.complaints.push(error.to_string());
        }
        answer
    }

    /// Takes in a change that somebody made.
    fn notice(&mut self, commit: &Commit) {
        let Places { nodes, pods, leases, budgets, deployments, replica_sets, daemon_sets, .. } =
            self.places;
        let at = commit.resource;
        let object = &commit.change.after;
        let key = api::key(object);
        if commit.change.gone {
            self.gone(at, object);
        }
        if at == pods {
            self.notice_pod(&key, commit);
        } else if at == nodes {
            self.notice_node(&key, commit);
        } else if at == leases {
            if let Some(node) = key.strip_prefix("kube-node-lease/")
                && !commit.change.gone
            {
                self.heard.insert(node.to_owned(), self.now);
            }
        } else if at == self.places.namespaces {
            self.wake(Sync::Account(key));
        } else if at == self.places.events {
            if commit.change.gone {
                self.known.events.remove(&key);
            } else {
                self.known.events.insert(key, self.now);
            }
        } else if at == budgets {
            if commit.change.gone {
                self.known.budgets.remove(&key);
                return;
            }
            self.known.put_budget(&key, object);
            self.wake(Sync::Budget(key));
        } else {
            let (table, sync) = if at == deployments {
                (&mut self.known.deployments, Sync::Deployment(key.clone()))
            } else if at == replica_sets {
                (&mut self.known.replica_sets, Sync::ReplicaSet(key.clone()))
            } else if at == daemon_sets {
                (&mut self.known.daemon_sets, Sync::DaemonSet(key.clone()))
            } else {
                return;
            };
            if commit.change.gone {
                table.remove(&key);
                return;
            }
            table.insert(key.clone(), object.clone());
            self.wake(sync);
            if at == replica_sets {
                self.wake_owner(object);
            }
        }
    }

    fn notice_pod(&mut self, key: &str, commit: &Commit) {
        let key = &key.to_owned();
        let (pod, gone) = (&commit.change.after, commit.change.gone);
        if !gone {
            self.known.put_pod(key, pod);
        }
        let budgets = self.known.budgets_over(key);
        if gone {
            self.known.drop_pod(key);
        }
        let node = known::node_of(pod);
        let room = gone && !self.known.unbound.is_empty();
        if room || (node.is_empty() && !gone) {
            self.wake(Sync::Scheduler);
        }
        // A kubelet knows what it has written itself.
        if !node.is_empty() && (gone || *commit.by != *api::KUBELET.name) {
            self.wake(Sync::Kubelet(node.to_owned()));
        }
        let before = commit.change.before.as_deref();
        if gone || before.is_none_or(|before| counts(before) != counts(pod)) {
            self.wake_owner(pod);
            for budget in budgets {
                self.wake(Sync::Budget(budget));
            }
        }
    }

    fn wake_owner(&mut self, object: &Value) {
        let Some((kind, _)) = known::owner(object) else { return };
        let owners = meta::get(object, "ownerReferences").and_then(Value::as_array);
        let mut owners = owners.into_iter().flatten();
        let name = owners.find(|one| one["controller"] == true).map(|one| &one["name"]);
        let Some(name) = name.and_then(Value::as_str) else { return };
        let key = crate::store::key(meta::of(object, "namespace"), name);
        match kind {
            "ReplicaSet" => self.wake(Sync::ReplicaSet(key)),
            "DaemonSet" => self.wake(Sync::DaemonSet(key)),
            "Deployment" => self.wake(Sync::Deployment(key)),
            _ => {}
        }
    }

    fn notice_node(&mut self, name: &str, commit: &Commit) {
        let (node, before) = (&commit.change.after, commit.change.before.as_deref());
        if commit.change.gone {
            self.known.nodes.remove(name);
            self.heard.remove(name);
            self.wake_daemon_sets();
            return;
        }
        let heartbeat =
            |node: &Value| known::condition(node, "Ready")?.get("lastHeartbeatTime").cloned();
        if before.is_none_or(|before| heartbeat(before) != heartbeat(node)) {
            self.heard.insert(name.to_owned(), self.now);
        }
        self.known.nodes.insert(name.to_owned(), node.clone());
        let part = |node: &Value| {
            let labels = meta::get(node, "labels").cloned();
            (node["spec"].clone(), labels, known::status_of(node, "Ready").to_owned())
        };
        if before.is_none_or(|before| part(before) != part(node)) {
            self.wake(Sync::Taints(name.to_owned()));
            self.wake(Sync::Evict(name.to_owned()));
            self.wake(Sync::Kubelet(name.to_owned()));
            self.wake_daemon_sets();
            if !self.known.unbound.is_empty() {
                self.wake(Sync::Scheduler);
            }
        }
    }

    fn wake_daemon_sets(&mut self) {
        let keys: Vec<String> = self.known.daemon_sets.keys().cloned().collect();
        for key in keys {
            self.wake(Sync::DaemonSet(key));
        }
    }
}

/// What controllers count of a Pod.
fn counts(pod: &Value) -> (bool, bool, bool, bool) {
    let bound = !known::node_of(pod).is_empty();
    (known::is_ready(pod), meta::is_deleting(pod), known::has_ended(pod), bound)
}
