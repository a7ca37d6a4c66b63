//! The API server is stopped for half a minute in each step that a run can be in. Meanwhile nothing
//! can be done; afterwards the run goes on, although the node controller may have lost the nodes.

use std::time::Duration;

use rerail_core::step::Step;
use rerail_e2e::{ClusterOptions, PATIENCE, wait_for};
use rerail_fleet::{Fault as MachineFault, FleetOptions};
use rerail_proxy::{Fault, Injected, Proxy, Reply, Rule};
use tokio::time::Instant;

use crate::{
    api_faults::brisk,
    shared::{Stage, behind_proxy, said},
};

const OUTAGE: Duration = Duration::from_secs(30);

/// Nothing may run out while the API server is away, but for the settling.
const PATIENT: &str = "
  drain: {timeout: 5m, unmanaged: Delete}
  remedies: [{reboot: {method: Command}, timeout: 5m}]
  verify: {ready: 1s, timeout: 5m, settle: 15s}
  attempts: {max: 3, per: 1h, backoff: 1h}";

/// The API server goes while the latest run of the node is in this step, and comes back.
async fn outage(stage: &Stage, node: &str, step: Step) {
    stage.run_in(node, step).await;
    let plane = &stage.cluster().plane;
    // Killed: told to stop, it would serve its watches for ten seconds more.
    plane.kill_component("kube-apiserver").unwrap();
    tokio::time::sleep(OUTAGE).await;
    plane.start_component("kube-apiserver").unwrap();
    eprintln!("{step}: the API server is back");
}

/// Keeps a run where it is: the operator's request is refused until the rule is lifted.
fn keep(proxy: &Proxy, rule: Rule) -> std::sync::Arc<Injected> {
    proxy.inject(rule.always(), Fault::Instead(Reply::status(500)))
}

async fn met(rule: &Injected) {
    let look = || async { if rule.met() > 0 { Ok(()) } else { Err(rule.to_string()) } };
    wait_for("the request that is refused", PATIENCE, look).await.unwrap();
}

/// A run that is held by its label in mid-drain.
async fn held(stage: &Stage, node: &str) {
    stage.bare_pod("stays", node, "").await;
    stage.ready_on(node, "stays", 1).await;
    stage.budget("stays", "stays", "minAvailable: 1").await;
    stage.sicken(node, "[P6] this one is held").await;
    stage.blocked(node).await;
    stage.label(node, "rerail.dev/hold", Some("")).await;
    stage.run_in(node, Step::Held).await;
}

/// One run that meets an outage in each step of the healthy path.
async fn healthy_path(stage: &Stage, proxy: &Proxy, node: &str) {
    // No budget keeps this pod: one whose pod has lost its node would let it go.
    stage.bare_pod("here", node, "").await;
    stage.ready_on(node, "here", 1).await;
    let cordon = keep(proxy, Rule::on("patch", "nodes").saying("cordon-note"));
    stage.sicken(node, "[P6] the API server goes in every step").await;
    met(&cordon).await;
    outage(stage, node, Step::Cordoning).await;
    assert!(!stage.is_cordoned(node).await);
    let eviction = keep(proxy, Rule::on("create", "pods/eviction"));
    cordon.lift();

    met(&eviction).await;
    outage(stage, node, Step::Draining).await;
    assert_eq!(stage.pods("here").await.len(), 1);
    let probe = keep(proxy, Rule::on("create", "pods").named("probe-"));
    stage.inject(node, MachineFault::SlowBoot { factor: 100 });
    eviction.lift();

    stage.goes_down(node).await;
    outage(stage, node, Step::Rebooting).await;

    met(&probe).await;
    outage(stage, node, Step::Verifying).await;
    probe.lift();

    outage(stage, node, Step::Settling).await;
    let began = Instant::now();
    let run = stage.run_in(node, Step::Succeeded).await;
    eprintln!("from the last outage to the end: {:.1} s", began.elapsed().as_secs_f64());
    assert_eq!((said(&run).0.as_str(), run.status.unwrap().attempt), ("Healed", 1));
    assert_eq!(stage.boots(node), 1, "SAFE-1");
    stage.is_given_back(node, "Succeeded", "Healed").await;
}

/// A run that is cancelled while its machine is down.
async fn withdrawn(stage: &Stage, node: &str) {
    stage.inject(node, MachineFault::SlowBoot { factor: 150 });
    stage.sicken(node, "[P6] this one is cancelled too late").await;
    stage.goes_down(node).await;
    let run = stage.run_in(node, Step::Rebooting).await;
    stage.cancel(&run).await;
    outage(stage, node, Step::Withdrawing).await;
    let run = stage.run_in(node, Step::Succeeded).await;
    assert_eq!(run.status.unwrap().attempt, 1);
    assert_eq!(stage.boots(node), 1, "SAFE-1");
    stage.is_given_back(node, "Succeeded", "Healed").await;
}

/// The held run is let go, and meets an outage while it is undone.
async fn rolled_back(stage: &Stage, proxy: &Proxy, node: &str) {
    let run = stage.run_in(node, Step::Held).await;
    let marks = stage.marks(node).await;
    assert_eq!((marks.cordoned, marks.owner), (true, run.metadata.uid));
    let close = keep(proxy, Rule::on("patch", "nodes").saying("last-remediation"));
    stage.label(node, "rerail.dev/hold", None).await;
    met(&close).await;
    outage(stage, node, Step::RollingBack).await;
    close.lift();
    stage.run_in(node, Step::Cancelled).await;
    stage.is_given_back(node, "Cancelled", "HoldLifted").await;
    assert_eq!(stage.boots(node), 0);
}

#[test]
fn a_run_goes_on_when_the_api_server_was_away_for_half_a_minute_in_any_step() {
    // The kubelets report often, as real ones do to a node controller that has lost them.
    let fleet = FleetOptions { status_interval: Duration::from_secs(5), ..brisk() };
    let options = ClusterOptions { fleet, ..ClusterOptions::default() };
    behind_proxy("outage", 3, options, |stage, proxy| async move {
        let [on_hold, healthy, late] = stage.nodes.clone().try_into().unwrap();
        stage.policy("Enforce", PATIENT).await;
        held(&stage, &on_hold).await;
        withdrawn(&stage, &late).await;
        healthy_path(&stage, &proxy, &healthy).await;
        rolled_back(&stage, &proxy, &on_hold).await;
        stage.finish().await;
    });
}
