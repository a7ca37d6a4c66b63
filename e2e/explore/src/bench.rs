//! Figures of the simulation: how fast it is, and how much it covers. They are printed as JSON, for
//! `cargo xtask bench sim`, which adds the conditions.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{
    kill::{self, Share},
    plan::{Mode, Settings},
    play::{PlayError, warm_up},
    tier::{Tally, play_all},
};

/// Virtual time for which the large scene is played.
const LARGE: Duration = Duration::from_mins(30);

/// So often: one run alone may be a fifth slower than the next.
const LARGE_RUNS: usize = 5;

/// Seeds of the many runs begin here: those of the tests are others.
const FROM: u64 = 1_000_000;

/// Many runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Part {
    /// What was played.
    pub what: String,
    /// Runs.
    pub runs: u64,
    /// Requests of operators.
    pub requests: u64,
    /// Time on the virtual clocks, in seconds.
    pub virtual_seconds: f64,
    /// Time on the real one.
    pub seconds: f64,
    /// Runs in which a property did not hold, each with the first thing that was seen.
    pub failed: Vec<String>,
    /// How many these are.
    pub failures: u64,
}

impl Part {
    fn of(what: &str, tally: &Tally, took: Duration) -> Self {
        let failed = tally.failed.iter();
        let failed = failed.map(|run| {
            let why = run.why.first().map(String::as_str).unwrap_or_default();
            format!("{}: {why}", crate::report::command(run.seed, &run.said))
        });
        Part {
            what: what.to_owned(),
            runs: tally.runs,
            requests: tally.requests,
            virtual_seconds: tally.virtual_time.as_secs_f64(),
            seconds: took.as_secs_f64(),
            failed: failed.collect(),
            failures: tally.failures,
        }
    }
}

/// All figures.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// How it was built.
    pub profile: String,
    /// Runs at a time.
    pub threads: usize,
    /// 60 nodes under the demo's load, one operator, a few runs one after the other, on one thread.
    pub large: Part,
    /// What was played many times.
    pub parts: Vec<Part>,
    /// The most memory that the process had, in MiB.
    pub peak_mib: Option<u64>,
}

/// Who hears how it goes.
pub trait Audience {
    /// What is done, how far it is, and of how many.
    fn tell(&mut self, what: &str, done: u64, all: u64);

    /// A part is finished: the whole may take an hour, and be ended before.
    fn finished(&mut self, part: &Part);
}

/// Measures: the large scene, every kill point, one in so many `pairs` of them, and so many `seeds`.
pub fn measure(
    threads: usize,
    seeds: u64,
    pairs: u64,
    audience: &mut dyn Audience,
) -> Result<Record, PlayError> {
    let large = large(audience)?;
    let mut parts = Vec::new();
    for story in kill::STORIES {
        let requests = story.requests()?;
        let all = || story.singles(requests).map(|said| (kill::SEED, said));
        parts.push(part(&format!("every kill point, {story}"), threads, all, audience));
        let what = format!("one in {pairs} pairs, {story}");
        let some = || {
            story.pairs(requests, Share { one_in: pairs, seed: 0 }).map(|said| (kill::SEED, said))
        };
        parts.push(part(&what, threads, some, audience));
    }
    let seeds = || (FROM..FROM.saturating_add(seeds)).map(|seed| (seed, Settings::default()));
    parts.push(part("seeds", threads, seeds, audience));
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" }.to_owned();
    Ok(Record { profile, threads, large, parts, peak_mib: peak_mib() })
}

fn large(audience: &mut dyn Audience) -> Result<Part, PlayError> {
    let said = Settings {
        scene: Some("demo".to_owned()),
        operators: Some(1),
        mode: Some(Mode::Safety),
        calm: true,
        ends: Some(LARGE.as_secs()),
        ..Settings::default()
    };
    // What a process does once is not what a run costs.
    warm_up()?;
    let all = || std::iter::repeat_n((kill::SEED, said.clone()), LARGE_RUNS);
    Ok(part("60 nodes under the demo's load", 1, all, audience))
}

fn part<Runs: Iterator<Item = (u64, Settings)> + Send>(
    what: &str,
    threads: usize,
    runs: impl Fn() -> Runs,
    audience: &mut dyn Audience,
) -> Part {
    let count = u64::try_from(runs().count()).unwrap_or(u64::MAX);
    let began = Instant::now();
    let tally = play_all(threads, runs(), |tally| audience.tell(what, tally.runs, count));
    let part = Part::of(what, &tally, began.elapsed());
    audience.finished(&part);
    part
}

/// `VmHWM` of this process.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory() {
        assert!(peak_mib().is_some_and(|mib| mib > 0));
    }
}
