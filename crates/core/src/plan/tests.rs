//! Tests of who is next. Here are the builders and the rules about candidates; gates, runs and
//! properties are below.

mod against_reference;
mod domains;
mod examples;
mod explain;
mod gates;
mod pending;
mod random;
mod reference;
mod remembered;
mod sequences;

use super::*;
use crate::{
    budget::CountOrPercent,
    facts::{LastRemediation, LastRun, Pause, PauseScope, Ready},
    policy::{Ageing, Breaker, Budget, Mode, NodeSelector, Requirement, TypePattern},
    priority::PriorityRange,
    reason::Reason,
    remediation::tests::{at, condition, contract, cordon, node, run, secs, set},
    step::Step,
};

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
        // Many of these worlds are storms; the breaker has tests of its own.
        breaker: Breaker { correlated: CountOrPercent::Count(u32::MAX), ..Breaker::default() },
        contract: contract(),
    }
}

/// A node with this name and a message for its condition `Sick`, true since then.
fn sick(name: &str, message: &str, since: i64) -> NodeFacts {
    let mut node = node();
    node.name = name.into();
    node.uid = format!("uid-{name}");
    let mut sick = condition("Sick", "True", since);
    sick.message = message.into();
    set(&mut node, sick);
    node
}

fn healthy(name: &str) -> NodeFacts {
    let mut node = sick(name, "", 0);
    set(&mut node, condition("Sick", "False", 0));
    node
}

/// Without failure domains; of a few nodes, one may be out.
fn world(nodes: Vec<NodeFacts>) -> World {
    World {
        nodes: nodes.into_iter().map(|node| (node.name.clone(), Arc::new(node))).collect(),
        policies: BTreeMap::from([("workers".to_owned(), policy())]),
        config: Some(ClusterConfig { topology_keys: vec![], ..ClusterConfig::default() }),
        ..World::empty(at(100))
    }
}

/// A world with one sick node and the policy `workers`.
fn one() -> World {
    world(vec![sick("n1", "[P6] sick", 0)])
}

fn n1(world: &mut World) -> &mut NodeFacts {
    Arc::make_mut(world.nodes.get_mut("n1").unwrap())
}

fn workers(world: &mut World) -> &mut Policy {
    world.policies.get_mut("workers").unwrap()
}

/// A run of `n1` in this step.
fn run_of_n1(step: Step) -> Run {
    Run { node_name: "n1".into(), node_uid: "uid-n1".into(), ..run(step) }
}

fn by_person() -> Run {
    Run { causes: vec![], name: "by-alice".into(), ..run_of_n1(Step::Pending) }
}

fn admitted(world: &World) -> Option<String> {
    plan(world).admit.into_iter().next().map(|candidate| candidate.node)
}

/// Why `n1` does not start under the policy `workers`; fails where it starts or nothing is said.
#[track_caller]
fn wait(world: &World) -> Wait {
    let plan = plan(world);
    let mut found = plan.report.into_iter().filter(|r| r.node == "n1" && r.policy == "workers");
    let report = found.next().expect("nothing is said of n1");
    assert_eq!(found.next(), None, "said twice");
    report.wait.expect("n1 starts")
}

fn last(result: Step, reason: Reason, end: i64) -> Option<LastRun> {
    Some(LastRun {
        uid: "run-0".into(),
        name: "n1-00000000".into(),
        result: result.name().into(),
        reason: reason.name().into(),
        end_time: at(end),
    })
}

#[test]
fn a_true_trigger_on_a_free_node_starts_a_run_with_its_cause() {
    let candidate = plan(&one()).admit.into_iter().next().unwrap();
    assert_eq!((candidate.node.as_str(), candidate.policy.as_str()), ("n1", "workers"));
    assert_eq!((candidate.priority, candidate.since, candidate.run), (Priority(6), at(0), None));
    let cause = &candidate.causes[0];
    assert_eq!((cause.condition_type.as_str(), cause.message.as_str()), ("Sick", "[P6] sick"));
}

#[test]
fn nothing_is_said_of_a_healthy_node() {
    let plan = plan(&world(vec![healthy("n1")]));
    assert_eq!((plan.admit.first(), plan.report.len()), (None, 0));
    assert_eq!(plan.matched["workers"], 1);
}

#[test]
fn each_rule_about_candidates_has_its_reason() {
    type Case = (fn(&mut World), WaitReason);
    let cases: [Case; 17] = [
        (|w| workers(w).contract.triggers[0].hold_for = secs(200), WaitReason::NotLongEnough),
        (|w| set(n1(w), condition("Sick", "Unknown", 0)), WaitReason::TriggerUnknown),
        (|w| w.now = at(1000), WaitReason::TriggerUnknown),
        (
            |w| {
                let report = n1(w).conditions["Sick"].evidence.clone();
                n1(w).last_remediation.evidence = vec![report];
            },
            WaitReason::NoNewEvidence,
        ),
        (|w| n1(w).control_plane = true, WaitReason::ControlPlane),
        (|w| n1(w).ignore = true, WaitReason::Ignored),
        (|w| n1(w).deleting = true, WaitReason::NodeDeleting),
        (|w| w.open_runs = vec![run_of_n1(Step::Draining)], WaitReason::ActiveRun),
        (|w| w.open_runs = vec![run_of_n1(Step::Held)], WaitReason::ActiveRun),
        (|w| n1(w).unschedulable = true, WaitReason::CordonedByOther),
        (|w| n1(w).cordoned_by = Some("run-0".into()), WaitReason::CordonedByOther),
        (|w| cordon(n1(w)), WaitReason::CordonedByOther),
        (|w| n1(w).claim = Some("taint x".into()), WaitReason::ClaimedByOther),
        (
            |w| {
                n1(w).claim = Some("taint x".into());
                n1(w).unschedulable = true;
            },
            WaitReason::ClaimedByOther,
        ),
        (|w| n1(w).out_of_service = true, WaitReason::NoReachableRemedy),
        (|w| n1(w).ready = Ready::False, WaitReason::NoReachableRemedy),
        (|w| n1(w).ready = Ready::Unknown, WaitReason::NoReachableRemedy),
    ];
    for (change, reason) in cases {
        let mut world = one();
        change(&mut world);
        assert_eq!(wait(&world).reason, reason);
        assert_eq!(admitted(&world), None, "{reason}");
    }
}

#[test]
fn who_waits_for_another_controller_learns_its_mark() {
    let mut world = one();
    n1(&mut world).claim = Some("taint karpenter.sh/disrupted".into());
    assert!(wait(&world).message.ends_with(": taint karpenter.sh/disrupted"));
    // A person's run waits for the same.
    world.open_runs = vec![by_person()];
    assert_eq!(wait(&world).reason, WaitReason::ClaimedByOther);
}

#[test]
fn a_status_must_have_lasted_and_the_earliest_end_of_waiting_is_told() {
    let mut world = one();
    let mut second = workers(&mut world).contract.triggers[0].clone();
    second.condition_type = TypePattern::parse("Sick*");
    second.hold_for = secs(300);
    workers(&mut world).contract.triggers[0].hold_for = secs(200);
    workers(&mut world).contract.triggers.push(second);
    let wait = wait(&world);
    assert_eq!((wait.reason, wait.recheck_at), (WaitReason::NotLongEnough, Some(at(200))));
    assert_eq!(plan(&world).recheck_at, Some(at(200)));
    world.now = at(200);
    assert_eq!(admitted(&world).as_deref(), Some("n1"));
}

#[test]
fn a_newer_report_than_the_last_runs_end_starts_another() {
    let mut world = one();
    n1(&mut world).last_remediation = LastRemediation {
        evidence: vec![condition("Sick", "True", -50).evidence],
        last: last(Step::Succeeded, Reason::Healed, -40),
        ..LastRemediation::default()
    };
    assert_eq!(admitted(&world).as_deref(), Some("n1"));
}

#[test]
fn nodes_that_a_policy_does_not_select_are_not_its_business() {
    let mut world = one();
    let label = Requirement::In("pool".into(), vec!["b".into()]);
    workers(&mut world).selector = NodeSelector::Labels(vec![label]);
    let plan = plan(&world);
    assert_eq!((plan.admit.first(), plan.report.len(), plan.matched["workers"]), (None, 0, 0));
}

#[test]
fn the_order_is_priority_then_waiting_since_then_name() {
    let mut nodes = vec![
        sick("a", "[P6] x", 10),
        sick("b", "[P6] x", 10),
        sick("c", "[P6] x", 5),
        sick("d", "[P2] x", 50),
        sick("e", "no prefix", 0),
        sick("f", "[Pnonsense] x", 0),
    ];
    let mut order = vec![];
    while let Some(next) = admitted(&world(nodes.clone())) {
        nodes.retain(|node| node.name != next);
        order.push(next);
    }
    assert_eq!(order, ["d", "c", "a", "b", "e", "f"]);
}

#[test]
fn the_most_urgent_cause_of_a_node_counts_and_all_are_named() {
    let mut world = one();
    workers(&mut world).contract.triggers[0].condition_type = TypePattern::parse("Sick*");
    let mut worse = condition("SickToo", "True", 50);
    worse.message = "[P1] worse".into();
    set(n1(&mut world), worse);
    let candidate = plan(&world).admit.into_iter().next().unwrap();
    assert_eq!((candidate.priority, candidate.since), (Priority(1), at(50)));
    let causes: Vec<_> = candidate.causes.iter().map(|c| c.condition_type.as_str()).collect();
    assert_eq!(causes, ["SickToo", "Sick"]);
}

#[test]
fn of_a_few_nodes_one_at_a_time() {
    let mut world = world(vec![sick("n1", "[P6] x", 0), sick("n2", "[P2] x", 0)]);
    assert_eq!(admitted(&world).as_deref(), Some("n2"));
    let waits = wait(&world);
    assert_eq!(
        (waits.reason, waits.message.as_str()),
        (
            WaitReason::BudgetExhausted,
            "policy workers: 1 of at most 1 (10% of 2) nodes unavailable: n2"
        )
    );
    for step in Step::ALL.into_iter().filter(|step| step.holds_slot()) {
        world.open_runs = vec![Run { node_uid: "uid-n3".into(), ..run(step) }];
        assert_eq!(admitted(&world), None, "{step}");
        assert_eq!(wait(&world).reason, WaitReason::BudgetExhausted);
    }
    for step in [Step::Held, Step::Pending] {
        world.open_runs = vec![Run { node_uid: "uid-n3".into(), ..run(step) }];
        assert_eq!(admitted(&world).as_deref(), Some("n2"), "{step} holds no slot");
    }
}

#[test]
fn of_two_policies_for_a_node_the_more_urgent_one_takes_it() {
    let mut world = one();
    let mut strict = policy();
    strict.name = "strict".into();
    strict.priority = PriorityRange { min: 0, max: 3, default: 3 };
    world.policies.insert("strict".into(), strict);
    let plan = plan(&world);
    assert_eq!(plan.admit.into_iter().next().unwrap().policy, "strict");
    assert_eq!(wait(&world).reason, WaitReason::ActiveRun);
}

#[test]
fn a_dry_run_says_what_it_would_do_and_never_does_it() {
    let mut world = world(vec![sick("n1", "[P6] x", 0), sick("n2", "[P2] x", 0)]);
    workers(&mut world).mode = Mode::DryRun;
    let plan = plan(&world);
    assert_eq!(plan.admit, []);
    let would: Vec<_> = plan.would_start["workers"].iter().map(|c| c.node.as_str()).collect();
    assert_eq!(would, ["n2"], "as if it enforced: one at a time");
    assert_eq!(wait(&world).reason, WaitReason::BudgetExhausted);
}

#[test]
fn a_dry_run_is_neither_hidden_by_an_enforcing_policy_nor_hides_it() {
    let mut world = one();
    let dry = Policy { name: "dry".into(), mode: Mode::DryRun, ..policy() };
    world.policies.insert("dry".into(), dry);
    let plan = plan(&world);
    assert_eq!(plan.admit.into_iter().next().unwrap().policy, "workers");
    assert_eq!(plan.would_start["dry"].len(), 1);
    assert_eq!(plan.report.iter().filter(|r| r.wait.is_none()).count(), 2);
}

#[test]
fn a_suspended_policy_starts_nothing_and_still_counts_its_nodes() {
    let mut world = one();
    workers(&mut world).suspended = true;
    let plan = plan(&world);
    assert_eq!((plan.admit.first(), plan.report.len(), plan.matched["workers"]), (None, 0, 1));
}
