//! The planner and the reference agree on random worlds: nodes with racks or without, out in every way,
//! overlapping policies in every mode, runs in every step, strays, ledger slots, starts.

use proptest::prelude::*;

use super::{
    reference::{Answer, reference},
    *,
};
use crate::{
    budget::CountOrPercent,
    domain::{Domain, DomainLabel},
    ledger::{Slot, Start},
    policy::{Class, MaxStarts},
    sweep::Stray,
};

fn pick<T: Clone + std::fmt::Debug + 'static>(from: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop::sample::select(from.to_vec())
}

fn rare() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.03)
}

const ZONE: &str = "topology.kubernetes.io/zone";
const RACK: &str = "node-restriction.kubernetes.io/rack";

fn one_node() -> impl Strategy<Value = NodeFacts> {
    let messages =
        pick(&["[P0] x", "[P1] x", "[P3] x", "[P6] x", "[P6] x", "[P9] x", "x", "[Pbad"]);
    let sick = (
        pick(&["True", "True", "True", "True", "True", "True", "True", "False", "Unknown"]),
        messages,
        -40_000_i64..100,
    );
    let bad =
        (pick(&["True", "False", "False", "False"]), pick(&["[P0] y", "[P7] y"]), -40_000_i64..100);
    let labels =
        (pick(&["a", "a", "b", ""]), pick(&["z1", "z1", "z2", ""]), pick(&["r1", "r2", "r3", ""]));
    let flags = prop::array::uniform9(rare());
    (sick, bad, labels, flags, pick(&[0_u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3])).prop_map(
        |(sick, bad, labels, flags, memory)| {
            let mut node = node();
            for (kind, (status, message, since)) in [("Sick", sick), ("Bad", bad)] {
                let mut fact = condition(kind, status, since);
                fact.message = message.into();
                fact.changed_at = at(0);
                set(&mut node, fact);
            }
            node.labels = crate::facts::Labels::default();
            for (key, value) in [("pool", labels.0), (ZONE, labels.1), (RACK, labels.2)] {
                if !value.is_empty() {
                    node.labels.insert(key, value);
                }
            }
            let [control_plane, ignore, hold, deleting, unschedulable, claim, off, down, tried] =
                flags;
            node.last_remediation = LastRemediation {
                attempts: vec![at(1); if tried { 3 } else { 0 }],
                roll_backs: u32::from(memory),
                last: match memory {
                    1 => last(Step::Failed, Reason::DrainTimeout, 90),
                    2 => last(Step::Failed, Reason::DrainTimeout, -1500),
                    _ => None,
                },
                evidence: if memory == 3 {
                    vec![node.conditions["Sick"].evidence.clone()]
                } else {
                    vec![]
                },
                ..LastRemediation::default()
            };
            NodeFacts {
                control_plane,
                ignore,
                hold,
                deleting,
                unschedulable,
                claim: claim.then(|| "taint x".to_owned()),
                out_of_service: off,
                ready: if down { Ready::False } else { Ready::True },
                ..node
            }
        },
    )
}

fn nodes() -> impl Strategy<Value = Vec<NodeFacts>> {
    prop::collection::vec(one_node(), 1..20).prop_map(|nodes| {
        let named = |(number, node)| NodeFacts {
            name: format!("n{number:02}"),
            uid: format!("uid-n{number:02}"),
            ..node
        };
        nodes.into_iter().enumerate().map(named).collect()
    })
}

fn limits() -> impl Strategy<Value = CountOrPercent> {
    let counts = [0, 1, 2, 3, 4, 8, 20].map(CountOrPercent::Count);
    let percents = [0, 10, 20, 34, 50, 100, 100, 100].map(CountOrPercent::Percent);
    prop_oneof![1 => pick(&counts), 2 => pick(&percents)]
}

fn budgets() -> impl Strategy<Value = Budget> {
    let per_domain = prop_oneof![
        2 => Just(CountOrPercent::Percent(100)), 1 => limits().boxed()
    ];
    (
        limits(),
        0..3_u32,
        pick(&[0_u32, 1, 1, 2, 2, 3, 9, 9, 9]),
        per_domain,
        pick(&[0_u32, 1, 2, 5, 60, 60, 60, 60, 60, 60]),
    )
        .prop_map(
            |(max_unavailable, min_floor, max_domains, max_unavailable_per_domain, count)| Budget {
                max_unavailable,
                min_floor,
                max_domains,
                max_unavailable_per_domain,
                max_starts: MaxStarts { count, per: secs(3600) },
            },
        )
}

fn policies() -> impl Strategy<Value = Vec<Policy>> {
    let selector = pick(&[
        NodeSelector::All,
        NodeSelector::All,
        NodeSelector::Labels(vec![Requirement::In("pool".into(), vec!["a".into()])]),
        NodeSelector::Labels(vec![Requirement::NotIn("pool".into(), vec!["a".into()])]),
        NodeSelector::Labels(vec![Requirement::Exists("pool".into())]),
    ]);
    let shape = (
        pick(&[Mode::Enforce, Mode::Enforce, Mode::Enforce, Mode::DryRun]),
        rare(),
        pick(&[0_u16, 2, 6]),
        pick(&[0_i64, 0, 0, 0, 50, 7200]),
        pick(&[0_i64, 3600, 6 * 3600]),
        pick(&[0_u16, 3, 5]),
    );
    let one = (shape, selector, budgets()).prop_map(|(shape, selector, budget)| {
        let (mode, suspended, min, hold_for, every, floor) = shape;
        let mut policy = Policy {
            mode,
            suspended,
            selector,
            priority: PriorityRange { min, max: 9, default: 7 },
            ageing: Ageing { every: secs(every), floor },
            budget,
            ..policy()
        };
        policy.contract.triggers[0].hold_for = secs(hold_for);
        let mut bad = policy.contract.triggers[0].clone();
        (bad.condition_type, bad.class) = (TypePattern::parse("Bad*"), Class::Maintenance);
        policy.contract.triggers.push(bad);
        policy
    });
    prop::collection::vec(one, 1..4).prop_map(|all| {
        let named = |(number, policy)| Policy { name: format!("p{number}"), ..policy };
        all.into_iter().enumerate().map(named).collect()
    })
}

/// What there may be of a run on a node.
#[derive(Debug, Clone)]
struct Trace {
    kind: u8,
    step: Step,
    policy: u8,
    domain: Option<Domain>,
    person: bool,
    marked: bool,
    since: i64,
}

fn traces() -> impl Strategy<Value = Vec<Trace>> {
    let label = |key: &str, value: &str| DomainLabel { key: key.into(), value: value.into() };
    let domains = [
        None,
        None,
        Some(Domain(vec![label(ZONE, "z1"), label(RACK, "r1")])),
        Some(Domain(vec![label(ZONE, "z1"), label(RACK, "r2")])),
        Some(Domain(vec![label(RACK, "r1")])),
        Some(Domain(vec![label("metadata.name", "n00")])),
        Some(Domain(vec![])),
    ];
    let steps: Vec<_> = Step::ALL.into_iter().filter(|step| !step.is_terminal()).collect();
    let one = (
        0..36_u8,
        pick(&steps),
        pick(&[0_u8, 0, 0, 1, 1, 1, 2, 3]),
        pick(&domains),
        any::<bool>(),
        any::<bool>(),
        -100..100_i64,
    );
    let one = one.prop_map(|(kind, step, policy, domain, person, marked, since)| Trace {
        kind,
        step,
        policy,
        domain,
        person,
        marked,
        since,
    });
    prop::collection::vec(one, 20)
}

fn run_of(node: &NodeFacts, trace: &Trace, step: Step) -> Run {
    let mut made = Run {
        uid: format!("run-{}", node.name),
        name: format!("run-{}", node.name),
        node_name: node.name.clone(),
        node_uid: node.uid.clone(),
        policy: format!("p{}", trace.policy),
        domain: trace.domain.clone(),
        causes: if trace.person { vec![] } else { vec!["Sick".into()] },
        since: at(trace.since),
        ..run(step)
    };
    made.retries.asked = u32::from(trace.person);
    made
}

/// Puts the traces into the world: at most one that may hold a slot for each node.
fn trace(world: &mut World, node: &str, trace: &Trace) {
    let facts = Arc::make_mut(world.nodes.get_mut(node).unwrap());
    let begun = run_of(facts, trace, trace.step);
    let pending = run_of(facts, trace, Step::Pending);
    let held = run_of(facts, trace, Step::Held);
    let mut mark = |uid: &str| {
        if trace.marked {
            cordon(facts);
            facts.cordoned_by = Some(uid.to_owned());
        }
    };
    match trace.kind {
        0 | 1 => {
            mark(&begun.uid);
            world.open_runs.push(begun);
        }
        2 => world.open_runs.push(pending),
        3 => {
            let second = Run {
                name: "zz".to_owned() + &pending.name,
                uid: "zz".to_owned() + node,
                ..pending.clone()
            };
            world.open_runs.extend([pending, Run { causes: vec![], ..second }]);
        }
        4 => {
            mark(&held.uid);
            world.open_runs.push(held);
        }
        5 => {
            mark(&begun.uid);
            world.strays.push(Stray {
                run_uid: begun.uid.clone(),
                node_name: node.to_owned(),
                run: trace.person.then_some(begun),
                since: at(trace.since),
                unseen: trace.step != Step::Held,
                report_at_end: None,
            });
        }
        6 => {
            let slot =
                Slot { run_uid: begun.uid.clone(), node_name: node.into(), node_uid: "x".into() };
            world.ledger.slots.push(slot);
            if trace.person {
                world.open_runs.push(begun);
            }
        }
        8 => {
            let node_uid = "another".to_owned();
            world.open_runs.push(Run { causes: vec![], node_uid, ..pending });
        }
        7 => {
            let start = Start { time: at(trace.since * 60), policy: format!("p{}", trace.policy) };
            world.ledger.starts.push(start);
        }
        _ => {}
    }
}

fn configs() -> impl Strategy<Value = Option<ClusterConfig>> {
    let keys = pick(&[vec![ZONE, RACK], vec![ZONE, RACK], vec![RACK], vec![]]);
    let some = (keys, limits(), 0..3_u32, pick(&[0_u32, 1, 1, 1, 2, 2, 3, 9]));
    let some = some.prop_map(|(keys, max_unavailable, min_floor, max_domains)| ClusterConfig {
        topology_keys: keys.into_iter().map(str::to_owned).collect(),
        max_unavailable,
        min_floor,
        max_domains,
    });
    prop::option::weighted(0.98, some)
}

pub(super) fn worlds() -> impl Strategy<Value = World> {
    let sources = pick(&[
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        Some(("Sick", true)),
        Some(("Sick", false)),
        Some(("B", false)),
    ]);
    let rest = (
        rare(),
        rare(),
        pick(&[
            (false, None),
            (false, None),
            (false, None),
            (true, None),
            (false, Some(-10_i64)),
            (true, Some(90)),
        ]),
        sources,
        -300_i64..100,
        0..20_u8,
    );
    (nodes(), policies(), traces(), configs(), rest).prop_map(
        |(nodes, policies, traces, config, rest)| {
            let (unreadable, skewed, ended, spoken, started, own) = rest;
            let source = |(prefix, synced): (&str, bool)| Source {
                name: "source".into(),
                prefix: prefix.into(),
                synced,
            };
            let pause = (own == 19).then(|| Pause {
                scope: PauseScope::Policy("p0".into()),
                text: "x".into(),
                until: None,
            });
            let mut made = World {
                policies: policies.into_iter().map(|p| (p.name.clone(), p)).collect(),
                pauses: (!unreadable).then(|| Pauses(pause.into_iter().collect())),
                clock_skew: skewed.then(|| secs(9)),
                out_of_date: (started < -290).then_some("nodes"),
                melting: ended.0,
                meltdown_ended: ended.1.map(at),
                sources: spoken.map(source).into_iter().collect(),
                started: at(started),
                own_node: Some(format!("n{own:02}")),
                config,
                ..world(nodes)
            };
            let names: Vec<_> = made.nodes.keys().cloned().collect();
            for (name, of_node) in names.iter().zip(&traces) {
                trace(&mut made, name, of_node);
            }
            made
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn the_planner_says_what_the_reference_says(world in worlds()) {
        prop_assert_eq!(Answer::of(&plan(&world)), reference(&world));
    }
}

/// The property above would be empty if nothing of interest ever happened in these worlds.
#[test]
fn the_random_worlds_hold_what_they_are_to_test() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let (mut reasons, mut closed, mut many, mut would) =
        (std::collections::BTreeMap::new(), 0, 0, 0);
    for _ in 0..1500 {
        let world = worlds().new_tree(&mut runner).unwrap().current();
        let plan = plan(&world);
        closed += usize::from(plan.domains.iter().any(|domain| domain.closed_by.is_some()));
        many += usize::from(plan.admit.len() > 2);
        would += usize::from(!plan.would_start.is_empty());
        for wait in plan.report.iter().filter_map(|pair| pair.wait.as_ref()) {
            *reasons.entry(wait.reason).or_insert(0) += 1;
        }
    }
    assert!(closed > 30 && many > 15 && would > 30, "{closed} {many} {would} {reasons:?}");
    let made_by_the_breaker = [WaitReason::Meltdown, WaitReason::Unhealthy, WaitReason::Storm];
    for reason in WaitReason::ALL {
        let elsewhere =
            *reason == WaitReason::AdmissionFailing || made_by_the_breaker.contains(reason);
        assert!(elsewhere || reasons.get(reason).is_some_and(|n| *n > 5), "{reason} {reasons:?}");
    }
}
