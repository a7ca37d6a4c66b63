//! What clients ask before they ask for anything: versions, groups, resources.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{accept, handle::Answer, openapi, path::Path, resource::Resource};

/// What this server says it is; behaviour was read and observed there.
pub const VERSION: &str = "v1.36.3";

/// Answers a path that names no resource; `None` when there is nothing there.
pub(crate) fn answer(resources: &[Arc<Resource>], path: &Path, aggregated: bool) -> Option<Answer> {
    let body = match path {
        Path::CoreVersions | Path::Groups if aggregated => {
            let body = aggregate(resources, *path == Path::CoreVersions);
            let media = Some(accept::AGGREGATED);
            return Some(Answer { media, etag: Some(hash(&body)), ..Answer::new(200, body) });
        }
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
        Path::OpenApis => {
            let media = Some("text/plain; charset=utf-8");
            return Some(Answer { media, ..Answer::new(200, openapi::index(resources)) });
        }
        Path::OpenApi(group, version) => {
            let body = openapi::document(resources, group, version)?;
            return Some(Answer { etag: Some(hash(&body)), ..Answer::new(200, body) });
        }
        Path::Resource(_) | Path::Other => return None,
    };
    Some(Answer::new(200, body))
}

/// By which a client sees that its copy is as good as what it would get.
pub(crate) fn hash(body: &Value) -> String {
    let hash = Sha256::digest(body.to_string().as_bytes());
    hash.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// All of the core group, or of the others, in one answer (`apidiscovery.k8s.io/v2`).
fn aggregate(resources: &[Arc<Resource>], core: bool) -> Value {
    let groups =
        if core { vec![(String::new(), vec!["v1".to_owned()])] } else { groups(resources) };
    let items = groups.into_iter().map(|(group, versions)| {
        let versions = versions.into_iter().map(|version| {
            let of_version = |it: &&Arc<Resource>| it.group == group && it.version == version;
            let all: Vec<Value> =
                resources.iter().filter(of_version).map(|it| aggregated(it)).collect();
            json!({ "version": version, "freshness": "Current", "resources": all })
        });
        let metadata = if core { json!({}) } else { json!({ "name": group }) };
        json!({ "metadata": metadata, "versions": versions.collect::<Vec<_>>() })
    });
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {},
        "items": items.collect::<Vec<_>>(),
    })
}

fn aggregated(resource: &Resource) -> Value {
    // For Kubernetes' own types the real server leaves group and version to be those around it.
    let own = |kind: &str| match resource.is_custom() {
        true => json!({ "group": resource.group, "version": resource.version, "kind": kind }),
        false => json!({ "group": "", "version": "", "kind": kind }),
    };
    let mut row = json!({
        "resource": resource.plural, "responseKind": own(&resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular, "verbs": resource.verbs(),
    });
    if !resource.short_names.is_empty() {
        row["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        row["categories"] = json!(resource.categories);
    }
    let subresources: Vec<Value> = subresources(resource)
        .map(|one| {
            let kind = match one.of {
                Some((group, version)) => {
                    json!({ "group": group, "version": version, "kind": one.kind })
                }
                None => own(&one.kind),
            };
            json!({ "subresource": one.name, "responseKind": kind, "verbs": one.verbs })
        })
        .collect();
    if !subresources.is_empty() {
        row["subresources"] = Value::Array(subresources);
    }
    row
}

/// A subresource as discovery lists it.
struct Subresource {
    name: &'static str,
    /// Group and version of what it takes or gives, if other than the resource's.
    of: Option<(&'static str, &'static str)>,
    kind: String,
    verbs: &'static [&'static str],
}

/// What the real server has, whether or not this one does it: what it does not do it refuses loudly.
fn subresources(resource: &Resource) -> impl Iterator<Item = Subresource> {
    const ANY: &[&str] = &["create", "delete", "get", "patch", "update"];
    let mut names: Vec<&str> = [resource.subresources, resource.refused].concat();
    names.sort_unstable();
    names.into_iter().map(|name| {
        let own = resource.kind.as_str();
        let (of, kind, verbs): (_, _, &[&str]) = match name {
            "attach" => (None, format!("{own}AttachOptions"), &["create", "get"]),
            "binding" => (None, "Binding".to_owned(), &["create"]),
            "eviction" => (Some(("policy", "v1")), "Eviction".to_owned(), &["create"]),
            "exec" => (None, format!("{own}ExecOptions"), &["create", "get"]),
            "finalize" => (None, own.to_owned(), &["update"]),
            "log" => (None, own.to_owned(), &["get"]),
            "portforward" => (None, format!("{own}PortForwardOptions"), &["create", "get"]),
            "proxy" => (None, format!("{own}ProxyOptions"), ANY),
            "scale" => {
                (Some(("autoscaling", "v1")), "Scale".to_owned(), &["get", "patch", "update"])
            }
            "token" => {
                (Some(("authentication.k8s.io", "v1")), "TokenRequest".to_owned(), &["create"])
            }
            _ => (None, own.to_owned(), &["get", "patch", "update"]),
        };
        Subresource { name, of, kind, verbs }
    })
}

/// Groups with their versions, the core group left out, in the order in which they are served.
fn groups(resources: &[Arc<Resource>]) -> Vec<(String, Vec<String>)> {
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

fn list(resources: &[Arc<Resource>], group: &str, version: &str) -> Option<Value> {
    let of_version =
        |resource: &&Arc<Resource>| resource.group == group && resource.version == version;
    let all: Vec<&Arc<Resource>> = resources.iter().filter(of_version).collect();
    let group_version = all.first()?.api_version();
    let rows: Vec<Value> = all.into_iter().flat_map(|it| rows(it)).collect();
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
    for one in subresources(resource) {
        let mut row = json!({
            "name": format!("{}/{}", resource.plural, one.name), "singularName": "",
            "namespaced": resource.namespaced, "kind": one.kind, "verbs": one.verbs,
        });
        if let Some((group, version)) = one.of {
            row["group"] = json!(group);
            row["version"] = json!(version);
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

    /// kubectl keeps discovery, and asks whether it is still so.
    #[test]
    fn what_a_client_knows_is_not_sent_again() {
        let mut world = World::new();
        let mut ask = |known: &str| {
            let headers = [("accept", crate::accept::AGGREGATED), ("if-none-match", known)];
            match world.reply("GET", "/apis", &headers, serde_json::Value::Null) {
                crate::handle::Reply::Answer(answer) => answer,
                crate::handle::Reply::Watch(_) => panic!("a watch"),
            }
        };
        let first = ask("\"other\"");
        assert_eq!((first.code, first.media), (200, Some(crate::accept::AGGREGATED)));
        let etag = first.etag.unwrap();
        let second = ask(&format!("{etag:?}"));
        assert_eq!((second.code, second.media, second.etag), (304, first.media, Some(etag)));
        assert_eq!(second.body, crate::body::Body::Nothing);
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
        let (code, answer) = world.get("/apis/storage.k8s.io/v1/csinodes?limit=500");
        assert_eq!(code, 501);
        assert_eq!(
            answer["message"],
            "rerail-sim does not simulate GET /apis/storage.k8s.io/v1/csinodes?limit=500"
        );
        assert_eq!(world.get("/apis/batch/v1/jobs").1["items"], json!([]), "there are none");
        assert_eq!(world.post("/apis/batch/v1/namespaces/default/jobs", json!({})).0, 501);
        assert_eq!(world.get("/openapi/v2").0, 501);
    }
}
