//! The judge: the formal properties of the operator, watched over in the simulated world.
//!
//! Everything is judged by what really happened: commits, with what was there before and who made them,
//! and the machines themselves; never by what the operator believes. It shares no function with the
//! decisions in `rerail-core`: limits, gates, the graph of steps and what makes a machine healthy are
//! written down here a second time. What an operator could not know yet (a cordon of a moment ago) is
//! not held against it: a thing is wrong only if it was wrong during the whole of its last look.
//!
//! | module | judges |
//! |---|---|
//! | [`registry`] | which properties there are |
//! | `court` | what is known, and how it is learned |
//! | `past` | values with their recent past |
//! | `node`, `pods`, `run`, `policy`, `process`, `lease` | what is known of each; SAFE-4 of slots |
//! | `effect` | SAFE-2, SAFE-3, SAFE-9 of each effect |
//! | `alert` | SAFE-24 |
//! | `mark` | SAFE-6 |
//! | `step` | SAFE-15 to SAFE-18, SAFE-20, SAFE-22 |
//! | `boot` | SAFE-1, SAFE-14 |
//! | `budget`, `gate` | SAFE-4, SAFE-5, SAFE-23, LIVE-6 at admissions |
//! | `drain`, `earned` | SAFE-21, SAFE-19 |
//! | `rest` | LIVE |

mod alert;
mod boot;
mod budget;
mod court;
mod drain;
mod earned;
mod effect;
mod gate;
mod lease;
mod mark;
mod node;
mod past;
mod pods;
mod policy;
mod process;
pub mod registry;
mod rest;
mod run;
mod step;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};

pub use registry::{PROPERTIES, Property, SOMETIMES, SOMETIMES_PENDING, Sometimes, State};

use crate::{
    observe::{Happening, Observer, Read},
    store::{Commit, Store},
};
use court::Court;

/// A property that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which ([`PROPERTIES`]).
    pub property: &'static str,
    /// When, by the world's clock.
    pub at: Timestamp,
    /// The run, node, Pod or operator that it is about.
    pub subject: String,
    /// What was seen.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}: {}", self.at, self.property, self.subject, self.message)
    }
}

/// What is not held against an operator.
#[derive(Debug, Clone, Copy)]
pub struct Leniency {
    /// How old what it has read afresh may be when it decides: longer where answers are held up.
    pub lag: SignedDuration,
    /// How old what it knows by its watches may be: longer where they are held up.
    pub watch: SignedDuration,
    /// How long after a renewal it may send something, by the world's clock: the renewal deadline of
    /// the election, and what its clock may differ.
    pub renew_deadline: SignedDuration,
    /// How long a Lease lasts.
    pub lease: SignedDuration,
    /// Reads reach the judge ([`Observer::read`]); without them SAFE-9 is not judged.
    pub reads_are_told: bool,
}

impl Default for Leniency {
    fn default() -> Self {
        Leniency {
            lag: SignedDuration::from_secs(10),
            watch: SignedDuration::from_secs(10),
            renew_deadline: SignedDuration::from_millis(10_500),
            lease: SignedDuration::from_secs(15),
            reads_are_told: true,
        }
    }
}

/// Judges; clones are the same one, so that one copy observes and another one is asked. It should
/// observe from the beginning: who an operator is, it learns from
/// [`OperatorStarted`](crate::observe::What::OperatorStarted), whose subject is the name under which
/// that operator acts.
#[derive(Debug, Clone)]
pub struct Judge(Arc<Mutex<Court>>);

impl Default for Judge {
    fn default() -> Self {
        Judge::new(Leniency::default())
    }
}

impl Judge {
    /// One that has seen nothing yet.
    pub fn new(leniency: Leniency) -> Self {
        Judge(Arc::new(Mutex::new(Court::new(leniency))))
    }

    fn court(&self) -> MutexGuard<'_, Court> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What did not hold so far, in order. The same about the same subject is told once.
    pub fn violations(&self) -> Vec<Violation> {
        self.court().violations.clone()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.court().violations.len()
    }

    /// How often each of [`SOMETIMES`] was seen; what was not is not there.
    pub fn sometimes(&self) -> BTreeMap<&'static str, u64> {
        self.court().sometimes.clone()
    }

    /// Somebody else saw one of [`SOMETIMES`]: a lost reply is known to who lost it.
    pub fn saw(&self, what: &'static str) {
        self.court().saw(what);
    }

    /// The world is at rest: faults have ended, and there was time enough. `curable` names the nodes
    /// whose machines can be cured. Asked a second time, nothing may have been written since.
    pub fn at_rest(&self, store: &Store, curable: &BTreeSet<String>, at: Timestamp) {
        self.court().at_rest(store, curable, at);
    }

    /// How many attempts to reboot were begun on a node.
    pub fn attempts(&self, node: &str) -> usize {
        self.court().attempts(node)
    }

    /// `rerail release-all` has ended well.
    pub fn released_all(&self, store: &Store, at: Timestamp) {
        self.court().released_all(store, at);
    }
}

impl Observer for Judge {
    fn committed(&mut self, store: &Store, commit: &Commit) {
        self.court().committed(store, commit);
    }

    fn happened(&mut self, store: &Store, happening: &Happening) {
        self.court().happened(store, happening);
    }

    fn read(&mut self, read: &Read) {
        self.court().read(read);
    }
}

#[cfg(test)]
mod tests;
