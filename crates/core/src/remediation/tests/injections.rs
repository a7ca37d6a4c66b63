//! Everything that people and the world can do to a run, in every step of every way: it always ends,
//! or is Held, or says that it cannot tell; and never loops.

use super::{
    world::{Crashes, Machine, World},
    *,
};

type Injection = (&'static str, fn(&mut World));

const INJECTIONS: [Injection; 18] = [
    ("hold", |w| w.scene.node.hold = true),
    ("cancel", |w| w.scene.run.cancel = true),
    ("hold and cancel", |w| {
        w.scene.node.hold = true;
        w.scene.run.cancel = true;
    }),
    ("node gone", |w| w.scene.node_is = NodeIs::Gone),
    ("node replaced", |w| w.scene.node_is = NodeIs::Replaced),
    ("node deleting", |w| w.scene.node.deleting = true),
    ("claimed", |w| w.scene.node.claim = Some("taint x".into())),
    ("out of service", |w| w.scene.node.out_of_service = true),
    ("policy suspended", |w| w.scene.policy = PolicyStanding::Suspended),
    ("policy deleted", |w| w.scene.policy = PolicyStanding::Deleted),
    ("policy not enforcing", |w| w.scene.policy = PolicyStanding::NotEnforcing),
    ("uncordoned", |w| w.scene.node.unschedulable = false),
    ("uncordoned and unmarked", |w| {
        w.scene.node.unschedulable = false;
        w.scene.node.cordoned_by = None;
    }),
    ("uncordoned and cordoned by a person", |w| w.scene.node.cordon_field_ours = false),
    ("uncordoned on hold", |w| {
        w.scene.node.hold = true;
        w.scene.node.unschedulable = false;
    }),
    ("cleared", |w| {
        let now = w.scene.now.as_second() - at(0).as_second();
        set(&mut w.scene.node, condition("Sick", "False", now));
    }),
    ("boots by itself", |w| {
        w.boots += 1;
        w.scene.node.boot_id = format!("boot-{}", w.boots + 1);
    }),
    ("boot ID vanishes", |w| w.scene.node.boot_id = String::new()),
];

const MACHINES: [Machine; 6] = [
    Machine::Good,
    Machine::NotCured,
    Machine::Dies,
    Machine::Ignores,
    Machine::Refuses,
    Machine::NeverReady,
];

fn worlds() -> impl Iterator<Item = (World, String)> {
    let crashes = [Crashes::Never, Crashes::AfterEveryDecision, Crashes::BeforeEveryEffectOnce];
    let all = MACHINES.into_iter().flat_map(move |machine| {
        crashes.into_iter().flat_map(move |crashes| {
            [Some(3), None].into_iter().map(move |pods| (machine, crashes, pods))
        })
    });
    all.map(|(machine, crashes, pods)| {
        let mut world = World::new(machine);
        world.crashes = crashes;
        world.pods = pods;
        (world, format!("{machine:?} {crashes:?} pods {pods:?}"))
    })
}

/// Of all injections, or of those with these names: each in every step of every way.
fn for_each_case(names: &[&str], mut check: impl FnMut(&mut World, &'static str, String)) {
    let asked = |(name, _): &&Injection| names.is_empty() || names.contains(name);
    let injections: Vec<_> = INJECTIONS.iter().filter(asked).collect();
    for step in Step::ALL.into_iter().filter(|step| !step.is_terminal()) {
        for (mut world, text) in worlds() {
            if !world.drive_to(step) {
                continue;
            }
            for (name, inject) in &injections {
                let mut world = world.clone();
                inject(&mut world);
                check(&mut world, name, format!("{name} in {step}: {text}"));
            }
        }
    }
}

#[test]
fn whatever_happens_in_whatever_step_the_run_ends_or_is_held_or_says_why_not() {
    let mut cases = 0;
    for_each_case(&[], |world, _, text| {
        cases += 1;
        world.drive();
        let (step, _) = world.end();
        let says_why_not = world.scene.look().reason == Reason::EffectUnresolved;
        assert!(
            step.is_terminal() || step == Step::Held || says_why_not,
            "{text}: {:?} {:?}",
            world.end(),
            world.changes
        );
    });
    assert!(cases > 1000, "only {cases} cases: the worlds do not reach the steps");
}

#[test]
fn a_node_that_is_gone_or_replaced_ends_every_run_and_is_not_touched() {
    for_each_case(&["node gone", "node replaced"], |world, _, text| {
        let effects = world.effects.len();
        world.drive();
        assert_eq!(world.end(), (Step::Cancelled, Reason::NodeReplaced), "{text}");
        assert_eq!(world.effects.len(), effects, "{text}");
    });
}

#[test]
fn a_pause_for_a_day_only_delays() {
    for step in Step::ALL.into_iter().filter(|step| !step.is_terminal()) {
        for (mut world, text) in worlds() {
            let mut undisturbed = worlds().find(|(_, other)| *other == text).unwrap().0;
            undisturbed.drive();
            if !world.drive_to(step) {
                continue;
            }
            world.scene.paused = true;
            for _ in 0..100 {
                world.drive_some();
            }
            let stopped = !world.scene.run.past_no_return();
            assert!(!stopped || world.scene.run.step == step || step == Step::Pending, "{text}");
            world.scene.paused = false;
            world.drive();
            assert_eq!(world.end(), undisturbed.end(), "pause in {step}: {text}");
        }
    }
}

#[test]
fn a_hold_label_that_is_taken_off_again_leaves_nothing_held_for_it() {
    for_each_case(&["hold"], |world, _, text| {
        world.drive();
        world.scene.node.hold = false;
        world.drive();
        assert_ne!(world.end(), (Step::Held, Reason::HoldLabel), "{text}");
    });
}

#[test]
fn what_is_held_after_a_cancel_waits_for_a_machine_that_is_not_ready() {
    for_each_case(&["cancel"], |world, _, text| {
        world.drive();
        if world.end().0 == Step::Held {
            assert_ne!(world.scene.node.ready, Ready::True, "{text}: {:?}", world.end());
        }
    });
}
