//! Most of the cluster is not Ready at once: nobody starts anything (planner.md, Meltdown; H12).

use std::time::Duration;

use futures::{StreamExt, stream};
use rerail_controlplane::Options;
use rerail_e2e::ClusterOptions;
use rerail_fleet::truth::Limits;

use crate::{
    hands::quiet,
    queue::{QUICK, fast, on_racks, wide},
    shared::Stage,
};

const NODES: usize = 300;

/// How many machines are switched at a time.
const AT_ONCE: usize = 50;

fn patient() -> ClusterOptions {
    let plane =
        Options { node_monitor_grace_period: Some(Duration::from_secs(20)), ..Options::default() };
    ClusterOptions { plane, fleet: fast(), ..wide(3) }
}

/// The network between all kubelets and the API server fails, or comes back.
async fn power(stage: &Stage, nodes: &[String], on: bool) {
    let switched = stream::iter(nodes).map(|node| async move {
        let machine = stage.machine(node);
        if on { machine.power_on().await } else { machine.power_off().await }
    });
    let switched: Vec<_> = switched.buffer_unordered(AT_ONCE).collect().await;
    switched.into_iter().for_each(|switched| switched.unwrap());
}

#[test]
fn three_hundred_nodes_that_are_not_ready_start_nothing_and_afterwards_work_goes_on() {
    on_racks("meltdown", 10, NODES / 10, patient(), |stage| async move {
        let (sick, lost) = stage.nodes.split_at(3);
        stage.budgeted("{maxUnavailable: 50%}", QUICK).await;
        power(&stage, lost, false).await;
        stage.is_not_ready(lost.last().unwrap()).await;
        for node in sick {
            stage.sicken(node, "[P0] deadlock").await;
        }
        // They are down, too, as far as anybody can tell.
        for node in &lost[..5] {
            stage.sicken(node, "[P0] deadlock").await;
        }
        for node in sick {
            stage.waiting(node, "Meltdown").await;
        }
        quiet().await;
        assert_eq!(stage.admissions().await.len(), 0, "SAFE-5");
        power(&stage, lost, true).await;
        stage.all_healed(sick).await;
        stage.finish_within(Limits { open_domains: Some(3), ..Limits::default() }).await;
    });
}
