//! After etcd was restored from a backup. Whatever differs has come as a change like any other, as a list
//! would bring it; what is left is what only a process that starts anew does.

use http::Method;
use serde_json::Value;

use super::{
    api::{self, Media, NODES, Who},
    controllers::lifecycle,
    queue::Sync,
    state::State,
};

const CLOUD: Who<'static> =
    Who { name: "cloud-node-lifecycle-controller", program: "cloud-controller-manager" };

impl State {
    /// Kubelets and controllers are started anew: they forget what they have told, and tell it again.
    pub(super) fn start_anew(&mut self) {
        // What was to be collected may never have lost its owner.
        self.queue.collect_nothing();
        let nodes = self.known.nodes.keys();
        let lost: Vec<String> =
            nodes.filter(|node| !self.machines.contains_key(*node)).cloned().collect();
        for node in lost {
            let path = NODES.path(&node, "");
            let _ = self.ask(CLOUD, &Method::DELETE, &path, Media::Json, None);
        }
        let machines: Vec<String> = self.machines.keys().cloned().collect();
        for node in machines {
            self.heard.insert(node.clone(), self.now);
            self.deny_what_is_not(&node);
            let Some(machine) = self.machines.get_mut(&node) else { continue };
            for record in machine.records.values_mut() {
                (record.released, record.stopping) = (false, false);
            }
            for held in machine.conditions.values_mut() {
                // Whatever the API server has now, it is news.
                held.told = !held.on;
            }
            self.restart_kubelet(&node);
            self.tell_conditions(&node);
            self.wake(Sync::Kubelet(node));
        }
    }

    /// The backup may know of conditions that this machine never had, those of the machine before it: a
    /// detector tells all of its conditions when it starts, and of these that they are not true.
    fn deny_what_is_not(&mut self, node: &str) {
        let Some(object) = api::read(&self.server, self.places.nodes, &node.to_owned()) else {
            return;
        };
        let Some(machine) = self.machines.get(node) else { return };
        let said = object.pointer("/status/conditions").and_then(Value::as_array);
        let foreign = said.into_iter().flatten().filter_map(|said| said.get("type")?.as_str());
        let foreign: Vec<String> = foreign
            .filter(|kind| {
                !lifecycle::REPORTED.contains(kind) && !machine.conditions.contains_key(*kind)
            })
            .map(str::to_owned)
            .collect();
        for condition in foreign {
            self.deny(node, condition);
        }
    }
}
