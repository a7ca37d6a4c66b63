//! The labels by which people keep the operator away from a node.

use rerail_api::{names, remediation::StepName};
use rerail_core::step::Step;
use rerail_e2e::{PATIENCE, wait_for};

use crate::{
    hands::quiet,
    shared::{SHORT, play, said},
    workloads::PATIENT,
};

#[test]
fn a_hold_in_mid_drain_stops_it_and_its_end_undoes_the_run() {
    play("hold-drain", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        stage.blocked_drain(&node, PATIENT).await;
        stage.label(&node, names::HOLD, Some("")).await;
        let run = stage.run_in(&node, Step::Held).await;
        assert_eq!(said(&run).0, "HoldLabel");
        stage.release().await;
        quiet().await;
        assert!(stage.guarded().await.is_some(), "evicted during the hold");
        let marks = stage.marks(&node).await;
        assert_eq!((marks.cordoned, marks.owner), (true, run.metadata.uid));
        stage.label(&node, names::HOLD, None).await;
        let run = stage.run_in(&node, Step::Cancelled).await;
        assert_eq!(said(&run).0, "HoldLifted");
        stage.is_given_back(&node, "Cancelled", "HoldLifted").await;
        assert!(stage.guarded().await.is_some());
        assert_eq!(stage.boots(&node), 0);
        stage.finish().await;
    });
}

#[test]
fn a_held_node_is_not_touched_until_the_label_goes() {
    play("hold-before", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        stage.label(&node, names::HOLD, Some("disk-is-being-looked-at")).await;
        stage.policy("Enforce", SHORT).await;
        stage.sicken(&node, "deadlock").await;
        stage.waiting(&node, "HoldLabel").await;
        stage.is_untouched(&node).await;
        assert!(!stage.is_cordoned(&node).await);
        stage.label(&node, names::HOLD, None).await;
        stage.run_in(&node, Step::Succeeded).await;
        stage.finish().await;
    });
}

#[test]
fn a_hold_after_the_reboot_keeps_the_cordon_and_its_end_verifies_anew() {
    play("hold-after", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        let rest = "
  remedies: [{reboot: {method: Command}, timeout: 60s}]
  verify: {ready: 10s, timeout: 60s}";
        stage.policy("Enforce", rest).await;
        stage.sicken(&node, "deadlock").await;
        stage.run_in(&node, Step::Verifying).await;
        stage.label(&node, names::HOLD, Some("")).await;
        let run = stage.run_in(&node, Step::Held).await;
        assert_eq!(said(&run).0, "HoldLabel");
        quiet().await;
        assert!(stage.is_cordoned(&node).await);
        stage.label(&node, names::HOLD, None).await;
        stage.run_in(&node, Step::Verifying).await;
        // It verifies anew: the condition's writer has to say once more that it is clear.
        let reported = || async {
            stage.cure(&node).await;
            let run = stage.cluster().runs_of(&node).await.unwrap().pop().unwrap();
            let status = run.status.unwrap();
            match status.step {
                StepName::Known(Step::Succeeded) => Ok(()),
                _ => Err(status.conditions.into_iter().find(|c| c.type_ == "Succeeded")),
            }
        };
        wait_for("the end of the run", PATIENCE, reported).await.unwrap();
        assert!(!stage.is_cordoned(&node).await);
        assert_eq!(stage.boots(&node), 1);
        stage.finish().await;
    });
}

#[test]
fn an_ignored_node_is_never_selected() {
    play("hold-ignore", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        stage.label(&node, names::IGNORE, Some("")).await;
        stage.policy("Enforce", SHORT).await;
        stage.sicken(&node, "deadlock").await;
        stage.waiting(&node, "Ignored").await;
        stage.is_untouched(&node).await;
        assert!(!stage.is_cordoned(&node).await);
        stage.finish().await;
    });
}

#[test]
fn the_ignore_label_does_not_touch_a_run_under_way() {
    play("hold-ignored-late", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        stage.blocked_drain(&node, PATIENT).await;
        stage.label(&node, names::IGNORE, Some("")).await;
        quiet().await;
        stage.run_in(&node, Step::Draining).await;
        stage.release().await;
        let run = stage.run_in(&node, Step::Succeeded).await;
        assert_eq!(said(&run).0, "Healed");
        stage.finish().await;
    });
}
