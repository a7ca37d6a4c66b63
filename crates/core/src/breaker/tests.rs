//! Tests of meltdown and breaker. Here are the builders, the thresholds, and how a storm opens and
//! closes; its properties are below.

mod random;

use std::{collections::BTreeSet, sync::Arc};

use super::*;
use crate::{
    config::ClusterConfig,
    domain::Domain,
    facts::{NodeFacts, Ready},
    ledger::Slot,
    plan::{World, plan},
    policy::{Ageing, Breaker, Budget, Class, Mode, NodeSelector},
    priority::PriorityRange,
    remediation::tests::{at, condition, contract, node, run, secs, set, trigger},
    run::Run,
    step::Step,
};

const WINDOW: i64 = 600;

fn policy() -> Policy {
    Policy {
        name: "workers".into(),
        generation: 1,
        mode: Mode::Enforce,
        suspended: false,
        selector: NodeSelector::All,
        priority: PriorityRange { min: 0, max: 99, default: 9 },
        ageing: Ageing::default(),
        budget: Budget::default(),
        breaker: Breaker::default(),
        contract: contract(),
    }
}

/// A healthy node in this rack.
fn healthy(number: usize, rack: &str) -> NodeFacts {
    let mut node = node();
    node.name = format!("n{number}");
    node.uid = format!("uid-{number}");
    node.labels.insert("rack", rack);
    set(&mut node, condition("Sick", "False", -100_000));
    node
}

/// `total` nodes in `racks` racks, in turn.
fn nodes(total: usize, racks: usize) -> Vec<NodeFacts> {
    (0..total).map(|number| healthy(number, &format!("r{}", number % racks))).collect()
}

/// The first `sick` of them have shown `Sick` since then.
fn sicken(nodes: &mut [NodeFacts], sick: usize, since: i64) {
    nodes.iter_mut().take(sick).for_each(|node| set(node, condition("Sick", "True", since)));
}

fn world(nodes: Vec<NodeFacts>) -> World {
    let config = ClusterConfig { topology_keys: vec!["rack".into()], ..ClusterConfig::default() };
    World {
        nodes: nodes.into_iter().map(|node| (node.name.clone(), Arc::new(node))).collect(),
        policies: BTreeMap::from([("workers".to_owned(), policy())]),
        config: Some(config),
        ..World::empty(at(0))
    }
}

fn assess(world: &World) -> Assessment {
    let showing: Vec<&NodeFacts> = world.nodes.values().map(|node| &**node).collect();
    let keys = &world.config.as_ref().unwrap().topology_keys;
    let domain = |node: &&NodeFacts| Domain::of(&node.name, &node.labels, keys);
    let racks: BTreeSet<_> = showing.iter().map(domain).collect();
    let members = Members { total: showing.len(), showing, in_several_domains: racks.len() > 1 };
    storms(world, &world.policies["workers"], &members)
}

/// Looks, and records.
fn look(world: &mut World) -> Assessment {
    let assessment = assess(world);
    world.storms.insert("workers".into(), assessment.storms.clone());
    assessment
}

fn storm(world: &World) -> Option<&Storm> {
    world.storms.get("workers")?.get("Sick")
}

fn later(world: &mut World, seconds: i64) {
    world.now = world.now.checked_add(secs(seconds)).unwrap();
}

fn change(world: &mut World, name: &str, change: impl FnOnce(&mut NodeFacts)) {
    change(Arc::make_mut(world.nodes.get_mut(name).unwrap()));
}

/// A run for `Sick` begins on a node.
fn start(world: &mut World, name: &str) {
    let run = Run {
        uid: format!("run-{name}"),
        name: format!("run-{name}"),
        node_name: name.into(),
        node_uid: world.nodes[name].uid.clone(),
        policy: "workers".into(),
        causes: vec!["Sick".into()],
        since: world.now,
        ..run(Step::Draining)
    };
    world.open_runs.push(run);
}

/// The run of a node ends, and the node is well, or not.
fn end(world: &mut World, name: &str, succeeded: bool) {
    world.open_runs.retain(|run| run.node_name != name);
    let (policy, causes) = ("workers".to_owned(), vec!["Sick".to_owned()]);
    world.ended.push(EndedRun { policy, causes, succeeded, end: world.now });
    if succeeded {
        let now = world.now;
        change(world, name, |node| {
            let mut well = condition("Sick", "False", 0);
            well.status_since = now;
            set(node, well);
        });
    }
}

/// Ten nodes in two racks, eight of which get sick at once; the storm is on record.
fn stormy() -> World {
    let mut nodes = nodes(10, 2);
    sicken(&mut nodes, 8, 0);
    let mut world = world(nodes);
    look(&mut world);
    assert_eq!(storm(&world), Some(&Storm::Open { since: at(0) }));
    world
}

#[test]
fn a_storm_needs_three_nodes_and_the_share_in_two_domains_if_there_are_two() {
    // Nodes, racks, the fewest that make a storm.
    for (total, racks, least) in [
        (3, 2, 3),
        (4, 2, 3),
        (10, 2, 3),
        (60, 6, 15),
        (61, 6, 16),
        (1000, 100, 250),
        (3, 1, 3),
        (10, 1, 3),
        (60, 1, 15),
    ] {
        for (sick, expected) in [(least - 1, false), (least, true)] {
            let mut nodes = nodes(total, racks);
            sicken(&mut nodes, sick, 0);
            let assessment = assess(&world(nodes));
            let found = assessment.storms.contains_key("Sick");
            assert_eq!(found, expected, "{sick} of {total} in {racks} domains");
        }
    }
}

#[test]
fn one_rack_that_gets_sick_is_no_storm_unless_there_is_no_other() {
    let mut all = nodes(12, 2);
    all.iter_mut().filter(|node| node.labels.get("rack") == Some("r0")).for_each(|node| {
        set(node, condition("Sick", "True", 0));
    });
    assert_eq!(assess(&world(all.clone())).storms, Storms::new());
    let mut one_domain = world(all);
    one_domain.config = Some(ClusterConfig { topology_keys: vec![], ..ClusterConfig::default() });
    assert!(assess(&one_domain).storms.contains_key("Sick"));
}

#[test]
fn a_count_in_place_of_a_share_counts_and_three_is_the_least() {
    let percent = CountOrPercent::Percent;
    for (limit, total, expected) in [
        (percent(25), 10, 3),
        (percent(25), 13, 4),
        (percent(0), 1000, 3),
        (percent(100), 7, 7),
        (CountOrPercent::Count(1), 1000, 3),
        (CountOrPercent::Count(40), 10, 40),
        (percent(100), usize::MAX, usize::MAX.div_ceil(100)),
    ] {
        assert_eq!(correlated(limit, total), expected, "{limit} of {total}");
    }
}

#[test]
fn what_is_true_for_longer_than_the_window_is_no_storm() {
    let mut nodes = nodes(10, 2);
    sicken(&mut nodes, 10, -WINDOW);
    assert_eq!(assess(&world(nodes.clone())).storms, Storms::new());
    sicken(&mut nodes, 3, -WINDOW + 1);
    assert!(assess(&world(nodes)).storms.contains_key("Sick"));
}

#[test]
fn maintenance_is_exempt() {
    let mut nodes = nodes(10, 2);
    sicken(&mut nodes, 10, 0);
    let mut world = world(nodes);
    let policy = world.policies.get_mut("workers").unwrap();
    policy.contract.triggers[0].class = Class::Maintenance;
    assert_eq!(assess(&world).storms, Storms::new());
}

#[test]
fn what_a_node_shows_while_it_is_rebooted_is_no_storm() {
    let mut world = world(nodes(10, 2));
    let policy = world.policies.get_mut("workers").unwrap();
    let mut ready = trigger();
    ready.condition_type = crate::policy::TypePattern::parse("Ready");
    ready.statuses = vec!["False".into()];
    policy.contract.triggers.push(ready);
    for number in 0..5 {
        let name = format!("n{number}");
        start(&mut world, &name);
        change(&mut world, &name, |node| set(node, condition("Ready", "False", 0)));
    }
    assert_eq!(assess(&world).storms, Storms::new());
    world.open_runs.clear();
    assert!(assess(&world).storms.contains_key("Ready"));
}

#[test]
fn an_open_storm_starts_nothing_and_says_when_it_is_looked_at_again() {
    let mut world = stormy();
    let stop = look(&mut world).verdict("Sick", 0).unwrap();
    assert_eq!(stop.recheck_at, Some(at(WINDOW)));
    assert!(stop.message.contains("broken detector"), "{}", stop.message);
    assert_eq!(look(&mut world).verdict("Other", 0), None, "another fault is cured");
    later(&mut world, WINDOW - 1);
    assert!(look(&mut world).verdict("Sick", 0).is_some());
    later(&mut world, 1);
    let assessment = look(&mut world);
    assert_eq!(storm(&world), Some(&Storm::Probing { since: at(WINDOW) }));
    assert_eq!(assessment.verdict("Sick", 0), None);
    assert!(assessment.verdict("Sick", 1).is_some(), "one probe, and not two in one plan");
}

#[test]
fn a_storm_that_grows_is_not_probed_yet() {
    let mut world = stormy();
    for number in 5..8 {
        change(&mut world, &format!("n{number}"), |node| {
            set(node, condition("Sick", "True", 300));
        });
    }
    later(&mut world, WINDOW);
    let stop = look(&mut world).verdict("Sick", 0).unwrap();
    assert_eq!(stop.recheck_at, Some(at(300 + WINDOW)), "when the third newest is no longer new");
    later(&mut world, 300);
    assert_eq!(look(&mut world).verdict("Sick", 0), None);
}

#[test]
fn rounds_of_one_one_two_and_four_cure_eight_nodes() {
    let mut world = stormy();
    later(&mut world, WINDOW);
    let mut rounds = Vec::new();
    let mut next = 0;
    while next < 8 {
        let assessment = look(&mut world);
        let may = (0..20).take_while(|n| assessment.verdict("Sick", *n).is_none()).count();
        assert!(may > 0, "{rounds:?}");
        let round: Vec<_> = (next..8.min(next + may)).map(|number| format!("n{number}")).collect();
        for (position, name) in round.iter().enumerate() {
            later(&mut world, 1);
            start(&mut world, name);
            let left = look(&mut world).verdict("Sick", 0);
            assert_eq!(left.is_none(), position + 1 < may, "{rounds:?}");
        }
        for (position, name) in round.iter().enumerate() {
            later(&mut world, 1);
            end(&mut world, name, true);
            if position + 1 < round.len() {
                assert!(look(&mut world).verdict("Sick", 0).is_some(), "the round is not over");
            }
        }
        next += round.len();
        rounds.push(round.len());
        later(&mut world, 1);
    }
    assert_eq!(rounds, [1, 1, 2, 4]);
    look(&mut world);
    assert_eq!(storm(&world), None);
}

#[test]
fn a_failed_probe_opens_the_storm_again_and_the_next_waits_for_a_window() {
    let mut world = stormy();
    later(&mut world, WINDOW);
    look(&mut world);
    start(&mut world, "n0");
    later(&mut world, 60);
    end(&mut world, "n0", false);
    let failed = world.now;
    assert!(look(&mut world).verdict("Sick", 0).is_some());
    assert_eq!(storm(&world), Some(&Storm::Open { since: failed }));
    later(&mut world, WINDOW - 1);
    assert!(look(&mut world).verdict("Sick", 0).is_some());
    later(&mut world, 1);
    assert_eq!(look(&mut world).verdict("Sick", 0), None);
}

#[test]
fn a_probe_that_is_held_or_frozen_has_failed() {
    for frozen in [false, true] {
        let mut world = stormy();
        later(&mut world, WINDOW);
        look(&mut world);
        start(&mut world, "n0");
        later(&mut world, 60);
        let now = world.now;
        let run = &mut world.open_runs[0];
        *run = match frozen {
            true => run.freeze(crate::reason::Invariant::Intent, String::new(), now),
            false => Run { step: Step::Held, since: now, ..run.clone() },
        };
        look(&mut world);
        assert_eq!(storm(&world), Some(&Storm::Open { since: now }), "frozen: {frozen}");
    }
}

#[test]
fn runs_that_were_under_way_when_it_opened_are_not_blocked_and_are_no_probe() {
    let mut world = stormy();
    start(&mut world, "n0");
    look(&mut world);
    later(&mut world, WINDOW);
    let stop = look(&mut world).verdict("Sick", 0).unwrap();
    assert_eq!(stop.recheck_at, None, "only the end of the run changes it");
    assert_eq!(storm(&world), Some(&Storm::Open { since: at(0) }));
    end(&mut world, "n0", true);
    look(&mut world);
    let since = world.now;
    assert_eq!(storm(&world), Some(&Storm::Probing { since }), "its success was no probe's");
    look(&mut world);
    assert_eq!(storm(&world), Some(&Storm::Probing { since }), "nor is it later");
}

/// What failed before the round did not fail in it, and what waits has not failed.
#[test]
fn a_run_that_was_held_before_or_that_waits_is_no_failure_of_a_probe() {
    let cases = [(Step::Held, 0), (Step::Held, WINDOW), (Step::Pending, WINDOW + 60)];
    for (step, since) in cases {
        let mut world = stormy();
        start(&mut world, "n0");
        world.open_runs[0].step = step;
        later(&mut world, WINDOW);
        look(&mut world);
        let probing = Storm::Probing { since: world.now };
        assert_eq!(storm(&world), Some(&probing));
        world.open_runs[0].since = at(since);
        later(&mut world, 60);
        look(&mut world);
        assert_eq!(storm(&world), Some(&probing), "{step} at {since}");
    }
}

#[test]
fn runs_of_another_policy_or_cause_are_no_part_of_a_round() {
    for (policy, cause) in [("other", "Sick"), ("workers", "Other")] {
        let mut world = stormy();
        start(&mut world, "n0");
        world.open_runs[0].policy = policy.into();
        world.open_runs[0].causes = vec![cause.into()];
        later(&mut world, WINDOW);
        look(&mut world);
        assert_eq!(storm(&world), Some(&Storm::Probing { since: at(WINDOW) }), "{policy} {cause}");
    }
}

#[test]
fn a_new_wave_opens_it_again() {
    let mut world = stormy();
    later(&mut world, WINDOW);
    look(&mut world);
    assert!(matches!(storm(&world), Some(Storm::Probing { .. })));
    for number in 0..3 {
        change(&mut world, &format!("n{number}"), |node| {
            set(node, condition("Sick", "True", WINDOW));
        });
    }
    look(&mut world);
    assert_eq!(storm(&world), Some(&Storm::Open { since: at(WINDOW) }));
}

#[test]
fn it_is_over_when_nothing_is_true_any_more() {
    let mut world = stormy();
    for number in 0..8 {
        change(&mut world, &format!("n{number}"), |node| set(node, condition("Sick", "False", 1)));
    }
    look(&mut world);
    assert_eq!(storm(&world), None);
}

#[test]
fn it_is_over_when_no_more_wait_than_have_just_gone_well() {
    let mut world = stormy();
    later(&mut world, WINDOW);
    for number in 2..8 {
        change(&mut world, &format!("n{number}"), |node| set(node, condition("Sick", "False", 1)));
    }
    look(&mut world);
    start(&mut world, "n0");
    later(&mut world, 1);
    end(&mut world, "n0", true);
    look(&mut world);
    assert_eq!(storm(&world), None, "one waits, and one went well");
}

#[test]
fn a_manual_breaker_waits_for_a_person_who_is_taken_at_their_word() {
    let mut world = stormy();
    world.policies.get_mut("workers").unwrap().breaker.manual_reset = true;
    later(&mut world, 10 * WINDOW);
    let stop = look(&mut world).verdict("Sick", 0).unwrap();
    assert_eq!(stop.recheck_at, None);
    let command = format!("rpol workers rerail.dev/reset-breaker={}", at(0));
    assert!(stop.message.contains(&command), "{}", stop.message);

    let mut early = stormy();
    let breaker = &mut early.policies.get_mut("workers").unwrap().breaker;
    breaker.manual_reset = true;
    breaker.reset_at = Some(at(1));
    look(&mut early);
    assert!(storm(&early).is_some(), "a time to come counts when it has come");
    later(&mut early, 1);
    look(&mut early);
    assert_eq!(storm(&early), None, "and the nodes that were sick by then open it no more");
    for number in 0..3 {
        change(&mut early, &format!("n{number}"), |node| {
            set(node, condition("Sick", "True", 2));
        });
    }
    later(&mut early, 1);
    look(&mut early);
    assert_eq!(storm(&early), Some(&Storm::Open { since: at(2) }), "but new ones do");
}

/// The ledger holds a slot for each of the first nodes.
fn hold(world: &mut World, count: usize) {
    let slot = |number| Slot {
        run_uid: format!("run-{number}"),
        node_name: format!("n{number}"),
        node_uid: format!("uid-{number}"),
    };
    world.ledger.slots = (0..count).map(slot).collect();
}

#[test]
fn control_plane_nodes_count_in_a_meltdown_and_for_no_policy() {
    let mut nodes = nodes(10, 2);
    for node in nodes.iter_mut().take(6) {
        node.ready = Ready::Unknown;
        node.control_plane = true;
    }
    let decided = plan(&world(nodes));
    assert!(decided.meltdown.is_some());
    assert_eq!(decided.unhealthy, BTreeMap::new());
}

#[test]
fn more_than_half_of_all_nodes_and_more_than_three_are_a_meltdown() {
    for (total, down, expected) in [
        (4, 3, false),
        (4, 4, true),
        (7, 4, true),
        (8, 4, false),
        (8, 5, true),
        (1000, 500, false),
        (1000, 501, true),
        (3, 3, false),
        (0, 0, false),
    ] {
        let mut nodes = nodes(total, 2);
        nodes.iter_mut().take(down).for_each(|node| node.ready = Ready::Unknown);
        let mut world = world(nodes);
        let found = plan(&world).meltdown;
        assert_eq!(found.is_some(), expected, "{down} of {total}");
        if expected {
            assert!(found.unwrap().contains(&format!("{down} of all {total} nodes")));
            // These nodes are down by our own doing.
            hold(&mut world, 5);
            let left = down.saturating_sub(5);
            assert_eq!(plan(&world).meltdown.is_some(), left > 3 && left * 2 > total);
        }
    }
}

#[test]
fn more_than_the_share_and_more_than_three_are_unhealthy() {
    let percent = CountOrPercent::Percent;
    for (limit, total, down, expected) in [
        (percent(40), 3, 3, false),
        (percent(40), 4, 4, true),
        (percent(40), 10, 4, false),
        (percent(40), 10, 5, true),
        (percent(40), 60, 24, false),
        (percent(40), 60, 25, true),
        (percent(40), 1000, 400, false),
        (percent(40), 1000, 401, true),
        (CountOrPercent::Count(10), 60, 10, false),
        (CountOrPercent::Count(10), 60, 11, true),
        (CountOrPercent::Count(0), 60, 3, false),
        (percent(0), 60, 4, true),
    ] {
        let mut nodes = nodes(total, 2);
        nodes.iter_mut().take(down).for_each(|node| node.ready = Ready::False);
        let mut world = world(nodes);
        world.policies.get_mut("workers").unwrap().breaker.unhealthy = limit;
        let found = plan(&world).unhealthy;
        assert_eq!(found.contains_key("workers"), expected, "{down} of {total}, limit {limit}");
        hold(&mut world, down - 3);
        assert_eq!(plan(&world).unhealthy, BTreeMap::new());
    }
}
