//! Acts.

pub mod act;
pub mod check;
pub mod client;
pub mod context;
pub mod deps;
pub mod drive;
pub mod observe;
pub mod plan;
pub mod rbac;
pub mod record;
mod run;

pub use run::{StartError, run};
