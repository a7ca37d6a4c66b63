//! A rack after the other: domains that are opened, closed and reserved (planner.md, Domains).

use rerail_core::step::Step;
use rerail_fleet::{Fault, truth::Limits};

use crate::{
    queue::{Admission, QUICK, on_racks, wide},
    shared::Stage,
};

fn racks(admissions: &[Admission]) -> Vec<&str> {
    let mut racks: Vec<_> = admissions.iter().map(|admission| admission.domain.as_str()).collect();
    racks.dedup();
    racks
}

fn limits(out: usize) -> Limits {
    Limits { out: Some(out), open_domains: Some(1), in_order: true, ..Limits::default() }
}

#[test]
fn a_whole_rack_is_healed_at_once_and_one_rack_after_the_other() {
    on_racks("racks", 3, 3, wide(1), |stage| async move {
        for node in &stage.nodes {
            stage.sicken(node, "[P6] task umount blocked").await;
        }
        stage.budgeted("{maxUnavailable: \"34%\"}", QUICK).await;
        stage.all_healed(&stage.nodes).await;
        let admissions = stage.admissions().await;
        assert_eq!(racks(&admissions).len(), 3, "{admissions:?}");
        assert_eq!(stage.most_out(), 3, "a rack at a time, not a node");
        stage.finish_within(limits(3)).await;
    });
}

#[test]
fn an_urgent_node_elsewhere_closes_the_rack() {
    on_racks("urgent-rack", 2, 5, wide(1), |stage| async move {
        let (here, elsewhere) = stage.nodes.split_at(5);
        let slow = &here[..2];
        for node in here {
            stage.sicken(node, "[P6] task umount blocked").await;
        }
        for node in slow {
            stage.inject(node, Fault::SlowBoot { factor: 300 });
        }
        stage.budgeted("{maxUnavailable: 2}", QUICK).await;
        for node in slow {
            stage.goes_down(node).await;
        }
        stage.sicken(&elsewhere[0], "[P2] disk is failing").await;
        stage.all_healed(&stage.nodes[..6]).await;
        let admissions = stage.admissions().await;
        let place = |node: &str| admissions.iter().position(|one| one.node == node).unwrap();
        assert_eq!(place(&elsewhere[0]), 2, "after the two that were under way: {admissions:?}");
        let (urgent, begun) = (&admissions[2], &admissions[..2]);
        let ended = begun.iter().filter_map(|one| one.ended).max().unwrap();
        assert!(urgent.admitted >= ended, "the rack finished what it had begun");
        assert_eq!(racks(&admissions).len(), 3, "{admissions:?}");
        stage.finish_within(limits(2)).await;
    });
}

/// Of the oldest candidate's rack one is always under way, so the other rack waits until all of it is
/// healed, although its candidates have waited as long.
#[test]
fn equally_urgent_racks_do_not_take_turns() {
    on_racks("turns", 2, 4, wide(1), |stage| async move {
        let (one, other) = stage.nodes.split_at(4);
        for (a, b) in one.iter().zip(other) {
            stage.sicken(a, "[P6] task umount blocked").await;
            stage.sicken(b, "[P6] task umount blocked").await;
        }
        // One of the first rack is under way for as long as the others of it need.
        stage.guard(&one[1]).await;
        stage.budgeted("{maxUnavailable: 2}", QUICK).await;
        stage.all_healed([&one[0], &one[2], &one[3]]).await;
        stage.release().await;
        stage.all_healed(&stage.nodes).await;
        let admissions = stage.admissions().await;
        assert_eq!(racks(&admissions).len(), 2, "{admissions:?}");
        stage.finish_within(limits(2)).await;
    });
}

#[test]
fn a_rack_whose_label_changes_in_mid_run_stays_the_rack_that_was_begun() {
    on_racks("relabelled", 2, 2, wide(1), |stage| async move {
        let rack = "node-restriction.kubernetes.io/rack";
        let (moved, there) = (stage.nodes[0].clone(), stage.nodes[2].clone());
        stage.budgeted("{maxUnavailable: 2}", QUICK).await;
        stage.inject(&moved, Fault::SlowBoot { factor: 300 });
        stage.sicken(&moved, "[P6] task umount blocked").await;
        let before = stage.run_in(&moved, Step::Rebooting).await.status.unwrap().failure_domain;
        stage.label(&moved, rack, Some("rack-b")).await;
        stage.sicken(&there, "[P6] task umount blocked").await;
        let waits = waits_for_the_rack(&stage, &there).await;
        assert!(waits.contains("rack-a"), "{waits}");
        stage.all_healed([&moved, &there]).await;
        let admissions = stage.admissions().await;
        assert!(admissions[1].admitted >= admissions[0].ended.unwrap(), "{admissions:?}");
        let run = stage.run_in(&moved, Step::Succeeded).await;
        assert_eq!(run.status.unwrap().failure_domain, before);
        // Without any label it is its own domain, and of those one at a time.
        for key in [rack, "topology.kubernetes.io/zone"] {
            stage.label(&moved, key, None).await;
        }
        stage.sicken(&moved, "[P6] task umount blocked").await;
        let again = stage.admissions_reach(3).await;
        assert!(again[2].domain.contains(&moved), "{again:?}");
        stage.all_healed([&moved]).await;
        stage.finish_within(Limits { out: Some(1), ..Limits::default() }).await;
    });
}

/// The words of a node that waits because another rack is open.
async fn waits_for_the_rack(stage: &Stage, node: &str) -> String {
    stage.waiting(node, "OtherDomainsOpen").await.message
}
