//! What clients ask before they ask for anything: versions, groups, resources.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{handle::Answer, openapi, path::Path, resource::Resource};

/// What this server says it is; behaviour was read and observed there.
pub const VERSION: &str = "v1.36.3";

/// Answers a path that names no resource; `None` when there is nothing there.
pub fn answer(resources: &[Resource], path: &Path) -> Option<Answer> {
    let body = match path {
        Path::CoreVersions => json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1" }],
        }),
        Path::Groups => json!({
            "kind": "APIGroupList", "apiVersion": "v1",
            "groups": groups(resources).iter().map(|(name, versions)| group(name, versions)).collect::<Vec<_>>(),
        }),
        Path::Group(name) => {
            let all = groups(resources);
            let (name, versions) = all.iter().find(|(known, _)| known == name)?;
            let mut group = group(name, versions);
            group["kind"] = json!("APIGroup");
            group["apiVersion"] = json!("v1");
            group
        }
        Path::GroupVersion(group, version) => list(resources, group, version)?,
        Path::Version => json!({
            "major": "1", "minor": "36", "gitVersion": VERSION, "gitCommit": "", "gitTreeState": "",
            "buildDate": "", "goVersion": "", "compiler": "", "platform": "rerail-sim",
        }),
        Path::Health => json!("ok"),
        Path::OpenApis => openapi::index(resources),
        Path::OpenApi(group, version) => openapi::document(resources, group, version)?,
        Path::Resource(_) | Path::Other => return None,
    };
    Some(Answer::new(200, body))
}

/// Groups with their versions, the core group left out, in the order in which they are served.
fn groups(resources: &[Resource]) -> Vec<(String, Vec<String>)> {
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    for resource in resources.iter().filter(|resource| !resource.group.is_empty()) {
        match all.iter_mut().find(|(group, _)| *group == resource.group) {
            Some((_, versions)) if versions.contains(&resource.version) => {}
            Some((_, versions)) => versions.push(resource.version.clone()),
            None => all.push((resource.group.clone(), vec![resource.version.clone()])),
        }
    }
    all
}

fn group(name: &str, versions: &[String]) -> Value {
    let version = |version: &String| json!({ "groupVersion": format!("{name}/{version}"), "version": version });
    json!({
        "name": name,
        "versions": versions.iter().map(version).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(version),
    })
}

fn list(resources: &[Resource], group: &str, version: &str) -> Option<Value> {
    let of_version = |resource: &&Resource| resource.group == group && resource.version == version;
    let all: Vec<&Resource> = resources.iter().filter(of_version).collect();
    let group_version = all.first()?.api_version();
    let rows: Vec<Value> = all.into_iter().flat_map(rows).collect();
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": rows,
    }))
}

fn rows(resource: &Resource) -> Vec<Value> {
    let mut own = json!({
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
        "kind": resource.kind, "verbs": resource.verbs(),
    });
    if !resource.short_names.is_empty() {
        own["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        own["categories"] = json!(resource.categories);
    }
    own["storageVersionHash"] = json!(storage_hash(resource));
    let mut rows = vec![own];
    for subresource in resource.subresources {
        let mut row = json!({
            "name": format!("{}/{subresource}", resource.plural), "singularName": "",
            "namespaced": resource.namespaced, "kind": resource.kind, "verbs": ["get", "patch", "update"],
        });
        match *subresource {
            "binding" => {
                row["kind"] = json!("Binding");
                row["verbs"] = json!(["create"]);
            }
            "eviction" => {
                row["group"] = json!("policy");
                row["version"] = json!("v1");
                row["kind"] = json!("Eviction");
                row["verbs"] = json!(["create"]);
            }
            _ => {}
        }
        rows.push(row);
    }
    rows
}

/// What clients may compare to see that objects are stored in another form: eight bytes of a hash of
/// group, version and kind (`apiserver/pkg/endpoints/discovery/storageversionhash.go`).
fn storage_hash(resource: &Resource) -> String {
    // Events of both groups are stored as those of the core group.
    let group = if resource.plural == "events" { "" } else { &resource.group };
    let text = format!("{group}/{}/{}", resource.version, resource.kind);
    let hash = Sha256::digest(text.as_bytes());
    STANDARD.encode(&hash[..8])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::handle::tests::World;

    #[test]
    fn our_kinds_are_found_by_their_short_names() {
        let mut world = World::new();
        let (_, list) = world.get("/apis/rerail.dev/v1alpha1");
        let runs = &list["resources"]
            .as_array()
            .unwrap()
            .iter()
            .find(|r| r["name"] == "noderemediations")
            .unwrap()
            .clone();
        assert_eq!(
            (&runs["shortNames"], &runs["categories"]),
            (&json!(["nrem"]), &json!(["rerail"]))
        );
        let (_, groups) = world.get("/apis");
        let names: Vec<_> = groups["groups"]
            .as_array()
            .unwrap()
            .iter()
            .map(|group| group["name"].clone())
            .collect();
        assert!(names.contains(&json!("rerail.dev")) && names.contains(&json!("policy")));
    }

    /// As kube-apiserver 1.36.3 answered.
    #[test]
    fn hashes_of_stored_versions_are_those_of_the_real_server() {
        let mut world = World::new();
        let mut hash = |list: &str, name: &str| {
            let (_, list) = world.get(list);
            let row = list["resources"]
                .as_array()
                .unwrap()
                .iter()
                .find(|r| r["name"] == name)
                .unwrap()
                .clone();
            row["storageVersionHash"].as_str().unwrap().to_owned()
        };
        assert_eq!(hash("/api/v1", "nodes"), "XwShjMxG9Fs=");
        assert_eq!(hash("/apis/events.k8s.io/v1", "events"), "r2yiGXH7wu8=");
        assert_eq!(hash("/apis/apps/v1", "deployments"), "8aSe+NMegvE=");
        assert_eq!(hash("/apis/rerail.dev/v1alpha1", "noderemediations"), "DFyehwqxFAU=");
    }

    /// kubectl drain evicts only if discovery has this.
    #[test]
    fn pods_can_be_evicted() {
        let (_, list) = World::new().get("/api/v1");
        let row = list["resources"]
            .as_array()
            .unwrap()
            .iter()
            .find(|r| r["name"] == "pods/eviction")
            .unwrap()
            .clone();
        assert_eq!(
            (&row["group"], &row["version"], &row["kind"]),
            (&json!("policy"), &json!("v1"), &json!("Eviction"))
        );
    }

    #[test]
    fn what_is_not_there_is_said_loudly() {
        let mut world = World::new();
        let (code, answer) = world.get("/apis/batch/v1/jobs?limit=500");
        assert_eq!(code, 501);
        assert_eq!(
            answer["message"],
            "rerail-sim does not simulate GET /apis/batch/v1/jobs?limit=500"
        );
        assert_eq!(world.get("/openapi/v2").0, 501);
    }
}
