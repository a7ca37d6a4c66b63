//! OpenAPI documents with what kubectl looks up: whether a PATCH of a kind takes `fieldValidation` and
//! `dryRun` (`cli-runtime/pkg/resource/query_param_verifier_v3.go`), and for `kubectl explain` the schemas
//! of custom resources. Those of Kubernetes' own types are left out; explain says that it finds none.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::{discovery, resource::Resource};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// `/openapi/v3`: where the documents are. kubectl keeps them by these addresses, hash included.
pub fn index(resources: &[Arc<Resource>]) -> Value {
    let mut paths = Map::new();
    for resource in resources {
        let root = root(resource);
        if paths.contains_key(&root) {
            continue;
        }
        let document = document(resources, &resource.group, &resource.version);
        let hash = document.as_ref().map(discovery::hash).unwrap_or_default();
        let document = json!({ "serverRelativeURL": format!("/openapi/v3/{root}?hash={hash}") });
        paths.insert(root, document);
    }
    json!({ "paths": paths })
}

/// The document of one group and version; `None` when there is none.
pub fn document(resources: &[Arc<Resource>], group: &str, version: &str) -> Option<Value> {
    let of_version =
        |resource: &&Arc<Resource>| resource.group == group && resource.version == version;
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for resource in resources.iter().filter(of_version) {
        let namespace = if resource.namespaced { "namespaces/{namespace}/" } else { "" };
        let path = format!("/{}/{namespace}{}/{{name}}", root(resource), resource.plural);
        paths.insert(path, operations(resource));
        if let Some(schema) = &resource.published {
            schemas.insert(schema_name(resource), published(resource, schema));
            schemas.insert(OBJECT_META.to_owned(), object_meta());
        }
    }
    (!paths.is_empty()).then(|| {
        json!({
            "openapi": "3.0.0", "info": { "title": "rerail-sim", "version": discovery::VERSION },
            "paths": paths, "components": { "schemas": schemas },
        })
    })
}

/// `dev.rerail.v1alpha1.RemediationPolicy`.
fn schema_name(resource: &Resource) -> String {
    let mut parts: Vec<&str> = resource.group.split('.').rev().collect();
    parts.extend([resource.version.as_str(), resource.kind.as_str()]);
    parts.join(".")
}

/// A schema as the real server publishes it: with what every object has.
fn published(resource: &Resource, schema: &Value) -> Value {
    let mut schema = schema.clone();
    let properties = &mut schema["properties"];
    properties["apiVersion"] = json!({ "type": "string", "description": "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources" });
    properties["kind"] = json!({ "type": "string", "description": "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds" });
    properties["metadata"] = json!({
        "description": "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata",
        "allOf": [{ "$ref": format!("#/components/schemas/{OBJECT_META}") }],
    });
    schema["x-kubernetes-group-version-kind"] = json!([
        { "group": resource.group, "version": resource.version, "kind": resource.kind },
    ]);
    schema
}

/// The metadata, without the words for each of its fields.
fn object_meta() -> Value {
    let text = json!({ "type": "string" });
    let map = json!({ "type": "object", "additionalProperties": text });
    json!({
        "type": "object",
        "description": "ObjectMeta is metadata that all persisted resources must have, which includes all objects users must create.",
        "properties": {
            "name": text, "namespace": text, "generateName": text, "uid": text,
            "resourceVersion": text, "creationTimestamp": text, "deletionTimestamp": text,
            "generation": { "type": "integer" }, "labels": map, "annotations": map,
            "finalizers": { "type": "array", "items": text },
        },
    })
}

fn root(resource: &Resource) -> String {
    let api = if resource.group.is_empty() { "api" } else { "apis" };
    format!("{api}/{}", resource.api_version())
}

fn operations(resource: &Resource) -> Value {
    let kind =
        json!({ "group": resource.group, "version": resource.version, "kind": resource.kind });
    let operation = |action: &str, names: &[&str]| {
        let parameter =
            |name: &&str| json!({ "name": name, "in": "query", "schema": { "type": "string" } });
        json!({
            "x-kubernetes-action": action, "x-kubernetes-group-version-kind": kind,
            "parameters": names.iter().map(parameter).collect::<Vec<_>>(),
        })
    };
    json!({
        "get": operation("get", &[]),
        "put": operation("put", &["dryRun", "fieldManager", "fieldValidation"]),
        "patch": operation("patch", &["dryRun", "fieldManager", "fieldValidation", "force"]),
        "delete": operation("delete", &["dryRun", "gracePeriodSeconds", "propagationPolicy"]),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::handle::tests::World;

    #[test]
    fn kubectl_finds_that_a_patch_can_be_validated() {
        let mut world = World::new();
        let (_, index) = world.get("/openapi/v3?timeout=32s");
        let url = index["paths"]["apis/rerail.dev/v1alpha1"]["serverRelativeURL"].as_str().unwrap();
        let (_, document) = world.get(url);
        let patch =
            &document["paths"]["/apis/rerail.dev/v1alpha1/remediationpolicies/{name}"]["patch"];
        assert_eq!(
            patch["x-kubernetes-group-version-kind"],
            json!({ "group": "rerail.dev", "version": "v1alpha1", "kind": "RemediationPolicy" })
        );
        let names: Vec<_> =
            patch["parameters"].as_array().unwrap().iter().map(|p| p["name"].clone()).collect();
        assert!(names.contains(&json!("fieldValidation")));
        let (_, core) = world.get("/openapi/v3/api/v1");
        assert!(core["paths"].get("/api/v1/namespaces/{namespace}/pods/{name}").is_some());
    }
}
