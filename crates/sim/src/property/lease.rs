//! The Lease: who leads, and which runs hold slots.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use rerail_api::names;
use rerail_core::{ledger::Document, step::Step};
use serde_json::Value;

use super::{
    court::{Court, Seen},
    node::annotation,
    past::{earlier, later},
    run::RunTruth,
};
use crate::meta;

/// How long a run that is gone may still have a reboot Pod that acts (protocol R2c): the Pod's own
/// deadline of 60 s and a margin.
const GONE_KEEPS: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);

/// A held slot.
#[derive(Debug, Clone)]
pub(super) struct SlotTruth {
    pub node: String,
    /// The term that gave it.
    pub term: String,
    /// The failure domain of its node when it was given.
    pub domain: Option<Vec<String>>,
    /// What was wrong with it if the run is admitted by it.
    pub doubts: Vec<(&'static str, String)>,
    /// True if the run counts as started only when it is admitted by it.
    pub counts_when_used: bool,
}

/// The Lease as it stands.
#[derive(Debug, Default)]
pub(super) struct LeaseTruth {
    pub holder: String,
    pub epoch: i64,
    pub slots: BTreeMap<String, SlotTruth>,
    /// When it was last deleted, or written by somebody who is no operator.
    pub tampered: Option<Timestamp>,
    pub present: bool,
    pub renewed: Option<Timestamp>,
    pub writer: Option<Arc<str>>,
    /// When its holder took it.
    pub taken: Option<Timestamp>,
    /// True when its holder has changed slots in it.
    pub repaired: bool,
}

impl LeaseTruth {
    pub fn is_tampered(&self, since: Timestamp) -> bool {
        self.tampered.is_some_and(|at| at >= since)
    }
}

impl Court {
    pub(super) fn lease_changed(&mut self, seen: &Seen, after: Option<&Arc<Value>>) {
        let Some(after) = after else {
            self.saw("lease-deleted");
            self.lease = LeaseTruth {
                tampered: Some(seen.at),
                epoch: self.lease.epoch,
                ..LeaseTruth::default()
            };
            // The ledger's memory of starts is gone with it: a stated limit of `maxStarts`.
            self.starts.clear();
            return;
        };
        let holder = meta::text(after, &["spec", "holderIdentity"]).to_owned();
        let document: Option<Document> =
            annotation(after, names::LEDGER).and_then(|text| serde_json::from_str(text).ok());
        let slots: BTreeMap<String, String> = document
            .iter()
            .flat_map(|document| &document.slots)
            .map(|slot| (slot.run_uid.clone(), slot.node_name.clone()))
            .collect();
        let epoch = document.as_ref().map_or(0, |document| document.epoch);
        if document.as_ref().is_some_and(|document| document.meltdown.since.is_some()) {
            self.saw("meltdown");
        }
        if !seen.ours {
            self.lease_edited(seen, holder, epoch, slots);
            return;
        }
        let acquires = !holder.is_empty() && holder != self.lease.holder;
        self.term_begins(seen, &holder, epoch, acquires);
        if acquires {
            self.taken_over(seen, &slots);
        } else {
            self.released(seen, &slots);
        }
        let changes = !self.lease.slots.keys().eq(slots.keys());
        self.slots_given(seen, &holder, slots);
        self.lease.repaired = !acquires && (changes || self.lease.repaired);
        if acquires {
            self.lease.taken = Some(seen.at);
        }
        self.lease.holder = holder;
        self.lease.epoch = epoch;
        self.lease.present = true;
        self.lease.renewed = Some(seen.at);
        self.lease.writer = Some(seen.by.clone());
    }

    fn lease_edited(
        &mut self,
        seen: &Seen,
        holder: String,
        epoch: i64,
        slots: BTreeMap<String, String>,
    ) {
        self.saw("lease-edited");
        self.starts.clear();
        let slots = slots.into_iter().map(|(uid, node)| {
            let known = self.lease.slots.get(&uid).cloned();
            let new = SlotTruth {
                domain: self.domain_of(&node),
                node,
                term: holder.clone(),
                doubts: Vec::new(),
                counts_when_used: false,
            };
            (uid, known.unwrap_or(new))
        });
        let slots = slots.collect();
        self.lease = LeaseTruth {
            holder,
            epoch,
            slots,
            tampered: Some(seen.at),
            present: true,
            renewed: self.lease.renewed,
            writer: None,
            taken: None,
            repaired: false,
        };
    }

    fn term_begins(&mut self, seen: &Seen, holder: &str, epoch: i64, acquires: bool) {
        if acquires {
            self.saw("lease-taken");
            let before = self.processes.iter().find(|(name, process)| {
                **name != seen.by
                    && process.alive
                    && !process.released
                    && process.is_in_term(&self.lease.holder)
            });
            if before.is_some() {
                self.saw("double-leader");
            }
            if self.lease.present && epoch <= self.lease.epoch && !self.lease.is_tampered(seen.from)
            {
                let message = format!(
                    "{holder} takes the Lease with epoch {epoch}, after {}",
                    self.lease.epoch
                );
                self.blame("SAFE-2", seen.at, &seen.by, message);
            }
        }
        let Some(process) = self.processes.get_mut(&seen.by) else { return };
        process.released = holder.is_empty();
        if !holder.is_empty() {
            process.enters((holder.to_owned(), epoch), seen.at);
            process.renewed = seen.at;
        }
    }

    /// The acquiring write takes the ledger over as it is (protocol R5, point 1).
    fn taken_over(&mut self, seen: &Seen, slots: &BTreeMap<String, String>) {
        let known: Vec<&String> = self.lease.slots.keys().collect();
        if self.lease.present && known != slots.keys().collect::<Vec<_>>() {
            let message = format!(
                "the Lease is taken, and its ledger changed: {known:?} to {:?}",
                slots.keys()
            );
            self.blame("SAFE-4", seen.at, &seen.by, message);
        }
    }

    /// A slot goes when nothing of its run can act any more (protocol R3).
    fn released(&mut self, seen: &Seen, slots: &BTreeMap<String, String>) {
        let gone: Vec<String> =
            self.lease.slots.keys().filter(|uid| !slots.contains_key(*uid)).cloned().collect();
        for uid in gone {
            let Some(run) = self.runs.get(&uid) else { continue };
            let name = run.name.clone();
            match run.gone {
                None if run.is_active() => {
                    let message = format!("its slot is released in step {:?}", run.step());
                    self.blame("SAFE-4", seen.at, &name, message);
                }
                None => {}
                Some(gone) => {
                    let may_reboot = run
                        .step()
                        .is_some_and(|step| matches!(step, Step::Rebooting | Step::Withdrawing));
                    let booted = self
                        .has_booted_since(&run.node, run.acts.last().map(|(_, at)| *at))
                        || self.is_in_another_boot(run);
                    let off = self.nodes.get(&run.node).is_none_or(|node| node.uid != run.node_uid);
                    if may_reboot && !booted && !off && seen.at < later(gone, GONE_KEEPS) {
                        let message =
                            "its object is gone, its reboot Pod may act, and its slot is released";
                        self.blame("SAFE-4", seen.at, &name, message);
                    }
                }
            }
        }
    }

    /// The boot that its reboot Pod was made for is over: the Pod refuses any other.
    fn is_in_another_boot(&self, run: &RunTruth) -> bool {
        let before = run.boot_before.get(&run.status.attempt);
        let machine = self.machines.get(&run.node);
        machine.zip(before).is_some_and(|(machine, before)| machine.boot_id != *before)
    }

    fn has_booted_since(&self, node: &str, acted: Option<Timestamp>) -> bool {
        let boots =
            self.machines.get(node).map(|machine| machine.boots.as_slice()).unwrap_or_default();
        acted.is_some_and(|acted| boots.iter().any(|(at, _)| *at > acted))
    }

    fn slots_given(&mut self, seen: &Seen, holder: &str, slots: BTreeMap<String, String>) {
        let new: Vec<String> =
            slots.keys().filter(|uid| !self.lease.slots.contains_key(*uid)).cloned().collect();
        let before = std::mem::take(&mut self.lease.slots);
        self.lease.slots = slots
            .into_iter()
            .map(|(uid, node)| {
                let fresh = |court: &Court| SlotTruth {
                    domain: court.domain_of(&node),
                    node: node.clone(),
                    term: holder.to_owned(),
                    doubts: Vec::new(),
                    counts_when_used: false,
                };
                let slot = before.get(&uid).cloned().unwrap_or_else(|| fresh(self));
                (uid, slot)
            })
            .collect();
        let admitted: Vec<String> = new.into_iter().filter(|uid| self.is_admission(uid)).collect();
        if admitted.is_empty() {
            return;
        }
        let mut doubts = self.budgets_of(seen, &admitted);
        for uid in &admitted {
            doubts.entry(uid.clone()).or_default().extend(self.gates_of(seen, uid));
        }
        doubts.entry(String::new()).or_default();
        for uid in admitted {
            let wrong = doubts.remove(&uid).unwrap_or_default();
            let Some(run) = self.runs.get(&uid) else { continue };
            let (name, pending) = (run.name.clone(), run.step() == Some(Step::Pending));
            // A recovery gives a slot to each run that it could not adopt, as if it were under way
            // (protocol R5, SAFE-17): an older term may still move it. That begins nothing. The write may
            // have landed all the same, and its answer be lost; a recovery is the first in its term to
            // change slots.
            let leader = &run.status.leader;
            let foreign = !leader.is_empty() && (leader != holder || !self.lease.repaired);
            if pending && !foreign {
                self.start(&uid, seen.at);
                for (property, message) in wrong {
                    self.blame(property, seen.at, &name, message);
                }
            } else if let Some(slot) = self.lease.slots.get_mut(&uid) {
                // It may go on by itself, which asks for no limit; its status will tell.
                (slot.doubts, slot.counts_when_used) = (wrong, pending);
            }
        }
    }

    /// A slot for a run that is to begin, or to be tried again; others go on with what they began.
    fn is_admission(&self, uid: &str) -> bool {
        self.runs.get(uid).is_some_and(|run| match run.step() {
            Some(Step::Pending) => true,
            Some(Step::Held) => run.retries > run.status.retries,
            _ => false,
        })
    }

    /// Remembers a start, for the pace of its policy.
    fn start(&mut self, uid: &str, at: Timestamp) {
        let Some(run) = self.runs.get(uid) else { return };
        let oldest = earlier(at, jiff::SignedDuration::from_hours(48));
        let starts = self.starts.entry(run.policy.clone()).or_default();
        starts.retain(|start| *start > oldest);
        starts.push(at);
    }

    /// The status write that makes a run act: it has a slot, by the term that writes (planner.md, The
    /// ledger).
    pub(super) fn admitted(&mut self, seen: &Seen, uid: &str) {
        let Some(run) = self.runs.get(uid) else { return };
        let (name, leader) = (run.name.clone(), run.status.leader.clone());
        let retried = run.status.ladder_start.is_some();
        if !run.finalizer {
            // Deleted it would be gone at once, and its node left as it is (hazard H30).
            self.blame("SAFE-20", seen.at, &name, "it is admitted without its finalizer");
        }
        let Some(slot) = self.lease.slots.get_mut(uid) else {
            if !self.lease.is_tampered(seen.from) {
                self.blame("SAFE-4", seen.at, &name, "it is admitted without a slot in the ledger");
            }
            return;
        };
        let doubts = std::mem::take(&mut slot.doubts);
        let counts = std::mem::take(&mut slot.counts_when_used);
        let term = slot.term.clone();
        if term != leader && !self.lease.is_tampered(seen.from) {
            let message =
                format!("its slot was given by term {term}, and it is admitted by {leader}");
            self.blame("SAFE-4", seen.at, &name, message);
        }
        if retried {
            self.saw("retry");
        }
        if retried || counts {
            self.start(uid, seen.at);
        }
        for (property, message) in doubts {
            self.blame(property, seen.at, &name, message);
        }
    }
}
