//! Strategic merge patch, as far as the types served here need it. Lists merge by a key or as sets;
//! which, is said by struct tags of the real types (`patchMergeKey`), and stands in [`list_key`].

use serde_json::{Map, Value};

use crate::status::{Failure, Outcome};

/// How a list merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListKey {
    /// Entries are objects told apart by this field.
    Field(&'static str),
    /// Entries are texts, each there once.
    Set,
    /// The list is replaced.
    Atomic,
}

/// How the list in a field merges; `parent` is the field that holds the object it is in.
pub fn list_key(parent: &str, field: &str) -> ListKey {
    match (parent, field) {
        (_, "conditions" | "addresses") => ListKey::Field("type"),
        (
            _,
            "containers"
            | "initContainers"
            | "ephemeralContainers"
            | "volumes"
            | "env"
            | "imagePullSecrets"
            | "schedulingGates"
            | "resourceClaims"
            | "secrets",
        ) => ListKey::Field("name"),
        (_, "ports") => ListKey::Field("containerPort"),
        (_, "volumeMounts") => ListKey::Field("mountPath"),
        (_, "volumeDevices") => ListKey::Field("devicePath"),
        (_, "hostAliases" | "podIPs" | "hostIPs") => ListKey::Field("ip"),
        (_, "topologySpreadConstraints") => ListKey::Field("topologyKey"),
        ("metadata", "ownerReferences") => ListKey::Field("uid"),
        ("metadata", "finalizers") | ("spec", "podCIDRs") => ListKey::Set,
        _ => ListKey::Atomic,
    }
}

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

/// Applies a patch to an object.
pub fn merge(object: &mut Value, patch: &Value) -> Outcome<()> {
    match (object.as_object_mut(), patch.as_object()) {
        (Some(object), Some(patch)) => merge_map("", object, patch),
        _ => Err(Failure::bad_request("a strategic merge patch must be an object")),
    }
}

fn merge_map(
    own: &str,
    object: &mut Map<String, Value>,
    patch: &Map<String, Value>,
) -> Outcome<()> {
    let changes = patch;
    match patch.get(PATCH).and_then(Value::as_str) {
        Some("delete") => {
            object.clear();
            return Ok(());
        }
        // Everything else of the patch is the new content.
        Some("replace") => object.clear(),
        Some("merge") | None => {}
        Some(other) => {
            return Err(Failure::bad_request(format!("Unknown patch type found: {other}")));
        }
    }
    if let Some(keys) = patch.get(RETAIN).and_then(Value::as_array) {
        object.retain(|key, _| keys.iter().any(|kept| kept == key));
    }
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(DELETE_FROM) {
            if let Some(entries) = object.get_mut(list).and_then(Value::as_array_mut) {
                let gone = value.as_array().map(Vec::as_slice).unwrap_or_default();
                entries.retain(|entry| !gone.contains(entry));
            }
            continue;
        }
        if key.starts_with('$') {
            continue;
        }
        match (value, object.get_mut(key)) {
            (Value::Null, _) => {
                object.remove(key);
            }
            (Value::Object(patch), Some(Value::Object(inner))) => merge_map(key, inner, patch)?,
            (Value::Object(patch), _) => {
                let mut inner = Map::new();
                merge_map(key, &mut inner, patch)?;
                object.insert(key.clone(), Value::Object(inner));
            }
            (Value::Array(patch), there) => {
                let there = match there {
                    Some(Value::Array(there)) => std::mem::take(there),
                    _ => Vec::new(),
                };
                let order = order_of(changes, key);
                let merged = merge_list(own, key, there, patch, order)?;
                object.insert(key.clone(), Value::Array(merged));
            }
            (value, _) => {
                object.insert(key.clone(), value.clone());
            }
        }
    }
    for (key, order) in patch {
        let (Some(list), Some(order)) = (key.strip_prefix(ORDER), order.as_array()) else {
            continue;
        };
        // A list that the patch has was ordered above.
        if !patch.contains_key(list)
            && let Some(entries) = object.get_mut(list).and_then(Value::as_array_mut)
        {
            let server = entries.clone();
            *entries = ordered(std::mem::take(entries), order, &server, list_key(own, list));
        }
    }
    Ok(())
}

/// The order that a patch wants for a list.
fn order_of<'a>(patch: &'a Map<String, Value>, list: &str) -> Option<&'a [Value]> {
    patch.get(&format!("{ORDER}{list}"))?.as_array().map(Vec::as_slice)
}

fn merge_list(
    parent: &str,
    field: &str,
    mut there: Vec<Value>,
    patch: &[Value],
    order: Option<&[Value]>,
) -> Outcome<Vec<Value>> {
    let (server, kind) = (there.clone(), list_key(parent, field));
    match kind {
        ListKey::Atomic => return Ok(patch.to_vec()),
        ListKey::Set => {
            for entry in patch {
                if !there.contains(entry) {
                    there.push(entry.clone());
                }
            }
        }
        ListKey::Field(key) => {
            let whole =
                patch.iter().any(|entry| entry[PATCH] == "replace" && entry.get(key).is_none());
            if whole {
                there.clear();
            }
            for entry in patch {
                merge_entry(field, key, &mut there, entry)?;
            }
        }
    }
    Ok(ordered(there, order.unwrap_or(patch), &server, kind))
}

fn merge_entry(field: &str, key: &str, there: &mut Vec<Value>, entry: &Value) -> Outcome<()> {
    let Some(changes) = entry.as_object() else {
        return Err(Failure::bad_request(format!("an entry of {field} must be an object")));
    };
    let directive = changes.get(PATCH).and_then(Value::as_str);
    let Some(id) = changes.get(key) else {
        if directive == Some("replace") {
            return Ok(());
        }
        // As apimachinery words it.
        let message = format!("map: {entry} does not contain declared merge key: {key}");
        return Err(Failure::plain(message));
    };
    let at = there.iter().position(|old| old.get(key) == Some(id));
    match (directive, at) {
        (Some("delete"), Some(at)) => {
            there.remove(at);
        }
        (Some("delete"), None) => {}
        (_, Some(at)) => {
            if let Some(old) = there[at].as_object_mut() {
                merge_map(field, old, changes)?;
            }
        }
        (_, None) => {
            let mut new = Map::new();
            merge_map(field, &mut new, changes)?;
            there.push(Value::Object(new));
        }
    }
    Ok(())
}

/// What the patch names comes in its order, and what only the server has before the first of them that
/// it was before (`mergeSortedSlice` in `apimachinery/pkg/util/strategicpatch`).
fn ordered(merged: Vec<Value>, order: &[Value], server: &[Value], key: ListKey) -> Vec<Value> {
    let same = |a: &Value, b: &Value| match key {
        ListKey::Field(key) => a.get(key) == b.get(key),
        ListKey::Set | ListKey::Atomic => a == b,
    };
    if key == ListKey::Atomic {
        return merged;
    }
    let named = |entry: &Value| order.iter().position(|wanted| same(wanted, entry));
    let (mut ours, theirs): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|entry| named(entry).is_some());
    ours.sort_by_key(|entry| named(entry));
    let place = |entry: &Value| server.iter().position(|known| same(known, entry));
    let mut theirs = theirs.into_iter().peekable();
    let mut result = Vec::new();
    for entry in ours {
        while let Some(other) = theirs.peek() {
            match (place(other), place(&entry)) {
                (Some(a), Some(b)) if a < b => result.extend(theirs.next()),
                _ => break,
            }
        }
        result.push(entry);
    }
    result.extend(theirs);
    result
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(object: Value, patch: Value) -> Value {
        let mut object = object;
        merge(&mut object, &patch).unwrap();
        object
    }

    /// What a kubelet and Sciuro both do on one node.
    #[test]
    fn conditions_of_a_node_merge_by_type() {
        let node = json!({ "status": { "conditions": [
            { "type": "Ready", "status": "True", "reason": "a" },
            { "type": "KernelDeadlock", "status": "True" },
        ] } });
        let patch = json!({ "status": { "conditions": [
            { "type": "Ready", "status": "False" }, { "type": "New", "status": "True" },
        ] } });
        assert_eq!(
            merged(node, patch)["status"]["conditions"],
            json!([
                { "type": "Ready", "status": "False", "reason": "a" },
                { "type": "New", "status": "True" },
                { "type": "KernelDeadlock", "status": "True" },
            ])
        );
    }

    #[test]
    fn other_lists_are_replaced_and_finalizers_are_a_set() {
        let object =
            json!({ "metadata": { "finalizers": ["a"] }, "spec": { "taints": [{ "key": "x" }] } });
        let patch = json!({ "metadata": { "finalizers": ["b", "a"] }, "spec": { "taints": [{ "key": "y" }] } });
        let after = merged(object, patch);
        assert_eq!(after["metadata"]["finalizers"], json!(["b", "a"]));
        assert_eq!(after["spec"]["taints"], json!([{ "key": "y" }]));
        let patch = json!({ "metadata": { "$deleteFromPrimitiveList/finalizers": ["a"] } });
        assert_eq!(merged(after, patch)["metadata"]["finalizers"], json!(["b"]));
    }

    #[test]
    fn directives_delete_replace_retain_and_order() {
        let object = json!({ "spec": { "containers": [{ "name": "a" }, { "name": "b" }], "strategy": { "x": 1, "y": 2 } } });
        let patch = json!({ "spec": {
            "containers": [{ "name": "a", "$patch": "delete" }, { "name": "c" }],
            "$setElementOrder/containers": [{ "name": "c" }, { "name": "b" }],
            "strategy": { "$retainKeys": ["y"], "y": 3 },
        } });
        let after = merged(object, patch);
        assert_eq!(after["spec"]["containers"], json!([{ "name": "c" }, { "name": "b" }]));
        assert_eq!(after["spec"]["strategy"], json!({ "y": 3 }));
        let after = merged(
            after,
            json!({ "spec": { "strategy": { "$patch": "replace", "z": 1 }, "containers": null } }),
        );
        assert_eq!(after, json!({ "spec": { "strategy": { "z": 1 } } }));
    }

    #[test]
    fn an_entry_without_its_key_is_refused() {
        let mut node = json!({ "status": {} });
        let patch = json!({ "status": { "conditions": [{ "status": "True" }] } });
        assert!(merge(&mut node, &patch).unwrap_err().message.contains("merge key: type"));
    }
}
