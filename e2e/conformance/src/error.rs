//! Why something about the suite could not be done.

/// Why something could not be done. A difference between two servers is none of these.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file does not say what it must.
    #[error("{place}: {what}")]
    Script {
        /// The file, case and step.
        place: String,
        /// What is wrong there.
        what: String,
    },
    /// A request got no answer at all.
    #[error("{request}: no answer: {what}")]
    NoAnswer {
        /// Method and path.
        request: String,
        /// What happened instead.
        what: String,
    },
    /// The control plane did not do what it must.
    #[error(transparent)]
    Plane(#[from] rerail_controlplane::Error),
    /// The client could not be made.
    #[error("cannot make a client: {0}")]
    Client(String),
}

impl Error {
    /// Names the file in an error of the file system.
    pub(crate) fn file(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.display().to_string();
        move |source| Self::File { path, source }
    }

    /// An error in a script.
    pub(crate) fn script(place: &str, what: impl Into<String>) -> Self {
        Self::Script { place: place.to_owned(), what: what.into() }
    }
}
