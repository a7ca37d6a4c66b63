//! Stands by with warm caches until the Lease is free, and takes it.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use rerail_core::{
    lease::{self, Decision, nonce},
    ledger::Document,
};
use tokio::sync::watch;

use super::{Handle, keep::Keeper, leases, object};
use crate::{check, client::CallError, context::Shared};

/// Waits for the Lease and takes it; `None` when told to stop. A Lease that this process has given
/// away is left alone until `not_before`, on the clock since boot.
pub(crate) async fn acquire(
    shared: &Arc<Shared>,
    mut stopping: watch::Receiver<bool>,
    not_before: Duration,
) -> Option<(Keeper, Handle)> {
    let times = shared.deps.settings.election;
    let mut frozen = None;
    while !*stopping.borrow() {
        if frozen.is_some() {
            // Its way out may not come by the watch, after a restore of etcd.
            let _ = look(shared).await;
        }
        let now = shared.deps.boot_clock.since_boot();
        let decision = shared
            .seat
            .observed()
            .map(|(_, observed)| lease::stand_by(now, &times, &observed, not_before));
        let pause = match decision {
            Some(Decision::Acquire) => match take(shared).await {
                Ok(Some(taken)) => {
                    shared.deps.metrics.set_frozen(None);
                    return Some(taken);
                }
                // What was seen of them meanwhile rings the bell.
                Ok(None) => Some(times.retry / 5),
                Err(NotTaken::Frozen(error)) => {
                    if frozen.as_ref() != Some(&error) {
                        tracing::error!(%error, "frozen");
                        shared.deps.metrics.set_frozen(Some(error.clone()));
                        frozen = Some(error);
                    }
                    Some(times.lease)
                }
                Err(NotTaken::Call(error)) => {
                    tracing::warn!(%error, "the Lease was not taken; trying again");
                    Some(times.retry / 5)
                }
            },
            Some(Decision::Wait { until }) => {
                // Somebody has written it since; whether it can be read shows when it is free.
                if frozen.take().is_some() {
                    shared.deps.metrics.set_frozen(None);
                }
                Some(until.saturating_sub(now))
            }
            Some(Decision::Renew | Decision::StepDown(_)) | None => None,
        };
        let timer = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = stopping.changed() => {}
            () = shared.seat.changed.notified() => {}
            () = timer => {}
        }
    }
    None
}

/// Why the Lease was not taken.
enum NotTaken {
    /// Its ledger cannot be read.
    Frozen(String),
    /// The API server did not take the write.
    Call(CallError),
}

impl From<CallError> for NotTaken {
    fn from(error: CallError) -> Self {
        NotTaken::Call(error)
    }
}

/// One try. `None`: somebody else was faster, or the API server too slow.
async fn take(shared: &Arc<Shared>) -> Result<Option<(Keeper, Handle)>, NotTaken> {
    let (deps, times) = (&shared.deps, shared.deps.settings.election);
    let Some((before, _)) = shared.seat.observed() else { return Ok(None) };
    let document = before.as_ref().map_or(Ok(None), object::document);
    let document = document.map_err(|error| NotTaken::Frozen(error.to_string()))?;
    let identity = format!("{}_{}", deps.identity, shared.seat.next_acquisition());
    let document = Document::taken_over(document, &identity, nonce(&identity, 1));
    let wanted = object::written(
        before.as_ref(),
        &document,
        (&deps.settings.lease, &identity),
        &times,
        deps.clock.now(),
    );
    let wanted = wanted.map_err(|error| NotTaken::Frozen(error.to_string()))?;
    let lease = &deps.settings.lease;
    let (api, post) = (leases(&shared.clients.act, lease), PostParams::default());
    let (sent, known) = (deps.boot_clock.since_boot(), shared.seat.newest());
    let answer = async {
        match &before {
            Some(_) => api.replace(&lease.name, &post, &wanted).await,
            None => api.create(&post, &wanted).await,
        }
    };
    let what = || "take the Lease".to_owned();
    let answer = crate::client::call_within(times.renew_deadline / 2, what, answer).await;
    let lease = match answer {
        Ok(lease) => {
            shared.rewind.compare("Lease", known, &lease);
            lease
        }
        Err(error) => match read_back(shared, &document.nonce).await? {
            Some(lease) => lease,
            None if error.is_conflict() => return Ok(None),
            None => return Err(error.into()),
        },
    };
    shared.seat.put(lease.clone(), deps.boot_clock.since_boot());
    let (keeper, handle) = Keeper::begin(shared.clone(), lease, document, sent);
    if keeper.is_too_late() {
        let took = deps.boot_clock.since_boot().saturating_sub(sent);
        tracing::warn!(?took, "the Lease was taken too slowly to be used; it expires");
        return Ok(None);
    }
    Ok(Some((keeper, handle)))
}

/// After a write that may or may not have been done: the nonce tells (protocol R7). The Lease, if it is
/// ours.
async fn read_back(shared: &Shared, nonce: &str) -> Result<Option<Lease>, CallError> {
    Ok(look(shared).await?.filter(|lease| object::seen(lease).nonce == nonce))
}

/// Reads the Lease, and takes in what it shows.
pub(crate) async fn look(shared: &Shared) -> Result<Option<Lease>, CallError> {
    let known = shared.seat.newest();
    let lease = &shared.deps.settings.lease;
    let api = leases(&shared.clients.read, lease);
    let found = check::find(&api, "Lease", &lease.name).await?;
    let now = shared.deps.boot_clock.since_boot();
    match &found {
        Some(lease) => {
            shared.rewind.compare("Lease", known, lease);
            shared.seat.put(lease.clone(), now);
        }
        None => shared.seat.gone(now),
    }
    Ok(found)
}
