//! `cargo xtask explore`: hostile histories of the operator in the simulated cluster, optimised.

use std::{path::Path, process::Command};

use crate::process::{self, ProcessError};

/// Why nothing was explored.
#[derive(Debug, thiserror::Error)]
pub enum ExploreError {
    /// cargo did not start.
    #[error("cargo cannot be started: {0}")]
    Start(#[from] std::io::Error),
    /// Around processes.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// Hands the arguments to the program; true if no property was broken.
pub fn run(root: &Path, arguments: &[String]) -> Result<bool, ExploreError> {
    Ok(explorer().current_dir(root).args(arguments).status()?.success())
}

/// The program, optimised; its arguments follow.
pub fn explorer() -> Command {
    let mut command = process::cargo();
    command.args(["run", "--quiet", "--release", "--locked", "-p", "rerail-explore"]);
    command.args(["--bin", "rerail-explore", "--"]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The README's first command is `cargo run --release -- demo`: in a workspace cargo finds what that is
    /// only if a single package says what it runs.
    #[test]
    fn the_product_is_what_cargo_runs() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut command = process::cargo();
        command.args(["metadata", "--format-version=1", "--no-deps", "--locked"]);
        let output = command.current_dir(root).output().unwrap();
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let packages = metadata["packages"].as_array().unwrap();
        let run: Vec<_> = packages.iter().filter_map(|one| one["default_run"].as_str()).collect();
        assert_eq!(run, ["rerail"]);
    }

    /// With several programs in it, cargo runs none unless it is told which.
    #[test]
    fn the_explorer_is_named() {
        let arguments: Vec<_> = explorer().get_args().map(ToOwned::to_owned).collect();
        assert!(arguments.windows(2).any(|two| two == ["--bin", "rerail-explore"]));
    }
}
