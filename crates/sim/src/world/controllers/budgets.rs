//! The disruption controller: how many Pods of a budget may be evicted
//! (`pkg/controller/disruption/disruption.go`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    meta,
    world::{
        api::{self, BUDGETS, Media, controller},
        known::{self, is_ready},
        queue::{Event, Sync},
        state::State,
    },
};

/// An evicted Pod that is not deleted by then counts as healthy again.
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_mins(2);

/// Either a number or a percentage of one, rounded up.
fn scaled(value: &Value, of: i64) -> i64 {
    match value {
        Value::Number(number) => number.as_i64().unwrap_or(0),
        Value::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            (percent * of + 99) / 100
        }
        _ => 0,
    }
}

/// What a budget counts.
struct Counts {
    expected: i64,
    desired: i64,
    current: i64,
    disrupted: BTreeMap<String, Timestamp>,
}

impl State {
    pub(in crate::world) fn sync_budget(&mut self, key: &str) {
        let key = &key.to_owned();
        let Some(budget) = api::read(&self.server, self.places.budgets, key) else { return };
        let Some(pods) = self.known.pods_under(key) else { return };
        let pods: Vec<Arc<Value>> = pods.into_iter().map(|(_, pod)| pod).collect();
        let status = match self.counts(&budget, &pods) {
            Some(counts) => self.status(&budget, &counts),
            None => self.failed(&budget),
        };
        if status == budget["status"] {
            return;
        }
        let mut budget = (*budget).clone();
        budget["status"] = status;
        let path = BUDGETS.path(key, "status");
        let who = controller("disruption-controller");
        let _ = self.ask(who, &Method::PUT, &path, Media::Json, Some(&budget));
    }

    /// `None` for a budget whose Pods belong to something that has no scale.
    fn counts(&mut self, budget: &Value, pods: &[Arc<Value>]) -> Option<Counts> {
        let (least, most) = (&budget["spec"]["minAvailable"], &budget["spec"]["maxUnavailable"]);
        let number = i64::try_from(pods.len()).unwrap_or(i64::MAX);
        let (expected, desired) = if !most.is_null() {
            let expected = self.scale(pods)?;
            (expected, (expected - scaled(most, expected)).max(0))
        } else if least.is_string() {
            let expected = self.scale(pods)?;
            (expected, scaled(least, expected))
        } else {
            (number, scaled(least, number))
        };
        let disrupted = self.disrupted(budget, pods);
        let healthy = pods.iter().filter(|pod| {
            let counted = !meta::is_deleting(pod) && !disrupted.contains_key(meta::of(pod, "name"));
            counted && is_ready(pod)
        });
        let current = i64::try_from(healthy.count()).unwrap_or(i64::MAX);
        Some(Counts { expected, desired, current, disrupted })
    }

    /// How many Pods their controllers want. Pods without one are not counted.
    fn scale(&self, pods: &[Arc<Value>]) -> Option<i64> {
        let mut scales: BTreeMap<String, i64> = BTreeMap::new();
        let owners: BTreeSet<(&str, &str)> =
            pods.iter().filter_map(|pod| known::owner(pod)).collect();
        for (kind, uid) in owners {
            if kind != "ReplicaSet" {
                return None;
            }
            let is = |object: &&Arc<Value>, uid: &str| meta::of(object, "uid") == uid;
            let Some(set) = self.known.replica_sets.values().find(|set| is(set, uid)) else {
                continue;
            };
            let deployment = known::owner(set).and_then(|(_, uid)| {
                self.known.deployments.values().find(|deployment| is(deployment, uid))
            });
            let scaled = deployment.unwrap_or(set);
            let replicas = scaled["spec"]["replicas"].as_i64().unwrap_or(1);
            scales.insert(meta::of(scaled, "uid").to_owned(), replicas);
        }
        Some(scales.values().sum())
    }

    /// Pods whose eviction was granted and whose deletion is not yet seen.
    fn disrupted(&mut self, budget: &Value, pods: &[Arc<Value>]) -> BTreeMap<String, Timestamp> {
        let known = budget["status"]["disruptedPods"].as_object();
        let mut left = BTreeMap::new();
        for (name, time) in known.into_iter().flatten() {
            let pod = pods.iter().find(|pod| meta::of(pod, "name") == name);
            let since: Option<Timestamp> = time.as_str().and_then(|text| text.parse().ok());
            let (Some(pod), Some(since)) = (pod, since) else { continue };
            let over = self.clock.duration_since(since) >= DELETION_TIMEOUT;
            if !meta::is_deleting(pod) && !over {
                left.insert(name.clone(), since);
            }
        }
        if !left.is_empty() {
            let key = api::key(budget);
            let pause = u64::try_from(DELETION_TIMEOUT.as_millis()).unwrap_or_default();
            self.plan(pause, Event::Sync(Sync::Budget(key)));
        }
        left
    }

    fn status(&self, budget: &Value, counts: &Counts) -> Value {
        let Counts { expected, desired, current, disrupted } = counts;
        let allowed = if *expected > 0 { (current - desired).max(0) } else { 0 };
        let (status, reason) = match allowed {
            0 => ("False", "InsufficientPods"),
            _ => ("True", "SufficientPods"),
        };
        let mut new = json!({
            "currentHealthy": current, "desiredHealthy": desired, "expectedPods": expected,
            "disruptionsAllowed": allowed,
            "conditions": self.condition(budget, status, reason, ""),
        });
        self.finish(budget, &mut new, disrupted);
        new
    }

    fn failed(&self, budget: &Value) -> Value {
        let mut new = budget["status"].clone();
        new["disruptionsAllowed"] = json!(0);
        let message = "the controller of a Pod does not implement the scale subresource";
        new["conditions"] = self.condition(budget, "False", "SyncFailed", message);
        let generation = meta::get(budget, "generation");
        new["observedGeneration"] = generation.cloned().unwrap_or_else(|| json!(1));
        new
    }

    fn finish(&self, budget: &Value, new: &mut Value, disrupted: &BTreeMap<String, Timestamp>) {
        let generation = meta::get(budget, "generation");
        new["observedGeneration"] = generation.cloned().unwrap_or_else(|| json!(1));
        if !disrupted.is_empty() {
            let all = disrupted.iter().map(|(name, since)| (name.clone(), meta::time(*since)));
            new["disruptedPods"] = Value::Object(all.collect());
        }
    }

    fn condition(&self, budget: &Value, status: &str, reason: &str, message: &str) -> Value {
        let known = known::condition(budget, "DisruptionAllowed");
        let known = known.filter(|known| known["status"] == status);
        let since = known.map(|known| known["lastTransitionTime"].clone());
        json!([{
            "type": "DisruptionAllowed", "status": status, "reason": reason, "message": message,
            "observedGeneration": meta::get(budget, "generation"),
            "lastTransitionTime": since.unwrap_or_else(|| meta::time(self.clock)),
        }])
    }
}
