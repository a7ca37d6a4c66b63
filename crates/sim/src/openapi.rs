//! OpenAPI documents with what kubectl looks up before it applies anything: whether a PATCH of a kind
//! takes `fieldValidation` and `dryRun` (`cli-runtime/pkg/resource/query_param_verifier_v3.go`). They have
//! no schemas, so that `kubectl explain` has nothing to say.

use serde_json::{Map, Value, json};

use crate::resource::Resource;

/// `/openapi/v3`: where the documents are.
pub fn index(resources: &[Resource]) -> Value {
    let mut paths = Map::new();
    for resource in resources {
        let root = root(resource);
        let document = json!({ "serverRelativeURL": format!("/openapi/v3/{root}?hash=0") });
        paths.insert(root, document);
    }
    json!({ "paths": paths })
}

/// The document of one group and version; `None` when there is none.
pub fn document(resources: &[Resource], group: &str, version: &str) -> Option<Value> {
    let of_version = |resource: &&Resource| resource.group == group && resource.version == version;
    let mut paths = Map::new();
    for resource in resources.iter().filter(of_version) {
        let namespace = if resource.namespaced { "namespaces/{namespace}/" } else { "" };
        let path = format!("/{}/{namespace}{}/{{name}}", root(resource), resource.plural);
        paths.insert(path, operations(resource));
    }
    (!paths.is_empty()).then(|| {
        json!({
            "openapi": "3.0.0", "info": { "title": "rerail-sim", "version": crate::discovery::VERSION },
            "paths": paths, "components": { "schemas": {} },
        })
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
