//! What the judge knows of the world, and how it learns it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use rerail_api::names;
use serde_json::Value;

use super::{
    Leniency, Violation,
    lease::LeaseTruth,
    node::{Machine, NodeTruth},
    past::{Recent, earlier},
    pods::PodTruth,
    policy::{Entry, Limits, PolicyTruth, pauses},
    process::Process,
    run::{RunTruth, decode},
};
use crate::{
    observe::{Cause, Happening, Read, What},
    store::{Commit, Key, Store, key_of},
};

/// So many violations are kept; where one thing is wrong, more say nothing new.
const KEPT: usize = 1000;

/// A look lasts 5 s, and a call is not sent at once.
const LOOK: SignedDuration = SignedDuration::from_secs(10);

/// Where the resources stand that are judged by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kinds {
    pub nodes: usize,
    pub pods: usize,
    pub runs: usize,
    pub policies: usize,
    pub leases: usize,
    pub maps: usize,
    pub budgets: usize,
    pub sources: usize,
}

impl Kinds {
    fn of(store: &Store) -> Self {
        let at = |group: &str, plural: &str| store.position(group, plural).unwrap_or(usize::MAX);
        Kinds {
            nodes: at("", "nodes"),
            pods: at("", "pods"),
            runs: at(names::GROUP, "noderemediations"),
            policies: at(names::GROUP, "remediationpolicies"),
            leases: at("coordination.k8s.io", "leases"),
            maps: at("", "configmaps"),
            budgets: at("policy", "poddisruptionbudgets"),
            sources: at(names::GROUP, "alertsources"),
        }
    }
}

/// A change, with what judging needs to know of it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub at: Timestamp,
    /// When the request was sent that made it.
    pub sent: Timestamp,
    pub by: Arc<str>,
    /// An operator made it.
    pub ours: bool,
    /// What it had read before it decided is at least as young.
    pub from: Timestamp,
    /// The same before an effect, which needs a look of its own.
    pub look: Timestamp,
    /// What it knew by its watches is at least as young.
    pub old: Timestamp,
}

/// How many may start after a storm, and since when.
type Round = (u32, Timestamp);

/// Everything.
#[derive(Debug)]
pub(super) struct Court {
    pub leniency: Leniency,
    pub kinds: Option<Kinds>,
    pub processes: BTreeMap<Arc<str>, Process>,
    pub nodes: BTreeMap<String, NodeTruth>,
    /// Nodes that went a moment ago, with their labels: a limit may still be counted on them.
    pub vanished: Vec<(Timestamp, Arc<Value>, String)>,
    pub machines: BTreeMap<String, Machine>,
    pub pods: BTreeMap<Key, PodTruth>,
    /// Probe Pods that succeeded, by name: the UID of the latest of that name, and when it did.
    pub probed: BTreeMap<String, (String, Timestamp)>,
    /// When a DaemonSet last lost a Ready pod on a node.
    pub lost_ready: BTreeMap<(String, String), Timestamp>,
    pub runs: BTreeMap<String, RunTruth>,
    pub policies: BTreeMap<String, Recent<Option<PolicyTruth>>>,
    /// Storms on record: policy and condition type; starts allowed, and since when.
    pub storms: BTreeMap<(String, String), Recent<Option<Round>>>,
    /// When each of them was first on record.
    pub storms_began: BTreeMap<(String, String), Timestamp>,
    /// When each of them was opened anew while its remedy was tried.
    pub storms_reopened: BTreeMap<(String, String), Timestamp>,
    /// When the same was last said again of the alerts of a node.
    pub renewed: BTreeMap<String, Timestamp>,
    /// There are AlertSources: alerts reach nodes by the operator, and it by servers.
    pub alerts_from_servers: bool,
    pub limits: Recent<Option<Limits>>,
    pub pauses: Recent<Vec<Entry>>,
    pub lease: LeaseTruth,
    /// Starts by policy.
    pub starts: BTreeMap<String, Vec<Timestamp>>,
    /// When etcd was restored last. What was done before that is not on record any more, so that it may be
    /// done once more, and is not counted.
    pub restored: Option<Timestamp>,
    /// Disruptive acts by UID of the node: when, by which run, which attempt.
    pub acts: BTreeMap<String, Vec<(Timestamp, String, u32)>>,
    pub violations: Vec<Violation>,
    told: BTreeSet<(&'static str, String, String)>,
    pub sometimes: BTreeMap<&'static str, u64>,
    /// Effects so far, and how many there were when the world was last at rest.
    pub effects: u64,
    pub at_rest: Option<u64>,
}

impl Court {
    pub fn new(leniency: Leniency) -> Self {
        Court {
            leniency,
            kinds: None,
            processes: BTreeMap::new(),
            nodes: BTreeMap::new(),
            vanished: Vec::new(),
            machines: BTreeMap::new(),
            pods: BTreeMap::new(),
            probed: BTreeMap::new(),
            lost_ready: BTreeMap::new(),
            runs: BTreeMap::new(),
            policies: BTreeMap::new(),
            storms: BTreeMap::new(),
            storms_began: BTreeMap::new(),
            storms_reopened: BTreeMap::new(),
            renewed: BTreeMap::new(),
            alerts_from_servers: false,
            limits: Recent::always(None),
            pauses: Recent::always(Vec::new()),
            lease: LeaseTruth::default(),
            starts: BTreeMap::new(),
            restored: None,
            acts: BTreeMap::new(),
            violations: Vec::new(),
            told: BTreeSet::new(),
            sometimes: BTreeMap::new(),
            effects: 0,
            at_rest: None,
        }
    }

    /// A property does not hold. The same of the same is told once.
    pub fn blame(
        &mut self,
        property: &'static str,
        at: Timestamp,
        subject: &str,
        message: impl Into<String>,
    ) {
        // What somebody else has written into a run's status, an operator cannot know for false. Boots
        // are counted and other people's cordons are kept all the same.
        let excused = !matches!(property, "SAFE-1" | "SAFE-6" | "SAFE-13" | "SAFE-14");
        if excused && self.runs.values().any(|run| run.spoiled && run.name == subject) {
            return;
        }
        let message = message.into();
        let words: String = message.chars().filter(|c| !c.is_ascii_digit()).take(60).collect();
        if self.violations.len() >= KEPT || !self.told.insert((property, subject.to_owned(), words))
        {
            return;
        }
        self.violations.push(Violation { property, at, subject: subject.to_owned(), message });
    }

    pub fn saw(&mut self, what: &'static str) {
        *self.sometimes.entry(what).or_default() += 1;
    }

    pub fn lag(&self) -> SignedDuration {
        self.leniency.lag
    }

    pub fn is_operator(&self, name: &str) -> bool {
        self.processes.contains_key(name)
    }

    /// What was there before the judge came.
    fn begin(&mut self, store: &Store) -> Kinds {
        let kinds = Kinds::of(store);
        self.kinds = Some(kinds);
        let start = Timestamp::MIN;
        for (name, object) in store.table(kinds.nodes).objects() {
            self.nodes.insert(name.clone(), NodeTruth::new(object, start));
        }
        for (key, object) in store.table(kinds.pods).objects() {
            if let Some(pod) = PodTruth::of(object, start) {
                self.pods.insert(key.clone(), pod);
            }
        }
        for object in store.table(kinds.runs).objects().values() {
            if let Some(run) = decode(object) {
                self.runs.insert(run.metadata.uid.clone().unwrap_or_default(), RunTruth::new(&run));
            }
        }
        for (name, object) in store.table(kinds.policies).objects() {
            self.policies.insert(name.clone(), Recent::always(PolicyTruth::of(object)));
        }
        self.alerts_from_servers = !store.table(kinds.sources).objects().is_empty();
        for object in store.table(kinds.maps).objects().values() {
            self.map_changed(object, false, start);
        }
        kinds
    }

    pub fn committed(&mut self, store: &Store, commit: &Commit) {
        let kinds = match self.kinds {
            Some(kinds) => kinds,
            None => self.begin(store),
        };
        let seen = Seen {
            at: commit.at,
            sent: commit.sent,
            by: commit.by.clone(),
            ours: self.is_operator(&commit.by),
            from: earlier(commit.sent, self.lag()),
            look: earlier(commit.sent, LOOK.min(self.lag())),
            old: earlier(commit.sent, self.leniency.watch),
        };
        let change = &commit.change;
        let after = change.result();
        let before = change.before.as_ref();
        let kind = commit.resource;
        if seen.ours {
            self.fenced(&seen, kind, before.map(|before| &**before), &change.after);
        }
        if kind == kinds.nodes {
            self.node_changed(&seen, before, after, &change.after);
        } else if kind == kinds.runs {
            self.run_changed(&seen, before, after, &change.after);
        } else if kind == kinds.leases {
            if key_of(&change.after) == LEASE_KEY {
                self.lease_changed(&seen, after);
            }
        } else if kind == kinds.pods {
            self.pod_changed(store, &seen, before, after, &change.after);
        } else if kind == kinds.policies {
            self.policy_changed(&seen, before, after, &change.after);
        } else if kind == kinds.sources {
            self.alerts_from_servers = true;
        } else if kind == kinds.maps {
            self.map_changed(&change.after, change.gone, seen.at);
        }
        // The answer to a write is as good as a read.
        if let Some(process) = self.processes.get_mut(&seen.by)
            && [kinds.nodes, kinds.runs, kinds.leases].contains(&kind)
        {
            process.has_read(kind, &key_of(&change.after), seen.sent);
        }
    }

    fn policy_changed(
        &mut self,
        seen: &Seen,
        before: Option<&Arc<Value>>,
        after: Option<&Arc<Value>>,
        object: &Arc<Value>,
    ) {
        let name = crate::meta::of(object, "name").to_owned();
        let policy = after.and_then(|after| PolicyTruth::of(after));
        if let Some(after) = after {
            self.storms_told(before.map(|before| &**before), after);
            let storms = super::rest::storms_of(after);
            let of_policy = self.storms.iter_mut().filter(|((policy, _), _)| *policy == name);
            for ((_, kind), known) in of_policy {
                if !storms.iter().any(|(storm, ..)| storm == kind) {
                    known.set(None, seen.at);
                    self.storms_began.remove(&(name.clone(), kind.clone()));
                    self.storms_reopened.remove(&(name.clone(), kind.clone()));
                }
            }
            for (kind, allowed, since) in storms {
                let key = (name.clone(), kind);
                let known = self.storms.entry(key.clone()).or_insert_with(|| Recent::always(None));
                let opens = allowed == 0 && known.get().is_some_and(|(before, _)| before > 0);
                self.storms_began.entry(key.clone()).or_insert(seen.at);
                if opens && seen.ours {
                    self.storms_reopened.insert(key, seen.at);
                }
                known.set(Some((allowed, since)), seen.at);
            }
            if seen.ours {
                self.rounds(seen, &name);
            }
        }
        let in_force = policy.as_ref().is_some_and(PolicyTruth::in_force);
        let at_work = |run: &RunTruth| run.policy == name && run.is_active();
        if !in_force && before.is_some() && self.runs.values().any(at_work) {
            self.saw("policy-withdrawn");
        }
        let known = self.policies.entry(name).or_insert_with(|| Recent::always(None));
        known.set(policy, seen.at);
    }

    fn map_changed(&mut self, object: &Value, gone: bool, at: Timestamp) {
        if crate::meta::of(object, "namespace") != names::SYSTEM_NAMESPACE {
            return;
        }
        match crate::meta::of(object, "name") {
            names::PAUSE_CONFIG_MAP => self.pauses.set(pauses((!gone).then_some(object)), at),
            names::CONFIG_CONFIG_MAP if !gone => {
                // One that cannot be read leaves the last good one in force.
                if let Some(limits) = Limits::of(object) {
                    self.limits.set(Some(limits), at);
                }
            }
            _ => {}
        }
    }

    pub fn read(&mut self, read: &Read) {
        let Some(kinds) = self.kinds else { return };
        if ![kinds.nodes, kinds.runs, kinds.leases].contains(&read.resource) {
            return;
        }
        if let (Some(process), Some(key)) = (self.processes.get_mut(&read.by), &read.key) {
            process.has_read(read.resource, key, read.at);
        }
    }

    pub fn happened(&mut self, store: &Store, happening: &Happening) {
        if self.kinds.is_none() {
            self.begin(store);
        }
        let at = happening.at;
        let subject = happening.subject.as_str();
        match &happening.what {
            What::OperatorStarted => {
                self.processes.insert(Arc::from(subject), Process::default());
            }
            What::OperatorEnded { killed } => {
                if *killed {
                    self.saw("operator-killed");
                }
                if let Some(process) = self.processes.get_mut(subject) {
                    process.alive = false;
                }
            }
            What::Appeared { boot_id, .. } => {
                // An alert names no machine but a node: that of the one before ends with it.
                let before = self.machines.remove(subject).unwrap_or_default();
                let ended = before.sick.into_keys().map(|kind| (kind, at));
                let well = before.well.into_iter().chain(ended).collect();
                let machine = Machine { boot_id: boot_id.clone(), well, ..Machine::default() };
                self.machines.insert(subject.to_owned(), machine);
            }
            What::Vanished => self.machine(subject).gone = true,
            What::Acts(cause) => self.acts(subject, cause, at),
            What::Refused(_) => self.saw("reboot-pod-refuses"),
            What::Down(_) => self.machine(subject).down = Some(at),
            What::Boot { boot_id, cause } => self.boots(subject, boot_id, cause, at),
            What::Ready(_) => {}
            What::Sick { condition, on } => {
                let machine = self.machine(subject);
                if *on {
                    machine.sick.entry(condition.clone()).or_insert(at);
                } else if machine.sick.remove(condition).is_some() {
                    machine.well.insert(condition.clone(), at);
                }
            }
            What::Fault(_) => self.saw("fault"),
            What::Restored => {
                self.saw("etcd-restored");
                self.restored = Some(at);
            }
        }
    }

    pub fn attempts(&self, node: &str) -> usize {
        let uid = self.nodes.get(node).map(|node| &node.uid);
        let runs = self.runs.values().filter(|run| Some(&run.node_uid) == uid);
        runs.map(|run| run.boot_before.len()).sum()
    }

    pub fn machine(&mut self, name: &str) -> &mut Machine {
        self.machines.entry(name.to_owned()).or_default()
    }

    /// The run whose reboot this is.
    pub fn stamped(cause: &Cause) -> Option<(&str, u32)> {
        match cause {
            Cause::Pod { run, attempt } => Some((run, *attempt)),
            Cause::Foreign(_) | Cause::Spontaneous => None,
        }
    }
}

/// Key of the operator's Lease.
pub(super) const LEASE_KEY: &str = "rerail-system/rerail-operator";
