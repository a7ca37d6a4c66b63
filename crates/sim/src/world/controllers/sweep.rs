//! What takes away what is left over: the garbage collector, the Pod garbage collector, the expiry of
//! Events.

use http::Method;
use serde_json::{Value, json};

use crate::{
    meta,
    world::{
        api::{self, ACCOUNTS, Kind, LEASES, Media, PODS, REPLICA_SETS, Who, controller},
        known,
        queue::Event,
        state::State,
    },
};

const COLLECTOR: Who<'static> = controller("garbage-collector");
const POD_COLLECTOR: Who<'static> = controller("pod-garbage-collector");

/// What the garbage collector takes to see that an owner is gone.
const COLLECTS_AFTER: (u64, u64) = (50, 1_500);
/// Pods of a node that is gone are left alone for so long: it may come back.
const QUARANTINE: u64 = 40_000;
/// An Event that is not written for so long is gone.
const EVENT_AGE: u64 = 3_600_000;

impl State {
    /// Something is gone: what belonged to it will go, too. Pods own nothing.
    pub(in crate::world) fn gone(&mut self, at: usize, owner: &Value) {
        if at != self.places.pods && at != self.places.leases && at != self.places.events {
            let pause = self.millis("collect", "", COLLECTS_AFTER);
            self.plan(pause, Event::Collect(meta::of(owner, "uid").to_owned()));
        }
    }

    pub(in crate::world) fn collect(&mut self, uid: &str) {
        let belongs = |object: &Value| {
            let owners = meta::get(object, "ownerReferences").and_then(Value::as_array);
            owners.into_iter().flatten().any(|one| one["uid"] == uid)
        };
        let mut orphans: Vec<(Kind, String)> = Vec::new();
        for (kind, at) in [
            (PODS, self.places.pods),
            (REPLICA_SETS, self.places.replica_sets),
            (LEASES, self.places.leases),
        ] {
            let all = api::list(&self.server, at).into_iter();
            let owned = all.filter(|(_, object)| belongs(object) && !meta::is_deleting(object));
            orphans.extend(owned.map(|(key, _)| (kind, key)));
        }
        for (kind, key) in orphans {
            let options = json!({ "kind": "DeleteOptions", "apiVersion": "v1",
                "propagationPolicy": "Background" });
            let path = kind.path(&key, "");
            let _ = self.ask(COLLECTOR, &Method::DELETE, &path, Media::Json, Some(&options));
        }
    }

    /// A namespace has a ServiceAccount called `default`.
    pub(in crate::world) fn sync_account(&mut self, namespace: &str) {
        let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": { "name": "default" } });
        let path = ACCOUNTS.all(namespace);
        let who = controller("serviceaccount-controller");
        // One that is there already is as good.
        let _ = self.ask(who, &Method::POST, &path, Media::Json, Some(&account));
    }

    /// Every few seconds.
    pub(in crate::world) fn sweep(&mut self) {
        self.expire_events();
        let lost: Vec<String> = self
            .known
            .on_node
            .keys()
            .filter(|node| !self.known.nodes.contains_key(*node))
            .cloned()
            .collect();
        self.orphaned.retain(|node, _| lost.contains(node));
        for node in lost {
            let since = *self.orphaned.entry(node.clone()).or_insert(self.now);
            if self.now - since >= QUARANTINE {
                for (key, pod) in self.known.pods_on(&node) {
                    self.force(&key, &pod);
                }
            }
        }
    }

    fn force(&mut self, key: &str, pod: &Value) {
        if !known::has_ended(pod) {
            let patch = json!({
                "metadata": { "uid": meta::of(pod, "uid") },
                "status": { "phase": "Failed", "conditions": [{
                    "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
                    "message": "PodGC: node no longer exists",
                    "lastTransitionTime": meta::time(self.clock),
                }] },
            });
            let path = PODS.path(key, "status");
            let _ = self.ask(POD_COLLECTOR, &Method::PATCH, &path, Media::Strategic, Some(&patch));
        }
        let options = json!({ "kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0,
            "preconditions": { "uid": meta::of(pod, "uid") } });
        let path = PODS.path(key, "");
        let _ = self.ask(POD_COLLECTOR, &Method::DELETE, &path, Media::Json, Some(&options));
    }

    /// Events go with their lease in etcd: nobody deletes them, and a watch sees them go.
    fn expire_events(&mut self) {
        let old = |written: &u64| self.now.saturating_sub(*written) >= EVENT_AGE;
        let expired: Vec<String> = self
            .known
            .events
            .iter()
            .filter(|(_, written)| old(written))
            .map(|(key, _)| key.clone())
            .collect();
        if expired.is_empty() {
            return;
        }
        let at = self.places.events;
        self.server.acting_as("etcd").with(|store, _| {
            for key in &expired {
                if let Some(event) = store.get(at, key).cloned() {
                    store.remove(at, &event);
                }
            }
        });
        for key in expired {
            self.known.events.remove(&key);
        }
    }
}
