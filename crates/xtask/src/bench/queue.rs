//! `cargo xtask bench queue`: many nodes on a real control plane. Bursts, rolling reboots, single runs
//! among many healthy nodes, the cost of doing nothing, and failover.

mod burst;
mod failover;
mod film;
mod idle;
mod raw;
mod rolling;
mod scene;
mod show;
mod single;
mod wave;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use rerail_e2e::Election;
use serde::Serialize;

use self::{
    burst::Burst, failover::Failover, idle::Idle, raw::Raw, rolling::Rolling, scene::Scene,
    single::Single,
};
use super::{BenchError, conditions::Conditions, progress, write_json};

pub use self::scene::program;

/// What is measured.
#[derive(Debug, Args)]
pub struct QueueArguments {
    /// Nodes of the cluster, in racks of 20.
    #[arg(long, default_value_t = 1000)]
    nodes: usize,
    /// Only these parts, in any order.
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Part>,
    /// Runs that are timed one by one.
    #[arg(long, default_value_t = 20)]
    singles: usize,
    /// For how many seconds the operators are watched while nothing happens.
    #[arg(long, default_value_t = 60)]
    idle: u64,
    /// How many leaders are killed with a Lease of 3/2/1 s.
    #[arg(long, default_value_t = 10)]
    failovers: usize,
    /// How many leaders are killed with the default Lease of 15/10/5 s.
    #[arg(long, default_value_t = 3)]
    slow_failovers: usize,
    /// Measure operators that are built with the release profile.
    #[arg(long)]
    release: bool,
    /// Print the tables as Markdown.
    #[arg(long)]
    markdown: bool,
    /// Where the figures are written as JSON, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Cost of doing nothing, heartbeats apart.
    Idle,
    /// One run after the other among many healthy nodes.
    Single,
    /// A hundred conditions at once.
    Burst,
    /// Rolling reboots under several budgets.
    Rolling,
    /// The leader is killed.
    Failover,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Record {
    conditions: Conditions,
    /// Seconds until all nodes were there and Ready.
    made: f64,
    raw: Raw,
    idle: Option<Vec<Idle>>,
    single: Option<Single>,
    bursts: Vec<Burst>,
    rolling: Vec<Rolling>,
    failover: Vec<Failover>,
    /// Properties that did not hold, in words.
    violations: Vec<String>,
}

/// Measures and prints; `Ok(false)` if a property did not hold, which voids the figures.
pub async fn run(root: &Path, arguments: &QueueArguments) -> Result<bool, BenchError> {
    let record = measure(root, arguments).await?;
    show::print(&record, arguments.markdown);
    if let Some(path) = &arguments.json {
        write_json(path, &record)?;
    }
    Ok(record.violations.is_empty())
}

async fn measure(root: &Path, arguments: &QueueArguments) -> Result<Record, BenchError> {
    let wanted = |part: Part| arguments.only.is_empty() || arguments.only.contains(&part);
    let mut conditions = Conditions::of(root);
    conditions.policy = scene::POLICY.to_owned();
    let program = scene::program(arguments.release).await?;
    if arguments.release {
        conditions.build = "operators: release profile; observer and machines: dev".to_owned();
    }
    progress::stage("control plane and nodes");
    let (mut scene, made) = Scene::start(program, arguments.nodes).await?;
    let raw = raw::measure(&mut scene).await?;
    scene.start_operators(Election::DEFAULT).await?;
    let mut record = Record {
        conditions,
        made,
        raw,
        idle: None,
        single: None,
        bursts: Vec::new(),
        rolling: Vec::new(),
        failover: Vec::new(),
        violations: Vec::new(),
    };
    // The part that follows tells by itself what the one before it has left behind.
    for part in Part::value_variants().iter().filter(|part| wanted(**part)) {
        if let Err(error) = measure_part(*part, &mut scene, arguments, &mut record).await {
            scene.violations.push(format!("{part:?} was not measured: {error}"));
        }
    }
    record.violations = scene.violations;
    Ok(record)
}

async fn measure_part(
    part: Part,
    scene: &mut Scene,
    arguments: &QueueArguments,
    record: &mut Record,
) -> Result<(), BenchError> {
    match part {
        Part::Idle => record.idle = Some(idle::measure(scene, arguments.idle).await?),
        Part::Single => record.single = Some(single::measure(scene, arguments.singles).await?),
        Part::Burst => burst::measure(scene, &mut record.bursts).await?,
        Part::Rolling => rolling::measure(scene, &mut record.rolling).await?,
        Part::Failover => {
            let kills = (arguments.failovers, arguments.slow_failovers);
            failover::measure(scene, kills, &mut record.failover).await?;
        }
    }
    Ok(())
}
