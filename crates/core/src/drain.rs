//! Drain: which pods leave a node, what an answer of the Eviction API means, and when to ask again.
//!
//! - [`filter`]: one pod → evict, leave or refuse (the rules of `kubectl drain`, and ours).
//! - [`eviction`]: one answer of the Eviction API → a typed outcome.
//! - [`progress`]: all pods of a node and all answers so far → what to do now.
//!
//! All of it is pure: the caller reads pods, sends evictions and owns the clock.

pub mod eviction;
pub mod filter;
pub mod progress;

#[cfg(test)]
mod progress_props;
