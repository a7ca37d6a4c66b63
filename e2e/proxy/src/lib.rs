//! A proxy between one client and a Kubernetes API server, with faults on demand.
//!
//! The client (the operator under test) talks plain HTTP/1.1 to a port on loopback; the proxy sends
//! every request on over TLS, with the client's own `Authorization` header, and streams the answer
//! back. What it does otherwise is said by rules: *which* requests, *how often*, and *which fault*.
//!
//! ```text
//! operator ──http──► proxy ──https──► kube-apiserver
//!                      ▲
//!     the test ── inject(Rule, Fault), cut_watches(…), refuse(), shift_date(…)
//! ```
//!
//! Every rule counts what it met, and every request is in a log, so that a test can tell that its
//! fault really happened: one that was never met proves nothing.
//!
//! Where things are: `proxy.rs` the handle and the port; `rule.rs` which requests; `fault.rs` what
//! happens to them; `answer.rs` one request from end to end; `stream.rs` bodies that can be cut;
//! `wire.rs` a connection that can end with a reset.

mod answer;
mod asked;
mod error;
mod fault;
mod proxy;
mod rule;
mod stream;
mod wire;

pub use asked::{Asked, Seen};
pub use error::Error;
pub use fault::{Cut, Fault, Reply};
pub use proxy::Proxy;
pub use rule::{Injected, Rule};
