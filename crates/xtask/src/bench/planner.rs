//! `cargo xtask bench planner`: the planner alone, without a cluster. It is measured optimised, in a
//! process of its own; everything else of ours is built without optimisation.

use std::path::{Path, PathBuf};

use clap::Args;
use rerail_bench::{Record, rolling::Rolling, thinking::Thinking};
use rerail_e2e::cargo;

use super::{
    BenchError,
    conditions::Conditions,
    figures::Series,
    progress,
    sheet::{Sheet, number},
    table, write_json,
};

/// How the figures are shown.
#[derive(Debug, Args)]
pub struct PlannerArguments {
    /// The largest cluster that is planned for, in nodes.
    #[arg(long, default_value_t = 100_000)]
    largest: usize,
    /// Print the tables as Markdown.
    #[arg(long)]
    markdown: bool,
    /// Where the figures are written as JSON, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Measures and prints; `Ok(false)` if a limit or the order was not kept, which voids the figures.
pub fn run(root: &Path, arguments: &PlannerArguments) -> Result<bool, BenchError> {
    let mut conditions = Conditions::of(root);
    progress::stage("the planner, optimised");
    let output = cargo()
        .args(["run", "--quiet", "--release", "--locked", "-p", "rerail-bench", "--"])
        .arg(arguments.largest.to_string())
        .current_dir(root)
        .stderr(std::process::Stdio::inherit())
        .output()?;
    let record: Record = serde_json::from_slice(&output.stdout).map_err(std::io::Error::from)?;
    conditions.build = format!("{} profile", record.profile);
    conditions.kubernetes = "none: planner and machines in virtual time, one thread".to_owned();
    conditions.policy = record.policy.clone();
    table::conditions(&conditions);
    thinking(&record.thinking).print(arguments.markdown);
    let rolling = &record.rolling;
    efficiency(rolling).print(arguments.markdown);
    order(rolling).print(arguments.markdown);
    let plays = || rolling.iter().flat_map(|case| &case.plays);
    let violations: Vec<_> = plays().flat_map(|play| &play.violations).collect();
    for violation in violations.iter().take(10) {
        anstream::println!("\u{1b}[31mviolation\u{1b}[0m: {violation}");
    }
    if let Some(path) = &arguments.json {
        write_json(path, &(conditions, &record))?;
    }
    Ok(violations.is_empty() && plays().all(|play| play.inversions == 0))
}

fn thinking(all: &[Thinking]) -> Sheet {
    let columns =
        ["nodes", "candidates", "under way", "admitted", "memory", "plans", "least", "p50", "p99"];
    let mut sheet = Sheet::new("one full plan, in µs", &columns);
    for thinking in all {
        let counts = [thinking.nodes, thinking.candidates, thinking.under_way, thinking.admitted];
        // The series says milliseconds; here it is only asked for ranks.
        let times = Series { milliseconds: thinking.microseconds.clone() };
        let memory = if thinking.memo { "kept" } else { "none" }.to_owned();
        let cells = counts.map(|count| count.to_string()).into_iter();
        let cells = cells.chain([memory, times.len().to_string()]);
        let times = [0, 50, 99].map(|percent| number(times.percentile(percent), 0));
        sheet.row(cells.chain(times));
    }
    sheet.note("Racks of 20, one rack at a time; nothing under way, or the first rack.");
    sheet.note(
        "With the memory kept, as the operator does, one of 300 nodes has reported since the plan before; \
         without, every node is looked at as if for the first time.",
    );
    sheet
}

fn efficiency(all: &[Rolling]) -> Sheet {
    let columns = ["budget", "took, s", "ideal, s", "E", "least E", "most out", "racks"];
    let mut sheet = Sheet::new("500 of 1,000 nodes rebooted in virtual time", &columns);
    for case in all {
        let Some(first) = case.plays.first().filter(|play| play.bound.is_some()) else { continue };
        let mut efficiencies: Vec<_> =
            case.plays.iter().filter_map(|play| play.efficiency()).collect();
        efficiencies.sort_by(f64::total_cmp);
        let middle = efficiencies.get(efficiencies.len() / 2).copied();
        sheet.row([
            case.budget.clone(),
            number(Some(first.took), 1),
            number(first.bound, 1),
            number(middle, 3),
            number(efficiencies.first().copied(), 3),
            first.most_out.to_string(),
            first.most_racks.to_string(),
        ]);
    }
    sheet.note(
        "Boots of 3 s ± 30 %; E is ideal / took, the middle and the least of 5 draws. The ideal is a time \
         that no schedule stays below, even with all boot times known in advance.",
    );
    sheet
}

fn order(all: &[Rolling]) -> Sheet {
    let columns = ["budget", "priorities", "starts", "plans", "inversions", "violations"];
    let mut sheet = Sheet::new("order and limits at every start", &columns);
    for case in all {
        let sum = |count: fn(&rerail_bench::rolling::Play) -> usize| {
            case.plays.iter().map(count).sum::<usize>().to_string()
        };
        sheet.row([
            case.budget.clone(),
            case.priorities.clone(),
            (case.rebooted * case.plays.len()).to_string(),
            sum(|play| play.plans),
            sum(|play| play.inversions),
            sum(|play| play.violations.len()),
        ]);
    }
    sheet
}
