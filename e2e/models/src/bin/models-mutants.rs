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

    /// Bugs in what the models call, by the model in whose worlds they matter. The others are in what they leave out (design
    /// note 024): the gates of the planner, drains, verification, alerts, reads that lag.
    const IN_REACH: &[(Name, &[&str])] = &[
        (
            Name::Budgets,
            &[
                "budget-ignores-out",
                "budget-ignores-slots",
                "max-domains-ignored",
                "per-domain-ignored",
                "domain-from-labels-now",
            ],
        ),
        (
            Name::Lease,
            &[
                "cancel-ignored",
                "closing-skipped",
                "slot-released-early",
                "epoch-not-raised",
                "lease-not-waited-out",
            ],
        ),
        (
            Name::Run,
            &[
                "reboot-without-intent",
                "withdraw-skipped",
                "boot-not-awaited",
                "k2-uncordon-always",
                "k4-cordon-forgotten",
                "uncordon-not-ready",
                "sweep-at-once",
            ],
        ),
        (Name::Marks, &["doubt-not-overtaken"]),
    ];

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
