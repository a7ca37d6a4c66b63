//! The figures, for people.

use super::{Record, conditions::Conditions, figures::Series, requests::Asked};

const BOLD: &str = "\u{1b}[1m";
const PLAIN: &str = "\u{1b}[0m";

/// Prints everything, the conditions first.
pub fn print(record: &Record) {
    conditions(&record.conditions);
    times(record);
    requests(&record.requests);
    anstream::println!("\n{BOLD}Kill points{PLAIN}\n{}", record.kill_points);
}

/// Prints on what was measured, and by which policy.
pub fn conditions(conditions: &Conditions) {
    machine(conditions);
    anstream::println!("  {:<12}", "policy");
    for text in conditions.policy.lines() {
        anstream::println!("    {text}");
    }
}

/// Prints on what was measured.
pub fn machine(conditions: &Conditions) {
    anstream::println!("\n{BOLD}Conditions{PLAIN}");
    let line = |name: &str, value: &str| anstream::println!("  {name:<12} {value}");
    line(
        "machine",
        &format!(
            "{} cores, {} MiB, {}, load {}",
            conditions.cores, conditions.memory_mib, conditions.cpu, conditions.load
        ),
    );
    line("commit", &conditions.commit);
    line("build", &conditions.build);
    line("Kubernetes", &conditions.kubernetes);
}

fn times(record: &Record) {
    anstream::println!(
        "\n{BOLD}{:<50} {:>5} {:>9} {:>9} {:>9}{PLAIN}",
        "Times in ms",
        "n",
        "p50",
        "p99",
        "max"
    );
    row("one PATCH of a node, without an operator", &record.raw_patch);
    row("condition -> cordon", &record.reactions.condition_to_cordon);
    row("last verification fact -> uncordon", &record.reactions.fact_to_uncordon);
    row("SIGKILL -> next effect, process start included", &record.kill_to_effect);
    let facts = record.reactions.last_facts.iter();
    let facts: Vec<_> = facts.map(|(name, times)| format!("{name} {times}")).collect();
    anstream::println!("  the last fact was: {}", facts.join(", "));
    let relation = |percent| {
        let cordon = record.reactions.condition_to_cordon.percentile(percent)?;
        Some(format!("{:.1}", cordon / record.raw_patch.percentile(percent)?))
    };
    let shown = |percent| relation(percent).unwrap_or_else(|| "-".to_owned());
    anstream::println!(
        "  condition -> cordon is {} PATCHes long at p50, {} at p99",
        shown(50),
        shown(99)
    );
}

fn row(name: &str, series: &Series) {
    let shown = |time: Option<f64>| time.map_or("-".to_owned(), |time| format!("{time:.1}"));
    anstream::println!(
        "{name:<50} {:>5} {:>9} {:>9} {:>9}",
        series.len(),
        shown(series.percentile(50)),
        shown(series.percentile(99)),
        shown(series.max())
    );
}

fn requests(all: &[Asked]) {
    anstream::println!(
        "\n{BOLD}{:<30} {:>6} {:>9}  by verb{PLAIN}",
        "API requests of one run",
        "all",
        "range"
    );
    for asked in all {
        let verbs: Vec<_> =
            asked.by_verb.iter().map(|(verb, count)| format!("{verb} {count}")).collect();
        let (least, most) = asked.range;
        anstream::println!(
            "{:<30} {:>6} {:>9}  {}",
            format!("with {} pods to evict", asked.pods),
            asked.total,
            format!("{least}-{most}"),
            verbs.join(", ")
        );
    }
}
