//! Deletes: at once, gracefully, or when the last finalizer is gone (`BeforeDelete` in
//! `apiserver/pkg/registry/rest/delete.go`).

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    handle::{Answer, Call, present},
    list::{self, Filter},
    meta,
    resource::Resource,
    status::{self, Failure, Outcome},
    store::{Key, Store},
};

/// Finalizers for the garbage collector.
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// `metav1.DeleteOptions`, as far as it is looked at.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Options {
    pub grace_period_seconds: Option<i64>,
    pub propagation_policy: Option<String>,
    pub orphan_dependents: Option<bool>,
    pub preconditions: Preconditions,
    pub dry_run: Vec<String>,
}

/// What must be so for a delete to happen.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Preconditions {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

impl Options {
    fn read(call: &Call<'_>) -> Outcome<Self> {
        // A body says everything; the query counts without one.
        if !call.body.is_empty() {
            return Self::from_body(call.body);
        }
        let mut options = Options::default();
        if let Some(text) = call.query.get("gracePeriodSeconds") {
            options.grace_period_seconds = text.parse().ok();
        }
        if let Some(policy) = call.query.get("propagationPolicy") {
            options.propagation_policy = Some(policy.to_owned());
        }
        if call.query.dry_run() {
            options.dry_run = vec!["All".to_owned()];
        }
        Ok(options)
    }

    fn from_body(body: &[u8]) -> Outcome<Self> {
        let bad = |error: serde_json::Error| {
            let why = status::json_error(&error);
            Failure::bad_request(format!("couldn't get version/kind; json parse error: {why}"))
        };
        let options: Value = serde_json::from_slice(body).map_err(bad)?;
        let (kind, version) =
            (meta::text(&options, &["kind"]), meta::text(&options, &["apiVersion"]));
        if !kind.is_empty() && kind != "DeleteOptions" {
            return Err(Failure::bad_request(format!(
                "no kind \"{kind}\" is registered for version \"{version}\" in scheme \"pkg/runtime/scheme.go:111\""
            )));
        }
        serde_json::from_value(options).map_err(bad)
    }

    /// The finalizers of an object that is deleted so: the garbage collector, which is no part of the API
    /// server, takes off what is put here for it.
    fn finalizers(&self, object: &Value) -> Vec<String> {
        let policy = match self.orphan_dependents {
            Some(true) => Some("Orphan"),
            Some(false) => Some("Background"),
            None => self.propagation_policy.as_deref(),
        };
        let mut all: Vec<String> =
            meta::finalizers(object).into_iter().map(str::to_owned).collect();
        let Some(policy) = policy else { return all };
        all.retain(|finalizer| finalizer != ORPHAN && finalizer != FOREGROUND);
        match policy {
            "Orphan" => all.push(ORPHAN.to_owned()),
            "Foreground" => all.push(FOREGROUND.to_owned()),
            _ => {}
        }
        all
    }

    pub(crate) fn is_dry_run(&self) -> bool {
        !self.dry_run.is_empty()
    }
}

/// What became of an object.
enum Deleted {
    /// It is gone.
    Gone(Value),
    /// It stays, for its grace period or its finalizers.
    Going(Arc<Value>),
}

impl Store {
    /// DELETE of one object.
    pub(crate) fn delete(&mut self, call: &Call<'_>) -> Outcome<Answer> {
        let options = Options::read(call)?;
        let resource = self.resource(call.at).clone();
        if resource.group.is_empty() && resource.plural == "namespaces" {
            return Err(Failure::not_simulated(
                "the deletion of a namespace, with all that is in it",
            ));
        }
        self.existing(call)?;
        let key = call.key();
        let body = match self.delete_object(call.at, &key, &options, call.now)? {
            Deleted::Going(object) => present(&resource, &object, call.form),
            Deleted::Gone(object) if resource.returns_deleted => {
                present(&resource, &Arc::new(object), call.form)
            }
            Deleted::Gone(object) => {
                status::deleted(&resource, call.name(), meta::of(&object, "uid")).into()
            }
        };
        Ok(Answer::new(200, body))
    }

    /// DELETE of a collection: each that is selected, in order.
    pub(crate) fn delete_all(&mut self, call: &Call<'_>) -> Outcome<Answer> {
        let resource = self.resource(call.at).clone();
        if resource.plural == "namespaces" {
            return Err(Failure::method_not_allowed());
        }
        let options = Options::read(call)?;
        let filter = Filter::of(call, &resource)?;
        let all = self.table(call.at).objects().iter();
        let selected: Vec<(Key, Arc<Value>)> = all
            .filter(|(_, object)| filter.matches(&resource, object))
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect();
        for (key, _) in &selected {
            self.delete_object(call.at, key, &options, call.now)?;
        }
        let objects = selected.into_iter().map(|(_, object)| object).collect();
        let metadata = json!({ "resourceVersion": self.version().to_string() });
        Ok(Answer::new(200, list::whole(&resource, metadata, objects, call.form)))
    }

    /// Deletes a pod whose eviction is granted.
    pub(crate) fn delete_evicted(
        &mut self,
        at: usize,
        key: &Key,
        options: &Options,
        now: Timestamp,
    ) -> Outcome<()> {
        self.delete_object(at, key, options, now).map(|_| ())
    }

    fn delete_object(
        &mut self,
        at: usize,
        key: &Key,
        options: &Options,
        now: Timestamp,
    ) -> Outcome<Deleted> {
        let resource = self.resource(at).clone();
        let Some(object) = self.get(at, key).cloned() else {
            let name = key.rsplit('/').next().unwrap_or_default();
            return Err(Failure::not_found(&resource, name));
        };
        check(&resource, &object, &options.preconditions)?;
        let plan = graceful(&resource, &object, options, now);
        let mut new = (*object).clone();
        match plan {
            Grace::Pending => return Ok(Deleted::Going(object)),
            Grace::Now => {}
            Grace::Until(time, seconds) => {
                let first = !meta::is_deleting(&object);
                mark(&mut new, time, seconds, first);
            }
        }
        let finalizers = options.finalizers(&new);
        if finalizers != meta::finalizers(&new) {
            meta::set(&mut new, "finalizers", (!finalizers.is_empty()).then(|| json!(finalizers)));
        }
        let held = !finalizers.is_empty();
        if held && !meta::is_deleting(&new) {
            // No grace, but finalizers: marked with a grace of nothing.
            mark(&mut new, now, 0, true);
        }
        let stays = held || meta::grace(&new).unwrap_or(0) > 0;
        if options.is_dry_run() {
            return Ok(if stays { Deleted::Going(Arc::new(new)) } else { Deleted::Gone(new) });
        }
        if !stays {
            // The real server writes the mark of a pod's end before it takes the pod away.
            if resource.is_pods() && new != *object {
                new = (*self.commit(at, new)).clone();
            }
            return Ok(Deleted::Gone((*self.remove(at, &new)).clone()));
        }
        if new == *object {
            return Ok(Deleted::Going(object));
        }
        Ok(Deleted::Going(self.commit(at, new)))
    }
}

enum Grace {
    /// Not gracefully.
    Now,
    /// A delete is under way already, and this one does not shorten it.
    Pending,
    /// To be gone by then.
    Until(Timestamp, i64),
}

fn graceful(resource: &Resource, object: &Value, options: &Options, now: Timestamp) -> Grace {
    if !resource.is_pods() {
        return Grace::Now;
    }
    let asked = options.grace_period_seconds.map(|seconds| if seconds < 0 { 1 } else { seconds });
    if meta::is_deleting(object) {
        let left = match meta::grace(object) {
            None | Some(0) => return Grace::Now,
            Some(left) => left,
        };
        let Some(asked) = asked.filter(|asked| *asked < left) else { return Grace::Pending };
        let end = meta::of(object, "deletionTimestamp").parse().unwrap_or(now);
        let shorter = after(after(end, -left), asked);
        return match (shorter < now, asked) {
            // The whole grace period is over; somebody else does the last delete.
            (true, 0) => Grace::Until(now, 0),
            (true, _) => Grace::Until(now, 1),
            (false, asked) => Grace::Until(shorter, asked),
        };
    }
    let spec = &object["spec"];
    let own = spec["terminationGracePeriodSeconds"].as_i64().unwrap_or(0);
    let phase = meta::text(object, &["status", "phase"]);
    let unbound = meta::text(spec, &["nodeName"]).is_empty();
    let seconds = match asked.unwrap_or(own) {
        _ if unbound || matches!(phase, "Succeeded" | "Failed") => 0,
        seconds if seconds < 0 => 1,
        seconds => seconds,
    };
    Grace::Until(after(now, seconds), seconds)
}

fn after(time: Timestamp, seconds: i64) -> Timestamp {
    time.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(time)
}

fn mark(object: &mut Value, time: Timestamp, seconds: i64, first: bool) {
    meta::set(object, "deletionTimestamp", Some(meta::time(time)));
    meta::set(object, "deletionGracePeriodSeconds", Some(json!(seconds)));
    let generation = meta::get(object, "generation").and_then(Value::as_i64).unwrap_or(0);
    if first && generation > 0 {
        meta::set(object, "generation", Some(json!(generation + 1)));
    }
}

/// Refuses when the object is not the one that was meant.
pub(crate) fn check(resource: &Resource, object: &Value, wanted: &Preconditions) -> Outcome<()> {
    let name = meta::of(object, "name");
    let refused = |what: &str, wanted: &str, is: &str, end: &str| {
        let why = format!(
            "the {what} in the precondition ({wanted}) does not match the {what} in record ({is}). The object might have been {end}"
        );
        Err(Failure::precondition(resource, name, &why))
    };
    let (uid, version) = (meta::of(object, "uid"), meta::of(object, "resourceVersion"));
    match (&wanted.uid, &wanted.resource_version) {
        (Some(wanted), _) if wanted != uid => {
            refused("UID", wanted, uid, "deleted and then recreated")
        }
        (_, Some(wanted)) if wanted != version => {
            refused("ResourceVersion", wanted, version, "modified")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
