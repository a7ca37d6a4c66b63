//! The operator: it looks, plans by the production planner, writes the ledger, then the runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rerail_core::{
    budget::CountOrPercent,
    config::ClusterConfig,
    facts::{NodeFacts, Ready},
    ledger::{Change, Known, Slot, recovered},
    plan::{Candidate, Held, Plan, World, plan},
    reason::Reason,
    remediation::{admit, cancel_pending},
    run::Run,
    step::Step,
};

use super::{
    BUDGET,
    oracle::exceeded,
    state::{Admission, Put, RACK, Rules, State, StoredRun},
};
use crate::{
    check::Move,
    given::{at, pending},
};

type Moves = Vec<Move<State>>;

fn push(moves: &mut Moves, name: impl Into<String>, next: State) {
    moves.push(Move { name: name.into().into(), next });
}

/// Everything that the operator can do.
pub(super) fn moves(state: &State, rules: Rules, moves: &mut Moves) {
    if state.down {
        push(moves, "another operator recovers", recover(state, rules));
        return;
    }
    if let Some(put) = &state.put {
        let mut next = state.clone();
        next.put = None;
        next.ledger = put.ledger.clone();
        next.in_doubt.extend(put.admissions.iter().map(|admission| admission.next.uid.clone()));
        next.in_hand = put.admissions.clone();
        push(moves, "the ledger is written", next);
        return;
    }
    if !state.in_hand.is_empty() {
        for index in 0..state.in_hand.len() {
            in_hand(state, index, moves);
        }
        return;
    }
    settle(state, moves);
    look(state, rules, moves);
}

fn in_hand(state: &State, index: usize, moves: &mut Moves) {
    let mut sent = state.clone();
    let admission = sent.in_hand.remove(index);
    let uid = admission.next.uid.clone();
    if state.purse.late > 0 {
        let mut late = sent.clone();
        late.purse.late -= 1;
        late.late.push(admission.clone());
        push(moves, format!("! the admission of {uid} is late"), late);
    }
    let mut next = land(sent, admission);
    next.in_doubt.remove(&uid);
    push(moves, format!("{uid} is admitted"), next);
}

/// A status write reaches the API server. From then on the node is cordoned: how that lands is the matter
/// of another model.
pub(super) fn land(mut state: State, admission: Admission) -> State {
    let stored = &mut state.runs[admission.at];
    if stored.version != admission.version {
        return state;
    }
    stored.version += 1;
    stored.run = admission.next;
    let (uid, name) = (stored.run.uid.clone(), stored.run.node_name.clone());
    if let Some(node) = state.nodes.iter_mut().find(|node| node.name == name) {
        node.unschedulable = true;
        node.cordoned_by = Some(uid);
        node.cordon_field_ours = true;
    }
    state
}

fn runs(state: &State) -> Vec<Run> {
    state.runs.iter().map(|stored| stored.run.clone()).collect()
}

fn nodes(state: &State) -> BTreeMap<String, Arc<NodeFacts>> {
    state.nodes.iter().map(|node| (node.name.clone(), Arc::new(node.clone()))).collect()
}

/// What the operator plans by, and the slots that go.
pub(super) fn planned(state: &State, rules: Rules) -> (Plan, BTreeSet<String>) {
    let mut world = World {
        nodes: nodes(state),
        policies: state.policies().map(|policy| (policy.name.clone(), policy)).into(),
        config: Some(ClusterConfig {
            topology_keys: vec![RACK.into()],
            max_unavailable: CountOrPercent::Count(state.cluster_limit),
            min_floor: 0,
            max_domains: u32::from(state.purse.domains),
        }),
        ..World::empty(at(0))
    };
    if !rules.out {
        for node in world.nodes.values_mut().filter(|node| node.cordoned_by.is_none()) {
            let facts = NodeFacts::clone(node);
            *node = Arc::new(NodeFacts { unschedulable: false, ready: Ready::True, ..facts });
        }
    }
    let in_doubt = if rules.doubt { state.in_doubt.clone() } else { BTreeSet::new() };
    let held = Held { ledger: state.ledger.clone(), in_doubt, ..Held::default() };
    let mut runs = runs(state);
    if !rules.frozen {
        runs.iter_mut().for_each(|run| run.domain = None);
    }
    let release = world.take_in_runs(runs, held);
    if !rules.ledger {
        world.ledger.slots.clear();
    }
    (plan(&world), release)
}

/// The last look at everything, and what is decided on it: the whole set, or one of it where the others
/// were not chosen in the look before.
fn look(state: &State, rules: Rules, moves: &mut Moves) {
    let (plan, release) = planned(state, rules);
    for name in &plan.discard {
        let mut next = state.clone();
        if let Some(stored) = next.runs.iter_mut().find(|stored| stored.run.name == *name) {
            stored.run = cancel_pending(&stored.run, Reason::NoCandidate, "", at(0));
            stored.version += 1;
            push(moves, format!("the operator discards {name}"), next);
        }
    }
    let mut sets: Vec<Vec<&Candidate>> = Vec::new();
    if !plan.admit.is_empty() || !release.is_empty() {
        sets.push(plan.admit.iter().collect());
    }
    if plan.admit.len() > 1 {
        sets.extend(plan.admit.iter().map(|one| vec![one]));
    }
    for set in sets {
        decide(state, &set, &release, moves);
    }
}

fn decide(state: &State, set: &[&Candidate], release: &BTreeSet<String>, moves: &mut Moves) {
    let mut next = state.clone();
    let mut admissions = Vec::new();
    for candidate in set {
        let Some(node) = state.nodes.iter().find(|node| node.name == candidate.node) else {
            continue;
        };
        let at_run = pending_run(&mut next, candidate, node);
        let stored = &next.runs[at_run];
        let contract = &state.policies()[0].contract;
        let admitted = admit(&stored.run, node, contract, at(0));
        let admitted = Run { domain: Some(candidate.domain.clone()), ..admitted };
        admissions.push(Admission { at: at_run, next: admitted, version: stored.version });
    }
    let without = Change { release: release.clone(), ..Change::default() };
    let starts: Vec<_> =
        set.iter().map(|candidate| (candidate.node.as_str(), candidate.policy.as_str())).collect();
    let names = starts.iter().map(|(node, policy)| format!("{node} for {policy}"));
    let names = names.collect::<Vec<_>>().join(" and ");
    let name = match (names.is_empty(), release.is_empty()) {
        (true, _) => "the operator decides to release slots".to_owned(),
        (false, true) => format!("the operator decides to start {names}"),
        (false, false) => format!("the operator decides to release slots and to start {names}"),
    };
    if let Some(why) = exceeded(state, &state.ledger.after(&without, at(0)), &starts) {
        push(moves, name, next.breaks(BUDGET, why));
        return;
    }
    let add = admissions.iter().map(|admission| Slot::of(&admission.next)).collect();
    let ledger = state.ledger.after(&Change { add, ..without }, at(0));
    next.put = Some(Put { ledger, admissions });
    push(moves, name, next);
}

/// The candidate's run: the one that exists, or a new one.
fn pending_run(state: &mut State, candidate: &Candidate, node: &NodeFacts) -> usize {
    let known = |stored: &StoredRun| candidate.run.as_ref() == Some(&stored.run.name);
    if let Some(found) = state.runs.iter().position(known) {
        return found;
    }
    let uid = format!("run-{}-of-{}", state.runs.len(), node.name);
    let run = Run {
        policy: candidate.policy.clone(),
        causes: vec!["Sick".into()],
        name: uid.clone(),
        ..pending(&uid, node)
    };
    state.runs.push(StoredRun { run, version: 0 });
    state.runs.len() - 1
}

/// Looks what became of admissions of which nothing was heard. A run that did not move is touched, so that
/// no late write can land on it; then its slot may go.
fn settle(state: &State, moves: &mut Moves) {
    let Some(uid) = state.in_doubt.first() else { return };
    let mut next = state.clone();
    next.in_doubt.remove(uid);
    if let Some(stored) = next.runs.iter_mut().find(|stored| stored.run.uid == *uid)
        && !stored.run.step.holds_slot()
    {
        stored.version += 1;
    }
    push(moves, format!("the operator looks whether {uid} was admitted"), next);
}

/// The production recovery, every open run written first.
fn recover(state: &State, rules: Rules) -> State {
    let mut next = State { down: false, ..state.clone() };
    let (runs, nodes) = (runs(state), nodes(state));
    let known = Known {
        runs: &runs,
        strays: &[],
        nodes: &nodes,
        in_doubt: &BTreeSet::new(),
        done: &BTreeSet::new(),
        now: at(0),
    };
    let slots = recovered(&state.ledger, &known, &BTreeSet::new());
    next.ledger = state.ledger.after(&Change { replace: Some(slots), ..Change::default() }, at(0));
    let open = |stored: &&mut StoredRun| !stored.run.step.is_terminal() && rules.adopts;
    next.runs.iter_mut().filter(open).for_each(|stored| stored.version += 1);
    next
}

/// A run that was admitted is done: its machine is well, and its node is given back.
pub(super) fn ends(state: &State, at_run: usize) -> Option<State> {
    let stored = &state.runs[at_run];
    if !stored.run.step.holds_slot() {
        return None;
    }
    let mut next = state.clone();
    let run = stored.run.enter(Step::Succeeded, Reason::Healed, String::new(), at(0));
    next.runs[at_run] = StoredRun { version: stored.version + 1, run };
    let name = &stored.run.node_name;
    if let Some(node) = next.nodes.iter_mut().find(|node| node.name == *name) {
        node.unschedulable = false;
        node.cordoned_by = None;
        node.cordon_field_ours = false;
        node.conditions.remove("Sick");
    }
    Some(next)
}
