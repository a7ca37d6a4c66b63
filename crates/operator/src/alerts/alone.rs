//! `rerail alerts`: conditions from alerts without the rest of the operator, under a Lease of its own. It
//! reads nodes, writes their conditions, and touches nothing else; with a source that is given to it, it
//! needs no CRD and no more rights than Sciuro has (its `manifests/`: nodes, their status, and Leases,
//! which it may get and not watch).

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet};

use super::Origin;
use crate::{
    StartError,
    client::Clients,
    context::{Context, Shared},
    deps::Deps,
    lead::{Handle, Term, stand_by},
    run::{Duty, begin, until_stopped, watches},
};

/// Runs until `shutdown` resolves.
///
/// # Errors
/// If a watch breaks down, or etcd was restored from a backup meanwhile.
pub async fn run_alone(
    clients: Clients,
    deps: Arc<Deps>,
    origin: Origin,
    shutdown: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let (shared, publisher) = begin(clients, deps);
    until_stopped(&shared, publisher, &Alone { origin }, shutdown).await
}

struct Alone {
    origin: Origin,
}

impl Duty for Alone {
    fn watch(&self, shared: &Arc<Shared>, watches: &mut JoinSet<()>) {
        watches::nodes(shared, watches);
        if let Origin::Objects = self.origin {
            watches::alert_sources(shared, watches);
        }
        watches.spawn(look_at_the_lease(shared.clone()));
    }

    fn has_seen_enough(&self, shared: &Shared) -> bool {
        let sources = match self.origin {
            Origin::Objects => shared.alert_sources.synced(),
            Origin::Given(_) => true,
        };
        sources && shared.nodes.synced() && shared.seat.observed().is_some()
    }

    /// There are no runs to adopt, and no ledger to repair.
    async fn begin(&self, shared: Arc<Shared>, lease: Handle, epoch: i64) -> Arc<Context> {
        Arc::new(Context::new(shared, Arc::new(Term::new(epoch, lease))))
    }

    async fn work(&self, context: Arc<Context>, stopping: watch::Receiver<bool>) {
        super::run(context, self.origin.clone(), true, stopping).await;
    }
}

/// Reads the Lease now and then, in place of a watch. Whether it has expired is measured from when a
/// version was seen first, so that a look that comes late only makes us wait longer.
async fn look_at_the_lease(shared: Arc<Shared>) {
    let mut well = true;
    loop {
        match stand_by::look(&shared).await {
            Ok(_) => well = true,
            Err(error) if well => {
                tracing::warn!(%error, "the Lease was not read; trying again");
                well = false;
            }
            Err(_) => {}
        }
        let pause = if well { shared.deps.settings.election.retry } else { AFTER_A_FAILURE };
        tokio::time::sleep(pause).await;
    }
}

/// Pause after a look at the Lease that failed.
const AFTER_A_FAILURE: Duration = Duration::from_secs(2);
