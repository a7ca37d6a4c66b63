//! Subresources that are objects of another kind: the scale of workloads, tokens of ServiceAccounts.

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::{
    handle::{Answer, Call, Form},
    meta,
    patch::{self, Patch},
    selector,
    status::{Failure, FieldError, Outcome},
    store::Store,
};

impl Store {
    /// `…/scale`: GET, PUT and PATCH. What is written is the workload, by the replicas of its spec.
    pub(crate) fn scale(&mut self, call: &Call<'_>, method: &str) -> Outcome<Answer> {
        if call.form != Form::Whole {
            return Err(Failure::not_simulated("a scale as a table"));
        }
        if method == "PATCH" && patch::is_apply(call.media) {
            return Err(Failure::not_simulated("the apply of a scale"));
        }
        let resource = self.resource(call.at).clone();
        let old = self.existing(call)?.clone();
        let scale = scale_of(&old);
        let wanted = match method {
            "GET" => return Ok(Answer::new(200, scale)),
            "PUT" => serde_json::from_slice(call.body)
                .map_err(|error| Failure::bad_request(format!("cannot read the Scale: {error}")))?,
            _ => Patch::read(call.media, call.body, &resource)?.apply(scale)?,
        };
        let replicas = wanted["spec"]["replicas"].as_i64().unwrap_or(0);
        if replicas < 0 {
            let why = "must be greater than or equal to 0";
            let error = FieldError::invalid("spec.replicas", &json!(replicas), why);
            return Err(Failure::invalid_of("autoscaling", "Scale", call.name(), &[error]));
        }
        let mut new = (*old).clone();
        meta::keep(&mut new, "resourceVersion", &wanted);
        new["spec"]["replicas"] = json!(replicas);
        let answer = self.replace(call, &resource, &old, new)?;
        Ok(Answer { body: scale_of(&answer.body.value()).into(), ..answer })
    }

    /// `…/token`: nobody looks at tokens here, so any text will do.
    pub(crate) fn token(&mut self, call: &Call<'_>) -> Outcome<Answer> {
        const LEAST: i64 = 600;
        let account = self.existing(call)?.clone();
        let asked: Value = serde_json::from_slice(call.body).map_err(|error| {
            Failure::bad_request(format!("cannot read the TokenRequest: {error}"))
        })?;
        let spec = &asked["spec"];
        let seconds = spec["expirationSeconds"].as_i64().unwrap_or(3600);
        if seconds < LEAST {
            let why = "may not specify a duration less than 10 minutes";
            let error = FieldError::invalid("spec.expirationSeconds", &json!(seconds), why);
            let group = "authentication.k8s.io";
            return Err(Failure::invalid_of(group, "TokenRequest", "", &[error]));
        }
        let audiences = match spec["audiences"].as_array() {
            Some(all) if !all.is_empty() => json!(all),
            _ => json!(["https://kubernetes.default.svc"]),
        };
        let (namespace, name) = (meta::of(&account, "namespace"), meta::of(&account, "name"));
        let uid = self.draw_uid();
        let end = call.now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(call.now);
        let body = json!({
            "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
            "metadata": {
                "name": name, "namespace": namespace, "uid": uid, "creationTimestamp": meta::time(call.now),
            },
            "spec": {
                "audiences": audiences, "expirationSeconds": seconds,
                "boundObjectRef": spec.get("boundObjectRef").unwrap_or(&Value::Null),
            },
            "status": {
                "token": format!("rerail-sim.{namespace}.{name}.{uid}"), "expirationTimestamp": meta::time(end),
            },
        });
        Ok(Answer::new(201, body))
    }
}

fn scale_of(object: &Value) -> Value {
    let mut metadata = json!({});
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        metadata[key] = meta::get(object, key).cloned().unwrap_or_default();
    }
    let replicas = |part: &str| object[part]["replicas"].as_i64().unwrap_or(0);
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": {},
        "status": { "replicas": replicas("status"), "selector": selector::shown(&object["spec"]["selector"]) },
    });
    if replicas("spec") != 0 {
        scale["spec"]["replicas"] = json!(replicas("spec"));
    }
    scale
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::handle::tests::World;

    #[test]
    fn a_workload_is_scaled() {
        let mut world = World::new();
        let all = "/apis/apps/v1/namespaces/default/deployments";
        let template = json!({ "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "c", "image": "c" }] } });
        world.post(all, json!({ "metadata": { "name": "web" }, "spec": { "selector": { "matchLabels": { "a": "b" } }, "template": template } }));
        let (code, scale) =
            world.merge(&format!("{all}/web/scale"), json!({ "spec": { "replicas": 3 } }));
        assert_eq!((code, &scale["spec"]["replicas"]), (200, &json!(3)));
        let web = world.get(&format!("{all}/web")).1;
        assert_eq!(
            (&web["spec"]["replicas"], &web["metadata"]["generation"]),
            (&json!(3), &json!(2))
        );
        let refused =
            world.merge(&format!("{all}/web/scale"), json!({ "spec": { "replicas": -1 } }));
        assert_eq!(refused.0, 422);
        assert_eq!(world.merge(&format!("{all}/none/scale"), json!({})).0, 404);
    }
}
