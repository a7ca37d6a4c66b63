//! What a term does with its right: recovery, admission, driving the runs. `lead::recover`, `plan::admit`
//! and `drive` of the operator, around the decisions of `rerail_core`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rerail_core::{
    budget::CountOrPercent,
    config::ClusterConfig,
    facts::Cordon,
    lease::{confirms, supersedes, write_of},
    ledger::{Change, Known, Slot, epoch_above, recovered},
    plan::{Held, World, plan},
    remediation::{
        Action, Effect, Memory, NodeSeen, Observation, PodSeen, PolicyStanding, admit, record, step,
    },
    run::Run,
    step::Step,
};

use super::{
    P7,
    keep::{is_free, push, send, without_term},
    server::{LIMIT, land},
    state::{Call, Follow, Rules, Stage, State, StoredRun, Term},
};
use crate::{
    check::Move,
    given::{POLICY, at as time, contract, policy},
};

type Moves = Vec<Move<State>>;

/// What was waiting for a write of the Lease to be acknowledged.
pub(super) fn follow(term: &mut Term) {
    match std::mem::replace(&mut term.follow, Follow::Nothing) {
        Follow::Nothing => {}
        Follow::Raised(epoch) => (term.epoch, term.stage) = (epoch, Stage::Listed),
        Follow::Repaired => term.stage = Stage::Working,
        Follow::Admit(call) => {
            if let Call::Status { next, .. } = &call {
                term.in_doubt.insert(next.uid.clone());
            }
            term.in_hand = Some(call);
        }
    }
}

/// Everything that an operator that leads can do but keep its Lease.
pub(super) fn moves(state: &State, at: usize, rules: Rules, moves: &mut Moves) {
    let Some(term) = state.term(at).filter(|term| term.may_begin(rules)) else { return };
    if let Some(call) = &term.in_hand {
        call_in_hand(state, at, call.clone(), rules, moves);
        return;
    }
    match term.stage {
        Stage::Acquired if is_free(term) => list(state, at, term, rules, moves),
        Stage::Listed => adopt(state, at, rules, moves),
        Stage::Adopted if is_free(term) => repair(state, at, term, rules, moves),
        Stage::Acquired | Stage::Adopted => {}
        Stage::Working => {
            for run in 0..state.runs.len() {
                drive(state, at, term, run, rules, moves);
            }
            if is_free(term) {
                settle(state, at, term, moves);
                start(state, at, term, rules, moves);
            }
        }
    }
}

fn call_in_hand(state: &State, at: usize, call: Call, rules: Rules, moves: &mut Moves) {
    let mut sent = state.clone();
    if let Some(term) = &mut sent.operators[at].term {
        term.in_hand = None;
    }
    let (name, admits) = match &call {
        Call::Status { at: run, next, admits, .. } => {
            (format!("writes r{run}: {}", next.step), admits.then(|| next.uid.clone()))
        }
        Call::Cordon { at: node, .. } => (format!("cordons n{node}"), None),
        Call::Close { at: node, .. } => (format!("gives n{node} back"), None),
        Call::Lease(_) => ("writes the Lease".to_owned(), None),
    };
    let (mut next, done) = land(sent, call, rules);
    if admits.is_some() && state.purse.lost > 0 {
        let mut unheard = next.clone();
        unheard.purse.lost -= 1;
        push(moves, at, &format!("{name}, and does not hear of it"), unheard);
    }
    if let (Some(uid), Some(term)) = (admits.filter(|_| done), &mut next.operators[at].term) {
        term.in_doubt.remove(&uid);
    }
    let refused = if done { "" } else { " (refused)" };
    push(moves, at, &format!("{name}{refused}"), next);
}

/// R5, points 2 and 3.
fn list(state: &State, at: usize, term: &Term, rules: Rules, moves: &mut Moves) {
    let marks = state.runs.iter().filter_map(|stored| stored.mark.as_ref());
    let marks = marks.map(|(epoch, leader)| (*epoch, leader.as_str()));
    let higher = epoch_above(marks, term.epoch, &term.identity).filter(|_| rules.r6);
    let mut next = state.clone();
    match higher {
        Some(epoch) => send(&mut next, at, &Change::default(), Follow::Raised(epoch)),
        None => set_stage(&mut next, at, Stage::Listed),
    }
    push(moves, at, "lists the runs", next);
}

fn set_stage(state: &mut State, at: usize, stage: Stage) {
    if let Some(term) = &mut state.operators[at].term {
        term.stage = stage;
    }
}

/// R5, point 4: every open run, one after the other, by compare-and-swap; a conflict is read again and tried
/// again.
fn adopt(state: &State, at: usize, rules: Rules, moves: &mut Moves) {
    let (mut next, mut name) = (state.clone(), "finds no open run to adopt".to_owned());
    if let Some(run) = to_adopt(state, at, rules) {
        let (Some(term), stored) = (state.term(at), &state.runs[run]) else { return };
        let (after, done) = land(next, same_status(stored, run, term), rules);
        next = after;
        name = format!("adopts r{run}");
        if let Some(term) = next.operators[at].term.as_mut().filter(|_| !done) {
            term.not_adopted.insert(stored.run.uid.clone());
            name += " (refused)";
        }
    }
    if to_adopt(&next, at, rules).is_none() {
        set_stage(&mut next, at, Stage::Adopted);
    }
    push(moves, at, &name, next);
}

/// The next open run that bears another term's mark and was not tried in vain.
fn to_adopt(state: &State, at: usize, rules: Rules) -> Option<usize> {
    let term = state.term(at).filter(|_| rules.adopts)?;
    state.runs.iter().position(|stored| {
        let ours = stored.mark.as_ref() == Some(&term.mark());
        let tried = term.not_adopted.contains(&stored.run.uid);
        !stored.run.step.is_terminal() && !ours && !tried
    })
}

fn same_status(stored: &StoredRun, at: usize, term: &Term) -> Call {
    Call::Status {
        at,
        next: Box::new(stored.run.clone()),
        mark: term.mark(),
        version: stored.version,
        admits: false,
    }
}

fn runs(state: &State) -> Vec<Run> {
    state.runs.iter().map(|stored| stored.run.clone()).collect()
}

/// R5, point 5.
fn repair(state: &State, at: usize, term: &Term, rules: Rules, moves: &mut Moves) {
    let (runs, nodes) = (runs(state), nodes(state));
    let known = Known {
        runs: &runs,
        strays: &[],
        nodes: &nodes,
        in_doubt: &BTreeSet::new(),
        done: &BTreeSet::new(),
        now: time(0),
    };
    let slots = match rules.r5 {
        true => recovered(&term.document.ledger(), &known, &term.not_adopted),
        // A version that believes whatever ledger it finds.
        false => term.document.slots.clone(),
    };
    let mut next = state.clone();
    let change = Change { replace: Some(slots), ..Change::default() };
    send(&mut next, at, &change, Follow::Repaired);
    push(moves, at, "repairs the ledger", next);
}

fn nodes(state: &State) -> BTreeMap<String, Arc<rerail_core::facts::NodeFacts>> {
    let nodes = state.nodes.iter();
    nodes.map(|node| (node.facts.name.clone(), Arc::new(node.facts.clone()))).collect()
}

/// A last look at everything; then one write of the ledger for what comes and what goes.
fn start(state: &State, at: usize, term: &Term, rules: Rules, moves: &mut Moves) {
    let mut world = World {
        nodes: nodes(state),
        policies: [(POLICY.to_owned(), policy(CountOrPercent::Count(LIMIT as u32)))].into(),
        config: Some(ClusterConfig {
            topology_keys: Vec::new(),
            max_unavailable: CountOrPercent::Count(LIMIT as u32),
            ..ClusterConfig::default()
        }),
        ..World::empty(time(0))
    };
    let (ledger, in_doubt) = (term.document.ledger(), term.in_doubt.clone());
    let held = Held { ledger, in_doubt, ..Held::default() };
    let release = world.take_in_runs(runs(state), held);
    let chosen = plan(&world).admit.into_iter().next();
    let chosen = chosen.and_then(|candidate| {
        state.runs.iter().position(|stored| Some(&stored.run.name) == candidate.run.as_ref())
    });
    if chosen.is_none() && release.is_empty() {
        return;
    }
    if let Some((run, leader)) =
        chosen.and_then(|run| Some((run, superseded(&state.runs[run], term)?)))
    {
        if rules.notices {
            step_down(state, at, term, (run, leader), moves);
        } else {
            let why = format!("r{run} is to be admitted, and every write of it will be refused");
            push(moves, at, &format!("decides to admit r{run}"), state.clone().breaks(P7, why));
        }
        return;
    }
    let mut next = state.clone();
    let add = chosen.map(|run| Slot::of(&state.runs[run].run)).into_iter().collect();
    let follow = chosen.map_or(Follow::Nothing, |run| Follow::Admit(admission(state, run, term)));
    let change = Change { release: release.clone(), add, ..Change::default() };
    if !confirmed(state, term) {
        must_look(&mut next, at);
        push(moves, at, "does not find the Lease as it was", next);
        return;
    }
    send(&mut next, at, &change, follow);
    let name = match (chosen, release.is_empty()) {
        (Some(run), true) => format!("decides to admit r{run}"),
        (Some(run), false) => format!("decides to release a slot and to admit r{run}"),
        (None, _) => "decides to release a slot".to_owned(),
    };
    push(moves, at, &name, next);
}

fn admission(state: &State, at: usize, term: &Term) -> Call {
    let stored = &state.runs[at];
    let next = admit(&stored.run, &state.nodes[at].facts, &contract(), time(0));
    Call::Status {
        at,
        next: Box::new(next),
        mark: term.mark(),
        version: stored.version,
        admits: true,
    }
}

fn must_look(state: &mut State, at: usize) {
    if let Some(term) = &mut state.operators[at].term {
        term.must_look = true;
    }
}

/// The last look at the Lease.
fn confirmed(state: &State, term: &Term) -> bool {
    let seen = state.lease.as_ref().map(|lease| lease.seen());
    let acknowledged = write_of(&term.identity, &term.document.nonce).unwrap_or_default();
    confirms(seen.as_ref(), &term.identity, acknowledged)
}

/// Looks what became of an admission whose answer was lost. A run that did not move is touched, so that no
/// late write can land on it; then its slot may go.
fn settle(state: &State, at: usize, term: &Term, moves: &mut Moves) {
    let Some(uid) = term.in_doubt.first() else { return };
    let mut next = state.clone();
    if let Some(stored) = next.runs.iter_mut().find(|stored| stored.run.uid == *uid)
        && !stored.run.step.holds_slot()
    {
        stored.version += 1;
    }
    if let Some(term) = &mut next.operators[at].term {
        term.in_doubt.remove(uid);
    }
    push(moves, at, &format!("looks whether {uid} was admitted"), next);
}

/// One look at a run.
fn drive(state: &State, at: usize, term: &Term, run: usize, rules: Rules, moves: &mut Moves) {
    let stored = &state.runs[run];
    // A Pending run has no driver, unless it is to go.
    if stored.run.step.is_terminal() || (stored.run.step == Step::Pending && !stored.run.cancel) {
        return;
    }
    if let Some(leader) = superseded(stored, term) {
        step_down(state, at, term, (run, leader), moves);
        return;
    }
    let call = if stored.mark.as_ref() != Some(&term.mark()) {
        (stored.mark.is_some()).then(|| same_status(stored, run, term))
    } else if stored.run.step == Step::Pending || term.document.ledger().holds(&stored.run.uid) {
        decide(state, term, run, rules)
    } else {
        None
    };
    let Some(call) = call else { return };
    let mut next = state.clone();
    if matches!(call, Call::Cordon { .. }) && !confirmed(state, term) {
        must_look(&mut next, at);
        push(moves, at, "does not find the Lease as it was", next);
        return;
    }
    if let Some(term) = &mut next.operators[at].term {
        term.in_hand = Some(call);
    }
    push(moves, at, &format!("looks at r{run} and decides"), next);
}

/// Who writes this run, if it is a term that is not older.
fn superseded<'a>(stored: &'a StoredRun, term: &Term) -> Option<&'a str> {
    let (epoch, leader) = stored.mark.as_ref()?;
    supersedes((*epoch, leader), term.epoch, &term.identity).then_some(leader)
}

fn step_down(
    state: &State,
    at: usize,
    term: &Term,
    (run, leader): (usize, &str),
    moves: &mut Moves,
) {
    let name = format!("sees r{run} in the hands of {leader}, and steps down");
    push(moves, at, &name, given_away(state, at, term));
}

/// Gives the Lease away, if it is still the one that it knows.
fn given_away(state: &State, at: usize, term: &Term) -> State {
    let mut next = without_term(state, at);
    if let Some(lease) = next.lease.as_mut().filter(|lease| lease.version == term.version) {
        next.versions += 1;
        next.lease_age = 0;
        (lease.holder, lease.version) = (String::new(), next.versions);
    }
    next
}

fn decide(state: &State, term: &Term, at: usize, rules: Rules) -> Option<Call> {
    let (stored, node) = (&state.runs[at], &state.nodes[at]);
    let memory = Memory::default();
    let seen = Observation {
        now: time(0),
        node: NodeSeen::Present(&node.facts),
        policy: PolicyStanding::InForce,
        paused: None,
        drain: None,
        reboot_pod: PodSeen::Absent,
        probe_pod: PodSeen::Absent,
        daemon_sets_ready: None,
        memory: &memory,
    };
    match step(&stored.run, &seen).action {
        Action::Change(next) => {
            let unmarked = node.facts.cordon(&stored.run.uid) == Cordon::None;
            // A version that writes the node only if there is something to undo, as far as it can see.
            let at_once = !rules.r4 && next.step == Step::RollingBack && unmarked;
            let next = match at_once {
                true => stored.run.enter(Step::Cancelled, next.reason, String::new(), time(0)),
                false => *next,
            };
            let (mark, version) = (term.mark(), stored.version);
            Some(Call::Status { at, next: Box::new(next), mark, version, admits: false })
        }
        Action::Do(Effect::Cordon) => Some(Call::Cordon { at, version: node.version }),
        Action::Do(Effect::Close { uncordon, result, reason }) => {
            let mut closed = node.facts.clone();
            closed.last_remediation = record(&stored.run, &node.facts, result, reason, time(0));
            closed.cordoned_by = None;
            if uncordon {
                (closed.unschedulable, closed.cordon_field_ours) = (false, false);
            }
            Some(Call::Close { at, closed: Box::new(closed), version: node.version })
        }
        Action::Do(_) | Action::Wait => None,
    }
}
