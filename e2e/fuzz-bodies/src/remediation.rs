//! NodeRemediations: from what the API server has to a run, one decision further, and back to a status. The
//! lines of an input that begin with `@` are about the run's Node.

use std::sync::LazyLock;

use rerail_api::{
    Node, NodeRemediation,
    convert::{
        node::{Look, facts},
        run::{RunError, run as read},
        status::{Note, Term, status},
    },
    remediation::STEPS_KEPT,
};
use rerail_core::{
    drain::progress::DrainPlan,
    facts::{Cordon, NodeFacts},
    invariants,
    remediation::{
        self as core, Action, Effect, Memory, NodeSeen, Observation, PodSeen, PolicyStanding,
    },
    run::{IntentEffect, Run},
    step::Step,
};
use serde_json::Value;

use crate::{
    now,
    objects::{good, object, split, stored, words_are_known, written_and_read_again},
    policy::{can_be_kept, contract_is_written, words_of_contract},
    said::said,
};

static GOOD: LazyLock<Value> = LazyLock::new(|| good(include_str!("good/remediation.yaml")));
static NODE: LazyLock<Value> = LazyLock::new(|| good(include_str!("good/node.yaml")));

/// A run is what its record says, or is left alone with a reason; it goes on without a panic whatever the
/// record and the node say, and what is written of it is read again.
pub fn remediation(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (of_node, of_run) = split(&text, '@');
    let Some(value) = object(&GOOD, &of_run) else { return };
    let Some(stored) = stored::<NodeRemediation>(&value) else { return };
    words_are_known(&value, "/status/steps/*/state", &["Running", "Done", "Skipped"]);
    let effects = ["Cordon", "Drain", "Reboot", "Uncordon"];
    words_are_known(&value, "/status/intent/effect", &effects);
    words_of_contract(&value, "/status/plan");
    let run = match read(&stored) {
        Ok(run) => run,
        Err(error) => {
            said(&error.to_string());
            if let RunError::UnknownStep { .. } = error {
                let step = value.pointer("/status/step").and_then(Value::as_str);
                assert!(step.is_some_and(|step| step.parse::<Step>().is_err()));
            }
            return;
        }
    };
    says_what_is_written(&run, &value);
    let Some(node) = node(&of_node) else { return };
    for next in one_decision_further(&run, &node) {
        is_read_as_written(stored.clone(), &next);
    }
}

fn is_read_as_written(mut stored: NodeRemediation, next: &Run) {
    write(&mut stored, next);
    let again = match read(&stored) {
        Ok(again) => again,
        Err(error) => panic!("what was written cannot be read: {error}"),
    };
    assert_eq!(again.step, next.step);
    assert_eq!(again.intent, next.intent);
    assert_eq!(again.attempt, next.attempt);
    assert_eq!(again.frozen.is_some(), next.frozen.is_some());
    assert_eq!(again.evidence, next.evidence);
    assert_eq!((again.paused_at, &again.retries), (next.paused_at, &next.retries));
}

fn says_what_is_written(run: &Run, value: &Value) {
    let says = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    assert_eq!(run.step.name(), says("/status/step").unwrap_or("Pending"), "{value}");
    assert_eq!(Some(run.node_uid.as_str()), says("/spec/nodeUID"));
    let set = |pointer: &str| value.pointer(pointer).is_some_and(|value| !value.is_null());
    assert_eq!(run.frozen.is_some(), set("/status/frozen"), "{value}");
    assert_eq!(run.intent.is_some(), set("/status/intent"), "{value}");
    assert_eq!(run.contract.is_some(), set("/status/plan"), "{value}");
    let cancel = value.pointer("/spec/cancel") == Some(&Value::Bool(true));
    assert_eq!(run.cancel, cancel || set("/metadata/deletionTimestamp"), "{value}");
    if let Some(contract) = &run.contract {
        can_be_kept(contract);
        contract_is_written(contract, value, "/status/plan");
    }
    // A run whose step cannot be trusted keeps its slot for as long as something of it may act.
    if run.frozen.is_none() {
        assert_eq!(run.holds_slot(None, now()), run.step.holds_slot());
    }
}

/// The run's node, as it is seen for the first time.
fn node(input: &str) -> Option<NodeFacts> {
    let value = object(&NODE, input)?;
    let node: Node = serde_json::from_str(&value.to_string()).ok()?;
    let look = Look { now: now(), earlier: None, first_list: true };
    let facts = facts(&node, look, &mut |text| text.into());
    for condition in facts.conditions.values() {
        assert!(condition.condition_type().len() <= rerail_core::alert::TYPE_LIMIT);
        assert!(["True", "False", "Unknown"].contains(&condition.status()));
        assert!(condition.message.len() <= rerail_core::facts::MESSAGE_LIMIT);
        assert!(condition.status_since <= now() && condition.changed_at <= now());
    }
    assert!(facts.conditions.values().len() <= 256 && facts.boot_id.len() <= 64);
    Some(facts)
}

/// The run as the operator takes it in hand: looked at, frozen if something does not hold, and else with
/// what is decided, in each of several worlds.
fn one_decision_further(run: &Run, node: &NodeFacts) -> Vec<Run> {
    if let Some(violation) = invariants::of_run(run) {
        said(&violation.to_string());
        let frozen = run.freeze(violation.invariant, violation.message, now());
        assert!(invariants::of_run(&frozen).is_none(), "a frozen run is not judged any more");
        return vec![frozen];
    }
    let mut memory = Memory::default();
    let mut all = Vec::new();
    let drained = DrainPlan { done: true, ..DrainPlan::default() };
    for (reboot_pod, seen) in [
        (PodSeen::Absent, NodeSeen::Present(node)),
        (PodSeen::Lost, NodeSeen::Replaced),
        (PodSeen::Running { deleting: false }, NodeSeen::Gone),
        (PodSeen::Ended { exit_code: 0, finished_at: None, report: None }, NodeSeen::Present(node)),
    ] {
        memory.observe(run, node, &reboot_pod, now());
        let there = matches!(seen, NodeSeen::Present(_));
        let decision = core::step(
            run,
            &Observation {
                now: now(),
                node: seen,
                policy: PolicyStanding::InForce,
                paused: None,
                drain: Some(&drained),
                reboot_pod,
                probe_pod: PodSeen::Absent,
                daemon_sets_ready: Some(Vec::new()),
                memory: &memory,
            },
        );
        all.push(match decision.action {
            Action::Change(change) => changed(run, *change),
            Action::Do(effect) if there => performed(run, node, &effect),
            Action::Do(_) | Action::Wait => run.clone(),
        });
    }
    all
}

fn changed(run: &Run, change: Run) -> Run {
    assert_eq!(change.uid, run.uid);
    assert_eq!(change.node_uid, run.node_uid);
    let reachable = run.step == change.step || run.step.successors().contains(&change.step);
    assert!(reachable, "the API server refuses {} after {}", change.step, run.step);
    match invariants::of_change(run, &change) {
        Some(violation) => run.freeze(violation.invariant, violation.message, now()),
        None => change,
    }
}

/// Whatever the record says: nothing is done to another node, none is cordoned or rebooted whose record does
/// not announce it, and no cordon is lifted that is not the run's.
fn performed(run: &Run, node: &NodeFacts, effect: &Effect) -> Run {
    if let Some(violation) = invariants::of_effect(run, node, effect) {
        return run.freeze(violation.invariant, violation.message, now());
    }
    let announced = |wanted: IntentEffect| {
        let intent = run.intent.as_ref().filter(|intent| intent.effect == wanted);
        intent.is_some_and(|intent| intent.node_uid == node.uid && intent.attempt == run.attempt)
    };
    assert_eq!(node.uid, run.node_uid);
    match effect {
        Effect::Cordon => assert!(announced(IntentEffect::Cordon)),
        Effect::Evict(_) => assert!(announced(IntentEffect::Drain)),
        Effect::CreateRebootPod(_) => {
            assert!(announced(IntentEffect::Reboot) && node.cordon(&run.uid) == Cordon::Ours);
        }
        Effect::Close { uncordon: true, .. } => assert_eq!(node.cordon(&run.uid), Cordon::Ours),
        Effect::Close { .. }
        | Effect::Remember
        | Effect::DeleteRebootPod
        | Effect::CreateProbePod
        | Effect::DeleteProbePod => {}
    }
    run.clone()
}

fn write(object: &mut NodeRemediation, run: &Run) {
    let before = object.status.clone().unwrap_or_default();
    let term = Term { epoch: before.epoch.saturating_add(1), leader: "rerail-operator-x_1" };
    let note = Note { reason: run.reason, message: &run.message };
    let next = status(&before, run, 1, term, note, now());
    assert!(next.steps.len() <= before.steps.len().max(STEPS_KEPT));
    let new = next.steps.iter().filter(|step| !before.steps.contains(step));
    let kept = |name: &str, attempt: u32| {
        before.steps.iter().any(|step| step.name == name && step.attempt == attempt)
    };
    for step in new.filter(|step| !kept(&step.name, step.attempt)) {
        assert!(step.message.len() <= 1024);
    }
    for condition in &next.conditions {
        assert!(condition.message.len() <= 4096);
    }
    assert!(next.frozen.as_ref().is_none_or(|frozen| frozen.message.len() <= 1024));
    object.status = Some(next);
    written_and_read_again(object);
}
