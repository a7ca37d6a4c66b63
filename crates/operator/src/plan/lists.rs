//! The planner's world by plain lists, for somebody who is no operator: reads only, and says what could
//! not be read.

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{Api, Client, ResourceExt, api::ListParams, core::DynamicObject};
use rerail_api::{
    Node, NodeRemediation, RemediationPolicy,
    convert::{
        config::{self, ConfigError},
        ledger::{self, LedgerError},
        node::{self, Look},
    },
    names,
};
use rerail_core::{
    config::ClusterConfig,
    facts::{NodeFacts, Pauses},
    ledger::{Document, Ledger},
    plan::Held,
};
use serde::de::DeserializeOwned;

use super::world::Known;
use crate::{
    check,
    client::{CallError, Clients, call},
    lead::own_pod,
    observe::{
        objects::{self, Entry},
        texts::Texts,
    },
    sweep,
};

/// How many objects one answer may have: ten thousand nodes in one would take longer than a call may.
const PAGE: u32 = 500;

const PAUSE: &str = "the ConfigMap rerail-pause";
const CONFIG: &str = "the ConfigMap rerail-config";
const LEASE: &str = "the Lease rerail-operator";

/// What could not be read, and what the answer assumes in its place.
#[derive(Debug)]
pub struct Unread {
    /// What.
    pub what: &'static str,
    /// What is assumed instead, in a sentence.
    pub instead: &'static str,
    /// Why.
    pub error: CallError,
}

/// Everything that the planner looks at.
pub struct Lists {
    /// What a world is made of.
    pub known: Known,
    /// What is missing in it.
    pub unread: Vec<Unread>,
    /// False where the cluster does not know our kinds: Rerail is not installed.
    pub installed: bool,
    /// What is wrong with the configuration of the cluster that is there now. An operator that has read
    /// a good one before goes by that.
    pub not_configured: Option<String>,
    /// Why the ledger in the Lease cannot be read; no operator starts anything then.
    pub frozen: Option<String>,
}

/// Reads everything. Without nodes, policies and runs there is no answer; what else is missing is
/// named in it. `now` is asked after the reads.
pub async fn read(clients: &Clients, now: impl Fn() -> Timestamp) -> Result<Lists, CallError> {
    let client = &clients.read;
    let all_nodes: Api<Node> = Api::all(client.clone());
    let (nodes, policies, runs, pauses, config, lease) = tokio::join!(
        list(&all_nodes, "nodes"),
        entries::<RemediationPolicy>(client, "RemediationPolicies"),
        entries::<NodeRemediation>(client, "NodeRemediations"),
        check::pauses(client),
        check::config(client),
        lease(client),
    );
    let mut unread = Vec::new();
    let mut or_note = |what, instead, error| unread.push(Unread { what, instead, error });
    let pauses = pauses.unwrap_or_else(|error| {
        or_note(PAUSE, "planned as if nothing were paused", error);
        Pauses::default()
    });
    let config = config.map(|found| config::config(found.as_ref())).unwrap_or_else(|error| {
        or_note(CONFIG, "planned with the default limits", error);
        Ok(ClusterConfig::default())
    });
    let lease = lease.unwrap_or_else(|error| {
        or_note(LEASE, "planned without recent starts and the last meltdown", error);
        None
    });
    let own_node = own_node(client, lease.as_ref()).await.unwrap_or_else(|error| {
        let instead = "its node, which is taken last among equals, is planned like any other";
        or_note("the operator's Pod", instead, error);
        None
    });
    let (ledger, frozen) = match lease.as_ref().and_then(written_ledger).transpose() {
        Ok(document) => (document.map(|document| document.ledger()).unwrap_or_default(), None),
        Err(error) => (Ledger::default(), Some(error.to_string())),
    };
    let (policies, runs) = (policies?, runs?);
    let installed = policies.is_some() && runs.is_some();
    let (config, not_configured) = match config {
        Ok(config) => (Some(config), None),
        Err(ConfigError::Missing) if !installed => (Some(ClusterConfig::default()), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let (policies, runs) = (policies.unwrap_or_default(), runs.unwrap_or_default());
    let now = now();
    let nodes = facts(&nodes?, now);
    let marked = |node: &Arc<NodeFacts>| Some((node.name.clone(), node.cordoned_by.clone()?));
    let marks = nodes.values().filter_map(marked).collect();
    let strays = sweep::strays(marks, runs.clone(), now, true);
    let clock_skew = clients.server_clock.skew(now);
    let pauses = Some(pauses);
    let known = Known {
        now,
        nodes,
        policies,
        runs,
        pauses,
        strays,
        clock_skew,
        out_of_date: None,
        config,
        held: Held { ledger, ..Held::default() },
        own_node,
    };
    Ok(Lists { known, unread, installed, not_configured, frozen })
}

/// As at the operator's start.
fn facts(nodes: &[Node], now: Timestamp) -> BTreeMap<String, Arc<NodeFacts>> {
    let look = Look { now, earlier: None, first_list: true };
    let mut texts = Texts::default();
    let facts = nodes.iter().map(|object| {
        let facts = node::facts(object, look, &mut |text| texts.get(text));
        (facts.name.clone(), Arc::new(facts))
    });
    facts.collect()
}

async fn list<K>(api: &Api<K>, what: &str) -> Result<Vec<K>, CallError>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut all = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = call(|| format!("list {what}"), api.list(&params)).await?;
        all.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(all),
        }
    }
}

/// Every object of a kind of ours; `None` where the cluster does not know the kind.
async fn entries<K>(client: &Client, what: &str) -> Result<Option<Vec<Entry<K>>>, CallError>
where
    K: kube::Resource<DynamicType = ()> + DeserializeOwned,
{
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &objects::resource::<K>());
    match list(&api, what).await {
        Ok(found) => Ok(Some(found.iter().map(objects::read).collect())),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

async fn lease(client: &Client) -> Result<Option<Lease>, CallError> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), names::SYSTEM_NAMESPACE);
    check::in_list(&leases, "Lease", names::LEASE).await
}

/// The node of the operator that leads, as far as its Pod is there and the reader may see it. The right to
/// see all Pods is not worth its place among equals, and nothing is said.
async fn own_node(client: &Client, lease: Option<&Lease>) -> Result<Option<String>, CallError> {
    let holder = lease.and_then(|lease| lease.spec.as_ref()?.holder_identity.as_deref());
    let Some(pod) = holder.and_then(own_pod::pod_of) else { return Ok(None) };
    let pods: Api<Pod> = Api::namespaced(client.clone(), names::SYSTEM_NAMESPACE);
    match call(|| format!("get Pod {pod}"), pods.get_opt(pod)).await {
        Ok(found) => Ok(found.and_then(|pod| pod.spec?.node_name)),
        Err(error) if error.code() == Some(403) => Ok(None),
        Err(error) => Err(error),
    }
}

fn written_ledger(lease: &Lease) -> Option<Result<Document, LedgerError>> {
    Some(ledger::parse(lease.annotations().get(names::LEDGER)?))
}
