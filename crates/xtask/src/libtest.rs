//! Reads what Rust's test programs print, to add up the totals of many of them.

use std::fmt;

/// Tests by result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests that were not run because their source says so.
    pub ignored: u64,
}

impl Tally {
    /// Adds another tally to this one.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        match self.ignored {
            0 => Ok(()),
            ignored => write!(f, ", {ignored} ignored"),
        }
    }
}

/// Reads a line such as `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; …`.
///
/// `None` for every other line.
pub fn parse_result(line: &str) -> Option<Tally> {
    let (_verdict, counts) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
    let mut tally = Tally::default();
    for count in counts.split(';') {
        let mut words = count.split_whitespace();
        let (Some(number), Some(what)) = (words.next(), words.next()) else { continue };
        let Ok(number) = number.parse() else { continue };
        match what {
            "passed" => tally.passed = number,
            "failed" => tally.failed = number,
            "ignored" => tally.ignored = number,
            _ => {}
        }
    }
    Some(tally)
}

/// So many lines of what a failed test said are told again at the end.
const LINES_TOLD: usize = 12;

/// So much of each of them, in characters.
const WIDTH_TOLD: usize = 300;

/// Reads what the failed ones said, from the part of the output that begins each with
/// `---- name stdout ----`.
#[derive(Debug, Default)]
pub struct Failures {
    told: Vec<Vec<String>>,
    part: Part,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Nothing that belongs to a failure.
    #[default]
    Elsewhere,
    /// What the test printed before it failed.
    Printed,
    /// Why it failed.
    Message,
}

impl Failures {
    /// Takes in the next line.
    pub fn see(&mut self, line: &str) {
        let name = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"));
        if let Some(name) = name {
            self.told.push(vec![name.to_owned()]);
            self.part = Part::Printed;
        } else if line == "failures:" || line == "stack backtrace:" {
            self.part = Part::Elsewhere;
        } else if self.part == Part::Printed && line.contains("panicked at ") {
            self.part = Part::Message;
        }
        if self.part == Part::Message
            && !line.trim().is_empty()
            && let Some(last) = self.told.last_mut().filter(|lines| lines.len() <= LINES_TOLD)
        {
            last.push(format!("  {}", line.chars().take(WIDTH_TOLD).collect::<String>()));
        }
    }

    /// The name of each, and why it failed.
    pub fn text(&self) -> String {
        self.told.iter().map(|lines| lines.join("\n")).collect::<Vec<_>>().join("\n")
    }
}

/// Whether a line only says that a test takes long, as those do that wait for their turn.
pub fn is_about_patience(line: &str) -> bool {
    line.starts_with("test ") && line.ends_with(" has been running for over 60 seconds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_passing_and_a_failing_result() {
        let passing = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s";
        assert_eq!(parse_result(passing), Some(Tally { passed: 12, failed: 0, ignored: 1 }));
        let failing = "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s";
        assert_eq!(parse_result(failing), Some(Tally { passed: 4, failed: 2, ignored: 0 }));
    }

    #[test]
    fn leaves_other_lines_alone() {
        for line in ["", "running 4 tests", "test result: ", "test a::result ... ok", "5 passed"] {
            assert_eq!(parse_result(line), None, "{line}");
        }
    }

    #[test]
    fn knows_that_waiting_is_no_news() {
        assert!(is_about_patience("test a::b has been running for over 60 seconds"));
        for line in ["test a::b ... ok", "test a::b ... FAILED", "running 4 tests", ""] {
            assert!(!is_about_patience(line), "{line}");
        }
    }

    #[test]
    fn tells_why_a_test_failed_and_not_where_it_was_called_from() {
        let printed = "test a::b ... FAILED\n\nfailures:\n\n---- a::b stdout ----\nbefore\n\n\
            thread 'a::b' (7) panicked at src/a.rs:1:2:\nwaited in vain for: c\nNODE d\n\
            stack backtrace:\n   0: begin_unwind\n\n---- e stdout ----\n\
            thread 'e' panicked at src/e.rs:3:4:\nno\nnote: run with `RUST_BACKTRACE=1`\n\n\
            failures:\n    a::b\n    e\n\ntest result: FAILED. 0 passed; 2 failed; …";
        let mut failures = Failures::default();
        printed.lines().for_each(|line| failures.see(line));
        let told = "a::b\n  thread 'a::b' (7) panicked at src/a.rs:1:2:\n  waited in vain for: c\n  \
            NODE d\ne\n  thread 'e' panicked at src/e.rs:3:4:\n  no\n  note: run with `RUST_BACKTRACE=1`";
        assert_eq!(failures.text(), told);
        let mut long = Failures::default();
        long.see("---- f stdout ----");
        long.see("thread 'f' panicked at x:1:1:");
        (0..100).for_each(|_| long.see(&"ä".repeat(1000)));
        assert_eq!(long.text().lines().count(), 1 + LINES_TOLD);
        assert!(long.text().lines().all(|line| line.chars().count() <= 2 + WIDTH_TOLD));
    }

    #[test]
    fn adds_up_and_says_so() {
        let mut tally = Tally::default();
        tally.add(Tally { passed: 2, failed: 1, ignored: 0 });
        assert_eq!(tally.to_string(), "2 passed, 1 failed");
        tally.add(Tally { passed: 1, failed: 0, ignored: 4 });
        assert_eq!(tally.to_string(), "3 passed, 1 failed, 4 ignored");
    }
}
