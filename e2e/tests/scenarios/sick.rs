//! Machines that boot and are not healthy: held, cordoned, visible, with the reason a person needs.

use std::time::Duration;

use rerail_core::step::Step;
use rerail_e2e::ClusterOptions;
use rerail_fleet::{Fault, FleetOptions};

use crate::shared::{Stage, alone, said, talkative};

/// Boots take no time.
fn quick() -> ClusterOptions {
    let boot_time = Duration::from_millis(300)..=Duration::from_millis(800);
    ClusterOptions {
        fleet: FleetOptions { boot_time, ..talkative().fleet },
        ..ClusterOptions::default()
    }
}

/// A machine that comes back, loses itself again, and so on: it depends on the moment which of these
/// is the reason.
async fn is_held_as_unsteady(stage: &Stage, node: &str) {
    let run = stage.run_in(node, Step::Held).await;
    let (reason, message) = said(&run);
    let expected = match reason.as_str() {
        "Unreachable" => "the machine booted, and the node is not Ready",
        "VerificationUnknown" => "not yet for verify.ready",
        "NotCured" => "trigger is true on new evidence",
        other => panic!("{other}: {message}"),
    };
    stage.is_held(node, &reason, expected).await;
    assert_eq!(run.status.unwrap().attempt, 1);
}

#[test]
fn a_machine_that_is_sick_after_its_boot_is_held_with_the_reason_a_person_needs() {
    alone("sick", 6, quick(), |stage| async move {
        let nodes = stage.nodes.clone();
        let rest = "
  remedies: [{reboot: {method: Command}, timeout: 60s}]
  verify: {ready: 3s, timeout: 20s}
  attempts: {max: 3, per: 1h, backoff: 1h}";
        stage.policy("Enforce", rest).await;
        // What passes in time is no reason to hold a machine, nor to reboot it again.
        stage.inject(&nodes[0], Fault::BootsTwice);
        stage.sicken(&nodes[0], "deadlock").await;
        let run = stage.run_in(&nodes[0], Step::Succeeded).await;
        assert_eq!((run.status.unwrap().attempt, stage.boots(&nodes[0])), (1, 2));
        // It never becomes Ready.
        stage.inject(&nodes[1], Fault::StaysNotReady);
        stage.sicken(&nodes[1], "deadlock").await;
        stage.is_held(&nodes[1], "Unreachable", "the node is not Ready: KubeletNotReady").await;
        // No Pod starts there.
        stage.inject(&nodes[2], Fault::PodsDoNotStart);
        stage.sicken(&nodes[2], "deadlock").await;
        stage.is_held(&nodes[2], "VerificationUnknown", "the probe Pod has not started").await;
        // Its Ready flaps for minutes.
        stage.inject(&nodes[3], Fault::Flaps { times: 200 });
        stage.sicken(&nodes[3], "deadlock").await;
        is_held_as_unsteady(&stage, &nodes[3]).await;
        // It boots again and again.
        stage.machine(&nodes[4]).inject_lasting(Fault::BootsTwice).unwrap();
        stage.sicken(&nodes[4], "deadlock").await;
        is_held_as_unsteady(&stage, &nodes[4]).await;
        // So does the one that was not Ready, and it is Ready for a moment each time.
        stage.machine(&nodes[1]).inject_lasting(Fault::BootsTwice).unwrap();
        stage.machine(&nodes[1]).spontaneous_reboot().await.unwrap();
        stage.policy_when("four are held", |s| (s.counts.held, s.counts.active) == (4, 0)).await;
        // Whatever they do now, they neither cost anything nor take a place.
        let boots = [1, 4].map(|index| stage.boots(&nodes[index]));
        stage.rests(&stage.shared.operator).await;
        for (index, before) in [1, 4].into_iter().zip(boots) {
            assert!(stage.boots(&nodes[index]) > before + 1, "its loop has ended");
        }
        for node in &nodes[1..5] {
            stage.run_in(node, Step::Held).await;
        }
        // The place is free for a machine whose Ready flaps for a moment only.
        stage.inject(&nodes[5], Fault::Flaps { times: 1 });
        stage.sicken(&nodes[5], "deadlock").await;
        stage.run_in(&nodes[5], Step::Succeeded).await;
        // The first of them is repaired: it is given back by itself.
        stage.machine(&nodes[1]).clear_faults().await.unwrap();
        stage.run_in(&nodes[1], Step::Succeeded).await;
        stage.is_given_back(&nodes[1], "Succeeded", "Healed").await;
        stage.finish_with_machines_left_behind().await;
    });
}
