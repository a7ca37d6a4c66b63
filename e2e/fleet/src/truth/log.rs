//! The truth log: in memory, as lines of a file, and as a stream.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;
use tracing::warn;

use super::TruthEvent;
use crate::Error;

/// Events that a slow subscriber may lag behind before it loses some.
const SUBSCRIBER_LAG: usize = 4096;

struct Inner {
    events: Vec<TruthEvent>,
    file: Option<File>,
}

/// Collects events in the order in which they happened.
pub(crate) struct TruthLog {
    inner: Mutex<Inner>,
    subscribers: broadcast::Sender<TruthEvent>,
}

impl TruthLog {
    /// A log in memory, and in a file if a path is given; lines are appended.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Error> {
        let open = |path: &Path| {
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .map_err(|source| Error::TruthLog { path: path.to_owned(), source })
        };
        let file = path.map(open).transpose()?;
        Ok(Self {
            inner: Mutex::new(Inner { events: Vec::new(), file }),
            subscribers: broadcast::channel(SUBSCRIBER_LAG).0,
        })
    }

    /// Records an event. The time is taken under the lock, so that the order of the lines is the
    /// order of the times; each line is handed to the system at once, so that a fleet that is
    /// killed leaves a complete log.
    pub(crate) fn record(&self, mut event: TruthEvent) {
        let mut inner = self.lock();
        event.t = crate::clock::now();
        if let Some(file) = &mut inner.file {
            let line = serde_json::to_string(&event).unwrap_or_else(|error| error.to_string());
            if let Err(error) = writeln!(file, "{line}") {
                warn!("cannot write the truth log: {error}");
            }
        }
        // Nobody listening is no error.
        let _ = self.subscribers.send(event.clone());
        inner.events.push(event);
    }

    /// Everything so far.
    pub(crate) fn events(&self) -> Vec<TruthEvent> {
        self.lock().events.clone()
    }

    /// Everything from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<TruthEvent> {
        self.subscribers.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
