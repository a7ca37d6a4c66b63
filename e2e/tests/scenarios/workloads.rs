//! Pods of all kinds on the nodes of a stage, and budgets over them. They live in the namespace
//! `default`, under the name of the stage's pool.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use k8s_openapi::api::{core::v1::Pod, policy::v1::PodDisruptionBudget};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use rerail_api::NodeRemediation;
use rerail_core::step::Step;
use rerail_e2e::{PATIENCE, wait_for};
use serde_json::json;
use tokio::time::Instant;

use crate::shared::Stage;

/// A drain may take long, and a run that did not succeed is not followed by another one.
pub const PATIENT: &str = "
  drain: {timeout: 5m, unmanaged: Delete}
  remedies: [{reboot: {method: Command}, timeout: 60s}]
  verify: {ready: 1s, timeout: 60s}
  attempts: {max: 3, per: 1h, backoff: 1h}";

impl Stage {
    /// A Deployment, StatefulSet or DaemonSet on the stage's nodes. `pod` is more of the pod
    /// template, indented by four.
    pub async fn workload(&self, kind: &str, name: &str, replicas: Option<u32>, pod: &str) {
        let pool = self.pool;
        let app = self.app(name);
        let replicas = replicas.map_or(String::new(), |count| format!("replicas: {count}"));
        let service = if kind == "StatefulSet" { "serviceName: none" } else { "" };
        let yaml = format!(
            "apiVersion: apps/v1
kind: {kind}
metadata: {{name: {app}, namespace: default}}
spec:
  {replicas}
  {service}
  selector: {{matchLabels: {{app: {app}}}}}
  template:
    metadata:
      labels: {{app: {app}}}
      annotations: {{{pod}}}
    spec:
      nodeSelector: {{pool: {pool}}}
      containers: [{{name: c, image: i}}]"
        );
        self.cluster().apply(&yaml).await.unwrap();
    }

    /// A pod that no controller would make anew, on this node.
    pub async fn bare_pod(&self, name: &str, node: &str, annotations: &str) {
        let app = self.app(name);
        let yaml = format!(
            "apiVersion: v1
kind: Pod
metadata: {{name: {app}, namespace: default, labels: {{app: {app}}}, annotations: {{{annotations}}}}}
spec: {{nodeName: {node}, containers: [{{name: c, image: i}}]}}"
        );
        self.cluster().apply(&yaml).await.unwrap();
    }

    /// A budget over the pods of a workload; returns when the API server goes by it.
    pub async fn budget(&self, name: &str, of: &str, rule: &str) {
        let (name, app) = (self.app(name), self.app(of));
        let yaml = format!(
            "apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{name: {name}, namespace: default}}
spec: {{{rule}, selector: {{matchLabels: {{app: {app}}}}}}}"
        );
        self.cluster().apply(&yaml).await.unwrap();
        let budgets = self.budgets();
        let observed = || async {
            let budget = budgets.get(&name).await.map_err(|error| error.to_string())?;
            let seen = budget.status.clone().and_then(|status| status.observed_generation);
            if seen == budget.metadata.generation { Ok(()) } else { Err(format!("{budget:?}")) }
        };
        wait_for("the budget to be observed", PATIENCE, observed).await.unwrap();
    }

    pub fn budgets(&self) -> Api<PodDisruptionBudget> {
        Api::namespaced(self.cluster().client.clone(), "default")
    }

    pub fn app(&self, name: &str) -> String {
        format!("{}-{name}", self.pool)
    }

    /// The pods of a workload that are not on their way out.
    pub async fn pods(&self, of: &str) -> Vec<Pod> {
        let params = ListParams::default().labels(&format!("app={}", self.app(of)));
        let mut pods = self.default_pods().list(&params).await.unwrap().items;
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        pods
    }

    pub fn default_pods(&self) -> Api<Pod> {
        Api::namespaced(self.cluster().client.clone(), "default")
    }

    /// Names of the pods of namespace `default` on a node, terminating ones included.
    pub async fn pods_on(&self, node: &str) -> Vec<String> {
        let params = ListParams::default().fields(&format!("spec.nodeName={node}"));
        let pods = self.default_pods().list(&params).await.unwrap().items;
        pods.iter().map(ResourceExt::name_any).collect()
    }

    /// Waits until a workload has so many Ready pods, all of them on this node.
    pub async fn ready_on(&self, node: &str, of: &str, count: usize) -> Vec<Pod> {
        let nudger = Nudger::default();
        let look = || async {
            let pods = self.pods(of).await;
            let there = pods.iter().filter(|pod| is_ready(pod) && is_on(pod, node)).count();
            if there == count && pods.len() == count {
                return Ok(pods);
            }
            nudger.nudge(&self.default_pods(), &pods).await;
            Err(names(&pods))
        };
        wait_for(&format!("{count} ready pods of {of} on {node}"), PATIENCE, look).await.unwrap()
    }

    /// A sick node whose drain waits for a budget over the pod `guarded`.
    pub async fn blocked_drain(&self, node: &str, rest: &str) -> NodeRemediation {
        self.guard(node).await;
        self.policy("Enforce", rest).await;
        self.sicken(node, "task blocked for more than 120 seconds").await;
        self.blocked(node).await
    }

    /// A pod on the node that a budget keeps there.
    pub async fn guard(&self, node: &str) {
        self.bare_pod("guarded", node, "").await;
        self.ready_on(node, "guarded", 1).await;
        self.budget("guard", "guarded", "minAvailable: 1").await;
    }

    /// Waits until the drain of a node waits for a budget.
    pub async fn blocked(&self, node: &str) -> NodeRemediation {
        self.run_when(node, "a blocked drain", |status| {
            status.step == rerail_api::remediation::StepName::Known(Step::Draining)
                && status.drain.as_ref().is_some_and(|drain| !drain.blocked.is_empty())
        })
        .await
    }

    /// Takes the budget over the pod `guarded` away.
    pub async fn release(&self) {
        self.budgets().delete(&self.app("guard"), &DeleteParams::default()).await.unwrap();
    }

    /// UID of the pod `guarded`, if it is there and not on its way out.
    pub async fn guarded(&self) -> Option<String> {
        self.pods("guarded").await.first().and_then(ResourceExt::uid)
    }
}

pub fn is_ready(pod: &Pod) -> bool {
    let status = pod.status.clone().unwrap_or_default();
    status.conditions.unwrap_or_default().iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

pub fn is_on(pod: &Pod, node: &str) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.node_name.as_deref() == Some(node))
}

fn names(pods: &[Pod]) -> Vec<(String, Option<String>, bool)> {
    let node = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    pods.iter().map(|pod| (pod.name_any(), node(pod), is_ready(pod))).collect()
}

/// Has kwok look again at pods that do not start. It learns of a new node's pods by one list; if that fails,
/// as on a busy machine, it says so in its log and does not try again, and they would never start. It takes
/// up every pod that changes.
pub struct Nudger {
    began: Instant,
    times: AtomicU32,
}

/// A pod that is not Ready after so long is touched, and again.
const NUDGED_EVERY: Duration = Duration::from_secs(20);

impl Default for Nudger {
    fn default() -> Self {
        Nudger { began: Instant::now(), times: AtomicU32::new(0) }
    }
}

impl Nudger {
    /// Touches those that are not Ready, now and then.
    pub async fn nudge(&self, api: &Api<Pod>, pods: &[Pod]) {
        let times = self.times.load(Ordering::Relaxed);
        if self.began.elapsed() < NUDGED_EVERY * (times + 1) {
            return;
        }
        self.times.store(times + 1, Ordering::Relaxed);
        let touched = json!({ "metadata": { "annotations": { "e2e.rerail.dev/nudged": times.to_string() } } });
        for pod in pods.iter().filter(|pod| !is_ready(pod)) {
            eprintln!("{} is not Ready yet: kwok is told to look again", pod.name_any());
            // One that has gone meanwhile is nobody's concern.
            let params = PatchParams::default();
            let _ = api.patch(&pod.name_any(), &params, &Patch::Merge(&touched)).await;
        }
    }
}
