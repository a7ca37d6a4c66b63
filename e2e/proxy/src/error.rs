//! What can go wrong with the proxy itself.

/// Why a proxy could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No port.
    #[error("the proxy could not listen on a port of 127.0.0.1: {0}; are there free ports?")]
    Listen(#[from] std::io::Error),
    /// No client for the server behind the proxy.
    #[error("the proxy cannot use the address or the trust of the API server: {0}")]
    Upstream(#[from] Box<kube::Error>),
}

/// The end of a connection in the middle of an answer, on purpose or because the server failed.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the connection is cut")]
pub(crate) struct Severed;
