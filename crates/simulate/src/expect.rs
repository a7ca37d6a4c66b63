//! Whether what came of a play is what its scene expects.

use jiff::SignedDuration;
use rerail_sim::world::Expect;

use crate::{board::length, report::Report};

/// What is not as expected, one sentence each.
pub(crate) fn missed(expect: &Expect, report: &Report) -> Vec<String> {
    let mut missed = Vec::new();
    cleared(expect, report, &mut missed);
    let mut at_most = |what: &str, is: usize, expected: Option<usize>| {
        if let Some(expected) = expected.filter(|expected| is > *expected) {
            missed.push(format!("{what}: {is}, and at most {expected} expected"));
        }
    };
    at_most("nodes out of service at once", report.unavailable.most, expect.max_unavailable);
    let worst = report.domains.iter().max_by_key(|domain| domain.most_unavailable);
    if let Some(worst) = worst {
        let what = format!("nodes of {} out of service at once", worst.name);
        at_most(&what, worst.most_unavailable, expect.max_unavailable_per_domain);
    }
    at_most("failure domains worked on at once", report.domains_open.most, expect.max_domains);
    at_most("drains that were blocked", report.blocked_drains.len(), expect.blocked_drains);
    at_most("nodes left in the end", report.left.len(), expect.left);
    if let Some(expected) = expect.healed.filter(|expected| report.healed < *expected) {
        missed.push(format!("nodes healed: {}, and at least {expected} expected", report.healed));
    }
    if let Some(expected) = &expect.order {
        order(expected, report, &mut missed);
    }
    missed
}

fn cleared(expect: &Expect, report: &Report, missed: &mut Vec<String>) {
    let Some(within) = &expect.cleared_within else { return };
    let (expected, within) = (length(within.value()), within.value().as_secs());
    match report.cleared_after_seconds {
        Some(after) if after > within => {
            let after = length(SignedDuration::from_secs(after));
            missed.push(format!("cleared after {after}, and within {expected} expected"));
        }
        // A slip of the pen in a name would keep a check green for ever.
        None if report.troubled == 0 => missed.push(format!(
            "nothing went wrong, so that nothing was cleared, and within {expected} expected"
        )),
        None => missed.push(format!(
            "never cleared, and within {expected} expected: {} left in the end",
            report.left.len()
        )),
        Some(_) => {}
    }
}

fn order(expected: &[String], report: &Report, missed: &mut Vec<String>) {
    let is: Vec<&str> = report.order.iter().map(|admitted| admitted.node.as_str()).collect();
    let differs = expected.iter().zip(&is).position(|(expected, is)| expected != is);
    let differs = differs.or((expected.len() != is.len()).then_some(expected.len().min(is.len())));
    if let Some(at) = differs {
        let nobody = "nobody".to_owned();
        missed.push(format!(
            "admission {} is of {}, and of {} expected",
            at.saturating_add(1),
            is.get(at).copied().unwrap_or("nobody"),
            expected.get(at).unwrap_or(&nobody)
        ));
    }
}

#[cfg(test)]
mod tests;
