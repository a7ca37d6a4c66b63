//! The controllers of Kubernetes.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_world_settles() {
    let world = world_of(SMALL, 1).await;
    let pods = objects(&world, "", "pods");
    assert_eq!(pods.len(), 9);
    for pod in &pods {
        assert_eq!(pod["status"]["phase"], "Running", "{pod:#}");
    }
    for name in ["n-001", "n-002", "n-003"] {
        let node = node(&world, name);
        assert_eq!(known::status_of(&node, "Ready"), "True");
        assert_eq!(known::taints(&node).count(), 0);
        assert_eq!(world.machine(name).unwrap().pods, 3, "spread evenly");
    }
    let budget = object(&world, "policy", "poddisruptionbudgets", "default/web").unwrap();
    let status = &budget["status"];
    assert_eq!(
        (&status["currentHealthy"], &status["desiredHealthy"], &status["disruptionsAllowed"]),
        (&json!(6), &json!(5), &json!(1))
    );
    let set = object(&world, "apps", "daemonsets", "default/exporter").unwrap();
    assert_eq!(set["status"]["numberReady"], 3);
    let deployment = object(&world, "apps", "deployments", "default/web").unwrap();
    assert_eq!(deployment["status"]["availableReplicas"], 6);
    // Leases are renewed for ever, and nobody becomes unknown.
    seconds(3600).await;
    assert!(objects(&world, "", "nodes").iter().all(known::is_ready));
    no_complaints(&world);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_heard_of_is_unknown_tainted_and_left_by_its_pods() {
    let world = world_of(SMALL, 1).await;
    world.power("n-001", PowerAct::Off).unwrap();
    let pods = pods_on(&world, "n-001");
    seconds(20).await;
    assert!(known::is_ready(&node(&world, "n-001")), "within the grace period");
    seconds(40).await;
    let unknown = node(&world, "n-001");
    assert_eq!(known::status_of(&unknown, "Ready"), "Unknown");
    assert_eq!(known::status_of(&unknown, "MemoryPressure"), "Unknown");
    let key = "node.kubernetes.io/unreachable";
    let taints: Vec<_> = known::taints(&unknown).collect();
    assert_eq!(taints, [(key, "NoSchedule"), (key, "NoExecute")]);
    assert!(pods_on(&world, "n-001").iter().all(|pod| !known::is_ready(pod)));
    assert!(pods_on(&world, "n-001").iter().all(|pod| !crate::meta::is_deleting(pod)));
    // After five minutes they are deleted, and come back elsewhere; a DaemonSet's stays.
    seconds(310).await;
    for pod in pods_on(&world, "n-001") {
        assert_eq!(crate::meta::is_deleting(&pod), app(&pod) == "web", "{pod:#}");
    }
    let running = objects(&world, "", "pods").into_iter().filter(known::is_ready);
    assert_eq!(running.filter(|pod| app(pod) == "web").count(), 6);
    world.power("n-001", PowerAct::On).unwrap();
    seconds(180).await;
    let back = node(&world, "n-001");
    assert!(known::is_ready(&back));
    assert_eq!(known::taints(&back).count(), 0);
    let left: Vec<_> = pods_on(&world, "n-001").iter().map(|pod| app(pod).to_owned()).collect();
    assert_eq!(left, ["exporter"], "of {}", pods.len());
    no_complaints(&world);
}

fn evict(world: &World, pod: &Value) -> u16 {
    let path = format!("{}/eviction", path_of(pod));
    let metadata = json!({ "name": pod["metadata"]["name"], "namespace": "default" });
    let body = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata });
    ask(world, "POST", &path, &body).0
}

#[tokio::test(start_paused = true)]
async fn a_budget_lets_one_pod_go_after_the_other() {
    let world = world_of(SMALL, 1).await;
    act(&world, "{cordon: {nodes: [n-001]}}");
    seconds(1).await;
    let pods: Vec<_> =
        pods_on(&world, "n-001").into_iter().filter(|pod| app(pod) == "web").collect();
    assert_eq!(pods.len(), 2);
    assert_eq!(evict(&world, &pods[0]), 201);
    assert_eq!(evict(&world, &pods[1]), 429, "the controller has not even looked yet");
    seconds(1).await;
    let budget = || object(&world, "policy", "poddisruptionbudgets", "default/web").unwrap();
    assert_eq!(budget()["status"]["disruptionsAllowed"], 0);
    assert_eq!(budget()["status"]["currentHealthy"], 5);
    assert_eq!(evict(&world, &pods[1]), 429);
    until("another has taken its place", || budget()["status"]["disruptionsAllowed"] == 1).await;
    assert_eq!(budget()["status"].get("disruptedPods"), None);
    assert_eq!(evict(&world, &pods[1]), 201);
    seconds(60).await;
    let left: Vec<_> = pods_on(&world, "n-001").iter().map(|pod| app(pod).to_owned()).collect();
    assert_eq!(left, ["exporter"], "the cordoned node gets no other");
    no_complaints(&world);
}

#[tokio::test(start_paused = true)]
async fn budgets_are_counted_by_what_is_wanted() {
    for (budget, replicas, desired, allowed) in [
        ("{maxUnavailable: 10%}", 7, 6, 1),
        ("{maxUnavailable: 0}", 3, 3, 0),
        ("{minAvailable: 50%}", 5, 3, 2),
        ("{minAvailable: 2}", 3, 2, 1),
        ("{minAvailable: 1}", 1, 1, 0),
    ] {
        let scene = format!(
            "{{name: x, nodes: [{{prefix: n-, count: 2}}], \
             deployments: [{{name: web, replicas: {replicas}, budget: {budget}}}]}}"
        );
        let world = world_of(&scene, 1).await;
        let status =
            &object(&world, "policy", "poddisruptionbudgets", "default/web").unwrap()["status"];
        let is = (&status["desiredHealthy"], &status["disruptionsAllowed"]);
        assert_eq!(is, (&json!(desired), &json!(allowed)), "{budget} of {replicas}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_of_pods_without_a_scale_allows_nothing() {
    let world = world_of(SMALL, 1).await;
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": { "name": "exporter", "namespace": "default" },
        "spec": { "maxUnavailable": 1, "selector": { "matchLabels": { "app": "exporter" } } },
    });
    world.create(&budget).unwrap();
    seconds(5).await;
    let budget = object(&world, "policy", "poddisruptionbudgets", "default/exporter").unwrap();
    assert_eq!(budget["status"]["disruptionsAllowed"], 0);
    assert_eq!(known::condition(&budget, "DisruptionAllowed").unwrap()["reason"], "SyncFailed");
}

#[tokio::test(start_paused = true)]
async fn pods_without_room_wait_for_it() {
    let scene = "{name: x, nodes: [{prefix: n-, count: 2, pods: 2}], deployments: [{name: web, replicas: 4}]}";
    let world = world_of(scene, 1).await;
    act(&world, "{cordon: {nodes: [n-001]}}");
    seconds(1).await;
    let pod = pods_on(&world, "n-001").remove(0);
    ask(&world, "DELETE", &path_of(&pod), &Value::Null);
    seconds(60).await;
    let waiting: Vec<_> = objects(&world, "", "pods")
        .into_iter()
        .filter(|pod| known::node_of(pod).is_empty())
        .collect();
    assert_eq!(waiting.len(), 1);
    assert_eq!(known::condition(&waiting[0], "PodScheduled").unwrap()["reason"], "Unschedulable");
    act(&world, "{uncordon: {nodes: [n-001]}}");
    until("it has room", || pods_on(&world, "n-001").len() == 2).await;
    no_complaints(&world);
}

#[tokio::test(start_paused = true)]
async fn a_deployment_has_as_many_pods_as_it_wants() {
    let world = world_of(SMALL, 1).await;
    let of =
        |world: &World| objects(world, "", "pods").iter().filter(|pod| app(pod) == "web").count();
    for replicas in [9, 2] {
        let text = format!(
            "{{edit: {{object: {{group: apps, resource: deployments, name: web}}, patch: {{spec: {{replicas: {replicas}}}}}}}}}"
        );
        act(&world, &text);
        until("as many as wanted", || of(&world) == replicas).await;
    }
    no_complaints(&world);
}

#[tokio::test(start_paused = true)]
async fn a_daemon_set_has_a_pod_on_each_node_that_may_have_one_cordoned_or_not() {
    let world = world_of(SMALL, 1).await;
    act(&world, "{cordon: {nodes: [n-001]}}");
    let pod = pods_on(&world, "n-001").into_iter().find(|pod| app(pod) == "exporter").unwrap();
    ask(&world, "DELETE", &path_of(&pod), &Value::Null);
    let another = |one: &Value| {
        app(one) == "exporter"
            && known::is_ready(one)
            && one["metadata"]["uid"] != pod["metadata"]["uid"]
    };
    until("another is there", || pods_on(&world, "n-001").iter().any(another)).await;
    world.join(Spec::new("n-009")).unwrap();
    until("the new node has one", || pods_on(&world, "n-009").iter().any(another)).await;
    let tainted = "{taint: {nodes: [n-009], key: dedicated, effect: NoExecute}}";
    act(&world, tainted);
    until("it has to leave", || pods_on(&world, "n-009").is_empty()).await;
    no_complaints(&world);
}

#[tokio::test(start_paused = true)]
async fn what_a_deleted_node_had_is_collected() {
    let world = world_of(SMALL, 1).await;
    world.power("n-001", PowerAct::Off).unwrap();
    act(&world, "{deleteNode: {nodes: [n-001]}}");
    seconds(5).await;
    let lease = object(&world, "coordination.k8s.io", "leases", "kube-node-lease/n-001");
    assert_eq!(lease, None);
    assert_eq!(pods_on(&world, "n-001").len(), 3, "in quarantine");
    seconds(90).await;
    assert_eq!(pods_on(&world, "n-001").len(), 0);
    let running = objects(&world, "", "pods").iter().filter(|pod| known::is_ready(pod)).count();
    assert_eq!(running, 8, "all but the node's DaemonSet Pod");
    no_complaints(&world);
}

#[tokio::test(start_paused = true)]
async fn what_belonged_to_a_deleted_deployment_is_collected() {
    let world = world_of(SMALL, 1).await;
    act(&world, "{delete: {object: {group: apps, resource: deployments, name: web}}}");
    seconds(60).await;
    assert_eq!(objects(&world, "apps", "replicasets").len(), 0);
    assert!(objects(&world, "", "pods").iter().all(|pod| app(pod) == "exporter"));
    no_complaints(&world);
}

#[tokio::test(start_paused = true)]
async fn events_expire_after_an_hour() {
    let world = world_of(SMALL, 1).await;
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": { "name": "e", "namespace": "default" },
        "involvedObject": { "kind": "Node", "name": "n-001" }, "reason": "R", "message": "m", "type": "Normal",
    });
    world.create(&event).unwrap();
    seconds(3500).await;
    assert_eq!(objects(&world, "", "events").len(), 1);
    seconds(150).await;
    assert_eq!(objects(&world, "", "events").len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_cordon_is_a_taint_too() {
    let world = world_of(SMALL, 1).await;
    act(&world, "{cordon: {nodes: [n-001]}}");
    seconds(1).await;
    let key = "node.kubernetes.io/unschedulable";
    assert_eq!(known::taints(&node(&world, "n-001")).collect::<Vec<_>>(), [(key, "NoSchedule")]);
    act(&world, "{uncordon: {nodes: [n-001]}}");
    seconds(1).await;
    assert_eq!(known::taints(&node(&world, "n-001")).count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_gets_its_account_and_can_have_pods() {
    let scene = "{name: x, nodes: [{prefix: n-, count: 1}], \
                 deployments: [{name: web, namespace: shop, replicas: 1}]}";
    let world = world_of(scene, 1).await;
    assert!(object(&world, "", "serviceaccounts", "shop/default").is_some());
    assert!(known::is_ready(&objects(&world, "", "pods")[0]));
    no_complaints(&world);
}
