//! One watch of the operator's Pods for all machines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use rerail_api::names;
use tracing::warn;

use crate::fleet::Inner;

/// Pause before a watch that failed is tried again: kubelets are quick to find an API server that was
/// away.
const RETRY: Duration = Duration::from_secs(1);

/// The operator's Pods as the watch last told them, by UID.
#[derive(Default)]
pub(crate) struct PodIndex(Mutex<BTreeMap<String, Arc<Pod>>>);

impl PodIndex {
    /// The Pods bound to a node, by UID. There are few such Pods at any time, so a scan will do.
    pub(crate) fn of_node(&self, node: &str) -> BTreeMap<String, Arc<Pod>> {
        let bound = |pod: &Pod| node_of(pod) == Some(node);
        let all = self.lock();
        all.iter().filter(|(_, pod)| bound(pod)).map(|(u, p)| (u.clone(), p.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Pod>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref())
}

/// Watches for ever, and wakes the machine whose Pod changed.
pub(crate) async fn run(fleet: Arc<Inner>) {
    let selector = format!("{}={}", names::MANAGED_BY, names::MANAGED_BY_RERAIL);
    let pods: Api<Pod> = Api::all(fleet.client.clone());
    let config = watcher::Config::default().labels(&selector);
    let mut events = watcher(pods, config).boxed();
    let mut listed: BTreeSet<String> = BTreeSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(pod)) => {
                listed.extend(pod.uid());
                apply(&fleet, pod);
            }
            Ok(watcher::Event::InitDone) => {
                // What a relist does not show was deleted while nobody watched.
                let gone: Vec<Arc<Pod>> = {
                    let all = fleet.pods.lock();
                    let gone = all.iter().filter(|(uid, _)| !listed.contains(*uid));
                    gone.map(|(_, pod)| pod.clone()).collect()
                };
                gone.iter().for_each(|pod| remove(&fleet, pod));
            }
            Ok(watcher::Event::Apply(pod)) => apply(&fleet, pod),
            Ok(watcher::Event::Delete(pod)) => remove(&fleet, &pod),
            Err(error) => {
                warn!("the watch of Pods stumbled: {error}");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

fn apply(fleet: &Inner, pod: Pod) {
    let Some(uid) = pod.uid() else { return };
    let pod = Arc::new(pod);
    fleet.pods.lock().insert(uid, pod.clone());
    wake(fleet, &pod);
}

fn remove(fleet: &Inner, pod: &Pod) {
    if let Some(uid) = pod.uid() {
        fleet.pods.lock().remove(&uid);
    }
    wake(fleet, pod);
}

fn wake(fleet: &Inner, pod: &Pod) {
    if let Some(machine) = node_of(pod).and_then(|node| fleet.find(node)) {
        machine.pods_changed.notify_one();
    }
}
