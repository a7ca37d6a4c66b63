//! What becomes of a run when its trigger clears, or does not.

use std::time::Duration;

use rerail_api::remediation::StepName;
use rerail_core::step::Step;
use rerail_e2e::ClusterOptions;
use rerail_fleet::{EventKind, Fault, FleetOptions};

use crate::{
    shared::{CONDITION, SHORT, Stage, alone, play, said},
    workloads::PATIENT,
};

/// One reboot; gives up soon after it.
const IMPATIENT: &str = "
  remedies: [{reboot: {method: Command}, timeout: 60s}]
  attempts: {max: 1, per: 1h, backoff: 1h}
  verify: {ready: 1s, timeout: 20s";

/// Waits until the machine has booted and is being verified.
async fn verifying(stage: &Stage, node: &str) {
    stage.run_in(node, Step::Verifying).await;
}

#[test]
fn a_trigger_that_clears_before_the_reboot_undoes_the_run() {
    play("clear-before", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        stage.blocked_drain(&node, PATIENT).await;
        stage.cure(&node).await;
        let run = stage.run_in(&node, Step::Cancelled).await;
        assert_eq!(said(&run).0, "TriggerCleared");
        stage.is_given_back(&node, "Cancelled", "TriggerCleared").await;
        assert!(stage.guarded().await.is_some());
        assert_eq!(stage.boots(&node), 0);
        stage.finish().await;
    });
}

#[test]
fn a_trigger_that_clears_during_the_reboot_lets_the_run_finish() {
    play("clear-after", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        stage.policy("Enforce", SHORT).await;
        stage.inject(&node, Fault::SlowBoot { factor: 2 });
        stage.sicken(&node, "deadlock").await;
        stage.goes_down(&node).await;
        stage.cure(&node).await;
        verifying(&stage, &node).await;
        // Its writer goes on reporting; the report from before the boot is no evidence after it.
        stage.cure(&node).await;
        let run = stage.run_in(&node, Step::Succeeded).await;
        assert_eq!((said(&run).0.as_str(), run.status.unwrap().attempt), ("Healed", 1));
        assert!(!stage.is_cordoned(&node).await);
        stage.finish().await;
    });
}

#[test]
fn a_machine_whose_trigger_stays_true_is_held() {
    play("clear-never", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        stage.policy("Enforce", &format!("{IMPATIENT}}}")).await;
        stage.inject(&node, Fault::ConditionsStay);
        stage.sicken(&node, "deadlock").await;
        verifying(&stage, &node).await;
        stage.sicken(&node, "deadlock, reported anew").await;
        let run = stage.run_in(&node, Step::Held).await;
        assert_eq!(said(&run).0, "NotCured");
        let marks = stage.marks(&node).await;
        assert_eq!((marks.cordoned, marks.owner), (true, run.metadata.uid));
        assert_eq!(stage.boots(&node), 1);
        stage.finish().await;
    });
}

#[test]
fn a_trigger_that_clears_while_the_machine_is_down_and_comes_back_is_not_cured() {
    play("clear-again", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        let slow = IMPATIENT.replace("ready: 1s", "ready: 3s");
        stage.policy("Enforce", &format!("{slow}}}")).await;
        stage.inject(&node, Fault::SlowBoot { factor: 2 });
        stage.inject(&node, Fault::ConditionsStay);
        stage.sicken(&node, "deadlock").await;
        stage.goes_down(&node).await;
        // Nobody scrapes a machine that is down: its alert resolves.
        stage.cure(&node).await;
        verifying(&stage, &node).await;
        stage.sicken(&node, "deadlock, after the boot").await;
        stage.is_held(&node, "NotCured", "trigger is true on new evidence").await;
        assert_eq!(stage.boots(&node), 1);
        stage.rests(&stage.shared.operator).await;
        stage.finish().await;
    });
}

#[test]
fn a_machine_that_is_not_cured_goes_back_to_work_where_the_policy_says_so() {
    play("clear-work", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        stage.policy("Enforce", &format!("{IMPATIENT}, onNotCured: Uncordon}}")).await;
        stage.inject(&node, Fault::ConditionsStay);
        stage.sicken(&node, "deadlock").await;
        verifying(&stage, &node).await;
        stage.sicken(&node, "deadlock, reported anew").await;
        let run = stage.run_in(&node, Step::Failed).await;
        assert_eq!(said(&run).0, "NotCured");
        stage.is_given_back(&node, "Failed", "NotCured").await;
        // The same old report starts nothing; a new one would, were an attempt left.
        stage.waiting(&node, "NoNewEvidence").await;
        stage.sicken(&node, "deadlock, and again").await;
        stage.waiting(&node, "AttemptsExhausted").await;
        assert_eq!(stage.boots(&node), 1);
        stage.finish().await;
    });
}

#[test]
fn a_trigger_that_is_ignored_by_the_verification_need_not_clear() {
    play("clear-ignore", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        let trigger = format!("{{condition: {{type: {CONDITION}}}, verify: Ignore}}");
        stage.policy_on("Enforce", &trigger, SHORT).await;
        stage.inject(&node, Fault::ConditionsStay);
        stage.sicken(&node, "up for 400 days").await;
        let run = stage.run_in(&node, Step::Succeeded).await;
        assert_eq!((said(&run).0.as_str(), stage.boots(&node)), ("Healed", 1));
        stage.finish().await;
    });
}

#[test]
fn a_trigger_has_to_be_clear_for_as_long_as_the_policy_says() {
    play("clear-for", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        let trigger = format!("{{condition: {{type: {CONDITION}}}, clearFor: 10s}}");
        stage.policy_on("Enforce", &trigger, SHORT).await;
        stage.sicken(&node, "deadlock").await;
        stage
            .run_when(&node, "a trigger that has cleared", |status| {
                let said = status.conditions.iter().find(|c| c.type_ == "Succeeded");
                said.is_some_and(|said| said.message.contains("not yet for clearFor"))
            })
            .await;
        // It comes back for a moment: the time counts from the last time that it cleared.
        stage.sicken(&node, "deadlock again").await;
        stage.cure(&node).await;
        let run = stage.run_in(&node, Step::Succeeded).await;
        let events = stage.cluster().fleet.truth_of_pool(stage.pool);
        let cleared = events.iter().rfind(|event| event.event == EventKind::Condition).unwrap();
        assert!(cleared.detail.contains("=False"), "{cleared}");
        let steps = run.status.unwrap().steps;
        let given_back = steps.iter().find(|step| step.name == "Uncordoning").unwrap();
        let clear_for = given_back.start_time.duration_since(cleared.t);
        assert!(clear_for.as_millis() >= 3900, "clear for {clear_for}");
        stage.finish().await;
    });
}

#[test]
fn a_machine_without_a_word_about_its_trigger_is_held() {
    // Whoever writes conditions repeats them every minute, otherwise.
    let condition_interval = Duration::from_secs(3600);
    let fleet = FleetOptions { condition_interval, ..FleetOptions::default() };
    let silent = ClusterOptions { fleet, ..ClusterOptions::default() };
    alone("clear-silent", 1, silent, |stage| async move {
        let node = stage.nodes[0].clone();
        stage.policy("Enforce", &format!("{IMPATIENT}}}")).await;
        stage.inject(&node, Fault::ConditionsStay);
        stage.sicken(&node, "deadlock").await;
        let run = stage
            .run_when(&node, "an end of the verification", |status| {
                status.step == StepName::Known(Step::Held)
            })
            .await;
        assert_eq!(said(&run).0, "VerificationUnknown");
        assert!(stage.is_cordoned(&node).await);
        stage.finish().await;
    });
}
