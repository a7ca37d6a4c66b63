//! The annotation `rerail.dev/last-remediation` of a node. A kubelet can write any text there.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use jiff::Timestamp;
use rerail_api::{
    Node, RemediationPolicy,
    convert::{
        self,
        last_remediation::{encode, parse},
        node::{Look, facts},
    },
    names::LAST_REMEDIATION,
};
use rerail_core::{
    facts::{ATTEMPTS_KEPT, EVIDENCE_KEPT, LastRemediation, NodeFacts},
    ledger::Slot,
    plan::{World, plan},
    policy::Policy,
    reason::Reason,
    remediation::{record, record_attempts},
    run::Run,
    step::Step,
};
use serde_json::Value;

use crate::{now, objects::good, said::said};

static NODE: LazyLock<Value> = LazyLock::new(|| good(include_str!("good/node.yaml")));

/// A policy that has a remedy for everything that the node shows.
static POLICY: LazyLock<Option<Policy>> = LazyLock::new(|| {
    let mut object = good(include_str!("good/policy.yaml"));
    object["spec"]["nodes"] = serde_json::json!({ "all": true });
    object["spec"]["triggers"] = serde_json::json!([{ "condition": { "type": "KernelDeadlock" } }]);
    let object: RemediationPolicy = serde_json::from_value(object).ok()?;
    convert::policy::policy(&object).ok()
});

/// Whatever a node says of its past, it is bounded, it can be written again, and its attempts count.
pub fn last_remediation(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let read = parse(text);
    if let Err(error) = &read {
        said(&error.to_string());
    }
    let memory = read.unwrap_or_default();
    bounded(&memory);
    let written = written(&memory);
    assert_eq!(parse(&written).ok().as_ref(), Some(&memory), "{written}");
    let Some(node) = node(text) else { panic!("a node is lost to its annotation") };
    assert_eq!(node.last_remediation, memory);
    goes_on(&node);
    counts(&node);
}

fn bounded(memory: &LastRemediation) {
    assert!(memory.attempts.len() <= ATTEMPTS_KEPT && memory.attempts.is_sorted());
    assert!(memory.evidence.len() <= EVIDENCE_KEPT);
    if let Some(last) = &memory.last {
        for word in [&last.uid, &last.name, &last.result, &last.reason] {
            said(word);
        }
    }
}

/// The text of a memory. One that is too long to be read again would begin a new history, with all attempts.
fn written(memory: &LastRemediation) -> String {
    match encode(memory) {
        Ok(text) => text,
        Err(error) => panic!("{memory:?} cannot be written: {error}"),
    }
}

fn node(annotation: &str) -> Option<NodeFacts> {
    let mut value = NODE.clone();
    value["metadata"]["annotations"] = serde_json::json!({ LAST_REMEDIATION: annotation });
    value["spec"] = serde_json::json!({});
    let node: Node = serde_json::from_value(value).ok()?;
    let look = Look { now: now(), earlier: None, first_list: true };
    Some(facts(&node, look, &mut |text| text.into()))
}

/// What the end of the next run leaves is read again, and forgets no attempt that is younger.
fn goes_on(node: &NodeFacts) {
    let slot = Slot {
        run_uid: "6b1f6c5e-3c7e-4e0a-9f1d-000000000007".into(),
        node_name: node.name.clone(),
        node_uid: node.uid.clone(),
    };
    let mut run = Run::of_slot(slot, Step::RollingBack, Reason::DrainTimeout, now());
    run.name = "n".repeat(253);
    for attempt_times in [Vec::new(), vec![now()], vec![Timestamp::MIN, now(), Timestamp::MAX]] {
        run.attempt_times = attempt_times;
        let next = record(&run, node, Step::Failed, Reason::DrainTimeout, now());
        bounded(&next);
        assert_eq!(parse(&written(&next)).ok().as_ref(), Some(&next));
        let own = run.attempt_times.iter().rev().take(ATTEMPTS_KEPT);
        let younger = own.filter(|time| {
            let known = node.last_remediation.attempts.iter();
            known.filter(|other| other > time).count() < ATTEMPTS_KEPT - run.attempt_times.len()
        });
        for time in younger {
            let same = |other: &&Timestamp| other.as_second() == time.as_second();
            assert!(next.attempts.iter().any(|other| same(&other)), "{time} is forgotten");
        }
        if let Some(earlier) = record_attempts(&run, &node.last_remediation) {
            bounded(&earlier);
            assert!(record_attempts(&run, &earlier).is_none(), "written for ever");
        }
    }
}

/// A machine whose attempts are used up is left alone, and every word about it can be shown.
fn counts(node: &NodeFacts) {
    let Some(policy) = POLICY.as_ref() else { panic!("the good policy is none") };
    let mut world = World::empty(now());
    let attempts = policy.contract.attempts;
    world.nodes = BTreeMap::from([(node.name.clone(), Arc::new(node.clone()))]);
    world.policies = BTreeMap::from([(policy.name.clone(), policy.clone())]);
    let plan = plan(&world);
    let recent = node.last_remediation.attempts.iter();
    let recent = recent.filter(|time| now().duration_since(**time) < attempts.per).count();
    assert!(recent < attempts.max as usize || plan.admit.is_empty(), "one attempt too many");
    for wait in plan.report.iter().filter_map(|pair| pair.wait.as_ref()) {
        said(&wait.message);
    }
}
