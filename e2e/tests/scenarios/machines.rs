//! Machines that do not do what a reboot asks of them: nobody is rebooted twice, nothing is given back
//! in doubt, and what comes late is taken up.

use std::time::Duration;

use rerail_controlplane::Options;
use rerail_core::step::Step;
use rerail_e2e::{ClusterOptions, PATIENCE, wait_for};
use rerail_fleet::{EventKind, Fault, FleetOptions, Pool};

use crate::shared::{ANOTHER, SHORT, Stage, alone, by_itself, on_its_own, play, said, talkative};

/// Longer than a vanished Pod may still act (70 s), and patience on top.
const UNTIL_CERTAIN: Duration = Duration::from_secs(160);

/// Waits as long as it takes until nothing of a withdrawn attempt can act any more.
async fn certain(stage: &Stage, node: &str, step: Step, attempt: u32) {
    let look = || async {
        let run = stage.cluster().runs_of(node).await.map_err(|error| error.to_string())?.pop();
        let status = run.and_then(|run| run.status).ok_or("no run")?;
        let now = (status.step.clone(), status.attempt);
        let there = now == (rerail_api::remediation::StepName::Known(step), attempt);
        if there { Ok(()) } else { Err(format!("{now:?}")) }
    };
    wait_for(&format!("{node}: {step}"), UNTIL_CERTAIN, look).await.unwrap();
}

/// What the truth log says of this kind on a machine.
fn told(stage: &Stage, kind: EventKind) -> Vec<String> {
    let events = stage.cluster().fleet.truth_of_pool(stage.pool);
    events.iter().filter(|event| event.event == kind).map(|event| event.detail.clone()).collect()
}

/// The command returns, and something keeps the machine from going down, for a long time.
async fn hangs(stage: Stage) {
    let (node, other) = (stage.nodes[0].clone(), stage.nodes[1].clone());
    stage.policy("Enforce", &SHORT.replace("timeout: 60s}]", "timeout: 5s}]")).await;
    stage.inject(&node, Fault::RebootHangs);
    stage.sicken(&node, "deadlock").await;
    let run = stage.run_in(&node, Step::Withdrawing).await;
    assert_eq!(run.status.unwrap().steps.pop().unwrap().reason, "RebootTimeout");
    stage.sicken(&other, "deadlock").await;
    stage.waiting(&other, ANOTHER).await;
    // Reports of the kubelet that come meanwhile prove nothing.
    certain(&stage, &node, Step::Held, 1).await;
    stage.is_held(&node, "NoBoot", "the reboot was started, and the node still reports").await;
    stage.run_in(&other, Step::Succeeded).await;
    stage.policy_when("one is held", |status| status.counts.held == 1).await;
    stage.rests(&stage.shared.operator).await;
    assert_eq!(stage.boots(&node), 0);
    stage.machine(&node).let_go_down().await.unwrap();
    let run = stage.run_in(&node, Step::Succeeded).await;
    assert_eq!((run.status.unwrap().attempt, stage.boots(&node)), (1, 1));
    stage.is_given_back(&node, "Succeeded", "Healed").await;
    stage.finish().await;
}

/// The Pod's container starts only after the run was cancelled.
async fn starts_late(stage: Stage) {
    let node = stage.nodes[0].clone();
    stage.policy("Enforce", SHORT).await;
    stage.inject(&node, Fault::RebootPodStartsLate);
    stage.sicken(&node, "deadlock").await;
    let says = |words: &'static str| {
        stage.run_when(&node, words, move |status| {
            status.conditions.iter().any(|c| c.type_ == "Succeeded" && c.message.contains(words))
        })
    };
    let run = says("the reboot Pod has not started").await;
    stage.cancel(&run).await;
    says("the kubelet has not stopped the reboot Pod yet").await;
    assert_eq!(told(&stage, EventKind::Refused), Vec::<String>::new());
    stage.machine(&node).clear_faults().await.unwrap();
    certain(&stage, &node, Step::Cancelled, 1).await;
    let refused = told(&stage, EventKind::Refused);
    assert!(
        refused.len() == 1 && refused[0].contains("has withdrawn its reboot intent"),
        "{refused:?}"
    );
    stage.is_given_back(&node, "Cancelled", "CancelRequested").await;
    assert_eq!(stage.boots(&node), 0);
    stage.finish().await;
}

/// The machine boots, and its kubelet goes on reporting the boot before. The ladder's next remedy is
/// tried, and finds a machine that has booted.
async fn keeps_its_boot_id(stage: Stage) {
    let node = stage.nodes[0].clone();
    let reboot = "{reboot: {method: Command}, timeout: 5s}";
    let rest = format!(
        "
  remedies: [{reboot}, {reboot}]
  verify: {{ready: 1s, timeout: 60s}}"
    );
    stage.policy("Enforce", &rest).await;
    stage.inject(&node, Fault::SameBootId);
    stage.inject(&node, Fault::ConditionsStay);
    stage.sicken(&node, "deadlock").await;
    let machine = stage.machine(&node);
    machine.wait_until("booted", PATIENCE, |view| view.boots == 1 && view.ready).await.unwrap();
    certain(&stage, &node, Step::Withdrawing, 1).await;
    certain(&stage, &node, Step::Withdrawing, 2).await;
    stage.rests(&stage.shared.operator).await;
    let run = stage.run_in(&node, Step::Withdrawing).await;
    assert!(said(&run).1.contains("the machine has booted; awaiting its report"), "{run:?}");
    assert_eq!(stage.boots(&node), 1, "SAFE-1");
    assert!(stage.is_cordoned(&node).await);
    machine.clear_faults().await.unwrap();
    stage.run_in(&node, Step::Verifying).await;
    stage.cured_until_healed(&node).await;
    assert_eq!(stage.boots(&node), 1);
    let memory = stage.marks(&node).await.memory.unwrap();
    assert_eq!(memory["attempts"].as_array().unwrap().len(), 2);
    stage.finish().await;
}

/// Three stories that each wait for more than a minute until they are certain, beside each other.
#[test]
fn reboots_that_hang_or_start_late_or_are_not_reported_are_waited_for_and_boot_nothing_twice() {
    by_itself(async {
        futures::join!(
            on_its_own("reboot-hangs", Pool::new("reboot-hangs", 2, 2), talkative(), hangs),
            on_its_own("reboot-late", Pool::new("reboot-late", 1, 1), talkative(), starts_late),
            on_its_own(
                "reboot-same",
                Pool::new("reboot-same", 1, 1),
                talkative(),
                keeps_its_boot_id
            ),
        );
    });
}

#[test]
fn a_reboot_pod_that_the_kubelet_starts_again_boots_nothing() {
    play("reboot-again", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        stage.policy("Enforce", SHORT).await;
        stage.inject(&node, Fault::PodRunsAgain);
        stage.sicken(&node, "deadlock").await;
        stage.run_in(&node, Step::Succeeded).await;
        let refused = told(&stage, EventKind::Refused);
        assert!(refused.len() == 1 && refused[0].contains("already booted"), "{refused:?}");
        assert_eq!(stage.boots(&node), 1);
        stage.finish().await;
    });
}

/// Nodes whose death is noticed soon.
fn nervous() -> ClusterOptions {
    ClusterOptions {
        plane: Options {
            node_monitor_grace_period: Some(Duration::from_secs(10)),
            ..Options::default()
        },
        fleet: FleetOptions { lease_interval: Duration::from_secs(1), ..talkative().fleet },
        ..ClusterOptions::default()
    }
}

#[test]
fn a_node_that_dies_in_mid_drain_is_held_and_given_back_when_it_has_power_again() {
    alone("dies", 2, nervous(), |stage| async move {
        let (node, other) = (stage.nodes[0].clone(), stage.nodes[1].clone());
        let rest = "
  drain: {timeout: 40s, unmanaged: Delete}
  remedies: [{reboot: {method: Command}, timeout: 60s}]
  verify: {ready: 1s, timeout: 60s}
  attempts: {max: 3, per: 1h, backoff: 1h}";
        stage.blocked_drain(&node, rest).await;
        stage.machine(&node).power_off().await.unwrap();
        stage.sicken(&other, "deadlock").await;
        stage.is_held(&node, "Unreachable", "the node is not Ready").await;
        stage.run_in(&other, Step::Succeeded).await;
        stage.rests(&stage.shared.operator).await;
        stage.machine(&node).power_on().await.unwrap();
        let run = stage.run_in(&node, Step::Failed).await;
        assert_eq!(said(&run).0, "DrainTimeout");
        stage.is_given_back(&node, "Failed", "DrainTimeout").await;
        let memory = stage.marks(&node).await.memory.unwrap();
        assert_eq!(memory["attempts"].as_array().unwrap().len(), 0);
        assert_eq!(told(&stage, EventKind::Act).len(), 1, "only the other machine was rebooted");
        stage.finish().await;
    });
}
