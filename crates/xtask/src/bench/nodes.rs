//! `cargo xtask bench nodes`: what an operator costs that has nothing to do, at so many nodes of the
//! size of real ones with their heartbeats.

pub(super) mod padded;
pub(super) mod process;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};
use rerail_controlplane::Options;
use rerail_e2e::{Cluster, ClusterOptions, Operator, OperatorOptions};
use tokio::time::{Instant, MissedTickBehavior};

use self::process::{Usage, usage};
use super::{BenchError, conditions::Conditions, progress, table};

/// How long an operator is left alone after it is ready, before its memory is read.
const SETTLE: Duration = Duration::from_secs(10);

/// Each node is reported so often: by its kubelet and its node problem detector, every five minutes.
const BETWEEN_BEATS: Duration = Duration::from_secs(150);

/// What is measured.
#[derive(Debug, Args)]
pub struct NodesArguments {
    /// At how many nodes; several in turn, of which each needs more.
    #[arg(long, default_values_t = [1000])]
    nodes: Vec<usize>,
    /// For how long heartbeats come, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Another build of `rerail`, to compare with.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

/// An operator at some number of nodes.
struct Idle {
    nodes: usize,
    /// Bytes of JSON of one node.
    node_bytes: usize,
    /// When it was ready and left alone.
    settled: Usage,
    /// After the heartbeats.
    after: Usage,
    beats: usize,
    /// Per second, watches apart.
    requests: f64,
    /// Of one core, in percent.
    cpu: f64,
}

/// Measures and prints.
pub async fn run(root: &Path, arguments: &NodesArguments) -> Result<bool, BenchError> {
    let conditions = Conditions::of(root);
    progress::stage("control plane and programs");
    tokio::task::spawn_blocking(|| rerail_e2e::program("rerail"))
        .await
        .map_err(std::io::Error::other)??;
    let plane = Options {
        // Nobody renews the Leases of nodes that are only there.
        node_monitor_grace_period: Some(Duration::from_secs(24 * 3600)),
        ..Options::default()
    };
    let cluster = Cluster::start(ClusterOptions { plane, ..ClusterOptions::default() }).await?;
    let admin = rerail_e2e::config(&cluster.plane.admin_kubeconfig()).await?;
    let nodes: Api<Node> = Api::all(Client::try_from(admin)?);
    let mut there = 0;
    let mut found: Vec<Idle> = Vec::new();
    for wanted in &arguments.nodes {
        padded::create(&nodes, there..(*wanted).max(there)).await?;
        there = (*wanted).max(there);
        found.push(idle(&cluster, &nodes, there, arguments).await?);
    }
    table::machine(&conditions);
    print(&found);
    Ok(true)
}

async fn idle(
    cluster: &Cluster,
    nodes: &Api<Node>,
    there: usize,
    arguments: &NodesArguments,
) -> Result<Idle, BenchError> {
    progress::stage(&format!("an operator at {there} nodes"));
    let options =
        OperatorOptions { program: arguments.program.clone(), ..OperatorOptions::default() };
    let operator = Operator::start(&cluster.plane, options).await?;
    let unknown = || BenchError::Metrics("its process is not known".into());
    let pid = cluster.plane.pid(operator.name()).ok_or_else(unknown)?;
    tokio::time::sleep(SETTLE).await;
    let settled = usage(pid)?;
    let asked = operator.api_requests().await.map_err(BenchError::Metrics)?;
    let began = Instant::now();
    let beats = heartbeats(nodes, there, Duration::from_secs(arguments.seconds)).await?;
    let seconds = began.elapsed().as_secs_f64();
    let after = usage(pid)?;
    let now = operator.api_requests().await.map_err(BenchError::Metrics)?;
    cluster.plane.stop_component(operator.name())?;
    let one = nodes.get(&padded::name(0)).await?;
    Ok(Idle {
        nodes: there,
        node_bytes: serde_json::to_vec(&one).map_err(std::io::Error::other)?.len(),
        settled,
        after,
        beats,
        requests: u32::try_from(now.since(&asked).total()).map_or(f64::NAN, f64::from) / seconds,
        cpu: 100.0 * (after.cpu - settled.cpu).as_secs_f64() / seconds,
    })
}

/// Reports every node in turn, at the pace of a real cluster of that size.
async fn heartbeats(nodes: &Api<Node>, there: usize, time: Duration) -> Result<usize, BenchError> {
    let pace = BETWEEN_BEATS / u32::try_from(there.max(1)).unwrap_or(u32::MAX);
    let mut clock = tokio::time::interval(pace);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = Instant::now() + time;
    let mut beats = 0;
    while Instant::now() < end {
        clock.tick().await;
        padded::beat(nodes, beats % there.max(1)).await?;
        beats += 1;
    }
    Ok(beats)
}

fn print(found: &[Idle]) {
    let mib = |kib: u64| u32::try_from(kib).map_or(f64::NAN, f64::from) / 1024.0;
    for at in found {
        anstream::println!(
            "{} nodes of {} bytes: resident {:.1} MiB (own {:.1}), peak {:.1}; after {} heartbeats {:.1} (own {:.1}); \
             {:.2} requests/s, {:.1} % of a core",
            at.nodes,
            at.node_bytes,
            mib(at.settled.resident_kib),
            mib(at.settled.anonymous_kib),
            mib(at.settled.peak_kib),
            at.beats,
            mib(at.after.resident_kib),
            mib(at.after.anonymous_kib),
            at.requests,
            at.cpu,
        );
    }
    for pair in found.windows(2) {
        let [fewer, more] = pair else { continue };
        let nodes = u32::try_from(more.nodes - fewer.nodes).map_or(f64::NAN, f64::from);
        let grown = mib(more.settled.anonymous_kib) - mib(fewer.settled.anonymous_kib);
        anstream::println!(
            "from {} to {} nodes: {:.0} bytes of own memory for each",
            fewer.nodes,
            more.nodes,
            grown * 1024.0 * 1024.0 / nodes
        );
    }
}
