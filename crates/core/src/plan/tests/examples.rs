//! The examples and the promises of planner.md, one by one.

use super::{domains::two_racks, *};
use crate::{
    budget::CountOrPercent,
    ledger::{Slot, Start},
    policy::{Class, MaxStarts},
};

pub(super) const RACK: &str = "node-restriction.kubernetes.io/rack";

pub(super) fn in_rack(rack: &str, mut node: NodeFacts) -> NodeFacts {
    node.labels.insert(RACK, rack);
    node
}

/// Default configuration: racks are failure domains, one at a time.
pub(super) fn racks(nodes: Vec<NodeFacts>) -> World {
    World { config: Some(ClusterConfig::default()), ..world(nodes) }
}

/// 6 racks of 10, all sick with the same message.
pub(super) fn sixty() -> World {
    let nodes = (0..60).map(|n| {
        let rack = n / 10;
        in_rack(&format!("r{rack}"), sick(&format!("r{rack}-{}", n % 10), "[P6] x", 0))
    });
    racks(nodes.collect())
}

pub(super) fn budget(world: &mut World) -> &mut Budget {
    &mut workers(world).budget
}

pub(super) fn config(world: &mut World) -> &mut ClusterConfig {
    world.config.as_mut().unwrap()
}

pub(super) fn names(world: &World) -> Vec<String> {
    plan(world).admit.into_iter().map(|candidate| candidate.node).collect()
}

/// What was admitted runs now, in this step; its node is cordoned with its mark.
pub(super) fn begin(world: &mut World, step: Step) {
    for candidate in plan(world).admit {
        let facts = Arc::make_mut(world.nodes.get_mut(&candidate.node).unwrap());
        let begun = Run {
            uid: format!("run-{}", candidate.node),
            name: format!("run-{}", candidate.node),
            node_name: candidate.node.clone(),
            node_uid: facts.uid.clone(),
            policy: candidate.policy,
            domain: Some(candidate.domain),
            ..run(step)
        };
        cordon(facts);
        facts.cordoned_by = Some(begun.uid.clone());
        world.ledger.starts.push(Start { time: world.now, policy: begun.policy.clone() });
        world.open_runs.push(begun);
    }
}

/// Its run has succeeded: the node is healthy, and given back.
pub(super) fn finish(world: &mut World, node: &str) {
    world.open_runs.retain(|run| run.node_name != node);
    let rack = world.nodes[node].labels.get(RACK).map(str::to_owned);
    let mut well = healthy(node);
    if let Some(rack) = rack {
        well.labels.insert(RACK, rack);
    }
    world.nodes.insert(node.to_owned(), Arc::new(well));
}

/// Why this node does not start.
#[track_caller]
pub(super) fn wait_of(world: &World, node: &str) -> Wait {
    let plan = plan(world);
    let found = plan.report.into_iter().find(|report| report.node == node);
    found.expect("nothing is said of it").wait.expect("it starts")
}

#[test]
fn of_60_nodes_in_6_racks_10_percent_take_6_of_a_rack_at_a_time() {
    let mut world = sixty();
    assert_eq!(names(&world), (0..6).map(|n| format!("r0-{n}")).collect::<Vec<_>>());
    assert_eq!(wait_of(&world, "r0-6").reason, WaitReason::BudgetExhausted);
    assert_eq!(wait_of(&world, "r1-0").reason, WaitReason::OtherDomainsOpen);
    begin(&mut world, Step::Draining);
    assert_eq!(names(&world), [""; 0]);
    finish(&mut world, "r0-2");
    assert_eq!(names(&world), ["r0-6"]);
}

#[test]
fn of_60_nodes_in_6_racks_17_percent_take_a_whole_rack() {
    let mut world = sixty();
    budget(&mut world).max_unavailable = CountOrPercent::Percent(17);
    assert_eq!(names(&world), (0..10).map(|n| format!("r0-{n}")).collect::<Vec<_>>());
    begin(&mut world, Step::Draining);
    for n in 0..10 {
        assert_eq!(names(&world), [""; 0], "the second rack waits for the last of the first");
        finish(&mut world, &format!("r0-{n}"));
    }
    assert_eq!(names(&world).len(), 10);
    assert!(names(&world).iter().all(|name| name.starts_with("r1-")));
}

#[test]
fn spreading_is_one_of_each_rack() {
    let mut world = sixty();
    config(&mut world).max_domains = 60;
    budget(&mut world).max_domains = 60;
    budget(&mut world).max_unavailable_per_domain = CountOrPercent::Count(1);
    assert_eq!(names(&world), ["r0-0", "r1-0", "r2-0", "r3-0", "r4-0", "r5-0"]);
    let waits = wait_of(&world, "r0-1");
    let expected = "policy workers in failure domain -/r0: 1 of at most 1 nodes unavailable: r0-0";
    assert_eq!((waits.reason, waits.message.as_str()), (WaitReason::BudgetExhausted, expected));
}

#[test]
fn a_policy_may_only_lower_how_many_domains_are_open() {
    let mut world = sixty();
    budget(&mut world).max_unavailable = CountOrPercent::Percent(100);
    config(&mut world).max_unavailable = CountOrPercent::Percent(100);
    for (cluster, policy, racks) in [(1, 60, 1), (2, 60, 2), (60, 3, 3), (0, 60, 0), (60, 0, 0)] {
        config(&mut world).max_domains = cluster;
        budget(&mut world).max_domains = policy;
        assert_eq!(names(&world).len(), racks * 10, "{cluster} {policy}");
    }
}

#[test]
fn of_3_nodes_one_at_a_time() {
    let all = (0..3).map(|n| in_rack("r", sick(&format!("n{n}"), "[P6] x", 0)));
    let mut world = racks(all.collect());
    for n in 0..3 {
        assert_eq!(names(&world), [format!("n{n}")]);
        begin(&mut world, Step::Verifying);
        assert_eq!(names(&world), [""; 0]);
        finish(&mut world, &format!("n{n}"));
    }
}

#[test]
fn of_4_nodes_with_one_cordoned_by_a_person_25_percent_start_nothing_and_name_it() {
    let all = (1..5).map(|n| in_rack("r", sick(&format!("n{n}"), "[P6] x", 0)));
    let mut world = racks(all.collect());
    budget(&mut world).max_unavailable = CountOrPercent::Percent(25);
    n1(&mut world).unschedulable = true;
    assert_eq!(names(&world), [""; 0]);
    let waits = wait_of(&world, "n2");
    assert_eq!(waits.reason, WaitReason::BudgetExhausted);
    let expected = "policy workers: 1 of at most 1 (25% of 4) nodes unavailable: n1 (cordoned)";
    assert_eq!((waits.message.as_str(), waits.recheck_at), (expected, None));
}

#[test]
fn nodes_that_are_out_in_any_way_use_the_budget_and_a_floor_helps_small_pools() {
    type Case = (fn(&mut NodeFacts), &'static str);
    let cases: [Case; 5] = [
        (|n| n.unschedulable = true, "n1 (cordoned)"),
        (|n| n.ready = Ready::False, "n1 (not Ready)"),
        (|n| n.ready = Ready::Unknown, "n1 (not Ready)"),
        (|n| n.deleting = true, "n1 (being deleted)"),
        (|n| n.out_of_service = true, "n1 (out of service)"),
    ];
    for (change, name) in cases {
        let mut world = world((1..5).map(|n| sick(&format!("n{n}"), "[P6] x", 0)).collect());
        change(n1(&mut world));
        let message = wait_of(&world, "n2").message;
        assert!(message.ends_with(name), "{message}");
        config(&mut world).min_floor = 2;
        budget(&mut world).min_floor = 2;
        assert_eq!(names(&world), ["n2"], "{name}: two of four may be out");
    }
}

#[test]
fn three_hundred_nodes_not_ready_at_once_start_nothing_beyond_the_budget() {
    let mut nodes: Vec<_> = (0..1000).map(|n| sick(&format!("n{n:03}"), "[P0] x", 0)).collect();
    nodes.iter_mut().take(300).for_each(|node| node.ready = Ready::Unknown);
    let world = world(nodes);
    assert_eq!(names(&world), [""; 0]);
    let waits = wait_of(&world, "n500");
    assert!(waits.message.starts_with("policy workers: 300 of at most 100 (10% of 1000)"));
    assert!(waits.message.ends_with(" …"), "who else is told to be left out: {}", waits.message);
}

/// Goal 73: the operator starts, and everything is True.
#[test]
fn a_start_with_every_condition_true_admits_no_more_than_the_budget() {
    assert_eq!(names(&sixty()).len(), 6);
    let mut world = sixty();
    world.sources = vec![Source { name: "alerts".into(), prefix: "Si".into(), synced: false }];
    let waits = wait_of(&world, "r0-0");
    assert_eq!((waits.reason, waits.recheck_at), (WaitReason::WarmingUp, Some(at(220))));
    assert_eq!(waits.message, "alerts has not reported since the operator started");
    world.now = at(220);
    assert_eq!(wait_of(&world, "r0-0").reason, WaitReason::TriggerUnknown, "it never spoke");
    world.sources[0].synced = true;
    assert_eq!(names(&world).len(), 6);
    // Another source than the policy's triggers' is not waited for.
    let mut world = sixty();
    world.sources = vec![Source { name: "other".into(), prefix: "Alert".into(), synced: false }];
    assert_eq!(names(&world).len(), 6);
}

#[test]
fn without_configuration_nothing_starts() {
    let mut world = sixty();
    world.config = None;
    assert_eq!(names(&world), [""; 0]);
    assert_eq!(wait_of(&world, "r0-0").reason, WaitReason::NotConfigured);
}

#[test]
fn with_the_defaults_an_aged_p9_never_outranks_a_p4() {
    let years = -10 * 365 * 24 * 3600;
    let mut old = sick("old", "[P9] x", years);
    old.conditions.get_mut("Sick").unwrap().changed_at = at(100);
    let mut world = world(vec![old, sick("new", "[P4] x", 99)]);
    assert_eq!(names(&world), ["new"]);
    set(Arc::make_mut(world.nodes.get_mut("new").unwrap()), {
        let mut condition = condition("Sick", "True", 99);
        condition.message = "[P5] x".into();
        condition
    });
    assert_eq!(names(&world), ["old"], "of equals the one that waits longer");
    let candidate = plan(&world).admit.into_iter().next().unwrap();
    assert_eq!((candidate.priority, candidate.effective), (Priority(9), Priority(5)));
}

#[test]
fn ageing_counts_full_steps_of_faults_only_and_can_be_off() {
    let hour = 3600;
    let cases = [
        (9, 6 * hour - 1, 9),
        (9, 6 * hour, 8),
        (9, 12 * hour + 5, 7),
        (9, 1000 * hour, 5),
        (5, 1000 * hour, 5),
        (2, 1000 * hour, 2),
        (9, -hour, 9),
    ];
    for (priority, waited, expected) in cases {
        let effective =
            |class, ageing| order::effective(Priority(priority), class, ageing, at(0), at(waited));
        assert_eq!(
            effective(Class::Fault, Ageing::default()),
            Priority(expected),
            "{priority} {waited}"
        );
        assert_eq!(effective(Class::Maintenance, Ageing::default()), Priority(priority));
        let off = Ageing { every: secs(0), floor: 0 };
        assert_eq!(effective(Class::Fault, off), Priority(priority));
    }
}

#[test]
fn the_most_urgent_cause_after_ageing_counts() {
    let mut world = one();
    workers(&mut world).contract.triggers[0].condition_type = TypePattern::parse("Sick*");
    world.now = at(24 * 3600);
    let mut fresh = condition("SickToo", "True", 24 * 3600);
    fresh.message = "[P6] fresh".into();
    set(n1(&mut world), fresh);
    let mut old = condition("Sick", "True", 0);
    (old.message, old.changed_at) = ("[P9] old".into(), world.now);
    set(n1(&mut world), old);
    let candidate = plan(&world).admit.into_iter().next().unwrap();
    assert_eq!((candidate.priority, candidate.effective), (Priority(9), Priority(5)));
    assert_eq!(candidate.causes[0].condition_type, "Sick");
}

#[test]
fn the_operators_own_node_is_taken_last_among_equals() {
    let mut world = world(["a", "b", "c"].map(|name| sick(name, "[P6] x", 0)).into());
    world.own_node = Some("a".into());
    assert_eq!(names(&world), ["b"]);
    world.nodes.insert("a".into(), Arc::new(sick("a", "[P5] x", 0)));
    assert_eq!(names(&world), ["a"], "but before who is less urgent");
}

#[test]
fn every_enforcing_policy_protects_its_nodes_suspended_or_not_and_a_dry_run_protects_none() {
    let sick_ones = || ["n1", "n2", "n3"].map(|name| sick(name, "[P6] x", 0)).into();
    let mut world = world(sick_ones());
    budget(&mut world).max_unavailable = CountOrPercent::Count(3);
    config(&mut world).max_unavailable = CountOrPercent::Count(3);
    let mut other = Policy { name: "other".into(), suspended: true, ..policy() };
    other.budget.max_unavailable = CountOrPercent::Count(1);
    world.policies.insert("other".into(), other);
    assert_eq!(names(&world), ["n1"]);
    let message = wait_of(&world, "n2").message;
    assert!(
        message.starts_with("policy other (suspended; its budget still holds): 1 of"),
        "{message}"
    );
    world.policies.get_mut("other").unwrap().suspended = false;
    world.policies.get_mut("other").unwrap().mode = Mode::DryRun;
    let decided = plan(&world);
    assert_eq!(decided.admit.len(), 3);
    assert_eq!(decided.would_start["other"].len(), 1, "its own budget bounds what it would do");
    let scopes: Vec<_> =
        decided.scopes.iter().map(|s| (s.scope.to_string(), s.used, s.blocked)).collect();
    let expected = [("the cluster", 3, 0), ("policy workers", 3, 0), ("policy other", 1, 2)];
    assert_eq!(scopes, expected.map(|(name, used, blocked)| (name.to_owned(), used, blocked)));
    assert!(decided.scopes.iter().all(|scope| scope.now == 0), "nothing is out yet: {decided:?}");
    Arc::make_mut(world.nodes.get_mut("n3").unwrap()).unschedulable = true;
    let scopes = plan(&world).scopes;
    let now: Vec<_> = scopes.iter().map(|scope| (scope.now, scope.used)).collect();
    assert_eq!(now, [(1, 3), (1, 3), (1, 1)], "what is out bounds a dry run, too");
}

#[test]
fn the_cluster_bounds_all_policies_together() {
    let mut world = world((0..10).map(|n| sick(&format!("n{n}"), "[P6] x", 0)).collect());
    budget(&mut world).max_unavailable = CountOrPercent::Percent(100);
    assert_eq!(names(&world).len(), 2, "20 % of all nodes by default");
    assert!(wait_of(&world, "n2").message.starts_with("the cluster: 2 of at most 2 (20% of 10)"));
}

#[test]
fn control_plane_nodes_are_in_the_cluster_and_in_no_policys_scope() {
    let mut world = world((0..10).map(|n| sick(&format!("n{n}"), "[P6] x", 0)).collect());
    for name in ["n7", "n8", "n9"] {
        let node = Arc::make_mut(world.nodes.get_mut(name).unwrap());
        (node.control_plane, node.unschedulable) = (true, name == "n9");
    }
    let scopes = plan(&world).scopes;
    let found: Vec<_> = scopes.iter().map(|s| (s.limit, s.used, s.slots)).collect();
    assert_eq!(found, [(2, 2, 1), (1, 1, 1)]);
    assert_eq!(plan(&world).matched["workers"], 10);
}

#[test]
fn lowering_a_limit_admits_nobody_and_cancels_nobody() {
    let mut world = sixty();
    begin(&mut world, Step::Draining);
    for limit in (0..6).map(CountOrPercent::Count) {
        budget(&mut world).max_unavailable = limit;
        let decided = plan(&world);
        assert_eq!((decided.admit.len(), decided.discard.len()), (0, 0));
    }
    config(&mut world).max_domains = 0;
    assert_eq!(names(&world), [""; 0]);
}

#[test]
fn starts_are_paced_by_a_sliding_window() {
    let mut world = sixty();
    budget(&mut world).max_unavailable = CountOrPercent::Count(60);
    config(&mut world).max_unavailable = CountOrPercent::Count(60);
    budget(&mut world).max_starts = MaxStarts { count: 4, per: secs(600) };
    let start = |time| Start { time: at(time), policy: "workers".into() };
    world.ledger.starts = vec![start(-520), start(-500), start(50)];
    world.ledger.starts.push(Start { time: at(60), policy: "other".into() });
    assert_eq!(names(&world), ["r0-0", "r0-1", "r0-2"], "the first two have left the window");
    world.ledger.starts[1].time = at(-499);
    assert_eq!(names(&world), ["r0-0", "r0-1"]);
    let waits = wait_of(&world, "r0-5");
    assert_eq!((waits.reason, waits.recheck_at), (WaitReason::StartsExhausted, Some(at(101))));
}

#[test]
fn a_slot_that_only_the_ledger_knows_counts_too() {
    let mut world = world(vec![sick("n1", "[P6] x", 0), sick("n2", "[P6] x", 0)]);
    let slot = Slot { run_uid: "gone".into(), node_name: "n1".into(), node_uid: "uid-n1".into() };
    world.ledger.slots = vec![slot];
    assert_eq!(names(&world), [""; 0]);
    assert_eq!(wait(&world).reason, WaitReason::ActiveRun);
    assert_eq!(wait_of(&world, "n2").reason, WaitReason::BudgetExhausted);
}

#[test]
fn every_for_starts_again_when_a_meltdown_ends() {
    let mut world = one();
    workers(&mut world).contract.triggers[0].hold_for = secs(60);
    assert_eq!(names(&world), ["n1"]);
    world.meltdown_ended = Some(at(90));
    let waits = wait(&world);
    assert_eq!((waits.reason, waits.recheck_at), (WaitReason::NotLongEnough, Some(at(150))));
    world.now = at(150);
    assert_eq!(names(&world), ["n1"]);
    // The very plan that sees the end starts nothing that has waited while nobody could be believed.
    world.melting = true;
    let waits = wait(&world);
    assert_eq!((waits.reason, waits.recheck_at), (WaitReason::NotLongEnough, Some(at(210))));
}

#[test]
fn a_retry_costs_no_capacity_but_counts_as_a_repair() {
    let mut world = two_racks("[P6] x", "[P6] x");
    world.open_runs[0].step = Step::Held;
    world.open_runs[0].retries.asked = 1;
    let names_it = |world: &World| names(world).contains(&"a1".to_owned());
    // Its own cordon uses the budget up; it may be tried again all the same.
    assert!(names_it(&world));
    assert_eq!(wait_of(&world, "a2").reason, WaitReason::BudgetExhausted);
    budget(&mut world).max_unavailable = CountOrPercent::Count(0);
    assert!(!names_it(&world));
    let message = wait_of(&world, "a1").message;
    assert_eq!(message, "policy workers: 0 of at most 0 nodes under remediation");
    // No time and no end of a run changes that: it is refused as things are configured.
    let refuses = |world: &World| {
        let gates = explain(world, "a1", "workers").gates;
        gates.iter().any(|gate| matches!(&gate.verdict, Verdict::Refuse(wait) if wait.reason == WaitReason::BudgetExhausted))
    };
    assert!(refuses(&world));
    budget(&mut world).max_unavailable = CountOrPercent::Count(1);
    assert!(!refuses(&world));
}
