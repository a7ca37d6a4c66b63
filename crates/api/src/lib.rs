//! Names. The custom resources of Rerail, its labels, annotations and reasons, and the way from a
//! spec to validated core types (parse, don't validate).
//!
//! | module | holds |
//! |---|---|
//! | [`policy`], [`limits`], [`remediation`], [`alert_source`] | the custom resources |
//! | [`convert`] | custom resources and Nodes to core types and back |
//! | [`node`] | Nodes, as far as they are looked at |
//! | [`names`] | labels, annotations, namespaces |
//! | [`duration`] | Go-style durations |

#[allow(missing_docs, reason = "as for `policy`")]
pub mod alert_source;
pub mod convert;
pub mod duration;
#[allow(missing_docs, reason = "as for `policy`")]
pub mod limits;
pub mod names;
pub mod node;
#[allow(
    missing_docs,
    reason = "variants are described at the fields, and kube derives fields; a test wants a description of every schema property"
)]
pub mod policy;
#[allow(missing_docs, reason = "as for `policy`")]
pub mod remediation;
mod schema;

pub use alert_source::AlertSource;
pub use node::Node;
pub use policy::RemediationPolicy;
pub use remediation::NodeRemediation;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// Every CustomResourceDefinition of this version.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![RemediationPolicy::crd(), NodeRemediation::crd(), AlertSource::crd()];
    for version in crds.iter_mut().flat_map(|crd| &mut crd.spec.versions) {
        let schema = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut());
        if let Some(schema) = schema {
            schema::known_formats(schema);
        }
    }
    crds
}
