//! The cells of Kubernetes' own types, as `kubernetes/pkg/printers/internalversion/printers.go` fills them.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::age;
use crate::{meta, resource::Resource, selector};

/// The row of an object, without the object.
pub(super) fn row(resource: &Resource, object: &Value, now: Timestamp) -> Value {
    let cells = match resource.plural.as_str() {
        "nodes" => node(object, now),
        "pods" => return pod_row(object, now),
        "deployments" => deployment(object, now),
        "replicasets" => replica_set(object, now),
        "daemonsets" => daemon_set(object, now),
        "statefulsets" => stateful_set(object, now),
        "poddisruptionbudgets" => budget(object, now),
        "events" => event(object, now),
        "namespaces" => {
            vec![
                name(object),
                json!(meta::text(object, &["status", "phase"])),
                since_made(object, now),
            ]
        }
        "secrets" => {
            let kind = json!(meta::text(object, &["type"]));
            vec![name(object), kind, json!(count(&object["data"])), since_made(object, now)]
        }
        "configmaps" => {
            let entries = count(&object["data"]) + count(&object["binaryData"]);
            vec![name(object), json!(entries), since_made(object, now)]
        }
        "leases" => {
            let holder = json!(meta::text(object, &["spec", "holderIdentity"]));
            vec![name(object), holder, since_made(object, now)]
        }
        "customresourcedefinitions" => {
            vec![name(object), json!(meta::of(object, "creationTimestamp"))]
        }
        _ => vec![name(object), since_made(object, now)],
    };
    json!({ "cells": cells })
}

fn name(object: &Value) -> Value {
    json!(meta::of(object, "name"))
}

/// How long ago a time was.
fn since(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => age(now.duration_since(time).as_secs()),
        Err(_) => "<unknown>".to_owned(),
    }
}

fn since_made(object: &Value, now: Timestamp) -> Value {
    json!(since(meta::of(object, "creationTimestamp"), now))
}

fn count(map: &Value) -> usize {
    map.as_object().map_or(0, Map::len)
}

fn number(object: &Value, path: [&str; 2]) -> i64 {
    object[path[0]][path[1]].as_i64().unwrap_or(0)
}

fn entries<'a>(object: &'a Value, list: &str) -> &'a [Value] {
    object.get(list).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn or<'a>(text: &'a str, instead: &'a str) -> &'a str {
    if text.is_empty() { instead } else { text }
}

fn node(node: &Value, now: Timestamp) -> Vec<Value> {
    let ready = entries(&node["status"], "conditions").iter().rfind(|c| c["type"] == "Ready");
    let mut status = match ready {
        Some(condition) if condition["status"] == "True" => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if node["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    let mut roles: Vec<&str> = Vec::new();
    for (key, value) in meta::get(node, "labels").and_then(Value::as_object).into_iter().flatten() {
        let role = match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => role,
            None if key == "kubernetes.io/role" => value.as_str().unwrap_or_default(),
            None => "",
        };
        if !role.is_empty() && !roles.contains(&role) {
            roles.push(role);
        }
    }
    roles.sort_unstable();
    let roles = roles.join(",");
    let address = |kind: &str| {
        let all = entries(&node["status"], "addresses");
        let found = all.iter().find(|address| address["type"] == kind);
        json!(found.map_or("<none>", |address| meta::text(address, &["address"])))
    };
    let info = |field: &str| meta::text(node, &["status", "nodeInfo", field]);
    let mut kernel = or(info("kernelVersion"), "<unknown>").to_owned();
    if !info("architecture").is_empty() {
        kernel = format!("{kernel} ({})", info("architecture"));
    }
    vec![
        name(node),
        json!(status),
        json!(or(&roles, "<none>")),
        since_made(node, now),
        json!(info("kubeletVersion")),
        address("InternalIP"),
        address("ExternalIP"),
        json!(or(info("osImage"), "<unknown>")),
        json!(kernel),
        json!(or(info("containerRuntimeVersion"), "<unknown>")),
    ]
}

/// Names and images of the containers of a template.
fn containers(object: &Value) -> [Value; 2] {
    let all = entries(&object["spec"]["template"]["spec"], "containers");
    ["name", "image"].map(|field| {
        let texts: Vec<&str> = all.iter().map(|one| meta::text(one, &[field])).collect();
        json!(texts.join(","))
    })
}

fn selected(object: &Value) -> String {
    selector::shown(&object["spec"]["selector"])
}

fn deployment(object: &Value, now: Timestamp) -> Vec<Value> {
    let ready = number(object, ["status", "readyReplicas"]);
    let [names, images] = containers(object);
    vec![
        name(object),
        json!(format!("{ready}/{}", number(object, ["spec", "replicas"]))),
        json!(number(object, ["status", "updatedReplicas"])),
        json!(number(object, ["status", "availableReplicas"])),
        since_made(object, now),
        names,
        images,
        json!(selected(object)),
    ]
}

fn replica_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(object);
    vec![
        name(object),
        json!(number(object, ["spec", "replicas"])),
        json!(number(object, ["status", "replicas"])),
        json!(number(object, ["status", "readyReplicas"])),
        since_made(object, now),
        names,
        images,
        json!(or(&selected(object), "<none>")),
    ]
}

fn daemon_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(object);
    let nodes = object["spec"]["template"]["spec"].get("nodeSelector").and_then(Value::as_object);
    let nodes: Vec<String> = nodes
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    let numbers = [
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    ];
    let numbers = numbers.map(|field| json!(number(object, ["status", field])));
    let mut cells = vec![name(object)];
    cells.extend(numbers);
    cells.extend([json!(or(&nodes.join(","), "<none>")), since_made(object, now), names, images]);
    cells.push(json!(or(&selected(object), "<none>")));
    cells
}

fn stateful_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let ready = number(object, ["status", "readyReplicas"]);
    let ready = json!(format!("{ready}/{}", number(object, ["spec", "replicas"])));
    let [names, images] = containers(object);
    vec![name(object), ready, since_made(object, now), names, images]
}

fn budget(object: &Value, now: Timestamp) -> Vec<Value> {
    let bound = |field: &str| match &object["spec"][field] {
        Value::Null => json!("N/A"),
        Value::String(text) => json!(text),
        other => json!(other.to_string()),
    };
    let allowed = json!(number(object, ["status", "disruptionsAllowed"]));
    vec![
        name(object),
        bound("minAvailable"),
        bound("maxUnavailable"),
        allowed,
        since_made(object, now),
    ]
}

fn event(event: &Value, now: Timestamp) -> Vec<Value> {
    let text = |path: &[&str]| meta::text(event, path);
    let first = or(text(&["firstTimestamp"]), text(&["eventTime"]));
    let first = since(first, now);
    let mut last = match text(&["lastTimestamp"]) {
        "" => first.clone(),
        time => since(time, now),
    };
    let mut times = event["count"].as_i64().filter(|count| *count != 0).unwrap_or(1);
    if let Some(series) = event.get("series").filter(|series| series.is_object()) {
        last = since(meta::text(series, &["lastObservedTime"]), now);
        times = series["count"].as_i64().unwrap_or(0);
    }
    let about = |field: &str| meta::text(event, &["involvedObject", field]);
    let mut target = about("kind").to_lowercase();
    if !about("name").is_empty() {
        target = format!("{target}/{}", about("name"));
    }
    let component = or(text(&["source", "component"]), text(&["reportingComponent"]));
    let instance = or(text(&["source", "host"]), text(&["reportingInstance"]));
    let source =
        if instance.is_empty() { component.to_owned() } else { format!("{component}, {instance}") };
    vec![
        json!(last),
        json!(text(&["type"])),
        json!(text(&["reason"])),
        json!(target),
        json!(about("fieldPath")),
        json!(source),
        json!(text(&["message"]).trim()),
        json!(first),
        json!(times),
        name(event),
    ]
}

/// What the statuses of a pod's containers add up to.
#[derive(Default)]
struct Tally<'a> {
    restarts: i64,
    ready: usize,
    reason: String,
    /// When a container last ended.
    last: Option<&'a str>,
}

impl<'a> Tally<'a> {
    fn restarted(&mut self, status: &'a Value) {
        self.restarts += status["restartCount"].as_i64().unwrap_or(0);
        let ended = meta::text(status, &["lastState", "terminated", "finishedAt"]);
        // Times of one form are in order as texts.
        if !ended.is_empty() && self.last.is_none_or(|last| last < ended) {
            self.last = Some(ended);
        }
    }
}

/// Why a container ended, with what is said before a number.
fn ended(terminated: &Value) -> String {
    match (meta::text(terminated, &["reason"]), terminated["signal"].as_i64().unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or(0)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn pod_row(pod: &Value, now: Timestamp) -> Value {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let restartable: Vec<&Value> =
        entries(spec, "initContainers").iter().filter(|c| c["restartPolicy"] == "Always").collect();
    let total = entries(spec, "containers").len() + restartable.len();
    let phase = meta::text(status, &["phase"]);
    let reason = or(meta::text(status, &["reason"]), phase).to_owned();
    let mut tally = Tally { reason, ..Tally::default() };
    let conditions = entries(status, "conditions");
    let is = |kind: &str, field: &str, wanted: &str| {
        conditions.iter().any(|c| c["type"] == kind && c[field] == wanted)
    };
    if is("PodScheduled", "reason", "SchedulingGated") {
        tally.reason = "SchedulingGated".to_owned();
    }
    let sidecars = initialising(pod, &restartable, &mut tally);
    let first = conditions.iter().find(|c| c["type"] == "Initialized");
    if sidecars.is_none() || first.is_some_and(|c| c["status"] == "True") {
        let sidecars = sidecars.unwrap_or_else(|| of_sidecars(pod, &restartable));
        (tally.restarts, tally.last) = (sidecars.restarts, sidecars.last);
        running(status, is("Ready", "status", "True"), &mut tally);
    }
    if meta::is_deleting(pod) && status["reason"] == "NodeLost" {
        tally.reason = "Unknown".to_owned();
    } else if meta::is_deleting(pod) && !matches!(phase, "Succeeded" | "Failed") {
        tally.reason = "Terminating".to_owned();
    }
    let restarts = match tally.last {
        Some(last) if tally.restarts != 0 => {
            format!("{} ({} ago)", tally.restarts, since(last, now))
        }
        _ => tally.restarts.to_string(),
    };
    let gates = entries(spec, "readinessGates");
    let open = |gate: &&Value| {
        let mut of_gate = conditions.iter().filter(|c| c["type"] == gate["conditionType"]);
        of_gate.next().is_some_and(|c| c["status"] == "True")
    };
    let gates = match gates.len() {
        0 => "<none>".to_owned(),
        all => format!("{}/{all}", gates.iter().filter(open).count()),
    };
    let address = entries(status, "podIPs").first().map_or("", |ip| meta::text(ip, &["ip"]));
    let cells = json!([
        name(pod),
        format!("{}/{total}", tally.ready),
        tally.reason,
        restarts,
        since_made(pod, now),
        or(address, "<none>"),
        or(meta::text(spec, &["nodeName"]), "<none>"),
        or(meta::text(status, &["nominatedNodeName"]), "<none>"),
        gates,
    ]);
    let ended = |reason: &str, message: &str| json!([{ "type": "Completed", "status": "True", "reason": reason, "message": message }]);
    match phase {
        "Succeeded" => {
            json!({ "cells": cells, "conditions": ended(phase, "The pod has completed successfully.") })
        }
        "Failed" => json!({ "cells": cells, "conditions": ended(phase, "The pod failed.") }),
        _ => json!({ "cells": cells }),
    }
}

fn is_sidecar(restartable: &[&Value], status: &Value) -> bool {
    restartable.iter().any(|container| container["name"] == status["name"])
}

/// Counts the restarts of init containers that go on beside the others.
fn of_sidecars<'a>(pod: &'a Value, restartable: &[&Value]) -> Tally<'a> {
    let mut sidecars = Tally::default();
    let all = entries(&pod["status"], "initContainerStatuses").iter();
    all.filter(|status| is_sidecar(restartable, status)).for_each(|one| sidecars.restarted(one));
    sidecars
}

/// Goes through the init containers; if one of them is what the pod waits for, says so and returns what the
/// sidecars before it add up to.
fn initialising<'a>(
    pod: &'a Value,
    restartable: &[&Value],
    tally: &mut Tally<'a>,
) -> Option<Tally<'a>> {
    let mut sidecars = Tally::default();
    let all = entries(&pod["spec"], "initContainers").len();
    for (at, one) in entries(&pod["status"], "initContainerStatuses").iter().enumerate() {
        tally.restarted(one);
        let sidecar = is_sidecar(restartable, one);
        if sidecar {
            sidecars.restarted(one);
        }
        let (state, waits) = (&one["state"], meta::text(one, &["state", "waiting", "reason"]));
        if state["terminated"].is_object() && number(state, ["terminated", "exitCode"]) == 0 {
            continue;
        }
        if sidecar && one["started"] == true {
            tally.ready += usize::from(one["ready"] == true);
            continue;
        }
        tally.reason = if state["terminated"].is_object() {
            format!("Init:{}", ended(&state["terminated"]))
        } else if !waits.is_empty() && waits != "PodInitializing" {
            format!("Init:{waits}")
        } else {
            format!("Init:{at}/{all}")
        };
        return Some(sidecars);
    }
    None
}

/// Goes through the containers, from the last to the first, as the real server does.
fn running<'a>(status: &'a Value, pod_ready: bool, tally: &mut Tally<'a>) {
    let (mut some_run, mut error) = (false, String::new());
    for one in entries(status, "containerStatuses").iter().rev() {
        tally.restarted(one);
        let (state, waits) = (&one["state"], meta::text(one, &["state", "waiting", "reason"]));
        if !waits.is_empty() {
            waits.clone_into(&mut tally.reason);
        } else if state["terminated"].is_object() {
            tally.reason = ended(&state["terminated"]);
            if number(state, ["terminated", "exitCode"]) != 0 {
                error.clone_from(&tally.reason);
            }
        } else if one["ready"] == true && state["running"].is_object() {
            some_run = true;
            tally.ready += 1;
        }
    }
    if tally.reason == "Completed" {
        if some_run && pod_ready {
            "Running".clone_into(&mut tally.reason);
        } else if !error.is_empty() {
            tally.reason = error;
        } else if some_run {
            "NotReady".clone_into(&mut tally.reason);
        }
    }
}
