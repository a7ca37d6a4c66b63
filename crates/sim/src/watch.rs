//! Watches: where one begins, what it shows next, and when it ends.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    body::Body,
    builtin,
    handle::{Call, Form, present},
    list::{Filter, asked_version},
    meta,
    status::{Failure, FieldError, Outcome},
    store::{Change, Store},
    table,
};

/// How long a watch lasts that does not say: `--min-request-timeout`.
const DEFAULT_TIMEOUT: u64 = 1800;
/// Between two bookmarks, as in `cacher.go`.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// A last bookmark comes so long before the end.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);

const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// A watch that was opened.
#[derive(Debug)]
pub struct Watch {
    at: usize,
    filter: Filter,
    form: Form,
    /// Everything up to this version was shown, or is in `pending`.
    seen: u64,
    pending: VecDeque<Event>,
    /// When the next bookmark is due; `None` when none are wanted.
    bookmark: Option<Timestamp>,
    ends: Timestamp,
    over: bool,
    /// How often a backup had been restored when it was opened.
    restored: u64,
    /// True once the columns of a table were sent.
    titled: bool,
}

impl Watch {
    /// Where its resource stands.
    pub(crate) fn resource(&self) -> usize {
        self.at
    }

    /// Of tables only the first has its columns.
    fn with_columns_once(&mut self, mut event: Event) -> Event {
        if matches!(self.form, Form::Table { .. })
            && let Body::Made(object) = &mut event.object
            && object["kind"] == "Table"
        {
            if self.titled {
                object["columnDefinitions"] = Value::Null;
            }
            self.titled = true;
        }
        event
    }
}

/// An event of a watch.
#[derive(Debug, Clone)]
pub struct Event {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    pub kind: &'static str,
    /// What it is about.
    pub object: Body,
    /// The object as text, for all watches that show it as it is stored.
    text: Option<Arc<OnceLock<Bytes>>>,
}

impl Event {
    fn new(kind: &'static str, object: impl Into<Body>) -> Self {
        Event { kind, object: object.into(), text: None }
    }

    /// What goes over the wire.
    pub fn line(&self) -> Bytes {
        let own;
        let object: &[u8] = match &self.text {
            Some(text) => text.get_or_init(|| Bytes::from(self.object.bytes())),
            None => {
                own = self.object.bytes();
                &own
            }
        };
        let (start, end) = (format!("{{\"type\":\"{}\",\"object\":", self.kind), b"}\n");
        Bytes::from([start.as_bytes(), object, end].concat())
    }

    /// The same as a value.
    pub fn value(&self) -> Value {
        json!({ "type": self.kind, "object": self.object.value() })
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.object == other.object
    }
}

/// What a watch shows next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// An event.
    Event(Event),
    /// Nothing before something changes, or before then.
    Wait(Timestamp),
    /// It is over.
    End,
}

impl Store {
    /// Opens a watch.
    pub(crate) fn watch(&self, call: &Call<'_>) -> Outcome<Watch> {
        let resource = self.resource(call.at);
        let filter = Filter::of(call, resource)?;
        let query = call.query;
        let version = asked_version(call).map_err(Failure::plain)?;
        let how = query.get("resourceVersionMatch");
        let streamed = query.get("sendInitialEvents");
        if streamed.is_some() && how != Some("NotOlderThan") {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            return Err(Failure::invalid_options("resourceVersionMatch", why));
        }
        if let (None, Some(how)) = (streamed, how) {
            let why =
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            let mut errors = vec![FieldError::forbidden("resourceVersionMatch", why)];
            if how != "NotOlderThan" {
                let allowed = [json!("NotOlderThan")];
                errors.push(FieldError::unsupported("resourceVersionMatch", &json!(how), &allowed));
            }
            return Err(Failure::invalid_of("meta.k8s.io", "ListOptions", "", &errors));
        }
        let bookmarks = query.flag("allowWatchBookmarks");
        let seconds = query.number("timeoutSeconds").filter(|seconds| *seconds > 0);
        let ends = later(call.now, Duration::from_secs(seconds.unwrap_or(DEFAULT_TIMEOUT)));
        let mut watch = Watch {
            at: call.at,
            filter,
            form: call.form,
            seen: version.unwrap_or_default(),
            pending: VecDeque::new(),
            bookmark: bookmarks.then(|| first_bookmark(call.now, ends)),
            ends,
            over: false,
            restored: self.restored(),
            titled: false,
        };
        let from_nothing = version.is_none_or(|version| version == 0);
        if query.flag("sendInitialEvents") || (streamed.is_none() && from_nothing) {
            self.show_all(&mut watch);
            // The real server marks the end of these for everybody who takes bookmarks and does not say
            // that it wants no such events.
            if bookmarks {
                watch.pending.push_back(self.bookmark(&watch, true));
            }
        } else if from_nothing {
            watch.seen = self.version();
        }
        Ok(watch)
    }

    fn show_all(&self, watch: &mut Watch) {
        let resource = self.resource(watch.at);
        for object in self.table(watch.at).objects().values() {
            if watch.filter.matches(resource, object) {
                let object = present(resource, object, watch.form);
                watch.pending.push_back(Event::new("ADDED", object));
            }
        }
        watch.seen = self.version();
    }

    /// What a watch shows next.
    pub fn next(&self, watch: &mut Watch, now: Timestamp) -> Next {
        if watch.over || watch.restored != self.restored() {
            return Next::End;
        }
        if let Form::Table { now: as_of, .. } = &mut watch.form {
            *as_of = now;
        }
        if watch.pending.is_empty() {
            self.look(watch);
        }
        if let Some(event) = watch.pending.pop_front() {
            return Next::Event(watch.with_columns_once(event));
        }
        if now >= watch.ends {
            watch.over = true;
            return Next::End;
        }
        if watch.bookmark.is_some_and(|due| now >= due) {
            watch.bookmark = Some(next_bookmark(now, watch.ends));
            let bookmark = self.bookmark(watch, false);
            return Next::Event(watch.with_columns_once(bookmark));
        }
        Next::Wait(watch.bookmark.map_or(watch.ends, |due| due.min(watch.ends)))
    }

    /// Takes in what has changed.
    fn look(&self, watch: &mut Watch) {
        let resource = self.resource(watch.at);
        let table = self.table(watch.at);
        let Some(changes) = table.since(watch.seen) else {
            let message = format!("too old resource version: {} ({})", watch.seen, table.oldest());
            let status = Failure::expired(message).status();
            watch.pending.push_back(Event::new("ERROR", status));
            // Nothing follows an error.
            watch.ends = Timestamp::MIN;
            watch.seen = u64::MAX;
            return;
        };
        for change in changes {
            if let Some((kind, object)) = shown(&watch.filter, resource, change) {
                let object = present(resource, &object, watch.form);
                let as_stored =
                    matches!(&object, Body::Stored(it) if Arc::ptr_eq(it, &change.after));
                let text = as_stored.then(|| change.text.clone());
                watch.pending.push_back(Event { kind, object, text });
            }
        }
        watch.seen = watch.seen.max(self.version());
    }

    fn bookmark(&self, watch: &Watch, initial_end: bool) -> Event {
        let resource = self.resource(watch.at);
        let mut metadata = json!({ "resourceVersion": watch.seen.max(1).to_string() });
        if initial_end {
            metadata["annotations"] = json!({ INITIAL_EVENTS_END: "true" });
        }
        let mut object = json!({
            "kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata,
        });
        builtin::zeroes(resource, &mut object);
        if matches!(watch.form, Form::Table { .. }) {
            object = table::table(resource, object["metadata"].take(), Vec::new());
        }
        Event::new("BOOKMARK", object)
    }
}

/// What a change is to somebody who sees only what the filter lets through.
fn shown(
    filter: &Filter,
    resource: &crate::resource::Resource,
    change: &Change,
) -> Option<(&'static str, Arc<Value>)> {
    let before = change.before.as_ref().filter(|before| filter.matches(resource, before));
    let after = change.result().filter(|after| filter.matches(resource, after));
    match (before, after) {
        (None, None) => None,
        (None, Some(after)) => Some(("ADDED", after.clone())),
        (Some(_), Some(after)) => Some(("MODIFIED", after.clone())),
        (Some(_), None) if change.gone => Some(("DELETED", change.after.clone())),
        // Out of the selection: shown as it was, at the version at which it went.
        (Some(before), None) => {
            let mut last = (**before).clone();
            meta::set(&mut last, "resourceVersion", Some(change.version.to_string().into()));
            Some(("DELETED", Arc::new(last)))
        }
    }
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.saturating_add(by).unwrap_or(Timestamp::MAX)
}

fn first_bookmark(now: Timestamp, ends: Timestamp) -> Timestamp {
    next_bookmark(now, ends)
}

fn next_bookmark(now: Timestamp, ends: Timestamp) -> Timestamp {
    let last = ends.saturating_sub(BOOKMARK_BEFORE_END).unwrap_or(ends);
    let regular = later(now, BOOKMARK_EVERY);
    if now < last { regular.min(last) } else { regular }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::handle::tests::World;

    fn kinds(events: &[Value]) -> Vec<String> {
        let text = |event: &Value| {
            let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
            format!("{} {name}", event["type"].as_str().unwrap()).trim().to_owned()
        };
        events.iter().map(text).collect()
    }

    #[test]
    fn a_watch_follows_a_list() {
        let mut world = World::new();
        world.node("a");
        let (_, list) = world.get("/api/v1/nodes");
        let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        let mut watch = world.watch(&format!("/api/v1/nodes?watch=true&resourceVersion={version}"));
        assert!(world.events(&mut watch).is_empty());
        world.node("b");
        world.merge("/api/v1/nodes/a", json!({ "metadata": { "labels": { "x": "y" } } }));
        world.merge("/api/v1/nodes/a", json!({ "metadata": { "labels": { "x": "y" } } }));
        world.delete("/api/v1/nodes/b");
        let events = world.events(&mut watch);
        assert_eq!(kinds(&events), ["ADDED b", "MODIFIED a", "DELETED b"]);
        let versions: Vec<u64> =
            events.iter().map(|event| meta::version(&event["object"])).collect();
        assert!(versions.is_sorted(), "also of a delete: {versions:?}");
    }

    #[test]
    fn what_leaves_the_selection_is_deleted_and_what_enters_it_is_added() {
        let mut world = World::new();
        world.node("a");
        let mut watch = world.watch("/api/v1/nodes?watch=true&labelSelector=x");
        world.merge("/api/v1/nodes/a", json!({ "metadata": { "labels": { "x": "y" } } }));
        world.merge("/api/v1/nodes/a", json!({ "metadata": { "labels": { "x": null } } }));
        world.merge("/api/v1/nodes/a", json!({ "metadata": { "labels": { "z": "y" } } }));
        assert_eq!(kinds(&world.events(&mut watch)), ["ADDED a", "DELETED a"]);
    }

    /// kube never lists again when a watch is opened with HTTP 410.
    #[test]
    fn a_version_that_is_forgotten_is_an_error_on_an_open_watch() {
        let mut world = World::with_history(1);
        for name in ["a", "b", "c"] {
            world.node(name);
        }
        let mut watch = world.watch("/api/v1/nodes?watch=true&resourceVersion=1");
        let events = world.events(&mut watch);
        assert_eq!(events.len(), 1);
        assert_eq!(
            (&events[0]["type"], &events[0]["object"]["code"]),
            (&json!("ERROR"), &json!(410))
        );
        assert!(
            events[0]["object"]["message"]
                .as_str()
                .unwrap()
                .starts_with("too old resource version: 1 (")
        );
        assert_eq!(world.next(&mut watch), Next::End);
    }

    #[test]
    fn bookmarks_come_each_minute_and_shortly_before_the_end() {
        let mut world = World::new();
        let query = "/api/v1/nodes?watch=true&resourceVersion=1&timeoutSeconds=100&allowWatchBookmarks=true";
        let mut watch = world.watch(query);
        let mut at = Vec::new();
        for second in 0..=100 {
            match world.next(&mut watch) {
                Next::Event(event) if event.kind == "BOOKMARK" => at.push(second),
                Next::End => at.push(1000 + second),
                _ => {}
            }
            world.pass(1);
        }
        assert_eq!(at, [60, 98, 1100]);
    }

    #[test]
    fn a_streamed_list_ends_with_a_marked_bookmark() {
        let mut world = World::new();
        world.node("a");
        let query = "/api/v1/nodes?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
        let mut watch = world.watch(query);
        let events = world.events(&mut watch);
        assert_eq!(kinds(&events), ["ADDED a", "BOOKMARK"]);
        assert_eq!(events[1]["object"]["metadata"]["annotations"][INITIAL_EVENTS_END], "true");
        let (code, answer) = world.get("/api/v1/nodes?watch=true&sendInitialEvents=true");
        assert_eq!(code, 422);
        assert!(
            answer["message"]
                .as_str()
                .unwrap()
                .contains("requires setting resourceVersionMatch to NotOlderThan")
        );
        assert_eq!(world.get("/api/v1/nodes?watch=true&resourceVersion=abc").0, 500, "as observed");
    }
}
