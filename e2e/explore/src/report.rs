//! A run that failed, as people read it: what did not hold, the story, and the command that plays it again.

use std::fmt::Write;

use crate::{
    outcome::Outcome,
    plan::{Plan, Settings},
    play::{Keep, PlayError, play},
    shrink::shrink,
};

/// So many lines of a story are shown, those before the end of it.
const SHOWN: usize = 150;

/// The command that plays a run again.
pub fn command(seed: u64, said: &Settings) -> String {
    format!("cargo xtask explore replay {seed} {said}").trim_end().to_owned()
}

/// Shrinks a run that failed, and tells its story. `tell` hears how the search goes.
pub fn failed(
    seed: u64,
    said: &Settings,
    tell: &mut dyn FnMut(usize, &Settings),
) -> Result<String, PlayError> {
    let (least, _) = shrink(seed, said, tell)?;
    let plan = Plan::new(seed, &least);
    let outcome = play(&plan, Keep { timeline: true, lines: false })?;
    let mut text = story(&plan, &outcome);
    let _ = writeln!(text, "\nplay it again: {}", command(seed, &least));
    if least != *said {
        let _ = writeln!(text, "as found:      {}", command(seed, said));
    }
    Ok(text)
}

/// The story of a run.
pub fn story(plan: &Plan, outcome: &Outcome) -> String {
    let mut text = String::new();
    let Plan { scene, operators, mode, .. } = plan;
    let aim = plan.aim.map(|part| format!(" to {part}")).unwrap_or_default();
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(
        text,
        "seed {}: scene {scene}, {operators} operators, {mode:?}, {} of 1000 requests{aim} spoiled, clocks off by up to {} ms",
        plan.seed, plan.thousandths, plan.clocks
    );
    for (number, entry) in &plan.mishaps {
        let at = crate::mishap::span(entry.at);
        let _ = writeln!(text, "  mishap {number} at {at}: {}", entry.mishap);
    }
    let left_out = outcome.timeline.len().saturating_sub(SHOWN);
    if left_out > 0 {
        let _ = writeln!(text, "  … {left_out} lines before");
    }
    for line in outcome.timeline.iter().skip(left_out) {
        let _ = writeln!(text, "  {}", line.chars().take(600).collect::<String>());
    }
    for violation in &outcome.violations {
        let _ = writeln!(text, "\u{1b}[31mviolation\u{1b}[0m {violation}");
    }
    let _ = writeln!(
        text,
        "{} requests in {} of virtual time",
        outcome.requests,
        crate::mishap::span(outcome.lasted)
    );
    text
}
