//! What the real server does by the schema of a custom resource: prune, default, validate, and the CEL
//! rules (`apiextensions-apiserver/pkg/apiserver/schema`). What the schema says and this code does not
//! know is found when it is read, not passed over.

mod places;
mod rules;
mod validate;

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

use crate::status::FieldError;
use rules::Rules;

/// How the entries of a list are told apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum ListType {
    #[default]
    Atomic,
    Set,
    Map(Vec<String>),
}

/// One level of a structural schema.
#[derive(Debug, Clone, Default)]
struct Node {
    kind: Option<String>,
    int_or_string: bool,
    preserve: bool,
    nullable: bool,
    default: Option<Value>,
    properties: BTreeMap<String, Node>,
    required: Vec<String>,
    items: Option<Box<Node>>,
    additional: Option<Box<Node>>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    min_length: Option<u64>,
    max_length: Option<u64>,
    pattern: Option<Regex>,
    allowed: Vec<Value>,
    min_items: Option<u64>,
    max_items: Option<u64>,
    max_properties: Option<u64>,
    list: ListType,
    format: Option<String>,
}

/// Keywords that say nothing about what is valid, or that are read elsewhere.
const WORDS: &[&str] = &["description", "title", "example", "x-kubernetes-validations"];

impl Node {
    fn read(schema: &Value, path: &str, unknown: &mut Vec<String>) -> Self {
        let mut node = Node::default();
        for (keyword, value) in schema.as_object().into_iter().flatten() {
            let at = format!("{path}.{keyword}");
            if !node.take(keyword, value, &at, unknown) && !WORDS.contains(&keyword.as_str()) {
                unknown.push(at);
            }
        }
        node
    }

    /// False for a keyword that is not known, or whose value is not.
    fn take(&mut self, keyword: &str, value: &Value, at: &str, unknown: &mut Vec<String>) -> bool {
        let texts = |value: &Value| -> Vec<String> {
            let all = value.as_array().into_iter().flatten();
            all.filter_map(|text| text.as_str().map(str::to_owned)).collect()
        };
        match keyword {
            "type" => self.kind = value.as_str().map(str::to_owned),
            "format" => self.format = value.as_str().map(str::to_owned),
            "nullable" => self.nullable = value == true,
            "default" => self.default = Some(value.clone()),
            "required" => self.required = texts(value),
            "minimum" => self.minimum = value.as_f64(),
            "maximum" => self.maximum = value.as_f64(),
            "minLength" => self.min_length = value.as_u64(),
            "maxLength" => self.max_length = value.as_u64(),
            "minItems" => self.min_items = value.as_u64(),
            "maxItems" => self.max_items = value.as_u64(),
            "maxProperties" => self.max_properties = value.as_u64(),
            "enum" => self.allowed = value.as_array().cloned().unwrap_or_default(),
            "pattern" => {
                self.pattern = value.as_str().and_then(|text| Regex::new(text).ok());
                return self.pattern.is_some();
            }
            "items" => self.items = Some(Box::new(Node::read(value, at, unknown))),
            "additionalProperties" if value.is_object() => {
                self.additional = Some(Box::new(Node::read(value, at, unknown)));
            }
            "properties" => {
                for (name, inner) in value.as_object().into_iter().flatten() {
                    let node = Node::read(inner, &format!("{at}.{name}"), unknown);
                    self.properties.insert(name.clone(), node);
                }
            }
            "x-kubernetes-int-or-string" => self.int_or_string = value == true,
            "x-kubernetes-preserve-unknown-fields" => self.preserve = value == true,
            "x-kubernetes-list-type" => {
                if value == "set" {
                    self.list = ListType::Set;
                }
            }
            "x-kubernetes-list-map-keys" => self.list = ListType::Map(texts(value)),
            _ => return false,
        }
        true
    }

    fn prune(&self, value: &mut Value, path: &str, gone: &mut Vec<String>) {
        match value {
            Value::Object(map) => self.prune_map(map, path, gone),
            Value::Array(entries) => {
                for (at, entry) in entries.iter_mut().enumerate() {
                    if let Some(items) = &self.items {
                        items.prune(entry, &format!("{path}[{at}]"), gone);
                    }
                }
            }
            _ => {}
        }
    }

    fn prune_map(&self, map: &mut Map<String, Value>, path: &str, gone: &mut Vec<String>) {
        map.retain(|key, value| {
            let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let of_every_object = matches!(key.as_str(), "apiVersion" | "kind" | "metadata");
            if path.is_empty() && of_every_object {
                return true;
            }
            match self.properties.get(key).or(self.additional.as_deref()) {
                Some(inner) => inner.prune(value, &at, gone),
                None if self.preserve => {}
                None => {
                    gone.push(at);
                    return false;
                }
            }
            true
        });
    }

    fn fill(&self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (name, inner) in &self.properties {
                    // Null of what cannot be null counts as absent.
                    let null = map.get(name).is_some_and(Value::is_null) && !inner.nullable;
                    if let Some(default) = &inner.default
                        && (null || !map.contains_key(name))
                    {
                        map.insert(name.clone(), default.clone());
                    }
                }
                for (name, value) in map.iter_mut() {
                    if let Some(inner) = self.properties.get(name).or(self.additional.as_deref()) {
                        inner.fill(value);
                    }
                }
            }
            Value::Array(entries) => {
                if let Some(items) = &self.items {
                    entries.iter_mut().for_each(|entry| items.fill(entry));
                }
            }
            _ => {}
        }
    }
}

/// What is so wrong that rules are not asked: `hasBlockingErr` in
/// `apiextensions-apiserver/pkg/registry/customresource/strategy.go`.
const BLOCKING: &[&str] = &[
    "FieldValueNotSupported",
    "FieldValueRequired",
    "FieldValueTooLong",
    "FieldValueTooMany",
    "FieldValueTypeInvalid",
];

/// The schema of a custom resource.
#[derive(Debug)]
pub struct Schema {
    root: Node,
    rules: Rules,
    unknown: Vec<String>,
}

impl Schema {
    /// Reads an `openAPIV3Schema`.
    pub fn new(schema: &Value) -> Self {
        let mut unknown = Vec::new();
        let root = Node::read(schema, "", &mut unknown);
        let rules = Rules::new(schema, &mut unknown);
        Schema { root, rules, unknown }
    }

    /// Keywords and rules of the schema that this code does not know. With any, nothing is stored.
    pub fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// Leaves out what the schema does not know, and says what that was.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        let mut gone = Vec::new();
        self.root.prune(object, "", &mut gone);
        gone
    }

    /// Puts defaults in.
    pub fn default(&self, object: &mut Value) {
        self.root.fill(object);
    }

    /// What is wrong with an object; `old` is what it replaces.
    pub fn problems(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut problems = Vec::new();
        self.root.validate(object, old, "", &mut problems);
        // Errors of other kinds hold no rule up.
        if !problems.iter().any(|problem| BLOCKING.contains(&problem.cause)) {
            problems.extend(self.rules.problems(object, old));
            return problems;
        }
        if !self.rules.is_empty() {
            let why = "null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
            problems.push(FieldError::invalid_omitted("<nil>", why));
        }
        problems
    }

    /// The fields that tell the entries of a list apart, for `managedFields`.
    pub fn list_keys(&self, path: &[&str]) -> Option<&[String]> {
        let mut node = &self.root;
        for step in path {
            node = match &node.items {
                Some(items) => items,
                None => node,
            };
            node = node.properties.get(*step).or(node.additional.as_deref())?;
        }
        match &node.list {
            ListType::Map(keys) => Some(keys),
            ListType::Atomic | ListType::Set => None,
        }
    }
}

#[cfg(test)]
mod tests;
