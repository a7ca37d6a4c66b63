//! Answers in normal form: kept in files, read again, compared.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::{Error, files::files_in};

/// One answer in normal form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// `file/name` of the case.
    pub case: String,
    /// The step: `2`, or `2.1` for the first one during step 2.
    pub step: String,
    /// The request in short.
    pub request: String,
    /// The status code.
    pub status: u16,
    /// Headers that clients go by.
    pub headers: BTreeMap<String, String>,
    /// What is compared of the body.
    pub body: Value,
}

/// Two answers that are not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The case.
    pub case: String,
    /// The step and the request in short; empty where one side has no answer to compare.
    pub step: String,
    /// What differs, one place a line.
    pub what: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, step {}", self.case, self.step)?;
        self.what.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

impl Record {
    fn to_line(&self) -> String {
        // Written by hand for the order of the keys, which is what makes a line readable.
        let text = |value: &str| Value::from(value).to_string();
        format!(
            "{{\"case\":{},\"step\":{},\"request\":{},\"status\":{},\"headers\":{},\"body\":{}}}",
            text(&self.case),
            text(&self.step),
            text(&self.request),
            self.status,
            json!(self.headers),
            self.body
        )
    }

    fn from_line(place: &str, line: &str) -> Result<Self, Error> {
        let bad = |what: String| Error::script(place, what);
        let value: Map<String, Value> =
            serde_json::from_str(line).map_err(|error| bad(error.to_string()))?;
        let text = |key: &str| {
            let text = value.get(key).and_then(Value::as_str).map(str::to_owned);
            text.ok_or_else(|| bad(format!("`{key}` is missing")))
        };
        let headers = value.get("headers").and_then(Value::as_object).into_iter().flatten();
        let status = value.get("status").and_then(Value::as_u64);
        Ok(Self {
            case: text("case")?,
            step: text("step")?,
            request: text("request")?,
            status: status
                .and_then(|status| u16::try_from(status).ok())
                .ok_or_else(|| bad("`status` is missing".to_owned()))?,
            headers: headers
                .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect(),
            body: value.get("body").cloned().unwrap_or_default(),
        })
    }
}

/// Where answers of the real API server are kept.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recorded")
}

/// What the real API server answered when it was last recorded.
///
/// # Errors
/// If a file is not as [`write`] writes it.
pub fn recorded() -> Result<Vec<Record>, Error> {
    let mut records = Vec::new();
    for file in files_in(&folder(), "jsonl")? {
        let text = std::fs::read_to_string(&file).map_err(Error::file(&file))?;
        let place = file.display().to_string();
        for line in text.lines() {
            records.push(Record::from_line(&place, line)?);
        }
    }
    Ok(records)
}

/// Writes answers to files, one for each file of cases, one line an answer; what was there is replaced.
///
/// # Errors
/// If a file cannot be written.
pub fn write(records: &[Record]) -> Result<(), Error> {
    let folder = folder();
    std::fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
    for file in files_in(&folder, "jsonl")? {
        std::fs::remove_file(&file).map_err(Error::file(&file))?;
    }
    let mut files: BTreeMap<&str, String> = BTreeMap::new();
    for record in records {
        let group = record.case.split_once('/').map_or("other", |(group, _)| group);
        let file = files.entry(group).or_default();
        file.push_str(&record.to_line());
        file.push('\n');
    }
    for (group, text) in files {
        let file = folder.join(format!("{group}.jsonl"));
        std::fs::write(&file, text).map_err(Error::file(&file))?;
    }
    Ok(())
}

/// Everything in which `got` is not what was `expected`, case by case.
pub fn compare(expected: &[Record], got: &[Record]) -> Vec<Difference> {
    let index = |records: &[Record]| -> BTreeMap<(String, String), Record> {
        let keyed = records.iter().map(|r| ((r.case.clone(), r.step.clone()), r.clone()));
        keyed.collect()
    };
    let (expected, mut got) = (index(expected), index(got));
    let mut differences = Vec::new();
    for ((case, step), wanted) in expected {
        let what = match got.remove(&(case.clone(), step.clone())) {
            Some(found) => places(&wanted, &found),
            None => vec!["recorded, but not played".to_owned()],
        };
        if !what.is_empty() {
            let step = format!("{step}, {}", wanted.request);
            differences.push(Difference { case, step, what });
        }
    }
    let new = got.into_iter().map(|((case, step), found)| Difference {
        case,
        step: format!("{step}, {}", found.request),
        what: vec!["played, but not recorded".to_owned()],
    });
    differences.extend(new);
    differences
}

fn places(wanted: &Record, found: &Record) -> Vec<String> {
    let mut out = Vec::new();
    if wanted.request != found.request {
        out.push(format!("request: {} expected, got {}", wanted.request, found.request));
    }
    if wanted.status != found.status {
        out.push(format!("status: {} expected, got {}", wanted.status, found.status));
    }
    walk("headers", &json!(wanted.headers), &json!(found.headers), &mut out);
    walk("body", &wanted.body, &found.body, &mut out);
    out
}

fn walk(place: &str, wanted: &Value, found: &Value, out: &mut Vec<String>) {
    match (wanted, found) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, value) in a {
                match b.get(key) {
                    Some(other) => walk(&format!("{place}/{key}"), value, other, out),
                    None => out.push(format!("{place}/{key}: {} is missing", from(value, 0))),
                }
            }
            let extra = b.iter().filter(|(key, _)| !a.contains_key(*key));
            out.extend(
                extra.map(|(key, value)| {
                    format!("{place}/{key}: {} is not expected", from(value, 0))
                }),
            );
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (value, other)) in a.iter().zip(b).enumerate() {
                walk(&format!("{place}/{index}"), value, other, out);
            }
        }
        _ if wanted == found => {}
        _ => {
            let texts = (wanted.to_string(), found.to_string());
            let same = texts.0.chars().zip(texts.1.chars()).take_while(|(a, b)| a == b);
            let start = same.count();
            let (wanted, found) = (from(wanted, start), from(found, start));
            out.push(format!("{place}: {wanted} expected, got {found}"));
        }
    }
}

/// What is shown of a value that may be long: from a little before the character where it begins to be of interest.
fn from(value: &Value, start: usize) -> String {
    const BEFORE: usize = 60;
    const LENGTH: usize = 300;
    let text = value.to_string();
    let skipped = start.saturating_sub(BEFORE);
    let shown: String = text.chars().skip(skipped).take(LENGTH).collect();
    let (left, right) = (skipped > 0, text.chars().count() > skipped + LENGTH);
    format!("{}{shown}{}", if left { "…" } else { "" }, if right { "…" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(wanted: Value, found: Value) -> Vec<String> {
        let mut out = Vec::new();
        walk("body", &wanted, &found, &mut out);
        out
    }

    #[test]
    fn a_difference_is_named_by_its_place() {
        let found = shown(json!({ "a": [1, { "b": 2 }] }), json!({ "a": [1, { "b": 3 }], "c": 4 }));
        assert_eq!(found, ["body/a/1/b: 2 expected, got 3", "body/c: 4 is not expected"]);
        assert_eq!(shown(json!({ "a": 1 }), json!({})), ["body/a: 1 is missing"]);
        assert_eq!(shown(json!([1]), json!([1, 2])), ["body: [1] expected, got [1,2]"]);
    }

    #[test]
    fn of_long_texts_the_part_that_differs_is_shown() {
        let (same, end) = ("x".repeat(500), "y".repeat(500));
        let found = shown(json!(format!("{same}1{end}")), json!(format!("{same}2{end}")));
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("x1y") && found[0].contains("x2y"), "{found:?}");
        assert!(found[0].chars().count() < 700, "{found:?}");
    }

    #[test]
    fn a_record_is_the_same_after_it_was_written_and_read() {
        let record = Record {
            case: "a/b".to_owned(),
            step: "2.1".to_owned(),
            request: "GET /x".to_owned(),
            status: 404,
            headers: BTreeMap::from([("retry-after".to_owned(), "1".to_owned())]),
            body: json!({ "kind": "Status", "message": "\"quoted\"" }),
        };
        assert_eq!(Record::from_line("file", &record.to_line()).unwrap(), record);
        let error = Record::from_line("file", "{\"case\":\"a\"}").unwrap_err();
        assert_eq!(error.to_string(), "file: `step` is missing");
    }
}
