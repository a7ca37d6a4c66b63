//! What runs on the nodes: Pods by their controllers, each where it is.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::{core::v1::Pod, policy::v1::PodDisruptionBudget},
    apimachinery::pkg::apis::meta::v1::{Condition, OwnerReference},
};
use kube::{
    Resource, ResourceExt,
    core::{Selector, SelectorExt},
};
use rerail_api::names;
use rerail_sim::world::{DaemonSet, Deployment, LONGEST, Scene};
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
    let selected = Selected::of(&cluster.budgets);
    let mut groups: BTreeMap<Group, Vec<&Pod>> = BTreeMap::new();
    let (mut bare, mut on_nodes) = (Vec::new(), 0);
    for pod in cluster.pods.iter().filter(|pod| is_played(pod)) {
        match owner(pod) {
            Some(owner) if owner.kind == "Node" => on_nodes += 1,
            Some(owner) => {
                let group = Group {
                    namespace: pod.namespace().unwrap_or_default(),
                    kind: owner.kind.clone(),
                    name: workload(pod, owner),
                    // The Pods of a DaemonSet are alike: one a node.
                    selected: match owner.kind.as_str() {
                        "DaemonSet" => BTreeMap::new(),
                        _ => selected.labels(pod),
                    },
                };
                groups.entry(group).or_default().push(pod);
            }
            None => bare.push(pod),
        }
    }
    scene.objects.extend(cluster.budgets.iter().map(|one| budget(one, &groups, notes)));
    let mut taken = BTreeSet::new();
    let mut others = BTreeSet::new();
    for (group, pods) in groups {
        if group.kind == "DaemonSet" {
            scene.daemon_sets.extend(daemon_set(&group, &pods));
            continue;
        }
        if group.kind != "ReplicaSet" {
            others.insert(group.kind.clone());
        }
        let name = free(&mut taken, &group);
        scene.deployments.extend(deployment(&group, &name, &pods, nodes, notes));
    }
    let placed: Vec<_> = bare.iter().filter_map(|pod| bare_pod(pod, nodes)).collect();
    let ending = cluster.pods.iter().filter(|pod| pod.meta().deletion_timestamp.is_some()).count();
    for (number, one, many) in [
        (on_nodes, "static Pod is left out", "static Pods are left out"),
        (ending, "Pod is ending, and left out", "Pods are ending, and left out"),
        (
            bare.len() - placed.len(),
            "Pod without a controller is on no node that is played, and left out",
            "Pods without a controller are on no node that is played, and left out",
        ),
    ] {
        if number > 0 {
            notes.push(count(number, one, many));
        }
    }
    scene.objects.extend(placed);
    namespaces(scene);
    if !others.is_empty() {
        let kinds: Vec<_> = others.into_iter().collect();
        notes.push(format!("Pods of {} are played as those of Deployments", kinds.join(", ")));
    }
    if cluster.pods.iter().any(is_choosy) {
        notes.push(
            "affinities, spread constraints and resource requests of Pods are left out".to_owned(),
        );
    }
}

/// It says where it may run beyond a node selector and tolerations.
fn is_choosy(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| {
        let requests = spec.containers.iter().any(|container| {
            let resources = container.resources.as_ref();
            resources.and_then(|all| all.requests.as_ref()).is_some_and(|all| !all.is_empty())
        });
        requests || spec.affinity.is_some() || spec.topology_spread_constraints.is_some()
    })
}

/// Pods of one controller that budgets cannot tell apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    namespace: String,
    kind: String,
    name: String,
    /// Those of their labels that a budget of the namespace asks for.
    selected: BTreeMap<String, String>,
}

/// A name that no other workload of the namespace has yet.
fn free(taken: &mut BTreeSet<(String, String)>, group: &Group) -> String {
    let with_kind = format!("{}-{}", group.name, group.kind.to_lowercase());
    let numbered = (2..).map(|number| format!("{with_kind}-{number}"));
    let mut names = [group.name.clone(), with_kind.clone()].into_iter().chain(numbered);
    let free = names.find(|name| taken.insert((group.namespace.clone(), name.clone())));
    free.unwrap_or(with_kind)
}

/// The keys of labels that budgets ask for, by namespace.
struct Selected(BTreeMap<String, BTreeSet<String>>);

impl Selected {
    fn of(budgets: &[PodDisruptionBudget]) -> Self {
        let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for budget in budgets {
            let selector = budget.spec.as_ref().and_then(|spec| spec.selector.clone());
            let selector = selector.unwrap_or_default();
            let keys = selector.match_labels.unwrap_or_default().into_keys();
            let more = selector.match_expressions.unwrap_or_default().into_iter();
            let keys = keys.chain(more.map(|expression| expression.key));
            // The simulated controller writes its own.
            let keys = keys.filter(|key| key != "pod-template-hash");
            all.entry(budget.namespace().unwrap_or_default()).or_default().extend(keys);
        }
        Selected(all)
    }

    /// The labels of a Pod by which budgets may tell it from another one.
    fn labels(&self, pod: &Pod) -> BTreeMap<String, String> {
        let keys = self.0.get(&pod.namespace().unwrap_or_default());
        let keys = keys.into_iter().flatten();
        let label = |key: &String| Some((key.clone(), pod.labels().get(key)?.clone()));
        keys.filter_map(label).collect()
    }
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

/// Labels that all of them have, without those of their controller that no budget asks for.
fn labels(group: &Group, pods: &[&Pod]) -> BTreeMap<String, String> {
    let Some((first, rest)) = pods.split_first() else { return BTreeMap::new() };
    let common = first.labels().iter().filter(|(key, value)| {
        let own = OF_CONTROLLERS.contains(&key.as_str());
        !own && rest.iter().all(|pod| pod.labels().get(*key) == Some(value))
    });
    let common = common.map(|(key, value)| (key.clone(), value.clone()));
    common.chain(group.selected.clone()).collect()
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
    group: &Group,
    name: &str,
    pods: &[&Pod],
    nodes: &BTreeSet<String>,
    notes: &mut Vec<String>,
) -> Option<Deployment> {
    let first = pods.first()?;
    let spec = first.spec.clone().unwrap_or_default();
    let placed = pods.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.clone());
    let grace = spec.termination_grace_period_seconds.filter(|grace| *grace != GRACE);
    let longest = i64::try_from(LONGEST).unwrap_or(i64::MAX);
    if grace.is_some_and(|grace| grace > longest) {
        let namespace = &group.namespace;
        notes
            .push(format!("Pods of {namespace}/{name} have 30 days to end here, and longer there"));
    }
    let grace = grace.map(|grace| grace.min(longest));
    let volumes = spec.volumes.unwrap_or_default();
    let finalizers =
        first.finalizers().iter().filter(|name| !BY_THEMSELVES.contains(&name.as_str()));
    Some(Deployment {
        name: name.to_owned(),
        namespace: group.namespace.clone(),
        replicas: u32::try_from(pods.len()).ok()?,
        grace: grace.and_then(|seconds| format!("{seconds}s").parse().ok()),
        finalizers: finalizers.cloned().collect(),
        labels: labels(group, pods),
        tolerations: tolerations(first),
        empty_dir: volumes.iter().any(|volume| volume.empty_dir.is_some()),
        placed: placed.filter(|node| nodes.contains(node)).collect(),
        nodes: spec.node_selector.unwrap_or_default(),
        ..Deployment::default()
    })
}

/// Its own controller's tolerations are left to the simulated one.
fn daemon_set(group: &Group, pods: &[&Pod]) -> Option<DaemonSet> {
    let first = pods.first()?;
    let own = |one: &Value| {
        let key = one["key"].as_str().unwrap_or_default();
        !key.starts_with("node.kubernetes.io/")
    };
    Some(DaemonSet {
        name: group.name.clone(),
        namespace: group.namespace.clone(),
        labels: labels(group, pods),
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

/// A budget. One that asks for a part of a controller's Pods goes by the scale of the whole controller, which is
/// played as several Deployments: there the cluster's own count of how many have to be healthy is kept.
fn budget(
    budget: &PodDisruptionBudget,
    groups: &BTreeMap<Group, Vec<&Pod>>,
    notes: &mut Vec<String>,
) -> Value {
    let (name, namespace) = (budget.name_any(), budget.namespace().unwrap_or_default());
    let mut spec = json!(budget.spec);
    if asks_for_a_part(budget, &namespace, groups) {
        match desired(budget) {
            Some(desired) => {
                spec["minAvailable"] = json!(desired);
                spec["maxUnavailable"] = Value::Null;
            }
            None => notes.push(format!(
                "the budget {namespace}/{name} asks for some Pods of a controller, and the cluster has not counted \
                 them: here only those that it asks for count"
            )),
        }
    }
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": { "name": name, "namespace": namespace },
        "spec": spec,
    })
}

/// True when it asks for some Pods of a controller, and not for others.
fn asks_for_a_part(
    budget: &PodDisruptionBudget,
    namespace: &str,
    groups: &BTreeMap<Group, Vec<&Pod>>,
) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.clone());
    let Some(Ok(selector)) = selector.map(Selector::try_from) else { return false };
    let mut asks: BTreeMap<(&str, &str), BTreeSet<bool>> = BTreeMap::new();
    for (group, pods) in groups.iter().filter(|(group, _)| group.namespace == namespace) {
        let of_controller = asks.entry((&group.kind, &group.name)).or_default();
        of_controller.extend(pods.iter().map(|pod| selector.matches(pod.labels())));
    }
    asks.values().any(|asks| asks.len() == 2)
}

/// How many have to be healthy, as the cluster has counted last, if it could and that was for this budget.
fn desired(budget: &PodDisruptionBudget) -> Option<i32> {
    let status = budget.status.as_ref()?;
    let failed = |one: &Condition| one.type_ == "DisruptionAllowed" && one.reason == "SyncFailed";
    let failed = status.conditions.iter().flatten().any(failed);
    let is_of_this = status.observed_generation == budget.metadata.generation;
    (is_of_this && !failed).then_some(status.desired_healthy)
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
