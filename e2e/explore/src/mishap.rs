//! What befalls operators and their Lease at a certain time, and how it is drawn.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{draw::Draw, fault::Spoil};

/// Which direction of a connection is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Broken {
    /// Nothing gets through.
    Both,
    /// Requests do not; answers to earlier ones do.
    Requests,
    /// Requests do, and are carried out; answers do not.
    Replies,
}

/// What befalls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mishap {
    /// `kill -9`, and another process of the same operator after a while.
    Kill {
        /// Of this operator, from 1.
        operator: usize,
        /// So much later.
        back_after: Duration,
    },
    /// Its machine is gone, and nobody brings it back.
    Gone {
        /// This operator's.
        operator: usize,
    },
    /// `kill -STOP`, and `-CONT` later.
    Stop {
        /// This operator.
        operator: usize,
        /// How long.
        lasts: Duration,
        /// It is stopped before it decides whether it may send, or behind that.
        deciding: bool,
    },
    /// A broken connection.
    Partition {
        /// This operator's.
        operator: usize,
        /// How long.
        lasts: Duration,
        /// Which direction.
        broken: Broken,
    },
    /// All answers are late.
    Late {
        /// Those to this operator.
        operator: usize,
        /// How long it is so.
        lasts: Duration,
        /// By how much.
        delay: Duration,
    },
    /// Everything is answered with the same error.
    Outage {
        /// To this operator; to all of them without.
        operator: Option<usize>,
        /// How long.
        lasts: Duration,
        /// How.
        spoil: Spoil,
    },
    /// etcd is full: reads are answered, writes are not done.
    NoSpace {
        /// How long.
        lasts: Duration,
    },
    /// SIGTERM; the cluster starts it again.
    Terminate {
        /// The operator.
        operator: usize,
    },
    /// etcd is restored from a backup of so long ago. API servers and operators are started anew, as the
    /// manual of etcd asks.
    EtcdRestored {
        /// How old the backup is.
        age: Duration,
    },
    /// Somebody deletes the operator's Lease.
    LeaseDeleted,
    /// Somebody writes another holder into it.
    LeaseStolen,
    /// Somebody writes an old copy of it back: the one of so long ago.
    LeaseRestored {
        /// How old the copy is.
        age: Duration,
    },
}

/// A mishap and its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, from the beginning.
    pub at: Duration,
    /// What.
    pub mishap: Mishap,
}

impl fmt::Display for Mishap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mishap::Kill { operator, back_after } => {
                write!(f, "operator-{operator} is killed, and is back {} later", span(*back_after))
            }
            Mishap::Gone { operator } => write!(f, "operator-{operator} is gone for good"),
            Mishap::Stop { operator, lasts, deciding } => {
                let place = if *deciding { "before" } else { "behind" };
                write!(f, "operator-{operator} is stopped {place} its fence for {}", span(*lasts))
            }
            Mishap::Partition { operator, lasts, broken } => {
                let what = match broken {
                    Broken::Both => "nothing of",
                    Broken::Requests => "no request of",
                    Broken::Replies => "no answer to",
                };
                write!(f, "{what} operator-{operator} gets through for {}", span(*lasts))
            }
            Mishap::Late { operator, lasts, delay } => {
                let (delay, lasts) = (span(*delay), span(*lasts));
                write!(f, "answers to operator-{operator} come {delay} late for {lasts}")
            }
            Mishap::Outage { operator, lasts, spoil } => {
                let whom = operator.map_or("everybody".to_owned(), |one| format!("operator-{one}"));
                write!(f, "{} for {whom} for {}", spoil.name(), span(*lasts))
            }
            Mishap::NoSpace { lasts } => write!(f, "etcd is full for {}", span(*lasts)),
            Mishap::Terminate { operator } => write!(f, "operator-{operator} is asked to end"),
            Mishap::EtcdRestored { age } => {
                write!(f, "etcd is restored from a backup of {} ago", span(*age))
            }
            Mishap::LeaseDeleted => write!(f, "somebody deletes the Lease"),
            Mishap::LeaseStolen => write!(f, "somebody writes another holder into the Lease"),
            Mishap::LeaseRestored { age } => {
                write!(f, "somebody writes back the Lease of {} ago", span(*age))
            }
        }
    }
}

/// `90s`, `1.5s`.
pub fn span(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{}s", duration.as_secs()),
        _ => format!("{:.3}s", duration.as_secs_f64()),
    }
}

/// What befalls these operators until then, drawn from a seed.
pub fn drawn(seed: u64, operators: usize, until: Duration) -> Vec<Entry> {
    let mut draw = Draw::new(seed, "mishaps", 0);
    let count = draw.between(0, 9);
    let mut entries: Vec<Entry> = (1..=count)
        .map(|number| {
            let mut draw = Draw::new(seed, "mishap", number);
            let latest = u64::try_from(until.as_millis()).unwrap_or(u64::MAX).max(1);
            let at = Duration::from_millis(draw.between(1, latest));
            Entry { at, mishap: one(&mut draw, operators) }
        })
        .collect();
    entries.sort_by_key(|entry| entry.at);
    entries
}

/// The last of several operators, lost for good at a drawn time; `None` in 85 of 100 seeds, and where there is
/// but one.
pub fn gone(seed: u64, operators: usize, until: Duration) -> Option<Entry> {
    let mut draw = Draw::new(seed, "gone for good", 0);
    let latest = u64::try_from(until.as_millis()).unwrap_or(u64::MAX).max(1);
    let at = Duration::from_millis(draw.between(1, latest));
    // The first one stays: somebody has to lead, and to end what is there.
    (operators > 1 && draw.chance(150))
        .then_some(Entry { at, mishap: Mishap::Gone { operator: operators } })
}

/// A time of which short ones are as likely as long ones.
fn lasting(draw: &mut Draw, longest: u64) -> Duration {
    let scale = draw.one_of(&[100, 2_000, 12_000, 40_000, 120_000, longest]).copied();
    let longest = scale.unwrap_or(longest).min(longest);
    Duration::from_millis(draw.between(1, longest))
}

fn one(draw: &mut Draw, operators: usize) -> Mishap {
    const MINUTE: u64 = 60_000;
    let which = u64::try_from(operators).unwrap_or(1).max(1);
    let operator = usize::try_from(draw.between(1, which)).unwrap_or(1);
    match draw.below(23) {
        0..=4 => Mishap::Kill { operator, back_after: lasting(draw, 3 * MINUTE) },
        5..=7 => {
            let deciding = draw.chance(500);
            let lasts = lasting(draw, 10 * MINUTE);
            // What is left of a Lease when it goes on is most telling about when it runs out.
            let close = Duration::from_millis(draw.between(9_000, 17_000));
            let lasts = if draw.chance(400) { close } else { lasts };
            Mishap::Stop { operator, lasts, deciding }
        }
        8..=10 => {
            let directions = [Broken::Both, Broken::Requests, Broken::Replies];
            let broken = draw.one_of(&directions).copied().unwrap_or(Broken::Both);
            Mishap::Partition { operator, lasts: lasting(draw, 5 * MINUTE), broken }
        }
        11..=12 => {
            let delay = Duration::from_millis(draw.between(1_000, 60_000));
            Mishap::Late { operator, lasts: lasting(draw, 5 * MINUTE), delay }
        }
        13..=14 => {
            let errors = [
                Spoil::Throttled,
                Spoil::InternalError,
                Spoil::Unavailable,
                Spoil::GatewayTimeout,
                Spoil::Unauthorized,
                Spoil::Forbidden,
                Spoil::Refused,
            ];
            let spoil = draw.one_of(&errors).copied().unwrap_or(Spoil::Unavailable);
            let operator = draw.chance(500).then_some(operator);
            Mishap::Outage { operator, lasts: lasting(draw, 5 * MINUTE), spoil }
        }
        15 => Mishap::NoSpace { lasts: lasting(draw, 5 * MINUTE) },
        16 => Mishap::LeaseDeleted,
        17 => Mishap::LeaseStolen,
        18..=19 => Mishap::LeaseRestored { age: lasting(draw, 5 * MINUTE) },
        20 => Mishap::Terminate { operator },
        _ => Mishap::EtcdRestored { age: lasting(draw, 10 * MINUTE) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mishaps_are_drawn_in_their_order_and_in_time() {
        let hour = Duration::from_hours(1);
        for seed in 0..200 {
            let entries = drawn(seed, 2, hour);
            assert!(entries.is_sorted_by_key(|entry| entry.at));
            assert!(entries.iter().all(|entry| entry.at <= hour));
            assert_eq!(entries, drawn(seed, 2, hour));
        }
    }
}
