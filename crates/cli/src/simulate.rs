//! `rerail simulate`: what would happen, without a cluster or with one that is only read.

pub mod cluster;
pub mod table;

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, ValueHint};
use kube::ResourceExt;
use rerail_core::words::one_line;
use rerail_sim::world::{Scene, SceneError};
use rerail_simulate::{
    PlayError, Progress, play,
    report::{Report, SENTENCE},
    snapshot::{self, Snapshot},
    what_if::{self, Nodes, Sick, WhatIfError},
};
use tokio::{
    sync::watch,
    task::{JoinError, JoinHandle},
    time::Instant,
};

use crate::{
    CommandError, logs,
    outlook::{
        self, Output,
        files::{self, FromFile},
    },
};

/// Simulated, and not as it should be: an expectation is missed, or a property does not hold.
const NOT_AS_EXPECTED: u8 = 3;

/// How often it is said how far it is.
const ON_TERMINAL: Duration = Duration::from_millis(200);
const IN_PIPE: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("source").required(true).args(["scenario", "from_cluster"])))]
pub struct SimulateArguments {
    /// The cluster, and what happens in it, as YAML (docs/reference/scenario.md); `-` reads standard input.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    scenario: Option<PathBuf>,
    /// Read nodes, Pods, budgets, policies and configuration of a cluster, and play those. The cluster is not
    /// written to.
    #[arg(long)]
    from_cluster: bool,
    /// Play these policies, too: one of the same name is replaced, another one joins. May be given several
    /// times.
    #[arg(short = 'f', long = "filename", value_name = "FILE", value_hint = ValueHint::FilePath)]
    files: Vec<PathBuf>,
    /// These nodes become sick, 30 s after the policies are there, until they are rebooted: NODES is a name in which `*` stands for
    /// anything, or labels `key=value,key=value`. May be given several times.
    #[arg(long, value_name = "NODES:CONDITION[:MESSAGE]")]
    sick: Vec<Sick>,
    /// These machines lose power at that time, and stay dark. May be given several times.
    #[arg(long, value_name = "NODES")]
    power_off: Vec<Nodes>,
    /// Play every policy as if its mode were Enforce.
    #[arg(long)]
    enforce: bool,
    /// What everything is drawn from that looks random, such as how long a boot takes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Play it with each of the seeds from 1 to this one, and tell the worst of it: a figure of one seed is one
    /// draw. With `-o json`, a list of answers.
    #[arg(long, value_name = "NUMBER", conflicts_with = "seed", value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: Option<u64>,
    /// Write what is played to a file, as a scenario.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    save: Option<PathBuf>,
    /// For people, or for programs.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Kubeconfig file, for --from-cluster; without it KUBECONFIG, ~/.kube/config or the Pod's own service
    /// account.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
}

/// Why nothing was simulated.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The file cannot be read.
    #[error("--scenario {path}: {source}")]
    Read { path: String, source: std::io::Error },
    /// It is no scenario.
    #[error("--scenario {path}: {source}")]
    Scene { path: String, source: SceneError },
    /// A policy that is to be played, too, is refused.
    #[error("-f: {place}: policy {name}: {problem}")]
    Refused { place: String, name: String, problem: String },
    /// What was put together makes no sense.
    #[error("what was read cannot be played: {0}")]
    Composed(SceneError),
    /// Flags that mean nobody.
    #[error(transparent)]
    WhatIf(#[from] WhatIfError),
    /// No policy.
    #[error("the cluster has no policy; give one with -f")]
    NoPolicy,
    /// A part of the cluster cannot be read.
    #[error("{what} cannot be read: {source}{advice}")]
    Cluster { what: &'static str, source: Box<kube::Error>, advice: &'static str },
    /// The scenario cannot be written.
    #[error("--save {path}: {message}")]
    Save { path: String, message: String },
    /// It was not played to its end.
    #[error(transparent)]
    Play(#[from] PlayError),
    /// A bug.
    #[error("the simulation broke down; this is a bug, and the words above are worth a report")]
    Broken,
}

pub async fn run(arguments: SimulateArguments) -> Result<ExitCode, CommandError> {
    logs::start_silent();
    let (scene, notes) = scene(&arguments).await?;
    if let Some(path) = &arguments.save {
        save(path, arguments.scenario.as_deref(), &scene, &notes)?;
    }
    let began = Instant::now();
    let notes: Vec<_> = notes.iter().map(|note| one_line(note, SENTENCE)).collect();
    let seeds = arguments.seeds.map_or(arguments.seed..=arguments.seed, |last| 1..=last);
    let mut reports = Vec::new();
    for seed in seeds {
        let played = played(scene.clone(), seed).await?;
        reports.push(Report { notes: notes.clone(), ..played });
    }
    let as_expected = reports.iter().all(|report| report.as_expected);
    match (arguments.output, reports.as_slice()) {
        (Output::Json, [report]) if arguments.seeds.is_none() => outlook::print_json(report)?,
        (Output::Json, all) => outlook::print_json(&all)?,
        (Output::Table, [report]) => outlook::print(&table::report(report, began.elapsed()))?,
        (Output::Table, all) => outlook::print(&table::seeds(all, began.elapsed()))?,
    }
    Ok(if as_expected { ExitCode::SUCCESS } else { ExitCode::from(NOT_AS_EXPECTED) })
}

async fn played(scene: Scene, seed: u64) -> Result<Report, SimulateError> {
    let (told, progress) = watch::channel(None);
    let playing = tokio::task::spawn_blocking(move || {
        play(&scene, seed, |now| {
            told.send_replace(Some(now));
        })
    });
    let played = watched(playing, progress).await.map_err(|_| SimulateError::Broken)?;
    Ok(played?)
}

/// What is played, and what is to be known beside it.
async fn scene(arguments: &SimulateArguments) -> Result<(Scene, Vec<String>), CommandError> {
    let found = match arguments.files.as_slice() {
        [] => files::Files::default(),
        paths => files::read(paths)?,
    };
    let mut snapshot = match &arguments.scenario {
        Some(path) => Snapshot { scene: read(path)?, notes: Vec::new() },
        None => cluster::read(arguments.kubeconfig.as_deref()).await?,
    };
    snapshot.notes.extend(found.ignored);
    for FromFile { place, written, policy } in &found.policies {
        let (place, name) = (place.clone(), policy.name_any());
        let refused = |problem| SimulateError::Refused { place, name, problem };
        Scene::check_policy(written).map_err(refused)?;
    }
    let policies = found.policies.into_iter().map(|found| found.written).collect();
    what_if::apply(&mut snapshot.scene, policies).map_err(SimulateError::WhatIf)?;
    if arguments.from_cluster {
        snapshot::leave_out_unnamed(&mut snapshot);
    }
    let Snapshot { mut scene, mut notes } = snapshot;
    // The timeline of a scenario may apply one.
    if arguments.from_cluster && scene.policies.is_empty() {
        return Err(SimulateError::NoPolicy.into());
    }
    if arguments.enforce {
        what_if::enforce(&mut scene);
    }
    for sick in &arguments.sick {
        what_if::sicken(&mut scene, sick).map_err(SimulateError::WhatIf)?;
    }
    for nodes in &arguments.power_off {
        what_if::power_off(&mut scene, nodes).map_err(SimulateError::WhatIf)?;
    }
    scene.check().map_err(SimulateError::Composed)?;
    notes.extend(what_if::notes(&scene));
    Ok((scene, notes))
}

fn read(path: &std::path::Path) -> Result<Scene, SimulateError> {
    let name = path.display().to_string();
    let text = match name.as_str() {
        "-" => std::io::read_to_string(std::io::stdin()),
        name => std::fs::read_to_string(name),
    };
    let text = text.map_err(|source| SimulateError::Read { path: name.clone(), source })?;
    Scene::parse(&text).map_err(|source| SimulateError::Scene { path: name, source })
}

/// With what was to be known of it, as comments.
fn save(
    path: &std::path::Path,
    scenario: Option<&std::path::Path>,
    scene: &Scene,
    notes: &[String],
) -> Result<(), SimulateError> {
    let failed = |message| SimulateError::Save { path: path.display().to_string(), message };
    if scenario.is_some_and(|scenario| scenario == path) {
        return Err(failed("that is the scenario itself; name another file".to_owned()));
    }
    if path.as_os_str() == "-" {
        return Err(failed("standard output has the answer; name a file".to_owned()));
    }
    let text = serde_saphyr::to_string(scene).map_err(|error| failed(error.to_string()))?;
    let notes: String = notes.iter().map(|note| format!("# {note}\n")).collect();
    std::fs::write(path, notes + &text).map_err(|error| failed(error.to_string()))
}

/// Waits for the end, and says meanwhile how far it is.
async fn watched<T>(
    mut playing: JoinHandle<T>,
    progress: watch::Receiver<Option<Progress>>,
) -> Result<T, JoinError> {
    let shows = std::io::stderr().is_terminal();
    let every = if shows { ON_TERMINAL } else { IN_PIPE };
    let mut clock = tokio::time::interval_at(Instant::now() + every, every);
    loop {
        tokio::select! {
            biased;
            played = &mut playing => {
                if shows {
                    let _ = write!(std::io::stderr(), "\r\u{1b}[K");
                }
                return played;
            }
            _ = clock.tick() => {
                if let Some(now) = *progress.borrow() {
                    tell(shows, now);
                }
            }
        }
    }
}

fn tell(shows: bool, now: Progress) {
    let elapsed = outlook::words::length(now.elapsed);
    let (healed, troubled) = (now.healed, now.troubled);
    let words = format!("{elapsed} simulated: {healed} healed, {troubled} in trouble or in work");
    let _ = match shows {
        true => write!(std::io::stderr(), "\r\u{1b}[K{words}"),
        false => writeln!(std::io::stderr(), "{words}"),
    };
}
