//! What the world consists of: a Lease, two runs, two nodes, operators.

use std::{collections::BTreeSet, time::Duration};

use rerail_core::{
    facts::NodeFacts,
    lease::{Limits, Mine, Observed, Seen, Times},
    ledger::Document,
    run::Run,
};

use crate::{
    check::Broken,
    given::{node, pending},
};

/// How often each fault may happen, and how long it all lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Purse {
    /// Operators.
    pub operators: u8,
    /// Periods of five seconds that pass: a third of the lease duration, half of the renew deadline.
    pub ticks: u8,
    /// Acquisitions after the first one.
    pub takeovers: u8,
    /// A process dies and is there again, knowing nothing.
    pub crashes: u8,
    /// A reply is lost after the write was done.
    pub lost: u8,
    /// A call's sender gives up, and the call lands at any later time.
    pub late: u8,
    /// Somebody deletes the Lease.
    pub deletions: u8,
    /// Somebody puts the Lease back as it once was.
    pub restores: u8,
    /// A person cancels a run.
    pub cancels: u8,
}

impl Purse {
    /// What may go wrong, for people.
    pub fn told(&self) -> String {
        let entries = [
            (self.operators, "operators"),
            (self.ticks, "× 5 s"),
            (self.takeovers, "takeovers"),
            (self.crashes, "crashes"),
            (self.lost, "lost replies"),
            (self.late, "late calls"),
            (self.deletions, "Lease deleted"),
            (self.restores, "Lease restored"),
            (self.cancels, "cancels"),
        ];
        let there = entries.iter().filter(|(count, _)| *count > 0);
        there.map(|(count, name)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
    }
}

/// Rules that can be taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Every end writes the node (R4).
    pub r4: bool,
    /// Recovery gives a slot to every run that is under remediation (R5).
    pub r5: bool,
    /// Recovery adopts every open run (R5).
    pub adopts: bool,
    /// A term has an identity, and an epoch above any other of the same height (R6).
    pub r6: bool,
    /// The API server's own rule: no two leaders write with one epoch (part of R6).
    pub fenced: bool,
    /// A foreign nonce is a foreign Lease (R7).
    pub r7: bool,
    /// A leader begins nothing once its renewal is overdue.
    pub deadline: bool,
    /// A Lease that its holder may still count on is waited out.
    pub waited_out: bool,
    /// Who is to admit a run that a term writes which is not older steps down.
    pub notices: bool,
}

impl Rules {
    /// All of them.
    pub const ALL: Rules = Rules {
        r4: true,
        r5: true,
        adopts: true,
        r6: true,
        fenced: true,
        r7: true,
        deadline: true,
        waited_out: true,
        notices: true,
    };
}

/// The Lease as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lease {
    /// `metadata.resourceVersion`.
    pub version: u32,
    /// `spec.holderIdentity`.
    pub holder: String,
    /// The annotation.
    pub document: Document,
    /// The term that holds it has repaired the ledger. Nobody in the model can see this.
    pub repaired: bool,
}

/// A run as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StoredRun {
    /// Its status and spec.
    pub run: Run,
    /// `metadata.resourceVersion`.
    pub version: u32,
    /// `status.epoch` and `status.leader`.
    pub mark: Option<(i64, String)>,
}

/// A node as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StoredNode {
    /// What the operator reads of it.
    pub facts: NodeFacts,
    /// `metadata.resourceVersion`.
    pub version: u32,
}

/// A write that is decided on, with the version that it was decided on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Call {
    /// A run's status.
    Status {
        /// Which run.
        at: usize,
        /// What is written.
        next: Box<Run>,
        /// By whom.
        mark: (i64, String),
        /// On this version.
        version: u32,
        /// It admits the run.
        admits: bool,
    },
    /// Cordon and mark.
    Cordon {
        /// Which node.
        at: usize,
        /// On this version.
        version: u32,
    },
    /// The closing write.
    Close {
        /// Which node.
        at: usize,
        /// What is left on it.
        closed: Box<NodeFacts>,
        /// On this version.
        version: u32,
    },
    /// A write of the Lease whose sender gave up on it.
    Lease(Put),
}

/// A write of the Lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Put {
    /// The annotation.
    pub document: Document,
    /// On this version.
    pub version: u32,
    /// It repairs the ledger.
    pub repairs: bool,
    /// Periods since it was sent.
    pub age: u8,
    /// It was done, and the answer is on its way.
    pub done: bool,
}

/// What is to be done when a write of the Lease is acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Follow {
    /// Nothing.
    Nothing,
    /// The term goes on with this epoch.
    Raised(i64),
    /// The ledger is recovered.
    Repaired,
    /// The admission's status write.
    Admit(Call),
}

/// How far a term has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// It has the Lease.
    Acquired,
    /// Its epoch is above that of every run.
    Listed,
    /// Every open run is adopted.
    Adopted,
    /// The ledger is repaired: it admits and acts.
    Working,
}

/// One term of an operator.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Term {
    /// Unique per acquisition.
    pub identity: String,
    /// Its number.
    pub epoch: i64,
    /// What it knows to be in the Lease.
    pub document: Document,
    /// The version of that.
    pub version: u32,
    /// Periods since its last acknowledged write was sent.
    pub renewed: u8,
    /// Nonces of later writes whose answers were lost, and periods since they were sent.
    pub attempted: Vec<(String, u8)>,
    /// Number of the last write.
    pub writes: u64,
    /// A write of the Lease under way.
    pub put: Option<Put>,
    /// What the last write was for.
    pub follow: Follow,
    /// A write failed, or something was seen: the Lease has to be read.
    pub must_look: bool,
    /// How far it is.
    pub stage: Stage,
    /// A call that is decided on and not sent.
    pub in_hand: Option<Call>,
    /// Runs that could not be adopted.
    pub not_adopted: BTreeSet<String>,
    /// Runs whose admission may still be on its way.
    pub in_doubt: BTreeSet<String>,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Operator {
    /// How often it has tried to acquire the Lease.
    pub acquisitions: u8,
    /// Its term, if it leads.
    pub term: Option<Term>,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// The Lease.
    pub lease: Option<Lease>,
    /// Periods since it was written or deleted, which all who stand by have seen at once.
    pub lease_age: u8,
    /// As it once was.
    pub copy: Option<Lease>,
    /// The last version that was given.
    pub versions: u32,
    /// Somebody has deleted or restored the Lease: its times mean nothing since.
    pub tampered: bool,
    /// The runs.
    pub runs: Vec<StoredRun>,
    /// Their nodes.
    pub nodes: Vec<StoredNode>,
    /// The operators.
    pub operators: Vec<Operator>,
    /// Calls that land at any time.
    pub late: Vec<Call>,
    /// What may still go wrong.
    pub purse: Purse,
    /// A property that does not hold.
    pub broken: Option<Broken>,
}

/// One period.
const TICK: Duration = Duration::from_secs(5);

/// The clock since boot of every process: what was earlier is this less its age.
pub const NOW: Duration = Duration::from_secs(1000);

/// Ages beyond this differ in nothing.
pub const OLD: u8 = 3;

/// So many periods ago.
pub fn ago(age: u8) -> Duration {
    NOW.saturating_sub(TICK * u32::from(age))
}

impl Lease {
    /// What a process knows of it.
    pub fn seen(&self) -> Seen {
        Seen {
            holder: self.holder.clone(),
            duration: Some(Times::default().lease),
            nonce: self.document.nonce.clone(),
        }
    }
}

impl Term {
    /// What the core asks of a term's writes.
    pub fn mine(&self) -> Mine {
        Mine {
            identity: self.identity.clone(),
            acknowledged: self.document.nonce.clone(),
            attempted: self.attempted.iter().map(|(nonce, _)| nonce.clone()).collect(),
            renewed: ago(self.renewed),
        }
    }

    /// Its right to act, on the clock since boot.
    pub fn limits(&self) -> Limits {
        Times::default().limits(ago(self.renewed))
    }

    /// It may begin something now.
    pub fn may_begin(&self, rules: Rules) -> bool {
        NOW < self.limits().begin || !rules.deadline
    }

    /// Its mark on what it writes.
    pub fn mark(&self) -> (i64, String) {
        (self.epoch, self.identity.clone())
    }
}

impl State {
    /// Two runs wait, and nobody leads.
    pub fn new(purse: Purse) -> State {
        let nodes = ["n0", "n1"].map(|name| StoredNode { facts: node(name), version: 0 });
        let run = |at: usize, node: &StoredNode| StoredRun {
            run: pending(&format!("r{at}"), &node.facts),
            version: 0,
            mark: None,
        };
        State {
            lease: None,
            lease_age: OLD,
            copy: None,
            versions: 0,
            tampered: false,
            runs: nodes.iter().enumerate().map(|(at, node)| run(at, node)).collect(),
            nodes: nodes.into(),
            operators: vec![Operator { acquisitions: 0, term: None }; purse.operators.into()],
            late: Vec::new(),
            purse,
            broken: None,
        }
    }

    /// The Lease as those see it who stand by.
    pub fn observed(&self) -> Observed {
        Observed { seen: self.lease.as_ref().map(Lease::seen), since: ago(self.lease_age) }
    }

    /// This state, in which a property does not hold.
    pub fn breaks(mut self, property: &'static str, why: impl Into<String>) -> State {
        self.broken = Some(Broken::new(property, why));
        self
    }

    /// The term of an operator.
    pub fn term(&self, at: usize) -> Option<&Term> {
        self.operators.get(at)?.term.as_ref()
    }
}
