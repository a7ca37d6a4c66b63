//! Features of libraries are chosen once: this program, the programs that tests start and the tests
//! themselves are built with the same ones. Where they differ, cargo builds the library again for each,
//! and with it everything that stands on it, in silence.

use std::collections::BTreeSet;
use std::path::Path;

use crate::process::{self, ProcessError};

/// What to do when they differ.
pub const ADVICE: &str = "name the missing features in [workspace.dependencies]; if nothing of this \
     program uses the library, in e2e/tests/Cargo.toml";

/// What is built for `cargo xtask`, before anything else.
const THIS_PROGRAM: &[&str] = &["--package=rerail-xtask", "--edges=normal,build"];

/// For all programs, for the scenarios, and for all tests.
const PROGRAMS: &[&str] = &["--workspace", "--edges=normal,build"];
const SCENARIOS: &[&str] = &["--package=rerail-e2e", "--edges=normal,build,dev"];
const TESTS: &[&str] = &["--workspace", "--edges=normal,build,dev"];

/// The libraries that are built twice, with the features they have where the tests do not use them.
pub fn violations(root: &Path) -> Result<Vec<String>, ProcessError> {
    let tests = tree(root, TESTS)?;
    let mut found = Vec::new();
    for (whose, of) in
        [("`cargo xtask`", THIS_PROGRAM), ("programs", PROGRAMS), ("scenarios", SCENARIOS)]
    {
        found.extend(differences(whose, &tree(root, of)?, &tests));
    }
    Ok(found)
}

fn differences(whose: &str, tree: &BTreeSet<String>, tests: &BTreeSet<String>) -> Vec<String> {
    let other = |line: &&String| !tests.contains(*line);
    tree.iter()
        .filter(other)
        .map(|line| format!("{line} for {whose}, other features for tests"))
        .collect()
}

/// Each library once, with its version and features.
fn tree(root: &Path, of: &[&str]) -> Result<BTreeSet<String>, ProcessError> {
    let mut command = process::cargo();
    command.current_dir(root).args(["tree", "--locked", "--prefix=none"]);
    let text = process::output(command.args(["--format={p} [{f}]"]).args(of))?;
    // What has been listed with its own dependencies before has a star.
    let line = |line: &str| line.trim_end_matches(" (*)").to_owned();
    Ok(text.lines().map(line).filter(|line| !line.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named_and_what_only_tests_need_is_not() {
        let set = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        let tests = set(&["serde v1.0.0 [rc,std]", "rand v0.10.0 [std]", "http v1.0.0 [std]"]);
        let tree = set(&["serde v1.0.0 [std]", "http v1.0.0 [std]"]);
        let found = differences("programs", &tree, &tests);
        assert_eq!(found, ["serde v1.0.0 [std] for programs, other features for tests"]);
    }
}
