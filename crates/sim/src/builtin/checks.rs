//! What is wrong with objects of Kubernetes' own types. Only what somebody has asked for so far is checked.

use serde_json::{Value, json};

use crate::{
    meta,
    resource::Resource,
    selector::Labels,
    status::{FieldError, in_order},
};

/// What is wrong with an object, or with what becomes of `old`.
pub fn problems(resource: &Resource, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut problems = Vec::new();
    let number = |field: &str| object["spec"].get(field).and_then(Value::as_i64);
    match resource.plural.as_str() {
        "pods" if object["spec"]["containers"].as_array().is_none_or(Vec::is_empty) => {
            problems.push(FieldError::required("spec.containers", ""));
        }
        "pods" => {
            let (policy, allowed) =
                (&object["spec"]["restartPolicy"], ["Always", "OnFailure", "Never"]);
            let allowed = allowed.map(|text| json!(text));
            if !allowed.contains(policy) {
                problems.push(FieldError::unsupported("spec.restartPolicy", policy, &allowed));
            }
        }
        "nodes" => {
            let allowed = ["NoSchedule", "PreferNoSchedule", "NoExecute"].map(|text| json!(text));
            let taints = object["spec"]["taints"].as_array();
            for (at, taint) in taints.into_iter().flatten().enumerate() {
                if !allowed.contains(&taint["effect"]) {
                    let field = format!("metadata.taints[{at}].effect");
                    problems.push(FieldError::unsupported(field, &taint["effect"], &allowed));
                    // Of an update the real server says it twice.
                    problems.extend(old.and(problems.last().cloned()));
                }
            }
        }
        "leases" => {
            let least = [
                ("leaseDurationSeconds", 1, "must be greater than 0"),
                ("leaseTransitions", 0, "must be greater than or equal to 0"),
            ];
            for (field, least, why) in least {
                if let Some(is) = number(field).filter(|is| *is < least) {
                    problems.push(FieldError::invalid(format!("spec.{field}"), &json!(is), why));
                }
            }
        }
        "poddisruptionbudgets" => problems.extend(budget(&object["spec"])),
        "deployments" | "replicasets" | "statefulsets" | "daemonsets" => {
            problems.extend(workload(resource, &object["spec"], old.map(|old| &old["spec"])));
        }
        "events" => problems.extend(event(resource, object, old)),
        "configmaps" | "secrets" => {
            let was_fixed = old.is_some_and(|old| old.get("immutable") == Some(&json!(true)));
            for field in ["data", "binaryData"] {
                if was_fixed && old.and_then(|old| old.get(field)) != object.get(field) {
                    let why = "field is immutable when `immutable` is set";
                    problems.push(FieldError::forbidden(field, why));
                }
            }
        }
        _ => {}
    }
    problems
}

fn budget(spec: &Value) -> Vec<FieldError> {
    let (least, most) = (&spec["minAvailable"], &spec["maxUnavailable"]);
    let mut problems = Vec::new();
    if !least.is_null() && !most.is_null() {
        // Go writes the fields of its type in their order, by their names in Go.
        let policy = &spec["unhealthyPodEvictionPolicy"];
        let body = format!(
            "Invalid value: {{\"MinAvailable\":{least},\"Selector\":{},\"MaxUnavailable\":{most},\"UnhealthyPodEvictionPolicy\":{policy}}}: minAvailable and maxUnavailable cannot be both set",
            spec["selector"]
        );
        problems.push(FieldError { cause: "FieldValueInvalid", field: "spec".to_owned(), body });
    }
    for (field, value) in [("minAvailable", least), ("maxUnavailable", most)] {
        if let Some(why) = no_share(value) {
            problems.push(FieldError::invalid(format!("spec.{field}"), value, why));
        }
    }
    problems
}

/// Why a value is neither a number of Pods nor a share of them; nothing is, and so is `null`.
fn no_share(value: &Value) -> Option<&'static str> {
    if value.as_i64().is_some_and(|count| count < 0) {
        return Some("must be greater than or equal to 0");
    }
    let digits = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match value.as_str()?.strip_suffix('%').filter(digits) {
        None => Some(PERCENT),
        Some(digits) if digits.parse::<u32>().is_ok_and(|percent| percent <= 100) => None,
        Some(_) => Some("must not be greater than 100%"),
    }
}

const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";

const SELECTOR: &[&str] = &["matchLabels", "matchExpressions", "key", "operator", "values"];

fn workload(resource: &Resource, spec: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut problems = Vec::new();
    for field in ["replicas", "minReadySeconds"] {
        if let Some(is) = spec.get(field).and_then(Value::as_i64).filter(|is| *is < 0) {
            let why = "must be greater than or equal to 0";
            problems.push(FieldError::invalid(format!("spec.{field}"), &json!(is), why));
        }
    }
    let selector = &spec["selector"];
    let is_set = resource.plural == "statefulsets";
    if selector.is_null() {
        problems.push(FieldError::required("spec.selector", ""));
    } else if Labels::of_object(selector).is_some_and(|labels| labels.is_empty()) {
        // A ReplicaSet is called so, too.
        let kind = match resource.plural.as_str() {
            "statefulsets" => "statefulset",
            "daemonsets" => "daemonset",
            _ => "deployment",
        };
        let why = format!("empty selector is invalid for {kind}");
        problems.push(FieldError::invalid_text(
            "spec.selector",
            &in_order(selector, SELECTOR),
            &why,
        ));
    }
    // No selector selects nothing.
    if Labels::of_object(selector).is_none_or(|labels| !labels.matches(&spec["template"])) {
        let labels = meta::get(&spec["template"], "labels").unwrap_or(&Value::Null);
        let why = "`selector` does not match template `labels`";
        problems.push(FieldError::invalid("spec.template.metadata.labels", labels, why));
    }
    if spec["template"]["spec"]["containers"].as_array().is_none_or(Vec::is_empty) {
        problems.push(FieldError::required("spec.template.spec.containers", ""));
    }
    match old {
        Some(old) if is_set && fixed(old) != fixed(spec) => {
            let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
            problems.push(FieldError::forbidden("spec", why));
        }
        Some(old) if !is_set && old["selector"] != *selector => {
            let shown = in_order(selector, SELECTOR);
            problems.push(FieldError::invalid_text("spec.selector", &shown, "field is immutable"));
        }
        _ => {}
    }
    problems
}

/// The part of a StatefulSet's spec that never changes.
fn fixed(spec: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(map) = spec.as_object_mut() {
        for field in [
            "replicas",
            "ordinals",
            "template",
            "updateStrategy",
            "revisionHistoryLimit",
            "persistentVolumeClaimRetentionPolicy",
            "minReadySeconds",
        ] {
            map.remove(field);
        }
    }
    spec
}

/// `kubernetes/pkg/apis/core/validation/events.go`: strict for whoever comes by the new group.
fn event(resource: &Resource, event: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut problems = Vec::new();
    let text = |field: &str| meta::text(event, &[field]);
    let has_time = !text("eventTime").is_empty();
    let about = meta::text(event, &["involvedObject", "namespace"]);
    let namespace = meta::of(event, "namespace");
    let allowed = match (has_time, about) {
        (false, "") => namespace == "default",
        (false, about) => namespace == about,
        (true, "") => matches!(namespace, "default" | "kube-system"),
        (true, _) => true,
    };
    if !allowed {
        let why = "does not match event.namespace";
        problems.push(FieldError::invalid("involvedObject.namespace", &json!(about), why));
    }
    let new_form = !resource.group.is_empty();
    if has_time {
        for (field, most) in
            [("reportingInstance", 128), ("action", 128), ("reason", 128), ("message", 1024)]
        {
            if text(field).is_empty() && field != "message" {
                problems.push(FieldError::required(field, ""));
            } else if text(field).len() > most {
                let why = format!("can have at most {most} characters");
                problems.push(FieldError::invalid(field, &json!(""), &why));
            }
        }
        if text("reportingComponent").is_empty() {
            let field = if new_form { "reportingController" } else { "reportingComponent" };
            problems.push(FieldError::required(field, ""));
            for why in ["name part must be non-empty", meta::LABEL_KEY] {
                problems.push(FieldError::invalid(field, &json!(""), why));
            }
        }
    }
    if new_form {
        problems.extend(match old {
            Some(old) => event_change(event, old),
            None => new_event(event),
        });
    }
    problems
}

fn new_event(event: &Value) -> Vec<FieldError> {
    let mut problems = series(event);
    if event["eventTime"].is_null() {
        problems.push(FieldError::required("eventTime", ""));
    }
    let kind = meta::text(event, &["type"]);
    if !matches!(kind, "Normal" | "Warning") {
        let why = format!("has invalid value: {kind}");
        problems.push(FieldError::invalid("type", &json!(""), &why));
    }
    let source = &event["source"];
    let others = [
        ("firstTimestamp", !event["firstTimestamp"].is_null()),
        ("lastTimestamp", !event["lastTimestamp"].is_null()),
        ("count", event["count"].as_i64().unwrap_or(0) != 0),
        ("source", ["component", "host"].iter().any(|key| !meta::text(source, &[key]).is_empty())),
    ];
    for (field, _) in others.into_iter().filter(|(_, set)| *set) {
        problems.push(FieldError::invalid(field, &json!(""), "needs to be unset"));
    }
    problems
}

fn series(event: &Value) -> Vec<FieldError> {
    let mut problems = Vec::new();
    if let Some(series) = event.get("series").filter(|series| series.is_object()) {
        if series["count"].as_i64().unwrap_or(0) < 2 {
            problems.push(FieldError::invalid("series.count", &json!(""), "should be at least 2"));
        }
        if series["lastObservedTime"].is_null() {
            problems.push(FieldError::required("series.lastObservedTime", ""));
        }
    }
    problems
}

/// A reference as the type inside the real server looks: with all of its fields, by their names in Go.
fn reference(value: &Value) -> String {
    let fields = [
        ("Kind", "kind"),
        ("Namespace", "namespace"),
        ("Name", "name"),
        ("UID", "uid"),
        ("APIVersion", "apiVersion"),
        ("ResourceVersion", "resourceVersion"),
        ("FieldPath", "fieldPath"),
    ];
    let all = fields.map(|(name, key)| format!("{name:?}:{:?}", meta::text(value, &[key])));
    format!("{{{}}}", all.join(","))
}

fn event_change(event: &Value, old: &Value) -> Vec<FieldError> {
    let mut problems =
        if event.get("series") == old.get("series") { Vec::new() } else { series(event) };
    // The reason is looked at twice.
    for field in [
        "involvedObject",
        "reason",
        "message",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "reason",
        "type",
        "eventTime",
        "action",
        "related",
        "reportingComponent",
        "reportingInstance",
    ] {
        let value = event.get(field).unwrap_or(&Value::Null);
        if old.get(field).unwrap_or(&Value::Null) != value {
            let name = if field == "reportingComponent" { "reportingController" } else { field };
            let shown = if value.is_object() { reference(value) } else { value.to_string() };
            problems.push(FieldError::invalid_text(name, &shown, "field is immutable"));
        }
    }
    problems
}
