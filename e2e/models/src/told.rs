//! What was found, as a table.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use crate::check::Outcome;

/// One line for each case, and the properties that were asked.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header([
        "model",
        "what may go wrong",
        "generated",
        "states",
        "depth",
        "exhausted",
        "s",
        "holds",
    ]);
    for outcome in outcomes {
        let number = |number: usize| Cell::new(number).set_alignment(CellAlignment::Right);
        let asked = outcome.findings.len();
        let good = outcome.findings.iter().filter(|finding| finding.good).count();
        table.add_row([
            Cell::new(outcome.model),
            Cell::new(&outcome.faults),
            number(outcome.generated),
            number(outcome.unique),
            number(outcome.depth),
            Cell::new(if outcome.exhausted { "yes" } else { "no" }),
            Cell::new(format!("{:.1}", outcome.took.as_secs_f64()))
                .set_alignment(CellAlignment::Right),
            Cell::new(format!("{good} of {asked}")),
        ]);
    }
    table.trim_fmt()
}

/// Each property of a model once, and whether it is as it should be in every case that asks it.
pub fn properties(outcomes: &[Outcome]) -> String {
    let mut seen: Vec<(&str, &str, bool)> = Vec::new();
    for outcome in outcomes {
        for finding in &outcome.findings {
            let known = seen
                .iter_mut()
                .find(|(model, name, _)| (*model, *name) == (outcome.model, finding.property));
            match known {
                Some((_, _, good)) => *good &= finding.good,
                None => seen.push((outcome.model, finding.property, finding.good)),
            }
        }
    }
    let lines = seen
        .iter()
        .map(|(model, name, good)| format!("{} {model}: {name}", if *good { "✓" } else { "✗" }));
    lines.collect::<Vec<_>>().join("\n")
}
