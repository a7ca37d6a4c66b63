//! cargo-deny: licences, bans, sources and known vulnerabilities of the dependencies.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{self, ProcessError};
use crate::report::Verdict;

const VERSION: &str = "0.20.2";

/// How long the database of vulnerabilities may take to arrive.
const FETCH_LIMIT: Duration = Duration::from_secs(60);

const ADVICE: &str = "choose another dependency, or change deny.toml and say there why";

/// Makes the build of cargo-deny short. Its own settings optimise the whole program at once, which
/// takes many minutes; it runs about a second either way.
const FAST_BUILD: &[(&str, &str)] = &[
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
];

/// Checks the dependencies of the workspace at `root`.
///
/// The database of vulnerabilities lies outside the package registry. Where it cannot be fetched,
/// the verdict says that this part was not looked at.
pub fn run(root: &Path) -> Result<Verdict, ProcessError> {
    let program = installed(root)?;
    let fetched = fetch_advisories(root, &program);
    let mut checks = vec!["licenses", "bans", "sources"];
    if fetched.is_ok() {
        checks.push("advisories");
    }
    let mut command = Command::new(&program);
    command.current_dir(root).args(["--locked", "check", "--hide-inclusion-graph"]).args(checks);
    let finished = process::capture("cargo-deny", &mut command, None)?;
    if !finished.success {
        return Ok(Verdict::Failed { output: finished.output, advice: ADVICE.to_owned() });
    }
    Ok(match fetched {
        Ok(()) => Verdict::Passed,
        Err(why) => Verdict::PassedExcept(format!("advisories NOT RUN: {why}")),
    })
}

/// The pinned cargo-deny, built from the package registry if it is not there yet.
///
/// It goes where `cargo install` puts programs, so that other checkouts find it, too; where a
/// person keeps another version there, that one stays and ours goes to `target/tools`.
fn installed(root: &Path) -> Result<PathBuf, ProcessError> {
    let tools = root.join("target/tools");
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let shared = home.map(|home| home.join("bin/cargo-deny"));
    let private = tools.join("bin/cargo-deny");
    let mut other_version = false;
    let places = [Some(PathBuf::from("cargo-deny")), shared.clone(), Some(private.clone())];
    for place in places.into_iter().flatten() {
        match process::output(Command::new(&place).arg("--version")) {
            Ok(version) if version.trim() == format!("cargo-deny {VERSION}") => return Ok(place),
            Ok(_) => other_version = true,
            Err(_) => {}
        }
    }
    match shared {
        Some(shared) if !other_version => install(None).map(|()| shared),
        _ => install(Some(&tools)).map(|()| private),
    }
}

fn install(into: Option<&Path>) -> Result<(), ProcessError> {
    anstream::println!("  … building cargo-deny {VERSION}, once; this takes a few minutes");
    let mut command = process::cargo();
    command.args(["install", "cargo-deny", "--version", VERSION, "--locked"]);
    if let Some(into) = into {
        command.arg("--root").arg(into);
    }
    command.env_remove("CARGO_TARGET_DIR").envs(FAST_BUILD.iter().copied());
    let finished = process::watch("building cargo-deny", &mut command)?;
    if finished.success {
        return Ok(());
    }
    Err(ProcessError::Failed {
        program: "cargo install cargo-deny".into(),
        output: finished.output,
    })
}

/// Fetches the database of vulnerabilities; says in a few words why it could not be had.
fn fetch_advisories(root: &Path, program: &Path) -> Result<(), String> {
    let mut command = Command::new(program);
    command.current_dir(root).args(["fetch", "db"]).env("GIT_TERMINAL_PROMPT", "0");
    match process::capture("fetching advisories", &mut command, Some(FETCH_LIMIT)) {
        Ok(finished) if finished.success => Ok(()),
        Ok(finished) => {
            Err(format!("the database cannot be fetched ({})", reason(&finished.output)))
        }
        Err(error) => Err(format!("the database cannot be fetched ({error})")),
    }
}

/// The line that tells a person most: git's own last words, if there are any.
fn reason(output: &str) -> &str {
    let last = |lines: &str| lines.rfind("fatal: ").map(|at| at + "fatal: ".len());
    let text = last(output).map_or(output.trim(), |at| &output[at..]);
    text.lines().next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_gits_last_word() {
        let output = "ERROR failed to fetch\nCloning into 'x'\nfatal: unable to access: no host\n";
        assert_eq!(reason(output), "unable to access: no host");
        assert_eq!(reason("plain words\nmore"), "plain words");
        assert_eq!(reason(""), "");
    }
}
