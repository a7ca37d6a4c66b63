use super::*;

#[test]
fn the_scenes_that_come_with_this_crate_are_good() {
    for (name, _) in Scene::all() {
        let scene = Scene::named(name).unwrap();
        assert_eq!(scene.name, *name);
        assert!(!scene.about.is_empty());
    }
    let demo = Scene::named("demo").unwrap();
    assert_eq!(demo.specs().len(), 60);
    assert_eq!(demo.deployments.iter().map(|one| one.replicas).sum::<u32>(), 400);
    assert!(Scene::named("nonsense").unwrap_err().to_string().contains("demo, single-run"));
}

/// The example in the documentation, which is a scene.
#[test]
fn the_documented_scene_can_be_read() {
    let source = include_str!("../scene.rs");
    let text: String = source
        .lines()
        .skip_while(|line| *line != "//! ```yaml")
        .skip(1)
        .take_while(|line| *line != "//! ```")
        .map(|line| format!("{}\n", line.trim_start_matches("//!").strip_prefix(' ').unwrap_or("")))
        .collect();
    let scene = Scene::parse(&text).unwrap();
    let specs = scene.specs();
    assert_eq!(specs.len(), 9);
    assert_eq!(specs[3].name, "worker-004");
    assert_eq!(specs[3].labels[RACK], "rack-b");
    assert!(specs[8].control_plane && !specs[8].labels.contains_key(RACK));
    assert_eq!(scene.times.times().boot, (20_000, 60_000));
    assert_eq!(scene.times.times().pod_start, (2_000, 2_000));
    let kinds: Vec<_> = scene.objects().iter().map(|object| object["kind"].clone()).collect();
    assert_eq!(
        kinds,
        ["ConfigMap", "DaemonSet", "Deployment", "PodDisruptionBudget", "RemediationPolicy"]
    );
    assert_eq!(scene.objects()[2]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"], 30);
}

fn problem(text: &str) -> String {
    Scene::parse(text).unwrap_err().to_string()
}

#[test]
fn what_makes_no_sense_is_said_with_its_place_and_what_to_do() {
    let nodes = "name: x\nnodes: [{prefix: n-, count: 2}]\n";
    for (text, parts) in [
        ("name: x\nnodes: []\n".to_owned(), ["at nodes", "not one machine"]),
        (format!("{nodes}colour: blue\n"), ["unknown field", "colour"]),
        (
            format!("{nodes}timeline: [{{at: 1s, do: {{cordon: {{nodes: [m-*]}}}}}}]\n"),
            ["timeline[0]", "no machine is called `m-*`"],
        ),
        (
            format!("{nodes}timeline: [{{at: 1s, do: {{explode: {{nodes: [n-001]}}}}}}]\n"),
            ["unknown variant", "explode"],
        ),
        (
            format!("{nodes}timeline: [{{at: soon, do: {{cut: {{nodes: [n-001]}}}}}}]\n"),
            ["`soon` is no duration", "such as"],
        ),
        (
            format!("{nodes}random: [{{every: 1m, chance: 2, do: {{cut: {{nodes: [n-001]}}}}}}]\n"),
            ["random[0].chance", "0 to 1"],
        ),
        (
            format!("{nodes}deployments: [{{name: a, replicas: 1, budget: {{}}}}]\n"),
            ["deployments[0].budget", "either"],
        ),
        (format!("{nodes}times: {{boot: 2m..1m}}\n"), ["ends before it begins", "shorter"]),
        (format!("{nodes}policies: [{{spec: {{mode: Enforce}}}}]\n"), ["policies[0]", "kubectl"]),
        (format!("{nodes}daemonSets: [{{name: A_b}}]\n"), ["DaemonSet A_b", "RFC 1123"]),
        (
            format!("{nodes}objects: [{{apiVersion: example.com/v1, kind: Gadget}}]\n"),
            ["Gadget", "no resource"],
        ),
        (
            "name: x\nnodes: [{prefix: a, count: 1}, {prefix: a, count: 1}]".into(),
            ["a001", "prefix"],
        ),
    ] {
        let said = problem(&text);
        for part in parts {
            assert!(said.contains(part), "{part:?} in {said:?}");
        }
    }
}
