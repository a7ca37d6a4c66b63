//! What can happen next.

use super::{
    ALL, faults,
    state::{At, Call, Process, Rules, State},
};
use crate::drain::progress::DrainPlan;
use crate::{
    facts::{Cordon, NodeFacts},
    reason::Reason,
    reboot_check::{
        self, EXIT_REFUSED, EXIT_UNCERTAIN, Expected, IntentSeen, NodeSeen as PodNodeSeen, Refusal,
        Report, RunSeen, Verdict, pods_harmless_at,
    },
    remediation::{
        Action, Effect, NodeSeen, Observation, PodSeen, PolicyStanding, record, record_attempts,
        step,
        tests::{condition, cordon, secs, set},
    },
    run::{Intent, IntentEffect, Run},
    step::Step,
    sweep::{Sweep, sweep},
    trigger::add,
};

/// Where a move leads; an error names the property that it breaks.
pub(super) type Next = Result<State, String>;

/// Moves that the purse pays for.
pub(super) fn is_fault(name: &str) -> bool {
    name.starts_with('!')
}

/// Every move, with where it leads; an error names the property that it breaks.
pub(super) fn all(state: &State, rules: Rules) -> Vec<(&'static str, Next)> {
    let mut moves = Vec::new();
    operator(state, rules, &mut moves);
    if let Some(call) = &state.late {
        let sent = State { late: None, ..state.clone() };
        moves.push(("a late call lands", land(sent, call.clone(), false)));
    }
    pods(state, rules, &mut moves);
    machine(state, &mut moves);
    faults::all(state, &mut moves);
    moves
}

fn operator(state: &State, rules: Rules, moves: &mut Vec<(&'static str, Next)>) {
    if state.run.step.is_terminal() || state.swept {
        return;
    }
    if let Some(call) = &state.in_hand {
        let sent = State { in_hand: None, ..state.clone() };
        moves.push(("the call lands", land(sent, call.clone(), true)));
        return;
    }
    if state.stray.is_some() {
        return sweeper(state, moves);
    }
    let mut looked = state.clone();
    let call = look_and_remember(&mut looked, rules);
    match call.decision.action {
        Action::Wait => {
            let at = call.decision.recheck_at.filter(|at| *at > state.now);
            if let Some(at) = at {
                moves.push(("time passes", Ok(pass_time(looked, at))));
            }
        }
        Action::Change(_) | Action::Do(_) => {
            moves.push(("the operator decides", Ok(State { in_hand: Some(call), ..looked })));
        }
    }
}

/// The run is gone: what the sweep makes of its node.
fn sweeper(state: &State, moves: &mut Vec<(&'static str, Next)>) {
    let mut looked = state.clone();
    let Some(stray) = &mut looked.stray else { return };
    stray.observe(&state.node, state.now);
    let alive = |p: &Process| p.object && !matches!(p.at, At::Acted | At::Over(..));
    let pods = state.processes.iter().any(|process| alive(process) && !process.deleting);
    match sweep(stray, Some(&state.node), pods, state.now) {
        Sweep::Done => moves.push(("the sweep is done", Ok(State { swept: true, ..looked }))),
        Sweep::DeletePods => {
            for process in &mut looked.processes {
                process.deleting = true;
            }
            moves.push(("the sweep deletes the Pods", Ok(looked)));
        }
        Sweep::Close { uncordon } => {
            let call = Call {
                decision: look(state, ALL).decision,
                sweeps: Some(uncordon),
                run_version: state.run_version,
                node_version: state.node_version,
            };
            moves.push(("the sweep decides", Ok(State { in_hand: Some(call), ..looked })));
        }
        Sweep::Wait { recheck_at, .. } => {
            if let Some(at) = recheck_at.filter(|at| *at > state.now) {
                moves.push(("time passes", Ok(pass_time(looked, at))));
            } else if looked.stray != state.stray {
                moves.push(("the sweep looks", Ok(looked)));
            }
        }
    }
}

/// What the operator would decide now.
pub(super) fn look(state: &State, rules: Rules) -> Call {
    look_and_remember(&mut state.clone(), rules)
}

fn look_and_remember(state: &mut State, rules: Rules) -> Call {
    let mut node = state.node.clone();
    if !rules.r9 {
        node.cordon_field_ours = node.cordoned_by.is_some();
    }
    let pod = pod_seen(state);
    if node.uid == state.run.node_uid {
        state.memory.observe(&state.run, &node, &pod, state.now);
    }
    let drained = DrainPlan { done: true, ..DrainPlan::default() };
    let seen = Observation {
        now: state.now,
        node: match node.uid == state.run.node_uid {
            true => NodeSeen::Present(&node),
            false => NodeSeen::Replaced,
        },
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
    let (run_version, node_version) = (state.run_version, state.node_version);
    Call { decision, sweeps: None, run_version, node_version }
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
    let ended = |exit_code, differs| PodSeen::Ended {
        exit_code,
        finished_at: process.ended,
        report: Some(Report {
            acted: exit_code == 0,
            refusal: if differs { Some(Refusal::BootIDDiffers) } else { None },
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
fn land(mut state: State, call: Call, in_hand: bool) -> Next {
    let there = state.stray.is_none();
    let run_is_as_seen = there && call.run_version == state.run_version;
    let node_is_as_seen = call.node_version == state.node_version;
    if let Some(uncordon) = call.sweeps {
        if node_is_as_seen {
            if uncordon && state.persons_cordon {
                return Err("P6: the sweep lifts a person's cordon".into());
            }
            close(&mut state, uncordon, Step::Cancelled, Reason::RunDeleted);
        }
        return Ok(state);
    }
    match call.decision.action {
        Action::Change(next) if run_is_as_seen => {
            state.run = Run { cancel: state.run.cancel, ..*next };
            state.run_version += 1;
        }
        Action::Do(Effect::Cordon) if node_is_as_seen => {
            if !state.holds_slot() {
                return Err(format!("P3a: a cordon lands in {}", state.run.step));
            }
            cordon(&mut state.node);
            state.node_version += 1;
        }
        Action::Do(Effect::Remember) if node_is_as_seen => {
            let memory = record_attempts(&state.run, &state.node.last_remediation);
            state.node.last_remediation = memory.ok_or("there is nothing to remember")?;
            state.node_version += 1;
        }
        Action::Do(Effect::Close { uncordon, result, reason }) if node_is_as_seen => {
            if uncordon && state.persons_cordon {
                return Err("P6: a person's cordon is lifted".into());
            }
            close(&mut state, uncordon, result, reason);
        }
        Action::Do(Effect::CreateRebootPod) => {
            if create_pod(&mut state) && in_hand {
                state.memory.reboot_pod_asked_for();
            }
        }
        Action::Do(Effect::DeleteRebootPod) => {
            let attempt = state.run.attempt;
            let of = |p: &&mut Process| p.object && p.expected.attempt == attempt;
            if let Some(process) = state.processes.iter_mut().find(of) {
                process.deleting = true;
            }
        }
        Action::Change(_) | Action::Do(_) | Action::Wait => {}
    }
    Ok(state)
}

fn close(state: &mut State, uncordon: bool, result: Step, reason: Reason) {
    let memory = record(&state.run, &state.node, result, reason, state.now);
    let node = &mut state.node;
    node.last_remediation = memory;
    if node.cordoned_by.as_deref() == Some(state.run.uid.as_str()) {
        node.cordoned_by = None;
    }
    if uncordon {
        node.unschedulable = false;
        node.cordon_field_ours = false;
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
    let process = Process { expected, at, object: true, deleting: false, ended: None };
    state.processes.push(process);
    true
}

/// Each process of a reboot Pod takes its next step, while the machine is up.
fn pods(state: &State, rules: Rules, moves: &mut Vec<(&'static str, Next)>) {
    if state.down.is_some() {
        return;
    }
    for index in 0..state.processes.len() {
        let mut next = state.clone();
        let process = &mut next.processes[index];
        let stop = process.deleting || !process.object;
        let (name, outcome) = match process.at.clone() {
            // A process whose object is gone may still run; one that is told to stop may stop.
            At::Created | At::ReadRun(_) | At::MayAct if stop && process.object => {
                let mut stopped = state.clone();
                stopped.processes[index].at = At::Over(EXIT_UNCERTAIN, false);
                stopped.processes[index].ended = Some(state.now);
                stopped.news = true;
                moves.push(("the kubelet stops the Pod", Ok(stopped)));
                proceed(next, index, rules)
            }
            At::Created | At::ReadRun(_) | At::MayAct => proceed(next, index, rules),
            At::Acted | At::Over(..) => continue,
        };
        moves.push((name, outcome));
    }
}

fn proceed(mut state: State, index: usize, rules: Rules) -> (&'static str, Next) {
    let now = state.now;
    match state.processes[index].at.clone() {
        At::Created => {
            let run = state.stray.is_none().then(|| run_as_read(&state.run)).flatten();
            state.processes[index].at = At::ReadRun(run);
            ("the Pod reads the run", Ok(state))
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
            let verdict = reboot_check::check(&state.processes[index].expected, &seen);
            state.processes[index].at = match verdict {
                Verdict::Reboot => At::MayAct,
                Verdict::Refuse(why) => At::Over(EXIT_REFUSED, why == Refusal::BootIDDiffers),
            };
            if verdict != Verdict::Reboot {
                state.processes[index].ended = Some(now);
                state.news = true;
            }
            ("the Pod reads the node", Ok(state))
        }
        At::MayAct => {
            let attempt = state.processes[index].expected.attempt;
            if !state.holds_slot() && state.node.uid == state.run.node_uid {
                let broken =
                    format!("P3b: a Pod reboots the machine of a run in {}", state.run.step);
                return ("the Pod acts", Err(broken));
            }
            state.processes[index].at = At::Acted;
            state.processes[index].ended = Some(now);
            state.going_down = Some(attempt);
            ("the Pod acts", Ok(state))
        }
        At::Acted | At::Over(..) => ("nothing", Ok(state)),
    }
}

fn run_as_read(run: &Run) -> Option<RunSeen> {
    let reboot = run.intent.as_ref().filter(|intent| intent.effect == IntentEffect::Reboot);
    Some(RunSeen {
        uid: run.uid.clone(),
        reboot_intent: reboot.map(|intent| IntentSeen {
            attempt: intent.attempt,
            node_uid: intent.node_uid.clone(),
            boot_id_before: intent.boot_id_before.clone(),
        }),
    })
}

fn node_as_read(node: &NodeFacts) -> PodNodeSeen {
    PodNodeSeen {
        uid: node.uid.clone(),
        unschedulable: node.unschedulable,
        cordoned_by: node.cordoned_by.clone(),
    }
}

/// The machine goes down, boots, and its kubelet reports.
fn machine(state: &State, moves: &mut Vec<(&'static str, Next)>) {
    if let (Some(attempt), None) = (state.going_down, state.down) {
        moves.push(("the machine goes down", Ok(go_down(state.clone(), attempt))));
    }
    if let Some(attempt) = state.down {
        let mut up = State { down: None, kernel: state.kernel + 1, news: true, ..state.clone() };
        up.boots.extend((attempt > 0).then_some(attempt));
        let twice = up.boots.iter().filter(|boot| **boot == attempt).count() > 1;
        let broken = format!("P2: attempt {attempt} boots the machine twice");
        moves.push(("the machine boots", if twice { Err(broken) } else { Ok(up) }));
    }
    if state.news && state.down.is_none() {
        moves.push(("the kubelet reports", Ok(report(state.clone()))));
    }
}

pub(super) fn go_down(mut state: State, attempt: u32) -> State {
    for process in &mut state.processes {
        // What ran is over; a Pod that had not started yet is started after the boot.
        if matches!(process.at, At::ReadRun(_) | At::MayAct) {
            process.at = At::Over(EXIT_UNCERTAIN, false);
            process.ended = Some(state.now);
        }
    }
    State { going_down: None, down: Some(attempt), ..state }
}

/// A report bears a time later than the last one.
fn report(mut state: State) -> State {
    let last = state.node.heartbeat().map_or(0, |time| time.as_second());
    let epoch = crate::remediation::tests::at(0).as_second();
    let time = state.now.as_second().max(last) + 1 - epoch;
    set(&mut state.node, condition("Ready", "True", time));
    state.node.boot_id = state.kernel_boot_id();
    state.node_version += 1;
    State { news: false, ..state }
}

/// Time passes until then. Who must act within seconds of its reads has not; and what was under way for
/// as long as a Pod may live is over.
fn pass_time(mut state: State, until: jiff::Timestamp) -> State {
    let long = until >= pods_harmless_at(state.now) || until >= add(state.now, secs(60));
    if long && let Some(attempt) = state.going_down {
        state = go_down(state, attempt);
    }
    for process in &mut state.processes {
        let reading = matches!(process.at, At::ReadRun(_) | At::MayAct);
        let orphan = process.at == At::Created && !process.object && long;
        if reading || orphan {
            process.at = At::Over(EXIT_UNCERTAIN, false);
            process.ended = Some(state.now);
        }
    }
    State { now: until, news: state.down.is_none(), ..state }
}
