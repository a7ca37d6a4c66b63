//! `cargo xtask bench`: figures of the operator on a real control plane, printed with the conditions
//! under which they were measured. Nothing here asserts a time; what went wrong voids the run.

mod alerts;
mod conditions;
mod demo;
pub mod figures;
mod nodes;
mod observer;
mod planner;
mod progress;
mod queue;
mod raw;
mod reactions;
mod recovery;
mod requests;
mod sheet;
mod sim;
mod table;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rerail_e2e::{
    Brisk, Operator, OperatorOptions, Story,
    kill::{self, Extent, Outcome},
};
use serde::Serialize;

use self::{conditions::Conditions, figures::Series, reactions::Reactions, requests::Asked};

/// What is measured, and how often.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchArguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// Runs whose reactions are timed.
    #[arg(long, default_value_t = 100)]
    runs: usize,
    /// How many times an operator is killed and the next one's first effect is waited for.
    #[arg(long, default_value_t = 20)]
    recoveries: usize,
    /// At how many kill points an operator dies, evenly spread over a run; all of them by default.
    #[arg(long)]
    kill_points: Option<usize>,
    /// Where the figures are written as JSON, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What is measured for itself.
#[derive(Debug, Subcommand)]
enum Part {
    /// From an alert to the condition of a node, by push and by poll, with a real Alertmanager; what it
    /// costs while nothing changes; and how long one cycle computes.
    Alerts(alerts::AlertsArguments),
    /// How long `rerail demo` takes to its first picture.
    Demo(demo::DemoArguments),
    /// What an operator costs that has nothing to do: memory, CPU and requests at many nodes of the
    /// size of real ones, with heartbeats.
    Nodes(nodes::NodesArguments),
    /// The planner alone, optimised: times of full plans, and rolling reboots in virtual time.
    Planner(planner::PlannerArguments),
    /// Many nodes on a real control plane: bursts, rolling reboots, idle cost, failover.
    Queue(queue::QueueArguments),
    /// The simulated cluster: how fast it is, and how many hostile histories hold.
    Sim(sim::SimArguments),
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Around the cluster.
    #[error(transparent)]
    Cluster(#[from] rerail_e2e::Error),
    /// The control plane.
    #[error(transparent)]
    ControlPlane(#[from] rerail_controlplane::Error),
    /// The API server.
    #[error("{0}")]
    Kube(#[from] Box<kube::Error>),
    /// No runtime, or no thread.
    #[error("cannot start: {0}")]
    Runtime(#[from] std::io::Error),
    /// The operator's metrics.
    #[error("the operator's /metrics cannot be read: {0}")]
    Metrics(String),
    /// What was to be timed was not seen.
    #[error("{node}: the observer's watches did not show {what}; nothing can be said of the times")]
    Unseen {
        /// The node.
        node: String,
        /// What was missing.
        what: &'static str,
    },
    /// The machines.
    #[error(transparent)]
    Fleet(#[from] rerail_fleet::Error),
    /// Each node is used once.
    #[error("the parts need {wanted} nodes, and there are {there}: give --nodes")]
    TooFewNodes {
        /// How many.
        wanted: usize,
        /// How many there are.
        there: usize,
    },
    /// The record.
    #[error("the record cannot be written to {}: {source}", path.display())]
    Record {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl From<kube::Error> for BenchError {
    fn from(error: kube::Error) -> Self {
        BenchError::Kube(Box::new(error))
    }
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Record {
    conditions: Conditions,
    /// One PATCH of a node by a client that does nothing else: what the machine itself can do.
    raw_patch: Series,
    reactions: Reactions,
    requests: Vec<Asked>,
    /// From SIGKILL of an operator to the first effect of the next one.
    kill_to_effect: Series,
    kill_points: Outcome,
}

/// Measures and prints; `Ok(false)` if a property did not hold, which voids the figures.
pub fn run(root: &Path, arguments: &BenchArguments) -> Result<bool, BenchError> {
    let runtime = tokio::runtime::Runtime::new()?;
    match &arguments.part {
        None => {}
        Some(Part::Alerts(arguments)) => return runtime.block_on(alerts::run(root, arguments)),
        Some(Part::Nodes(arguments)) => return runtime.block_on(nodes::run(root, arguments)),
        Some(Part::Demo(arguments)) => return demo::run(root, arguments).map(|()| true),
        Some(Part::Planner(arguments)) => return planner::run(root, arguments),
        Some(Part::Sim(arguments)) => return sim::run(root, arguments),
        Some(Part::Queue(arguments)) => return runtime.block_on(queue::run(root, arguments)),
    }
    let record = runtime.block_on(measure(root, arguments))?;
    table::print(&record);
    if let Some(path) = &arguments.json {
        write_json(path, &record)?;
    }
    Ok(record.kill_points.violations.is_empty())
}

fn write_json(path: &Path, record: &impl Serialize) -> Result<(), BenchError> {
    let written = serde_json::to_vec_pretty(record).map_err(std::io::Error::other);
    written
        .and_then(|text| std::fs::write(path, text))
        .map_err(|source| BenchError::Record { path: path.to_owned(), source })
}

async fn measure(root: &Path, arguments: &BenchArguments) -> Result<Record, BenchError> {
    let conditions = Conditions::of(root);
    progress::stage("control plane and programs");
    tokio::task::spawn_blocking(rerail_controlplane::Binaries::ensure)
        .await
        .map_err(std::io::Error::other)??;
    tokio::task::spawn_blocking(|| rerail_e2e::program("rerail"))
        .await
        .map_err(std::io::Error::other)??;
    let brisk = Brisk::start().await?;
    let operator = Operator::start(&brisk.cluster.plane, OperatorOptions::default()).await?;

    let raw_patch = raw::patches(&brisk).await?;
    let reactions = reactions::measure(&brisk, arguments.runs).await?;
    let requests = requests::measure(&brisk, &operator).await?;
    brisk.cluster.plane.stop_component(operator.name())?;
    let kill_to_effect = recovery::measure(&brisk, arguments.recoveries).await?;

    let extent = Extent { points: arguments.kill_points, ..Extent::default() };
    let bar = progress::bar("kill points", 0);
    let kill_points =
        kill::sweep(&brisk, Story::Healed, extent, |done, all| bar.at(done, all)).await?;
    bar.end();
    Ok(Record { conditions, raw_patch, reactions, requests, kill_to_effect, kill_points })
}
