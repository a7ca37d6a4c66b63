//! Server-side apply: an object as one manager wants it is merged into what is there, and what that
//! manager wanted before and does not want any more goes, unless somebody else wants it
//! (`structured-merge-diff/merge/update.go`).

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::{
    handle::{Answer, Call},
    managed::{self, Fields, Walk},
    meta,
    resource::Resource,
    status::{Failure, FieldError, Outcome},
    store::Store,
    write,
};

impl Store {
    /// PATCH of the apply type.
    pub(crate) fn apply(&mut self, call: &Call<'_>) -> Outcome<Answer> {
        if call.query.get("fieldManager").is_none() {
            let error = FieldError::required("fieldManager", "is required for apply patch");
            return Err(Failure::invalid_query("PatchOptions", error));
        }
        let resource = self.resource(call.at).clone();
        if resource.group == "events.k8s.io" {
            return Err(Failure::not_simulated("an apply of an Event"));
        }
        let applied = read(call, &resource)?;
        let walk = Walk { resource: &resource, maps: false };
        let wanted = managed::managed(&applied);
        let fields = walk.changed(None, &wanted, &mut Vec::new());
        let call = Call { applied: Some(fields), ..call.clone() };
        let Some(live) = self.get(call.at, &call.key()).cloned() else {
            if call.target.subresource.is_some() {
                return Err(Failure::not_found(&resource, call.name()));
            }
            return self.create_object(&call, &resource, applied);
        };
        let merged = merged(&call, &walk, &live, &applied)?;
        self.replace(&call, &resource, &live, merged)
    }
}

fn read(call: &Call<'_>, resource: &Resource) -> Outcome<Value> {
    let text = std::str::from_utf8(call.body).unwrap_or_default();
    // kube sends JSON, kubectl YAML.
    let json = serde_json::from_str(text).ok();
    let mut applied: Value = match json {
        Some(json) => json,
        None => serde_saphyr::from_str(text)
            .map_err(|error| Failure::bad_request(format!("error decoding YAML: {error}")))?,
    };
    let (kind, version) = (meta::text(&applied, &["kind"]), meta::text(&applied, &["apiVersion"]));
    if kind != resource.kind || version != resource.api_version() {
        let wanted = format!("{}, Kind={}", resource.api_version(), resource.kind);
        return Err(Failure::bad_request(format!(
            "the object to be applied is {version}, Kind={kind} and should be {wanted}"
        )));
    }
    let name = meta::of(&applied, "name").to_owned();
    if !name.is_empty() && name != call.name() {
        return Err(Failure::other_name(&name, call.name()));
    }
    undeclared(call, resource, &applied)?;
    meta::set(&mut applied, "name", Some(json!(call.name())));
    if resource.namespaced {
        meta::set(&mut applied, "namespace", Some(json!(call.namespace())));
    }
    Ok(applied)
}

/// An apply must know every field that it names.
fn undeclared(call: &Call<'_>, resource: &Resource, applied: &Value) -> Outcome<()> {
    let mut fields = match (&resource.schema, resource.normalise) {
        (Some(schema), _) => schema.prune(&mut applied.clone()),
        (None, Some(normalise)) => {
            let known = normalise(applied).map_err(Failure::plain)?;
            write::lost(applied, &known)
        }
        (None, None) => Vec::new(),
    };
    fields.sort();
    let all: Vec<String> =
        fields.iter().map(|field| format!(".{field}: field not declared in schema")).collect();
    let why = match all.as_slice() {
        [] => return Ok(()),
        [one] => one.clone(),
        many => format!("errors:\n  {}", many.join("\n  ")),
    };
    let (namespace, name) = (call.namespace(), call.name());
    Err(Failure::plain(format!(
        "failed to create typed patch object ({namespace}/{name}; {}, Kind={}): {why}",
        resource.api_version(),
        resource.kind
    )))
}

/// What is there when the apply is done.
fn merged(call: &Call<'_>, walk: &Walk<'_>, live: &Arc<Value>, applied: &Value) -> Outcome<Value> {
    let (is, wanted) = (managed::managed(live), managed::managed(applied));
    let differing = walk.changed(Some(&is), &wanted, &mut Vec::new());
    let none = Vec::new();
    let entries = meta::get(live, "managedFields").and_then(Value::as_array).unwrap_or(&none);
    let (own, others): (Vec<&Value>, Vec<&Value>) = entries
        .iter()
        .partition(|entry| managed::is_of(entry, call.writer(), &walk.resource.api_version()));
    if !call.query.flag("force") {
        let mut conflicts = Vec::new();
        for entry in &others {
            let mut fields = Vec::new();
            common(&differing, managed::fields(entry), "", &mut fields);
            conflicts.extend(fields.into_iter().map(|field| (manager(entry), field)));
        }
        if !conflicts.is_empty() {
            return Err(Failure::apply_conflict(&conflicts));
        }
    }
    let mut merged = (**live).clone();
    merge(walk, &mut merged, applied, &mut Vec::new());
    // What this manager wanted before, and nobody wants now.
    let mut unwanted = own.first().map(|entry| managed::fields(entry).clone()).unwrap_or_default();
    if let Some(fields) = &call.applied {
        managed::without(&mut unwanted, fields);
    }
    for entry in &others {
        managed::without(&mut unwanted, managed::fields(entry));
    }
    remove(&mut merged, &unwanted);
    let asked =
        meta::get(applied, "resourceVersion").or_else(|| meta::get(live, "resourceVersion"));
    let asked = asked.cloned();
    meta::set(&mut merged, "resourceVersion", asked);
    Ok(merged)
}

/// A manager as conflicts name it.
fn manager(entry: &Value) -> String {
    let text = |field: &str| meta::text(entry, &[field]);
    let mut name = format!("{:?}", text("manager"));
    if !text("subresource").is_empty() {
        name.push_str(&format!(" with subresource {:?}", text("subresource")));
    }
    if text("operation") == "Update" {
        name.push_str(&format!(" using {} at {}", text("apiVersion"), text("time")));
    }
    name
}

/// The fields that two sets share, as paths.
fn common(a: &Fields, b: &Fields, path: &str, found: &mut Vec<String>) {
    for (step, inner) in a.iter().filter(|(step, _)| *step != ".") {
        let (Some(inner), Some(other)) =
            (inner.as_object(), b.get(step).and_then(Value::as_object))
        else {
            continue;
        };
        let path = format!("{path}{}", shown(step));
        let is_leaf = |fields: &Fields| fields.keys().all(|step| step == ".");
        match (is_leaf(inner), is_leaf(other)) {
            (true, true) => found.push(path),
            (false, false) => common(inner, other, &path, found),
            // An empty list of entries with keys says nothing about the entries of others.
            _ => {}
        }
    }
}

/// A step of a path as `fieldpath` writes it.
fn shown(step: &str) -> String {
    if let Some(field) = step.strip_prefix("f:") {
        return format!(".{field}");
    }
    if let Some(value) = step.strip_prefix("v:") {
        return format!("[={value}]");
    }
    let key: Map<String, Value> =
        step.strip_prefix("k:").and_then(|key| serde_json::from_str(key).ok()).unwrap_or_default();
    let pairs: Vec<String> = key.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("[{}]", pairs.join(","))
}

fn merge(walk: &Walk<'_>, object: &mut Value, applied: &Value, path: &mut Vec<String>) {
    match (&mut *object, applied) {
        (Value::Object(object), Value::Object(applied)) => {
            for (key, value) in applied {
                path.push(key.clone());
                match object.get_mut(key) {
                    _ if value.is_null() => {
                        object.remove(key);
                    }
                    Some(inner) => merge(walk, inner, value, path),
                    None => {
                        object.insert(key.clone(), value.clone());
                    }
                }
                path.pop();
            }
        }
        (Value::Array(there), Value::Array(wanted)) => {
            for entry in wanted {
                match walk.position(there, entry, path) {
                    Some(Some(at)) => merge(walk, &mut there[at], entry, path),
                    Some(None) => there.push(entry.clone()),
                    None => {
                        there.clone_from(wanted);
                        return;
                    }
                }
            }
        }
        (object, applied) => *object = applied.clone(),
    }
}

/// Takes fields out of an object.
fn remove(object: &mut Value, fields: &Fields) {
    for (step, inner) in fields {
        let whole =
            inner.as_object().is_none_or(|inner| inner.is_empty() || inner.contains_key("."));
        if let Some(field) = step.strip_prefix("f:") {
            let Some(map) = object.as_object_mut() else { continue };
            let left = match (map.get_mut(field), inner.as_object()) {
                (Some(value), Some(inner)) if !inner.is_empty() => {
                    remove(value, inner);
                    // Maps that are empty are not there to the real types.
                    value.as_object().is_none_or(|map| !map.is_empty())
                }
                _ => false,
            };
            if !left {
                map.remove(field);
            }
        } else if let Some(entries) = object.as_array_mut() {
            let text = step.get(2..).unwrap_or_default();
            let Ok(id) = serde_json::from_str::<Value>(text) else { continue };
            let is = |entry: &Value| match id.as_object() {
                Some(id) => id.iter().all(|(key, value)| entry.get(key) == Some(value)),
                None => *entry == id,
            };
            if whole {
                entries.retain(|entry| !is(entry));
            } else if let (Some(entry), Some(inner)) =
                (entries.iter_mut().find(|entry| is(entry)), inner.as_object())
            {
                remove(entry, inner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::handle::tests::World;

    const MAP: &str = "/api/v1/namespaces/default/configmaps/b";

    fn apply(world: &mut World, query: &str, data: Value) -> (u16, Value) {
        let body = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "b" }, "data": data });
        world.ask("PATCH", &format!("{MAP}?{query}"), "application/apply-patch+yaml", body)
    }

    /// As kube-apiserver 1.36.3 answered.
    #[test]
    fn each_manager_has_its_fields() {
        let mut world = World::new();
        let (code, made) =
            apply(&mut world, "fieldManager=e2e&force=true", json!({ "k": "v", "l": "w" }));
        assert_eq!((code, &made["data"]), (201, &json!({ "k": "v", "l": "w" })));
        let (code, after) = apply(&mut world, "fieldManager=e2e&force=true", json!({ "k": "v2" }));
        assert_eq!((code, &after["data"]), (200, &json!({ "k": "v2" })));
        let (code, answer) = apply(&mut world, "fieldManager=jane", json!({ "k": "v3", "m": "x" }));
        assert_eq!(
            (code, answer["message"].as_str()),
            (409, Some("Apply failed with 1 conflict: conflict with \"e2e\": .data.k"))
        );
        assert_eq!(
            answer["details"],
            json!({ "causes": [{ "reason": "FieldManagerConflict", "message": "conflict with \"e2e\"", "field": ".data.k" }] })
        );
        let (_, after) = apply(&mut world, "fieldManager=jane", json!({ "m": "x" }));
        assert_eq!(after["data"], json!({ "k": "v2", "m": "x" }));
        let (_, same) = apply(&mut world, "fieldManager=jane", json!({ "m": "x" }));
        assert_eq!(same, after, "nothing new, no new version");
        let (_, after) = apply(&mut world, "fieldManager=jane&force=true", json!({ "k": "v3" }));
        assert_eq!(after["data"], json!({ "k": "v3" }));
        let managers: Vec<_> = after["metadata"]["managedFields"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| (entry["manager"].as_str().unwrap(), entry["operation"].as_str().unwrap()))
            .collect();
        assert_eq!(managers, [("jane", "Apply")]);
    }

    #[test]
    fn an_apply_says_who_applies_and_what() {
        let mut world = World::new();
        let (code, answer) = apply(&mut world, "force=true", json!({}));
        assert_eq!(
            (code, answer["message"].as_str()),
            (
                422,
                Some(
                    "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
                )
            )
        );
        let body =
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "other" } });
        let (code, answer) = world.ask(
            "PATCH",
            &format!("{MAP}?fieldManager=a"),
            "application/apply-patch+yaml",
            body,
        );
        assert_eq!(
            (code, answer["message"].as_str()),
            (400, Some("the name of the object (other) does not match the name on the URL (b)"))
        );
    }

    /// As kube-apiserver 1.36.3 answered.
    #[test]
    fn an_apply_names_no_field_that_is_not_known() {
        let mut world = World::new();
        let body = json!({ "apiVersion": "rerail.dev/v1alpha1", "kind": "RemediationPolicy", "metadata": { "name": "p" },
            "spec": { "nothing": 1 } });
        let uri = "/apis/rerail.dev/v1alpha1/remediationpolicies/p?fieldManager=a";
        let (code, answer) = world.ask("PATCH", uri, "application/apply-patch+yaml", body);
        assert_eq!(
            (code, answer["message"].as_str()),
            (
                500,
                Some(
                    "failed to create typed patch object (/p; rerail.dev/v1alpha1, Kind=RemediationPolicy): .spec.nothing: field not declared in schema"
                )
            )
        );
    }

    #[test]
    fn entries_of_lists_are_applied_by_their_keys() {
        let mut world = World::new();
        world.node("n1");
        let status = |conditions: Value| json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n1" }, "status": { "conditions": conditions } });
        let mut apply = |manager: &str, conditions: Value| {
            let uri = format!("/api/v1/nodes/n1/status?fieldManager={manager}");
            world.ask("PATCH", &uri, "application/apply-patch+yaml", status(conditions))
        };
        apply("kubelet", json!([{ "type": "Ready", "status": "True" }]));
        let (code, node) = apply("sciuro", json!([{ "type": "Bad", "status": "True" }]));
        let types = |node: &Value| -> Vec<String> {
            let all = node["status"]["conditions"].as_array().unwrap();
            all.iter().map(|one| one["type"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!((code, types(&node)), (200, vec!["Ready".to_owned(), "Bad".to_owned()]));
        let (code, answer) = apply("sciuro", json!([{ "type": "Ready", "status": "False" }]));
        assert_eq!(code, 409, "{answer}");
        assert_eq!(
            answer["details"]["causes"][0]["field"],
            ".status.conditions[type=\"Ready\"].status"
        );
        let (_, node) = apply("sciuro", json!([]));
        assert_eq!(types(&node), ["Ready"]);
    }
}
