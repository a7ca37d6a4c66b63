mod controllers;
mod determinism;
mod kubelets;
mod machines;
mod others;
mod reboots;
mod restores;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::*;
use crate::{
    Options as ServerOptions, Store,
    observe::{Cause, Happening, Observer, What},
    store::Commit,
};

/// A scene without its first two lines.
fn read(scene: &str) -> Scene {
    let text = match scene.trim_start().strip_prefix('{') {
        Some(rest) => format!("{{apiVersion: {API_VERSION}, kind: {KIND}, {rest}"),
        None => format!("apiVersion: {API_VERSION}\nkind: {KIND}\n{scene}"),
    };
    Scene::parse(&text).unwrap()
}

/// A world of a scene, settled.
async fn world_of(scene: &str, seed: u64) -> World {
    let server = Server::new(ServerOptions { seed, ..ServerOptions::default() });
    let world = World::open(&server, read(scene), seed).unwrap();
    assert!(world.settled().await, "{:?}", world.complaints());
    world
}

const SMALL: &str = "
name: small
nodes: [{prefix: n-, count: 3, racks: 3, labels: {pool: a}}]
deployments: [{name: web, replicas: 6, budget: {maxUnavailable: 1}}]
daemonSets: [{name: exporter}]
";

/// What really happened, in order.
#[derive(Clone, Default)]
struct Story(Arc<Mutex<Vec<Happening>>>);

impl Observer for Story {
    fn committed(&mut self, _: &Store, _: &Commit) {}

    fn happened(&mut self, _: &Store, happening: &Happening) {
        self.0.lock().unwrap().push(happening.clone());
    }
}

impl Story {
    fn of(world: &World) -> Self {
        let story = Story::default();
        world.server().observe(story.clone());
        story
    }

    fn all(&self) -> Vec<What> {
        self.0.lock().unwrap().iter().map(|one| one.what.clone()).collect()
    }

    fn count(&self, wanted: impl Fn(&What) -> bool) -> usize {
        self.all().iter().filter(|what| wanted(what)).count()
    }
}

/// An object as the server has it.
fn object(world: &World, group: &str, plural: &str, key: &str) -> Option<Value> {
    world.server().with(|store, _| {
        let at = store.position(group, plural).unwrap();
        store.get(at, &key.to_owned()).map(|object| (**object).clone())
    })
}

fn objects(world: &World, group: &str, plural: &str) -> Vec<Value> {
    world.server().with(|store, _| {
        let at = store.position(group, plural).unwrap();
        store.table(at).objects().values().map(|object| (**object).clone()).collect()
    })
}

fn node(world: &World, name: &str) -> Value {
    object(world, "", "nodes", name).unwrap()
}

fn pods_on(world: &World, node: &str) -> Vec<Value> {
    let mut pods = objects(world, "", "pods");
    pods.retain(|pod| pod["spec"]["nodeName"] == node);
    pods
}

fn app(pod: &Value) -> &str {
    pod["metadata"]["labels"]["app"].as_str().unwrap_or_default()
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

/// Waits until something is so, at most half an hour.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..18_000 {
        if is_so() {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("not within half an hour: {what}");
}

fn act(world: &World, text: &str) {
    let act: Act = serde_saphyr::from_str(text).unwrap();
    world.act(&act).unwrap();
}

/// Asks the server as anybody; status and body.
fn ask(world: &World, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let media = match method {
        "PATCH" => "application/merge-patch+json",
        _ => "application/json",
    };
    let request = http::Request::builder().method(method).uri(path).header("content-type", media);
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = request.body(bytes::Bytes::from(body)).unwrap();
    let answer = world.server().acting_as("test").with(|store, now| store.handle(&request, now));
    match answer {
        crate::handle::Reply::Answer(answer) => (answer.code, answer.body.value()),
        crate::handle::Reply::Watch(_) => panic!("a watch"),
    }
}

fn path_of(pod: &Value) -> String {
    let of = |key: &str| pod["metadata"][key].as_str().unwrap().to_owned();
    format!("/api/v1/namespaces/{}/pods/{}", of("namespace"), of("name"))
}

fn no_complaints(world: &World) {
    assert_eq!(world.complaints(), Vec::<String>::new());
}
