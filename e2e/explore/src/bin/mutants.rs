//! For each bug on purpose (`rerail_core::mutants`): histories, one seed after the other, until the judge
//! finds it. `cargo xtask mutants` compiles the bugs in and runs this.

use std::process::ExitCode;

use clap::Parser;

/// Which bugs are looked for, and how long.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only bugs whose name contains one of these; all without any.
    names: Vec<String>,
    /// So many seeds for each, at most.
    #[arg(long, default_value_t = 300)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// So many histories at once.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if mutants::run(&arguments) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(not(mutants))]
mod mutants {
    /// There are none.
    pub fn run(_: &super::Arguments) -> bool {
        anstream::eprintln!("no bug is compiled in; use `cargo xtask mutants`");
        false
    }
}

#[cfg(mutants)]
mod mutants {
    use std::collections::BTreeSet;

    use rerail_core::mutants::{MUTANTS, Mutant, switch};
    use rerail_explore::{
        crew,
        plan::{Plan, Settings},
        play::{Keep, play},
    };

    use super::Arguments;

    /// What a history showed.
    struct Seen {
        seed: u64,
        violations: Vec<(String, String)>,
    }

    /// How a bug was found.
    struct Caught {
        /// How many seeds were needed.
        seeds: u64,
        seed: u64,
        property: String,
        message: String,
    }

    pub fn run(arguments: &Arguments) -> bool {
        let wanted = |mutant: &&Mutant| {
            arguments.names.is_empty()
                || arguments.names.iter().any(|name| mutant.name.contains(name))
        };
        let mut needed = Vec::new();
        let mut missed = Vec::new();
        let mut sound = BTreeSet::new();
        anstream::println!(
            "{:<28} {:<10} {:>5}  {:>5}  what was seen",
            "mutant",
            "caught by",
            "seeds",
            "seed"
        );
        for mutant in MUTANTS.iter().filter(wanted) {
            match hunt(arguments, mutant, &mut sound) {
                Some(Caught { seeds, seed, property, message }) => {
                    anstream::println!(
                        "{:<28} {property:<10} {seeds:>5}  {seed:>5}  {message}",
                        mutant.name
                    );
                    needed.push(seeds);
                }
                None => {
                    let expected = mutant.caught_by.join(", ");
                    anstream::println!(
                        "{:<28} NOT CAUGHT in {} seeds; expected {expected}: {}",
                        mutant.name,
                        arguments.seeds,
                        mutant.says
                    );
                    missed.push(mutant.name);
                }
            }
        }
        switch(None);
        needed.sort_unstable();
        let median = needed.get(needed.len() / 2).copied().unwrap_or_default();
        anstream::println!(
            "{} of {} caught, {median} seeds in the median",
            needed.len(),
            needed.len() + missed.len()
        );
        missed.is_empty()
    }

    fn hunt(arguments: &Arguments, mutant: &Mutant, sound: &mut BTreeSet<u64>) -> Option<Caught> {
        switch(Some(mutant.name));
        let seeds = arguments.from..arguments.from.saturating_add(arguments.seeds);
        let mut tried = 0;
        let mut found: Option<Caught> = None;
        crew::each(crew::threads(arguments.threads), seeds, history, |seen: Seen| {
            tried += 1;
            let hit =
                seen.violations.into_iter().find(|(property, _)| is_expected(mutant, property));
            if let Some((property, message)) = hit {
                // With nothing wrong this history shows nothing, or it is no proof.
                switch(None);
                let clean = sound.contains(&seen.seed) || is_clean(seen.seed, &property);
                switch(Some(mutant.name));
                if clean {
                    sound.insert(seen.seed);
                    found.get_or_insert(Caught {
                        seeds: tried,
                        seed: seen.seed,
                        property,
                        message,
                    });
                }
            }
            found.is_none()
        });
        found
    }

    fn is_expected(mutant: &Mutant, property: &str) -> bool {
        let lives = mutant.caught_by.iter().any(|known| known.starts_with("LIVE-"));
        mutant.caught_by.contains(&property) || (property == "HEALS" && lives)
    }

    fn is_clean(seed: u64, property: &str) -> bool {
        history(seed).violations.iter().all(|(known, _)| known != property)
    }

    fn history(seed: u64) -> Seen {
        let outcome = play(&Plan::new(seed, &Settings::default()), Keep::default());
        let violations = match outcome {
            Ok(outcome) => outcome
                .violations
                .into_iter()
                .map(|v| (v.property, format!("{}: {}", v.subject, v.message)))
                .collect(),
            Err(error) => vec![("ERROR".to_owned(), error.to_string())],
        };
        Seen { seed, violations }
    }
}
