//! What if something more went wrong, or other policies were applied? Changes to a scene before it is
//! played.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
    sync::Arc,
};

use jiff::SignedDuration;
use rerail_api::{RemediationPolicy, convert, duration::GoDuration};
use rerail_core::{
    facts::{Labels, OF_KUBELET},
    policy::{NodeSelector, TypePattern},
};
use rerail_sim::world::{Act, Entry, PowerAct, Scene, Sickness, Spec, fits};
use serde_json::{Value, json};

use crate::snapshot;

/// When what goes wrong goes wrong, after the policies are there: Pods run by then.
const AFTER: SignedDuration = SignedDuration::from_secs(30);

/// Some nodes: a name in which `*` stands for anything, or labels `key=value,key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nodes {
    /// By their names.
    Named(String),
    /// By their labels.
    Labelled(Vec<(String, String)>),
}

/// Nodes that become sick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sick {
    /// Which.
    pub nodes: Nodes,
    /// Type of the condition that becomes True.
    pub condition: String,
    /// Its message.
    pub message: String,
}

/// Why nothing can be played.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhatIfError {
    /// A text names no nodes.
    #[error(
        "`{0}` names no nodes; write a name such as `worker-0*`, or labels such as `zone=a,pool=b`"
    )]
    NoNodes(String),
    /// A text names no condition.
    #[error(
        "`{0}` names no condition; write NODES:CONDITION or NODES:CONDITION:MESSAGE, such as `worker-0*:KernelDeadlock:[P3] stuck`"
    )]
    NoCondition(String),
    /// A kubelet writes it.
    #[error(
        "kubelets write the condition {0} themselves; use a type of your own, or --power-off for nodes that are not Ready"
    )]
    OfKubelet(String),
    /// No node of the scene is meant.
    #[error("no node is meant by `{nodes}`; there are {known}")]
    Nobody {
        /// What was written.
        nodes: String,
        /// What there is.
        known: String,
    },
    /// No policy has the name of one that is to be replaced.
    #[error("a policy without `metadata.name` cannot be played")]
    NoName,
}

impl FromStr for Nodes {
    type Err = WhatIfError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || WhatIfError::NoNodes(text.to_owned());
        if !text.contains('=') {
            let good = |c: char| c.is_ascii_alphanumeric() || "-.*".contains(c);
            let is_name = !text.is_empty() && text.chars().all(good);
            return if is_name { Ok(Nodes::Named(text.to_owned())) } else { Err(wrong()) };
        }
        let label = |one: &str| {
            let (key, value) = one.split_once('=')?;
            let good = !key.trim().is_empty() && !value.starts_with('=') && !key.ends_with('!');
            good.then(|| (key.trim().to_owned(), value.trim().to_owned()))
        };
        text.split(',').map(label).collect::<Option<_>>().map(Nodes::Labelled).ok_or_else(wrong)
    }
}

impl std::fmt::Display for Nodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Nodes::Named(pattern) => f.write_str(pattern),
            Nodes::Labelled(labels) => {
                let all: Vec<_> =
                    labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                f.write_str(&all.join(","))
            }
        }
    }
}

impl FromStr for Sick {
    type Err = WhatIfError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, ':');
        let nodes = parts.next().unwrap_or_default().parse()?;
        let condition = parts.next().unwrap_or_default().trim().to_owned();
        if condition.is_empty() {
            return Err(WhatIfError::NoCondition(text.to_owned()));
        }
        if OF_KUBELET.contains(&condition.as_str()) {
            return Err(WhatIfError::OfKubelet(condition));
        }
        Ok(Sick { nodes, condition, message: parts.next().unwrap_or_default().trim().to_owned() })
    }
}

impl Nodes {
    /// The names of those that are meant.
    fn of(&self, scene: &Scene) -> Result<Vec<String>, WhatIfError> {
        let specs = scene.specs();
        let meant = specs.iter().filter(|spec| match self {
            Nodes::Named(pattern) => fits(&spec.name, pattern),
            Nodes::Labelled(labels) => {
                spec.has_labels(labels.iter().map(|(key, value)| (key, value)))
            }
        });
        let names: Vec<String> = meant.map(|spec| spec.name.clone()).collect();
        if !names.is_empty() {
            return Ok(names);
        }
        let first: Vec<_> = specs.iter().take(3).map(|spec| spec.name.as_str()).collect();
        let more = if specs.len() > 3 { ", …" } else { "" };
        let known = format!("{}{more}", first.join(", "));
        Err(WhatIfError::Nobody { nodes: self.to_string(), known })
    }
}

/// Nodes become sick, of which a reboot heals them.
pub fn sicken(scene: &mut Scene, sick: &Sick) -> Result<(), WhatIfError> {
    let nodes = sick.nodes.of(scene)?;
    let with = Sickness::new(&sick.condition, &sick.message);
    then(scene, Act::Sicken { nodes, pick: None, with });
    Ok(())
}

/// Machines lose power, and stay dark.
pub fn power_off(scene: &mut Scene, nodes: &Nodes) -> Result<(), WhatIfError> {
    let nodes = nodes.of(scene)?;
    then(scene, Act::Power { nodes, pick: None, to: PowerAct::Off });
    Ok(())
}

fn then(scene: &mut Scene, act: Act) {
    let policies_at = scene.policies_at.as_ref().map(GoDuration::value).unwrap_or_default();
    let seconds = policies_at.saturating_add(AFTER).as_secs();
    // Whole seconds can always be read.
    if let Ok(at) = format!("{seconds}s").parse::<GoDuration>() {
        scene.timeline.push(Entry { at, act });
    }
}

/// Policies are applied: one of the same name is replaced, another one joins.
pub fn apply(scene: &mut Scene, policies: Vec<Value>) -> Result<(), WhatIfError> {
    let name = |policy: &Value| policy["metadata"]["name"].as_str().map(str::to_owned);
    for policy in policies {
        let new = name(&policy).ok_or(WhatIfError::NoName)?;
        scene.policies.retain(|old| name(old).is_none_or(|old| old != new));
        scene.policies.push(policy);
    }
    Ok(())
}

/// What is to be known of a scene before its answer is read: who does nothing in it, and for what nobody acts.
pub fn notes(scene: &Scene) -> Vec<String> {
    let mut notes = Vec::new();
    if scene.config.is_none() {
        notes.push("there is no `config`: the operator starts nothing".to_owned());
    }
    for policy in &scene.policies {
        let name = policy["metadata"]["name"].as_str().unwrap_or_default();
        if is_switched_later(scene, name) {
            continue;
        }
        if policy["spec"]["suspended"] == true {
            notes
                .push(format!("policy {name} is suspended: it starts nothing; --enforce plays it"));
        } else if policy["spec"]["mode"] != "Enforce" {
            notes.push(format!(
                "policy {name} is in mode DryRun: it decides, and nothing is done; --enforce plays it as if it enforced"
            ));
        }
    }
    notes.extend(for_nothing(scene));
    notes
}

/// Whether the timeline says itself when a policy begins to act.
fn is_switched_later(scene: &Scene, policy: &str) -> bool {
    scene.timeline.iter().any(|entry| match &entry.act {
        Act::Edit { object, patch, .. } => {
            let switches = |field: &str| patch["spec"].get(field).is_some();
            (object.resource.as_str(), object.name.as_str()) == ("remediationpolicies", policy)
                && (switches("mode") || switches("suspended"))
        }
        _ => false,
    })
}

/// Policies that select no node, and conditions that become True on nodes for which no policy acts.
fn for_nothing(scene: &Scene) -> Vec<String> {
    let Some(acting) = Acting::of(scene) else { return Vec::new() };
    let mut notes = Vec::new();
    for policy in &acting.policies {
        if !acting.labels.values().any(|labels| policy.selector.matches(labels)) {
            notes.push(format!("policy {} selects no node", policy.name));
        }
    }
    let mut ignored: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for act in scene.acts() {
        let Act::Sicken { nodes, with, .. } = act else { continue };
        let meant = |name: &&String| nodes.iter().any(|pattern| fits(name, pattern));
        for name in acting.labels.keys().filter(meant) {
            if !acting.on(name, &with.condition) {
                ignored.entry(&with.condition).or_default().insert(name);
            }
        }
    }
    for (condition, nodes) in ignored {
        let first: Vec<_> = nodes.iter().take(3).copied().collect();
        let more = nodes.len().saturating_sub(first.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        notes.push(format!(
            "no policy selects {}{more} and acts on the condition {condition}",
            first.join(", ")
        ));
    }
    notes
}

/// On what the policies of a scene act.
pub(crate) struct Acting {
    policies: Vec<Acts>,
    labels: BTreeMap<String, Labels>,
}

/// On what one acts.
struct Acts {
    name: String,
    selector: NodeSelector,
    conditions: Vec<TypePattern>,
}

impl Acting {
    /// None where policies or labels come later: nobody can say then.
    pub(crate) fn of(scene: &Scene) -> Option<Self> {
        let comes = |act: &Act| act.creates_policy() || matches!(act, Act::Label { .. });
        if scene.acts().any(comes) {
            return None;
        }
        let labels = |spec: &Spec| {
            let all = spec.node_labels().into_iter();
            Labels::of_texts(all.map(|(key, value)| Arc::from(format!("{key}={value}"))))
        };
        Some(Acting {
            policies: scene.whole_policies().iter().filter_map(Acts::of).collect(),
            labels: scene.specs().iter().map(|spec| (spec.name.clone(), labels(spec))).collect(),
        })
    }

    /// Whether a policy selects the node and acts on the condition. A node that was not there at the beginning
    /// may be like any other.
    pub(crate) fn on(&self, node: &str, condition: &str) -> bool {
        let Some(labels) = self.labels.get(node) else { return true };
        let acts = |policy: &Acts| {
            policy.selector.matches(labels)
                && policy.conditions.iter().any(|one| one.matches(condition))
        };
        self.policies.iter().any(acts)
    }
}

impl Acts {
    /// None of a policy that the operator refuses.
    fn of(written: &Value) -> Option<Self> {
        let object: RemediationPolicy = serde_json::from_value(written.clone()).ok()?;
        let policy = convert::policy::policy(&object).ok()?;
        let conditions = snapshot::named(written).collect();
        Some(Acts { name: policy.name, selector: policy.selector, conditions })
    }
}

/// Every policy enforces.
pub fn enforce(scene: &mut Scene) {
    for policy in &mut scene.policies {
        policy["spec"]["mode"] = json!("Enforce");
        policy["spec"]["suspended"] = json!(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene() -> Scene {
        let text = "apiVersion: scenario.rerail.dev/v1alpha1
kind: Scenario
name: x
nodes: [{prefix: n-, count: 4, racks: 2, labels: {pool: a}}]
policies:
- metadata: {name: p}
  spec: &spec {nodes: {all: true}, triggers: [{condition: {type: Sick}}], remedies: [{reboot: {method: Command}}]}
- {metadata: {name: q}, spec: *spec}
";
        Scene::parse(text).unwrap()
    }

    fn meant(text: &str) -> Result<Vec<String>, WhatIfError> {
        text.parse::<Nodes>()?.of(&scene())
    }

    #[test]
    fn nodes_are_meant_by_name_or_by_label() {
        assert_eq!(meant("n-001").unwrap(), ["n-001"]);
        assert_eq!(meant("n-*").unwrap().len(), 4);
        assert_eq!(
            meant("node-restriction.kubernetes.io/rack=rack-b").unwrap(),
            ["n-003", "n-004"]
        );
        assert_eq!(meant("pool=a,node-restriction.kubernetes.io/rack=rack-a").unwrap().len(), 2);
        assert_eq!(meant("kubernetes.io/hostname=n-004").unwrap(), ["n-004"]);
    }

    #[test]
    fn what_means_nobody_is_refused_with_who_there_is() {
        for (text, says) in [
            ("", "`` names no nodes"),
            ("a b", "`a b` names no nodes"),
            ("=x", "`=x` names no nodes"),
            ("pool!=a", "`pool!=a` names no nodes"),
            ("pool==a", "`pool==a` names no nodes"),
            ("pool=b", "no node is meant by `pool=b`; there are n-001, n-002, n-003, …"),
            ("m-*", "no node is meant by `m-*`"),
        ] {
            let said = meant(text).unwrap_err().to_string();
            assert!(said.starts_with(says), "{said}");
        }
    }

    #[test]
    fn nodes_become_sick_or_dark() {
        let mut scene = scene();
        let sick: Sick = "pool=a:KernelDeadlock:[P3] stuck: really".parse().unwrap();
        assert_eq!(
            (sick.condition.as_str(), sick.message.as_str()),
            ("KernelDeadlock", "[P3] stuck: really")
        );
        sicken(&mut scene, &sick).unwrap();
        power_off(&mut scene, &"n-002".parse().unwrap()).unwrap();
        assert_eq!(scene.timeline.len(), 2);
        scene.check().unwrap();
        let said = "n-001".parse::<Sick>().unwrap_err().to_string();
        assert!(said.contains("names no condition"), "{said}");
        let said = "n-*:Ready:x".parse::<Sick>().unwrap_err().to_string();
        assert!(said.contains("kubelets write the condition Ready themselves"), "{said}");
    }

    #[test]
    fn a_policy_that_does_nothing_is_told_unless_the_timeline_switches_it_on() {
        let mut scene = scene();
        let told = |scene: &Scene, name: &str| {
            notes(scene).iter().any(|note| note.starts_with(&format!("policy {name} is")))
        };
        assert!(told(&scene, "p") && told(&scene, "q"));
        let edit = |patch: Value| {
            let object =
                json!({ "group": "rerail.dev", "resource": "remediationpolicies", "name": "q" });
            let act = json!({ "edit": { "object": object, "patch": patch } });
            serde_json::from_value(json!({ "at": "1m", "do": act })).unwrap()
        };
        scene.timeline.push(edit(json!({ "spec": { "budget": { "maxUnavailable": 2 } } })));
        assert!(told(&scene, "q"));
        scene.timeline.push(edit(json!({ "spec": { "mode": "Enforce" } })));
        assert!(told(&scene, "p") && !told(&scene, "q"));
    }

    #[test]
    fn a_policy_that_selects_nobody_and_a_condition_that_nobody_acts_on_are_told() {
        let mut scene = scene();
        let told = |scene: &Scene| {
            let all = notes(scene).into_iter();
            all.filter(|note| note.contains("select")).collect::<Vec<_>>()
        };
        sicken(&mut scene, &"n-*:Sick:x".parse().unwrap()).unwrap();
        assert_eq!(told(&scene), [""; 0]);
        sicken(&mut scene, &"n-*:Other:x".parse().unwrap()).unwrap();
        let other =
            "no policy selects n-001, n-002, n-003 and 1 more and acts on the condition Other";
        assert_eq!(told(&scene), [other]);
        scene.policies[0]["spec"]["nodes"] =
            json!({ "selector": { "matchLabels": { "pool": "b" } } });
        assert_eq!(told(&scene), ["policy p selects no node", other]);
        scene.policies[1]["spec"]["nodes"] = json!({ "selector": { "matchLabels": { "node-restriction.kubernetes.io/rack": "rack-b" } } });
        let sick = "no policy selects n-001, n-002 and acts on the condition Sick";
        assert_eq!(told(&scene), ["policy p selects no node", other, sick]);
        let later = json!({ "at": "1m", "do": { "label": { "nodes": ["n-001"], "key": "pool", "value": "b" } } });
        scene.timeline.push(serde_json::from_value(later).unwrap());
        assert_eq!(told(&scene), [""; 0], "nobody can say");
    }

    #[test]
    fn a_policy_of_the_same_name_is_replaced_and_another_one_joins() {
        let mut scene = scene();
        let new =
            |name: &str| json!({ "metadata": { "name": name }, "spec": { "mode": "DryRun" } });
        apply(&mut scene, vec![new("q"), new("r")]).unwrap();
        let names: Vec<_> = scene.policies.iter().map(|p| p["metadata"]["name"].clone()).collect();
        assert_eq!(names, ["p", "q", "r"]);
        assert_eq!(scene.policies[1], new("q"));
        enforce(&mut scene);
        assert!(scene.policies.iter().all(|policy| policy["spec"]["mode"] == "Enforce"));
        assert_eq!(apply(&mut scene, vec![json!({})]), Err(WhatIfError::NoName));
    }
}
