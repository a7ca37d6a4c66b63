//! `cargo xtask`: generates, checks, tests and shows Rerail.

mod bench;
mod cargo_mutants;
mod check;
mod conformance;
mod controlplane;
mod explore;
mod fuzz;
mod generate;
mod libtest;
mod machines;
mod models;
mod mutants;
mod process;
mod report;
mod test;
mod tool;
mod try_it;
mod vectors;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::report::Report;

/// Generate, check, test and show Rerail.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Write every file that comes from code: crds, config, docs/reference.
    Gen,
    /// Check format, lints, generated files, crate layers, features, house rules and dependencies.
    Check,
    /// Check, then run every test, the last ones on a real Kubernetes control plane.
    Test {
        /// Run only the scenarios whose name contains this, and nothing else.
        name: Option<String>,
    },
    /// Show the main job: 25 sick nodes of 60 are healed on a real control plane, live.
    Try,
    /// Measure the operator on a real control plane, and print the figures with their conditions.
    Bench(bench::BenchArguments),
    /// Look whether bugs on purpose are found by the properties, in how many simulated histories.
    Mutants(mutants::MutantsArguments),
    /// Change the core in one small place at a time, and look whether its tests notice (cargo-mutants).
    CargoMutants(cargo_mutants::CargoMutantsArguments),
    /// Run recorded behaviour of kubectl, of the Eviction API and of Sciuro through the production code.
    Vectors {
        /// JSON files; their content says what they are.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Play the operator through hostile histories in the simulated cluster; `explore help` says how.
    #[command(disable_help_flag = true)]
    Explore {
        /// What is handed on.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Feed what others write to the production code, under libFuzzer, and look whether every property holds.
    Fuzz(fuzz::FuzzArguments),
    /// Explore every state of small worlds in which the core decides; `models --help` says how.
    #[command(disable_help_flag = true)]
    Models {
        /// What is handed on.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Compare a real API server with what was recorded of it, or record it.
    Conformance(conformance::ConformanceArguments),
    /// Start, list and stop real control planes to work with.
    #[command(subcommand)]
    Controlplane(controlplane::ControlplaneCommand),
    /// Start virtual machines with real kernels as nodes of a control plane, and do things to them.
    #[command(subcommand)]
    Machines(machines::MachinesCommand),
}

/// Why a task could not be done.
#[derive(Debug, thiserror::Error)]
enum TaskError {
    #[error("this is not a checkout of Rerail; run `cargo xtask` inside of one")]
    NoCheckout,
    #[error(transparent)]
    Generate(#[from] generate::GenerateError),
    #[error(transparent)]
    Try(#[from] try_it::TryError),
    #[error(transparent)]
    Bench(#[from] bench::BenchError),
    #[error(transparent)]
    Explore(#[from] explore::ExploreError),
    #[error(transparent)]
    Fuzz(#[from] fuzz::FuzzError),
    #[error(transparent)]
    Models(#[from] models::ModelsError),
    #[error(transparent)]
    Mutants(#[from] mutants::MutantsError),
    #[error(transparent)]
    CargoMutants(#[from] cargo_mutants::CargoMutantsError),
    #[error(transparent)]
    Vectors(#[from] vectors::VectorsError),
    #[error(transparent)]
    Conformance(#[from] conformance::ConformanceError),
    #[error(transparent)]
    Controlplane(#[from] rerail_e2e::Error),
    #[error(transparent)]
    Machines(#[from] machines::MachinesError),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            anstream::eprintln!("\u{1b}[31merror\u{1b}[0m: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does one task. `Ok(false)` when it was done and found faults, which it has printed.
fn run(task: Task) -> Result<bool, TaskError> {
    match task {
        Task::Gen => generate(&root()?),
        Task::Check => Ok(checked(&root()?)),
        Task::Test { name } => Ok(test::run(&root()?, name.as_deref())),
        Task::Try => Ok(try_it::run()?),
        Task::Bench(arguments) => Ok(bench::run(&root()?, &arguments)?),
        Task::Explore { arguments } => Ok(explore::run(&root()?, &arguments)?),
        Task::Fuzz(arguments) => Ok(fuzz::run(&root()?, &arguments)?),
        Task::Models { arguments } => Ok(models::run(&root()?, &arguments)?),
        Task::Mutants(arguments) => Ok(mutants::run(&root()?, &arguments)?),
        Task::CargoMutants(arguments) => Ok(cargo_mutants::run(&root()?, &arguments)?),
        Task::Vectors { files } => Ok(vectors::run(&files)?),
        Task::Conformance(arguments) => Ok(conformance::run(&root()?, &arguments)?),
        Task::Controlplane(command) => Ok(controlplane::run(command).map(|()| true)?),
        Task::Machines(command) => Ok(machines::run(command).map(|()| true)?),
    }
}

fn generate(root: &Path) -> Result<bool, TaskError> {
    let changes = generate::write(root)?;
    if changes.is_empty() {
        anstream::println!("all generated files are up to date");
    }
    for change in changes {
        anstream::println!("{change}");
    }
    Ok(true)
}

fn checked(root: &Path) -> bool {
    let mut report = Report::default();
    check::run(root, &mut report);
    report.print_table();
    report.success()
}

/// The root of the checkout that the working directory lies in.
fn root() -> Result<PathBuf, TaskError> {
    let here = std::env::current_dir().map_err(|_| TaskError::NoCheckout)?;
    let root = here.ancestors().find(|folder| folder.join("crates/xtask/Cargo.toml").is_file());
    root.map(Path::to_owned).ok_or(TaskError::NoCheckout)
}
