//! One request, answered at once: from method, URI and body to what is to be done. No clock is read
//! here and nothing is waited for.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    absent, accept,
    body::Body,
    discovery, events, list,
    managed::{Fields, Writer},
    meta, options, patch,
    path::{self, Path, Query, Target},
    resource::Resource,
    status::{Failure, Outcome},
    store::{self, Key, Store},
    table::{self, Include},
    watch::Watch,
};

/// What a request is answered with.
#[derive(Debug)]
pub enum Reply {
    /// A whole answer.
    Answer(Answer),
    /// A stream, to be read with [`Store::next`].
    Watch(Box<Watch>),
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub code: u16,
    /// The body.
    pub body: Body,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// `Warning`s, each as its text.
    pub warnings: Vec<String>,
    /// `Content-Type`, if it is not what the body looks like.
    pub media: Option<&'static str>,
    /// `ETag`, without its quotes.
    pub etag: Option<String>,
}

impl Answer {
    pub(crate) fn new(code: u16, body: impl Into<Body>) -> Self {
        let body = body.into();
        Answer { code, body, retry_after: None, warnings: Vec::new(), media: None, etag: None }
    }
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        let retry_after = failure.retry_after();
        let body = failure.status();
        Answer { retry_after, ..Answer::new(failure.code, body) }
    }
}

/// The form in which objects are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Whole,
    /// `PartialObjectMetadata`.
    Metadata,
    /// A `Table`, with ages as of `now`.
    Table {
        now: Timestamp,
        include: Include,
    },
}

/// A request that concerns one resource.
#[derive(Debug, Clone)]
pub(crate) struct Call<'a> {
    /// Where the resource stands in the store.
    pub at: usize,
    pub target: &'a Target,
    pub query: &'a Query,
    pub now: Timestamp,
    pub form: Form,
    pub manager: String,
    pub media: &'a str,
    pub body: &'a [u8],
    /// The fields that an apply wants.
    pub applied: Option<Fields>,
}

impl Call<'_> {
    pub(crate) fn name(&self) -> &str {
        self.target.name.as_deref().unwrap_or_default()
    }

    pub(crate) fn namespace(&self) -> &str {
        self.target.namespace.as_deref().unwrap_or_default()
    }

    pub(crate) fn key(&self) -> Key {
        store::key(self.namespace(), self.name())
    }

    pub(crate) fn writer(&self) -> Writer<'_> {
        Writer {
            manager: &self.manager,
            subresource: self.target.subresource.as_deref(),
            applied: self.applied.as_ref(),
        }
    }
}

impl Store {
    /// Answers a request.
    pub fn handle(&mut self, request: &http::Request<Bytes>, now: Timestamp) -> Reply {
        match self.answer(request, now) {
            Ok(reply) => reply,
            Err(failure) => Reply::Answer(failure.into()),
        }
    }

    fn answer(&mut self, request: &http::Request<Bytes>, now: Timestamp) -> Outcome<Reply> {
        let loud = || Failure::not_simulated(format!("{} {}", request.method(), request.uri()));
        let query = Query::parse(request.uri().query());
        let path = path::parse(request.uri().path());
        let header = |name| {
            let value = request.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default()
        };
        let Path::Resource(target) = &path else {
            let aggregated = accept::is_aggregated(header(http::header::ACCEPT));
            let found = (request.method() == Method::GET)
                .then(|| discovery::answer(self.resources(), &path, aggregated))
                .flatten();
            let found = found.ok_or_else(|| absent::path(&path, request.uri(), loud()))?;
            return Ok(Reply::Answer(unless_known(found, header(http::header::IF_NONE_MATCH))));
        };
        let at = self.find(target).ok_or_else(|| absent::path(&path, request.uri(), loud()))?;
        let agent = header(http::header::USER_AGENT).split('/').next().unwrap_or_default();
        let manager = query.get("fieldManager").unwrap_or(agent);
        let call = Call {
            at,
            target,
            query: &query,
            now,
            form: accept::form(header(http::header::ACCEPT), &query, now)?,
            manager: if manager.is_empty() { "unknown".to_owned() } else { manager.to_owned() },
            media: header(http::header::CONTENT_TYPE),
            body: request.body(),
            applied: None,
        };
        self.check_scope(&call)?;
        let resource = self.resource(at);
        let subresource = target.subresource.as_deref();
        if subresource.is_some_and(|name| !resource.subresources.contains(&name)) {
            return Err(absent::subresource(resource, target, loud()));
        }
        options::check(request.method(), &call)?;
        self.dispatch(request.method(), &call).unwrap_or_else(|| Err(loud()))
    }

    fn find(&self, target: &Target) -> Option<usize> {
        let wanted = |resource: &Arc<Resource>| {
            resource.group == target.group
                && resource.version == target.version
                && resource.plural == target.plural
        };
        self.resources().iter().position(wanted)
    }

    fn check_scope(&self, call: &Call<'_>) -> Outcome<()> {
        let resource = self.resource(call.at);
        let named = call.target.name.is_some();
        match (resource.namespaced, call.target.namespace.is_some()) {
            (false, true) => Err(Failure::no_such_resource()),
            (true, false) if named => Err(Failure::no_such_resource()),
            _ => Ok(()),
        }
    }

    /// `None` for what the real server would do, or might, and this one cannot.
    fn dispatch(&mut self, method: &Method, call: &Call<'_>) -> Option<Outcome<Reply>> {
        let resource = self.resource(call.at);
        let subresource = call.target.subresource.as_deref();
        if resource.read_only && *method != Method::GET {
            return None;
        }
        let named = call.target.name.is_some();
        let answer = match (method.as_str(), named, subresource) {
            ("GET", _, None) if call.target.watched || (!named && call.query.flag("watch")) => {
                return Some(self.watch(call).map(|watch| Reply::Watch(Box::new(watch))));
            }
            _ if call.target.watched => Err(Failure::method_not_allowed()),
            ("GET", false, None) => self.list(call),
            ("GET", true, None | Some("status")) => self.read(call),
            ("POST", false, None) => self.create(call),
            ("POST", true, Some("eviction")) => self.evict(call),
            ("POST", true, Some("binding")) => self.bind(call),
            ("GET" | "PUT" | "PATCH", true, Some("scale")) => self.scale(call, method.as_str()),
            ("POST", true, Some("token")) => self.token(call),
            ("PUT", true, None | Some("status")) => self.update(call),
            ("PATCH", true, None | Some("status")) if patch::is_apply(call.media) => {
                self.apply(call)
            }
            ("PATCH", true, None | Some("status")) => self.patch(call),
            ("DELETE", true, None) => self.delete(call),
            ("DELETE", false, None) => self.delete_all(call),
            ("PUT" | "PATCH", false, None) if resource.is_custom() => {
                Err(Failure::bad_request("name must be provided"))
            }
            ("POST", true, None) if resource.is_custom() => self.create(call),
            _ => Err(Failure::method_not_allowed()),
        };
        Some(answer.map(Reply::Answer))
    }

    /// One object.
    fn read(&self, call: &Call<'_>) -> Outcome<Answer> {
        list::asked_version(call).map_err(Failure::plain)?;
        let object = self.existing(call)?;
        Ok(Answer::new(200, present(self.resource(call.at), object, call.form)))
    }

    /// The object that a path names.
    pub(crate) fn existing(&self, call: &Call<'_>) -> Outcome<&Arc<Value>> {
        let resource = self.resource(call.at);
        self.get(call.at, &call.key()).ok_or_else(|| Failure::not_found(resource, call.name()))
    }
}

/// A client that has this answer already is told so.
fn unless_known(answer: Answer, known: &str) -> Answer {
    match &answer.etag {
        Some(etag) if known.trim_matches('"') == etag => {
            // A client puts the headers of this over those of what it has, the type included.
            Answer { etag: answer.etag, media: answer.media, ..Answer::new(304, Body::Nothing) }
        }
        _ => answer,
    }
}

/// An object as it is sent.
pub(crate) fn present(resource: &Resource, object: &Arc<Value>, form: Form) -> Body {
    match form {
        Form::Whole if resource.group == "events.k8s.io" => Body::Made(events::to_new(object)),
        Form::Whole => Body::Stored(object.clone()),
        Form::Table { now, include } => {
            let metadata = json!({ "resourceVersion": meta::of(object, "resourceVersion") });
            let row = table::row(resource, object, now, include);
            Body::Made(table::table(resource, metadata, vec![row]))
        }
        Form::Metadata => Body::Made(metadata_of(object)),
    }
}

/// The metadata alone.
pub(crate) fn metadata_of(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": object.get("metadata").cloned().unwrap_or_else(|| Value::Object(Map::new())),
    })
}

#[cfg(test)]
pub(crate) mod tests;
