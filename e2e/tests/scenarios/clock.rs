//! An operator whose clock is wrong starts nothing (hazard H05).

use jiff::SignedDuration;
use rerail_core::step::Step;
use rerail_e2e::ClusterOptions;
use serde_json::json;

use crate::{
    api_faults::{BRISK, brisk},
    shared::behind_proxy,
};

#[test]
fn an_operator_whose_clock_differs_from_the_api_servers_starts_nothing_and_says_so() {
    let options = ClusterOptions { fleet: brisk(), ..ClusterOptions::default() };
    behind_proxy("clock", 2, options, |stage, proxy| async move {
        let (node, later) = (stage.nodes[0].clone(), stage.nodes[1].clone());
        stage.policy("Enforce", BRISK).await;
        stage.blocked_drain(&node, BRISK).await;
        proxy.shift_date(SignedDuration::from_secs(3600));
        // Each write of a policy's status brings an answer, and with it the API server's time.
        stage.edit_policy(json!({ "priority": { "default": 8 } })).await;
        stage.policy_when("an answer", |status| status.observed_generation == 2).await;
        stage.sicken(&later, "task blocked").await;
        let waits = stage.waiting(&later, "ClockSkew").await;
        assert!(waits.message.contains("behind the API server's"), "{}", waits.message);
        let page = stage.shared.operator.get("/metrics").await.unwrap();
        assert!(page.contains("rerail_clock_skew_seconds 3"), "{page}");
        // What has begun goes on: its durations are measured by a steady clock.
        stage.release().await;
        stage.run_in(&node, Step::Succeeded).await;
        assert!(stage.cluster().runs_of(&later).await.unwrap().is_empty());
        proxy.shift_date(SignedDuration::ZERO);
        stage.edit_policy(json!({ "priority": { "default": 9 } })).await;
        stage.run_in(&later, Step::Succeeded).await;
        stage.finish().await;
    });
}
