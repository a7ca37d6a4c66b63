//! What a spectator knows of the cluster: only what the API server's objects say, so that it is true of
//! a real one, too. Fed with every change, in the order in which they happen.

mod face;
pub mod fixture;
mod policy;
mod run;
#[cfg(test)]
mod tests;
mod told;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use rerail_api::{convert, names};
use rerail_core::{
    config::ClusterConfig,
    domain::Domain,
    facts::{Labels, OF_KUBELET, OUT_OF_SERVICE_TAINT},
    plan::WaitReason,
    priority::{Prefix, prefix},
};
use serde_json::Value;

pub use face::Face;
pub use policy::{Policy, Storm, Waits, WasStorm};
pub use run::{Blocked, Run, length};
pub use told::{AT_ONCE, Told, Tone};

/// The priority of a message without a number, as of a policy that says nothing else.
const NO_NUMBER: u16 = 9;

/// What is wrong with a node, by a condition that is True.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The condition's type.
    pub condition: String,
    /// Its message.
    pub message: String,
    /// The number in front of the message.
    pub priority: u16,
}

/// One node.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// Its failure domain, for people.
    pub rack: String,
    /// Its failure domain, as the operator names it; empty where there are none.
    pub domain: String,
    /// Its Ready condition is True.
    pub ready: bool,
    /// `spec.unschedulable`.
    pub cordoned: bool,
    /// The cordon is the operator's.
    pub ours: bool,
    /// It is being deleted.
    pub leaving: bool,
    /// Somebody says that its machine is off.
    pub out_of_service: bool,
    /// What is wrong with it.
    pub troubles: Vec<Trouble>,
    /// Its latest run.
    pub run: Option<Run>,
    /// How often it was healed.
    pub healed: usize,
    was_ready: bool,
    sick_since: Option<Timestamp>,
}

impl Entry {
    /// The most urgent priority.
    pub fn priority(&self) -> Option<u16> {
        self.troubles.iter().map(|trouble| trouble.priority).min()
    }

    /// How it looks.
    pub fn face(&self) -> Face {
        Face::of(self)
    }

    /// Out of service, as budgets count it; but for a machine that was never there, which is no loss.
    pub fn is_out(&self) -> bool {
        let held = self.run.as_ref().and_then(|run| run.step).is_some_and(|step| step.holds_slot());
        let away = !self.ready || self.cordoned || self.leaving || self.out_of_service;
        held || self.was_ready && away
    }

    /// It has been Ready at least once.
    pub fn has_been_ready(&self) -> bool {
        self.was_ready
    }

    fn blocked(&self) -> bool {
        self.run.as_ref().is_some_and(Run::is_blocked)
    }
}

/// One admission, to tell the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// When.
    pub at: Timestamp,
    /// The node.
    pub node: String,
    /// Its rack.
    pub rack: String,
    /// Its failure domain, as the operator names it.
    pub domain: String,
    /// Its priority.
    pub priority: Option<u16>,
}

/// The most of something at any time, and what may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Most {
    /// Now.
    pub now: usize,
    /// The most that was.
    pub most: usize,
    /// What may be now.
    pub allowed: usize,
}

impl Most {
    fn is(&mut self, now: usize, allowed: usize) {
        (self.now, self.allowed, self.most) = (now, allowed, self.most.max(now));
    }
}

/// Everything that is known.
#[derive(Debug, Default)]
pub struct Board {
    start: Timestamp,
    now: Timestamp,
    nodes: BTreeMap<String, Entry>,
    labels: BTreeMap<String, Labels>,
    policies: BTreeMap<String, Policy>,
    config: ClusterConfig,
    leader: String,
    told: Vec<Told>,
    admissions: Vec<Admission>,
    /// When a run was admitted, by its UID.
    admitted: BTreeMap<String, Timestamp>,
    /// From admission to health, of each healed run.
    took: Vec<SignedDuration>,
    /// From the alert to health, of each healed run.
    suffered: Vec<SignedDuration>,
    violations: Vec<String>,
    under_remediation: Most,
    racks_open: Most,
    out: Most,
    /// Nodes out of service by failure domain; `allowed` is how many there are in it.
    out_by_domain: BTreeMap<String, Most>,
    blocked: Vec<Blocked>,
    storms: Vec<WasStorm>,
}

/// A change of one object, as the API server has it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// When.
    pub at: Timestamp,
    /// Who did it.
    pub by: &'a str,
    /// The resource's plural name.
    pub resource: &'a str,
    /// The object; as it was, if it is gone.
    pub object: &'a Value,
    /// True if it is gone.
    pub gone: bool,
}

impl Board {
    /// Knows nothing yet; times are told from `start` on.
    pub fn new(start: Timestamp) -> Self {
        Board { start, now: start, ..Board::default() }
    }

    /// Takes in one change.
    pub fn see(&mut self, seen: &Seen<'_>) {
        self.now = self.now.max(seen.at);
        match seen.resource {
            "nodes" => self.see_node(seen),
            "noderemediations" => self.see_run(seen),
            "remediationpolicies" => self.see_policy(seen),
            "configmaps" => self.see_config(seen),
            "leases" => self.see_lease(seen),
            _ => return,
        }
        self.count();
    }

    /// What time it is.
    pub fn tick(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    /// Something that must never be.
    pub fn violated(&mut self, at: Timestamp, what: String) {
        self.tell(at, Tone::Bad, "", format!("VIOLATION: {what}"));
        self.violations.push(what);
    }

    fn tell(&mut self, at: Timestamp, tone: Tone, node: &str, what: String) {
        self.tell_alike(at, tone, node, what, String::new());
    }

    /// The same for what happens to many nodes at once, known by `same`.
    fn tell_alike(&mut self, at: Timestamp, tone: Tone, node: &str, what: String, same: String) {
        let entry = self.nodes.get(node);
        let told = Told {
            after: at.duration_since(self.start),
            tone,
            node: node.to_owned(),
            rack: entry.map(|entry| entry.rack.clone()).unwrap_or_default(),
            what,
            more: 0,
            same,
        };
        let near = self.told.iter_mut().rev().take_while(|old| told.after - old.after < AT_ONCE);
        if !near.into_iter().any(|old| old.takes_in(&told)) {
            self.told.push(told);
        }
    }

    fn see_node(&mut self, seen: &Seen<'_>) {
        let name = text(seen.object, "/metadata/name").to_owned();
        if seen.gone {
            self.tell(seen.at, Tone::Others, &name, format!("deleted{}", by(seen.by)));
            self.unblock(seen.at, |blocked| blocked.node == name);
            self.nodes.remove(&name);
            self.labels.remove(&name);
            return;
        }
        let labels = self.note_labels(&name, seen.object);
        let domain = Domain::of(&name, &labels, &self.config.topology_keys);
        let known = self.nodes.contains_key(&name);
        let entry = self.nodes.entry(name.clone()).or_default();
        let before = entry.clone();
        entry.rack = rack(&domain, &name);
        entry.domain = domain.to_string();
        entry.ready = condition(seen.object, "Ready").is_some_and(|c| text(c, "/status") == "True");
        entry.was_ready |= entry.ready;
        entry.cordoned = seen.object.pointer("/spec/unschedulable") == Some(&Value::Bool(true));
        entry.ours = annotation(seen.object, names::CORDONED_BY).is_some();
        entry.leaving = seen.object.pointer("/metadata/deletionTimestamp").is_some();
        let taints = seen.object.pointer("/spec/taints").and_then(Value::as_array);
        let mut taints = taints.into_iter().flatten();
        entry.out_of_service = taints.any(|taint| text(taint, "/key") == OUT_OF_SERVICE_TAINT);
        entry.troubles = troubles(seen.object);
        match (entry.sick_since, entry.troubles.is_empty()) {
            (None, false) => entry.sick_since = Some(seen.at),
            (Some(_), true) if !entry.face().in_work() => entry.sick_since = None,
            _ => {}
        }
        let after = entry.clone();
        if known {
            self.tell_of_node(seen, &name, &before, &after);
        }
    }

    fn tell_of_node(&mut self, seen: &Seen<'_>, name: &str, before: &Entry, after: &Entry) {
        for trouble in &after.troubles {
            if !before.troubles.iter().any(|known| known.condition == trouble.condition) {
                let same = format!("alert {} {}", trouble.condition, trouble.priority);
                self.tell_alike(seen.at, Tone::Sick, name, trouble.message.clone(), same);
            }
        }
        let quiet = after.troubles.is_empty() && !before.troubles.is_empty();
        if quiet && !before.cordoned && !after.face().in_work() {
            let what = "its alert is over by itself".to_owned();
            self.tell_alike(seen.at, Tone::Calm, name, what.clone(), what);
        }
        if before.cordoned != after.cordoned && !before.ours && !after.ours {
            let what = if after.cordoned { "cordoned" } else { "uncordoned" };
            self.tell(seen.at, Tone::Others, name, format!("{what}{}", by(seen.by)));
        }
        let expected = before.face().in_work() || after.face().in_work();
        // That a new node becomes Ready is no news.
        if before.ready != after.ready && before.was_ready && !expected {
            let what = if after.ready { "is Ready" } else { "is not Ready" }.to_owned();
            self.tell_alike(seen.at, Tone::Others, name, what.clone(), what);
        }
    }

    fn note_labels(&mut self, name: &str, object: &Value) -> Labels {
        let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
        let texts = labels.into_iter().flatten();
        let texts = texts.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("")));
        let labels = Labels::of_texts(texts.map(Arc::from));
        self.labels.insert(name.to_owned(), labels.clone());
        labels
    }

    fn see_config(&mut self, seen: &Seen<'_>) {
        if text(seen.object, "/metadata/name") != names::CONFIG_CONFIG_MAP {
            return;
        }
        let object = serde_json::from_value(seen.object.clone()).ok().filter(|_| !seen.gone);
        // One that is not good leaves the last good one in force.
        if let Ok(config) = convert::config::config(object.as_ref()) {
            self.config = config;
            let keys = &self.config.topology_keys;
            for (name, entry) in &mut self.nodes {
                if let Some(labels) = self.labels.get(name) {
                    let domain = Domain::of(name, labels, keys);
                    entry.rack = rack(&domain, name);
                    entry.domain = domain.to_string();
                }
            }
        }
    }

    fn see_lease(&mut self, seen: &Seen<'_>) {
        if text(seen.object, "/metadata/name") != names::LEASE {
            return;
        }
        let leader = if seen.gone { "" } else { text(seen.object, "/spec/holderIdentity") };
        if leader != self.leader {
            let what = match leader {
                "" => "nobody leads".to_owned(),
                leader => format!("{} leads", short_identity(leader)),
            };
            self.tell(seen.at, Tone::Calm, "", what);
            self.leader = leader.to_owned();
        }
    }

    /// Counts anew what the limits speak of.
    fn count(&mut self) {
        let all = self.nodes.len();
        let config = &self.config;
        let limit = config.max_unavailable.limit(all, config.min_floor);
        self.out.is(self.nodes.values().filter(|entry| entry.is_out()).count(), limit);
        let held = |entry: &&Entry| {
            entry.run.as_ref().and_then(|run| run.step).is_some_and(|step| step.holds_slot())
        };
        let open: BTreeSet<&str> =
            self.nodes.values().filter(held).map(|entry| entry.domain.as_str()).collect();
        let domains = usize::try_from(config.max_domains).unwrap_or(usize::MAX);
        self.racks_open.is(open.len(), domains);
        let mut domains_out: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for entry in self.nodes.values().filter(|entry| !entry.domain.is_empty()) {
            let (out, nodes) = domains_out.entry(&entry.domain).or_default();
            (*out, *nodes) = (*out + usize::from(entry.is_out()), *nodes + 1);
        }
        for (domain, (out, nodes)) in domains_out {
            // At every change of an object; a name is only copied when it is new.
            match self.out_by_domain.get_mut(domain) {
                Some(known) => known.is(out, nodes),
                None => self.out_by_domain.entry(domain.to_owned()).or_default().is(out, nodes),
            }
        }
        self.under_remediation.is(self.nodes.values().filter(held).count(), limit);
    }
}

/// What is asked of it.
impl Board {
    /// Since the beginning, by the cluster's clock.
    pub fn elapsed(&self) -> SignedDuration {
        self.now.duration_since(self.start)
    }

    /// When it began, by the cluster's clock.
    pub fn start(&self) -> Timestamp {
        self.start
    }

    /// Now, by the cluster's clock.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// All nodes.
    pub fn nodes(&self) -> &BTreeMap<String, Entry> {
        &self.nodes
    }

    /// The nodes of each rack, by name; racks of one zone without the zone's name.
    pub fn racks(&self) -> BTreeMap<&str, Vec<(&str, &Entry)>> {
        let zones: BTreeSet<&str> = self.nodes.values().map(|entry| zone(&entry.rack)).collect();
        let mut racks: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for (name, entry) in &self.nodes {
            let rack = match entry.rack.split_once('/') {
                Some((_, rack)) if zones.len() == 1 => rack,
                Some(_) | None => &entry.rack,
            };
            racks.entry(rack).or_default().push((name.as_str(), entry));
        }
        racks
    }

    /// How many nodes look like this.
    pub fn number(&self, is: impl Fn(Face) -> bool) -> usize {
        self.nodes.values().filter(|entry| is(entry.face())).count()
    }

    /// All policies.
    pub fn policies(&self) -> &BTreeMap<String, Policy> {
        &self.policies
    }

    /// Who leads, for people; empty for nobody.
    pub fn leader(&self) -> &str {
        short_identity(&self.leader)
    }

    /// Everything that was told, oldest first.
    pub fn told(&self) -> &[Told] {
        &self.told
    }

    /// The admissions, in their order.
    pub fn admissions(&self) -> &[Admission] {
        &self.admissions
    }

    /// From admission to health, and from the alert to health.
    pub fn times(&self) -> (&[SignedDuration], &[SignedDuration]) {
        (&self.took, &self.suffered)
    }

    /// What must never be, and was.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Nodes out of service, by the limit of the cluster.
    pub fn out(&self) -> Most {
        self.out
    }

    /// Nodes out of service in each failure domain, by how many there are in it.
    pub fn out_by_domain(&self) -> &BTreeMap<String, Most> {
        &self.out_by_domain
    }

    /// Drains that were refused for a while, in the order in which that began.
    pub fn blocked(&self) -> &[Blocked] {
        &self.blocked
    }

    /// Storms, in the order in which they began.
    pub fn storms(&self) -> &[WasStorm] {
        &self.storms
    }

    /// Nodes under remediation, by the same limit.
    pub fn under_remediation(&self) -> Most {
        self.under_remediation
    }

    /// Racks in which something is under way.
    pub fn racks_open(&self) -> Most {
        self.racks_open
    }

    /// Who waits, most urgent first.
    pub fn queue(&self) -> Vec<&Waits> {
        let mut all: Vec<&Waits> =
            self.policies.values().flat_map(|policy| policy.waiting.iter()).collect();
        all.retain(|waits| waits.reason != WaitReason::ActiveRun.name());
        all.sort_by(|a, b| (a.priority, &a.node).cmp(&(b.priority, &b.node)));
        all.dedup_by(|a, b| a.node == b.node);
        all
    }
}

/// `worker-a_1234_abcd` is `worker-a` to people.
fn short_identity(identity: &str) -> &str {
    identity.split('_').next().unwrap_or_default()
}

/// The first value of a domain.
fn zone(rack: &str) -> &str {
    rack.split('/').next().unwrap_or_default()
}

fn by(who: &str) -> String {
    if who.is_empty() { String::new() } else { format!(" by {who}") }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.pointer("/metadata/annotations")?.get(key)?.as_str()
}

fn conditions(object: &Value) -> impl Iterator<Item = &Value> {
    object.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten()
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    conditions(object).find(|condition| text(condition, "/type") == kind)
}

fn troubles(node: &Value) -> Vec<Trouble> {
    let bad = conditions(node)
        .filter(|c| text(c, "/status") == "True" && !OF_KUBELET.contains(&text(c, "/type")));
    let trouble = |condition: &Value| {
        let message = text(condition, "/message");
        let priority = match prefix(message) {
            Prefix::Priority(number) => number,
            Prefix::Absent | Prefix::Malformed => NO_NUMBER,
        };
        Trouble {
            condition: text(condition, "/type").to_owned(),
            message: message.to_owned(),
            priority,
        }
    };
    bad.map(trouble).collect()
}

/// The values of a domain, or the node's own name where it has none.
fn rack(domain: &Domain, name: &str) -> String {
    if domain.is_unlabelled() {
        return "no rack".to_owned();
    }
    let values: Vec<&str> = domain.0.iter().map(|label| label.value.as_str()).collect();
    let values: Vec<&str> = values.into_iter().filter(|value| !value.is_empty()).collect();
    if values.is_empty() { name.to_owned() } else { values.join("/") }
}
