//! How the world hears of changes: an observer puts them into an inbox, and wakes the world's task.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Notify;

use super::api::Places;
use crate::{
    observe::{Happening, Observer, What},
    store::{Commit, Store},
};

/// Changes that the world has not yet looked at.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    commits: Mutex<Vec<Commit>>,
    restored: AtomicBool,
    wake: Notify,
}

impl Inbox {
    /// All that came since this was last asked, in order.
    pub(super) fn take(&self) -> Vec<Commit> {
        std::mem::take(&mut *self.commits.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether etcd was restored since this was last asked.
    pub(super) fn take_restored(&self) -> bool {
        self.restored.swap(false, Ordering::Relaxed)
    }

    /// Waits until something comes, or somebody calls [`Inbox::wake`].
    pub(super) async fn wait(&self) {
        self.wake.notified().await;
    }

    /// Wakes the world's task.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }
}

/// The observer.
pub(super) struct Ears {
    pub inbox: Arc<Inbox>,
    pub places: Places,
}

impl Observer for Ears {
    fn committed(&mut self, _: &Store, commit: &Commit) {
        let places = self.places;
        let heard = [
            places.nodes,
            places.pods,
            places.leases,
            places.budgets,
            places.deployments,
            places.replica_sets,
            places.daemon_sets,
            places.events,
            places.namespaces,
        ];
        let gone = commit.resource == places.runs && commit.change.gone;
        if heard.contains(&commit.resource) || gone {
            let mut commits = self.inbox.commits.lock().unwrap_or_else(PoisonError::into_inner);
            commits.push(commit.clone());
            drop(commits);
            self.inbox.wake();
        }
    }

    fn happened(&mut self, _: &Store, happening: &Happening) {
        if happening.what == What::Restored {
            self.inbox.restored.store(true, Ordering::Relaxed);
            self.inbox.wake();
        }
    }
}
