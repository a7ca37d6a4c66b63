//! Keeps the Lease while this process leads: the one place from where it is written. Every `PUT` is
//! built from the last version that is known to be ours, so that two writers never both succeed; a
//! reply that was lost is looked up, and recognised by its nonce (protocol R7).

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{ResourceExt, api::PostParams};
use rerail_core::{
    lease::{self, Decision, Lost, Mine, Times, Whose, nonce, write_of},
    ledger::{Change, Document},
    mutant,
};
use tokio::sync::{mpsc, oneshot};

use super::{Acknowledged, Handle, LeadError, Order, leases, object};
use crate::{
    check,
    client::{CallError, call_within},
    context::Shared,
    observe::watch::is_newer,
};

/// How many orders may wait; who orders more waits for the task.
const ORDERS: usize = 1024;

/// Who is told of one write.
type Replies = Vec<oneshot::Sender<Result<(), LeadError>>>;

/// What one `PUT` says.
struct Write {
    document: Document,
    holder: String,
}

/// Holds the Lease.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    /// The last version that is known to be ours.
    lease: Lease,
    document: Document,
    mine: Mine,
    /// When the writes whose replies were lost were sent.
    sent: Vec<(String, Duration)>,
    writes: u64,
    /// When a write that failed may be repeated.
    again_at: Duration,
    acknowledged: Arc<Acknowledged>,
    orders: mpsc::Receiver<Order>,
    /// The right to act is gone for good.
    over: bool,
}

impl Keeper {
    /// Begins a term: the acquiring write was sent at `sent`, and `lease` is its answer.
    pub(super) fn begin(
        shared: Arc<Shared>,
        lease: Lease,
        document: Document,
        sent: Duration,
    ) -> (Self, Handle) {
        let (sender, orders) = mpsc::channel(ORDERS);
        let acknowledged = Arc::new(Acknowledged::default());
        acknowledged.set(document.ledger(), 1);
        let handle = Handle {
            clients: shared.clients.clone(),
            lease: shared.deps.settings.lease.clone(),
            identity: document.term.as_str().into(),
            shared: acknowledged.clone(),
            orders: sender,
            confirmations: Arc::default(),
        };
        let mine = Mine {
            identity: document.term.clone(),
            acknowledged: document.nonce.clone(),
            attempted: Vec::new(),
            renewed: sent,
        };
        let keeper = Keeper {
            shared,
            lease,
            document,
            mine,
            sent: Vec::new(),
            writes: 1,
            again_at: Duration::ZERO,
            acknowledged,
            orders,
            over: false,
        };
        keeper.grant();
        (keeper, handle)
    }

    /// Whether the right to act has gone before it could be used: the answer to the acquiring write came
    /// that late.
    pub(super) fn is_too_late(&self) -> bool {
        let decision = lease::lead(self.now(), &self.times(), None, &self.mine);
        matches!(decision, Decision::StepDown(_)) && !mutant!("late-term")
    }

    /// The epoch that the acquiring write bore.
    pub(crate) fn epoch(&self) -> i64 {
        self.document.epoch
    }

    /// Keeps the Lease until it is lost or released. The right to act has gone when this returns.
    pub(crate) async fn keep(mut self) -> Lost {
        let lost = self.until_lost().await;
        self.over = true;
        self.shared.clients.fence.set(None);
        match &lost {
            // Ours still: nobody has to wait until it expires.
            Lost::Released | Lost::Superseded(_) => self.give_away().await,
            Lost::Deadline | Lost::Holder(_) | Lost::Gone | Lost::Foreign => {}
        }
        lost
    }

    async fn until_lost(&mut self) -> Lost {
        loop {
            let now = self.now();
            let pause = match lease::lead(now, &self.times(), None, &self.mine) {
                Decision::StepDown(lost) => return lost,
                Decision::Renew if now >= self.again_at => {
                    if let Err(lost) = self.change(Change::default(), Vec::new()).await {
                        return lost;
                    }
                    continue;
                }
                Decision::Renew => self.again_at.min(self.limit()).saturating_sub(now),
                Decision::Wait { until } => until.saturating_sub(now),
                Decision::Acquire => Duration::ZERO,
            };
            let shared = self.shared.clone();
            let order = tokio::select! {
                biased;
                // Nobody is left who could give an order: nobody works.
                order = self.orders.recv() => match order {
                    None => return Lost::Released,
                    order => order,
                },
                () = shared.seat.changed.notified() => self.is_news().then_some(Order::Look),
                () = tokio::time::sleep(pause) => continue,
            };
            let Some(order) = order else { continue };
            if let Err(lost) = self.obey(order).await {
                return lost;
            }
        }
    }

    async fn obey(&mut self, order: Order) -> Result<(), Lost> {
        match order {
            Order::Change(change, reply) => {
                let (change, replies, then) = self.gather(change, reply);
                self.change(change, replies).await?;
                match then {
                    Some(order) => Box::pin(self.obey(order)).await,
                    None => Ok(()),
                }
            }
            Order::Admit(change, claimed, reply) => {
                let overtaken = claimed != self.acknowledged.claimed.load(Ordering::Acquire);
                if overtaken && !mutant!("claim-not-kept") {
                    let _ = reply.send(Err(LeadError::Overtaken));
                    return Ok(());
                }
                self.change(self.acknowledged.without_claimed(change), vec![reply]).await
            }
            Order::Raise(epoch, reply) => {
                self.write(|before| Document { epoch, ..before.clone() }, vec![reply]).await
            }
            Order::Look => self.look().await,
            Order::Superseded(epoch) => Err(Lost::Superseded(epoch)),
            Order::Release => Err(Lost::Released),
        }
    }

    /// Every change that waits, as one; and the order behind them that is none.
    fn gather(
        &mut self,
        mut change: Change,
        reply: oneshot::Sender<Result<(), LeadError>>,
    ) -> (Change, Replies, Option<Order>) {
        let mut replies = vec![reply];
        change = self.acknowledged.without_claimed(change);
        loop {
            match self.orders.try_recv() {
                Ok(Order::Change(more, reply)) => {
                    change = change.and(self.acknowledged.without_claimed(more));
                    replies.push(reply);
                }
                Ok(other) => return (change, replies, Some(other)),
                Err(_) => return (change, replies, None),
            }
        }
    }

    /// Writes a change of the ledger; an empty one is a renewal.
    async fn change(&mut self, change: Change, replies: Replies) -> Result<(), Lost> {
        let now = self.shared.deps.clock.now();
        self.write(|before| before.with(before.ledger().after(&change, now)), replies).await
    }

    /// One write, and once more if only somebody's label or annotation was in the way, or an earlier write
    /// of our own whose reply was lost. Each time it is made from what is known to be there: what that
    /// write said must not be taken back (seed 133 of the explorer).
    async fn write(
        &mut self,
        made_from: impl Fn(&Document) -> Document,
        replies: Replies,
    ) -> Result<(), Lost> {
        let holder = self.mine.identity.clone();
        let mut result = Ok(());
        for _ in 0..2 {
            let version = self.lease.resource_version();
            let write = Write { document: made_from(&self.document), holder: holder.clone() };
            result = self.put(write).await?;
            let moved = self.lease.resource_version() != version;
            if result.is_ok() || !moved {
                break;
            }
        }
        if let Err(error) = &result {
            tracing::warn!(%error, "the Lease was not written; trying again");
            self.shared.deps.metrics.renewal_failed();
            self.again_at = self.now().saturating_add(self.times().retry / 5);
        }
        let text = result.err();
        for reply in replies {
            // Nobody listens any more: its task was ended.
            let _ = reply.send(match &text {
                None => Ok(()),
                Some(error) => Err(LeadError::NotWritten(error.clone())),
            });
        }
        Ok(())
    }

    /// One `PUT`. `Ok(Err(_))`: it was not done as far as anybody can see, and the Lease is still ours.
    async fn put(&mut self, mut write: Write) -> Result<Result<(), String>, Lost> {
        self.writes = self.writes.saturating_add(1);
        let nonce = nonce(&self.mine.identity, self.writes);
        write.document.nonce.clone_from(&nonce);
        let (times, now) = (self.times(), self.shared.deps.clock.now());
        let before = Some(&self.lease);
        let holder = (&self.shared.deps.settings.lease, write.holder.as_str());
        let wanted = match object::written(before, &write.document, holder, &times, now) {
            Ok(wanted) => wanted,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let (sent, known) = (self.now(), self.shared.seat.newest());
        let limit = self.half_of_what_is_left();
        self.mine.attempted.push(nonce.clone());
        self.sent.push((nonce.clone(), sent));
        let lease = &self.shared.deps.settings.lease;
        let api = leases(&self.shared.clients.act, lease);
        let post = PostParams::default();
        let request = api.replace(&lease.name, &post, &wanted);
        match call_within(limit, || "write the Lease".into(), request).await {
            Ok(lease) => {
                self.shared.rewind.compare("Lease", known, &lease);
                self.acknowledge(lease, write.document, sent);
                Ok(Ok(()))
            }
            Err(error) => {
                self.look().await?;
                let done = self.mine.acknowledged == nonce;
                Ok(if done { Ok(()) } else { Err(error.to_string()) })
            }
        }
    }

    /// Reads the Lease, and judges whose it is. A read that fails changes nothing: the deadline runs.
    async fn look(&mut self) -> Result<(), Lost> {
        let known = self.shared.seat.newest();
        let lease = match self.read().await {
            Ok(Some(lease)) => {
                self.shared.rewind.compare("Lease", known, &lease);
                lease
            }
            Ok(None) => {
                self.shared.seat.gone(self.now());
                return Err(Lost::Gone);
            }
            Err(error) => {
                tracing::warn!(%error, "the Lease was not read; trying again");
                return Ok(());
            }
        };
        let seen = object::seen(&lease);
        match lease::whose(&seen, &self.mine) {
            Whose::Acknowledged => {
                // The ledger as we wrote it, or somebody edited it and left the nonce.
                if object::text(&lease) != object::text(&self.lease) {
                    self.shared.seat.put(lease, self.now());
                    return Err(Lost::Foreign);
                }
                self.lease = lease;
                Ok(())
            }
            Whose::Attempted => match object::document(&lease) {
                Ok(Some(document)) => {
                    let sent = self.sent.iter().find(|(nonce, _)| *nonce == seen.nonce);
                    let sent = sent.map_or(self.mine.renewed, |(_, sent)| *sent);
                    self.acknowledge(lease, document, sent);
                    Ok(())
                }
                Ok(None) | Err(_) => Err(Lost::Foreign),
            },
            Whose::Foreign(lost) => {
                self.shared.seat.put(lease, self.now());
                Err(lost)
            }
        }
    }

    async fn read(&self) -> Result<Option<Lease>, CallError> {
        let limit = self.half_of_what_is_left();
        let lease = &self.shared.deps.settings.lease;
        let api = leases(&self.shared.clients.read, lease);
        match tokio::time::timeout(limit, check::find(&api, "Lease", &lease.name)).await {
            Ok(found) => found,
            Err(_) => Err(CallError::Deadline { what: "get the Lease".into(), limit }),
        }
    }

    fn acknowledge(&mut self, lease: Lease, document: Document, sent: Duration) {
        self.shared.seat.put(lease.clone(), self.now());
        self.mine.acknowledged.clone_from(&document.nonce);
        self.mine.renewed = self.mine.renewed.max(sent);
        // Those before it can land no more: each was to replace a version that is gone.
        self.mine.attempted.clear();
        self.sent.clear();
        self.again_at = Duration::ZERO;
        let write = write_of(&self.mine.identity, &document.nonce).unwrap_or(self.writes);
        self.acknowledged.set(document.ledger(), write);
        self.lease = lease;
        self.document = document;
        self.grant();
    }

    /// The right to act until the renewal deadline, and the watchdog that ends it if nothing else does
    /// (SAFE-2). Nothing of it when that has passed already: the watchdog would end a process that has
    /// nothing to step down from.
    fn grant(&self) {
        if self.over {
            return;
        }
        let limits = self.times().limits(self.mine.renewed);
        if self.now() >= limits.begin && !mutant!("late-term") {
            return;
        }
        self.shared.clients.fence.set(Some(limits));
        let between = limits.end.saturating_sub(limits.begin) / 2;
        self.shared.deps.watchdog.feed(Some(limits.begin.saturating_add(between)));
    }

    /// The last `PUT`: no holder, and the ledger as it is.
    async fn give_away(&mut self) {
        let write = Write { document: self.document.clone(), holder: String::new() };
        let version = self.lease.resource_version();
        match self.put(write).await {
            Ok(Ok(())) => tracing::info!("the Lease is released"),
            Ok(Err(error)) => {
                tracing::warn!(%error, version, "the Lease was not released; it expires");
            }
            // Read back with no holder: the reply was lost. Or somebody else has it.
            Err(_) => {}
        }
    }

    /// True when the watch shows a version that is newer than our last write, or none.
    fn is_news(&self) -> bool {
        let ours = self.lease.resource_version();
        match self.shared.seat.observed() {
            None => false,
            Some((None, _)) => true,
            Some((Some(lease), _)) => {
                let seen = lease.resource_version();
                seen != ours && is_newer(seen.as_deref(), ours.as_deref())
            }
        }
    }

    /// How long one call may take: there has to be time for another.
    fn half_of_what_is_left(&self) -> Duration {
        self.limit().saturating_sub(self.now()) / 2
    }

    fn limit(&self) -> Duration {
        self.times().limits(self.mine.renewed).begin
    }

    fn times(&self) -> Times {
        self.shared.deps.settings.election
    }

    fn now(&self) -> Duration {
        self.shared.deps.boot_clock.since_boot()
    }
}

#[cfg(test)]
mod tests;
