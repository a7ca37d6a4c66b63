//! Many runs as one result: how many, how much, and what did not hold.

use std::{collections::BTreeMap, time::Duration};

use rerail_sim::property::SOMETIMES;

use crate::{
    crew,
    outcome::Outcome,
    plan::{Plan, Settings},
    play::{Keep, PlayError, play},
};

/// A run that failed.
#[derive(Debug, Clone)]
pub struct Failed {
    /// Its seed.
    pub seed: u64,
    /// What is said beside it.
    pub said: Settings,
    /// What did not hold, or why it could not be played.
    pub why: Vec<String>,
}

/// What came of many runs.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Runs that were played.
    pub runs: u64,
    /// Requests of operators in all of them.
    pub requests: u64,
    /// Time that passed on the virtual clocks.
    pub virtual_time: Duration,
    /// What was seen, and how often.
    pub seen: BTreeMap<String, u64>,
    /// Runs that failed; at most [`KEPT`].
    pub failed: Vec<Failed>,
    /// How many failed.
    pub failures: u64,
}

/// So many seeds have to show whatever can be seen, or they are vacuous.
pub const MANY: u64 = 150;

/// So many failed runs are kept.
pub const KEPT: usize = 20;

impl Tally {
    /// What a set of histories has to show, and this one has not: then it is vacuous.
    pub fn never_seen(&self) -> Vec<&'static str> {
        let all = SOMETIMES.iter().map(|one| one.id);
        all.filter(|id| !self.seen.contains_key(*id)).collect()
    }

    /// True if nothing failed.
    pub fn is_good(&self) -> bool {
        self.failures == 0
    }

    pub(crate) fn add(&mut self, seed: u64, said: Settings, outcome: Result<Outcome, PlayError>) {
        self.runs += 1;
        let why: Vec<String> = match outcome {
            Err(error) => vec![error.to_string()],
            Ok(outcome) => {
                self.requests += outcome.requests;
                self.virtual_time += outcome.lasted;
                for (what, count) in outcome.seen {
                    *self.seen.entry(what).or_default() += count;
                }
                outcome.violations.iter().map(ToString::to_string).collect()
            }
        };
        if !why.is_empty() {
            self.failures += 1;
            if self.failed.len() < KEPT {
                self.failed.push(Failed { seed, said, why });
            }
        }
    }
}

/// Plays runs on so many threads. `tell` hears of the tally after each.
pub fn play_all(
    threads: usize,
    runs: impl Iterator<Item = (u64, Settings)> + Send,
    mut tell: impl FnMut(&Tally),
) -> Tally {
    let mut tally = Tally::default();
    crew::each(
        threads,
        runs,
        |(seed, said)| {
            let outcome = play(&Plan::new(seed, &said), Keep::default());
            (seed, said, outcome)
        },
        |(seed, said, outcome)| {
            tally.add(seed, said, outcome);
            tell(&tally);
            true
        },
    );
    tally
}
