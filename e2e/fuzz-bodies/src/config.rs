//! The configuration of the cluster: the text of `config.yaml` in the ConfigMap `rerail-config`.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;
use rerail_api::{
    convert::config::{ConfigError, config as read},
    names::CONFIG_KEY,
};
use rerail_core::{budget::CountOrPercent, config::ClusterConfig};
use serde_json::{Value, json};

use crate::{objects::limit_is_written, said::said};

const FIELDS: [&str; 4] = ["topologyKeys", "maxUnavailable", "minFloor", "maxDomains"];

/// A document is taken whole or refused whole, and its limits are limits.
pub fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let config = match of(text) {
        Ok(config) => config,
        Err(error) => return said(&error.to_string()),
    };
    let keys = &config.topology_keys;
    assert!(keys.len() <= 8 && keys.iter().collect::<BTreeSet<_>>().len() == keys.len());
    assert!(keys.iter().all(|key| is_label_key(key)), "{keys:?}");
    assert!((1..=100_000).contains(&config.max_domains) && config.min_floor <= 100_000);
    let most = match config.max_unavailable {
        CountOrPercent::Count(count) => {
            assert!(count <= 100_000);
            json!(count)
        }
        CountOrPercent::Percent(percent) => {
            assert!(percent <= 100);
            json!(format!("{percent}%"))
        }
    };
    let written = json!({ "topologyKeys": keys, "maxUnavailable": most,
        "minFloor": config.min_floor, "maxDomains": config.max_domains });
    assert_eq!(of(&written.to_string()), Ok(config.clone()), "{written}");
    says_what_is_written(text, &config);
}

fn of(text: &str) -> Result<ClusterConfig, ConfigError> {
    let data = BTreeMap::from([(CONFIG_KEY.to_owned(), text.to_owned())]);
    read(Some(&ConfigMap { data: Some(data), ..ConfigMap::default() }))
}

/// No field is passed over, and none that is not written is anything but its default.
fn says_what_is_written(text: &str, config: &ClusterConfig) {
    let document: Value = match serde_saphyr::from_str(text) {
        Ok(document) => document,
        Err(error) => panic!("no YAML was read as a configuration: {error}"),
    };
    let empty = serde_json::Map::new();
    let fields = document.as_object().unwrap_or(&empty);
    let unknown = fields.keys().find(|name| !FIELDS.contains(&name.as_str()));
    assert!(unknown.is_none(), "the unknown field {unknown:?} was passed over");
    let default = ClusterConfig::default();
    let written = |name: &str| fields.contains_key(name);
    assert!(written("topologyKeys") || config.topology_keys == default.topology_keys);
    assert!(written("maxUnavailable") || config.max_unavailable == default.max_unavailable);
    assert!(written("minFloor") || config.min_floor == default.min_floor);
    assert!(written("maxDomains") || config.max_domains == default.max_domains);
    assert!(fields.get("maxDomains").is_none_or(|n| n.as_u64() == Some(config.max_domains.into())));
    assert!(fields.get("minFloor").is_none_or(|n| n.as_u64() == Some(config.min_floor.into())));
    limit_is_written(fields.get("maxUnavailable"), config.max_unavailable);
    assert!(fields.get("topologyKeys").is_none_or(|keys| *keys == json!(config.topology_keys)));
}

/// As Kubernetes has it, and a node's labels.
fn is_label_key(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or_default();
    key.matches('/').count() <= 1
        && (1..=63).contains(&name.len())
        && key.len() <= 317
        && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
}
