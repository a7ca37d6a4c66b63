//! Requests as the proxy names them: as the operator's metrics do.

use bytes::Bytes;
use rerail_operator::client::{describe, object_name};
use serde_json::Value;
use tokio::time::Instant;

/// What was asked of the API server.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The Kubernetes verb: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verb: &'static str,
    /// The resource, with its subresource if there is one: `pods/eviction`.
    pub resource: String,
    /// The object's name, for a create from its body; empty where there is none.
    pub name: String,
    /// The body.
    pub body: Bytes,
}

impl Asked {
    /// Names a request.
    pub fn new(method: &http::Method, uri: &http::Uri, body: Bytes) -> Self {
        let (verb, resource) = describe(method, uri);
        let name = object_name(uri).map(str::to_owned).or_else(|| name_in(&body));
        Asked { verb, resource, name: name.unwrap_or_default(), body }
    }
}

fn name_in(body: &Bytes) -> Option<String> {
    let object: Value = serde_json::from_slice(body).ok()?;
    Some(object.pointer("/metadata/name")?.as_str()?.to_owned())
}

/// One request that came to the proxy, and what became of it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The Kubernetes verb.
    pub verb: &'static str,
    /// The resource, with its subresource.
    pub resource: String,
    /// The object's name, or empty.
    pub name: String,
    /// When it came.
    pub at: Instant,
    /// The fault that it met.
    pub fault: Option<String>,
    /// The status that the API server answered with; `None` while, or if, it did not.
    pub status: Option<u16>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_create_is_named_by_its_body() {
        let uri = "/api/v1/namespaces/rerail-node/pods".parse().unwrap();
        let body = r#"{"metadata":{"name":"reboot-1-1"}}"#;
        let asked = Asked::new(&http::Method::POST, &uri, body.into());
        assert_eq!((asked.verb, asked.resource.as_str()), ("create", "pods"));
        assert_eq!(asked.name, "reboot-1-1");
        let uri = "/api/v1/nodes/n1".parse().unwrap();
        assert_eq!(Asked::new(&http::Method::GET, &uri, Bytes::new()).name, "n1");
    }
}
