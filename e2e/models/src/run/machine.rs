//! The reboot Pods, the machine and its kubelet.

use jiff::Timestamp;
use rerail_core::{
    facts::NodeFacts,
    reboot_check::{
        self, EXIT_REFUSED, EXIT_UNCERTAIN, IntentSeen, NodeSeen, Refusal, RunSeen, Verdict,
        pods_harmless_at,
    },
    run::{IntentEffect, Run},
};

use super::{
    INTENT, P2, P3B,
    state::{At, Process, Rules, State},
};
use crate::{
    check::Move,
    given::{at, condition, secs, set},
};

/// Each process of a reboot Pod takes its next step while the machine is up; the machine goes down,
/// boots, and its kubelet reports.
pub(super) fn moves(state: &State, rules: Rules, moves: &mut Vec<Move<State>>) {
    if state.down.is_none() {
        for index in 0..state.processes.len() {
            process(state, index, rules, moves);
        }
    }
    if let (Some(attempt), None) = (state.going_down, state.down) {
        let next = go_down(state.clone(), attempt);
        moves.push(Move { name: "the machine goes down".into(), next });
    }
    if let Some(attempt) = state.down {
        moves.push(Move { name: "the machine boots".into(), next: boot(state, attempt) });
    }
    if state.news && state.down.is_none() {
        moves
            .push(Move { name: "the kubelet reports".into(), next: report(state.clone(), "True") });
    }
}

fn boot(state: &State, attempt: u32) -> State {
    let mut up = State { down: None, kernel: state.kernel + 1, news: true, ..state.clone() };
    up.boots.extend((attempt > 0).then_some(attempt));
    let twice = up.boots.iter().filter(|boot| **boot == attempt).count() > 1;
    if twice { up.breaks(P2, format!("attempt {attempt} boots the machine twice")) } else { up }
}

fn process(state: &State, index: usize, rules: Rules, moves: &mut Vec<Move<State>>) {
    let process = &state.processes[index];
    if matches!(process.at, At::Acted | At::Over(..)) {
        return;
    }
    // A process whose object is gone may still run; one that is told to stop may stop.
    if process.deleting && process.object {
        let mut stopped = state.clone();
        end(&mut stopped, index, At::Over(EXIT_UNCERTAIN, false));
        stopped.news = true;
        moves.push(Move { name: "the kubelet stops the Pod".into(), next: stopped });
    }
    let (name, next) = proceed(state.clone(), index, rules);
    moves.push(Move { name: name.into(), next });
}

fn end(state: &mut State, index: usize, at: At) {
    state.processes[index].at = at;
    state.processes[index].ended = Some(state.now);
}

fn proceed(mut state: State, index: usize, rules: Rules) -> (&'static str, State) {
    match state.processes[index].at.clone() {
        At::Created => {
            let run = state.stray.is_none().then(|| run_as_read(&state.run));
            state.processes[index].at = At::ReadRun(run);
            ("the Pod reads the run", state)
        }
        At::ReadRun(run) => {
            let seen = reboot_check::Seen {
                kernel_boot_id: match rules.r1 {
                    true => state.kernel_boot_id(),
                    false => state.node.boot_id.clone(),
                },
                run,
                node: Some(node_as_read(&state.node)),
            };
            match reboot_check::check(&state.processes[index].expected, &seen) {
                Verdict::Reboot => {
                    if !read_intent(&state.processes[index]) {
                        let why = "a Pod may act that read no intent of its attempt";
                        return ("the Pod reads the node", state.breaks(INTENT, why));
                    }
                    state.processes[index].at = At::MayAct;
                }
                Verdict::Refuse(why) => {
                    let differs = why == Refusal::BootIDDiffers;
                    end(&mut state, index, At::Over(EXIT_REFUSED, differs));
                    state.news = true;
                }
            }
            ("the Pod reads the node", state)
        }
        At::MayAct => {
            let attempt = state.processes[index].expected.attempt;
            if !state.holds_slot(rules) {
                let gone = if state.stray.is_some() { ", which is gone" } else { "" };
                let why = format!("a Pod reboots the machine of a run in {}{gone}", state.run.step);
                return ("the Pod acts", state.breaks(P3B, why));
            }
            end(&mut state, index, At::Acted);
            state.going_down = Some(attempt);
            ("the Pod acts", state)
        }
        At::Acted | At::Over(..) => ("nothing", state),
    }
}

/// What it read of its run announces this very attempt.
fn read_intent(process: &Process) -> bool {
    let At::ReadRun(Some(run)) = &process.at else { return false };
    let expected = &process.expected;
    run.reboot_intent.as_ref().is_some_and(|intent| {
        intent.attempt == expected.attempt && intent.boot_id_before == expected.boot_id_before
    })
}

fn run_as_read(run: &Run) -> RunSeen {
    let reboot = run.intent.as_ref().filter(|intent| intent.effect == IntentEffect::Reboot);
    RunSeen {
        uid: run.uid.clone(),
        reboot_intent: reboot.map(|intent| IntentSeen {
            attempt: intent.attempt,
            node_uid: intent.node_uid.clone(),
            boot_id_before: intent.boot_id_before.clone(),
        }),
    }
}

fn node_as_read(node: &NodeFacts) -> NodeSeen {
    NodeSeen {
        uid: node.uid.clone(),
        unschedulable: node.unschedulable,
        cordoned_by: node.cordoned_by.clone(),
    }
}

/// The machine goes down for this attempt of ours; 0 for none.
pub(super) fn go_down(mut state: State, attempt: u32) -> State {
    for index in 0..state.processes.len() {
        // What ran is over; a Pod that had not started yet is started after the boot.
        if matches!(state.processes[index].at, At::ReadRun(_) | At::MayAct) {
            end(&mut state, index, At::Over(EXIT_UNCERTAIN, false));
        }
    }
    State { going_down: None, down: Some(attempt), ..state }
}

/// A report bears a time later than the last one.
pub(super) fn report(mut state: State, ready: &str) -> State {
    let last = state.node.heartbeat().unwrap_or(at(0));
    let time = state.now.max(last).saturating_add(secs(1)).unwrap_or(Timestamp::MAX);
    set(&mut state.node, condition("Ready", ready, time));
    state.node.boot_id = state.kernel_boot_id();
    state.node_version += 1;
    State { news: false, ..state }
}

/// Time passes until then. Who must act within seconds of its reads has not; and what was under way for
/// as long as a Pod may live is over.
pub(super) fn pass_time(mut state: State, until: Timestamp) -> State {
    let minute = state.now.saturating_add(secs(60)).unwrap_or(Timestamp::MAX);
    let long = until >= pods_harmless_at(state.now) || until >= minute;
    if long && let Some(attempt) = state.going_down {
        state = go_down(state, attempt);
    }
    for index in 0..state.processes.len() {
        let process = &state.processes[index];
        let reading = matches!(process.at, At::ReadRun(_) | At::MayAct);
        let orphan = process.at == At::Created && !process.object && long;
        if reading || orphan {
            end(&mut state, index, At::Over(EXIT_UNCERTAIN, false));
        }
    }
    State { now: until, news: state.down.is_none(), ..state }
}
