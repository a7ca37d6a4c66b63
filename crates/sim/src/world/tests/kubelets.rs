//! What kubelets do with Pods, and what they tell of their nodes.

use super::*;

fn with(deployment: &str) -> String {
    format!("{{name: x, nodes: [{{prefix: n-, count: 2}}], deployments: [{deployment}]}}")
}

async fn gone_after(world: &World, pod: &Value, limit: u64) -> Option<u64> {
    for second in 0..limit {
        let there = objects(world, "", "pods");
        if !there.iter().any(|one| one["metadata"]["uid"] == pod["metadata"]["uid"]) {
            return Some(second);
        }
        seconds(1).await;
    }
    None
}

#[tokio::test(start_paused = true)]
async fn a_pod_ends_by_itself_or_at_the_end_of_its_grace_period() {
    for (stops_after, from, to) in [("5s", 5, 7), ("10m", 30, 32)] {
        let scene = with(&format!("{{name: web, replicas: 1, stopsAfter: {stops_after}}}"));
        let world = world_of(&scene, 1).await;
        let pod = objects(&world, "", "pods").remove(0);
        assert_eq!(ask(&world, "DELETE", &path_of(&pod), &Value::Null).0, 200);
        let took = gone_after(&world, &pod, 100).await.unwrap();
        assert!((from..=to).contains(&took), "{stops_after}: {took} s");
        no_complaints(&world);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_with_a_finalizer_stays_when_its_process_has_ended() {
    let scene = with("{name: web, replicas: 1, finalizers: [example.com/stuck]}");
    let world = world_of(&scene, 1).await;
    let pod = objects(&world, "", "pods").remove(0);
    ask(&world, "DELETE", &path_of(&pod), &Value::Null);
    assert_eq!(gone_after(&world, &pod, 600).await, None);
    let machine = pod["spec"]["nodeName"].as_str().unwrap();
    let at_most_the_new_one = usize::from(pods_on(&world, machine).len() > 1);
    assert_eq!(world.machine(machine).unwrap().pods, at_most_the_new_one, "its process has ended");
    act(&world, "{releasePods: {nodes: ['n-*']}}");
    assert_eq!(gone_after(&world, &pod, 5).await, Some(0));
    no_complaints(&world);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_deleted_while_its_machine_is_down_goes_when_it_is_back() {
    let world = world_of(&with("{name: web, replicas: 2}"), 1).await;
    let pod = pods_on(&world, "n-001").remove(0);
    world.power("n-001", PowerAct::Off).unwrap();
    ask(&world, "DELETE", &path_of(&pod), &Value::Null);
    assert_eq!(gone_after(&world, &pod, 600).await, None, "nobody is there to end it");
    world.power("n-001", PowerAct::On).unwrap();
    assert!(gone_after(&world, &pod, 120).await.is_some());
    no_complaints(&world);
}

#[tokio::test(start_paused = true)]
async fn a_process_lives_on_for_a_moment_when_its_object_is_deleted_by_force() {
    let world = world_of(&with("{name: web, replicas: 2}"), 1).await;
    let pod = pods_on(&world, "n-001").remove(0);
    let options = json!({ "gracePeriodSeconds": 0 });
    ask(&world, "DELETE", &path_of(&pod), &options);
    assert!(
        pods_on(&world, "n-001").iter().all(|one| one["metadata"]["uid"] != pod["metadata"]["uid"])
    );
    sleep(Duration::from_millis(45)).await;
    assert_eq!(world.machine("n-001").unwrap().pods, 1);
    sleep(Duration::from_millis(450)).await;
    let runs = pods_on(&world, "n-001").iter().filter(|pod| known::is_ready(pod)).count();
    assert_eq!(world.machine("n-001").unwrap().pods, runs);
}

#[tokio::test(start_paused = true)]
async fn a_node_object_has_what_the_operator_looks_at() {
    let scene =
        "{name: x, nodes: [{prefix: m-, count: 1, zones: [z1], racks: 1, controlPlane: true}]}";
    let world = world_of(scene, 1).await;
    let node = node(&world, "m-001");
    let labels = &node["metadata"]["labels"];
    assert_eq!(labels[ZONE], "z1");
    assert_eq!(labels[RACK], "rack-a");
    assert_eq!(labels[CONTROL_PLANE], "");
    let taints: Vec<_> = known::taints(&node).collect();
    assert_eq!(taints, [(CONTROL_PLANE, "NoSchedule")]);
    let info = &node["status"]["nodeInfo"];
    let machine = world.machine("m-001").unwrap();
    assert_eq!(info["bootID"], machine.boot_id.as_str());
    assert_eq!(info["systemUUID"].as_str().unwrap().len(), 36);
    assert_eq!(node["metadata"]["uid"], machine.node_uid.as_str());
    let lease = object(&world, "coordination.k8s.io", "leases", "kube-node-lease/m-001").unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "m-001");
    assert_eq!(lease["metadata"]["ownerReferences"][0]["uid"], machine.node_uid.as_str());
    let first = lease["spec"]["renewTime"].clone();
    seconds(11).await;
    let lease = object(&world, "coordination.k8s.io", "leases", "kube-node-lease/m-001").unwrap();
    assert_ne!(lease["spec"]["renewTime"], first);
}

#[tokio::test(start_paused = true)]
async fn a_kubelet_that_is_cut_off_is_unknown_and_tells_everything_when_it_is_back() {
    let world = world_of(&with("{name: web, replicas: 2}"), 1).await;
    let story = Story::of(&world);
    act(&world, "{cut: {nodes: [n-001]}}");
    seconds(120).await;
    assert_eq!(known::status_of(&node(&world, "n-001"), "Ready"), "Unknown");
    assert!(world.machine("n-001").unwrap().ready, "the machine itself is well");
    act(&world, "{mend: {nodes: [n-001]}}");
    seconds(5).await;
    assert!(known::is_ready(&node(&world, "n-001")));
    assert!(pods_on(&world, "n-001").iter().all(known::is_ready));
    assert_eq!(story.count(|what| matches!(what, What::Ready(_) | What::Down(_))), 0);
    no_complaints(&world);
}

/// By how many seconds the kubelet's latest report is ahead of the true time, within a report's age.
fn ahead(world: &World, name: &str) -> i64 {
    let node = node(world, name);
    let ready = known::condition(&node, "Ready").unwrap();
    let told: jiff::Timestamp = ready["lastHeartbeatTime"].as_str().unwrap().parse().unwrap();
    told.duration_since(world.server().now()).as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_machine_tells_the_time_by_its_own_clock() {
    let world = world_of(&with("{name: web, replicas: 2}"), 1).await;
    let age = -400..=0;
    assert!(age.contains(&ahead(&world, "n-001")));
    act(&world, "{clock: {nodes: [n-001], seconds: -3600}}");
    seconds(400).await;
    assert!(age.contains(&(ahead(&world, "n-001") + 3600)), "{}", ahead(&world, "n-001"));
    assert!(age.contains(&ahead(&world, "n-002")), "the other is right");
    assert_eq!(
        known::status_of(&node(&world, "n-001"), "Ready"),
        "True",
        "it is heard all the same"
    );
    // The next boot asks a time server, unless something keeps it from that.
    for (fault, off) in [("{slowBoot: {factor: 1}}", 0), ("{clockOff: {seconds: 7200}}", 7200)] {
        act(&world, &format!("{{fault: {{nodes: [n-001], fault: {fault}}}}}"));
        world.power("n-001", PowerAct::Cycle).unwrap();
        seconds(600).await;
        let ahead = ahead(&world, "n-001");
        assert!(age.contains(&(ahead - off)), "{fault}: {ahead}");
    }
    no_complaints(&world);
}
