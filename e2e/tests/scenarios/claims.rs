//! Other controllers that are taking a node down: it is left to them (SAFE-7).

use rerail_core::step::Step;
use rerail_fleet::Fault;

use crate::{
    shared::{play, said},
    workloads::PATIENT,
};

const KARPENTER: &str = "karpenter.sh/disrupted";
const KURED: &str = "weave.works/kured-reboot-in-progress";

#[test]
fn a_node_that_another_controller_takes_down_is_left_to_it() {
    play("claims", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        let taints = ["ToBeDeletedByClusterAutoscaler", KARPENTER, "karpenter.sh/disruption"];
        for taint in taints {
            stage.taint(&node, &format!("{taint}=1700000000:NoSchedule"));
        }
        stage.annotate(&node, KURED, Some("2026-01-01T00:00:00Z")).await;
        stage.guard(&node).await;
        stage.policy("Enforce", PATIENT).await;
        stage.sicken(&node, "deadlock").await;
        // The first mark is named; the node is let alone until the last one has gone.
        for taint in taints {
            let says = format!("taint {taint}");
            let named = stage
                .policy_when(&says, |status| {
                    status.waiting.iter().any(|waiting| waiting.message.ends_with(&says))
                })
                .await;
            assert_eq!(named.waiting[0].reason, "ClaimedByOther");
            stage.taint(&node, &format!("{taint}-"));
        }
        stage
            .policy_when(KURED, |status| status.waiting.iter().any(|w| w.message.ends_with(KURED)))
            .await;
        stage.is_untouched(&node).await;
        assert!(!stage.is_cordoned(&node).await);
        stage.annotate(&node, KURED, None).await;
        stage.blocked(&node).await;
        // In mid-drain.
        stage.taint(&node, &format!("{KARPENTER}:NoSchedule"));
        let (reason, message) = said(&stage.run_in(&node, Step::Cancelled).await);
        assert_eq!(reason, "ClaimedByOther");
        assert!(message.ends_with(KARPENTER), "{message}");
        stage.is_given_back(&node, "Cancelled", "ClaimedByOther").await;
        assert!(stage.is_tainted(&node, KARPENTER).await && stage.guarded().await.is_some());
        stage.waiting(&node, "ClaimedByOther").await;
        assert_eq!(stage.boots(&node), 0);
        stage.finish().await;
    });
}

#[test]
fn a_node_that_another_controller_claims_during_its_reboot_is_finished_and_keeps_that_mark() {
    play("claims-late", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        stage.policy("Enforce", PATIENT).await;
        stage.inject(&node, Fault::SlowBoot { factor: 2 });
        stage.sicken(&node, "deadlock").await;
        stage.goes_down(&node).await;
        stage.taint(&node, &format!("{KARPENTER}:NoSchedule"));
        stage.run_in(&node, Step::Succeeded).await;
        stage.is_given_back(&node, "Succeeded", "Healed").await;
        assert!(stage.is_tainted(&node, KARPENTER).await);
        stage.finish().await;
    });
}
