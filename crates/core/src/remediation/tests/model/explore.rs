//! Breadth first over every state that can be reached, so that what is found is found by the shortest way.

use std::{
    collections::{BTreeSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

use super::{
    moves,
    state::{Purse, Rules, State},
};
use crate::{reason::Reason, remediation::Action, step::Step};

/// More states than any purse here has; a model that grows beyond it is no check any more.
const STATES: usize = 400_000;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub violation: Option<String>,
    /// The moves that lead to it.
    pub trace: Vec<&'static str>,
    pub states: usize,
    pub depth: usize,
    // Seen at least once, or the model is vacuous.
    pub succeeded: bool,
    pub cancelled: bool,
    pub held: bool,
}

/// Looks at every state.
pub(super) fn explore(purse: Purse, rules: Rules) -> Outcome {
    let mut outcome = Outcome::default();
    let mut seen = BTreeSet::new();
    // How each state was reached: its parent, and the move.
    let mut log: Vec<(usize, &'static str)> = vec![(0, "admitted")];
    let mut frontier = VecDeque::from([(State::new(purse), 0, 0)]);
    while let Some((state, index, depth)) = frontier.pop_front() {
        outcome.depth = outcome.depth.max(depth);
        outcome.succeeded |= state.run.step == Step::Succeeded;
        outcome.cancelled |= state.run.step == Step::Cancelled;
        outcome.held |= state.run.step == Step::Held;
        let all = moves::all(&state, rules);
        let violation = match all.iter().find_map(|(_, next)| next.as_ref().err()) {
            Some(violation) => Some(violation.clone()),
            None if all.iter().all(|(name, _)| moves::is_fault(name)) => at_rest(&state, rules),
            None => None,
        };
        if let Some(violation) = violation {
            let broken = all.iter().find(|(_, next)| next.is_err()).map(|(name, _)| *name);
            outcome.trace = trace(&log, index, broken);
            outcome.violation = Some(violation);
            break;
        }
        for (name, next) in all {
            let Ok(next) = next else { continue };
            if seen.insert(digest(&next)) {
                log.push((index, name));
                frontier.push_back((next, log.len() - 1, depth + 1));
            }
        }
        assert!(seen.len() < STATES, "too many states: the model has grown");
    }
    outcome.states = seen.len();
    outcome
}

fn trace(
    log: &[(usize, &'static str)],
    mut index: usize,
    last: Option<&'static str>,
) -> Vec<&'static str> {
    let mut trace: Vec<_> = last.into_iter().collect();
    while index != 0 {
        trace.push(log[index].1);
        index = log[index].0;
    }
    trace.reverse();
    trace
}

/// Two hashes of all that a state is: of as many states as there are here no two share both.
fn digest(state: &State) -> (u64, u64) {
    let text = format!("{state:?}");
    let hash = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, &text).hash(&mut hasher);
        hasher.finish()
    };
    (hash(0), hash(1))
}

/// P5, P7: where nothing can happen any more but a fault, the run has ended without a mark, or waits
/// visibly for the world.
fn at_rest(state: &State, rules: Rules) -> Option<String> {
    if state.swept || state.stray.is_some() {
        let marked = state.node.cordoned_by.is_some();
        let waits = state.down.is_some() || !state.swept;
        return (marked && !waits).then(|| "P5: the sweep leaves a mark".to_owned());
    }
    let marked = state.node.cordoned_by.is_some() && state.node.uid == state.run.node_uid;
    if state.run.step.is_terminal() {
        return marked.then(|| format!("P5: {} leaves its mark", state.run.step));
    }
    let decision = moves::look(state, rules).decision;
    let says_why = state.run.step == Step::Held || decision.reason == Reason::EffectUnresolved;
    let stuck = decision.action != Action::Wait || !says_why;
    stuck.then(|| format!("P7: stuck in {}: {:?}", state.run.step, decision))
}
