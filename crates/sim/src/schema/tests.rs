use serde_json::json;

use super::*;

fn of(kind: &str) -> Schema {
    let crds = rerail_api::crds();
    let crd = crds.iter().find(|crd| crd.spec.names.kind == kind).unwrap();
    let schema = crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
    Schema::new(&serde_json::to_value(schema).unwrap())
}

fn run(extra: Value, status: Value) -> Value {
    let mut run = json!({
        "apiVersion": "rerail.dev/v1alpha1", "kind": "NodeRemediation", "metadata": { "name": "r" },
        "spec": { "nodeName": "n1", "nodeUID": "u", "policyName": "p" },
    });
    json_patch::merge(&mut run["spec"], &extra);
    if !status.is_null() {
        run["status"] = status;
    }
    run
}

fn said(problems: &[FieldError]) -> Vec<String> {
    problems.iter().map(|problem| format!("{}: {}", problem.field, problem.body)).collect()
}

#[test]
fn every_keyword_and_rule_of_our_definitions_is_understood() {
    for kind in ["NodeRemediation", "RemediationPolicy"] {
        assert_eq!(of(kind).unknown(), Vec::<String>::new(), "{kind}");
    }
}

#[test]
fn a_keyword_that_is_not_known_is_found() {
    let schema =
        Schema::new(&json!({ "properties": { "a": { "type": "string", "multipleOf": 3 } } }));
    assert_eq!(schema.unknown(), [".properties.a.multipleOf"]);
    let schema = Schema::new(&json!({ "x-kubernetes-validations": [{ "rule": "self..a" }] }));
    assert_eq!(schema.unknown().len(), 1);
}

#[test]
fn what_the_schema_does_not_know_is_pruned_and_defaults_are_put_in() {
    let schema = of("NodeRemediation");
    let mut object = run(json!({ "nonsense": 1 }), json!({ "step": "Pending", "x": {} }));
    assert_eq!(schema.prune(&mut object), ["spec.nonsense", "status.x"]);
    schema.default(&mut object);
    assert_eq!(object["status"]["attempt"], 0);
    assert_eq!(object["status"]["steps"], json!([]));
    assert!(object["spec"].get("nonsense").is_none());
}

/// As kube-apiserver 1.36.3 answered.
#[test]
fn errors_are_worded_as_by_the_real_server() {
    let schema = of("NodeRemediation");
    let bad = json!({ "nodeName": "", "nodeUID": null, "policyName": 5 });
    assert_eq!(
        said(&schema.problems(&run(bad, Value::Null), None)),
        [
            "spec.nodeUID: Required value",
            "spec.nodeName: Invalid value: \"\": spec.nodeName in body should be at least 1 chars long",
            "spec.policyName: Invalid value: \"integer\": spec.policyName in body must be of type string: \"integer\"",
            "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
        ]
    );
    let bad = json!({ "retries": 5000, "nodeName": "x".repeat(300) });
    let problems = said(&schema.problems(&run(bad, Value::Null), None));
    assert_eq!(problems[0], "spec.nodeName: Too long: may not be more than 253 bytes");
    assert_eq!(
        problems[1],
        "spec.retries: Invalid value: 5000: spec.retries in body should be less than or equal to 1000"
    );
    let status = json!({ "step": "Nonsense", "conditions": [{ "type": "a" }, { "type": "a" }] });
    let problems = said(&schema.problems(&run(json!({}), status), None));
    assert!(
        problems.contains(&"status.conditions[1]: Duplicate value: {\"type\":\"a\"}".to_owned())
    );
    assert!(problems.contains(&"status.conditions[0].message: Required value".to_owned()));
    assert!(problems.iter().any(|one| one.starts_with(
        "status.step: Unsupported value: \"Nonsense\": supported values: \"Pending\", \"Cordoning\""
    )));
}

/// As kube-apiserver 1.36.3 answered.
#[test]
fn rules_about_changes_hold() {
    let schema = of("NodeRemediation");
    let old = run(json!({}), json!({ "step": "Pending", "epoch": 3, "leader": "a" }));
    let problems =
        |extra: Value, status: Value| said(&schema.problems(&run(extra, status), Some(&old)));
    assert!(
        problems(json!({}), json!({ "step": "Cordoning", "epoch": 4, "leader": "b" })).is_empty()
    );
    let epoch = "<nil>: Forbidden: `status.epoch` never falls, and stays with its leader: an older operator must not write this run any more";
    assert_eq!(
        problems(json!({}), json!({ "step": "Pending", "epoch": 2, "leader": "a" })),
        [epoch]
    );
    assert_eq!(problems(json!({}), Value::Null), [epoch]);
    assert_eq!(
        problems(json!({}), json!({ "step": "Held", "epoch": 3, "leader": "a" })),
        [
            "status.step: Invalid value: \"Held\": from step Pending a run can only go to: Cordoning, Cancelled"
        ]
    );
    assert_eq!(
        problems(json!({ "nodeName": "n2" }), old["status"].clone()),
        [
            "spec: Invalid value: the spec cannot be changed, but for `cancel` and `retries`; create another NodeRemediation"
        ]
    );
}

/// As kube-apiserver 1.36.3 answered.
#[test]
fn a_number_out_of_bounds_holds_no_rule_up() {
    let schema = of("NodeRemediation");
    let problems = said(&schema.problems(&run(json!({ "retries": 5000 }), Value::Null), None));
    assert_eq!(
        problems,
        [
            "spec.retries: Invalid value: 5000: spec.retries in body should be less than or equal to 1000"
        ]
    );
}

#[test]
fn an_update_may_keep_what_was_wrong_already() {
    let schema = of("NodeRemediation");
    let old = run(json!({ "retries": 5000 }), Value::Null);
    assert!(
        schema
            .problems(&run(json!({ "retries": 5000, "cancel": true }), Value::Null), Some(&old))
            .is_empty()
    );
    let worse = schema.problems(&run(json!({ "retries": 5001 }), Value::Null), Some(&old));
    assert_eq!(worse[0].field, "spec.retries");
}

#[test]
fn durations_of_a_policy_are_compared_by_their_rules() {
    let schema = of("RemediationPolicy");
    let mut policy = json!({
        "metadata": { "name": "p" },
        "spec": {
            "nodes": { "all": true }, "triggers": [{ "condition": { "type": "KernelDeadlock" } }],
            "verify": { "timeout": "1m", "ready": "5m" },
        },
    });
    schema.default(&mut policy);
    let problems = said(&schema.problems(&policy, None));
    assert_eq!(problems, ["spec.verify: Invalid value: `timeout` must be longer than `ready`"]);
}
