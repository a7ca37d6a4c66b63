//! Whole runs in the tiny cluster: the way that is usual, each way that fails, and both with crashes.

use super::{
    world::{Crashes, Machine, World},
    *,
};

const CRASHES: [Crashes; 3] =
    [Crashes::Never, Crashes::AfterEveryDecision, Crashes::BeforeEveryEffectOnce];

fn drive(machine: Machine, crashes: Crashes, prepare: impl Fn(&mut World)) -> World {
    let mut world = World::new(machine);
    world.crashes = crashes;
    prepare(&mut world);
    world.drive();
    world
}

#[test]
fn a_good_machine_is_healed_whatever_crashes() {
    for crashes in CRASHES {
        let world = drive(Machine::Good, crashes, |_| {});
        assert_eq!(world.end(), (Step::Succeeded, Reason::Healed));
        assert_eq!(world.boots, 1);
        assert!(!world.scene.node.unschedulable && world.scene.node.cordoned_by.is_none());
        assert_eq!(world.scene.node.last_remediation.attempts.len(), 1);
        let steps: Vec<_> = world.changes.iter().map(|(step, _)| *step).collect();
        use Step::*;
        assert_eq!(steps, [Draining, Rebooting, Verifying, Uncordoning, Succeeded]);
        assert_eq!(world.effects.len(), 7, "cordon, three evictions, reboot, probe, close");
    }
}

#[test]
fn each_way_that_fails_ends_as_it_should_whatever_crashes() {
    let blocked = |world: &mut World| world.pods = None;
    let nothing = |_: &mut World| {};
    type Case = (Machine, fn(&mut World), (Step, Reason), bool);
    let cases: [Case; 6] = [
        (Machine::Good, blocked, (Step::Failed, Reason::DrainTimeout), false),
        (Machine::NotCured, nothing, (Step::Held, Reason::NotCured), true),
        (Machine::Ignores, nothing, (Step::Held, Reason::NoBoot), true),
        (Machine::Refuses, nothing, (Step::Held, Reason::NoBoot), true),
        (Machine::NeverReady, nothing, (Step::Held, Reason::Unreachable), true),
        // It never reports again, so that nobody can tell: the place is kept, and it is said.
        (Machine::Dies, nothing, (Step::Withdrawing, Reason::RebootTimeout), true),
    ];
    for (machine, prepare, end, cordoned) in cases {
        for crashes in CRASHES {
            let world = drive(machine, crashes, prepare);
            assert_eq!(world.end(), end, "{machine:?} {crashes:?} {:?}", world.changes);
            assert_eq!(world.scene.node.unschedulable, cordoned, "{machine:?}");
        }
    }
}

#[test]
fn a_second_rung_is_tried_once_where_the_first_did_nothing() {
    for crashes in CRASHES {
        let world = drive(Machine::Ignores, crashes, |world| {
            let contract = world.scene.run.contract.as_mut().unwrap();
            contract.remedies.push(contract.remedies[0].clone());
        });
        assert_eq!(world.end(), (Step::Held, Reason::NoBoot));
        assert_eq!(world.scene.run.attempt, 2);
        assert_eq!(world.scene.run.attempt_times.len(), 2);
    }
}

#[test]
fn a_machine_that_is_not_cured_is_put_back_to_work_where_the_policy_says_so() {
    let world = drive(Machine::NotCured, Crashes::AfterEveryDecision, |world| {
        let contract = world.scene.run.contract.as_mut().unwrap();
        contract.verify.on_not_cured = crate::policy::OnNotCured::Uncordon;
    });
    assert_eq!(world.end(), (Step::Failed, Reason::NotCured));
    assert!(!world.scene.node.unschedulable);
}

#[test]
fn a_trigger_without_heartbeats_that_clears_before_the_boot_is_seen_counts() {
    let quiet = |status: &str| {
        let mut quiet = condition("Quiet", status, 1);
        quiet.evidence.last_heartbeat_time = None;
        quiet
    };
    for (status, end) in [
        ("False", (Step::Succeeded, Reason::Healed)),
        ("True", (Step::Held, Reason::VerificationUnknown)),
    ] {
        let mut world = World::new(Machine::Good);
        let scene = &mut world.scene;
        scene.run.causes = vec!["Quiet".into()];
        let contract = scene.run.contract.as_mut().unwrap();
        contract.triggers[0].condition_type = policy::TypePattern::parse("Quiet");
        set(&mut scene.node, quiet("True"));
        assert!(world.drive_to(Step::Rebooting));
        set(&mut world.scene.node, quiet(status));
        world.drive();
        assert_eq!(world.end(), end, "{status}: {:?}", world.changes);
    }
}

#[test]
fn a_machine_that_comes_back_late_is_verified_and_given_back() {
    let mut world = World::new(Machine::Dies);
    world.drive();
    assert_eq!(world.end().0, Step::Withdrawing);
    world.machine = Machine::Good;
    world.boots = 1;
    world.scene.node.boot_id = "boot-2".into();
    let now = world.scene.now.as_second() - at(0).as_second();
    set(&mut world.scene.node, condition("Ready", "True", now));
    set(&mut world.scene.node, condition("Sick", "False", now));
    world.drive();
    assert_eq!(world.end(), (Step::Succeeded, Reason::Healed));
}
