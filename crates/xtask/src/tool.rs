//! Tools from the package registry, built once by `cargo install` at a pinned version.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{self, ProcessError};

/// A program that cargo can install.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// Name of the package and of its program.
    pub name: &'static str,
    /// The pinned version.
    pub version: &'static str,
    /// With these arguments it says which version it is, as `name version`.
    pub asked: &'static [&'static str],
}

/// Makes a build short. The tools' own settings optimise the whole program at once, which takes many
/// minutes; they run about a second either way.
const FAST_BUILD: &[(&str, &str)] = &[
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
];

impl Tool {
    /// The pinned version, built from the package registry if it is not there yet.
    ///
    /// It goes where `cargo install` puts programs, so that other checkouts find it, too; where a
    /// person keeps another version there, that one stays and ours goes to `target/tools`.
    pub fn installed(self, root: &Path) -> Result<PathBuf, ProcessError> {
        let Tool { name, version, asked } = self;
        let tools = root.join("target/tools");
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
        let shared = home.map(|home| home.join("bin").join(name));
        let private = tools.join("bin").join(name);
        let mut other_version = false;
        let places = [Some(PathBuf::from(name)), shared.clone(), Some(private.clone())];
        for place in places.into_iter().flatten() {
            match process::output(Command::new(&place).args(asked)) {
                Ok(said) if said.trim() == format!("{name} {version}") => return Ok(place),
                Ok(_) => other_version = true,
                Err(_) => {}
            }
        }
        match shared {
            Some(shared) if !other_version => self.install(None).map(|()| shared),
            _ => self.install(Some(&tools)).map(|()| private),
        }
    }

    fn install(self, into: Option<&Path>) -> Result<(), ProcessError> {
        let Tool { name, version, .. } = self;
        anstream::println!("  … building {name} {version}, once; this takes a few minutes");
        let mut command = process::cargo();
        command.args(["install", name, "--version", version, "--locked"]);
        if let Some(into) = into {
            command.arg("--root").arg(into);
        }
        command.env_remove("CARGO_TARGET_DIR").envs(FAST_BUILD.iter().copied());
        let finished = process::watch(&format!("building {name}"), &mut command)?;
        if finished.success {
            return Ok(());
        }
        let program = format!("cargo install {name}");
        Err(ProcessError::Failed { program, output: finished.output })
    }
}
