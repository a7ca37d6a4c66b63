//! What a kubelet writes about its node: registration, Lease, status.

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    CONTROL_PLANE, Spec,
    api::{self, KUBELET, LEASES, Media, NODES},
    known,
    machine::{Kubelet, Machine},
    queue::{Event, Step, Sync},
    state::State,
};
use crate::{
    meta,
    store::{Key, Store},
};

/// The Node object as it is first created; the status follows by patch.
pub(super) fn node_object(spec: &Spec) -> Value {
    let mut node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": spec.name, "labels": spec.node_labels() },
        "spec": {},
    });
    let mut taints: Vec<Value> = spec.taints.iter().map(|taint| json!(taint)).collect();
    if spec.control_plane {
        taints.push(json!({ "key": CONTROL_PLANE, "effect": "NoSchedule" }));
    }
    if !taints.is_empty() {
        node["spec"]["taints"] = json!(taints);
    }
    if spec.cordoned {
        node["spec"]["unschedulable"] = json!(true);
    }
    node
}

impl State {
    /// Makes the Node object, unless it is there.
    pub(super) fn register(&mut self, node: &str) {
        let Some(machine) = self.machines.get(node).filter(|machine| !machine.cut) else { return };
        let object = node_object(&machine.spec);
        // A kubelet that is refused because the Node is there takes it as it is.
        let there = api::read(&self.server, self.places.nodes, &node.to_owned());
        let uid = match there {
            Some(node) => meta::of(&node, "uid").to_owned(),
            None => self
                .ask(KUBELET, &Method::POST, &NODES.all(""), Media::Json, Some(&object))
                .map(|made| meta::of(&made.value(), "uid").to_owned())
                .unwrap_or_default(),
        };
        if let Some(machine) = self.machines.get_mut(node) {
            machine.node_uid = uid;
        }
    }

    /// One report: the node as the API has it, and a patch of its status.
    pub(super) fn report(&mut self, node: &str) {
        let Some(machine) = self.machines.get(node).filter(|machine| machine.talks()) else {
            return;
        };
        let Some(existing) = api::read(&self.server, self.places.nodes, &node.to_owned()) else {
            return;
        };
        let boot_id = match machine.effects.same_boot_id {
            true => machine.reported_boot_id.clone(),
            false => machine.boot_id.clone(),
        };
        let patch = status_patch(machine, &boot_id, &existing, &meta::time(self.clock_of(node)));
        let path = NODES.path(node, "status");
        let written = self.ask(KUBELET, &Method::PATCH, &path, Media::Strategic, Some(&patch));
        if written.is_ok()
            && let Some(machine) = self.machines.get_mut(node)
        {
            machine.reported_boot_id = boot_id;
            // Somebody may have deleted the Node and made it again.
            machine.node_uid = meta::of(&existing, "uid").to_owned();
        }
    }

    /// Renews the node's Lease, and plans the next time.
    pub(super) fn lease_tick(&mut self, node: &str) {
        self.renew(node);
        let pause = self.jittered("lease", node, self.times.lease);
        self.step(node, pause, Step::Lease);
    }

    fn renew(&mut self, node: &str) {
        let Some(machine) = self.machines.get(node).filter(|machine| machine.talks()) else {
            return;
        };
        let key = format!("kube-node-lease/{node}");
        let now = format!("{:.6}", self.clock_of(node));
        let server = self.server.acting_as(KUBELET.name);
        if server.with(|store, time| touch_lease(store, self.places.leases, &key, &now, time)) {
            return;
        }
        // A kubelet whose Node is gone makes no Lease without an owner.
        if api::read(&self.server, self.places.nodes, &node.to_owned()).is_some() {
            let lease = lease(node, &machine.node_uid, &now);
            let path = LEASES.all("kube-node-lease");
            let _ = self.ask(KUBELET, &Method::POST, &path, Media::Json, Some(&lease));
        }
    }

    /// The network to the API server goes, or comes back: then everything is told at once.
    pub(super) fn cut(&mut self, node: &str, cut: bool) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        if std::mem::replace(&mut machine.cut, cut) == cut {
            return;
        }
        let up = machine.kubelet == Kubelet::Up;
        let words = if cut { "cut off the API server" } else { "reaches the API server again" };
        self.happened(node, crate::observe::What::Fault(words.to_owned()));
        if !cut && up {
            self.register(node);
            self.report(node);
            self.renew(node);
            self.wake(Sync::Kubelet(node.to_owned()));
            self.plan(1_000, Event::TellConditions(node.to_owned()));
        }
    }

    /// The kubelet is started again, which makes the Node anew if it is gone.
    pub(super) fn restart_kubelet(&mut self, node: &str) {
        if self.machines.get(node).is_some_and(Machine::talks) {
            self.register(node);
            self.report(node);
            self.renew(node);
        }
    }
}

/// Renews a Lease that is there; false if there is none. What a PUT of it would do, without the way through
/// its text: this is the one request that every kubelet sends all the time.
fn touch_lease(store: &mut Store, at: usize, key: &Key, now: &str, time: Timestamp) -> bool {
    let Some(lease) = store.get(at, key) else { return false };
    let mut lease = (**lease).clone();
    lease["spec"]["renewTime"] = json!(now);
    let entries = lease["metadata"]["managedFields"].as_array_mut();
    let own = entries.into_iter().flatten().find(|entry| entry["manager"] == KUBELET.program);
    if let Some(own) = own {
        own["time"] = meta::time(time);
    }
    store.commit(at, lease);
    true
}

/// The kubelet's status report: a strategic merge patch that names only its own conditions, so that
/// those of others stay (the list merges by `type`). Transition times are kept where the condition in
/// the API already has the same status; the node controller may have changed it to Unknown meanwhile.
fn status_patch(machine: &Machine, boot_id: &str, existing: &Value, now: &Value) -> Value {
    let healthy = |kind: &str, reason: &str, message: &str| {
        condition(existing, kind, "False", reason, message, now)
    };
    let ready = match machine.not_ready() {
        None => {
            let message = "kubelet is posting ready status";
            condition(existing, "Ready", "True", "KubeletReady", message, now)
        }
        Some(why) => condition(existing, "Ready", "False", "KubeletNotReady", why, now),
    };
    let resources = json!({ "cpu": "16", "memory": "64Gi", "pods": machine.spec.pods.to_string() });
    let number = machine.number;
    let address =
        format!("10.{}.{}.{}", 64 + number / 62_500, number / 250 % 250, 1 + number % 250);
    json!({ "status": {
        "capacity": resources,
        "allocatable": resources,
        "addresses": [
            { "type": "InternalIP", "address": address },
            { "type": "Hostname", "address": machine.spec.name },
        ],
        "nodeInfo": {
            "bootID": boot_id,
            "systemUUID": machine.system_uuid,
            "machineID": machine.system_uuid.replace('-', ""),
            "kubeletVersion": "v1.36.3",
            "kubeProxyVersion": "",
            "kernelVersion": "6.12.0-sim",
            "osImage": "Rerail simulated machine",
            "containerRuntimeVersion": "sim://1",
            "operatingSystem": "linux",
            "architecture": "amd64",
        },
        "conditions": [
            healthy("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            healthy("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            healthy("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            ready,
        ],
    } })
}

/// One condition with heartbeat now, and its transition time kept unless the status changes.
pub(super) fn condition(
    existing: &Value,
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: &Value,
) -> Value {
    let known = known::condition(existing, kind).filter(|known| known["status"] == status);
    let transition = known.map(|known| known["lastTransitionTime"].clone());
    json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastHeartbeatTime": now,
        "lastTransitionTime": transition.unwrap_or_else(|| now.clone()),
    })
}

fn lease(name: &str, node_uid: &str, now: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": name, "namespace": "kube-node-lease",
            "ownerReferences": [{ "apiVersion": "v1", "kind": "Node", "name": name, "uid": node_uid }],
        },
        "spec": { "holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now },
    })
}
