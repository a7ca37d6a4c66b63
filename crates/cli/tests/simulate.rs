//! `rerail simulate` as its users run it: what it prints, and how it exits.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in helpers too")]

use std::process::{Command, Output, Stdio};

fn simulate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rerail"));
    command.env_remove("KUBECONFIG").stdin(Stdio::null());
    command.arg("simulate").args(arguments).output().unwrap()
}

fn small() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/small.yaml").to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn refused(arguments: &[&str]) -> String {
    let output = simulate(arguments);
    let code = output.status.code();
    assert!(code == Some(1) || code == Some(2), "{code:?}: {}", text(&output.stdout));
    text(&output.stderr)
}

#[test]
fn a_scenario_is_told_as_tables_without_colours_in_a_pipe() {
    let output = simulate(&["--scenario", &small()]);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{told}\n{}", text(&output.stderr));
    assert!(
        told.starts_with("Played: 3 nodes healed, of 3 in trouble, all clear after "),
        "{told}"
    );
    for part in
        ["AT MOST AT ONCE", "nodes out of service, policy pool-a", "ORDER", "P4 n-001", "P7 n-002"]
    {
        assert!(told.contains(part), "{part:?} in {told}");
    }
    assert!(!told.contains('\u{1b}') && !told.contains("VIOLATION"), "{told}");
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}

#[test]
fn an_expectation_that_is_missed_has_an_exit_code_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("strict.yaml");
    let scene =
        std::fs::read_to_string(small()).unwrap() + "expect: {clearedWithin: 5s, left: 0}\n";
    std::fs::write(&path, scene).unwrap();
    let path = path.display().to_string();
    let output = simulate(&["--scenario", &path]);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.starts_with("Not as expected: "), "{told}");
    assert!(
        told.contains("NOT AS EXPECTED\ncleared after ") && told.contains("within 5s expected"),
        "{told}"
    );
    let output = simulate(&["--scenario", &path, "-o", "json"]);
    assert_eq!(output.status.code(), Some(3));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["version"], &report["asExpected"]), (&1.into(), &false.into()));
    assert_eq!(report["missed"].as_array().unwrap().len(), 1);
    assert_eq!(report["order"][0]["node"], "n-001");
}

#[test]
fn a_policy_from_a_file_is_played_in_place_of_the_one_of_the_same_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.yaml");
    let policy = "apiVersion: rerail.dev/v1alpha1
kind: RemediationPolicy
metadata: {name: pool-a}
spec:
  nodes: {selector: {matchLabels: {pool: a}}}
  triggers: [{condition: {type: Other}}]
  remedies: [{reboot: {method: Command}}]
";
    std::fs::write(&path, policy).unwrap();
    let (file, save) =
        (path.display().to_string(), folder.path().join("saved.yaml").display().to_string());
    let played = |more: &[&str]| {
        let all = ["--scenario", &small(), "-f", &file, "-o", "json"];
        let output = simulate(&[&all[..], more].concat());
        let text = text(&output.stderr);
        serde_json::from_slice::<serde_json::Value>(&output.stdout)
            .unwrap_or_else(|_| panic!("{text}"))
    };
    // In mode DryRun nothing starts, and the conditions of the scene do not trigger it either.
    assert_eq!(played(&[])["order"], serde_json::json!([]));
    let sick = ["--sick", "n-006:Other:[P1] other", "--enforce", "--save", &save];
    let report = played(&sick);
    assert_eq!(report["order"][0]["node"], "n-006", "{report:#}");
    assert_eq!(report["order"][0]["priority"], 1);
    // What was saved is what was played.
    let again = simulate(&["--scenario", &save, "-o", "json"]);
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&again.stdout).unwrap(), report);
}

/// A figure of one seed is one draw.
#[test]
fn many_seeds_are_told_by_the_best_and_the_worst_of_them() {
    let output = simulate(&["--scenario", &small(), "--seeds", "4"]);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{told}\n{}", text(&output.stderr));
    assert!(told.starts_with("Played with each of 4 seeds\n"), "{told}");
    assert!(told.contains("all clear after") && told.contains("WITH SEED"), "{told}");
    let output = simulate(&["--scenario", &small(), "--seeds", "4", "-o", "json"]);
    let reports: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let cleared = |report: &serde_json::Value| report["clearedAfterSeconds"].as_i64().unwrap();
    let (best, worst) = (reports.iter().map(cleared).min(), reports.iter().map(cleared).max());
    assert_eq!(
        reports.iter().map(|one| one["seed"].as_u64().unwrap()).collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    assert!(best < worst, "they are alike: {reports:#?}");
    // Between the two: some are as expected, and the answer is not.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("strict.yaml");
    let within = worst.unwrap() - 1;
    let scene = std::fs::read_to_string(small()).unwrap();
    std::fs::write(&path, format!("{scene}expect: {{clearedWithin: {within}s}}\n")).unwrap();
    let output = simulate(&["--scenario", &path.display().to_string(), "--seeds", "4"]);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.starts_with("Not as expected with ") && told.contains(" of 4: "), "{told}");
    assert!(told.contains("cleared after "), "{told}");
    assert!(refused(&["--scenario", &small(), "--seeds", "0"]).contains("invalid value '0'"));
    assert!(
        refused(&["--scenario", &small(), "--seeds", "3", "--seed", "2"])
            .contains("cannot be used with")
    );
}

/// A person has many files, and what is written in one of them is not in the others.
#[test]
fn a_policy_from_a_file_that_an_api_server_refuses_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policies.yaml");
    let policy = |name: &str, more: &str| {
        format!(
            "apiVersion: rerail.dev/v1alpha1
kind: RemediationPolicy
metadata: {{name: {name}}}
spec:
  nodes: {{all: true}}
  triggers: [{{condition: {{type: Sick}}}}]
  remedies: [{{reboot: {{method: Command}}}}]
{more}"
        )
    };
    let file = path.display().to_string();
    for (more, says) in [
        ("  budgt: {maxUnavailable: 1}\n", "budgt"),
        ("  budget: {maxUnavailable: 200%}\n", "maxUnavailable"),
    ] {
        let text = [policy("good", ""), policy("bad", more)].join("---\n");
        std::fs::write(&path, text).unwrap();
        let said = refused(&["--scenario", &small(), "-f", &file]);
        let place = format!("-f: {file}:9: policy bad: ");
        assert!(said.contains(&place) && said.contains(says), "{said}");
    }
}

#[test]
fn bad_words_are_refused_with_what_to_do() {
    for (arguments, says) in [
        (&[][..], "--scenario"),
        (&["--scenario", "/nowhere.yaml"], "--scenario /nowhere.yaml: No such file"),
        (&["--scenario", &small(), "--from-cluster"], "cannot be used with"),
        (&["--scenario", &small(), "--sick", "n-001"], "names no condition"),
        (
            &["--scenario", &small(), "--sick", "m-*:X"],
            "no node is meant by `m-*`; there are n-001",
        ),
        (&["--scenario", &small(), "--power-off", "a b"], "names no nodes"),
        (&["--scenario", &small(), "--seed", "x"], "invalid value 'x'"),
        (&["--scenario", &small(), "-f", "/nowhere.yaml"], "-f: /nowhere.yaml cannot be read"),
        (
            &["--from-cluster", "--kubeconfig", "/nowhere"],
            "no way to reach a Kubernetes API server",
        ),
        (
            &["--scenario", &small(), "--save", "/nowhere/x.yaml"],
            "--save /nowhere/x.yaml: No such file",
        ),
    ] {
        let said = refused(arguments);
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.yaml");
    for (scene, says) in [
        (
            "apiVersion: scenario.rerail.dev/v7\nkind: Scenario\n",
            "this program reads `scenario.rerail.dev/v1alpha1`",
        ),
        ("nodes: [", "cannot be read"),
        (
            "apiVersion: scenario.rerail.dev/v1alpha1\nkind: Scenario\nname: x\nnodes: [{name: a}]\nexpect: {soon: 1}\n",
            "unknown field `soon`",
        ),
    ] {
        std::fs::write(&path, scene).unwrap();
        let said = refused(&["--scenario", &path.display().to_string()]);
        assert!(said.contains(says), "{scene}: {said}");
    }
}

/// What does nothing, and what nobody acts on, is said; without `expect` it is no failure.
#[test]
fn a_policy_that_is_not_enforced_and_a_condition_that_nobody_names_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dry.yaml");
    let scene = std::fs::read_to_string(small()).unwrap().replace("mode: Enforce", "mode: DryRun");
    std::fs::write(&path, &scene).unwrap();
    let path = path.display().to_string();
    let output = simulate(&["--scenario", &path, "--sick", "n-003:KernelDeadlok"]);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let words = told.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("! policy pool-a is in mode DryRun"), "{told}");
    assert!(
        words.contains("! no policy selects n-003 and acts on the condition KernelDeadlok"),
        "{told}"
    );
    assert!(words.contains("0 nodes healed"), "{told}");
    let enforced = simulate(&["--scenario", &path, "--enforce"]);
    assert!(text(&enforced.stdout).starts_with("Played: 3 nodes healed"));
    assert!(!text(&enforced.stdout).contains("DryRun"));
}
