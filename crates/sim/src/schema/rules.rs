//! The CEL rules of a schema, by the crate that kube itself uses.

use std::collections::{BTreeMap, BTreeSet};

use kube_cel::CompiledSchema;
use serde_json::{Map, Value, json};

use super::places::Place;
use crate::status::FieldError;

pub(super) const RULES: &str = "x-kubernetes-validations";

/// The crate has no types as values. The one way in which our rules use them, in other words that mean the
/// same of an int or a string.
const IS_INT: (&str, &str) = ("type(self) == int", "string(self) != self");

const NO_DURATION: &str = "type conversion error from 'string' to 'google.protobuf.Duration'";

/// Rules, compiled once.
#[derive(Debug)]
pub(super) struct Rules {
    places: Option<Place>,
    /// Rules of an object that point at a field of it: what they show is the object.
    pointing: BTreeSet<String>,
    /// What a rule says when it does not hold.
    messages: BTreeMap<String, String>,
}

impl Rules {
    /// Compiles the rules of a schema; one that cannot be compiled is named in `unknown`.
    pub(super) fn new(schema: &Value, unknown: &mut Vec<String>) -> Self {
        let schema_of_rules = only_rules(schema);
        if let Some(schema) = &schema_of_rules {
            collect_errors(&kube_cel::compile_schema(schema), "", unknown);
        }
        let places = schema_of_rules.as_ref().map(Place::new);
        let (mut pointing, mut messages) = (BTreeSet::new(), BTreeMap::new());
        collect_pointing(schema, &mut pointing);
        collect_messages(schema, &mut messages);
        let types = messages.keys().filter(|rule| rule.contains("type("));
        unknown.extend(types.map(|rule| format!("the rule `{rule}`, with a type as a value")));
        Rules { places, pointing, messages }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_none()
    }

    /// What is wrong by the rules. A rule about one state alone says nothing about what an update does
    /// not change (ratcheting).
    pub(super) fn problems(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let Some(places) = &self.places else { return Vec::new() };
        let mut errors = places.errors(object, old);
        // The crate walks hash maps.
        errors.sort_by(|a, b| (&a.field_path, &a.message).cmp(&(&b.field_path, &b.message)));
        let unchanged = |path: &str| old.is_some_and(|old| at(old, path) == at(object, path));
        let counts = |rule: &str, path: &str| rule.contains("oldSelf") || !unchanged(path);
        errors
            .into_iter()
            .filter(|error| counts(&error.rule, &error.field_path))
            .map(|error| {
                let shown = !self.pointing.contains(&error.rule);
                let value = at(object, &error.field_path).filter(|_| shown);
                if is_no_duration(&error.rule, value, &error.message) {
                    // Of a rule that broke off the type is shown, and not the value.
                    let message = self.messages.get(&error.rule).unwrap_or(&error.rule);
                    let why = format!("{NO_DURATION} evaluating rule: {message}");
                    return FieldError::invalid(&error.field_path, &json!("string"), &why);
                }
                problem(error.reason.as_deref(), &error.field_path, value, &error.message)
            })
            .collect()
    }
}

/// True when a rule broke off since a text is no duration, to Go: the crate does not mind what is too long.
fn is_no_duration(rule: &str, value: Option<&Value>, message: &str) -> bool {
    let broke_off = message.contains("Error executing function 'duration'");
    let text = value.and_then(Value::as_str).filter(|_| rule.contains("duration(self)"));
    broke_off || text.is_some_and(|text| nanoseconds(text).is_none())
}

/// A duration in Go's form, if it has room in 64 bits; no fractions, which our patterns do not allow.
fn nanoseconds(text: &str) -> Option<i64> {
    const UNITS: [(&str, i64); 4] =
        [("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000)];
    let (mut rest, mut all) = (text, 0_i64);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest[..end].parse().ok()?;
        let (unit, length) = UNITS.iter().find(|(unit, _)| rest[end..].starts_with(unit))?;
        all = all.checked_add(number.checked_mul(*length)?)?;
        rest = &rest[end + unit.len()..];
    }
    Some(all)
}

/// Puts a rule into the words of the crate.
fn reworded(mut rules: Value) -> Value {
    for rule in rules.as_array_mut().into_iter().flatten() {
        if let Some(Value::String(text)) = rule.get_mut("rule") {
            *text = text.replace(IS_INT.0, IS_INT.1);
        }
    }
    rules
}

fn collect_messages(schema: &Value, messages: &mut BTreeMap<String, String>) {
    match schema {
        Value::Object(map) => {
            if let (Some(Value::String(rule)), Some(Value::String(message))) =
                (map.get("rule"), map.get("message"))
            {
                messages.insert(rule.replace(IS_INT.0, IS_INT.1), message.clone());
            }
            map.values().for_each(|inner| collect_messages(inner, messages));
        }
        Value::Array(all) => all.iter().for_each(|inner| collect_messages(inner, messages)),
        _ => {}
    }
}

/// As `apiextensions-apiserver/pkg/apiserver/schema/cel/validation.go` words it: values that are not
/// scalars are left out.
fn problem(reason: Option<&str>, path: &str, value: Option<&Value>, message: &str) -> FieldError {
    let field = if path.is_empty() { "<nil>" } else { path };
    match (reason, value) {
        (Some("FieldValueForbidden"), _) => FieldError::forbidden(field, message),
        (Some("FieldValueRequired"), _) => FieldError::required(field, message),
        (_, Some(value)) if !value.is_object() && !value.is_array() => {
            FieldError::invalid(field, value, message)
        }
        _ => FieldError::invalid_omitted(field, message),
    }
}

/// The value at a path such as `spec.remedies[0].timeout`.
fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let mut value = object;
    for step in path.split('.').filter(|step| !step.is_empty()) {
        let mut parts = step.split('[');
        let key = parts.next().unwrap_or_default();
        if !key.is_empty() {
            value = value.get(key)?;
        }
        for index in parts {
            value = value.get(index.trim_end_matches(']').parse::<usize>().ok()?)?;
        }
    }
    Some(value)
}

/// The schema without whatever has no rule in it: the rest need not be turned into CEL values. Formats
/// and names stay, for they decide how a value looks to a rule.
fn only_rules(schema: &Value) -> Option<Value> {
    let map = schema.as_object()?;
    let mut kept = Map::new();
    for (keyword, value) in map {
        match keyword.as_str() {
            RULES => {
                kept.insert(keyword.clone(), reworded(value.clone()));
            }
            "properties" => {
                let inner = value.as_object().into_iter().flatten();
                let inner: Map<String, Value> = inner
                    .filter_map(|(name, inner)| Some((name.clone(), only_rules(inner)?)))
                    .collect();
                if !inner.is_empty() {
                    kept.insert(keyword.clone(), Value::Object(inner));
                }
            }
            "items" | "additionalProperties" => {
                if let Some(inner) = only_rules(value) {
                    kept.insert(keyword.clone(), inner);
                }
            }
            _ => {}
        }
    }
    if kept.is_empty() {
        return None;
    }
    for keyword in ["type", "format", "x-kubernetes-int-or-string"] {
        if let Some(value) = map.get(keyword) {
            kept.insert(keyword.to_owned(), value.clone());
        }
    }
    Some(json!(kept))
}

fn collect_pointing(schema: &Value, rules: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            if let (Some(_), Some(Value::String(rule))) = (map.get("fieldPath"), map.get("rule")) {
                rules.insert(rule.replace(IS_INT.0, IS_INT.1));
            }
            map.values().for_each(|inner| collect_pointing(inner, rules));
        }
        Value::Array(all) => all.iter().for_each(|inner| collect_pointing(inner, rules)),
        _ => {}
    }
}

fn collect_errors(compiled: &CompiledSchema, path: &str, unknown: &mut Vec<String>) {
    for error in compiled.compilation_errors() {
        unknown.push(format!("{path}: {error}"));
    }
    let below = compiled.properties.iter().map(|(name, inner)| (name.as_str(), inner));
    let lists =
        compiled.items.as_deref().into_iter().chain(compiled.additional_properties.as_deref());
    for (name, inner) in below.chain(lists.map(|inner| ("[]", inner))) {
        collect_errors(inner, &format!("{path}.{name}"), unknown);
    }
    unknown.sort();
}
