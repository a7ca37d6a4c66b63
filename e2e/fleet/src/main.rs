//! `rerail-fleet`: fake machines on a real API server, for trying Rerail out and for benchmarks.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use kube::config::{KubeConfigOptions, Kubeconfig};
use rerail_fleet::{EventKind, Fleet, FleetOptions, Pool};
use tokio::sync::broadcast::error::RecvError;
use tracing_subscriber::EnvFilter;

/// Fake machines that behave, as nodes of a real API server. Ends with Ctrl-C; the machines then
/// fall silent, and their Node objects stay unless --delete-nodes is given.
#[derive(Debug, Parser)]
#[command(name = "rerail-fleet", version)]
struct Arguments {
    /// How to reach the API server; default as kubectl does it.
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// How many machines.
    #[arg(long, default_value_t = 6)]
    nodes: usize,
    /// In how many racks they stand; 0 for no rack label.
    #[arg(long, default_value_t = 2)]
    racks: usize,
    /// What the names of the nodes begin with.
    #[arg(long, default_value = "worker")]
    name_prefix: String,
    /// Value of the nodes' label `pool`; none if empty.
    #[arg(long, default_value = "")]
    pool: String,
    /// Seed of boot IDs, boot times and report orders.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Append what really happens to this file, one JSON document per line.
    #[arg(long)]
    truth_log: Option<PathBuf>,
    /// Renew no Leases. The node controller must be off, or it takes the nodes for dead.
    #[arg(long)]
    no_leases: bool,
    /// Seconds between two status reports without a change.
    #[arg(long, default_value_t = 300)]
    heartbeat: u64,
    /// Seconds between two renewals of a node's Lease.
    #[arg(long, default_value_t = 10)]
    lease_interval: u64,
    /// Shortest time of a boot in milliseconds.
    #[arg(long, default_value_t = 1000)]
    boot_min: u64,
    /// Longest time of a boot in milliseconds.
    #[arg(long, default_value_t = 3000)]
    boot_max: u64,
    /// Leave the operator's Pods alone.
    #[arg(long)]
    no_pods: bool,
    /// Delete the Node objects at the end.
    #[arg(long)]
    delete_nodes: bool,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot read the kubeconfig: {0}; give one with --kubeconfig")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    #[error("cannot find out how to reach the API server: {0}; give a --kubeconfig")]
    Infer(#[from] kube::config::InferConfigError),
    #[error("{0}")]
    Fleet(#[from] rerail_fleet::Error),
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("rerail-fleet: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    let config = match &arguments.kubeconfig {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path)?;
            let options = KubeConfigOptions::default();
            kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?
        }
        None => kube::Config::infer().await?,
    };
    let delete = arguments.delete_nodes;
    let pool = Pool {
        name: arguments.pool.clone(),
        prefix: arguments.name_prefix.clone(),
        nodes: arguments.nodes,
        racks: arguments.racks,
        ..Pool::default()
    };
    let fleet = Fleet::start(config, options(arguments))?;
    let mut events = fleet.subscribe();
    let printing = async {
        loop {
            match events.recv().await {
                // A thousand times "created" tells nobody anything.
                Ok(event) if event.event == EventKind::Created => {}
                Ok(event) => eprintln!("{event}"),
                Err(RecvError::Lagged(lost)) => eprintln!("({lost} changes not shown)"),
                Err(RecvError::Closed) => return,
            }
        }
    };
    let working = async {
        let names = fleet.add_pool(&pool).await?;
        eprintln!("{} nodes made, waiting for them to be Ready", names.len());
        fleet.wait_ready(Duration::from_secs(120)).await?;
        eprintln!("{} nodes are Ready; Ctrl-C ends the fleet", names.len());
        std::future::pending::<Result<(), Failure>>().await
    };
    let result = tokio::select! {
        biased;
        () = told_to_end() => Ok(()),
        result = working => result,
        () = printing => Ok(()),
    };
    if delete {
        fleet.delete_all().await?;
    }
    result
}

/// Ctrl-C, or the signal by which supervisors end their programs.
async fn told_to_end() {
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            // Without a handler the signal ends the process by itself.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

fn options(arguments: Arguments) -> FleetOptions {
    let shortest = Duration::from_millis(arguments.boot_min);
    FleetOptions {
        seed: arguments.seed,
        leases: !arguments.no_leases,
        lease_interval: Duration::from_secs(arguments.lease_interval.max(1)),
        status_interval: Duration::from_secs(arguments.heartbeat.max(1)),
        boot_time: shortest..=shortest.max(Duration::from_millis(arguments.boot_max)),
        truth_log: arguments.truth_log,
        play_pods: !arguments.no_pods,
        watch_nodes: false,
        ..FleetOptions::default()
    }
}
