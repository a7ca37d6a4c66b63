//! Marks on a node that others write on, too: people who cordon and uncordon, controllers that claim the
//! node or take their claim back, the hold label, marks that somebody forged or took off.
//!
//! The world and the production functions are those of [the model of one run](crate::run); the purses are
//! others, and what is asked is whether the operator keeps its hands off what is not its own (SAFE-6,
//! SAFE-7) and leaves nothing behind (P5, P7).
//!
//! A forged mark names a run that never was, as anybody who may write on nodes can set it. The operator
//! has seen it appear, so that it holds no slot; the production `sweep` takes it off.
//!
//! Left out: a second run of the same node, other taints than claims, and a person's cordon on top of ours,
//! which leaves no trace on a real API server (protocol R9).

use crate::{
    check::Case,
    run::{OneRun, Purse},
};

/// What is explored by every test run.
pub fn small() -> Vec<Case<OneRun>> {
    let none = Purse::default();
    let purses = [
        Purse { claims: 2, people: 1, ..none },
        Purse { claims: 1, late: 1, crashes: 1, ..none },
        Purse { holds: 2, cancels: 1, ..none },
        Purse { holds: 2, late: 1, ..none },
        Purse { forged: 1, people: 1, ..none },
        Purse { forged: 1, late: 1, ..none },
        Purse { unmarked: 1, people: 2, ..none },
        Purse { deletions: 1, people: 2, ..none },
    ];
    purses.map(OneRun::case).into()
}

/// What is explored by command: more at once.
pub fn full() -> Vec<Case<OneRun>> {
    let none = Purse::default();
    let purses = [
        Purse { claims: 2, people: 2, cancels: 1, crashes: 1, ..none },
        Purse { holds: 2, claims: 1, people: 1, crashes: 1, ..none },
        Purse { holds: 2, claims: 1, people: 1, late: 1, ..none },
        Purse { forged: 1, crashes: 1, late: 1, ..none },
        Purse { forged: 1, people: 2, late: 1, ..none },
        Purse { forged: 1, unmarked: 1, people: 2, crashes: 1, ..none },
        Purse { deletions: 1, forged: 1, people: 1, late: 1, ..none },
    ];
    purses.map(OneRun::case).into()
}
