//! The kill switch: the ConfigMap `rerail-pause`. On a cluster of its own, since it stops everybody.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use rerail_api::{NodeRemediation, names};
use rerail_core::step::Step;
use rerail_e2e::ClusterOptions;
use serde_json::{Value, json};

use crate::{
    hands::quiet,
    shared::{SHORT, Stage, alone, said},
    workloads::PATIENT,
};

/// Sets an entry of the kill switch, or takes it away with `Null`.
async fn pause(stage: &Stage, entry: Value) {
    let maps: Api<ConfigMap> =
        Api::namespaced(stage.cluster().client.clone(), names::SYSTEM_NAMESPACE);
    let text = if entry.is_object() { Value::String(entry.to_string()) } else { entry };
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": names::PAUSE_CONFIG_MAP },
    });
    maps.patch(names::PAUSE_CONFIG_MAP, &PatchParams::apply("jane"), &Patch::Apply(map))
        .await
        .unwrap();
    let patch = Patch::Merge(json!({ "data": { "jane": text } }));
    maps.patch(names::PAUSE_CONFIG_MAP, &PatchParams::default(), &patch).await.unwrap();
}

fn scope(scope: &str) -> Value {
    json!({ "scope": scope, "by": "jane", "reason": "audit" })
}

/// What the policy's condition `Paused` says: status and message.
async fn paused(stage: &Stage, status: &str) -> String {
    let what = format!("Paused is {status}");
    let is = |c: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        c.type_ == "Paused" && c.status == status
    };
    let found = stage.policy_when(&what, |policy| policy.conditions.iter().any(is)).await;
    found.conditions.iter().find(|c| is(c)).unwrap().message.clone()
}

#[test]
fn a_pause_of_any_scope_stops_starts_and_one_that_has_ended_does_not() {
    alone("pause", 2, ClusterOptions::default(), |stage| async move {
        let node = stage.nodes[0].clone();
        stage.policy("Enforce", SHORT).await;
        pause(&stage, scope("all")).await;
        assert_eq!(paused(&stage, "True").await, "paused by jane: audit");
        stage.sicken(&node, "[P6] task blocked").await;
        let waiting = stage.waiting(&node, "Paused").await;
        assert_eq!(
            (waiting.priority, waiting.message.as_str()),
            (Some(6), "paused by jane: audit")
        );

        // Never without a pause in between: the node would be taken at once.
        pause(&stage, Value::String("please stop".into())).await;
        let unreadable = "an unreadable entry pauses everything";
        stage
            .policy_when("the entry is named", |status| {
                let said = status.conditions.iter().find(|c| c.type_ == "Paused").unwrap();
                said.status == "True"
                    && [&said.message, &status.waiting[0].message]
                        .into_iter()
                        .all(|text| text.contains("entry jane") && text.contains(unreadable))
            })
            .await;

        pause(&stage, scope("policy/pause")).await;
        stage
            .policy_when("the policy is paused", |status| {
                status.waiting.iter().any(|w| w.message == "paused by jane: audit")
            })
            .await;
        let mut ended = scope(&format!("node/{node}"));
        pause(&stage, ended.clone()).await;
        // A pause of one node is none of the policy, and the other node's run begins.
        paused(&stage, "False").await;
        stage.waiting(&node, "Paused").await;
        stage.sicken(&stage.nodes[1], "[P9] task blocked").await;
        stage.run_in(&stage.nodes[1], Step::Succeeded).await;
        assert!(stage.cluster().runs_of(&node).await.unwrap().is_empty(), "SAFE-5");

        ended["until"] = json!("2020-01-01T00:00:00Z");
        pause(&stage, ended).await;
        stage.run_in(&node, Step::Succeeded).await;
        stage.finish().await;
    });
}

fn deadline(run: &NodeRemediation) -> jiff::Timestamp {
    let steps = &run.status.as_ref().unwrap().steps;
    steps.iter().find(|step| step.name == "Draining").unwrap().deadline.unwrap()
}

#[test]
fn a_pause_in_mid_drain_stops_evictions_and_the_deadline_and_after_the_reboot_nothing() {
    alone("pausing", 1, ClusterOptions::default(), |stage| async move {
        let node = stage.nodes[0].clone();
        let before = stage.blocked_drain(&node, PATIENT).await;
        let guarded = stage.guarded().await;
        pause(&stage, scope("all")).await;
        let run =
            stage.run_when(&node, "it is paused", |status| status.paused_time.is_some()).await;
        assert_eq!(said(&run), ("Paused".into(), "paused by jane: audit".into()));
        // The way is free now, and nobody goes it.
        stage.release().await;
        quiet().await;
        assert_eq!(stage.guarded().await, guarded, "SAFE-5: evicted while paused");
        let stands = stage.cluster().runs_of(&node).await.unwrap().remove(0);
        assert_eq!(deadline(&stands), deadline(&before));

        pause(&stage, Value::Null).await;
        let after =
            stage.run_when(&node, "it goes on", |status| status.paused_time.is_none()).await;
        let moved = deadline(&after).duration_since(deadline(&before));
        assert!(moved.as_secs_f64() >= 3.0, "the deadline moved by {moved:#}");

        stage.run_when(&node, "the reboot was announced", |status| status.attempt == 1).await;
        pause(&stage, scope("all")).await;
        paused(&stage, "True").await;
        stage.run_in(&node, Step::Succeeded).await;
        stage.finish().await;
    });
}
