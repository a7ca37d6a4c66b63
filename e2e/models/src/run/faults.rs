//! Faults, each paid for from the purse.

use rerail_core::{
    doubt::Doubt,
    facts::{NodeFacts, Ready},
    ledger::{self, Slot},
    remediation::{Action, Effect, Memory},
    sweep::Stray,
};

use super::{
    RUN,
    machine::{go_down, report},
    state::{At, NOBODY, State, What},
};
use crate::{check::Move, given::node};

/// Every fault that can happen now.
pub(super) fn moves(state: &State, moves: &mut Vec<Move<State>>) {
    let mut fault = |name: &'static str, left: u8, change: &dyn Fn(&mut State)| {
        if left > 0 {
            let mut next = state.clone();
            change(&mut next);
            moves.push(Move { name: name.into(), next });
        }
    };
    of_the_operator(state, &mut fault);
    of_people(state, &mut fault);
    of_the_machine(state, &mut fault);
    of_others(state, &mut fault);
}

type Fault<'a> = &'a mut dyn FnMut(&'static str, u8, &dyn Fn(&mut State));

fn is_open(state: &State) -> bool {
    !state.run.step.is_terminal() && !state.swept
}

fn of_the_operator(state: &State, fault: Fault<'_>) {
    let (purse, open) = (state.purse, is_open(state));
    fault("! the operator crashes", if open { purse.crashes } else { 0 }, &|s| {
        s.purse.crashes -= 1;
        s.memory = Memory::default();
        // A driver that is made anew in the same term begins so. In the next one the adoption overtakes what
        // may be on its way, a write of the status, too.
        s.doubt = Doubt::Unknown;
        s.in_hand = None;
        // What is left of a run that is gone is its mark, or else its slot in the ledger.
        if let Some(stray) = &mut s.stray {
            let marked = s.node.cordoned_by.as_ref() == Some(&stray.run_uid);
            let forgotten = Stray {
                run: (!marked).then(|| ledger::lost_run(&Slot::of(&s.run), s.now)),
                unseen: true,
                since: s.now,
                report_at_end: None,
                ..stray.clone()
            };
            *stray = forgotten;
        }
    });
    let may_be_late = state.in_hand.is_some() && state.late.is_none();
    fault("! the call is late", if may_be_late { purse.late } else { 0 }, &|s| {
        s.purse.late -= 1;
        s.late = s.in_hand.take();
        let Some(call) = &s.late else { return };
        let What::Driven(decision) = &call.what else { return };
        match &decision.action {
            Action::Change(_) => s.doubt.add(call.run_version),
            Action::Do(Effect::CreateRebootPod(_)) => s.memory.reboot_pod_asked_for(),
            Action::Do(_) | Action::Wait => {}
        }
    });
}

fn of_people(state: &State, fault: Fault<'_>) {
    let (purse, open) = (state.purse, is_open(state));
    let begun = open && state.stray.is_none();
    fault("! the run is deleted by force", if begun { purse.deletions } else { 0 }, &|s| {
        s.purse.deletions -= 1;
        s.stray = Some(Stray {
            run_uid: s.run.uid.clone(),
            node_name: s.run.node_name.clone(),
            run: Some(s.run.clone()),
            since: s.now,
            unseen: false,
            report_at_end: None,
        });
    });
    let may_cancel = begun && !state.run.cancel;
    fault("! a person cancels", if may_cancel { purse.cancels } else { 0 }, &|s| {
        s.purse.cancels -= 1;
        s.run.cancel = true;
        s.run_version += 1;
    });
    let cordoned = state.node.unschedulable;
    fault("! a person uncordons", if cordoned { purse.people } else { 0 }, &|s| {
        s.purse.people -= 1;
        (s.node.unschedulable, s.node.cordon_field_ours, s.others_cordon) = (false, false, false);
        s.node_version += 1;
    });
    fault("! a person cordons", if cordoned { 0 } else { purse.people }, &|s| {
        s.purse.people -= 1;
        (s.node.unschedulable, s.node.cordon_field_ours, s.others_cordon) = (true, false, true);
        s.node_version += 1;
    });
}

fn of_the_machine(state: &State, fault: Fault<'_>) {
    let purse = state.purse;
    let there = state.processes.iter().any(|process| process.object);
    fault("! a Pod's object vanishes", if there { purse.lost_pods } else { 0 }, &|s| {
        s.purse.lost_pods -= 1;
        for process in &mut s.processes {
            process.object = false;
        }
    });
    let over = state.kernel > 1 && state.processes.iter().any(|process| process.at == At::Acted);
    fault("! the kubelet runs the Pod again", if over { purse.reruns } else { 0 }, &|s| {
        s.purse.reruns -= 1;
        for process in s.processes.iter_mut().filter(|process| process.at == At::Acted) {
            (process.at, process.ended) = (At::Created, None);
        }
    });
    let up = state.down.is_none() && state.going_down.is_none();
    fault("! the machine boots by itself", if up { purse.own_boots } else { 0 }, &|s| {
        s.purse.own_boots -= 1;
        *s = go_down(s.clone(), 0);
    });
    let alive = state.down.is_none() && state.node.ready == Ready::True;
    fault("! the kubelet reports NotReady", if alive { purse.unready } else { 0 }, &|s| {
        s.purse.unready -= 1;
        *s = report(s.clone(), "False");
        s.news = true;
    });
    let original = state.node.uid == state.run.node_uid;
    fault("! the Node is made anew", if original { purse.replaced } else { 0 }, &|s| {
        s.purse.replaced -= 1;
        let boot_id = s.node.boot_id.clone();
        s.node = NodeFacts { uid: "uid-of-another-node".into(), boot_id, ..node(&s.node.name) };
        s.others_cordon = false;
        s.node_version += 1;
    });
}

/// Other controllers, and whoever else writes on nodes.
fn of_others(state: &State, fault: Fault<'_>) {
    let purse = state.purse;
    let claimed = state.node.claim.is_some();
    let name = match claimed {
        true => "! another controller takes its claim back",
        false => "! another controller claims the node",
    };
    fault(name, purse.claims, &|s| {
        s.purse.claims -= 1;
        s.node.claim = (!claimed).then(|| "taint ToBeDeletedByClusterAutoscaler".into());
        s.node_version += 1;
    });
    let name = match state.node.hold {
        true => "! the hold label is taken off",
        false => "! the hold label is set",
    };
    fault(name, purse.holds, &|s| {
        s.purse.holds -= 1;
        s.node.hold = !s.node.hold;
        s.node_version += 1;
    });
    let may_forge = state.forged.is_none();
    fault("! somebody forges a mark", if may_forge { purse.forged } else { 0 }, &|s| {
        s.purse.forged -= 1;
        s.node.cordoned_by = Some(NOBODY.into());
        s.node_version += 1;
        // The operator has seen it appear: it names no run that it knows, and holds no slot.
        s.forged = Some(Stray {
            run_uid: NOBODY.into(),
            node_name: s.node.name.clone(),
            run: None,
            since: s.now,
            unseen: false,
            report_at_end: None,
        });
    });
    let marked = state.node.cordoned_by.as_deref() == Some(RUN);
    fault("! somebody takes our mark off", if marked { purse.unmarked } else { 0 }, &|s| {
        s.purse.unmarked -= 1;
        s.node.cordoned_by = None;
        s.node_version += 1;
    });
}
