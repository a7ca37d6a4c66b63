//! Copies of the operator's Lease, as somebody who makes backups has them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rerail_api::names;
use rerail_sim::{
    Store,
    observe::{Happening, Observer},
    store::{Commit, key_of},
};
use serde_json::Value;
use tokio::time::Instant;

/// When a version was written, and the version.
type Copied = (Duration, Arc<Value>);

/// All copies; clones are the same.
#[derive(Clone)]
pub(crate) struct Copies {
    kept: Arc<Mutex<Vec<Copied>>>,
    began: Instant,
}

impl Copies {
    pub fn new(began: Instant) -> Self {
        Copies { kept: Arc::default(), began }
    }

    /// The copy that was current then.
    pub fn of(&self, then: Duration) -> Option<Value> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.partition_point(|(at, _)| *at <= then);
        kept.get(at.saturating_sub(1)).map(|(_, lease)| (**lease).clone())
    }
}

impl Observer for Copies {
    fn committed(&mut self, store: &Store, commit: &Commit) {
        let lease = format!("{}/{}", names::SYSTEM_NAMESPACE, names::LEASE);
        let after = &commit.change.after;
        if store.resource(commit.resource).plural == "leases" && key_of(after) == lease {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push((self.began.elapsed(), after.clone()));
        }
    }

    fn happened(&mut self, _: &Store, _: &Happening) {}
}
