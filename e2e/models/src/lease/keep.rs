//! The task that keeps the Lease, and the one that waits for it: `lead::keep` and `lead::stand_by` of the
//! operator, around the decisions of `rerail_core::lease`.

use std::time::Duration;

use rerail_core::{
    lease::{self, Decision, Times, Whose, nonce},
    ledger::{Change, Document},
};

use super::{
    act,
    server::{store, write_lease},
    state::{Call, Follow, NOW, OLD, Put, Rules, Stage, State, Term, ago},
};
use crate::{check::Move, given};

type Moves = Vec<Move<State>>;

/// The name of an operator, for people.
pub(super) fn name(at: usize) -> String {
    format!("operator {}", at + 1)
}

pub(super) fn push(moves: &mut Moves, at: usize, what: &str, next: State) {
    moves.push(Move { name: format!("{} {what}", name(at)).into(), next });
}

/// Acquiring, and what becomes of writes that are under way.
pub(super) fn moves(state: &State, at: usize, rules: Rules, moves: &mut Moves) {
    let Some(term) = state.term(at) else {
        acquire(state, at, rules, moves);
        return;
    };
    let decision = lease::lead(NOW, &Times::default(), None, &term.mine());
    if let (Decision::StepDown(lost), true) = (decision, rules.deadline) {
        push(moves, at, &format!("steps down: {lost}"), without_term(state, at));
        return;
    }
    under_way(state, at, term, moves);
    let news = state.lease.as_ref().is_none_or(|lease| lease.version != term.version);
    // An answer that is on its way says the same.
    if term.put.is_none() && (term.must_look || news) {
        look(state, at, term, rules, moves);
    }
}

fn acquire(state: &State, at: usize, rules: Rules, moves: &mut Moves) {
    if state.purse.takeovers == 0 {
        return;
    }
    let mut observed = state.observed();
    if !rules.waited_out {
        observed.since = ago(OLD);
    }
    if lease::stand_by(NOW, &Times::default(), &observed, Duration::ZERO) != Decision::Acquire {
        return;
    }
    let mut next = acquired(state, at);
    next.purse.takeovers -= 1;
    if next.purse.lost > 0 {
        let mut unheard = next.clone();
        unheard.purse.lost -= 1;
        unheard.operators[at].term = None;
        push(moves, at, "takes the Lease, and never hears of it", unheard);
    }
    push(moves, at, "takes the Lease", next);
}

/// The first write of a term: the ledger as it is, with a higher epoch.
pub(super) fn acquired(state: &State, at: usize) -> State {
    let mut next = state.clone();
    let operator = &mut next.operators[at];
    operator.acquisitions += 1;
    let identity = format!("o{}_{}", at + 1, operator.acquisitions);
    let before = state.lease.as_ref().map(|lease| lease.document.clone());
    let document = Document::taken_over(before, &identity, nonce(&identity, 1));
    let put = Put { document: document.clone(), version: 0, repairs: false, age: 0, done: true };
    store(&mut next, &identity, &put, false);
    let term = Term {
        identity,
        epoch: document.epoch,
        document,
        version: next.versions,
        renewed: 0,
        attempted: Vec::new(),
        writes: 1,
        put: None,
        follow: Follow::Nothing,
        must_look: false,
        stage: Stage::Acquired,
        in_hand: None,
        not_adopted: Default::default(),
        in_doubt: Default::default(),
    };
    next.operators[at].term = Some(term);
    next
}

/// The operator stands by again; nothing that it has not sent is sent any more.
pub(super) fn without_term(state: &State, at: usize) -> State {
    let mut next = state.clone();
    next.operators[at].term = None;
    next
}

/// A write of the Lease that was sent.
fn under_way(state: &State, at: usize, term: &Term, moves: &mut Moves) {
    let Some(put) = &term.put else { return };
    if put.done {
        push(moves, at, "hears that its Lease is written", heard(state, at));
        if state.purse.lost > 0 {
            let mut next = unheard(state, at);
            next.purse.lost -= 1;
            push(moves, at, "does not hear that its Lease is written", next);
        }
        return;
    }
    let (mut next, done) = write_lease(state.clone(), put, &term.identity);
    if done {
        if let Some(put) = next.operators[at].term.as_mut().and_then(|term| term.put.as_mut()) {
            put.done = true;
        }
        push(moves, at, "writes the Lease", next);
    } else {
        push(moves, at, "cannot write the Lease: a conflict", unheard(state, at));
    }
    if state.purse.late > 0 {
        let mut next = unheard(state, at);
        next.purse.late -= 1;
        next.late.push(Call::Lease(put.clone()));
        push(moves, at, "gives up on a write of the Lease that is under way", next);
    }
}

fn unheard(state: &State, at: usize) -> State {
    let mut next = state.clone();
    if let Some(term) = &mut next.operators[at].term {
        term.put = None;
        term.must_look = true;
    }
    next
}

fn heard(state: &State, at: usize) -> State {
    let mut next = state.clone();
    let version = state.lease.as_ref().map_or(state.versions, |lease| lease.version);
    if let Some(term) = &mut next.operators[at].term
        && let Some(put) = term.put.take()
    {
        // The answer bears the version of this write; a later one of somebody else's is seen later.
        let ours = state.lease.as_ref().is_some_and(|l| l.document.nonce == put.document.nonce);
        let version = if ours { version } else { put.version };
        acknowledge(term, put.document, version, put.age);
    }
    next
}

fn acknowledge(term: &mut Term, document: Document, version: u32, age: u8) {
    term.document = document;
    term.version = version;
    term.renewed = term.renewed.min(age);
    term.attempted.clear();
    term.must_look = false;
    act::follow(term);
}

/// Reads the Lease, and judges whose it is.
fn look(state: &State, at: usize, term: &Term, rules: Rules, moves: &mut Moves) {
    let Some(lease) = &state.lease else {
        push(moves, at, "sees that the Lease is gone, and steps down", without_term(state, at));
        return;
    };
    let mut next = state.clone();
    let whose = match lease::whose(&lease.seen(), &term.mine()) {
        // A version that knows its Lease by name and epoch.
        Whose::Foreign(_)
            if !rules.r7
                && (&lease.holder, lease.document.epoch) == (&term.identity, term.epoch) =>
        {
            Whose::Attempted
        }
        Whose::Acknowledged if lease.document != term.document => {
            Whose::Foreign(lease::Lost::Foreign)
        }
        whose => whose,
    };
    if let Some(term) = &mut next.operators[at].term {
        match whose {
            Whose::Acknowledged => {
                term.version = lease.version;
                term.must_look = false;
                // What it was written for was not done.
                term.follow = Follow::Nothing;
            }
            Whose::Attempted => {
                let nonce = &lease.document.nonce;
                let sent = term.attempted.iter().find(|(attempted, _)| attempted == nonce);
                let age = sent.map_or(term.renewed, |(_, age)| *age);
                let last = term.attempted.last().is_some_and(|(last, _)| last == nonce);
                if !last {
                    term.follow = Follow::Nothing;
                }
                acknowledge(term, lease.document.clone(), lease.version, age);
            }
            Whose::Foreign(lost) => {
                let next = without_term(state, at);
                push(moves, at, &format!("reads the Lease and steps down: {lost}"), next);
                return;
            }
        }
    }
    push(moves, at, "reads the Lease", next);
}

/// Sends a write of the Lease.
pub(super) fn send(state: &mut State, at: usize, change: &Change, follow: Follow) {
    let Some(term) = &mut state.operators[at].term else { return };
    term.writes += 1;
    let ledger = term.document.ledger().after(change, given::at(0));
    let epoch = if let Follow::Raised(epoch) = follow { epoch } else { term.document.epoch };
    let nonce = nonce(&term.identity, term.writes);
    let document = Document { epoch, nonce: nonce.clone(), ..term.document.with(ledger) };
    let repairs = follow == Follow::Repaired;
    term.attempted.push((nonce, 0));
    term.put = Some(Put { document, version: term.version, repairs, age: 0, done: false });
    term.follow = follow;
}

/// True when a write of the Lease can be sent.
pub(super) fn is_free(term: &Term) -> bool {
    term.put.is_none() && !term.must_look && term.follow == Follow::Nothing
}

/// Time passes; and what happens by it alone: renewals, and processes that die.
pub(super) fn time(state: &State, moves: &mut Moves) {
    for at in 0..state.operators.len() {
        let Some(term) = state.term(at) else { continue };
        let due = lease::lead(NOW, &Times::default(), None, &term.mine()) == Decision::Renew;
        if due && is_free(term) {
            let mut next = state.clone();
            send(&mut next, at, &Change::default(), Follow::Nothing);
            push(moves, at, "renews the Lease", next);
        }
        if state.purse.crashes > 0 {
            let mut next = without_term(state, at);
            next.purse.crashes -= 1;
            moves.push(Move { name: format!("! {} crashes", name(at)).into(), next });
        }
        if let Some(call) = term.in_hand.clone().filter(|_| state.purse.late > 0) {
            let mut next = state.clone();
            next.purse.late -= 1;
            if let Some(term) = &mut next.operators[at].term {
                term.in_hand = None;
            }
            next.late.push(call);
            let name = format!("! {} gives up on a call that is under way", name(at));
            moves.push(Move { name: name.into(), next });
        }
    }
    if state.purse.ticks > 0 {
        moves.push(Move { name: "five seconds pass".into(), next: later(state) });
    }
}

fn later(state: &State) -> State {
    let mut next = state.clone();
    next.purse.ticks -= 1;
    let older = |age: &mut u8| *age = age.saturating_add(1).min(OLD);
    older(&mut next.lease_age);
    for term in next.operators.iter_mut().filter_map(|operator| operator.term.as_mut()) {
        older(&mut term.renewed);
        term.attempted.iter_mut().for_each(|(_, age)| older(age));
        if let Some(put) = &mut term.put {
            older(&mut put.age);
        }
    }
    next
}
