//! A person says that a storm is well: the annotation `rerail.dev/reset-breaker` (docs/budgets.md).

use std::{process::Command, time::Duration};

use rerail_api::names;
use rerail_fleet::Pool;

use crate::{
    hands::quiet,
    queue::wide,
    shared::{Stage, by_itself, on_its_own},
    storm::{begun, breaks_out, ended, is_open, of_the_storm},
};

/// Closed by a person alone. The window passes before that.
const MANUAL: &str = "{correlated: \"25%\", window: 20s, reset: Manual}";

/// It would be probed in ten minutes.
const AUTOMATIC: &str = "{correlated: \"25%\"}";

/// `date -u +%FT%TZ`, as the page says, and of another time.
fn date(of: &str) -> String {
    let answer = Command::new("date").args(["-u", "-d", of, "+%FT%TZ"]).output().unwrap();
    String::from_utf8(answer.stdout).unwrap().trim().to_owned()
}

/// Runs a command that a message or a page of ours tells, but for its first word.
fn kubectl(stage: &Stage, command: &str) {
    let words: Vec<_> = command.split_whitespace().collect();
    stage.cluster().plane.run_kubectl(&words).unwrap();
}

fn reset(stage: &Stage, time: &str) {
    let (pool, key) = (stage.pool, names::RESET_BREAKER);
    kubectl(stage, &format!("annotate --overwrite rpol {pool} {key}={time}"));
}

/// Nothing has started for the storm, and nothing does.
async fn stands(stage: &Stage, runs: usize) {
    quiet().await;
    is_open(stage, true).await;
    assert_eq!(of_the_storm(stage).await.len(), runs);
}

/// All of the storm's nodes start, without a probe and rounds.
async fn starts_at_once(stage: &Stage, runs: usize) {
    stage.admissions_reach(runs).await;
    stage.all_healed(&stage.nodes[..8]).await;
    let admissions = of_the_storm(stage).await;
    let latest = &admissions[runs - 8..];
    let last = latest.iter().map(|one| one.admitted).max().unwrap();
    let first = latest.iter().filter_map(|one| one.ended).min().unwrap();
    assert!(last < first, "the last begins before the first ends: {latest:?}");
}

async fn a_manual_one(stage: Stage) {
    begun(&stage, MANUAL).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    stands(&stage, 0).await;
    // What is no time, and what is still to come, says nothing yet; the policy stays in force.
    for nothing in ["now", &date("1 hour")] {
        reset(&stage, nothing);
        stands(&stage, 0).await;
    }
    let (operator, plane) = (&stage.shared.operator, &stage.cluster().plane);
    operator.kill(plane).unwrap();
    operator.start_again(plane).await.unwrap();
    stands(&stage, 0).await;

    let told = stage.waiting(&stage.nodes[0], "Storm").await.message;
    let (_, command) = told.split_once("kubectl ").unwrap();
    kubectl(&stage, command);
    starts_at_once(&stage, 8).await;
    is_open(&stage, false).await;

    // The annotation stays, and what becomes true later is another storm.
    breaks_out(&stage).await;
    is_open(&stage, true).await;
    let before = of_the_storm(&stage).await.len();
    stands(&stage, before).await;
    reset(&stage, &date("now"));
    ended(stage).await;
}

async fn an_automatic_one(stage: Stage) {
    begun(&stage, AUTOMATIC).await;
    stands(&stage, 0).await;
    reset(&stage, &date("now"));
    starts_at_once(&stage, 8).await;
    ended(stage).await;
}

/// Two storms in two clusters, beside each other.
#[test]
fn a_storm_is_over_when_a_person_says_so_and_a_new_one_is_not() {
    by_itself(async {
        let pool = |name: &str| Pool::new(name, 10, 2);
        futures::join!(
            on_its_own("by-hand", pool("by-hand"), wide(2), a_manual_one),
            on_its_own("by-itself", pool("by-itself"), wide(2), an_automatic_one),
        );
    });
}
