//! Properties of every plan.

use proptest::prelude::*;

use super::*;
use crate::facts::Cordon;

#[derive(Debug, Clone)]
struct Shape {
    message: &'static str,
    status: &'static str,
    since: i64,
    flags: [bool; 8],
    ready: Ready,
}

fn rare() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.1)
}

fn nodes() -> impl Strategy<Value = Vec<NodeFacts>> {
    let message = ["[P0] x", "[P6] x", "x", "[Pbad", "[P99999] x"].to_vec();
    let status = ["True", "True", "True", "False", "Unknown"].to_vec();
    let ready = [Ready::True, Ready::True, Ready::True, Ready::True, Ready::False].to_vec();
    let shape = (
        prop::sample::select(message),
        prop::sample::select(status),
        -2000_i64..200,
        [rare(), rare(), rare(), rare(), rare(), rare(), rare(), rare()],
        prop::sample::select(ready),
    );
    let shape = shape.prop_map(|(message, status, since, flags, ready)| Shape {
        message,
        status,
        since,
        flags,
        ready,
    });
    let build = |shapes: Vec<Shape>| shapes.into_iter().enumerate().map(build).collect::<Vec<_>>();
    prop::collection::vec(shape, 0..8).prop_map(build)
}

fn build((number, shape): (usize, Shape)) -> NodeFacts {
    let mut node = sick(&format!("n{number}"), shape.message, shape.since);
    let sick = node.conditions.get_mut("Sick").unwrap();
    sick.evidence.status = shape.status.into();
    let [control_plane, ignore, hold, deleting, unschedulable, tried, claimed, off] = shape.flags;
    node.last_remediation.attempts = vec![at(1); if tried { 3 } else { 0 }];
    NodeFacts {
        control_plane,
        ignore,
        hold,
        deleting,
        unschedulable,
        claim: claimed.then(|| "taint x".to_owned()),
        out_of_service: off,
        ready: shape.ready,
        ..node
    }
}

fn policies() -> impl Strategy<Value = Vec<Policy>> {
    let one = (any::<bool>(), rare(), 0_u16..9, 0_i64..300);
    prop::collection::vec(one, 0..4).prop_map(|all| {
        let policy = |(number, (dry, suspended, min, hold))| {
            let mut policy = Policy {
                name: format!("policy{number}"),
                mode: if dry { Mode::DryRun } else { Mode::Enforce },
                suspended,
                priority: PriorityRange { min, max: 99, default: 9 },
                ..policy()
            };
            policy.contract.triggers[0].hold_for = secs(hold);
            policy
        };
        all.into_iter().enumerate().map(policy).collect()
    })
}

fn runs() -> impl Strategy<Value = Vec<Run>> {
    let step = prop_oneof![3 => Just(Step::Pending), 1 => prop::sample::select(Step::ALL.to_vec())];
    let one = (0..9_u8, 0..4_u8, step, any::<bool>(), rare());
    prop::collection::vec(one, 0..4).prop_map(|all| {
        let open = all.into_iter().filter(|(_, _, step, ..)| !step.is_terminal());
        let run = |(number, (node, policy, step, person, cancel))| Run {
            name: format!("run{number}"),
            uid: format!("uid-run{number}"),
            node_name: format!("n{node}"),
            node_uid: format!("uid-n{node}"),
            policy: format!("policy{policy}"),
            causes: if person { vec![] } else { vec!["Sick".into()] },
            cancel,
            ..run(step)
        };
        open.enumerate().map(run).collect()
    })
}

fn worlds() -> impl Strategy<Value = World> {
    (nodes(), policies(), runs(), rare()).prop_map(|(nodes, policies, open_runs, unreadable)| {
        World {
            policies: policies.into_iter().map(|p| (p.name.clone(), p)).collect(),
            open_runs,
            pauses: (!unreadable).then(Pauses::default),
            ..world(nodes)
        }
    })
}

/// May a run begin on this node at all? Written independently of the planner.
fn untouchable(world: &World, node: &NodeFacts) -> bool {
    let active = |run: &Run| run.node_uid == node.uid && run.step != Step::Pending;
    node.control_plane
        || node.ignore
        || node.hold
        || node.deleting
        || node.claim.is_some()
        || !node.in_service()
        || node.cordon("") != Cordon::None
        || node.last_remediation.attempts.len() >= 3
        || world.open_runs.iter().any(active)
}

fn check_candidate(world: &World, candidate: &Candidate) -> Result<(), TestCaseError> {
    let (node, policy) = (&world.nodes[&candidate.node], &world.policies[&candidate.policy]);
    prop_assert!(!untouchable(world, node) && !policy.suspended && world.pauses.is_some());
    let person = candidate.causes.is_empty();
    let true_for = world.now.duration_since(node.conditions["Sick"].status_since);
    let hold_for = policy.contract.triggers[0].hold_for;
    let sick = node.conditions["Sick"].status() == "True" && true_for >= hold_for;
    prop_assert!(person || sick);
    if let Some(name) = &candidate.run {
        let run = world.open_runs.iter().find(|run| run.name == *name).unwrap();
        prop_assert!(run.step == Step::Pending && !run.cancel && run.node_uid == node.uid);
        prop_assert_eq!(&run.policy, &candidate.policy);
    }
    prop_assert!(!person || candidate.run.is_some());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_keeps_the_rules(world in worlds()) {
        let plan = plan(&world);
        if let Some(admit) = plan.admit.first() {
            check_candidate(&world, admit)?;
            prop_assert_eq!(world.policies[&admit.policy].mode, Mode::Enforce);
            prop_assert!(!world.open_runs.iter().any(|run| run.step.holds_slot()));
        }
        for (name, would) in &plan.would_start {
            prop_assert_eq!(world.policies[name].mode, Mode::DryRun);
            for candidate in would {
                check_candidate(&world, candidate)?;
                prop_assert_eq!(&candidate.run, &None);
            }
        }
        for name in &plan.discard {
            let run = world.open_runs.iter().find(|run| run.name == *name).unwrap();
            prop_assert!(run.step == Step::Pending && !run.causes.is_empty());
            prop_assert!(plan.admit.first().is_none_or(|admit| admit.run.as_ref() != Some(name)));
        }
        prop_assert!(plan.recheck_at.is_none_or(|time| time > world.now));
    }

    #[test]
    fn every_true_trigger_is_answered(world in worlds()) {
        let plan = plan(&world);
        for policy in world.policies.values().filter(|policy| !policy.suspended) {
            for node in world.nodes.values() {
                if node.conditions["Sick"].status() != "True" {
                    continue;
                }
                let pair = |r: &&PairReport| r.node == node.name && r.policy == policy.name;
                let report = plan.report.iter().find(pair);
                prop_assert!(report.is_some(), "{} {}", node.name, policy.name);
                let starts = plan.admit.iter().chain(plan.would_start.values().flatten())
                    .any(|c| c.node == node.name && c.policy == policy.name);
                let waits = report.is_some_and(|report| report.wait.is_some());
                prop_assert!(starts || waits);
            }
        }
    }

    #[test]
    fn the_order_of_the_runs_changes_nothing(world in worlds()) {
        let mut turned = world.clone();
        turned.open_runs.reverse();
        prop_assert_eq!(plan(&world), plan(&turned));
    }

    #[test]
    fn nobody_more_urgent_waits_for_its_turn(world in worlds()) {
        let plan = plan(&world);
        if let Some(admit) = plan.admit.first() {
            let behind = plan.report.iter().filter(|report| {
                let reason = report.wait.as_ref().map(|wait| wait.reason);
                let turn = [WaitReason::BudgetExhausted, WaitReason::ActiveRun];
                reason.is_some_and(|reason| turn.contains(&reason)) && report.priority.is_some()
                    && world.policies[&report.policy].mode == Mode::Enforce
            });
            for report in behind {
                let active = untouchable(&world, &world.nodes[&report.node]);
                prop_assert!(active || report.priority >= Some(admit.priority), "{:?}", report);
            }
        }
    }

    #[test]
    fn a_malformed_message_never_outranks_a_parsed_one(
        tail in "[^0-9].{0,6}", number in 0_u16..=98, early in -500_i64..0,
    ) {
        let bad = sick("bad", &format!("[P{tail}"), early);
        let good = sick("good", &format!("[P{number}] x"), 0);
        prop_assert_eq!(admitted(&world(vec![bad, good])), Some("good".to_owned()));
    }
}
