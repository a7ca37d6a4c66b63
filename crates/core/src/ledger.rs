//! The ledger of held slots: who has the right to act (planner.md, The ledger). It lives in the
//! operator's Lease, so that admitting is one compare-and-swap whoever leads (SAFE-4). What may leave
//! it, and what an operator that takes over makes of it, is decided here (protocol R3, R5).

mod meltdown;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{facts::NodeFacts, mutant, reason::Reason, run::Run, step::Step, sweep::Stray};

pub use meltdown::Meltdown;

/// The version of the document that this operator writes, and the only one that it reads.
pub const VERSION: u32 = 1;

/// The longest document that is written, in bytes; an annotation may have 256 KiB together with all
/// others. 1,500 slots need about 150 KB.
pub const SIZE_LIMIT: usize = 200_000;

/// How long a start is remembered: longer than any window of `maxStarts`.
const STARTS_KEPT_FOR: SignedDuration = SignedDuration::from_hours(24);

/// How many starts are remembered, so that they leave room for the slots.
const STARTS_KEPT: usize = 500;

/// One held slot. It names the node, so that the rule for releasing it can be applied when the run is
/// gone (protocol R3).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Hash)]
#[serde(rename_all = "camelCase")]
pub struct Slot {
    /// UID of the run.
    #[serde(rename = "runUID")]
    pub run_uid: String,
    /// The node.
    pub node_name: String,
    /// UID of the node.
    #[serde(rename = "nodeUID")]
    pub node_uid: String,
}

impl Slot {
    /// The slot of a run.
    pub fn of(run: &Run) -> Self {
        Slot {
            run_uid: run.uid.clone(),
            node_name: run.node_name.clone(),
            node_uid: run.node_uid.clone(),
        }
    }
}

/// One start, for the pace of a policy (`maxStarts`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Hash)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    /// When.
    pub time: Timestamp,
    /// The policy that started.
    pub policy: String,
}

/// What is held, what has started lately, and the last meltdown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Ledger {
    /// The held slots.
    pub slots: Vec<Slot>,
    /// Recent starts, oldest first.
    pub starts: Vec<Start>,
    /// The last meltdown.
    pub meltdown: Meltdown,
}

impl Ledger {
    /// True when the run of this UID holds a slot: without one it has no right to act.
    pub fn holds(&self, run_uid: &str) -> bool {
        self.slots.iter().any(|slot| slot.run_uid == run_uid)
    }

    /// This ledger after one write: releases and admissions together. Starts that are too old, or too
    /// many, are forgotten.
    pub fn after(&self, change: &Change, now: Timestamp) -> Ledger {
        let mut slots = match &change.replace {
            Some(slots) => slots.clone(),
            None => self.slots.clone(),
        };
        slots.retain(|slot| !change.release.contains(&slot.run_uid));
        let mut held: BTreeSet<String> = slots.iter().map(|slot| slot.run_uid.clone()).collect();
        let new = change.add.iter().filter(|slot| held.insert(slot.run_uid.clone()));
        slots.extend(new.cloned());
        let young = |start: &&Start| now.duration_since(start.time) < STARTS_KEPT_FOR;
        let known = self.starts.iter().chain(&change.starts);
        let mut starts: Vec<Start> = known.filter(young).cloned().collect();
        starts.sort();
        let surplus = starts.len().saturating_sub(STARTS_KEPT);
        starts.drain(..surplus);
        Ledger { slots, starts, meltdown: change.meltdown.unwrap_or(self.meltdown) }
    }
}

/// What one write of the ledger changes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Change {
    /// In place of all slots: what a recovery writes.
    pub replace: Option<Vec<Slot>>,
    /// UIDs of the runs whose slots go.
    pub release: BTreeSet<String>,
    /// Slots that come.
    pub add: Vec<Slot>,
    /// Starts that come.
    pub starts: Vec<Start>,
    /// In place of what was known of the last meltdown.
    pub meltdown: Option<Meltdown>,
}

impl Change {
    /// True when there is nothing to write.
    pub fn is_empty(&self) -> bool {
        *self == Change::default()
    }

    /// This change and a later one in one write.
    pub fn and(mut self, later: Change) -> Change {
        let meltdown = later.meltdown.or(self.meltdown);
        if later.replace.is_some() {
            return Change { meltdown, ..later };
        }
        self.add.retain(|slot| !later.release.contains(&slot.run_uid));
        for slot in &later.add {
            self.release.remove(&slot.run_uid);
        }
        self.release.extend(later.release);
        self.add.extend(later.add);
        self.starts.extend(later.starts);
        self.meltdown = meltdown;
        self
    }
}

/// What the annotation of the Lease says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Hash)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// The version of the document.
    pub version: u32,
    /// Number of the term that wrote it; the status of a run bears it, too.
    pub epoch: i64,
    /// Identity of that term.
    pub term: String,
    /// Unique per write: by it a writer knows its own (protocol R7).
    pub nonce: String,
    /// The held slots. Always written: a document without them is not read as one in which nobody has any.
    pub slots: Vec<Slot>,
    /// Recent starts.
    #[serde(default)]
    pub starts: Vec<Start>,
    /// The last meltdown. Older operators of the same version neither write nor keep it.
    #[serde(default, skip_serializing_if = "Meltdown::is_none")]
    pub meltdown: Meltdown,
}

impl Document {
    /// The document with which a term takes over: the ledger unchanged, with a higher epoch (protocol R5,
    /// point 1).
    pub fn taken_over(before: Option<Document>, term: &str, nonce: String) -> Document {
        let before = before.unwrap_or(Document {
            version: VERSION,
            epoch: 0,
            term: String::new(),
            nonce: String::new(),
            slots: Vec::new(),
            starts: Vec::new(),
            meltdown: Meltdown::default(),
        });
        let epoch = before.epoch.saturating_add(1);
        Document { epoch, term: term.to_owned(), nonce, ..before }
    }

    /// The ledger in it.
    pub fn ledger(&self) -> Ledger {
        let Document { slots, starts, meltdown, .. } = self.clone();
        Ledger { slots, starts, meltdown }
    }

    /// The same document with another ledger.
    pub fn with(&self, ledger: Ledger) -> Document {
        let Ledger { slots, starts, meltdown } = ledger;
        Document { slots, starts, meltdown, ..self.clone() }
    }
}

/// Everything that says whether something of a run can still act.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Every run that exists, ended ones included.
    pub runs: &'a [Run],
    /// Runs that are gone and whose nodes are not closed yet.
    pub strays: &'a [Stray],
    /// Nodes by name.
    pub nodes: &'a BTreeMap<String, std::sync::Arc<NodeFacts>>,
    /// UIDs of runs whose admission may still be on its way to the API server.
    pub in_doubt: &'a BTreeSet<String>,
    /// UIDs of runs that are gone and of which nothing is left.
    pub done: &'a BTreeSet<String>,
    /// The operator's clock.
    pub now: Timestamp,
}

/// The same, to be asked by UID.
struct Index<'a> {
    known: &'a Known<'a>,
    runs: BTreeMap<&'a str, &'a Run>,
    strays: BTreeMap<&'a str, &'a Stray>,
}

impl<'a> Index<'a> {
    fn of(known: &'a Known<'a>) -> Self {
        Index {
            known,
            runs: known.runs.iter().map(|run| (run.uid.as_str(), run)).collect(),
            strays: known.strays.iter().map(|stray| (stray.run_uid.as_str(), stray)).collect(),
        }
    }

    fn node(&self, name: &str) -> Option<&NodeFacts> {
        self.known.nodes.get(name).map(|node| &**node)
    }

    fn acts(&self, run: &Run) -> bool {
        run.holds_slot(self.node(&run.node_name), self.known.now)
    }

    /// True while a slot has to stay (protocol R3): something of its run can act, or its node is not
    /// closed. A Pending run has no right to a slot, except while its admission is in doubt.
    fn keeps(&self, slot: &Slot) -> bool {
        let uid = slot.run_uid.as_str();
        if self.known.in_doubt.contains(uid) {
            return true;
        }
        if let Some(run) = self.runs.get(uid) {
            let ends = matches!(run.step, Step::Uncordoning | Step::RollingBack);
            let old = self.known.now.duration_since(run.since) > SignedDuration::from_secs(30);
            let early = mutant!("slot-released-early") && ends;
            return self.acts(run) && !early && !(mutant!("k3-slot-expires") && old);
        }
        // Gone: by itself no reason to release it.
        match self.strays.get(uid) {
            Some(stray) => stray.holds_slot(self.node(&stray.node_name), self.known.now),
            None => !self.known.done.contains(uid),
        }
    }
}

/// UIDs of the runs whose slots go: one rule for every end (protocol R3). A run that ended wrote its
/// node before (R4); one that is gone is waited for until nothing of it is left.
pub fn releasable(ledger: &Ledger, known: &Known<'_>) -> BTreeSet<String> {
    let index = Index::of(known);
    let gone = ledger.slots.iter().filter(|slot| !index.keeps(slot));
    gone.map(|slot| slot.run_uid.clone()).collect()
}

/// The slots that a recovery writes (protocol R5, point 5): those of runs that are under remediation,
/// and entries that may not be released yet. Entries of Pending runs are dropped, never completed.
/// `not_adopted` names runs that could not be written: whoever wrote them before may still move them,
/// so that each counts as holding its slot (SAFE-17).
pub fn recovered(ledger: &Ledger, known: &Known<'_>, not_adopted: &BTreeSet<String>) -> Vec<Slot> {
    let index = Index::of(known);
    let active = known.runs.iter().filter(|run| not_adopted.contains(&run.uid) || index.acts(run));
    let kept = ledger.slots.iter().filter(|slot| index.keeps(slot)).cloned();
    let kept = kept.filter(|_| !mutant!("recovery-drops-entries"));
    let mut slots: Vec<Slot> = kept.chain(active.map(Slot::of)).collect();
    slots.sort();
    slots.dedup_by(|a, b| a.run_uid == b.run_uid);
    slots
}

/// The epoch that a term has to take when a run bears one that is as high and not of this term: two
/// terms that both began from nothing would pass for one (protocol R5, point 3; W6b). `marks` are epoch
/// and leader of every run, ended ones included.
pub fn epoch_above<'a>(
    marks: impl Iterator<Item = (i64, &'a str)>,
    epoch: i64,
    identity: &str,
) -> Option<i64> {
    let foreign = marks.filter(|(_, leader)| *leader != identity);
    let highest = foreign.map(|(epoch, _)| epoch).max()?;
    (highest >= epoch && !mutant!("epoch-not-raised")).then(|| highest.saturating_add(1))
}

/// Between the claim of a slot and the write for which it was claimed lies one look, which counts for
/// half as long.
pub const CLAIM_LASTS: SignedDuration = SignedDuration::from_secs(10);

/// What the slot is worth that a run going on by itself has claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimStanding {
    /// The write for which it was claimed may be under way: the slot stays.
    Stands,
    /// The run has moved, or is gone: it says itself what it holds.
    Used,
    /// It has led to nothing for long: its write may still land, like an admission's in doubt.
    Doubtful,
}

/// How a claim stands. `step` is what is known of its run; `None` = it is gone.
pub fn claim_standing(step: Option<Step>, since: Timestamp, now: Timestamp) -> ClaimStanding {
    match step {
        Some(Step::Held | Step::Pending) if now.duration_since(since) >= CLAIM_LASTS => {
            ClaimStanding::Doubtful
        }
        Some(Step::Held | Step::Pending) => ClaimStanding::Stands,
        Some(_) | None => ClaimStanding::Used,
    }
}

/// What is known of a run that is gone and of which only its slot is left: it may have been rebooting
/// its machine, and its node counts as closed only when that is on record there.
pub fn lost_run(slot: &Slot, now: Timestamp) -> Run {
    Run { cancel: true, ..Run::of_slot(slot.clone(), Step::Withdrawing, Reason::RunDeleted, now) }
}

/// What is known of a run whose end was not seen, by what was known before: its attempts, and that it may
/// have gone as far as to reboot its machine. Not of which boot that was: there may have been more.
pub fn unseen_end(known: &Run, now: Timestamp) -> Run {
    Run {
        name: known.name.clone(),
        policy: known.policy.clone(),
        attempt_times: known.attempt_times.clone(),
        ..lost_run(&Slot::of(known), now)
    }
}

#[cfg(test)]
mod tests;
