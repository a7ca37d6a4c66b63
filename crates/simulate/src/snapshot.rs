//! The scene of a cluster as it is: its nodes and how they are, what runs on them and where, budgets,
//! policies and configuration. Pure; what a scene cannot say is told in notes.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{Node, NodeCondition, Pod},
    policy::v1::PodDisruptionBudget,
};
use kube::{Resource, ResourceExt};
use rerail_api::names;
use rerail_core::{
    facts::{OF_KUBELET, Pause, PauseScope, Pauses},
    policy::TypePattern,
    words::{QUOTED, one_line},
};
use rerail_sim::world::{
    API_VERSION, Act, Entry, KIND, NodeGroup, PowerAct, Scene, Sickness, Taint,
};
use serde_json::{Value, json};

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
    workloads::add(&mut scene, cluster, &known, &mut notes);
    Snapshot { scene, notes }
}

/// Leaves out conditions that no policy of the scene speaks of, since some are True of a healthy node, and says
/// so. To be called when all policies are there.
pub fn leave_out_unnamed(snapshot: &mut Snapshot) {
    let named: Vec<TypePattern> = snapshot.scene.policies.iter().flat_map(named).collect();
    let (mut healed, mut unnamed) = (BTreeSet::new(), BTreeSet::new());
    snapshot.scene.timeline.retain(|entry| {
        let Act::Sicken { with, .. } = &entry.act else { return true };
        let is_named = named.iter().any(|pattern| pattern.matches(&with.condition));
        let kinds = if is_named { &mut healed } else { &mut unnamed };
        kinds.insert(with.condition.clone());
        is_named
    });
    for (what, kinds) in [
        ("conditions that are True, and for which no policy acts, are left out", unnamed),
        ("a reboot is taken to make these conditions False", healed),
    ] {
        if !kinds.is_empty() {
            let kinds: Vec<_> = kinds.into_iter().collect();
            snapshot.notes.push(format!("{what}: {}", kinds.join(", ")));
        }
    }
}

/// The condition types for which a policy acts when they are True, however it is written.
pub(crate) fn named(policy: &Value) -> impl Iterator<Item = TypePattern> {
    let triggers = policy["spec"]["triggers"].as_array().into_iter().flatten();
    let conditions = triggers.map(|trigger| &trigger["condition"]);
    // Where it says nothing, it is about True.
    let of_true = conditions.filter(|condition| match condition["status"].as_array() {
        Some(all) => all.iter().any(|status| status == "True"),
        None => true,
    });
    of_true.filter_map(|condition| Some(TypePattern::parse(condition["type"].as_str()?)))
}

/// What a pause in the cluster holds back; none is played, since what is asked is what would happen without.
pub fn pauses(pauses: &Pauses, now: Timestamp) -> Vec<String> {
    let in_force = pauses.0.iter().filter(|pause| pause.lasts(now));
    let note = |pause: &Pause| {
        let what = match &pause.scope {
            PauseScope::All => "everything".to_owned(),
            PauseScope::Policy(name) => format!("policy {name}"),
            PauseScope::Node(name) => format!("node {name}"),
        };
        format!(
            "in the cluster {what} is paused ({}); here nothing is",
            one_line(&pause.text, QUOTED)
        )
    };
    in_force.map(note).collect()
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

/// What makes a new machine what this node is. From the beginning, as far as anything is: Pods are placed first,
/// and what a dark machine showed it shows before it goes dark.
fn state(node: &Node) -> Vec<Entry> {
    let nodes = vec![node.name_any()];
    let sick = sicknesses(node).map(|condition| {
        let message = condition.message.clone().unwrap_or_default();
        let with = Sickness {
            reason: condition.reason.clone().unwrap_or_default(),
            ..Sickness::new(&condition.type_, &message)
        };
        ("5s", Act::Sicken { nodes: nodes.clone(), pick: None, with })
    });
    let ready = conditions(node).iter().find(|one| one.type_ == "Ready");
    let is_dark = ready.is_none_or(|ready| ready.status != "True");
    let dark = is_dark
        .then(|| ("10s", Act::Power { nodes: nodes.clone(), pick: None, to: PowerAct::Off }));
    let entry = |(at, act): (&str, Act)| Some(Entry { at: at.parse().ok()?, act });
    sick.chain(dark).filter_map(entry).collect()
}

#[cfg(test)]
mod tests;
