//! The operator's configuration for the whole cluster, and its Pods as objects.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use rerail_api::names;
use serde_json::json;

use crate::{Cluster, Error, PATIENCE, cluster::root, wait_for};

impl Cluster {
    /// The ConfigMaps of the operator's namespace.
    pub fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), names::SYSTEM_NAMESPACE)
    }

    /// Gives the cluster this configuration, whatever it is.
    pub async fn configure(&self, text: &str) -> Result<(), Error> {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": names::CONFIG_CONFIG_MAP, "namespace": names::SYSTEM_NAMESPACE },
            "data": { names::CONFIG_KEY: text },
        });
        let params = PatchParams::apply("e2e").force();
        self.config_maps().patch(names::CONFIG_CONFIG_MAP, &params, &Patch::Apply(map)).await?;
        Ok(())
    }

    /// Takes the configuration away.
    pub async fn unconfigure(&self) -> Result<(), Error> {
        self.config_maps().delete(names::CONFIG_CONFIG_MAP, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Deploys so many Pods of the operator as `config/` does, and waits until they are Ready. They
    /// are objects only: a process bears the name of such a Pod if it is told to
    /// ([`crate::OperatorOptions::pod_name`]). No two are on one node: the scheduler only prefers that.
    pub async fn deploy_operator(&self, replicas: u32) -> Result<Vec<Pod>, Error> {
        let path = root().join("config/operator/deployment.yaml");
        let text = std::fs::read_to_string(&path);
        let text = text.map_err(|error| Error::File(path.display().to_string(), error))?;
        self.apply(&text.replace("replicas: 2", &format!("replicas: {replicas}"))).await?;
        wait_for("the Pods of the operator to be Ready", PATIENCE, || async {
            let pods = self.operator_pods().await.map_err(|error| error.to_string())?;
            let ready = pods.iter().filter(|pod| is_ready(pod)).count();
            if ready != replicas as usize || pods.len() != ready {
                return Err(format!("{ready} of {} are Ready", pods.len()));
            }
            let mut nodes = BTreeSet::new();
            let home = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
            let Some(crowded) = pods.iter().find(|pod| !nodes.insert(home(pod))) else {
                return Ok(pods);
            };
            let all: Api<Pod> = Api::namespaced(self.client.clone(), names::SYSTEM_NAMESPACE);
            let at_once = DeleteParams::default().grace_period(0);
            let deleted = all.delete(&crowded.name_any(), &at_once).await;
            Err(format!("two are on one node; one goes: {:?}", deleted.map(|_| ())))
        })
        .await
    }

    /// The Pods of the operator, by name.
    pub async fn operator_pods(&self) -> Result<Vec<Pod>, Error> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), names::SYSTEM_NAMESPACE);
        let label = ListParams::default().labels("app.kubernetes.io/name=rerail-operator");
        Ok(pods.list(&label).await?.items)
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}
