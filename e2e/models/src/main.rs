//! `cargo xtask models`: explores every state of the models, and prints what was found.

use std::{ops::ControlFlow, process::ExitCode};

use clap::{Parser, ValueEnum};
use rerail_models::{
    Name,
    check::Outcome,
    told::{properties, table},
};

/// Explores every state of small worlds in which the production decisions act.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask models", bin_name = "cargo xtask models")]
#[command(
    after_help = "`cargo xtask models --bugs [NAME…]` compiles bugs into the core, and looks whether the models find each."
)]
struct Arguments {
    /// Which models; all when none is named.
    models: Vec<Which>,
    /// The configurations with more operators, nodes and faults, instead of those that every test explores.
    #[arg(long)]
    full: bool,
    /// Threads. With one, what is found is found by a shortest way.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: u8,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Which {
    /// Leaders, epochs, the ledger.
    Lease,
    /// One run, its machine and its reboot Pods.
    Run,
    /// Budgets with labels, nodes and limits that change.
    Budgets,
    /// Marks, and others who write on the node.
    Marks,
}

impl From<Which> for Name {
    fn from(which: Which) -> Name {
        match which {
            Which::Lease => Name::Lease,
            Which::Run => Name::Run,
            Which::Budgets => Name::Budgets,
            Which::Marks => Name::Marks,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut models: Vec<Name> = arguments.models.iter().map(|which| Name::from(*which)).collect();
    if models.is_empty() {
        models.extend(Name::ALL);
    }
    let mut outcomes: Vec<Outcome> = Vec::new();
    for model in models {
        model.explore(arguments.full, arguments.threads.into(), &mut |outcome| {
            let Outcome { model, faults, unique, depth, took, .. } = &outcome;
            let seconds = took.as_secs_f64();
            anstream::eprintln!("{model}, {faults}: {unique} states, {depth} deep, {seconds:.1} s");
            // At once: others may take long.
            if !outcome.good() {
                anstream::println!("{outcome}");
            }
            outcomes.push(outcome);
            ControlFlow::Continue(())
        });
    }
    anstream::println!("{}\n\n{}", table(&outcomes), properties(&outcomes));
    match outcomes.iter().all(Outcome::good) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
