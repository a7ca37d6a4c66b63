//! Whether everything that can heal has healed, and what a person does for it in the meantime.

use std::collections::{BTreeMap, BTreeSet};

use rerail_api::{convert::ledger, names};
use rerail_core::facts::OF_KUBELET;
use rerail_sim::{Server, Store};
use serde_json::Value;

/// How far everything has healed.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// What has not: names of nodes and runs, each with what is wrong.
    pub open: BTreeMap<String, String>,
    /// Nodes whose run is held and waits for a person.
    pub held: BTreeSet<String>,
    /// Nodes that somebody else has cordoned: a cordon of ours that stays is nobody's to lift.
    pub cordoned: BTreeSet<String>,
    /// Nodes for which a policy says that no attempt is left, and which wait for a day or for a person; and
    /// how many attempts it allows.
    pub exhausted: BTreeMap<String, usize>,
    /// All nodes.
    pub nodes: BTreeSet<String>,
}

/// How far everything has healed by now.
pub(crate) fn look(server: &Server) -> Health {
    server.with(|store, _| {
        let mut health = Health::default();
        for (name, run) in objects(store, names::GROUP, "noderemediations") {
            let step = text(run, "/status/step");
            if ["Succeeded", "Failed", "Cancelled"].contains(&step) {
                continue;
            }
            let node = text(run, "/spec/nodeName");
            if step == "Held" {
                health.held.insert(node.to_owned());
            }
            let reason = text(run, "/status/reason");
            health.open.insert(name.clone(), format!("the run for {node} is {step} ({reason})"));
        }
        for (name, node) in objects(store, "", "nodes") {
            health.nodes.insert(name.clone());
            if let Some(wrong) = of_node(node) {
                health.open.insert(name.clone(), wrong);
            }
            let ours = node.pointer(&annotation(names::CORDONED_BY)).is_some();
            let cordoned = node.pointer("/spec/unschedulable") == Some(&Value::Bool(true));
            if cordoned && !ours && !cordoned_by_us(node) {
                health.cordoned.insert(name.clone());
            }
        }
        health.open.extend(slots_of_nobody(store));
        for (_, policy) in objects(store, names::GROUP, "remediationpolicies") {
            let waiting = policy.pointer("/status/waiting").and_then(Value::as_array);
            let exhausted = waiting.into_iter().flatten();
            let exhausted = exhausted.filter(|wait| text(wait, "/reason") == "AttemptsExhausted");
            let most = policy.pointer("/spec/attempts/max").and_then(Value::as_u64);
            let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(3);
            health.exhausted.extend(exhausted.map(|wait| (text(wait, "/node").to_owned(), most)));
        }
        health
    })
}

/// Slots whose run is gone: they stay until its machine has reported since, which takes a while.
fn slots_of_nobody(store: &Store) -> BTreeMap<String, String> {
    let runs: BTreeSet<&str> = objects(store, names::GROUP, "noderemediations")
        .map(|(_, run)| text(run, "/metadata/uid"))
        .collect();
    let path = annotation(names::LEDGER);
    let leases = objects(store, "coordination.k8s.io", "leases");
    let ledgers = leases.filter_map(|(_, lease)| lease.pointer(&path)?.as_str());
    let documents = ledgers.filter_map(|text| ledger::parse(text).ok());
    let slots = documents.flat_map(|document| document.slots);
    let lost = slots.filter(|slot| !runs.contains(slot.run_uid.as_str()));
    lost.map(|slot| (slot.run_uid, format!("its slot for {} is held", slot.node_name))).collect()
}

/// True when `managedFields` gives the cordon to the operator (protocol R9).
fn cordoned_by_us(node: &Value) -> bool {
    let managed = node.pointer("/metadata/managedFields").and_then(Value::as_array);
    managed.into_iter().flatten().any(|entry| {
        text(entry, "/manager") == names::FIELD_MANAGER
            && entry.pointer("/fieldsV1/f:spec/f:unschedulable").is_some()
    })
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn objects<'a>(
    store: &'a Store,
    group: &str,
    plural: &str,
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    let at = store.position(group, plural);
    at.into_iter().flat_map(|at| store.table(at).objects()).map(|(key, object)| (key, &**object))
}

/// Where an annotation is in an object.
fn annotation(name: &str) -> String {
    format!("/metadata/annotations/{}", name.replace('/', "~1"))
}

fn of_node(node: &Value) -> Option<String> {
    if node.pointer("/spec/unschedulable") == Some(&Value::Bool(true)) {
        return Some("it is cordoned".to_owned());
    }
    if node.pointer(&annotation(names::CORDONED_BY)).is_some() {
        return Some("it bears our mark".to_owned());
    }
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array)?;
    conditions.iter().find_map(|condition| {
        let (kind, status) = (text(condition, "/type"), text(condition, "/status"));
        if kind == "Ready" && status != "True" {
            return Some(format!("it is not ready: {status}"));
        }
        let sick = !OF_KUBELET.contains(&kind) && status == "True";
        sick.then(|| format!("{kind} is true"))
    })
}
