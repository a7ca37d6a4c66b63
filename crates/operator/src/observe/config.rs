//! The ConfigMap `rerail-config` as it is watched: the last good one, and what is wrong with the one
//! that is there now.

use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{core::DynamicObject, runtime::watcher::Event};
use rerail_api::{
    convert::config::{ConfigError, config},
    names,
};
use rerail_core::config::ClusterConfig;

use super::objects::{Entry, Objects};

/// What is in force. It lives in memory only: a process that has seen no good configuration since its
/// start has none, and starts nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct InForce {
    good: Option<ClusterConfig>,
    problem: Option<String>,
}

impl InForce {
    /// With what is there now. The last good one stays in force where that cannot be read.
    fn with(self, read: Result<ClusterConfig, ConfigError>) -> Self {
        match read {
            Ok(good) => InForce { good: Some(good), problem: None },
            Err(error) => InForce { problem: Some(error.to_string()), ..self },
        }
    }
}

/// The configuration of the whole cluster.
#[derive(Default)]
pub struct Config {
    seen: Objects<ConfigMap>,
    in_force: Mutex<InForce>,
}

impl Config {
    /// Takes in an event. True when something is different now.
    pub fn event(&self, event: Event<DynamicObject>) -> bool {
        self.seen.event(event);
        if !self.seen.synced() {
            return false;
        }
        let read = match self.seen.snapshot().into_iter().next() {
            Some(Entry::Good(object)) => config(Some(&object)),
            Some(Entry::Malformed(malformed)) => {
                Err(ConfigError::Malformed(malformed.error.clone()))
            }
            None => config(None),
        };
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        let before = in_force.clone();
        *in_force = before.clone().with(read);
        *in_force != before
    }

    /// True after the first complete list.
    pub fn synced(&self) -> bool {
        self.seen.synced()
    }

    /// The last good one; `None` when none was good since the start, and nothing may start.
    pub fn current(&self) -> Option<ClusterConfig> {
        self.lock().good.clone()
    }

    /// What is wrong with the one that is there now.
    pub fn problem(&self) -> Option<Problem> {
        let in_force = self.lock();
        let error = in_force.problem.clone()?;
        Some(Problem { error, last_good: in_force.good.is_some() })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, InForce> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ConfigMap that is there now is not in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong with it, and what to do.
    pub error: String,
    /// True when an earlier one is in force in its place.
    pub last_good: bool,
}

impl Problem {
    /// In one word.
    pub fn reason(&self) -> &'static str {
        if self.last_good { "LastGoodInForce" } else { "NotConfigured" }
    }

    /// In a sentence.
    pub fn message(&self) -> String {
        let then = match self.last_good {
            true => "the last good one stays in force until the operator restarts",
            false => "nothing starts",
        };
        format!("{then}: {}", self.error)
    }
}

/// The name of the object, for its watch.
pub const NAME: &str = names::CONFIG_CONFIG_MAP;

#[cfg(test)]
mod tests {
    use kube::core::ObjectMeta;
    use serde_json::json;

    use super::*;

    fn shown(text: &str) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": NAME, "namespace": names::SYSTEM_NAMESPACE },
            "data": { names::CONFIG_KEY: text },
        }))
        .unwrap()
    }

    fn list(config: &Config, objects: Vec<DynamicObject>) -> bool {
        config.event(Event::Init);
        for object in objects {
            config.event(Event::InitApply(object));
        }
        config.event(Event::InitDone)
    }

    #[test]
    fn the_last_good_one_stays_in_force_and_the_problem_is_told() {
        let config = Config::default();
        assert!(!config.synced());
        list(&config, vec![shown("maxDomains: 3")]);
        assert!(config.synced());
        let good = config.current().unwrap();
        assert_eq!((good.max_domains, config.problem()), (3, None));

        assert!(config.event(Event::Apply(shown("maxDomain: 4"))));
        assert_eq!(config.current(), Some(good.clone()));
        let problem = config.problem().unwrap();
        assert_eq!(problem.reason(), "LastGoodInForce");
        assert!(problem.message().contains("unknown field `maxDomain`"), "{}", problem.message());
        assert!(!config.event(Event::Apply(shown("maxDomain: 4"))), "nothing new");

        assert!(config.event(Event::Delete(shown("maxDomain: 4"))));
        assert_eq!(config.current(), Some(good));
        assert!(config.problem().unwrap().error.contains("there is no ConfigMap"));

        assert!(config.event(Event::Apply(shown("maxDomains: 5"))));
        assert_eq!(config.current().unwrap().max_domains, 5);
        assert_eq!(config.problem(), None);
    }

    #[test]
    fn a_process_that_has_seen_no_good_one_has_none() {
        let empty = Config::default();
        list(&empty, vec![]);
        assert_eq!(empty.current(), None);
        let bad = Config::default();
        list(&bad, vec![shown("maxDomains: 0")]);
        assert_eq!(bad.current(), None);
        assert_eq!(bad.problem().unwrap().reason(), "NotConfigured");
        assert!(bad.problem().unwrap().message().starts_with("nothing starts: rerail-config"));
    }

    #[test]
    fn one_that_is_no_config_map_is_a_problem_and_no_panic() {
        let config = Config::default();
        let mut odd = shown("");
        odd.data["data"] = json!("text");
        odd.metadata = ObjectMeta { name: Some(NAME.into()), ..ObjectMeta::default() };
        list(&config, vec![odd]);
        assert!(config.problem().unwrap().error.contains("cannot be read"));
    }
}
