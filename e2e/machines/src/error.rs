use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong while machines are made, started or told something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Machines cannot be had on this host.
    #[error("no machine can run here: {0}")]
    NotHere(String),
    /// A program failed.
    #[error("`{command}` failed: {said}")]
    Program {
        /// The command line.
        command: String,
        /// What it wrote, or why it did not start.
        said: String,
    },
    /// A file or directory could not be used.
    #[error("could not {action} {}: {source}", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A machine did not do what it was told.
    #[error("machine {machine} was told `{order}`: {why}; its console is in {}", console.display())]
    Machine {
        /// Its name.
        machine: String,
        /// What it was told.
        order: String,
        /// What went wrong.
        why: String,
        /// What its kernel wrote.
        console: PathBuf,
    },
    /// The control plane that the machines belong to.
    #[error(transparent)]
    ControlPlane(#[from] rerail_controlplane::Error),
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
