//! Faults, each paid for from the purse.

use super::{
    moves::{Next, go_down},
    state::{At, State},
};
use crate::{
    facts::NodeFacts,
    remediation::{Action, Effect, Memory, tests::node},
    sweep::Stray,
};

/// Every fault that can happen now.
pub(super) fn all(state: &State, moves: &mut Vec<(&'static str, Next)>) {
    let mut fault = |name, left: u8, change: &dyn Fn(&mut State)| {
        if left > 0 {
            let mut next = state.clone();
            change(&mut next);
            moves.push((name, Ok(next)));
        }
    };
    of_the_operator(state, &mut fault);
    of_people(state, &mut fault);
    of_the_machine(state, &mut fault);
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
        s.in_hand = None;
        // What is left of a run that is gone is its mark.
        if let Some(stray) = &mut s.stray {
            *stray = Stray {
                run: None,
                unseen: true,
                since: s.now,
                report_at_end: None,
                ..stray.clone()
            };
        }
    });
    let may_be_late = state.in_hand.is_some() && state.late.is_none();
    fault("! the call is late", if may_be_late { purse.late } else { 0 }, &|s| {
        s.purse.late -= 1;
        s.late = s.in_hand.take();
        let asked = Action::Do(Effect::CreateRebootPod);
        if s.late.as_ref().is_some_and(|call| call.decision.action == asked) {
            s.memory.reboot_pod_asked_for();
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
    fault("! a person uncordons", if state.node.unschedulable { purse.people } else { 0 }, &|s| {
        s.purse.people -= 1;
        (s.node.unschedulable, s.node.cordon_field_ours, s.persons_cordon) = (false, false, false);
        s.node_version += 1;
    });
    fault("! a person cordons", if state.node.unschedulable { 0 } else { purse.people }, &|s| {
        s.purse.people -= 1;
        (s.node.unschedulable, s.node.cordon_field_ours, s.persons_cordon) = (true, false, true);
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
    let original = state.node.uid == state.run.node_uid;
    fault("! the Node is made anew", if original { purse.replaced } else { 0 }, &|s| {
        s.purse.replaced -= 1;
        let boot_id = s.node.boot_id.clone();
        s.node = NodeFacts { uid: "node-2".into(), boot_id, ..node() };
        s.persons_cordon = false;
        s.node_version += 1;
    });
}
