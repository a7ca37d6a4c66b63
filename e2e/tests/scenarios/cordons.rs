//! A cordon has an owner, and a person's is never lifted (SAFE-6, protocol R9).

use rerail_core::step::Step;
use rerail_e2e::ClusterOptions;
use rerail_fleet::Fault;

use crate::{
    shared::{SHORT, alone, play, said},
    workloads::PATIENT,
};

#[test]
fn a_node_that_a_person_has_cordoned_is_left_alone() {
    play("cordon-person", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        stage.cordon(&node).await;
        stage.policy("Enforce", SHORT).await;
        stage.sicken(&node, "deadlock").await;
        stage.waiting(&node, "CordonedByOther").await;
        stage.is_untouched(&node).await;
        assert!(stage.is_cordoned(&node).await);
        // The technician is done, and the node is still sick.
        stage.uncordon(&node).await;
        stage.run_in(&node, Step::Succeeded).await;
        stage.finish().await;
    });
}

#[test]
fn a_node_that_a_person_uncordons_in_mid_drain_is_never_rebooted() {
    play("cordon-lifted", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        stage.blocked_drain(&node, PATIENT).await;
        stage.uncordon(&node).await;
        let run = stage.run_in(&node, Step::Cancelled).await;
        assert_eq!(said(&run).0, "CordonLifted");
        stage.is_given_back(&node, "Cancelled", "CordonLifted").await;
        stage.release().await;
        stage.waiting(&node, "Backoff").await;
        assert!(!stage.is_cordoned(&node).await);
        assert!(stage.guarded().await.is_some());
        assert_eq!(stage.boots(&node), 0);
        stage.finish().await;
    });
}

#[test]
fn the_cordon_of_a_person_who_uncordoned_and_cordoned_again_stays() {
    play("cordon-again", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        stage.blocked_drain(&node, PATIENT).await;
        stage.uncordon(&node).await;
        stage.cordon(&node).await;
        let run = stage.run_in(&node, Step::Cancelled).await;
        // It depends on how much of it the operator saw.
        let (reason, _) = said(&run);
        assert!(["CordonLifted", "CordonedByOther"].contains(&reason.as_str()), "{reason}");
        let marks = stage.marks(&node).await;
        assert_eq!((marks.cordoned, &marks.owner, &marks.note), (true, &None, &None));
        stage.waiting(&node, "CordonedByOther").await;
        assert!(stage.is_cordoned(&node).await);
        assert_eq!(stage.boots(&node), 0);
        stage.finish().await;
    });
}

/// After the point of no return the machine is verified, whoever lifts its cordon, and nothing but our
/// marks is taken off; before it comes down, and once it is held, a lifted cordon is the end.
#[test]
fn a_cordon_that_a_person_lifts_after_the_reboot_began_is_not_set_again() {
    play("cordon-steps", 5, |stage| async move {
        let nodes = stage.nodes.clone();
        let rest = "
  remedies: [{reboot: {method: Command}, timeout: 60s}]
  verify: {ready: 3s, timeout: 60s}
  attempts: {max: 3, per: 1h, backoff: 1h}";
        stage.policy("Enforce", rest).await;
        // Rebooting.
        stage.sicken(&nodes[0], "deadlock").await;
        stage.goes_down(&nodes[0]).await;
        stage.uncordon(&nodes[0]).await;
        stage.run_in(&nodes[0], Step::Succeeded).await;
        stage.is_given_back(&nodes[0], "Succeeded", "Healed").await;
        // Verifying; and the cordon that is there then is a person's.
        stage.sicken(&nodes[1], "deadlock").await;
        stage.run_in(&nodes[1], Step::Verifying).await;
        stage.uncordon(&nodes[1]).await;
        stage.cordon(&nodes[1]).await;
        stage.run_in(&nodes[1], Step::Succeeded).await;
        let marks = stage.marks(&nodes[1]).await;
        assert_eq!((marks.cordoned, &marks.owner, &marks.note), (true, &None, &None));
        // Withdrawing, and Held.
        for (node, step) in [(&nodes[2], Step::Withdrawing), (&nodes[3], Step::Held)] {
            stage.inject(node, Fault::RebootCommandFails);
            stage.sicken(node, "deadlock").await;
            stage.run_in(node, Step::Withdrawing).await;
            if step == Step::Held {
                stage.reports_until(node, step).await;
            }
            stage.uncordon(node).await;
            let run = stage.reports_until(node, Step::Cancelled).await;
            assert_eq!(said(&run).0, "CordonLifted");
            stage.is_given_back(node, "Cancelled", "CordonLifted").await;
        }
        // Rebooting, before the Pod has started: it finds a node that is not ours any more.
        stage.inject(&nodes[4], Fault::RebootPodStartsLate);
        stage.sicken(&nodes[4], "deadlock").await;
        stage
            .run_when(&nodes[4], "a Pod that has not started", |status| {
                status.conditions.iter().any(|c| c.message.contains("Pod has not started"))
            })
            .await;
        stage.uncordon(&nodes[4]).await;
        let run = stage.reports_until(&nodes[4], Step::Cancelled).await;
        let steps = run.status.as_ref().unwrap().steps.iter();
        let refused = steps.filter(|step| step.reason == "RebootRefused").count();
        assert_eq!((refused, said(&run).0.as_str()), (1, "CordonLifted"));
        let boots: Vec<_> = nodes.iter().map(|node| stage.boots(node)).collect();
        assert_eq!(boots, [1, 1, 0, 0, 0]);
        stage.finish().await;
    });
}

#[test]
fn a_cordon_that_a_person_takes_over_unseen_stays() {
    alone("cordon-unseen", 1, ClusterOptions::default(), |stage| async move {
        let node = stage.nodes[0].clone();
        let run = stage.blocked_drain(&node, PATIENT).await;
        let (plane, operator) = (&stage.cluster().plane, stage.shared.operator.name());
        plane.pause_component(operator).unwrap();
        stage.uncordon(&node).await;
        stage.cordon(&node).await;
        // Nothing but `managedFields` tells now that the cordon is not ours.
        let marks = stage.marks(&node).await;
        assert_eq!((marks.cordoned, marks.owner), (true, run.metadata.uid));
        plane.resume_component(operator).unwrap();
        let run = stage.run_in(&node, Step::Cancelled).await;
        assert_eq!(said(&run).0, "CordonedByOther");
        let marks = stage.marks(&node).await;
        assert_eq!((marks.cordoned, &marks.owner, &marks.note), (true, &None, &None));
        assert_eq!(stage.boots(&node), 0);
        stage.finish().await;
    });
}
