//! How servers are reached. Only the command line knows sockets and TLS; everybody else has this trait.

use std::fmt;

use bytes::Bytes;
use futures::future::BoxFuture;
use jiff::Timestamp;

/// The longest answer that is read, in bytes. An alert takes about 1 KiB, and
/// [`crate::shown::ALERTS_LIMIT`] of them are looked at.
pub const BODY_LIMIT: usize = 16 << 20;

/// What a server is shown, and what it has to show. Debug output holds no secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Value of the header `Authorization`.
    pub authorization: Option<String>,
    /// The authorities that are trusted, in PEM; `None`: the public ones.
    pub ca: Option<Bytes>,
    /// Certificate chain and key that the server is shown, in PEM.
    pub client_certificate: Option<(Bytes, Bytes)>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("authorization", &self.authorization.is_some())
            .field("ca", &self.ca.is_some())
            .field("client_certificate", &self.client_certificate.is_some())
            .finish()
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// HTTP status.
    pub status: u16,
    /// When the server sent it, by its own clock.
    pub date: Option<Timestamp>,
    /// The body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The server could not be reached, or broke off.
    #[error("{0}")]
    Unreachable(String),
    /// Certificates or keys are not usable.
    #[error("{0}")]
    Access(String),
    /// The answer is longer than [`BODY_LIMIT`].
    #[error("the answer has more than {} MiB; is this the right address?", BODY_LIMIT >> 20)]
    TooLong,
}

/// Reaches nobody: for a process that has no business with other servers.
pub struct NoFetch;

impl Fetch for NoFetch {
    fn get<'a>(&'a self, _: &'a str, _: &'a Access) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        let error = FetchError::Unreachable("this process reaches no other servers".to_owned());
        Box::pin(std::future::ready(Err(error)))
    }
}

/// Reaches servers. Follows no redirects: they would carry credentials elsewhere.
pub trait Fetch: Send + Sync {
    /// `GET` of an address.
    fn get<'a>(
        &'a self,
        url: &'a str,
        access: &'a Access,
    ) -> BoxFuture<'a, Result<Fetched, FetchError>>;
}
