//! Who leads: one pure decision over what was read of the Lease, and when *this* process saw it first,
//! by its own clock since boot. Nobody's wall clock is compared with anybody's (protocol R5–R7,
//! design note 001). Keeps SAFE-2: two operators never may act at the same time, as long as their
//! clocks run at the same rate.

use std::time::Duration;

use crate::mutant;

/// The three times of the election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// For how long nobody else takes a Lease that was seen renewed.
    pub lease: Duration,
    /// For how long after its last renewal a leader acts; shorter than `lease`.
    pub renew_deadline: Duration,
    /// Between two renewals; one that failed is repeated sooner.
    pub retry: Duration,
}

impl Default for Times {
    /// architecture.md: 15 s, 10 s, 5 s.
    fn default() -> Self {
        Times {
            lease: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(5),
        }
    }
}

/// Times that are no election.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "lease duration {} ms, renew deadline {} ms, retry period {} ms: each must be longer than the next, the renew \
     deadline more than 1.2 times the retry period, and none may be under 50 ms or over an hour",
    .0.lease.as_millis(), .0.renew_deadline.as_millis(), .0.retry.as_millis()
)]
pub struct BadTimes(Times);

impl Times {
    /// Checks what the command line gave, as kube-controller-manager does.
    pub fn new(
        lease: Duration,
        renew_deadline: Duration,
        retry: Duration,
    ) -> Result<Self, BadTimes> {
        let times = Times { lease, renew_deadline, retry };
        let bounds = Duration::from_millis(50)..=Duration::from_secs(3600);
        let good = bounds.contains(&lease)
            && bounds.contains(&retry)
            && lease > renew_deadline
            && renew_deadline > retry.saturating_mul(6) / 5;
        if good { Ok(times) } else { Err(BadTimes(times)) }
    }

    /// Until when a leader may begin something, and by when it must have ended, if its last renewal was
    /// sent at `sent`.
    pub fn limits(&self, sent: Duration) -> Limits {
        Limits {
            begin: sent.saturating_add(self.renew_deadline),
            end: sent.saturating_add(self.lease),
        }
    }
}

/// The right to act, on the clock since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Nothing is begun at or after this.
    pub begin: Duration,
    /// What was begun has ended by this, or is given up: from here on somebody else may lead.
    pub end: Duration,
}

/// A Lease as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Seen {
    /// Who holds it; empty = released.
    pub holder: String,
    /// For how long its holder says that it holds it.
    pub duration: Option<Duration>,
    /// The nonce of the last write; empty when there is none that can be read.
    pub nonce: String,
}

/// What a process knows of the Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The Lease; `None` = there is none.
    pub seen: Option<Seen>,
    /// When this process saw this version of it first.
    pub since: Duration,
}

/// What a leader knows of its own writes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mine {
    /// Its identity, unique per acquisition.
    pub identity: String,
    /// Nonce of its last acknowledged write.
    pub acknowledged: String,
    /// Nonces of writes after that, whose replies were lost.
    pub attempted: Vec<String>,
    /// When the last acknowledged write was *sent*.
    pub renewed: Duration,
}

/// Why a leader stops to be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Hash)]
pub enum Lost {
    /// No renewal was acknowledged in time.
    #[error("the Lease could not be renewed in time")]
    Deadline,
    /// Somebody else holds it.
    #[error("the Lease is held by {0}")]
    Holder(String),
    /// There is no Lease any more.
    #[error("the Lease is gone")]
    Gone,
    /// Somebody has written it who is not its holder (protocol R7).
    #[error("the Lease was restored or edited: its last write is not ours")]
    Foreign,
    /// A run bears the mark of a term that is not older.
    #[error("a run bears the mark of another term with epoch {0}")]
    Superseded(i64),
    /// It was given away on purpose.
    #[error("the Lease was released")]
    Released,
}

/// What to do about the Lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Take it, with a `PUT` on the version that was read, or a `POST` where there is none.
    Acquire,
    /// Write it again.
    Renew,
    /// Nothing before then, unless the Lease changes.
    Wait {
        /// On the clock since boot.
        until: Duration,
    },
    /// Stop to lead, at once.
    StepDown(Lost),
}

/// What a process that does not lead does. It leaves a Lease that it has given away alone until
/// `not_before`.
pub fn stand_by(
    now: Duration,
    times: &Times,
    observed: &Observed,
    not_before: Duration,
) -> Decision {
    let free_at = match &observed.seen {
        None => now,
        Some(seen) if seen.holder.is_empty() => now,
        // The longer of both: its holder may have been started with other times, and an edit of the
        // Lease must not shorten what its holder counts on.
        Some(seen) => {
            let sane = |given: &Duration| *given <= Duration::from_secs(3600);
            let its = seen.duration.filter(sane).unwrap_or_default();
            let wait =
                if mutant!("lease-not-waited-out") { times.retry } else { its.max(times.lease) };
            observed.since.saturating_add(wait)
        }
    }
    .max(not_before);
    if now >= free_at { Decision::Acquire } else { Decision::Wait { until: free_at } }
}

/// What a leader does. `observed` is the latest read that is not older than its last write, if there
/// was one.
pub fn lead(now: Duration, times: &Times, observed: Option<&Observed>, mine: &Mine) -> Decision {
    if now >= times.limits(mine.renewed).begin {
        return Decision::StepDown(Lost::Deadline);
    }
    match observed.map(|observed| &observed.seen) {
        None => {}
        Some(None) => return Decision::StepDown(Lost::Gone),
        Some(Some(seen)) => {
            if let Whose::Foreign(lost) = whose(seen, mine) {
                return Decision::StepDown(lost);
            }
        }
    }
    let due = mine.renewed.saturating_add(times.retry);
    if now >= due { Decision::Renew } else { Decision::Wait { until: due } }
}

/// Whose write a Lease shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// The last one that was acknowledged.
    Acknowledged,
    /// One whose reply was lost: it was done.
    Attempted,
    /// None of ours.
    Foreign(Lost),
}

/// Recognises a leader's own writes by their nonce, not by its name: a restored Lease bears that, too
/// (protocol R7).
pub fn whose(seen: &Seen, mine: &Mine) -> Whose {
    if seen.holder != mine.identity {
        Whose::Foreign(Lost::Holder(seen.holder.clone()))
    } else if seen.nonce == mine.acknowledged {
        Whose::Acknowledged
    } else if mine.attempted.contains(&seen.nonce) {
        Whose::Attempted
    } else {
        Whose::Foreign(Lost::Foreign)
    }
}

/// The nonce of a term's write: by it the term knows its own, and their order.
pub fn nonce(identity: &str, write: u64) -> String {
    format!("{identity}/{write}")
}

/// The number of the write, if the nonce is one of this term's.
pub fn write_of(identity: &str, nonce: &str) -> Option<u64> {
    nonce.strip_prefix(identity)?.strip_prefix('/')?.parse().ok()
}

/// The last look at the Lease before an effect: true when a fresh read shows it in this term's hands, and
/// not in an older state than was acknowledged, which its write number `acknowledged` tells (SAFE-2,
/// protocol R7).
pub fn confirms(seen: Option<&Seen>, identity: &str, acknowledged: u64) -> bool {
    seen.is_some_and(|seen| {
        seen.holder == identity
            && write_of(identity, &seen.nonce).is_some_and(|write| write >= acknowledged)
    })
}

/// True when a run that bears this mark, epoch and leader, is written by another term that is not older:
/// the API server refuses every write of ours, and a term that finds one is over (protocol R6).
pub fn supersedes((its_epoch, leader): (i64, &str), epoch: i64, identity: &str) -> bool {
    leader != identity && !leader.is_empty() && its_epoch >= epoch
}

/// What the leader does about its own Pod, which is the last on the node that it drains (hazard H31).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnPod {
    /// It is not on that node, or nothing is left to do for it.
    Elsewhere,
    /// Another operator is Ready on another node: give the Lease away; that one evicts our Pod as any
    /// other.
    StepDown,
    /// No other operator is Ready: the Pod is left, and comes back with the node.
    Leave,
}

/// Decides when a drain of the leader's own node has nothing left but the leader's own Pod. `peers`
/// are the nodes of the other operator Pods that are Ready.
pub fn own_pod<'a>(
    own_node: Option<&str>,
    drained: &str,
    mut peers: impl Iterator<Item = &'a str>,
) -> OwnPod {
    if own_node != Some(drained) {
        OwnPod::Elsewhere
    } else if peers.any(|node| node != drained) {
        OwnPod::StepDown
    } else {
        OwnPod::Leave
    }
}

#[cfg(test)]
mod tests;
