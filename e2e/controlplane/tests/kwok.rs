//! The contract between kwok and the fleet: kwok plays ordinary pods where a kubelet runs, and nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use rerail_controlplane::{ControlPlane, Options};

#[test]
fn pods_live_only_where_a_kubelet_runs() {
    let plane = ControlPlane::start(Options::default()).unwrap();
    make_node(&plane, "here");
    make_node(&plane, "there");
    switch(&plane, "here", true);
    let pods = "jsonpath={.status.phase} {.status.conditions[?(@.type=='Ready')].status}";
    let state = |pod: &str| plane.run_kubectl(&["get", "pod", pod, "-o", pods]).unwrap();

    make_pod(&plane, "plain", "here", "", "");
    make_pod(&plane, "operator", "here", "app.kubernetes.io/managed-by: rerail", "");
    make_pod(&plane, "by-hand", "here", "", r#"fleet.rerail.dev/hands-off: "true""#);
    make_pod(&plane, "dark", "there", "", "");
    eventually("the plain pod runs", || state("plain") == "Running True");
    let ip = plane.run_kubectl(&[
        "get",
        "pod",
        "plain",
        "-o",
        "jsonpath={.status.podIP} {.status.hostIP}",
    ]);
    assert!(
        ip.as_ref().is_ok_and(|ip| ip.starts_with("10.") && ip.ends_with(" 10.0.0.1")),
        "{ip:?}"
    );
    settle();
    for pod in ["operator", "by-hand", "dark"] {
        assert_eq!(state(pod).trim(), "Pending", "{pod}");
    }

    // The machine goes: what is deleted there stays, also what kwok had begun to wait for, and nothing starts.
    make_pod(&plane, "slow", "here", "", "fleet.rerail.dev/terminate-after: 2s");
    eventually("the slow pod runs", || state("slow") == "Running True");
    delete(&plane, "slow");
    switch(&plane, "here", false);
    delete(&plane, "plain");
    make_pod(&plane, "late", "here", "", "");
    thread::sleep(Duration::from_secs(4));
    assert_eq!(terminating(&plane), ["plain", "slow"]);
    assert_eq!(state("late").trim(), "Pending");

    // It comes back, and so does its kubelet.
    switch(&plane, "here", true);
    eventually("the terminating pods are gone", || terminating(&plane).is_empty());
    eventually("the late pod runs", || state("late") == "Running True");
    assert_eq!(state("operator").trim(), "Pending");
    delete(&plane, "operator");
    settle();
    assert_eq!(terminating(&plane), ["operator"]);
    switch(&plane, "there", true);
    eventually("the dark pod runs", || state("dark") == "Running True");

    // kwok wrote neither nodes nor leases.
    let managers = "jsonpath={.items[*].metadata.managedFields[*].manager}";
    let managers =
        plane.run_kubectl(&["get", "nodes", "--show-managed-fields", "-o", managers]).unwrap();
    assert!(!managers.contains("kwok"), "{managers}");
    assert_eq!(
        plane.run_kubectl(&["get", "leases", "-n", "kube-node-lease", "-o", "name"]).unwrap(),
        ""
    );
}

#[test]
fn workloads_are_scheduled_evicted_and_completed() {
    let options =
        Options { node_monitor_grace_period: Some(Duration::from_secs(12)), ..Options::default() };
    let plane = ControlPlane::start(options).unwrap();
    make_node(&plane, "a");
    switch(&plane, "a", true);
    let count = |what: &str, path: &str| {
        plane.run_kubectl(&["get", what, "-o", &format!("jsonpath={{{path}}}")]).unwrap()
    };

    plane.run_kubectl(&["create", "deployment", "web", "--image=web", "--replicas=3"]).unwrap();
    eventually("the deployment is ready", || {
        count("deployment/web", ".status.readyReplicas") == "3"
    });
    plane.run_kubectl(&["create", "job", "once", "--image=once"]).unwrap();
    eventually("the job is complete", || count("job/once", ".status.succeeded") == "1");

    // A drain evicts, kwok ends the pods, and the replacements wait for a node.
    plane.run_kubectl(&["drain", "a", "--ignore-daemonsets", "--force", "--timeout=60s"]).unwrap();
    assert_eq!(count("deployment/web", ".status.readyReplicas"), "");
    plane.run_kubectl(&["uncordon", "a"]).unwrap();
    eventually("the deployment is ready again", || {
        count("deployment/web", ".status.readyReplicas") == "3"
    });

    // A job's pod that is deleted has failed, and the job makes another one.
    apply(&plane, "long", LONG_JOB);
    eventually("the long job runs", || count("job/long", ".status.ready") == "1");
    plane.run_kubectl(&["delete", "pod", "-l", "job-name=long", "--wait=false"]).unwrap();
    eventually("the long job has a failed pod", || count("job/long", ".status.failed") == "1");
    eventually("the long job runs again", || {
        heartbeat(&plane, "a"); // the job waits for 10 s, and nobody else says that the node is alive
        count("job/long", ".status.ready") == "1"
    });

    // A machine that is silent for too long: its pods are not ready.
    switch(&plane, "a", false);
    eventually("the node is not ready", || {
        count("node/a", ".status.conditions[?(@.type=='Ready')].status") == "Unknown"
    });
    eventually("no pod is ready", || count("deployment/web", ".status.readyReplicas").is_empty());

    // Its kubelet is back: what it says about containers that ran before is the fleet's to write, not kwok's.
    switch(&plane, "a", true);
    settle();
    assert_eq!(count("deployment/web", ".status.readyReplicas"), "");
}

const LONG_JOB: &str = r#"
apiVersion: batch/v1
kind: Job
metadata: {name: long, namespace: default}
spec:
  template:
    metadata: {annotations: {fleet.rerail.dev/complete-after: 1h}}
    spec:
      restartPolicy: Never
      containers: [{name: long, image: long}]
"#;

fn make_node(plane: &ControlPlane, name: &str) {
    apply(plane, name, &format!("{{apiVersion: v1, kind: Node, metadata: {{name: {name}}}}}"));
    heartbeat(plane, name);
}

/// What a kubelet says when it starts: kwok needs the address, the scheduler the rest.
fn heartbeat(plane: &ControlPlane, name: &str) {
    let now = plane
        .run_kubectl(&[
            "create",
            "configmap",
            "now",
            "--dry-run=server",
            "-o",
            "jsonpath={.metadata.creationTimestamp}",
        ])
        .unwrap();
    let status = serde_json::json!({"status": {
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": now}],
        "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
        "capacity": {"cpu": "8", "memory": "16Gi", "pods": "110"},
    }});
    let patch = status.to_string();
    plane
        .run_kubectl(&[
            "patch",
            "node",
            name,
            "--subresource=status",
            "--type=strategic",
            "-p",
            &patch,
        ])
        .unwrap();
}

/// What the fleet does when a machine goes on or off.
fn switch(plane: &ControlPlane, node: &str, on: bool) {
    let label = if on { "fleet.rerail.dev/kubelet=running" } else { "fleet.rerail.dev/kubelet-" };
    if on {
        heartbeat(plane, node);
    }
    plane.run_kubectl(&["label", "node", node, label]).unwrap();
}

fn make_pod(plane: &ControlPlane, name: &str, node: &str, label: &str, annotation: &str) {
    let pod = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: default, labels: {{{label}}}, \
         annotations: {{{annotation}}}}}, spec: {{nodeName: {node}, containers: [{{name: c, image: i}}], \
         initContainers: [{{name: init, image: i}}]}}}}"
    );
    apply(plane, name, &pod);
}

fn apply(plane: &ControlPlane, name: &str, manifest: &str) {
    let file: PathBuf = plane.dir().join(format!("{name}.yaml"));
    std::fs::write(&file, manifest).unwrap();
    plane.apply(&file).unwrap();
}

fn delete(plane: &ControlPlane, pod: &str) {
    plane.run_kubectl(&["delete", "pod", pod, "--wait=false"]).unwrap();
}

fn terminating(plane: &ControlPlane) -> Vec<String> {
    let path = "jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}";
    let names = plane.run_kubectl(&["get", "pods", "-o", path]).unwrap();
    names.split_whitespace().map(str::to_owned).collect()
}

/// Long enough for kwok to have done what it must not do.
fn settle() {
    thread::sleep(Duration::from_secs(2));
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..300 {
        if holds() {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("not within 30 s: {what}");
}
