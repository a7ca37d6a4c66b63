//! Answers that are errors: the bodies that a real kube-apiserver sends, word for word, as read in
//! `apimachinery/pkg/api/errors` and `apiserver/pkg/registry` of Kubernetes 1.36, and as observed.

use serde_json::{Map, Value, json};

use crate::resource::Resource;

/// A request that was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{code} {reason}: {message}")]
pub struct Failure {
    /// The HTTP status.
    pub code: u16,
    /// `reason` of the Status; empty where the real server leaves it out.
    pub reason: &'static str,
    /// `message` of the Status.
    pub message: String,
    /// `details` of the Status.
    pub details: Option<Box<Value>>,
}

const PAGE_NOT_FOUND: &str = "404 page not found\n";

/// What most functions here return.
pub type Outcome<T> = Result<T, Failure>;

/// One entry of a 422: what is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// `reason` of the cause, such as `FieldValueInvalid`.
    pub cause: &'static str,
    /// Path of the field; `<nil>` for the object itself.
    pub field: String,
    /// `message` of the cause, such as `Invalid value: 5000: …`.
    pub body: String,
}

impl FieldError {
    fn new(cause: &'static str, field: impl Into<String>, body: String) -> Self {
        FieldError { cause, field: field.into(), body }
    }

    /// A value that may not be; `value` is shown as Go shows it.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self::new("FieldValueInvalid", field, format!("Invalid value: {}: {detail}", shown(value)))
    }

    /// The same with a value that is a text already, since Go writes the fields of its types in their order.
    pub fn invalid_text(field: impl Into<String>, shown: &str, detail: &str) -> Self {
        Self::new("FieldValueInvalid", field, format!("Invalid value: {shown}: {detail}"))
    }

    /// The same without showing the value.
    pub fn invalid_omitted(field: impl Into<String>, detail: &str) -> Self {
        Self::new("FieldValueInvalid", field, format!("Invalid value: {detail}"))
    }

    /// A value of another type.
    pub fn type_invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        let body = format!("Invalid value: {}: {detail}", shown(value));
        Self::new("FieldValueTypeInvalid", field, body)
    }

    /// A field that is not there.
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        let body = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        Self::new("FieldValueRequired", field, format!("Required value{body}"))
    }

    /// A field that may not be set, or not so.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self::new("FieldValueForbidden", field, format!("Forbidden: {detail}"))
    }

    /// A string that is too long.
    pub fn too_long(field: impl Into<String>, bytes: u64) -> Self {
        let body = format!("Too long: may not be more than {bytes} bytes");
        Self::new("FieldValueTooLong", field, body)
    }

    /// A list or map with too many entries.
    pub fn too_many(field: impl Into<String>, is: usize, most: u64) -> Self {
        let body = format!("Too many: {is}: must have at most {most} items");
        Self::new("FieldValueTooMany", field, body)
    }

    /// A value that is none of those allowed.
    pub fn unsupported(field: impl Into<String>, value: &Value, allowed: &[Value]) -> Self {
        let allowed: Vec<String> = allowed.iter().map(shown).collect();
        let body = format!(
            "Unsupported value: {}: supported values: {}",
            shown(value),
            allowed.join(", ")
        );
        Self::new("FieldValueNotSupported", field, body)
    }

    /// An entry that is there already.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self::new("FieldValueDuplicate", field, format!("Duplicate value: {}", shown(value)))
    }
}

/// A value as Go's field errors show it: strings quoted, everything else as JSON.
fn shown(value: &Value) -> String {
    value.to_string()
}

/// JSON with the fields of its objects in this order, those that are not named after the others.
pub(crate) fn in_order(value: &Value, fields: &[&str]) -> String {
    let all =
        |parts: Vec<String>, open: char, close: char| format!("{open}{}{close}", parts.join(","));
    match value {
        Value::Object(map) => {
            let place =
                |key: &str| fields.iter().position(|field| *field == key).unwrap_or(fields.len());
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_by_key(|key| (place(key), (*key).clone()));
            let parts =
                keys.into_iter().map(|key| format!("{key:?}:{}", in_order(&map[key], fields)));
            all(parts.collect(), '{', '}')
        }
        Value::Array(list) => {
            all(list.iter().map(|entry| in_order(entry, fields)).collect(), '[', ']')
        }
        other => shown(other),
    }
}

impl Failure {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Failure { code, reason, message: message.into(), details: None }
    }

    fn with(mut self, details: Value) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// 501: this server does not simulate what was asked for, and does not guess.
    pub fn not_simulated(what: impl std::fmt::Display) -> Self {
        Self::new(501, "NotImplemented", format!("rerail-sim does not simulate {what}"))
    }

    /// 404 of an object.
    pub fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} \"{name}\" not found", resource.qualified()))
            .with(details(resource, name, &resource.plural))
    }

    /// 404 of a path below a group that is served.
    pub fn no_such_resource() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
            .with(json!({}))
    }

    /// 404 of a path below nothing that is served: plain text.
    pub fn page_not_found() -> Self {
        Self::new(404, "", PAGE_NOT_FOUND)
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message).with(json!({}))
    }

    /// 409 of a create.
    pub fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        Self::new(409, "AlreadyExists", message).with(details(resource, name, &resource.plural))
    }

    /// 409 of a write with another resourceVersion.
    pub fn modified(resource: &Resource, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// 409 for another reason.
    pub fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} \"{name}\": {why}", resource.qualified());
        Self::new(409, "Conflict", message).with(details(resource, name, &resource.plural))
    }

    /// 409 of a precondition of a delete, which names the kind and not the resource.
    pub fn precondition(resource: &Resource, name: &str, why: &str) -> Self {
        let kind = resource.qualified_kind();
        let message = format!("Operation cannot be fulfilled on {kind} \"{name}\": {why}");
        Self::new(409, "Conflict", message).with(details(resource, name, &resource.kind))
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 400 of a body that names another object than the path.
    pub fn other_name(name: &str, in_path: &str) -> Self {
        Self::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({in_path})"
        ))
    }

    /// 500 of an error that the real server does not wrap.
    pub fn plain(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    /// 403.
    pub fn forbidden(group: &str, kind: &str, name: &str, why: &str) -> Self {
        let dotted = if group.is_empty() { String::new() } else { format!(".{group}") };
        let message = format!("{kind}{dotted} \"{name}\" is forbidden: {why}");
        let mut details = json!({ "name": name, "kind": kind });
        if !group.is_empty() {
            details["group"] = json!(group);
        }
        Self::new(403, "Forbidden", message).with(details)
    }

    /// 410 of a version that is no longer known.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 504 of a version that is not there yet.
    pub fn too_large_version(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        Self::new(504, "Timeout", message).with(json!({
            "causes": [{ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" }],
            "retryAfterSeconds": 1,
        }))
    }

    /// 406.
    pub fn not_acceptable() -> Self {
        let message = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf";
        Self::new(406, "NotAcceptable", message).with(json!({}))
    }

    /// 415.
    pub fn unsupported_media(message: impl Into<String>) -> Self {
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 415 of a patch of a type that nobody knows.
    pub fn unknown_media() -> Self {
        Self::unsupported_media("415: Unsupported Media Type").with(json!({}))
    }

    /// 422 of a JSON patch that cannot be applied.
    pub fn patch_failed() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Self::new(422, "Invalid", message).with(json!({}))
    }

    /// 422 of an object.
    pub fn invalid(resource: &Resource, name: &str, errors: &[FieldError]) -> Self {
        // An Event is always one of the core group there.
        let group = if resource.kind == "Event" { "" } else { &resource.group };
        Self::invalid_of(group, &resource.kind, name, errors)
    }

    /// 422 of anything.
    pub fn invalid_of(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let dotted = if group.is_empty() { String::new() } else { format!(".{group}") };
        // Go's aggregate leaves out what it has said already; the causes keep it.
        let mut said: Vec<String> = Vec::new();
        for error in errors {
            let one = format!("{}: {}", error.field, error.body);
            if !said.contains(&one) {
                said.push(one);
            }
        }
        let all = match said.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{kind}{dotted} \"{name}\" is invalid: {all}");
        let causes: Vec<Value> = errors
            .iter()
            .map(|e| json!({ "reason": e.cause, "message": e.body, "field": e.field }))
            .collect();
        let mut details = Map::new();
        for (key, text) in [("name", name), ("group", group), ("kind", kind)] {
            if !text.is_empty() {
                details.insert(key.to_owned(), json!(text));
            }
        }
        details.insert("causes".to_owned(), Value::Array(causes));
        Self::new(422, "Invalid", message).with(Value::Object(details))
    }

    /// 422 of the options of a list or watch.
    pub fn invalid_options(field: &str, detail: &str) -> Self {
        Self::invalid_query("ListOptions", FieldError::forbidden(field, detail))
    }

    /// 422 of the options of any request.
    pub fn invalid_query(kind: &str, error: FieldError) -> Self {
        Self::invalid_of("meta.k8s.io", kind, "", &[error])
    }

    /// 409 of an apply: who else manages which fields.
    pub fn apply_conflict(conflicts: &[(String, String)]) -> Self {
        let causes: Vec<Value> = conflicts
            .iter()
            .map(|(manager, field)| {
                json!({ "reason": "FieldManagerConflict", "message": format!("conflict with {manager}"), "field": field })
            })
            .collect();
        let message = match conflicts {
            [(manager, field)] => {
                format!("Apply failed with 1 conflict: conflict with {manager}: {field}")
            }
            many => {
                let mut managers: Vec<&String> = many.iter().map(|(manager, _)| manager).collect();
                managers.sort();
                managers.dedup();
                let of = |manager: &&String| {
                    let fields = many.iter().filter(|(other, _)| other == *manager);
                    let fields: Vec<String> =
                        fields.map(|(_, field)| format!("- {field}")).collect();
                    format!("conflicts with {manager}:\n{}", fields.join("\n"))
                };
                let all: Vec<String> = managers.iter().map(of).collect();
                format!("Apply failed with {} conflicts: {}", many.len(), all.join("\n"))
            }
        };
        Self::new(409, "Conflict", message).with(json!({ "causes": causes }))
    }

    /// 429 of an eviction.
    pub fn disruption_budget(cause: &str, retry_after: u32) -> Self {
        let mut details = json!({ "causes": [{ "reason": "DisruptionBudget", "message": cause }] });
        if retry_after > 0 {
            details["retryAfterSeconds"] = json!(retry_after);
        }
        let message = "Cannot evict pod as it would violate the pod's disruption budget.";
        Self::new(429, "TooManyRequests", message).with(details)
    }

    /// Seconds after which the real server asks to try again, as its header says.
    pub fn retry_after(&self) -> Option<u64> {
        self.details.as_ref()?.get("retryAfterSeconds")?.as_u64()
    }

    /// The body; a text stands for plain text.
    pub fn status(&self) -> Value {
        if self.message == PAGE_NOT_FOUND {
            return json!(PAGE_NOT_FOUND);
        }
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {},
            "status": "Failure", "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if let Some(details) = &self.details {
            status["details"] = (**details).clone();
        }
        status
    }
}

/// `details` that name an object; `kind` is the resource, but for preconditions.
fn details(resource: &Resource, name: &str, kind: &str) -> Value {
    let mut details = json!({ "name": name, "kind": kind });
    if !resource.group.is_empty() {
        details["group"] = json!(resource.group);
    }
    details
}

/// What is wrong with a JSON text, as far as Go says it in fixed words.
pub fn json_error(error: &serde_json::Error) -> String {
    if error.is_eof() { "unexpected end of JSON input".to_owned() } else { error.to_string() }
}

/// The Status of a delete that is done.
pub fn deleted(resource: &Resource, name: &str, uid: &str) -> Value {
    let mut details = details(resource, name, &resource.plural);
    details["uid"] = json!(uid);
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {},
        "status": "Success", "details": details,
    })
}

/// The Status of an eviction or binding that is done.
pub fn created() -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 })
}

#[cfg(test)]
mod tests;
