//! The CEL rules of a schema, by the crate that kube itself uses.

use std::collections::BTreeSet;

use kube_cel::CompiledSchema;
use serde_json::{Map, Value, json};

use crate::status::FieldError;

const RULES: &str = "x-kubernetes-validations";

/// Rules, compiled once.
#[derive(Debug)]
pub(super) struct Rules {
    compiled: Option<CompiledSchema>,
    /// Rules of an object that point at a field of it: what they show is the object.
    pointing: BTreeSet<String>,
}

impl Rules {
    /// Compiles the rules of a schema; one that cannot be compiled is named in `unknown`.
    pub(super) fn new(schema: &Value, unknown: &mut Vec<String>) -> Self {
        let compiled = only_rules(schema).map(|schema| kube_cel::compile_schema(&schema));
        if let Some(compiled) = &compiled {
            collect_errors(compiled, "", unknown);
        }
        let mut pointing = BTreeSet::new();
        collect_pointing(schema, &mut pointing);
        Rules { compiled, pointing }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.compiled.is_none()
    }

    /// What is wrong by the rules. A rule about one state alone says nothing about what an update does
    /// not change (ratcheting).
    pub(super) fn problems(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let Some(compiled) = &self.compiled else { return Vec::new() };
        let Err(errors) = kube_cel::validate_compiled(compiled, object, old) else {
            return Vec::new();
        };
        let mut errors = errors.into_vec();
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
                problem(error.reason.as_deref(), &error.field_path, value, &error.message)
            })
            .collect()
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
                kept.insert(keyword.clone(), value.clone());
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
                rules.insert(rule.clone());
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
