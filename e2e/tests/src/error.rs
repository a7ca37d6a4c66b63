//! What can go wrong around a scenario.

/// Why a scenario could not be set up or did not get where it had to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The control plane.
    #[error(transparent)]
    ControlPlane(#[from] rerail_controlplane::Error),
    /// The fake machines.
    #[error(transparent)]
    Fleet(#[from] rerail_fleet::Error),
    /// The API server.
    #[error("{0}")]
    Kube(#[from] Box<kube::Error>),
    /// The fault proxy.
    #[error(transparent)]
    Proxy(#[from] rerail_proxy::Error),
    /// A kubeconfig.
    #[error("cannot use a kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// The operator's binary.
    #[error(
        "the binary `rerail` could not be built or started: {0}; run `cargo build --workspace` and read its errors"
    )]
    Binary(String),
    /// An operator that can be told to die.
    #[error("the operator that dies: {0}")]
    Mortal(String),
    /// Programs that come from packages.
    #[error("{0}")]
    Packages(String),
    /// A file of the checkout.
    #[error("cannot read {0}: {1}")]
    File(String, std::io::Error),
    /// YAML of a scenario.
    #[error("not the YAML of an object: {0}")]
    Yaml(String),
    /// Waited in vain.
    #[error("waited {seconds} s in vain for: {what}; last seen: {seen}")]
    Waited {
        /// For what.
        what: String,
        /// How long.
        seconds: u64,
        /// What was there instead.
        seen: String,
    },
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Error::Kube(Box::new(error))
    }
}
