//! Creates, updates and patches, as `apiserver/pkg/registry/generic/registry/store.go` orders the
//! steps.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    builtin, events,
    handle::{Answer, Call, present},
    managed, meta,
    patch::Patch,
    resource::{Resource, StatusRule},
    status::{self, Failure, FieldError, Outcome},
    store::{self, Store},
};

/// Metadata that the server alone writes.
const SYSTEM_FIELDS: &[&str] = &[
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "resourceVersion",
];

const IMMUTABLE_POD: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

impl Store {
    /// POST.
    pub(crate) fn create(&mut self, call: &Call<'_>) -> Outcome<Answer> {
        let resource = self.resource(call.at).clone();
        let object = decode(call, &resource)?;
        self.create_object(call, &resource, object)
    }

    pub(crate) fn create_object(
        &mut self,
        call: &Call<'_>,
        resource: &Resource,
        mut object: Value,
    ) -> Outcome<Answer> {
        let name = meta::of(&object, "name").to_owned();
        let prefix = meta::of(&object, "generateName").to_owned();
        if name.is_empty() && !prefix.is_empty() {
            let generated = format!("{prefix}{}", self.draw_suffix());
            meta::set(&mut object, "name", Some(json!(generated)));
        }
        self.check_namespace(call, resource)?;
        if !meta::of(&object, "resourceVersion").is_empty() {
            return Err(Failure::plain(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        let uid = self.draw_uid();
        for key in [
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
            "managedFields",
            "selfLink",
        ] {
            meta::set(&mut object, key, None);
        }
        meta::set(&mut object, "uid", Some(json!(uid)));
        meta::set(&mut object, "creationTimestamp", Some(meta::time(call.now)));
        if resource.generation {
            meta::set(&mut object, "generation", Some(json!(1)));
        }
        if resource.status == StatusRule::Reset
            && let Some(map) = object.as_object_mut()
        {
            map.remove("status");
        }
        let (mut object, warnings) = formed(call, resource, object, None)?;
        if resource.is_pods() {
            self.check_account(call, &mut object)?;
        }
        builtin::on_create(resource, &mut object);
        let mut problems = meta::problems(resource, &object);
        problems.extend(builtin::problems(resource, &object, None));
        if let Some(schema) = &resource.schema {
            problems.extend(schema.problems(&object, None));
        }
        let name = meta::of(&object, "name").to_owned();
        if !problems.is_empty() {
            return Err(Failure::invalid(resource, &name, &problems));
        }
        if self.get(call.at, &store::key_of(&object)).is_some() {
            return Err(Failure::already_exists(resource, &name));
        }
        managed::record(resource, None, &mut object, call.writer(), call.now);
        let object =
            if call.query.dry_run() { Arc::new(object) } else { self.commit(call.at, object) };
        Ok(Answer { warnings, ..Answer::new(201, present(resource, &object, call.form)) })
    }

    /// The ServiceAccount admission plugin: the account must be there, and may say that Pods get no token.
    fn check_account(&self, call: &Call<'_>, pod: &mut Value) -> Outcome<()> {
        let own = meta::text(pod, &["spec", "serviceAccountName"]);
        let name = if own.is_empty() { "default" } else { own };
        let accounts = self.position("", "serviceaccounts").unwrap_or_default();
        let Some(account) = self.get(accounts, &store::key(call.namespace(), name)) else {
            let why = format!(
                "error looking up service account {}/{name}: serviceaccount {name:?} not found",
                call.namespace()
            );
            let name = meta::of(pod, "name");
            return Err(Failure::forbidden("", "pods", name, &why));
        };
        let says = account.get("automountServiceAccountToken") == Some(&json!(false));
        builtin::mount_token(pod, !says);
        Ok(())
    }

    /// Objects are made only in namespaces that are there.
    fn check_namespace(&self, call: &Call<'_>, resource: &Resource) -> Outcome<()> {
        if !resource.namespaced {
            return Ok(());
        }
        let namespaces = self.position("", "namespaces").unwrap_or_default();
        let namespace = call.namespace().to_owned();
        match self.get(namespaces, &namespace) {
            Some(_) => Ok(()),
            None => Err(Failure::not_found(self.resource(namespaces), &namespace)),
        }
    }

    /// PUT.
    pub(crate) fn update(&mut self, call: &Call<'_>) -> Outcome<Answer> {
        let resource = self.resource(call.at).clone();
        let mut object = decode(call, &resource)?;
        let name = meta::of(&object, "name").to_owned();
        if name.is_empty() {
            meta::set(&mut object, "name", Some(json!(call.name())));
        } else if name != call.name() {
            return Err(Failure::other_name(&name, call.name()));
        }
        let old = self.get(call.at, &call.key()).cloned();
        if old.is_none() && !(resource.create_on_update && call.target.subresource.is_none()) {
            return Err(Failure::not_found(&resource, call.name()));
        }
        // What is not there has no UID either.
        let is = old.as_deref().map(|old| meta::of(old, "uid")).unwrap_or_default();
        let wanted = meta::of(&object, "uid");
        if !wanted.is_empty() && wanted != is {
            let why = format!(
                "StorageError: invalid object, Code: 4, Key: /registry/{}/{}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {wanted}, UID in object meta: {is}",
                resource.registry,
                call.key()
            );
            return Err(Failure::conflict(&resource, call.name(), &why));
        }
        let Some(old) = old else {
            meta::set(&mut object, "resourceVersion", None);
            return self.create_object(call, &resource, object);
        };
        self.replace(call, &resource, &old, object)
    }

    /// PATCH.
    pub(crate) fn patch(&mut self, call: &Call<'_>) -> Outcome<Answer> {
        let resource = self.resource(call.at).clone();
        let patch = Patch::read(call.media, call.body, &resource)?;
        let old = self.existing(call)?.clone();
        let base = match resource.group == "events.k8s.io" {
            true => events::to_new(&old),
            // What a patch makes of it is not looked at, but a path in it has to be there.
            false if patch_of_managed(call.body) => (*old).clone(),
            false => meta::unmanaged(&old),
        };
        let patched = patch.apply(base)?;
        let patched =
            if resource.group == "events.k8s.io" { events::to_core(patched) } else { patched };
        let name = meta::of(&patched, "name");
        if name != call.name() {
            return Err(Failure::other_name(name, call.name()));
        }
        self.replace(call, &resource, &old, patched)
    }

    /// Puts `new` in the place of `old`, and answers with what is there then.
    pub(crate) fn replace(
        &mut self,
        call: &Call<'_>,
        resource: &Resource,
        old: &Arc<Value>,
        new: Value,
    ) -> Outcome<Answer> {
        let name = call.name();
        check_version(call, resource, old, &new)?;
        let mut new = scoped(resource, call.target.subresource.as_deref(), old, new);
        if meta::of(&new, "uid").is_empty() {
            meta::keep(&mut new, "uid", old);
        }
        for key in SYSTEM_FIELDS {
            meta::keep(&mut new, key, old);
        }
        // Those that a client sends are not looked at.
        meta::set(&mut new, "managedFields", None);
        let (mut new, warnings) = formed(call, resource, new, Some(old))?;
        if resource.generation && differs(old, &new) {
            let generation = meta::get(old, "generation").and_then(Value::as_i64).unwrap_or(0);
            meta::set(&mut new, "generation", Some(json!(generation + 1)));
        }
        let problems = problems_of_change(resource, old, &new);
        if !problems.is_empty() {
            return Err(Failure::invalid(resource, name, &problems));
        }
        let same = meta::same_but_managed(&new, old);
        if call.applied.is_some() || !same {
            managed::record(resource, Some(old), &mut new, call.writer(), call.now);
        } else {
            meta::keep(&mut new, "managedFields", old);
        }
        let over = meta::is_deleting(&new)
            && meta::finalizers(&new).is_empty()
            && meta::grace(&new).unwrap_or(0) == 0;
        let stays = call.query.dry_run() || (same && !over && new == **old);
        let new = match (stays, over) {
            (true, _) => Arc::new(new),
            (false, true) => {
                // What goes is what was stored, its last finalizer included.
                self.remove(call.at, old);
                Arc::new(new)
            }
            (false, false) => self.commit(call.at, new),
        };
        Ok(Answer { warnings, ..Answer::new(200, present(resource, &new, call.form)) })
    }

    /// POST of a Binding: what the scheduler does.
    pub(crate) fn bind(&mut self, call: &Call<'_>) -> Outcome<Answer> {
        let resource = self.resource(call.at).clone();
        let body: Value = serde_json::from_slice(call.body)
            .map_err(|error| Failure::bad_request(format!("cannot read the Binding: {error}")))?;
        let node = meta::text(&body, &["target", "name"]).to_owned();
        let mut pod = (**self.existing(call)?).clone();
        let bound = meta::text(&pod, &["spec", "nodeName"]);
        if !bound.is_empty() {
            let why = format!("pod {} is already assigned to node {bound:?}", call.name());
            return Err(Failure::conflict(&resource, &format!("{}/binding", call.name()), &why));
        }
        pod["spec"]["nodeName"] = json!(node);
        let scheduled = json!({ "type": "PodScheduled", "status": "True", "lastTransitionTime": meta::time(call.now) });
        builtin::set_condition(&mut pod, scheduled);
        if !call.query.dry_run() {
            self.commit(call.at, pod);
        }
        Ok(Answer::new(201, crate::status::created()))
    }
}

/// True for a patch that may speak of managedFields.
fn patch_of_managed(body: &[u8]) -> bool {
    let name = b"managedFields";
    body.windows(name.len()).any(|part| part == name)
}

/// A write must be of what is there.
fn check_version(call: &Call<'_>, resource: &Resource, old: &Value, new: &Value) -> Outcome<()> {
    let asked = meta::of(new, "resourceVersion");
    if asked.is_empty() && !resource.unconditional_update {
        let field = "metadata.resourceVersion";
        let error = FieldError::invalid(field, &json!(0), "must be specified for an update");
        let kind = &resource.plural;
        return Err(Failure::invalid_of(&resource.group, kind, call.name(), &[error]));
    }
    if !asked.is_empty() && asked != meta::of(old, "resourceVersion") {
        return Err(Failure::modified(resource, call.name()));
    }
    Ok(())
}

fn problems_of_change(resource: &Resource, old: &Value, new: &Value) -> Vec<FieldError> {
    let mut problems = meta::changes(old, new);
    // Each layer of the real server looks at the metadata of an update, and says it again.
    let times = match resource.plural.as_str() {
        "nodes" | "pods" | "configmaps" | "secrets" | "serviceaccounts" => 4,
        "poddisruptionbudgets" => 2,
        _ => 3,
    };
    let of_metadata = meta::problems(resource, new);
    (0..times).for_each(|_| problems.extend(of_metadata.iter().cloned()));
    problems.extend(builtin::problems(resource, new, Some(old)));
    if let Some(schema) = &resource.schema {
        problems.extend(schema.problems(new, Some(old)));
    }
    if resource.is_pods() && new["spec"] != old["spec"] && pod_core(new) != pod_core(old) {
        problems.push(FieldError::forbidden("spec", IMMUTABLE_POD));
    }
    problems
}

/// Reads a body, and sees that it is what the path says.
fn decode(call: &Call<'_>, resource: &Resource) -> Outcome<Value> {
    let kind = &resource.kind;
    let media = call.media.split(';').next().unwrap_or_default().trim();
    if media.ends_with("protobuf") || media.ends_with("yaml") || media.ends_with("cbor") {
        return Err(Failure::not_simulated(format!("a body of type {media}")));
    }
    if !media.is_empty() && media != "application/json" {
        return Err(Failure::unsupported_media(
            "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf",
        ));
    }
    let mut object: Value = serde_json::from_slice(call.body).map_err(|error| {
        Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: {} ({})",
            status::json_error(&error),
            shortened(call.body)
        ))
    })?;
    let version = resource.api_version();
    if resource.is_custom() && meta::text(&object, &["kind"]).is_empty() {
        // Custom resources have no types that would say what they are.
        let (text, start) = (String::from_utf8_lossy(call.body), shortened(call.body));
        return Err(Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): Object 'Kind' is missing in '{text}' ({start})"
        )));
    }
    let (has_kind, has_version) =
        (meta::text(&object, &["kind"]), meta::text(&object, &["apiVersion"]));
    if resource.is_custom() && has_kind != kind {
        let error = FieldError::invalid("kind", &json!(has_kind), &format!("must be {kind}"));
        let name = meta::of(&object, "name");
        return Err(Failure::invalid_of(&resource.group, has_kind, name, &[error]));
    }
    if !has_kind.is_empty() && has_kind != kind {
        return Err(Failure::bad_request(format!(
            "{has_kind} in version \"{}\" cannot be handled as a {kind}: converting ({has_version}.{has_kind}) to ({}.{kind}): unknown conversion",
            resource.version,
            if resource.group.is_empty() { "core" } else { &resource.group },
        )));
    }
    if !resource.is_custom() && !has_version.is_empty() && has_version != version {
        return Err(Failure::bad_request(format!(
            "{kind} in version \"{}\" cannot be handled as a {kind}: no kind \"{kind}\" is registered for version \"{has_version}\" in scheme \"pkg/runtime/scheme.go:111\"",
            has_version.rsplit('/').next().unwrap_or_default()
        )));
    }
    if !has_version.is_empty() && has_version != version {
        return Err(Failure::bad_request(format!(
            "the API version in the data ({has_version}) does not match the expected API version ({version})"
        )));
    }
    object["kind"] = json!(kind);
    object["apiVersion"] = json!(version);
    let namespace = meta::of(&object, "namespace").to_owned();
    if resource.namespaced && namespace.is_empty() {
        meta::set(&mut object, "namespace", Some(json!(call.namespace())));
    } else if namespace != call.namespace() {
        return Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(if resource.group == "events.k8s.io" { events::to_core(object) } else { object })
}

/// The beginning of a body, as errors quote it.
fn shortened(body: &[u8]) -> String {
    const QUOTED: usize = 30;
    if body.len() <= QUOTED {
        return String::from_utf8_lossy(body).into_owned();
    }
    format!("{} ...", String::from_utf8_lossy(&body[..QUOTED]))
}

/// Brings an object into the form in which it is stored, and says what it had that is not known.
fn formed(
    call: &Call<'_>,
    resource: &Resource,
    mut object: Value,
    old: Option<&Value>,
) -> Outcome<(Value, Vec<String>)> {
    let how = call.query.get("fieldValidation");
    let mut unknown = Vec::new();
    if let Some(schema) = &resource.schema {
        if let Some(keyword) = schema.unknown().first() {
            return Err(Failure::not_simulated(format!("the schema's {keyword}")));
        }
        unknown = schema.prune(&mut object);
        schema.default(&mut object);
    } else {
        builtin::check_times(resource, &object)?;
        if let Some(normal) = normalised(resource, &object, old)? {
            if how != Some("Ignore") {
                unknown = lost(&object, &normal);
            }
            object = normal;
        }
        builtin::default(resource, &mut object);
    }
    meta::without_empties(&mut object);
    unknown.sort();
    let unknown: Vec<String> =
        unknown.iter().map(|field| format!("unknown field \"{field}\"")).collect();
    match how {
        Some("Ignore") => Ok((object, Vec::new())),
        Some("Strict") if !unknown.is_empty() => Err(undecodable(
            resource,
            old,
            &format!("strict decoding error: {}", unknown.join(", ")),
        )),
        _ => Ok((object, unknown)),
    }
}

/// An object that cannot be read: a body in one way, what a patch makes in another.
fn undecodable(resource: &Resource, patched: Option<&Value>, why: &str) -> Failure {
    let kind = &resource.kind;
    match patched {
        // The real server quotes the whole object.
        Some(object) => {
            let error = FieldError::invalid("patch", &Value::String(object.to_string()), why);
            Failure::invalid_of("", "", "", &[error])
        }
        None => Failure::bad_request(format!(
            "{kind} in version \"{}\" cannot be handled as a {kind}: {why}",
            resource.version
        )),
    }
}

/// The object as its type writes it; `None` for a type that is not known.
fn normalised(resource: &Resource, object: &Value, old: Option<&Value>) -> Outcome<Option<Value>> {
    let Some(normalise) = resource.normalise else { return Ok(None) };
    // The type has no room for none.
    let selects = object["spec"].get("selector").is_some() || resource.group != "apps";
    let quoted = old.map(|_| object);
    let mut normal = normalise(object).map_err(|why| undecodable(resource, quoted, &why))?;
    if !selects && let Some(spec) = normal.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("selector");
    }
    Ok(Some(normal))
}

/// The paths of the fields of `given` that `stored` has not.
pub(crate) fn lost(given: &Value, stored: &Value) -> Vec<String> {
    let mut gone = Vec::new();
    collect_lost(given, stored, &mut Vec::new(), &mut gone);
    gone
}

/// A step of a path; it is spelled only where something is lost, which is next to never.
enum Step<'a> {
    Field(&'a str),
    Entry(usize),
}

fn collect_lost<'a>(
    given: &'a Value,
    stored: &Value,
    path: &mut Vec<Step<'a>>,
    gone: &mut Vec<String>,
) {
    match (given, stored) {
        (Value::Object(given), Value::Object(stored)) => {
            for (key, value) in given {
                path.push(Step::Field(key));
                match stored.get(key) {
                    Some(stored) => collect_lost(value, stored, path, gone),
                    None if is_nothing(value) => {}
                    None => gone.push(spelled(path)),
                }
                path.pop();
            }
        }
        (Value::Array(given), Value::Array(stored)) => {
            for (at, (given, stored)) in given.iter().zip(stored).enumerate() {
                path.push(Step::Entry(at));
                collect_lost(given, stored, path, gone);
                path.pop();
            }
        }
        _ => {}
    }
}

fn spelled(path: &[Step<'_>]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Field(key) if text.is_empty() => text.push_str(key),
            Step::Field(key) => text.extend([".", key]),
            Step::Entry(at) => text.push_str(&format!("[{at}]")),
        }
    }
    text
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        _ => false,
    }
}

/// What a write of the object, or of its status, may change: the rest is taken from `old`.
fn scoped(resource: &Resource, subresource: Option<&str>, old: &Value, mut new: Value) -> Value {
    let take = |to: &mut Value, field: &str| {
        if let Some(map) = to.as_object_mut() {
            match old.get(field) {
                // Most writes leave it as it is, and to look costs less than a copy.
                Some(value) if map.get(field) == Some(value) => None,
                Some(value) => map.insert(field.to_owned(), value.clone()),
                None => map.remove(field),
            };
        }
    };
    if matches!(subresource, None | Some("scale")) {
        if resource.status != StatusRule::None {
            take(&mut new, "status");
        }
        return new;
    }
    if resource.is_custom() {
        // Of the metadata nothing is taken, but for the UID and the version that are looked at.
        let mut whole = old.clone();
        for key in ["uid", "name"] {
            if !meta::of(&new, key).is_empty() {
                meta::keep(&mut whole, key, &new);
            }
        }
        let status = new.as_object_mut().and_then(|new| new.remove("status"));
        if let Some(map) = whole.as_object_mut() {
            match status {
                Some(status) => map.insert("status".to_owned(), status),
                None => map.remove("status"),
            };
        }
        return whole;
    }
    take(&mut new, "spec");
    if resource.is_pods() {
        meta::keep(&mut new, "ownerReferences", old);
        if let (Some(class), None) = (old["status"].get("qosClass"), new["status"].get("qosClass"))
        {
            new["status"]["qosClass"] = class.clone();
        }
    } else if resource.group == "apps" {
        meta::keep(&mut new, "labels", old);
    }
    new
}

/// True when something counts as another generation: all but metadata and status.
fn differs(old: &Value, new: &Value) -> bool {
    fn counted(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
        let fields = object.as_object().into_iter().flatten();
        fields.filter(|(key, _)| !matches!(key.as_str(), "metadata" | "status"))
    }
    !counted(old).eq(counted(new))
}

/// The part of a pod's spec that never changes.
fn pod_core(pod: &Value) -> Value {
    let mut spec = pod["spec"].clone();
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(container) = container.as_object_mut() {
                container.remove("image");
            }
        }
    }
    if let Some(map) = spec.as_object_mut() {
        for field in ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"] {
            map.remove(field);
        }
    }
    spec
}

#[cfg(test)]
mod tests;
