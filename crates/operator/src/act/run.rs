//! Writes on NodeRemediations. The status is replaced with the resourceVersion that it was read
//! with: a compare-and-swap, so that an intent is on record only if nobody else moved the run
//! (SAFE-3), and never by a term older than the one on record (SAFE-2).

use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use rerail_api::{NodeRemediation, names, remediation::NodeRemediationStatus};
use serde_json::json;

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

/// Adds or removes our finalizer: it stands only while there is something of ours to undo.
pub async fn set_finalizer(
    client: &Client,
    object: &NodeRemediation,
    wanted: bool,
) -> Result<NodeRemediation, CallError> {
    let has = object.finalizers().iter().any(|finalizer| finalizer == names::FINALIZER);
    if has == wanted {
        return Ok(object.clone());
    }
    let mut finalizers: Vec<_> = object.finalizers().to_vec();
    finalizers.retain(|finalizer| finalizer != names::FINALIZER);
    if wanted {
        finalizers.push(names::FINALIZER.to_owned());
    }
    let name = object.name_any();
    // With the resourceVersion a merge patch is a compare-and-swap, too: other finalizers are kept.
    let patch = json!({ "metadata": { "resourceVersion": object.resource_version(), "finalizers": finalizers } });
    let params =
        PatchParams { field_manager: Some(names::FIELD_MANAGER.into()), ..PatchParams::default() };
    let patch = Patch::Merge(patch);
    let what = || format!("write the finalizers of NodeRemediation {name}");
    call(what, runs(client).patch(&name, &params, &patch)).await
}

/// Deletes a run that never was admitted.
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
