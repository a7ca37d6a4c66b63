//! Objects that were stored although no schema of ours would take them: by an earlier or a later
//! version, or before the rules were there. Each is isolated; the others go on (SAFE-17, H33).

use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use rerail_core::step::Step;
use rerail_e2e::{ClusterOptions, PATIENCE, wait_for};
use serde_json::{Value, json};

use crate::shared::{ANOTHER, SHORT, Stage, admin, alone, log_of};

const KINDS: [(&str, &str); 2] =
    [("RemediationPolicy", "remediationpolicies"), ("NodeRemediation", "noderemediations")];

fn api(client: &Client, kind: &str) -> Api<DynamicObject> {
    let plural = KINDS.iter().find(|(known, _)| *known == kind).unwrap().1;
    let gvk = GroupVersionKind::gvk("rerail.dev", "v1alpha1", kind);
    Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&gvk, plural))
}

/// Lets anything in.
fn relax(stage: &Stage) {
    let any = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let mut spec = any.clone();
    spec["properties"] =
        json!({ "nodeName": { "type": "string" }, "policyName": { "type": "string" } });
    let mut status = any.clone();
    status["properties"] = json!({ "step": { "type": "string" } });
    let root = json!({ "type": "object", "properties": { "spec": spec, "status": status } });
    for (kind, plural) in KINDS {
        let schema = if kind == "RemediationPolicy" { &any } else { &root };
        let path = "/spec/versions/0/schema/openAPIV3Schema";
        let patch = json!([{ "op": "replace", "path": path, "value": schema }]).to_string();
        let name = format!("{plural}.rerail.dev");
        let args = ["patch", "crd", &name, "--type=json", "-p", &patch];
        stage.cluster().plane.run_kubectl(&args).unwrap();
    }
}

/// Stores an object, as soon as the API server goes by the relaxed schema.
async fn store(client: &Client, kind: &str, name: &str, spec: Value, status: Value) {
    let mut object = json!({
        "apiVersion": "rerail.dev/v1alpha1", "kind": kind, "metadata": { "name": name },
    });
    if !spec.is_null() {
        object["spec"] = spec;
    }
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    let api = api(client, kind);
    let create = || async { api.create(&Default::default(), &object).await };
    wait_for(&format!("{name} to be stored"), PATIENCE, create).await.unwrap();
    if !status.is_null() {
        set_status(client, name, status).await;
    }
}

async fn set_status(client: &Client, name: &str, status: Value) {
    let patch = Patch::Merge(json!({ "status": status }));
    let runs = api(client, "NodeRemediation");
    runs.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
}

/// Waits until the operator has counted so many objects of a kind that it cannot read, or more: one that a
/// list shows anew is counted anew.
async fn counted(stage: &Stage, kind: &str, count: u32) {
    let name = format!("rerail_malformed_objects_total{{kind=\"{kind}\"}} ");
    let look = || async {
        let page = stage.shared.operator.get("/metrics").await?;
        let said = page.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or("0");
        if said.parse().is_ok_and(|seen: u32| seen >= count) {
            Ok(())
        } else {
            Err(said.to_owned())
        }
    };
    wait_for(&format!("{name}{count}"), PATIENCE, look).await.unwrap();
}

async fn is_stalled(client: &Client, name: &str, words: &str) {
    let policies = api(client, "RemediationPolicy");
    let look = || async {
        let policy = policies.get(name).await.map_err(|error| error.to_string())?;
        let conditions = policy.data["status"]["conditions"].as_array().cloned();
        let stalled = conditions.into_iter().flatten().find(|c| c["type"] == "Stalled");
        match stalled {
            Some(said) if said["status"] == "True" => Ok(said["message"].as_str().unwrap().into()),
            other => Err(format!("{other:?}")),
        }
    };
    let message: String = wait_for("Stalled", PATIENCE, look).await.unwrap();
    assert!(message.contains(words), "{message}");
}

#[test]
fn objects_that_cannot_be_read_are_isolated_and_the_others_go_on() {
    alone("stored", 1, ClusterOptions::default(), |stage| async move {
        let client = admin(stage.cluster()).await;
        relax(&stage);
        let wrong = json!({
            "mode": "Enforce", "nodes": { "all": true }, "triggers": "x", "drain": { "timeout": 5 },
        });
        store(&client, "RemediationPolicy", "wrong", wrong, Value::Null).await;
        store(&client, "RemediationPolicy", "empty", Value::Null, Value::Null).await;
        is_stalled(&client, "wrong", "invalid type").await;
        is_stalled(&client, "empty", "missing field `spec`").await;
        let spec = json!({ "nodeName": "elsewhere", "nodeUID": 5, "policyName": "stored" });
        let ended = json!({ "step": "Succeeded", "attempt": "many" });
        store(&client, "NodeRemediation", "without-status", spec.clone(), Value::Null).await;
        store(&client, "NodeRemediation", "ended", spec, ended).await;
        counted(&stage, "RemediationPolicy", 2).await;
        counted(&stage, "NodeRemediation", 2).await;
        for name in ["wrong", "empty", "without-status", "ended"] {
            assert!(log_of(stage.cluster(), "rerail-operator").contains(name), "{name}");
        }

        stage.policy("Enforce", SHORT).await;
        stage.sicken(&stage.nodes[0], "[P6] task blocked").await;
        stage.run_in(&stage.nodes[0], Step::Succeeded).await;
        for (kind, names) in [
            ("RemediationPolicy", ["wrong", "empty"]),
            ("NodeRemediation", ["without-status", "ended"]),
        ] {
            for name in names {
                api(&client, kind).delete(name, &DeleteParams::default()).await.unwrap();
            }
        }
        stage.finish().await;
    });
}

#[test]
fn a_run_that_may_be_acting_and_cannot_be_read_keeps_its_slot_until_a_person_ends_it() {
    alone("frozen", 1, ClusterOptions::default(), |stage| async move {
        let node = stage.nodes[0].clone();
        let client = admin(stage.cluster()).await;
        relax(&stage);
        let spec = json!({ "nodeName": "elsewhere", "nodeUID": "u", "policyName": "frozen" });
        store(&client, "NodeRemediation", "future", spec, json!({ "step": "Teleporting" })).await;
        counted(&stage, "NodeRemediation", 1).await;
        stage.policy("Enforce", SHORT).await;
        stage.sicken(&node, "[P6] task blocked").await;
        let waiting = stage.waiting(&node, ANOTHER).await;
        assert!(waiting.message.contains("elsewhere"), "{}", waiting.message);
        // Known, and of the wrong types: the same in doubt.
        set_status(&client, "future", json!({ "step": "Draining", "steps": 5 })).await;
        counted(&stage, "NodeRemediation", 2).await;
        stage.waiting(&node, ANOTHER).await;
        assert!(stage.cluster().runs_of(&node).await.unwrap().is_empty());
        set_status(&client, "future", json!({ "step": "Cancelled" })).await;
        stage.run_in(&node, Step::Succeeded).await;
        api(&client, "NodeRemediation").delete("future", &DeleteParams::default()).await.unwrap();
        stage.finish().await;
    });
}
