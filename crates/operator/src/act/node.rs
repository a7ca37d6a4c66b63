//! The writes on a Node: the cordon, earlier attempts, and the closing write. All are JSON patches that test the
//! resourceVersion of the read that the decision was made on, so that nothing that anybody did in
//! between is overwritten, and no late patch of ours lands after a later write (SAFE-6, SAFE-13,
//! protocol R4, R9). A failed test answers 422, not 409.

use jiff::Timestamp;
use json_patch::{
    AddOperation, Patch as JsonPatch, PatchOperation, RemoveOperation, TestOperation,
};
use kube::{Api, Client, ResourceExt, api::Patch};
use rerail_api::{Node, names};
use rerail_core::mutant;
use serde_json::{Value, json};

use super::patch_params;
use crate::client::{CallError, call};

/// Why a node was not written.
#[derive(Debug, thiserror::Error)]
pub enum NodeWriteError {
    /// The API server did not take it.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The node changed after it was looked at, or something refuses the write; both answer 422. It is
    /// looked at again.
    #[error("{0}; the node has changed, or an admission policy refuses it; looking again")]
    Refused(CallError),
}

fn pointer(key: &str) -> json_patch::jsonptr::PointerBuf {
    json_patch::jsonptr::PointerBuf::from_tokens(["metadata", "annotations", key])
}

fn path(tokens: &[&str]) -> json_patch::jsonptr::PointerBuf {
    json_patch::jsonptr::PointerBuf::from_tokens(tokens.iter().copied())
}

fn test_version(node: &Node) -> PatchOperation {
    PatchOperation::Test(TestOperation {
        path: path(&["metadata", "resourceVersion"]),
        value: Value::String(node.resource_version().unwrap_or_default()),
    })
}

fn add(path: json_patch::jsonptr::PointerBuf, value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path, value })
}

/// `add` needs the map to be there.
fn annotations_exist(node: &Node, operations: &mut Vec<PatchOperation>) {
    if node.metadata.annotations.is_none() {
        operations.push(add(path(&["metadata", "annotations"]), json!({})));
    }
}

/// Sets `unschedulable` together with the mark that says whose cordon it is. The note tells a person
/// how to undo it without us (hazard H30).
pub async fn cordon(
    client: &Client,
    node: &Node,
    run_uid: &str,
    run_name: &str,
    now: Timestamp,
) -> Result<Node, NodeWriteError> {
    let note = format!(
        "cordoned by Rerail at {now} for NodeRemediation {run_name}; to stop it: kubectl patch noderemediation {run_name} \
         --type=merge -p '{{\"spec\":{{\"cancel\":true}}}}'; without Rerail: kubectl uncordon {name}; kubectl annotate node {name} {mark}- {this}-",
        name = node.name_any(),
        mark = names::CORDONED_BY,
        this = names::CORDON_NOTE,
    );
    let mut operations = vec![test_version(node)];
    annotations_exist(node, &mut operations);
    operations.push(add(path(&["spec", "unschedulable"]), Value::Bool(true)));
    operations.push(add(pointer(names::CORDONED_BY), Value::String(run_uid.to_owned())));
    operations.push(add(pointer(names::CORDON_NOTE), Value::String(note)));
    patch(client, node, operations, "cordon").await
}

/// The closing write: our marks off, the outcome into `last-remediation`, and schedulable again if
/// the cordon is ours; in one patch, also when there is nothing to take off.
pub async fn close(
    client: &Client,
    node: &Node,
    run_uid: &str,
    uncordon: bool,
    memory: String,
) -> Result<Node, NodeWriteError> {
    let mut operations = vec![test_version(node)];
    annotations_exist(node, &mut operations);
    let annotation = |key: &str| node.annotations().get(key);
    let marked = annotation(names::CORDONED_BY).is_some_and(|owner| owner == run_uid);
    if mutant!("k2-uncordon-always") && uncordon && !marked {
        operations.push(add(path(&["spec", "unschedulable"]), Value::Bool(false)));
    }
    if marked {
        operations
            .push(PatchOperation::Remove(RemoveOperation { path: pointer(names::CORDONED_BY) }));
        if annotation(names::CORDON_NOTE).is_some() {
            operations.push(PatchOperation::Remove(RemoveOperation {
                path: pointer(names::CORDON_NOTE),
            }));
        }
        if uncordon {
            operations.push(add(path(&["spec", "unschedulable"]), Value::Bool(false)));
        }
    }
    operations.push(add(pointer(names::LAST_REMEDIATION), Value::String(memory)));
    patch(client, node, operations, "close").await
}

/// Puts attempts of a run on record, and changes nothing else (SAFE-14).
pub async fn remember(
    client: &Client,
    node: &Node,
    memory: String,
) -> Result<Node, NodeWriteError> {
    let mut operations = vec![test_version(node)];
    annotations_exist(node, &mut operations);
    operations.push(add(pointer(names::LAST_REMEDIATION), Value::String(memory)));
    patch(client, node, operations, "put attempts on record on").await
}

async fn patch(
    client: &Client,
    node: &Node,
    operations: Vec<PatchOperation>,
    what: &str,
) -> Result<Node, NodeWriteError> {
    let name = node.name_any();
    let params = patch_params();
    let nodes: Api<Node> = Api::all(client.clone());
    let patch = Patch::Json::<()>(JsonPatch(operations));
    let request = nodes.patch(&name, &params, &patch);
    match call(|| format!("{what} node {name}"), request).await {
        Ok(node) => Ok(node),
        Err(error) if matches!(error.code(), Some(409 | 422)) => {
            Err(NodeWriteError::Refused(error))
        }
        Err(error) => Err(error.into()),
    }
}
