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

    /// Bugs in what the models call, in worlds where it matters. The others are in what they leave out (design
    /// note 024): the gates of the planner, drains, verification, alerts, reads that lag.
    const IN_REACH: &[&str] = &[
        "budget-ignores-out",
        "budget-ignores-slots",
        "max-domains-ignored",
        "per-domain-ignored",
        "domain-from-labels-now",
        "doubt-not-overtaken",
        "cancel-ignored",
        "reboot-without-intent",
        "withdraw-skipped",
        "boot-not-awaited",
        "k2-uncordon-always",
        "closing-skipped",
        "slot-released-early",
        "epoch-not-raised",
        "lease-not-waited-out",
        "sweep-at-once",
        "k4-cordon-forgotten",
        "uncordon-not-ready",
    ];

    /// True when each was found.
    pub fn run(names: &[String]) -> bool {
        let mut missed = 0;
        for mutant in MUTANTS {
            let asked = names.iter().any(|name| mutant.name.contains(name.as_str()));
            if !(asked || names.is_empty() && IN_REACH.contains(&mutant.name)) {
                continue;
            }
            switch(Some(mutant.name));
            let found = Name::ALL.iter().find_map(|model| first(*model));
            switch(None);
            match found {
                Some(what) => {
                    anstream::println!("\u{1b}[32mfound\u{1b}[0m  {:<28} {what}", mutant.name)
                }
                None => {
                    missed += 1;
                    anstream::println!(
                        "\u{1b}[31mmissed\u{1b}[0m {:<28} {}",
                        mutant.name,
                        mutant.says
                    );
                }
            }
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
