//! The normal form of the answers of one case: what must differ from run to run is replaced, so that what is left can
//! be compared letter by letter.
//!
//! | what | becomes |
//! |---|---|
//! | UIDs | `<uid1>`, … in the order of their appearance |
//! | resourceVersions of objects | `<rv1>`, … in their own order |
//! | resourceVersions of lists, bookmarks and tables | `<rv1 or later>`: other writers may have moved the count on |
//! | times after 2024 | `<time>`, `<microtime>`; scripts use earlier ones, which are compared |
//! | names by generateName | `prefix<name1>` |
//! | managedFields | left out |
//! | continue tokens | `<continue>` |
//! | ages in tables | `<age>` |
//! | the order of the resources of one API, in discovery | sorted: with CRDs it is random |
//! | a bookmark right after one that says the same | left out |
//! | a whole object in the text of an error | `<object>` |
//! | the order of causes in an error, and of their texts in its message | sorted: the real server's is random |

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::{Map, Value};

use crate::record::Record;

struct Patterns {
    uid: Regex,
    time: Regex,
    age: Regex,
    volume: Regex,
    old: Regex,
    current: Regex,
    object: Regex,
}

/// The patterns are constants; one that is wrong fails every test.
#[allow(clippy::expect_used, reason = "constants, compiled in every test")]
static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    let regex = |text: &str| Regex::new(text).expect("a constant pattern");
    Patterns {
        uid: regex("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
        time: regex(r"(20[0-9]{2})-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z"),
        age: regex("^([0-9]+[smhdy])+$"),
        volume: regex("kube-api-access-[a-z0-9]{5}"),
        old: regex(r"(too old resource version: [0-9]+) \([0-9]+\)"),
        current: regex("(Too large resource version: [0-9]+), current: [0-9]+"),
        object: regex(r#"Invalid value: "\{.*\}": "#),
    }
});

/// The first year whose times are the server's clock.
const FIRST_YEAR: u32 = 2024;

#[derive(Default)]
struct Names {
    uids: Vec<String>,
    /// Resource versions of objects, in order.
    versions: Vec<u64>,
    generated: BTreeMap<String, String>,
}

/// Brings the answers of one case to normal form.
pub fn normalise(mut records: Vec<Record>) -> Vec<Record> {
    let mut names = Names::default();
    for record in &records {
        names.learn(&record.body);
    }
    names.versions.sort_unstable();
    names.versions.dedup();
    for record in &mut records {
        names.replace(&mut record.body);
        drop_repeated_bookmarks(&mut record.body);
        record.request = names.text(&record.request);
        record.request = names.versions_in_query(&record.request);
        for value in record.headers.values_mut() {
            *value = names.text(value);
        }
    }
    records
}

impl Names {
    fn learn(&mut self, value: &Value) {
        match value {
            Value::String(text) => {
                for found in PATTERNS.uid.find_iter(text) {
                    if !self.uids.iter().any(|uid| uid == found.as_str()) {
                        self.uids.push(found.as_str().to_owned());
                    }
                }
            }
            Value::Array(list) => list.iter().for_each(|item| self.learn(item)),
            Value::Object(map) => {
                if let Some(Value::Object(metadata)) = map.get("metadata") {
                    self.learn_metadata(metadata);
                }
                map.values().for_each(|item| self.learn(item));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn learn_metadata(&mut self, metadata: &Map<String, Value>) {
        let text = |key: &str| metadata.get(key).and_then(Value::as_str);
        // A bookmark, a list and a table have no UID.
        if let (Some(_), Some(version)) = (text("uid"), text("resourceVersion")) {
            self.versions.extend(version.parse::<u64>());
        }
        if let (Some(prefix), Some(name)) = (text("generateName"), text("name"))
            && name.strip_prefix(prefix).is_some_and(|rest| rest.len() == 5)
        {
            let number = self.generated.len() + 1;
            let name = name.to_owned();
            self.generated.entry(name).or_insert_with(|| format!("{prefix}<name{number}>"));
        }
    }

    fn replace(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(list) => {
                list.iter_mut().for_each(|item| self.replace(item));
                sort_resources(list);
            }
            Value::Object(map) => {
                if let Some(Value::Object(metadata)) = map.get_mut("metadata") {
                    self.replace_metadata(metadata);
                }
                if map.get("kind").and_then(Value::as_str) == Some("Table") {
                    ages(map);
                }
                map.values_mut().for_each(|item| self.replace(item));
                if map.get("kind").and_then(Value::as_str) == Some("Status") {
                    sort_causes(map);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn replace_metadata(&self, metadata: &mut Map<String, Value>) {
        metadata.remove("managedFields");
        let is_object = metadata.contains_key("uid");
        if let Some(Value::String(version)) = metadata.get_mut("resourceVersion") {
            *version = self.version(version, is_object);
        }
        if let Some(Value::String(token)) = metadata.get_mut("continue")
            && !token.is_empty()
        {
            *token = "<continue>".to_owned();
        }
    }

    fn version(&self, text: &str, exactly: bool) -> String {
        let Ok(version) = text.parse::<u64>() else { return text.to_owned() };
        if version < 2 {
            return text.to_owned();
        }
        let number = self.versions.partition_point(|known| *known <= version);
        if exactly { format!("<rv{number}>") } else { format!("<rv{number} or later>") }
    }

    /// Versions that a script put into a query; constants of scripts are not among those of objects.
    fn versions_in_query(&self, request: &str) -> String {
        let Some((path, query)) = request.split_once('?') else { return request.to_owned() };
        let parts = query.split('&').map(|part| match part.split_once('=') {
            Some((key @ "resourceVersion", value)) => match value.parse::<u64>() {
                Ok(version) if version > 1 && version < 1_000_000_000 => {
                    format!("{key}={}", self.version(value, false))
                }
                _ => part.to_owned(),
            },
            Some((key @ "continue", _)) => format!("{key}=<continue>"),
            _ => part.to_owned(),
        });
        format!("{path}?{}", parts.collect::<Vec<_>>().join("&"))
    }

    fn text(&self, text: &str) -> String {
        let mut out = PATTERNS
            .uid
            .replace_all(text, |found: &Captures<'_>| {
                let number = self.uids.iter().position(|uid| *uid == found[0]);
                number.map_or_else(|| "<uid>".to_owned(), |number| format!("<uid{}>", number + 1))
            })
            .into_owned();
        for (name, placeholder) in &self.generated {
            out = out.replace(name, placeholder);
        }
        let times = PATTERNS.time.replace_all(&out, |found: &Captures<'_>| {
            let of_server = found[1].parse::<u32>().is_ok_and(|year| year >= FIRST_YEAR);
            match (of_server, found.get(2)) {
                (false, _) => found[0].to_owned(),
                (true, None) => "<time>".to_owned(),
                (true, Some(_)) => "<microtime>".to_owned(),
            }
        });
        let volumes = PATTERNS.volume.replace_all(&times, "kube-api-access-<name>");
        let old = PATTERNS.old.replace_all(&volumes, "$1 (<rv>)");
        let current = PATTERNS.current.replace_all(&old, "$1, current: <rv>");
        PATTERNS.object.replace_all(&current, "Invalid value: \"<object>\": ").into_owned()
    }
}

/// Replaces ages in the rows of a table.
fn ages(table: &mut Map<String, Value>) {
    let Some(Value::Array(rows)) = table.get_mut("rows") else { return };
    let cells = rows.iter_mut().filter_map(|row| row.get_mut("cells")?.as_array_mut()).flatten();
    for cell in cells {
        if cell.as_str().is_some_and(|text| PATTERNS.age.is_match(text)) {
            *cell = Value::from("<age>");
        }
    }
}

/// Sorts the resources of one API in answers about discovery, of either form.
fn sort_resources(list: &mut [Value]) {
    for (key, only_there) in [("name", "singularName"), ("resource", "responseKind")] {
        if list.iter().all(|item| item.get(only_there).is_some()) {
            list.sort_by_key(|item| item[key].as_str().unwrap_or_default().to_owned());
        }
    }
}

/// How many bookmarks the real server sends in the last two seconds of a watch is random.
fn drop_repeated_bookmarks(body: &mut Value) {
    if let Some(Value::Array(events)) = body.get_mut("events") {
        events.dedup_by(|event, before| event == before && event["type"] == "BOOKMARK");
    }
}

/// Sorts the causes of an error, and their texts in its message.
fn sort_causes(status: &mut Map<String, Value>) {
    let causes = status.get_mut("details").and_then(|details| details.get_mut("causes"));
    let Some(Value::Array(causes)) = causes else { return };
    causes.sort_by_key(Value::to_string);
    let texts = causes.iter().map(|cause| {
        let text = |key: &str| cause[key].as_str().unwrap_or_default();
        format!("{}: {}", text("field"), text("message"))
    });
    let sorted = texts.collect::<Vec<_>>().join(", ");
    let Some(Value::String(message)) = status.get_mut("message") else { return };
    let Some((before, list)) = message.split_once(" is invalid: [") else { return };
    // The same texts in another order are as long.
    if list.len() == sorted.len() + 1 {
        *message = format!("{before} is invalid: [{sorted}]");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(body: Value) -> Record {
        Record {
            case: "a/b".to_owned(),
            step: "1".to_owned(),
            request: "GET /x?resourceVersion=12&watch=true".to_owned(),
            status: 200,
            headers: BTreeMap::new(),
            body,
        }
    }

    fn object(version: &str, uid: &str) -> Value {
        json!({ "metadata": { "name": "n", "resourceVersion": version, "uid": uid } })
    }

    const A: &str = "6b1f6c5e-3c7e-4a53-9d0c-1d6b1a1a2b3c";
    const B: &str = "7b1f6c5e-3c7e-4a53-9d0c-1d6b1a1a2b3c";

    fn bodies(records: &[Value]) -> Vec<Value> {
        let records = records.iter().cloned().map(record).collect();
        normalise(records).into_iter().map(|record| record.body).collect()
    }

    #[test]
    fn versions_keep_their_order_and_uids_their_identity() {
        let one = bodies(&[object("9", A), object("12", B), object("9", A)]);
        let other = bodies(&[object("101", B), object("333", A), object("101", B)]);
        assert_eq!(one, other);
        assert_eq!(one[1], object("<rv2>", "<uid2>"));
        let back = bodies(&[object("12", A), object("9", B), object("9", A)]);
        assert_ne!(one, back, "a version that goes back is a difference");
    }

    #[test]
    fn the_version_of_a_list_is_a_lower_bound() {
        let list =
            |version: &str| json!({ "items": [], "metadata": { "resourceVersion": version } });
        let found = bodies(&[object("9", A), list("9"), list("11"), list("8")]);
        assert_eq!(found[1], list("<rv1 or later>"));
        assert_eq!(found[2], list("<rv1 or later>"));
        assert_eq!(found[3], list("<rv0 or later>"), "a list of the past is a difference");
    }

    #[test]
    fn versions_in_a_request_are_replaced_and_no_others() {
        let found = normalise(vec![record(object("12", A))]);
        assert_eq!(found[0].request, "GET /x?resourceVersion=<rv1 or later>&watch=true");
    }

    #[test]
    fn times_of_the_server_go_and_those_of_scripts_stay() {
        let found = bodies(&[json!({
            "a": "2020-01-01T00:00:05.000000Z", "b": "2026-01-01T00:00:05Z",
            "c": "at 2026-01-01T00:00:05.123456Z",
        })]);
        let expected =
            json!({ "a": "2020-01-01T00:00:05.000000Z", "b": "<time>", "c": "at <microtime>" });
        assert_eq!(found, [expected]);
    }

    #[test]
    fn generated_names_are_replaced_wherever_they_stand() {
        let made = json!({ "metadata": { "generateName": "web-", "name": "web-x7x2p" } });
        let found = bodies(&[made, json!({ "message": "pods \"web-x7x2p\" not found" })]);
        assert_eq!(found[0]["metadata"]["name"], "web-<name1>");
        assert_eq!(found[1]["message"], "pods \"web-<name1>\" not found");
    }

    #[test]
    fn causes_in_another_order_are_the_same_and_other_causes_are_not() {
        let status = |fields: [&str; 2]| {
            let causes = fields.map(|f| json!({ "field": f, "message": "Required value" }));
            let texts = fields.map(|f| format!("{f}: Required value")).join(", ");
            let message = format!("X \"a\" is invalid: [{texts}]");
            json!({ "kind": "Status", "details": { "causes": causes }, "message": message })
        };
        assert_eq!(bodies(&[status(["b", "a"])]), bodies(&[status(["a", "b"])]));
        assert_ne!(bodies(&[status(["b", "a"])]), bodies(&[status(["b", "c"])]));
    }

    #[test]
    fn resources_of_an_api_are_sorted_and_other_lists_are_not() {
        let list = |names: [&str; 2], key: &str, other: &str| {
            json!(names.map(|name| json!({ key: name, other: "" })))
        };
        let sorted =
            |key, other| bodies(&[list(["b", "a"], key, other)]) == [list(["a", "b"], key, other)];
        assert!(sorted("name", "singularName"));
        assert!(sorted("resource", "responseKind"));
        assert!(!sorted("name", "kind"));
    }

    #[test]
    fn a_bookmark_that_says_nothing_new_goes_and_other_events_stay() {
        let events = |types: &[&str]| {
            let events: Vec<_> = types.iter().map(|t| json!({ "type": t })).collect();
            json!({ "events": events })
        };
        let found = bodies(&[events(&["ADDED", "ADDED", "BOOKMARK", "BOOKMARK"])]);
        assert_eq!(found, [events(&["ADDED", "ADDED", "BOOKMARK"])]);
    }

    #[test]
    fn managed_fields_tokens_and_ages_go() {
        let found = bodies(&[json!({
            "kind": "Table",
            "metadata": { "continue": "abc", "managedFields": [1] },
            "rows": [{ "cells": ["n", "3m20s", "5"] }],
        })]);
        assert_eq!(found[0]["metadata"], json!({ "continue": "<continue>" }));
        assert_eq!(found[0]["rows"][0]["cells"], json!(["n", "<age>", "5"]));
    }
}
