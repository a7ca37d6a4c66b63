//! What a scene expects to come of itself, for whoever plays it to its end.

use rerail_api::duration::GoDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_default;

/// What is to come of it. What is left out is not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Expect {
    /// Every node is healthy and in service so long after the first one was not, at the latest; and one was not.
    #[serde(skip_serializing_if = "is_default")]
    pub cleared_within: Option<GoDuration>,
    /// The most nodes out of service at any one time: not Ready, or cordoned by anybody.
    #[serde(skip_serializing_if = "is_default")]
    pub max_unavailable: Option<usize>,
    /// The same within one failure domain.
    #[serde(skip_serializing_if = "is_default")]
    pub max_unavailable_per_domain: Option<usize>,
    /// The most failure domains in which runs are under way at any one time.
    #[serde(skip_serializing_if = "is_default")]
    pub max_domains: Option<usize>,
    /// The most drains that a PodDisruptionBudget, or a Pod, refuses for a minute or longer.
    #[serde(skip_serializing_if = "is_default")]
    pub blocked_drains: Option<usize>,
    /// The most nodes that are left for people in the end.
    #[serde(skip_serializing_if = "is_default")]
    pub left: Option<usize>,
    /// At least so many nodes are healed by a run: so that a check fails, too, when nothing is done at all.
    #[serde(skip_serializing_if = "is_default")]
    pub healed: Option<usize>,
    /// The order in which nodes are admitted.
    #[serde(skip_serializing_if = "is_default")]
    pub order: Option<Vec<String>>,
}
