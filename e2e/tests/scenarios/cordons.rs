//! A cordon has an owner, and a person's is never lifted (SAFE-6, protocol R9).

use rerail_core::step::Step;
use rerail_e2e::ClusterOptions;

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
