//! `cargo xtask bench sim`: the simulated cluster, optimised, in a process of its own: how fast it is, and
//! how many hostile histories hold.

use std::path::{Path, PathBuf};

use clap::Args;
use rerail_explore::bench::{Part, Record};

use super::{
    BenchError,
    conditions::Conditions,
    progress,
    sheet::{Sheet, number},
    table, write_json,
};

/// How much is played, and how the figures are shown.
#[derive(Debug, Args)]
pub struct SimArguments {
    /// Seeds that are played.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// One in so many pairs of kill points is played; 3 makes more than 100,000 runs, and takes about an
    /// hour.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pairs: u64,
    /// Runs at a time.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Print the table as Markdown.
    #[arg(long)]
    markdown: bool,
    /// Where the figures are written as JSON, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Measures and prints; `Ok(false)` if a property did not hold, which voids the figures.
pub fn run(root: &Path, arguments: &SimArguments) -> Result<bool, BenchError> {
    let mut conditions = Conditions::of(root);
    progress::stage("hostile histories in the simulated cluster, optimised");
    let output = crate::explore::explorer()
        .arg("bench")
        .args(["--seeds", &arguments.seeds.to_string()])
        .args(["--pairs", &arguments.pairs.to_string()])
        .args(["--threads", &arguments.threads.to_string()])
        .current_dir(root)
        .stderr(std::process::Stdio::inherit())
        .output()?;
    let record: Record = serde_json::from_slice(&output.stdout).map_err(std::io::Error::from)?;
    conditions.build = format!("{} profile, {} runs at a time", record.profile, record.threads);
    conditions.kubernetes = "none: simulated API server and machines in virtual time".to_owned();
    conditions.policy = "those of the scenes".to_owned();
    table::conditions(&conditions);
    sheet(&record).print(arguments.markdown);
    let parts = || std::iter::once(&record.large).chain(&record.parts);
    for failed in parts().flat_map(|part| &part.failed) {
        anstream::println!("\u{1b}[31mviolation\u{1b}[0m: {failed}");
    }
    if let Some(path) = &arguments.json {
        write_json(path, &(conditions, &record))?;
    }
    Ok(output.status.success() && parts().all(|part| part.failures == 0))
}

fn sheet(record: &Record) -> Sheet {
    let columns = ["what", "runs", "failed", "took, s", "runs/s", "requests/s", "× real time"];
    let mut sheet = Sheet::new("hostile histories in the simulated cluster", &columns);
    sheet.row(cells(&record.large));
    for part in &record.parts {
        sheet.row(cells(part));
    }
    sheet.note(
        "Requests are those of the operators; the simulated machines, kubelets and controllers have theirs \
         beside. The first row is one thread's.",
    );
    let many = |count: fn(&Part) -> u64| record.parts.iter().map(count).sum::<u64>();
    let minutes = record.parts.iter().map(|part| part.seconds).sum::<f64>() / 60.0;
    sheet.note(format!(
        "All but the first row: {} runs, {} failed, {minutes:.1} min.",
        many(|part| part.runs),
        many(|part| part.failures)
    ));
    if let Some(peak) = record.peak_mib {
        sheet.note(format!("Peak memory of the process: {peak} MiB."));
    }
    sheet
}

fn cells(part: &Part) -> Vec<String> {
    let per_second = |count: f64| count / part.seconds.max(0.001);
    let of = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    vec![
        part.what.clone(),
        part.runs.to_string(),
        part.failures.to_string(),
        number(Some(part.seconds), 1),
        number(Some(per_second(of(part.runs))), 1),
        number(Some(per_second(of(part.requests))), 0),
        number(Some(per_second(part.virtual_seconds)), 0),
    ]
}
