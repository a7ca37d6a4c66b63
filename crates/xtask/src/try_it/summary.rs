//! The end of the show: times, API requests by verb, violations.

use jiff::Timestamp;
use rerail_api::{NodeRemediation, remediation::StepName};
use rerail_core::step::Step;
use rerail_e2e::{Requests, Verdict};

/// True when the run has succeeded.
pub fn healed(run: &NodeRemediation) -> bool {
    run.status.as_ref().is_some_and(|status| status.step == StepName::Known(Step::Succeeded))
}

/// Prints the summary.
pub fn print(run: &NodeRemediation, before: &Requests, after: &Requests, verdict: &Verdict) {
    anstream::println!("\u{1b}[1mSummary\u{1b}[0m");
    times(run);
    requests(before, after);
    match verdict.violations.len() {
        0 => anstream::println!("  violations: 0"),
        number => {
            anstream::println!("  \u{1b}[31mviolations: {number}\u{1b}[0m");
            for violation in &verdict.violations {
                anstream::println!("    {violation}");
            }
        }
    }
}

fn times(run: &NodeRemediation) {
    let Some(status) = &run.status else { return };
    let since = run.spec.cause.as_ref().map(|cause| cause.since);
    let mut total = None;
    for record in status.steps.iter().filter(|record| record.reason != "NotConfigured") {
        let Some(end) = record.completion_time else { continue };
        if record.name != "Succeeded" {
            anstream::println!("  {:<24} {:>8}", record.name, seconds(record.start_time, end));
        }
        total = Some(end);
    }
    if let Some((since, end)) = since.zip(total) {
        anstream::println!("  {:<24} {:>8}", "condition to healed", seconds(since, end));
    }
    if let Some(drain) = &status.drain {
        anstream::println!("  {:<24} {:>6}", "pods evicted", drain.evicted);
    }
    anstream::println!("  {:<24} {:>6}", "reboots", status.attempt);
}

fn seconds(from: Timestamp, to: Timestamp) -> String {
    format!("{:.2} s", to.duration_since(from).as_secs_f64())
}

fn requests(before: &Requests, after: &Requests) {
    let asked = after.since(before);
    anstream::println!("  {:<24} {:>6}   (watches aside)", "API requests", asked.total());
    for (verb, resources) in asked.by_verb() {
        let all: u64 = resources.values().sum();
        let parts: Vec<_> =
            resources.iter().map(|(resource, count)| format!("{resource} {count}")).collect();
        anstream::println!("    {verb:<22} {all:>6}   {}", parts.join(", "));
    }
}
