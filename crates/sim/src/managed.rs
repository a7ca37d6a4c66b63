//! `managedFields` of writes that are no applies: who wrote which field last. The operator tells its
//! own cordon from a person's by it (protocol R9). Granular as in
//! `structured-merge-diff`: maps by field, lists with keys by entry, other lists whole.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    meta,
    patch::{ListKey, list_key},
    resource::Resource,
};

/// Metadata that nobody manages.
const UNMANAGED: &[&str] = &[
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "managedFields",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// Who writes, and where.
#[derive(Debug, Clone, Copy)]
pub struct Writer<'a> {
    /// `fieldManager`, or the first part of the user agent.
    pub manager: &'a str,
    /// The subresource that is written.
    pub subresource: Option<&'a str>,
    /// The fields that an apply wants; `None` for every other write.
    pub applied: Option<&'a Fields>,
}

impl Writer<'_> {
    fn operation(&self) -> &'static str {
        if self.applied.is_some() { "Apply" } else { "Update" }
    }
}

/// A set of fields, as `fieldsV1` writes it.
pub type Fields = Map<String, Value>;

/// Writes down who wrote what: `new` replaces `old`.
pub fn record(
    resource: &Resource,
    old: Option<&Value>,
    new: &mut Value,
    writer: Writer<'_>,
    now: Timestamp,
) {
    let nothing = json!({});
    let old_object = old.unwrap_or(&nothing);
    let walk = Walk { resource, maps: true };
    let (changed, removed) = (walk.managed(old_object, new), walk.managed(new, old_object));
    let mut entries: Vec<Value> = meta::get(old_object, "managedFields")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    for entry in &mut entries {
        let own = is_of(entry, writer, &resource.api_version());
        if own && writer.applied.is_some() {
            continue;
        }
        if let Some(fields) = entry.get_mut("fieldsV1").and_then(Value::as_object_mut) {
            without(fields, &gone(&removed, new));
            if !own {
                without(fields, &changed);
            }
        }
    }
    match writer.applied {
        Some(fields) => own(&mut entries, fields, writer, resource, now),
        None if changed.is_empty() => {}
        None => add(&mut entries, changed, writer, resource, now),
    }
    entries.retain(|entry| entry["fieldsV1"].as_object().is_some_and(|fields| !fields.is_empty()));
    let entries = (!entries.is_empty()).then_some(Value::Array(entries));
    meta::set(new, "managedFields", entries);
}

/// What a manager applies is all that it has; a set that stays the same keeps its time.
fn own(
    entries: &mut Vec<Value>,
    applied: &Fields,
    writer: Writer<'_>,
    resource: &Resource,
    now: Timestamp,
) {
    let at = entries.iter().position(|entry| is_of(entry, writer, &resource.api_version()));
    match at {
        Some(at) if fields(&entries[at]) == applied => {}
        Some(at) => {
            entries[at]["time"] = meta::time(now);
            entries[at]["fieldsV1"] = Value::Object(applied.clone());
        }
        None => add(entries, applied.clone(), writer, resource, now),
    }
}

/// The fields of an entry.
pub(crate) fn fields(entry: &Value) -> &Fields {
    static NONE: std::sync::LazyLock<Fields> = std::sync::LazyLock::new(Fields::new);
    entry.get("fieldsV1").and_then(Value::as_object).unwrap_or(&NONE)
}

fn add(
    entries: &mut Vec<Value>,
    changed: Fields,
    writer: Writer<'_>,
    resource: &Resource,
    now: Timestamp,
) {
    let own = entries.iter_mut().find(|entry| is_of(entry, writer, &resource.api_version()));
    if let Some(entry) = own {
        entry["time"] = meta::time(now);
        if let Some(fields) = entry.get_mut("fieldsV1").and_then(Value::as_object_mut) {
            with(fields, changed);
        }
        return;
    }
    let mut entry = json!({
        "manager": writer.manager, "operation": writer.operation(), "apiVersion": resource.api_version(),
        "time": meta::time(now), "fieldsType": "FieldsV1", "fieldsV1": changed,
    });
    if let Some(subresource) = writer.subresource {
        entry["subresource"] = json!(subresource);
    }
    entries.push(entry);
}

/// True for the entry of a writer.
pub(crate) fn is_of(entry: &Value, writer: Writer<'_>, version: &str) -> bool {
    entry["manager"] == writer.manager
        && entry["operation"] == writer.operation()
        && entry["apiVersion"] == version
        && entry.get("subresource").and_then(Value::as_str) == writer.subresource
}

/// The part of an object that is managed.
pub(crate) fn managed(object: &Value) -> Value {
    let part = |(key, value): (&String, &Value)| (key.clone(), part(key, value).into_owned());
    Value::Object(parts(object).map(part).collect())
}

fn parts(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let all = object.as_object().into_iter().flatten();
    all.filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind"))
}

/// What of a part is managed.
fn part<'a>(key: &str, value: &'a Value) -> Cow<'a, Value> {
    match value.as_object() {
        Some(metadata) if key == "metadata" => {
            let managed = metadata.iter().filter(|(key, _)| !UNMANAGED.contains(&key.as_str()));
            let managed = managed.map(|(key, value)| (key.clone(), value.clone()));
            Cow::Owned(Value::Object(managed.collect()))
        }
        _ => Cow::Borrowed(value),
    }
}

/// Goes through objects of a resource.
pub(crate) struct Walk<'a> {
    pub resource: &'a Resource,
    /// True when a map that is new is a field of its own, as for updates; to an apply it is not.
    pub maps: bool,
}

impl Walk<'_> {
    /// [`Walk::changed`] of the managed parts of two whole objects.
    fn managed(&self, old: &Value, new: &Value) -> Fields {
        let mut fields = Fields::new();
        for (key, value) in parts(new) {
            let before = old.get(key);
            if before == Some(value) {
                continue;
            }
            let (before, value) = (before.map(|before| part(key, before)), part(key, value));
            if before.as_ref() == Some(&value) {
                continue;
            }
            let mut path = vec![key.clone()];
            if let Some(inner) = self.value(before.as_deref(), &value, &mut path) {
                fields.insert(format!("f:{key}"), Value::Object(inner));
            }
        }
        fields
    }

    /// The fields of `new` that `old` has not, or not so.
    pub(crate) fn changed(
        &self,
        old: Option<&Value>,
        new: &Value,
        path: &mut Vec<String>,
    ) -> Fields {
        let mut fields = Fields::new();
        for (key, value) in new.as_object().into_iter().flatten() {
            let before = old.and_then(|old| old.get(key));
            if before == Some(value) {
                continue;
            }
            path.push(key.clone());
            if let Some(inner) = self.value(before, value, path) {
                fields.insert(format!("f:{key}"), Value::Object(inner));
            }
            path.pop();
        }
        fields
    }

    /// The fields below one value that differs; `None` when there is nothing to manage.
    fn value(&self, old: Option<&Value>, new: &Value, path: &mut Vec<String>) -> Option<Fields> {
        match new {
            Value::Object(map) => {
                let mut inner = self.changed(old, new, path);
                if map.is_empty() {
                    // `spec` and `status` of Kubernetes' own types are always there.
                    let managed = path.len() > 1 || self.resource.is_custom();
                    return managed.then_some(inner);
                }
                if self.maps && old.is_none() && self.is_member(path) {
                    inner.insert(".".to_owned(), json!({}));
                }
                (!inner.is_empty()).then_some(inner)
            }
            // An apply of no entries wants none, and leaves those of others alone.
            Value::Array(entries)
                if entries.is_empty() && !self.maps && !matches!(self.keys(path), Keys::Whole) =>
            {
                None
            }
            Value::Array(entries) => Some(self.list(old, entries, path)),
            _ => Some(Fields::new()),
        }
    }

    /// Maps of free keys are members of their own; so is everything of a custom resource.
    fn is_member(&self, path: &[String]) -> bool {
        let free = ["labels", "annotations", "data", "nodeSelector", "matchLabels"];
        let last = path.last().map(String::as_str).unwrap_or_default();
        free.contains(&last) || (self.resource.is_custom() && last != "metadata")
    }

    fn list(&self, old: Option<&Value>, entries: &[Value], path: &mut Vec<String>) -> Fields {
        let mut fields = Fields::new();
        let before = old.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let keys = match self.keys(path) {
            Keys::Whole => return fields,
            Keys::Texts => {
                for entry in entries.iter().filter(|entry| !before.contains(entry)) {
                    fields.insert(format!("v:{entry}"), json!({}));
                }
                return fields;
            }
            Keys::Fields(keys) => keys,
        };
        let id = |entry: &Value| -> Value {
            let pairs = keys.iter().filter_map(|key| Some((key.clone(), entry.get(key)?.clone())));
            Value::Object(pairs.collect())
        };
        for (at, entry) in entries.iter().enumerate() {
            // Most stay where they are.
            let there = before.get(at).filter(|old| same_entry(&keys, old, entry));
            let before = there.or_else(|| before.iter().find(|old| same_entry(&keys, old, entry)));
            if before == Some(entry) {
                continue;
            }
            let mut inner = self.changed(before, entry, path);
            if before.is_none() {
                inner.insert(".".to_owned(), json!({}));
            }
            fields.insert(format!("k:{}", id(entry)), Value::Object(inner));
        }
        fields
    }

    /// Where an entry is in the list at a path, if it is there; `None` for a list that is one whole.
    pub(crate) fn position(
        &self,
        list: &[Value],
        entry: &Value,
        path: &[String],
    ) -> Option<Option<usize>> {
        match self.keys(path) {
            Keys::Whole => None,
            Keys::Texts => Some(list.iter().position(|one| one == entry)),
            Keys::Fields(keys) => Some(list.iter().position(|one| same_entry(&keys, one, entry))),
        }
    }

    fn keys(&self, path: &[String]) -> Keys {
        let steps: Vec<&str> = path.iter().map(String::as_str).collect();
        if let Some(schema) = &self.resource.schema
            && steps.first() != Some(&"metadata")
        {
            return match schema.list_keys(&steps) {
                Some(keys) => Keys::Fields(keys.to_vec()),
                None => Keys::Whole,
            };
        }
        let field = steps.last().copied().unwrap_or_default();
        let parent =
            steps.len().checked_sub(2).and_then(|at| steps.get(at)).copied().unwrap_or_default();
        match list_key(parent, field) {
            ListKey::Field("containerPort") => {
                Keys::Fields(vec!["containerPort".to_owned(), "protocol".to_owned()])
            }
            ListKey::Field(key) => Keys::Fields(vec![key.to_owned()]),
            ListKey::Set => Keys::Texts,
            ListKey::Atomic => Keys::Whole,
        }
    }
}

/// True for two entries of a list that have these keys in common.
fn same_entry(keys: &[String], one: &Value, other: &Value) -> bool {
    keys.iter().all(|key| one.get(key) == other.get(key))
}

enum Keys {
    Whole,
    Texts,
    Fields(Vec<String>),
}

/// Of what was removed or changed, what is not there any more at all.
fn gone(removed: &Fields, after: &Value) -> Fields {
    let mut result = Fields::new();
    for (step, inner) in removed {
        let Some(field) = step.strip_prefix("f:") else {
            // Entries of lists and the marks of maps: what is still there is added again as changed.
            result.insert(step.clone(), inner.clone());
            continue;
        };
        match (after.get(field), inner.as_object()) {
            (None, _) => {
                result.insert(step.clone(), json!({}));
            }
            (Some(Value::Object(_)), Some(inner)) => {
                let inner = gone(inner, &after[field]);
                if !inner.is_empty() {
                    result.insert(step.clone(), Value::Object(inner));
                }
            }
            _ => {}
        }
    }
    result
}

/// Takes fields out of a set.
pub(crate) fn without(fields: &mut Fields, taken: &Fields) {
    for (step, inner) in taken {
        let Some(own) = fields.get_mut(step) else { continue };
        let whole = inner.as_object().is_none_or(Map::is_empty);
        if let (false, Some(own), Some(inner)) = (whole, own.as_object_mut(), inner.as_object()) {
            without(own, inner);
            if !own.is_empty() {
                continue;
            }
        }
        fields.remove(step);
    }
}

/// Puts fields into a set.
fn with(fields: &mut Fields, added: Fields) {
    for (step, inner) in added {
        match (fields.get_mut(&step).and_then(Value::as_object_mut), inner) {
            (Some(own), Value::Object(inner)) => with(own, inner),
            (_, inner) => {
                fields.insert(step, inner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::of_kubernetes;

    fn write(old: Option<&Value>, new: Value, manager: &str, subresource: Option<&str>) -> Value {
        let (nodes, mut new) = (&of_kubernetes()[0], new);
        record(
            nodes,
            old,
            &mut new,
            Writer { manager, subresource, applied: None },
            Timestamp::UNIX_EPOCH,
        );
        new
    }

    fn fields<'a>(object: &'a Value, manager: &str) -> Option<&'a Value> {
        let entries = object["metadata"]["managedFields"].as_array()?;
        Some(&entries.iter().find(|entry| entry["manager"] == manager)?["fieldsV1"])
    }

    #[test]
    fn the_cordon_belongs_to_who_set_it_last() {
        let node = write(
            None,
            json!({ "metadata": { "name": "n", "labels": { "a": "b" } }, "spec": {} }),
            "kubelet",
            None,
        );
        assert_eq!(
            fields(&node, "kubelet"),
            Some(&json!({ "f:metadata": { "f:labels": { ".": {}, "f:a": {} } } }))
        );
        let cordoned = |manager: &str, old: &Value, is: Option<bool>| {
            let mut new = old.clone();
            new["spec"] = is.map_or(json!({}), |is| json!({ "unschedulable": is }));
            write(Some(old), new, manager, None)
        };
        let ours = cordoned("rerail", &node, Some(true));
        assert_eq!(fields(&ours, "rerail"), Some(&json!({ "f:spec": { "f:unschedulable": {} } })));
        let lifted = cordoned("rerail", &ours, None);
        assert_eq!(fields(&lifted, "rerail"), None);
        let theirs = cordoned("kubectl", &lifted, Some(true));
        assert_eq!((fields(&theirs, "rerail"), fields(&theirs, "kubectl").is_some()), (None, true));
    }

    #[test]
    fn entries_with_keys_are_fields_of_their_own() {
        let status = |conditions: Value| json!({ "metadata": { "name": "n" }, "status": { "conditions": conditions } });
        let node = write(
            None,
            status(json!([{ "type": "Ready", "status": "True" }])),
            "kubelet",
            Some("status"),
        );
        let both =
            json!([{ "type": "Ready", "status": "True" }, { "type": "Bad", "status": "True" }]);
        let mut new = status(both);
        new["metadata"]["managedFields"] = node["metadata"]["managedFields"].clone();
        let node = write(Some(&node), new, "sciuro", Some("status"));
        assert_eq!(
            fields(&node, "sciuro"),
            Some(
                &json!({ "f:status": { "f:conditions": { "k:{\"type\":\"Bad\"}": { ".": {}, "f:status": {}, "f:type": {} } } } })
            )
        );
        assert!(fields(&node, "kubelet").is_some());
    }
}
