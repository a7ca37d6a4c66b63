use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong while a control plane is built, started or talked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Go toolchain is missing.
    #[error(
        "`go` did not start ({source}), and the control plane is built with it; install Go 1.26 or newer (https://go.dev/dl/)"
    )]
    NoGo {
        /// Why it did not start.
        source: io::Error,
    },
    /// `go build` said no.
    #[error(
        "`go build` of {what} failed; its output above says why, and `go.mod` in {module} says of what"
    )]
    Build {
        /// What was built.
        what: &'static str,
        /// The directory of the Go module.
        module: PathBuf,
    },
    /// A file or directory could not be used.
    #[error("could not {action} {path}: {source}")]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A helper program failed.
    #[error("`{command}` failed: {stderr}")]
    Command {
        /// The command line.
        command: String,
        /// What it wrote to its standard error.
        stderr: String,
    },
    /// The control plane ended.
    #[error("the control plane in {dir} is gone: {reason}; its logs are in that directory")]
    Gone {
        /// Its directory.
        dir: PathBuf,
        /// What its supervisor said last.
        reason: String,
    },
    /// The supervisor did not do what it was told.
    #[error("the control plane in {dir} refused `{order}`: {reason}")]
    Refused {
        /// Its directory.
        dir: PathBuf,
        /// What it was told.
        order: String,
        /// Why it refused.
        reason: String,
    },
    /// There is one of that name.
    #[error(
        "a control plane named `{name}` is running already; end it with `cargo xtask controlplane down {name}`"
    )]
    AlreadyUp {
        /// The name.
        name: String,
    },
    /// There is none of that name.
    #[error(
        "no control plane named `{name}` is running; `cargo xtask controlplane status` lists those that are"
    )]
    NotUp {
        /// The name.
        name: String,
    },
    /// A name that cannot be a directory's.
    #[error("`{name}` cannot be the name of a control plane; use letters, digits and `-`")]
    BadName {
        /// The name.
        name: String,
    },
}

impl Error {
    /// For `map_err`: names the file in an I/O error.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;
