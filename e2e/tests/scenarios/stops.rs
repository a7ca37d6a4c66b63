//! The leader is stopped (SIGSTOP) for longer than its lease lasts, and goes on: a machine that was
//! suspended, a disk that hung, a virtual machine that was moved (hazard H03). It must do nothing any
//! more; the standby has long led. Forty-five times with a lease of 3 s, and five times with the
//! default of 15 s.

use std::time::Duration;

use rerail_e2e::{Election, PATIENCE};
use rerail_fleet::{Pool, truth::Limits};

use crate::{
    pair::{Pair, Pairing},
    queue::{QUICK, wide},
    shared::by_itself,
};

/// How often in each cluster.
const SHORT: u64 = 15;
const LONG: u64 = 5;

/// The stops of one cluster. They come at moments that are spread over the run of a node: from its
/// admission to its end it takes about two seconds.
async fn stopped(pool: &'static str, times: u64, seed: u64, election: Election) {
    let pairing = Pairing { election, ..Pairing::of(wide(1), Pool::new(pool, 6, 2)) };
    let pair = Pair::start(pool, pairing).await;
    let (stage, plane) = (&pair.stage, &pair.cluster().plane);
    let rest = QUICK.replace("max: 3", "max: 32");
    stage.budgeted("{maxUnavailable: 2}", &rest).await;
    for round in 0..times {
        let leader = pair.leader().await;
        let standby = pair.other(leader);
        let place = usize::try_from(round).unwrap() * 2 % stage.nodes.len();
        for node in &stage.nodes[place..place + 2] {
            stage.sicken(node, &format!("[P6] deadlock {round}")).await;
        }
        let moment = (round * 167 + seed * 59) % 2500;
        tokio::time::sleep(Duration::from_millis(moment)).await;
        leader.pause(plane).unwrap();
        pair.leads(standby, PATIENCE).await;
        // While the next one adopts what is under way, or long after.
        tokio::time::sleep(Duration::from_millis(round % 4 * 500)).await;
        leader.resume(plane).unwrap();
        pair.gives_up(leader).await;
        stage.everything_is_healed().await;
        assert_eq!(pair.stale(), Vec::<String>::new(), "stop {round} after {moment} ms");
    }
    let limits = Limits { out: Some(2), open_domains: Some(1), ..Limits::default() };
    pair.finish(limits).await;
    eprintln!("{pool}: {times} stops, no effect of a stopped leader");
}

#[test]
fn a_leader_that_was_stopped_past_its_lease_does_nothing_any_more() {
    by_itself(async {
        futures::join!(
            stopped("stop-one", SHORT, 1, Election::SHORT),
            stopped("stop-two", SHORT, 2, Election::SHORT),
            stopped("stop-three", SHORT, 3, Election::SHORT),
            stopped("stop-long", LONG, 4, Election::DEFAULT),
        );
    });
}
