//! The healthy path: one sick node, all the way.

use rerail_core::step::Step;

use crate::shared::{SHORT, play, said};

#[test]
fn a_sick_node_is_cordoned_drained_rebooted_verified_and_uncordoned() {
    play("healthy", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        let before = stage.node(&node).await.status.unwrap().node_info.unwrap().boot_id;
        stage.policy("Enforce", SHORT).await;
        stage.sicken(&node, "[P6] task blocked for more than 120 seconds").await;
        let run = stage.run_in(&node, Step::Succeeded).await;
        assert_eq!(said(&run).0, "Healed");
        let status = run.status.unwrap();
        assert_eq!((status.priority, status.attempt), (Some(6), 1));
        let names: Vec<_> = status.steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "Cordoning",
                "Diagnosing",
                "Draining",
                "Rebooting",
                "Verifying",
                "Uncordoning",
                "Succeeded"
            ]
        );
        let after = stage.node(&node).await;
        assert_ne!(after.status.unwrap().node_info.unwrap().boot_id, before);
        assert!(!stage.is_cordoned(&node).await);
        stage.finish().await;
    });
}
