//! `cargo xtask explore`: hostile histories of the operator, many or one.

use std::{io::IsTerminal, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand, builder::PossibleValuesParser};
use indicatif::{ProgressBar, ProgressStyle};
use rerail_explore::{
    bench, branch, crew,
    kill::{self, Share, Story},
    mishap::span,
    plan::{Plan, Settings},
    play::{Keep, PlayError, play},
    regressions, report, stage,
    tier::{MANY, Tally, play_all},
    trace,
};
use tokio::time::Instant;

/// Plays the unchanged operator through hostile histories, and looks whether every property holds.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask explore", bin_name = "cargo xtask explore")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Runs at a time.
    #[arg(long, global = true, default_value_t = 2)]
    threads: usize,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A run of each seed: faults, mishaps and scenes are drawn from it.
    Seeds {
        /// The first seed.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// How many.
        #[arg(long, default_value_t = 1000)]
        count: u64,
        #[command(flatten)]
        said: Settings,
    },
    /// At each request the operator dies, before or after it is done, or its answer is lost, or one of them is late.
    Kill {
        #[command(flatten)]
        whose: Whose,
    },
    /// Two of these in one run, and with `--part` a third behind two lost answers in a row.
    Pairs {
        /// One in so many of all pairs.
        #[arg(long, default_value_t = 10)]
        one_in: u64,
        /// From this seed they are drawn.
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Not drawn, but the part of this number, from 0, of all: the parts 0 to N-1 of `--one-in N` are all
        /// that can be reached, each once. What runs have in common is played once.
        #[arg(long, conflicts_with = "seed")]
        part: Option<u64>,
        #[command(flatten)]
        whose: Whose,
    },
    /// One run, and one for each of its requests behind its last kill point and each way in which the sender
    /// may fare there: what came of them, as lines of JSON. `pairs` does this with many.
    #[command(hide = true)]
    Branch {
        /// The seed.
        seed: u64,
        #[command(flatten)]
        said: Settings,
    },
    /// One run again, with its story.
    Replay(Replay),
    /// The runs that once found a bug.
    Regressions,
    /// Measures, and prints the figures as JSON; `cargo xtask bench sim` shows them.
    #[command(hide = true)]
    Bench {
        /// Seeds that are played.
        #[arg(long)]
        seeds: u64,
        /// One in so many pairs of kill points is.
        #[arg(long)]
        pairs: u64,
    },
}

/// Whose requests are counted: those of three stories that every test run plays, or of another one.
#[derive(Debug, Args)]
struct Whose {
    /// Of this scene, instead of the three stories that every test run plays.
    #[arg(long, value_parser = PossibleValuesParser::new(stage::names()))]
    scene: Option<String>,
    /// With so many operators.
    #[arg(long, requires = "scene", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=9))]
    operators: u8,
}

impl Whose {
    fn stories(&self) -> Vec<Story> {
        let operators = usize::from(self.operators);
        let scene = stage::names().find(|name| Some(*name) == self.scene.as_deref());
        match scene {
            Some(scene) => vec![Story { scene, operators, shows: &[] }],
            None => kill::STORIES.to_vec(),
        }
    }
}

#[derive(Debug, Args)]
struct Replay {
    /// The seed.
    seed: u64,
    #[command(flatten)]
    said: Settings,
    /// Shrink it first, if it fails.
    #[arg(long)]
    shrink: bool,
    /// Where everything that happened is written, line by line.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Show what the operators log, as `RUST_LOG` says.
    #[arg(long)]
    logs: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum ExploreError {
    #[error(transparent)]
    Play(#[from] PlayError),
    #[error(transparent)]
    List(#[from] regressions::ListError),
    #[error("the figures cannot be printed: {0}")]
    Json(#[from] serde_json::Error),
    #[error("there is no part {part} of {of}: they are numbered from 0")]
    Part { part: u64, of: u64 },
    #[error("part {part} of {of} has nothing in it: ask for fewer parts")]
    EmptyPart { part: u64, of: u64 },
    #[error("this program does not find itself: {0}")]
    Program(std::io::Error),
    #[error("the trace cannot be written to {}: {source}", path.display())]
    Trace { path: PathBuf, source: std::io::Error },
}

/// Lines of progress where there is no terminal.
const PARTS: u64 = 10;

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            anstream::eprintln!("\u{1b}[31merror\u{1b}[0m: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<bool, ExploreError> {
    let threads = crew::threads(arguments.threads);
    match arguments.command {
        Command::Seeds { from, count, said } => {
            // Few seeds, or those of one scene, need not show everything.
            let must_show = count >= MANY && said == Settings::default();
            let runs = (from..from.saturating_add(count)).map(move |seed| (seed, said.clone()));
            let tally = many("seeds", threads, count, runs)?;
            let missing = tally.never_seen();
            if !missing.is_empty() {
                anstream::println!("never seen: {}", missing.join(", "));
            }
            Ok(tally.is_good() && (missing.is_empty() || !must_show))
        }
        Command::Kill { whose } => {
            stories("kill points", threads, &whose.stories(), |story, requests| story.all(requests))
        }
        Command::Pairs { one_in, seed, part: None, whose } => {
            let share = Share { one_in, seed };
            stories("pairs", threads, &whose.stories(), |story, requests| {
                story.pairs(requests, share)
            })
        }
        Command::Pairs { one_in, part: Some(part), whose, .. } => {
            part_of_all(threads, part, one_in, &whose.stories())
        }
        Command::Branch { seed, said } => {
            branch::play_and_tell(seed, &said)?;
            Ok(true)
        }
        Command::Replay(replay) => again(&replay),
        Command::Bench { seeds, pairs } => {
            let mut shown = Shown(bar("", 0));
            let record = bench::measure(threads, seeds, pairs, &mut shown)?;
            shown.0.finish_and_clear();
            println!("{}", serde_json::to_string(&record)?);
            Ok(true)
        }
        Command::Regressions => {
            let all = regressions::all()?;
            let count = u64::try_from(all.len()).unwrap_or(u64::MAX);
            let runs = all.into_iter().map(|one| (one.seed, one.settings));
            Ok(many("regressions", threads, count, runs)?.is_good())
        }
    }
}

/// Plays these runs of each story.
fn stories<Runs: Iterator<Item = Settings> + Send>(
    what: &str,
    threads: usize,
    stories: &[Story],
    runs: impl Fn(Story, u64) -> Runs,
) -> Result<bool, ExploreError> {
    let mut good = true;
    for &story in stories {
        let requests = story.requests()?;
        let count = u64::try_from(runs(story, requests).count()).unwrap_or(u64::MAX);
        let what = format!("{what}, {story}");
        let seeded = runs(story, requests).map(|said| (kill::SEED, said));
        good &= many(&what, threads, count, seeded)?.is_good();
    }
    Ok(good)
}

/// Plays a part of all runs of each story that have one more kill point behind one, or behind two lost answers
/// in a row.
fn part_of_all(
    threads: usize,
    part: u64,
    of: u64,
    stories: &[Story],
) -> Result<bool, ExploreError> {
    if part >= of {
        return Err(ExploreError::Part { part, of });
    }
    let program = std::env::current_exe().map_err(ExploreError::Program)?;
    let (mut good, mut begun) = (true, 0);
    for story in stories {
        let trunks: Vec<_> = story.trunks(story.requests()?, part, of).collect();
        let count = u64::try_from(trunks.len()).unwrap_or(u64::MAX);
        begun += count;
        let what = format!("branches, {story}");
        let trunks = trunks.into_iter().map(|said| (kill::SEED, said));
        let tally = watched(&what, count, |progress| {
            branch::play_all(&program, threads, trunks, |done, tally| progress.tell(done, tally))
        });
        good &= tally?.is_good();
    }
    match begun {
        0 => Err(ExploreError::EmptyPart { part, of }),
        _ => Ok(good),
    }
}

/// Plays many runs with a bar, and tells the stories of those that failed.
fn many(
    what: &str,
    threads: usize,
    count: u64,
    runs: impl Iterator<Item = (u64, Settings)> + Send,
) -> Result<Tally, ExploreError> {
    watched(what, count, |progress| {
        play_all(threads, runs, |tally| progress.tell(tally.runs, tally))
    })
}

/// Shows how it goes while they are played, and then what came of it.
fn watched(
    what: &str,
    count: u64,
    play: impl FnOnce(&mut Progress<'_>) -> Tally,
) -> Result<Tally, ExploreError> {
    let began = Instant::now();
    let mut progress = Progress { bar: bar(what, count), what, count, told: 0 };
    let tally = play(&mut progress);
    progress.bar.finish_and_clear();
    told(what, &tally, began.elapsed())?;
    Ok(tally)
}

/// How it goes: a bar, or a line now and then where there is no terminal.
struct Progress<'a> {
    bar: ProgressBar,
    what: &'a str,
    count: u64,
    told: u64,
}

impl Progress<'_> {
    fn tell(&mut self, done: u64, tally: &Tally) {
        let Progress { bar, what, count, told } = self;
        let Tally { runs, failures, .. } = tally;
        bar.set_position(done);
        let part = done.saturating_mul(PARTS) / (*count).max(1);
        if bar.is_hidden() && part > *told {
            *told = part;
            // A beginning that is played with its branches is more than one run.
            let runs = if runs == &done { String::new() } else { format!(", {runs} runs") };
            anstream::eprintln!("  {what}: {done} of {count}{runs}, {failures} failed");
        }
        if *failures > 0 {
            bar.set_message(format!("{what}, {failures} failed"));
        }
    }
}

/// What came of them, and the stories of those that failed.
fn told(what: &str, tally: &Tally, took: Duration) -> Result<(), ExploreError> {
    summary(what, tally, took);
    for failed in &tally.failed {
        anstream::println!(
            "\u{1b}[31mfailed\u{1b}[0m {}",
            report::command(failed.seed, &failed.said)
        );
        failed.why.iter().take(5).for_each(|why| anstream::println!("  {why}"));
    }
    // One story is enough to begin with; the others can be asked for.
    if let Some(failed) = tally.failed.first() {
        anstream::println!("\nthe first of them, shrunk:");
        let spinner = bar_of_search();
        let story = report::failed(failed.seed, &failed.said, &mut |tries, _| {
            spinner.set_message(format!("shrinking: {tries} runs"));
            spinner.tick();
        })?;
        spinner.finish_and_clear();
        anstream::println!("{story}");
    }
    Ok(())
}

fn summary(what: &str, tally: &Tally, took: Duration) {
    let seconds = took.as_secs_f64().max(0.001);
    let per_second = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / seconds;
    anstream::println!(
        "{what}: {} runs, {} failed, {} requests in {} of virtual time; took {:.1} s ({:.0} runs/s, {:.0} requests/s)",
        tally.runs,
        tally.failures,
        tally.requests,
        span(Duration::from_secs(tally.virtual_time.as_secs())),
        seconds,
        per_second(tally.runs),
        per_second(tally.requests),
    );
}

/// How a measurement goes, on standard error.
struct Shown(ProgressBar);

impl bench::Audience for Shown {
    fn tell(&mut self, what: &str, done: u64, all: u64) {
        self.0.set_length(all);
        self.0.set_position(done);
        self.0.set_message(what.to_owned());
    }

    fn finished(&mut self, part: &bench::Part) {
        let bench::Part { what, runs, failures, seconds, .. } = part;
        self.0.suspend(|| {
            anstream::eprintln!("  {what}: {runs} runs, {failures} failed, {seconds:.1} s");
            for failed in &part.failed {
                anstream::eprintln!("  \u{1b}[31mfailed\u{1b}[0m {failed}");
            }
        });
    }
}

fn bar(what: &str, count: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(count).with_message(what.to_owned());
    let style = "{spinner} {msg:<32} {bar:30} {pos:>6}/{len:<6} {elapsed:>4}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}

fn bar_of_search() -> ProgressBar {
    if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() }
}

fn again(replay: &Replay) -> Result<bool, ExploreError> {
    if replay.logs {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        let _ = logs.try_init();
    }
    let plan = Plan::new(replay.seed, &replay.said);
    let keep = Keep { timeline: true, lines: replay.trace.is_some() };
    let outcome = play(&plan, keep)?;
    if let Some(path) = &replay.trace {
        let text = outcome.lines.join("\n");
        std::fs::write(path, text)
            .map_err(|source| ExploreError::Trace { path: path.clone(), source })?;
    }
    if replay.shrink && !outcome.is_good() {
        let mut tell = |tries: usize, _: &Settings| {
            if std::io::stderr().is_terminal() {
                anstream::eprint!("\rshrinking: {tries} runs ");
            }
        };
        anstream::println!("{}", report::failed(replay.seed, &replay.said, &mut tell)?);
        return Ok(false);
    }
    anstream::println!("{}", report::story(&plan, &outcome));
    let second = play(&plan, Keep { timeline: false, lines: replay.trace.is_some() })?;
    if second.trace != outcome.trace {
        anstream::println!(
            "\u{1b}[31mnot repeatable\u{1b}[0m: a second run of the same seed went another way"
        );
        if let Some(difference) = trace::first_difference(&outcome.lines, &second.lines) {
            anstream::println!("{difference:#?}");
        }
        return Ok(false);
    }
    Ok(outcome.is_good())
}
