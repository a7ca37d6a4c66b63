//! Bugs on purpose, to see whether the tests find them. They are compiled in under `--cfg mutants` alone
//! and switched on one at a time; in every other build [`mutant!`](crate::mutant) is the constant
//! `false`, and nothing of them is there.

/// A bug, and which properties of the simulated world must find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mutant {
    /// Its name in the source.
    pub name: &'static str,
    /// What is wrong with it on.
    pub says: &'static str,
    /// The properties of which one must not hold any more.
    pub caught_by: &'static [&'static str],
}

const fn mutant(
    name: &'static str,
    caught_by: &'static [&'static str],
    says: &'static str,
) -> Mutant {
    Mutant { name, says, caught_by }
}

/// Every bug.
pub const MUTANTS: &[Mutant] = &[
    mutant("percent-rounded-up", &["SAFE-4"], "a percentage of nodes is rounded up"),
    mutant(
        "min-floor-ignored",
        &["LIVE-9"],
        "a small percentage allows nothing, whatever minFloor says",
    ),
    mutant("budget-ignores-out", &["SAFE-4"], "nodes that are out without a run are not counted"),
    mutant(
        "budget-ignores-slots",
        &["SAFE-4"],
        "the ledger is not counted, only runs that are seen at work",
    ),
    mutant("max-domains-ignored", &["SAFE-4"], "any number of failure domains may be open"),
    mutant("per-domain-ignored", &["SAFE-4"], "maxUnavailablePerDomain is not asked"),
    mutant(
        "domain-from-labels-now",
        &["SAFE-4"],
        "a run is counted where its node is now, not where it was admitted",
    ),
    mutant("max-starts-ignored", &["SAFE-4"], "maxStarts is not asked"),
    mutant("pause-ignored-at-start", &["SAFE-5"], "a paused node is admitted"),
    mutant("pause-ignored-by-run", &["SAFE-5"], "a pause does not stop a run that has begun"),
    mutant("hold-ignored", &["SAFE-5"], "the label rerail.dev/hold is not seen"),
    mutant("meltdown-ignored", &["SAFE-5"], "nodes are started while most of the cluster is down"),
    mutant("unhealthy-ignored", &["SAFE-5"], "breaker.unhealthy is not asked"),
    mutant("storm-ignored", &["SAFE-5"], "many nodes that show the same at once are no storm"),
    mutant(
        "storm-not-recorded",
        &["LIVE-10"],
        "how far a storm is may be put on record after the next round has begun, or never",
    ),
    mutant(
        "policy-ignored-by-run",
        &["SAFE-5"],
        "a run whose policy was suspended or deleted meanwhile goes on to its reboot",
    ),
    mutant("stale-is-true", &["SAFE-5"], "a condition that nobody renews still starts runs"),
    mutant(
        "first-list-is-fresh",
        &["SAFE-5"],
        "an operator that has only just started takes every report for a new one",
    ),
    mutant(
        "admission-without-look",
        &["SAFE-5", "SAFE-9", "SAFE-4"],
        "what was planned on caches is admitted without fresh reads",
    ),
    mutant(
        "doubt-not-overtaken",
        &["SAFE-3", "SAFE-18"],
        "an effect is sent while a status write that got no answer may still land",
    ),
    mutant("attempts-not-counted", &["SAFE-14"], "a machine may be rebooted any number of times"),
    mutant(
        "lost-run-not-counted",
        &["SAFE-14"],
        "a run that was deleted by force takes its reboot off the record",
    ),
    mutant(
        "lost-attempts-unwritten",
        &["SAFE-14"],
        "a further attempt begins before the earlier ones are on the node's record",
    ),
    mutant("ageing-inverted", &["LIVE-6"], "who waits becomes less urgent"),
    mutant(
        "malformed-is-urgent",
        &["SAFE-17", "LIVE-6"],
        "a malformed priority is the most urgent",
    ),
    mutant(
        "foreign-cordon-ignored",
        &["SAFE-7", "SAFE-6"],
        "a node that somebody cordoned is a candidate",
    ),
    mutant("claim-ignored", &["SAFE-7"], "another controller's claim on a node is not seen"),
    mutant("dry-run-acts", &["SAFE-23"], "a policy in mode DryRun enforces"),
    mutant("cancel-ignored", &["SAFE-7", "LIVE-1"], "a cancelled run goes on to its reboot"),
    mutant(
        "reboot-without-intent",
        &["SAFE-3", "LIVE-9"],
        "the reboot Pod is made before its intent is on record",
    ),
    mutant("attempt-reused", &["SAFE-1"], "the second attempt has the number of the first"),
    mutant(
        "withdraw-skipped",
        &["SAFE-3"],
        "a reboot is given up without waiting for its Pod (R2)",
    ),
    mutant("boot-not-awaited", &["SAFE-19"], "any machine that was to boot counts as booted"),
    mutant(
        "person-cordon-lifted",
        &["SAFE-6"],
        "managedFields are not asked whose cordon it is (R9)",
    ),
    mutant(
        "k2-uncordon-always",
        &["SAFE-6", "SAFE-20", "SAFE-19"],
        "kured k2: the roll-back uncordons, whoever has cordoned",
    ),
    mutant(
        "k3-slot-expires",
        &["SAFE-4"],
        "kured k3: a slot is free after a while, although its run goes on",
    ),
    mutant(
        "k4-cordon-forgotten",
        &["LIVE-9", "LIVE-3"],
        "kured k4: our own cordon is taken for somebody else's, and stays",
    ),
    mutant("closing-skipped", &["SAFE-20", "LIVE-9"], "a run ends without its closing write (R4)"),
    mutant("drain-skipped", &["SAFE-21"], "a drain is done before the pods are gone"),
    mutant("drain-timeout-reboots", &["SAFE-21"], "a drain that is late is rebooted anyway"),
    mutant("drain-deletes", &["SAFE-7"], "pods are deleted, not evicted"),
    mutant("verify-without-ready", &["SAFE-19"], "Ready for a moment is enough"),
    mutant("verify-without-daemon-sets", &["SAFE-19"], "DaemonSet pods are not waited for"),
    mutant("verify-without-probe", &["SAFE-19"], "no probe Pod is asked for"),
    mutant(
        "probe-of-any-boot",
        &["SAFE-19"],
        "a probe Pod that was made for one boot counts for the next",
    ),
    mutant("verify-without-clear", &["SAFE-19"], "the trigger need not be clear"),
    mutant("uncordon-not-ready", &["SAFE-19"], "a roll-back uncordons a node that is not Ready"),
    mutant("node-uid-ignored", &["SAFE-13"], "a node that was replaced is taken for the old one"),
    mutant(
        "slot-released-early",
        &["SAFE-4"],
        "a slot goes before the run's status says that it has ended",
    ),
    mutant(
        "claim-not-kept",
        &["SAFE-4"],
        "a slot that a held run takes again goes on an older look at that run",
    ),
    mutant(
        "alert-blind-believed",
        &["SAFE-24"],
        "an Alertmanager that does not show its deadman alert tells the end of alerts",
    ),
    mutant(
        "alert-cold-believed",
        &["SAFE-24"],
        "an Alertmanager that has only just begun tells the end of alerts",
    ),
    mutant(
        "alert-one-replica",
        &["SAFE-24"],
        "what one replica does not show has ended, whatever another one shows",
    ),
    mutant(
        "release-all-keeps-slots",
        &["LIVE-5"],
        "after `rerail release-all` slots are left in the ledger",
    ),
    mutant(
        "recovery-drops-entries",
        &["SAFE-4"],
        "a new term forgets the slots of runs that are gone (R5)",
    ),
    mutant(
        "epoch-not-raised",
        &["SAFE-4", "SAFE-2", "LIVE-9"],
        "a new term keeps its epoch though runs bear it (R5)",
    ),
    mutant("adoption-skipped", &["SAFE-3"], "a new term acts on runs that it has not adopted"),
    mutant(
        "adoption-without-term",
        &["SAFE-2", "LIVE-1", "LIVE-9"],
        "a status keeps the leader that it had (R6)",
    ),
    mutant("lease-not-waited-out", &["SAFE-2"], "a Lease is taken before it has run out"),
    mutant(
        "fence-open",
        &["SAFE-2"],
        "writes are sent whether or not the Lease gives the right to",
    ),
    mutant(
        "run-not-read-again",
        &["SAFE-9", "LIVE-1", "SAFE-16"],
        "before an effect the run is taken from the cache",
    ),
    mutant(
        "answer-lasts",
        &["SAFE-9", "LIVE-1", "LIVE-9", "SAFE-16"],
        "what the answer to a write shows counts as a fresh read for ever",
    ),
    mutant("look-lasts", &["SAFE-9"], "a look at the beginning of a drain counts for all of it"),
    mutant(
        "rewind-unseen",
        &["LIVE-8", "LIVE-1", "LIVE-9"],
        "an operator does not see that etcd was restored, and goes by what has not happened",
    ),
    mutant(
        "caches-of-any-age",
        &["SAFE-4"],
        "an operator that was cut off starts runs before its watches have told it anything",
    ),
    mutant(
        "late-term",
        &["SAFE-17"],
        "a term begins that is over already, and the watchdog ends the process",
    ),
    mutant("finalizer-missing", &["SAFE-20"], "a run that acts has no finalizer"),
    mutant(
        "sweep-off",
        &["LIVE-3", "LIVE-9", "LIVE-7"],
        "nobody looks after nodes whose run is gone (R10)",
    ),
    mutant(
        "sweep-at-once",
        &["SAFE-3"],
        "a node whose run is gone is given back while its Pod may act",
    ),
];

#[cfg(mutants)]
mod switch {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::MUTANTS;

    /// The number of the one that is on, from 1; 0 = none. For the whole process: the operator has
    /// threads of its own.
    static ON: AtomicUsize = AtomicUsize::new(0);

    /// Switches one bug on, and any other off; `None` = none. False if there is none of that name.
    pub fn switch(name: Option<&str>) -> bool {
        let number = name.map_or(Some(0), |name| {
            MUTANTS.iter().position(|mutant| mutant.name == name).map(|at| at + 1)
        });
        ON.store(number.unwrap_or(0), Ordering::Relaxed);
        number.is_some()
    }

    /// True while this one is on.
    pub fn is_on(name: &str) -> bool {
        let on = ON.load(Ordering::Relaxed);
        on > 0 && MUTANTS.get(on - 1).is_some_and(|mutant| mutant.name == name)
    }

    /// True while any is on: then nobody else is to find it before the judge does.
    pub fn any() -> bool {
        ON.load(Ordering::Relaxed) > 0
    }
}

#[cfg(mutants)]
pub use switch::{any, is_on, switch};

/// True while this bug is on; never, unless compiled with `--cfg mutants`.
#[cfg(mutants)]
#[macro_export]
macro_rules! mutant {
    () => {
        $crate::mutants::any()
    };
    ($name:literal) => {
        $crate::mutants::is_on($name)
    };
}

/// True while this bug is on; never, unless compiled with `--cfg mutants`.
#[cfg(not(mutants))]
#[macro_export]
macro_rules! mutant {
    ($($name:literal)?) => {
        false
    };
}
