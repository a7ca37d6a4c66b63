//! What a command says about its steps: a line for each as it ends, and a table at the end.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::libtest::Tally;

const GREEN: &str = "\u{1b}[32m";
const RED: &str = "\u{1b}[31m";
const YELLOW: &str = "\u{1b}[33m";
const BOLD: &str = "\u{1b}[1m";
const PLAIN: &str = "\u{1b}[0m";

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All of it holds.
    Passed,
    /// What was looked at holds, but a part was not looked at; says which and why.
    PassedExcept(String),
    /// It does not hold.
    Failed {
        /// What the tool said.
        output: String,
        /// What to do about it.
        advice: String,
    },
}

impl Verdict {
    /// Failed with what was found, or passed when nothing was.
    pub fn from_findings(findings: &[String], advice: &str) -> Self {
        if findings.is_empty() {
            return Self::Passed;
        }
        Self::Failed { output: findings.join("\n"), advice: advice.to_owned() }
    }
}

#[derive(Debug)]
struct Step {
    name: String,
    verdict: Verdict,
    took: Duration,
    tally: Option<Tally>,
}

/// The steps of one command.
#[derive(Debug)]
pub struct Report {
    began: Instant,
    steps: Vec<Step>,
}

impl Default for Report {
    fn default() -> Self {
        Report { began: Instant::now(), steps: Vec::new() }
    }
}

impl Report {
    /// Runs one step and says how it ended. An error of the step is a failure of the step.
    pub fn step<E: fmt::Display>(&mut self, name: &str, work: impl FnOnce() -> Result<Verdict, E>) {
        self.counted(name, || work().map(|verdict| (verdict, None)));
    }

    /// As [`Report::step`], for a step that counts tests.
    pub fn counted<E: fmt::Display>(
        &mut self,
        name: &str,
        work: impl FnOnce() -> Result<(Verdict, Option<Tally>), E>,
    ) {
        anstream::println!("{BOLD}…{PLAIN} {name}");
        let began = Instant::now();
        let result = work();
        self.ended(name, began.elapsed(), result);
    }

    /// Notes a step that was done elsewhere, beside others.
    pub fn ended<E: fmt::Display>(
        &mut self,
        name: &str,
        took: Duration,
        result: Result<(Verdict, Option<Tally>), E>,
    ) {
        let (verdict, tally) = result.unwrap_or_else(|error| {
            (Verdict::Failed { output: error.to_string(), advice: String::new() }, None)
        });
        let step = Step { name: name.to_owned(), verdict, took, tally };
        step.print_line();
        step.print_failure();
        self.steps.push(step);
    }

    /// Notes a step that could not be tried, which is a failure.
    pub fn not_run(&mut self, name: &str, why: &str) {
        let verdict = Verdict::Failed { output: format!("not run: {why}"), advice: String::new() };
        let step = Step { name: name.to_owned(), verdict, took: Duration::ZERO, tally: None };
        step.print_line();
        step.print_failure();
        self.steps.push(step);
    }

    /// Whether nothing failed.
    pub fn success(&self) -> bool {
        self.steps.iter().all(|step| !step.failed())
    }

    /// Whether the latest step failed.
    pub fn last_failed(&self) -> bool {
        self.steps.last().is_some_and(Step::failed)
    }

    /// Prints all steps again, in one table, and below it why any of them failed: who looks at a long log
    /// begins at its end.
    pub fn print_table(&self) {
        // Not the sum: some steps are done beside others.
        let total = self.began.elapsed();
        anstream::println!("\n{BOLD}Summary{PLAIN}");
        for step in &self.steps {
            step.print_line();
        }
        anstream::println!("  {:<42}{:>8.1} s", "all", total.as_secs_f64());
        for step in self.steps.iter().filter(|step| step.failed()) {
            anstream::println!("\n{RED}{}{PLAIN}", step.name);
            step.print_failure();
        }
    }

    /// All tests of all steps. A step that failed without a failed test counts as one, so that the
    /// totals are never clean when a step is not.
    pub fn totals(&self) -> Tally {
        let mut totals = Tally::default();
        for step in &self.steps {
            let tally = step.tally.unwrap_or_default();
            totals.add(tally);
            if step.failed() && tally.failed == 0 {
                totals.failed += 1;
            }
        }
        totals
    }
}

impl Step {
    fn failed(&self) -> bool {
        matches!(self.verdict, Verdict::Failed { .. })
    }

    fn print_line(&self) {
        let mark = match self.verdict {
            Verdict::Passed => format!("{GREEN}✓{PLAIN}"),
            Verdict::PassedExcept(_) => format!("{YELLOW}✓{PLAIN}"),
            Verdict::Failed { .. } => format!("{RED}✗{PLAIN}"),
        };
        let mut note = self.tally.map(|tally| format!("  {tally}")).unwrap_or_default();
        if let Verdict::PassedExcept(missing) = &self.verdict {
            note = format!("{note}  {YELLOW}{missing}{PLAIN}");
        }
        let seconds = self.took.as_secs_f64();
        anstream::println!("{mark} {:<42}{seconds:>8.1} s{note}", self.name);
    }

    fn print_failure(&self) {
        if let Verdict::Failed { output, advice } = &self.verdict {
            for text in [output, advice].into_iter().filter(|text| !text.trim().is_empty()) {
                anstream::println!("{}", indent(text));
            }
        }
    }
}

fn indent(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> Verdict {
        Verdict::Failed { output: "no".into(), advice: String::new() }
    }

    #[test]
    fn a_failed_step_without_a_failed_test_counts_as_one() {
        let mut report = Report::default();
        report.step("fine", || Ok::<_, String>(Verdict::Passed));
        report.step("broken", || Ok::<_, String>(failure()));
        report.step("error", || Err::<Verdict, _>("cannot"));
        let tally = Tally { passed: 3, failed: 2, ignored: 0 };
        report.counted("tests", || Ok::<_, String>((failure(), Some(tally))));
        assert_eq!(report.totals(), Tally { passed: 3, failed: 4, ignored: 0 });
        assert!(!report.success());
    }

    #[test]
    fn what_was_not_run_is_a_failure() {
        let mut report = Report::default();
        report.not_run("scenarios", "the control plane was not built");
        assert!(report.last_failed());
        assert_eq!(report.totals().failed, 1);
    }

    #[test]
    fn a_part_that_was_not_looked_at_is_no_failure() {
        let mut report = Report::default();
        let except = Verdict::PassedExcept("advisories not run".into());
        report.step("deny", || Ok::<_, String>(except));
        assert!(report.success());
    }
}
