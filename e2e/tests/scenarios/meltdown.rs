//! Most of the cluster is not Ready at once: nobody starts anything (planner.md, Meltdown; H12).

use std::time::Duration;

use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use rerail_controlplane::Options;
use rerail_core::step::Step;
use rerail_e2e::{ClusterOptions, PATIENCE, wait_for};
use rerail_fleet::truth::Limits;
use serde_json::Value;

use crate::{
    doors::{rerail, words},
    hands::quiet,
    queue::{QUICK, fast, on_racks, wide},
    shared::{CONDITION, Stage},
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
        for node in lost {
            stage.is_not_ready(node).await;
        }
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

/// How long the condition has to last in the scenario of the record, in seconds.
const FOR: i64 = 15;

/// Waits until the ledger says this of the last meltdown.
async fn on_record(stage: &Stage, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    wait_for(&format!("on record of the meltdown: {what}"), PATIENCE, || async {
        let ledger = stage.cluster().ledger().await.map_err(|error| error.to_string())?;
        let meltdown = ledger["meltdown"].clone();
        if is(&meltdown) { Ok(meltdown) } else { Err(ledger.to_string()) }
    })
    .await
    .unwrap()
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// What the next operator knows of it, and what a person is told: the condition has to last anew.
async fn counts_anew(stage: &Stage, node: &str, ended: Timestamp) {
    let until = ended + SignedDuration::from_secs(FOR);
    let answer = rerail(stage.cluster(), &["explain", "node", node, "-o", "json"]).await;
    assert!(answer.status.success(), "{}", words(&answer));
    let told: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(told["policies"][0]["wait"]["reason"], "NotLongEnough", "{told:#}");
    assert_eq!(time(&told["earliestTime"]), until, "{told:#}");
    stage.run_in(node, Step::Succeeded).await;
    let admissions = stage.admissions().await;
    let admitted = admissions.iter().find(|one| one.node == node).unwrap().admitted;
    assert!(admitted >= until, "admitted at {admitted}, and not before {until}");
}

/// More than half of the nodes are not Ready, and a node that is has been sick for long enough.
async fn melts(stage: &Stage, sick: &str, lost: &[String]) {
    power(stage, lost, false).await;
    for node in lost {
        stage.is_not_ready(node).await;
    }
    stage.sicken(sick, "[P0] deadlock").await;
    on_record(stage, "it is one", |meltdown| meltdown["since"].is_string()).await;
    // By itself it would have been for long enough when the meltdown ends.
    tokio::time::sleep(Duration::from_secs(FOR.unsigned_abs())).await;
    stage.waiting(sick, "Meltdown").await;
}

/// The end of a meltdown is known to whoever leads next, even where nobody led when it ended.
#[test]
fn whoever_leads_after_a_meltdown_counts_every_for_from_its_end() {
    on_racks("melted", 2, 5, patient(), |stage| async move {
        let (operator, plane) = (&stage.shared.operator, &stage.cluster().plane);
        let (up, lost) = stage.nodes.split_at(4);
        let trigger = format!("{{condition: {{type: {CONDITION}, for: {FOR}s}}}}");
        stage.policy_on("Enforce", &trigger, QUICK).await;

        melts(&stage, &up[0], lost).await;
        power(&stage, lost, true).await;
        let ended = on_record(&stage, "its end", |meltdown| meltdown["since"].is_null()).await;
        operator.kill(plane).unwrap();
        operator.start_again(plane).await.unwrap();
        counts_anew(&stage, &up[0], time(&ended["ended"])).await;

        melts(&stage, &up[1], lost).await;
        let since = on_record(&stage, "it goes on", |_| true).await;
        operator.kill(plane).unwrap();
        operator.start_again(plane).await.unwrap();
        stage.cluster().led_by(std::slice::from_ref(operator), PATIENCE).await.unwrap();
        quiet().await;
        assert_eq!(on_record(&stage, "the same", |_| true).await, since, "it goes on");
        operator.kill(plane).unwrap();
        power(&stage, lost, true).await;
        for node in lost {
            stage.machine(node).wait_until("up", PATIENCE, |view| view.ready).await.unwrap();
        }
        assert_eq!(on_record(&stage, "the same", |_| true).await, since, "nobody has seen its end");
        operator.start_again(plane).await.unwrap();
        let ended = on_record(&stage, "its end", |meltdown| meltdown["since"].is_null()).await;
        counts_anew(&stage, &up[1], time(&ended["ended"])).await;
        stage.finish_within(Limits { open_domains: Some(1), ..Limits::default() }).await;
    });
}
