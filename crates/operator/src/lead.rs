//! LEAD: who may act. One task keeps the operator's Lease: renewals and writes of the ledger go through
//! it, each a `PUT` on the version that was read last (protocol R5–R7; SAFE-2, SAFE-4). All deciding is
//! `rerail_core::lease` and `rerail_core::ledger`.
//!
//! | module | does |
//! |---|---|
//! | [`seat`] | the Lease as this process has seen it, and since when |
//! | `object` | Lease objects to what the core knows, and back |
//! | [`stand_by`] | waits for the Lease, and takes it |
//! | [`keep`] | renews it, writes the ledger, notices when it is lost |
//! | [`recover`] | adopts what is open, and repairs the ledger, at the beginning of every term |
//! | [`own_pod`] | the leader's own node |

pub mod keep;
mod object;
pub mod own_pod;
pub mod recover;
pub mod seat;
pub mod stand_by;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use rerail_core::{
    lease,
    ledger::{Change, Ledger, Slot},
    mutant,
    run::Run,
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    check,
    client::{CallError, Clients, Together},
    deps::LeaseName,
};

/// The Leases of the namespace in which ours is.
fn leases(client: &Client, lease: &LeaseName) -> Api<Lease> {
    Api::namespaced(client.clone(), &lease.namespace)
}

/// Why the ledger was not written, or the right to act not confirmed.
#[derive(Debug, thiserror::Error)]
pub enum LeadError {
    /// The API server did not take it.
    #[error("the ledger was not written: {0}")]
    NotWritten(String),
    /// It was decided on without a slot that is taken.
    #[error("a run took its slot again meanwhile; who is next is decided anew")]
    Overtaken,
    /// The term is over.
    #[error("this operator does not lead any more; nothing is done")]
    Over,
    /// The Lease could not be read.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// What the task that keeps the Lease is asked for.
#[derive(Debug)]
enum Order {
    /// One write of the ledger.
    Change(Change, oneshot::Sender<Result<(), LeadError>>),
    /// Admissions, decided when so many claims had been made.
    Admit(Change, u64, oneshot::Sender<Result<(), LeadError>>),
    /// A higher epoch, before anything is adopted (protocol R5, point 3).
    Raise(i64, oneshot::Sender<Result<(), LeadError>>),
    /// A look at the Lease: somebody saw it in other hands.
    Look,
    /// A run bears the mark of a term that is not older.
    Superseded(i64),
    /// Give the Lease away.
    Release,
}

/// A term's hold on the Lease, for everybody who acts in it.
#[derive(Clone)]
pub struct Handle {
    clients: Clients,
    lease: LeaseName,
    identity: Arc<str>,
    shared: Arc<Acknowledged>,
    orders: mpsc::Sender<Order>,
    confirmations: Arc<Together<(), bool>>,
}

/// What the API server has acknowledged.
#[derive(Default)]
struct Acknowledged {
    ledger: Mutex<Ledger>,
    /// Number of the last write, from its nonce.
    write: AtomicU64,
    /// Slots that drivers claimed, by UID of the run.
    claims: Mutex<BTreeMap<String, Claim>>,
    /// How many claims have been made.
    claimed: AtomicU64,
}

/// A slot that a run going on by itself was given. Until the planner has seen the run itself move, no
/// release takes the slot away, and none is admitted who was decided on without it: both may be under
/// way, decided on an older look (SAFE-4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Name of the run.
    pub run: String,
    /// The slot.
    pub slot: Slot,
    /// When it was claimed.
    pub since: Timestamp,
}

impl Acknowledged {
    fn set(&self, ledger: Ledger, write: u64) {
        *self.ledger.lock().unwrap_or_else(PoisonError::into_inner) = ledger;
        self.write.store(write, Ordering::Release);
    }

    fn ledger(&self) -> Ledger {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn claims(&self) -> MutexGuard<'_, BTreeMap<String, Claim>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A change as it is carried out: what was claimed stays.
    fn without_claimed(&self, mut change: Change) -> Change {
        let claims = self.claims();
        change.release.retain(|uid| !claims.contains_key(uid) || mutant!("claim-not-kept"));
        change
    }
}

impl Handle {
    /// The acknowledged ledger.
    pub fn ledger(&self) -> Ledger {
        self.shared.ledger()
    }

    /// True when the run has the right to act: its UID is in the acknowledged ledger.
    pub fn holds(&self, run_uid: &str) -> bool {
        let ledger = self.shared.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.holds(run_uid)
    }

    /// Writes the ledger; returns when that was acknowledged. Many at once become one write.
    pub async fn change(&self, change: Change) -> Result<(), LeadError> {
        if change.is_empty() {
            return Ok(());
        }
        self.ask(|reply| Order::Change(change, reply)).await
    }

    /// Gets a run that goes on by itself its slot back: it is out already, so that no limit is asked. The
    /// claim stands before the slot does, whatever becomes of the write.
    pub async fn claim(&self, run: &Run, now: Timestamp) -> Result<(), LeadError> {
        let slot = Slot::of(run);
        let claim = Claim { run: run.name.clone(), slot: slot.clone(), since: now };
        self.shared.claims().insert(run.uid.clone(), claim);
        self.shared.claimed.fetch_add(1, Ordering::AcqRel);
        self.change(Change { add: vec![slot], ..Change::default() }).await
    }

    /// How many claims have been made in this term, for [`admit`](Self::admit).
    pub fn claimed(&self) -> u64 {
        self.shared.claimed.load(Ordering::Acquire)
    }

    /// Writes admissions, unless a slot was claimed since `claimed` was asked for: whoever decided did not
    /// count it.
    pub async fn admit(&self, change: Change, claimed: u64) -> Result<(), LeadError> {
        if change.add.is_empty() {
            return self.change(change).await;
        }
        self.ask(|reply| Order::Admit(change, claimed, reply)).await
    }

    /// True while the slot of this run is kept by a claim.
    pub fn has_claim(&self, run_uid: &str) -> bool {
        self.shared.claims().contains_key(run_uid)
    }

    /// Every claim, by UID of the run.
    pub fn claims(&self) -> BTreeMap<String, Claim> {
        self.shared.claims().clone()
    }

    /// From here on the run itself says what it holds, unless it has claimed its slot anew.
    pub fn forget_claim(&self, run_uid: &str, claim: &Claim) {
        let mut claims = self.shared.claims();
        if claims.get(run_uid) == Some(claim) {
            claims.remove(run_uid);
        }
    }

    /// Raises the epoch of this term.
    pub(crate) async fn raise(&self, epoch: i64) -> Result<(), LeadError> {
        self.ask(|reply| Order::Raise(epoch, reply)).await
    }

    /// Gives the Lease away; the term ends.
    pub async fn release(&self) {
        // Full or closed: the term ends in any case.
        let _ = self.orders.send(Order::Release).await;
    }

    /// Tells that a run bears the mark of a term with this epoch, which is not older.
    pub fn superseded_by(&self, epoch: i64) {
        let _ = self.orders.try_send(Order::Superseded(epoch));
    }

    /// The last look at the Lease: a fresh read shows it in this term's hands, and not in an older
    /// state than was acknowledged (SAFE-2, protocol R7).
    pub async fn confirm(&self) -> Result<(), LeadError> {
        let (read, name) = (leases(&self.clients.read, &self.lease), self.lease.name.clone());
        let identity = self.identity.clone();
        let shared = self.shared.clone();
        let is_ours = async move {
            let acknowledged = shared.write.load(Ordering::Acquire);
            let found = check::find(&read, "Lease", &name).await?;
            let seen = found.as_ref().map(object::seen);
            Ok(lease::confirms(seen.as_ref(), &identity, acknowledged))
        };
        if self.confirmations.read((), is_ours).await? {
            return Ok(());
        }
        let _ = self.orders.try_send(Order::Look);
        Err(LeadError::Over)
    }

    async fn ask(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<(), LeadError>>) -> Order,
    ) -> Result<(), LeadError> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(order(reply)).await.map_err(|_| LeadError::Over)?;
        answer.await.map_err(|_| LeadError::Over)?
    }
}

/// One term of this process.
pub struct Term {
    /// Its number: higher than that of any run at its start.
    pub epoch: i64,
    /// Its identity, unique per acquisition (protocol R6).
    pub identity: String,
    /// Its hold on the Lease.
    pub lease: Handle,
    /// UIDs of runs whose admission may still be on its way to the API server: their slots stay.
    in_doubt: Mutex<BTreeSet<String>>,
}

impl Term {
    pub(crate) fn new(epoch: i64, lease: Handle) -> Self {
        let identity = lease.identity.to_string();
        Term { epoch, identity, lease, in_doubt: Mutex::default() }
    }

    /// Takes note that the admission of this run is being written.
    pub fn doubt(&self, run_uid: &str) {
        self.lock().insert(run_uid.to_owned());
    }

    /// Takes note that a later write of this run was acknowledged.
    pub fn settle(&self, run_uid: &str) {
        self.lock().remove(run_uid);
    }

    /// Every run whose admission is in doubt.
    pub fn in_doubt(&self) -> BTreeSet<String> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.in_doubt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seed 140 of the explorer: the release was decided on a look at the run before it claimed its slot
    /// again, and another node was started in its place (SAFE-4).
    #[test]
    fn what_was_claimed_is_not_released_until_the_claim_is_forgotten() {
        let slot = |uid: &str| Slot {
            run_uid: uid.into(),
            node_name: "node".into(),
            node_uid: "uid".into(),
        };
        let known = Acknowledged::default();
        let slot_of = slot("claimed");
        let claim = Claim { run: "run".into(), slot: slot_of, since: Timestamp::UNIX_EPOCH };
        known.claims().insert("claimed".into(), claim);
        let uids = ["claimed".to_owned(), "ended".to_owned()];
        let release = Change { release: uids.clone().into(), ..Change::default() };
        let carried_out = known.without_claimed(release.clone());
        assert_eq!(carried_out.release, [uids[1].clone()].into());
        // Nor when both come in one write, in either order.
        let add = Change { add: vec![slot("claimed")], ..Change::default() };
        for change in [add.clone().and(carried_out.clone()), carried_out.and(add)] {
            let after = Ledger::default().after(&change, Timestamp::UNIX_EPOCH);
            assert!(after.holds("claimed"));
        }
        known.claims().clear();
        assert_eq!(known.without_claimed(release.clone()), release);
    }
}
