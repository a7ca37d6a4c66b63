//! Held, and the doors out of it that a person opens: retry, release, uncordon, and the node's going.
//! (Power that comes back is a door, too; the machines' scenarios open it.)

use std::{path::Path, process::Output};

use kube::{ResourceExt, api::DeleteParams};
use rerail_api::NodeRemediation;
use rerail_core::step::Step;
use rerail_e2e::{Cluster, PATIENCE, program, wait_for};
use rerail_fleet::Fault;

use crate::shared::{ANOTHER, Stage, play, said};

/// A machine that is not cured is held soon.
pub const IMPATIENT: &str = "
  drain: {timeout: 5m, unmanaged: Delete}
  remedies: [{reboot: {method: Command}, timeout: 60s}]
  verify: {ready: 1s, timeout: 15s}
  attempts: {max: 2, per: 1h, backoff: 1s}";

/// Runs `rerail` as the person of the scenarios.
pub async fn rerail(cluster: &Cluster, arguments: &[&str]) -> Output {
    rerail_as(&cluster.kubeconfig, arguments).await
}

/// The same as somebody else.
pub async fn rerail_as(kubeconfig: &Path, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(program("rerail").unwrap());
    command.args(arguments).arg("--kubeconfig").arg(kubeconfig).kill_on_drop(true);
    command.output().await.unwrap()
}

/// What it printed, both ways.
pub fn words(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// A machine whose only reboot did not cure it.
async fn held(stage: &Stage, node: &str) -> NodeRemediation {
    stage.inject(node, Fault::ConditionsStay);
    stage.sicken(node, "task blocked for more than 120 seconds").await;
    let run = stage.run_in(node, Step::Held).await;
    // Whether its condition's writer has reported anew by then is a matter of time.
    let (reason, message) = said(&run);
    assert!(["VerificationUnknown", "NotCured"].contains(&reason.as_str()), "{reason}: {message}");
    assert_eq!(stage.boots(node), 1);
    assert!(stage.is_cordoned(node).await);
    run
}

#[test]
fn a_held_run_is_tried_again_from_the_drain_on_as_a_new_attempt() {
    play("door-retry", 2, |stage| async move {
        let (node, other) = (stage.nodes[0].clone(), stage.nodes[1].clone());
        stage.policy("Enforce", IMPATIENT).await;
        let run = held(&stage, &node).await;
        let name = run.name_any();
        // A retry waits for its turn like any other candidate.
        stage.guard(&other).await;
        stage.sicken(&other, "task blocked").await;
        let busy = stage.blocked(&other).await;
        let answer = rerail(stage.cluster(), &["retry", &name]).await;
        assert!(answer.status.success(), "{}", words(&answer));
        assert!(words(&answer).contains("asked for retry 1"), "{}", words(&answer));
        stage.waiting(&node, ANOTHER).await;
        let refused = rerail(stage.cluster(), &["retry", &busy.name_any()]).await;
        assert!(!refused.status.success());
        assert!(words(&refused).contains("is in step Draining, not Held"), "{}", words(&refused));
        stage.release().await;
        // This time its reboot heals it.
        let healed = stage.run_in(&node, Step::Succeeded).await;
        let status = healed.status.clone().unwrap();
        assert_eq!((healed.name_any(), status.attempt, status.retries), (name, 2, 1));
        assert_eq!(
            (stage.boots(&node), stage.cluster().runs_of(&node).await.unwrap().len()),
            (2, 1)
        );
        let drained = status.steps.iter().find(|s| s.name == "Draining" && s.attempt == 1);
        assert!(drained.is_some(), "{:?}", status.steps);
        stage.is_given_back(&node, "Succeeded", "Healed").await;
        stage.run_in(&other, Step::Succeeded).await;
        stage.finish().await;
    });
}

#[test]
fn a_retry_is_no_way_around_the_limit_of_attempts() {
    play("door-limit", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        let one = IMPATIENT.replace("max: 2", "max: 1");
        stage.policy("Enforce", &one).await;
        let run = held(&stage, &node).await;
        assert!(rerail(stage.cluster(), &["retry", &run.name_any()]).await.status.success());
        stage.waiting(&node, "AttemptsExhausted").await;
        let held = stage.run_in(&node, Step::Held).await;
        assert_eq!((stage.boots(&node), held.status.unwrap().attempt), (1, 1));
        // Released it goes, whatever was asked for before.
        let answer = rerail(stage.cluster(), &["release", &run.name_any()]).await;
        assert!(words(&answer).contains("given back, unverified"), "{}", words(&answer));
        let run = stage.run_in(&node, Step::Cancelled).await;
        assert_eq!(said(&run).0, "CancelRequested");
        stage.is_given_back(&node, "Cancelled", "CancelRequested").await;
        stage.finish().await;
    });
}

#[test]
fn a_held_run_ends_when_a_person_uncordons_its_node_or_the_node_goes() {
    play("door-uncordon", 2, |stage| async move {
        let (node, gone) = (stage.nodes[0].clone(), stage.nodes[1].clone());
        stage.policy("Enforce", IMPATIENT).await;
        held(&stage, &node).await;
        // Held holds no place: the next one has its turn.
        let second = held(&stage, &gone).await;
        stage.uncordon(&node).await;
        let run = stage.run_in(&node, Step::Cancelled).await;
        assert_eq!(said(&run).0, "CordonLifted");
        stage.is_given_back(&node, "Cancelled", "CordonLifted").await;
        stage.cluster().fleet.delete_node(&gone).await.unwrap();
        let run = stage.run_in(&gone, Step::Cancelled).await;
        assert_eq!((said(&run).0.as_str(), run.uid()), ("NodeReplaced", second.uid()));
        stage.finish().await;
    });
}

/// `kubectl delete` is the door that everybody tries first.
#[test]
fn a_held_run_that_is_deleted_gives_its_node_back_and_goes() {
    play("door-delete", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        stage.policy("Enforce", IMPATIENT).await;
        let run = held(&stage, &node).await;
        stage.edit_policy(serde_json::json!({ "suspended": true })).await;
        let runs = stage.cluster().runs();
        runs.delete(&run.name_any(), &DeleteParams::default()).await.unwrap();
        stage.no_run(&node).await;
        stage.is_given_back(&node, "Cancelled", "CancelRequested").await;
        stage.finish().await;
    });
}

#[test]
fn commands_say_what_is_wrong_with_their_argument() {
    play("door-words", 1, |stage| async move {
        for command in ["retry", "release"] {
            let answer = rerail(stage.cluster(), &[command, "nobody"]).await;
            assert!(!answer.status.success());
            assert!(words(&answer).contains("there is no NodeRemediation nobody"), "{command}");
        }
        stage.finish().await;
    });
}

impl Stage {
    /// Waits until there is no run of a node any more.
    pub async fn no_run(&self, node: &str) {
        let look = || async {
            let runs = self.cluster().runs_of(node).await.map_err(|error| error.to_string())?;
            let steps = runs.into_iter().map(|run| run.status.map(|status| status.step));
            let steps: Vec<_> = steps.collect();
            if steps.is_empty() { Ok(()) } else { Err(format!("{steps:?}")) }
        };
        wait_for(&format!("{node}: no run"), PATIENCE, look).await.unwrap();
    }
}
