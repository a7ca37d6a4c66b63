//! cargo, called from a program that cargo runs.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::Error;

/// `cargo` as the caller runs it, without what cargo tells the programs that it runs: some build
/// scripts (ring's) watch these variables, and everything above them would be compiled anew each
/// time a build from inside follows one from outside.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_about_the_caller(name)) {
        command.env_remove(name);
    }
    command
}

fn is_about_the_caller(name: &OsString) -> bool {
    let name = name.to_string_lossy();
    let prefixes =
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
    prefixes.iter().any(|prefix| name.starts_with(prefix)) || name == "OUT_DIR"
}

/// A program of this checkout, such as `rerail`; built once per process.
pub fn program(name: &str) -> Result<PathBuf, Error> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder = BUILT.get_or_init(build).clone().map_err(Error::Binary)?;
    Ok(folder.join(name))
}

/// The same of one package, optimised: minutes, the first time. What cargo says of it is shown.
pub fn optimised(package: &str, name: &str) -> Result<PathBuf, Error> {
    let build = ["build", "--quiet", "--release", "--locked", "-p", package];
    let built = cargo().args(build).current_dir(root()).status();
    match built {
        Ok(status) if status.success() => Ok(target().join("release").join(name)),
        Ok(_) => Err(Error::Binary("cargo build --release failed".to_owned())),
        Err(error) => Err(Error::Binary(error.to_string())),
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Builds all programs and returns their folder. With the whole workspace the same features are
/// chosen as for the tests, so that nothing is compiled twice.
fn build() -> Result<PathBuf, String> {
    let built = cargo()
        .args(["build", "--quiet", "--workspace", "--bins"])
        .current_dir(root())
        .output()
        .map_err(|error| error.to_string())?;
    if !built.status.success() {
        return Err(String::from_utf8_lossy(&built.stderr).into_owned());
    }
    target().join("debug").canonicalize().map_err(|error| error.to_string())
}
