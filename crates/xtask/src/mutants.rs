//! `cargo xtask mutants`: are bugs on purpose found? The crates of the workspace are compiled anew with
//! them, beside the ordinary ones; dependencies are shared.

use std::path::Path;
use std::process::Command;

use clap::Args;

use crate::process;

/// Which bugs, and how long they are looked for.
#[derive(Debug, Args)]
pub struct MutantsArguments {
    /// Passed on: names of bugs, `--seeds N`, `--from SEED`, `--scene NAME`, `--threads N`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Why they could not be looked for.
#[derive(Debug, thiserror::Error)]
pub enum MutantsError {
    /// Cargo did not start.
    #[error("cargo could not be started: {0}")]
    Cargo(#[from] std::io::Error),
}

/// Runs the hunt; false when one was not caught.
pub fn run(root: &Path, arguments: &MutantsArguments) -> Result<bool, MutantsError> {
    let mut cargo: Command = process::cargo();
    compile_in(cargo.current_dir(root), root);
    cargo.args(["run", "--release", "--locked", "--package", "rerail-explore"]);
    Ok(cargo.args(["--bin", "mutants", "--"]).args(&arguments.rest).status()?.success())
}

/// Has this cargo compile the bugs in.
pub fn compile_in(cargo: &mut Command, root: &Path) {
    cargo.env("RUSTC_WORKSPACE_WRAPPER", root.join("crates/xtask/mutants.sh"));
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        fs,
        path::{Path, PathBuf},
    };

    use rerail_core::mutants::MUTANTS;

    fn sources(folder: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(sources(&path));
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
        found
    }

    /// One that is listed and nowhere compiled in would be looked for in vain, and the other way round
    /// nobody would look.
    #[test]
    fn every_mutant_is_listed_and_compiled_in() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let texts = ["core", "api", "operator"]
            .iter()
            .flat_map(|name| sources(&root.join(name).join("src")))
            .map(|path| fs::read_to_string(path).unwrap());
        let mut used = BTreeSet::new();
        for text in texts {
            for piece in text.split("mutant!(\"").skip(1) {
                used.insert(piece.split('"').next().unwrap_or_default().to_owned());
            }
        }
        let listed: BTreeSet<_> = MUTANTS.iter().map(|mutant| mutant.name.to_owned()).collect();
        assert_eq!(used, listed);
        assert_eq!(listed.len(), MUTANTS.len(), "each once");
        assert!(listed.len() >= 30);
    }
}
