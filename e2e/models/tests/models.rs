//! Every small configuration holds in every state; and with a rule taken away the checker finds what the
//! rule is there for. A model that finds nothing proves nothing.

use rerail_models::{
    budgets::{self, Budgets},
    check::{Case, Move, Outcome, Told, check},
    lease::{self, Leaders},
    marks,
    run::{self, OneRun},
};
use stateright::Model;

#[track_caller]
fn all_hold<M>(name: &'static str, cases: Vec<Case<M>>)
where
    M: Model<Action = Move<<M as Model>::State>> + Told + Clone + Send + Sync + 'static,
    M::State: Clone + std::hash::Hash + PartialEq + Send + Sync + 'static,
{
    for case in cases {
        let outcome = check(name, &case, 1);
        let Outcome { unique, depth, took, .. } = &outcome;
        eprintln!("{name}, {}: {unique} states, {depth} deep, {took:?}", case.faults);
        assert!(outcome.good(), "{outcome}");
    }
}

/// Without a rule this property does not hold, and no other is found broken before it.
#[track_caller]
fn breaks<M>(case: Case<M>, property: &str)
where
    M: Model<Action = Move<<M as Model>::State>> + Told + Clone + Send + Sync + 'static,
    M::State: Clone + std::hash::Hash + PartialEq + Send + Sync + 'static,
{
    let outcome = check("broken", &case, 1);
    let found = outcome.violation().map(|finding| finding.property);
    assert_eq!(found, Some(property), "{outcome}");
    eprintln!("{outcome}");
}

#[test]
fn one_run_holds_in_every_state() {
    all_hold("run", run::small());
}

#[test]
fn marks_are_safe_from_and_for_others_in_every_state() {
    all_hold("marks", marks::small());
}

#[test]
fn budgets_hold_in_every_state() {
    all_hold("budgets", budgets::small());
}

#[test]
fn leaders_hold_in_every_state() {
    all_hold("lease", lease::small());
}

fn a_run(purse: run::Purse, rules: run::Rules) -> Case<OneRun> {
    OneRun::without(purse, rules)
}

const RUN: run::Rules = run::Rules::ALL;

/// The kubelet runs the Pod again after the boot.
#[test]
fn w1_is_found_when_the_pod_believes_the_node_object() {
    let purse = run::Purse { reruns: 1, ..Default::default() };
    breaks(a_run(purse, run::Rules { r1: false, ..RUN }), run::P2);
}

/// A cancel while the Pod has read the run.
#[test]
fn w2_is_found_when_an_attempt_is_given_up_at_once() {
    let purse = run::Purse { cancels: 1, ..Default::default() };
    breaks(a_run(purse, run::Rules { r2: false, ..RUN }), run::P3B);
}

/// A Pod whose object was deleted by force lives on.
#[test]
fn w12_is_found_when_the_time_of_a_lost_pod_is_not_waited_out() {
    let purse = run::Purse { lost_pods: 1, cancels: 1, ..Default::default() };
    breaks(a_run(purse, run::Rules { r2c: false, ..RUN }), run::P3B);
}

/// The run is deleted by force while something of it is under way: its cordon is the first that can be.
#[test]
fn w13_is_found_when_a_run_that_is_gone_holds_no_slot() {
    let purse = run::Purse { deletions: 1, ..Default::default() };
    breaks(a_run(purse, run::Rules { r3: false, ..RUN }), run::P3A);
}

/// A cordon lands after its sender gave up on it.
#[test]
fn w14_is_found_when_a_run_ends_without_writing_the_node() {
    let purse = run::Purse { cancels: 1, late: 1, ..Default::default() };
    breaks(a_run(purse, run::Rules { r4: false, ..RUN }), run::P3A);
}

/// The Node object is made anew while the Pod has read the run.
#[test]
fn w8_is_found_when_a_run_ends_with_its_node() {
    let purse = run::Purse { replaced: 1, ..Default::default() };
    breaks(a_run(purse, run::Rules { replaced: false, ..RUN }), run::P3B);
}

/// A person uncordons and cordons again, unseen.
#[test]
fn w9_is_found_when_the_mark_alone_says_whose_cordon_it_is() {
    let purse = run::Purse { people: 2, ..Default::default() };
    breaks(a_run(purse, run::Rules { r9: false, ..RUN }), run::P6);
}

/// Nobody sweeps what a run left that was deleted by force.
#[test]
fn a_mark_that_stays_for_ever_is_found_when_nobody_sweeps() {
    let purse = run::Purse { deletions: 1, ..Default::default() };
    breaks(a_run(purse, run::Rules { r10: false, ..RUN }), run::P5);
    let purse = run::Purse { forged: 1, ..Default::default() };
    breaks(a_run(purse, run::Rules { r10: false, ..RUN }), run::P5);
}

/// An attempt is begun although another controller claims the node.
#[test]
fn an_attempt_against_a_claim_is_found_when_claims_are_not_read() {
    let purse = run::Purse { claims: 1, ..Default::default() };
    breaks(a_run(purse, run::Rules { respect: false, ..RUN }), run::RESPECT);
}

/// A mark that somebody forged over ours is taken for ours.
#[test]
fn an_attempt_under_anothers_mark_is_found_when_every_mark_counts_as_ours() {
    let purse = run::Purse { forged: 1, ..Default::default() };
    breaks(a_run(purse, run::Rules { own_marks: false, ..RUN }), run::RESPECT);
}

/// The write that holds a run for the label is late, the label goes, and the write lands between the
/// decision to cordon and the cordon.
#[test]
fn w15_is_found_when_a_status_write_in_doubt_is_not_overtaken() {
    let purse = run::Purse { holds: 2, late: 1, ..Default::default() };
    breaks(a_run(purse, run::Rules { r11: false, ..RUN }), run::P3A);
}

const TWO: lease::Purse = lease::Purse {
    operators: 2,
    ticks: 0,
    takeovers: 1,
    crashes: 0,
    lost: 0,
    late: 0,
    deletions: 0,
    restores: 0,
    cancels: 0,
};

const LEASE: lease::Rules = lease::Rules::ALL;

/// An old leader's cordon lands after the run was cancelled.
#[test]
fn w4_is_found_when_a_run_ends_without_writing_its_node() {
    let purse = lease::Purse { late: 1, cancels: 1, ..TWO };
    breaks(Leaders::without(purse, lease::Rules { r4: false, ..LEASE }), lease::P3A);
}

/// A deleted Lease: its ledger is gone, and its runs are not.
#[test]
fn w6_is_found_when_recovery_believes_the_ledger_that_it_finds() {
    let purse = lease::Purse { deletions: 1, ..TWO };
    breaks(Leaders::without(purse, lease::Rules { r5: false, ..LEASE }), lease::COUNTED);
}

/// An admission of the old leader lands when the new one has repaired the ledger.
#[test]
fn w6_is_found_when_recovery_adopts_nothing() {
    let purse = lease::Purse { deletions: 1, ..TWO };
    breaks(Leaders::without(purse, lease::Rules { adopts: false, ..LEASE }), lease::COUNTED);
}

/// Two terms that both began from nothing.
#[test]
fn w6b_is_found_when_epochs_of_the_same_height_are_one_term() {
    let purse = lease::Purse { deletions: 1, late: 1, ..TWO };
    let rules = lease::Rules { r6: false, fenced: false, ..LEASE };
    breaks(Leaders::without(purse, rules), lease::FENCED);
}

/// The API server refuses what a term writes whose epoch another one had: it has to take a higher one.
#[test]
fn a_term_that_can_write_nothing_is_found_when_epochs_are_not_looked_at() {
    let purse = lease::Purse { deletions: 1, ..TWO };
    let outcome = check("broken", &Leaders::without(purse, lease::Rules { r6: false, ..LEASE }), 1);
    let never = outcome.findings.iter().filter(|finding| finding.must_be_reached && !finding.good);
    let never: Vec<_> = never.map(|finding| finding.property).collect();
    assert_eq!(never, ["reached: a second term works"], "{outcome}");
}

/// A restored Lease with our own name and epoch.
#[test]
fn w7_is_found_when_a_lease_is_known_by_name_and_epoch() {
    let purse = lease::Purse { restores: 1, ..TWO };
    breaks(Leaders::without(purse, lease::Rules { r7: false, ..LEASE }), lease::P7);
}

#[test]
fn two_leaders_at_once_are_found_when_a_leader_does_not_mind_its_deadline() {
    let purse = lease::Purse { ticks: 3, ..TWO };
    breaks(Leaders::without(purse, lease::Rules { deadline: false, ..LEASE }), lease::ONE_LEADS);
}

#[test]
fn two_leaders_at_once_are_found_when_a_lease_is_not_waited_out() {
    let rules = lease::Rules { waited_out: false, ..LEASE };
    breaks(Leaders::without(TWO, rules), lease::ONE_LEADS);
}

/// A Pending run that bears the mark of another term with the same epoch: found by this model.
#[test]
fn an_admission_that_is_refused_for_ever_is_found_when_nobody_looks_whose_run_it_is() {
    let purse = lease::Purse { deletions: 1, ..TWO };
    breaks(Leaders::without(purse, lease::Rules { notices: false, ..LEASE }), lease::P7);
}

const THREE: budgets::Purse = budgets::Purse {
    nodes: 3,
    domains: 2,
    pools: 0,
    racks: 0,
    outages: 0,
    limits: 0,
    late: 0,
    crashes: 0,
};

const BUDGETS: budgets::Rules = budgets::Rules::ALL;

/// The node of an admission in doubt is no candidate any more; its slot is given to another.
#[test]
fn a_run_without_a_slot_is_found_when_admissions_in_doubt_keep_none() {
    let purse = budgets::Purse { late: 1, outages: 1, ..THREE };
    let rules = budgets::Rules { doubt: false, ..BUDGETS };
    breaks(Budgets::without(purse, rules), budgets::SLOTS);
}

/// A node under way is moved to another rack.
#[test]
fn a_full_rack_is_found_overfilled_when_runs_move_with_their_labels() {
    let purse = budgets::Purse { racks: 1, ..THREE };
    let rules = budgets::Rules { frozen: false, ..BUDGETS };
    breaks(Budgets::without(purse, rules), budgets::BUDGET);
}

#[test]
fn a_start_too_many_is_found_when_only_runs_that_act_count() {
    let purse = budgets::Purse { late: 1, ..THREE };
    let rules = budgets::Rules { ledger: false, ..BUDGETS };
    breaks(Budgets::without(purse, rules), budgets::BUDGET);
}

#[test]
fn a_start_too_many_is_found_when_nodes_that_are_out_do_not_count() {
    let purse = budgets::Purse { outages: 1, ..THREE };
    let rules = budgets::Rules { out: false, ..BUDGETS };
    breaks(Budgets::without(purse, rules), budgets::BUDGET);
}

/// A status write of the operator that died lands after the recovery.
#[test]
fn a_run_without_a_slot_is_found_when_recovery_writes_no_run() {
    let purse = budgets::Purse { crashes: 1, ..THREE };
    let rules = budgets::Rules { adopts: false, ..BUDGETS };
    breaks(Budgets::without(purse, rules), budgets::SLOTS);
}
