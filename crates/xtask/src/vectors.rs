//! `cargo xtask vectors FILE…`: runs recorded behaviour of kubectl, of the Eviction API and of
//! Sciuro through the production code.
//!
//! The shape of a file is told by its content, never by its name. A deliberate difference from
//! them passes only if it is exactly the one that a named rule describes. Nothing passes
//! silently: a case that cannot be read has failed.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;
use thiserror::Error;

mod eviction;
mod kubectl;
mod sciuro;
#[cfg(test)]
mod tests;

/// Why the command could not run at all.
#[derive(Debug, Error)]
pub enum VectorsError {
    /// No file was named.
    #[error("no vector file given: cargo xtask vectors FILE…")]
    NoFiles,
    /// The report could not be written.
    #[error("cannot write the report: {0}")]
    Output(#[from] io::Error),
}

/// What became of one case.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// As the file says.
    Same,
    /// As a named rule of ours says instead.
    Deliberate(String),
    /// Neither, with what was expected and what we got.
    Wrong(String),
}

/// One case of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Case {
    name: String,
    verdict: Verdict,
}

/// All that a file gave.
#[derive(Debug, Default)]
struct FileReport {
    cases: Vec<Case>,
    /// Failures that are no case of their own.
    failures: Vec<String>,
    /// Fields that no rule reads.
    notes: Vec<String>,
}

/// Runs the files and prints the report to standard output. `Ok(false)` if anything failed.
///
/// # Errors
/// If no file is named, or standard output cannot be written.
pub fn run(files: &[PathBuf]) -> Result<bool, VectorsError> {
    report(files, &mut io::stdout().lock())
}

/// Like [`run`], to any output: mismatches, then deliberate differences, then the count.
fn report(files: &[PathBuf], out: &mut impl Write) -> Result<bool, VectorsError> {
    if files.is_empty() {
        return Err(VectorsError::NoFiles);
    }
    let (mut passed, mut failed) = (0_usize, 0_usize);
    let mut deliberate = Vec::new();
    for path in files {
        let file = path.display();
        let result = match run_file(path) {
            Ok(result) => result,
            Err(message) => {
                failed += 1;
                writeln!(out, "FAILED {file}: {message}")?;
                continue;
            }
        };
        for note in &result.notes {
            writeln!(out, "note {file}: {note}")?;
        }
        for failure in &result.failures {
            failed += 1;
            writeln!(out, "FAILED {file}: {failure}")?;
        }
        for case in &result.cases {
            match &case.verdict {
                Verdict::Same => passed += 1,
                Verdict::Deliberate(rule) => {
                    passed += 1;
                    deliberate.push(format!("{file}: {}: {rule}", case.name));
                }
                Verdict::Wrong(what) => {
                    failed += 1;
                    writeln!(out, "FAILED {file}: {}: {what}", case.name)?;
                }
            }
        }
    }
    if !deliberate.is_empty() {
        writeln!(out, "Deliberate differences, counted as passed:")?;
        for line in &deliberate {
            writeln!(out, "  {line}")?;
        }
    }
    writeln!(out, "{passed} passed, {failed} failed")?;
    Ok(failed == 0)
}

/// Reads one file, tells its shape and runs it.
fn run_file(path: &Path) -> Result<FileReport, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("cannot be read: {e}"))?;
    let value: Value = serde_json::from_str(&text).map_err(|e| format!("is not JSON: {e}"))?;
    run_value(&value)
}

fn run_value(value: &Value) -> Result<FileReport, String> {
    let entries = value.as_array().ok_or("unknown shape: not a list of cases")?;
    let any_has = |keys: [&str; 2]| {
        entries.iter().any(|entry| keys.iter().all(|key| entry.get(key).is_some()))
    };
    if any_has(["pods", "ignoreDaemonSets"]) || any_has(["pods", "force"]) {
        Ok(kubectl::run(entries))
    } else if any_has(["http", "ours"]) || any_has(["http", "kubectl"]) {
        Ok(eviction::run(entries))
    } else if any_has(["expr", "result"]) {
        Ok(sciuro::run_matches(entries))
    } else if any_has(["matchedAlerts", "now"]) {
        Ok(sciuro::run_conditions(entries))
    } else {
        Err("unknown shape: neither kubectl filters (pods with options), answers of the Eviction \
             API (http, ours), matches of Sciuro (expr, result) nor its conditions (matchedAlerts, \
             now)"
            .to_owned())
    }
}

/// The text of a JSON value for messages: strings without quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Notes the fields that no rule reads, comments excepted.
fn note_unread(notes: &mut Vec<String>, case: &str, value: &Value, read: &[&str]) {
    let comments = ["note", "notes", "comment", "why", "source"];
    let Some(object) = value.as_object() else { return };
    for key in object.keys() {
        if !read.contains(&key.as_str()) && !comments.contains(&key.as_str()) {
            notes.push(format!("{case}: nothing reads the field `{key}`"));
        }
    }
}
