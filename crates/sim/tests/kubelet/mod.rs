//! As little of a kubelet as the operator needs: reports, Pods that start and end, a machine that goes
//! down and comes up with another boot ID.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use rerail_api::names;
use rerail_sim::Server;
use serde_json::{Value, json};
use tokio::time::sleep;

/// The condition that makes a node sick, until it is rebooted.
pub const CONDITION: &str = "KernelDeadlock";

/// How long a machine is down.
const DOWN: Duration = Duration::from_secs(40);

pub struct Kubelet {
    server: Server,
    client: Client,
    node: String,
    boots: u32,
    sick: bool,
}

impl Kubelet {
    pub fn new(server: &Server, node: &str, sick: bool) -> Self {
        let client = server.client();
        Kubelet { server: server.clone(), client, node: node.to_owned(), boots: 1, sick }
    }

    pub async fn run(mut self) {
        loop {
            self.report(true).await;
            for _ in 0..5 {
                self.look_at_pods().await;
                sleep(Duration::from_secs(1)).await;
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.server.now()
    }

    async fn report(&self, ready: bool) {
        let condition = |kind: &str, status: bool, reason: &str| {
            json!({ "type": kind, "status": if status { "True" } else { "False" }, "reason": reason,
                "message": "", "lastHeartbeatTime": seconds(self.now()), "lastTransitionTime": seconds(self.now()) })
        };
        let patch = json!({ "status": {
            "nodeInfo": {
                "bootID": format!("boot-{}-{}", self.node, self.boots), "systemUUID": self.node, "machineID": "",
                "kernelVersion": "", "osImage": "", "containerRuntimeVersion": "", "kubeletVersion": "",
                "kubeProxyVersion": "", "operatingSystem": "linux", "architecture": "amd64",
            },
            "conditions": [
                condition("Ready", ready, "KubeletReady"),
                condition(CONDITION, self.sick, "DeadlockDetected"),
            ],
        } });
        let nodes: Api<Node> = Api::all(self.client.clone());
        let params =
            PatchParams { field_manager: Some("kubelet".into()), ..PatchParams::default() };
        nodes.patch_status(&self.node, &params, &Patch::Strategic(patch)).await.unwrap();
    }

    async fn look_at_pods(&mut self) {
        let pods: Api<Pod> = Api::all(self.client.clone());
        let here = ListParams::default().fields(&format!("spec.nodeName={}", self.node));
        for pod in pods.list(&here).await.unwrap() {
            let phase =
                pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
            let component = pod.labels().get(names::COMPONENT).map(String::as_str);
            match (component, phase.as_str()) {
                _ if pod.metadata.deletion_timestamp.is_some() => self.remove(&pod).await,
                (Some(names::COMPONENT_REBOOT), "Pending") => self.reboot(&pod).await,
                (Some(names::COMPONENT_PROBE), "Pending") => self.end(&pod, 0).await,
                _ => {}
            }
        }
    }

    fn pods(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &pod.namespace().unwrap())
    }

    async fn remove(&self, pod: &Pod) {
        let params = DeleteParams::default().grace_period(0);
        self.pods(pod).delete(&pod.name_any(), &params).await.unwrap();
    }

    async fn reboot(&mut self, pod: &Pod) {
        let running = json!({ "running": { "startedAt": seconds(self.now()) } });
        self.write(pod, "Running", running).await;
        sleep(DOWN).await;
        self.boots += 1;
        self.sick = false;
        self.report(false).await;
        self.end(pod, 255).await;
    }

    async fn end(&self, pod: &Pod, code: i32) {
        let ended = json!({ "terminated": { "exitCode": code, "reason": "Completed",
            "startedAt": seconds(self.now()), "finishedAt": seconds(self.now()) } });
        self.write(pod, if code == 0 { "Succeeded" } else { "Failed" }, ended).await;
    }

    async fn write(&self, pod: &Pod, phase: &str, state: Value) {
        let containers: Vec<Value> = pod
            .spec
            .iter()
            .flat_map(|spec| &spec.containers)
            .map(|container| {
                json!({ "name": container.name, "image": "", "imageID": "",
                "restartCount": 0, "ready": false, "state": state })
            })
            .collect();
        let patch = json!({ "metadata": { "uid": pod.uid() }, "status": { "phase": phase,
            "startTime": seconds(self.now()), "containerStatuses": containers } });
        let patch = Patch::Strategic(patch);
        self.pods(pod)
            .patch_status(&pod.name_any(), &PatchParams::default(), &patch)
            .await
            .unwrap();
    }
}

fn seconds(at: Timestamp) -> Value {
    rerail_sim::meta::time(at)
}
