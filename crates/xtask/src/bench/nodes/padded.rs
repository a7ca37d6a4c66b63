//! Nodes of the size of real ones: images, labels, conditions. Nobody runs them; they are only there.

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::bench::{BenchError, progress};

/// Images of a node, as the kubelet reports at most of them (its default is 50).
const IMAGES: usize = 47;

/// Labels that a node has beside its name, zone and type.
const LABELS: usize = 36;

/// Nodes that are created at the same time.
const AT_ONCE: usize = 16;

/// What a kubelet and a node problem detector report.
const CONDITIONS: [(&str, &str, &str, &str); 8] = [
    (
        "MemoryPressure",
        "False",
        "KubeletHasSufficientMemory",
        "kubelet has sufficient memory available",
    ),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ("NetworkUnavailable", "False", "CalicoIsUp", "Calico is running on this node"),
    ("KernelDeadlock", "False", "KernelHasNoDeadlock", "kernel has no deadlock"),
    ("ReadonlyFilesystem", "False", "FilesystemIsNotReadOnly", "Filesystem is not read-only"),
    (
        "FrequentKubeletRestart",
        "False",
        "NoFrequentKubeletRestart",
        "kubelet is functioning properly",
    ),
];

/// Name of a node.
pub fn name(number: usize) -> String {
    format!("padded-{number:05}")
}

#[expect(clippy::disallowed_methods, reason = "a fake kubelet's report bears the real time")]
fn now() -> Timestamp {
    Timestamp::now()
}

fn conditions(now: Timestamp) -> Value {
    // The API's times have no fractions.
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = |(kind, status, reason, message): (&str, &str, &str, &str)| {
        json!({ "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": "2026-01-01T00:00:00Z" })
    };
    CONDITIONS.into_iter().map(condition).collect()
}

fn object(number: usize, now: Timestamp) -> Result<Node, serde_json::Error> {
    let name = name(number);
    let mut labels: serde_json::Map<String, Value> = (0..LABELS)
        .map(|label| (format!("node.example.com/feature-{label:02}"), json!(format!("on-{label}"))))
        .collect();
    labels.insert("kubernetes.io/hostname".into(), json!(name));
    labels.insert("topology.kubernetes.io/zone".into(), json!(format!("zone-{}", number % 3)));
    labels.insert("example.com/rack".into(), json!(format!("rack-{}", number / 40)));
    labels.insert("node.kubernetes.io/instance-type".into(), json!("m5.4xlarge"));
    let images = (0..IMAGES).map(|image| {
        let repository = format!("registry.example.com/team-{image:02}/service");
        let digest = format!("{image:02}").repeat(32);
        json!({ "names": [format!("{repository}@sha256:{digest}"), format!("{repository}:v1.{image}.0")],
            "sizeBytes": 100_000_000 + image })
    });
    let resources = json!({ "cpu": "16", "memory": "65000000Ki", "pods": "110",
        "ephemeral-storage": "100Gi", "hugepages-1Gi": "0", "hugepages-2Mi": "0" });
    serde_json::from_value(json!({
        "metadata": { "name": name, "labels": labels,
            "annotations": { "csi.volume.kubernetes.io/nodeid": format!("{{\"ebs\":\"i-{number:017x}\"}}"),
                "node.alpha.kubernetes.io/ttl": "0" } },
        "spec": { "podCIDR": "10.0.0.0/24", "providerID": format!("aws:///zone/i-{number:017x}") },
        "status": {
            "addresses": [{ "type": "Hostname", "address": name }],
            "allocatable": resources, "capacity": resources,
            "conditions": conditions(now), "images": images.collect::<Value>(),
            "nodeInfo": { "architecture": "amd64", "bootID": format!("00000000-0000-4000-8000-{number:012x}"),
                "containerRuntimeVersion": "containerd://2.0.0", "kernelVersion": "6.8.0-generic",
                "kubeProxyVersion": "", "kubeletVersion": "v1.36.3",
                "machineID": format!("{number:032x}"), "operatingSystem": "linux",
                "osImage": "Ubuntu 24.04 LTS", "systemUUID": format!("{number:032x}") },
        },
    }))
}

/// Creates the nodes with these numbers, as a kubelet does.
pub async fn create(nodes: &Api<Node>, numbers: std::ops::Range<usize>) -> Result<(), BenchError> {
    let all = numbers.len();
    let bar = progress::bar("padded nodes", all);
    let params = PostParams { field_manager: Some("kubelet".into()), ..PostParams::default() };
    let params = &params;
    let creations = futures::stream::iter(numbers).map(|number| async move {
        let node = object(number, now()).map_err(std::io::Error::other)?;
        nodes.create(params, &node).await?;
        Ok::<_, BenchError>(())
    });
    let mut created = 0;
    let mut creations = creations.buffer_unordered(AT_ONCE);
    while creations.try_next().await?.is_some() {
        created += 1;
        bar.at(created, all);
    }
    bar.end();
    Ok(())
}

/// What a kubelet says every five minutes, with nothing new in it.
pub async fn beat(nodes: &Api<Node>, number: usize) -> Result<(), BenchError> {
    let params = PatchParams { field_manager: Some("kubelet".into()), ..PatchParams::default() };
    let patch = json!({ "status": { "conditions": conditions(now()) } });
    nodes.patch_status(&name(number), &params, &Patch::Strategic(&patch)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_padded_node_has_the_size_of_a_real_one() {
        let node = serde_json::to_string(&object(7, Timestamp::UNIX_EPOCH).unwrap()).unwrap();
        // The server adds managedFields, about 4 KB.
        assert!((9_000..16_000).contains(&node.len()), "{}", node.len());
        assert!(node.contains("\"lastHeartbeatTime\":\"1970-01-01T00:00:00Z\""), "{node}");
    }
}
