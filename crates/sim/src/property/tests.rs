//! For each property that is judged: a history in which it does not hold, and the judge says so. And one
//! in which everything is as it should be, of which each of the others is one step away.

mod history;
mod red;

use std::collections::BTreeSet;

use super::{PROPERTIES, SOMETIMES};
use history::History;

#[test]
fn a_good_history_violates_nothing() {
    let mut history = History::new();
    history.heals("n1");
    history.rests();
    history.wait(600);
    history.rests();
    assert_eq!(history.told(), Vec::<String>::new());
    let seen = history.judge.sometimes();
    for what in ["run-succeeds", "eviction", "lease-taken", "budget-full", "reboot-pod-acts"] {
        assert!(seen.contains_key(what), "{what}: {seen:?}");
    }
    let known: BTreeSet<_> = SOMETIMES.iter().map(|one| one.id).collect();
    assert!(seen.keys().all(|what| known.contains(what)), "{seen:?}");
}

/// A check that cannot fail is none: every property that is called judged has a history here in which
/// it fails.
#[test]
fn every_judged_property_fails_in_a_history_of_its_own() {
    let (mut failed, mut wrong) = (BTreeSet::new(), Vec::new());
    for (property, name, tell) in red::HISTORIES {
        let mut history = History::new();
        tell(&mut history);
        let violations = history.judge.violations();
        let (own, others): (Vec<_>, Vec<_>) =
            violations.iter().partition(|violation| violation.property == *property);
        if own.is_empty() || others.len() > 1 {
            wrong.push(format!("{property}, `{name}`: {:#?}", history.told()));
        }
        failed.insert(*property);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let judged: BTreeSet<_> = PROPERTIES
        .iter()
        .filter(|property| property.is_checked())
        .map(|property| property.id)
        .collect();
    assert_eq!(failed, judged);
}

/// A slow request is nobody's fault: it counts in the term in which it was sent.
#[test]
fn what_was_sent_in_one_term_may_arrive_in_the_next() {
    for (late, violations) in [(true, 0), (false, 1)] {
        let mut history = History::new();
        history.until_drained("n1");
        let sent = history.now;
        history.wait(1);
        history.lease(history::OPERATOR, "term-2", 2, &["n1"]);
        let mut run = history.get("noderemediations", "n1");
        run["status"]["message"] = serde_json::json!("x");
        let sent = if late { sent } else { history.now };
        history.sent_at(sent, history::OPERATOR, "noderemediations", run);
        let told = history.told();
        assert_eq!(told.len(), violations, "{told:#?}");
    }
}
