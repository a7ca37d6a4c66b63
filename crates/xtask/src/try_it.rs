//! `cargo xtask try`: the main job, shown. A real control plane, fake machines, the operator as a
//! user runs it; one machine gets sick and is healed before your eyes.

mod story;
mod summary;

use std::time::Duration;

use tokio::time::Instant;

use rerail_e2e::{Cluster, ClusterOptions, Operator, OperatorOptions, judge};
use rerail_fleet::{Pool, truth::Limits};

/// Why the show could not go on.
#[derive(Debug, thiserror::Error)]
pub enum TryError {
    /// Around the cluster.
    #[error(transparent)]
    Cluster(#[from] rerail_e2e::Error),
    /// The machines.
    #[error(transparent)]
    Fleet(#[from] rerail_fleet::Error),
    /// The control plane.
    #[error(transparent)]
    ControlPlane(#[from] rerail_controlplane::Error),
    /// No runtime.
    #[error("cannot start: {0}")]
    Runtime(#[from] std::io::Error),
    /// The operator's metrics.
    #[error("the operator's /metrics cannot be read: {0}")]
    Metrics(String),
}

const POOL: &str = "worker";
const MACHINES: usize = 3;
const CONDITION: &str = "KernelDeadlock";
const MESSAGE: &str = "[P6] task umount blocked for more than 120 seconds";

/// Short times, so that nobody has to wait; a real policy leaves most of this out.
const POLICY: &str = "apiVersion: rerail.dev/v1alpha1
kind: RemediationPolicy
metadata: {name: generic-workers}
spec:
  mode: Enforce
  nodes: {selector: {matchLabels: {pool: worker}}}
  triggers: [{condition: {type: KernelDeadlock}}]
  verify: {ready: 2s}
";

const WORKLOAD: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 6
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      nodeSelector: {pool: worker}
      containers: [{name: web, image: web:1}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: default}
spec:
  maxUnavailable: 1
  selector: {matchLabels: {app: web}}
";

/// Shows everything; `Ok(false)` if a property did not hold.
pub fn run() -> Result<bool, TryError> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(show())
}

/// One line of the preparations, with its time.
fn done(began: Instant, what: &str) {
    anstream::println!("\u{1b}[32m✓\u{1b}[0m {what:<70} {:>6.1} s", began.elapsed().as_secs_f64());
}

async fn show() -> Result<bool, TryError> {
    anstream::println!(
        "\u{1b}[1mRerail: a sick node is put back on the track, on a real Kubernetes {} control plane\u{1b}[0m\n",
        rerail_controlplane::KUBERNETES_VERSION
    );
    let built = Instant::now();
    tokio::task::spawn_blocking(rerail_controlplane::Binaries::ensure)
        .await
        .map_err(std::io::Error::other)??;
    done(built, "etcd, kube-apiserver, controllers, scheduler, kwok: built");
    let began = Instant::now();
    tokio::task::spawn_blocking(|| rerail_e2e::program("rerail"))
        .await
        .map_err(std::io::Error::other)??;
    done(began, "rerail: built");
    let began = Instant::now();
    let cluster = Cluster::start(ClusterOptions::default()).await?;
    done(began, "control plane is up, with the CRDs and RBAC that users apply");
    let began = Instant::now();
    cluster.add_pool(&Pool::new(POOL, MACHINES, 1)).await?;
    cluster.apply(WORKLOAD).await?;
    story::workload_ready(&cluster).await?;
    done(began, "3 fake machines with 6 pods; a budget lets 1 pod go at a time");
    let began = Instant::now();
    let operator = Operator::start(&cluster.plane, OperatorOptions::default()).await?;
    done(began, "the operator is ready, under its own ServiceAccount");
    anstream::println!("\nThe policy, with a short time to verify so that you need not wait:\n");
    for line in POLICY.lines() {
        anstream::println!("    \u{1b}[36m{line}\u{1b}[0m");
    }
    cluster.apply(POLICY).await?;
    let before = operator.api_requests().await.map_err(TryError::Metrics)?;

    // The scheduler may have left a node out that became Ready late; a drain of nothing shows nothing.
    let sick_node = story::busiest_node(&cluster).await?;
    anstream::println!("\n{sick_node} gets sick: {CONDITION}=True \"{MESSAGE}\"\n");
    let sick = Instant::now();
    cluster.fleet.set_condition(&sick_node, CONDITION, "True", "TaskHung", MESSAGE).await?;
    let run = story::tell(&cluster, &sick_node, sick).await?;
    // The finalizer goes a moment after the end.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let after = operator.api_requests().await.map_err(TryError::Metrics)?;

    anstream::println!("\n$ kubectl get noderemediations -o wide");
    anstream::println!(
        "{}",
        cluster.plane.run_kubectl(&["get", "noderemediations", "-o", "wide"])?
    );
    let limits = Limits { max_parallel: Some(1), ..Limits::default() };
    let verdict = judge(&cluster, &cluster.fleet.truth(), &limits).await?;
    summary::print(&run, &before, &after, &verdict);
    Ok(verdict.violations.is_empty() && summary::healed(&run))
}
