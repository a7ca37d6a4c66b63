//! cargo-deny: licences, bans, sources and known vulnerabilities of the dependencies.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::process::{self, ProcessError};
use crate::report::Verdict;
use crate::tool::Tool;

const CARGO_DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2", asked: &["--version"] };

/// How long the database of vulnerabilities may take to arrive.
const FETCH_LIMIT: Duration = Duration::from_secs(60);

const ADVICE: &str = "choose another dependency, or change deny.toml and say there why";

/// Checks the dependencies of the workspace at `root`.
///
/// The database of vulnerabilities lies outside the package registry. Where it cannot be fetched,
/// the verdict says that this part was not looked at.
pub fn run(root: &Path) -> Result<Verdict, ProcessError> {
    let program = CARGO_DENY.installed(root)?;
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
