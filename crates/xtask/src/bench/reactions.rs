//! How fast the operator reacts: from the condition to the cordon, and from the last fact that the
//! verification needed to the uncordon.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use rerail_api::names;
use rerail_e2e::{Brisk, PATIENCE, Story};
use serde::Serialize;
use tokio::time::Instant;

use super::{
    BenchError,
    figures::Series,
    observer::{Object, Observer, Seen},
    progress,
};

/// Pods that are evicted from each node.
const PODS: usize = 2;

/// Both reactions.
#[derive(Debug, Default, Serialize)]
pub struct Reactions {
    /// From the event that showed the condition to the one that showed the cordon.
    pub condition_to_cordon: Series,
    /// From the event that showed the last fact to the one that showed the uncordon.
    pub fact_to_uncordon: Series,
    /// Which fact was the last one, and how many times.
    pub last_facts: BTreeMap<&'static str, usize>,
}

/// Times one run after the other, each of a fresh node.
pub async fn measure(brisk: &Brisk, runs: usize) -> Result<Reactions, BenchError> {
    let bar = progress::bar("reactions", runs);
    let nodes = brisk.add_nodes("timed", Story::Healed, runs).await?;
    let mut observer = Observer::start(&brisk.cluster.client);
    let mut reactions = Reactions::default();
    for (number, node) in nodes.iter().enumerate() {
        brisk.furnish(node, PODS).await?;
        brisk.sicken(node).await?;
        let timeline = observe(&mut observer, node).await?;
        timeline.add_to(&mut reactions, node)?;
        brisk.ended(node, "timed").await?;
        brisk.remove(node).await?;
        bar.at(number + 1, runs);
    }
    bar.end();
    Ok(reactions)
}

async fn observe(observer: &mut Observer, node: &str) -> Result<Timeline, BenchError> {
    let mut timeline = Timeline::default();
    let watching = async {
        while timeline.uncordon.is_none() {
            let Some(seen) = observer.events.recv().await else { return };
            timeline.see(node, &seen);
        }
    };
    let unseen = |_| BenchError::Unseen { node: node.to_owned(), what: "the end of the run" };
    tokio::time::timeout(PATIENCE, watching).await.map_err(unseen)?;
    Ok(timeline)
}

/// When what was seen of one run.
#[derive(Debug, Default)]
struct Timeline {
    /// The boot ID of the first version that was seen.
    boot_id_before: Option<String>,
    condition: Option<Instant>,
    cordon: Option<Instant>,
    /// Since when each fact that the verification needs has been so without a break.
    facts: BTreeMap<&'static str, Instant>,
    uncordon: Option<Instant>,
}

impl Timeline {
    fn see(&mut self, name: &str, seen: &Seen) {
        match &seen.object {
            Object::Node(node) if node.name_any() == name => self.see_node(node, seen.at),
            Object::Pod(pod) if is_on(pod, name) => self.see_pod(pod, seen.at),
            Object::Node(_) | Object::Pod(_) => {}
        }
    }

    fn see_node(&mut self, node: &Node, at: Instant) {
        let status = node.status.as_ref();
        let boot_id = status.and_then(|s| s.node_info.as_ref()).map(|info| info.boot_id.clone());
        let before = self.boot_id_before.get_or_insert_with(|| boot_id.clone().unwrap_or_default());
        let booted = boot_id.is_some_and(|boot_id| boot_id != *before);
        let is = |kind: &str, wanted: &str| {
            let mut conditions = status.iter().flat_map(|s| s.conditions.iter().flatten());
            conditions.any(|c| c.type_ == kind && c.status == wanted)
        };
        if is(Brisk::CONDITION, "True") {
            self.condition.get_or_insert(at);
        }
        let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
        if cordoned {
            self.cordon.get_or_insert(at);
        } else if self.cordon.is_some() {
            self.uncordon.get_or_insert(at);
        }
        self.fact("Ready with a new boot ID", booted && is("Ready", "True"), at);
        let clear = self.condition.is_some() && is(Brisk::CONDITION, "False");
        self.fact("trigger False", booted && clear, at);
    }

    fn see_pod(&mut self, pod: &Pod, at: Instant) {
        let status = pod.status.as_ref();
        if pod.labels().get(names::COMPONENT).is_some_and(|of| of == names::COMPONENT_PROBE) {
            let phase = status.and_then(|status| status.phase.as_deref());
            self.fact("probe Pod ended", phase == Some("Succeeded"), at);
        }
        if pod.owner_references().iter().any(|owner| owner.kind == "DaemonSet") {
            let mut conditions = status.iter().flat_map(|s| s.conditions.iter().flatten());
            let ready = conditions.any(|c| c.type_ == "Ready" && c.status == "True");
            self.fact("DaemonSet pod Ready", ready, at);
        }
    }

    /// What comes after the uncordon has moved nothing.
    fn fact(&mut self, name: &'static str, is_so: bool, at: Instant) {
        if self.uncordon.is_some() {
            return;
        }
        if is_so {
            self.facts.entry(name).or_insert(at);
        } else {
            self.facts.remove(name);
        }
    }

    fn add_to(&self, reactions: &mut Reactions, node: &str) -> Result<(), BenchError> {
        let unseen = |what| BenchError::Unseen { node: node.to_owned(), what };
        let condition = self.condition.ok_or_else(|| unseen("the condition"))?;
        let cordon = self.cordon.ok_or_else(|| unseen("the cordon"))?;
        let uncordon = self.uncordon.ok_or_else(|| unseen("the uncordon"))?;
        let last = self.facts.iter().max_by_key(|(_, at)| **at);
        let (name, fact) = last.ok_or_else(|| unseen("a fact that verifies it"))?;
        reactions.condition_to_cordon.add(between(condition, cordon));
        reactions.fact_to_uncordon.add(between(*fact, uncordon));
        *reactions.last_facts.entry(name).or_default() += 1;
        Ok(())
    }
}

/// Two watches may show two things in the other order than they happened in; that is no time at all.
fn between(from: Instant, to: Instant) -> Duration {
    to.saturating_duration_since(from)
}

fn is_on(pod: &Pod, node: &str) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.node_name.as_deref() == Some(node))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(boot_id: &str, ready: &str, trigger: &str, cordoned: bool) -> Object {
        let node = json!({
            "metadata": { "name": "n1" },
            "spec": { "unschedulable": cordoned },
            "status": {
                "nodeInfo": { "bootID": boot_id, "architecture": "", "containerRuntimeVersion": "",
                    "kernelVersion": "", "kubeProxyVersion": "", "kubeletVersion": "",
                    "machineID": "", "operatingSystem": "", "osImage": "", "systemUUID": "" },
                "conditions": [
                    { "type": "Ready", "status": ready },
                    { "type": Brisk::CONDITION, "status": trigger },
                ],
            },
        });
        Object::Node(serde_json::from_value(node).unwrap())
    }

    fn daemon(ready: &str) -> Object {
        let pod = json!({
            "metadata": { "name": "agent", "ownerReferences": [
                { "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": "u" } ] },
            "spec": { "nodeName": "n1", "containers": [] },
            "status": { "conditions": [ { "type": "Ready", "status": ready } ] },
        });
        Object::Pod(serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn the_last_fact_is_the_one_that_became_so_last_and_stayed_so() {
        let began = Instant::now();
        let mut timeline = Timeline::default();
        let events = [
            node("a", "True", "True", false),
            node("a", "True", "True", true),
            daemon("True"),
            daemon("False"),
            node("b", "True", "True", true),
            node("b", "True", "False", true),
            daemon("True"),
            node("b", "True", "False", true),
            node("b", "True", "False", false),
            daemon("False"),
        ];
        for (seconds, object) in (0..).zip(events) {
            let at = began + Duration::from_secs(seconds);
            timeline.see("n1", &Seen { at, object });
        }
        let mut reactions = Reactions::default();
        timeline.add_to(&mut reactions, "n1").unwrap();
        assert_eq!(reactions.condition_to_cordon.milliseconds, [1000.0]);
        assert_eq!(reactions.fact_to_uncordon.milliseconds, [2000.0]);
        assert_eq!(reactions.last_facts, [("DaemonSet pod Ready", 1)].into());
    }
}
