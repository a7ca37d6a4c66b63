//! Deployments, ReplicaSets and DaemonSets: as many Pods as are wanted, elsewhere if need be. A Deployment
//! has one ReplicaSet; a changed template is not rolled out.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use http::Method;
use serde_json::{Value, json};

use super::scheduler::may_have;
use crate::{
    meta,
    store::Key,
    world::{
        api::{self, DAEMON_SETS, DEPLOYMENTS, Kind, Media, PODS, REPLICA_SETS, Who, controller},
        draw,
        known::{self, Tolerates, has_labels, is_ready, tolerates_taint},
        scene::PLACED,
        state::State,
    },
};

const DEPLOYMENTS_BY: Who<'static> = controller("deployment-controller");
const SETS_BY: Who<'static> = controller("replicaset-controller");
const DAEMONS_BY: Who<'static> = controller("daemonset-controller");

fn owner_reference(kind: &str, owner: &Value) -> Value {
    json!([{
        "apiVersion": "apps/v1", "kind": kind, "name": meta::of(owner, "name"),
        "uid": meta::of(owner, "uid"), "controller": true, "blockOwnerDeletion": true,
    }])
}

/// What Pods are there, as their controller counts them.
struct Crew {
    /// Neither ended nor going.
    active: Vec<(Key, Arc<Value>)>,
    ready: usize,
}

impl State {
    fn crew(&self, owner: &Value) -> Crew {
        let mut active = self.known.pods_of(meta::of(owner, "uid"));
        active.retain(|(_, pod)| !known::has_ended(pod) && !meta::is_deleting(pod));
        let ready = active.iter().filter(|(_, pod)| is_ready(pod)).count();
        Crew { active, ready }
    }

    fn make_pod(
        &mut self,
        who: Who<'_>,
        kind: &str,
        owner: &Value,
        change: impl FnOnce(&mut Value),
    ) {
        let template = &owner["spec"]["template"];
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": template["metadata"], "spec": template["spec"],
        });
        pod["metadata"]["generateName"] = json!(format!("{}-", meta::of(owner, "name")));
        pod["metadata"]["ownerReferences"] = owner_reference(kind, owner);
        change(&mut pod);
        let path = PODS.all(meta::of(owner, "namespace"));
        let _ = self.ask(who, &Method::POST, &path, Media::Json, Some(&pod));
    }

    fn delete_pod(&mut self, who: Who<'_>, key: &str, pod: &Value) {
        let options = json!({ "kind": "DeleteOptions", "apiVersion": "v1",
            "preconditions": { "uid": meta::of(pod, "uid") } });
        let _ = self.ask(who, &Method::DELETE, &PODS.path(key, ""), Media::Json, Some(&options));
    }

    fn write_status(&mut self, who: Who<'_>, kind: Kind, object: &Value, status: &Value) {
        let known = &object["status"];
        let same = status.as_object().into_iter().flatten().all(|(key, value)| {
            let is = known.get(key).unwrap_or(&Value::Null);
            is == value || (is.is_null() && *value == 0)
        });
        if !same {
            let path = kind.path(&api::key(object), "status");
            let patch = json!({ "status": status });
            let _ = self.ask(who, &Method::PATCH, &path, Media::Merge, Some(&patch));
        }
    }

    pub(in crate::world) fn sync_deployment(&mut self, key: &str) {
        let key = &key.to_owned();
        let Some(deployment) = api::read(&self.server, self.places.deployments, key) else {
            return;
        };
        if meta::is_deleting(&deployment) {
            return;
        }
        let hash = draw::hash(&deployment["spec"]["template"]["spec"]["containers"].to_string());
        let hash = meta::suffix(hash, 0);
        let replicas = &deployment["spec"]["replicas"];
        let owned = self.known.replica_sets.values().find(|set| {
            known::owner(set).is_some_and(|(_, uid)| uid == meta::of(&deployment, "uid"))
        });
        match owned.cloned() {
            None => {
                let mut template = deployment["spec"]["template"].clone();
                template["metadata"]["labels"]["pod-template-hash"] = json!(hash);
                let mut selector = deployment["spec"]["selector"].clone();
                selector["matchLabels"]["pod-template-hash"] = json!(hash);
                let mut set = json!({
                    "apiVersion": "apps/v1", "kind": "ReplicaSet",
                    "metadata": {
                        "name": format!("{}-{hash}", meta::of(&deployment, "name")),
                        "labels": template["metadata"]["labels"],
                        "ownerReferences": owner_reference("Deployment", &deployment),
                    },
                    "spec": { "replicas": replicas, "selector": selector, "template": template },
                });
                if let Some(placed) = placed(&deployment) {
                    set["metadata"]["annotations"][PLACED] = json!(placed);
                }
                let path = REPLICA_SETS.all(meta::of(&deployment, "namespace"));
                let _ = self.ask(DEPLOYMENTS_BY, &Method::POST, &path, Media::Json, Some(&set));
            }
            Some(set) => {
                if set["spec"]["replicas"] != *replicas {
                    let patch = json!({ "spec": { "replicas": replicas } });
                    let path = REPLICA_SETS.path(&api::key(&set), "");
                    let _ =
                        self.ask(DEPLOYMENTS_BY, &Method::PATCH, &path, Media::Merge, Some(&patch));
                }
                let count = |field: &str| set["status"][field].as_i64().unwrap_or(0);
                let all = count("replicas");
                let status = json!({
                    "observedGeneration": meta::get(&deployment, "generation"),
                    "replicas": all, "updatedReplicas": all,
                    "readyReplicas": count("readyReplicas"),
                    "availableReplicas": count("readyReplicas"),
                });
                self.write_status(DEPLOYMENTS_BY, DEPLOYMENTS, &deployment, &status);
            }
        }
    }

    pub(in crate::world) fn sync_replica_set(&mut self, key: &str) {
        let key = &key.to_owned();
        let Some(set) = api::read(&self.server, self.places.replica_sets, key) else { return };
        if meta::is_deleting(&set) {
            return;
        }
        let wanted = set["spec"]["replicas"].as_u64().unwrap_or(1);
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let Crew { mut active, ready } = self.crew(&set);
        // What a scene has placed are the first Pods alone.
        let is_new = set["status"]["observedGeneration"].is_null();
        let mut nodes = placed(&set).filter(|_| is_new).into_iter().flat_map(|all| all.split(','));
        for _ in active.len()..wanted {
            let node = nodes.next();
            self.make_pod(SETS_BY, "ReplicaSet", &set, |pod| {
                if let Some(node) = node {
                    pod["spec"]["nodeName"] = json!(node);
                }
            });
        }
        let surplus = active.len().saturating_sub(wanted);
        if surplus > 0 {
            // Pods that do not run go first, then the youngest.
            let age = |pod: &Value| Reverse(meta::of(pod, "creationTimestamp").to_owned());
            active.sort_by_cached_key(|(key, pod)| (is_ready(pod), age(pod), key.clone()));
        }
        for (key, pod) in active.iter().take(surplus) {
            self.delete_pod(SETS_BY, key, pod);
        }
        let status = json!({
            "observedGeneration": meta::get(&set, "generation"),
            "replicas": active.len(), "fullyLabeledReplicas": active.len(),
            "readyReplicas": ready, "availableReplicas": ready,
        });
        self.write_status(SETS_BY, REPLICA_SETS, &set, &status);
    }

    pub(in crate::world) fn sync_daemon_set(&mut self, key: &str) {
        let key = &key.to_owned();
        let Some(set) = api::read(&self.server, self.places.daemon_sets, key) else { return };
        if meta::is_deleting(&set) {
            return;
        }
        let model = daemon_pod(&set);
        let Crew { active, ready } = self.crew(&set);
        let nodes: Vec<(Key, Arc<Value>)> =
            self.known.nodes.iter().map(|(name, node)| (name.clone(), node.clone())).collect();
        let mut on_node: BTreeMap<&str, &(Key, Arc<Value>)> = BTreeMap::new();
        for pod in &active {
            on_node.entry(target(&pod.1)).or_insert(pod);
        }
        // One that ended is taken away, so that another can take its place.
        for (key, pod) in self.known.pods_of(meta::of(&set, "uid")) {
            if known::has_ended(&pod) && !meta::is_deleting(&pod) {
                self.delete_pod(DAEMONS_BY, &key, &pod);
            }
        }
        let going: BTreeSet<String> = self
            .known
            .pods_of(meta::of(&set, "uid"))
            .iter()
            .filter(|(_, pod)| meta::is_deleting(pod))
            .map(|(_, pod)| target(pod).to_owned())
            .collect();
        let mut wanted = 0;
        for (name, node) in &nodes {
            let here = on_node.get(name.as_str());
            let should = may_have(node, &model);
            wanted += usize::from(should || (here.is_some() && may_stay(node, &model)));
            match here {
                // A Pod whose predecessor is still ending has to wait for it.
                None if should && !going.contains(name) => {
                    self.make_pod(DAEMONS_BY, "DaemonSet", &set, |pod| pin(pod, name));
                }
                Some((key, pod)) if !may_stay(node, &model) => {
                    self.delete_pod(DAEMONS_BY, key, pod)
                }
                _ => {}
            }
        }
        let status = json!({
            "observedGeneration": meta::get(&set, "generation"),
            "currentNumberScheduled": active.len(), "desiredNumberScheduled": wanted,
            "updatedNumberScheduled": active.len(), "numberMisscheduled": 0,
            "numberReady": ready, "numberAvailable": ready,
            "numberUnavailable": wanted.saturating_sub(ready),
        });
        self.write_status(DAEMONS_BY, DAEMON_SETS, &set, &status);
    }
}

/// The nodes on which a scene wants the first Pods of a Deployment, or its ReplicaSet.
fn placed(owner: &Value) -> Option<&str> {
    meta::get(owner, "annotations")?.get(PLACED)?.as_str()
}

/// True when a DaemonSet's Pod that is on a node may stay there.
fn may_stay(node: &Value, pod: &Value) -> bool {
    let bad = |taint: &Value| {
        taint["effect"] == "NoExecute" && tolerates_taint(pod, taint) == Tolerates::No
    };
    let taints = node["spec"]["taints"].as_array();
    has_labels(node, &pod["spec"]["nodeSelector"]) && !taints.into_iter().flatten().any(bad)
}

/// The node that a DaemonSet's Pod is on, or will be.
fn target(pod: &Value) -> &str {
    match known::node_of(pod) {
        "" => pinned(pod),
        node => node,
    }
}

/// The node that a DaemonSet's Pod is meant for.
fn pinned(pod: &Value) -> &str {
    let term = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchFields/0/values/0";
    pod.pointer(term).and_then(Value::as_str).unwrap_or_default()
}

/// Makes a Pod one of a DaemonSet on a node.
fn pin(pod: &mut Value, node: &str) {
    let tolerations = daemon_tolerations(&pod["spec"]["tolerations"]);
    pod["spec"]["tolerations"] = tolerations;
    pod["spec"]["affinity"] = json!({ "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
            { "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [node] }] },
        ] },
    } });
}

/// A Pod of a DaemonSet on no node in particular.
fn daemon_pod(set: &Value) -> Value {
    let mut pod = json!({ "spec": set["spec"]["template"]["spec"] });
    pod["spec"]["tolerations"] = daemon_tolerations(&pod["spec"]["tolerations"]);
    pod
}

/// What the DaemonSet controller adds: its Pods stay on nodes that are cordoned or not ready.
fn daemon_tolerations(own: &Value) -> Value {
    let mut all = own.as_array().cloned().unwrap_or_default();
    for (key, effect) in [
        ("node.kubernetes.io/not-ready", "NoExecute"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/memory-pressure", "NoSchedule"),
        ("node.kubernetes.io/pid-pressure", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ] {
        all.push(json!({ "key": key, "operator": "Exists", "effect": effect }));
    }
    Value::Array(all)
}
