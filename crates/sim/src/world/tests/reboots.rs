//! Reboot Pods: what the operator makes, and what the machine makes of it.

use super::*;

const RUN: &str = "run-1";

/// A world of one node that is cordoned by a run with an intent, and what happens in it from now on.
async fn intended(seed: u64) -> (World, Story) {
    let world = world_of("{name: x, nodes: [{prefix: n-, count: 1}]}", seed).await;
    let machine = world.machine("n-001").unwrap();
    let run = json!({
        "apiVersion": "rerail.dev/v1alpha1", "kind": "NodeRemediation", "metadata": { "name": RUN },
        "spec": { "nodeName": "n-001", "nodeUID": machine.node_uid, "policyName": "p" },
    });
    world.create(&run).unwrap();
    let intent = json!({
        "effect": "Reboot", "step": "Rebooting", "attempt": 1, "nodeUID": machine.node_uid,
        "bootIDBefore": machine.boot_id, "epoch": 1, "time": "2026-01-01T00:00:00Z",
    });
    let status = json!({ "status": { "epoch": 1, "leader": "l", "step": "Rebooting", "attempt": 1, "intent": intent } });
    assert_eq!(ask(&world, "PATCH", &format!("{PATH}/status"), &status).0, 200);
    let cordon = json!({
        "metadata": { "annotations": { "rerail.dev/cordoned-by": run_uid(&world) } },
        "spec": { "unschedulable": true },
    });
    ask(&world, "PATCH", "/api/v1/nodes/n-001", &cordon);
    let story = Story::of(&world);
    (world, story)
}

const PATH: &str = "/apis/rerail.dev/v1alpha1/noderemediations/run-1";

fn run_uid(world: &World) -> String {
    let run = object(world, "rerail.dev", "noderemediations", RUN).unwrap();
    run["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// Makes the reboot Pod of an attempt, as the operator does.
fn post(world: &World, attempt: u32, boot_id_before: &str) {
    let expected = rerail_core::reboot_check::Expected {
        run_name: RUN.to_owned(),
        run_uid: run_uid(world),
        node_name: "n-001".to_owned(),
        node_uid: world.machine("n-001").unwrap().node_uid,
        attempt,
        boot_id_before: boot_id_before.to_owned(),
    };
    let args: Vec<String> =
        ["agent", "reboot"].map(str::to_owned).into_iter().chain(expected.to_args()).collect();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "reboot", "namespace": "rerail-node",
            "labels": { "app.kubernetes.io/component": "reboot" } },
        "spec": {
            "nodeName": "n-001", "serviceAccountName": "rerail-node", "restartPolicy": "Never",
            "activeDeadlineSeconds": 60, "terminationGracePeriodSeconds": 5,
            "tolerations": [{ "operator": "Exists" }],
            "containers": [{ "name": "rerail", "image": "rerail", "args": args }],
        },
    });
    world.create(&pod).unwrap();
}

fn pod(world: &World) -> Option<Value> {
    object(world, "", "pods", "rerail-node/reboot")
}

/// Waits until the Pod has just begun to run: it is over in some milliseconds.
async fn runs(world: &World) {
    while pod(world).is_none_or(|pod| known::phase(&pod) != "Running") {
        sleep(Duration::from_millis(1)).await;
    }
}

fn ended(world: &World) -> Option<(i64, String)> {
    let pod = pod(world)?;
    let end = pod.pointer("/status/containerStatuses/0/state/terminated")?;
    Some((end["exitCode"].as_i64()?, end["message"].as_str()?.to_owned()))
}

fn boots(story: &Story) -> usize {
    story.count(|what| matches!(what, What::Boot { .. }))
}

fn acts(story: &Story) -> usize {
    story.count(|what| matches!(what, What::Acts(_)))
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_finds_everything_as_intended_reboots_its_machine() {
    for seed in 0..10 {
        let (world, story) = intended(seed).await;
        let before = world.machine("n-001").unwrap().boot_id;
        post(&world, 1, &before);
        seconds(180).await;
        assert_eq!((acts(&story), boots(&story)), (1, 1), "seed {seed}");
        let cause = Cause::Pod { run: run_uid(&world), attempt: 1 };
        let all = story.all();
        let at = |wanted: What| all.iter().position(|what| *what == wanted).unwrap();
        assert!(at(What::Acts(cause.clone())) < at(What::Down(cause)));
        // Told before the machine went down, or after it came back.
        let (code, message) = ended(&world).unwrap();
        assert_eq!(code, 0, "{message}");
        assert!(message.contains("\"acted\":true"));
        no_complaints(&world);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_intent_is_withdrawn_refuses() {
    let (world, story) = intended(1).await;
    post(&world, 1, &world.machine("n-001").unwrap().boot_id);
    let withdrawn = json!({ "status": { "intent": null } });
    assert_eq!(ask(&world, "PATCH", &format!("{PATH}/status"), &withdrawn).0, 200);
    seconds(60).await;
    let (code, message) = ended(&world).unwrap();
    assert_eq!(code, 10);
    assert!(message.contains("\"refusal\":\"IntentWithdrawn\""), "{message}");
    assert_eq!((acts(&story), boots(&story)), (0, 0));
    let refused = What::Refused("the run has withdrawn its reboot intent".to_owned());
    assert_eq!(story.count(|what| *what == refused), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_sees_another_boot_or_no_cordon_refuses() {
    let (world, _) = intended(1).await;
    post(&world, 1, "another");
    seconds(60).await;
    assert!(ended(&world).unwrap().1.contains("BootIDDiffers"));
    let (world, _) = intended(1).await;
    act(&world, "{uncordon: {nodes: [n-001]}}");
    post(&world, 1, &world.machine("n-001").unwrap().boot_id);
    seconds(60).await;
    assert!(ended(&world).unwrap().1.contains("NotCordonedByRun"));
}

/// The two looks are apart: what changes between them is seen, or not, as on a real machine.
#[tokio::test(start_paused = true)]
async fn what_changes_between_the_two_looks_is_seen_only_by_the_second() {
    let (mut acted, mut refused) = (0, 0);
    for seed in 0..16 {
        let (world, story) = intended(seed).await;
        post(&world, 1, &world.machine("n-001").unwrap().boot_id);
        runs(&world).await;
        sleep(Duration::from_millis(20)).await;
        let withdrawn = json!({ "status": { "intent": null } });
        ask(&world, "PATCH", &format!("{PATH}/status"), &withdrawn);
        seconds(60).await;
        acted += acts(&story);
        refused += story.count(|what| matches!(what, What::Refused(_)));
    }
    assert_eq!(acted + refused, 16);
    assert!(acted > 0 && refused > 0, "{acted} acted, {refused} refused");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_cannot_reach_the_api_server_does_nothing() {
    let (world, story) = intended(1).await;
    post(&world, 1, &world.machine("n-001").unwrap().boot_id);
    runs(&world).await;
    act(&world, "{cut: {nodes: [n-001]}}");
    seconds(50).await;
    act(&world, "{mend: {nodes: [n-001]}}");
    seconds(5).await;
    assert_eq!(ended(&world).unwrap().0, 11);
    assert_eq!(boots(&story), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reboot_command_that_fails_is_told() {
    let (world, story) = intended(1).await;
    world.inject("n-001", Fault::RebootCommandFails).unwrap();
    post(&world, 1, &world.machine("n-001").unwrap().boot_id);
    seconds(120).await;
    assert_eq!(ended(&world).unwrap().0, 12);
    assert_eq!((acts(&story), boots(&story)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_reboot_that_hangs_takes_effect_when_it_is_let_go() {
    let (world, story) = intended(1).await;
    world.inject("n-001", Fault::RebootHangs).unwrap();
    post(&world, 1, &world.machine("n-001").unwrap().boot_id);
    seconds(600).await;
    assert_eq!(ended(&world).unwrap().0, 0, "the command itself did not fail");
    assert_eq!(boots(&story), 0);
    act(&world, "{letGoDown: {nodes: [n-001]}}");
    seconds(120).await;
    assert_eq!((acts(&story), boots(&story)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_runs_again_after_the_boot_is_stopped_by_the_kernels_boot_id() {
    for seed in 0..5 {
        let (world, story) = intended(seed).await;
        world.inject("n-001", Fault::PodRunsAgain).unwrap();
        post(&world, 1, &world.machine("n-001").unwrap().boot_id);
        seconds(300).await;
        assert_eq!((acts(&story), boots(&story)), (1, 1));
        assert!(ended(&world).unwrap().1.contains("BootIDDiffers"), "{:?}", ended(&world));
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_starts_late_does_its_work_although_it_was_deleted() {
    let (world, story) = intended(1).await;
    world.inject("n-001", Fault::RebootPodStartsLate).unwrap();
    post(&world, 1, &world.machine("n-001").unwrap().boot_id);
    seconds(10).await;
    ask(&world, "DELETE", &path_of(&pod(&world).unwrap()), &Value::Null);
    seconds(20).await;
    assert!(pod(&world).is_some(), "its kubelet does not see that it is deleted");
    assert_eq!(acts(&story), 0);
    act(&world, "{clearFaults: {nodes: [n-001]}}");
    seconds(120).await;
    assert_eq!((acts(&story), boots(&story)), (1, 1));
    assert!(pod(&world).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_does_not_start_is_stopped_at_its_deadline() {
    let (world, story) = intended(1).await;
    world.inject_lasting("n-001", Fault::RebootPodStartsLate).unwrap();
    post(&world, 1, &world.machine("n-001").unwrap().boot_id);
    seconds(70).await;
    let pod = pod(&world).unwrap();
    assert_eq!(pod["status"]["reason"], "DeadlineExceeded");
    assert_eq!(ended(&world).unwrap().0, 137);
    assert_eq!(boots(&story), 0);
}

#[tokio::test(start_paused = true)]
async fn a_probe_pod_ends_well_where_pods_start() {
    let (world, _) = intended(1).await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "reboot", "namespace": "rerail-node",
            "labels": { "app.kubernetes.io/component": "probe" } },
        "spec": { "nodeName": "n-001", "serviceAccountName": "rerail-node", "restartPolicy": "Never",
            "containers": [{ "name": "rerail", "image": "rerail" }],
            "tolerations": [{ "operator": "Exists" }] },
    });
    world.create(&pod).unwrap();
    seconds(30).await;
    assert_eq!(ended(&world).unwrap().0, 0);
    no_complaints(&world);
}
