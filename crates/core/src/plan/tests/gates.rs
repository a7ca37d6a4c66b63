//! The gates: pauses, hold, attempts, backoff.

use super::*;

fn pause(scope: PauseScope, until: Option<i64>) -> Pause {
    Pause { scope, text: "by alice: looking".into(), until: until.map(at) }
}

#[test]
fn a_pause_stops_what_it_covers_until_it_ends() {
    let policy_scope = |name: &str| PauseScope::Policy(name.into());
    let node_scope = |name: &str| PauseScope::Node(name.into());
    let cases = [
        (pause(PauseScope::All, None), true),
        (pause(policy_scope("workers"), None), true),
        (pause(policy_scope("others"), None), false),
        (pause(node_scope("n1"), None), true),
        (pause(node_scope("n2"), None), false),
        (pause(PauseScope::All, Some(101)), true),
        (pause(PauseScope::All, Some(100)), false),
    ];
    for (pause, stops) in cases {
        let mut world = one();
        let until = pause.until;
        world.pauses = Some(Pauses(vec![pause]));
        assert_eq!(admitted(&world).is_none(), stops);
        if stops {
            let wait = wait(&world);
            assert_eq!((wait.reason, wait.recheck_at), (WaitReason::Paused, until));
            assert_eq!(wait.message, "by alice: looking");
        }
    }
}

#[test]
fn an_unreadable_kill_switch_counts_as_paused() {
    let mut world = one();
    world.pauses = None;
    assert_eq!(wait(&world).reason, WaitReason::Paused);
}

#[test]
fn a_hold_label_starts_nothing() {
    let mut world = one();
    n1(&mut world).hold = true;
    assert_eq!(wait(&world).reason, WaitReason::HoldLabel);
}

#[test]
fn attempts_are_counted_in_a_sliding_window() {
    let day = 24 * 3600;
    let cases: [(&[i64], Option<i64>); 5] = [
        (&[0, 10], None),
        (&[0, 10, 20], Some(day)),
        // The order in the annotation, which a kubelet can edit, does not matter.
        (&[20, 0, 10], Some(day)),
        (&[0, 10, 20, 30], Some(10 + day)),
        (&[100 - day, 10, 20], None),
    ];
    for (attempts, frees) in cases {
        let mut world = one();
        n1(&mut world).last_remediation.attempts = attempts.iter().map(|t| at(*t)).collect();
        match frees {
            None => assert_eq!(admitted(&world).as_deref(), Some("n1"), "{attempts:?}"),
            Some(time) => {
                let wait = wait(&world);
                let found = (wait.reason, wait.recheck_at);
                assert_eq!(found, (WaitReason::AttemptsExhausted, Some(at(time))), "{attempts:?}");
                world.now = at(time);
                n1(&mut world).conditions.get_mut("Sick").unwrap().changed_at = at(time);
                assert_eq!(admitted(&world).as_deref(), Some("n1"), "{attempts:?}");
            }
        }
    }
}

#[test]
fn a_policy_without_attempts_starts_nothing_for_ever() {
    let mut world = one();
    workers(&mut world).contract.attempts.max = 0;
    let wait = wait(&world);
    assert_eq!((wait.reason, wait.recheck_at), (WaitReason::AttemptsExhausted, None));
}

#[test]
fn the_backoff_doubles_with_each_blocked_drain_up_to_six_hours() {
    let minutes = [(0, 10), (1, 10), (2, 20), (3, 40), (4, 80), (5, 160), (6, 320), (7, 360)];
    let beyond = [(40, 360), (u32::MAX, 360)];
    for (roll_backs, minutes) in minutes.into_iter().chain(beyond) {
        let mut world = one();
        let memory = &mut n1(&mut world).last_remediation;
        memory.last = last(Step::Failed, Reason::DrainTimeout, 90);
        memory.roll_backs = roll_backs;
        let wait = wait(&world);
        let expected = (WaitReason::Backoff, Some(at(90 + minutes * 60)));
        assert_eq!((wait.reason, wait.recheck_at), expected, "{roll_backs}");
    }
}

#[test]
fn a_longer_backoff_than_six_hours_is_the_policys_own_wish() {
    let mut world = one();
    workers(&mut world).contract.attempts.backoff = secs(10 * 3600);
    let memory = &mut n1(&mut world).last_remediation;
    memory.last = last(Step::Failed, Reason::DrainTimeout, 90);
    memory.roll_backs = 5;
    assert_eq!(wait(&world).recheck_at, Some(at(90 + 10 * 3600)));
}

#[test]
fn success_needs_no_rest_and_a_trigger_that_had_cleared_starts_the_doubling_anew() {
    let mut world = one();
    n1(&mut world).last_remediation.last = last(Step::Succeeded, Reason::Healed, 90);
    assert_eq!(admitted(&world).as_deref(), Some("n1"));
    let memory = &mut n1(&mut world).last_remediation;
    memory.last = last(Step::Failed, Reason::DrainTimeout, -10);
    memory.roll_backs = 6;
    assert_eq!(wait(&world).recheck_at, Some(at(-10 + 600)), "Sick is true since 0");
}

#[test]
fn the_first_failing_gate_is_the_reason_shown() {
    let mut world = one();
    world.open_runs = vec![Run { node_uid: "uid-n3".into(), ..run(Step::Draining) }];
    type Case = (fn(&mut World), WaitReason);
    let cases: [Case; 5] = [
        (|_| {}, WaitReason::BudgetExhausted),
        (
            |w| n1(w).last_remediation.last = last(Step::Failed, Reason::DrainTimeout, 90),
            WaitReason::Backoff,
        ),
        (|w| n1(w).last_remediation.attempts = vec![at(1); 3], WaitReason::AttemptsExhausted),
        (|w| n1(w).hold = true, WaitReason::HoldLabel),
        (|w| w.pauses = None, WaitReason::Paused),
    ];
    for (change, reason) in cases {
        change(&mut world);
        assert_eq!(wait(&world).reason, reason);
    }
}

/// A run of this node that was deleted by force in its reboot.
fn gone(node: &str) -> crate::sweep::Stray {
    crate::sweep::Stray {
        run_uid: "run-9".into(),
        node_name: node.into(),
        run: Some(Run { node_uid: format!("uid-{node}"), ..run(Step::Rebooting) }),
        since: at(0),
        unseen: false,
        report_at_end: None,
    }
}

/// The place of a run that was deleted by force is kept until nothing of it can act (R3).
#[test]
fn the_place_of_a_run_that_is_gone_is_kept_for_a_while() {
    let mut world = one();
    world.now = at(69);
    world.strays = vec![gone("n2")];
    let waits = wait(&world);
    assert_eq!((waits.reason, waits.recheck_at), (WaitReason::BudgetExhausted, Some(at(70))));
    assert!(waits.message.contains("n2 (its run was deleted by force"), "{}", waits.message);
    world.now = at(70);
    assert_eq!(admitted(&world), Some("n1".into()));
}

/// The node itself is looked at again then.
#[test]
fn the_node_of_a_run_that_is_gone_waits_until_nothing_of_it_can_act() {
    let mut world = one();
    world.now = at(69);
    world.strays = vec![gone("n1")];
    let waits = wait(&world);
    assert_eq!((waits.reason, waits.recheck_at), (WaitReason::ActiveRun, Some(at(70))));
}

/// So is the failure domain that it keeps open, and the time at which it may close is known.
#[test]
fn the_domain_of_a_run_that_is_gone_stays_open_for_a_while() {
    use super::examples::{in_rack, racks};
    let nodes =
        ["n1", "n2"].map(|name| in_rack(&format!("rack-of-{name}"), sick(name, "[P6] x", 0)));
    let mut world = racks(nodes.to_vec());
    workers(&mut world).budget.max_unavailable = CountOrPercent::Percent(100);
    world.config.as_mut().unwrap().max_unavailable = CountOrPercent::Percent(100);
    world.now = at(69);
    world.strays = vec![gone("n2")];
    let waits = wait(&world);
    assert_eq!((waits.reason, waits.recheck_at), (WaitReason::OtherDomainsOpen, Some(at(70))));
    assert_eq!(waits.message, "at most 1 failure domain may be open; open: -/rack-of-n2");
}

/// In one plan, too: whoever was admitted in it counts.
#[test]
fn no_more_start_for_a_storm_than_its_round_allows() {
    use crate::breaker::Storm;
    for allowed in [1, 2, 3] {
        let names = ["n1", "n2", "n3", "n4", "n5", "n6"];
        let mut world = world(names.map(|name| sick(name, "[P6] x", 0)).to_vec());
        workers(&mut world).budget.max_unavailable = CountOrPercent::Percent(100);
        world.config.as_mut().unwrap().max_unavailable = CountOrPercent::Percent(100);
        let ramp = Storm::Ramp { allowed, since: at(90) };
        let storms = [("Sick".to_owned(), ramp)].into();
        world.storms = [("workers".to_owned(), storms)].into();
        assert_eq!(plan(&world).admit.len(), allowed as usize);
    }
}

/// A rack that loses its power is no broken detector; where there is one rack only nobody can tell.
#[test]
fn one_sick_rack_is_a_storm_only_where_there_is_no_other() {
    use super::examples::{in_rack, racks};
    for (others, storms) in [(3, false), (0, true)] {
        let sick = (0..5).map(|n| in_rack("a", sick(&format!("a{n}"), "[P6] x", 90)));
        let healthy = (0..others).map(|n| in_rack("b", healthy(&format!("b{n}"))));
        let mut world = racks(sick.chain(healthy).collect());
        workers(&mut world).breaker.correlated = CountOrPercent::Count(4);
        let waits = plan(&world).report.into_iter().filter_map(|pair| pair.wait);
        let storm = waits.filter(|wait| wait.reason == WaitReason::Storm).count() > 0;
        assert_eq!(storm, storms, "{others} in another rack");
    }
}

/// Its machine may be down for long: no time is told at which its place is free, and nobody looks again and again.
#[test]
fn a_frozen_run_whose_machine_is_down_keeps_its_place_until_something_happens() {
    let mut world = world(vec![sick("n1", "[P6] x", 0), sick("n2", "[P6] x", 0)]);
    let of_n2 = Run { node_name: "n2".into(), node_uid: "uid-n2".into(), ..run(Step::Rebooting) };
    world.open_runs = vec![of_n2.freeze(crate::invariants::Invariant::Intent, "x".into(), at(0))];
    Arc::make_mut(world.nodes.get_mut("n2").unwrap()).ready = Ready::Unknown;
    for (now, recheck_at) in [(69, Some(at(70))), (70, None), (71, None)] {
        world.now = at(now);
        let waits = wait(&world);
        assert_eq!(
            (waits.reason, waits.recheck_at),
            (WaitReason::BudgetExhausted, recheck_at),
            "at {now}"
        );
    }
}

/// Its label may have changed while it was held: it counts where it is now, too.
#[test]
fn a_held_run_that_is_tried_again_counts_where_it_was_admitted_and_where_its_node_is_now() {
    use super::examples::{in_rack, racks};
    let keys = ClusterConfig::default().topology_keys;
    let domain = |rack: &str| {
        let labels = in_rack(rack, healthy("x")).labels;
        Some(crate::domain::Domain::of("x", &labels, &keys))
    };
    for (full, says) in [("a", "-/a"), ("b", "-/b"), ("c", "")] {
        let mut node = in_rack("b", sick("n1", "[P6] x", 0));
        let mut held = Run { domain: domain("a"), ..run_of_n1(Step::Held) };
        held.retries.asked = 1;
        cordon(&mut node);
        node.cordoned_by = Some(held.uid.clone());
        let mut other = in_rack(full, healthy("n2"));
        let mut draining = Run { uid: "run-2".into(), ..run(Step::Draining) };
        (draining.node_name, draining.node_uid) = ("n2".into(), "uid-n2".into());
        draining.domain = domain(full);
        cordon(&mut other);
        other.cordoned_by = Some(draining.uid.clone());
        let mut world = racks(vec![node, other, in_rack("d", healthy("n3"))]);
        world.open_runs = vec![held, draining];
        let config = world.config.as_mut().unwrap();
        (config.max_unavailable, config.max_domains) = (CountOrPercent::Percent(100), 9);
        let budget = &mut workers(&mut world).budget;
        (budget.max_unavailable, budget.max_domains) = (CountOrPercent::Percent(100), 9);
        budget.max_unavailable_per_domain = CountOrPercent::Count(1);
        let report = plan(&world).report.into_iter().find(|pair| pair.node == "n1");
        let wait = report.and_then(|pair| pair.wait);
        let message = wait.map(|wait| wait.message).unwrap_or_default();
        assert!(
            message.contains(says) && message.is_empty() == says.is_empty(),
            "{full}: {message}"
        );
    }
}

/// Those of the control plane are nobody's here, and those that a policy does not select are not its own.
#[test]
fn a_budget_counts_the_nodes_that_its_policy_selects_and_no_other() {
    type Case = (fn(&mut NodeFacts), bool);
    let cases: [Case; 3] = [
        (|_| {}, false),
        (|node| node.control_plane = true, true),
        (|node| node.labels.insert("pool", "b"), true),
    ];
    for (number, (change, starts)) in cases.into_iter().enumerate() {
        let mut nodes = vec![sick("n1", "[P6] x", 0), healthy("n2"), healthy("n3")];
        nodes.iter_mut().for_each(|node| node.labels.insert("pool", "a"));
        nodes[1].unschedulable = true;
        change(&mut nodes[1]);
        let mut world = world(nodes);
        workers(&mut world).selector =
            NodeSelector::Labels(vec![Requirement::In("pool".into(), vec!["a".into()])]);
        workers(&mut world).budget.max_unavailable = CountOrPercent::Count(1);
        world.config.as_mut().unwrap().max_unavailable = CountOrPercent::Percent(100);
        assert_eq!(admitted(&world).is_some(), starts, "case {number}");
    }
}

/// A node that waits for something else is not blocked by the budget, full as it is.
#[test]
fn who_waits_for_a_budget_is_counted_there() {
    let mut world = world(["n1", "n2", "n3", "n4"].map(|name| sick(name, "[P6] x", 0)).to_vec());
    world.config.as_mut().unwrap().max_unavailable = CountOrPercent::Percent(100);
    workers(&mut world).budget.max_unavailable = CountOrPercent::Count(1);
    for name in ["n3", "n4"] {
        Arc::make_mut(world.nodes.get_mut(name).unwrap()).hold = true;
    }
    let scopes = plan(&world).scopes;
    let of_policy = scopes.iter().find(|one| one.scope == Scope::Policy("workers".into()));
    assert_eq!(of_policy.map(|one| one.blocked), Some(1));
}

/// Of two triggers of one condition the more urgent one counts: routine does not age, a fault does.
#[test]
fn of_two_triggers_of_one_condition_the_more_urgent_counts() {
    let mut other = healthy("n2");
    let mut condition = condition("Other", "True", 0);
    condition.message = "[P5] x".into();
    set(&mut other, condition);
    let mut world = world(vec![sick("n1", "[P6] x", 0), other]);
    let policy = workers(&mut world);
    policy.ageing = Ageing { every: secs(10), floor: 1 };
    policy.contract.triggers[0].class = crate::policy::Class::Maintenance;
    let routine = policy.contract.triggers[0].clone();
    let kind = TypePattern::parse("Other");
    let fault = crate::policy::Trigger { class: crate::policy::Class::Fault, ..routine.clone() };
    policy
        .contract
        .triggers
        .extend([fault, crate::policy::Trigger { condition_type: kind, ..routine }]);
    assert_eq!(admitted(&world), Some("n1".into()), "it has aged to P1");
}

/// A person said that it was well at that time; what came later is not meant.
#[test]
fn a_reset_ends_the_storms_of_before_it_and_no_later_one() {
    for (reset, ends) in [(10, false), (49, false), (50, true), (60, true)] {
        let mut world = world(["n1", "n2", "n3"].map(|name| sick(name, "[P6] x", 0)).to_vec());
        world.config.as_mut().unwrap().max_unavailable = CountOrPercent::Percent(100);
        let policy = workers(&mut world);
        policy.budget.max_unavailable = CountOrPercent::Percent(100);
        policy.breaker.window = secs(5);
        policy.breaker.reset_at = Some(at(reset));
        let storms = [("Sick".to_owned(), crate::breaker::Storm::Open { since: at(50) })].into();
        world.storms = [("workers".to_owned(), storms)].into();
        assert_eq!(plan(&world).admit.len() == 3, ends, "reset at {reset}");
    }
}

/// A rest is not doubled for a trigger that was clear since; one that is as old as the last end was not.
#[test]
fn a_rest_is_short_again_for_what_is_newer_than_the_last_end() {
    let base = contract().attempts.backoff;
    for (since, rest) in [(90, base * 4), (91, base)] {
        let mut world = world(vec![sick("n1", "[P6] x", since)]);
        let memory = &mut n1(&mut world).last_remediation;
        memory.last = last(Step::Failed, Reason::DrainTimeout, 90);
        memory.roll_backs = 3;
        let waits = wait(&world);
        assert_eq!((waits.reason, waits.recheck_at), (WaitReason::Backoff, Some(at(90) + rest)));
    }
}

/// Whichever of the two patterns is the longer one.
#[test]
fn a_source_is_waited_for_where_it_may_write_what_a_trigger_is_about() {
    for (pattern, waits) in [
        ("AlertManager_*", true),
        ("AlertManager_Disk*", true),
        ("Alert*", true),
        ("*", true),
        ("AlertManager_DiskSlow", true),
        ("Kernel*", false),
        ("Sick", false),
    ] {
        let mut world = one();
        world.started = world.now;
        world.sources =
            vec![Source { name: "a".into(), prefix: "AlertManager_".into(), synced: false }];
        for kind in ["AlertManager_DiskSlow", "KernelDeadlock"] {
            set(n1(&mut world), condition(kind, "True", 0));
        }
        workers(&mut world).contract.triggers[0].condition_type = TypePattern::parse(pattern);
        let found = plan(&world).report.into_iter().find_map(|pair| pair.wait);
        let found = found.is_some_and(|wait| wait.reason == WaitReason::WarmingUp);
        assert_eq!(found, waits, "{pattern}");
    }
}

#[test]
fn ages_of_billions_of_steps_make_nobody_panic() {
    let mut world = world(vec![sick("n1", "[P9] x", 0), sick("n2", "[P1] x", 0)]);
    workers(&mut world).ageing.every = jiff::SignedDuration::from_nanos(1);
    assert_eq!(plan(&world).admit.len(), 1);
}

/// Of two triggers that are true at the same time the policy's first one is told.
#[test]
fn of_what_is_not_true_for_long_enough_the_first_is_told_unless_another_is_sooner() {
    for (other, told) in [(200, "Sick is"), (201, "Sick is"), (199, "Worse is")] {
        let mut world = one();
        set(n1(&mut world), condition("Worse", "True", 0));
        let triggers = &mut workers(&mut world).contract.triggers;
        triggers[0].hold_for = secs(200);
        let pattern = TypePattern::parse("Worse");
        triggers.push(crate::policy::Trigger {
            condition_type: pattern,
            hold_for: secs(other),
            ..triggers[0].clone()
        });
        let waits = wait(&world);
        assert_eq!(
            (waits.reason, waits.recheck_at),
            (WaitReason::NotLongEnough, Some(at(other.min(200))))
        );
        assert!(waits.message.starts_with(told), "{}", waits.message);
    }
}

#[test]
fn a_frozen_run_stops_no_other_node() {
    let mut world = one();
    let frozen =
        run(Step::Draining).freeze(crate::invariants::Invariant::Intent, "x".into(), at(0));
    world.open_runs = vec![frozen];
    assert_eq!(admitted(&world), Some("n1".into()));
}

/// SAFE-4: whatever the budget says by old knowledge.
#[test]
fn by_old_knowledge_nothing_starts() {
    let mut world = one();
    world.out_of_date = Some("nodes");
    let waits = wait(&world);
    assert_eq!(waits.reason, WaitReason::OutOfDate);
    assert!(waits.message.contains("has not told of nodes"), "{}", waits.message);
}

#[test]
fn a_wrong_clock_starts_nothing_and_says_which_way() {
    let mut world = one();
    for (skew, words) in [(7, "is behind"), (-8, "is ahead of")] {
        world.clock_skew = Some(secs(skew));
        let waits = wait(&world);
        assert_eq!(waits.reason, WaitReason::ClockSkew);
        assert!(waits.message.contains(words), "{}", waits.message);
    }
}

/// It ages, and so there is a time at which the order may change.
#[test]
fn of_two_equally_urgent_triggers_of_a_condition_the_fault_counts() {
    use super::examples::{in_rack, racks};
    use crate::policy::Class::{Fault, Maintenance};
    let cases = [([Fault, Maintenance], 6), ([Maintenance, Fault], 6), ([Fault, Maintenance], 5)];
    for (classes, priority) in cases {
        let message = format!("[P{priority}] x");
        let nodes = ["n0", "n1"].map(|name| in_rack(name, sick(name, &message, 90)));
        let mut world = racks(nodes.to_vec());
        world.config.as_mut().unwrap().max_unavailable = CountOrPercent::Count(2);
        workers(&mut world).budget.max_unavailable = CountOrPercent::Count(2);
        workers(&mut world).ageing.every = secs(50);
        let trigger = workers(&mut world).contract.triggers[0].clone();
        workers(&mut world).contract.triggers =
            classes.map(|class| crate::policy::Trigger { class, ..trigger.clone() }).to_vec();
        let waits = wait(&world);
        // Nothing ages beyond the floor.
        let ages = (priority > 5).then(|| at(140));
        let expected = (WaitReason::OtherDomainsOpen, ages);
        assert_eq!((waits.reason, waits.recheck_at), expected, "{classes:?} {message}");
    }
}
