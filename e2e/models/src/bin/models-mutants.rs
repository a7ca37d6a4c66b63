//! Bugs on purpose in the core (`rerail_core::mutants`), looked for by the models: a model that notices no bug
//! of the functions that it calls proves nothing about them. `cargo xtask models --bugs` compiles the bugs in
//! and runs this.

use std::process::ExitCode;

use clap::Parser;

/// Looks whether the models find bugs on purpose in the core.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask models --bugs", bin_name = "cargo xtask models --bugs")]
struct Arguments {
    /// Only bugs whose name contains one of these; without any all that the models have to find.
    names: Vec<String>,
}

/// The others, by what the models leave out (design note 024).
#[cfg(test)]
const OUT_OF_REACH: &[(&str, &[&str])] = &[
    (
        "what the operator does between the decisions, and how objects are read: the histories have that",
        &[
            "admission-without-look",
            "adoption-skipped",
            "adoption-without-term",
            "answer-lasts",
            "caches-of-any-age",
            "claim-ignored",
            "claim-not-kept",
            "drain-deletes",
            "dry-run-acts",
            "fence-open",
            "finalizer-missing",
            "first-list-is-fresh",
            "hold-ignored",
            "late-term",
            "look-lasts",
            "node-uid-ignored",
            "person-cordon-lifted",
            "probe-of-any-boot",
            "release-all-keeps-slots",
            "rewind-unseen",
            "run-not-read-again",
            "storm-not-recorded",
        ],
    ),
    (
        "gates, order and messages: every candidate of a model is as urgent, and nothing but budgets holds it back",
        &[
            "ageing-inverted",
            "foreign-cordon-ignored",
            "malformed-is-urgent",
            "max-starts-ignored",
            "meltdown-ignored",
            "pause-ignored-at-start",
            "stale-is-true",
            "storm-ignored",
            "unhealthy-ignored",
        ],
    ),
    (
        "budgets in percent: those of a model are counts",
        &["min-floor-ignored", "percent-rounded-up"],
    ),
    ("alerts", &["alert-blind-believed", "alert-cold-believed", "alert-one-replica"]),
    ("drains: a node of a model has no pods", &["drain-skipped", "drain-timeout-reboots"]),
    (
        "verification beyond Ready and a new boot",
        &[
            "verify-without-clear",
            "verify-without-daemon-sets",
            "verify-without-probe",
            "verify-without-ready",
        ],
    ),
    (
        "a run that is paused, or whose policy goes",
        &["pause-ignored-by-run", "policy-ignored-by-run"],
    ),
    ("time that passes without an end: a slot of a model is never hours old", &["k3-slot-expires"]),
    (
        "tried, and noticed by no world of a model: the histories find it",
        &["recovery-drops-entries"],
    ),
    (
        "attempts: a run of a model has as many as it needs",
        &[
            "attempt-reused",
            "attempts-not-counted",
            "lost-attempts-unwritten",
            "lost-run-not-counted",
        ],
    ),
];

/// Bugs in what the models call, by the model in whose worlds they matter.
#[cfg(any(mutants, test))]
const IN_REACH: &[(rerail_models::Name, &[&str])] = &[
    (
        rerail_models::Name::Budgets,
        &[
            "budget-ignores-out",
            "budget-ignores-slots",
            "max-domains-ignored",
            "per-domain-ignored",
            "domain-from-labels-now",
        ],
    ),
    (
        rerail_models::Name::Lease,
        &[
            "cancel-ignored",
            "closing-skipped",
            "slot-released-early",
            "epoch-not-raised",
            "lease-not-waited-out",
        ],
    ),
    (
        rerail_models::Name::Run,
        &[
            "reboot-without-intent",
            "withdraw-skipped",
            "boot-not-awaited",
            "k2-uncordon-always",
            "k4-cordon-forgotten",
            "uncordon-not-ready",
            "sweep-at-once",
            "sweep-off",
        ],
    ),
    (rerail_models::Name::Marks, &["doubt-not-overtaken"]),
];

fn main() -> ExitCode {
    if mutants::run(&Arguments::parse().names) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(not(mutants))]
mod mutants {
    /// There are none.
    pub fn run(_: &[String]) -> bool {
        anstream::eprintln!("no bug is compiled in; use `cargo xtask models --bugs`");
        false
    }
}

#[cfg(mutants)]
mod mutants {
    use std::ops::ControlFlow;

    use rerail_core::mutants::{MUTANTS, switch};
    use rerail_models::{Name, check::Outcome};

    use super::IN_REACH;

    /// True when each was found.
    pub fn run(names: &[String]) -> bool {
        let mut missed = 0;
        for mutant in MUTANTS {
            let asked = names.iter().any(|name| mutant.name.contains(name.as_str()));
            let of = IN_REACH.iter().find(|(_, all)| all.contains(&mutant.name));
            let models: &[Name] = match of {
                Some((model, _)) if asked || names.is_empty() => std::slice::from_ref(model),
                None if asked => &Name::ALL,
                Some(_) | None => continue,
            };
            switch(Some(mutant.name));
            let found = models.iter().find_map(|model| first(*model));
            switch(None);
            let (color, word) = if found.is_some() { ("32", "found") } else { ("31", "missed") };
            missed += usize::from(found.is_none());
            let what = found.unwrap_or_else(|| mutant.says.to_owned());
            anstream::println!("\u{1b}[{color}m{word:<6}\u{1b}[0m {:<28} {what}", mutant.name);
        }
        missed == 0
    }

    /// The first property of a small world that is not as it should be.
    fn first(model: Name) -> Option<String> {
        let mut found = None;
        model.explore(false, 1, &mut |outcome| {
            found = told(&outcome);
            if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        found
    }

    fn told(outcome: &Outcome) -> Option<String> {
        let finding = outcome.findings.iter().find(|finding| !finding.good)?;
        let Outcome { model, faults, unique, .. } = outcome;
        Some(format!("{model}, {faults}, {unique} states: {}", finding.property))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rerail_core::mutants::MUTANTS;

    use super::{IN_REACH, OUT_OF_REACH};

    /// A bug that nobody has thought of here would be left out in silence.
    #[test]
    fn every_bug_is_looked_for_by_a_model_or_has_a_reason_why_not() {
        let looked_for = IN_REACH.iter().flat_map(|(_, names)| names.iter());
        let left_out = OUT_OF_REACH.iter().flat_map(|(_, names)| names.iter());
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for name in looked_for.chain(left_out) {
            *times.entry(name).or_default() += 1;
        }
        let expected: BTreeMap<&str, usize> =
            MUTANTS.iter().map(|mutant| (mutant.name, 1)).collect();
        assert_eq!(times, expected);
    }
}
