//! Tables, by which `kubectl get` shows objects: custom resources in the columns of their definitions
//! (`apiextensions-apiserver/pkg/registry/customresource/tableconvertor`), those of Kubernetes itself as its
//! printers show them (`kubernetes/pkg/printers/internalversion`). `table/columns.json` has the columns of
//! these, word for word as kube-apiserver 1.36.3 sends them.

mod kubernetes;

use std::{collections::BTreeMap, sync::LazyLock};

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceColumnDefinition;
use serde_json::{Value, json};

use crate::{
    events, meta,
    resource::Resource,
    status::{Failure, Outcome},
};

const NAME: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";

/// A test sees that the file can be read, and has what is served.
static COLUMNS: LazyLock<BTreeMap<String, Value>> =
    LazyLock::new(|| serde_json::from_str(include_str!("table/columns.json")).unwrap_or_default());

/// What a row has of its object, beside the cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Include {
    /// All.
    Object,
    /// The metadata.
    Metadata,
    /// Nothing.
    None,
}

impl Include {
    /// What a request wants.
    pub(crate) fn of(query: Option<&str>) -> Outcome<Self> {
        match query {
            Some("Object") => Ok(Include::Object),
            None | Some("Metadata") => Ok(Include::Metadata),
            Some("None") => Ok(Include::None),
            Some(other) => Err(Failure::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', 'Object', 'None', or empty"
            ))),
        }
    }
}

/// A table with its columns and these rows.
pub(crate) fn table(resource: &Resource, metadata: Value, rows: Vec<Value>) -> Value {
    // Where a printer makes the rows there are always some, if none; elsewhere Go's list of nothing is null.
    let rows = if rows.is_empty() && !has_printer(resource) { Value::Null } else { json!(rows) };
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns(resource), "rows": rows,
    })
}

fn has_printer(resource: &Resource) -> bool {
    resource.is_custom()
        || !matches!(resource.plural.as_str(), "customresourcedefinitions" | "limitranges")
}

fn columns(resource: &Resource) -> Value {
    if !resource.is_custom() {
        return COLUMNS.get(&resource.plural).cloned().unwrap_or_else(|| json!([]));
    }
    let name = json!({
        "name": "Name", "type": "string", "format": "name", "description": NAME, "priority": 0,
    });
    let own = resource.columns.iter().map(|column| {
        let path = format!("Custom resource definition column (in JSONPath format): {}", column.json_path);
        json!({
            "name": column.name, "type": column.type_, "format": column.format.as_deref().unwrap_or_default(),
            "description": column.description.as_deref().unwrap_or(&path), "priority": column.priority.unwrap_or(0),
        })
    });
    std::iter::once(name).chain(own).collect()
}

/// The row of an object, as it is stored.
pub(crate) fn row(resource: &Resource, object: &Value, now: Timestamp, include: Include) -> Value {
    let mut row = if resource.is_custom() {
        let name = json!(meta::of(object, "name"));
        let own = resource.columns.iter().map(|column| cell(column, object, now));
        json!({ "cells": std::iter::once(name).chain(own).collect::<Vec<Value>>() })
    } else {
        kubernetes::row(resource, object, now)
    };
    row["object"] = match include {
        Include::None => Value::Null,
        Include::Object if resource.group == "events.k8s.io" => events::to_new(object),
        Include::Object => object.clone(),
        Include::Metadata => json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": internal_metadata(resource, object),
        }),
    };
    row
}

/// The metadata as the real server has it inside: a DaemonSet's generation of its template is a field there.
fn internal_metadata(resource: &Resource, object: &Value) -> Value {
    let mut metadata = object.get("metadata").cloned().unwrap_or_default();
    if resource.plural == "daemonsets"
        && let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut)
    {
        annotations.remove("deprecated.daemonset.template.generation");
        if annotations.is_empty()
            && let Some(metadata) = metadata.as_object_mut()
        {
            metadata.remove("annotations");
        }
    }
    metadata
}

fn cell(column: &CustomResourceColumnDefinition, object: &Value, now: Timestamp) -> Value {
    let Some(value) = find(object, &column.json_path) else { return Value::Null };
    match (column.type_.as_str(), value) {
        (_, Value::Null) => Value::Null,
        ("date", Value::String(text)) => match text.parse::<Timestamp>() {
            Ok(time) => json!(age(now.duration_since(time).as_secs())),
            Err(_) => json!("<invalid>"),
        },
        ("string", Value::String(_))
        | ("integer" | "number", Value::Number(_))
        | ("boolean", Value::Bool(_)) => value.clone(),
        ("string", other) => json!(other.to_string()),
        _ => Value::Null,
    }
}

/// The first value at a path of the kinds that definitions use: `.a.b`, `[0]`, `[?(@.type=="X")]`.
fn find<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let (mut value, mut rest) = (object, path);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            value = value.get(&after[..end])?;
            rest = &after[end..];
            continue;
        }
        let (inside, after) = rest.strip_prefix('[')?.split_once(']')?;
        value = match inside.strip_prefix("?(@.").and_then(|test| test.strip_suffix(')')) {
            Some(test) => {
                let (field, wanted) = test.split_once("==")?;
                let wanted = wanted.trim().trim_matches(['"', '\'']);
                value.as_array()?.iter().find(|entry| entry[field.trim()] == wanted)?
            }
            None => value.get(inside.parse::<usize>().ok()?)?,
        };
        rest = after;
    }
    Some(value)
}

/// Seconds as people read them (`apimachinery/pkg/util/duration.HumanDuration`).
pub(crate) fn age(seconds: i64) -> String {
    let two = |large: i64, unit: &str, small: i64, rest: &str| {
        if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{rest}") }
    };
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        i64::MIN..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 192 => two(days, "d", hours % 24, "h"),
        _ if days < 730 => format!("{days}d"),
        _ if days < 2920 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::tests::World;

    const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    const RUNS: &str = "/apis/rerail.dev/v1alpha1/noderemediations";

    #[test]
    fn ages_are_those_of_kubectl() {
        let all = [
            (5, "5s"),
            (119, "119s"),
            (125, "2m5s"),
            (600, "10m"),
            (3600 * 4 + 60, "4h1m"),
            (3600 * 30, "30h"),
            (86_400 * 3 + 3600, "3d1h"),
            (86_400 * 100, "100d"),
            (-1, "0s"),
            (-5, "<invalid>"),
        ];
        for (seconds, text) in all {
            assert_eq!(age(seconds), text);
        }
    }

    /// As kube-apiserver 1.36.3 answered.
    #[test]
    fn runs_are_shown_in_their_columns() {
        let mut world = World::new();
        let run = json!({ "apiVersion": "rerail.dev/v1alpha1", "kind": "NodeRemediation", "metadata": { "name": "r" },
            "spec": { "nodeName": "n1", "nodeUID": "u", "policyName": "p" } });
        world.post(RUNS, run);
        let condition = json!({ "type": "Succeeded", "status": "Unknown", "reason": "Open", "message": "in words", "lastTransitionTime": "2026-01-01T00:00:00Z" });
        world.merge(
            &format!("{RUNS}/r/status"),
            json!({ "status": { "priority": 3, "conditions": [condition] } }),
        );
        world.pass(5);
        let (_, table) = world.get_as(RUNS, TABLE);
        assert_eq!(table["kind"], "Table");
        assert_eq!(
            table["rows"][0]["cells"],
            json!([
                "r", "n1", 3, null, "Pending", "Unknown", "Open", "5s", null, "p", 0, "in words"
            ])
        );
        assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
        let column = &table["columnDefinitions"][1];
        assert_eq!(
            column["description"],
            "Custom resource definition column (in JSONPath format): .spec.nodeName"
        );
        assert_eq!(
            world.get_as(&format!("{RUNS}/r"), TABLE).1["rows"].as_array().unwrap().len(),
            1
        );
    }

    #[test]
    fn all_that_is_served_has_columns() {
        for resource in crate::resource::of_kubernetes() {
            let columns = columns(&resource);
            assert!(!columns.as_array().unwrap().is_empty(), "{}", resource.plural);
        }
    }
}
