//! `cargo xtask fuzz`: the bodies of `e2e/fuzz-bodies` under libFuzzer, several at once.

mod progress;
mod target;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;

use clap::Args;
use rerail_fuzz_bodies::{TARGETS, Target};

use crate::process::{self, ProcessError};
use crate::tool::Tool;
use target::{Outcome, Run};

const CARGO_FUZZ: Tool = Tool { name: "cargo-fuzz", version: "0.13.2", asked: &["--version"] };

/// What to do about a crash.
pub const ADVICE: &str = "mend the code or the property, with a unit test beside the code; then keep the input \
     in fuzz/regressions/TARGET (CONTRIBUTING.md, Fuzzing)";

/// What is fuzzed, and for how long.
#[derive(Debug, Args)]
pub struct FuzzArguments {
    /// The targets; without any, all of them.
    targets: Vec<String>,
    /// How long each target is fuzzed, in seconds.
    #[arg(long, default_value_t = 60, conflicts_with = "runs")]
    seconds: u32,
    /// How many inputs each target is fed, however long it takes.
    #[arg(long)]
    runs: Option<u64>,
    /// How many targets run at the same time.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// Begins from the committed seeds alone, with this number, so that a run with `--runs` can be had again.
    /// Without it what earlier runs have found is used and added to (`fuzz/corpus`).
    #[arg(long)]
    seed: Option<u32>,
    /// Plays only this file, without libFuzzer; needs one target.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seconds", "runs", "seed"])]
    input: Option<PathBuf>,
}

/// Why nothing was fuzzed.
#[derive(Debug, thiserror::Error)]
pub enum FuzzError {
    /// No such target.
    #[error("there is no target `{0}`; there are {1}")]
    NoTarget(String, String),
    /// An input is for one target.
    #[error("--input is about one target: cargo xtask fuzz TARGET --input FILE")]
    OneTarget,
    /// No C++.
    #[error(
        "libFuzzer is built from C++, and `{0}` does not run: install a C++ compiler (on Debian and Ubuntu the \
         package g++), or name yours in the environment variable CXX"
    )]
    NoCompiler(String),
    /// It does not build.
    #[error("the fuzz targets do not build:\n{0}")]
    Build(String),
    /// A file or folder cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Around processes.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// A target that was given fewer inputs in its time shows nothing: the slowest has some 10,000 in a minute.
const LEAST: u64 = 500;

/// Fuzzes; true if every property held.
pub fn run(root: &Path, arguments: &FuzzArguments) -> Result<bool, FuzzError> {
    let targets = chosen(&arguments.targets)?;
    if let Some(input) = &arguments.input {
        return replay(&targets, input);
    }
    let outcomes = fuzz(root, &targets, arguments)?;
    // Who asks for a number of inputs gets them.
    let least = if arguments.runs.is_some() { 0 } else { LEAST };
    Ok(print(&outcomes, least))
}

fn chosen(names: &[String]) -> Result<Vec<Target>, FuzzError> {
    if names.is_empty() {
        return Ok(TARGETS.to_vec());
    }
    let find = |name: &String| {
        let known = || TARGETS.map(|target| target.name).join(", ");
        let found = TARGETS.into_iter().find(|target| target.name == *name);
        found.ok_or_else(|| FuzzError::NoTarget(name.clone(), known()))
    };
    names.iter().map(find).collect()
}

/// Plays one input in this process. A property that it breaks panics, and says where.
fn replay(targets: &[Target], input: &Path) -> Result<bool, FuzzError> {
    let [target] = targets else { return Err(FuzzError::OneTarget) };
    let bytes = std::fs::read(input)
        .map_err(|source| FuzzError::File { path: input.to_owned(), source })?;
    anstream::println!("{}", target::readable(&bytes));
    let (body, name) = (target.body, target.name);
    let held = thread::spawn(move || body(&bytes)).join().is_ok();
    anstream::println!("{name}: {}", if held { "every property holds" } else { "does not hold" });
    Ok(held)
}

/// Builds and runs targets, shows how far they are, and prints what came of them.
fn fuzz(
    root: &Path,
    targets: &[Target],
    arguments: &FuzzArguments,
) -> Result<Vec<Outcome>, FuzzError> {
    let programs = build(root)?;
    let waiting: Mutex<VecDeque<Target>> = Mutex::new(targets.iter().copied().collect());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let limit = match arguments.runs {
        Some(runs) => format!("-runs={runs}"),
        None => format!("-max_total_time={}", arguments.seconds),
    };
    let one_after_the_other = || {
        let mut outcomes = Vec::new();
        while let Some(target) = next() {
            let run = Run { root, programs: &programs, name: target.name, seed: arguments.seed };
            outcomes.push(run.fuzz(&limit)?);
        }
        Ok::<_, FuzzError>(outcomes)
    };
    let jobs = usize::from(arguments.jobs).min(targets.len());
    let done: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(one_after_the_other)).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).collect()
    });
    let mut outcomes: Vec<Outcome> =
        done.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    let place = |name: &str| targets.iter().position(|target| target.name == name);
    outcomes.sort_by_key(|outcome| place(outcome.name));
    Ok(outcomes)
}

/// Compiles every target with libFuzzer; the folder of the programs.
///
/// The instrumentation is a pass of LLVM that the stable compiler has, too. What needs the nightly one are
/// the sanitizers, and they look for faults that code without `unsafe` cannot have
/// (docs/design/025-fuzzing.md).
fn build(root: &Path) -> Result<PathBuf, FuzzError> {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    process::output(Command::new(&compiler).arg("--version"))
        .map_err(|_| FuzzError::NoCompiler(compiler))?;
    let program = CARGO_FUZZ.installed(root)?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let target = root.join(target).join("fuzz");
    let host = process::host()?;
    let mut command = Command::new(program);
    command.current_dir(root).args(["build", "--fuzz-dir", "fuzz", "--sanitizer", "none"]);
    command.args(["--target", &host, "--target-dir"]).arg(&target);
    let finished = process::watch("building the fuzz targets", &mut command)?;
    if !finished.success {
        return Err(FuzzError::Build(finished.output));
    }
    Ok(target.join(host).join("release"))
}

/// Says what came of it; false when that is no proof of anything.
fn print(outcomes: &[Outcome], least: u64) -> bool {
    let line = |name: &str, figures: [&str; 5], result: &str| {
        let [inputs, speed, coverage, features, corpus] = figures;
        anstream::println!(
            "{name:<18}{inputs:>12}{speed:>10}{coverage:>8}{features:>8}{corpus:>8}  {result}"
        );
    };
    anstream::println!();
    line("target", ["inputs", "inputs/s", "cov", "ft", "corpus"], "result");
    for outcome in outcomes {
        let progress = &outcome.progress;
        let figures = [
            progress.inputs.to_string(),
            outcome.per_second().to_string(),
            progress.coverage.to_string(),
            progress.features.to_string(),
            progress.corpus.to_string(),
        ];
        let result = match outcome.crash {
            Some(_) => "CRASH",
            None if progress.inputs < least => "TOO FEW: the machine has no time for it",
            None => "holds",
        };
        line(outcome.name, figures.each_ref().map(String::as_str), result);
    }
    anstream::println!();
    for outcome in outcomes {
        if let Some(crash) = &outcome.crash {
            anstream::println!("{}: {crash}\n", outcome.name);
        }
    }
    outcomes.iter().all(|outcome| outcome.crash.is_none() && outcome.progress.inputs >= least)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A body that is not compiled for libFuzzer would be fuzzed by nobody.
    #[test]
    fn every_body_is_a_target_with_seeds() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
        let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
        let names: BTreeSet<_> = TARGETS.iter().map(|target| target.name).collect();
        assert_eq!(names.len(), TARGETS.len());
        assert_eq!(manifest.matches("[[bin]]").count(), names.len());
        for name in names {
            let path = format!("fuzz_targets/{name}.rs");
            assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"{path}\"")), "{name}");
            let program = std::fs::read_to_string(root.join(path)).unwrap();
            assert!(program.contains(&format!("rerail_fuzz_bodies::{name}(input)")), "{name}");
            assert!(root.join("seeds").join(name).read_dir().unwrap().next().is_some(), "{name}");
        }
    }

    #[test]
    fn a_target_that_is_not_there_is_told_with_those_that_are() {
        let error = chosen(&["ledgers".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("no target `ledgers`") && error.contains("ledger,"), "{error}");
        assert_eq!(chosen(&[]).unwrap().len(), TARGETS.len());
    }
}
