//! Each property with a story that keeps it and one that breaks it.

use super::super::Cause;
use super::*;

/// An event of node `n<number>`, which stands in `zone-1/rack-<a|b>` by turns.
fn event(second: i64, kind: EventKind, node: u32, cause: Option<Cause>) -> TruthEvent {
    TruthEvent {
        t: Timestamp::from_second(second).unwrap(),
        event: kind,
        node: format!("n{node}"),
        node_uid: format!("uid-{node}"),
        boot_id: format!("boot-{second}"),
        previous_boot_id: None,
        domain: format!("zone-1/rack-{}", if node.is_multiple_of(2) { "b" } else { "a" }),
        pool: String::new(),
        control_plane: false,
        cause,
        cordoned: None,
        cordoned_by: None,
        detail: String::new(),
    }
}

fn pod(run: &str, attempt: u32) -> Option<Cause> {
    Some(Cause::Pod { run: run.into(), attempt })
}

/// A whole reboot of a node by a run: act, down, boot, Ready, one second each.
fn reboot(start: i64, node: u32, run: &str, attempt: u32) -> Vec<TruthEvent> {
    let mut act = event(start, EventKind::Act, node, pod(run, attempt));
    act.cordoned = Some(true);
    act.cordoned_by = Some(run.into());
    vec![
        act,
        event(start + 1, EventKind::Down, node, pod(run, attempt)),
        event(start + 2, EventKind::Boot, node, pod(run, attempt)),
        event(start + 3, EventKind::Ready, node, None),
    ]
}

fn strict() -> Limits {
    Limits { max_parallel: Some(1), max_domains: Some(1), ..Limits::default() }
}

fn judge(mut events: Vec<TruthEvent>) -> Vec<Violation> {
    events.sort_by_key(|event| event.t);
    check(&events, &[], &strict())
}

#[test]
fn a_proper_story_violates_nothing() {
    let mut story = reboot(0, 1, "run-1", 1);
    story.extend(reboot(10, 1, "run-1", 2));
    story.extend(reboot(20, 2, "run-2", 1));
    story.push(event(30, EventKind::Down, 3, Some(Cause::Script)));
    story.push(event(31, EventKind::Boot, 3, Some(Cause::Script)));
    story.push(event(32, EventKind::Boot, 4, Some(Cause::Spontaneous)));
    let runs = [
        RunSummary {
            uid: "run-1".into(),
            node_uid: "uid-1".into(),
            claims_boot: true,
            ..RunSummary::default()
        },
        RunSummary {
            uid: "run-2".into(),
            node_uid: "uid-2".into(),
            claims_boot: true,
            ..RunSummary::default()
        },
        RunSummary {
            uid: "run-9".into(),
            node_uid: "uid-9".into(),
            claims_boot: false,
            ..RunSummary::default()
        },
    ];
    assert_eq!(check(&story, &runs, &strict()), []);
}

#[test]
fn a_second_boot_of_an_attempt_is_found() {
    let mut story = reboot(0, 1, "run-1", 1);
    story.extend(reboot(10, 1, "run-1", 1));
    let found = judge(story);
    assert!(matches!(&found[..], [Violation::BootedTwice { boots: 2, attempt: 1, .. }]));
    assert_eq!(found[0].to_string(), "SAFE-1: attempt 1 of run run-1 caused 2 boots of n1");
}

#[test]
fn an_attempt_that_boots_two_machines_is_found() {
    let mut story = reboot(0, 1, "run-1", 1);
    story.extend(reboot(10, 2, "run-1", 1));
    assert!(matches!(&judge(story)[..], [Violation::BootedTwice { node, .. }] if node == "n1, n2"));
}

#[test]
fn a_boot_in_the_name_of_a_pod_that_never_acted_is_found() {
    let story = reboot(0, 1, "run-1", 1);
    let found = judge(story[1..].to_vec());
    let whats: Vec<_> = found
        .iter()
        .map(|violation| match violation {
            Violation::BootWithoutAct { what, .. } => *what,
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(whats, ["down", "up"]);
    // An act of another attempt, or on another node, is no excuse.
    let mut story = reboot(0, 1, "run-1", 1);
    story[0].cause = pod("run-1", 2);
    assert_eq!(judge(story).len(), 2);
}

#[test]
fn an_act_on_a_node_that_the_run_has_not_cordoned_is_found() {
    let cases = [
        (Some(false), Some("run-1"), "schedulable"),
        (Some(true), None, "cordoned by nobody of ours"),
        (Some(true), Some("run-2"), "cordoned by run-2"),
        (None, None, "in an unknown state, because the fleet could not read it"),
    ];
    for (cordoned, owner, expected) in cases {
        let mut story = reboot(0, 1, "run-1", 1);
        story[0].cordoned = cordoned;
        story[0].cordoned_by = owner.map(str::to_owned);
        match &judge(story)[..] {
            [Violation::NotCordonedByRun { state, .. }] => assert_eq!(state, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_act_on_another_node_object_is_found() {
    let story = reboot(0, 1, "run-1", 1);
    let runs = [RunSummary {
        uid: "run-1".into(),
        node_uid: "uid-old".into(),
        claims_boot: false,
        ..RunSummary::default()
    }];
    let found = check(&story, &runs, &strict());
    assert!(matches!(&found[..], [Violation::WrongNode { found, .. }] if found == "uid-1"));
}

#[test]
fn an_act_on_a_control_plane_node_is_found_unless_allowed() {
    let mut story = reboot(0, 1, "run-1", 1);
    story[0].control_plane = true;
    assert!(matches!(&judge(story.clone())[..], [Violation::ControlPlane { .. }]));
    assert_eq!(check(&story, &[], &Limits { control_plane: true, ..strict() }), []);
}

#[test]
fn too_many_machines_and_domains_at_once_are_found() {
    // Same domain, overlapping by a second.
    let mut story = reboot(0, 1, "run-1", 1);
    story.extend(reboot(2, 3, "run-3", 1));
    match &judge(story)[..] {
        [Violation::TooManyDown { nodes, limit: 1, .. }] => assert_eq!(nodes[..], ["n1", "n3"]),
        other => panic!("{other:?}"),
    }
    // Two domains; the number of machines is not limited.
    let mut story = reboot(0, 1, "run-1", 1);
    story.extend(reboot(10, 2, "run-2", 1));
    story[3].t = Timestamp::from_second(11).unwrap();
    story.sort_by_key(|event| event.t);
    let limits = Limits { max_parallel: None, ..strict() };
    let found = check(&story, &[], &limits);
    assert!(
        matches!(&found[..], [Violation::TooManyDomains { domains, .. }] if domains.len() == 2)
    );
}

#[test]
fn a_machine_that_never_comes_back_stays_counted_until_it_is_removed() {
    let mut story = reboot(0, 1, "run-1", 1);
    story.truncate(2);
    story.extend(reboot(100, 3, "run-3", 1));
    assert!(matches!(&judge(story.clone())[..], [Violation::TooManyDown { .. }]));
    story.push(event(50, EventKind::Removed, 1, None));
    assert_eq!(judge(story), []);
}

#[test]
fn a_claim_of_a_boot_that_never_was_is_found() {
    let run = |claims_boot| RunSummary {
        uid: "run-9".into(),
        node_uid: "uid-1".into(),
        claims_boot,
        ..RunSummary::default()
    };
    let story = reboot(0, 1, "run-1", 1);
    let found = check(&story, &[run(true)], &strict());
    assert!(found.iter().any(|violation| matches!(violation, Violation::ClaimWithoutBoot { .. })));
    assert_eq!(check(&story, &[run(false)], &strict()), []);
}

#[test]
fn events_survive_the_file() {
    for event in reboot(0, 1, "run-1", 1) {
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<TruthEvent>(&line).unwrap(), event, "{line}");
    }
    let line = serde_json::to_string(&reboot(0, 1, "run-1", 1)[0]).unwrap();
    assert!(line.starts_with(r#"{"t":"1970-01-01T00:00:00.000000Z","event":"act","node":"n1""#));
    assert!(line.contains(r#""cause":{"kind":"pod","run":"run-1","attempt":1}"#), "{line}");
}
