//! After etcd was restored from a backup. Whatever differs has come as a change like any other, as a list
//! would bring it; what is left is what only a process that starts anew does.

use http::Method;

use super::{
    api::{Media, NODES, Who},
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
}
