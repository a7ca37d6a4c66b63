//! CHECK: the last look. Fresh reads, not the cache, immediately before something is done (SAFE-5,
//! SAFE-9, SAFE-13). A read that fails means that nothing is done.
//!
//! A 404 is a read that fails: proxies and API servers that are starting say it of things that are
//! there, and a run that took it for the end of its node would leave the node cordoned. Only a list
//! that was answered, and does not have the object, says that it is gone.

use std::{borrow::Borrow, fmt::Debug, sync::Arc};

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{Api, Client, Resource, ResourceExt, api::ListParams, core::DynamicObject};
use rerail_api::{Node, NodeRemediation, RemediationPolicy, convert::pause, names, policy::Mode};
use rerail_core::{facts::NodeFacts, facts::Pauses, remediation::PolicyStanding};
use serde::de::DeserializeOwned;

use crate::{
    client::{CallError, Together, call},
    context::Shared,
    observe::objects::{self, Entry},
    sweep,
};

/// A node by a fresh read.
pub struct FreshNode {
    /// The object as far as it is looked at, for a patch that tests its resourceVersion.
    pub object: Node,
    /// What is known of it.
    pub facts: Arc<NodeFacts>,
}

/// Reads a node.
pub async fn node(context: &Shared, name: &str) -> Result<Option<FreshNode>, CallError> {
    let nodes: Api<Node> = Api::all(context.clients.read.clone());
    let known = context.nodes.version(name);
    Ok(match find(&nodes, "node", name).await? {
        Some(object) => {
            context.rewind.compare("Node", known, &object);
            let facts = context.nodes.fold(&object, context.now(), &context.wakers);
            Some(FreshNode { object, facts })
        }
        None => {
            context.nodes.gone(name);
            None
        }
    })
}

/// Reads a run, for somebody who is no operator.
pub async fn run_by_name(
    client: &Client,
    name: &str,
) -> Result<Option<NodeRemediation>, CallError> {
    let runs: Api<NodeRemediation> = Api::all(client.clone());
    find(&runs, "NodeRemediation", name).await
}

/// Reads a run.
pub async fn run(context: &Shared, name: &str) -> Result<Option<Arc<NodeRemediation>>, CallError> {
    let (asked, known) = (context.now(), context.runs.version(name));
    let found = run_by_name(&context.clients.read, name).await?.map(Arc::new);
    match &found {
        Some(object) => {
            context.rewind.compare("NodeRemediation", known, &**object);
            context.runs.put(object.clone(), Some(asked));
        }
        None => {
            if let Some(lost) = context.runs.gone(name) {
                sweep::vanished(context, &lost, sweep::End::Missed);
            }
        }
    }
    Ok(found)
}

/// Every run, by a consistent read, untyped so that one that cannot be read is not overlooked.
pub async fn all_runs(context: &Shared) -> Result<Vec<DynamicObject>, CallError> {
    let resource = objects::resource::<NodeRemediation>();
    let api: Api<DynamicObject> = Api::all_with(context.clients.read.clone(), &resource);
    Ok(call(|| "list NodeRemediations".into(), api.list(&ListParams::default())).await?.items)
}

/// Reads a policy.
pub async fn policy(client: &Client, name: &str) -> Result<Option<RemediationPolicy>, CallError> {
    let policies: Api<RemediationPolicy> = Api::all(client.clone());
    find(&policies, "RemediationPolicy", name).await
}

/// What the last looks of many runs have in common. Whoever asks at the same moment shares a request,
/// which is sent after the ask: with a hundred runs these reads would be a third of all.
pub struct InCommon {
    client: Client,
    standings: Together<String, PolicyStanding>,
    pauses: Together<(), Pauses>,
}

impl InCommon {
    /// Reads by this client.
    pub fn new(client: Client) -> Self {
        InCommon { client, standings: Together::default(), pauses: Together::default() }
    }

    /// How a policy stands now.
    pub async fn standing(&self, policy: &str) -> Result<PolicyStanding, CallError> {
        let (client, name) = (self.client.clone(), policy.to_owned());
        self.standings.read(name.clone(), async move { standing_now(&client, &name).await }).await
    }

    /// The kill switch as it is now.
    pub async fn pauses(&self) -> Result<Pauses, CallError> {
        let client = self.client.clone();
        self.pauses.read((), async move { pauses(&client).await }).await
    }
}

/// Reads how a policy stands for a run under way. One that cannot be read undoes nothing, and the
/// run's contract is frozen.
async fn standing_now(client: &Client, name: &str) -> Result<PolicyStanding, CallError> {
    let resource = objects::resource::<RemediationPolicy>();
    let policies: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let found = find(&policies, "RemediationPolicy", name).await?;
    Ok(match found.as_ref().map(objects::read::<RemediationPolicy>) {
        Some(Entry::Malformed(_)) => PolicyStanding::InForce,
        Some(Entry::Good(policy)) => standing(Some(&policy)),
        None => standing(None),
    })
}

/// How a policy stands for a run under way.
pub fn standing(policy: Option<&RemediationPolicy>) -> PolicyStanding {
    match policy {
        None => PolicyStanding::Deleted,
        Some(policy) if policy.metadata.deletion_timestamp.is_some() => PolicyStanding::Deleted,
        Some(policy) if policy.spec.suspended => PolicyStanding::Suspended,
        Some(policy) if policy.spec.mode != Mode::Enforce => PolicyStanding::NotEnforcing,
        Some(_) => PolicyStanding::InForce,
    }
}

/// Reads the kill switch. It is listed at once, since most of the time it is not there.
pub async fn pauses(client: &Client) -> Result<Pauses, CallError> {
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), names::SYSTEM_NAMESPACE);
    let found = in_list(&config_maps, "ConfigMap", names::PAUSE_CONFIG_MAP).await?;
    Ok(pause::pauses(found.as_ref()))
}

/// Reads the configuration of the cluster.
pub async fn config(client: &Client) -> Result<Option<ConfigMap>, CallError> {
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), names::SYSTEM_NAMESPACE);
    in_list(&config_maps, "ConfigMap", names::CONFIG_CONFIG_MAP).await
}

/// Reads the pods of a node, completely.
pub async fn pods(client: &Client, node: &str) -> Result<Vec<Pod>, CallError> {
    let pods: Api<Pod> = Api::all(client.clone());
    let params = ListParams::default().fields(&format!("spec.nodeName={node}"));
    Ok(call(|| format!("list the pods of node {node}"), pods.list(&params)).await?.items)
}

/// Reads one of our Pods.
pub async fn own_pod(client: &Client, name: &str) -> Result<Option<Pod>, CallError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), names::NODE_NAMESPACE);
    find(&pods, "Pod", name).await
}

/// An object by its name; `None` only when a list has shown that it is not there.
pub(crate) async fn find<K>(api: &Api<K>, kind: &str, name: &str) -> Result<Option<K>, CallError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    match call(|| format!("get {kind} {name}"), api.get_opt(name)).await? {
        Some(object) => Ok(Some(object)),
        None => in_list(api, kind, name).await,
    }
}

/// An object by its name, from a list of it alone.
pub(crate) async fn in_list<K>(api: &Api<K>, kind: &str, name: &str) -> Result<Option<K>, CallError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let params = ListParams::default().fields(&format!("metadata.name={name}"));
    let list = call(|| format!("list {kind} {name}"), api.list(&params)).await?;
    Ok(list.items.into_iter().find(|object| object.name_any() == name))
}

/// DaemonSets (`namespace/name`) with a Ready pod among these, sorted.
pub fn ready_daemon_sets(pods: &[impl Borrow<Pod>]) -> Vec<String> {
    use rerail_api::convert::pod;
    let pods = pods.iter().map(Borrow::borrow);
    let ready = pods.filter(|p| pod::is_ready(p) && p.metadata.deletion_timestamp.is_none());
    let mut names: Vec<_> = ready.filter_map(pod::daemon_set).collect();
    names.sort();
    names.dedup();
    names
}
