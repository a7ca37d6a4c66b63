//! The nodes: one watch, folded into facts. A heartbeat that changes nothing stops here, unless a
//! run on that node waits for it; and of what a node says only a record is kept, with texts that many
//! nodes have in common kept once.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use kube::{ResourceExt, runtime::watcher::Event};
use rerail_api::{
    Node,
    convert::node::{self, Look},
};
use rerail_core::facts::NodeFacts;

use super::{texts::Texts, wake::Wakers, watch::is_newer};

#[derive(Default)]
struct Inner {
    nodes: BTreeMap<String, Known>,
    texts: Texts,
    /// Names seen during a list that is under way; `None` outside one.
    listing: Option<Vec<String>>,
    synced: bool,
}

struct Known {
    version: Option<Box<str>>,
    facts: Arc<NodeFacts>,
}

/// The index of nodes.
#[derive(Default)]
pub struct Nodes {
    inner: Mutex<Inner>,
}

impl Nodes {
    /// Takes in an event of the watch and wakes whoever needs to know.
    pub fn event(&self, event: Event<Node>, now: Timestamp, wakers: &Wakers) {
        match event {
            Event::Init => self.lock().listing = Some(Vec::new()),
            Event::InitApply(node) => {
                if let Some(listing) = &mut self.lock().listing {
                    listing.push(node.name_any());
                }
                self.fold(&node, now, wakers);
            }
            Event::InitDone => {
                let mut inner = self.lock();
                if let Some(names) = inner.listing.take() {
                    let names: std::collections::BTreeSet<_> = names.into_iter().collect();
                    inner.nodes.retain(|name, _| names.contains(name));
                }
                inner.texts.drop_unused();
                inner.synced = true;
                drop(inner);
                wakers.planner.notify_one();
                wakers.sweeper.notify_one();
                wakers.all();
            }
            Event::Apply(node) => {
                self.fold(&node, now, wakers);
            }
            Event::Delete(node) => {
                let name = node.name_any();
                self.lock().nodes.remove(&name);
                wakers.planner.notify_one();
                wakers.node(&name);
            }
        }
    }

    /// Takes in one version of a node, from the watch or from a fresh read, and returns what is
    /// known of that version. An older version than the one known changes nothing in the index.
    pub fn fold(&self, object: &Node, now: Timestamp, wakers: &Wakers) -> Arc<NodeFacts> {
        let name = object.name_any();
        let version = object.resource_version();
        let mut inner = self.lock();
        let first_list = !inner.synced;
        let Inner { nodes, texts, .. } = &mut *inner;
        let known = nodes.get(&name);
        let earlier = known.map(|known| known.facts.clone());
        let look = Look { now, earlier: earlier.as_deref(), first_list };
        let facts = Arc::new(node::facts(object, look, &mut |text| texts.get(text)));
        let stale =
            known.is_some_and(|known| !is_newer(version.as_deref(), known.version.as_deref()));
        if stale {
            return facts;
        }
        let version = version.map(String::into_boxed_str);
        nodes.insert(name.clone(), Known { version, facts: facts.clone() });
        drop(inner);
        if earlier.as_deref() == Some(&*facts) {
            return facts;
        }
        wakers.node(&name);
        if facts.cordoned_by.is_some() {
            wakers.sweeper.notify_one();
        }
        if earlier.is_none_or(|earlier| node::differs(&earlier, &facts)) {
            wakers.planner.notify_one();
        }
        facts
    }

    /// A node that a fresh read showed to be gone.
    pub fn gone(&self, name: &str) {
        self.lock().nodes.remove(name);
    }

    /// What is known of one node.
    pub fn get(&self, name: &str) -> Option<Arc<NodeFacts>> {
        self.lock().nodes.get(name).map(|known| known.facts.clone())
    }

    /// The version of a node as it was seen last.
    pub fn version(&self, name: &str) -> Option<String> {
        self.lock().nodes.get(name)?.version.as_deref().map(str::to_owned)
    }

    /// What is known of every node.
    pub fn snapshot(&self) -> BTreeMap<String, Arc<NodeFacts>> {
        let inner = self.lock();
        inner.nodes.iter().map(|(name, known)| (name.clone(), known.facts.clone())).collect()
    }

    /// The nodes that bear the mark of a run: name of the node and UID of the run.
    pub fn marked(&self) -> Vec<(String, String)> {
        let inner = self.lock();
        let marks = inner
            .nodes
            .iter()
            .filter_map(|(name, known)| Some((name.clone(), known.facts.cordoned_by.clone()?)));
        marks.collect()
    }

    /// True after the first complete list.
    pub fn synced(&self) -> bool {
        self.lock().synced
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
