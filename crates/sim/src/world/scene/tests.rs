use super::*;
use crate::world::options::RACK;

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
    let text = format!("apiVersion: {API_VERSION}\nkind: {KIND}\n{text}");
    Scene::parse(&text).unwrap_err().to_string()
}

#[test]
fn another_version_is_refused_whatever_else_is_in_it() {
    let later = "apiVersion: scenario.rerail.dev/v9\nkind: Scenario\nmachinery: {of: tomorrow}\n";
    for (text, says) in [
        (later, "`apiVersion: scenario.rerail.dev/v9`"),
        ("name: x\nnodes: [{prefix: n-, count: 1}]\n", "neither `apiVersion` nor `kind`"),
        ("apiVersion: v1\nkind: List\n", "`kind: List`"),
    ] {
        let said = Scene::parse(text).unwrap_err().to_string();
        assert!(said.contains(says), "{said}");
        assert!(said.contains("scenario.rerail.dev/v1alpha1` and `"), "{said}");
    }
}

/// What is written down can be read again, and is the same scene.
#[test]
fn every_scene_of_ours_is_the_same_after_it_was_written_and_read() {
    for (name, text) in Scene::all() {
        let scene = Scene::parse(text).unwrap();
        let written = serde_saphyr::to_string(&scene).unwrap();
        let again = Scene::parse(&written).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(serde_json::to_value(&scene).unwrap(), serde_json::to_value(&again).unwrap());
    }
}

/// One without its last two braces.
const POLICY: &str = "policies: [{metadata: {name: a}, spec: {nodes: {all: true}, triggers: [{condition: {type: Sick}}], remedies: [{reboot: {method: Command}}]";

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
        (format!("{nodes}policies: [foo]\n"), ["policies[0]", "no object"]),
        (format!("{nodes}config: 'maxUnavailable: thirty'\n"), ["at config", "ConfigMap"]),
        ("name: x\nnodes: [{name: Bad Name!}]".into(), ["Node Bad Name!", "RFC 1123"]),
        ("name: x\nnodes: [{count: 1}]".into(), ["nodes[0]", "give it a name"]),
        ("name: x\nnodes: [{prefix: a}]".into(), ["nodes[0]", "count above 0"]),
        ("name: x\nnodes: [{name: a, count: 2}]".into(), ["nodes[0]", "leave one of them out"]),
        (
            format!("{nodes}deployments: [{{name: a, replicas: 1, placed: [n-007]}}]\n"),
            ["deployments[0].placed", "`n-007`"],
        ),
    ] {
        let said = problem(&text);
        for part in parts {
            assert!(said.contains(part), "{part:?} in {said:?}");
        }
    }
}

/// A label, a budget or a name that the real cluster would refuse, or that means nobody, would be played
/// without a word, and the answer be about another scenario than the one that was meant.
#[test]
fn what_would_come_to_nothing_is_refused() {
    let nodes = "name: x\nnodes: [{prefix: n-, count: 2}]\n";
    for (text, parts) in [
        (
            format!("{nodes}deployments: [{{name: a, replicas: 1, labels: {{my app: a}}}}]\n"),
            ["deployments[0].labels", "my app"],
        ),
        (
            format!("{nodes}daemonSets: [{{name: a, labels: {{app: '-'}}}}]\n"),
            ["daemonSets[0].labels", "valid label"],
        ),
        (
            format!(
                "{nodes}deployments: [{{name: a, replicas: 1, budget: {{maxUnavailable: abc}}}}]\n"
            ),
            ["PodDisruptionBudget a", "valid percent"],
        ),
        (
            format!(
                "{nodes}deployments: [{{name: a, replicas: 1, budget: {{minAvailable: -1}}}}]\n"
            ),
            ["PodDisruptionBudget a", "greater than or equal to 0"],
        ),
        (
            format!("{nodes}until: 20m\ntimeline: [{{at: 1h, do: {{cut: {{nodes: [n-001]}}}}}}]\n"),
            ["timeline[0].at", "never happens"],
        ),
        (
            format!(
                "{nodes}timeline: [{{at: 1s, do: {{pause: {{scope: policy/x, reason: y}}}}}}]\n"
            ),
            ["timeline[0]", "no policy is called `x`"],
        ),
        (
            format!("{nodes}timeline: [{{at: 1s, do: {{pause: {{scope: foo, reason: y}}}}}}]\n"),
            ["timeline[0]", "`foo` pauses nothing"],
        ),
        (
            format!(
                "{nodes}timeline: [{{at: 1s, do: {{remediate: {{nodes: [n-001], policy: x}}}}}}]\n"
            ),
            ["timeline[0]", "no policy is called `x`"],
        ),
        (
            format!("{nodes}{POLICY}, budgt: {{maxDomains: 1}}}}}}]\n"),
            ["policies[0] (a)", "unknown field \"spec.budgt\""],
        ),
    ] {
        let said = problem(&text);
        for part in parts {
            assert!(said.contains(part), "{part:?} in {said:?}");
        }
    }
}
