//! The pods of one node, while a run is at work on it; and, during a drain, which namespaces saw a
//! PodDisruptionBudget change: that event, not a timer, wakes a blocked eviction.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::api::{core::v1::Pod, policy::v1::PodDisruptionBudget};
use kube::{
    Api, Client, ResourceExt,
    core::PartialObjectMeta,
    runtime::watcher::{self, Event},
};
use tokio::{sync::Notify, task::JoinSet};

use super::watch;

type Key = (String, String);

#[derive(Default)]
struct Inner {
    pods: BTreeMap<Key, Arc<Pod>>,
    listing: Option<BTreeMap<Key, Arc<Pod>>>,
    synced: bool,
    budgets_changed: BTreeSet<String>,
    budgets_synced: bool,
}

/// A live view of the pods of one node. The watches end when it is dropped.
pub struct NodePods {
    inner: Arc<Mutex<Inner>>,
    bell: Arc<Notify>,
    client: Client,
    /// Ends with the view.
    _pods: JoinSet<()>,
    /// Empty outside a drain.
    budgets: JoinSet<()>,
}

fn lock(inner: &Mutex<Inner>) -> std::sync::MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(pod: &Pod) -> Key {
    (pod.namespace().unwrap_or_default(), pod.name_any())
}

impl NodePods {
    /// Starts to watch the pods of `node`; `bell` is rung on every change.
    pub fn watch(client: &Client, node: &str, bell: Arc<Notify>) -> Self {
        let inner = Arc::<Mutex<Inner>>::default();
        let config = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
        let mut watches = JoinSet::new();
        let (view, ring) = (inner.clone(), bell.clone());
        let handle = move |event| {
            pod_event(&mut lock(&view), event);
            ring.notify_one();
        };
        watches.spawn(watch::follow(
            Api::<Pod>::all(client.clone()),
            config,
            format!("pods of {node}"),
            handle,
        ));
        NodePods { inner, bell, client: client.clone(), _pods: watches, budgets: JoinSet::new() }
    }

    /// Watches PodDisruptionBudgets, too; asked for again it does nothing. Only their metadata
    /// travels: their status lives in the same object, so that every change of what they allow moves
    /// the resourceVersion.
    pub fn watch_budgets(&mut self) {
        if !self.budgets.is_empty() {
            return;
        }
        let (view, ring) = (self.inner.clone(), self.bell.clone());
        let handle = move |event: Event<PartialObjectMeta<PodDisruptionBudget>>| {
            let mut inner = lock(&view);
            match event {
                Event::Apply(budget) | Event::Delete(budget) if inner.budgets_synced => {
                    inner.budgets_changed.insert(budget.namespace().unwrap_or_default());
                    ring.notify_one();
                }
                Event::InitDone => inner.budgets_synced = true,
                Event::Apply(_) | Event::Delete(_) | Event::Init | Event::InitApply(_) => {}
            }
        };
        let api = Api::<PartialObjectMeta<PodDisruptionBudget>>::all(self.client.clone());
        let config = watcher::Config::default();
        self.budgets.spawn(watch::follow(api, config, "PodDisruptionBudgets".into(), handle));
    }

    /// Ends the watch of PodDisruptionBudgets: outside a drain they concern nobody.
    pub fn leave_budgets(&mut self) {
        if self.budgets.is_empty() {
            return;
        }
        self.budgets = JoinSet::new();
        let mut inner = lock(&self.inner);
        inner.budgets_synced = false;
        inner.budgets_changed.clear();
    }

    /// The pods, once a complete list was seen.
    pub fn pods(&self) -> Option<Vec<Arc<Pod>>> {
        let inner = lock(&self.inner);
        inner.synced.then(|| inner.pods.values().cloned().collect())
    }

    /// One pod, once a complete list was seen.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Option<Arc<Pod>>> {
        let inner = lock(&self.inner);
        inner.synced.then(|| inner.pods.get(&(namespace.to_owned(), name.to_owned())).cloned())
    }

    /// Namespaces whose budgets have changed since this was asked last.
    pub fn take_budget_changes(&self) -> BTreeSet<String> {
        std::mem::take(&mut lock(&self.inner).budgets_changed)
    }
}

fn pod_event(inner: &mut Inner, event: Event<Pod>) {
    match event {
        Event::Init => inner.listing = Some(BTreeMap::new()),
        Event::InitApply(pod) => {
            if let Some(listing) = &mut inner.listing {
                listing.insert(key(&pod), Arc::new(pod));
            }
        }
        Event::InitDone => {
            if let Some(listed) = inner.listing.take() {
                inner.pods = listed;
            }
            inner.synced = true;
        }
        Event::Apply(pod) => {
            inner.pods.insert(key(&pod), Arc::new(pod));
        }
        Event::Delete(pod) => {
            inner.pods.remove(&key(&pod));
        }
    }
}
