//! A plan with a memory of the plans before is the plan without.

use proptest::prelude::*;

use super::{
    against_reference::worlds,
    reference::{Answer, reference},
    *,
};

/// What becomes of a world before the next plan.
#[derive(Debug, Clone)]
struct Turn {
    next: World,
    /// Nodes that stay as they are, by position.
    stay: u32,
    /// Policies, configuration and what runs stay as they are.
    rules_stay: bool,
    runs_stay: bool,
    now: i64,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    // Reports are from second 0, and stale after 900.
    let now = prop_oneof![Just(100_i64), 890..910_i64, 0..20_000_i64];
    let one = (worlds(), any::<u32>(), prop::bool::weighted(0.8), any::<bool>(), now);
    let one = one.prop_map(|(next, stay, rules_stay, runs_stay, now)| Turn {
        next,
        stay,
        rules_stay,
        runs_stay,
        now,
    });
    prop::collection::vec(one, 1..6)
}

/// The next world, with what stays of the one before.
fn turn(before: World, turn: Turn) -> World {
    let Turn { mut next, stay, rules_stay, runs_stay, now } = turn;
    for (position, (name, node)) in before.nodes.into_iter().enumerate() {
        if stay >> (position % 32) & 1 == 1 {
            next.nodes.insert(name, node);
        }
    }
    if rules_stay {
        (next.policies, next.config) = (before.policies, before.config);
    }
    if runs_stay {
        (next.open_runs, next.strays, next.ledger) =
            (before.open_runs, before.strays, before.ledger);
    }
    World { now: at(now), ..next }
}

/// The topology keys decide in which domain a node is.
#[test]
fn other_topology_keys_are_other_plans() {
    let nodes = ["n1", "n2", "n3"].map(|name| {
        let mut node = super::sick(name, "[P6] x", 0);
        node.labels.insert("rack", if name == "n3" { "b" } else { "a" });
        node
    });
    let mut world = super::world(nodes.to_vec());
    super::workers(&mut world).budget.max_unavailable = crate::budget::CountOrPercent::Percent(100);
    let config = world.config.as_mut().unwrap();
    config.max_unavailable = crate::budget::CountOrPercent::Percent(100);
    let mut memo = Memo::default();
    let mut domains = Vec::new();
    for keys in [vec![], vec!["rack".to_owned()], vec!["rack".to_owned()], vec![]] {
        world.config.as_mut().unwrap().topology_keys = keys;
        let planned = plan_with(&mut memo, &world);
        assert_eq!(planned, plan(&world));
        domains.push(planned.admit.len());
    }
    assert_eq!(domains, [3, 2, 2, 3]);
}

/// What the memory is for: of thousands of nodes those are looked at that have changed.
#[test]
fn a_node_is_looked_at_once_until_it_or_the_rules_change() {
    let names: Vec<_> = (0..50).map(|number| format!("n{number:02}")).collect();
    let mut world = world(names.iter().map(|name| healthy(name)).collect());
    let mut memo = Memo::default();
    let mut looks_after = |world: &World| {
        assert_eq!(plan_with(&mut memo, world), plan(world));
        memo.looks()
    };
    assert_eq!(looks_after(&world), 50);
    world.now = at(130);
    assert_eq!(looks_after(&world), 50, "only time has passed");
    let changed = super::sick("n07", "[P6] x", 0).into();
    world.nodes.insert("n07".into(), changed);
    assert_eq!(looks_after(&world), 51);
    world.nodes.remove("n20");
    assert_eq!(looks_after(&world), 51, "the others have moved up");
    world.nodes.insert("n99".into(), healthy("n99").into());
    assert_eq!(looks_after(&world), 52);
    workers(&mut world).ageing.floor = 3;
    assert_eq!(looks_after(&world), 50, "all of them, by the new rules");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_is_remembered_changes_no_plan(first in worlds(), turns in turns()) {
        let mut memo = Memo::default();
        let mut world = first;
        prop_assert_eq!(plan_with(&mut memo, &world), plan(&world));
        for next in turns {
            world = turn(world, next);
            let decided = plan_with(&mut memo, &world);
            prop_assert_eq!(&decided, &plan(&world));
            prop_assert_eq!(Answer::of(&decided), reference(&world));
            prop_assert_eq!(plan_with(&mut memo, &world), decided, "nothing has changed");
        }
    }
}

#[test]
fn a_node_that_nobody_reports_on_becomes_stale_in_the_memory_too() {
    let mut world = world(vec![healthy("n1")]);
    let stale_after = workers(&mut world).contract.triggers[0].stale_after;
    let last = n1(&mut world).conditions["Sick"].changed_at + stale_after;
    let mut memo = Memo::default();
    let mut said = |now: Timestamp| {
        world.now = now;
        plan_with(&mut memo, &world).report.pop().and_then(|pair| pair.wait)
    };
    assert_eq!(said(last), None);
    let later = last + SignedDuration::from_nanos(1);
    assert_eq!(said(later).unwrap().reason, WaitReason::TriggerUnknown);
    assert_eq!(said(last), None);
}

/// One at a time, and many at once.
#[test]
fn names_that_come_and_go_fill_no_memory() {
    for new in [1, 100] {
        let mut memo = Memo::default();
        for number in 0..1000 / new {
            let names = (0..new).map(|one| format!("n{number}-{one}"));
            let nodes = names.chain(["a".to_owned(), "z".to_owned()]).map(|name| healthy(&name));
            let world = world(nodes.collect());
            let mut world = World { config: Some(ClusterConfig::default()), ..world };
            world
                .nodes
                .values_mut()
                .for_each(|node| Arc::make_mut(node).labels = Default::default());
            plan_with(&mut memo, &world);
            assert!(memo.size() < 100 + 4 * new, "{}", memo.size());
        }
    }
}
