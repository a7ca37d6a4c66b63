//! What can be said of the recording without a control plane.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeSet;

use rerail_conformance::{LEFT_OUT, Record, Step};
use rerail_conformance::{cases, compare, recorded, seen, uncovered};
use serde_json::Value;

fn count(steps: &[Step]) -> usize {
    steps.iter().map(|step| 1 + count(&step.during)).sum()
}

#[test]
fn every_step_of_every_case_is_recorded_and_nothing_else() {
    let recorded = recorded().unwrap();
    let cases = cases().unwrap();
    for case in &cases {
        let answers = recorded.iter().filter(|record| record.case == case.name).count();
        assert_eq!(answers, count(&case.steps), "{}: record it", case.name);
    }
    let names: BTreeSet<_> = cases.iter().map(|case| case.name.as_str()).collect();
    let stale = recorded.iter().find(|record| !names.contains(record.case.as_str()));
    assert!(stale.is_none(), "{stale:?}");
    assert_eq!(names.len(), cases.len(), "two cases have one name");
}

#[test]
fn every_request_that_the_e2e_suite_shows_is_covered_or_left_out_with_a_reason() {
    let open = uncovered(&seen().unwrap(), &recorded().unwrap());
    let text: Vec<String> = open.iter().map(ToString::to_string).collect();
    assert!(text.is_empty(), "no case covers:\n{}", text.join("\n"));
}

#[test]
fn nothing_is_left_out_that_nobody_asks_for() {
    let seen: Vec<String> = seen().unwrap().iter().map(ToString::to_string).collect();
    for (part, reason) in LEFT_OUT {
        assert!(seen.iter().any(|tuple| tuple.contains(part)), "{part}: {reason}");
    }
}

#[test]
fn a_recording_is_the_same_as_itself() {
    let recorded = recorded().unwrap();
    assert_eq!(compare(&recorded, &recorded), []);
}

/// A different code, a missing answer, an answer too many, and one changed leaf of every body, are each noticed as one
/// difference of that step.
#[test]
fn a_seeded_difference_anywhere_is_noticed() {
    let recorded = recorded().unwrap();
    let case: Vec<Record> = recorded.iter().take(40).cloned().collect();
    for index in 0..case.len() {
        let mut code = case.clone();
        code[index].status += 1;
        assert_eq!(compare(&case, &code).len(), 1, "{:?}", case[index]);
        let mut fewer = case.clone();
        let gone = fewer.remove(index);
        assert_eq!(compare(&case, &fewer).len(), 1, "{gone:?}");
        assert_eq!(compare(&fewer, &case).len(), 1, "{gone:?}");
    }
    for record in recorded.iter().filter(|record| !record.body.is_null()) {
        let mut altered = record.clone();
        alter_last_leaf(&mut altered.body);
        let differences = compare(std::slice::from_ref(record), &[altered]);
        assert_eq!(differences.len(), 1, "{record:?}");
        assert_eq!(differences[0].what.len(), 1, "{:?}", differences[0]);
    }
}

/// Changes the leaf that is found by always going into the last item.
fn alter_last_leaf(value: &mut Value) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            if let Some((_, last)) = map.iter_mut().last() {
                alter_last_leaf(last);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            if let Some(last) = list.last_mut() {
                alter_last_leaf(last);
            }
        }
        Value::String(text) => text.push('!'),
        other => *other = Value::from("another"),
    }
}
