//! The operator's Lease, as a person with the right to change it sees it: who leads, and what the
//! ledger says.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, ResourceExt, api::DeleteParams};
use rerail_api::names;
use serde_json::{Value, json};

use crate::{Cluster, Error, Operator, wait_for};

/// Name of the Lease, in [`names::SYSTEM_NAMESPACE`].
pub const LEASE: &str = "rerail-operator";

/// Its annotation with the ledger of held slots.
pub const LEDGER: &str = "rerail.dev/ledger";

impl Cluster {
    /// The Leases of the operator's namespace.
    pub fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), names::SYSTEM_NAMESPACE)
    }

    /// The operator's Lease, if there is one.
    pub async fn lease(&self) -> Result<Option<Lease>, Error> {
        Ok(self.leases().get_opt(LEASE).await?)
    }

    /// The term that holds the Lease; `None` when nobody does.
    pub async fn term(&self) -> Result<Option<String>, Error> {
        let holder = self.lease().await?.and_then(|lease| lease.spec?.holder_identity);
        Ok(holder.filter(|holder| !holder.is_empty()))
    }

    /// What the ledger says; null when there is none, or nobody could read it.
    pub async fn ledger(&self) -> Result<Value, Error> {
        let lease = self.lease().await?;
        let text = lease.as_ref().and_then(|lease| lease.annotations().get(LEDGER));
        Ok(text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null))
    }

    /// Which of these operators holds the Lease.
    pub async fn leader<'a>(&self, among: &'a [Operator]) -> Result<Option<&'a Operator>, Error> {
        let term = self.term().await?.unwrap_or_default();
        let mut holders: Vec<_> = among.iter().filter(|operator| operator.bore(&term)).collect();
        // Of `operator` and `operator-2` the one that the name fits best.
        holders.sort_by_key(|operator| operator.name().len());
        Ok(holders.pop())
    }

    /// Waits until one of these operators holds the Lease.
    pub async fn led_by<'a>(
        &self,
        among: &'a [Operator],
        patience: Duration,
    ) -> Result<&'a Operator, Error> {
        let names: Vec<_> = among.iter().map(Operator::name).collect();
        wait_for(&format!("{} to lead", names.join(" or ")), patience, || async {
            let leader = self.leader(among).await.map_err(|error| error.to_string())?;
            match leader {
                Some(leader) => Ok(leader),
                None => Err(format!("{:?} leads", self.term().await)),
            }
        })
        .await
    }

    /// Puts an old copy of the Lease in the place of what is there now, or where nothing is.
    pub async fn restore_lease(&self, copy: &Lease) -> Result<(), Error> {
        let mut copy = copy.clone();
        copy.metadata.uid = None;
        copy.metadata.managed_fields = None;
        copy.metadata.creation_timestamp = None;
        loop {
            let now = self.lease().await?;
            copy.metadata.resource_version = now.as_ref().and_then(ResourceExt::resource_version);
            let written = match now {
                Some(_) => self.leases().replace(LEASE, &Default::default(), &copy).await,
                None => self.leases().create(&Default::default(), &copy).await,
            };
            match written {
                // Its holder has renewed it meanwhile.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                other => return Ok(other.map(drop)?),
            }
        }
    }

    /// Takes the Lease away.
    pub async fn delete_lease(&self) -> Result<(), Error> {
        self.leases().delete(LEASE, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Takes the Lease from its holder, as if it had run out; its ledger stays. Nothing happens where
    /// there is none yet.
    pub async fn expire_lease(&self) -> Result<(), Error> {
        match self.edit_lease(json!({ "spec": { "holderIdentity": "" } })).await {
            Err(Error::Kube(error)) if is_not_found(&error) => Ok(()),
            other => other,
        }
    }

    /// Changes the Lease: a JSON merge patch.
    pub async fn edit_lease(&self, patch: Value) -> Result<(), Error> {
        let patch = kube::api::Patch::Merge(patch);
        self.leases().patch(LEASE, &Default::default(), &patch).await?;
        Ok(())
    }

    /// Writes another text in the place of the ledger.
    pub async fn garble_ledger(&self, text: &str) -> Result<(), Error> {
        self.edit_lease(json!({ "metadata": { "annotations": { LEDGER: text } } })).await
    }
}

fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
