//! What is applied to a cluster: namespaces, permissions and the operator's Deployment.

use rerail_api::names;
use rerail_operator::rbac::{self, Grant};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Files, GenerateError, configuration, yaml};

/// Name of the operator's Deployment, and value of its selector's label.
const OPERATOR: &str = "rerail-operator";
/// The same of `rerail alerts`, for clusters that want only this.
const ALERTS: &str = "rerail-alerts";
/// The image without its version; `config/kustomization.yaml` is where a user changes it.
const IMAGE: &str = "rerail";
/// Port of `/healthz`, `/readyz` and `/metrics`.
const PORT: u16 = 8080;

/// All files under `config/`, and the list of the custom resource definitions beside them.
pub fn files(crds: &[String]) -> Result<Files, GenerateError> {
    let operator = "config/operator/deployment.yaml";
    let namespaces = [
        namespace(names::SYSTEM_NAMESPACE, "restricted"),
        namespace(names::NODE_NAMESPACE, "privileged"),
    ];
    let parts = [
        "../crds",
        "namespaces.yaml",
        "rbac/operator.yaml",
        "rbac/node.yaml",
        "rbac/view.yaml",
        "operator/config.yaml",
        "operator/flow-schema.yaml",
        "operator/deployment.yaml",
    ];
    let parts_of_alerts = ["../../crds", "namespace.yaml", "rbac.yaml", "deployment.yaml"];
    let mut files = Files::new();
    add(&mut files, "config/alerts/kustomization.yaml", &[kustomization(json!(parts_of_alerts))])?;
    let namespace = namespace(names::SYSTEM_NAMESPACE, "restricted");
    add(&mut files, "config/alerts/namespace.yaml", &[namespace])?;
    add_texts(&mut files, "config/alerts/rbac.yaml", grant(&rbac::alerts())?);
    add(&mut files, "config/alerts/deployment.yaml", &[alerts_deployment()])?;
    // Without an ending, so that `kubectl apply -f crds` takes it for no object of the cluster.
    add(&mut files, "crds/Kustomization", &[kustomization(json!(crds))])?;
    add(&mut files, "config/kustomization.yaml", &[kustomization(json!(parts))])?;
    add(&mut files, "config/namespaces.yaml", &namespaces)?;
    files.insert("config/operator/config.yaml".to_owned(), configuration::config_map());
    add(&mut files, "config/operator/flow-schema.yaml", &[flow_schema()])?;
    add(&mut files, operator, &[operator_deployment(), disruption_budget()])?;
    add_texts(&mut files, "config/rbac/operator.yaml", grant(&rbac::operator())?);
    add_texts(&mut files, "config/rbac/node.yaml", grant(&rbac::node())?);
    add(&mut files, "config/rbac/view.yaml", &[rbac::view()])?;
    Ok(files)
}

fn add(files: &mut Files, path: &str, objects: &[impl Serialize]) -> Result<(), GenerateError> {
    let texts = objects.iter().map(|object| yaml::object(path, object));
    add_texts(files, path, texts.collect::<Result<_, _>>()?);
    Ok(())
}

fn add_texts(files: &mut Files, path: &str, objects: Vec<String>) {
    files.insert(path.to_owned(), yaml::document(&objects));
}

fn grant(grant: &Grant) -> Result<Vec<String>, GenerateError> {
    // Without `..`: whatever a grant comes to hold must be written, too.
    let Grant { service_account, cluster_role, cluster_role_binding, roles } = grant;
    let mut texts = vec![
        yaml::object("service account", service_account)?,
        yaml::object("cluster role", cluster_role)?,
        yaml::object("cluster role binding", cluster_role_binding)?,
    ];
    for (role, binding) in roles {
        texts.push(yaml::object("role", role)?);
        texts.push(yaml::object("role binding", binding)?);
    }
    Ok(texts)
}

fn kustomization(resources: Value) -> Value {
    json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": resources,
    })
}

fn namespace(name: &str, pod_security: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {
                "app.kubernetes.io/name": names::MANAGED_BY_RERAIL,
                "pod-security.kubernetes.io/enforce": pod_security,
            },
        },
    })
}

fn operator_deployment() -> Value {
    let env = json!([
        from_field("POD_NAME", "metadata.name"),
        from_field("NODE_NAME", "spec.nodeName"),
        // Who changes the image of the container changes it here, too.
        { "name": "RERAIL_NODE_IMAGE", "value": image() },
    ]);
    let container = container("operator", "operator", &env);
    deployment(OPERATOR, names::OPERATOR_SERVICE_ACCOUNT, &container)
}

fn alerts_deployment() -> Value {
    let env = json!([from_field("POD_NAME", "metadata.name")]);
    deployment(ALERTS, names::ALERTS_SERVICE_ACCOUNT, &container("alerts", "alerts", &env))
}

/// Two replicas on different nodes: one leads, the other stands by.
fn deployment(name: &str, service_account: &str, container: &Value) -> Value {
    let labels = json!({ "app.kubernetes.io/name": name });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": names::SYSTEM_NAMESPACE,
            "labels": labels,
        },
        "spec": {
            "replicas": 2,
            // The new one is warm before an old one goes; there may be no third node for it.
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 },
            },
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "serviceAccountName": service_account,
                    "priorityClassName": "system-cluster-critical",
                    "terminationGracePeriodSeconds": 30,
                    "nodeSelector": { "kubernetes.io/os": "linux" },
                    // Wished for, not asked for: a cluster of one node has an operator, too.
                    "affinity": { "podAntiAffinity": {
                        "preferredDuringSchedulingIgnoredDuringExecution": [{
                            "weight": 100,
                            "podAffinityTerm": {
                                "labelSelector": { "matchLabels": labels },
                                "topologyKey": "kubernetes.io/hostname",
                            },
                        }],
                    } },
                    "securityContext": {
                        "runAsNonRoot": true,
                        "runAsUser": 65532,
                        "runAsGroup": 65532,
                        "seccompProfile": { "type": "RuntimeDefault" },
                    },
                    "containers": [container],
                },
            },
        },
    })
}

/// Renewals of the Lease go before other requests, as those of the controller manager do: where many
/// clients keep the API server busy the operator must not lose it for that. 200 is the precedence of
/// `workload-leader-election`, which is for service accounts of kube-system only.
fn flow_schema() -> Value {
    json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "FlowSchema",
        "metadata": { "name": "rerail-leader-election" },
        "spec": {
            "matchingPrecedence": 200,
            "priorityLevelConfiguration": { "name": "leader-election" },
            "distinguisherMethod": { "type": "ByUser" },
            "rules": [{
                "subjects": [{
                    "kind": "ServiceAccount",
                    "serviceAccount": {
                        "namespace": names::SYSTEM_NAMESPACE,
                        "name": names::OPERATOR_SERVICE_ACCOUNT,
                    },
                }],
                "resourceRules": [{
                    "apiGroups": ["coordination.k8s.io"],
                    "resources": ["leases"],
                    "verbs": ["get", "create", "update"],
                    "namespaces": [names::SYSTEM_NAMESPACE],
                }],
            }],
        },
    })
}

/// One of the two may be evicted at a time, by ourselves, too.
fn disruption_budget() -> Value {
    let labels = json!({ "app.kubernetes.io/name": OPERATOR });
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {
            "name": OPERATOR,
            "namespace": names::SYSTEM_NAMESPACE,
            "labels": labels,
        },
        "spec": {
            "maxUnavailable": 1,
            // One that is not ready protects nobody, and must not keep its node from being drained.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": { "matchLabels": labels },
        },
    })
}

fn image() -> String {
    format!("{IMAGE}:{}", env!("CARGO_PKG_VERSION"))
}

/// A variable of the environment, from a field of the Pod.
fn from_field(name: &str, path: &str) -> Value {
    json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } })
}

fn container(name: &str, command: &str, env: &Value) -> Value {
    json!({
        "name": name,
        "image": image(),
        "args": [command],
        "env": env,
        "ports": [{ "name": "http", "containerPort": PORT }],
        "livenessProbe": probe("/healthz"),
        "readinessProbe": probe("/readyz"),
        "resources": {
            "requests": { "cpu": "50m", "memory": "64Mi" },
            "limits": { "memory": "256Mi" },
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
    })
}

fn probe(path: &str) -> Value {
    json!({ "httpGet": { "path": path, "port": "http" }, "periodSeconds": 10, "timeoutSeconds": 5 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::core::v1::Namespace;
    use k8s_openapi::api::policy::v1::PodDisruptionBudget;

    #[test]
    fn the_json_is_what_kubernetes_understands() {
        for made in [operator_deployment(), alerts_deployment()] {
            let deployment: Deployment = serde_json::from_value(made.clone()).unwrap();
            let written = serde_json::to_value(&deployment).unwrap();
            assert_eq!(written, made, "a field is misspelt or misplaced");
        }
        let made = namespace("a", "restricted");
        let namespace: Namespace = serde_json::from_value(made.clone()).unwrap();
        assert_eq!(serde_json::to_value(&namespace).unwrap(), made);
    }

    #[test]
    fn two_operators_run_restricted_on_different_nodes_and_one_of_them_may_be_evicted() {
        let deployment = operator_deployment();
        assert_eq!(deployment["spec"]["replicas"], 2);
        assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
        let pod = &deployment["spec"]["template"];
        let apart = "preferredDuringSchedulingIgnoredDuringExecution";
        let term = &pod["spec"]["affinity"]["podAntiAffinity"][apart][0]["podAffinityTerm"];
        assert_eq!(term["labelSelector"]["matchLabels"], pod["metadata"]["labels"]);
        assert_eq!(pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"], true);
        let budget: PodDisruptionBudget = serde_json::from_value(disruption_budget()).unwrap();
        assert_eq!(serde_json::to_value(&budget).unwrap(), disruption_budget());
        assert_eq!(
            disruption_budget()["spec"]["selector"]["matchLabels"],
            pod["metadata"]["labels"]
        );
    }

    #[test]
    fn every_part_of_the_kustomization_exists() {
        let files = files(&["a.yaml".into()]).unwrap();
        for name in [
            "namespaces",
            "rbac/operator",
            "rbac/node",
            "rbac/view",
            "operator/config",
            "operator/flow-schema",
            "operator/deployment",
            "alerts/namespace",
            "alerts/rbac",
            "alerts/deployment",
        ] {
            assert!(files.contains_key(&format!("config/{name}.yaml")), "{name}");
        }
        assert!(files["crds/Kustomization"].contains("a.yaml"));
    }
}
