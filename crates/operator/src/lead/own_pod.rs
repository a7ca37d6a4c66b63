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

/// The identity of a process, unique per start (protocol R6); [`pod_of`] finds its Pod again. `start` =
/// when it started, in nanoseconds since the epoch.
pub fn identity(pod: &str, process: u32, start: i128) -> String {
    format!("{pod}-{process}-{start}")
}

/// Name of the Pod whose process bears this term: an [`identity`], and the number of the acquisition.
pub fn pod_of(term: &str) -> Option<&str> {
    let (identity, _) = term.rsplit_once('_')?;
    let (rest, _) = identity.rsplit_once('-')?;
    rest.rsplit_once('-').map(|(pod, _)| pod)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_of_a_term_is_found_by_its_identity() {
        let identity = identity("rerail-operator-7d4b9c-x2k4p", 17, 1_767_225_600_000_000_000);
        assert_eq!(pod_of(&format!("{identity}_3")), Some("rerail-operator-7d4b9c-x2k4p"));
        for other in ["", "somebody", "some-body_1", &identity] {
            assert_eq!(pod_of(other), None, "{other}");
        }
    }
}
