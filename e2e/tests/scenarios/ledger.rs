//! Attempts are counted on the node, over all its runs, whatever becomes of those (SAFE-14).

use jiff::Timestamp;
use kube::{ResourceExt, api::DeleteParams};
use rerail_api::remediation::StepName;
use rerail_core::step::Step;
use rerail_e2e::{ClusterOptions, Operator, OperatorOptions, PATIENCE, wait_for};
use rerail_fleet::Fault;

use crate::shared::{Stage, alone, play, said};

/// Waits until the node has so many runs, and the latest of them is in a step.
async fn nth_run_in(stage: &Stage, node: &str, count: usize, step: Step) -> (String, String) {
    let look = || async {
        let mut runs = stage.cluster().runs_of(node).await.map_err(|error| error.to_string())?;
        let number = runs.len();
        let run = runs.pop().ok_or("no run")?;
        let now = run.status.as_ref().map(|status| status.step.clone());
        match now == Some(StepName::Known(step)) && number == count {
            true => Ok(said(&run)),
            false => Err(format!("{number} runs, the latest in {now:?}")),
        }
    };
    wait_for(&format!("run {count} of {node}: {step}"), PATIENCE, look).await.unwrap()
}

#[test]
fn drains_that_a_budget_blocks_are_no_attempts_and_the_rest_after_them_doubles() {
    play("ledger-drains", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        stage.guard(&node).await;
        // A single attempt is allowed.
        let rest = "
  drain: {timeout: 6s, unmanaged: Delete}
  remedies: [{reboot: {method: Command}, timeout: 60s}]
  verify: {ready: 1s, timeout: 60s}
  attempts: {max: 1, per: 1h, backoff: 6s}";
        stage.policy("Enforce", rest).await;
        stage.sicken(&node, "deadlock").await;
        for (round, seconds) in [(1, 6), (2, 12), (3, 24)] {
            assert_eq!(nth_run_in(&stage, &node, round, Step::Failed).await.0, "DrainTimeout");
            let memory = stage.marks(&node).await.memory.unwrap();
            assert_eq!(memory["attempts"].as_array().unwrap().len(), 0);
            assert_eq!(memory["rollBacks"], round);
            let ended: Timestamp = memory["last"]["endTime"].as_str().unwrap().parse().unwrap();
            let until = stage.waiting(&node, "Backoff").await.until.unwrap();
            assert_eq!(until.duration_since(ended).as_secs(), seconds, "after run {round}");
        }
        assert_eq!(stage.boots(&node), 0);
        stage.release().await;
        assert_eq!(nth_run_in(&stage, &node, 4, Step::Succeeded).await.0, "Healed");
        let memory = stage.marks(&node).await.memory.unwrap();
        assert_eq!(memory["attempts"].as_array().unwrap().len(), 1);
        assert_eq!((&memory["rollBacks"], stage.boots(&node)), (&0.into(), 1));
        stage.finish().await;
    });
}

/// A reboot that does not help: the condition is reported anew before and after it.
async fn futile(stage: &Stage, node: &str, round: usize) {
    stage.sicken(node, &format!("deadlock number {round}")).await;
    nth_run_in(stage, node, round, Step::Verifying).await;
    stage.sicken(node, &format!("deadlock number {round}, after the boot")).await;
    assert_eq!(nth_run_in(stage, node, round, Step::Failed).await.0, "NotCured");
    stage.is_given_back(node, "Failed", "NotCured").await;
    let memory = stage.marks(node).await.memory.unwrap();
    assert_eq!(memory["attempts"].as_array().unwrap().len(), round);
}

/// The used-up attempts were announced once, and the node is left as it is.
async fn is_exhausted(stage: &Stage, node: &str, operator: &Operator) {
    stage.waiting(node, "AttemptsExhausted").await;
    stage.event("RemediationPolicy", stage.pool, "AttemptsExhausted").await;
    stage.rests(operator).await;
    let told = stage.events("RemediationPolicy", stage.pool, "AttemptsExhausted").await;
    let times = told.iter().map(|event| event.series.as_ref().map_or(1, |series| series.count));
    assert_eq!(times.collect::<Vec<_>>(), [1]);
    assert_eq!(stage.boots(node), 3);
    assert!(!stage.is_cordoned(node).await);
}

#[test]
fn reboots_that_do_not_help_are_attempts_whatever_becomes_of_their_runs_and_operators() {
    alone("ledger-reboots", 1, ClusterOptions::default(), |stage| async move {
        let node = stage.nodes[0].clone();
        let rest = "
  remedies: [{reboot: {method: Command}, timeout: 60s}]
  verify: {ready: 1s, timeout: 10s, onNotCured: Uncordon}
  attempts: {max: 3, per: 1h, backoff: 1s}";
        stage.policy("Enforce", rest).await;
        stage.machine(&node).inject_lasting(Fault::ConditionsStay).unwrap();
        for round in 1..=3 {
            futile(&stage, &node, round).await;
        }
        stage.sicken(&node, "deadlock number 4").await;
        is_exhausted(&stage, &node, &stage.shared.operator).await;
        // Nothing but the node itself remembers now.
        for run in stage.cluster().runs_of(&node).await.unwrap() {
            let runs = stage.cluster().runs();
            runs.delete(&run.name_any(), &DeleteParams::default()).await.unwrap();
        }
        stage.cluster().plane.kill_component(stage.shared.operator.name()).unwrap();
        let options = OperatorOptions { name: "rerail-operator-2".into(), ..Default::default() };
        let operator = Operator::start(&stage.cluster().plane, options).await.unwrap();
        stage.sicken(&node, "deadlock number 5").await;
        is_exhausted(&stage, &node, &operator).await;
        assert!(stage.cluster().runs_of(&node).await.unwrap().is_empty());
        stage.finish().await;
    });
}
