//! All that there is to say of one pair of node and policy.

use super::{examples::sixty, *};

/// Also of a pair that has no turn, since its trigger says nothing certain.
#[test]
fn explain_tells_of_the_pair_that_is_asked_for() {
    let mut world = world(vec![sick("n1", "x", 0), sick("n2", "x", 0)]);
    let mut others = Policy { name: "others".into(), ..policy() };
    others.contract.triggers[0].condition_type = TypePattern::parse("Worse");
    world.policies.insert("others".into(), others);
    for node in world.nodes.values_mut() {
        let node = Arc::make_mut(node);
        set(node, condition("Sick", "Unknown", 0));
        set(node, condition("Worse", "Unknown", 0));
    }
    Arc::make_mut(world.nodes.get_mut("n2").unwrap()).conditions.remove("Worse");
    for (policy, told) in [("others", "Worse is"), ("workers", "Sick is")] {
        let message = explain(&world, "n1", policy).wait.unwrap().message;
        assert!(message.starts_with(told), "{policy}: {message}");
    }
    assert_eq!(explain(&world, "n2", "others").wait, None, "nothing is said of it there");
}

#[test]
fn explain_tells_what_every_gate_says() {
    let mut world = sixty();
    Arc::make_mut(world.nodes.get_mut("r1-0").unwrap()).hold = true;
    let explained = explain(&world, "r1-0", "workers");
    assert_eq!(explained.wait.unwrap().reason, WaitReason::HoldLabel);
    let fails: Vec<_> =
        explained.gates.iter().filter(|g| g.verdict != Verdict::Pass).map(|g| g.gate).collect();
    assert_eq!(fails, ["hold", "domain", "budgets"]);
    assert_eq!(explained.gates.len(), 13);
    let passes = explain(&world, "r0-0", "workers");
    assert_eq!(passes.wait, None);
    assert!(passes.gates.iter().all(|gate| gate.verdict == Verdict::Pass));
    assert_eq!(passes.candidate.unwrap().domain.to_string(), "-/r0");
    assert_eq!(explain(&world, "nobody", "workers"), Explanation::default());
}
