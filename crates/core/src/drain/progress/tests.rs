//! Scenarios of the drain loop.

use super::super::filter::{Lookup, Owner, PodPhase, Unmanaged};
use super::*;

const NODE: &str = "node-1";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("in range")
}

fn pod(name: &str) -> PodFacts {
    PodFacts {
        namespace: "shop".into(),
        name: name.into(),
        uid: format!("uid-{name}"),
        node_name: NODE.into(),
        owners: vec![Owner { controller: true, kind: "ReplicaSet".into(), ..Owner::default() }],
        phase: PodPhase::Running,
        mirror: false,
        empty_dir: false,
        deletion_time: None,
        daemon_set_lookup: Lookup::NotAsked,
        tolerates_unschedulable: false,
        ready: true,
        ours: false,
    }
}

fn bare(name: &str) -> PodFacts {
    PodFacts { owners: vec![], ..pod(name) }
}

fn blocked() -> EvictionOutcome {
    EvictionOutcome::BlockedByBudget {
        budget: Some("web".into()),
        needs: Some(2),
        has: Some(2),
        message: "no".into(),
        retry_after: None,
    }
}

fn server_error(retry_after: Option<u32>) -> EvictionOutcome {
    EvictionOutcome::ServerError { http: 500, message: String::new(), retry_after }
}

fn plan(progress: &DrainProgress, pods: &[PodFacts], now: i64) -> DrainPlan {
    progress.plan(NODE, pods, &DrainOptions::default(), at(now))
}

fn names(pods: &[PodRef]) -> Vec<&str> {
    pods.iter().map(|p| p.name.as_str()).collect()
}

/// The waits after `count` answers of this kind in a row, in seconds.
fn waits(outcome: &EvictionOutcome, count: usize) -> Vec<i64> {
    let (mut progress, mut now) = (DrainProgress::new(), at(0));
    let of = PodRef::of(&pod("a"));
    (0..count)
        .map(|_| {
            progress.record(&of, outcome.clone(), now);
            let due = progress.not_before("uid-a").expect("recorded");
            let wait = due.duration_since(now).as_secs();
            now = due;
            wait
        })
        .collect()
}

#[test]
fn from_first_eviction_to_done() {
    let mut progress = DrainProgress::new();
    let (a, b) = (pod("a"), pod("b"));
    let both = [a.clone(), b.clone()];
    let first = plan(&progress, &both, 0);
    assert_eq!(names(&first.evict), ["a", "b"]);
    assert_eq!((first.total, first.evicted, first.done), (2, 0, false));

    progress.record(&PodRef::of(&a), EvictionOutcome::Accepted, at(0));
    progress.record(&PodRef::of(&b), blocked(), at(0));
    // `a` still looks alive in the list: it is waited for, not asked again.
    let second = plan(&progress, &both, 1);
    assert_eq!(names(&second.terminating), ["a"]);
    assert_eq!(second.blocked[0].budget.as_deref(), Some("web"));
    assert_eq!(second.blocked[0].since, at(0));
    assert!(second.evict.is_empty());
    assert_eq!(second.recheck_at, Some(at(5)));

    let third = plan(&progress, std::slice::from_ref(&b), 5);
    assert_eq!(names(&third.evict), ["b"]);
    assert_eq!((third.total, third.evicted, third.blocked.len()), (2, 1, 1));
    progress.record(&PodRef::of(&b), EvictionOutcome::Gone, at(5));
    assert!(!plan(&progress, std::slice::from_ref(&b), 6).done, "only absence counts");
    let last = plan(&progress, &[], 7);
    assert_eq!((last.total, last.evicted, last.done), (2, 2, true));
    assert_eq!(last.recheck_at, None);
}

#[test]
fn an_eviction_without_effect_is_asked_again() {
    // An answer that calls a pod gone which is there is untrue, and is not believed for long.
    let outcomes = [
        (EvictionOutcome::Accepted, 60),
        (EvictionOutcome::Gone, 2),
        (EvictionOutcome::ReplacedByOther, 2),
    ];
    for (outcome, again) in outcomes {
        let mut progress = DrainProgress::new();
        let pods = [pod("a")];
        progress.record(&PodRef::of(&pods[0]), outcome, at(0));
        assert_eq!(plan(&progress, &pods, again - 1).recheck_at, Some(at(again)));
        assert_eq!(names(&plan(&progress, &pods, again).evict), ["a"]);
    }
}

#[test]
fn waits_per_outcome() {
    assert_eq!(waits(&blocked(), 6), [5, 10, 20, 40, 60, 60]);
    assert_eq!(waits(&EvictionOutcome::Gone, 7), [2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(waits(&server_error(None), 7), [1, 2, 4, 8, 16, 30, 30]);
    assert_eq!(waits(&server_error(Some(9)), 2), [9, 9]);
    assert_eq!(waits(&server_error(Some(100_000)), 1), [60]);
    let message = String::new;
    let throttled = |retry_after| EvictionOutcome::Throttled { message: message(), retry_after };
    assert_eq!(waits(&throttled(0), 2), [1, 1]);
    assert_eq!(waits(&throttled(3), 1), [3]);
    let budget = None;
    let unobserved =
        EvictionOutcome::BudgetNotObserved { budget, message: message(), retry_after: 10 };
    assert_eq!(waits(&unobserved, 2), [10, 10]);
    assert_eq!(waits(&EvictionOutcome::MultipleBudgets { message: message() }, 2), [30, 30]);
    assert_eq!(waits(&EvictionOutcome::BudgetMisbehaving { message: message() }, 2), [30, 30]);
    let namespace = EvictionOutcome::NamespaceTerminating { pod_terminating: false };
    assert_eq!(waits(&namespace, 2), [5, 10]);
    // A streak has no overflow.
    assert_eq!(waits(&blocked(), 200).last(), Some(&60));
}

#[test]
fn a_change_of_a_budget_wakes_blocked_pods_of_its_namespace() {
    let mut progress = DrainProgress::new();
    let elsewhere = PodFacts { namespace: "bank".into(), ..pod("b") };
    let pods = [pod("a"), elsewhere, pod("c")];
    let refs: Vec<_> = pods.iter().map(PodRef::of).collect();
    progress.record(&refs[0], blocked(), at(0));
    progress.record(&refs[1], blocked(), at(0));
    progress.record(&refs[2], server_error(Some(30)), at(0));
    progress.budget_changed("shop", at(2));
    let woken = plan(&progress, &pods, 2);
    assert_eq!(names(&woken.evict), ["a"]);
    assert_eq!(woken.waiting.len(), 1, "a server error is no budget");
    assert_eq!(woken.blocked.len(), 2, "still blocked as of the last answer");

    // Budgets that change all the time do not make us ask all the time.
    progress.record(&refs[0], blocked(), at(2));
    progress.budget_changed("shop", at(2));
    let busy = plan(&progress, &pods, 2);
    assert!(busy.evict.is_empty());
    assert_eq!(busy.recheck_at, Some(at(3)));
    assert_eq!(busy.blocked[0].since, at(0));
}

#[test]
fn a_blockage_survives_a_server_error() {
    let mut progress = DrainProgress::new();
    let pods = [pod("a")];
    let of = PodRef::of(&pods[0]);
    progress.record(&of, blocked(), at(0));
    progress.record(&of, server_error(None), at(5));
    assert_eq!(plan(&progress, &pods, 5).blocked[0].since, at(0));
    progress.record(&of, EvictionOutcome::Accepted, at(6));
    progress.record(&of, blocked(), at(70));
    assert_eq!(plan(&progress, &pods, 70).blocked[0].since, at(70), "a new blockage");
    assert_eq!(progress.tries("uid-a"), 4);
}

#[test]
fn a_refused_pod_stops_all_unless_evictions_had_begun() {
    let options = DrainOptions { unmanaged: Unmanaged::Refuse, ..DrainOptions::default() };
    let pods = [pod("a"), bare("b")];
    let mut progress = DrainProgress::new();
    let stopped = progress.plan(NODE, &pods, &options, at(0));
    assert_eq!((stopped.evict.len(), stopped.refused.len(), stopped.done), (0, 1, false));
    // An answer that disturbed nothing does not begin the drain.
    progress.record(&PodRef::of(&pods[0]), blocked(), at(0));
    assert!(progress.plan(NODE, &pods, &options, at(10)).evict.is_empty());

    progress.record(&PodRef::of(&pod("z")), EvictionOutcome::Accepted, at(0));
    assert_eq!(progress.first_accepted(), Some(at(0)));
    for begun in [progress, DrainProgress::resumed(3)] {
        let late = begun.plan(NODE, &pods, &options, at(10));
        assert_eq!((names(&late.evict), late.refused.len(), late.done), (vec!["a"], 1, false));
    }
}

#[test]
fn forbidden_three_times_in_a_row_fails_the_drain_and_stops_it() {
    let mut progress = DrainProgress::new();
    let pods = [pod("a"), pod("b")];
    let forbidden = || {
        let message = "pods \"a\" is forbidden".to_owned();
        (PodRef::of(&pods[0]), EvictionOutcome::Forbidden { message })
    };
    let mut record = |(pod, outcome), time| progress.record(&pod, outcome, at(time));
    // An API server that has just started says so of everything.
    record(forbidden(), 0);
    record(forbidden(), 5);
    record((PodRef::of(&pods[0]), server_error(None)), 15);
    record(forbidden(), 20);
    record(forbidden(), 25);
    assert!(plan(&progress, &pods, 26).failed.is_empty());
    assert_eq!(names(&plan(&progress, &pods, 35).evict), ["a", "b"]);
    let (pod, outcome) = forbidden();
    progress.record(&pod, outcome, at(35));
    let failed = plan(&progress, &pods, 1000);
    assert_eq!(failed.failed[0].1, "pods \"a\" is forbidden");
    assert!(failed.evict.is_empty() && !failed.done);
}

#[test]
fn the_same_name_on_another_node_is_another_pod() {
    let mut progress = DrainProgress::new();
    let old = pod("db-0");
    progress.record(&PodRef::of(&old), EvictionOutcome::Accepted, at(0));
    let new = PodFacts { uid: "new".into(), node_name: "node-2".into(), ..old.clone() };
    let moved = plan(&progress, &[new], 1);
    assert_eq!((moved.evict.len(), moved.done, moved.evicted), (0, true, 1));
    // Back on the same node: a new pod that has to leave.
    let back = PodFacts { uid: "new".into(), ..old };
    assert_eq!(names(&plan(&progress, &[back], 2).evict), ["db-0"]);
}

#[test]
fn terminating_pods_are_waited_for_until_the_limit() {
    let dying = PodFacts { deletion_time: Some(at(0)), ..pod("a") };
    let progress = DrainProgress::new();
    let forever = plan(&progress, std::slice::from_ref(&dying), 1_000_000);
    assert_eq!((names(&forever.terminating), forever.done), (vec!["a"], false));
    assert_eq!(forever.recheck_at, None);
    let skip_terminating_after = Some(SignedDuration::from_secs(60));
    let options = DrainOptions { skip_terminating_after, ..DrainOptions::default() };
    let limited = |now| progress.plan(NODE, std::slice::from_ref(&dying), &options, at(now));
    assert_eq!(limited(60).recheck_at, Some(at(61)));
    assert!(!limited(60).done && limited(61).done);
}

#[test]
fn warnings_name_their_pod() {
    let options = DrainOptions { unmanaged: Unmanaged::Delete, ..DrainOptions::default() };
    let got = DrainProgress::new().plan(NODE, &[bare("a")], &options, at(0));
    assert_eq!(got.warnings, [(PodRef::of(&bare("a")), EvictWarning::Unmanaged)]);
}
