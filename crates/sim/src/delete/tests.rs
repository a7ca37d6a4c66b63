use serde_json::json;

use crate::handle::tests::World;

const RUNS: &str = "/apis/rerail.dev/v1alpha1/noderemediations";

fn kinds(events: &[serde_json::Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

/// As kube-apiserver 1.36.3 answered.
#[test]
fn preconditions_name_the_kind() {
    let mut world = World::new();
    let pod = world.running("default", "a", json!({}));
    let (uid, version) = (
        pod["metadata"]["uid"].as_str().unwrap(),
        pod["metadata"]["resourceVersion"].as_str().unwrap(),
    );
    let path = "/api/v1/namespaces/default/pods/a";
    let (code, answer) = world.delete_with(path, json!({ "preconditions": { "uid": "x" } }));
    assert_eq!(code, 409);
    assert_eq!(
        answer["message"],
        format!(
            "Operation cannot be fulfilled on Pod \"a\": the UID in the precondition (x) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
        )
    );
    assert_eq!(answer["details"]["kind"], "Pod");
    let (_, answer) =
        world.delete_with(path, json!({ "preconditions": { "resourceVersion": "1" } }));
    assert_eq!(
        answer["message"],
        format!(
            "Operation cannot be fulfilled on Pod \"a\": the ResourceVersion in the precondition (1) does not match the ResourceVersion in record ({version}). The object might have been modified"
        )
    );
}

#[test]
fn a_pod_on_a_node_goes_gracefully_and_only_faster() {
    let mut world = World::new();
    world.running("default", "a", json!({}));
    let path = "/api/v1/namespaces/default/pods/a";
    let mut watch =
        world.watch(&format!("/api/v1/pods?watch=true&resourceVersion={}", world.store.version()));
    let (_, pod) = world.delete_with(path, json!({ "gracePeriodSeconds": 100 }));
    assert_eq!(pod["metadata"]["deletionTimestamp"], "2026-01-01T00:01:40Z");
    assert_eq!(
        (&pod["metadata"]["generation"], &pod["metadata"]["deletionGracePeriodSeconds"]),
        (&json!(2), &json!(100))
    );
    let version = world.store.version();
    world.delete(path);
    assert_eq!(world.store.version(), version, "no longer grace, no change");
    world.pass(2);
    let (_, pod) = world.delete(&format!("{path}?gracePeriodSeconds=5"));
    assert_eq!(pod["metadata"]["deletionTimestamp"], "2026-01-01T00:00:05Z");
    let (_, pod) = world.delete(&format!("{path}?gracePeriodSeconds=0"));
    assert_eq!((&pod["kind"], &pod["metadata"]["generation"]), (&json!("Pod"), &json!(2)));
    assert_eq!(world.get(path).0, 404);
    assert_eq!(kinds(&world.events(&mut watch)), ["MODIFIED", "MODIFIED", "MODIFIED", "DELETED"]);
}

#[test]
fn a_pod_that_runs_nowhere_or_has_ended_goes_at_once() {
    let mut world = World::new();
    world.pod("default", "a", json!({}), "");
    world.delete("/api/v1/namespaces/default/pods/a");
    assert_eq!(world.get("/api/v1/namespaces/default/pods/a").0, 404);
    world.running("default", "b", json!({}));
    world.strategic(
        "/api/v1/namespaces/default/pods/b/status",
        json!({ "status": { "phase": "Failed" } }),
    );
    world.delete("/api/v1/namespaces/default/pods/b");
    assert_eq!(world.get("/api/v1/namespaces/default/pods/b").0, 404);
}

/// As kube-apiserver 1.36.3 answered.
#[test]
fn finalizers_keep_an_object_until_the_last_is_off() {
    let mut world = World::new();
    let one = format!("{RUNS}/r");
    let run = json!({ "apiVersion": "rerail.dev/v1alpha1", "kind": "NodeRemediation", "metadata": { "name": "r", "finalizers": ["a.b/c"] },
        "spec": { "nodeName": "n1", "nodeUID": "u", "policyName": "p" } });
    world.post(RUNS, run);
    let (_, going) = world.delete(&one);
    assert_eq!(
        (&going["metadata"]["generation"], &going["metadata"]["deletionGracePeriodSeconds"]),
        (&json!(2), &json!(0))
    );
    let version = world.store.version();
    world.delete(&one);
    assert_eq!(world.store.version(), version);
    let (code, answer) =
        world.merge(&one, json!({ "metadata": { "finalizers": ["a.b/c", "d.e/f"] } }));
    assert_eq!(code, 422);
    assert_eq!(
        answer["message"],
        "NodeRemediation.rerail.dev \"r\" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"d.e/f\"}"
    );
    let mut watch = world.watch(&format!("{RUNS}?watch=true&resourceVersion={version}"));
    let (code, last) = world.merge(&one, json!({ "metadata": { "finalizers": null } }));
    assert_eq!(
        (code, &last["metadata"]["resourceVersion"]),
        (200, &going["metadata"]["resourceVersion"])
    );
    assert_eq!(world.get(&one).0, 404);
    assert_eq!(kinds(&world.events(&mut watch)), ["DELETED"]);
}

#[test]
fn what_is_deleted_at_once_answers_with_a_status() {
    let mut world = World::new();
    let node = world.node("n1");
    let (code, answer) = world.delete("/api/v1/nodes/n1");
    assert_eq!(code, 200);
    assert_eq!(
        answer,
        json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": { "name": "n1", "kind": "nodes", "uid": node["metadata"]["uid"] } })
    );
    assert_eq!(world.delete("/api/v1/nodes/n1").0, 404);
}

#[test]
fn a_collection_is_deleted_by_selector() {
    let mut world = World::new();
    for (name, app) in [("a", "x"), ("b", "y"), ("c", "x")] {
        world.pod("default", name, json!({ "app": app }), "");
    }
    let (code, list) = world.delete("/api/v1/namespaces/default/pods?labelSelector=app%3Dx");
    assert_eq!((code, list["items"].as_array().unwrap().len()), (200, 2));
    assert_eq!(world.get("/api/v1/pods").1["items"].as_array().unwrap().len(), 1);
}

#[test]
fn a_delete_in_the_foreground_waits_for_the_garbage_collector() {
    let mut world = World::new();
    world.node("n1");
    let (code, node) =
        world.delete_with("/api/v1/nodes/n1", json!({ "propagationPolicy": "Foreground" }));
    assert_eq!((code, &node["metadata"]["finalizers"]), (200, &json!(["foregroundDeletion"])));
    assert_eq!(
        world.delete_with("/api/v1/nodes/n1", json!({ "propagationPolicy": "Background" })).0,
        200
    );
    assert_eq!(world.get("/api/v1/nodes/n1").0, 404);
    assert_eq!(
        world.delete("/api/v1/namespaces/default").0,
        501,
        "loud: all that is in it would have to go"
    );
    let (code, answer) = world.delete("/api/v1/nodes/missing?propagationPolicy=Sideways");
    assert_eq!(
        (code, answer["message"].as_str()),
        (
            422,
            Some(
                "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"Sideways\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
            )
        )
    );
}
