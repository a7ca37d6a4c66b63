//! Small worlds in which the production decisions act, and every state of them (stateright).
//!
//! | module | the world | the decisions |
//! |---|---|---|
//! | [`lease`] | two or three operators, a Lease, two runs | who leads, who may act, recovery |
//! | [`run`] | one run, its machine, its reboot Pods | what a run does next, the Pod's check, the sweep |
//! | [`budgets`] | nodes in racks and pools, two policies, a ledger | who starts |
//! | [`marks`] | one run, and others who write on its node | whose cordon it is |
//! | [`mod@check`], [`told`] | | explores, and tells |
//! | [`given`] | | nodes, runs, a policy |
//!
//! A model is a shell around functions of `rerail_core`: it stores objects, lets calls land, and lets
//! others do what they may do. Faults come from a purse, so that every space is finite. A model that finds
//! nothing proves nothing: each has rules that can be taken away, in its shell, and the tests want the
//! counterexample that each rule closes; and each has states that must be reached.

pub mod budgets;
pub mod check;
pub mod given;
pub mod lease;
pub mod marks;
pub mod run;
pub mod told;

use std::ops::ControlFlow;

use check::{Outcome, check};

/// A model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// Leaders, epochs, the ledger.
    Lease,
    /// One run.
    Run,
    /// Budgets.
    Budgets,
    /// Marks.
    Marks,
}

/// Who hears what came of each case.
pub type Tell<'a> = &'a mut dyn FnMut(Outcome) -> ControlFlow<()>;

impl Name {
    /// Every model.
    pub const ALL: [Name; 4] = [Name::Lease, Name::Run, Name::Budgets, Name::Marks];

    /// The name, as it is told.
    pub fn name(self) -> &'static str {
        match self {
            Name::Lease => "lease",
            Name::Run => "run",
            Name::Budgets => "budgets",
            Name::Marks => "marks",
        }
    }

    /// Explores every case of a configuration, the full or the small one, and tells of each when it is done,
    /// until it is told to stop.
    pub fn explore(self, full: bool, threads: usize, tell: Tell<'_>) {
        let name = self.name();
        match (self, full) {
            (Name::Lease, false) => each(name, lease::small(), threads, tell),
            (Name::Lease, true) => each(name, lease::full(), threads, tell),
            (Name::Run, false) => each(name, run::small(), threads, tell),
            (Name::Run, true) => each(name, run::full(), threads, tell),
            (Name::Budgets, false) => each(name, budgets::small(), threads, tell),
            (Name::Budgets, true) => each(name, budgets::full(), threads, tell),
            (Name::Marks, false) => each(name, marks::small(), threads, tell),
            (Name::Marks, true) => each(name, marks::full(), threads, tell),
        }
    }
}

fn each<M>(name: &'static str, cases: Vec<check::Case<M>>, threads: usize, tell: Tell<'_>)
where
    M: stateright::Model<Action = check::Move<<M as stateright::Model>::State>>
        + check::Told
        + Clone
        + Send
        + Sync
        + 'static,
    M::State: Clone + std::hash::Hash + PartialEq + Send + Sync + 'static,
{
    for case in cases {
        if tell(check(name, &case, threads)).is_break() {
            return;
        }
    }
}
