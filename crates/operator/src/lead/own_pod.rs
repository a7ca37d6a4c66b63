//! The node that the leader itself runs on (hazard H31). Its Pod is the last one there; it goes only
//! when another operator is Ready on another node and has the Lease.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt, api::ListParams};
use rerail_api::{convert::pod, names};
use rerail_core::lease::{self, OwnPod};

use crate::{
    client::{CallError, call},
    context::Context,
};

/// For how long a process leaves the Lease alone that it gave away so that its Pod can go. When nobody
/// takes it, remediation goes on here.
pub(crate) const HOLD_OFF: Duration = Duration::from_secs(60);

/// What to do about our own Pod when the drain of `node` has nothing else left.
pub async fn decide(context: &Context, node: &str) -> Result<OwnPod, CallError> {
    let settings = &context.deps.settings;
    let own_node = Some(settings.node_name.as_str()).filter(|name| !name.is_empty());
    if own_node != Some(node) || settings.pod_name.is_empty() {
        return Ok(OwnPod::Elsewhere);
    }
    let pods: Api<Pod> = Api::namespaced(context.clients.read.clone(), names::SYSTEM_NAMESPACE);
    let label = format!("app.kubernetes.io/name={}", names::OPERATOR_SERVICE_ACCOUNT);
    let params = ListParams::default().labels(&label);
    let all = call(|| "list the operator's Pods".into(), pods.list(&params)).await?.items;
    let ready = all.iter().filter(|other| {
        other.name_any() != settings.pod_name
            && pod::is_ready(other)
            && other.metadata.deletion_timestamp.is_none()
    });
    let peers = ready.filter_map(|other| other.spec.as_ref()?.node_name.as_deref());
    Ok(lease::own_pod(own_node, node, peers))
}
