//! `cargo xtask models`: every state of small worlds in which the core decides, optimised.

use std::path::Path;

use crate::process;

/// Why nothing was explored.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// Cargo did not start.
    #[error("cargo could not be started: {0}")]
    Cargo(#[from] std::io::Error),
}

/// Hands the arguments to the program; true if every property held in every state.
pub fn run(root: &Path, arguments: &[String]) -> Result<bool, ModelsError> {
    let mut cargo = process::cargo();
    cargo.current_dir(root).args(["run", "--quiet", "--release", "--locked"]);
    cargo.args(["-p", "rerail-models", "--bin", "rerail-models", "--"]).args(arguments);
    Ok(cargo.status()?.success())
}
