//! A cluster: control plane, fleet and the rights of everybody in it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, Patch, PatchParams},
    core::ApiResource,
};
use rerail_api::{NodeRemediation, RemediationPolicy};
use rerail_controlplane::{ControlPlane, Options};
use rerail_fleet::{Fleet, FleetOptions, Pool};
use rerail_proxy::Proxy;
use serde::de::DeserializeOwned;

use crate::{Error, kubeconfig::config};

/// What a cluster is to be like.
#[derive(Debug, Clone, Default)]
pub struct ClusterOptions {
    /// The control plane.
    pub plane: Options,
    /// The machines.
    pub fleet: FleetOptions,
    /// The operator's configuration for the whole cluster; the one that `config/` ships without one.
    pub config: Option<String>,
}

/// A real control plane with fake machines. Ends when it is dropped.
pub struct Cluster {
    /// The machines.
    pub fleet: Fleet,
    /// The client of a person with the rights of `e2e/tests/rbac.yaml`.
    pub client: Client,
    /// That person's kubeconfig, for kubectl.
    pub kubeconfig: PathBuf,
    /// The control plane. Last, so that the machines fall silent before it.
    pub plane: ControlPlane,
}

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

impl Cluster {
    /// Starts a control plane, applies what a user applies (but for the operator's Deployment, whose
    /// image is not there), and starts an empty fleet.
    pub async fn start(options: ClusterOptions) -> Result<Self, Error> {
        let plane = options.plane.clone();
        let plane = tokio::task::spawn_blocking(move || -> Result<ControlPlane, Error> {
            let plane = ControlPlane::start(plane)?;
            for path in [
                "crds",
                "config/namespaces.yaml",
                "config/rbac",
                "config/operator/config.yaml",
                "config/operator/flow-schema.yaml",
                "e2e/fleet/rbac.yaml",
                "e2e/tests/rbac.yaml",
            ] {
                plane.apply(&root().join(path))?;
            }
            Ok(plane)
        });
        let plane = plane.await.map_err(|error| Error::Binary(error.to_string()))??;
        let kubeconfig = plane.kubeconfig_for_user("rerail-e2e-tester", &[])?;
        let client = Client::try_from(config(&kubeconfig).await?)?;
        let fleet = plane.kubeconfig_for_user("rerail-fleet", &[])?;
        let fleet = Fleet::start(config(&fleet).await?, options.fleet)?;
        let cluster = Cluster { fleet, client, kubeconfig, plane };
        if let Some(text) = &options.config {
            cluster.configure(text).await?;
        }
        Ok(cluster)
    }

    /// A fault proxy before the API server, for one client that is told to go there.
    pub async fn proxy(&self) -> Result<Proxy, Error> {
        Ok(Proxy::start(config(&self.plane.admin_kubeconfig()).await?).await?)
    }

    /// Adds a pool of machines and waits until they are Ready.
    pub async fn add_pool(&self, pool: &Pool) -> Result<Vec<String>, Error> {
        let names = self.fleet.add_pool(pool).await?;
        self.fleet.wait_ready(Duration::from_secs(60)).await?;
        Ok(names)
    }

    /// Applies YAML documents as the person of the scenarios, server-side, as kubectl does.
    pub async fn apply(&self, yaml: &str) -> Result<Vec<DynamicObject>, Error> {
        let mut applied = Vec::new();
        for text in yaml.split("\n---").filter(|text| !text.trim().is_empty()) {
            let object: DynamicObject = from_yaml(text)?;
            let (api, name) = self.api_of(&object)?;
            let params = PatchParams {
                field_validation: Some(kube::api::ValidationDirective::Strict),
                ..PatchParams::apply("e2e").force()
            };
            applied.push(api.patch(&name, &params, &Patch::Apply(&object)).await?);
        }
        Ok(applied)
    }

    fn api_of(&self, object: &DynamicObject) -> Result<(Api<DynamicObject>, String), Error> {
        let bad = |what: &str| Error::Yaml(what.to_owned());
        let types = object.types.as_ref().ok_or_else(|| bad("apiVersion and kind are missing"))?;
        let gvk = kube::core::GroupVersionKind::try_from(types)
            .map_err(|error| bad(&error.to_string()))?;
        let mut resource = ApiResource::from_gvk(&gvk);
        if types.kind == "RemediationPolicy" {
            resource.plural = "remediationpolicies".into();
        }
        let name = object.metadata.name.clone().ok_or_else(|| bad("metadata.name is missing"))?;
        let api = match &object.metadata.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        Ok((api, name))
    }

    /// Creates an object from YAML, as `kubectl create` does; the API server's words if it refuses.
    pub async fn create(&self, yaml: &str) -> Result<DynamicObject, Error> {
        let object: DynamicObject = from_yaml(yaml)?;
        let (api, _) = self.api_of(&object)?;
        Ok(api.create(&kube::api::PostParams::default(), &object).await?)
    }

    /// The runs.
    pub fn runs(&self) -> Api<NodeRemediation> {
        Api::all(self.client.clone())
    }

    /// The policies.
    pub fn policies(&self) -> Api<RemediationPolicy> {
        Api::all(self.client.clone())
    }

    /// The runs of a node, oldest first.
    pub async fn runs_of(&self, node: &str) -> Result<Vec<NodeRemediation>, Error> {
        let params = ListParams::default().fields(&format!("spec.nodeName={node}"));
        let mut runs = self.runs().list(&params).await?.items;
        // Creation times have whole seconds; of two in one second the one that began later is last.
        runs.sort_by_key(|run| {
            let created = run.metadata.creation_timestamp.as_ref().map(|time| time.0);
            let began =
                run.status.iter().flat_map(|s| s.steps.first()).map(|s| s.start_time).next();
            (created, began)
        });
        Ok(runs)
    }
}

/// One object of YAML.
pub fn from_yaml<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_saphyr::from_str(text).map_err(|error| Error::Yaml(error.to_string()))
}
