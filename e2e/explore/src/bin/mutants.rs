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
    /// Only in this scene; each seed draws its own without.
    #[arg(long)]
    scene: Option<String>,
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
    use std::collections::{BTreeMap, BTreeSet};

    use rerail_core::mutants::{MUTANTS, Mutant, switch};
    use rerail_explore::{
        crew, kill,
        plan::{Plan, Settings},
        play::{Keep, play},
        regressions,
    };

    use super::Arguments;

    /// A run: its seed, and what is said beside it.
    type Run = (u64, Settings);

    /// What a history showed.
    struct Seen {
        run: Run,
        violations: Vec<(String, String)>,
    }

    /// How a bug was found.
    struct Caught {
        /// How many runs were needed.
        tried: usize,
        run: Run,
        property: String,
        message: String,
    }

    /// What else was found: how often, and first in which run.
    type Others = BTreeMap<String, (usize, Run, String)>;

    pub fn run(arguments: &Arguments) -> bool {
        let wanted = |mutant: &&Mutant| {
            arguments.names.is_empty()
                || arguments.names.iter().any(|name| mutant.name.contains(name))
        };
        switch(None);
        let runs = match runs(arguments) {
            Ok(runs) => runs,
            Err(error) => {
                anstream::eprintln!("no history can be played: {error}");
                return false;
            }
        };
        let mut needed = Vec::new();
        let mut missed = 0;
        let mut sound = BTreeSet::new();
        anstream::println!("{:<28} {:<10} {:>5}  what was seen", "mutant", "caught by", "runs");
        for mutant in MUTANTS.iter().filter(wanted) {
            let name = mutant.name;
            match hunt(arguments, mutant, &runs, &mut sound) {
                Ok(Caught { tried, run, property, message }) => {
                    anstream::println!(
                        "{name:<28} {property:<10} {tried:>5}  {}: {message}",
                        named(&run)
                    );
                    needed.push(tried);
                }
                Err(others) => {
                    let expected = mutant.caught_by.join(", ");
                    anstream::println!(
                        "{name:<28} NOT CAUGHT in {} runs; expected {expected}: {}",
                        runs.len(),
                        mutant.says
                    );
                    for (property, (count, run, message)) in others {
                        anstream::println!(
                            "{:<28} {property:<10} {count:>5}  {}: {message}",
                            "  but",
                            named(&run)
                        );
                    }
                    missed += 1;
                }
            }
        }
        switch(None);
        needed.sort_unstable();
        let median = needed.get(needed.len() / 2).copied().unwrap_or_default();
        let all = needed.len() + missed;
        anstream::println!("{} of {all} caught, {median} runs in the median", needed.len());
        missed == 0
    }

    fn named((seed, said): &Run) -> String {
        format!("seed {seed} {said}").trim_end().to_owned()
    }

    /// The seeds; and behind them, unless a scene is said, what every test run plays, too: the regressions,
    /// every kill point, two lost answers in a row, and whatever is late.
    fn runs(arguments: &Arguments) -> Result<Vec<Run>, Box<dyn std::error::Error>> {
        let scene = || arguments.scene.clone();
        let seeds = arguments.from..arguments.from.saturating_add(arguments.seeds);
        let seeds = seeds.map(|seed| (seed, Settings { scene: scene(), ..Settings::default() }));
        let mut runs: Vec<Run> = seeds.collect();
        if arguments.scene.is_some() {
            return Ok(runs);
        }
        runs.extend(regressions::all()?.into_iter().map(|one| (one.seed, one.settings)));
        for story in kill::STORIES {
            let requests = story.requests()?;
            runs.extend(story.all(requests).map(|said| (kill::SEED, said)));
        }
        Ok(runs)
    }

    fn hunt(
        arguments: &Arguments,
        mutant: &Mutant,
        runs: &[Run],
        sound: &mut BTreeSet<(u64, String)>,
    ) -> Result<Caught, Others> {
        let mut left = runs.iter().cloned();
        let mut tried = 0;
        let mut others = Others::new();
        loop {
            switch(Some(mutant.name));
            let mut hit = None;
            let threads = crew::threads(arguments.threads);
            crew::each(threads, &mut left, history, |seen: Seen| {
                tried += 1;
                let (expected, other): (Vec<_>, Vec<_>) =
                    seen.violations.into_iter().partition(|(found, _)| is_expected(mutant, found));
                for (property, message) in other {
                    others.entry(property).or_insert((0, seen.run.clone(), message)).0 += 1;
                }
                let found = expected.into_iter().next();
                hit = found.map(|(property, message)| (seen.run, property, message));
                hit.is_none()
            });
            let Some((run, property, message)) = hit else { return Err(others) };
            // With nothing wrong this history shows nothing, or it is no proof.
            switch(None);
            let known = (run.0, run.1.to_string());
            let clean =
                || history(run.clone()).violations.iter().all(|(other, _)| *other != property);
            if sound.contains(&known) || clean() {
                sound.insert(known);
                return Ok(Caught { tried, run, property, message });
            }
        }
    }

    fn is_expected(mutant: &Mutant, property: &str) -> bool {
        let lives = mutant.caught_by.iter().any(|known| known.starts_with("LIVE-"));
        mutant.caught_by.contains(&property) || (property == "HEALS" && lives)
    }

    fn history(run: Run) -> Seen {
        let outcome = play(&Plan::new(run.0, &run.1), Keep::default());
        let violations = match outcome {
            Ok(outcome) => outcome
                .violations
                .into_iter()
                .map(|v| (v.property, format!("{}: {}", v.subject, v.message)))
                .collect(),
            Err(error) => vec![("ERROR".to_owned(), error.to_string())],
        };
        Seen { run, violations }
    }
}
