//! What came of a simulation, for people.

use std::time::Duration;

use jiff::SignedDuration;
use rerail_simulate::{
    board::length,
    report::{Admitted, Ending, Lengths, MostView, Report, Then},
};

use crate::outlook::words::{count, table, wrapped};

/// Rows that people are shown; the others are counted.
const ROWS: usize = 40;

/// Rounds of the order that people are shown.
const ROUNDS: usize = 20;

/// The whole answer.
pub fn report(report: &Report, took: Duration) -> String {
    let mut text = wrapped(&summary(report), 2);
    text.push_str(&format!(
        "scenario {}, seed {}: {}, {} played in {:.1} s\n",
        report.scenario,
        report.seed,
        count(report.nodes, "node"),
        seconds(report.played_seconds),
        took.as_secs_f64()
    ));
    for note in &report.notes {
        text.push_str(&wrapped(&format!("! {note}"), 2));
    }
    let mut part = |title: &str, body: String| {
        if !body.is_empty() {
            text.push_str(&format!("\n{title}\n{body}"));
        }
    };
    part("VIOLATIONS", sentences(&report.violations));
    part("NOT AS EXPECTED", sentences(&report.missed));
    part("NOT DONE OF THE SCENARIO", sentences(&report.not_done));
    part("AT MOST AT ONCE", limits(report));
    part("TIMES", times(report));
    part("FAILURE DOMAINS", domains(report));
    part("ORDER", order(&report.order));
    part("STORMS: FEW OR NONE STARTED FOR THESE", storms(report));
    let title = if report.blocked_drains.is_empty() {
        "DRAINS THAT HAD TO WAIT"
    } else {
        "DRAINS THAT WERE BLOCKED"
    };
    part(title, blocked(report));
    part("LEFT IN THE END", left(report));
    text
}

/// Several plays of one scenario: the best and the worst of each figure, and what was not as expected with which
/// seed.
pub fn seeds(reports: &[Report], took: Duration) -> String {
    let bad: Vec<_> = reports.iter().filter(|report| !report.as_expected).collect();
    let (scenario, all) = (reports.first().map_or("", |first| &first.scenario), reports.len());
    let names: Vec<_> = bad.iter().map(|report| report.seed.to_string()).collect();
    let mut text = match bad.as_slice() {
        [] => format!("{} with each of {}\n", good(reports), count(all, "seed")),
        _ => wrapped(
            &format!(
                "Not as expected with {} of {all}: {}",
                count(bad.len(), "seed"),
                names.join(", ")
            ),
            2,
        ),
    };
    text.push_str(&format!("scenario {scenario}: played in {:.1} s\n", took.as_secs_f64()));
    for note in reports.first().into_iter().flat_map(|first| &first.notes) {
        text.push_str(&wrapped(&format!("! {note}"), 2));
    }
    text.push_str(&format!("\nOVER ALL SEEDS\n{}", best_and_worst(reports)));
    if !bad.is_empty() {
        text.push_str("\nNOT AS EXPECTED\n");
    }
    for report in bad.iter().take(ROWS) {
        let wrong = report.violations.iter().chain(&report.missed).chain(&report.not_done);
        for sentence in wrong {
            text.push_str(&wrapped(&format!("seed {}: {sentence}", report.seed), 2));
        }
    }
    text + &more(bad.len(), ROWS)
}

fn good(reports: &[Report]) -> &'static str {
    if reports.iter().any(|report| report.expects) { "As expected" } else { "Played" }
}

fn best_and_worst(reports: &[Report]) -> String {
    let never = i64::MAX;
    let time = |value: i64| if value == never { "never".to_owned() } else { seconds(value) };
    let number = |value: i64| value.to_string();
    let len = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    type Figure<'a> = (&'a str, &'a dyn Fn(&Report) -> i64, &'a dyn Fn(i64) -> String);
    let figures: [Figure<'_>; 6] = [
        ("all clear after", &|report| report.cleared_after_seconds.unwrap_or(never), &time),
        (
            "longest from the alert to healthy",
            &|report| report.from_alert.map_or(0, |lengths| lengths.longest_seconds),
            &time,
        ),
        ("nodes out of service at once", &|report| len(report.unavailable.most), &number),
        ("failure domains worked on at once", &|report| len(report.domains_open.most), &number),
        ("drains that were blocked", &|report| len(report.blocked_drains.len()), &number),
        ("nodes left in the end", &|report| len(report.left.len()), &number),
    ];
    let rows = figures.iter().filter_map(|(what, of, told)| {
        let best = reports.iter().min_by_key(|report| of(report))?;
        let worst = reports.iter().max_by_key(|report| of(report))?;
        Some(vec![(*what).to_owned(), told(of(best)), told(of(worst)), worst.seed.to_string()])
    });
    table(&["WHAT", "BEST", "WORST", "WITH SEED"], rows)
}

fn summary(report: &Report) -> String {
    let nodes = count(report.healed, "node");
    let healed = format!("{nodes} healed, of {} in trouble", report.troubled);
    let came = match (report.troubled, report.cleared_after_seconds) {
        (0, _) => "nothing went wrong, and nothing was done".to_owned(),
        (_, Some(after)) => format!("{healed}, all clear after {}", seconds(after)),
        (_, None) => format!("{healed}, {} left", count(report.left.len(), "node")),
    };
    let ending = match report.ending {
        Ending::Settled => "",
        Ending::GaveUp => ", and nothing more healed for a day",
        Ending::Stopped => ", when the scenario ended",
    };
    let verdict = match (report.violations.is_empty(), report.as_expected, report.expects) {
        (false, ..) => "VIOLATION",
        (true, false, _) => "Not as expected",
        (true, true, true) => "As expected",
        (true, true, false) => "Played",
    };
    format!("{verdict}: {came}{ending}")
}

fn seconds(seconds: i64) -> String {
    length(SignedDuration::from_secs(seconds))
}

fn sentences(all: &[String]) -> String {
    all.iter().map(|one| wrapped(one, 2)).collect()
}

fn limits(report: &Report) -> String {
    let row =
        |what: String, most: MostView| vec![what, most.most.to_string(), most.limit.to_string()];
    let mut rows = vec![
        row("nodes out of service, cluster".to_owned(), report.unavailable),
        row("nodes under remediation, cluster".to_owned(), report.under_remediation),
        row("failure domains worked on".to_owned(), report.domains_open),
    ];
    let policies = report.policies.iter();
    rows.extend(policies.map(|policy| {
        row(format!("nodes out of service, policy {}", policy.name), policy.unavailable)
    }));
    table(&["WHAT", "MOST", "LIMIT"], rows)
}

fn times(report: &Report) -> String {
    let row = |what: &str, lengths: &Option<Lengths>| {
        lengths.map(|lengths| {
            let (median, longest) = (lengths.median_seconds, lengths.longest_seconds);
            vec![what.to_owned(), seconds(median), seconds(longest)]
        })
    };
    let rows = [
        row("from the alert to healthy", &report.from_alert),
        row("from the cordon to healthy", &report.from_cordon),
    ];
    let rows: Vec<_> = rows.into_iter().flatten().collect();
    if rows.is_empty() { String::new() } else { table(&["", "MEDIAN", "LONGEST"], rows) }
}

fn domains(report: &Report) -> String {
    if report.domains.is_empty() {
        return String::new();
    }
    let rows = report.domains.iter().take(ROWS).map(|domain| {
        vec![domain.name.clone(), domain.nodes.to_string(), domain.most_unavailable.to_string()]
    });
    table(&["DOMAIN", "NODES", "MOST OUT OF SERVICE"], rows) + &more(report.domains.len(), ROWS)
}

fn more(all: usize, shown: usize) -> String {
    match all.saturating_sub(shown) {
        0 => String::new(),
        more => format!("… and {more} more; -o json has them all\n"),
    }
}

/// Admissions in a row in one failure domain.
fn order(order: &[Admitted]) -> String {
    let rounds: Vec<_> = order.chunk_by(|one, next| one.domain == next.domain).collect();
    if rounds.is_empty() {
        return String::new();
    }
    let rows = rounds.iter().take(ROUNDS).filter_map(|round| {
        let first = round.first()?;
        let alike = round.chunk_by(|one, next| one.priority == next.priority);
        let part = |run: &[Admitted]| {
            let names: Vec<_> = run.iter().map(|one| one.node.as_str()).collect();
            let priority = run.first().and_then(|one| one.priority);
            let priority = priority.map_or_else(String::new, |number| format!("P{number} "));
            format!("{priority}{}", names.join(" "))
        };
        let parts: Vec<_> = alike.map(part).collect();
        let (from, to) = (first.seconds_at, round.last()?.seconds_at);
        let (from, to) = (seconds(from), seconds(to));
        let after = if from == to { from } else { format!("{from} to {to}") };
        Some(vec![after, first.domain.clone(), parts.join(", ")])
    });
    table(&["AFTER", "DOMAIN", "ADMITTED, BY PRIORITY"], rows) + &more(rounds.len(), ROUNDS)
}

fn storms(report: &Report) -> String {
    if report.storms.is_empty() {
        return String::new();
    }
    let rows = report.storms.iter().take(ROWS).map(|storm| {
        let over = storm.over_at.map_or("not over".to_owned(), seconds);
        vec![storm.condition.clone(), storm.policy.clone(), seconds(storm.seconds_at), over]
    });
    table(&["CONDITION", "POLICY", "FROM", "UNTIL"], rows) + &more(report.storms.len(), ROWS)
}

fn blocked(report: &Report) -> String {
    let drains = &report.blocked_drains;
    let briefly = match report.briefly_blocked_drains {
        0 => String::new(),
        number => format!("{} for less than a minute\n", count(number, "drain")),
    };
    if drains.is_empty() {
        return briefly;
    }
    let rows = drains.iter().take(ROWS).map(|drain| {
        let then = match drain.then {
            Then::WentOn => "went on",
            Then::GaveUp => "gave up",
            Then::StillBlocked => "still is",
        };
        vec![
            drain.node.clone(),
            seconds(drain.seconds_at),
            seconds(drain.for_seconds),
            then.to_owned(),
            drain.message.clone(),
        ]
    });
    table(&["NODE", "AFTER", "FOR", "THEN", "BY"], rows) + &more(drains.len(), ROWS) + &briefly
}

fn left(report: &Report) -> String {
    if report.left.is_empty() {
        return String::new();
    }
    let rows = report
        .left
        .iter()
        .take(ROWS)
        .map(|left| vec![left.node.clone(), left.state.clone(), left.why.clone()]);
    table(&["NODE", "STATE", "WHY"], rows) + &more(report.left.len(), ROWS)
}
