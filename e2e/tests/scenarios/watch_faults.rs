//! Watches that end in every way, or do not end and say nothing any more: a run goes on, and in
//! bounded time.

use std::time::Duration;

use rerail_core::step::Step;
use rerail_e2e::{ClusterOptions, PATIENCE, wait_for};
use rerail_operator::observe::recency::RECENT;
use rerail_proxy::{Cut, Fault, Proxy, Reply, Rule};
use tokio::time::Instant;

use crate::{
    api_faults::{BRISK, brisk},
    shared::{Stage, behind_proxy, said},
};

/// What a run hears its news from.
const WATCHES: [&str; 4] = ["nodes", "noderemediations", "pods", "poddisruptionbudgets"];

/// A watch that is cut is heard again within this time; the rest is for a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// A watch that says nothing is noticed within a minute, and not within kube's five; the rest is for
/// the end of the run, on a busy machine.
const WITHIN_A_MINUTE: Duration = Duration::from_secs(120);

/// Waits until the watch is open (they are opened anew all the time), and cuts it.
async fn cut(proxy: &Proxy, resource: &str, how: Cut) {
    let look = || async {
        match proxy.cut_watches(resource, how) {
            0 => Err("none"),
            _ => Ok(()),
        }
    };
    wait_for(&format!("an open watch of {resource}"), PATIENCE, look).await.unwrap();
}

async fn cut_all(proxy: &Proxy, how: Cut) {
    for resource in WATCHES {
        cut(proxy, resource, how).await;
    }
}

/// A run whose drain waits for a budget; everything it hears from is spoiled, then the budget goes.
/// Returns how long it took from then to the end of the run.
async fn spoiled_in_mid_run<F: Future<Output = ()>>(
    stage: &Stage,
    node: &str,
    spoil: impl FnOnce() -> F,
) -> Duration {
    stage.guard(node).await;
    stage.sicken(node, "[P6] the watches are cut in mid-run").await;
    stage.blocked(node).await;
    spoil().await;
    let began = Instant::now();
    stage.release().await;
    let run = stage.run_in(node, Step::Succeeded).await;
    let took = began.elapsed();
    assert_eq!((said(&run).0.as_str(), run.status.unwrap().attempt), ("Healed", 1));
    assert_eq!(stage.boots(node), 1, "SAFE-1");
    assert_eq!(stage.cluster().runs_of(node).await.unwrap().len(), 1, "SAFE-22");
    stage.is_given_back(node, "Succeeded", "Healed").await;
    took
}

/// Every watch that is opened meets the fault until the operator has listed the resource anew.
async fn spoil_openings(proxy: &Proxy, fault: &Fault) {
    for resource in WATCHES {
        let listed = || {
            let seen = proxy.seen();
            seen.iter().filter(|seen| seen.verb == "list" && seen.resource == resource).count()
        };
        let before = listed();
        let rule = proxy.inject(Rule::on("watch", resource).always(), fault.clone());
        cut(proxy, resource, Cut::Clean).await;
        let look = || async {
            match (rule.met(), listed() > before) {
                (1.., true) => Ok(()),
                other => Err(other),
            }
        };
        wait_for(&format!("a new list of {resource}"), PATIENCE, look).await.unwrap();
        rule.lift();
    }
}

#[test]
fn a_run_goes_on_when_its_watches_are_cut_in_any_way() {
    let options = ClusterOptions { fleet: brisk(), ..ClusterOptions::default() };
    behind_proxy("watch-cut", 8, options, |stage, proxy| async move {
        stage.policy("Enforce", BRISK).await;
        let mut nodes = stage.nodes.clone().into_iter();
        let mut next = || nodes.next().unwrap();
        for how in [Cut::Clean, Cut::HalfLine, Cut::Reset, Cut::Expired] {
            let took = spoiled_in_mid_run(&stage, &next(), || cut_all(&proxy, how)).await;
            eprintln!("{how:?}: {:.1} s", took.as_secs_f64());
            assert!(took < SOON, "{how:?}: {took:?}");
        }
        // The version that a watch would begin at is too old, for good: only a list helps.
        for fault in [Fault::Expired, Fault::Instead(Reply::status(410))] {
            let spoil = || spoil_openings(&proxy, &fault);
            let took = spoiled_in_mid_run(&stage, &next(), spoil).await;
            eprintln!("{fault:?}: {:.1} s", took.as_secs_f64());
            assert!(took < SOON, "{fault:?}: {took:?}");
        }
        stage.finish().await;
    });
}

#[test]
fn a_watch_that_says_nothing_is_noticed_within_a_minute() {
    let options = ClusterOptions { fleet: brisk(), ..ClusterOptions::default() };
    behind_proxy("watch-mute", 3, options, |stage, proxy| async move {
        let [open, opened, cancelled] = stage.nodes.clone().try_into().unwrap();
        stage.policy("Enforce", BRISK).await;
        let took = spoiled_in_mid_run(&stage, &open, || cut_all(&proxy, Cut::Mute)).await;
        eprintln!("watches that fall mute: {:.1} s", took.as_secs_f64());
        assert!(took < WITHIN_A_MINUTE, "{took:?}");

        let silence = || async {
            for resource in WATCHES {
                let silent = Fault::Instead(Reply::Silence);
                let rule = proxy.inject(Rule::on("watch", resource), silent);
                cut(&proxy, resource, Cut::Clean).await;
                let look = || async { if rule.met() > 0 { Ok(()) } else { Err("not opened") } };
                wait_for("the watch to be opened", PATIENCE, look).await.unwrap();
            }
        };
        let took = spoiled_in_mid_run(&stage, &opened, silence).await;
        eprintln!("watches that never begin: {:.1} s", took.as_secs_f64());
        assert!(took < WITHIN_A_MINUTE, "{took:?}");

        // A person's word comes by the watch of the runs alone.
        stage.guard(&cancelled).await;
        stage.sicken(&cancelled, "[P6] its cancellation is not heard at once").await;
        let run = stage.blocked(&cancelled).await;
        cut(&proxy, "noderemediations", Cut::Mute).await;
        let began = Instant::now();
        stage.cancel(&run).await;
        stage.run_in(&cancelled, Step::Cancelled).await;
        let took = began.elapsed();
        eprintln!("a cancellation that a mute watch hides: {:.1} s", took.as_secs_f64());
        assert!(took < WITHIN_A_MINUTE, "{took:?}");
        assert_eq!(stage.boots(&cancelled), 0);
        stage.release().await;
        stage.finish().await;
    });
}

/// A quiet watch of a real API server tells at least a bookmark before its end, and that keeps what is known
/// young: nothing is listed anew, and a node that falls sick is not kept waiting.
#[test]
fn in_a_quiet_cluster_what_is_known_stays_young() {
    let options = ClusterOptions { fleet: brisk(), ..ClusterOptions::default() };
    behind_proxy("watch-quiet", 1, options, |stage, proxy| async move {
        stage.policy("Enforce", BRISK).await;
        let lists = || {
            let kinds = ["nodes", "remediationpolicies"];
            let is_list = |verb: &str, resource: &str| verb == "list" && kinds.contains(&resource);
            proxy.seen().iter().filter(|seen| is_list(seen.verb, &seen.resource)).count()
        };
        let before = lists();
        tokio::time::sleep(RECENT + WITHIN_A_MINUTE / 4).await;
        let node = stage.nodes[0].clone();
        let began = Instant::now();
        stage.sicken(&node, "[P6] after a long silence").await;
        stage.run_in(&node, Step::Succeeded).await;
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        assert_eq!(lists(), before, "a list was made anew");
        stage.finish().await;
    });
}
