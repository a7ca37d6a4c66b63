use futures::FutureExt;
use serde_json::json;
use tokio::sync::Notify;

use super::*;

fn rang(bell: &Notify) -> bool {
    bell.notified().now_or_never().is_some()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// A node as its kubelet reports it at that second.
fn node(name: &str, version: i64, beat: i64) -> Node {
    let condition = |kind: &str, status: &str| {
        json!({ "type": kind, "status": status, "reason": "Because", "message": "as always",
            "lastTransitionTime": at(0).to_string(), "lastHeartbeatTime": at(beat).to_string() })
    };
    let object = json!({
        "metadata": { "name": name, "uid": name, "resourceVersion": version.to_string(),
            "labels": { "pool": "a", "kubernetes.io/hostname": name } },
        "status": { "conditions": [condition("Ready", "True"), condition("Sick", "False")],
            "nodeInfo": { "bootID": "boot-1" } },
    });
    serde_json::from_value(object).unwrap()
}

fn listed(names: &[&str]) -> (Nodes, Wakers) {
    let (nodes, wakers) = (Nodes::default(), Wakers::default());
    nodes.event(Event::Init, at(0), &wakers);
    for name in names {
        nodes.event(Event::InitApply(node(name, 1, 0)), at(0), &wakers);
    }
    nodes.event(Event::InitDone, at(0), &wakers);
    assert!(rang(&wakers.planner) && rang(&wakers.sweeper));
    assert!(!rang(&wakers.planner));
    (nodes, wakers)
}

#[test]
fn a_heartbeat_wakes_a_run_on_the_node_and_not_the_planner_and_leaves_nothing_behind() {
    let (nodes, wakers) = listed(&["n1", "n2"]);
    let (on_it, elsewhere) = (wakers.register("run-1", "n1"), wakers.register("run-2", "n2"));
    let before = nodes.get("n1").unwrap();
    let sizes = || {
        let inner = nodes.lock();
        (inner.texts.count(), inner.nodes.len())
    };
    let sizes_before = sizes();
    for second in 1..=1000 {
        nodes.event(Event::Apply(node("n1", 1 + second, second)), at(second), &wakers);
        assert!(!rang(&wakers.planner) && !rang(&wakers.sweeper), "second {second}");
    }
    assert!(rang(&on_it) && !rang(&elsewhere));
    let after = nodes.get("n1").unwrap();
    assert_eq!(after.heartbeat(), Some(at(1000)));
    assert_eq!(sizes(), sizes_before);
    for (old, new) in before.conditions.values().zip(after.conditions.values()) {
        assert!(Arc::ptr_eq(&old.message, &new.message) && Arc::ptr_eq(&old.reason, &new.reason));
    }
    // The index has one version of a node, not one of each heartbeat.
    assert_eq!((Arc::strong_count(&before), Arc::strong_count(&after)), (1, 2));
}

#[test]
fn an_event_that_repeats_what_is_known_wakes_nobody() {
    let (nodes, wakers) = listed(&["n1"]);
    let on_it = wakers.register("run-1", "n1");
    nodes.event(Event::Apply(node("n1", 2, 0)), at(5), &wakers);
    assert!(!rang(&on_it) && !rang(&wakers.planner));
}

#[test]
fn what_a_decision_could_see_wakes_the_planner() {
    let (nodes, wakers) = listed(&["n1"]);
    let mut sick = node("n1", 2, 1);
    sick.conditions[1].status = "True".to_owned();
    nodes.event(Event::Apply(sick), at(1), &wakers);
    assert!(rang(&wakers.planner));
    nodes.event(Event::Delete(node("n1", 3, 1)), at(2), &wakers);
    assert!(rang(&wakers.planner) && nodes.get("n1").is_none());
}

#[test]
fn an_older_version_is_told_and_not_kept() {
    let (nodes, wakers) = listed(&["n1"]);
    nodes.fold(&node("n1", 5, 50), at(50), &wakers);
    assert_eq!(nodes.fold(&node("n1", 4, 40), at(51), &wakers).heartbeat(), Some(at(40)));
    assert_eq!(nodes.get("n1").unwrap().heartbeat(), Some(at(50)));
}

#[test]
fn texts_are_shared_between_nodes_and_go_with_them() {
    let (nodes, wakers) = listed(&["n1", "n2"]);
    let message =
        |name: &str| nodes.get(name).unwrap().conditions.get("Sick").unwrap().message.clone();
    assert!(Arc::ptr_eq(&message("n1"), &message("n2")));
    let hostname = "kubernetes.io/hostname=n2";
    let kept = |nodes: &Nodes| {
        let mut inner = nodes.lock();
        Arc::strong_count(&inner.texts.get(hostname))
    };
    assert_eq!(kept(&nodes), 3, "by the node, by the texts, and by who asks");
    nodes.event(Event::Init, at(9), &wakers);
    nodes.event(Event::InitApply(node("n1", 1, 0)), at(9), &wakers);
    nodes.event(Event::InitDone, at(9), &wakers);
    assert_eq!(kept(&nodes), 2, "the node that was not listed any more has left nothing");
}
