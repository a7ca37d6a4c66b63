//! Every kind of request of a run meets every kind of answer that is not the API server's word: the
//! run goes on, does nothing twice, and ends right.

use std::{sync::Arc, time::Duration};

use rerail_core::step::Step;
use rerail_e2e::ClusterOptions;
use rerail_fleet::FleetOptions;
use rerail_proxy::{Fault, Injected, Proxy, Reply, Rule};

use crate::shared::{Stage, behind_proxy, said};

/// Machines that boot quickly.
pub fn brisk() -> FleetOptions {
    let millis = Duration::from_millis;
    FleetOptions {
        boot_time: millis(50)..=millis(100),
        shutdown_time: millis(10)..=millis(30),
        ready_time: millis(50)..=millis(100),
        // A condition that healed before the operator saw the boot counts when it is reported again.
        condition_interval: Duration::from_secs(1),
        ..FleetOptions::default()
    }
}

/// Nothing of a run takes long.
pub const BRISK: &str = "
  drain: {timeout: 60s, unmanaged: Delete}
  remedies: [{reboot: {method: Command}, timeout: 60s}]
  verify: {ready: 100ms, timeout: 60s}
  attempts: {max: 3, per: 1h, backoff: 1s}";

/// Lets one of every kind of request that a run with one pod to evict makes meet the fault. The reads
/// of the last look come round again and again; each is spoiled in another step, since the pause
/// after failures in a row grows.
fn spoil_every_kind(proxy: &Proxy, fault: &Fault) -> Vec<Arc<Injected>> {
    let inject = |rule| proxy.inject(rule, fault.clone());
    let status = |step: &str| {
        let said = format!("\"step\":\"{step}\"");
        inject(Rule::on("update", "noderemediations/status").saying(&said))
    };
    let admitted = status("Cordoning");
    let cordoned = inject(Rule::on("patch", "nodes").saying("cordon-note"));
    let draining = status("Draining");
    vec![
        inject(Rule::on("list", "noderemediations")),
        inject(Rule::on("create", "noderemediations")),
        // The ledger with this run in it; and the Lease by a last look.
        inject(Rule::on("update", "leases").saying("runUID")),
        inject(Rule::on("get", "leases").behind(&admitted)),
        // Beside the work, at any time.
        inject(Rule::on("create", "events")),
        inject(Rule::on("get", "nodes").behind(&admitted)),
        inject(Rule::on("get", "remediationpolicies").behind(&cordoned)),
        inject(Rule::on("get", "noderemediations").behind(&draining)),
        inject(Rule::on("list", "configmaps").behind(&draining)),
        inject(Rule::on("list", "pods").behind(&cordoned)),
        inject(Rule::on("create", "pods/eviction")),
        status("Rebooting"),
        inject(Rule::on("create", "pods").named("reboot-")),
        status("Verifying"),
        inject(Rule::on("create", "pods").named("probe-")),
        status("Uncordoning"),
        inject(Rule::on("patch", "nodes").saying("last-remediation")),
        inject(Rule::on("delete", "pods").named("reboot-")),
        inject(Rule::on("delete", "pods").named("probe-")),
        status("Succeeded"),
        inject(Rule::on("patch", "noderemediations")),
        inject(Rule::on("patch", "remediationpolicies/status")),
        admitted,
        cordoned,
        draining,
    ]
}

/// Plays one run of a fresh node in which each kind of request meets the fault once.
async fn play_run(stage: &Stage, proxy: &Proxy, node: &str, fault: Fault) {
    let began = tokio::time::Instant::now();
    stage.bare_pod(node, node, "").await;
    stage.ready_on(node, node, 1).await;
    let injected = spoil_every_kind(proxy, &fault);
    stage.sicken(node, "[P6] every request goes wrong once").await;
    let run = stage.run_in(node, Step::Succeeded).await;
    assert_eq!(said(&run).0, "Healed", "{fault:?}");
    assert_eq!(run.status.unwrap().attempt, 1, "{fault:?}");
    stage.finalizers_gone(node).await;
    let unmet: Vec<_> = injected.iter().filter(|rule| rule.met() == 0).collect();
    let unmet: Vec<_> = unmet.iter().map(ToString::to_string).collect();
    assert_eq!(unmet, Vec::<String>::new(), "faults that did not happen");
    injected.iter().for_each(|rule| rule.lift());
    assert_eq!(stage.boots(node), 1, "SAFE-1: {fault:?}");
    assert_eq!(stage.cluster().runs_of(node).await.unwrap().len(), 1, "SAFE-22: {fault:?}");
    stage.is_given_back(node, "Succeeded", "Healed").await;
    assert_eq!(stage.pods_on(node).await, Vec::<String>::new(), "{fault:?}");
    eprintln!("{fault:?}: {:.1} s", began.elapsed().as_secs_f64());
}

#[test]
fn every_request_of_a_run_is_refused_lost_slow_cut_or_lied_about_once() {
    let faults = [
        Fault::Instead(Reply::throttled(1)),
        Fault::Instead(Reply::status(500)),
        Fault::Instead(Reply::status(503)),
        Fault::Instead(Reply::status(409)),
        Fault::Instead(Reply::status(404)),
        // An API server that has just started says so of everything.
        Fault::Instead(Reply::status(403)),
        Fault::Lost(Reply::status(500)),
        Fault::Lost(Reply::Reset),
        Fault::CutReply,
        Fault::SlowReply(Duration::from_secs(1)),
    ];
    let options = ClusterOptions { fleet: brisk(), ..ClusterOptions::default() };
    behind_proxy("api-faults", faults.len(), options, |stage, proxy| async move {
        stage.policy("Enforce", BRISK).await;
        for (fault, node) in faults.into_iter().zip(&stage.nodes.clone()) {
            play_run(&stage, &proxy, node, fault).await;
        }
        stage.finish().await;
    });
}

/// The admission is refused, and then, again and again, the write that makes sure that it cannot land
/// late: until then its slot and its Pending run stay. Once the run was deleted meanwhile, and its slot
/// kept the node from all help.
#[test]
fn an_admission_in_doubt_is_settled_however_often_that_fails() {
    let options = ClusterOptions { fleet: brisk(), ..ClusterOptions::default() };
    behind_proxy("api-doubt", 1, options, |stage, proxy| async move {
        let node = stage.nodes[0].clone();
        stage.policy("Enforce", BRISK).await;
        let conflict = || Fault::Instead(Reply::status(409));
        let cordoning = "\"step\":\"Cordoning\"";
        let admission = Rule::on("update", "noderemediations/status").saying(cordoning);
        let admission = proxy.inject(admission, conflict());
        let settling = Rule::on("patch", "noderemediations").behind(&admission).times(3);
        let settling = proxy.inject(settling, conflict());
        stage.sicken(&node, "[P6] its admission is refused").await;
        stage.run_in(&node, Step::Succeeded).await;
        assert_eq!((admission.met(), settling.met()), (1, 3));
        assert_eq!(stage.boots(&node), 1, "SAFE-1");
        assert_eq!(stage.cluster().runs_of(&node).await.unwrap().len(), 1, "SAFE-22");
        stage.is_given_back(&node, "Succeeded", "Healed").await;
        stage.finish().await;
    });
}

/// What is given up by the operator and arrives afterwards: the request that mattered most in its step.
#[test]
fn a_request_that_arrives_after_it_was_given_up_does_nothing_twice() {
    // The operator waits ten seconds for an answer.
    let late = || Fault::Late(Duration::from_secs(12));
    let rules = [
        ("cordon", Rule::on("patch", "nodes").saying("cordon-note")),
        ("intent", Rule::on("update", "noderemediations/status").saying("\"step\":\"Rebooting\"")),
        ("eviction", Rule::on("create", "pods/eviction")),
        ("reboot Pod", Rule::on("create", "pods").named("reboot-")),
        ("closing write", Rule::on("patch", "nodes").saying("last-remediation")),
    ];
    let options = ClusterOptions { fleet: brisk(), ..ClusterOptions::default() };
    behind_proxy("api-late", 2, options, |stage, proxy| async move {
        let [late_node, next] = stage.nodes.clone().try_into().unwrap();
        stage.policy("Enforce", BRISK).await;
        stage.bare_pod("here", &late_node, "").await;
        stage.ready_on(&late_node, "here", 1).await;
        let inject = |(what, rule)| (what, proxy.inject(rule, late()));
        let injected: Vec<_> = rules.into_iter().map(inject).collect();
        stage.sicken(&late_node, "[P6] requests arrive when nobody waits any more").await;
        stage.run_in(&late_node, Step::Succeeded).await;
        for (what, rule) in &injected {
            assert_eq!(rule.met(), 1, "{what}");
        }
        // A second run needs twelve seconds, too: by then the last late request has arrived.
        let rule = Rule::on("create", "noderemediations");
        let last = proxy.inject(rule, late());
        stage.sicken(&next, "[P6] its run is created late").await;
        stage.run_in(&next, Step::Succeeded).await;
        assert_eq!(last.met(), 1);
        for node in [&late_node, &next] {
            assert_eq!(stage.boots(node), 1, "SAFE-1");
            assert_eq!(stage.cluster().runs_of(node).await.unwrap().len(), 1, "SAFE-22");
            stage.is_given_back(node, "Succeeded", "Healed").await;
        }
        stage.finish().await;
    });
}
