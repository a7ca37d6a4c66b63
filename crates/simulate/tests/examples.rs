//! Every scenario in `examples/scenarios` comes out as it says, and the same each time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in helpers too")]

use std::{fs, path::Path};

use rerail_sim::world::{Act, Scene, Source};
use rerail_simulate::{PlayError, play};

fn examples() -> Vec<(String, Scene)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/scenarios");
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let scene = Scene::parse(&fs::read_to_string(&path).unwrap());
            (name.clone(), scene.unwrap_or_else(|error| panic!("{name}: {error}")))
        })
        .collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

#[test]
fn every_example_comes_out_as_it_says() {
    let examples = examples();
    assert!(examples.len() >= 4);
    for (name, scene) in examples {
        assert_eq!(scene.name, name, "a scenario is called as its file");
        assert_ne!(scene.expect, Default::default(), "{name} expects nothing");
        for seed in [1, 2] {
            let report = play(&scene, seed, |_| {}).unwrap();
            assert!(report.as_expected, "{name}, seed {seed}: {report:#?}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_report() {
    for (name, scene) in examples() {
        let once = play(&scene, 7, |_| {}).unwrap();
        assert_eq!(once, play(&scene, 7, |_| {}).unwrap(), "{name}");
    }
}

#[test]
fn alerts_that_nobody_would_show_are_refused() {
    let (_, mut scene) = examples().remove(0);
    scene.timeline.iter_mut().for_each(|entry| {
        if let Act::Sicken { with, .. } = &mut entry.act {
            with.source = Source::Alert;
        }
    });
    assert!(matches!(play(&scene, 1, |_| {}), Err(PlayError::Alerts)));
}

#[test]
fn another_seed_gives_another_play() {
    let (_, scene) = examples().into_iter().find(|(name, _)| name == "rack-goes-dark").unwrap();
    let times = |seed| play(&scene, seed, |_| {}).unwrap().from_cordon;
    assert_ne!(times(1), times(2));
}
