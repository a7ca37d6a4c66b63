use super::{
    fixture::{Fixture, Node},
    *,
};

const ALERT: &str = "[P6] Kubernetes node n1 has too many Calico interfaces";

fn told(fixture: &Fixture) -> Vec<String> {
    let line = |told: &Told| format!("{} {} {}", told.tone.word(), told.node, told.what);
    fixture.board.told().iter().map(line).collect()
}

fn face(fixture: &Fixture) -> Face {
    fixture.board.nodes()["n1"].face()
}

#[test]
fn a_node_is_followed_from_the_alert_to_health() {
    let mut fixture = Fixture::new();
    fixture.node(0, "n1", "rack-a", &Node::default());
    assert_eq!(face(&fixture), Face::Healthy);
    let sick = Node { alert: Some(ALERT), ..Node::default() };
    fixture.node(10, "n1", "rack-a", &sick);
    assert_eq!(face(&fixture), Face::Waiting(6));
    fixture.run(12, "n1", "Pending", "Pending", "");
    assert_eq!(face(&fixture), Face::Waiting(6));
    fixture.run(20, "n1", "Cordoning", "Admitted", "");
    let cordoned = Node { alert: Some(ALERT), cordon: Some(true), ..Node::default() };
    fixture.node(21, "n1", "rack-a", &cordoned);
    fixture.run(22, "n1", "Draining", "DrainInProgress", "2 of 7 pods");
    assert_eq!(face(&fixture), Face::Draining);
    fixture.run(23, "n1", "Draining", "DrainBlocked", "pod default/ledger-1: budget ledger");
    assert_eq!(face(&fixture), Face::Blocked);
    fixture.run(24, "n1", "Draining", "DrainBlocked", "pod default/ledger-1: budget ledger, still");
    fixture.run(30, "n1", "Rebooting", "Drained", "");
    let down = Node { alert: Some(ALERT), cordon: Some(true), down: true };
    fixture.node(31, "n1", "rack-a", &down);
    assert_eq!(face(&fixture), Face::Rebooting);
    assert_eq!((fixture.board.out().now, fixture.board.racks_open().now), (1, 1));
    fixture.run(60, "n1", "Verifying", "Booted", "");
    fixture.node(61, "n1", "rack-a", &Node { cordon: Some(true), ..Node::default() });
    fixture.run(70, "n1", "Uncordoning", "Verified", "");
    fixture.node(70, "n1", "rack-a", &Node::default());
    fixture.run(80, "n1", "Succeeded", "Healed", "");
    assert_eq!(face(&fixture), Face::Healed);
    assert_eq!(fixture.board.out(), Most { now: 0, most: 1, allowed: 1 });
    assert_eq!(
        told(&fixture),
        [
            &format!("alert n1 {ALERT}"),
            "run n1 its turn: cordoned and drained",
            "held n1 drain blocked: pod default/ledger-1: budget ledger",
            "reboot n1 empty: reboots",
            "run n1 booted: is it healthy?",
            "healed n1 healed, in service, 1m after the cordon",
        ]
    );
    let seconds = |times: &[SignedDuration]| times.iter().map(|t| t.as_secs()).collect::<Vec<_>>();
    let (took, suffered) = fixture.board.times();
    assert_eq!((seconds(took), seconds(suffered)), (vec![60], vec![70]));
}

#[test]
fn what_others_do_is_told_with_their_names() {
    let mut fixture = Fixture::new();
    fixture.node(0, "n1", "rack-a", &Node::default());
    let node = serde_json::json!({
        "metadata": { "name": "n1", "labels": {} }, "spec": { "unschedulable": true },
        "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
    });
    fixture.by("ann", 5, "nodes", &node);
    assert_eq!(face(&fixture), Face::Foreign);
    assert_eq!(told(&fixture), ["others n1 cordoned by ann"]);
    fixture.node(7, "n1", "rack-a", &Node { down: true, ..Node::default() });
    assert_eq!(face(&fixture), Face::Down);
    assert_eq!(told(&fixture)[1..], ["others n1 uncordoned", "others n1 is not Ready"]);
}

#[test]
fn who_waits_is_told_once_for_each_reason() {
    let mut fixture = Fixture::new();
    let waits = |node: &str, reason: &str| serde_json::json!({ "node": node, "priority": 6, "reason": reason, "message": "6 of 6 are out" });
    let status = |waiting: Vec<serde_json::Value>| serde_json::json!({ "waiting": waiting });
    fixture.policy(1, 1, &status(vec![]));
    fixture.policy(
        2,
        1,
        &status(vec![waits("n1", "BudgetExhausted"), waits("n2", "BudgetExhausted")]),
    );
    fixture.policy(3, 1, &status(vec![waits("n2", "BudgetExhausted")]));
    fixture.policy(4, 2, &status(vec![waits("n2", "Storm")]));
    assert_eq!(
        told(&fixture),
        [
            "others  policy generic-workers applied by ann",
            "waits n1 BudgetExhausted: 6 of 6 are out (one more waits so)",
            "others  policy generic-workers changed by ann",
            "waits n2 Storm: 6 of 6 are out",
        ]
    );
    assert_eq!(fixture.board.queue().len(), 1);
}

#[test]
fn a_storm_is_told_from_its_beginning_to_its_end() {
    let mut fixture = Fixture::new();
    let storm = |state: &str, allowed: u32| {
        serde_json::json!({ "breaker": [{ "conditionType": "X", "state": state, "allowed": allowed,
            "since": "2026-01-01T00:00:00Z" }] })
    };
    fixture.policy(1, 1, &storm("Open", 0));
    fixture.policy(2, 1, &storm("Open", 0));
    fixture.policy(3, 1, &storm("Ramp", 2));
    fixture.policy(4, 1, &serde_json::json!({}));
    assert_eq!(
        told(&fixture)[1..],
        [
            "storm  X: on many nodes at once: nothing starts for it",
            "storm  X: 2 more may start",
            "storm  X: over",
        ]
    );
}

#[test]
fn a_frozen_run_is_a_violation() {
    let mut fixture = Fixture::new();
    fixture.node(0, "n1", "rack-a", &Node::default());
    let run = serde_json::json!({
        "metadata": { "name": "r" }, "spec": { "nodeName": "n1" },
        "status": { "step": "Draining", "frozen": { "invariant": "Intent", "message": "no intent" } },
    });
    fixture.by("", 1, "noderemediations", &run);
    fixture.by("", 2, "noderemediations", &run);
    assert_eq!(fixture.board.violations(), ["r: no intent"]);
}

#[test]
fn limits_follow_the_configuration() {
    let mut fixture = Fixture::new();
    for number in 0..10 {
        fixture.node(0, &format!("n{number}"), "rack-a", &Node::default());
    }
    assert_eq!((fixture.board.out().allowed, fixture.board.racks_open().allowed), (2, 1));
    let map = serde_json::json!({
        "metadata": { "name": "rerail-config", "namespace": "rerail-system" },
        "data": { "config.yaml": "maxUnavailable: 5\nmaxDomains: 3\n" },
    });
    fixture.by("ann", 1, "configmaps", &map);
    assert_eq!((fixture.board.out().allowed, fixture.board.racks_open().allowed), (5, 3));
}

#[test]
fn a_run_whose_node_is_made_anew_is_admitted_once() {
    let mut fixture = Fixture::new();
    fixture.node(0, "n1", "rack-a", &Node::default());
    fixture.run(1, "n1", "Cordoning", "Admitted", "");
    fixture.deleted(2, "n1");
    fixture.node(3, "n1", "rack-a", &Node::default());
    fixture.run(4, "n1", "RollingBack", "NodeReplaced", "");
    fixture.run(9, "n1", "Succeeded", "Healed", "");
    assert_eq!(fixture.board.admissions().len(), 1);
    assert_eq!(fixture.board.times().0, [SignedDuration::from_secs(8)]);
}

/// A budget refused for a while; what the drain was given up for came after it.
#[test]
fn a_drain_that_goes_on_and_is_given_up_was_blocked() {
    let mut fixture = Fixture::new();
    fixture.node(0, "n1", "rack-a", &Node::default());
    fixture.run(1, "n1", "Draining", "DrainInProgress", "");
    fixture.run(10, "n1", "Draining", "DrainBlocked", "pod default/web-1: budget web");
    fixture.run(20, "n1", "Draining", "DrainInProgress", "");
    fixture.run(90, "n1", "RollingBack", "DrainTimeout", "pod default/web-1 has not gone");
    let [blocked] = fixture.board.blocked() else { panic!("{:?}", fixture.board.blocked()) };
    assert_eq!(blocked.gave_up, Some(rerail_core::step::Step::RollingBack));
    assert!(
        blocked.message.ends_with("has not gone")
            && blocked.until == Some(blocked.since + SignedDuration::from_secs(80))
    );
}

#[test]
fn lengths_have_two_units() {
    let cases = [(0, "0s"), (59, "59s"), (60, "1m"), (61, "1m01s"), (3600, "1h"), (3725, "1h02m")];
    for (seconds, expected) in cases {
        assert_eq!(length(SignedDuration::from_secs(seconds)), expected);
    }
}
