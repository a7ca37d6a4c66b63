//! What is served: one row per resource, with the rules by which the real server treats it
//! (the strategies below `kubernetes/pkg/registry`).

use std::sync::{Arc, OnceLock};

use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
        autoscaling::v2::HorizontalPodAutoscaler,
        batch::v1::{CronJob, Job},
        coordination::v1::Lease,
        core::v1::{
            ConfigMap, Event, LimitRange, Namespace, Node, Pod, ReplicationController,
            ResourceQuota, Secret, Service, ServiceAccount,
        },
        events::v1::Event as NewEvent,
        policy::v1::PodDisruptionBudget,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::{
        CustomResourceColumnDefinition, CustomResourceDefinition,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::schema::Schema;

/// What a create and an update of the object itself do to its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusRule {
    /// There is none.
    None,
    /// Only `…/status` writes it; a create leaves it out.
    Reset,
    /// Only `…/status` updates it; a create may bring it along, as a kubelet's does.
    KeptOnCreate,
}

/// Brings an object into the form that the real server stores: what its type does not know is left
/// out, and what has another type is refused with a message.
pub type Normalise = fn(&Value) -> Result<Value, String>;

/// One resource.
#[derive(Debug, Clone)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Plural, as in paths.
    pub plural: String,
    /// Singular.
    pub singular: String,
    /// Kind.
    pub kind: String,
    /// True when objects live in namespaces.
    pub namespaced: bool,
    /// Short names for kubectl.
    pub short_names: Vec<String>,
    /// Categories for kubectl.
    pub categories: Vec<String>,
    /// Subresources that are served.
    pub subresources: &'static [&'static str],
    /// Subresources that the real server has and this one refuses.
    pub refused: &'static [&'static str],
    /// Fields that can be selected by, beside name and namespace.
    pub selectable: Vec<String>,
    /// What happens to the status.
    pub status: StatusRule,
    /// True when `metadata.generation` counts changes.
    pub generation: bool,
    /// True when an update need not name a resourceVersion.
    pub unconditional_update: bool,
    /// True when a PUT of what is not there creates it.
    pub create_on_update: bool,
    /// True when a delete answers with the object, not with a Status.
    pub returns_deleted: bool,
    /// Where the real server keeps it, below `/registry/`; its errors say so.
    pub registry: String,
    /// For resources of Kubernetes itself.
    pub normalise: Option<Normalise>,
    /// For custom resources.
    pub schema: Option<Arc<Schema>>,
    /// The schema of a custom resource as its definition has it.
    pub published: Option<Arc<Value>>,
    /// The columns of a custom resource in tables.
    pub columns: Vec<CustomResourceColumnDefinition>,
    /// True for what cannot be written through this server.
    pub read_only: bool,
}

impl Resource {
    /// `group/version`, or `v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `plural.group`, as error texts name it.
    pub fn qualified(&self) -> String {
        dotted(&self.plural, &self.group)
    }

    /// `Kind.group`, as error texts name it.
    pub fn qualified_kind(&self) -> String {
        dotted(&self.kind, &self.group)
    }

    /// True for a custom resource.
    pub fn is_custom(&self) -> bool {
        self.schema.is_some()
    }

    /// True for pods, the one resource that is deleted gracefully.
    pub fn is_pods(&self) -> bool {
        self.group.is_empty() && self.plural == "pods"
    }

    /// The verbs that discovery lists.
    pub fn verbs(&self) -> &'static [&'static str] {
        match (self.read_only, self.is_custom(), self.plural.as_str()) {
            (true, ..) => &["get", "list", "watch"],
            (_, true, _) => {
                &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]
            }
            (_, _, "namespaces") => {
                &["create", "delete", "get", "list", "patch", "update", "watch"]
            }
            _ => {
                &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
            }
        }
    }
}

fn dotted(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

fn through<T: Serialize + DeserializeOwned>(value: &Value) -> Result<Value, String> {
    let typed = T::deserialize(value).map_err(|error| error.to_string())?;
    serde_json::to_value(&typed).map_err(|error| error.to_string())
}

fn builtin<K: k8s_openapi::Resource + Serialize + DeserializeOwned>(singular: &str) -> Resource {
    let plural = K::URL_PATH_SEGMENT.to_owned();
    Resource {
        group: K::GROUP.to_owned(),
        version: K::VERSION.to_owned(),
        registry: plural.clone(),
        plural,
        singular: singular.to_owned(),
        kind: K::KIND.to_owned(),
        namespaced: true,
        short_names: Vec::new(),
        categories: Vec::new(),
        subresources: &[],
        refused: &[],
        selectable: Vec::new(),
        status: StatusRule::None,
        generation: false,
        unconditional_update: true,
        create_on_update: false,
        returns_deleted: false,
        normalise: Some(through::<K>),
        schema: None,
        published: None,
        columns: Vec::new(),
        read_only: false,
    }
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|&text| text.to_owned()).collect()
}

const EVENT_FIELDS: &[&str] =
    &["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"];

fn event_fields(about: &str, others: &[&str]) -> Vec<String> {
    let of_object = EVENT_FIELDS.iter().map(|field| format!("{about}.{field}"));
    of_object.chain(texts(others)).collect()
}

/// The resources of Kubernetes itself that the operator, its tests and its users touch.
pub fn of_kubernetes() -> Vec<Resource> {
    let all = [machines(), workloads(), records(), settings(), always_empty()];
    all.into_iter().flatten().collect()
}

fn with_status(resource: Resource) -> Resource {
    Resource { subresources: &["status"], status: StatusRule::Reset, ..resource }
}

fn workload(resource: Resource, short: &str) -> Resource {
    Resource {
        short_names: texts(&[short]),
        categories: texts(&["all"]),
        generation: true,
        ..with_status(resource)
    }
}

fn scaled(resource: Resource) -> Resource {
    Resource { subresources: &["scale", "status"], ..resource }
}

fn machines() -> Vec<Resource> {
    vec![
        Resource {
            namespaced: false,
            short_names: texts(&["no"]),
            subresources: &["status"],
            refused: &["proxy"],
            status: StatusRule::KeptOnCreate,
            selectable: texts(&["spec.unschedulable"]),
            registry: "minions".to_owned(),
            ..builtin::<Node>("node")
        },
        Resource {
            short_names: texts(&["po"]),
            categories: texts(&["all"]),
            subresources: &["binding", "eviction", "status"],
            refused: &[
                "attach",
                "ephemeralcontainers",
                "exec",
                "log",
                "portforward",
                "proxy",
                "resize",
            ],
            status: StatusRule::Reset,
            generation: true,
            returns_deleted: true,
            selectable: texts(&[
                "spec.nodeName",
                "spec.restartPolicy",
                "spec.schedulerName",
                "spec.serviceAccountName",
                "spec.hostNetwork",
                "status.phase",
                "status.podIP",
                "status.nominatedNodeName",
            ]),
            ..builtin::<Pod>("pod")
        },
    ]
}

fn workloads() -> Vec<Resource> {
    vec![
        Resource {
            short_names: texts(&["pdb"]),
            generation: true,
            unconditional_update: false,
            ..with_status(builtin::<PodDisruptionBudget>("poddisruptionbudget"))
        },
        workload(builtin::<DaemonSet>("daemonset"), "ds"),
        scaled(workload(builtin::<Deployment>("deployment"), "deploy")),
        Resource {
            selectable: texts(&["status.replicas"]),
            ..scaled(workload(builtin::<ReplicaSet>("replicaset"), "rs"))
        },
        scaled(workload(builtin::<StatefulSet>("statefulset"), "sts")),
    ]
}

fn records() -> Vec<Resource> {
    vec![
        Resource {
            unconditional_update: false,
            create_on_update: true,
            ..builtin::<Lease>("lease")
        },
        Resource {
            short_names: texts(&["ev"]),
            create_on_update: true,
            selectable: event_fields(
                "involvedObject",
                &["reason", "reportingComponent", "source", "type"],
            ),
            ..builtin::<Event>("event")
        },
        Resource {
            short_names: texts(&["ev"]),
            create_on_update: true,
            selectable: event_fields("regarding", &["reason", "reportingController", "type"]),
            // What is stored has the form of the core group.
            normalise: Some(through::<Event>),
            ..builtin::<NewEvent>("event")
        },
    ]
}

fn settings() -> Vec<Resource> {
    vec![
        Resource { selectable: texts(&["type"]), ..builtin::<Secret>("secret") },
        Resource { short_names: texts(&["cm"]), ..builtin::<ConfigMap>("configmap") },
        Resource {
            namespaced: false,
            short_names: texts(&["ns"]),
            returns_deleted: true,
            refused: &["finalize"],
            selectable: texts(&["status.phase"]),
            ..with_status(builtin::<Namespace>("namespace"))
        },
        Resource {
            short_names: texts(&["sa"]),
            subresources: &["token"],
            returns_deleted: true,
            ..builtin::<ServiceAccount>("serviceaccount")
        },
        Resource {
            namespaced: false,
            short_names: texts(&["crd", "crds"]),
            categories: texts(&["api-extensions"]),
            read_only: true,
            ..builtin::<CustomResourceDefinition>("customresourcedefinition")
        },
    ]
}

fn empty(resource: Resource, short: &str, categories: &[&str]) -> Resource {
    let short_names = if short.is_empty() { Vec::new() } else { texts(&[short]) };
    Resource { short_names, categories: texts(categories), read_only: true, ..resource }
}

/// What `kubectl get all` and `kubectl describe` look for. Nothing can be written, so there is none.
fn always_empty() -> Vec<Resource> {
    let all = &["all"];
    vec![
        empty(builtin::<Service>("service"), "svc", all),
        empty(builtin::<ReplicationController>("replicationcontroller"), "rc", all),
        empty(builtin::<ResourceQuota>("resourcequota"), "quota", &[]),
        empty(builtin::<LimitRange>("limitrange"), "limits", &[]),
        empty(builtin::<Job>("job"), "", all),
        empty(builtin::<CronJob>("cronjob"), "cj", all),
        empty(builtin::<HorizontalPodAutoscaler>("horizontalpodautoscaler"), "hpa", all),
        Resource {
            // In the crate of types it is still a beta.
            group: "resource.k8s.io".to_owned(),
            version: "v1".to_owned(),
            plural: "resourceslices".to_owned(),
            kind: "ResourceSlice".to_owned(),
            namespaced: false,
            selectable: texts(&["spec.driver", "spec.nodeName"]),
            ..empty(builtin::<LimitRange>("resourceslice"), "", &[])
        },
    ]
}

/// A custom resource as its definition declares it: its first version that is served.
pub fn of_definition(crd: &CustomResourceDefinition) -> Option<Resource> {
    let spec = &crd.spec;
    let version = spec.versions.iter().find(|version| version.served)?;
    let schema = version.schema.as_ref()?.open_api_v3_schema.as_ref()?;
    let published = serde_json::to_value(schema).ok()?;
    let schema = Schema::new(&published);
    let has_status = version.subresources.as_ref().is_some_and(|all| all.status.is_some());
    let selectable = version.selectable_fields.iter().flatten();
    Some(Resource {
        group: spec.group.clone(),
        version: version.name.clone(),
        plural: spec.names.plural.clone(),
        singular: spec.names.singular.clone().unwrap_or_default(),
        kind: spec.names.kind.clone(),
        namespaced: spec.scope == "Namespaced",
        short_names: spec.names.short_names.clone().unwrap_or_default(),
        categories: spec.names.categories.clone().unwrap_or_default(),
        subresources: if has_status { &["status"] } else { &[] },
        refused: &[],
        selectable: selectable
            .map(|field| field.json_path.trim_start_matches('.').to_owned())
            .collect(),
        status: if has_status { StatusRule::Reset } else { StatusRule::None },
        generation: true,
        unconditional_update: false,
        create_on_update: false,
        returns_deleted: false,
        registry: format!("{}/{}", spec.group, spec.names.plural),
        normalise: None,
        schema: Some(Arc::new(schema)),
        published: Some(Arc::new(published)),
        columns: version.additional_printer_columns.clone().unwrap_or_default(),
        read_only: false,
    })
}

/// Everything that is served.
pub struct Served {
    /// The resources: those of Kubernetes, then our own.
    pub resources: Vec<Arc<Resource>>,
    /// The definitions of our own.
    pub definitions: Vec<Value>,
}

/// Everything that is served: made once, since our definitions and their rules are the larger part of
/// what a new server costs.
pub fn served() -> &'static Served {
    static SERVED: OnceLock<Served> = OnceLock::new();
    SERVED.get_or_init(|| {
        let definitions = rerail_api::crds();
        let own = definitions.iter().filter_map(of_definition);
        Served {
            resources: of_kubernetes().into_iter().chain(own).map(Arc::new).collect(),
            definitions: definitions
                .iter()
                .filter_map(|crd| serde_json::to_value(crd).ok())
                .collect(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_of_our_definitions_are_served_with_status() {
        for crd in [rerail_api::crds()].into_iter().flatten() {
            let resource = of_definition(&crd).unwrap();
            assert_eq!(resource.group, "rerail.dev");
            assert_eq!(resource.subresources, ["status"]);
            assert!(!resource.namespaced && resource.generation);
        }
    }

    #[test]
    fn what_a_type_does_not_know_is_left_out() {
        let nodes = &of_kubernetes()[0];
        let node = serde_json::json!({
            "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n" }, "nonsense": 1,
        });
        let stored = (nodes.normalise.unwrap())(&node).unwrap();
        assert!(stored.get("nonsense").is_none());
        assert_eq!(stored["kind"], "Node");
    }
}
