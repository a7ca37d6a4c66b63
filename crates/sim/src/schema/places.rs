//! The rules of a schema, place by place. An update asks only for what it changes: almost every write is
//! one of a status, whose frozen plan stays as it is, and turning all of an object into CEL values costs
//! more than the rest of the request.

use std::collections::{BTreeMap, BTreeSet};

use kube_cel::{CompiledSchema, ValidationError};
use serde_json::{Map, Value};

use super::rules::RULES;

/// What a rule calls the state before.
const OLD: &str = "oldSelf";

/// One place in the schema, and the places in it.
#[derive(Debug)]
pub(super) struct Place {
    /// The rules here; of a list or a map also those of its entries.
    here: Option<Here>,
    properties: BTreeMap<String, Place>,
}

#[derive(Debug)]
struct Here {
    compiled: CompiledSchema,
    /// One of them compares with what was there before.
    transition: bool,
    /// What they speak of, where they speak of nothing else.
    parts: Option<Parts>,
}

/// Names of fields, and of the fields in them; an empty set stands for the whole field.
type Parts = BTreeMap<String, BTreeSet<String>>;

impl Place {
    /// Compiles a schema that has nothing but rules.
    pub(super) fn new(schema: &Value) -> Self {
        let is_list = ["items", "additionalProperties"].iter().any(|key| schema.get(key).is_some());
        let inner = schema["properties"].as_object().filter(|_| !is_list);
        let properties = inner.into_iter().flatten();
        let properties =
            properties.map(|(name, inner)| (name.clone(), Place::new(inner))).collect();
        let own = schema.get(RULES);
        let here = (is_list || own.is_some()).then(|| Here {
            compiled: match is_list {
                true => kube_cel::compile_schema(schema),
                false => kube_cel::compile_schema(&without_inner_rules(schema.clone())),
            },
            transition: own.filter(|_| !is_list).unwrap_or(schema).to_string().contains(OLD),
            parts: own.filter(|_| !is_list).and_then(parts),
        });
        Place { here, properties }
    }

    /// What the rules say. Those of what an update leaves alone say nothing that counts, unless they
    /// compare.
    pub(super) fn errors(&self, value: &Value, old: Option<&Value>) -> Vec<ValidationError> {
        let mut errors = Vec::new();
        self.collect("", value, old, &mut errors);
        errors
    }

    fn collect(
        &self,
        path: &str,
        value: &Value,
        old: Option<&Value>,
        errors: &mut Vec<ValidationError>,
    ) {
        let same = old == Some(value);
        if let Some(here) = self.here.as_ref().filter(|here| here.transition || !same) {
            errors.extend(here.errors(value, old).into_iter().map(|mut error| {
                error.field_path = joined(path, &error.field_path);
                error
            }));
        }
        for (name, place) in &self.properties {
            let Some(value) = value.get(name) else { continue };
            let old = old.and_then(|old| old.get(name));
            place.collect(&joined(path, name), value, old, errors);
        }
    }
}

impl Here {
    fn errors(&self, value: &Value, old: Option<&Value>) -> Vec<ValidationError> {
        let found = match &self.parts {
            None => kube_cel::validate_compiled(&self.compiled, value, old),
            Some(parts) => {
                let old = old.map(|old| only(old, parts));
                kube_cel::validate_compiled(&self.compiled, &only(value, parts), old.as_ref())
            }
        };
        found.err().map_or_else(Vec::new, kube_cel::ValidationErrors::into_vec)
    }
}

/// A path in the object; that of a rule which points at a field begins with a dot.
fn joined(path: &str, name: &str) -> String {
    let name = name.strip_prefix('.').unwrap_or(name);
    match (path.is_empty(), name.is_empty() || name.starts_with('[')) {
        (true, _) => name.to_owned(),
        (false, true) => format!("{path}{name}"),
        (false, false) => format!("{path}.{name}"),
    }
}

/// An object with nothing but these parts.
fn only(value: &Value, parts: &Parts) -> Value {
    let kept = parts.iter().filter_map(|(name, inner)| {
        let field = value.get(name)?;
        let field = match field.as_object().filter(|_| !inner.is_empty()) {
            Some(map) => {
                let kept = map.iter().filter(|(name, _)| inner.contains(*name));
                Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
            }
            None => field.clone(),
        };
        Some((name.clone(), field))
    });
    Value::Object(kept.collect::<Map<_, _>>())
}

/// The parts of the object that rules speak of; `None` where one speaks of all of it.
fn parts(rules: &Value) -> Option<Parts> {
    let mut parts = Parts::new();
    let mut whole = BTreeSet::new();
    for rule in rules.as_array().into_iter().flatten() {
        for (before, name, inner) in spoken_of(rule["rule"].as_str()?) {
            let inner_parts = parts.entry(name?.to_owned()).or_default();
            match inner {
                Some(inner) => drop(inner_parts.insert(inner.to_owned())),
                // To ask whether it is there, nothing of it is needed.
                None if before.ends_with("has(") => {}
                None => drop(whole.insert(name?.to_owned())),
            }
        }
    }
    for name in whole {
        parts.insert(name, BTreeSet::new());
    }
    Some(parts).filter(|parts| !parts.is_empty())
}

/// Wherever a rule names the object: the text before, the field, and the field in it.
fn spoken_of(rule: &str) -> Vec<(&str, Option<&str>, Option<&str>)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let field = |rest: &'_ str| -> usize { rest.find(|c| !is_word(c)).unwrap_or(rest.len()) };
    let mut all = Vec::new();
    for name in ["self", OLD] {
        for (at, _) in rule.match_indices(name) {
            let (before, rest) = (&rule[..at], &rule[at + name.len()..]);
            if before.ends_with(is_word) || rest.starts_with(is_word) {
                continue;
            }
            let Some(after) = rest.strip_prefix('.') else {
                all.push((before, None, None));
                continue;
            };
            let (first, rest) = after.split_at(field(after));
            // A call is no field.
            let first = (!rest.starts_with('(')).then_some(first);
            let second = rest.strip_prefix('.').map(|rest| rest.split_at(field(rest)));
            let second = second.filter(|(_, rest)| !rest.starts_with('('));
            all.push((before, first, second.map(|(name, _)| name)));
        }
    }
    all
}

/// A schema with the rules of its uppermost level alone.
fn without_inner_rules(mut schema: Value) -> Value {
    for inner in schema["properties"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        strip(inner);
    }
    schema
}

fn strip(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.remove(RULES);
            map.values_mut().for_each(strip);
        }
        Value::Array(all) => all.iter_mut().for_each(strip),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_say_which_parts_they_need() {
        let of = |rule: &str| parts(&json!([{ "rule": rule }]));
        let set =
            |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(
            of("!has(oldSelf.status) || (has(self.status.epoch) && self.status.leader == 'a')"),
            Some([("status".to_owned(), set(&["epoch", "leader"]))].into())
        );
        assert_eq!(
            of("size(self.metadata.name) <= 63"),
            Some([("metadata".to_owned(), set(&["name"]))].into())
        );
        // The whole of a field, and the whole object.
        assert_eq!(of("self.min <= self.max").map(|parts| parts.len()), Some(2));
        assert_eq!(
            of("self.a.b == 1 && size(self.a) > 1"),
            Some([("a".to_owned(), set(&[]))].into())
        );
        assert_eq!(of("self.a.size() > 1"), Some([("a".to_owned(), set(&[]))].into()));
        for whole in [
            "self == oldSelf",
            "self.size() > 1",
            "self[0] == 1",
            "duration(self) > duration('1s')",
        ] {
            assert_eq!(of(whole), None, "{whole}");
        }
        assert_eq!(of("myself.a == 1"), None);
    }

    #[test]
    fn a_rule_may_point_at_a_field() {
        let rule = json!([{ "rule": "self.b != 1", "fieldPath": ".b" }]);
        let schema = json!({ "type": "object",
            "properties": { "a": { "type": "object", RULES: rule } } });
        let errors = Place::new(&schema).errors(&json!({ "a": { "b": 1 } }), None);
        assert_eq!(errors.into_iter().map(|e| e.field_path).collect::<Vec<_>>(), ["a.b"]);
    }

    #[test]
    fn what_an_update_leaves_alone_is_asked_only_by_rules_that_compare() {
        let place = Place::new(&json!({
            "type": "object",
            "properties": {
                "a": { "type": "string", RULES: [{ "rule": "self != 'bad'" }] },
                "b": { "type": "string", RULES: [{ "rule": "oldSelf == 'x'" }] },
                "list": { "type": "array", "items": { "type": "object", RULES: [{ "rule": "has(self.c)" }] } },
            },
        }));
        let paths = |value: &Value, old: Option<&Value>| -> Vec<String> {
            place.errors(value, old).into_iter().map(|error| error.field_path).collect()
        };
        let bad = json!({ "a": "bad", "b": "y", "list": [{ "c": 1 }, {}] });
        assert_eq!(paths(&bad, None), ["a", "list[1]"]);
        assert_eq!(paths(&bad, Some(&bad)), ["b"]);
        let good = json!({ "a": "good", "b": "x", "list": [] });
        assert_eq!(paths(&bad, Some(&good)), ["a", "list[1]"]);
    }
}
