//! What the real server fills in and checks of its own types, as far as somebody looks at it. Clients
//! see an object as it is stored; what is not filled in here is listed in
//! `docs/design/017-simulated-api-server.md`.

mod checks;
mod quantity;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use crate::{
    meta,
    resource::Resource,
    status::{Failure, Outcome},
};

pub use checks::problems;

/// Defaults, at every write.
pub fn default(resource: &Resource, object: &mut Value) {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "nodes") => {
            // The real type has no room for a false flag.
            if object["spec"].get("unschedulable") == Some(&json!(false))
                && let Some(spec) = object["spec"].as_object_mut()
            {
                spec.remove("unschedulable");
            }
            for list in ["capacity", "allocatable"] {
                quantity::all(&mut object["status"], list);
            }
        }
        ("", "pods") => {
            pod_spec(&mut object["spec"]);
            put(&mut object["spec"], "enableServiceLinks", json!(true));
        }
        ("", "secrets") => secret(object),
        ("apps", plural) => workload(plural, &mut object["spec"]),
        _ => {}
    }
    for path in [["spec", "taints"], ["", "data"], ["", "binaryData"]] {
        let parent = if path[0].is_empty() { Some(&mut *object) } else { object.get_mut(path[0]) };
        if let Some(map) = parent.and_then(Value::as_object_mut)
            && map.get(path[1]).is_some_and(is_empty)
        {
            map.remove(path[1]);
        }
    }
    zeroes(resource, object);
}

/// What the real types, which have no absent fields, write where nothing is.
pub fn zeroes(resource: &Resource, object: &mut Value) {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "nodes") => {
            if !object["spec"].is_object() {
                object["spec"] = json!({});
            }
            if !object["status"].is_object() {
                object["status"] = json!({});
            }
            let status = &mut object["status"];
            put(status, "daemonEndpoints", json!({ "kubeletEndpoint": { "Port": 0 } }));
            put(status, "nodeInfo", json!({}));
            for field in NODE_INFO {
                put(&mut status["nodeInfo"], field, json!(""));
            }
            nulls(status, "conditions", &["lastHeartbeatTime", "lastTransitionTime"]);
            let conditions = status.get_mut("conditions").and_then(Value::as_array_mut);
            for condition in conditions.into_iter().flatten().filter_map(Value::as_object_mut) {
                condition.retain(|field, text| !EMPTY_LEFT_OUT.contains(&&**field) || text != "");
            }
            if let Some(capacity) = status.get("capacity").cloned() {
                put(status, "allocatable", capacity);
            }
        }
        ("", "pods") => {
            nulls(&mut object["status"], "conditions", &["lastProbeTime", "lastTransitionTime"]);
            for list in ["containerStatuses", "initContainerStatuses"] {
                let all = object["status"].get_mut(list).and_then(Value::as_array_mut);
                for status in all.into_iter().flatten() {
                    for state in ["state", "lastState"] {
                        put(status, state, json!({}));
                        container_state(&mut status[state]);
                    }
                }
            }
            if let Some(map) = object.as_object_mut()
                && map.get("status").is_some_and(Value::is_null)
            {
                map.remove("status");
            }
        }
        ("" | "events.k8s.io", "events") => {
            for field in ["eventTime", "firstTimestamp", "lastTimestamp"] {
                put(object, field, Value::Null);
            }
            put(object, "source", json!({}));
            if let Some(about) = object.get_mut("involvedObject").and_then(Value::as_object_mut) {
                about.retain(|_, text| text != "");
            }
            put(object, "reportingComponent", json!(""));
            put(object, "reportingInstance", json!(""));
        }
        _ => {}
    }
}

fn container_state(state: &mut Value) {
    if let Some(running) = state.get_mut("running") {
        put(running, "startedAt", Value::Null);
    }
    if let Some(terminated) = state.get_mut("terminated") {
        put(terminated, "startedAt", Value::Null);
        put(terminated, "finishedAt", Value::Null);
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty)
}

/// Fields of a node's condition that are left out when they are empty.
const EMPTY_LEFT_OUT: [&str; 2] = ["reason", "message"];

const NODE_INFO: &[&str] = &[
    "machineID",
    "systemUUID",
    "bootID",
    "kernelVersion",
    "osImage",
    "containerRuntimeVersion",
    "kubeletVersion",
    "kubeProxyVersion",
    "operatingSystem",
    "architecture",
];

/// Fields of the entries of a list that are null rather than absent.
fn nulls(object: &mut Value, list: &str, fields: &[&str]) {
    for entry in object.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
        for field in fields {
            put(entry, field, Value::Null);
        }
    }
}

/// `stringData` is written, and read as `data` alone.
fn secret(object: &mut Value) {
    put(object, "type", json!("Opaque"));
    let Some(map) = object.as_object_mut() else { return };
    let Some(Value::Object(texts)) = map.remove("stringData") else { return };
    let data = map.entry("data").or_insert_with(|| json!({}));
    for (key, text) in texts {
        data[key] = json!(STANDARD.encode(text.as_str().unwrap_or_default()));
    }
}

/// Times with fractions are read strictly; the real server says so before anything else.
pub fn check_times(resource: &Resource, object: &Value) -> Outcome<()> {
    let fields: &[&[&str]] = match resource.plural.as_str() {
        "leases" => &[&["spec", "acquireTime"][..], &["spec", "renewTime"][..]],
        "events" => &[&["eventTime"][..], &["series", "lastObservedTime"][..]],
        _ => &[],
    };
    for path in fields {
        let text = meta::text(object, path);
        if text.is_empty() || (text.contains('.') && text.parse::<jiff::Timestamp>().is_ok()) {
            continue;
        }
        // Go says where its pattern and the text part.
        let (rest, wanted) = match text.parse::<jiff::Timestamp>() {
            Ok(_) => (text.get(19..).unwrap_or_default(), ".000000"),
            Err(_) => (text, "2006"),
        };
        let kind = &resource.kind;
        return Err(Failure::bad_request(format!(
            "{kind} in version \"{}\" cannot be handled as a {kind}: parsing time {text:?} as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse {rest:?} as {wanted:?}",
            resource.version
        )));
    }
    Ok(())
}

/// What a create adds: defaults of the status, labels, and what admission plugins put in.
pub fn on_create(resource: &Resource, object: &mut Value) {
    match (resource.group.as_str(), resource.plural.as_str()) {
        // TaintNodesByCondition: a node is not ready until somebody has looked.
        ("", "nodes") => {
            let taint = json!({ "key": "node.kubernetes.io/not-ready", "effect": "NoSchedule" });
            let taints = object["spec"]["taints"].as_array().cloned().unwrap_or_default();
            if !taints
                .iter()
                .any(|known| known["key"] == taint["key"] && known["effect"] == taint["effect"])
            {
                let all: Vec<Value> = taints.into_iter().chain([taint]).collect();
                object["spec"]["taints"] = Value::Array(all);
            }
        }
        ("", "pods") => {
            tolerations(&mut object["spec"]);
            let priority = match meta::text(object, &["spec", "priorityClassName"]) {
                "system-node-critical" => 2_000_001_000,
                "system-cluster-critical" => 2_000_000_000,
                _ => 0,
            };
            put(&mut object["spec"], "priority", json!(priority));
            put(&mut object["spec"], "preemptionPolicy", json!("PreemptLowerPriority"));
            let class = qos_class(&object["spec"]);
            object["status"] = json!({ "phase": "Pending", "qosClass": class });
        }
        ("", "namespaces") => {
            let name = meta::of(object, "name").to_owned();
            let mut labels = meta::get(object, "labels").cloned().unwrap_or_else(|| json!({}));
            labels["kubernetes.io/metadata.name"] = json!(name);
            meta::set(object, "labels", Some(labels));
            object["spec"] = json!({ "finalizers": ["kubernetes"] });
            object["status"] = json!({ "phase": "Active" });
        }
        ("policy", "poddisruptionbudgets") => {
            object["status"] = json!({
                "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0,
            });
        }
        ("apps", "daemonsets") => {
            let generation = "deprecated.daemonset.template.generation";
            let mut annotations =
                meta::get(object, "annotations").cloned().unwrap_or_else(|| json!({}));
            annotations[generation] = json!("1");
            meta::set(object, "annotations", Some(annotations));
            object["status"] = json!({
                "currentNumberScheduled": 0, "numberMisscheduled": 0,
                "desiredNumberScheduled": 0, "numberReady": 0,
            });
        }
        ("apps", "replicasets") => object["status"] = json!({ "replicas": 0 }),
        ("apps", "statefulsets") => {
            object["status"] = json!({ "replicas": 0, "availableReplicas": 0 });
        }
        ("apps", "deployments") => object["status"] = json!({}),
        _ => {}
    }
}

/// What the ServiceAccount admission plugin puts in: the account, and a token unless the pod, or its
/// account, does not want one.
pub fn mount_token(pod: &mut Value, account_wants: bool) {
    put(&mut pod["spec"], "serviceAccountName", json!("default"));
    let account = pod["spec"]["serviceAccountName"].clone();
    put(&mut pod["spec"], "serviceAccount", account);
    let wanted = pod["spec"].get("automountServiceAccountToken").and_then(Value::as_bool);
    if !wanted.unwrap_or(account_wants) {
        return;
    }
    let suffix: String =
        meta::of(pod, "uid").chars().filter(char::is_ascii_alphanumeric).take(5).collect();
    let name = format!("kube-api-access-{suffix}");
    let sources = json!([
        { "serviceAccountToken": { "expirationSeconds": 3607, "path": "token" } },
        { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
        { "downwardAPI": { "items": [{
            "path": "namespace", "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" },
        }] } },
    ]);
    append(
        &mut pod["spec"],
        "volumes",
        json!({
            "name": name, "projected": { "sources": sources, "defaultMode": 420 },
        }),
    );
    for list in ["containers", "initContainers"] {
        for container in
            pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
        {
            append(
                container,
                "volumeMounts",
                json!({
                    "name": name, "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                }),
            );
        }
    }
}

fn append(object: &mut Value, list: &str, entry: Value) {
    put(object, list, json!([]));
    if let Some(entries) = object.get_mut(list).and_then(Value::as_array_mut) {
        entries.push(entry);
    }
}

/// Sets a condition of a status, by its type.
pub fn set_condition(object: &mut Value, condition: Value) {
    let status = &mut object["status"];
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else { return };
    match conditions.iter_mut().find(|known| known["type"] == condition["type"]) {
        Some(known) => {
            let mut condition = condition;
            if known["status"] == condition["status"] {
                condition["lastTransitionTime"] = known["lastTransitionTime"].clone();
            }
            *known = condition;
        }
        None => conditions.push(condition),
    }
}

fn put(object: &mut Value, field: &str, value: Value) {
    if let Some(map) = object.as_object_mut() {
        map.entry(field).or_insert(value);
    }
}

fn pod_spec(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    put(spec, "restartPolicy", json!("Always"));
    put(spec, "terminationGracePeriodSeconds", json!(30));
    put(spec, "dnsPolicy", json!("ClusterFirst"));
    put(spec, "securityContext", json!({}));
    put(spec, "schedulerName", json!("default-scheduler"));
    for volume in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(path) = volume.get_mut("hostPath") {
            put(path, "type", json!(""));
        }
    }
    if let Some(account) = spec.get("serviceAccountName").cloned() {
        put(spec, "serviceAccount", account);
    }
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let image = meta::text(container, &["image"]);
            let latest = image.ends_with(":latest")
                || !image.rsplit('/').next().unwrap_or_default().contains(':');
            let policy = if latest { "Always" } else { "IfNotPresent" };
            put(container, "imagePullPolicy", json!(policy));
            put(container, "resources", json!({}));
            quantity::all(&mut container["resources"], "requests");
            quantity::all(&mut container["resources"], "limits");
            requests(&mut container["resources"]);
            put(container, "terminationMessagePath", json!("/dev/termination-log"));
            put(container, "terminationMessagePolicy", json!("File"));
        }
    }
}

/// What is limited and not requested is requested.
fn requests(resources: &mut Value) {
    let Some(Value::Object(limits)) = resources.get("limits").cloned() else { return };
    put(resources, "requests", json!({}));
    for (name, limit) in limits {
        put(&mut resources["requests"], &name, limit);
    }
}

/// DefaultTolerationSeconds: five minutes on a node that is away, unless the pod says otherwise.
fn tolerations(spec: &mut Value) {
    let mut all = spec["tolerations"].as_array().cloned().unwrap_or_default();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = all.iter().any(|toleration| {
            let (own, effect) =
                (meta::text(toleration, &["key"]), meta::text(toleration, &["effect"]));
            (own == key || own.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        });
        if !tolerated {
            all.push(json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 }));
        }
    }
    spec["tolerations"] = Value::Array(all);
}

fn qos_class(spec: &Value) -> &'static str {
    let containers = spec["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |container: &Value, kind: &str, name: &str| {
        container["resources"][kind].get(name).filter(|value| !value.is_null()).cloned()
    };
    let names = ["cpu", "memory"];
    let any = |container: &Value| {
        names.iter().any(|name| {
            ["requests", "limits"].iter().any(|kind| of(container, kind, name).is_some())
        })
    };
    let full = |container: &Value| {
        names.iter().all(|name| {
            let limit = of(container, "limits", name);
            limit.is_some()
                && of(container, "requests", name).is_none_or(|request| Some(request) == limit)
        })
    };
    if !containers.iter().any(any) {
        "BestEffort"
    } else if containers.iter().all(full) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

fn workload(plural: &str, spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    if spec["template"]["spec"].is_object() {
        pod_spec(&mut spec["template"]["spec"]);
    }
    match plural {
        "deployments" => {
            put(spec, "replicas", json!(1));
            put(spec, "revisionHistoryLimit", json!(10));
            put(spec, "progressDeadlineSeconds", json!(600));
            put(spec, "strategy", json!({ "type": "RollingUpdate" }));
            if spec["strategy"]["type"] == "RollingUpdate" {
                put(
                    &mut spec["strategy"],
                    "rollingUpdate",
                    json!({ "maxUnavailable": "25%", "maxSurge": "25%" }),
                );
            }
        }
        "replicasets" => put(spec, "replicas", json!(1)),
        "statefulsets" => {
            put(spec, "replicas", json!(1));
            put(spec, "revisionHistoryLimit", json!(10));
            put(spec, "podManagementPolicy", json!("OrderedReady"));
            put(spec, "persistentVolumeClaimRetentionPolicy", json!({}));
            let kept = &mut spec["persistentVolumeClaimRetentionPolicy"];
            put(kept, "whenDeleted", json!("Retain"));
            put(kept, "whenScaled", json!("Retain"));
            put(spec, "updateStrategy", json!({}));
            put(&mut spec["updateStrategy"], "type", json!("RollingUpdate"));
            if spec["updateStrategy"]["type"] == "RollingUpdate" {
                put(&mut spec["updateStrategy"], "rollingUpdate", json!({}));
                put(&mut spec["updateStrategy"]["rollingUpdate"], "partition", json!(0));
            }
        }
        "daemonsets" => {
            put(spec, "revisionHistoryLimit", json!(10));
            put(
                spec,
                "updateStrategy",
                json!({
                    "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 1, "maxSurge": 0 },
                }),
            );
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::tests::World;

    #[test]
    fn a_pod_gets_its_defaults_and_is_pending() {
        let mut world = World::new();
        world.pod("default", "a", json!({}), "n1");
        let (_, pod) = world.get("/api/v1/namespaces/default/pods/a");
        assert_eq!(pod["spec"]["restartPolicy"], "Always");
        assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), 2);
        assert_eq!(pod["spec"]["containers"][0]["imagePullPolicy"], "Always");
        assert_eq!(pod["status"], json!({ "phase": "Pending", "qosClass": "BestEffort" }));
    }

    /// The operator's Pods tolerate everything.
    #[test]
    fn a_pod_that_tolerates_everything_gets_no_tolerations() {
        let mut spec = json!({ "tolerations": [{ "operator": "Exists" }] });
        tolerations(&mut spec);
        assert_eq!(spec["tolerations"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_cordon_that_is_false_is_not_kept() {
        let mut world = World::new();
        world.node("a");
        world.merge("/api/v1/nodes/a", json!({ "spec": { "unschedulable": true } }));
        let (_, node) =
            world.merge("/api/v1/nodes/a", json!({ "spec": { "unschedulable": false } }));
        assert!(node["spec"].get("unschedulable").is_none());
    }

    #[test]
    fn classes_of_service_follow_requests_and_limits() {
        let class =
            |resources: Value| qos_class(&json!({ "containers": [{ "resources": resources }] }));
        assert_eq!(class(json!({})), "BestEffort");
        assert_eq!(class(json!({ "requests": { "cpu": "1" } })), "Burstable");
        assert_eq!(class(json!({ "limits": { "cpu": "1", "memory": "1Gi" } })), "Guaranteed");
    }
}
