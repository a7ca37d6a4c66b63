//! The simulated API server against the recording. What it does otherwise is listed in `simulated.txt`, by
//! case and step: one more difference fails, and so does a line that is true no more.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use rerail_conformance::check;
use rerail_sim::{Options, Server};

#[tokio::test(start_paused = true)]
async fn it_answers_as_was_recorded_but_for_what_is_listed() {
    let server = Server::new(Options::default());
    let differences = check(&server.client()).await.unwrap();
    let listed: BTreeSet<String> = include_str!("simulated.txt")
        .lines()
        .filter(|l| !l.starts_with('#'))
        .map(str::to_owned)
        .collect();
    let name = |case: &str, step: &str| format!("{case}, step {step}");
    let found: BTreeSet<String> =
        differences.iter().map(|found| name(&found.case, &found.step)).collect();
    let new = differences.iter().filter(|d| !listed.contains(&name(&d.case, &d.step)));
    let new: Vec<_> = new.map(ToString::to_string).collect();
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "{} new differences:\n{}\nno differences any more, take them off the list:\n{gone:#?}",
        new.len(),
        new.join("\n"),
    );
}
