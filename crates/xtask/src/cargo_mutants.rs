//! `cargo xtask cargo-mutants`: the core with one small change at a time. Does a test of the core notice?
//! Beside `cargo xtask mutants`, whose bugs are written by people and looked for in simulated histories.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use clap::Args;

use crate::process::{self, ProcessError};
use crate::tool::Tool;

/// It thinks that cargo calls it, by the name of the subcommand.
const CARGO_MUTANTS: Tool =
    Tool { name: "cargo-mutants", version: "27.1.0", asked: &["mutants", "--version"] };

/// Changes that no test notices, each with the reason why that may stay so.
const SURVIVORS: &str = "crates/core/survivors.yaml";

/// Below this part of changes that are noticed, the tests are not good enough.
const GOAL: f64 = 0.9;

/// It exits so when everything was tried: all caught, some missed, some that never ended
/// (<https://mutants.rs/exit-codes.html>).
const DONE: [i32; 3] = [0, 2, 3];

/// Random tests draw as many cases: more find no more changes, and most runs end at the first failure.
const CASES: &str = "32";

/// Which part, and how many at a time.
#[derive(Debug, Args)]
pub struct CargoMutantsArguments {
    /// Only one part of all changes: `0/8` is every eighth one, from the first.
    #[arg(long, value_name = "K/N")]
    part: Option<String>,
    /// How many changes are tried at the same time.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// Passed on to cargo-mutants, such as `--file crates/core/src/lease.rs` or `--iterate`.
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Why there is no score.
#[derive(Debug, thiserror::Error)]
pub enum CargoMutantsError {
    /// Around processes.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Its lists, or ours.
    #[error("{}: {message}", path.display())]
    List {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Nothing was to be tried.
    #[error("cargo-mutants tried nothing; what it says is above")]
    Nothing,
    /// The tests fail without any change, or it was stopped: what it has tried by then is no score.
    #[error(
        "cargo-mutants ended before all changes were tried ({0}); what it says is above. If tests fail \
         without any change, mend them first; if it was stopped, start it again, in parts (`--part 0/8`)"
    )]
    Early(ExitStatus),
}

/// Tries them; true if the score is good and every survivor has a reason.
pub fn run(root: &Path, arguments: &CargoMutantsArguments) -> Result<bool, CargoMutantsError> {
    let program = CARGO_MUTANTS.installed(root)?;
    let out = root.join("target/cargo-mutants");
    let mut command = Command::new(program);
    command.current_dir(root).args(["mutants", "--package", "rerail-core", "--profile", "mutants"]);
    command.arg("--output").arg(&out).args(["--jobs", &arguments.jobs.to_string()]);
    // Of builds, too: nothing but the tests themselves is needed, and a library beside them takes as long.
    command.arg("--cargo-arg=--lib");
    // A test that never ends is noticed, too.
    command.args(["--timeout", "90", "--colors", "never"]);
    // Bugs that are compiled in by people only; they are off.
    command.args([
        "--exclude",
        "crates/core/src/mutants.rs",
        "--exclude-re",
        "match guard mutant!",
    ]);
    if let Some(part) = &arguments.part {
        command.args(["--sharding", "round-robin", "--shard", part]);
    }
    command.args(&arguments.rest);
    // The first failure is enough, and comes sooner where the long tests are not always the first. Those flags
    // of test programs are unstable, and so are only asked for there, by the runner, and not while anything is
    // compiled.
    command.args(["--", "--", "-Zunstable-options", "--fail-fast", "--shuffle"]);
    command.env(runner()?, "env RUSTC_BOOTSTRAP=1");
    command.env("PROPTEST_CASES", CASES).env("PROPTEST_MAX_SHRINK_ITERS", "0");
    let status = process::stream(&mut command, |line| anstream::println!("{line}"))?;
    if !status.code().is_some_and(|code| DONE.contains(&code)) {
        return Err(CargoMutantsError::Early(status));
    }
    let read = |name: &str| lines(&out.join("mutants.out").join(name));
    let tried = Tried {
        caught: read("caught.txt")?,
        timeout: read("timeout.txt")?,
        missed: read("missed.txt")?,
        unviable: read("unviable.txt")?,
    };
    let reasons = reasons(&root.join(SURVIVORS))?;
    tell(&tried, &reasons, |file, line| line_of(root, file, line))
}

/// A line of a file, by its number from 1.
fn line_of(root: &Path, file: &str, line: usize) -> Option<String> {
    let text = std::fs::read_to_string(root.join(file)).ok()?;
    text.lines().nth(line.checked_sub(1)?).map(str::to_owned)
}

/// The environment variable by which cargo starts test programs through another one.
fn runner() -> Result<String, ProcessError> {
    let host = process::host()?.to_uppercase().replace('-', "_");
    Ok(format!("CARGO_TARGET_{host}_RUNNER"))
}

/// What became of the changes, by their names.
#[derive(Debug, Default)]
struct Tried {
    caught: Vec<String>,
    timeout: Vec<String>,
    missed: Vec<String>,
    /// Those that do not compile.
    unviable: Vec<String>,
}

impl Tried {
    fn viable(&self) -> usize {
        self.caught.len() + self.timeout.len() + self.missed.len()
    }

    fn score(&self) -> f64 {
        let noticed = self.caught.len() + self.timeout.len();
        // Counts of a few thousand.
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        let score = noticed as f64 / self.viable() as f64;
        score
    }
}

fn lines(path: &Path) -> Result<Vec<String>, CargoMutantsError> {
    let failed = |error: std::io::Error| CargoMutantsError::List {
        path: path.to_owned(),
        message: error.to_string(),
    };
    Ok(std::fs::read_to_string(path).map_err(failed)?.lines().map(str::to_owned).collect())
}

fn reasons(path: &Path) -> Result<BTreeMap<String, String>, CargoMutantsError> {
    let failed = |message: String| CargoMutantsError::List { path: path.to_owned(), message };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let read: Option<BTreeMap<String, String>> =
        serde_saphyr::from_str(&text).map_err(|error| failed(error.to_string()))?;
    Ok(read.unwrap_or_default())
}

/// A change by what it does and by the words of its line, with a `^` where it begins; not by line and column,
/// which move: `crates/core/src/lease.rs: replace …, at: if a ^&& b {`. What is true of one place of a function
/// may not be true of the next, and where those words change it has to be judged anew.
fn key(name: &str, line: impl Fn(&str, usize) -> Option<String>) -> String {
    let mut parts = name.splitn(4, ':');
    let (Some(file), Some(number), Some(column), Some(what)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return name.to_owned();
    };
    let line = number.parse().ok().and_then(|number| line(file, number)).unwrap_or_default();
    let before = column.parse().unwrap_or(1_usize).saturating_sub(1);
    let at = line.char_indices().nth(before).map_or(line.len(), |(at, _)| at);
    let (before, behind) = line.split_at(at);
    format!("{file}:{what}, at: {}^{}", before.trim_start(), behind.trim_end())
}

fn tell(
    tried: &Tried,
    reasons: &BTreeMap<String, String>,
    line: impl Fn(&str, usize) -> Option<String>,
) -> Result<bool, CargoMutantsError> {
    if tried.viable() == 0 {
        return Err(CargoMutantsError::Nothing);
    }
    let missed = tried.missed.iter().map(|name| key(name, &line));
    let (known, unknown): (Vec<_>, Vec<_>) = missed.partition(|key| reasons.contains_key(key));
    for name in &unknown {
        anstream::println!("survived, and no reason is in {SURVIVORS}: {name}");
    }
    let score = tried.score();
    anstream::println!(
        "{} changes compile: {} caught, {} never ended, {} survived ({} with a reason), and {} do not compile\n\
         score {:.1} %, goal {:.0} %",
        tried.viable(),
        tried.caught.len(),
        tried.timeout.len(),
        tried.missed.len(),
        known.len(),
        tried.unviable.len(),
        score * 100.0,
        GOAL * 100.0
    );
    Ok(score >= GOAL && unknown.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_change_is_known_by_its_place_wherever_that_has_moved() {
        let line = |_: &str, number| Some(format!("{}if a > b && c > d {{", " ".repeat(number)));
        let name = "crates/core/src/alert.rs:4:10: replace > with >= in read";
        let expected =
            "crates/core/src/alert.rs: replace > with >= in read, at: if a ^> b && c > d {";
        assert_eq!(key(name, line), expected);
        assert_eq!(key("crates/core/src/alert.rs:5:11: replace > with >= in read", line), expected);
        let other = key("crates/core/src/alert.rs:4:19: replace > with >= in read", line);
        assert_eq!(
            other,
            "crates/core/src/alert.rs: replace > with >= in read, at: if a > b && c ^> d {"
        );
        assert_eq!(key("odd", line), "odd");
    }

    #[test]
    fn survivors_need_a_reason_and_the_score_must_be_good() {
        let mut tried = Tried {
            caught: names(&["a", "b", "c", "d", "e", "f", "g", "h"]),
            timeout: names(&["i"]),
            missed: names(&["x.rs:1:3: replace + with - in f"]),
            unviable: names(&["u"]),
        };
        let none = BTreeMap::new();
        let line = |_: &str, _| Some("a + b".to_owned());
        assert!(!tell(&tried, &none, line).unwrap());
        let key = "x.rs: replace + with - in f, at: a ^+ b";
        let known = [(key.to_owned(), "equal".to_owned())].into();
        assert!(tell(&tried, &known, line).unwrap());
        assert!(!tell(&tried, &known, |_, _| Some("a + c".to_owned())).unwrap(), "another place");
        tried.missed.push("x.rs:9:9: replace + with - in f".to_owned());
        assert!(!tell(&tried, &known, line).unwrap(), "9 of 11");
        assert!(matches!(tell(&Tried::default(), &none, line), Err(CargoMutantsError::Nothing)));
    }

    /// A reason whose place is not there any more is of no use.
    #[test]
    fn every_reason_can_be_read_and_is_of_a_place_that_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for (key, reason) in reasons(&root.join(SURVIVORS)).unwrap() {
            assert!(reason.len() > 10, "{key}: {reason}");
            let (what, at) = key.split_once(", at: ").unwrap();
            let (file, _) = what.split_once(": ").unwrap();
            let at = at.replacen('^', "", 1);
            let source = std::fs::read_to_string(root.join(file)).unwrap();
            assert!(source.lines().any(|line| line.trim() == at), "{key}");
        }
    }
}
