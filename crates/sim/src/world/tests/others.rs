//! People and foreign controllers.

use super::*;

fn manager_of_cordon(node: &Value) -> Option<String> {
    let entries = node["metadata"]["managedFields"].as_array().unwrap();
    let entry =
        entries.iter().find(|one| one.pointer("/fieldsV1/f:spec/f:unschedulable").is_some());
    entry.map(|entry| entry["manager"].as_str().unwrap().to_owned())
}

/// As on a real API server (protocol R9): a cordon on top of another leaves no trace.
#[tokio::test(start_paused = true)]
async fn a_person_cordons_as_kubectl_does() {
    let world = world_of(SMALL, 1).await;
    act(&world, "{cordon: {nodes: [n-001]}}");
    seconds(1).await;
    let cordoned = node(&world, "n-001");
    assert_eq!(cordoned["spec"]["unschedulable"], true);
    assert_eq!(manager_of_cordon(&cordoned).as_deref(), Some("kubectl"));
    act(&world, "{cordon: {nodes: [n-001], by: bob}}");
    assert_eq!(
        node(&world, "n-001")["metadata"]["resourceVersion"],
        cordoned["metadata"]["resourceVersion"]
    );
    act(&world, "{uncordon: {nodes: [n-001]}}");
    assert_eq!(node(&world, "n-001")["spec"].get("unschedulable"), None);
}

#[tokio::test(start_paused = true)]
async fn labels_come_and_go() {
    let world = world_of(SMALL, 1).await;
    act(&world, "{label: {nodes: ['n-*'], key: rerail.dev/hold, value: ''}}");
    assert_eq!(node(&world, "n-002")["metadata"]["labels"]["rerail.dev/hold"], "");
    act(&world, "{label: {nodes: [n-002], key: rerail.dev/hold}}");
    assert_eq!(node(&world, "n-002")["metadata"]["labels"].get("rerail.dev/hold"), None);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_recreated_has_another_uid_and_the_same_boot() {
    let world = world_of(SMALL, 1).await;
    let (before, machine) = (node(&world, "n-001"), world.machine("n-001").unwrap());
    act(&world, "{recreateNode: {nodes: [n-001]}}");
    assert_eq!(object(&world, "", "nodes", "n-001"), None);
    seconds(30).await;
    let after = node(&world, "n-001");
    assert_ne!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(after["status"]["nodeInfo"], before["status"]["nodeInfo"]);
    assert!(known::is_ready(&after));
    assert_eq!(known::taints(&after).count(), 0);
    assert_eq!(world.machine("n-001").unwrap().boot_id, machine.boot_id);
    assert_eq!(
        world.machine("n-001").unwrap().node_uid,
        after["metadata"]["uid"].as_str().unwrap()
    );
    let lease = object(&world, "coordination.k8s.io", "leases", "kube-node-lease/n-001").unwrap();
    assert_eq!(lease["metadata"]["ownerReferences"][0]["uid"], after["metadata"]["uid"]);
    no_complaints(&world);
}

#[tokio::test(start_paused = true)]
async fn another_machine_under_the_same_name_has_another_boot() {
    let world = world_of(SMALL, 1).await;
    let story = Story::of(&world);
    let before = world.machine("n-001").unwrap();
    act(&world, "{replaceMachine: {nodes: [n-001]}}");
    seconds(60).await;
    let after = world.machine("n-001").unwrap();
    assert_ne!(after.boot_id, before.boot_id);
    assert_ne!(after.node_uid, before.node_uid);
    assert_eq!(story.count(|what| matches!(what, What::Vanished | What::Appeared { .. })), 2);
    assert!(known::is_ready(&node(&world, "n-001")));
    assert!(pods_on(&world, "n-001").iter().all(known::is_ready));
    no_complaints(&world);
}

#[tokio::test(start_paused = true)]
async fn the_autoscaler_takes_a_machine_away_and_another_comes() {
    let world = world_of(SMALL, 1).await;
    act(&world, "{scaleDown: {nodes: [n-001]}}");
    let taints =
        |node: &Value| known::taints(node).map(|(key, _)| key.to_owned()).collect::<Vec<_>>();
    assert!(taints(&node(&world, "n-001")).contains(&"ToBeDeletedByClusterAutoscaler".to_owned()));
    until("it is gone", || object(&world, "", "nodes", "n-001").is_none()).await;
    assert!(world.machine("n-001").is_err());
    until("another is there", || world.truth().machines.len() == 3).await;
    let new = world.truth().machines.keys().last().unwrap().clone();
    assert_eq!(new, "n-004");
    until("it is ready", || known::is_ready(&node(&world, "n-004"))).await;
    assert_eq!(node(&world, "n-004")["metadata"]["labels"]["pool"], "a");
    seconds(120).await;
    let running = objects(&world, "", "pods").iter().filter(|pod| known::is_ready(pod)).count();
    assert_eq!(running, 9);
    no_complaints(&world);
}

#[tokio::test(start_paused = true)]
async fn kured_marks_drains_reboots_and_gives_back() {
    let world = world_of(SMALL, 1).await;
    let story = Story::of(&world);
    act(&world, "{kured: {nodes: [n-001]}}");
    let mark = "weave.works/kured-reboot-in-progress";
    let marked = node(&world, "n-001");
    assert!(marked["metadata"]["annotations"][mark].is_string());
    assert_eq!(marked["spec"]["unschedulable"], true);
    until("a reboot", || world.machine("n-001").unwrap().boots == 1).await;
    assert!(story.all().contains(&What::Down(Cause::Foreign("kured".to_owned()))));
    until("given back", || node(&world, "n-001")["spec"].get("unschedulable").is_none()).await;
    assert!(node(&world, "n-001")["metadata"]["annotations"].get(mark).is_none());
    no_complaints(&world);
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_a_config_map_with_an_entry_per_person() {
    let world = world_of(SMALL, 1).await;
    act(&world, "{pause: {reason: audit, by: ann}}");
    act(&world, "{pause: {scope: node/n-001, reason: disk, by: bob}}");
    let map = object(&world, "", "configmaps", "rerail-system/rerail-pause").unwrap();
    let map: k8s_openapi::api::core::v1::ConfigMap = serde_json::from_value(map).unwrap();
    let pauses = rerail_api::convert::pause::pauses(Some(&map));
    let texts: Vec<_> = pauses.0.iter().map(|pause| pause.text.clone()).collect();
    assert_eq!(texts, ["paused by ann: audit", "paused by bob: disk"]);
    act(&world, "{resume: {by: ann}}");
    assert!(object(&world, "", "configmaps", "rerail-system/rerail-pause").is_none());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_done_is_said() {
    let world = world_of(SMALL, 1).await;
    let refused = |text: &str| {
        let act: Act = serde_saphyr::from_str(text).unwrap();
        world.act(&act).unwrap_err().to_string()
    };
    assert!(refused("{cordon: {nodes: [x-001]}}").contains("no machine is called `x-001`"));
    assert!(refused("{cancel: {nodes: [n-001]}}").contains("no run that is open"));
    let unknown = "{edit: {object: {resource: gadgets, name: a}, patch: {}}}";
    assert!(refused(unknown).contains("no resource `gadgets`"));
    let absent = "{delete: {object: {resource: pods, name: a}}}";
    assert!(refused(absent).contains("404"));
    assert_eq!(world.join(Spec::new("n-001")), Err(Error::MachineExists("n-001".into())));
}
