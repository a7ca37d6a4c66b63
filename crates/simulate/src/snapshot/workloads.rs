//! What runs on the nodes: Pods by their controllers, each where it is.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{Resource, ResourceExt};
use rerail_api::names;
use rerail_sim::world::{DaemonSet, Deployment, Scene};
use serde_json::{Value, json};

use super::{Cluster, count};

/// Labels that a controller puts on its Pods to tell its own apart.
const OF_CONTROLLERS: [&str; 9] = [
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/job-name",
    "batch.kubernetes.io/controller-uid",
    "job-name",
    "controller-uid",
];

/// Tolerations that admission gives every Pod.
const BY_ADMISSION: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// Finalizers that a controller takes off by itself, soon after the Pod has ended.
const BY_THEMSELVES: [&str; 3] =
    ["batch.kubernetes.io/job-tracking", "foregroundDeletion", "orphan"];

/// Seconds that a Pod has to end, where it says nothing.
const GRACE: i64 = 30;

/// Namespaces that every simulated cluster has.
const EVERYWHERE: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Adds workloads and budgets to a scene of these nodes.
pub(super) fn add(
    scene: &mut Scene,
    cluster: &Cluster,
    nodes: &BTreeSet<String>,
    notes: &mut Vec<String>,
) {
    let mut groups: BTreeMap<(String, String, String), Vec<&Pod>> = BTreeMap::new();
    let (mut bare, mut on_nodes) = (Vec::new(), 0);
    for pod in cluster.pods.iter().filter(|pod| is_played(pod)) {
        match owner(pod) {
            Some(owner) if owner.kind == "Node" => on_nodes += 1,
            Some(owner) => {
                let namespace = pod.namespace().unwrap_or_default();
                let key = (namespace, owner.kind.clone(), workload(pod, owner));
                groups.entry(key).or_default().push(pod);
            }
            None => bare.push(pod),
        }
    }
    let mut taken = BTreeSet::new();
    let mut others = BTreeSet::new();
    for ((namespace, kind, name), pods) in groups {
        if kind == "DaemonSet" {
            scene.daemon_sets.extend(daemon_set(&namespace, &name, &pods));
            continue;
        }
        if kind != "ReplicaSet" {
            others.insert(kind.clone());
        }
        let name = match taken.insert((namespace.clone(), name.clone())) {
            true => name,
            false => format!("{name}-{}", kind.to_lowercase()),
        };
        scene.deployments.extend(deployment(&namespace, &name, &pods, nodes));
    }
    scene.objects.extend(bare.iter().filter_map(|pod| bare_pod(pod, nodes)));
    scene.objects.extend(cluster.budgets.iter().map(budget));
    namespaces(scene);
    if on_nodes > 0 {
        notes.push(format!("{} left out", count(on_nodes, "static Pod is", "static Pods are")));
    }
    if !others.is_empty() {
        let kinds: Vec<_> = others.into_iter().collect();
        notes.push(format!("Pods of {} are played as those of Deployments", kinds.join(", ")));
    }
    notes.push(
        "affinities, spread constraints and resource requests of Pods are left out".to_owned(),
    );
}

/// True for what runs, or will.
fn is_played(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let ended = matches!(phase, Some("Succeeded" | "Failed"));
    !ended
        && pod.meta().deletion_timestamp.is_none()
        && pod.namespace().as_deref() != Some(names::NODE_NAMESPACE)
}

fn owner(pod: &Pod) -> Option<&OwnerReference> {
    pod.owner_references().iter().find(|owner| owner.controller == Some(true))
}

/// The name of a Deployment, or of whatever else owns a Pod.
fn workload(pod: &Pod, owner: &OwnerReference) -> String {
    let hash = pod.labels().get("pod-template-hash");
    let of_deployment = hash.and_then(|hash| owner.name.strip_suffix(&format!("-{hash}")));
    of_deployment.unwrap_or(&owner.name).to_owned()
}

/// Labels that all of them have, without those of their controller.
fn labels(pods: &[&Pod]) -> BTreeMap<String, String> {
    let Some((first, rest)) = pods.split_first() else { return BTreeMap::new() };
    let common = first.labels().iter().filter(|(key, value)| {
        let own = OF_CONTROLLERS.contains(&key.as_str());
        !own && rest.iter().all(|pod| pod.labels().get(*key) == Some(value))
    });
    common.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn tolerations(pod: &Pod) -> Vec<Value> {
    let all = pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten());
    let own = all.filter(|one| {
        let by_admission = BY_ADMISSION.contains(&one.key.as_deref().unwrap_or_default());
        !by_admission || one.toleration_seconds != Some(300)
    });
    own.filter_map(|one| serde_json::to_value(one).ok()).collect()
}

fn deployment(
    namespace: &str,
    name: &str,
    pods: &[&Pod],
    nodes: &BTreeSet<String>,
) -> Option<Deployment> {
    let first = pods.first()?;
    let spec = first.spec.clone().unwrap_or_default();
    let placed = pods.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.clone());
    let grace = spec.termination_grace_period_seconds.filter(|grace| *grace != GRACE);
    let volumes = spec.volumes.unwrap_or_default();
    let finalizers =
        first.finalizers().iter().filter(|name| !BY_THEMSELVES.contains(&name.as_str()));
    Some(Deployment {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        replicas: u32::try_from(pods.len()).ok()?,
        grace: grace.and_then(|seconds| format!("{seconds}s").parse().ok()),
        finalizers: finalizers.cloned().collect(),
        labels: labels(pods),
        tolerations: tolerations(first),
        empty_dir: volumes.iter().any(|volume| volume.empty_dir.is_some()),
        placed: placed.filter(|node| nodes.contains(node)).collect(),
        nodes: spec.node_selector.unwrap_or_default(),
        ..Deployment::default()
    })
}

/// Its own controller's tolerations are left to the simulated one.
fn daemon_set(namespace: &str, name: &str, pods: &[&Pod]) -> Option<DaemonSet> {
    let first = pods.first()?;
    let own = |one: &Value| {
        let key = one["key"].as_str().unwrap_or_default();
        !key.starts_with("node.kubernetes.io/")
    };
    Some(DaemonSet {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        labels: labels(pods),
        tolerations: tolerations(first).into_iter().filter(own).collect(),
        nodes: first.spec.as_ref()?.node_selector.clone().unwrap_or_default(),
        ..DaemonSet::default()
    })
}

fn bare_pod(pod: &Pod, nodes: &BTreeSet<String>) -> Option<Value> {
    let node = pod.spec.as_ref()?.node_name.clone().filter(|node| nodes.contains(node))?;
    Some(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": pod.name_any(), "namespace": pod.namespace(), "labels": pod.labels() },
        "spec": {
            "nodeName": node, "tolerations": tolerations(pod),
            "containers": [{ "name": "app", "image": "app:1" }],
        },
    }))
}

fn budget(budget: &k8s_openapi::api::policy::v1::PodDisruptionBudget) -> Value {
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": { "name": budget.name_any(), "namespace": budget.namespace() },
        "spec": budget.spec,
    })
}

/// Namespaces of objects; those of Deployments and DaemonSets come with the scene.
fn namespaces(scene: &mut Scene) {
    let with_scene: BTreeSet<&str> = (scene.deployments.iter().map(|one| one.namespace.as_str()))
        .chain(scene.daemon_sets.iter().map(|one| one.namespace.as_str()))
        .chain(EVERYWHERE)
        .collect();
    let used = scene.objects.iter().filter_map(|one| one["metadata"]["namespace"].as_str());
    let missing: BTreeSet<String> =
        used.filter(|name| !with_scene.contains(name)).map(str::to_owned).collect();
    let mut objects: Vec<Value> = (missing.iter())
        .map(
            |name| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }),
        )
        .collect();
    // A Pod that nobody makes is there before its namespace's account is made by a controller.
    let of_pods = scene.objects.iter().filter(|one| one["kind"] == "Pod");
    let of_pods: BTreeSet<&str> =
        of_pods.filter_map(|pod| pod["metadata"]["namespace"].as_str()).collect();
    objects.extend(of_pods.into_iter().filter(|name| !EVERYWHERE.contains(name)).map(|name| {
        json!({ "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": { "name": "default", "namespace": name } })
    }));
    scene.objects.splice(0..0, objects);
}
