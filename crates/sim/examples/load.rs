//! How fast the simulated API server answers: each kind of request by itself, with the JSON in and out that a client
//! pays for, too. What is counted is the time of this thread on a processor, whatever else the machine does (Linux).
//!
//! `cargo run --release -p rerail-sim --example load -- 60`, with the number of nodes

use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use http::Request;
use http_body_util::BodyExt;
use rerail_sim::{Answered, Options, Server};
use serde_json::{Value, json};
use tokio::time::Instant;

/// For how long each is measured.
const ROUND: Duration = Duration::from_millis(700);
const MEDIA: [(&str, &str); 2] =
    [("PATCH", "application/strategic-merge-patch+json"), ("POST", "application/json")];

fn ask(server: &Server, method: &str, uri: &str, body: &Value) -> http::Response<Answered> {
    let mut request = Request::builder().method(method).uri(uri);
    if let Some((_, media)) = MEDIA.iter().find(|(of, _)| *of == method) {
        request = request.header("content-type", *media);
    }
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    server.answer(&request.body(body).unwrap_or_default())
}

/// Reads an answer as a client does.
async fn read(answer: http::Response<Answered>) -> Value {
    let bytes = answer.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// A node as a kubelet reports it.
fn node(name: &str) -> Value {
    let types = ["MemoryPressure", "DiskPressure", "PIDPressure", "KernelDeadlock", "Ready"];
    let conditions = types.map(|kind| json!({
        "type": kind, "status": if kind == "Ready" { "True" } else { "False" }, "reason": "KubeletHasWhatItNeeds",
        "message": "the kubelet has what it needs of this", "lastHeartbeatTime": "2026-01-01T00:00:00Z",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }));
    json!({
        "metadata": { "name": name, "labels": { "rack": "a", "kubernetes.io/hostname": name, "node-role.kubernetes.io/worker": "" } },
        "spec": { "podCIDR": "10.0.0.0/24", "providerID": "sim://x" },
        "status": {
            "capacity": { "cpu": "8", "memory": "16Gi", "pods": "110" }, "conditions": conditions,
            "addresses": [{ "type": "InternalIP", "address": "10.0.0.1" }, { "type": "Hostname", "address": name }],
            "nodeInfo": { "bootID": "b", "machineID": "m", "kernelVersion": "6.1", "osImage": "linux",
                "containerRuntimeVersion": "c", "kubeletVersion": "v1.36.3", "kubeProxyVersion": "",
                "operatingSystem": "linux", "architecture": "amd64", "systemUUID": "s" },
        },
    })
}

fn pod(at: usize, node: &str) -> Value {
    json!({
        "metadata": { "name": format!("web-{at}"), "labels": { "app": "web" } },
        "spec": { "nodeName": node, "containers": [{ "name": "c", "image": "c:1" }] },
    })
}

/// How long this thread has run.
fn on_processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|text| text.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

async fn measure(what: &str, mut one: impl AsyncFnMut(usize)) {
    let (start, begun) = (on_processor(), Instant::now());
    let mut count = 0_u32;
    while begun.elapsed() < ROUND || count < 20 {
        one(count as usize).await;
        count += 1;
    }
    let each = (on_processor() - start) / count;
    println!("{what:<44} {:>9.0} /s {each:>12.1?}", 1.0 / each.as_secs_f64());
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let nodes: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(60);
    let server = Server::new(Options::default());
    let name = |at: usize| format!("node-{:03}", at % nodes);
    for at in 0..nodes {
        read(ask(&server, "POST", "/api/v1/nodes", &node(&name(at)))).await;
        for of_node in 0..10 {
            let pod = pod(at * 10 + of_node, &name(at));
            read(ask(&server, "POST", "/api/v1/namespaces/default/pods", &pod)).await;
        }
    }
    println!("{nodes} nodes, {} pods", nodes * 10);
    let beat = |at: usize| {
        let time = format!("2026-01-01T00:{:02}:{:02}Z", at / 60 % 60, at % 60);
        let types = ["MemoryPressure", "DiskPressure", "PIDPressure", "KernelDeadlock", "Ready"];
        let conditions = types.map(|kind| json!({ "type": kind, "lastHeartbeatTime": time }));
        json!({ "status": { "conditions": conditions } })
    };
    let patch =
        |at: usize| ask(&server, "PATCH", &format!("/api/v1/nodes/{}/status", name(at)), &beat(at));
    measure("patch of a node's status", async |at| drop(read(patch(at)).await)).await;
    let mut watches: Vec<_> = (0..5)
        .map(|_| {
            let uri = "/api/v1/nodes?watch=true&resourceVersion=1&allowWatchBookmarks=true";
            let uri = uri.replace("=1&", &format!("={}&", server.with(|s, _| s.version())));
            ask(&server, "GET", &uri, &Value::Null).into_body().into_data_stream()
        })
        .collect();
    measure("… that five watches see, and read", async |at| {
        drop(read(patch(at)).await);
        for watch in &mut watches {
            while let Some(Some(Ok(line))) = watch.next().now_or_never() {
                drop(serde_json::from_slice::<Value>(&line));
            }
        }
    })
    .await;
    drop(watches);
    for (what, uri) in [
        ("get of a node", "/api/v1/nodes/node-001"),
        ("list of all nodes", "/api/v1/nodes"),
        ("list of all pods", "/api/v1/pods"),
        ("list of the pods of a node", "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-001"),
        ("list of pods by a label that none has", "/api/v1/pods?labelSelector=app%3Dother"),
    ] {
        let get = || ask(&server, "GET", uri, &Value::Null);
        measure(what, async |_| drop(get().into_body().collect().await)).await;
        measure("… and read", async |_| drop(read(get()).await)).await;
    }
}
