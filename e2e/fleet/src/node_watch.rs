//! One watch of all nodes, for what others write on them. Machines know nothing of cordons, and what is
//! told of them in the end is only what is left of them. And a kubelet that reads that its node is
//! Unknown says at once that it is not: on a busy machine the node controller may miss a renewal of its
//! Lease.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use kube::api::{Api, ApiResource};
use kube::core::Object;
use kube::runtime::watcher;
use kube::{Resource, ResourceExt};
use rerail_api::names;
use serde::Deserialize;
use tracing::warn;

use crate::clock;
use crate::fleet::Inner;
use crate::machine::Power;
use crate::restart;
use crate::truth::NodeSeen;

/// Pause before a watch that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The part of a node's spec that is looked at.
#[derive(Debug, Clone, Deserialize)]
struct Spec {
    #[serde(default)]
    unschedulable: bool,
}

/// The part of a node's status that is looked at; most of a node is the rest, and is not decoded.
#[derive(Debug, Clone, Default, Deserialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl Status {
    /// Only the node controller writes this.
    fn is_unknown(&self) -> bool {
        self.conditions.iter().any(|one| one.kind == "Ready" && one.status == "Unknown")
    }
}

/// The kubelet of a machine that is on contradicts, also for its Pods, which have been called not ready,
/// too.
fn contradict(fleet: &Arc<Inner>, node: &str) {
    let Some(machine) = fleet.find(node) else { return };
    let (is_on, was_ready) = {
        let state = machine.state();
        let of_this_boot = state.reported_boot_id == state.kernel_boot_id;
        (state.power == Power::On, state.ready && of_this_boot)
    };
    if is_on {
        machine.status_changed.notify_one();
    }
    if is_on && was_ready {
        let fleet = fleet.clone();
        tokio::spawn(async move { restart::go_on_reporting(&fleet, &machine).await });
    }
}

/// Cordons as they were seen, oldest first.
#[derive(Default)]
pub(crate) struct Seen(Mutex<Vec<NodeSeen>>);

impl Seen {
    pub(crate) fn all(&self) -> Vec<NodeSeen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps what has changed.
    fn see(&self, latest: &mut BTreeMap<String, NodeSeen>, seen: NodeSeen) {
        let nothing = NodeSeen { cordoned: false, by: None, ..seen.clone() };
        let before = latest.get(&seen.node).filter(|before| before.node_uid == seen.node_uid);
        let before = before.unwrap_or(&nothing);
        if (before.cordoned, &before.by) != (seen.cordoned, &seen.by) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(seen.clone());
        }
        latest.insert(seen.node.clone(), seen);
    }
}

/// Watches for ever. Deletions are in the truth log.
pub(crate) async fn run(fleet: Arc<Inner>) {
    let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Node>(&());
    let nodes: Api<Object<Spec, Status>> = Api::all_with(fleet.client.clone(), &resource);
    let mut events = watcher(nodes, watcher::Config::default()).boxed();
    let mut latest = BTreeMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::InitApply(node) | watcher::Event::Apply(node)) => {
                let seen = NodeSeen {
                    t: clock::now(),
                    node: node.name_any(),
                    node_uid: node.meta().uid.clone().unwrap_or_default(),
                    cordoned: node.spec.unschedulable,
                    by: node.annotations().get(names::CORDONED_BY).cloned(),
                };
                if node.status.as_ref().is_some_and(Status::is_unknown) {
                    contradict(&fleet, &seen.node);
                }
                fleet.seen.see(&mut latest, seen);
            }
            Ok(watcher::Event::Init | watcher::Event::InitDone | watcher::Event::Delete(_)) => {}
            Err(error) => {
                warn!("the watch of nodes stumbled: {error}");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(uid: &str, cordoned: bool, by: Option<&str>) -> NodeSeen {
        NodeSeen {
            t: jiff::Timestamp::UNIX_EPOCH,
            node: "n1".into(),
            node_uid: uid.into(),
            cordoned,
            by: by.map(str::to_owned),
        }
    }

    #[test]
    fn only_ready_is_asked_about() {
        let status = |kind: &str, status: &str| Status {
            conditions: vec![Condition { kind: kind.into(), status: status.into() }],
        };
        assert!(status("Ready", "Unknown").is_unknown());
        assert!(!status("Ready", "False").is_unknown());
        assert!(!status("KernelDeadlock", "Unknown").is_unknown());
        assert!(!Status::default().is_unknown());
    }

    #[test]
    fn only_changes_are_kept_and_a_new_node_begins_anew() {
        let (log, mut latest) = (Seen::default(), BTreeMap::new());
        let story = [
            seen("old", false, None),
            seen("old", true, Some("run-1")),
            seen("old", true, Some("run-1")),
            seen("new", false, None),
            seen("new", true, None),
            seen("new", false, None),
        ];
        for seen in story.clone() {
            log.see(&mut latest, seen);
        }
        assert_eq!(log.all(), [1, 4, 5].map(|index| story[index].clone()));
    }
}
