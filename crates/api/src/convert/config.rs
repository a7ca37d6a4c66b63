//! The configuration of the whole cluster: ConfigMap `rerail-config`, key `config.yaml`. A field that is
//! unknown or out of range refuses the whole document: a limit that was misspelt must not be taken for
//! one that was not set.

use std::collections::BTreeSet;

use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::util::intstr::IntOrString};
use rerail_core::{config::ClusterConfig, words::quoted};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::limits::{self, LimitError};
use crate::names::{CONFIG_CONFIG_MAP, CONFIG_KEY, SYSTEM_NAMESPACE};

/// How many labels may make a failure domain.
const KEYS_LIMIT: usize = 8;

/// The fields of the document.
const FIELDS: &str = "topologyKeys, maxUnavailable, minFloor and maxDomains";

/// Why there is no configuration. The last good one stays in force; without one nothing starts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No such ConfigMap.
    #[error(
        "there is no ConfigMap {CONFIG_CONFIG_MAP} in namespace {SYSTEM_NAMESPACE}; apply config/operator/config.yaml"
    )]
    Missing,
    /// The ConfigMap itself cannot be read.
    #[error("the ConfigMap {CONFIG_CONFIG_MAP} cannot be read: {0}")]
    Malformed(String),
    /// The ConfigMap has no such key.
    #[error(
        "the ConfigMap {CONFIG_CONFIG_MAP} has no key {CONFIG_KEY}; it may be empty, but not absent"
    )]
    NoKey,
    /// No YAML, or no mapping.
    #[error("{CONFIG_CONFIG_MAP}, {CONFIG_KEY}: not a YAML mapping of {FIELDS}: {0}")]
    Yaml(String),
    /// A field that is not known.
    #[error("{CONFIG_CONFIG_MAP}, {CONFIG_KEY}: unknown field `{0}`; the fields are {FIELDS}")]
    Unknown(String),
    /// A field of another type.
    #[error("{CONFIG_CONFIG_MAP}, {CONFIG_KEY}: {field}: {error}")]
    Type {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        error: String,
    },
    /// A value out of range.
    #[error("{CONFIG_CONFIG_MAP}, {CONFIG_KEY}: {0}")]
    Limit(#[from] LimitError),
    /// Labels that make no domain.
    #[error(
        "{CONFIG_CONFIG_MAP}, {CONFIG_KEY}: topologyKeys: {0}; list up to 8 label keys, each once, or none for no domains"
    )]
    Keys(String),
}

/// Reads the configuration; `None` = there is no such ConfigMap.
pub fn config(config_map: Option<&ConfigMap>) -> Result<ClusterConfig, ConfigError> {
    let data = config_map.ok_or(ConfigError::Missing)?.data.as_ref();
    let text = data.and_then(|data| data.get(CONFIG_KEY)).ok_or(ConfigError::NoKey)?;
    let document: Value =
        serde_saphyr::from_str(text).map_err(|error| ConfigError::Yaml(short(&error)))?;
    let fields = match document {
        Value::Null => serde_json::Map::new(),
        Value::Object(fields) => fields,
        other => return Err(ConfigError::Yaml(format!("found `{}`", short(&other)))),
    };
    let mut config = ClusterConfig::default();
    for (name, value) in fields {
        match name.as_str() {
            "topologyKeys" => config.topology_keys = keys(read("topologyKeys", value)?)?,
            "maxUnavailable" => {
                let value: IntOrString = read("maxUnavailable", value)?;
                config.max_unavailable = limits::count_or_percent("maxUnavailable", &value)?;
            }
            "minFloor" => {
                config.min_floor = limits::at_least(0, "minFloor", read("minFloor", value)?)?;
            }
            "maxDomains" => {
                config.max_domains = limits::at_least(1, "maxDomains", read("maxDomains", value)?)?;
            }
            _ => return Err(ConfigError::Unknown(short(&name))),
        }
    }
    Ok(config)
}

fn read<T: DeserializeOwned>(field: &'static str, value: Value) -> Result<T, ConfigError> {
    serde_json::from_value(value).map_err(|error| ConfigError::Type { field, error: short(&error) })
}

fn keys(keys: Vec<String>) -> Result<Vec<String>, ConfigError> {
    if keys.len() > KEYS_LIMIT {
        return Err(ConfigError::Keys(format!("{} keys are too many", keys.len())));
    }
    if let Some(bad) = keys.iter().find(|key| !is_label_key(key)) {
        return Err(ConfigError::Keys(format!("`{}` is no label key", short(bad))));
    }
    if keys.iter().collect::<BTreeSet<_>>().len() < keys.len() {
        return Err(ConfigError::Keys("a key is listed twice".to_owned()));
    }
    Ok(keys)
}

/// `name` or `prefix/name`, of the characters that Kubernetes takes.
fn is_label_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(a, b)| (Some(a), b));
    let part = |text: &str, most: usize, inner: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        text.len() <= most
            && edge(text.chars().next())
            && edge(text.chars().next_back())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || inner.contains(c))
    };
    prefix.is_none_or(|prefix| part(prefix, 253, "-.")) && part(name, 63, "-_.")
}

/// The first line of what was found, bounded: it may be anything that a person can paste.
fn short(text: &impl ToString) -> String {
    quoted(&text.to_string().lines().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rerail_core::budget::CountOrPercent;

    use super::*;

    fn of(text: &str) -> Result<ClusterConfig, ConfigError> {
        let data = BTreeMap::from([(CONFIG_KEY.to_owned(), text.to_owned())]);
        config(Some(&ConfigMap { data: Some(data), ..ConfigMap::default() }))
    }

    #[test]
    fn what_is_not_written_has_its_default() {
        for text in ["", "{}", "# maxDomains: 3\n"] {
            assert_eq!(of(text), Ok(ClusterConfig::default()), "{text:?}");
        }
    }

    #[test]
    fn every_field_is_read() {
        let all = "topologyKeys: [example.com/row, rack]\nmaxUnavailable: 12\nminFloor: 0\nmaxDomains: 3\n";
        let expected = ClusterConfig {
            topology_keys: vec!["example.com/row".into(), "rack".into()],
            max_unavailable: CountOrPercent::Count(12),
            min_floor: 0,
            max_domains: 3,
        };
        assert_eq!(of(all), Ok(expected));
        let percent = |text: &str| of(text).unwrap().max_unavailable;
        assert_eq!(percent("maxUnavailable: 5%"), CountOrPercent::Percent(5));
        assert_eq!(percent("maxUnavailable: \"5%\""), CountOrPercent::Percent(5));
        assert!(of("topologyKeys: []").unwrap().topology_keys.is_empty());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_field() {
        let nine = format!("topologyKeys: [{}]", "a1, a2, a3, a4, a5, a6, a7, a8, a9");
        let bomb = format!("a: &a [{}]\nb: *a", "x, ".repeat(10));
        for (text, expected) in [
            ("maxDomain: 2", "unknown field `maxDomain`; the fields are topologyKeys"),
            ("maxDomains: 0", "maxDomains: 0 is out of range; write 1 to 100000"),
            ("maxDomains: two", "maxDomains: invalid type"),
            ("maxDomains: 99999999999", "maxDomains: "),
            ("minFloor: -1", "minFloor: "),
            ("maxUnavailable: 120%", "maxUnavailable: `120%` is out of range; write a number"),
            ("maxUnavailable: -5", "maxUnavailable: -5 is out of range"),
            ("maxUnavailable: [1]", "maxUnavailable: invalid type"),
            ("topologyKeys: zone", "topologyKeys: invalid type"),
            ("topologyKeys: [a, a]", "topologyKeys: a key is listed twice"),
            ("topologyKeys: [\"a b\"]", "topologyKeys: `a b` is no label key"),
            ("topologyKeys: [a/b/c]", "topologyKeys: `a/b/c` is no label key"),
            ("maxDomains: 1\nmaxDomains: 2", "not a YAML mapping"),
            ("- maxDomains", "not a YAML mapping"),
            ("maxDomains: [", "not a YAML mapping"),
            (nine.as_str(), "topologyKeys: 9 keys are too many"),
            (bomb.as_str(), "unknown field `a`"),
            ("\"max\\e[31mDomains\\r\": 1", "unknown field `max [31mDomains`"),
        ] {
            let error = of(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
            assert!(error.starts_with("rerail-config, config.yaml: "), "{error}");
            assert!(error.len() < 500 && !error.contains(char::is_control), "{error:?}");
        }
    }

    #[test]
    fn no_config_map_and_no_key_say_what_to_do() {
        assert_eq!(config(None), Err(ConfigError::Missing));
        assert_eq!(config(Some(&ConfigMap::default())), Err(ConfigError::NoKey));
        assert!(ConfigError::Missing.to_string().contains("apply config/operator/config.yaml"));
    }
}
