use serde_json::{Value, json};

use crate::handle::tests::World;

const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

fn evict(world: &mut World, name: &str) -> (u16, Value) {
    evict_with(world, name, json!({}))
}

fn evict_with(world: &mut World, name: &str, options: Value) -> (u16, Value) {
    let body =
        json!({ "metadata": { "name": name, "namespace": "default" }, "deleteOptions": options });
    world.post(&format!("/api/v1/namespaces/default/pods/{name}/eviction"), body)
}

/// A budget over `app: web`, with a status as its controller would write it.
fn budget(world: &mut World, name: &str, spec: Value, status: Value) {
    let mut object = json!({ "metadata": { "name": name },
        "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "web" } } } });
    json_patch::merge(&mut object["spec"], &spec);
    assert_eq!(world.post(BUDGETS, object).0, 201);
    if !status.is_null() {
        let mut full = json!({ "observedGeneration": 1, "currentHealthy": 1, "desiredHealthy": 1,
            "expectedPods": 1, "disruptionsAllowed": 0 });
        json_patch::merge(&mut full, &status);
        let (code, answer) =
            world.merge(&format!("{BUDGETS}/{name}/status"), json!({ "status": full }));
        assert_eq!(code, 200, "{answer}");
    }
}

fn web(world: &mut World, name: &str) {
    world.running("default", name, json!({ "app": "web" }));
}

fn cause(answer: &Value) -> &str {
    answer["details"]["causes"][0]["message"].as_str().unwrap_or_default()
}

/// As kube-apiserver 1.36.3 answered.
#[test]
fn a_pod_without_a_budget_is_marked_and_goes_gracefully() {
    let mut world = World::new();
    web(&mut world, "a");
    let (code, answer) = evict(&mut world, "a");
    assert_eq!(
        (code, answer),
        (
            201,
            json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 })
        )
    );
    let (_, pod) = world.get("/api/v1/namespaces/default/pods/a");
    assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 30);
    let mark = pod["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["type"] == "DisruptionTarget")
        .unwrap();
    assert_eq!(
        (&mark["reason"], &mark["message"]),
        (&json!("EvictionByEvictionAPI"), &json!("Eviction API: evicting"))
    );
}

/// contracts E1 and E7, and `eviction_responses.json`.
#[test]
fn names_and_preconditions_are_looked_at() {
    let mut world = World::new();
    web(&mut world, "a");
    let body = json!({ "metadata": { "name": "other" } });
    let (code, answer) = world.post("/api/v1/namespaces/default/pods/a/eviction", body);
    assert_eq!(
        (code, answer["message"].as_str()),
        (400, Some("name in URL does not match name in Eviction object"))
    );
    assert_eq!(evict(&mut world, "none").0, 404);
    let (code, answer) = evict_with(&mut world, "a", json!({ "preconditions": { "uid": "x" } }));
    assert_eq!((code, &answer["reason"]), (409, &json!("Conflict")));
    let (_, pod) = world.get("/api/v1/namespaces/default/pods/a");
    assert!(pod["metadata"].get("deletionTimestamp").is_none());
    let uid = &pod["metadata"]["uid"];
    assert_eq!(evict_with(&mut world, "a", json!({ "preconditions": { "uid": uid } })).0, 201);
}

/// contracts E5, and `eviction_responses.json`.
#[test]
fn a_budget_refuses_in_the_words_of_the_real_server() {
    let mut world = World::new();
    web(&mut world, "a");
    budget(&mut world, "b", json!({}), Value::Null);
    let (code, answer) = evict(&mut world, "a");
    assert_eq!(
        (code, cause(&answer)),
        (429, "The disruption budget b is still being processed by the server.")
    );
    assert_eq!(answer["details"]["retryAfterSeconds"], 10);
    let set = |world: &mut World, status: Value| {
        let mut full = json!({ "observedGeneration": 1, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1, "disruptionsAllowed": 0 });
        json_patch::merge(&mut full, &status);
        world.merge(&format!("{BUDGETS}/b/status"), json!({ "status": full }));
        evict(world, "a")
    };
    let (code, answer) = set(&mut world, json!({}));
    assert_eq!(
        (code, answer["message"].as_str()),
        (429, Some("Cannot evict pod as it would violate the pod's disruption budget."))
    );
    assert_eq!(cause(&answer), "The disruption budget b needs 1 healthy pods and has 1 currently");
    assert_eq!(answer["details"].get("retryAfterSeconds"), None);
    let (code, answer) = set(&mut world, json!({ "disruptionsAllowed": -1 }));
    assert_eq!(
        (code, answer["message"].as_str()),
        (
            403,
            Some(
                "poddisruptionbudget.policy \"b\" is forbidden: pdb disruptions allowed is negative"
            )
        )
    );
    let (_, answer) = set(&mut world, json!({ "currentHealthy": 5 }));
    assert_eq!(cause(&answer), "The disruption budget b does not allow evicting pods currently");
    let failed = json!({ "type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z" });
    let (_, answer) = set(&mut world, json!({ "conditions": [failed] }));
    assert_eq!(
        cause(&answer),
        "The disruption budget b does not allow evicting pods currently because it failed sync: m"
    );
}

#[test]
fn an_eviction_that_is_granted_is_taken_from_the_budget() {
    let mut world = World::new();
    web(&mut world, "a");
    web(&mut world, "b");
    budget(&mut world, "b", json!({}), json!({ "disruptionsAllowed": 1, "currentHealthy": 2 }));
    let (code, _) = world.post(
        "/api/v1/namespaces/default/pods/a/eviction?dryRun=All",
        json!({ "metadata": { "name": "a" } }),
    );
    assert_eq!(code, 201);
    assert_eq!(
        world.get(&format!("{BUDGETS}/b")).1["status"]["disruptionsAllowed"],
        1,
        "a dry run takes nothing"
    );
    assert_eq!(evict(&mut world, "a").0, 201);
    let (_, after) = world.get(&format!("{BUDGETS}/b"));
    assert_eq!(after["status"]["disruptionsAllowed"], 0);
    assert_eq!(after["status"]["disruptedPods"]["a"], "2026-01-01T00:00:00Z");
    assert_eq!(evict(&mut world, "b").0, 429);
    assert_eq!(evict(&mut world, "a").0, 201, "it is going already");
}

/// contracts E3.
#[test]
fn two_budgets_are_an_error_and_another_selector_is_none() {
    let mut world = World::new();
    web(&mut world, "a");
    budget(&mut world, "b1", json!({}), json!({ "disruptionsAllowed": 1 }));
    budget(
        &mut world,
        "b2",
        json!({ "selector": { "matchLabels": null } }),
        json!({ "disruptionsAllowed": 1 }),
    );
    let (code, answer) = evict(&mut world, "a");
    assert_eq!(
        (code, answer["message"].as_str()),
        (
            500,
            Some(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            )
        )
    );
    assert_eq!(answer.get("reason"), None);
    world.delete(&format!("{BUDGETS}/b2"));
    budget(&mut world, "b3", json!({ "selector": { "matchLabels": { "app": "db" } } }), json!({}));
    assert_eq!(evict(&mut world, "a").0, 201);
}

/// contracts E2 and E4.
#[test]
fn pods_that_disrupt_nobody_pass_the_budget_by() {
    for phase in ["Pending", "Succeeded", "Failed"] {
        let mut world = World::new();
        web(&mut world, "a");
        budget(&mut world, "b", json!({}), json!({}));
        world.strategic(
            "/api/v1/namespaces/default/pods/a/status",
            json!({ "status": { "phase": phase } }),
        );
        assert_eq!(evict(&mut world, "a").0, 201, "{phase}");
    }
    let unready = |spec: Value, status: Value| {
        let mut world = World::new();
        world.pod("default", "a", json!({ "app": "web" }), "n1");
        world.strategic(
            "/api/v1/namespaces/default/pods/a/status",
            json!({ "status": { "phase": "Running" } }),
        );
        budget(&mut world, "b", spec, status);
        evict(&mut world, "a").0
    };
    let always = json!({ "unhealthyPodEvictionPolicy": "AlwaysAllow" });
    assert_eq!(unready(always, json!({ "currentHealthy": 0 })), 201);
    assert_eq!(
        unready(json!({}), json!({ "currentHealthy": 1 })),
        201,
        "the application is well without it"
    );
    assert_eq!(unready(json!({}), json!({ "currentHealthy": 0 })), 429);
    assert_eq!(unready(json!({}), json!({ "currentHealthy": 0, "desiredHealthy": 0 })), 429);
}
