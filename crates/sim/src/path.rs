//! From a URI to what it asks for. kube's URIs are relative and untidy (`/api/v1/nodes?&limit=5`).

use std::collections::BTreeMap;

/// The path of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// `/api`.
    CoreVersions,
    /// `/apis`.
    Groups,
    /// `/apis/GROUP`.
    Group(String),
    /// `/api/v1` or `/apis/GROUP/VERSION`.
    GroupVersion(String, String),
    /// Below a group and version.
    Resource(Target),
    /// `/version`.
    Version,
    /// `/healthz`, `/livez`, `/readyz`.
    Health,
    /// `/openapi/v3`.
    OpenApis,
    /// `/openapi/v3/api/v1` or `/openapi/v3/apis/GROUP/VERSION`.
    OpenApi(String, String),
    /// Anything else.
    Other,
}

/// A resource, or one object of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Target {
    /// API group; empty for the core group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Namespace, if the path names one.
    pub namespace: Option<String>,
    /// Plural of the resource.
    pub plural: String,
    /// Name of the object.
    pub name: Option<String>,
    /// Subresource.
    pub subresource: Option<String>,
    /// True below `watch/`, the old way to watch.
    pub watched: bool,
}

/// Reads a path.
pub fn parse(path: &str) -> Path {
    let parts: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(decoded).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["api"] => Path::CoreVersions,
        ["api", version] => Path::GroupVersion(String::new(), (*version).to_owned()),
        ["api", version, rest @ ..] => resource("", version, rest),
        ["apis"] => Path::Groups,
        ["apis", group] => Path::Group((*group).to_owned()),
        ["apis", group, version] => Path::GroupVersion((*group).to_owned(), (*version).to_owned()),
        ["apis", group, version, rest @ ..] => resource(group, version, rest),
        ["version"] => Path::Version,
        ["openapi", "v3"] => Path::OpenApis,
        ["openapi", "v3", "api", version] => Path::OpenApi(String::new(), (*version).to_owned()),
        ["openapi", "v3", "apis", group, version] => {
            Path::OpenApi((*group).to_owned(), (*version).to_owned())
        }
        ["healthz" | "livez" | "readyz", ..] => Path::Health,
        _ => Path::Other,
    }
}

fn resource(group: &str, version: &str, rest: &[&str]) -> Path {
    let base = Target { group: group.to_owned(), version: version.to_owned(), ..Target::default() };
    let own = |text: &&str| Some((*text).to_owned());
    let (watched, rest) = match rest {
        ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
        _ => (false, rest),
    };
    let target = match rest {
        // A namespace is itself a resource; only two words have subresources of that name.
        ["namespaces", name, subresource @ ("status" | "finalize")] if group.is_empty() => Target {
            plural: "namespaces".to_owned(),
            name: own(name),
            subresource: own(subresource),
            ..base
        },
        ["namespaces", namespace, plural, rest @ ..] if rest.len() <= 2 => Target {
            namespace: own(namespace),
            plural: (*plural).to_owned(),
            name: rest.first().and_then(own),
            subresource: rest.get(1).and_then(own),
            ..base
        },
        [plural, rest @ ..] if rest.len() <= 2 => Target {
            plural: (*plural).to_owned(),
            name: rest.first().and_then(own),
            subresource: rest.get(1).and_then(own),
            ..base
        },
        _ => return Path::Other,
    };
    Path::Resource(Target { watched, ..target })
}

/// A plus sign in a path is a plus sign, other than in a query.
fn decoded(part: &str) -> String {
    let escaped = part.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(escaped.as_bytes())
        .next()
        .map(|(text, _)| text.into_owned())
        .unwrap_or_default()
}

/// The parameters of a request; of several with one name the first counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads a query; empty pairs are skipped.
    pub fn parse(query: Option<&str>) -> Self {
        let mut all = BTreeMap::new();
        for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !key.is_empty() {
                all.entry(key.into_owned()).or_insert_with(|| value.into_owned());
            }
        }
        Query(all)
    }

    /// One parameter; empty is as good as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// A parameter that is true or false.
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some("true" | "1" | "True" | "t" | "T"))
    }

    /// A parameter that is a number; what is none counts as absent.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// True for `dryRun=All`.
    pub fn dry_run(&self) -> bool {
        self.get("dryRun") == Some("All")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> Target {
        match parse(path) {
            Path::Resource(target) => target,
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn paths_name_resource_object_and_subresource() {
        let cases = [
            ("/api/v1/nodes", "", None, "nodes", None, None),
            ("/api/v1/nodes/n1/status", "", None, "nodes", Some("n1"), Some("status")),
            ("/api/v1/namespaces", "", None, "namespaces", None, None),
            ("/api/v1/namespaces/web", "", None, "namespaces", Some("web"), None),
            ("/api/v1/namespaces/web/status", "", None, "namespaces", Some("web"), Some("status")),
            (
                "/api/v1/namespaces/web/pods/a/eviction",
                "",
                Some("web"),
                "pods",
                Some("a"),
                Some("eviction"),
            ),
            (
                "/apis/rerail.dev/v1alpha1/noderemediations/r",
                "rerail.dev",
                None,
                "noderemediations",
                Some("r"),
                None,
            ),
            (
                "/apis/coordination.k8s.io/v1/namespaces/a/leases",
                "coordination.k8s.io",
                Some("a"),
                "leases",
                None,
                None,
            ),
            ("/api/v1/nodes/a%2Bb+c", "", None, "nodes", Some("a+b+c"), None),
        ];
        for (path, group, namespace, plural, name, subresource) in cases {
            let target = target(path);
            let found = (
                target.group.as_str(),
                target.namespace.as_deref(),
                target.plural.as_str(),
                target.name.as_deref(),
                target.subresource.as_deref(),
            );
            assert_eq!(found, (group, namespace, plural, name, subresource), "{path}");
        }
    }

    #[test]
    fn what_is_no_resource_is_told_apart() {
        assert_eq!(parse("/api"), Path::CoreVersions);
        assert_eq!(parse("/apis/"), Path::Groups);
        assert_eq!(parse("/apis/apps"), Path::Group("apps".into()));
        assert_eq!(parse("/apis/apps/v1"), Path::GroupVersion("apps".into(), "v1".into()));
        assert!(
            target("/api/v1/watch/namespaces/a/pods/b").watched && !target("/api/v1/pods").watched
        );
        assert_eq!(parse("/version"), Path::Version);
        assert_eq!(parse("/openapi/v3/api/v1"), Path::OpenApi(String::new(), "v1".into()));
        for other in ["/", "/openapi/v2", "/api/v1/nodes/a/b/c/d", "/metrics"] {
            assert_eq!(parse(other), Path::Other, "{other}");
        }
    }

    #[test]
    fn empty_pairs_of_a_query_are_skipped() {
        let query = Query::parse(Some("&limit=5&labelSelector=a%3Db%2Cc&watch=true&x="));
        assert_eq!(query.number("limit"), Some(5));
        assert_eq!(query.get("labelSelector"), Some("a=b,c"));
        assert!(query.flag("watch") && query.get("x").is_none() && !query.dry_run());
    }
}
