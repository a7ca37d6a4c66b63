//! How the world asks the API server: in the same process, with the requests that the real actors send.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, header};
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    Server,
    body::Body,
    handle::Reply,
    meta,
    store::{self, Key, Store},
};

use super::Error;

/// Kinds of bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    Json,
    Merge,
    Strategic,
}

impl Media {
    fn text(self) -> &'static str {
        match self {
            Media::Json => "application/json",
            Media::Merge => "application/merge-patch+json",
            Media::Strategic => "application/strategic-merge-patch+json",
        }
    }
}

/// A resource, by its path up to the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    base: &'static str,
    plural: &'static str,
}

pub(super) const NODES: Kind = Kind { base: "/api/v1", plural: "nodes" };
pub(super) const PODS: Kind = Kind { base: "/api/v1", plural: "pods" };
pub(super) const ACCOUNTS: Kind = Kind { base: "/api/v1", plural: "serviceaccounts" };
pub(super) const CONFIG_MAPS: Kind = Kind { base: "/api/v1", plural: "configmaps" };
pub(super) const LEASES: Kind = Kind { base: "/apis/coordination.k8s.io/v1", plural: "leases" };
pub(super) const BUDGETS: Kind = Kind { base: "/apis/policy/v1", plural: "poddisruptionbudgets" };
pub(super) const DEPLOYMENTS: Kind = Kind { base: "/apis/apps/v1", plural: "deployments" };
pub(super) const REPLICA_SETS: Kind = Kind { base: "/apis/apps/v1", plural: "replicasets" };
pub(super) const DAEMON_SETS: Kind = Kind { base: "/apis/apps/v1", plural: "daemonsets" };
pub(super) const RUNS: Kind =
    Kind { base: "/apis/rerail.dev/v1alpha1", plural: "noderemediations" };

impl Kind {
    /// The path of one object, or of a subresource of it.
    pub(super) fn path(self, key: &str, subresource: &str) -> String {
        let Kind { base, plural } = self;
        let mut path = match key.split_once('/') {
            Some((namespace, name)) => format!("{base}/namespaces/{namespace}/{plural}/{name}"),
            None => format!("{base}/{plural}/{key}"),
        };
        if !subresource.is_empty() {
            path.push('/');
            path.push_str(subresource);
        }
        path
    }

    /// The path of a collection.
    pub(super) fn all(self, namespace: &str) -> String {
        let Kind { base, plural } = self;
        match namespace {
            "" => format!("{base}/{plural}"),
            _ => format!("{base}/namespaces/{namespace}/{plural}"),
        }
    }
}

/// Where the resources stand that the world looks at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub nodes: usize,
    pub pods: usize,
    pub leases: usize,
    pub budgets: usize,
    pub deployments: usize,
    pub replica_sets: usize,
    pub daemon_sets: usize,
    pub events: usize,
    pub runs: usize,
    pub namespaces: usize,
}

impl Places {
    pub(super) fn of(store: &Store) -> Self {
        // What is not served stands nowhere, and nothing of it is ever seen.
        let place = |group, plural| store.position(group, plural).unwrap_or(usize::MAX);
        Places {
            nodes: place("", "nodes"),
            pods: place("", "pods"),
            leases: place("coordination.k8s.io", "leases"),
            budgets: place("policy", "poddisruptionbudgets"),
            deployments: place("apps", "deployments"),
            replica_sets: place("apps", "replicasets"),
            daemon_sets: place("apps", "daemonsets"),
            events: place("", "events"),
            runs: place("rerail.dev", "noderemediations"),
            namespaces: place("", "namespaces"),
        }
    }
}

/// Who asks: the name that stands at the change, and the program that the server takes for the field
/// manager.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who<'a> {
    pub name: &'a str,
    pub program: &'a str,
}

pub(super) const KUBELET: Who<'static> = Who { name: "kubelet", program: "kubelet" };

/// One of the controllers of `kube-controller-manager`.
pub(super) const fn controller(name: &'static str) -> Who<'static> {
    Who { name, program: "kube-controller-manager" }
}

/// A person at `kubectl`.
pub(super) fn person(name: &str) -> Who<'_> {
    Who { name, program: "kubectl" }
}

/// Asks, and returns what the server answers.
pub(super) fn ask(
    server: &Server,
    who: Who<'_>,
    method: &Method,
    path: &str,
    media: Media,
    body: Option<&Value>,
) -> Result<Body, Error> {
    server
        .acting_as(who.name)
        .with(|store, now| ask_store(store, now, who, method, path, media, body))
}

/// The same of a store that nobody serves.
pub(super) fn ask_store(
    store: &mut Store,
    now: Timestamp,
    who: Who<'_>,
    method: &Method,
    path: &str,
    media: Media,
    body: Option<&Value>,
) -> Result<Body, Error> {
    let refused = |code: u16, message: String| Error::Refused {
        what: format!("{}: {method} {path}", who.name),
        code,
        message,
    };
    let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
    let request = Request::builder()
        .method(method.clone())
        .uri(path)
        .header(header::CONTENT_TYPE, media.text())
        .header(header::USER_AGENT, who.program)
        .body(bytes)
        .map_err(|error| refused(400, error.to_string()))?;
    match store.handle(&request, now) {
        Reply::Answer(answer) if answer.code < 300 => Ok(answer.body),
        Reply::Answer(answer) => {
            let message = answer.body.value()["message"].as_str().unwrap_or_default().to_owned();
            Err(refused(answer.code, message))
        }
        Reply::Watch(_) => Err(refused(400, "nobody here watches".to_owned())),
    }
}

/// An object as it is now, for whoever reads before it writes.
pub(super) fn read(server: &Server, at: usize, key: &Key) -> Option<Arc<Value>> {
    server.with(|store, _| (at != usize::MAX).then(|| store.get(at, key).cloned()).flatten())
}

/// The objects of a resource as they are now.
pub(super) fn list(server: &Server, at: usize) -> Vec<(Key, Arc<Value>)> {
    server.with(|store, _| {
        if at == usize::MAX {
            return Vec::new();
        }
        let all = store.table(at).objects();
        all.iter().map(|(key, object)| (key.clone(), object.clone())).collect()
    })
}

/// The path of an object of any kind that the server knows, or of its collection.
pub(super) fn path_of(
    store: &Store,
    group: &str,
    plural: &str,
    namespace: &str,
    name: Option<&str>,
) -> Result<String, Error> {
    let at = store.position(group, plural).ok_or_else(|| {
        let dot = if group.is_empty() { "" } else { "." };
        Error::NoResource(format!("{plural}{dot}{group}"))
    })?;
    let (version, namespaced) = (&store.resource(at).version, store.resource(at).namespaced);
    let mut path = match group {
        "" => format!("/api/{version}"),
        _ => format!("/apis/{group}/{version}"),
    };
    if namespaced {
        path.push_str(&format!(
            "/namespaces/{}",
            if namespace.is_empty() { "default" } else { namespace }
        ));
    }
    path.push('/');
    path.push_str(plural);
    if let Some(name) = name {
        path.push('/');
        path.push_str(name);
    }
    Ok(path)
}

/// The path of the collection that an object belongs to, by its kind.
pub(super) fn collection_of(store: &Store, object: &Value) -> Result<String, Error> {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let kind = object["kind"].as_str().unwrap_or_default();
    let found = store.resources().iter().find(|one| one.group == group && one.kind == kind);
    let found = found.ok_or_else(|| Error::NoResource(format!("{version} {kind}")))?;
    path_of(store, group, &found.plural, meta::of(object, "namespace"), None)
}

/// A key from its parts.
pub(super) fn key(object: &Value) -> Key {
    store::key_of(object)
}
