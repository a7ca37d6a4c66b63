//! The one world: objects by resource, one counter of versions, and a bounded history of changes for
//! watches and for lists of the past.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use jiff::Timestamp;
use rerail_api::names;
use serde_json::{Value, json};

use crate::{
    meta,
    resource::{self, Resource},
};

/// Namespaces that every cluster has.
pub(crate) const NAMESPACES: &[&str] =
    &["default", "kube-node-lease", "kube-public", "kube-system"];

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// What UIDs and generated names are drawn from.
    pub seed: u64,
    /// What the clock says when the server is made.
    pub start: Timestamp,
    /// How long a request is under way, there and back together. At least 1 ms: on a paused clock a
    /// client in a hot loop would otherwise never let time pass.
    pub latency: std::time::Duration,
    /// Changes that are remembered for each resource. A watch from before them is told 410.
    pub history: usize,
    /// Namespaces that are there from the beginning, beside those that every cluster has.
    pub namespaces: Vec<String>,
    /// ServiceAccounts that are there from the beginning, as namespace and name, beside the one called
    /// `default` in each namespace.
    pub accounts: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            seed: 0,
            // 2026-01-01T00:00:00Z
            start: Timestamp::from_second(1_767_225_600).unwrap_or(Timestamp::UNIX_EPOCH),
            latency: std::time::Duration::from_millis(2),
            history: 2048,
            namespaces: vec![names::SYSTEM_NAMESPACE.to_owned(), names::NODE_NAMESPACE.to_owned()],
            accounts: [
                (names::SYSTEM_NAMESPACE, names::OPERATOR_SERVICE_ACCOUNT),
                (names::NODE_NAMESPACE, names::NODE_SERVICE_ACCOUNT),
            ]
            .map(|(namespace, name)| (namespace.to_owned(), name.to_owned()))
            .into(),
        }
    }
}

/// `namespace/name`, or the name alone; in this order the real server lists.
pub type Key = String;

/// The key of a name.
pub fn key(namespace: &str, name: &str) -> Key {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

/// One change of one object.
#[derive(Debug, Clone)]
pub struct Change {
    /// The version that it made.
    pub version: u64,
    /// What was there before.
    pub before: Option<Arc<Value>>,
    /// What is there since; for a delete the last state, with the version of the delete.
    pub after: Arc<Value>,
    /// True for a delete.
    pub gone: bool,
    /// `after` as text, once a watch has shown it.
    pub(crate) text: Arc<OnceLock<Bytes>>,
}

impl Change {
    /// What it left behind.
    pub fn result(&self) -> Option<&Arc<Value>> {
        (!self.gone).then_some(&self.after)
    }
}

/// One change, when it was made and by whom.
#[derive(Debug, Clone)]
pub struct Commit {
    /// When, by the server's clock.
    pub at: Timestamp,
    /// When the request was sent that made it ([`Sent`](crate::observe::Sent)).
    pub sent: Timestamp,
    /// Who: the name under which the request came ([`Server::acting_as`](crate::Server::acting_as)).
    pub by: Arc<str>,
    /// Where the resource stands ([`Store::resource`]).
    pub resource: usize,
    /// What changed.
    pub change: Change,
}

/// The objects of one resource.
#[derive(Debug, Default)]
pub struct Table {
    objects: BTreeMap<Key, Arc<Value>>,
    history: VecDeque<Change>,
    /// The latest version whose change is forgotten.
    forgotten: u64,
}

impl Table {
    /// Everything, in the order in which the real server keeps it.
    pub fn objects(&self) -> &BTreeMap<Key, Arc<Value>> {
        &self.objects
    }

    /// Changes after a version; `None` when some of them are forgotten.
    pub fn since(&self, version: u64) -> Option<impl Iterator<Item = &Change>> {
        if version < self.forgotten {
            return None;
        }
        let from = self.history.partition_point(|change| change.version <= version);
        Some(self.history.range(from..))
    }

    /// The oldest version that a watch can begin at.
    pub fn oldest(&self) -> u64 {
        self.forgotten
    }

    /// What was there at a version; `None` when that is forgotten.
    pub fn at(&self, version: u64) -> Option<BTreeMap<Key, Arc<Value>>> {
        let later: Vec<&Change> = self.since(version)?.collect();
        let mut objects = self.objects.clone();
        for change in later.into_iter().rev() {
            let key = key_of(&change.after);
            match &change.before {
                Some(before) => objects.insert(key, before.clone()),
                None => objects.remove(&key),
            };
        }
        Some(objects)
    }
}

/// The key of an object.
pub fn key_of(object: &Value) -> Key {
    key(meta::of(object, "namespace"), meta::of(object, "name"))
}

/// The world. Everything that happens in it happens through [`Store::handle`](crate::handle).
#[derive(Debug)]
pub struct Store {
    resources: Vec<Arc<Resource>>,
    tables: Vec<Table>,
    version: u64,
    /// How often a backup was restored: watches from before that are over.
    restored: u64,
    drawn: u64,
    pub(crate) options: Options,
    /// When and by whom the request that is being answered came.
    pub(crate) asked: (Timestamp, Arc<str>),
    /// The tables that have changed since this was last asked.
    changed: BTreeSet<usize>,
    /// When that request was sent.
    pub(crate) sent: Timestamp,
    /// What was committed and not yet taken; `None` while nobody wants it.
    journal: Option<Vec<Commit>>,
}

impl Store {
    /// An empty cluster.
    pub fn new(options: Options) -> Self {
        let served = resource::served();
        let resources = served.resources.clone();
        let tables = resources.iter().map(|_| Table::default()).collect();
        let now = options.start;
        let asked = (now, Arc::from(""));
        let mut store = Store {
            resources,
            tables,
            version: 0,
            restored: 0,
            drawn: 0,
            options,
            asked,
            sent: now,
            changed: BTreeSet::new(),
            journal: None,
        };
        let namespaces = NAMESPACES.iter().map(|&name| name.to_owned());
        let namespaces: Vec<String> = namespaces.chain(store.options.namespaces.clone()).collect();
        let defaults = namespaces.iter().map(|name| (name.clone(), "default".to_owned()));
        let accounts: Vec<(String, String)> =
            defaults.chain(store.options.accounts.clone()).collect();
        for name in &namespaces {
            store.found("", "namespaces", namespace(name), now);
        }
        for (namespace, name) in &accounts {
            let account = json!({
                "apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": { "namespace": namespace, "name": name },
            });
            store.found("", "serviceaccounts", account, now);
        }
        for crd in &served.definitions {
            store.found("apiextensions.k8s.io", "customresourcedefinitions", crd.clone(), now);
        }
        // The cache of a custom resource begins where its definition was made.
        for (resource, table) in store.resources.iter().zip(&mut store.tables) {
            if resource.is_custom() {
                table.forgotten = store.version;
            }
        }
        store
    }

    /// Puts an object that was there before anybody asked.
    fn found(&mut self, group: &str, plural: &str, mut object: Value, now: Timestamp) {
        let Some(at) = self.position(group, plural) else { return };
        let uid = self.draw_uid();
        meta::set(&mut object, "uid", Some(Value::String(uid)));
        meta::set(&mut object, "creationTimestamp", Some(meta::time(now)));
        self.commit(at, object);
    }

    /// What is served.
    pub fn resources(&self) -> &[Arc<Resource>] {
        &self.resources
    }

    /// One resource.
    pub fn resource(&self, at: usize) -> &Arc<Resource> {
        &self.resources[at]
    }

    /// Where a resource stands among all.
    pub fn position(&self, group: &str, plural: &str) -> Option<usize> {
        self.resources.iter().position(|r| r.group == group && r.plural == plural)
    }

    /// The objects of a resource. Events of both groups are the same objects.
    pub fn table(&self, at: usize) -> &Table {
        &self.tables[self.stored(at)]
    }

    /// Events are kept in the form of the core group.
    pub(crate) fn stored(&self, at: usize) -> usize {
        if self.resources[at].group == "events.k8s.io" {
            self.position("", "events").unwrap_or(at)
        } else {
            at
        }
    }

    /// One object.
    pub fn get(&self, at: usize, key: &Key) -> Option<&Arc<Value>> {
        self.table(at).objects.get(key)
    }

    /// The latest version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Writes an object, and gives it the next version.
    pub(crate) fn commit(&mut self, at: usize, mut object: Value) -> Arc<Value> {
        self.version += 1;
        meta::set(&mut object, "resourceVersion", Some(Value::String(self.version.to_string())));
        let after = Arc::new(object);
        let table = self.stored(at);
        let before = self.tables[table].objects.insert(key_of(&after), after.clone());
        let (version, text) = (self.version, Arc::default());
        let change = Change { version, before, after: after.clone(), gone: false, text };
        self.remember(table, change);
        after
    }

    /// Takes an object away; `last` is what it was in the end. Returns that with the version at which it
    /// went.
    pub(crate) fn remove(&mut self, at: usize, last: &Value) -> Arc<Value> {
        let table = self.stored(at);
        let Some(before) = self.tables[table].objects.remove(&key_of(last)) else {
            return Arc::new(last.clone());
        };
        self.version += 1;
        let mut after = last.clone();
        meta::set(&mut after, "resourceVersion", Some(Value::String(self.version.to_string())));
        let (version, after) = (self.version, Arc::new(after));
        let (before, text) = (Some(before), Arc::default());
        let change = Change { version, before, after: after.clone(), gone: true, text };
        self.remember(table, change);
        after
    }

    /// From now on every change is kept until it is taken.
    pub(crate) fn keep_journal(&mut self) {
        self.journal.get_or_insert_default();
    }

    /// What was committed since this was last asked, in order.
    pub(crate) fn take_journal(&mut self) -> Vec<Commit> {
        self.journal.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The tables that have changed since this was last asked.
    pub(crate) fn take_changed(&mut self) -> BTreeSet<usize> {
        std::mem::take(&mut self.changed)
    }

    /// Tells observers of a change.
    pub(crate) fn note(&mut self, table: usize, change: &Change) {
        self.changed.insert(table);
        if let Some(journal) = &mut self.journal {
            let (at, by) = self.asked.clone();
            let sent = self.sent;
            journal.push(Commit { at, sent, by, resource: table, change: change.clone() });
        }
    }

    /// The tables of all resources, in their order.
    pub(crate) fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// How often a backup was restored.
    pub(crate) fn restored(&self) -> u64 {
        self.restored
    }

    /// Puts these objects in the place of all; nothing of the past is known any more.
    pub(crate) fn go_back(&mut self, version: u64, objects: Vec<BTreeMap<Key, Arc<Value>>>) {
        self.version = version;
        self.restored += 1;
        // All watches are over, and have to see it.
        self.changed.extend(0..self.tables.len());
        for (table, objects) in self.tables.iter_mut().zip(objects) {
            *table = Table { objects, history: VecDeque::new(), forgotten: version };
        }
    }

    fn remember(&mut self, table: usize, change: Change) {
        self.note(table, &change);
        let most = self.options.history;
        let table = &mut self.tables[table];
        table.history.push_back(change);
        while table.history.len() > most {
            if let Some(oldest) = table.history.pop_front() {
                table.forgotten = oldest.version;
            }
        }
    }

    /// The next UID.
    pub(crate) fn draw_uid(&mut self) -> String {
        self.drawn += 1;
        meta::uid(self.options.seed, self.drawn)
    }

    /// The next end of a generated name.
    pub(crate) fn draw_suffix(&mut self) -> String {
        self.drawn += 1;
        meta::suffix(self.options.seed, self.drawn)
    }
}

fn namespace(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": name, "labels": { "kubernetes.io/metadata.name": name } },
        "spec": { "finalizers": ["kubernetes"] },
        "status": { "phase": "Active" },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, text: &str) -> Value {
        json!({ "metadata": { "name": name }, "text": text })
    }

    fn texts(objects: &BTreeMap<Key, Arc<Value>>) -> Vec<String> {
        objects.values().map(|object| object["text"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_past_can_be_listed_until_it_is_forgotten() {
        let mut store = Store::new(Options { history: 3, ..Options::default() });
        let nodes = store.position("", "nodes").unwrap();
        store.commit(nodes, named("a", "a1"));
        let then = store.version();
        store.commit(nodes, named("b", "b1"));
        let last = store.commit(nodes, named("a", "a2"));
        store.remove(nodes, &last);
        assert_eq!(texts(store.table(nodes).objects()), ["b1"]);
        assert_eq!(texts(&store.table(nodes).at(then).unwrap()), ["a1"]);
        assert_eq!(texts(&store.table(nodes).at(then + 2).unwrap()), ["a2", "b1"]);
        assert!(store.table(nodes).since(then).unwrap().last().unwrap().gone);
        store.commit(nodes, named("c", "c1"));
        assert!(store.table(nodes).at(then).is_none());
        assert!(store.table(nodes).since(then + 1).is_some());
    }

    #[test]
    fn one_counter_counts_the_changes_of_all() {
        let mut store = Store::new(Options::default());
        let (nodes, pods) =
            (store.position("", "nodes").unwrap(), store.position("", "pods").unwrap());
        let before = store.version();
        let node = store.commit(nodes, named("a", ""));
        let pod = store.commit(pods, named("a", ""));
        assert_eq!((meta::version(&node), meta::version(&pod)), (before + 1, before + 2));
    }
}
