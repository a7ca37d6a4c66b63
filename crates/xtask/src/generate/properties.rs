//! The page of what is judged in the simulated world, read from the judge itself.

use std::fmt::Write as _;

use rerail_explore::{
    fault::{self, FAULTS},
    tier::MANY,
};
use rerail_sim::property::{PROPERTIES, Property, SOMETIMES, SOMETIMES_PENDING, Sometimes, State};

use super::reference::{cell, finish, page, paragraph};

/// The formal properties, and what a set of runs must show.
pub fn properties() -> String {
    let mut text = page("Properties");
    paragraph(
        &mut text,
        "What must hold of the operator, whatever happens to it, to the API server and to the machines. The judge \
         (`crates/sim/src/property`) watches the simulated world: every change, by whom, and what the machines \
         really do. It never asks the operator, and shares no function with its decisions.",
    );
    let pending = PROPERTIES.iter().filter(|property| !property.is_checked()).count();
    let judged = PROPERTIES.len() - pending;
    paragraph(&mut text, &format!("{judged} properties are judged, and {pending} are not yet."));
    for (title, beginning, says) in [
        ("Safety", "SAFE-", "Judged at every change."),
        (
            "Liveness",
            "LIVE-",
            "Judged when nothing disturbs the world any more. A run fails, too, if something is not healed \
             hours after the last fault (`HEALS`), if a task of the operator falls over (SAFE-17), or if the \
             world itself is refused something (`WORLD`).",
        ),
        ("The operator of itself", "SELF-", "What the operator itself takes for impossible."),
    ] {
        let _ = write!(
            text,
            "## {title}\n\n{says}\n\n| Property | What must hold | How it is judged |\n|---|---|---|\n"
        );
        for property in PROPERTIES.iter().filter(|property| property.id.starts_with(beginning)) {
            text.push_str(&row(property));
        }
        text.push('\n');
    }
    text.push_str("## Faults\n\nWhat is done to the operator and its world meanwhile.\n\n");
    text.push_str("| Fault | What is done | State |\n|---|---|---|\n");
    for fault in FAULTS {
        let state = match fault.state {
            fault::State::There => "there".to_owned(),
            fault::State::Partly(missing) => format!("partly: {}", cell(missing)),
            fault::State::Pending(why) => format!("not yet: {}", cell(why)),
        };
        let _ = writeln!(text, "| {} | {} | {state} |", fault.id, cell(fault.says));
    }
    text.push('\n');
    paragraph(
        &mut text,
        &format!(
            "## What must be seen\n\n{MANY} seeds or more among which one of these was never seen prove nothing about \
             it, and fail."
        ),
    );
    text.push_str("| Name | What is seen |\n|---|---|\n");
    for Sometimes { id, says } in SOMETIMES {
        let _ = writeln!(text, "| `{id}` | {} |", cell(says));
    }
    for Sometimes { id, says } in SOMETIMES_PENDING {
        let _ = writeln!(text, "| `{id}` | not yet: {} |", cell(says));
    }
    finish(text)
}

fn row(property: &Property) -> String {
    let how = match property.state {
        State::Checked { how } => cell(how),
        State::Pending { needs } => format!("not yet: needs {}", cell(needs)),
    };
    format!("| {} | {} | {how} |\n", property.id, cell(property.says))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_property_is_on_the_page_and_says_whether_it_is_judged() {
        let text = properties();
        for property in PROPERTIES {
            let line = text.lines().find(|line| line.starts_with(&format!("| {} |", property.id)));
            assert_eq!(
                line.unwrap().contains("not yet: needs"),
                !property.is_checked(),
                "{line:?}"
            );
        }
    }
}
