//! A cluster as it is, for `--from-cluster`. Lists and gets alone.

use std::{fmt::Debug, path::Path};

use k8s_openapi::api::{
    core::v1::{ConfigMap, Node, Pod},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DynamicObject, ListParams},
    core::{ApiResource, GroupVersionKind},
};
use rerail_api::{convert, names};
use rerail_operator::deps::{Clock, SteadyClock};
use rerail_simulate::snapshot::{self, Cluster, Snapshot};
use serde::de::DeserializeOwned;

use super::SimulateError;
use crate::{CommandError, connect};

/// Objects in one answer.
const PAGE: u32 = 500;

/// Where rights are to be had.
const VIEW: &str = "; the cluster's role `view`, bound in the whole cluster, and the ClusterRole rerail-view have \
                    the rights to it";

/// Reads it.
pub async fn read(kubeconfig: Option<&Path>) -> Result<Snapshot, CommandError> {
    let config = connect::config(kubeconfig).await?;
    let client = Client::try_from(config).map_err(Box::new)?;
    let mut notes = Vec::new();
    let cluster = Cluster {
        nodes: all(&Api::<Node>::all(client.clone()), "nodes").await?,
        pods: all(&Api::<Pod>::all(client.clone()), "Pods").await?,
        budgets: all(&Api::<PodDisruptionBudget>::all(client.clone()), "PodDisruptionBudgets")
            .await?,
        policies: policies(&client, &mut notes).await?,
        config: Some(configuration(&client, &mut notes).await?),
    };
    notes.extend(pauses(&client).await?);
    let mut snapshot = snapshot::scene(&cluster, "cluster");
    snapshot.notes.splice(0..0, notes);
    Ok(snapshot)
}

async fn pauses(client: &Client) -> Result<Vec<String>, SimulateError> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), names::SYSTEM_NAMESPACE);
    let map = maps.get_opt(names::PAUSE_CONFIG_MAP).await.map_err(failed("the pause"))?;
    Ok(snapshot::pauses(&convert::pause::pauses(map.as_ref()), SteadyClock::start().now()))
}

fn failed(what: &'static str) -> impl Fn(kube::Error) -> SimulateError {
    move |source| {
        let forbidden = matches!(&source, kube::Error::Api(status) if status.code == 403);
        let advice = if forbidden { VIEW } else { "" };
        SimulateError::Cluster { what, source: Box::new(source), advice }
    }
}

/// All of them, a page at a time.
async fn all<K>(api: &Api<K>, what: &'static str) -> Result<Vec<K>, SimulateError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let mut found = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&params).await.map_err(failed(what))?;
        found.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(found),
        }
    }
}

/// As they were written, whatever version of the kind this program knows.
async fn policies(
    client: &Client,
    notes: &mut Vec<String>,
) -> Result<Vec<(String, serde_json::Value)>, SimulateError> {
    let kind = GroupVersionKind::gvk(names::GROUP, names::VERSION, "RemediationPolicy");
    let resource = ApiResource::from_gvk_with_plural(&kind, "remediationpolicies");
    let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
    match all(&api, "policies").await {
        Ok(found) => {
            let spec = |policy: DynamicObject| (policy.name_any(), policy.data["spec"].clone());
            Ok(found.into_iter().map(spec).collect())
        }
        Err(SimulateError::Cluster { source, .. }) if is_absent(&source) => {
            notes.push("the cluster does not know Rerail's kinds yet".to_owned());
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

fn is_absent(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

async fn configuration(client: &Client, notes: &mut Vec<String>) -> Result<String, SimulateError> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), names::SYSTEM_NAMESPACE);
    let map = maps.get_opt(names::CONFIG_CONFIG_MAP).await.map_err(failed("the configuration"))?;
    let text = map.and_then(|map| map.data?.remove(names::CONFIG_KEY));
    Ok(text.unwrap_or_else(|| {
        notes.push(format!(
            "there is no ConfigMap {} yet: the defaults are played",
            names::CONFIG_CONFIG_MAP
        ));
        "{}".to_owned()
    }))
}
