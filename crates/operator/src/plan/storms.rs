//! What the breaker remembers: the storms, in the policies' statuses, and how runs of theirs ended, in
//! the runs themselves. Both are read anew for every plan, so that whoever leads next knows as much.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::ResourceExt;
use rerail_api::{
    NodeRemediation, RemediationPolicy,
    convert::{limits, run},
};
use rerail_core::{
    breaker::{EndedRun, Storms},
    step::Step,
};

/// The storms on record, by policy.
pub fn recorded<'a>(
    policies: impl Iterator<Item = &'a RemediationPolicy>,
) -> BTreeMap<String, Storms> {
    let storms = |policy: &'a RemediationPolicy| {
        let records = &policy.status.as_ref()?.breaker;
        (!records.is_empty()).then(|| (policy.name_any(), limits::storms(records)))
    };
    policies.filter_map(storms).collect()
}

/// The runs of policies with a storm that ended since the first of these began as it is now. One that
/// cannot be read counts for nothing.
pub fn ended<'a>(
    runs: impl Iterator<Item = &'a NodeRemediation>,
    storms: &BTreeMap<String, Storms>,
) -> Vec<EndedRun> {
    let began: BTreeMap<&str, Timestamp> = storms
        .iter()
        .filter_map(|(policy, storms)| {
            Some((policy.as_str(), storms.values().map(|storm| storm.since()).min()?))
        })
        .collect();
    if began.is_empty() {
        return Vec::new();
    }
    let of_interest = runs.filter_map(|object| {
        let since = *began.get(object.spec.policy_name.as_str())?;
        let run =
            run::run(object).ok().filter(|run| run.step.is_terminal() && run.since > since)?;
        let succeeded = run.step == Step::Succeeded;
        // It has failed when it was held; that a person gives its node back is no failure of today.
        let counted = !succeeded && was_held(object);
        (!counted).then_some(EndedRun {
            policy: run.policy,
            causes: run.causes,
            succeeded,
            end: run.since,
        })
    });
    of_interest.collect()
}

fn was_held(object: &NodeRemediation) -> bool {
    let mut steps = object.status.iter().flat_map(|status| &status.steps);
    steps.any(|record| record.name == Step::Held.name())
}

#[cfg(test)]
mod tests {
    use rerail_core::breaker::Storm;
    use serde_json::json;

    use super::*;

    fn policy(name: &str, breaker: serde_json::Value) -> RemediationPolicy {
        serde_json::from_value(json!({
            "apiVersion": "rerail.dev/v1alpha1", "kind": "RemediationPolicy",
            "metadata": { "name": name },
            "spec": { "nodes": { "all": true }, "triggers": [{ "condition": { "type": "Sick" } }] },
            "status": { "breaker": breaker },
        }))
        .unwrap()
    }

    fn ended_run(policy: &str, step: &str, second: u32) -> NodeRemediation {
        let time = format!("2026-01-01T00:00:{second:02}Z");
        serde_json::from_value(json!({
            "apiVersion": "rerail.dev/v1alpha1", "kind": "NodeRemediation",
            "metadata": { "name": "run", "uid": "uid" },
            "spec": {
                "nodeName": "n1", "nodeUID": "u1", "policyName": policy,
                "cause": { "conditionType": "Sick", "priority": 6, "since": time },
            },
            "status": { "step": step, "steps": [
                { "name": step, "attempt": 0, "state": "Done", "startTime": time, "reason": "Healed", "message": "" },
            ] },
        }))
        .unwrap()
    }

    #[test]
    fn storms_and_how_their_runs_ended_are_read_from_the_objects() {
        let since = "2026-01-01T00:00:10Z";
        let open = json!([{ "conditionType": "Sick", "state": "Probing", "since": since }]);
        let policies = [policy("a", open), policy("b", json!([]))];
        let storms = recorded(policies.iter());
        assert_eq!(storms.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(storms["a"]["Sick"], Storm::Probing { since: since.parse().unwrap() });

        let runs = [
            ended_run("a", "Succeeded", 10),
            ended_run("a", "Succeeded", 11),
            ended_run("a", "Cancelled", 12),
            ended_run("a", "Draining", 13),
            ended_run("b", "Succeeded", 14),
        ];
        let found = ended(runs.iter(), &storms);
        let succeeded: Vec<_> = found.iter().map(|run| run.succeeded).collect();
        assert_eq!(succeeded, [true, false], "{found:?}");
        assert_eq!(found[0].causes, ["Sick"]);
        let mut released = ended_run("a", "Cancelled", 15);
        let steps = &mut released.status.as_mut().unwrap().steps;
        let held = rerail_api::remediation::StepRecord { name: "Held".into(), ..steps[0].clone() };
        steps.insert(0, held);
        assert_eq!(ended([released].iter(), &storms), [], "it failed when it was held");
        assert_eq!(ended(runs.iter(), &BTreeMap::new()), []);
    }
}
