//! The shared cluster with its operator, and a stage on it for each scenario.

use std::{future::Future, sync::LazyLock, time::Duration};

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use rerail_api::{
    NodeRemediation, names,
    remediation::{NodeRemediationStatus, StepName},
};
use rerail_core::step::Step;
use rerail_e2e::{Cluster, ClusterOptions, Operator, OperatorOptions, PATIENCE, judge, wait_for};
use rerail_fleet::{Fault, Pool, truth::Limits};
use tokio::{
    runtime::Runtime,
    sync::{Mutex, MutexGuard, OnceCell},
};

/// Outlives every test: what runs on it must not end with the test that came first.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static SHARED: OnceCell<Shared> = OnceCell::const_new();
static TURN: Mutex<()> = Mutex::const_new(());

/// The condition that the scenarios use.
pub const CONDITION: &str = "KernelDeadlock";

/// The cluster that scenarios share.
pub struct Shared {
    pub cluster: Cluster,
    pub operator: Operator,
}

async fn shared() -> &'static Shared {
    SHARED
        .get_or_init(|| async {
            let cluster = Cluster::start(ClusterOptions::default()).await.unwrap();
            let operator =
                Operator::start(&cluster.plane, OperatorOptions::default()).await.unwrap();
            Shared { cluster, operator }
        })
        .await
}

/// Plays a scenario in its turn.
pub fn play<F: Future<Output = ()>>(
    pool: &'static str,
    nodes: usize,
    scenario: impl FnOnce(Stage) -> F,
) {
    RUNTIME.block_on(async {
        let turn = TURN.lock().await;
        let shared = shared().await;
        let nodes = shared.cluster.add_pool(&Pool::new(pool, nodes, 1)).await.unwrap();
        scenario(Stage { shared, pool, nodes, _turn: turn }).await;
    });
}

/// One scenario's own nodes in the shared cluster.
pub struct Stage {
    pub shared: &'static Shared,
    pub pool: &'static str,
    pub nodes: Vec<String>,
    _turn: MutexGuard<'static, ()>,
}

/// Times short enough for tests; everything else as by default.
pub const SHORT: &str = "
  drain: {timeout: 60s, unmanaged: Delete}
  remedies: [{reboot: {method: Command}, timeout: 60s}]
  verify: {ready: 1s, timeout: 60s}
  attempts: {max: 3, per: 1h, backoff: 1s}";

impl Stage {
    pub fn cluster(&self) -> &'static Cluster {
        &self.shared.cluster
    }

    /// The stage's policy, named as its pool; `rest` replaces [`SHORT`].
    pub async fn policy(&self, mode: &str, rest: &str) {
        let pool = self.pool;
        let yaml = format!(
            "apiVersion: rerail.dev/v1alpha1
kind: RemediationPolicy
metadata: {{name: {pool}}}
spec:
  mode: {mode}
  nodes: {{selector: {{matchLabels: {{pool: {pool}}}}}}}
  triggers: [{{condition: {{type: {CONDITION}}}}}]{rest}"
        );
        self.cluster().apply(&yaml).await.unwrap();
    }

    /// A node becomes sick; by default its reboot heals it.
    pub async fn sicken(&self, node: &str, message: &str) {
        self.cluster()
            .fleet
            .set_condition(node, CONDITION, "True", "DeadlockDetected", message)
            .await
            .unwrap();
    }

    pub fn inject(&self, node: &str, fault: Fault) {
        self.cluster().fleet.machine(node).unwrap().inject(fault).unwrap();
    }

    pub async fn node(&self, name: &str) -> Node {
        let nodes: Api<Node> = Api::all(self.cluster().client.clone());
        nodes.get(name).await.unwrap()
    }

    pub async fn is_cordoned(&self, name: &str) -> bool {
        self.node(name).await.spec.and_then(|spec| spec.unschedulable).unwrap_or(false)
    }

    /// Waits until the latest run of a node satisfies `is`.
    pub async fn run_when(
        &self,
        node: &str,
        what: &str,
        is: impl Fn(&NodeRemediationStatus) -> bool,
    ) -> NodeRemediation {
        let look = || async {
            let run = self.cluster().runs_of(node).await.map_err(|error| error.to_string())?.pop();
            let Some(run) = run else { return Err("no run".to_owned()) };
            match &run.status {
                Some(status) if is(status) => Ok(run),
                other => Err(format!("{:?}", other.as_ref().map(summary))),
            }
        };
        wait_for(&format!("{node}: {what}"), PATIENCE, look).await.unwrap()
    }

    /// Waits until the latest run of a node is in a step.
    pub async fn run_in(&self, node: &str, step: Step) -> NodeRemediation {
        self.run_when(node, &format!("step {step}"), |status| status.step == StepName::Known(step))
            .await
    }

    /// Nothing of the scenario happens any more, and nothing has gone wrong. `held` runs stay.
    pub async fn finish(self) {
        let events = self.cluster().fleet.truth_of_pool(self.pool);
        let limits = Limits { max_parallel: Some(1), ..Limits::default() };
        let look = || async {
            let verdict =
                judge(self.cluster(), &events, &limits).await.map_err(|error| error.to_string())?;
            if verdict.violations.is_empty() { Ok(()) } else { Err(verdict.violations.join("; ")) }
        };
        // Finalizers go a moment after the end of a run.
        wait_for("no violation", Duration::from_secs(10), look).await.unwrap();
        self.cluster().policies().delete(self.pool, &DeleteParams::default()).await.ok();
        for node in &self.nodes {
            self.cluster().fleet.delete_node(node).await.ok();
        }
        let names: Vec<_> = self.nodes.clone();
        let gone = || async {
            let runs = self
                .cluster()
                .runs()
                .list(&ListParams::default())
                .await
                .map_err(|error| error.to_string())?;
            let open = runs.items.iter().filter(|run| {
                names.contains(&run.spec.node_name)
                    && run.finalizers().iter().any(|f| f == names::FINALIZER)
            });
            let open: Vec<_> = open.map(ResourceExt::name_any).collect();
            if open.is_empty() { Ok(()) } else { Err(format!("still open: {open:?}")) }
        };
        wait_for("the runs to end with their nodes", PATIENCE, gone).await.unwrap();
    }
}

fn summary(status: &NodeRemediationStatus) -> String {
    let said = status.conditions.iter().find(|c| c.type_ == "Succeeded");
    format!("{:?} {:?}", status.step, said.map(|said| (&said.reason, &said.message)))
}

/// The words of the condition `Succeeded`.
pub fn said(run: &NodeRemediation) -> (String, String) {
    let status = run.status.clone().unwrap_or_default();
    let said = status.conditions.into_iter().find(|c| c.type_ == "Succeeded").unwrap();
    (said.reason, said.message)
}
