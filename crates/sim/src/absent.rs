//! What is not served: what the real server has and this one does not is refused loudly; what the real
//! server has not either is answered as it answers.

use crate::{
    path::{Path, Target},
    resource::Resource,
    status::Failure,
};

/// Resources of the core group that are not simulated.
const CORE: &[&str] = &[
    "bindings",
    "componentstatuses",
    "endpoints",
    "persistentvolumeclaims",
    "persistentvolumes",
    "podtemplates",
    "watch",
];

/// Groups of Kubernetes without `.k8s.io` in their names.
const GROUPS: &[&str] = &["apps", "autoscaling", "batch", "policy"];

/// First parts of paths that the real server answers.
const PATHS: &[&str] = &[
    ".well-known",
    "api",
    "apis",
    "debug",
    "flagz",
    "logs",
    "metrics",
    "openapi",
    "openid",
    "statusz",
    "swagger",
    "version",
];

/// Answers a path that names nothing that is served.
pub fn path(path: &Path, uri: &http::Uri, loud: Failure) -> Failure {
    let first = uri.path().split('/').find(|part| !part.is_empty()).unwrap_or_default();
    match path {
        Path::Resource(target) => resource(target, loud),
        Path::Group(group) | Path::GroupVersion(group, _) if !is_kubernetes(group) => {
            Failure::page_not_found()
        }
        Path::Other if !first.is_empty() && !PATHS.contains(&first) => Failure::page_not_found(),
        _ => loud,
    }
}

fn resource(target: &Target, loud: Failure) -> Failure {
    if target.group.is_empty() {
        let simulated = CORE.contains(&target.plural.as_str()) && target.version == "v1";
        return if simulated { loud } else { Failure::no_such_resource() };
    }
    if is_kubernetes(&target.group) { loud } else { Failure::page_not_found() }
}

/// Answers a subresource that is not served.
pub fn subresource(resource: &Resource, target: &Target, loud: Failure) -> Failure {
    let name = target.subresource.as_deref().unwrap_or_default();
    if resource.refused.contains(&name) || resource.read_only {
        loud
    } else if resource.is_custom() {
        // The real server looks for the object first, and for whatever else then.
        Failure::not_found(resource, target.name.as_deref().unwrap_or_default())
    } else {
        Failure::no_such_resource()
    }
}

fn is_kubernetes(group: &str) -> bool {
    GROUPS.contains(&group) || group.ends_with(".k8s.io")
}
