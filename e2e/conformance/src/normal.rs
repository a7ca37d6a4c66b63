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
            Value::Array(list) => list.iter_mut().for_each(|item| self.replace(item)),
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
