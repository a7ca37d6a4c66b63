use std::time::Duration;

use super::*;
use crate::{store::Options, watch::Next};

/// A world without a network: a store, a clock, and short ways to ask.
pub(crate) struct World {
    pub store: Store,
    pub now: Timestamp,
}

impl World {
    pub fn new() -> Self {
        Self::of(Options::default())
    }

    pub fn with_history(history: usize) -> Self {
        Self::of(Options { history, ..Options::default() })
    }

    fn of(options: Options) -> Self {
        let now = options.start;
        World { store: Store::new(options), now }
    }

    pub fn pass(&mut self, seconds: u64) {
        self.now = self.now.checked_add(Duration::from_secs(seconds)).unwrap();
    }

    pub fn reply(
        &mut self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> Reply {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        self.store.handle(&request.body(body).unwrap(), self.now)
    }

    pub fn ask(&mut self, method: &str, uri: &str, media: &str, body: Value) -> (u16, Value) {
        match self.reply(method, uri, &[("content-type", media), ("user-agent", "test/1")], body) {
            Reply::Answer(answer) => (answer.code, answer.body.value()),
            Reply::Watch(_) => panic!("a watch"),
        }
    }

    pub fn get(&mut self, uri: &str) -> (u16, Value) {
        self.ask("GET", uri, "", Value::Null)
    }

    pub fn get_as(&mut self, uri: &str, accept: &str) -> (u16, Value) {
        match self.reply("GET", uri, &[("accept", accept)], Value::Null) {
            Reply::Answer(answer) => (answer.code, answer.body.value()),
            Reply::Watch(_) => panic!("a watch"),
        }
    }

    pub fn post(&mut self, uri: &str, body: Value) -> (u16, Value) {
        self.ask("POST", uri, "application/json", body)
    }

    pub fn put(&mut self, uri: &str, body: Value) -> (u16, Value) {
        self.ask("PUT", uri, "application/json", body)
    }

    pub fn merge(&mut self, uri: &str, body: Value) -> (u16, Value) {
        self.ask("PATCH", uri, "application/merge-patch+json", body)
    }

    pub fn strategic(&mut self, uri: &str, body: Value) -> (u16, Value) {
        self.ask("PATCH", uri, "application/strategic-merge-patch+json", body)
    }

    pub fn delete(&mut self, uri: &str) -> (u16, Value) {
        self.ask("DELETE", uri, "", Value::Null)
    }

    pub fn delete_with(&mut self, uri: &str, options: Value) -> (u16, Value) {
        self.ask("DELETE", uri, "application/json", options)
    }

    pub fn watch(&mut self, uri: &str) -> Watch {
        match self.reply("GET", uri, &[], Value::Null) {
            Reply::Watch(watch) => *watch,
            Reply::Answer(answer) => panic!("{answer:?}"),
        }
    }

    pub fn next(&mut self, watch: &mut Watch) -> Next {
        self.store.next(watch, self.now)
    }

    pub fn events(&mut self, watch: &mut Watch) -> Vec<Value> {
        let mut events = Vec::new();
        while let Next::Event(event) = self.next(watch) {
            events.push(event.value());
        }
        events
    }

    pub fn node(&mut self, name: &str) -> Value {
        let (code, node) = self.post("/api/v1/nodes", json!({ "metadata": { "name": name } }));
        assert_eq!(code, 201, "{node}");
        node
    }

    pub fn pod(&mut self, namespace: &str, name: &str, labels: Value, node: &str) -> Value {
        let uri = format!("/api/v1/namespaces/{namespace}/pods");
        let (code, pod) = self.post(
            &uri,
            json!({
                "metadata": { "name": name, "labels": labels },
                "spec": { "nodeName": node, "containers": [{ "name": "c", "image": "i" }] },
            }),
        );
        assert_eq!(code, 201, "{pod}");
        pod
    }

    pub fn running(&mut self, namespace: &str, name: &str, labels: Value) -> Value {
        self.pod(namespace, name, labels, "n1");
        let uri = format!("/api/v1/namespaces/{namespace}/pods/{name}/status");
        let ready = json!({ "type": "Ready", "status": "True" });
        self.strategic(&uri, json!({ "status": { "phase": "Running", "conditions": [ready] } })).1
    }
}

/// As kube-apiserver 1.36.3 answered.
#[test]
fn paths_and_methods_that_are_not_there_answer_as_the_real_server_does() {
    let mut world = World::new();
    let (code, answer) = world.get("/api/v1/nodes/none");
    assert_eq!((code, answer["message"].as_str()), (404, Some("nodes \"none\" not found")));
    assert_eq!(world.post("/api/v1/nodes/n1", json!({})).0, 405);
    let (code, answer) = world.put("/api/v1/nodes", json!({}));
    assert_eq!(code, 405);
    assert_eq!(
        answer["message"],
        "the server does not allow this method on the requested resource"
    );
    assert_eq!(world.get("/api/v1/pods/a").0, 404, "a pod lives in a namespace");
    assert_eq!(world.get("/api/v1/namespaces/none/pods").0, 200, "empty");
    assert_eq!(world.get("/api/v1/namespaces/default/pods/a/log").0, 501, "loud");
    assert_eq!(world.get("/api/v1/endpoints").0, 501, "loud");
    for path in ["/api/v1/nothing", "/api/v2/nodes", "/api/v1/nodes/n1/nothing"] {
        let (code, answer) = world.get(path);
        let message = "the server could not find the requested resource";
        assert_eq!((code, answer["message"].as_str()), (404, Some(message)), "{path}");
    }
    for path in
        ["/nothing", "/apis/nothing.example.com/v1/things", "/apis/rerail.dev/v1alpha1/nothing"]
    {
        assert_eq!(world.get(path), (404, json!("404 page not found\n")), "{path}");
    }
    let runs = "/apis/rerail.dev/v1alpha1/noderemediations";
    let (code, answer) = world.post(&format!("{runs}/n1"), json!({}));
    assert_eq!(
        (code, answer["message"].as_str()),
        (
            400,
            Some(
                "the object provided is unrecognized (must be of type NodeRemediation): Object 'Kind' is missing in '{}' ({})"
            )
        )
    );
    assert_eq!(world.put(runs, json!({})).1["message"], "name must be provided");
    let crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/noderemediations.rerail.dev";
    assert_eq!(world.get(crd).0, 200);
    assert_eq!(world.delete(crd).0, 501, "read-only, and loud");
}

/// Versions, UIDs and generated names follow from the seed and the requests.
#[test]
fn the_same_requests_have_the_same_answers() {
    let play = |seed: u64| {
        let mut world = World::of(Options { seed, ..Options::default() });
        let mut answers =
            vec![world.node("n1"), world.running("default", "a", json!({ "app": "web" }))];
        let map = json!({ "metadata": { "generateName": "x-" } });
        answers.push(world.post("/api/v1/namespaces/default/configmaps", map).1);
        answers.push(world.delete("/api/v1/namespaces/default/pods/a").1);
        let bad = json!({ "apiVersion": "rerail.dev/v1alpha1", "kind": "RemediationPolicy", "metadata": { "name": "p" },
            "spec": { "nodes": { "all": true }, "triggers": [{ "condition": { "type": "" } }], "budget": { "maxUnavailable": "x" } } });
        answers.push(world.post("/apis/rerail.dev/v1alpha1/remediationpolicies", bad).1);
        answers.push(world.get("/api/v1/nodes").1);
        answers
    };
    assert_eq!(play(1), play(1));
    assert_ne!(play(1), play(2));
}
