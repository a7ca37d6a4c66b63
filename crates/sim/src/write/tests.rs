use serde_json::json;

use crate::handle::{Reply, tests::World};

const RUNS: &str = "/apis/rerail.dev/v1alpha1/noderemediations";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";

fn run(name: &str) -> serde_json::Value {
    json!({
        "apiVersion": "rerail.dev/v1alpha1", "kind": "NodeRemediation", "metadata": { "name": name },
        "spec": { "nodeName": "n1", "nodeUID": "u", "policyName": "p" },
    })
}

fn lease() -> serde_json::Value {
    json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": "l" },
        "spec": { "holderIdentity": "x" } })
}

/// As kube-apiserver 1.36.3 answered.
#[test]
fn creates_are_refused_as_by_the_real_server() {
    let mut world = World::new();
    world.node("n1");
    let cases = [
        (json!({ "metadata": { "name": "n1" } }), 409, "nodes \"n1\" already exists"),
        (
            json!({ "metadata": {} }),
            422,
            "Node \"\" is invalid: metadata.name: Required value: name or generateName is required",
        ),
        (
            json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "x" } }),
            400,
            "Pod in version \"v1\" cannot be handled as a Node: converting (v1.Pod) to (core.Node): unknown conversion",
        ),
        (
            json!({ "metadata": { "name": "n2", "resourceVersion": "5" } }),
            500,
            "resourceVersion should not be set on objects to be created",
        ),
    ];
    for (body, code, message) in cases {
        let (is, answer) = world.post("/api/v1/nodes", body);
        assert_eq!((is, answer["message"].as_str()), (code, Some(message)));
    }
    let map = |name: &str, more: serde_json::Value| {
        let mut map =
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } });
        json_patch::merge(&mut map, &more);
        map
    };
    let (code, answer) = world.post("/api/v1/namespaces/none/configmaps", map("x", json!({})));
    assert_eq!((code, answer["message"].as_str()), (404, Some("namespaces \"none\" not found")));
    let other = map("x", json!({ "metadata": { "namespace": "other" } }));
    let (code, answer) = world.post("/api/v1/namespaces/default/configmaps", other);
    assert_eq!(
        (code, answer["message"].as_str()),
        (
            400,
            Some(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        )
    );
    let nonsense = map("x", json!({ "nonsense": 1 }));
    let (code, answer) = world
        .post("/api/v1/namespaces/default/configmaps?fieldValidation=Strict", nonsense.clone());
    assert_eq!(
        (code, answer["message"].as_str()),
        (
            400,
            Some(
                "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"nonsense\""
            )
        )
    );
    let (code, made) = world.post("/api/v1/namespaces/default/configmaps?dryRun=All", nonsense);
    assert_eq!((code, made.get("nonsense")), (201, None));
    assert_eq!(
        world.get("/api/v1/namespaces/default/configmaps/x").0,
        404,
        "a dry run leaves nothing"
    );
}

#[test]
fn what_is_not_known_is_left_out_with_a_warning() {
    let mut world = World::new();
    let body = json!({ "metadata": { "name": "n1" }, "spec": { "nothing": 1 } });
    let Reply::Answer(answer) = world.reply("POST", "/api/v1/nodes", &[], body) else { panic!() };
    assert_eq!(answer.warnings, ["unknown field \"spec.nothing\""]);
    let strict = "/api/v1/nodes/n1?fieldValidation=Strict";
    let (code, answer) = world.merge(strict, json!({ "spec": { "nothing": 1 } }));
    assert_eq!(code, 422);
    assert!(
        answer["message"]
            .as_str()
            .unwrap()
            .ends_with("strict decoding error: unknown field \"spec.nothing\"")
    );
}

/// As kube-apiserver 1.36.3 answered.
#[test]
fn the_account_of_a_pod_must_be_there() {
    let mut world = World::new();
    let pod = |spec: serde_json::Value| {
        let mut pod = json!({ "metadata": { "name": "a" }, "spec": { "containers": [{ "name": "c", "image": "i" }] } });
        json_patch::merge(&mut pod["spec"], &spec);
        pod
    };
    let pods = "/api/v1/namespaces/default/pods";
    let (code, answer) = world.post(pods, pod(json!({ "serviceAccountName": "nobody" })));
    assert_eq!(
        (code, answer["message"].as_str()),
        (
            403,
            Some(
                "pods \"a\" is forbidden: error looking up service account default/nobody: serviceaccount \"nobody\" not found"
            )
        )
    );
    let (_, made) = world.post(&format!("{pods}?dryRun=All"), pod(json!({})));
    assert_eq!(made["spec"]["serviceAccount"], "default");
    assert_eq!(
        made["spec"]["containers"][0]["volumeMounts"][0]["mountPath"],
        "/var/run/secrets/kubernetes.io/serviceaccount"
    );
    let (_, made) = world.post(pods, pod(json!({ "automountServiceAccountToken": false })));
    assert_eq!(made["spec"].get("volumes"), None);
}

#[test]
fn names_are_generated() {
    let mut world = World::new();
    let body = json!({ "metadata": { "generateName": "x-" } });
    let (_, a) = world.post("/api/v1/namespaces/default/configmaps", body.clone());
    let (_, b) = world.post("/api/v1/namespaces/default/configmaps", body);
    let (a, b) = (a["metadata"]["name"].as_str().unwrap(), b["metadata"]["name"].as_str().unwrap());
    assert!(a.starts_with("x-") && a.len() == 7 && a != b);
}

/// As kube-apiserver 1.36.3 answered.
#[test]
fn an_update_needs_the_version_that_is_there() {
    let mut world = World::new();
    let node = world.node("n1");
    let mut stale = node.clone();
    stale["metadata"]["resourceVersion"] = json!("1");
    let modified = "Operation cannot be fulfilled on nodes \"n1\": the object has been modified; please apply your changes to the latest version and try again";
    let (code, answer) = world.put("/api/v1/nodes/n1", stale);
    assert_eq!((code, answer["message"].as_str()), (409, Some(modified)));
    let patch = json!({ "metadata": { "resourceVersion": "1" } });
    assert_eq!(world.merge("/api/v1/nodes/n1", patch).0, 409);
    let (code, answer) = world.put("/api/v1/nodes/n1", json!({ "metadata": { "name": "other" } }));
    assert_eq!(
        (code, answer["message"].as_str()),
        (400, Some("the name of the object (other) does not match the name on the URL (n1)"))
    );
    let (code, answer) =
        world.put("/api/v1/nodes/n1", json!({ "metadata": { "name": "n1", "uid": "wrong" } }));
    assert_eq!(code, 409);
    let uid = node["metadata"]["uid"].as_str().unwrap();
    assert_eq!(
        answer["message"],
        format!(
            "Operation cannot be fulfilled on nodes \"n1\": StorageError: invalid object, Code: 4, Key: /registry/minions/n1, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: wrong, UID in object meta: {uid}"
        )
    );
    let (code, answer) = world.merge("/api/v1/nodes/n1", json!({ "metadata": { "uid": "wrong" } }));
    assert_eq!((code, answer["details"]["causes"].as_array().unwrap().len()), (422, 2));
    world.post(RUNS, run("r"));
    let (code, answer) = world.put(&format!("{RUNS}/r"), run("r"));
    assert_eq!(
        (code, answer["message"].as_str()),
        (
            422,
            Some(
                "noderemediations.rerail.dev \"r\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"
            )
        )
    );
}

#[test]
fn a_write_that_changes_nothing_makes_no_version() {
    let mut world = World::new();
    let node = world.node("n1");
    let (_, same) = world.put("/api/v1/nodes/n1", node.clone());
    assert_eq!(same, node);
    let (_, same) = world.merge("/api/v1/nodes/n1", json!({ "metadata": { "annotations": null } }));
    assert_eq!(same["metadata"]["resourceVersion"], node["metadata"]["resourceVersion"]);
    let (_, other) =
        world.merge("/api/v1/nodes/n1", json!({ "metadata": { "annotations": { "a": "b" } } }));
    assert_ne!(other["metadata"]["resourceVersion"], node["metadata"]["resourceVersion"]);
}

#[test]
fn status_and_spec_are_written_apart() {
    let mut world = World::new();
    world.post(RUNS, run("r"));
    let (one, status) = (format!("{RUNS}/r"), format!("{RUNS}/r/status"));
    let (_, after) =
        world.merge(&one, json!({ "status": { "step": "Pending" }, "spec": { "retries": 1 } }));
    assert_eq!((after.get("status"), &after["spec"]["retries"]), (None, &json!(1)));
    assert_eq!(after["metadata"]["generation"], 2);
    let patch = json!({ "status": { "step": "Pending" }, "spec": { "cancel": true }, "metadata": { "labels": { "a": "b" } } });
    let (_, after) = world.merge(&status, patch);
    assert_eq!((&after["status"]["step"], after["spec"].get("cancel")), (&json!("Pending"), None));
    assert_eq!(
        (&after["metadata"]["generation"], after["metadata"].get("labels")),
        (&json!(2), None)
    );
    let entries = after["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!((entries.len(), &entries[1]["subresource"]), (2, &json!("status")));
    world.node("n1");
    let patch = json!({ "status": { "phase": "Running" }, "spec": { "unschedulable": true }, "metadata": { "labels": { "a": "b" } } });
    let (_, node) = world.strategic("/api/v1/nodes/n1/status", patch.clone());
    assert_eq!(
        (&node["status"]["phase"], node["spec"].get("unschedulable")),
        (&json!("Running"), None)
    );
    assert_eq!(node["metadata"]["labels"]["a"], "b", "for a node's status, metadata is taken");
    let (_, node) =
        world.strategic("/api/v1/nodes/n1", json!({ "status": { "phase": "Pending" } }));
    assert_eq!(node["status"]["phase"], "Running");
}

#[test]
fn an_older_term_is_refused_by_the_epoch_rule() {
    let mut world = World::new();
    world.post(RUNS, run("r"));
    let status = format!("{RUNS}/r/status");
    assert_eq!(
        world
            .merge(&status, json!({ "status": { "step": "Pending", "epoch": 3, "leader": "a" } }))
            .0,
        200
    );
    let (code, answer) = world.merge(&status, json!({ "status": { "epoch": 2 } }));
    assert_eq!((code, &answer["reason"]), (422, &json!("Invalid")));
    assert_eq!(world.merge(&status, json!({ "status": null })).0, 422);
}

#[test]
fn a_put_makes_a_lease_that_is_not_there_and_nothing_else() {
    let mut world = World::new();
    let (_, made) = world.put(&format!("{LEASES}/l"), lease());
    assert_eq!(made["spec"]["holderIdentity"], "x");
    let (code, _) = world.put(&format!("{LEASES}/l"), lease());
    assert_eq!(code, 422, "an update of a Lease needs a version");
    assert_eq!(world.put("/api/v1/nodes/n1", json!({ "metadata": { "name": "n1" } })).0, 404);
}

#[test]
fn a_pod_keeps_its_node() {
    let mut world = World::new();
    world.pod("default", "a", json!({}), "n1");
    let pod = "/api/v1/namespaces/default/pods/a";
    let (code, answer) = world.merge(pod, json!({ "spec": { "nodeName": "n2" } }));
    assert_eq!(code, 422);
    assert!(answer["message"].as_str().unwrap().starts_with(
        "Pod \"a\" is invalid: spec: Forbidden: pod updates may not change fields other than"
    ));
    assert_eq!(world.merge(pod, json!({ "spec": { "activeDeadlineSeconds": 5 } })).0, 200);
    let (code, _) = world.post(
        "/api/v1/namespaces/default/pods",
        json!({
        "metadata": { "name": "b" }, "spec": { "containers": [{ "name": "c", "image": "i" }] } }),
    );
    assert_eq!(code, 201);
    let binding =
        json!({ "metadata": { "name": "b" }, "target": { "kind": "Node", "name": "n1" } });
    assert_eq!(world.post("/api/v1/namespaces/default/pods/b/binding", binding.clone()).0, 201);
    assert_eq!(world.post("/api/v1/namespaces/default/pods/b/binding", binding).0, 409);
    assert_eq!(world.get("/api/v1/namespaces/default/pods/b").1["spec"]["nodeName"], "n1");
}

#[test]
fn events_have_two_forms() {
    let mut world = World::new();
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": "e" },
        "eventTime": "2026-01-01T00:00:00.000000Z", "reason": "r", "note": "n", "type": "Normal",
        "regarding": { "kind": "Node", "name": "n1" }, "reportingController": "c", "reportingInstance": "i", "action": "a",
    });
    let events = "/apis/events.k8s.io/v1/namespaces/default/events";
    let (code, made) = world.post(events, event);
    assert_eq!((code, &made["note"]), (201, &json!("n")));
    let core = "/api/v1/namespaces/default/events";
    assert_eq!(world.get(&format!("{core}/e")).1["message"], "n");
    let (_, list) = world.get(&format!("{core}?fieldSelector=involvedObject.name%3Dn1"));
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let (code, answer) = world.merge(&format!("{events}/e"), json!({ "note": "again" }));
    assert_eq!((code, &answer["details"]["causes"][0]["field"]), (422, &json!("message")));
    let series = json!({ "count": 2, "lastObservedTime": "2026-01-01T00:01:00.000000Z" });
    let (_, after) = world.merge(&format!("{events}/e"), json!({ "series": series }));
    assert_eq!(after["series"], series);
    assert_eq!(world.get(&format!("{core}/e")).1["series"], series);
}
