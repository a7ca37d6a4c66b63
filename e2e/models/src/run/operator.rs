//! The operator: it looks, decides by the production functions, and its call lands later.

use std::borrow::Cow;

use rerail_core::{
    doubt::Doubt,
    drain::progress::DrainPlan,
    facts::{Cordon, NodeFacts, Ready},
    reason::Reason,
    reboot_check::{Expected, Refusal, Report},
    remediation::{
        Action, Decision, Effect, NodeSeen, Observation, PodSeen, PolicyStanding, record,
        record_attempts, record_without_run, step,
    },
    run::{Intent, IntentEffect, Run},
    step::Step,
    sweep::{Stray, Sweep, sweep},
};

use super::{
    HEALTHY, NODE, P3A, P6, RESPECT, RUN, STEPS,
    machine::pass_time,
    state::{At, Call, NOBODY, Process, Rules, State, What},
};
use crate::check::Move;

type Moves = Vec<Move<State>>;

fn push(moves: &mut Moves, name: impl Into<Cow<'static, str>>, next: State) {
    moves.push(Move { name: name.into(), next });
}

/// What is decided, for people.
fn words(what: &What) -> Cow<'static, str> {
    let action = match what {
        What::Swept(_) => return "the sweep's closing write".into(),
        What::Unforged(_) => return "the closing write for the forged mark".into(),
        What::Driven(decision) => &decision.action,
    };
    match action {
        Action::Change(next) => format!("status {}, {}", next.step, next.reason.name()).into(),
        Action::Do(effect) => match effect {
            Effect::Cordon => "the cordon".into(),
            Effect::Remember => "the attempts on the node's record".into(),
            Effect::Evict(_) => "evictions".into(),
            Effect::CreateRebootPod(_) => "the reboot Pod".into(),
            Effect::DeleteRebootPod => "the deletion of the reboot Pod".into(),
            Effect::CreateProbePod => "the probe Pod".into(),
            Effect::DeleteProbePod => "the deletion of the probe Pod".into(),
            Effect::Close { uncordon: true, .. } => "the closing write, with the uncordon".into(),
            Effect::Close { uncordon: false, .. } => "the closing write, without uncordon".into(),
        },
        Action::Wait => "nothing".into(),
    }
}

/// Everything that the operator, and a call that it has given up on, can do.
pub(super) fn moves(state: &State, rules: Rules, moves: &mut Moves) {
    if let Some(call) = &state.late {
        let sent = State { late: None, ..state.clone() };
        let name = format!("late: {}", words(&call.what));
        push(moves, name, land(sent, call.clone(), false, rules));
    }
    if let Some(call) = &state.in_hand {
        let sent = State { in_hand: None, ..state.clone() };
        let name = format!("it lands: {}", words(&call.what));
        push(moves, name, land(sent, call.clone(), true, rules));
        return;
    }
    forged(state, rules, moves);
    match &state.stray {
        _ if state.swept => {}
        Some(stray) if rules.r10 => sweeper(state, stray, moves),
        Some(_) => {}
        None if state.run.step.is_terminal() => {}
        None => driver(state, rules, moves),
    }
}

fn driver(state: &State, rules: Rules, moves: &mut Moves) {
    let mut looked = state.clone();
    let call = look(&mut looked, rules);
    let What::Driven(decision) = &call.what else { return };
    match &decision.action {
        Action::Wait => {
            // What it has seen it remembers, however long it waits then.
            if looked.memory != state.memory {
                push(moves, "the operator looks", looked.clone());
            }
            if let Some(at) = decision.recheck_at.filter(|at| *at > state.now) {
                push(moves, "time passes", pass_time(looked, at));
            }
        }
        Action::Change(next) => {
            let attempts = next.step == Step::Rebooting;
            let against = if attempts { others_say(&state.node) } else { None };
            let name = format!("the operator decides: {}", words(&call.what));
            let next = State { in_hand: Some(call), ..looked };
            let next = match against {
                Some(what) => next.breaks(RESPECT, format!("an attempt is begun although {what}")),
                None => next,
            };
            push(moves, name, next);
        }
        Action::Do(_) if rules.r11 && state.doubt.may_land_on(&state.run_version) => {
            let name = "the operator overtakes its status write that is in doubt";
            let run_version = looked.run_version + 1;
            push(moves, name, State { run_version, doubt: Doubt::Nothing, ..looked });
        }
        Action::Do(_) => {
            let name = format!("the operator decides: {}", words(&call.what));
            push(moves, name, State { in_hand: Some(call), ..looked });
        }
    }
}

/// What somebody else says on the node against touching it.
fn others_say(node: &NodeFacts) -> Option<&'static str> {
    if node.claim.is_some() {
        Some("another controller claims the node")
    } else if node.hold {
        Some("the node bears the label rerail.dev/hold")
    } else if node.cordon(RUN) != Cordon::Ours {
        Some("the cordon is not the run's")
    } else {
        None
    }
}

/// What the sweep makes of a stray now.
pub(super) fn swept(state: &State, stray: &Stray) -> Sweep {
    let alive = |p: &&Process| p.object && !matches!(p.at, At::Acted | At::Over(..));
    let pods = stray.run_uid == RUN
        && state.processes.iter().filter(alive).any(|process| !process.deleting);
    sweep(stray, Some(&state.node), pods, state.now)
}

/// The run is gone: what the sweep makes of its node.
fn sweeper(state: &State, stray: &Stray, moves: &mut Moves) {
    let mut looked = state.clone();
    let mut stray = stray.clone();
    stray.observe(&state.node, state.now);
    looked.stray = Some(stray.clone());
    match swept(state, &stray) {
        Sweep::Done => push(moves, "the sweep is done", State { swept: true, ..looked }),
        Sweep::DeletePods => {
            for process in &mut looked.processes {
                process.deleting = true;
            }
            push(moves, "the sweep deletes the Pods", looked);
        }
        Sweep::Close { uncordon } => {
            push(moves, "the sweep decides", in_hand(looked, What::Swept(uncordon)));
        }
        Sweep::Wait { recheck_at, .. } => {
            if let Some(at) = recheck_at.filter(|at| *at > state.now) {
                push(moves, "time passes", pass_time(looked, at));
            } else if looked.stray != state.stray {
                push(moves, "the sweep looks", looked);
            }
        }
    }
}

/// The mark of a run that never was: the operator has seen it appear.
fn forged(state: &State, rules: Rules, moves: &mut Moves) {
    let Some(mut stray) = state.forged.clone().filter(|_| rules.r10) else { return };
    stray.observe(&state.node, state.now);
    let looked = State { forged: Some(stray.clone()), ..state.clone() };
    match swept(state, &stray) {
        Sweep::Done => push(moves, "the sweep is done", State { forged: None, ..looked }),
        Sweep::Close { uncordon } => {
            let name = "the sweep decides about the forged mark";
            push(moves, name, in_hand(looked, What::Unforged(uncordon)));
        }
        Sweep::Wait { recheck_at, .. } => {
            if let Some(at) = recheck_at.filter(|at| *at > state.now) {
                push(moves, "time passes", pass_time(looked, at));
            } else if looked.forged != state.forged {
                push(moves, "the sweep looks", looked);
            }
        }
        Sweep::DeletePods => {}
    }
}

fn in_hand(state: State, what: What) -> State {
    let (run_version, node_version) = (state.run_version, state.node_version);
    State { in_hand: Some(Call { what, run_version, node_version }), ..state }
}

/// What the operator would decide about the run now.
pub(super) fn decision(state: &State, rules: Rules) -> Decision {
    decide(&mut state.clone(), rules)
}

fn look(state: &mut State, rules: Rules) -> Call {
    let what = What::Driven(decide(state, rules));
    Call { what, run_version: state.run_version, node_version: state.node_version }
}

/// The node as a version without some rules reads it.
fn node_seen(state: &State, rules: Rules) -> NodeFacts {
    let mut node = state.node.clone();
    if !rules.r9 {
        node.cordon_field_ours = node.cordoned_by.is_some();
    }
    if !rules.respect {
        (node.claim, node.hold) = (None, false);
    }
    if !rules.own_marks && node.cordoned_by.is_some() {
        node.cordoned_by = Some(RUN.into());
    }
    node
}

fn decide(state: &mut State, rules: Rules) -> Decision {
    let node = node_seen(state, rules);
    let pod = pod_seen(state);
    let same = node.uid == state.run.node_uid;
    // A version that does not wait for lost Pods, or for those of a machine whose Node is another one: by
    // its clock their time is over at once.
    let waits = rules.r2c && (rules.replaced || same);
    let hasty = !waits && state.run.step == Step::Withdrawing;
    let now = match hasty {
        true => rerail_core::reboot_check::pods_harmless_at(state.now),
        false => state.now,
    };
    if same {
        state.memory.observe(&state.run, &node, &pod, now);
    }
    let drained = DrainPlan { done: true, ..DrainPlan::default() };
    let seen = Observation {
        now,
        node: if same { NodeSeen::Present(&node) } else { NodeSeen::Replaced },
        policy: PolicyStanding::InForce,
        paused: None,
        drain: Some(&drained),
        reboot_pod: pod,
        probe_pod: PodSeen::Absent,
        daemon_sets_ready: Some(vec![]),
        memory: &state.memory,
    };
    let mut decision = step(&state.run, &seen);
    if let Action::Change(next) = &mut decision.action {
        **next = without_rules(state, next, rules);
    }
    decision
}

/// What a version without a rule would write.
fn without_rules(state: &State, next: &Run, rules: Rules) -> Run {
    let run = &state.run;
    let unmarked = state.node.cordon(&run.uid) == Cordon::None;
    match (run.step, next.step) {
        (Step::Rebooting, Step::Withdrawing) if !rules.r2 => Run {
            deadline: next.deadline,
            intent: run.intent.clone().map(|i| Intent { effect: IntentEffect::Uncordon, ..i }),
            ..run.enter(Step::RollingBack, next.reason, String::new(), state.now)
        },
        // Nothing is to be undone, as far as can be seen.
        (Step::Cordoning, Step::RollingBack) if !rules.r4 && unmarked => {
            run.enter(Step::Cancelled, next.reason, String::new(), state.now)
        }
        _ => next.clone(),
    }
}

/// The Pod of the latest attempt, as the API server shows it.
fn pod_seen(state: &State) -> PodSeen {
    let of_attempt = |process: &&Process| {
        process.object && process.expected.attempt == state.run.attempt && state.run.attempt > 0
    };
    let Some(process) = state.processes.iter().find(of_attempt) else { return PodSeen::Absent };
    let deleting = process.deleting;
    let ended = |exit_code, differs: bool| PodSeen::Ended {
        exit_code,
        finished_at: process.ended,
        report: Some(Report {
            acted: exit_code == 0,
            refusal: differs.then_some(Refusal::BootIDDiffers),
            message: String::new(),
        }),
    };
    match process.at {
        At::Created => PodSeen::Waiting { why: String::new(), deleting },
        At::ReadRun(_) | At::MayAct => PodSeen::Running { deleting },
        At::Acted => ended(0, false),
        At::Over(code, differs) => ended(code, differs),
    }
}

/// A call reaches the API server. Compare-and-swap: what was decided on an older version is refused.
fn land(mut state: State, call: Call, in_hand: bool, rules: Rules) -> State {
    let run_is_as_seen = state.stray.is_none() && call.run_version == state.run_version;
    let node_is_as_seen = call.node_version == state.node_version;
    match call.what {
        What::Swept(uncordon) if node_is_as_seen => {
            if uncordon && state.others_cordon {
                return state.breaks(P6, "the sweep lifts somebody else's cordon");
            }
            close(&mut state, uncordon, Step::Cancelled, Reason::RunDeleted);
            state
        }
        What::Unforged(uncordon) if node_is_as_seen => {
            if uncordon && state.others_cordon {
                return state.breaks(P6, "the sweep of a forged mark lifts somebody else's cordon");
            }
            unforge(state, uncordon)
        }
        What::Swept(_) | What::Unforged(_) => state,
        What::Driven(decision) => match decision.action {
            Action::Change(next) if run_is_as_seen => {
                let (from, to) = (state.run.step, next.step);
                // Without R2 a step is left out on purpose.
                if rules.r2 && from != to && !from.successors().contains(&to) {
                    return state.breaks(STEPS, format!("{from} is followed by {to}"));
                }
                state.run = Run { cancel: state.run.cancel, ..*next };
                state.run_version += 1;
                state
            }
            Action::Do(effect) => perform(state, effect, (node_is_as_seen, in_hand), rules),
            Action::Change(_) | Action::Wait => state,
        },
    }
}

fn perform(
    mut state: State,
    effect: Effect,
    (node_is_as_seen, in_hand): (bool, bool),
    rules: Rules,
) -> State {
    match effect {
        Effect::Cordon if node_is_as_seen => {
            if !state.holds_slot(rules) {
                let why = format!("a cordon lands while the run is in {}", state.run.step);
                return state.breaks(P3A, why);
            }
            if state.node.uid != state.run.node_uid {
                return state.breaks(NODE, "a cordon lands on another node");
            }
            state.node.unschedulable = true;
            state.node.cordoned_by = Some(RUN.into());
            state.node.cordon_field_ours = true;
            state.node_version += 1;
        }
        Effect::Remember if node_is_as_seen => {
            if let Some(memory) = record_attempts(&state.run, &state.node.last_remediation) {
                state.node.last_remediation = memory;
                state.node_version += 1;
            }
        }
        Effect::Close { uncordon, result, reason } if node_is_as_seen => {
            if uncordon && state.others_cordon {
                return state.breaks(P6, "somebody else's cordon is lifted");
            }
            if uncordon && state.node.cordoned_by.as_deref() != Some(RUN) {
                return state.breaks(P6, "a cordon is lifted that bears another mark");
            }
            if state.node.uid != state.run.node_uid {
                return state.breaks(NODE, "a closing write lands on another node");
            }
            let healed = result != Step::Succeeded || state.run.booted(&state.node);
            if uncordon && !(state.node.ready == Ready::True && healed) {
                return state.breaks(HEALTHY, "a node is given back that is not well");
            }
            close(&mut state, uncordon, result, reason);
        }
        Effect::CreateRebootPod(_) => {
            if create_pod(&mut state) && in_hand {
                state.memory.reboot_pod_asked_for();
            }
        }
        Effect::DeleteRebootPod => {
            let attempt = state.run.attempt;
            let of = |p: &&mut Process| p.object && p.expected.attempt == attempt;
            if let Some(process) = state.processes.iter_mut().find(of) {
                process.deleting = true;
            }
        }
        Effect::Cordon
        | Effect::Remember
        | Effect::Close { .. }
        | Effect::Evict(_)
        | Effect::CreateProbePod
        | Effect::DeleteProbePod => {}
    }
    state
}

fn close(state: &mut State, uncordon: bool, result: Step, reason: Reason) {
    let memory = record(&state.run, &state.node, result, reason, state.now);
    let node = &mut state.node;
    node.last_remediation = memory;
    if node.cordoned_by.as_deref() == Some(RUN) {
        node.cordoned_by = None;
    }
    uncordoned(state, uncordon);
}

fn unforge(mut state: State, uncordon: bool) -> State {
    let Some(stray) = state.forged.take() else { return state };
    state.node.last_remediation = record_without_run(&stray, &state.node, state.now);
    if state.node.cordoned_by.as_deref() == Some(NOBODY) {
        state.node.cordoned_by = None;
    }
    uncordoned(&mut state, uncordon);
    state
}

fn uncordoned(state: &mut State, uncordon: bool) {
    if uncordon {
        state.node.unschedulable = false;
        state.node.cordon_field_ours = false;
    }
    state.node_version += 1;
}

/// Its name is the same for whoever creates it: it is there at most once. True when it was made now.
fn create_pod(state: &mut State) -> bool {
    let expected = Expected {
        run_name: state.run.name.clone(),
        run_uid: state.run.uid.clone(),
        node_name: state.run.node_name.clone(),
        node_uid: state.run.node_uid.clone(),
        attempt: state.run.attempt,
        boot_id_before: state.run.boot_id_before.clone().unwrap_or_default(),
    };
    let there = |p: &Process| p.object && p.expected.attempt == expected.attempt;
    if state.processes.iter().any(there) {
        return false;
    }
    let at = At::Created;
    state.processes.push(Process { expected, at, object: true, deleting: false, ended: None });
    true
}
