//! Each property with a story that keeps it and one that breaks it. Racks have ten nodes.

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn event(second: i64, event: EventKind, node: u32) -> TruthEvent {
    TruthEvent {
        t: at(second),
        event,
        node: format!("n{node}"),
        node_uid: format!("uid-{node}"),
        boot_id: String::new(),
        previous_boot_id: None,
        domain: format!("zone-1/rack-{}", node / 10),
        pool: if node.is_multiple_of(2) { "even" } else { "odd" }.to_owned(),
        control_plane: false,
        cause: None,
        cordoned: None,
        cordoned_by: None,
        detail: String::new(),
    }
}

fn created() -> Vec<TruthEvent> {
    (0..40).map(|node| event(0, EventKind::Created, node)).collect()
}

fn seen(second: i64, node: u32, cordoned: bool, by: Option<&str>) -> NodeSeen {
    NodeSeen {
        t: at(second),
        node: format!("n{node}"),
        node_uid: format!("uid-{node}"),
        cordoned,
        by: by.map(str::to_owned),
    }
}

/// A run has the node from `from` to `to`.
fn out(node: u32, from: i64, to: i64) -> [NodeSeen; 2] {
    let run = format!("run-{node}");
    [seen(from, node, true, Some(&run)), seen(to, node, false, None)]
}

fn story(mut seen: Vec<NodeSeen>) -> Vec<NodeSeen> {
    seen.sort_by_key(|seen| seen.t);
    seen
}

fn check(events: &[TruthEvent], seen: &[NodeSeen], limits: &Limits) -> Vec<String> {
    check_starts(events, seen, &[], limits).iter().map(ToString::to_string).collect()
}

#[test]
fn one_after_the_other_is_within_every_limit() {
    let seen = story([out(1, 10, 20), out(2, 20, 30), out(11, 30, 40)].concat());
    let limits = Limits {
        out: Some(1),
        out_per_pool: [("even".to_owned(), 1), ("odd".to_owned(), 1)].into(),
        out_per_domain: Some(1),
        open_domains: Some(1),
        in_order: true,
        ..Limits::default()
    };
    assert_eq!(check(&created(), &seen, &limits), Vec::<String>::new());
}

#[test]
fn one_node_too_many_is_found_in_the_scope_whose_limit_it_passes_and_told_once() {
    let seen = story([out(1, 10, 20), out(3, 12, 20), out(5, 13, 20), out(12, 15, 25)].concat());
    let all = Limits { out: Some(2), ..Limits::default() };
    let said = check(&created(), &seen, &all);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("SAFE-4: at 1970-01-01T00:00:13Z 3 nodes of all"), "{said:?}");
    let pool = |name: &str, limit| Limits {
        out_per_pool: [(name.to_owned(), limit)].into(),
        ..Limits::default()
    };
    assert_eq!(check(&created(), &seen, &pool("odd", 3)).len(), 0);
    assert_eq!(check(&created(), &seen, &pool("odd", 2)).len(), 1);
    assert_eq!(check(&created(), &seen, &pool("even", 1)).len(), 0);
    let domain = |limit| Limits { out_per_domain: Some(limit), ..Limits::default() };
    assert_eq!(check(&created(), &seen, &domain(3)).len(), 0);
    assert_eq!(check(&created(), &seen, &domain(2)).len(), 1);
}

#[test]
fn two_racks_at_once_are_found_unless_the_first_one_is_only_held() {
    let seen = story([out(1, 10, 30), out(11, 20, 40)].concat());
    let limits = Limits { open_domains: Some(1), ..Limits::default() };
    let said = check(&created(), &seen, &limits);
    assert!(matches!(&said[..], [one] if one.contains("2 domains, 1 allowed: zone-1/rack-0")));
    let run = |held| RunSummary { uid: "run-1".into(), held, ..RunSummary::default() };
    let held = |second| check_starts(&created(), &seen, &[run(Some(at(second)))], &limits);
    assert_eq!(held(15), []);
    assert_eq!(held(25).len(), 1, "it was held after the other rack had begun");
}

#[test]
fn what_others_took_out_counts_as_soon_as_it_must_be_known() {
    let limits = Limits { out: Some(1), ..Limits::default() };
    let persons =
        |second| story([vec![seen(second, 7, true, None)], out(1, 10, 20).to_vec()].concat());
    assert_eq!(check(&created(), &persons(5), &limits).len(), 1);
    assert_eq!(check(&created(), &persons(9), &limits).len(), 0, "a second ago");
    let mut events = created();
    events.push(event(5, EventKind::Down, 7));
    let starts = |second| story(out(1, second, second + 1).to_vec());
    assert_eq!(check(&events, &starts(20), &limits).len(), 0, "nobody has noticed yet");
    assert_eq!(check(&events, &starts(60), &limits).len(), 1);
    events.push(event(50, EventKind::Ready, 7));
    assert_eq!(check(&events, &starts(60), &limits).len(), 0);
}

#[test]
fn a_node_that_is_down_may_be_repaired_while_others_are_down_but_not_beside_another_run() {
    let mut events = created();
    events.extend((0..5).map(|node| event(5, EventKind::Down, node)));
    let limits = Limits { out: Some(1), ..Limits::default() };
    let seen = story([out(1, 60, 70), out(2, 70, 80)].concat());
    assert_eq!(check(&events, &seen, &limits), Vec::<String>::new());
    let seen = story([out(1, 60, 70), out(2, 65, 80)].concat());
    assert_eq!(check(&events, &seen, &limits).len(), 1);
}

#[test]
fn nodes_that_are_not_of_the_story_do_not_count() {
    let seen = story([out(1, 10, 20), out(3, 12, 20)].concat());
    let limits = Limits { out: Some(1), ..Limits::default() };
    assert_eq!(check(&created()[..3], &seen, &limits).len(), 0);
}

fn run(
    uid: &str,
    priority: i32,
    since: i64,
    admitted: Option<i64>,
    ended: Option<i64>,
) -> RunSummary {
    RunSummary {
        uid: uid.into(),
        node_uid: "uid-1".into(),
        priority: Some(priority),
        since: Some(at(since)),
        admitted: admitted.map(at),
        ended: ended.map(at),
        ..RunSummary::default()
    }
}

#[test]
fn two_runs_of_one_node_at_once_are_found() {
    let check = |runs: &[RunSummary]| check_starts(&[], &[], runs, &Limits::default());
    let first = run("a", 6, 0, Some(1), Some(9));
    assert_eq!(check(&[first.clone(), run("b", 6, 0, Some(9), None)]), []);
    assert_eq!(check(&[first.clone(), run("b", 6, 0, None, None)]), [], "it waits");
    let found = check(&[run("b", 6, 0, Some(8), None), first]);
    assert!(matches!(&found[..], [Violation::TwoRunsAtOnce { first, .. }] if first == "a"));
    assert_eq!(check(&[run("a", 6, 0, Some(1), None), run("b", 6, 0, Some(8), None)]).len(), 1);
}

#[test]
fn a_run_that_passes_a_more_urgent_one_is_found() {
    let limits = Limits { in_order: true, ..Limits::default() };
    let check = |late: &RunSummary| {
        let runs = [run("calm", 6, 0, Some(10), Some(20)), late.clone()];
        let found = check_starts(&[], &[], &runs, &limits);
        found.iter().filter(|v| matches!(v, Violation::OutOfOrder { .. })).count()
    };
    assert_eq!(check(&run("urgent", 2, 5, Some(21), Some(22))), 1);
    assert_eq!(check(&run("urgent", 2, 5, None, None)), 1, "it never began");
    assert_eq!(check(&run("urgent", 2, 9, Some(21), Some(22))), 0, "it has only just come");
    assert_eq!(check(&run("earlier", 2, 5, Some(6), Some(9))), 0);
    assert_eq!(check(&run("equal", 6, 5, Some(21), Some(22))), 0);
    let no_word = RunSummary { priority: None, ..run("unknown", 0, 5, Some(21), Some(22)) };
    assert_eq!(check(&no_word), 0);
}
