//! How many nodes may be out: the production planner with its budgets and failure domains, `take_in_runs`,
//! `Ledger::after`, `recovered` and `admit`, in a cluster in which labels, nodes and limits change at any
//! time, admissions are in doubt, and the operator dies.
//!
//! Two policies, each of one pool; racks are the failure domains. Every node is sick. A look, the write of
//! the ledger that was decided on it, and the status write of each run are moves of their own. What was
//! decided is judged by an oracle that knows no planner: it counts names in sets, on the world as the look
//! showed it.
//!
//! Left out: percentages, control-plane nodes, `maxStarts` and ageing; Held runs and strays; reads that are
//! older than the look; more than one operator (that is [another model](crate::lease)).

mod operator;
mod oracle;
mod state;

pub use state::{Purse, Rules, State};

use rerail_core::facts::Ready;
use stateright::{Model, Property};

use crate::{
    check::{Broken, Case, Move, Told},
    given::{at, condition, set},
};
use state::{POOL, RACK, labels};

/// SAFE-4, where it is decided.
pub const BUDGET: &str = "SAFE-4: no start exceeds a limit, in any scope";
/// SAFE-4, where it counts.
pub const SLOTS: &str = "SAFE-4: every run that may act has its slot";
/// SAFE-22.
pub const ONE_RUN: &str = "SAFE-22: one run acts on a node";
/// SAFE-4: limits.
pub const LOWERED: &str = "SAFE-4: lowering a limit starts nobody";
/// LIVE-7.
pub const P4: &str = "P4: no slot of an ended or waiting run is left in the end";

/// The world of this model.
#[derive(Debug, Clone)]
pub struct Budgets {
    /// What may go wrong.
    pub purse: Purse,
    /// The rules that are kept.
    pub rules: Rules,
}

impl Budgets {
    /// A case with this purse, every rule kept.
    pub fn case(purse: Purse) -> Case<Budgets> {
        Budgets::without(purse, Rules::ALL)
    }

    /// A case with these rules only.
    pub fn without(purse: Purse, rules: Rules) -> Case<Budgets> {
        Case { faults: purse.told(), model: Budgets { purse, rules } }
    }
}

/// What is explored by every test run.
pub fn small() -> Vec<Case<Budgets>> {
    let three = Purse { nodes: 3, domains: 2, ..Purse::default() };
    let purses = [
        Purse { racks: 1, pools: 1, late: 1, ..three },
        Purse { pools: 1, outages: 1, late: 1, ..three },
        Purse { crashes: 1, late: 1, ..three },
        Purse { racks: 1, crashes: 1, ..three },
        Purse { limits: 2, outages: 1, ..three },
        Purse { domains: 1, racks: 2, late: 1, ..three },
    ];
    purses.map(Budgets::case).into()
}

/// What is explored by command: four nodes, more at once.
pub fn full() -> Vec<Case<Budgets>> {
    let three = Purse { nodes: 3, domains: 2, ..Purse::default() };
    let four = Purse { nodes: 4, ..three };
    let purses = [
        Purse { racks: 1, crashes: 1, late: 1, ..three },
        Purse { domains: 1, racks: 2, late: 1, crashes: 1, ..four },
        Purse { limits: 2, outages: 1, ..four },
        Purse { pools: 1, outages: 1, ..four },
        Purse { racks: 1, late: 1, ..four },
    ];
    purses.map(Budgets::case).into()
}

impl Told for Budgets {
    fn broken(state: &State) -> Option<&Broken> {
        state.broken.as_ref()
    }
}

impl Model for Budgets {
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
        for at in 0..state.late.len() {
            let mut sent = state.clone();
            let admission = sent.late.remove(at);
            let name = format!("the late admission of {} lands", admission.next.uid);
            moves.push(Move { name: name.into(), next: operator::land(sent, admission) });
        }
        for at in 0..state.runs.len() {
            if let Some(next) = operator::ends(state, at) {
                let name = format!("{} is done", state.runs[at].run.uid);
                moves.push(Move { name: name.into(), next });
            }
        }
        if moves.is_empty()
            && let Some(broken) = at_rest(state)
        {
            let next = State { broken: Some(broken), ..state.clone() };
            moves.push(Move { name: "nothing is left to happen".into(), next });
        }
        of_nodes(state, moves);
        of_limits(state, self.rules, moves);
        if state.purse.crashes > 0 && !state.down {
            let mut next = State { down: true, put: None, ..state.clone() };
            next.purse.crashes -= 1;
            // What was sent may be under way still.
            next.late.append(&mut next.in_hand);
            next.in_doubt.clear();
            moves.push(Move { name: "! the operator dies".into(), next });
        }
    }

    fn next_state(&self, _: &State, step: Move<State>) -> Option<State> {
        Some(step.next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::<Self>::always(BUDGET, |_, state| holds(state, BUDGET)),
            Property::<Self>::always(SLOTS, |_, state| state.down || have_slots(state)),
            Property::<Self>::always(ONE_RUN, |_, state| one_run(state)),
            Property::<Self>::always(LOWERED, |_, state| holds(state, LOWERED)),
            Property::<Self>::always(P4, |_, state| holds(state, P4)),
            Property::<Self>::sometimes("reached: two nodes are out by us", |_, state| {
                state.runs.iter().filter(|stored| stored.run.step.holds_slot()).count() > 1
            }),
            Property::<Self>::sometimes("reached: every node is healed", |_, state| {
                state.nodes.iter().all(|node| !node.conditions.contains_key("Sick"))
            }),
        ];
        if self.purse.domains == 1 {
            properties.remove(5);
        }
        if self.purse.late > 0 {
            let lands =
                |_: &Self, state: &State| !state.late.is_empty() && !state.in_doubt.is_empty();
            properties.push(Property::sometimes("reached: an admission is in doubt", lands));
        }
        if self.purse.racks > 0 {
            properties
                .push(Property::sometimes("reached: a node under way changes its rack", moved));
        }
        properties
    }
}

fn holds(state: &State, property: &str) -> bool {
    state.broken.as_ref().is_none_or(|broken| broken.property != property)
}

fn have_slots(state: &State) -> bool {
    state.runs.iter().all(|run| !run.run.step.holds_slot() || state.ledger.holds(&run.run.uid))
}

fn one_run(state: &State) -> bool {
    let acting = |name: &str| {
        let runs = state.runs.iter().filter(|stored| stored.run.node_name == name);
        runs.filter(|stored| stored.run.step.holds_slot()).count()
    };
    state.nodes.iter().all(|node| acting(&node.name) <= 1)
}

fn moved(_: &Budgets, state: &State) -> bool {
    state.runs.iter().any(|stored| {
        let node = state.nodes.iter().find(|node| node.name == stored.run.node_name);
        let now = node.and_then(|node| node.labels.get(RACK));
        let frozen = stored.run.domain.as_ref().and_then(|domain| domain.0.first());
        stored.run.step.holds_slot() && frozen.map(|label| label.value.as_str()) != now
    })
}

fn at_rest(state: &State) -> Option<Broken> {
    let left = state.ledger.slots.first()?;
    Some(Broken::new(P4, format!("the slot of {} is left", left.run_uid)))
}

fn of_nodes(state: &State, moves: &mut Vec<Move<State>>) {
    let mut fault = |name: String, at: usize, change: &dyn Fn(&mut State, usize)| {
        let mut next = state.clone();
        change(&mut next, at);
        moves.push(Move { name: format!("! {name}").into(), next });
    };
    for (index, node) in state.nodes.iter().enumerate() {
        let name = &node.name;
        let label = |key: &str| node.labels.get(key).unwrap_or_default().to_owned();
        let (pool, rack) = (label(POOL), label(RACK));
        let other = |now: &str, a: &'static str, b| if now == a { b } else { a };
        if state.purse.pools > 0 {
            let to = other(&pool, "a", "b");
            fault(format!("{name} is moved to pool {to}"), index, &|s, at| {
                s.purse.pools -= 1;
                s.nodes[at].labels = labels(to, &rack);
            });
        }
        if state.purse.racks > 0 {
            let to = other(&rack, "r1", "r2");
            fault(format!("{name} is moved to rack {to}"), index, &|s, at| {
                s.purse.racks -= 1;
                s.nodes[at].labels = labels(&pool, to);
            });
        }
        if state.purse.outages > 0 && node.cordoned_by.is_none() {
            fault(format!("a person cordons or uncordons {name}"), index, &|s, at| {
                s.purse.outages -= 1;
                s.nodes[at].unschedulable = !s.nodes[at].unschedulable;
            });
        }
        if state.purse.outages > 0 {
            let to = if node.ready == Ready::True { "Unknown" } else { "True" };
            fault(format!("{name} is Ready: {to}"), index, &|s, position| {
                s.purse.outages -= 1;
                set(&mut s.nodes[position], condition("Ready", to, at(0)));
            });
        }
    }
}

fn of_limits(state: &State, rules: Rules, moves: &mut Vec<Move<State>>) {
    if state.purse.limits == 0 {
        return;
    }
    for cluster in [true, false] {
        let now = if cluster { state.cluster_limit } else { state.policy_limit };
        for to in [0, 1, 2].into_iter().filter(|to| *to != now) {
            let mut next = state.clone();
            next.purse.limits -= 1;
            *(if cluster { &mut next.cluster_limit } else { &mut next.policy_limit }) = to;
            let starts = |state: &State| operator::planned(state, rules).0.admit.len();
            if to < now && starts(&next) > starts(state) {
                next = next.breaks(LOWERED, "more nodes would start than before");
            }
            let what = if cluster { "the cluster" } else { "each policy" };
            moves.push(Move { name: format!("! the limit of {what} is {to} now").into(), next });
        }
    }
}
