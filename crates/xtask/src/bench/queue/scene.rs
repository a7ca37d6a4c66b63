//! The cluster of the queue's figures: many nodes in racks of 20, two operators, one policy.

use std::path::PathBuf;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use rerail_controlplane::Options;
use rerail_e2e::{Cluster, ClusterOptions, Election, Operator, OperatorOptions, Requests};
use rerail_fleet::{ConditionOptions, FleetOptions, Pool};

use super::film::Film;
use crate::bench::{BenchError, progress};

/// The condition that calls for a reboot.
pub const CONDITION: &str = "KernelDeadlock";

/// Nodes of a rack.
pub const RACK: usize = 20;

/// The policy; each part has its own budget.
pub const POLICY: &str = "apiVersion: rerail.dev/v1alpha1
kind: RemediationPolicy
metadata: {name: bench}
spec:
  mode: Enforce
  nodes: {selector: {matchLabels: {pool: bench}}}
  triggers: [{condition: {type: KernelDeadlock}}]
  drain: {timeout: 60s, unmanaged: Delete}
  remedies: [{reboot: {method: Command}, timeout: 120s}]
  verify: {ready: 0s, timeout: 120s}
  attempts: {max: 10, per: 1h, backoff: 1s}
  breaker: {correlated: 100000}";

/// How many nodes may be out, and in how many racks.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// `maxUnavailable` of the policy.
    pub nodes: usize,
    /// `maxDomains` of policy and cluster.
    pub racks: usize,
}

/// Racks without a limit.
pub const ANY_RACKS: usize = 1000;

/// How many nodes are told of their condition at once.
const AT_ONCE: usize = 32;

/// How long a new budget takes to be known to everybody.
const HEARD: Duration = Duration::from_secs(2);

/// The scene.
pub struct Scene {
    /// Machines and control plane.
    pub cluster: Cluster,
    /// The observer.
    pub film: Film,
    /// Leader and standby, in no order.
    pub operators: Vec<Operator>,
    /// Properties that did not hold, in words.
    pub violations: Vec<String>,
    nodes: Vec<String>,
    used: usize,
    program: PathBuf,
}

/// The operator's program.
pub async fn program(release: bool) -> Result<PathBuf, BenchError> {
    let build = move || {
        rerail_controlplane::Binaries::ensure()?;
        if !release {
            return Ok(rerail_e2e::program("rerail")?);
        }
        progress::stage("the operator, optimised: minutes, the first time");
        Ok(rerail_e2e::optimised("rerail-cli", "rerail")?)
    };
    tokio::task::spawn_blocking(build).await.map_err(std::io::Error::other)?
}

impl Scene {
    /// A cluster of so many nodes that are well, and how many seconds it took to make them.
    pub async fn start(program: PathBuf, nodes: usize) -> Result<(Self, f64), BenchError> {
        let cluster = Cluster::start(options()).await?;
        let began = tokio::time::Instant::now();
        let pool = Pool::new("bench", nodes, nodes.div_ceil(RACK));
        let names = cluster.fleet.add_pool(&pool).await?;
        cluster.fleet.wait_ready(Duration::from_secs(300)).await?;
        let made = began.elapsed().as_secs_f64();
        let film = Film::start(&cluster);
        let scene = Scene {
            cluster,
            film,
            operators: Vec::new(),
            violations: Vec::new(),
            nodes: names,
            used: 0,
            program,
        };
        // As a problem detector does it, every node says that it is well.
        let well = scene.nodes.iter().map(|node| scene.tell(node, "False", "no problem"));
        stream::iter(well).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        scene.budget(Budget { nodes: 1, racks: 1 }).await?;
        Ok((scene, made))
    }

    /// Starts two operators with these times of leader election.
    pub async fn start_operators(&mut self, election: Election) -> Result<(), BenchError> {
        for name in ["rerail-operator-a", "rerail-operator-b"] {
            let options = OperatorOptions {
                name: name.to_owned(),
                election,
                program: Some(self.program.clone()),
                ..OperatorOptions::default()
            };
            self.operators.push(Operator::start(&self.cluster.plane, options).await?);
        }
        self.leader().await?;
        Ok(())
    }

    /// Ends both.
    pub async fn stop_operators(&mut self) -> Result<(), BenchError> {
        for operator in self.operators.drain(..) {
            if operator.runs(&self.cluster.plane) {
                operator.terminate(&self.cluster.plane)?;
            }
        }
        Ok(())
    }

    /// Who leads.
    pub async fn leader(&self) -> Result<Operator, BenchError> {
        Ok(self.cluster.led_by(&self.operators, Duration::from_secs(60)).await?.clone())
    }

    /// Gives policy and cluster this budget, and a moment to hear of it.
    pub async fn budget(&self, budget: Budget) -> Result<(), BenchError> {
        let Budget { nodes, racks } = budget;
        let policy = format!(
            "{POLICY}\n  budget: {{maxUnavailable: {nodes}, maxDomains: {racks}, maxStarts: {{count: 1000, per: 1m}}}}"
        );
        self.cluster.apply(&policy).await?;
        let config = format!(
            "topologyKeys: [topology.kubernetes.io/zone, node-restriction.kubernetes.io/rack]
maxUnavailable: 100%
minFloor: 1
maxDomains: {racks}
"
        );
        self.cluster.configure(&config).await?;
        tokio::time::sleep(HEARD).await;
        Ok(())
    }

    /// The next racks, or the next nodes of one: each node is used once.
    pub fn take(&mut self, nodes: usize) -> Result<Vec<String>, BenchError> {
        let taken = self.nodes.iter().skip(self.used).take(nodes).cloned().collect::<Vec<_>>();
        self.used += nodes.next_multiple_of(RACK);
        if taken.len() < nodes {
            return Err(BenchError::TooFewNodes { wanted: self.used, there: self.nodes.len() });
        }
        Ok(taken)
    }

    /// A node's index in the cluster; its rack is this over [`RACK`].
    pub fn index(&self, node: &str) -> usize {
        self.nodes.iter().position(|name| name == node).unwrap_or(0)
    }

    /// The writer of a node's condition says something.
    pub async fn tell(&self, node: &str, status: &str, message: &str) -> Result<(), BenchError> {
        let machine = self.cluster.fleet.machine(node)?;
        let options = ConditionOptions::default();
        Ok(machine.set_condition(CONDITION, status, "Bench", message, options).await?)
    }

    /// Requests of both operators so far.
    pub async fn requests(&self) -> Result<Vec<Requests>, BenchError> {
        let mut all = Vec::new();
        for operator in &self.operators {
            all.push(operator.api_requests().await.map_err(BenchError::Metrics)?);
        }
        Ok(all)
    }
}

fn options() -> ClusterOptions {
    let moment = || Duration::from_millis(10)..=Duration::from_millis(20);
    ClusterOptions {
        plane: Options {
            // Leases are not what is measured; reports come at the true rate.
            node_monitor_grace_period: Some(Duration::from_secs(7200)),
            ..Options::default()
        },
        fleet: FleetOptions {
            boot_time: Duration::from_millis(2100)..=Duration::from_millis(3900),
            shutdown_time: moment(),
            ready_time: moment(),
            // So that operators see a boot before its condition clears, as they do with real writers.
            settle_time: Duration::from_millis(300)..=Duration::from_millis(500),
            leases: false,
            status_interval: Duration::from_secs(300),
            condition_interval: Duration::from_secs(7200),
            ..FleetOptions::default()
        },
        ..ClusterOptions::default()
    }
}
