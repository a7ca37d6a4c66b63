//! What if something more went wrong, or other policies were applied? Changes to a scene before it is
//! played.

use std::{collections::BTreeSet, str::FromStr};

use jiff::SignedDuration;
use rerail_api::duration::GoDuration;
use rerail_sim::world::{Act, Entry, PowerAct, Scene, Sickness, Spec};
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
        Ok(Sick { nodes, condition, message: parts.next().unwrap_or_default().trim().to_owned() })
    }
}

impl Nodes {
    /// The names of those that are meant.
    fn of(&self, scene: &Scene) -> Result<Vec<String>, WhatIfError> {
        let specs = scene.specs();
        let has = |spec: &Spec, (key, value): &(String, String)| match key.as_str() {
            "kubernetes.io/hostname" => spec.name == *value,
            key => spec.labels.get(key) == Some(value),
        };
        let meant = specs.iter().filter(|spec| match self {
            Nodes::Named(pattern) => rerail_sim::world::fits(&spec.name, pattern),
            Nodes::Labelled(labels) => labels.iter().all(|label| has(spec, label)),
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
        if policy["spec"]["suspended"] == true {
            notes
                .push(format!("policy {name} is suspended: it starts nothing; --enforce plays it"));
        } else if policy["spec"]["mode"] != "Enforce" {
            notes.push(format!(
                "policy {name} is in mode DryRun: it decides, and nothing is done; --enforce plays it as if it enforced"
            ));
        }
    }
    let unnamed = unnamed(scene);
    if !unnamed.is_empty() {
        notes.push(format!("no policy acts on these conditions: {}", unnamed.join(", ")));
    }
    notes
}

/// Conditions that become True in a scene, and that none of its policies speaks of. Where policies come later,
/// nobody can say.
fn unnamed(scene: &Scene) -> Vec<String> {
    let acts = || {
        scene.timeline.iter().map(|entry| &entry.act).chain(scene.random.iter().map(|one| &one.act))
    };
    if acts().any(Act::creates_policy) {
        return Vec::new();
    }
    let named: Vec<_> = scene.policies.iter().flat_map(snapshot::named).collect();
    let sick = acts().filter_map(|act| match act {
        Act::Sicken { with, .. } => Some(with.condition.clone()),
        _ => None,
    });
    let unnamed = sick.filter(|condition| !named.iter().any(|one| one.matches(condition)));
    unnamed.collect::<BTreeSet<_>>().into_iter().collect()
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
