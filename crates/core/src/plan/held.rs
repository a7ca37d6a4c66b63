//! The ledger beside the runs: which of its slots go, and which count beyond what the runs themselves hold
//! (planner.md, The ledger; protocol R3).

use std::collections::BTreeSet;

use super::World;
use crate::{
    ledger::{self, Ledger, Slot},
    run::Run,
    step::Step,
};

/// The ledger, and what is known of its slots beside the runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Held {
    /// As it was last acknowledged.
    pub ledger: Ledger,
    /// UIDs of runs whose admission may still be on its way to the API server, or whose drivers claimed a
    /// slot to go on with.
    pub in_doubt: BTreeSet<String>,
    /// UIDs of runs that are gone and of which nothing is left.
    pub done: BTreeSet<String>,
}

impl Held {
    /// A driver has claimed this slot: it counts, and stays, whether or not it is written yet.
    pub fn claimed(&mut self, slot: Slot) {
        self.in_doubt.insert(slot.run_uid.clone());
        if !self.ledger.holds(&slot.run_uid) {
            self.ledger.slots.push(slot);
        }
    }
}

impl World {
    /// Puts runs into the world, and with them what the ledger holds beyond what they and the strays hold:
    /// slots of admissions that are in doubt, most of all. Returns the UIDs of the runs whose slots may go.
    pub fn take_in_runs(&mut self, runs: Vec<Run>, held: Held) -> BTreeSet<String> {
        let Held { mut ledger, in_doubt, done } = held;
        let known = ledger::Known {
            runs: &runs,
            strays: &self.strays,
            nodes: &self.nodes,
            in_doubt: &in_doubt,
            done: &done,
            now: self.now,
        };
        let gone = ledger::releasable(&ledger, &known);
        let begun = runs.iter().filter(|run| {
            // One in doubt may have more than its step says.
            run.step != Step::Pending && !run.step.is_terminal() && !in_doubt.contains(&run.uid)
        });
        let strays = self.strays.iter().map(|stray| stray.run_uid.as_str());
        let stands: BTreeSet<_> = begun.map(|run| run.uid.as_str()).chain(strays).collect();
        ledger.slots.retain(|slot| {
            !stands.contains(slot.run_uid.as_str()) && !gone.contains(&slot.run_uid)
        });
        self.ledger = ledger;
        self.open_runs = runs.into_iter().filter(|run| !run.step.is_terminal()).collect();
        gone
    }
}
