//! Who leads, and who may act: two or three operators, one Lease with the ledger in it, two runs of which
//! one may be under way. `lease::{stand_by, lead, whose, confirms}`, `Document::taken_over`,
//! `ledger::{epoch_above, recovered}`, the planner with `World::take_in_runs`, `admit` and `step` are the
//! production functions.
//!
//! Time passes in periods of five seconds, with the production times of the election: a process that is
//! not scheduled while they pass is a paused one. A write of the Lease is sent, is done, and its answer
//! comes: three moves. Every other call is decided and lands; one whose sender gave up lands at any time.
//! Reads are fresh, and those who stand by see the Lease change at once.
//!
//! A run goes from Pending through its cordon to a drain that never ends, and by a cancel back.
//!
//! Around the production functions the model has a shell of its own for what the operator's tasks do with
//! calls and answers (`lead::keep`, `lead::recover`, `plan::admit`, `drive`), and for the API server:
//! compare-and-swap, and the rule at the root of a run's schema. One call of a term is in hand at a time,
//! beside the one that writes the Lease.
//!
//! Left out: Held runs that claim their slot again, runs and nodes that vanish, reboots, more than one
//! admission in one write, and clocks that run at different rates.

mod act;
mod keep;
mod server;
mod state;

pub use state::{Purse, Rules, State};

use rerail_core::step::Step;
use stateright::{Model, Property};

use crate::check::{Broken, Case, Move, Told};

/// SAFE-4, as the world sees it.
pub const P1: &str = "P1: no more nodes are out than may be";
/// Nothing of a run lands on a node that it has given back.
pub const P3A: &str = "P3a: no cordon lands after the run gave its place up";
/// SAFE-2: the clock side.
pub const ONE_LEADS: &str = "SAFE-2: no two operators may begin something at once";
/// SAFE-2: the API server's side.
pub const FENCED: &str = "SAFE-2: no write of a term that is not newer is accepted for a run";
/// Protocol R5.
pub const COUNTED: &str = "R5: a repaired ledger has every run that may act";
/// When nothing can happen any more, what has ended holds nothing.
pub const P45: &str = "P4, P5: an ended run leaves no slot and no mark in the end";
/// LIVE-1.
pub const P7: &str = "P7: no run is stuck in the end";

/// The world of this model.
#[derive(Debug, Clone)]
pub struct Leaders {
    /// What may go wrong.
    pub purse: Purse,
    /// The rules that are kept.
    pub rules: Rules,
}

impl Leaders {
    /// A case with this purse, every rule kept.
    pub fn case(purse: Purse) -> Case<Leaders> {
        Leaders::without(purse, Rules::ALL)
    }

    /// A case with these rules only.
    pub fn without(purse: Purse, rules: Rules) -> Case<Leaders> {
        Case { faults: purse.told(), model: Leaders { purse, rules } }
    }
}

/// What is explored by every test run.
pub fn small() -> Vec<Case<Leaders>> {
    let two = Purse { operators: 2, takeovers: 1, ..Purse::default() };
    let purses = [
        Purse { ticks: 3, crashes: 1, cancels: 1, ..two },
        Purse { ticks: 3, lost: 1, cancels: 1, ..two },
        Purse { ticks: 3, late: 1, ..two },
        Purse { deletions: 1, cancels: 1, ..two },
        Purse { deletions: 1, late: 1, ..two },
        Purse { ticks: 3, restores: 1, ..two },
    ];
    purses.map(Leaders::case).into()
}

/// What is explored by command: three operators, more at once.
pub fn full() -> Vec<Case<Leaders>> {
    let three = Purse { operators: 3, takeovers: 2, ..Purse::default() };
    let two = Purse { operators: 2, takeovers: 1, ..three };
    let purses = [
        Purse { ticks: 3, cancels: 1, late: 1, ..two },
        Purse { ticks: 3, restores: 1, cancels: 1, ..two },
        Purse { deletions: 1, cancels: 1, late: 1, ..two },
        Purse { deletions: 2, ..three },
        Purse { ticks: 6, ..three },
        Purse { ticks: 6, lost: 1, ..three },
        Purse { deletions: 1, lost: 1, cancels: 1, ..two },
        Purse { ticks: 6, crashes: 1, late: 1, ..three },
        Purse { deletions: 1, cancels: 1, ..three },
    ];
    purses.map(Leaders::case).into()
}

impl Told for Leaders {
    fn broken(state: &State) -> Option<&Broken> {
        state.broken.as_ref()
    }
}

impl Model for Leaders {
    type State = State;
    type Action = Move<State>;

    fn init_states(&self) -> Vec<State> {
        // Who comes first does not matter: they are all alike.
        vec![keep::acquired(&State::new(self.purse), 0)]
    }

    fn actions(&self, state: &State, moves: &mut Vec<Move<State>>) {
        if state.broken.is_some() {
            return;
        }
        for at in 0..state.operators.len() {
            keep::moves(state, at, self.rules, moves);
            act::moves(state, at, self.rules, moves);
        }
        for at in 0..state.late.len() {
            let mut sent = state.clone();
            let call = sent.late.remove(at);
            let (next, _) = server::land(sent, call, self.rules);
            moves.push(Move { name: "a late call lands".into(), next });
        }
        if moves.is_empty()
            && let Some(broken) = at_rest(state, self.rules)
        {
            let next = State { broken: Some(broken), ..state.clone() };
            moves.push(Move { name: "nothing is left to happen".into(), next });
        }
        keep::time(state, moves);
        faults(state, moves);
    }

    fn next_state(&self, _: &State, step: Move<State>) -> Option<State> {
        Some(step.next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::<Self>::always(P1, |_, state| holds(state, P1)),
            Property::<Self>::always(P3A, |_, state| holds(state, P3A)),
            Property::<Self>::always(FENCED, |_, state| holds(state, FENCED)),
            Property::<Self>::always(ONE_LEADS, |model, state| one_leads(state, model.rules)),
            Property::<Self>::always(COUNTED, |_, state| counted(state)),
            Property::<Self>::always(P45, |_, state| holds(state, P45)),
            Property::<Self>::always(P7, |_, state| holds(state, P7)),
            Property::<Self>::sometimes("reached: a run drains", |_, state| {
                state.runs.iter().any(|stored| stored.run.step == Step::Draining)
            }),
            Property::<Self>::sometimes("reached: a second term works", |_, state| {
                let terms = state.operators.iter().filter_map(|operator| operator.term.as_ref());
                terms.filter(|term| term.epoch > 1).any(|term| term.stage == state::Stage::Working)
            }),
        ];
        if self.purse.cancels > 0 {
            properties
                .push(Property::sometimes("reached: the second run drains, too", second_drains));
        }
        if self.purse.lost > 0 {
            properties.push(Property::sometimes("reached: an admission is in doubt", in_doubt));
        }
        properties
    }
}

fn second_drains(_: &Leaders, state: &State) -> bool {
    let ended = state.runs[0].run.step.is_terminal();
    ended && state.runs[1].run.step == Step::Draining
}

fn in_doubt(_: &Leaders, state: &State) -> bool {
    let mut terms = state.operators.iter().filter_map(|operator| operator.term.as_ref());
    terms.any(|term| !term.in_doubt.is_empty() && term.in_hand.is_none())
}

fn holds(state: &State, property: &str) -> bool {
    state.broken.as_ref().is_none_or(|broken| broken.property != property)
}

/// While nobody tampers with the Lease, clocks alone keep two operators apart.
fn one_leads(state: &State, rules: Rules) -> bool {
    let terms = state.operators.iter().filter_map(|operator| operator.term.as_ref());
    state.tampered || terms.filter(|term| term.may_begin(rules)).count() <= 1
}

/// No run that may act is outside of a ledger that its term has repaired.
fn counted(state: &State) -> bool {
    let Some(lease) = state.lease.as_ref().filter(|lease| lease.repaired) else { return true };
    let ledger = lease.document.ledger();
    state.runs.iter().all(|stored| !stored.run.step.holds_slot() || ledger.holds(&stored.run.uid))
}

/// P4, P5, P7: where nothing can happen any more but faults, and somebody works.
fn at_rest(state: &State, rules: Rules) -> Option<Broken> {
    let mut terms = state.operators.iter().filter_map(|operator| operator.term.as_ref());
    let works = |term: &&state::Term| term.stage == state::Stage::Working && term.may_begin(rules);
    let term = terms.rfind(works)?;
    let ledger = term.document.ledger();
    let under_way = state.runs.iter().any(|stored| stored.run.step.holds_slot());
    for (stored, node) in state.runs.iter().zip(&state.nodes) {
        let step = stored.run.step;
        let marked = node.facts.cordoned_by.as_deref() == Some(stored.run.uid.as_str());
        if step.is_terminal() && (marked || ledger.holds(&stored.run.uid)) {
            return Some(Broken::new(P45, format!("{} has ended in {step}", stored.run.uid)));
        }
        if step == Step::Pending && ledger.holds(&stored.run.uid) {
            return Some(Broken::new(P45, format!("{} waits with a slot", stored.run.uid)));
        }
        let turn = step == Step::Draining || (step == Step::Pending && under_way);
        let waits = turn && !stored.run.cancel;
        if !step.is_terminal() && !waits {
            return Some(Broken::new(P7, format!("{} is stuck in {step}", stored.run.uid)));
        }
    }
    None
}

/// Faults of others than the operators.
fn faults(state: &State, moves: &mut Vec<Move<State>>) {
    let purse = state.purse;
    let mut push = |name: String, next: State| moves.push(Move { name: name.into(), next });
    if purse.deletions > 0 && state.lease.is_some() {
        let mut next = State { lease: None, lease_age: 0, tampered: true, ..state.clone() };
        next.purse.deletions -= 1;
        push("! somebody deletes the Lease".into(), next);
    }
    if purse.restores > 0 && state.copy.is_none() && state.lease.is_some() {
        push(
            "! somebody copies the Lease".into(),
            State { copy: state.lease.clone(), ..state.clone() },
        );
    }
    if let Some(copy) = state.copy.as_ref().filter(|_| purse.restores > 0) {
        let versions = state.versions + 1;
        let restored = state::Lease { version: versions, repaired: false, ..copy.clone() };
        let mut next = State {
            lease: Some(restored),
            lease_age: 0,
            versions,
            tampered: true,
            copy: None,
            ..state.clone()
        };
        next.purse.restores -= 1;
        push("! somebody restores the Lease from the copy".into(), next);
    }
    for (at, stored) in state.runs.iter().enumerate() {
        if purse.cancels > 0 && !stored.run.cancel && !stored.run.step.is_terminal() {
            let mut next = state.clone();
            next.purse.cancels -= 1;
            next.runs[at].run.cancel = true;
            next.runs[at].version += 1;
            push(format!("! a person cancels {}", stored.run.uid), next);
        }
    }
}
