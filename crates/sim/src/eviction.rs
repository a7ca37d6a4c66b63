//! The Eviction API, step by step as `kubernetes/pkg/registry/core/pod/storage/eviction.go` takes them
//! (contracts, drain §5). Everything happens in one step of the world, so nothing conflicts.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    builtin,
    delete::{self, Options},
    handle::{Answer, Call},
    meta,
    selector::Labels,
    status::{self, Failure, Outcome},
    store::Store,
};

/// More pods than this are not remembered as being disrupted.
const MAX_DISRUPTED: usize = 2000;

/// The body.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Eviction {
    metadata: Metadata,
    delete_options: Option<Options>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
}

impl Store {
    /// POST of an Eviction.
    pub(crate) fn evict(&mut self, call: &Call<'_>) -> Outcome<Answer> {
        let eviction: Eviction = serde_json::from_slice(call.body)
            .map_err(|error| Failure::bad_request(format!("cannot read the Eviction: {error}")))?;
        if eviction.metadata.name != call.name() {
            return Err(Failure::bad_request("name in URL does not match name in Eviction object"));
        }
        let mut options = eviction.delete_options.unwrap_or_default();
        if call.query.dry_run() {
            options.dry_run = vec!["All".to_owned()];
        }
        let pod = self.existing(call)?.clone();
        if !skips_budgets(&pod) {
            self.ask_budgets(call, &pod, &options)?;
        }
        self.grant(call, &pod, &options)?;
        Ok(Answer::new(201, status::created()))
    }

    /// Takes one from the budget of the pod, if it has one and needs it.
    fn ask_budgets(&mut self, call: &Call<'_>, pod: &Value, options: &Options) -> Outcome<()> {
        let Some(at) = self.position("policy", "poddisruptionbudgets") else { return Ok(()) };
        let namespace = call.namespace();
        let of_pod = |budget: &&Arc<Value>| {
            meta::of(budget, "namespace") == namespace
                && Labels::of_object(&budget["spec"]["selector"])
                    .is_some_and(|labels| labels.matches(pod))
        };
        let budgets: Vec<Arc<Value>> =
            self.table(at).objects().values().filter(of_pod).cloned().collect();
        let budget = match budgets.as_slice() {
            [] => return Ok(()),
            [one] => one,
            _ => {
                return Err(Failure::plain(
                    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
                ));
            }
        };
        if !is_ready(pod) && spares_unready(budget) {
            return Ok(());
        }
        let left = allowed(budget)?;
        if options.is_dry_run() {
            return Ok(());
        }
        let mut budget = (**budget).clone();
        budget["status"]["disruptionsAllowed"] = json!(left - 1);
        if !budget["status"]["disruptedPods"].is_object() {
            budget["status"]["disruptedPods"] = json!({});
        }
        budget["status"]["disruptedPods"][call.name()] = meta::time(call.now);
        if left == 1 {
            let generation = meta::get(&budget, "generation").cloned().unwrap_or(json!(0));
            builtin::set_condition(
                &mut budget,
                json!({
                    "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
                    "observedGeneration": generation, "lastTransitionTime": meta::time(call.now),
                }),
            );
        }
        self.commit(at, budget);
        Ok(())
    }

    /// Marks the pod as evicted, and deletes it.
    fn grant(&mut self, call: &Call<'_>, pod: &Value, options: &Options) -> Outcome<()> {
        let resource = self.resource(call.at).clone();
        delete::check(&resource, pod, &options.preconditions)?;
        let mut options = options.clone();
        if !options.is_dry_run() {
            let mut marked = pod.clone();
            builtin::set_condition(
                &mut marked,
                json!({
                    "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
                    "message": "Eviction API: evicting", "lastProbeTime": null, "lastTransitionTime": meta::time(call.now),
                }),
            );
            if marked != *pod {
                let marked = self.commit(call.at, marked);
                if options.preconditions.resource_version.is_some() {
                    let version = meta::of(&marked, "resourceVersion").to_owned();
                    options.preconditions.resource_version = Some(version);
                }
            }
        }
        self.delete_evicted(call.at, &call.key(), &options, call.now)
    }
}

/// A pod that has ended, has not begun or is going already disrupts nobody.
fn skips_budgets(pod: &Value) -> bool {
    let phase = meta::text(pod, &["status", "phase"]);
    matches!(phase, "Succeeded" | "Failed" | "Pending") || meta::is_deleting(pod)
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// True when a pod that is not ready may go without being counted.
fn spares_unready(budget: &Value) -> bool {
    let status = &budget["status"];
    let number = |field: &str| status[field].as_i64().unwrap_or(0);
    let (current, desired) = (number("currentHealthy"), number("desiredHealthy"));
    meta::text(budget, &["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow"
        || (current >= desired && desired > 0)
}

/// How many disruptions a budget allows, one at least.
fn allowed(budget: &Value) -> Outcome<i64> {
    let (name, status) = (meta::of(budget, "name"), &budget["status"]);
    let number = |field: &str| status[field].as_i64().unwrap_or(0);
    let generation = meta::get(budget, "generation").and_then(Value::as_i64).unwrap_or(0);
    let forbidden = |why: &str| Err(Failure::forbidden("policy", "poddisruptionbudget", name, why));
    if number("observedGeneration") < generation {
        let cause = format!("The disruption budget {name} is still being processed by the server.");
        return Err(Failure::disruption_budget(&cause, 10));
    }
    if number("disruptionsAllowed") < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if status["disruptedPods"].as_object().is_some_and(|pods| pods.len() > MAX_DISRUPTED) {
        return forbidden(
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        );
    }
    match number("disruptionsAllowed") {
        0 => Err(Failure::disruption_budget(&refusal(budget), 0)),
        left => Ok(left),
    }
}

/// Why a budget allows nothing.
fn refusal(budget: &Value) -> String {
    let (name, status) = (meta::of(budget, "name"), &budget["status"]);
    let number = |field: &str| status[field].as_i64().unwrap_or(0);
    let (current, desired) = (number("currentHealthy"), number("desiredHealthy"));
    let conditions = status["conditions"].as_array();
    let condition = conditions.into_iter().flatten().find(|one| {
        one["type"] == "DisruptionAllowed"
            && one["status"] == "False"
            && !meta::text(one, &["message"]).is_empty()
    });
    let said = condition.map(|one| (meta::text(one, &["reason"]), meta::text(one, &["message"])));
    match said {
        Some(("SyncFailed", message)) => format!(
            "The disruption budget {name} does not allow evicting pods currently because it failed sync: {message}"
        ),
        _ if current <= desired => format!(
            "The disruption budget {name} needs {desired} healthy pods and has {current} currently"
        ),
        Some((reason, message)) => format!(
            "The disruption budget {name} does not allow evicting pods currently ({reason}): {message}"
        ),
        None => format!("The disruption budget {name} does not allow evicting pods currently"),
    }
}

#[cfg(test)]
mod tests;
