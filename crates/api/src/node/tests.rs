use jiff::Timestamp;
use rerail_core::facts::NodeFacts;
use serde_json::{Value, json};

use super::*;
use crate::convert::node::{Look, differs, facts};

fn read(node: &Value) -> Node {
    serde_json::from_str(&node.to_string()).unwrap()
}

fn facts_at(node: &Node, now: i64, earlier: Option<&NodeFacts>) -> NodeFacts {
    let now = Timestamp::from_second(now).unwrap();
    facts(node, Look { now, earlier, first_list: false }, &mut |text| text.into())
}

/// An entry of `managedFields` as a real kube-apiserver writes it.
fn managed(manager: &str, fields: Value) -> Value {
    json!({ "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields, "manager": manager,
        "operation": "Update", "time": "2026-01-01T00:00:00Z" })
}

/// A node with everything that a real one has, and fields that no version has.
fn full() -> Value {
    let image = json!({ "names": ["registry/a@sha256:0", "registry/a:1"], "sizeBytes": 1 });
    json!({
        "apiVersion": "v1", "kind": "Node", "futureField": { "a": [1, null, "x"] },
        "metadata": {
            "name": "n1", "uid": "u1", "resourceVersion": "42", "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "deletionTimestamp": "2026-01-02T00:00:00Z", "finalizers": ["x"],
            "labels": { "pool": "a", "empty": "" },
            "annotations": {
                "rerail.dev/cordoned-by": "run-1", "rerail.dev/cordon-note": "why",
                "rerail.dev/last-remediation": "{\"sequence\":7}",
                "weave.works/kured-reboot-in-progress": "now",
                "csi.volume.kubernetes.io/nodeid": "x".repeat(1000),
            },
            "managedFields": [
                managed("kubelet", json!({ "f:spec": { "f:podCIDR": {} }, "f:status": {} })),
                managed("rerail", json!({ "f:metadata": {}, "f:spec": { "f:unschedulable": {} } })),
            ],
        },
        "spec": { "podCIDR": "10.0.0.0/24", "providerID": "x", "unschedulable": true, "taints": [
            { "key": "dedicated", "value": "x", "effect": "NoSchedule" },
            { "key": "node.kubernetes.io/out-of-service", "effect": "NoExecute",
              "timeAdded": "2026-01-01T00:00:00Z" },
        ] },
        "status": {
            "addresses": [{ "type": "Hostname", "address": "n1" }],
            "allocatable": { "cpu": "1" }, "capacity": { "cpu": "1" },
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "posting",
                "lastHeartbeatTime": "2026-01-01T00:00:05Z",
                "lastTransitionTime": "2026-01-01T00:00:00Z", "futureField": 1,
            }, { "type": "Bare", "status": "False" }],
            "images": vec![image; 3],
            "nodeInfo": { "architecture": "amd64", "bootID": "boot-1", "swap": null },
            "volumesInUse": ["a"],
        },
    })
}

#[test]
fn a_whole_node_is_read_as_far_as_it_is_looked_at() {
    let node = read(&full());
    let meta = &node.metadata;
    assert_eq!((meta.name.as_deref(), meta.uid.as_deref()), (Some("n1"), Some("u1")));
    assert_eq!(meta.resource_version.as_deref(), Some("42"));
    assert!(meta.managed_fields.is_none() && meta.finalizers.is_none());
    let kept: Vec<_> = meta.annotations.iter().flatten().map(|(key, _)| key.as_str()).collect();
    assert_eq!(
        kept,
        [names::CORDON_NOTE, names::CORDONED_BY, names::LAST_REMEDIATION]
            .into_iter()
            .chain(convert::node::CLAIMING_ANNOTATIONS)
            .collect::<Vec<_>>()
    );
    assert_eq!(node.taints, ["dedicated", "node.kubernetes.io/out-of-service"]);

    let facts = facts_at(&node, 0, None);
    assert_eq!((facts.name.as_str(), facts.uid.as_str()), ("n1", "u1"));
    assert_eq!((facts.labels.get("pool"), facts.labels.get("empty")), (Some("a"), Some("")));
    assert!(facts.deleting && facts.unschedulable && facts.cordon_field_ours);
    assert!(facts.out_of_service && !facts.control_plane && !facts.hold && !facts.ignore);
    assert_eq!(facts.cordoned_by.as_deref(), Some("run-1"));
    assert_eq!(facts.last_remediation.sequence, 7);
    assert_eq!(facts.boot_id, "boot-1");
    assert!(facts.claim.is_some());
    let ready = facts.conditions.get("Ready").unwrap();
    assert_eq!((&*ready.reason, &*ready.message), ("KubeletReady", "posting"));
    assert_eq!(ready.evidence.last_heartbeat_time, "2026-01-01T00:00:05Z".parse().ok());
    assert_eq!(ready.evidence.last_transition_time, "2026-01-01T00:00:00Z".parse().ok());
    let bare = facts.conditions.get("Bare").unwrap();
    assert_eq!((&*bare.reason, bare.evidence.last_heartbeat_time), ("", None));
}

#[test]
fn a_node_may_lack_whatever_it_can_lack() {
    let bare = [
        json!({}),
        json!({ "metadata": {} }),
        json!({ "metadata": { "labels": null, "annotations": null, "managedFields": null },
            "spec": null, "status": null }),
        json!({ "spec": { "taints": null, "unschedulable": null },
            "status": { "conditions": null, "nodeInfo": null } }),
        json!({ "spec": {}, "status": { "nodeInfo": {} } }),
        json!({ "metadata": { "managedFields": [{ "manager": "rerail" },
            { "manager": "rerail", "fieldsV1": null }, { "fieldsV1": {} }] } }),
    ];
    for value in bare {
        let node = read(&value);
        assert!(node.metadata.annotations.is_none(), "{value}");
        assert!(!node.cordon_field_ours && !node.unschedulable, "{value}");
        assert!(node.boot_id.is_empty() && node.conditions.is_empty(), "{value}");
    }
    // A patch that adds an annotation must know whether the map is there.
    let empty = read(&json!({ "metadata": { "annotations": { "other": "x" } } }));
    assert_eq!(empty.metadata.annotations, Some(BTreeMap::new()));
}

/// Protocol R9: the mark alone says nothing of who wrote `unschedulable` last.
#[test]
fn the_cordon_is_ours_by_the_field_manager_of_unschedulable() {
    let unschedulable = json!({ "f:spec": { "f:unschedulable": {} } });
    let marks = json!({ "f:metadata": { "f:annotations": { "f:rerail.dev/cordoned-by": {} } } });
    let cases = [
        (vec![managed("rerail", unschedulable.clone())], true),
        (vec![managed("kubectl", unschedulable.clone()), managed("rerail", marks.clone())], false),
        (vec![managed("rerail", marks), managed("rerail", unschedulable.clone())], true),
        (vec![managed("rerail", json!({ "f:spec": { "f:taints": {} } }))], false),
        (vec![managed("rerail-x", unschedulable)], false),
        (vec![managed("rerail", json!({ "f:unschedulable": {} }))], false),
        (vec![], false),
    ];
    for (entries, ours) in cases {
        let node = json!({ "metadata": { "managedFields": entries } });
        assert_eq!(read(&node).cordon_field_ours, ours, "{node}");
    }
}

/// Each event of a watch comes so.
#[test]
fn it_is_read_from_a_watch_and_a_list_as_kube_reads_them() {
    let event = json!({ "type": "MODIFIED", "object": full() }).to_string();
    let event: kube::api::WatchEvent<Node> = serde_json::from_str(&event).unwrap();
    let kube::api::WatchEvent::Modified(node) = event else { panic!("{event:?}") };
    assert_eq!(node.boot_id, "boot-1");
    let list = json!({ "apiVersion": "v1", "kind": "NodeList",
        "metadata": { "resourceVersion": "1" }, "items": [full()] });
    let list: kube::api::ObjectList<Node> = serde_json::from_str(&list.to_string()).unwrap();
    assert_eq!(list.items[0].metadata.name.as_deref(), Some("n1"));
    assert_eq!(
        (Node::kind(&()), Node::plural(&()), Node::api_version(&())),
        ("Node".into(), "nodes".into(), "v1".into())
    );
}

#[test]
fn only_what_a_decision_could_see_is_a_difference_and_a_heartbeat_is_not() {
    let first = facts_at(&read(&full()), 0, None);
    let after = |change: fn(&mut Value)| {
        let mut node = full();
        change(&mut node);
        facts_at(&read(&node), 9, Some(&first))
    };
    let beat = |node: &mut Value| {
        node["status"]["conditions"][0]["lastHeartbeatTime"] = json!("2026-01-01T00:05:05Z");
        node["status"]["images"] = json!([]);
        node["metadata"]["resourceVersion"] = json!("43");
    };
    assert!(!differs(&first, &after(beat)));
    assert_ne!(first, after(beat), "a run on the node does see it");
    let changes: [fn(&mut Value); 19] = [
        |n| n["metadata"]["name"] = json!("n2"),
        |n| n["metadata"]["uid"] = json!("u2"),
        |n| n["metadata"]["labels"]["pool"] = json!("b"),
        |n| n["metadata"]["labels"]["rerail.dev/hold"] = json!(""),
        |n| n["metadata"]["labels"]["rerail.dev/ignore"] = json!(""),
        |n| n["metadata"]["annotations"]["rerail.dev/cordoned-by"] = json!("run-2"),
        |n| n["metadata"]["annotations"]["rerail.dev/last-remediation"] = json!(""),
        |n| {
            let annotations = n["metadata"]["annotations"].as_object_mut().unwrap();
            annotations.remove("weave.works/kured-reboot-in-progress").unwrap();
        },
        |n| n["metadata"]["managedFields"] = json!([]),
        |n| n["metadata"]["deletionTimestamp"] = json!(null),
        |n| n["spec"]["unschedulable"] = json!(false),
        |n| n["spec"]["taints"][1]["key"] = json!("node-role.kubernetes.io/master"),
        |n| n["status"]["nodeInfo"]["bootID"] = json!("boot-2"),
        |n| n["status"]["conditions"][0]["status"] = json!("False"),
        |n| n["status"]["conditions"][0]["reason"] = json!("Else"),
        |n| n["status"]["conditions"][0]["message"] = json!("else"),
        |n| {
            n["status"]["conditions"][0]["lastTransitionTime"] = json!("2026-01-01T00:00:09Z");
        },
        |n| n["status"]["conditions"][1]["type"] = json!("Else"),
        |n| n["status"]["conditions"] = json!([]),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        assert!(differs(&first, &after(change)), "change {number}");
    }
}

#[test]
fn at_the_first_list_a_report_is_as_old_as_its_heartbeat_and_later_as_old_as_it_was_seen() {
    let node = read(&full());
    let heartbeat: Timestamp = "2026-01-01T00:00:05Z".parse().unwrap();
    let look = |now: i64, first_list| {
        let now = Timestamp::from_second(heartbeat.as_second() + now).unwrap();
        let facts = facts(&node, Look { now, earlier: None, first_list }, &mut |text| text.into());
        let changed = |kind: &str| facts.conditions.get(kind).unwrap().changed_at;
        (now, changed("Ready"), changed("Bare"))
    };
    let (now, ready, bare) = look(3600, true);
    assert_eq!((ready, bare), (heartbeat, now), "the old one is stale at once");
    let (now, ready, _) = look(-60, true);
    assert_eq!(ready, now, "a clock that is ahead makes nothing younger than now");
    let (now, ready, _) = look(3600, false);
    assert_eq!(ready, now, "a node that comes later is new");
}
