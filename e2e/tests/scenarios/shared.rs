//! The shared cluster with its operator, and a stage on it for each scenario.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, LazyLock},
    time::Duration,
};

use futures::FutureExt;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client, Config, ResourceExt,
    api::{DeleteParams, ListParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use rerail_api::{
    NodeRemediation, names,
    policy::{RemediationPolicyStatus, WaitingNode},
    remediation::{NodeRemediationStatus, StepName},
};
use rerail_core::step::Step;
use rerail_e2e::{Cluster, ClusterOptions, Operator, OperatorOptions, PATIENCE, judge, wait_for};
use rerail_fleet::{Fault, FleetOptions, Pool, truth::Limits};
use rerail_proxy::Proxy;
use tokio::runtime::Runtime;

use crate::{
    doors::{rerail, words},
    turns,
};

/// Outlives every test: what runs on it must not end with the test that came first.
pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// Why a node waits while another one is under way: unless a scenario says otherwise, each node is a
/// rack of its own, and one rack is open at a time. So a run that is held keeps nobody waiting.
pub const ANOTHER: &str = "OtherDomainsOpen";

/// No limits but that, since most scenarios have one or two nodes, of which half would be too many.
const UNLIMITED: &str = "\n  budget: {maxUnavailable: 100%}";

/// Many nodes with one condition are no storm.
const NO_STORM: &str = "\n  breaker: {correlated: 1000}";

/// The condition that the scenarios use.
pub const CONDITION: &str = "KernelDeadlock";

/// The cluster that scenarios share.
pub struct Shared {
    pub cluster: Cluster,
    pub operator: Operator,
}

/// What the cluster bounds is the subject of few scenarios; those say so.
fn unlimited(mut options: ClusterOptions) -> ClusterOptions {
    options.config.get_or_insert("maxUnavailable: 100%\n".to_owned());
    options
}

async fn start(options: ClusterOptions) -> Shared {
    let cluster = Cluster::start(unlimited(options)).await.unwrap();
    let operator = Operator::start(&cluster.plane, OperatorOptions::default()).await.unwrap();
    Shared { cluster, operator }
}

/// Plays a scenario on a cluster of its own, whose operator reaches the API server only through a
/// fault proxy.
pub fn behind_proxy<F: Future<Output = ()>>(
    pool: &'static str,
    nodes: usize,
    options: ClusterOptions,
    scenario: impl FnOnce(Stage, Arc<Proxy>) -> F,
) {
    by_itself(async {
        let cluster = Cluster::start(unlimited(options)).await.unwrap();
        let proxy = Arc::new(cluster.proxy().await.unwrap());
        let through = Some(proxy.url());
        let options = OperatorOptions { through, ..OperatorOptions::default() };
        let operator = Operator::start(&cluster.plane, options).await.unwrap();
        let nodes = cluster.add_pool(&Pool::new(pool, nodes, nodes)).await.unwrap();
        let shared = Arc::new(Shared { cluster, operator });
        scenario(Stage { shared, pool, nodes }, proxy).await;
    });
}

/// Plays a scenario on a cluster of its own, with its own operator.
pub fn alone<F: Future<Output = ()>>(
    pool: &'static str,
    nodes: usize,
    options: ClusterOptions,
    scenario: impl FnOnce(Stage) -> F,
) {
    alone_on(pool, Pool::new(pool, nodes, nodes), options, scenario);
}

/// The same on machines of a kind.
pub fn alone_on<F: Future<Output = ()>>(
    pool: &'static str,
    machines: Pool,
    options: ClusterOptions,
    scenario: impl FnOnce(Stage) -> F,
) {
    by_itself(on_its_own(pool, machines, options, scenario));
}

/// Plays a scenario that sets up everything itself.
pub fn by_itself(scenario: impl Future<Output = ()>) {
    RUNTIME.block_on(async {
        let _room = turns::own().await;
        scenario.await;
    });
}

/// The same as [`alone_on`], for a test that plays several beside each other: those that mostly wait.
pub async fn on_its_own<F: Future<Output = ()>>(
    pool: &'static str,
    machines: Pool,
    options: ClusterOptions,
    scenario: impl FnOnce(Stage) -> F,
) {
    let shared = Arc::new(start(options).await);
    let nodes = shared.cluster.add_pool(&machines).await.unwrap();
    scenario(Stage { shared, pool, nodes }).await;
}

/// A cluster whose machines report all the time, so that nobody waits for a report.
pub fn talkative() -> ClusterOptions {
    ClusterOptions {
        fleet: FleetOptions {
            status_interval: Duration::from_secs(5),
            condition_interval: Duration::from_secs(2),
            ..FleetOptions::default()
        },
        ..ClusterOptions::default()
    }
}

/// Plays a scenario in its turn.
pub fn play<F: Future<Output = ()>>(
    pool: &'static str,
    nodes: usize,
    scenario: impl FnOnce(Stage) -> F,
) {
    play_on(pool, Pool::new(pool, nodes, nodes), scenario);
}

/// Plays a scenario in its turn, on machines of a kind. What a scenario that fails leaves behind is
/// swept away, so that those after it are judged by themselves.
pub fn play_on<F: Future<Output = ()>>(
    pool: &'static str,
    machines: Pool,
    scenario: impl FnOnce(Stage) -> F,
) {
    RUNTIME.block_on(async {
        let turn = turns::shared(|| start(ClusterOptions::default())).await;
        let shared = turn.cluster;
        let nodes = shared.cluster.add_pool(&machines).await.unwrap();
        let played = scenario(Stage { shared: shared.clone(), pool, nodes: nodes.clone() });
        if let Err(failure) = AssertUnwindSafe(played).catch_unwind().await {
            if let Err(error) = sweep(shared, pool, &nodes).await {
                eprintln!("after {pool}: {error}");
            }
            std::panic::resume_unwind(failure);
        }
    });
}

/// Takes the policy and the nodes of a scenario away, and waits until its runs have ended.
async fn sweep(shared: &Shared, pool: &str, nodes: &[String]) -> Result<(), rerail_e2e::Error> {
    let cluster = &shared.cluster;
    cluster.policies().delete(pool, &DeleteParams::default()).await.ok();
    for node in nodes {
        cluster.fleet.delete_node(node).await.ok();
    }
    wait_for("the runs to end with their nodes", PATIENCE, || async {
        let runs = cluster.runs().list(&ListParams::default()).await;
        let open = runs.map_err(|error| error.to_string())?.items.into_iter().filter(|run| {
            nodes.contains(&run.spec.node_name)
                && run.finalizers().iter().any(|f| f == names::FINALIZER)
        });
        let open: Vec<_> = open.map(|run| run.name_any()).collect();
        if open.is_empty() { Ok(()) } else { Err(format!("still open: {open:?}")) }
    })
    .await
}

/// One scenario's own nodes in the shared cluster.
pub struct Stage {
    pub shared: Arc<Shared>,
    pub pool: &'static str,
    pub nodes: Vec<String>,
}

/// Times short enough for tests; everything else as by default.
pub const SHORT: &str = "
  drain: {timeout: 60s, unmanaged: Delete}
  remedies: [{reboot: {method: Command}, timeout: 60s}]
  verify: {ready: 1s, timeout: 60s}
  attempts: {max: 3, per: 1h, backoff: 1s}";

impl Stage {
    pub fn cluster(&self) -> &Cluster {
        &self.shared.cluster
    }

    /// The stage's policy, named as its pool; `rest` replaces [`SHORT`].
    pub async fn policy(&self, mode: &str, rest: &str) {
        self.policy_on(mode, &format!("{{condition: {{type: {CONDITION}}}}}"), rest).await;
    }

    /// The same with a trigger of its own.
    pub async fn policy_on(&self, mode: &str, trigger: &str, rest: &str) {
        let pool = self.pool;
        let budget = if rest.contains("budget:") { "" } else { UNLIMITED };
        let breaker = if rest.contains("breaker:") { "" } else { NO_STORM };
        let yaml = format!(
            "apiVersion: rerail.dev/v1alpha1
kind: RemediationPolicy
metadata: {{name: {pool}}}
spec:
  mode: {mode}
  nodes: {{selector: {{matchLabels: {{pool: {pool}}}}}}}
  triggers: [{trigger}]{budget}{breaker}{rest}"
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
        match wait_for(&format!("{node}: {what}"), PATIENCE, look).await {
            Ok(run) => run,
            Err(error) => panic!("{error}; {}", self.why(node).await),
        }
    }

    /// What a person is told of a node, for a test that waited for it in vain.
    async fn why(&self, node: &str) -> String {
        let answer = rerail(self.cluster(), &["explain", "node", node]).await;
        let policy = self.cluster().policies().get(self.pool).await.map(|policy| policy.status);
        let (operator, plane) = (&self.shared.operator, &self.cluster().plane);
        let log = plane.dir().join(format!("{}.log", operator.name()));
        let log = std::fs::read_to_string(log).unwrap_or_else(|error| error.to_string());
        let last = log.lines().rev().take(20).collect::<Vec<_>>().join("\n");
        format!(
            "explained:\n{}\nthe policy: {policy:?}\nthe operator runs: {}; its log, the latest first:\n{last}",
            words(&answer),
            operator.runs(plane),
        )
    }

    /// Waits until the status of the stage's policy satisfies `is`.
    pub async fn policy_when(
        &self,
        what: &str,
        is: impl Fn(&RemediationPolicyStatus) -> bool,
    ) -> RemediationPolicyStatus {
        let look = || async {
            let policy = self.cluster().policies().get(self.pool).await;
            let status = policy.map_err(|error| error.to_string())?.status.unwrap_or_default();
            if is(&status) { Ok(status) } else { Err(format!("{status:?}")) }
        };
        wait_for(&format!("policy {}: {what}", self.pool), PATIENCE, look).await.unwrap()
    }

    /// Waits until a node waits, and gives what the policy says of it.
    pub async fn waiting(&self, node: &str, reason: &str) -> WaitingNode {
        let is = |waiting: &&WaitingNode| waiting.node == node && waiting.reason == reason;
        let what = format!("{node} waits: {reason}");
        let status = self.policy_when(&what, |status| status.waiting.iter().any(|w| is(&w))).await;
        status.waiting.iter().find(is).unwrap().clone()
    }

    /// Waits until the latest run of a node is in a step.
    pub async fn run_in(&self, node: &str, step: Step) -> NodeRemediation {
        self.run_when(node, &format!("step {step}"), |status| status.step == StepName::Known(step))
            .await
    }

    /// Nothing of the scenario happens any more, and nothing has gone wrong. `held` runs stay.
    pub async fn finish(self) {
        let limits = Limits { max_parallel: Some(1), ..Limits::default() };
        self.finish_within(limits).await;
    }

    /// The same where machines that are held do not come back, and others take their place.
    pub async fn finish_with_machines_left_behind(self) {
        self.finish_within(Limits::default()).await;
    }

    /// The same within other limits.
    pub async fn finish_within(self, limits: Limits) {
        let events = self.cluster().fleet.truth_of_pool(self.pool);
        let look = || async {
            let verdict =
                judge(self.cluster(), &events, &limits).await.map_err(|error| error.to_string())?;
            if verdict.violations.is_empty() { Ok(()) } else { Err(verdict.violations.join("; ")) }
        };
        // Finalizers go a moment after the end of a run.
        wait_for("no violation", PATIENCE, look).await.unwrap();
        sweep(&self.shared, self.pool, &self.nodes).await.unwrap();
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

/// A client that may do everything, for setting the scene.
pub async fn admin(cluster: &Cluster) -> Client {
    let kubeconfig = Kubeconfig::read_from(cluster.plane.admin_kubeconfig()).unwrap();
    let options = KubeConfigOptions::default();
    Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap()).unwrap()
}

/// What a process of the cluster has logged so far.
pub fn log_of(cluster: &Cluster, component: &str) -> String {
    std::fs::read_to_string(cluster.plane.dir().join(format!("{component}.log"))).unwrap()
}
