//! A model check of the action protocol with one leader: the production `step`, `admit`, `record` and
//! `reboot_check::check`, every interleaving of operator, reboot Pods, machine, kubelet and people, and
//! faults from a purse: a crash, a call that lands after its sender gave up, a Pod whose object is
//! deleted by force, a Pod that the kubelet runs again, a cancel, a person at the node.
//!
//! Every call of the operator is two moves: it looks and decides, then the call is sent; in between
//! anything may happen. Writes are compare-and-swap, as on the API server. A reboot Pod reads the run,
//! reads the node, and acts: three moves. A boot and the kubelet's report of it are two.
//!
//! Time passes only when the operator waits for it. Two assumptions of the protocol are about time and
//! are made here, too: a Pod acts within seconds of its reads or not at all, and a process or a reboot
//! that is under way is over when a Pod's deadline has passed (R2c).
//!
//! Each rule is also taken away, and the counterexample that it closes has to be found: a model that
//! finds nothing proves nothing.

mod explore;
mod faults;
mod moves;
mod state;

use explore::{Outcome, explore};
use state::{Purse, Rules};

const ALL: Rules = Rules { r1: true, r2: true, r4: true, r9: true };

#[track_caller]
fn holds(purse: Purse) -> Outcome {
    let outcome = explore(purse, ALL);
    assert_eq!(outcome.violation, None, "{:#?}", outcome.trace);
    eprintln!("{purse:?}: {} states, {} moves deep", outcome.states, outcome.depth);
    outcome
}

/// The shortest way to a violation with a rule taken away.
#[track_caller]
fn breaks(purse: Purse, rules: Rules, property: &str) {
    let outcome = explore(purse, rules);
    let violation = outcome.violation.expect("nothing was found");
    assert!(violation.starts_with(property), "{violation}: {:#?}", outcome.trace);
    eprintln!("{violation} after {} moves: {}", outcome.trace.len(), outcome.trace.join(" → "));
}

#[test]
fn without_faults_the_run_ends_and_the_machine_boots_once() {
    let outcome = holds(Purse::default());
    assert!(outcome.succeeded && outcome.states > 20, "{outcome:?}");
}

#[test]
fn crashes_and_late_calls_do_nothing_twice() {
    assert!(holds(Purse { crashes: 2, late: 1, ..Purse::default() }).succeeded);
}

#[test]
fn a_cancel_at_any_moment_beside_crashes_and_late_calls() {
    let outcome = holds(Purse { crashes: 1, late: 1, cancels: 1, ..Purse::default() });
    assert!(outcome.succeeded && outcome.cancelled && outcome.held, "{outcome:?}");
}

#[test]
fn people_at_the_node_at_any_moment() {
    holds(Purse { people: 2, late: 1, ..Purse::default() });
    holds(Purse { people: 2, crashes: 1, cancels: 1, ..Purse::default() });
}

#[test]
fn pods_that_vanish_and_pods_that_run_again() {
    holds(Purse { lost_pods: 1, crashes: 1, cancels: 1, ..Purse::default() });
    holds(Purse { reruns: 1, crashes: 1, cancels: 1, ..Purse::default() });
    holds(Purse { lost_pods: 1, reruns: 1, late: 1, ..Purse::default() });
}

#[test]
fn machines_that_boot_by_themselves_and_nodes_that_are_replaced() {
    holds(Purse { own_boots: 1, crashes: 1, cancels: 1, ..Purse::default() });
    holds(Purse { replaced: 1, late: 1, crashes: 1, ..Purse::default() });
}

/// W13: the run is deleted by force, at any moment.
#[test]
fn runs_that_are_deleted_by_force() {
    holds(Purse { deletions: 1, late: 1, ..Purse::default() });
    holds(Purse { deletions: 1, crashes: 1, people: 1, ..Purse::default() });
    holds(Purse { deletions: 1, lost_pods: 1, reruns: 1, ..Purse::default() });
}

/// W1: the Pod must ask the kernel, not the Node object.
#[test]
fn w1_is_found_when_the_pod_believes_the_node_object() {
    breaks(Purse { reruns: 1, ..Purse::default() }, Rules { r1: false, ..ALL }, "P2");
}

/// W2, W3: an attempt must be withdrawn before it is given up.
#[test]
fn w2_is_found_when_an_attempt_is_given_up_at_once() {
    breaks(Purse { cancels: 1, ..Purse::default() }, Rules { r2: false, ..ALL }, "P3b");
}

/// W14: every end writes the node.
#[test]
fn w14_is_found_when_a_run_ends_without_writing_the_node() {
    let purse = Purse { cancels: 1, late: 1, ..Purse::default() };
    breaks(purse, Rules { r4: false, ..ALL }, "P3a");
}

/// W9: the field's owner says whose cordon it is.
#[test]
fn w9_is_found_when_the_mark_alone_says_whose_cordon_it_is() {
    let purse = Purse { people: 2, ..Purse::default() };
    breaks(purse, Rules { r9: false, ..ALL }, "P6");
}
