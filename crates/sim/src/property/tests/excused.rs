//! What is not held against an operator, and, one step away, what is.

use serde_json::{Value, json};

use super::history::{History, OPERATOR, SICK};
use rerail_api::names;

fn count(history: &History, words: &str) -> usize {
    history.told().iter().filter(|told| told.contains(words)).count()
}

/// A storm opens anew while its remedy is tried: the run of the probe is none of the new storm, and one
/// that begins after it is.
#[test]
fn a_storm_that_opens_anew_finds_the_probe_under_way() {
    let breaker = |h: &mut History, by: &str, state: &str, allowed: u32| {
        let since = crate::meta::time(h.now);
        h.change(by, "remediationpolicies", "p", |policy| {
            policy["status"] = json!({ "breaker": [{ "conditionType": SICK, "state": state,
                "allowed": allowed, "since": since }] });
        });
    };
    for begins_after in [false, true] {
        let mut h = History::new();
        h.policy(json!({ "maxUnavailable": 4 }));
        breaker(&mut h, "status", "Probing", 1);
        h.wait(60);
        h.renews(&[]);
        if !begins_after {
            h.admitted("n1");
            h.wait(5);
        }
        breaker(&mut h, OPERATOR, "Open", 0);
        if begins_after {
            h.wait(5);
            h.admitted("n1");
        }
        h.wait(1);
        h.change(OPERATOR, "remediationpolicies", "p", |policy| {
            policy["status"]["counts"] = json!({ "active": 1 });
        });
        let wrong = count(&h, "1 runs at once after a storm");
        assert_eq!(wrong, usize::from(begins_after), "{:#?}", h.told());
    }
}

/// A backup has the cordon of a run that has ended since. It comes back in the operator's name, and the
/// operator may lift it; one that a person has set meanwhile it may not.
#[test]
fn a_cordon_of_ours_that_a_backup_brings_back_is_ours() {
    for field_is_ours in [true, false] {
        let mut h = History::new();
        h.until_drained("n1");
        let cordoned = h.get("nodes", "n1");
        h.change("person", "nodes", "n1", |node| node["spec"]["unschedulable"] = json!(false));
        let manager = if field_is_ours { names::FIELD_MANAGER } else { "kubectl-edit" };
        let mut restored = cordoned.clone();
        restored["metadata"]["managedFields"] = json!([{ "manager": manager, "operation": "Update",
            "fieldsV1": { "f:spec": { "f:unschedulable": {} } } }]);
        h.write("restore", "nodes", restored);
        h.to("n1", "RollingBack", Some("Uncordon"));
        h.closes("n1", "Cancelled");
        let wrong = count(&h, "a cordon that somebody else has set");
        assert_eq!(wrong, usize::from(!field_is_ours), "{:#?}", h.told());
    }
}

/// Who writes an old Lease back takes its epoch back, too. Nobody else may.
#[test]
fn an_edited_lease_may_have_an_older_epoch() {
    for edited in [true, false] {
        let mut h = History::new();
        h.renews(&[]);
        h.lease(OPERATOR, "term-2", 2, &[]);
        h.wait(1);
        h.happens("operator-2", crate::observe::What::OperatorStarted);
        if edited {
            h.lease("person", "", 0, &[]);
            h.wait(1);
        }
        h.lease("operator-2", "term-9", 1, &[]);
        let wrong = count(&h, "takes the Lease with epoch 1, after");
        assert_eq!(wrong, usize::from(!edited), "{:#?}", h.told());
    }
}

/// What a run that is gone leaves on its node's record is no outcome of the run before it.
#[test]
fn a_memory_that_grows_closes_no_run() {
    let memory = |attempts: Value, last: &str| {
        json!({ "sequence": 1, "attempts": attempts, "rollBacks": 0, "last": { "uid": last, "name": "x",
            "result": "Succeeded", "reason": "Healed", "endTime": "2026-01-01T00:00:00Z" } })
        .to_string()
    };
    for (last, swept) in [("run-n1", false), ("run-n2", true)] {
        let mut h = History::new();
        h.admitted("n1");
        h.change("person", "nodes", "n1", |node| {
            node["metadata"]["annotations"] =
                json!({ names::LAST_REMEDIATION: memory(json!([]), "run-n1") });
        });
        h.change(OPERATOR, "nodes", "n1", |node| {
            let later = memory(json!(["2026-01-01T00:00:30Z"]), last);
            node["metadata"]["annotations"][names::LAST_REMEDIATION] = json!(later);
        });
        assert_eq!(h.judge.sometimes().contains_key("swept"), swept, "{last}: {:#?}", h.told());
    }
}

/// It only grows.
#[test]
fn a_memory_that_shrinks_is_blamed() {
    let memory = |attempts: &Value| {
        json!({ "sequence": 1, "attempts": attempts, "rollBacks": 0 }).to_string()
    };
    let two = json!(["2026-01-01T00:00:10Z", "2026-01-01T00:00:20Z"]);
    let three = json!(["2026-01-01T00:00:10Z", "2026-01-01T00:00:20Z", "2026-01-01T00:00:30Z"]);
    for (then, wrong) in [(three, false), (json!(["2026-01-01T00:00:20Z"]), true)] {
        let mut h = History::new();
        h.admitted("n1");
        h.change("person", "nodes", "n1", |node| {
            node["metadata"]["annotations"] = json!({ names::LAST_REMEDIATION: memory(&two) });
        });
        h.change(OPERATOR, "nodes", "n1", |node| {
            node["metadata"]["annotations"][names::LAST_REMEDIATION] = json!(memory(&then));
        });
        let told = h.told();
        let blamed =
            told.iter().any(|told| told.contains("attempts are taken off the node's record"));
        assert_eq!(blamed, wrong, "{told:#?}");
    }
}

/// Protocol R5: a recovery gives a slot to each run that it could not adopt. That begins nothing, and
/// asks for no limit; a run of the term itself, and one that is then admitted by it, do.
#[test]
fn a_slot_that_a_recovery_keeps_for_a_run_of_another_term_begins_nothing() {
    let cases = [
        ("old", true, false, false),
        ("old", true, true, true),
        ("", true, false, true),
        // It was adopted, and the answer is lost; or it is an admission of the term's own.
        ("new", true, false, false),
        ("new", true, true, true),
        ("new", false, false, true),
    ];
    for (leader, first, used, expected) in cases {
        let mut h = History::new();
        h.policy(json!({ "maxUnavailable": 1 }));
        h.wait(60);
        h.admitted("n1");
        h.pending("n2");
        if !leader.is_empty() {
            h.set("n2", |status| (status["epoch"], status["leader"]) = (json!(1), json!(leader)));
        }
        h.lease(OPERATOR, "new", 2, &["n1"]);
        if !first {
            h.lease(OPERATOR, "new", 2, &["n1", "n3"]);
            h.lease(OPERATOR, "new", 2, &["n1"]);
        }
        h.lease(OPERATOR, "new", 2, &["n1", "n2"]);
        if used {
            h.cordoning("n2");
        }
        let wrong = count(&h, "2 nodes are out or under remediation");
        assert_eq!(wrong > 0, expected, "{leader} {first} {used}: {:#?}", h.told());
    }
}
