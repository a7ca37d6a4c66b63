//! One run: the production `step`, `admit`, `record`, `sweep` and `reboot_check::check`, every order in
//! which operator, reboot Pods, machine, kubelet and people can come, and faults from a purse.
//!
//! Every call of the operator is two moves: it looks and decides, then the call is sent; in between
//! anything may happen. Writes are compare-and-swap, as on the API server. A reboot Pod reads the run,
//! reads the node, and acts: three moves. A boot and the kubelet's report of it are two.
//!
//! Time passes only when the operator waits for it. Two assumptions of the protocol are about time and
//! are made here, too: a Pod acts within seconds of its reads or not at all, and a process or a reboot
//! that is under way is over when a Pod's deadline has passed (R2c).
//!
//! Left out: other leaders and the ledger (they have [a model of their own](crate::lease)), evictions,
//! verification beyond Ready and boot ID.

mod faults;
mod machine;
mod operator;
mod state;

pub use state::{At, Call, NOBODY, Process, Purse, RUN, Rules, State, What};

use rerail_core::{
    reason::Reason,
    remediation::{Action, Decision},
    step::Step,
    sweep::Sweep,
};
use stateright::{Model, Property};

use crate::check::{Broken, Case, Move, Told};

/// An attempt boots the machine once at most (SAFE-1).
pub const P2: &str = "P2: at most one boot per attempt";
/// Nothing of a run lands on a node that it has given back.
pub const P3A: &str = "P3a: no cordon lands after the run gave its place up";
/// A Pod acts only while its run holds its slot.
pub const P3B: &str = "P3b: no reboot after the run gave its place up";
/// When nothing can happen any more, no mark is left of a run that ended.
pub const P5: &str =
    "P5: no mark of an ended run is left in the end, and no cordon of a healed node";
/// SAFE-3.
pub const INTENT: &str = "SAFE-3: no Pod may act that did not read its own intent";
/// SAFE-13.
pub const NODE: &str = "SAFE-13: nothing of a run is written on another node";
/// SAFE-18.
pub const STEPS: &str = "SAFE-18: a step is followed only by one that may follow";
/// SAFE-19.
pub const HEALTHY: &str =
    "SAFE-19: a node is given back only when Ready, and as healed only after a boot";
/// SAFE-6.
pub const P6: &str = "P6: nobody else's cordon is lifted";
/// LIVE-1.
pub const P7: &str = "P7: no run is stuck in the end";
/// SAFE-7.
pub const RESPECT: &str = "SAFE-7: no attempt is begun against what others say on the node";

const SUCCEEDS: &str = "reached: a run succeeds";
const CANCELLED: &str = "reached: a run ends cancelled";
const HELD: &str = "reached: a run is held";
const WITHDRAWN: &str = "reached: an attempt is withdrawn";
const SWEPT: &str = "reached: what a lost run left is swept";
const UNFORGED: &str = "reached: a forged mark is taken off";
const CLAIMED: &str = "reached: a run turns back for another controller";
const TAKEN_OVER: &str = "reached: somebody else's cordon is left alone";

/// One run.
#[derive(Debug, Clone)]
pub struct OneRun {
    /// What may go wrong.
    pub purse: Purse,
    /// The rules that are kept.
    pub rules: Rules,
}

impl OneRun {
    /// A case with this purse, every rule kept.
    pub fn case(purse: Purse) -> Case<OneRun> {
        OneRun::without(purse, Rules::ALL)
    }

    /// A case with these rules only.
    pub fn without(purse: Purse, rules: Rules) -> Case<OneRun> {
        Case { faults: purse.told(), model: OneRun { purse, rules } }
    }
}

/// What is explored by every test run.
pub fn small() -> Vec<Case<OneRun>> {
    let none = Purse::default();
    let purses = [
        none,
        Purse { crashes: 2, late: 1, ..none },
        Purse { crashes: 1, late: 1, cancels: 1, ..none },
        Purse { people: 2, late: 1, ..none },
        Purse { people: 2, crashes: 1, cancels: 1, ..none },
        Purse { lost_pods: 1, crashes: 1, cancels: 1, ..none },
        Purse { reruns: 1, crashes: 1, cancels: 1, ..none },
        Purse { lost_pods: 1, reruns: 1, late: 1, ..none },
        Purse { own_boots: 1, crashes: 1, cancels: 1, ..none },
        Purse { replaced: 1, late: 1, crashes: 1, ..none },
        Purse { unready: 2, late: 1, ..none },
        Purse { unready: 1, cancels: 1, ..none },
        Purse { deletions: 1, late: 1, ..none },
        Purse { deletions: 1, crashes: 1, people: 1, ..none },
        Purse { deletions: 1, lost_pods: 1, reruns: 1, ..none },
    ];
    purses.map(OneRun::case).into()
}

/// What is explored by command: more at once.
pub fn full() -> Vec<Case<OneRun>> {
    let none = Purse::default();
    let purses = [
        Purse { crashes: 2, late: 1, cancels: 1, lost_pods: 1, ..none },
        Purse { crashes: 1, late: 1, cancels: 1, people: 2, ..none },
        Purse { crashes: 1, cancels: 1, lost_pods: 1, reruns: 1, own_boots: 1, ..none },
        Purse { crashes: 1, late: 1, replaced: 1, cancels: 1, lost_pods: 1, ..none },
        Purse { late: 1, unready: 2, own_boots: 1, ..none },
        Purse { crashes: 1, late: 1, unready: 1, own_boots: 1, ..none },
        Purse { deletions: 1, crashes: 1, late: 1, lost_pods: 1, people: 1, ..none },
    ];
    purses.map(OneRun::case).into()
}

impl Told for OneRun {
    fn broken(state: &State) -> Option<&Broken> {
        state.broken.as_ref()
    }
}

impl Model for OneRun {
    type State = State;
    type Action = Move<State>;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self.purse)]
    }

    fn actions(&self, state: &State, moves: &mut Vec<Move<State>>) {
        if state.broken.is_some() {
            return;
        }
        operator::moves(state, self.rules, moves);
        machine::moves(state, self.rules, moves);
        if moves.is_empty()
            && let Some(broken) = at_rest(state, self.rules, self.purse)
        {
            let next = State { broken: Some(broken), ..state.clone() };
            moves.push(Move { name: "nothing is left to happen".into(), next });
        }
        faults::moves(state, moves);
    }

    fn next_state(&self, _: &State, step: Move<State>) -> Option<State> {
        Some(step.next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::<Self>::always(P2, |_, state| holds(state, P2)),
            Property::<Self>::always(P3A, |_, state| holds(state, P3A)),
            Property::<Self>::always(P3B, |_, state| holds(state, P3B)),
            Property::<Self>::always(P5, |_, state| holds(state, P5)),
            Property::<Self>::always(INTENT, |_, state| holds(state, INTENT)),
            Property::<Self>::always(NODE, |_, state| holds(state, NODE)),
            Property::<Self>::always(STEPS, |_, state| holds(state, STEPS)),
            Property::<Self>::always(HEALTHY, |_, state| holds(state, HEALTHY)),
            Property::<Self>::always(P6, |_, state| holds(state, P6)),
            Property::<Self>::always(P7, |_, state| holds(state, P7)),
            Property::<Self>::always(RESPECT, |_, state| holds(state, RESPECT)),
            Property::<Self>::sometimes(SUCCEEDS, |_, state| state.run.step == Step::Succeeded),
        ];
        let purse = self.purse;
        if purse.cancels > 0 {
            let cancelled = |_: &Self, state: &State| state.run.step == Step::Cancelled;
            properties.push(Property::sometimes(CANCELLED, cancelled));
            let withdrawn = |_: &Self, state: &State| state.run.step == Step::Withdrawing;
            properties.push(Property::sometimes(WITHDRAWN, withdrawn));
        }
        if purse.people > 0 || purse.own_boots > 0 && purse.cancels > 0 || purse.holds > 0 {
            properties
                .push(Property::sometimes(HELD, |_, state: &State| state.run.step == Step::Held));
        }
        if purse.deletions > 0 {
            properties.push(Property::sometimes(SWEPT, |_, state: &State| state.swept));
        }
        if purse.forged > 0 {
            let unforged = |_: &Self, state: &State| state.forged.is_none() && forged(state);
            properties.push(Property::sometimes(UNFORGED, unforged));
        }
        if purse.claims > 0 {
            let claimed = |_: &Self, state: &State| {
                state.run.step == Step::Cancelled && state.run.reason == Reason::ClaimedByOther
            };
            properties.push(Property::sometimes(CLAIMED, claimed));
        }
        if purse.people > 1 {
            let left = |_: &Self, state: &State| {
                state.run.step.is_terminal() && state.others_cordon && state.node.unschedulable
            };
            properties.push(Property::sometimes(TAKEN_OVER, left));
        }
        properties
    }
}

fn holds(state: &State, property: &str) -> bool {
    state.broken.as_ref().is_none_or(|broken| broken.property != property)
}

/// A mark was forged and its closing write is on the node.
fn forged(state: &State) -> bool {
    state.node.last_remediation.last.as_ref().is_some_and(|last| last.uid == NOBODY)
}

/// P5, P7: where nothing can happen any more but a fault, the run has ended without a mark, or waits
/// visibly for the world.
fn at_rest(state: &State, rules: Rules, purse: Purse) -> Option<Broken> {
    if let Some(broken) = marks_at_rest(state) {
        return Some(broken);
    }
    if state.stray.is_some() || state.swept {
        return None;
    }
    if state.run.step.is_terminal() {
        let marked =
            state.node.cordoned_by.as_deref() == Some(RUN) && state.node.uid == state.run.node_uid;
        let healed = state.run.step == Step::Succeeded && state.node.uid == state.run.node_uid;
        // Where others write marks, nobody can say any more whose cordon it is: it stays (SAFE-6).
        let known = purse.forged == 0 && purse.unmarked == 0;
        let out = healed && known && state.node.unschedulable && !state.others_cordon;
        let left = |what: &str| Broken::new(P5, format!("{} leaves {what}", state.run.step));
        return marked.then(|| left("its mark")).or_else(|| out.then(|| left("its cordon")));
    }
    let Decision { action, reason, .. } = operator::decision(state, rules);
    let says_why = state.run.step == Step::Held || reason == Reason::EffectUnresolved;
    let waits = action == Action::Wait && (says_why || waits_for_others(state));
    (!waits).then(|| Broken::new(P7, format!("stuck in {}: {reason}, {action:?}", state.run.step)))
}

/// A run before its cordon waits for a mark of somebody else's to go, which the sweep waits with, too.
fn waits_for_others(state: &State) -> bool {
    state.run.step == Step::Cordoning && state.forged.is_some()
}

/// What the sweep would still do where nothing happens any more.
fn marks_at_rest(state: &State) -> Option<Broken> {
    for stray in state.stray.iter().filter(|_| !state.swept).chain(&state.forged) {
        match operator::swept(state, stray) {
            Sweep::Wait { recheck_at: None, .. } => {}
            other => {
                let why = format!("{other:?} is left to do for the mark of {}", stray.run_uid);
                return Some(Broken::new(P5, why));
            }
        }
    }
    let marked = state.node.cordoned_by.as_deref();
    let orphan =
        (state.swept && marked == Some(RUN)) || (state.forged.is_none() && marked == Some(NOBODY));
    orphan.then(|| Broken::new(P5, "the sweep is done, and a mark is left"))
}
