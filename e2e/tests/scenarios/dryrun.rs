//! DryRun decides and reports, and touches nothing (SAFE-23).

use std::collections::BTreeSet;

use rerail_controlplane::Options;
use rerail_e2e::ClusterOptions;
use rerail_fleet::Pool;

use crate::{
    audit,
    shared::{SHORT, alone_on},
};

#[test]
fn a_dry_run_writes_only_its_policys_status_and_events() {
    let plane = Options { audit: true, ..Options::default() };
    let options = ClusterOptions { plane, ..ClusterOptions::default() };
    alone_on("dryrun", Pool::new("dryrun", 2, 1), options, |stage| async move {
        let node = stage.nodes[0].clone();
        stage.policy("DryRun", SHORT).await;
        stage.sicken(&node, "[P4] task blocked for more than 120 seconds").await;
        let named = |status: &rerail_api::policy::RemediationPolicyStatus| {
            status.would_start.iter().any(|would| would.node == node)
        };
        let status = stage.policy_when("would start the node", named).await;
        let would = &status.would_start[0];
        assert_eq!((would.priority, would.reason.as_str()), (Some(4), "WouldStart"));
        assert_eq!((status.counts.matched, status.counts.active), (2, 0));
        let event = stage.event("RemediationPolicy", "dryrun", "WouldStart").await;
        assert!(event.note.as_ref().is_some_and(|note| note.contains(&node)), "{event:?}");
        // A second sick node is planned after everything that the first one led to.
        stage.sicken(&stage.nodes[1], "[P3] the same").await;
        stage.policy_when("would start both", |status| status.would_start.len() == 2).await;

        assert!(stage.cluster().runs_of(&node).await.unwrap().is_empty());
        assert!(!stage.is_cordoned(&node).await);
        let writes: BTreeSet<_> = audit::by_operator(stage.cluster())
            .into_iter()
            .filter(|request| !["get", "list", "watch"].contains(&request.verb.as_str()))
            .map(|request| request.resource)
            .collect();
        // The Lease is renewed by whoever leads.
        let allowed = ["events", "leases", "remediationpolicies/status"].map(str::to_owned);
        assert_eq!(writes, BTreeSet::from(allowed), "SAFE-23");
        stage.finish().await;
    });
}
