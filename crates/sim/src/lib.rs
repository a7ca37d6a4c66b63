//! Simulates: a Kubernetes API server over one in-memory world, for the unchanged operator behind
//! kube's own client.
//!
//! The core is a state machine: [`Store::handle`] answers one request at a given time, and nothing in
//! it waits, reads a clock or draws anything that is not a function of its seed. The shell, [`Server`],
//! is a `tower::Service` on tokio's clock. What it answers is what a real kube-apiserver 1.36 answers,
//! bodies of errors included; what it does not know it refuses loudly, with 501 and the request.
//!
//! | module | what |
//! |---|---|
//! | [`store`] | objects, versions, history |
//! | [`handle`] | from a request to what is to be done |
//! | [`path`] | from a URI to what it names |
//! | [`resource`] | what is served, and by which rules |
//! | `write`, `delete`, `eviction` | what changes the world |
//! | `list`, [`watch`] | what shows it |
//! | `apply`, `subresource`, `table` | server-side apply, scales and tokens, tables for kubectl |
//! | [`patch`], [`schema`], [`selector`], [`meta`], [`managed`], [`events`], `builtin` | the rules of single things |
//! | [`status`] | answers that are errors |
//! | `discovery`, `openapi` | versions, groups, resources |
//! | [`body`] | what is sent |
//! | `accept` | the form in which a client wants its answer |
//! | `absent`, `options` | what is not served, and what is refused at once |
//! | `server` | the service |
//! | [`backup`] | etcd restored from a backup |
//! | [`observe`] | who sees everything |
//! | [`property`] | the judge: the formal properties, watched over |
//! | [`world`] | machines, kubelets, controllers, people |

mod absent;
mod accept;
mod apply;
pub mod backup;
pub mod body;
mod builtin;
mod delete;
mod discovery;
pub mod events;
mod eviction;
pub mod handle;
mod list;
pub mod managed;
pub mod meta;
pub mod observe;
mod openapi;
mod options;
pub mod patch;
pub mod path;
pub mod property;
pub mod resource;
pub mod schema;
pub mod selector;
mod server;
pub mod status;
pub mod store;
mod subresource;
mod table;
pub mod watch;
pub mod world;
mod write;

pub use server::{Answered, Server};
pub use store::{Options, Store};
