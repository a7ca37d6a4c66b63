//! The last meltdown, from whose end every `for` counts. It is on record in the ledger, so that whoever
//! leads next knows of it; what this process has seen and not written yet is kept here.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use rerail_core::ledger::{Change, Meltdown};

use crate::{context::Context, lead::LeadError};

/// What this process knows of the last meltdown.
#[derive(Debug, Default)]
pub struct Watched(Mutex<Meltdown>);

impl Watched {
    /// What is known with what is on record, before a plan looks.
    pub fn with(&self, record: Meltdown) -> Meltdown {
        let mut known = self.lock();
        *known = known.and(record);
        *known
    }

    /// Takes in whether a plan has found one.
    pub fn observe(&self, melting: bool, now: Timestamp) {
        let mut known = self.lock();
        *known = known.seen(melting, now);
    }

    fn known(&self) -> Meltdown {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Meltdown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts on record what is known and is not there yet: the beginning too, since its end may come while
/// nobody leads.
pub(super) async fn record(context: &Context) -> Result<(), LeadError> {
    let known = context.meltdown.known();
    if context.term.lease.ledger().meltdown == known {
        return Ok(());
    }
    let change = Change { meltdown: Some(known), ..Change::default() };
    context.term.lease.change(change).await?;
    tracing::info!(since = ?known.since, ended = ?known.ended, "the last meltdown is on record");
    Ok(())
}
