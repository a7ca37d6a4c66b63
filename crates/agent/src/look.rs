//! The Pod's two reads, and what the check makes of them.
//!
//! Two GETs without a resourceVersion, which the API server answers from a quorum of etcd, not
//! from its watch cache: a withdrawn intent must be seen at once (protocol R2).

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::{Client, ResourceExt};
use rerail_api::names;
use rerail_core::reboot_check::{self, Expected, IntentSeen, NodeSeen, RunSeen, Seen, Verdict};
use serde_json::Value;

use crate::Error;

/// How long one read may take. kube itself has no read deadline.
pub const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// Reads the run and the node. An object that does not exist is `None`; anything else that is not
/// an answer is an error, never an absence. Lists nothing, writes nothing.
pub async fn look(
    client: &Client,
    expected: &Expected,
    kernel_boot_id: String,
) -> Result<Seen, Error> {
    let run = read_run(client, &expected.run_name).await?;
    let node = read_node(client, &expected.node_name).await?;
    Ok(Seen { kernel_boot_id, run, node })
}

/// Looks, and decides whether the Pod made for `expected` may reboot the machine now.
pub async fn check(
    client: &Client,
    expected: &Expected,
    kernel_boot_id: String,
) -> Result<Verdict, Error> {
    Ok(reboot_check::check(expected, &look(client, expected, kernel_boot_id).await?))
}

/// The kind NodeRemediation, read without its Rust type, so that fields which a newer operator
/// adds cannot make an older agent fail.
fn run_resource() -> ApiResource {
    ApiResource {
        group: names::GROUP.to_owned(),
        version: names::VERSION.to_owned(),
        api_version: format!("{}/{}", names::GROUP, names::VERSION),
        kind: "NodeRemediation".to_owned(),
        plural: "noderemediations".to_owned(),
    }
}

async fn read_run(client: &Client, name: &str) -> Result<Option<RunSeen>, Error> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &run_resource());
    let what = format!("NodeRemediation {name}");
    let Some(run) = within_deadline(&what, api.get_opt(name)).await? else { return Ok(None) };
    Ok(Some(RunSeen {
        uid: run.uid().unwrap_or_default(),
        reboot_intent: reboot_intent(&what, &run.data)?,
    }))
}

async fn read_node(client: &Client, name: &str) -> Result<Option<NodeSeen>, Error> {
    let api: Api<Node> = Api::all(client.clone());
    let what = format!("Node {name}");
    let Some(node) = within_deadline(&what, api.get_opt(name)).await? else { return Ok(None) };
    Ok(Some(NodeSeen {
        uid: node.uid().unwrap_or_default(),
        unschedulable: node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false),
        cordoned_by: node.annotations().get(names::CORDONED_BY).cloned(),
    }))
}

/// The reboot intent in the run's status. An intent of another effect is none of ours; a reboot
/// intent without an attempt is a mistake that must not pass for a withdrawn one.
fn reboot_intent(what: &str, run: &Value) -> Result<Option<IntentSeen>, Error> {
    let malformed = |problem| Error::Malformed { what: what.to_owned(), problem };
    let Some(intent) = run.pointer("/status/intent").filter(|intent| !intent.is_null()) else {
        return Ok(None);
    };
    match intent.pointer("/effect").and_then(Value::as_str) {
        Some("Reboot") => {}
        Some(_) => return Ok(None),
        None => return Err(malformed("status.intent has no effect")),
    }
    let text = |pointer: &str| intent.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let attempt = intent.pointer("/attempt").and_then(Value::as_u64);
    Ok(Some(IntentSeen {
        attempt: attempt
            .and_then(|attempt| u32::try_from(attempt).ok())
            .ok_or(malformed("status.intent.attempt is not a number from 1"))?,
        node_uid: text("/nodeUID").ok_or(malformed("status.intent.nodeUID is missing"))?,
        boot_id_before: text("/bootIDBefore")
            .ok_or(malformed("status.intent.bootIDBefore is missing"))?,
    }))
}

async fn within_deadline<T>(
    what: &str,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(CALL_DEADLINE, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(Error::Read { what: what.to_owned(), source: Box::new(source) }),
        Err(_) => Err(Error::Deadline { what: what.to_owned(), deadline: CALL_DEADLINE }),
    }
}
