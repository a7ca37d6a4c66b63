//! Evictions, through the Eviction API only, each with the pod's UID as precondition: a pod that was
//! made anew under the same name elsewhere is never touched (hazard H16; contracts b1).

use k8s_openapi::{
    api::{core::v1::Pod, policy::v1::Eviction},
    apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Preconditions},
};
use kube::{
    Api, Client,
    api::PostParams,
    core::{Status, response::StatusSummary},
};
use rerail_core::{
    drain::{
        eviction::{EvictionOutcome, EvictionReply, StatusBody, StatusCause},
        progress::PodRef,
    },
    mutant,
};

use crate::client::{CallError, call};

/// Asks for the eviction of one pod and says what the answer means.
pub async fn evict(
    client: &Client,
    pod: &PodRef,
    grace_period_seconds: Option<i64>,
    terminating: bool,
) -> EvictionOutcome {
    let eviction = Eviction {
        metadata: ObjectMeta {
            name: Some(pod.name.clone()),
            namespace: Some(pod.namespace.clone()),
            ..ObjectMeta::default()
        },
        delete_options: Some(DeleteOptions {
            grace_period_seconds,
            preconditions: Some(Preconditions {
                uid: Some(pod.uid.clone()),
                ..Preconditions::default()
            }),
            ..DeleteOptions::default()
        }),
    };
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
    let params = PostParams::default();
    if mutant!("drain-deletes") {
        let params = kube::api::DeleteParams::default();
        let _ = call(|| "delete".into(), pods.delete(&pod.name, &params)).await;
    }
    let request =
        pods.create_subresource::<Eviction, Status>("eviction", &pod.name, &params, &eviction);
    let what = || format!("evict pod {}/{}", pod.namespace, pod.name);
    match call(what, request).await {
        Ok(status) => outcome(201, &status, terminating),
        Err(CallError::Api { source, .. }) => match *source {
            kube::Error::Api(status) => outcome(status.code, &status, terminating),
            other => EvictionOutcome::no_answer(&other.to_string()),
        },
        Err(error @ (CallError::Deadline { .. } | CallError::Shared(_))) => {
            EvictionOutcome::no_answer(&error.to_string())
        }
    }
}

/// Older API servers answer 201 with a Failure in the body (contracts E3), so both are looked at.
fn outcome(http: u16, status: &Status, pod_terminating: bool) -> EvictionOutcome {
    let details = status.details.as_ref();
    let retry_after =
        details.map(|details| details.retry_after_seconds).filter(|seconds| *seconds > 0);
    let causes = details.map(|details| details.causes.as_slice()).unwrap_or_default();
    EvictionOutcome::from_reply(&EvictionReply {
        http,
        retry_after: None,
        status: Some(StatusBody {
            failure: status.status == Some(StatusSummary::Failure),
            reason: status.reason.clone(),
            message: status.message.clone(),
            code: status.code,
            details_kind: details.map(|details| details.kind.clone()).unwrap_or_default(),
            causes: causes
                .iter()
                .map(|cause| StatusCause {
                    reason: cause.reason.clone(),
                    message: cause.message.clone(),
                })
                .collect(),
            retry_after_seconds: retry_after,
        }),
        pod_terminating,
    })
}
