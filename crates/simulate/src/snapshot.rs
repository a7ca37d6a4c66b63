//! The scene of a cluster as it is: its nodes and how they are, what runs on them and where, budgets,
//! policies and configuration. Pure; what a scene cannot say is told in notes.

use std::collections::BTreeSet;

use k8s_openapi::api::{
    core::v1::{Node, NodeCondition, Pod},
    policy::v1::PodDisruptionBudget,
};
use kube::{Resource, ResourceExt};
use rerail_api::{duration::GoDuration, names};
use rerail_sim::world::{
    API_VERSION, Act, Entry, KIND, NodeGroup, PowerAct, Scene, Sickness, Taint,
};
use serde_json::{Value, json};

use crate::board::OF_KUBELET;

mod workloads;

/// What was read of a cluster.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    /// Its nodes.
    pub nodes: Vec<Node>,
    /// All Pods.
    pub pods: Vec<Pod>,
    /// All budgets of applications.
    pub budgets: Vec<PodDisruptionBudget>,
    /// Name and spec of the policies.
    pub policies: Vec<(String, Value)>,
    /// What `rerail-config` holds.
    pub config: Option<String>,
}

/// The scene, and what it leaves out.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The scene.
    pub scene: Scene,
    /// What is not as in the cluster, one sentence each.
    pub notes: Vec<String>,
}

/// When the cluster is as it was: dark machines are seen to be, and Pods are where they are.
const POLICIES_AT: &str = "3m";

/// Makes the scene.
pub fn scene(cluster: &Cluster, name: &str) -> Snapshot {
    let mut notes = Vec::new();
    let nodes: Vec<&Node> =
        cluster.nodes.iter().filter(|node| node.meta().deletion_timestamp.is_none()).collect();
    let known: BTreeSet<String> = nodes.iter().map(|node| node.name_any()).collect();
    if nodes.len() < cluster.nodes.len() {
        let gone = cluster.nodes.len() - nodes.len();
        notes.push(format!("{} being deleted, and left out", count(gone, "node is", "nodes are")));
    }
    let mut scene = Scene {
        api_version: API_VERSION.to_owned(),
        kind: KIND.to_owned(),
        name: name.to_owned(),
        about: "A cluster as it was.".to_owned(),
        nodes: nodes.iter().map(|node| group(node)).collect(),
        config: cluster.config.clone(),
        policies: cluster.policies.iter().map(policy).collect(),
        // Nodes that are not Ready are known to be by then.
        policies_at: POLICIES_AT.parse().ok(),
        timeline: nodes.iter().flat_map(|node| state(node)).collect(),
        ..Scene::default()
    };
    let ours = nodes.iter().filter(|node| node.annotations().contains_key(names::CORDONED_BY));
    match ours.count() {
        0 => {}
        ours => notes.push(format!(
            "{} under remediation now; here its run begins anew",
            count(ours, "node is", "nodes are")
        )),
    }
    let remembered = nodes
        .iter()
        .filter(|node| node.annotations().contains_key(names::LAST_REMEDIATION))
        .count();
    if remembered > 0 {
        notes.push(format!(
            "attempts and rests on record are forgotten: of {}",
            count(remembered, "node", "nodes")
        ));
    }
    let sick: BTreeSet<&str> = nodes.iter().flat_map(|node| troubles(node)).collect();
    if !sick.is_empty() {
        let kinds: Vec<_> = sick.into_iter().collect();
        notes.push(format!(
            "a reboot is taken to make these conditions False: {}",
            kinds.join(", ")
        ));
    }
    workloads::add(&mut scene, cluster, &known, &mut notes);
    Snapshot { scene, notes }
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Also where it came from a cluster: only what a person has written.
fn policy((name, spec): &(String, Value)) -> Value {
    json!({ "metadata": { "name": name }, "spec": spec })
}

fn group(node: &Node) -> NodeGroup {
    let spec = node.spec.clone().unwrap_or_default();
    let ours = node.annotations().contains_key(names::CORDONED_BY);
    let taints = spec.taints.unwrap_or_default().into_iter();
    // Those of Kubernetes itself come by themselves.
    let taints = taints.filter(|taint| !taint.key.starts_with("node.kubernetes.io/"));
    let taints = taints.map(|taint| Taint {
        key: taint.key,
        value: taint.value.unwrap_or_default(),
        effect: taint.effect,
    });
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    let pods = allocatable.and_then(|all| all.get("pods")).and_then(|pods| pods.0.parse().ok());
    NodeGroup {
        name: node.name_any(),
        labels: node.labels().clone(),
        pods,
        taints: taints.collect(),
        cordoned: spec.unschedulable == Some(true) && !ours,
        ..NodeGroup::default()
    }
}

fn conditions(node: &Node) -> &[NodeCondition] {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref());
    conditions.unwrap_or_default()
}

/// True conditions that no kubelet writes.
fn sicknesses(node: &Node) -> impl Iterator<Item = &NodeCondition> {
    let sick =
        |one: &&NodeCondition| one.status == "True" && !OF_KUBELET.contains(&one.type_.as_str());
    conditions(node).iter().filter(sick)
}

fn troubles(node: &Node) -> impl Iterator<Item = &str> {
    sicknesses(node).map(|condition| condition.type_.as_str())
}

/// What makes a new machine what this node is.
fn state(node: &Node) -> Vec<Entry> {
    let nodes = vec![node.name_any()];
    let mut acts = Vec::new();
    let ready = conditions(node).iter().find(|one| one.type_ == "Ready");
    if ready.is_none_or(|ready| ready.status != "True") {
        acts.push(Act::Power { nodes: nodes.clone(), pick: None, to: PowerAct::Off });
    }
    for condition in sicknesses(node) {
        let message = condition.message.clone().unwrap_or_default();
        let with = Sickness {
            reason: condition.reason.clone().unwrap_or_default(),
            ..Sickness::new(&condition.type_, &message)
        };
        acts.push(Act::Sicken { nodes: nodes.clone(), pick: None, with });
    }
    // From the beginning, as far as anything is: Pods are placed first.
    let at = "5s".parse::<GoDuration>().ok();
    at.map(|at| acts.into_iter().map(|act| Entry { at: at.clone(), act }).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
