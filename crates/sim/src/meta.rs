//! `metadata`: names, UIDs, times, and what the real server checks of it
//! (`apimachinery/pkg/api/validation/objectmeta.go`).

use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Map, Value, json};

use crate::{
    resource::Resource,
    status::{FieldError, in_order},
};

/// All annotations of one object together, in bytes.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// A text below an object; empty when it is not there.
pub fn text<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    let mut value = object;
    for key in path {
        match value.get(key) {
            Some(inner) => value = inner,
            None => return "",
        }
    }
    value.as_str().unwrap_or_default()
}

/// A text of the metadata; empty when it is not there.
pub fn of<'a>(object: &'a Value, key: &str) -> &'a str {
    text(object, &["metadata", key])
}

/// Anything of the metadata.
pub fn get<'a>(object: &'a Value, key: &str) -> Option<&'a Value> {
    object.get("metadata")?.get(key)
}

/// Sets a key of the metadata, or takes it away.
pub fn set(object: &mut Value, key: &str, value: Option<Value>) {
    if !object.is_object() {
        *object = json!({});
    }
    let metadata = &mut object["metadata"];
    if !metadata.is_object() {
        *metadata = json!({});
    }
    match (value, metadata.as_object_mut()) {
        (Some(value), Some(metadata)) => metadata.insert(key.to_owned(), value),
        (None, Some(metadata)) => metadata.remove(key),
        (_, None) => None,
    };
}

/// Takes out what is empty: the real types leave it out.
pub fn without_empties(object: &mut Value) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    metadata.retain(|_, value| match value {
        Value::Null => false,
        Value::Array(all) => !all.is_empty(),
        Value::Object(all) => !all.is_empty(),
        _ => true,
    });
}

/// Takes a key of the metadata over from another object.
pub fn keep(object: &mut Value, key: &str, from: &Value) {
    set(object, key, get(from, key).cloned());
}

/// A copy without its managedFields, which of a node are half of it.
pub fn unmanaged(object: &Value) -> Value {
    let copy = |(key, value): (&String, &Value)| (key.clone(), value.clone());
    let mut fields: Map<String, Value> = apart_from_metadata(object).map(copy).collect();
    fields.insert("metadata".to_owned(), unmanaged_metadata(object).map(copy).collect());
    Value::Object(fields)
}

/// True when two objects differ in nothing but their managedFields.
pub fn same_but_managed(one: &Value, other: &Value) -> bool {
    apart_from_metadata(one).eq(apart_from_metadata(other))
        && unmanaged_metadata(one).eq(unmanaged_metadata(other))
}

fn apart_from_metadata(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten().filter(|(key, _)| *key != "metadata")
}

fn unmanaged_metadata(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let metadata = object.get("metadata").and_then(Value::as_object);
    metadata.into_iter().flatten().filter(|(key, _)| *key != "managedFields")
}

/// The resourceVersion as a number; 0 when there is none.
pub fn version(object: &Value) -> u64 {
    of(object, "resourceVersion").parse().unwrap_or(0)
}

/// The finalizers.
pub fn finalizers(object: &Value) -> Vec<&str> {
    let all = get(object, "finalizers").and_then(Value::as_array);
    all.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// True from the first delete on.
pub fn is_deleting(object: &Value) -> bool {
    !of(object, "deletionTimestamp").is_empty()
}

/// `deletionGracePeriodSeconds`.
pub fn grace(object: &Value) -> Option<i64> {
    get(object, "deletionGracePeriodSeconds")?.as_i64()
}

/// A time as Kubernetes writes it: whole seconds.
pub fn time(now: Timestamp) -> Value {
    Value::String(now.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// The n-th random-looking number of a seed (splitmix64).
pub fn scrambled(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add(n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The n-th UID of a seed, in the form of a random one.
pub fn uid(seed: u64, n: u64) -> String {
    let (a, b) = (scrambled(seed, 2 * n), scrambled(seed, 2 * n + 1));
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        0x8000 | ((b >> 48) & 0x3fff),
        b & 0xffff_ffff_ffff,
    )
}

/// What the real server appends to a `generateName`.
pub fn suffix(seed: u64, n: u64) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut rest = scrambled(seed ^ 0x5bf0_3635, n);
    let mut suffix = String::new();
    for _ in 0..5 {
        let at = usize::try_from(rest % LETTERS.len() as u64).unwrap_or_default();
        suffix.push(char::from(LETTERS[at]));
        rest /= LETTERS.len() as u64;
    }
    suffix
}

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

pub(crate) const LABEL_KEY: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// What is wrong with labels; lengths and prefixes are not looked at.
pub(crate) fn label_problems(object: &Value) -> Vec<FieldError> {
    let is_word = |text: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        text.chars().all(inner) && end(text.chars().next()) && end(text.chars().last())
    };
    let mut problems = Vec::new();
    let labels = get(object, "labels").and_then(Value::as_object);
    for (key, value) in labels.into_iter().flatten() {
        let name = key.split_once('/').map_or(key.as_str(), |(_, name)| name);
        if !is_word(name) {
            problems.push(FieldError::invalid("metadata.labels", &json!(key), LABEL_KEY));
        }
        let text = value.as_str().unwrap_or_default();
        if !text.is_empty() && !is_word(text) {
            problems.push(FieldError::invalid("metadata.labels", value, LABEL_VALUE));
        }
    }
    problems
}

/// What is wrong with the owner references.
fn owner_problems(object: &Value) -> Vec<FieldError> {
    const FIELDS: &[&str] =
        &["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
    const FIELD: &str = "metadata.ownerReferences";
    let mut problems = Vec::new();
    let mut controller: Option<String> = None;
    let all = get(object, "ownerReferences").unwrap_or(&Value::Null);
    for reference in all.as_array().into_iter().flatten() {
        for key in ["apiVersion", "kind", "name", "uid"] {
            if text(reference, &[key]).is_empty() {
                let what = if key == "apiVersion" { "version " } else { "" };
                let why = format!("{what}must not be empty");
                problems.push(FieldError::invalid(format!("{FIELD}.{key}"), &json!(""), &why));
            }
        }
        if (text(reference, &["apiVersion"]), text(reference, &["kind"])) == ("v1", "Event") {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            problems.push(FieldError::invalid_text(FIELD, &in_order(reference, FIELDS), why));
        }
        if reference["controller"] == true {
            let name = format!("{}/{}", text(reference, &["kind"]), text(reference, &["name"]));
            let Some(first) = &controller else {
                controller = Some(name);
                continue;
            };
            let why = format!(
                "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {name}"
            );
            problems.push(FieldError::invalid_text(FIELD, &in_order(all, FIELDS), &why));
        }
    }
    problems
}

fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// What is wrong with the metadata of an object that is created or updated.
pub fn problems(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let mut problems = Vec::new();
    let name = of(object, "name");
    if name.is_empty() {
        let why = "name or generateName is required";
        problems.push(FieldError::required("metadata.name", why));
    } else if resource.plural == "namespaces" {
        if !is_label(name) {
            problems.push(FieldError::invalid("metadata.name", &json!(name), LABEL));
        }
    } else if !name.split('.').all(is_label) {
        problems.push(FieldError::invalid("metadata.name", &json!(name), SUBDOMAIN));
    }
    problems.extend(label_problems(object));
    problems.extend(owner_problems(object));
    let annotations = get(object, "annotations").and_then(Value::as_object);
    let bytes = |(key, value): (&String, &Value)| key.len() + value.as_str().map_or(0, str::len);
    if annotations.into_iter().flatten().map(bytes).sum::<usize>() > ANNOTATIONS_LIMIT {
        problems.push(FieldError::too_long("metadata.annotations", ANNOTATIONS_LIMIT as u64));
    }
    problems
}

/// What is wrong with how the metadata changes. The real server says it twice: once for every kind of
/// object, and once for this one.
pub fn changes(old: &Value, new: &Value) -> Vec<FieldError> {
    let mut problems = Vec::new();
    for key in ["uid", "name", "namespace"] {
        if of(new, key) != of(old, key) {
            let value = json!(of(new, key));
            let field = format!("metadata.{key}");
            problems.push(FieldError::invalid(field, &value, "field is immutable"));
        }
    }
    if is_deleting(old) {
        let before = finalizers(old);
        let added: Vec<String> = finalizers(new)
            .into_iter()
            .filter(|finalizer| !before.contains(finalizer))
            .map(|finalizer| format!("{finalizer:?}"))
            .collect();
        if !added.is_empty() {
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.join(", ")
            );
            problems.push(FieldError::forbidden("metadata.finalizers", &why));
        }
    }
    let again = problems.clone();
    problems.extend(again);
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::of_kubernetes;

    #[test]
    fn uids_look_random_and_are_the_same_for_the_same_seed() {
        let (a, b) = (uid(7, 1), uid(7, 2));
        assert_ne!(a, b);
        assert_eq!(a, uid(7, 1));
        assert_ne!(a, uid(8, 1));
        assert_eq!((a.len(), a.as_bytes()[14]), (36, b'4'));
        assert_eq!(suffix(7, 1).len(), 5);
    }

    #[test]
    fn times_are_whole_seconds() {
        let at: Timestamp = "2026-01-01T00:00:01.5Z".parse().unwrap();
        assert_eq!(time(at), "2026-01-01T00:00:01Z");
    }

    #[test]
    fn what_is_empty_is_not_there() {
        let mut object = json!({ "metadata": { "name": "n", "labels": {}, "finalizers": [], "annotations": { "a": "" } } });
        without_empties(&mut object);
        assert_eq!(object, json!({ "metadata": { "name": "n", "annotations": { "a": "" } } }));
    }

    #[test]
    fn names_are_checked_as_the_real_server_does() {
        let nodes = &of_kubernetes()[0];
        let problem = |name: &str| {
            let found = problems(nodes, &json!({ "metadata": { "name": name } }));
            found.first().map(|problem| problem.body.clone()).unwrap_or_default()
        };
        assert_eq!(problem("a.b-c.1"), "");
        assert!(
            problem("UPPER")
                .starts_with("Invalid value: \"UPPER\": a lowercase RFC 1123 subdomain")
        );
        assert_eq!(problem(""), "Required value: name or generateName is required");
        let annotations =
            json!({ "metadata": { "name": "n", "annotations": { "a": "x".repeat(262_144) } } });
        assert_eq!(
            problems(nodes, &annotations)[0].body,
            "Too long: may not be more than 262144 bytes"
        );
    }

    /// As kube-apiserver 1.36.3 answered.
    #[test]
    fn labels_are_words() {
        let nodes = &of_kubernetes()[0];
        let problem = |key: &str, value: &str| {
            let found =
                problems(nodes, &json!({ "metadata": { "name": "n", "labels": { key: value } } }));
            found.first().map(|problem| problem.body.clone()).unwrap_or_default()
        };
        assert_eq!((problem("a.b/c", ""), problem("a", "x_y.z")), (String::new(), String::new()));
        assert!(
            problem("bad key!", "x")
                .starts_with("Invalid value: \"bad key!\": name part must consist of")
        );
        assert!(
            problem("a", "-x")
                .starts_with("Invalid value: \"-x\": a valid label must be an empty string or")
        );
    }

    #[test]
    fn no_finalizer_comes_onto_an_object_that_is_being_deleted() {
        let old = json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a"] } });
        let new = json!({ "metadata": { "finalizers": ["a", "b/c"] } });
        let found = changes(&old, &new);
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0].body,
            "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"b/c\"}"
        );
        assert!(changes(&old, &old).is_empty());
    }
}
