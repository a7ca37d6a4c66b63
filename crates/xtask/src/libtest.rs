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
    fn adds_up_and_says_so() {
        let mut tally = Tally::default();
        tally.add(Tally { passed: 2, failed: 1, ignored: 0 });
        assert_eq!(tally.to_string(), "2 passed, 1 failed");
        tally.add(Tally { passed: 1, failed: 0, ignored: 4 });
        assert_eq!(tally.to_string(), "3 passed, 1 failed, 4 ignored");
    }
}
