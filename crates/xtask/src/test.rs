//! `cargo xtask test`: the checks, then every test, the last ones on a real control plane.
//!
//! All of it is built with the same features, so each library once (`check/features.rs`).

use std::path::Path;
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::time::Instant;

use crate::check;
use crate::fuzz;
use crate::libtest::{self, Failures, Tally};
use crate::process::{self, Finished, ProcessError};
use crate::report::{Report, Verdict};

/// The package of the scenarios.
const SCENARIOS: &str = "rerail-e2e";

const WITH_CLUSTER: &str = "scenarios on a real control plane";

const FUZZING: &str = "fuzz, a minute each target";

/// More threads than there are scenarios.
const AT_ONCE: &str = "--test-threads=500";

/// Runs everything, or only the scenarios whose name contains `name`. Says whether all is well.
///
/// The last line that it prints holds the totals and nothing else.
pub fn run(root: &Path, name: Option<&str>) -> bool {
    let mut report = Report::default();
    if name.is_none() {
        check::run(root, &mut report);
    }
    report.step("build the programs", || build_programs(root));
    let built = !report.last_failed();
    report.step("build the control plane", build_control_plane);
    let can_play = built && !report.last_failed();
    if name.is_none() {
        report.counted("tests of each crate", || tests_of_crates(root));
    }
    let fuzzed = name.is_none().then(|| fuzz_beside(root));
    if can_play {
        report.counted(WITH_CLUSTER, || scenarios(root, name));
    } else {
        report.not_run(WITH_CLUSTER, "what they need was not built");
    }
    if let Some(fuzzed) = fuzzed {
        note_fuzzing(&mut report, fuzzed);
    }
    report.print_table();
    let totals = report.totals();
    if totals.ignored > 0 {
        anstream::println!("{} ignored: other tests run them as child processes", totals.ignored);
    }
    anstream::println!("\n{} passed, {} failed", totals.passed, totals.failed);
    report.success()
}

type Fuzzed = JoinHandle<(Duration, Result<Finished, ProcessError>)>;

/// Fuzzing goes on beside the scenarios, which mostly wait: in a folder of its own for what is built, at the
/// lowest priority.
fn fuzz_beside(root: &Path) -> Fuzzed {
    anstream::println!("… {FUZZING}, beside what follows");
    let (began, root) = (Instant::now(), root.to_owned());
    thread::spawn(move || {
        // Not this program's own file: what was built meanwhile has taken its place.
        let cargo = process::cargo();
        let mut command = Command::new("nice");
        command.current_dir(root).args(["-n", "19"]).arg(cargo.get_program());
        command.args(["xtask", "fuzz"]);
        for (name, _) in cargo.get_envs().filter(|(_, value)| value.is_none()) {
            command.env_remove(name);
        }
        let finished = process::capture(FUZZING, &mut command, None);
        (began.elapsed(), finished)
    })
}

fn note_fuzzing(report: &mut Report, fuzzed: Fuzzed) {
    let (took, finished) = fuzzed.join().unwrap_or_else(|_| {
        let (program, output) = ("fuzz".to_owned(), "its thread panicked".to_owned());
        (Duration::ZERO, Err(ProcessError::Failed { program, output }))
    });
    let verdict = finished.map(|finished| {
        anstream::println!("{}", finished.output.trim_end());
        let advice = fuzz::ADVICE.to_owned();
        match finished.success {
            true => (Verdict::Passed, None),
            false => (Verdict::Failed { output: "it is shown above".to_owned(), advice }, None),
        }
    });
    report.ended(FUZZING, took, verdict);
}

/// Some start a control plane of their own.
fn tests_of_crates(root: &Path) -> Result<(Verdict, Option<Tally>), ProcessError> {
    let mut command = process::cargo();
    command.current_dir(root).args(["test", "--workspace", "--locked", "--no-fail-fast"]);
    tests(command.args(["--exclude", SCENARIOS]))
}

/// Scenarios mostly wait. They are all started, and see to it themselves how many are played at a time
/// (`e2e/tests/scenarios/turns.rs`).
fn scenarios(root: &Path, name: Option<&str>) -> Result<(Verdict, Option<Tally>), ProcessError> {
    let mut command = process::cargo();
    command.current_dir(root).args(["test", "--locked", "--no-fail-fast", "--package", SCENARIOS]);
    command.args(["--", AT_ONCE]).args(name);
    let (verdict, tally) = tests(&mut command)?;
    let ran = tally.map_or(0, |tally| tally.passed + tally.failed);
    match (&verdict, name) {
        (Verdict::Passed, Some(name)) if ran == 0 => {
            let output = format!("no scenario has a name that contains `{name}`");
            let advice = format!("`cargo test --package {SCENARIOS} -- --list` shows all names");
            Ok((Verdict::Failed { output, advice }, tally))
        }
        _ => Ok((verdict, tally)),
    }
}

/// Runs test programs, shows what they print and when, and adds up their results.
fn tests(command: &mut Command) -> Result<(Verdict, Option<Tally>), ProcessError> {
    let (mut tally, mut failures) = (Tally::default(), Failures::default());
    let began = Instant::now();
    let status = process::stream(command, |line| {
        if libtest::is_about_patience(line) {
            return;
        }
        failures.see(line);
        match libtest::parse_result(line) {
            // As it is: other programs look for these lines, too.
            Some(result) => {
                anstream::println!("{line}");
                tally.add(result);
            }
            None => anstream::println!("{} {line}", clock(began.elapsed())),
        }
    })?;
    let verdict = if status.success() {
        Verdict::Passed
    } else {
        let output = match failures.text() {
            text if text.is_empty() => format!("{tally}; why is shown above"),
            text => text,
        };
        Verdict::Failed { output, advice: String::new() }
    };
    Ok((verdict, Some(tally)))
}

/// Minutes and seconds.
fn clock(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    format!("{:>2}:{:02}", seconds / 60, seconds % 60)
}

fn build_control_plane() -> Result<Verdict, rerail_controlplane::Error> {
    rerail_controlplane::Binaries::ensure().map(|_| Verdict::Passed)
}

/// The programs that scenarios start: cargo builds them for no test by itself.
fn build_programs(root: &Path) -> Result<Verdict, ProcessError> {
    let mut command = process::cargo();
    command.current_dir(root).args(["build", "--locked", "--workspace", "--bins"]);
    let finished = process::watch("building the programs", &mut command)?;
    Ok(if finished.success {
        Verdict::Passed
    } else {
        Verdict::Failed { output: finished.output, advice: String::new() }
    })
}
