//! Properties of every storm, whatever becomes of its runs.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy)]
enum Move {
    /// As many as may start, in one plan.
    StartAll,
    /// One, if it may start.
    StartOne,
    /// The oldest run ends.
    End { well: bool },
    /// The oldest run is held.
    Hold,
    /// A node gets sick.
    Sicken(usize),
    /// A node gets well by itself.
    Recover(usize),
    /// So many seconds pass.
    Pass(i64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => Just(Move::StartAll),
        2 => Just(Move::StartOne),
        6 => prop::bool::weighted(0.85).prop_map(|well| Move::End { well }),
        1 => Just(Move::Hold),
        2 => (0..12_usize).prop_map(Move::Sicken),
        1 => (0..12_usize).prop_map(Move::Recover),
        4 => (1..700_i64).prop_map(Move::Pass),
    ];
    prop::collection::vec(one, 1..80)
}

fn waiting(world: &World) -> Vec<String> {
    let sick = |node: &NodeFacts| node.conditions["Sick"].status() == "True";
    let free = |name: &str| world.open_runs.iter().all(|run| run.node_name != name);
    let waiting = world.nodes.values().filter(|node| sick(node) && free(&node.name));
    waiting.map(|node| node.name.clone()).collect()
}

fn oldest(world: &World) -> Option<String> {
    let mut runs = world.open_runs.iter().filter(|run| run.step == Step::Draining);
    Some(runs.next()?.node_name.clone())
}

/// How many of a plan start.
fn starts(world: &mut World, at_most: usize) -> u32 {
    let assessment = assess(world);
    let mut admitted = 0;
    for name in waiting(world).into_iter().take(at_most) {
        if assessment.verdict("Sick", admitted).is_none() {
            start(world, &name);
            admitted += 1;
        }
    }
    admitted
}

fn turn_status(world: &mut World, number: usize, status: &str) {
    let (name, now) = (format!("n{number}"), world.now);
    if !world.open_runs.iter().any(|run| run.node_name == name) {
        change(world, &name, |node| {
            let mut turned = condition("Sick", status, 0);
            turned.status_since = now;
            set(node, turned);
        });
    }
}

/// Does one move. Says how many started, and whether a run failed.
fn play(world: &mut World, one: Move) -> (u32, bool) {
    match one {
        Move::StartAll => return (starts(world, usize::MAX), false),
        Move::StartOne => return (starts(world, 1), false),
        Move::End { well } => {
            if let Some(name) = oldest(world) {
                // Every event has its own time.
                later(world, 1);
                end(world, &name, well);
                return (0, !well);
            }
        }
        Move::Hold => {
            later(world, 1);
            let now = world.now;
            if let Some(run) = world.open_runs.iter_mut().find(|run| run.step == Step::Draining) {
                (run.step, run.since) = (Step::Held, now);
                return (0, true);
            }
        }
        Move::Sicken(number) => turn_status(world, number, "True"),
        Move::Recover(number) => turn_status(world, number, "False"),
        Move::Pass(seconds) => later(world, seconds),
    }
    (0, false)
}

fn allowed(storm: Option<&Storm>) -> Option<u32> {
    match storm {
        None => None,
        Some(Storm::Open { .. }) => Some(0),
        Some(Storm::Probing { .. }) => Some(1),
        Some(Storm::Ramp { allowed, .. }) => Some(*allowed),
    }
}

proptest! {
    #[test]
    fn no_round_starts_more_than_it_may_and_a_failure_opens_the_storm(moves in moves()) {
        let mut nodes = nodes(12, 3);
        sicken(&mut nodes, 9, 0);
        let mut world = world(nodes);
        look(&mut world);
        let (mut round, mut started) = (storm(&world).cloned(), 0);
        for one in moves {
            later(&mut world, 1);
            let assessment = look(&mut world);
            // Looked at again with the result on record: the same.
            prop_assert_eq!(&assess(&world).storms, &assessment.storms);
            if storm(&world) != round.as_ref() {
                (round, started) = (storm(&world).cloned(), 0);
            }
            let before = round.clone();
            let (new, failed) = play(&mut world, one);
            started += new;
            if let Some(allowed) = allowed(round.as_ref()) {
                prop_assert!(started <= allowed, "{started} in {round:?}");
            }
            look(&mut world);
            if storm(&world) != round.as_ref() {
                (round, started) = (storm(&world).cloned(), 0);
            }
            if failed && matches!(before, Some(Storm::Probing { .. } | Storm::Ramp { .. })) {
                let now = allowed(round.as_ref());
                prop_assert!(matches!(now, None | Some(0)), "{round:?}");
                prop_assert!(now.is_some() || waiting(&world).is_empty(), "{round:?}");
            }
        }
    }

    #[test]
    fn another_type_is_never_stopped(moves in moves()) {
        let mut nodes = nodes(12, 3);
        sicken(&mut nodes, 9, 0);
        let mut world = world(nodes);
        for one in moves {
            later(&mut world, 1);
            play(&mut world, one);
            prop_assert_eq!(look(&mut world).verdict("Disk", u32::MAX), None);
        }
    }

    /// Where every run ends well, every node is cured: the rounds never stop for good.
    #[test]
    fn a_storm_of_any_size_ends_when_its_runs_end_well(total in 3_usize..200, racks in 1_usize..5) {
        let mut nodes = nodes(total, racks);
        sicken(&mut nodes, total, 0);
        let mut world = world(nodes);
        look(&mut world);
        later(&mut world, WINDOW);
        let mut rounds = 0;
        while !waiting(&world).is_empty() {
            rounds += 1;
            prop_assert!(rounds <= 10, "{:?} still wait", waiting(&world).len());
            look(&mut world);
            starts(&mut world, usize::MAX);
            while let Some(name) = oldest(&world) {
                later(&mut world, 1);
                end(&mut world, &name, true);
            }
            later(&mut world, 1);
        }
        look(&mut world);
        prop_assert_eq!(storm(&world), None);
    }
}

#[test]
fn the_ramp_grows_without_end_and_never_overflows() {
    let mut world = stormy();
    let since = at(0);
    later(&mut world, WINDOW);
    let record = Storms::from([("Sick".to_owned(), Storm::Ramp { allowed: u32::MAX, since })]);
    world.storms.insert("workers".into(), record);
    let assessment = look(&mut world);
    assert_eq!(assessment.verdict("Sick", 1_000_000), None);
    assert!(assessment.verdict("Sick", u32::MAX).is_some());
}
