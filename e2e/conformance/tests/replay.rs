//! The suite, judged without a control plane: on a server that answers as was recorded, and on one that does so but for
//! one answer.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use http::{Request, Response};
use regex::{Captures, Regex};
use rerail_conformance::{BodyStream, Case, Difference, Error, Record, Step, Transport};
use rerail_conformance::{cases, compare, play, recorded};
use serde_json::{Value, json};

/// A server for one case: it gives the recorded answers, one after the other, whatever it is asked.
struct Replay(Mutex<VecDeque<Record>>);

impl Replay {
    fn new(case: &Case, answers: &[Record]) -> Self {
        let by_step: BTreeMap<&str, &Record> =
            answers.iter().map(|record| (record.step.as_str(), record)).collect();
        let mut queue = VecDeque::new();
        if mentions_namespace(&case.steps) {
            let made = Record { status: 201, body: json!({}), ..answers[0].clone() };
            queue.extend([made.clone(), made]);
        }
        for number in asked(&case.steps, "") {
            queue.push_back(by_step[number.as_str()].clone());
        }
        Self(Mutex::new(queue))
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Record>> {
        self.0.lock().unwrap()
    }
}

impl Transport for Replay {
    fn send(&self, _: Request<Vec<u8>>) -> BoxFuture<'_, Result<Response<BodyStream>, Error>> {
        let record = self.queue().pop_front().unwrap();
        let text = match (record.body.get("events"), &record.body) {
            (Some(Value::Array(events)), _) => {
                events.iter().map(|event| format!("{event}\n")).collect()
            }
            (_, Value::String(text)) => text.clone(),
            (_, body) => body.to_string(),
        };
        let body = stream::iter([Ok(with_values(&text).into_bytes().into())]).boxed();
        let mut answer = Response::builder().status(record.status);
        for (name, value) in &record.headers {
            answer = answer.header(name, with_values(value));
        }
        Box::pin(async move { Ok(answer.body(body).unwrap()) })
    }
}

/// Values for placeholders that later requests may need in their paths.
fn with_values(text: &str) -> String {
    let placeholder = Regex::new("<(rv|uid|name)([0-9]+)( or later)?>").unwrap();
    let text = placeholder.replace_all(text, |found: &Captures<'_>| {
        let number: u32 = found[2].parse().unwrap();
        match &found[1] {
            "rv" => format!("{}", 1000 + number),
            "uid" => format!("00000000-0000-4000-8000-{number:012}"),
            _ => format!("x{number:04}"),
        }
    });
    text.replace("<continue>", "more")
}

fn mentions_namespace(steps: &[Step]) -> bool {
    steps.iter().any(|step| step.path.contains("${ns}") || mentions_namespace(&step.during))
}

/// The numbers of steps in the order of their requests: a watch is opened before what is done during it.
fn asked(steps: &[Step], prefix: &str) -> Vec<String> {
    let mut numbers = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let number = format!("{prefix}{}", index + 1);
        numbers.push(number.clone());
        numbers.extend(asked(&step.during, &format!("{number}.")));
    }
    numbers
}

/// A part of a body is not a body that could be sent.
fn is_whole(steps: &[Step]) -> bool {
    steps.iter().all(|step| step.only.is_none() && is_whole(&step.during))
}

/// The cases that can be replayed, with their answers.
fn replayable() -> Vec<(Case, Vec<Record>)> {
    let recorded = recorded().unwrap();
    let all = cases().unwrap();
    let count = all.len();
    let whole = all.into_iter().filter(|case| is_whole(&case.steps)).map(|case| {
        let answers = recorded.iter().filter(|record| record.case == case.name);
        let answers = answers.cloned().collect();
        (case, answers)
    });
    let whole: Vec<_> = whole.collect();
    assert!(whole.len() * 10 > count * 9, "{} of {count}", whole.len());
    whole
}

fn judge(case: &Case, truth: &[Record], answers: &[Record]) -> Vec<Difference> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let played = runtime.block_on(play(case, &Replay::new(case, answers)));
    if let Some(error) = played.broken_off {
        panic!("{error}");
    }
    compare(truth, &played.records)
}

#[test]
fn a_server_that_answers_as_recorded_passes() {
    for (case, answers) in replayable() {
        let differences = judge(&case, &answers, &answers);
        let text: Vec<String> = differences.iter().map(ToString::to_string).collect();
        assert!(text.is_empty(), "{}", text.join("\n"));
    }
}

#[test]
fn a_server_that_gives_one_other_answer_fails_in_that_step() {
    for (case, answers) in replayable() {
        let wrong = answers.len() - 1;
        let mut codes = answers.clone();
        codes[wrong].status += 1;
        let mut texts = answers.clone();
        texts[wrong].headers.insert("warning".to_owned(), "299 - \"another\"".to_owned());
        for altered in [codes, texts] {
            let differences = judge(&case, &answers, &altered);
            assert_eq!(differences.len(), 1, "{}: {differences:?}", case.name);
            assert!(differences[0].step.starts_with(&answers[wrong].step), "{differences:?}");
        }
    }
}

#[test]
fn a_version_that_a_write_without_effect_moves_on_is_noticed() {
    let all = replayable();
    let (case, answers) = all.iter().find(|(case, _)| case.name == "nodes/merge-patches").unwrap();
    let mut altered = answers.clone();
    // Step 3 changes nothing, so its answer has the version of step 2.
    let version = |record: &Record| record.body["metadata"]["resourceVersion"].clone();
    assert_eq!(version(&altered[2]), version(&altered[1]));
    altered[2].body["metadata"]["resourceVersion"] = json!("<rv3>");
    assert!(!judge(case, answers, &altered).is_empty());
}
