//! The recorded vectors, and cases that are not recorded.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{VectorsError, Verdict, report, run_value};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../core/tests/vectors").join(name)
}

fn run_text(files: &[PathBuf]) -> (bool, String) {
    let mut out = Vec::new();
    let ok = report(files, &mut out).expect("a report");
    (ok, String::from_utf8(out).expect("text"))
}

fn verdicts(value: &Value) -> Vec<Verdict> {
    let report = run_value(value).expect("a known shape");
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    report.cases.into_iter().map(|case| case.verdict).collect()
}

fn filters(force: bool, ignore: bool, pod: Value, status: Value) -> Value {
    json!([{ "force": force, "ignoreDaemonSets": ignore, "deleteEmptyDirData": true,
             "anyErrorAbortsWholeDrain": true, "pods": [{ "pod": pod, "status": status }] }])
}

fn kruise(phase: &str) -> Value {
    json!({ "name": "k", "ownerKind": "DaemonSet", "ownerApiVersion": "apps.kruise.io/v1alpha1",
            "ownerIsController": true, "phase": phase })
}

#[test]
fn the_recorded_vectors_pass() {
    let files = [fixture("kubectl_filters.json"), fixture("eviction_responses.json")];
    let (ok, text) = run_text(&files);
    assert!(ok, "{text}");
    assert!(text.ends_with("94 passed, 0 failed\n"), "{text}");
    // The one deliberate difference, once per set of options.
    assert_eq!(text.matches("kruise-ds: b2").count(), 4, "{text}");
    assert_eq!(text.lines().count(), 6, "{text}");
}

#[test]
fn every_changed_expectation_is_found() {
    let text = std::fs::read_to_string(fixture("kubectl_filters.json")).expect("the fixture");
    let recorded: Value = serde_json::from_str(&text).expect("JSON");
    for group in 0..4 {
        for pod in 0..20 {
            for (reason, delete) in [("Skip", true), ("Okay", false), ("Error", true)] {
                let mut changed = recorded.clone();
                let entry = &mut changed[group]["pods"][pod];
                entry["status"] = json!({ "delete": delete, "reason": reason });
                let report = run_value(&changed).expect("a known shape");
                let wrong = report.cases.iter().filter(|c| matches!(c.verdict, Verdict::Wrong(_)));
                assert_eq!(wrong.count(), 1, "{group} {pod} {reason}");
            }
        }
    }
}

#[test]
fn b2_passes_only_as_written() {
    let okay = json!({ "delete": true, "reason": "Okay" });
    for ignore in [true, false] {
        let got = verdicts(&filters(true, ignore, kruise("Running"), okay.clone()));
        assert!(
            matches!(&got[..], [Verdict::Deliberate(rule)] if rule.starts_with("b2")),
            "{got:?}"
        );
        let got = verdicts(&filters(true, ignore, kruise("Failed"), okay.clone()));
        assert_eq!(got, [Verdict::Same]);
    }
    // A file that records something else about the same pod is wrong, not different.
    let skip = json!({ "delete": false, "reason": "Skip" });
    let report = run_value(&filters(true, true, kruise("Running"), skip)).expect("a known shape");
    assert!(matches!(report.cases[0].verdict, Verdict::Wrong(_)));
    let tolerant = json!({ "name": "t", "ownerKind": "ReplicaSet", "ownerApiVersion": "apps/v1",
        "ownerIsController": true, "tolerations": [{ "operator": "Exists" }] });
    let got = verdicts(&filters(false, true, tolerant, okay));
    assert!(matches!(got[..], [Verdict::Deliberate(_)]), "{got:?}");
}

#[test]
fn other_lookups_and_fractions_of_seconds() {
    let daemon = json!({ "name": "d", "ownerKind": "DaemonSet", "ownerApiVersion": "apps/v1",
        "ownerIsController": true, "daemonSetGet": 500 });
    let status = json!({ "delete": false, "reason": "Error", "message": "etcd is away" });
    assert_eq!(verdicts(&filters(true, true, daemon, status)), [Verdict::Same]);
    let old = |age: f64, status: Value| {
        let pod = json!({ "name": "t", "phase": "Succeeded", "deletionTimestampAgeSeconds": age });
        json!([{ "force": true, "skipWaitForDeleteTimeoutSeconds": 5,
                 "pods": [{ "pod": pod, "status": status }] }])
    };
    let okay = json!({ "delete": true, "reason": "Okay" });
    let skip = json!({ "delete": false, "reason": "Skip" });
    assert_eq!(verdicts(&old(5.9, okay)), [Verdict::Same]);
    assert_eq!(verdicts(&old(6.0, skip)), [Verdict::Same]);
}

#[test]
fn unseen_prose_of_the_known_kinds_is_read() {
    let budget = |text: &str| {
        json!({ "status": "Failure", "code": 429, "details": { "causes":
        [{ "reason": "DisruptionBudget", "message": text }] } })
    };
    let other = budget("The disruption budget db needs 5 healthy pods and has 3 currently");
    let processing = budget("The disruption budget db is still being processed by the server.");
    let cases = json!([
        { "http": 429, "body": other, "ours": "Blocked{pdb:'db',desired:5,current:3}: retry" },
        { "http": 429, "headers": { "retry-after": 4 }, "body": "slow down",
          "ours": "client throttling: retry after 4s" },
        { "http": 429, "body": null, "ours": "throttled" },
        { "http": 429, "headers": { "Retry-After": "7" }, "body": processing,
          "ours": "retry after 7s" },
        { "http": 503, "ours": "retry with backoff" },
        { "http": 503, "headers": { "Retry-After": "3" }, "ours": "retry after 3s" },
        { "http": 422, "ours": "permanent failure" },
        { "http": 404, "body": "not found", "ours": "done" },
    ]);
    assert!(verdicts(&cases).iter().all(|v| *v == Verdict::Same), "{:?}", verdicts(&cases));
}

#[test]
fn what_cannot_be_read_fails() {
    let cases = json!([
        { "http": 201, "ours": "sing a song" },
        { "http": 201, "ours": "same" },
        { "http": 201, "body": {} , "kubectl": "wait" },
        { "http": "201", "ours": "accepted" },
        { "http": 429, "ours": "Blocked{pdb:'web',desired:2,current:2}" },
        { "http": 409, "ours": "accepted" },
        { "http": 403, "ours": "retry slowly" },
        { "http": 201, "ours": "retry" },
    ]);
    assert!(verdicts(&cases).iter().all(|v| matches!(v, Verdict::Wrong(_))));
    let bad = [
        json!({ "name": "x", "phase": "Asleep" }),
        json!({ "name": 7 }),
        json!({ "name": "x", "deletionTimestampAgeSeconds": 1e300 }),
    ];
    for pod in bad {
        let status = json!({ "delete": true, "reason": "Okay" });
        let got = verdicts(&filters(true, true, pod, status));
        assert!(matches!(got[..], [Verdict::Wrong(_)]), "{got:?}");
    }
    for value in [json!([]), json!({}), json!([1]), json!([{ "alerts": [] }]), json!("x")] {
        assert!(run_value(&value).is_err(), "{value}");
    }
    let broken = run_value(&json!([{ "force": true, "pods": 3 }])).expect("a known shape");
    assert_eq!(broken.failures.len(), 1);
}

#[test]
fn a_bad_file_is_named_and_the_others_still_run() {
    let files = [
        PathBuf::from("/nowhere/at-all.json"),
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"),
        fixture("eviction_responses.json"),
    ];
    let (ok, text) = run_text(&files);
    assert!(!ok);
    assert!(text.contains("FAILED /nowhere/at-all.json: cannot be read"), "{text}");
    assert!(text.contains("Cargo.toml: is not JSON"), "{text}");
    assert!(text.ends_with("14 passed, 2 failed\n"), "{text}");
    assert!(matches!(report(&[], &mut Vec::new()), Err(VectorsError::NoFiles)));
}

#[test]
fn the_recorded_vectors_of_sciuro_pass_but_for_the_two_rules() {
    let files = [fixture("sciuro_cel.json"), fixture("sciuro_conditions.json")];
    let (ok, text) = run_text(&files);
    assert!(ok, "{text}");
    let deliberate: Vec<_> = text.lines().filter(|line| line.starts_with("  ")).collect();
    let by = |rule: &str| deliberate.iter().filter(|line| line.contains(rule)).count();
    assert_eq!((by("SCI-2"), by("SCI-3")), (deliberate.len() - 1, 1), "{text}");
}

#[test]
fn every_changed_expectation_of_sciuro_is_found() {
    let recorded = |name: &str| -> Value {
        let text = std::fs::read_to_string(fixture(name)).expect("the fixture");
        serde_json::from_str(&text).expect("JSON")
    };
    let wrong = |value: &Value| {
        let report = run_value(value).expect("a known shape");
        report.cases.iter().filter(|c| matches!(c.verdict, Verdict::Wrong(_))).count()
    };
    let matches = recorded("sciuro_cel.json");
    for index in 0..matches.as_array().expect("cases").len() {
        for result in ["match", "no-match", "ERROR: no such key: other"] {
            let mut changed = matches.clone();
            let as_before = changed[index]["result"] == result;
            changed[index]["result"] = json!(result);
            assert_eq!(wrong(&changed), usize::from(!as_before), "{index} {result}");
        }
    }
    let conditions = recorded("sciuro_conditions.json");
    for index in 0..conditions.as_array().expect("cases").len() {
        let expected = conditions[index]["expect"].as_array().map_or(0, Vec::len);
        for condition in 0..expected {
            for (field, value) in [
                ("status", json!("Other")),
                ("type", json!("AlertManager_Other")),
                ("reason", json!("Other")),
                ("lastHeartbeatTime", json!("2026-03-02T12:00:01Z")),
                ("lastTransitionTime", json!("2026-03-02T12:00:01Z")),
            ] {
                let mut changed = conditions.clone();
                changed[index]["expect"][condition][field] = value;
                assert_eq!(wrong(&changed), 1, "{index} {condition} {field}");
            }
        }
        let mut changed = conditions.clone();
        let case = changed[index].as_object_mut().expect("a case");
        let key = if case.contains_key("expect") { "expectError" } else { "expect" };
        case.retain(|field, _| !field.starts_with("expect"));
        case.insert(
            key.into(),
            if key == "expect" { json!([]) } else { json!("no alertname label") },
        );
        // Nothing on the node and nothing to write is what an unusable alert alone gives.
        let nothing = key == "expect" && conditions[index]["existing"].is_null();
        if !nothing {
            assert_eq!(wrong(&changed), 1, "{index} {key}");
        }
    }
}
