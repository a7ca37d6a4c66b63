//! The last meltdown, from whose end every `for` counts. It is on record in the ledger, so that whoever
//! leads next knows of it; what this process has seen and not written yet is kept here.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use rerail_core::ledger::{Change, Meltdown};

use crate::{context::Context, lead::LeadError};

/// What this process knows of the last meltdown.
#[derive(Debug, Default)]
pub struct Watched(Mutex<Meltdown>);

impl Watched {
    /// Takes in what is on record, and whether it is a meltdown now. Returns what is known then.
    pub fn observe(&self, record: Meltdown, melting: bool, now: Timestamp) -> Meltdown {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *known = known.and(record).seen(melting, now);
        *known
    }

    fn known(&self) -> Meltdown {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
