//! Policies that are not applied, as the API server would have them: it is asked to take them without
//! keeping them (`dryRun=All`), so that its rules and defaults hold. Who may not write policies gets a
//! preview that says that it was not validated.

use kube::{Client, ResourceExt};
use rerail_api::{RemediationPolicy, convert, names};
use rerail_operator::{
    client::{CallError, call},
    observe::objects::Entry,
};
use serde_json::json;

use super::files::FromFile;

/// Why a policy cannot be previewed.
#[derive(Debug, thiserror::Error)]
pub enum PreviewError {
    #[error("-f: {place}: the API server refuses policy {name}: {message}")]
    Refused { place: String, name: String, message: String },
    #[error("-f: {place}: policy {name} is not valid: {message}")]
    Invalid { place: String, name: String, message: String },
    #[error("-f: {place}: {0}", place = .1)]
    Call(CallError, String),
    #[error("-f: the request for policy {0} could not be made: {1}")]
    Request(String, String),
}

/// Puts the policy in its place among those that are there. Returns what is to be said of it.
pub async fn put(
    client: &Client,
    policies: &mut Vec<Entry<RemediationPolicy>>,
    found: &FromFile,
) -> Result<Vec<String>, PreviewError> {
    let name = found.policy.name_any();
    let position = policies.iter().position(|entry| name_of(entry) == name);
    let applied = position.and_then(|position| match policies.get(position) {
        Some(Entry::Good(applied)) => Some(applied),
        Some(Entry::Malformed(_)) | None => None,
    });
    let (mut policy, mut said) = match dry_run(client, found, applied.map(|a| &**a)).await? {
        Validated::Yes(policy) => (*policy, Vec::new()),
        Validated::No(why) => (found.policy.clone(), vec![why]),
    };
    // Storms are on record there, and do not end by an edit.
    policy.status = applied.and_then(|applied| applied.status.clone());
    if let Err(error) = convert::policy::policy(&policy) {
        let (place, message) = (found.place.clone(), error.to_string());
        return Err(PreviewError::Invalid { place, name, message });
    }
    let instead = match position {
        Some(_) => "in place of the one that is applied",
        None => "beside those that are applied",
    };
    said.insert(0, format!("policy {name} is previewed from {}, {instead}", found.place));
    let entry = Entry::Good(std::sync::Arc::new(policy));
    match position.and_then(|position| policies.get_mut(position)) {
        Some(there) => *there = entry,
        None => policies.push(entry),
    }
    Ok(said)
}

fn name_of(entry: &Entry<RemediationPolicy>) -> String {
    match entry {
        Entry::Good(policy) => policy.name_any(),
        Entry::Malformed(malformed) => malformed.object.name_any(),
    }
}

enum Validated {
    Yes(Box<RemediationPolicy>),
    No(String),
}

async fn dry_run(
    client: &Client,
    found: &FromFile,
    applied: Option<&RemediationPolicy>,
) -> Result<Validated, PreviewError> {
    let name = found.policy.name_any();
    let request = request(found, &name, applied)
        .map_err(|error| PreviewError::Request(name.clone(), error.to_string()))?;
    let what = || format!("validate policy {name}");
    let error = match call(what, client.request::<RemediationPolicy>(request)).await {
        Ok(policy) => return Ok(Validated::Yes(Box::new(policy))),
        Err(error) => error,
    };
    let not = |why: &str| {
        Ok(Validated::No(format!(
            "policy {name} was not validated by the API server: {why}; rules of its schema may refuse it later"
        )))
    };
    match error.code() {
        Some(403) => not("you may not write policies"),
        Some(404) => not("Rerail's kinds are not installed"),
        Some(400 | 422) => {
            Err(PreviewError::Refused { place: found.place.clone(), name, message: words(&error) })
        }
        Some(_) | None => Err(PreviewError::Call(error, found.place.clone())),
    }
}

/// What the API server said, without our words around it.
fn words(error: &CallError) -> String {
    match error {
        CallError::Api { source, .. } => match source.as_ref() {
            kube::Error::Api(status) => status.message.clone(),
            other => other.to_string(),
        },
        CallError::Deadline { .. } | CallError::Shared(_) => error.to_string(),
    }
}

/// A PUT in place of the applied one, as `kubectl replace`; else a POST, as `kubectl create`.
fn request(
    found: &FromFile,
    name: &str,
    applied: Option<&RemediationPolicy>,
) -> Result<http::Request<Vec<u8>>, Box<dyn std::error::Error>> {
    let mut object = found.written.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
        let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            for field in ["uid", "managedFields", "creationTimestamp", "generation"] {
                metadata.remove(field);
            }
            match applied.and_then(|applied| applied.resource_version()) {
                Some(version) => metadata.insert("resourceVersion".into(), json!(version)),
                None => metadata.remove("resourceVersion"),
            };
        }
    }
    let base = format!("/apis/{}/{}/remediationpolicies", names::GROUP, names::VERSION);
    let (method, path) = match applied {
        Some(_) => (http::Method::PUT, format!("{base}/{name}")),
        None => (http::Method::POST, base),
    };
    let query = "dryRun=All&fieldValidation=Strict&fieldManager=rerail-plan";
    Ok(http::Request::builder()
        .method(method)
        .uri(format!("{path}?{query}"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(serde_json::to_vec(&object)?)?)
}
