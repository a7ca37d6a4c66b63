//! `cargo xtask models`: every state of small worlds in which the core decides, optimised; with `--bugs`, whether
//! that finds bugs on purpose in the core.

use std::path::Path;

use crate::{mutants, process};

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
    cargo.current_dir(root);
    let (bugs, others): (Vec<_>, Vec<_>) = arguments.iter().partition(|one| *one == "--bugs");
    let program = if bugs.is_empty() { "rerail-models" } else { "models-mutants" };
    if !bugs.is_empty() {
        mutants::compile_in(&mut cargo, root);
    }
    cargo.args(["run", "--quiet", "--release", "--locked", "-p", "rerail-models"]);
    Ok(cargo.args(["--bin", program, "--"]).args(others).status()?.success())
}
