//! The operator's configuration for the whole cluster: what `rerail-api` makes of the ConfigMap
//! `rerail-config`.

use crate::budget::CountOrPercent;

/// Limits over all policies, and what a failure domain is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// The labels whose values make a failure domain; empty = no domains.
    pub topology_keys: Vec<String>,
    /// How many nodes of the cluster may be out at once.
    pub max_unavailable: CountOrPercent,
    /// What a percentage allows at least.
    pub min_floor: u32,
    /// How many failure domains may be open at once.
    pub max_domains: u32,
}

impl Default for ClusterConfig {
    /// planner.md, Domains and Budgets.
    fn default() -> Self {
        ClusterConfig {
            topology_keys: [
                "topology.kubernetes.io/zone".to_owned(),
                "node-restriction.kubernetes.io/rack".to_owned(),
            ]
            .into(),
            max_unavailable: CountOrPercent::Percent(20),
            min_floor: 1,
            max_domains: 1,
        }
    }
}
