//! The leader goes, in one way or another, and the standby carries on.

use std::time::Duration;

use rerail_core::step::Step;
use rerail_e2e::{Election, PATIENCE};
use rerail_fleet::{Pool, truth::Limits};
use tokio::time::Instant;

use crate::{
    pair::{Pair, Pairing, pair},
    queue::{QUICK, wide},
    workloads::PATIENT,
};

/// From the end of the leader to the first act of the next one, with the default times: the Lease is waited
/// out, and on a busy machine once more. How long it takes on a quiet one is in docs/benchmarks.md.
const WITHIN: Duration = Duration::from_secs(40);

/// The same after a leader that has said goodbye: its Lease is not waited out.
const AT_ONCE: Duration = Duration::from_secs(12);

fn limits() -> Limits {
    Limits { out: Some(1), open_domains: Some(1), ..Limits::default() }
}

#[test]
fn a_standby_takes_over_when_the_lease_of_a_killed_leader_is_over_and_at_once_after_a_goodbye() {
    let election = Election::DEFAULT;
    let pairing = Pairing { election, ..Pairing::of(wide(1), Pool::new("standby", 3, 1)) };
    pair("standby", pairing, |pair| async move {
        let (stage, plane) = (&pair.stage, &pair.cluster().plane);
        let node = &stage.nodes[0];
        let before = stage.blocked_drain(node, PATIENT).await;
        let first = pair.leader().await;
        let next = pair.other(first);
        first.kill(plane).unwrap();
        let killed = Instant::now();
        // It leads when it acts: the run in progress is its own.
        let term = before.status.unwrap().leader;
        stage.run_when(node, "it is adopted", |status| status.leader != term).await;
        let took = killed.elapsed();
        assert!(took < WITHIN, "{took:?}");
        eprintln!("failover after a kill, 15/10/5 s: {:.1} s", took.as_secs_f64());
        pair.leads(next, Duration::ZERO).await;

        pair.back(first).await;
        let term = stage.run_in(node, Step::Draining).await.status.unwrap().leader;
        next.terminate(plane).unwrap();
        let ended = Instant::now();
        stage.run_when(node, "it is adopted", |status| status.leader != term).await;
        let took = ended.elapsed();
        assert!(took < AT_ONCE, "{took:?}");
        eprintln!("failover after SIGTERM, 15/10/5 s: {:.1} s", took.as_secs_f64());
        pair.leads(first, Duration::ZERO).await;
        stage.release().await;
        let run = stage.run_in(node, Step::Succeeded).await;
        assert_eq!((run.status.unwrap().attempt, stage.boots(node)), (1, 1));
        pair.finish(limits()).await;
    });
}

/// Numbers that look random, and are the same in every run.
struct Drawn(u64);

impl Drawn {
    fn below(&mut self, limit: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// Kills of the leader, each at a moment of its own while nodes are being healed.
const KILLS: u64 = 20;

/// Work goes on all the time: two nodes that are well get sick. One that is being verified must not:
/// its run would be held.
async fn keep_busy(pair: &Pair, round: u64) {
    let busy = pair.stage.not_well().await;
    let well = pair.stage.nodes.iter().filter(|node| !busy.contains(*node)).take(2);
    for node in well {
        pair.stage.sicken(node, &format!("[P6] deadlock {round}")).await;
    }
}

#[test]
fn a_leader_killed_at_twenty_drawn_moments_leaves_nothing_undone_and_no_limit_passed() {
    let pairing = Pairing::of(wide(1), Pool::new("drawn", 8, 2));
    pair("drawn", pairing, |pair| async move {
        let (stage, plane) = (&pair.stage, &pair.cluster().plane);
        let rest = QUICK.replace("max: 3", "max: 32");
        stage.budgeted("{maxUnavailable: 2}", &rest).await;
        let mut drawn = Drawn(1);
        for round in 0..KILLS {
            let leader = pair.leader().await;
            keep_busy(&pair, round).await;
            tokio::time::sleep(Duration::from_millis(drawn.below(2500))).await;
            leader.kill(plane).unwrap();
            pair.leads(pair.other(leader), PATIENCE).await;
            leader.start_again(plane).await.unwrap();
        }
        stage.everything_is_healed().await;
        let limits = Limits { out: Some(2), open_domains: Some(1), ..Limits::default() };
        pair.finish(limits).await;
    });
}
