//! Lease objects to what the core knows, and back.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use rerail_api::{
    convert::ledger::{self, LedgerError},
    names,
};
use rerail_core::{
    lease::{Seen, Times},
    ledger::Document,
};

use crate::deps::LeaseName;

/// What the core knows of a Lease. A ledger that cannot be read has no nonce: it is nobody's.
pub(super) fn seen(lease: &Lease) -> Seen {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Seen {
        holder: spec.holder_identity.unwrap_or_default(),
        duration: seconds.map(Duration::from_secs),
        nonce: document(lease).ok().flatten().map(|document| document.nonce).unwrap_or_default(),
    }
}

/// The annotation's text.
pub(super) fn text(lease: &Lease) -> Option<&str> {
    lease.metadata.annotations.as_ref()?.get(names::LEDGER).map(String::as_str)
}

/// The ledger in a Lease; `None` when there is none.
pub(super) fn document(lease: &Lease) -> Result<Option<Document>, LedgerError> {
    text(lease).map(ledger::parse).transpose()
}

/// The Lease to be written: `before` with this document, in the hands of `holder`. What others put on
/// it stays.
pub(super) fn written(
    before: Option<&Lease>,
    document: &Document,
    (name, holder): (&LeaseName, &str),
    times: &Times,
    now: Timestamp,
) -> Result<Lease, LedgerError> {
    // With UID and version of the one before: without the UID the API server makes a Lease that was
    // deleted anew (201), under an operator that knows nothing of its end.
    let mut lease = before.cloned().unwrap_or_else(|| Lease {
        metadata: ObjectMeta {
            name: Some(name.name.clone()),
            namespace: Some(name.namespace.clone()),
            ..ObjectMeta::default()
        },
        spec: None,
    });
    let annotations = lease.metadata.annotations.get_or_insert_default();
    annotations.insert(names::LEDGER.to_owned(), ledger::encode(document)?);
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    if spec.holder_identity.as_deref().unwrap_or_default() != holder && !holder.is_empty() {
        spec.acquire_time = Some(MicroTime(now));
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
    }
    spec.holder_identity = Some(holder.to_owned());
    // Whole seconds are all that a Lease can say; a longer time is the safe side.
    let seconds = times.lease.as_millis().div_ceil(1000);
    spec.lease_duration_seconds = Some(i32::try_from(seconds).unwrap_or(i32::MAX));
    // For people: no operator compares it with its clock.
    spec.renew_time = Some(MicroTime(now));
    Ok(lease)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_lease_keeps_what_others_put_on_it_and_counts_transitions() {
        let document = Document::taken_over(None, "a_1", "a_1/1".into());
        let (times, now) = (Times::default(), Timestamp::UNIX_EPOCH);
        let mut lease =
            written(None, &document, (&LeaseName::default(), "a_1"), &times, now).unwrap();
        lease.metadata.labels = Some([("team".to_owned(), "infra".to_owned())].into());
        lease.metadata.uid = Some("lease-1".to_owned());
        lease.metadata.resource_version = Some("7".to_owned());
        let again =
            written(Some(&lease), &document, (&LeaseName::default(), "a_1"), &times, now).unwrap();
        assert_eq!(again, lease, "a renewal by the same holder");
        let other =
            written(Some(&lease), &document, (&LeaseName::default(), "b_1"), &times, now).unwrap();
        assert_eq!(other.spec.unwrap().lease_transitions, Some(2));
        let released =
            written(Some(&lease), &document, (&LeaseName::default(), ""), &times, now).unwrap();
        assert_eq!(
            (released.metadata.labels.clone(), seen(&released).holder.as_str()),
            (lease.metadata.labels, "")
        );
        assert_eq!(document_of(&released), Some(document));
    }

    fn document_of(lease: &Lease) -> Option<Document> {
        super::document(lease).unwrap()
    }
}
