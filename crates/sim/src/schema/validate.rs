//! Structural validation, in the words of `kube-openapi/pkg/validation`. An error in what an update
//! does not change is let through (ratcheting, KEP-4008).

use serde_json::Value;

use super::{ListType, Node};
use crate::status::FieldError;

impl Node {
    /// Adds what is wrong with a value.
    pub(super) fn validate(
        &self,
        value: &Value,
        old: Option<&Value>,
        path: &str,
        problems: &mut Vec<FieldError>,
    ) {
        if old == Some(value) || (value.is_null() && self.nullable) {
            return;
        }
        if !self.has_type(value) {
            let name = type_name(value);
            let wanted = self.kind.as_deref().unwrap_or("integer,string");
            let detail = format!("{path} in body must be of type {wanted}: \"{name}\"");
            problems.push(FieldError::type_invalid(path, &Value::from(name), &detail));
            return;
        }
        if !self.allowed.is_empty() && !self.allowed.contains(value) {
            problems.push(FieldError::unsupported(path, value, &self.allowed));
        }
        match value {
            Value::String(text) => self.validate_text(text, value, path, problems),
            Value::Number(number) => {
                self.validate_number(number.as_f64().unwrap_or_default(), value, path, problems);
            }
            Value::Array(entries) => self.validate_list(entries, old, path, problems),
            Value::Object(_) => self.validate_map(value, old, path, problems),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn has_type(&self, value: &Value) -> bool {
        if self.int_or_string {
            return value.is_string() || value.is_i64() || value.is_u64();
        }
        match self.kind.as_deref() {
            Some("string") => value.is_string(),
            Some("boolean") => value.is_boolean(),
            Some("integer") => value.is_i64() || value.is_u64(),
            Some("number") => value.is_number(),
            Some("array") => value.is_array(),
            Some("object") => value.is_object(),
            _ => true,
        }
    }

    fn validate_text(&self, text: &str, value: &Value, path: &str, problems: &mut Vec<FieldError>) {
        // Of length and letters only the first is said.
        let length = text.chars().count() as u64;
        if let Some(most) = self.max_length.filter(|most| length > *most) {
            problems.push(FieldError::too_long(path, most));
        } else if let Some(least) = self.min_length.filter(|least| length < *least) {
            let detail = format!("{path} in body should be at least {least} chars long");
            problems.push(FieldError::invalid(path, value, &detail));
        } else if let Some(pattern) = self.pattern.as_ref().filter(|found| !found.is_match(text)) {
            let detail = format!("{path} in body should match '{pattern}'");
            problems.push(FieldError::invalid(path, value, &detail));
        }
        if self.format.as_deref() == Some("date-time") && text.parse::<jiff::Timestamp>().is_err() {
            let detail = format!("{path} in body must be of type date-time: {value}");
            problems.push(FieldError::type_invalid(path, value, &detail));
        }
    }

    fn validate_number(&self, is: f64, value: &Value, path: &str, problems: &mut Vec<FieldError>) {
        if let Some(most) = self.maximum.filter(|most| is > *most) {
            let detail = format!("{path} in body should be less than or equal to {most}");
            problems.push(FieldError::invalid(path, value, &detail));
        }
        if let Some(least) = self.minimum.filter(|least| is < *least) {
            let detail = format!("{path} in body should be greater than or equal to {least}");
            problems.push(FieldError::invalid(path, value, &detail));
        }
    }

    fn validate_list(
        &self,
        entries: &[Value],
        old: Option<&Value>,
        path: &str,
        problems: &mut Vec<FieldError>,
    ) {
        let count = entries.len() as u64;
        if let Some(most) = self.max_items.filter(|most| count > *most) {
            problems.push(FieldError::too_many(path, entries.len(), most));
        }
        if let Some(least) = self.min_items.filter(|least| count < *least) {
            let detail = format!("{path} in body should have at least {least} items");
            problems.push(FieldError::invalid(path, &Value::from(count), &detail));
        }
        let Some(items) = &self.items else { return };
        let before = old.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for (at, entry) in entries.iter().enumerate() {
            let same = |other: &&Value| match self.identity(entry) {
                Some(id) => self.identity(other) == Some(id),
                None => false,
            };
            let old = before.iter().find(same);
            items.validate(entry, old, &format!("{path}[{at}]"), problems);
        }
        for (at, entry) in entries.iter().enumerate() {
            let Some(id) = self.identity(entry) else { continue };
            if entries[..at].iter().any(|earlier| self.identity(earlier).as_ref() == Some(&id)) {
                problems.push(FieldError::duplicate(format!("{path}[{at}]"), &id));
            }
        }
    }

    /// What tells an entry of a set or of a map from the others.
    fn identity(&self, entry: &Value) -> Option<Value> {
        match &self.list {
            ListType::Atomic => None,
            ListType::Set => Some(entry.clone()),
            ListType::Map(keys) => {
                let fields =
                    keys.iter().filter_map(|key| Some((key.clone(), entry.get(key)?.clone())));
                Some(Value::Object(fields.collect()))
            }
        }
    }

    fn validate_map(
        &self,
        value: &Value,
        old: Option<&Value>,
        path: &str,
        problems: &mut Vec<FieldError>,
    ) {
        let Some(map) = value.as_object() else { return };
        if let Some(most) = self.max_properties.filter(|most| map.len() as u64 > *most) {
            problems.push(FieldError::too_many(path, map.len(), most));
        }
        let below =
            |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        for key in self.required.iter().filter(|key| !map.contains_key(*key)) {
            problems.push(FieldError::required(below(key), ""));
        }
        for (key, value) in map {
            if let Some(inner) = self.properties.get(key).or(self.additional.as_deref()) {
                inner.validate(value, old.and_then(|old| old.get(key)), &below(key), problems);
            }
        }
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
