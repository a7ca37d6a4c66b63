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

fn scene(rest: &str) -> Scene {
    let text = format!(
        "apiVersion: scenario.rerail.dev/v1alpha1
kind: Scenario
name: x
times: {{boot: 5s}}
nodes: [{{prefix: n-, count: 3}}]
config: 'maxUnavailable: 3'
policies:
- metadata: {{name: p}}
  spec:
    mode: Enforce
    nodes: {{all: true}}
    triggers: [{{condition: {{type: Sick}}}}]
    budget: {{maxUnavailable: 3, maxDomains: 3}}
    breaker: {{correlated: 20}}
    drain: {{timeout: 2m}}
    remedies: [{{reboot: {{method: Command}}}}]
{rest}"
    );
    Scene::parse(&text).unwrap_or_else(|error| panic!("{error}"))
}

/// A scene of dice alone is played, and dice without an end are refused.
#[test]
fn dice_are_waited_for() {
    let dice = "random: [{every: 1m, chance: 1, from: 5m, until: 6m, do: {sicken: {nodes: [n-001], with: {condition: Sick}}}}]";
    let report = play(&scene(dice), 1, |_| {}).unwrap();
    assert!(report.played_seconds > 360 && report.order.len() == 1, "{report:?}");
    let endless = scene(&dice.replace(", until: 6m", ""));
    assert!(matches!(play(&endless, 1, |_| {}), Err(PlayError::Endless)));
}

#[test]
fn what_the_api_server_refuses_of_a_timeline_is_told_and_is_not_as_expected() {
    let edit = "timeline: [{at: 10s, do: {edit: {object: {group: rerail.dev, resource: remediationpolicies, name: p}, patch: {spec: {mode: Nope}}}}}]";
    let report = play(&scene(edit), 1, |_| {}).unwrap();
    assert!(!report.as_expected, "{report:?}");
    let [not_done] = report.not_done.as_slice() else { panic!("{report:?}") };
    assert!(not_done.starts_with("timeline[0]: ") && not_done.contains("Nope"), "{not_done}");
}

/// A drain is blocked by a Pod that does not go, not only by a budget.
#[test]
fn a_drain_that_a_pod_keeps_is_a_blocked_one() {
    let held =
        "deployments: [{name: web, replicas: 1, placed: [n-001], finalizers: [example.com/held]}]
timeline: [{at: 30s, do: {sicken: {nodes: [n-001], with: {condition: Sick}}}}]
until: 10m";
    let report = play(&scene(held), 1, |_| {}).unwrap();
    let blocked: Vec<_> = report.blocked_drains.iter().map(|one| one.node.as_str()).collect();
    assert_eq!(blocked, ["n-001"], "{report:?}");
}

/// Without labels of racks every node is a failure domain of its own, as for the operator.
#[test]
fn a_node_without_labels_is_a_failure_domain() {
    let sick = "timeline: [{at: 30s, do: {sicken: {nodes: ['n-*'], with: {condition: Sick}}}}]";
    let report = play(&scene(sick), 1, |_| {}).unwrap();
    let domains: Vec<_> = report.domains.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(domains, ["n-001", "n-002", "n-003"], "{report:?}");
}

#[test]
fn another_seed_gives_another_play() {
    let (_, scene) = examples().into_iter().find(|(name, _)| name == "rack-goes-dark").unwrap();
    let times = |seed| play(&scene, seed, |_| {}).unwrap().from_cordon;
    assert_ne!(times(1), times(2));
}
