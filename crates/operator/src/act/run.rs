//! Writes on NodeRemediations. The status is replaced with the resourceVersion that it was read
//! with: a compare-and-swap, so that an intent is on record only if nobody else moved the run
//! (SAFE-3), and never by a term older than the one on record (SAFE-2).

use jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PostParams, Preconditions},
};
use rerail_api::{NodeRemediation, names, remediation::NodeRemediationStatus};
use rerail_core::mutant;
use serde_json::json;

use super::patch_params;
use crate::client::{CallError, call};

fn runs(client: &Client) -> Api<NodeRemediation> {
    Api::all(client.clone())
}

fn post() -> PostParams {
    PostParams { field_manager: Some(names::FIELD_MANAGER.into()), ..PostParams::default() }
}

/// Creates a run; the name makes it the only one (hazard H06).
pub async fn create(
    client: &Client,
    object: &NodeRemediation,
) -> Result<NodeRemediation, CallError> {
    let what = || format!("create NodeRemediation {}", object.name_any());
    call(what, runs(client).create(&post(), object)).await
}

/// Replaces the status, if the object is still as it was read.
pub async fn replace_status(
    client: &Client,
    object: &NodeRemediation,
    status: NodeRemediationStatus,
) -> Result<NodeRemediation, CallError> {
    let name = object.name_any();
    let object = NodeRemediation { status: Some(status), ..object.clone() };
    let what = || format!("write the status of NodeRemediation {name}");
    call(what, runs(client).replace_status(&name, &post(), &object)).await
}

/// True while our finalizer keeps the run.
pub fn bears_finalizer(object: &NodeRemediation) -> bool {
    object.finalizers().iter().any(|finalizer| finalizer == names::FINALIZER)
}

/// Adds or removes our finalizer: it stands only while there is something of ours to undo.
pub async fn set_finalizer(
    client: &Client,
    object: &NodeRemediation,
    wanted: bool,
    now: Timestamp,
) -> Result<NodeRemediation, CallError> {
    if bears_finalizer(object) == wanted || (wanted && mutant!("finalizer-missing")) {
        return Ok(object.clone());
    }
    let mut finalizers: Vec<_> = object.finalizers().to_vec();
    finalizers.retain(|finalizer| finalizer != names::FINALIZER);
    if wanted {
        finalizers.push(names::FINALIZER.to_owned());
    }
    let name = object.name_any();
    let note = wanted.then(|| cleanup_note(&name, &object.spec.node_name, now));
    // With the resourceVersion a merge patch is a compare-and-swap, too: other finalizers are kept.
    let patch = json!({ "metadata": { "resourceVersion": object.resource_version(), "finalizers": finalizers,
        "annotations": { names::CLEANUP_NOTE: note } } });
    let params = patch_params();
    let patch = Patch::Merge(patch);
    let what = || format!("write the finalizers of NodeRemediation {name}");
    call(what, runs(client).patch(&name, &params, &patch)).await
}

/// Moves the run's version and nothing else, so that no earlier write of its status can land any more.
pub async fn touch(
    client: &Client,
    object: &NodeRemediation,
    now: Timestamp,
) -> Result<NodeRemediation, CallError> {
    let name = object.name_any();
    let note = cleanup_note(&name, &object.spec.node_name, now);
    let patch = json!({ "metadata": { "resourceVersion": object.resource_version(),
        "annotations": { names::CLEANUP_NOTE: note } } });
    let params = patch_params();
    let what = || format!("write the annotations of NodeRemediation {name}");
    call(what, runs(client).patch(&name, &params, &Patch::Merge(patch))).await
}

/// What a person reads who finds our finalizer in the way and no operator to take it off (hazard H30).
pub fn cleanup_note(run: &str, node: &str, now: Timestamp) -> String {
    format!(
        "finalizer {finalizer} set by Rerail at {now}, so that node {node} is given back before this object goes; \
         to end the run: kubectl patch noderemediation {run} --type=merge -p '{{\"spec\":{{\"cancel\":true}}}}'; \
         without Rerail: follow the annotation {note} of node {node}, then kubectl patch noderemediation {run} \
         --type=merge -p '{{\"metadata\":{{\"finalizers\":null}}}}'",
        finalizer = names::FINALIZER,
        note = names::CORDON_NOTE,
    )
}

/// Asks for the end of a run, as a person does.
pub async fn cancel(client: &Client, name: &str) -> Result<NodeRemediation, CallError> {
    set_spec(client, name, json!({ "cancel": true })).await
}

/// Asks for another try of a held run, as a person does.
pub async fn ask_for_retry(
    client: &Client,
    object: &NodeRemediation,
) -> Result<NodeRemediation, CallError> {
    let retries = object.spec.retries.saturating_add(1);
    set_spec(client, &object.name_any(), json!({ "retries": retries })).await
}

async fn set_spec(
    client: &Client,
    name: &str,
    spec: serde_json::Value,
) -> Result<NodeRemediation, CallError> {
    let params = patch_params();
    let patch = Patch::Merge(json!({ "spec": spec }));
    let what = || format!("write the spec of NodeRemediation {name}");
    call(what, runs(client).patch(name, &params, &patch)).await
}

/// Deletes a run, if it is still as it was read. One with our finalizer stays until that is off.
pub async fn delete(client: &Client, object: &NodeRemediation) -> Result<(), CallError> {
    let name = object.name_any();
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: object.uid(),
            resource_version: object.resource_version(),
        }),
        ..DeleteParams::default()
    };
    match call(|| format!("delete NodeRemediation {name}"), runs(client).delete(&name, &params))
        .await
    {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}
