use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::de::DeserializeOwned;

use super::*;

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn node(name: &str, spec: Value, ready: &str, sick: &[(&str, &str)]) -> Node {
    let mut conditions = vec![
        json!({ "type": "Ready", "status": ready }),
        json!({ "type": "DiskPressure", "status": "False" }),
    ];
    let sick = sick.iter().map(|(kind, message)| {
        json!({ "type": kind, "status": "True", "reason": "Firing", "message": message })
    });
    conditions.extend(sick);
    read(json!({
        "metadata": { "name": name, "labels": { "pool": "a", "kubernetes.io/hostname": name } },
        "spec": spec,
        "status": { "conditions": conditions, "allocatable": { "pods": "58" } },
    }))
}

fn pod(name: &str, owner: Option<(&str, &str)>, node: &str, more: Value) -> Pod {
    let owners = owner.map(|(kind, name)| {
        json!([{ "apiVersion": "apps/v1", "kind": kind, "name": name, "uid": name, "controller": true }])
    });
    let mut pod = json!({
        "metadata": { "name": name, "namespace": "shop", "labels": { "tier": "front" },
            "ownerReferences": owners.unwrap_or_default() },
        "spec": { "nodeName": node, "containers": [{ "name": "c", "image": "i" }] },
        "status": { "phase": "Running" },
    });
    json_patch(&mut pod, &more);
    read(pod)
}

/// Merges, as far as these tests need it.
fn json_patch(target: &mut Value, patch: &Value) {
    for (key, value) in patch.as_object().into_iter().flatten() {
        match (target.get_mut(key), value) {
            (Some(inner), Value::Object(_)) if inner.is_object() => json_patch(inner, value),
            _ => target[key] = value.clone(),
        }
    }
}

fn cluster() -> Cluster {
    let hashed = json!({ "metadata": { "labels": { "pod-template-hash": "5d4f" } } });
    let budget: PodDisruptionBudget = read(json!({
        "metadata": { "name": "web", "namespace": "shop" },
        "spec": { "minAvailable": 1, "selector": { "matchLabels": { "tier": "front" } } },
        "status": { "currentHealthy": 2, "desiredHealthy": 1, "disruptionsAllowed": 1, "expectedPods": 2 },
    }));
    let taint = json!({ "taints": [
        { "key": "dedicated", "value": "gpu", "effect": "NoSchedule" },
        { "key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule" },
    ], "unschedulable": true });
    let mut ours = node("n-4", json!({ "unschedulable": true }), "True", &[]);
    ours.metadata.annotations =
        Some([(names::CORDONED_BY.to_owned(), "run/uid".to_owned())].into());
    Cluster {
        nodes: vec![
            node("n-1", json!({}), "True", &[("KernelDeadlock", "[P3] stuck")]),
            node("n-2", taint, "True", &[]),
            node("n-3", json!({}), "Unknown", &[]),
            ours,
        ],
        pods: vec![
            pod("web-5d4f-a", Some(("ReplicaSet", "web-5d4f")), "n-1", hashed.clone()),
            pod("web-5d4f-b", Some(("ReplicaSet", "web-5d4f")), "n-2", hashed),
            pod(
                "db-0",
                Some(("StatefulSet", "db")),
                "n-1",
                json!({ "spec": {
                "terminationGracePeriodSeconds": 90, "volumes": [{ "name": "v", "emptyDir": {} }],
                "tolerations": [{ "key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 300 },
                    { "key": "gpu", "operator": "Exists" }],
            } }),
            ),
            pod("exporter-x", Some(("DaemonSet", "exporter")), "n-1", json!({})),
            pod("static", Some(("Node", "n-1")), "n-1", json!({})),
            pod("done", Some(("Job", "job")), "n-1", json!({ "status": { "phase": "Succeeded" } })),
            pod("bare", None, "n-2", json!({})),
        ],
        budgets: vec![budget],
        policies: vec![(
            "p".to_owned(),
            json!({ "mode": "Enforce", "nodes": { "all": true },
                "triggers": [{ "condition": { "type": "KernelDeadlock" } }],
                "remedies": [{ "reboot": { "method": "Command" } }] }),
        )],
        config: Some("maxUnavailable: 1\n".to_owned()),
    }
}

fn budget_of(scene: &Scene) -> &Value {
    scene.objects.iter().find(|object| object["kind"] == "PodDisruptionBudget").unwrap()
}

#[test]
fn nodes_are_as_they_were() {
    let mut snapshot = scene(&cluster(), "prod");
    leave_out_unnamed(&mut snapshot);
    let Snapshot { scene, notes } = snapshot;
    scene.check().unwrap();
    let names: Vec<_> = scene.nodes.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["n-1", "n-2", "n-3", "n-4"]);
    assert_eq!(scene.nodes[0].pods, Some(58));
    assert_eq!(scene.nodes[0].labels["pool"], "a");
    let group = &scene.nodes[1];
    let taint = Taint {
        key: "dedicated".to_owned(),
        value: "gpu".to_owned(),
        effect: "NoSchedule".to_owned(),
    };
    assert!(group.cordoned && !scene.nodes[3].cordoned, "only what is somebody else's");
    assert_eq!(group.taints, [taint]);
    let acts: Vec<_> = scene.timeline.iter().map(|entry| &entry.act).collect();
    let [Act::Sicken { with, .. }, Act::Power { nodes, to, .. }] = acts.as_slice() else {
        panic!("{acts:?}")
    };
    assert_eq!((with.condition.as_str(), with.message.as_str()), ("KernelDeadlock", "[P3] stuck"));
    assert_eq!((nodes.as_slice(), *to), (&["n-3".to_owned()][..], PowerAct::Off));
    assert!(notes.iter().any(|note| note.ends_with("False: KernelDeadlock")), "{notes:?}");
    assert!(
        notes.iter().any(|note| note.starts_with("1 node is under remediation now")),
        "{notes:?}"
    );
}

#[test]
fn pods_are_played_by_their_controllers_and_where_they_are() {
    let Snapshot { scene, notes } = scene(&cluster(), "prod");
    let all: Vec<_> = scene.deployments.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(all, ["web", "db"]);
    let [web, db] = scene.deployments.as_slice() else { panic!() };
    assert_eq!(
        (web.replicas, web.placed.as_slice()),
        (2, &["n-1".to_owned(), "n-2".to_owned()][..])
    );
    assert_eq!(web.labels, [("tier".to_owned(), "front".to_owned())].into());
    assert_eq!(db.grace.as_ref().map(|grace| grace.value().as_secs()), Some(90));
    assert!(db.empty_dir && db.tolerations.len() == 1, "{db:?}");
    assert_eq!(scene.daemon_sets[0].name, "exporter");
    let objects: Vec<_> = scene.objects.iter().map(|one| one["kind"].clone()).collect();
    assert_eq!(objects, ["ServiceAccount", "PodDisruptionBudget", "Pod"]);
    assert!(notes.iter().any(|note| note == "1 static Pod is left out"), "{notes:?}");
    assert!(notes.iter().any(|note| note.contains("StatefulSet")), "{notes:?}");
}

/// Some conditions are True of a healthy node; only what a policy names is an illness that a reboot heals.
#[test]
fn conditions_that_no_policy_names_are_left_out() {
    let mut cluster = cluster();
    let good = ("SysctlsApplied", "all of them");
    let alerts = ("AlertManager_DiskSlow", "[P4] slow");
    cluster.nodes.push(node("n-5", json!({}), "True", &[good, alerts]));
    let conditions = |snapshot: &Snapshot| -> Vec<String> {
        let all = snapshot.scene.timeline.iter().filter_map(|entry| match &entry.act {
            Act::Sicken { with, .. } => Some(with.condition.clone()),
            _ => None,
        });
        all.collect()
    };
    let mut snapshot = scene(&cluster, "prod");
    leave_out_unnamed(&mut snapshot);
    assert_eq!(conditions(&snapshot), ["KernelDeadlock"]);
    let note = "for which no policy acts, are left out: AlertManager_DiskSlow, SysctlsApplied";
    assert!(snapshot.notes.iter().any(|one| one.ends_with(note)), "{:?}", snapshot.notes);

    let mut snapshot = scene(&cluster, "prod");
    let triggers = json!([
        { "condition": { "type": "AlertManager_*", "status": ["Unknown", "True"] } },
        { "condition": { "type": "SysctlsApplied", "status": ["False"] } }, {},
    ]);
    let more = json!({ "metadata": { "name": "q" }, "spec": { "triggers": triggers } });
    snapshot.scene.policies.push(more);
    leave_out_unnamed(&mut snapshot);
    assert_eq!(conditions(&snapshot), ["KernelDeadlock", "AlertManager_DiskSlow"]);
}

/// The Pods of a database, each in one of these roles.
fn store(roles: &[&str]) -> Vec<Pod> {
    let one = |(at, role): (usize, &&str)| {
        let labels = json!({ "metadata": { "labels": { "role": role } } });
        let (name, node) = (format!("store-{at}"), format!("n-{}", at + 1));
        pod(&name, Some(("StatefulSet", "store")), &node, labels)
    };
    roles.iter().enumerate().map(one).collect()
}

/// A budget that asks for a label that only some Pods of a controller have, as one of a database's leader.
#[test]
fn pods_that_budgets_tell_apart_are_played_apart() {
    let mut cluster = cluster();
    cluster.pods = store(&["leader", "replica", "replica"]);
    cluster.budgets = vec![read(json!({
        "metadata": { "name": "leader", "namespace": "shop" },
        "spec": { "maxUnavailable": 1, "selector": {
            "matchLabels": { "tier": "front" },
            "matchExpressions": [{ "key": "role", "operator": "In", "values": ["leader"] }] } },
        "status": { "currentHealthy": 1, "desiredHealthy": 2, "disruptionsAllowed": 0, "expectedPods": 3 },
    }))];
    let Snapshot { scene, .. } = scene(&cluster, "prod");
    scene.check().unwrap();
    let all: Vec<_> = (scene.deployments.iter())
        .map(|one| (one.name.as_str(), one.replicas, one.labels["role"].as_str()))
        .collect();
    assert_eq!(all, [("store", 1, "leader"), ("store-statefulset", 2, "replica")]);
    let spec = &budget_of(&scene)["spec"];
    // One of three may be missing, and two that do not count are not there: none may go.
    assert_eq!((&spec["minAvailable"], &spec["maxUnavailable"]), (&json!(2), &Value::Null));
}

/// A budget asks for what it asks for: no label is invented for Pods that have some.
#[test]
fn no_label_is_added_that_a_budget_could_ask_for() {
    let mut cluster = cluster();
    cluster.budgets[0].spec.as_mut().unwrap().selector =
        Some(read(json!({ "matchLabels": { "app": "web" } })));
    let Snapshot { scene, .. } = scene(&cluster, "prod");
    let objects = scene.deployments[0].objects();
    let labels = json!({ "tier": "front", "sim.rerail.dev/workload": "web" });
    assert_eq!(objects[0]["spec"]["template"]["metadata"]["labels"], labels);
}

/// Those of the past are not told, and each with what it is about.
#[test]
fn pauses_in_force_are_told_and_not_played() {
    let now: Timestamp = "2026-11-27T12:00:00Z".parse().unwrap();
    let pause = |scope, until: &str| Pause {
        scope,
        text: "ann: a\nmove".to_owned(),
        until: until.parse().ok(),
    };
    let all = Pauses(vec![
        pause(PauseScope::All, "2026-11-27T11:59:59Z"),
        pause(PauseScope::Policy("p".to_owned()), "never"),
        pause(PauseScope::Node("n-1".to_owned()), "2026-11-27T12:00:01Z"),
    ]);
    let [policy, node] = pauses(&all, now).try_into().unwrap();
    assert!(policy.starts_with("in the cluster policy p is paused (ann: a move)"), "{policy}");
    assert!(node.starts_with("in the cluster node n-1 is paused"), "{node}");
}

/// Where the cluster's own count is not to be had, the budget stays as it is written.
#[test]
fn a_count_that_is_not_the_budgets_own_is_not_taken_over() {
    for (generation, reason) in [(2, "SufficientPods"), (1, "SyncFailed")] {
        let mut cluster = cluster();
        cluster.pods = store(&["leader", "replica"]);
        cluster.budgets = vec![read(json!({
            "metadata": { "name": "leader", "namespace": "shop", "generation": generation },
            "spec": { "maxUnavailable": 1, "selector": { "matchLabels": { "role": "leader" } } },
            "status": { "observedGeneration": 1, "currentHealthy": 0, "desiredHealthy": 0,
                "disruptionsAllowed": 0, "expectedPods": 0,
                "conditions": [{ "type": "DisruptionAllowed", "status": "False", "reason": reason,
                    "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" }] },
        }))];
        let Snapshot { scene, notes } = scene(&cluster, "prod");
        let spec = &budget_of(&scene)["spec"];
        assert_eq!((&spec["minAvailable"], &spec["maxUnavailable"]), (&Value::Null, &json!(1)));
        assert!(notes.iter().any(|note| note.contains("shop/leader")), "{notes:?}");
    }
}

/// Nodes that are not Ready are known to be when the policies come: they use a budget up.
#[test]
fn a_node_that_is_dark_uses_the_budget_up() {
    let mut cluster = cluster();
    cluster.nodes.remove(1);
    let Snapshot { scene, .. } = scene(&cluster, "prod");
    let report = crate::play(&scene, 1, |_| {}).unwrap();
    assert!(report.order.is_empty(), "{report:?}");
}

/// What a controller takes off by itself keeps no simulated Pod.
#[test]
fn a_running_job_does_not_keep_its_node() {
    let mut cluster = cluster();
    let finalizers = ["batch.kubernetes.io/job-tracking", "own.example/x"];
    let tracked = json!({ "metadata": { "finalizers": finalizers } });
    cluster.pods.push(pod("job-1", Some(("Job", "job")), "n-1", tracked));
    let Snapshot { scene, .. } = scene(&cluster, "prod");
    let job = scene.deployments.iter().find(|one| one.name == "job").unwrap();
    assert_eq!(job.finalizers, ["own.example/x"]);
}

/// Written down, read again and played: the sick node is healed, the budget holds, and nobody's cordon is
/// lifted.
#[test]
fn a_snapshot_can_be_written_read_and_played() {
    let Snapshot { scene, .. } = scene(&cluster(), "prod");
    let text = serde_saphyr::to_string(&scene).unwrap();
    let scene = Scene::parse(&text).unwrap();
    let report = crate::play(&scene, 1, |_| {}).unwrap();
    assert!(report.violations.is_empty(), "{:?}", report.violations);
    let admitted: Vec<_> = report.order.iter().map(|one| one.node.as_str()).collect();
    // n-2 is cordoned and n-3 is dark, so that the budget of one is used up.
    assert!(admitted.is_empty(), "{report:?}");
    let left: Vec<_> = report.left.iter().map(|one| one.node.as_str()).collect();
    assert_eq!(left, ["n-1", "n-2", "n-3"]);
    let mut scene = scene;
    scene.config = Some("maxUnavailable: 3\n".to_owned());
    scene.policies[0]["spec"]["budget"] = json!({ "maxUnavailable": 3, "maxDomains": 3 });
    let report = crate::play(&scene, 1, |_| {}).unwrap();
    assert_eq!(report.order.len(), 1, "{report:?}");
    assert_eq!((report.order[0].node.as_str(), report.order[0].priority), ("n-1", Some(3)));
    assert_eq!(report.healed, 1);
}
