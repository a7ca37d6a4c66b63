//! `cargo xtask explore`: hostile histories of the operator in the simulated cluster, optimised.

use std::path::Path;

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
    let mut command = process::cargo();
    command.current_dir(root);
    command.args(["run", "--quiet", "--release", "--locked", "-p", "rerail-explore", "--"]);
    Ok(command.args(arguments).status()?.success())
}
