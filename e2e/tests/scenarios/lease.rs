//! The Lease is deleted, restored from an old copy, held by a stranger, filled with garbage, or written
//! late: budgets hold, and work goes on (protocol R5–R7).

use std::time::Duration;

use rerail_api::NodeRemediation;
use rerail_core::step::Step;
use rerail_e2e::{LEDGER, PATIENCE, wait_for};
use rerail_fleet::{Pool, truth::Limits};
use rerail_proxy::{Fault, Rule};
use serde_json::{Value, json};

use crate::{
    hands::quiet,
    pair::{Pair, Pairing, pair},
    queue::wide,
    workloads::PATIENT,
};

fn pairing(pool: &str) -> Pairing {
    Pairing::of(wide(1), Pool::new(pool, 3, 1))
}

/// One node's drain is blocked, so its run holds the only slot; another node is sick and waits.
async fn one_runs_and_one_waits(pair: &Pair) -> NodeRemediation {
    let stage = &pair.stage;
    let rest = format!("\n  budget: {{maxUnavailable: 1}}{PATIENT}");
    let run = stage.blocked_drain(&stage.nodes[0], &rest).await;
    stage.sicken(&stage.nodes[1], "[P0] deadlock").await;
    stage.waiting(&stage.nodes[1], "BudgetExhausted").await;
    run
}

/// The run goes on in a later term, and the other one waits as before.
async fn recovered(pair: &Pair, before: &NodeRemediation) -> NodeRemediation {
    let (stage, before) = (&pair.stage, before.status.clone().unwrap());
    let run = stage
        .run_when(&stage.nodes[0], "a later term", |status| status.leader != before.leader)
        .await;
    assert!(run.status.as_ref().unwrap().epoch > before.epoch, "{:?}", run.status);
    holds_the_slot(pair, &run).await;
    quiet().await;
    let admitted = stage.admissions().await;
    assert_eq!(admitted.len(), 1, "SAFE-4: {admitted:?}");
    run
}

/// Waits until the ledger says that the run has a slot, and nobody else.
async fn holds_the_slot(pair: &Pair, run: &NodeRemediation) {
    let uid = Value::from(run.metadata.uid.clone());
    wait_for("the ledger to name the run", PATIENCE, || async {
        let ledger = pair.cluster().ledger().await.map_err(|error| error.to_string())?;
        let slots = ledger["slots"].as_array().cloned().unwrap_or_default();
        let is = slots.len() == 1 && slots[0]["runUID"] == uid;
        if is { Ok(()) } else { Err(ledger.to_string()) }
    })
    .await
    .unwrap();
}

/// The drain is let go; both nodes are healed, one after the other.
async fn both_are_healed(pair: Pair) {
    pair.stage.release().await;
    for node in &pair.stage.nodes[..2] {
        pair.stage.run_in(node, Step::Succeeded).await;
        assert_eq!(pair.stage.boots(node), 1, "SAFE-1");
    }
    pair.finish(Limits { out: Some(1), open_domains: Some(1), ..Limits::default() }).await;
}

#[test]
fn a_lease_that_is_deleted_is_made_again_with_the_slots_that_are_held() {
    pair("lease-deleted", pairing("lease-deleted"), |pair| async move {
        let mut run = one_runs_and_one_waits(&pair).await;
        // Twice: the terms of both have to differ.
        for _ in 0..2 {
            pair.cluster().delete_lease().await.unwrap();
            run = recovered(&pair, &run).await;
        }
        both_are_healed(pair).await;
    });
}

#[test]
fn an_old_copy_of_the_lease_frees_no_slot() {
    pair("lease-restored", pairing("lease-restored"), |pair| async move {
        pair.leader().await;
        let empty = pair.cluster().lease().await.unwrap().unwrap();
        let run = one_runs_and_one_waits(&pair).await;
        pair.cluster().restore_lease(&empty).await.unwrap();
        recovered(&pair, &run).await;
        both_are_healed(pair).await;
    });
}

#[test]
fn a_ledger_that_nobody_can_read_freezes_the_operators_until_a_person_takes_it_away() {
    pair("lease-garbage", pairing("lease-garbage"), |pair| async move {
        let mut run = one_runs_and_one_waits(&pair).await;
        for garbage in ["not a ledger", r#"{"version": 99, "slots": []}"#, r#"{"version": 1}"#] {
            pair.cluster().garble_ledger(garbage).await.unwrap();
            says_that_it_is_frozen(&pair).await;
            quiet().await;
            assert_eq!(pair.stage.admissions().await.len(), 1, "SAFE-4 with {garbage}");
            // As it says: kubectl annotate lease rerail-operator rerail.dev/ledger-
            let none = json!({ "metadata": { "annotations": { LEDGER: null } } });
            pair.cluster().edit_lease(none).await.unwrap();
            run = recovered(&pair, &run).await;
            for operator in &pair.operators {
                let ready = || async { operator.get("/readyz").await };
                wait_for("the operator to be ready again", PATIENCE, ready).await.unwrap();
            }
        }
        both_are_healed(pair).await;
    });
}

/// Both operators say why they do not lead, and what a person can do.
async fn says_that_it_is_frozen(pair: &Pair) {
    for operator in &pair.operators {
        wait_for("the operator to say that it is frozen", PATIENCE, || async {
            match operator.get("/readyz").await {
                Err(said) if said.contains("annotate lease") => Ok(()),
                other => Err(other),
            }
        })
        .await
        .unwrap();
    }
}

/// A stranger who never renews is waited for as long as a lease lasts, whatever he claims.
#[test]
fn a_stranger_who_claims_the_lease_for_years_is_waited_for_like_anybody() {
    pair("lease-stranger", pairing("lease-stranger"), |pair| async move {
        let run = one_runs_and_one_waits(&pair).await;
        let stranger = json!({ "spec": {
            "holderIdentity": "somebody-else", "leaseDurationSeconds": 2_000_000_000,
        } });
        pair.cluster().edit_lease(stranger).await.unwrap();
        recovered(&pair, &run).await;
        both_are_healed(pair).await;
    });
}

/// The leader's next write of the Lease is on its way for longer than the lease lasts. It arrives when
/// the other one leads, and is refused.
#[test]
fn a_write_of_the_lease_that_arrives_in_the_next_term_is_refused() {
    pair("lease-race", pairing("lease-race"), |pair| async move {
        let mut run = one_runs_and_one_waits(&pair).await;
        for _ in 0..2 {
            let leader = pair.leader().await;
            let late = Fault::Late(Duration::from_secs(6));
            let rule = Rule::on("update", "leases").always();
            let injected = pair.proxy(leader).inject(rule, late);
            pair.leads(pair.other(leader), PATIENCE).await;
            run = recovered(&pair, &run).await;
            assert!(injected.met() > 0, "no write was late");
            injected.lift();
            tokio::time::sleep(Duration::from_secs(6)).await;
            let late = pair.proxy(leader).seen().into_iter().filter(|seen| {
                (seen.verb, seen.resource.as_str()) == ("update", "leases") && seen.fault.is_some()
            });
            for seen in late {
                assert_eq!(seen.status, Some(409), "{seen:?}");
            }
        }
        both_are_healed(pair).await;
    });
}
