//! For each property that is judged: a history in which it does not hold, and the judge says so. And one
//! in which everything is as it should be, of which each of the others is one step away.

mod excused;
mod history;
mod red;

use std::collections::BTreeSet;

use super::{PROPERTIES, SOMETIMES};
use history::History;
use serde_json::json;

use crate::observe::{Cause, What};

#[test]
fn a_good_history_violates_nothing() {
    let mut history = History::new();
    history.heals("n1");
    history.rests();
    history.wait(600);
    history.rests();
    assert_eq!(history.told(), Vec::<String>::new());
    let seen = history.judge.sometimes();
    for what in ["run-succeeds", "eviction", "lease-taken", "budget-full", "reboot-pod-acts"] {
        assert!(seen.contains_key(what), "{what}: {seen:?}");
    }
    let known: BTreeSet<_> = SOMETIMES.iter().map(|one| one.id).collect();
    assert!(seen.keys().all(|what| known.contains(what)), "{seen:?}");
}

/// A check that cannot fail is none: every property that is called judged has a history here in which
/// it fails.
#[test]
fn every_judged_property_fails_in_a_history_of_its_own() {
    let (mut failed, mut wrong) = (BTreeSet::new(), Vec::new());
    for (property, name, tell) in red::HISTORIES {
        let mut history = History::new();
        tell(&mut history);
        let violations = history.judge.violations();
        let (own, others): (Vec<_>, Vec<_>) =
            violations.iter().partition(|violation| violation.property == *property);
        if own.is_empty() || others.len() > 1 {
            wrong.push(format!("{property}, `{name}`: {:#?}", history.told()));
        }
        failed.insert(*property);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let judged: BTreeSet<_> = PROPERTIES
        .iter()
        .filter(|property| property.is_checked())
        .map(|property| property.id)
        .collect();
    assert_eq!(failed, judged);
}

/// A slow request is nobody's fault: it counts in the term in which it was sent.
#[test]
fn what_was_sent_in_one_term_may_arrive_in_the_next() {
    for (late, violations) in [(true, 0), (false, 1)] {
        let mut history = History::new();
        history.until_drained("n1");
        let sent = history.now;
        history.wait(1);
        history.lease(history::OPERATOR, "term-2", 2, &["n1"]);
        let mut run = history.get("noderemediations", "n1");
        run["status"]["message"] = json!("x");
        let sent = if late { sent } else { history.now };
        history.sent_at(sent, history::OPERATOR, "noderemediations", run);
        let told = history.told();
        assert_eq!(told.len(), violations, "{told:#?}");
    }
}

/// A backup may be older than a reboot that has begun: the machine starts, and the restored run, which
/// knows nothing of it, reboots it with the same number.
#[test]
fn a_reboot_from_before_a_restore_is_not_held_against_the_restored_run() {
    for restored in [true, false] {
        let mut history = History::new();
        history.until_drained("n1");
        history.rebooting("n1");
        let cause = History::cause("n1", 1);
        history.happens("n1", What::Acts(cause.clone()));
        if restored {
            history.happens("cluster", What::Restored);
        }
        for (acts, boot_id) in [(false, "n1-2"), (true, "n1-3")] {
            history.wait(2);
            if acts {
                history.happens("n1", What::Acts(cause.clone()));
            }
            history.happens("n1", What::Boot { boot_id: boot_id.into(), cause: cause.clone() });
        }
        let twice =
            history.told().iter().filter(|told| told.contains("boots the machine 2")).count();
        assert_eq!(twice, usize::from(!restored), "{:#?}", history.told());
    }
}

/// A restore of etcd puts an older run of the same name into the place of one that has begun: the younger one is
/// gone, and so is nobody's fault afterwards. (Seed 1001924 of the scene `machines`.)
#[test]
fn a_run_that_a_restore_replaced_by_an_older_one_is_gone() {
    for restored in [true, false] {
        let mut history = History::new();
        history.policy(json!({ "maxUnavailable": 4 }));
        history.wait(20);
        history.renews(&[]);
        history.admitted("n1");
        if restored {
            history.happens("cluster", What::Restored);
            history.change("restore", "noderemediations", "n1", |run| {
                run["metadata"]["uid"] = json!("run-older");
                run["status"]["step"] = json!("Cancelled");
            });
        }
        let spec = history.get("noderemediations", "n1")["spec"].clone();
        let metadata = json!({ "name": "second", "uid": "run-second" });
        let second = json!({ "metadata": metadata, "spec": spec });
        history.write("person", "noderemediations", second);
        history.renews(&["n1", "second"]);
        let two = history.told().iter().filter(|told| told.contains("SAFE-22")).count();
        assert_eq!(two, usize::from(!restored), "{:#?}", history.told());
    }
}

/// Nobody starts what has not been reported for long, however urgent it was.
#[test]
fn a_node_that_is_silent_for_long_is_not_overtaken() {
    for silent in [true, false] {
        let mut history = History::new();
        history.wait(895);
        for node in ["n1", "n2"].into_iter().filter(|node| *node == "n1" || !silent) {
            let boot = history.boot_id(node);
            history.reports(node, &boot, true, true);
        }
        history.change("n2", "nodes", "n2", |node| {
            node["status"]["conditions"][1]["message"] = json!("[P1] it burns");
        });
        history.wait(10);
        history.renews(&[]);
        history.pending("n1");
        history.renews(&["n1"]);
        let overtaken = history.told().iter().any(|told| told.contains("is more urgent"));
        assert_eq!(overtaken, !silent, "{:#?}", history.told());
    }
}

/// What the watch has not told yet is evicted once more.
#[test]
fn an_eviction_may_find_a_pod_that_ends_already() {
    for (path, wrong) in [("status", false), ("spec", true)] {
        let mut history = History::new();
        history.until_drained("n1");
        history.pod("default", "late", "n1");
        history.change("taint-manager", "pods", "default/late", |pod| {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T01:00:00Z");
        });
        history.change(history::OPERATOR, "pods", "default/late", |pod| {
            pod[path]["conditions"] = json!([{ "type": "DisruptionTarget", "status": "True" }]);
        });
        let changed = history.told().iter().any(|told| told.contains("made or changed a Pod"));
        assert_eq!(changed, wrong, "{:#?}", history.told());
    }
}

/// A machine booted behind the back of a kubelet that cannot say so. Once it has said so, the probe is of
/// an earlier boot.
#[test]
fn a_boot_that_nobody_could_know_of_is_not_held_against_the_probe() {
    for heard in [false, true] {
        let mut history = History::new();
        history.until_verified("n1");
        let cause = Cause::Foreign("script".to_owned());
        history.happens("n1", What::Down(cause.clone()));
        history.happens("n1", What::Boot { boot_id: "n1-3".into(), cause });
        history.wait(1);
        if heard {
            history.reports("n1", "n1-3", true, false);
        }
        history.to("n1", "Uncordoning", Some("Uncordon"));
        let probed = history.told().iter().any(|told| told.contains("no probe Pod"));
        assert_eq!(probed, heard, "{:#?}", history.told());
    }
}

/// A machine loses its power at the moment at which its node is given back: it still says that it is Ready.
#[test]
fn a_machine_that_went_down_a_moment_ago_was_given_back_in_good_faith() {
    for silent in [false, true] {
        let mut history = History::new();
        history.until_drained("n1");
        history.happens("n1", What::Down(Cause::Foreign("script".to_owned())));
        if silent {
            let boot = history.boot_id("n1");
            history.reports("n1", &boot, false, true);
            history.wait(60);
            history.renews(&["n1"]);
        }
        history.to("n1", "RollingBack", Some("Uncordon"));
        history.closes("n1", "Cancelled");
        let down = history.told().iter().any(|told| told.contains("machine goes down"));
        assert_eq!(down, silent, "{:#?}", history.told());
    }
}
