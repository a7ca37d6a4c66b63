//! The end of the show: order, racks, budget, times, API requests, violations.

use comfy_table::{Cell, CellAlignment, Table, presets};
use jiff::Timestamp;
use rerail_e2e::Requests;
use rerail_fleet::truth::Moment;

use super::{
    board::Story,
    scene::Allowed,
    show::{Handover, Tale},
};
use crate::bench::figures::Series;

const BOLD: &str = "\u{1b}[1m";
const PLAIN: &str = "\u{1b}[0m";
const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";

/// What is said at the end.
pub struct Summary<'a> {
    /// What was seen.
    pub tale: &'a Tale,
    /// Nodes out of service over time, by the truth log.
    pub moments: &'a [Moment],
    /// What may be.
    pub allowed: Allowed,
    /// What the operators asked.
    pub requests: &'a Requests,
    /// How many nodes were sick.
    pub sick: usize,
    /// Those of them that are not healed.
    pub unhealed: &'a [String],
    /// What must not be.
    pub violations: &'a [String],
}

/// Prints it.
pub fn print(summary: &Summary<'_>) {
    let stories = summary.tale.board.stories();
    anstream::println!("\n{BOLD}Order{PLAIN} in which the runs were admitted, rack by rack");
    show(&rounds_table(&rounds(&stories), summary.tale.began));
    anstream::println!("\n{BOLD}Limits{PLAIN}, by what the machines and the API server say");
    show(&limits_table(summary.moments, summary.allowed));
    anstream::println!("\n{BOLD}Times{PLAIN}");
    show(&times_table(&stories));
    anstream::println!("\n{BOLD}Leader{PLAIN}");
    show(&handover_table(summary.tale.handover.as_ref()));
    anstream::println!("\n{BOLD}API requests{PLAIN} of all replicas, watches aside");
    show(&requests_table(summary.requests, stories.len()));
    conclusion(summary);
}

fn conclusion(summary: &Summary<'_>) {
    let color = |good| if good { GREEN } else { RED };
    anstream::println!(
        "\n{BOLD}{}healed: {} of {} nodes{PLAIN} in {:.1} s",
        color(summary.unhealed.is_empty()),
        summary.sick.saturating_sub(summary.unhealed.len()),
        summary.sick,
        summary.tale.took.as_secs_f64()
    );
    for node in summary.unhealed {
        anstream::println!("  not healed: {node}");
    }
    anstream::println!(
        "{BOLD}{}violations: {}{PLAIN}, by the truth log of the machines",
        color(summary.violations.is_empty()),
        summary.violations.len()
    );
    for violation in summary.violations {
        anstream::println!("  {violation}");
    }
}

/// Runs in a row that were admitted in the same rack.
#[derive(Debug, PartialEq, Eq)]
struct Round<'a> {
    rack: &'a str,
    runs: Vec<&'a Story>,
}

fn rounds(stories: &[Story]) -> Vec<Round<'_>> {
    let same = stories.chunk_by(|one, next| one.rack == next.rack);
    same.filter_map(|runs| Some(Round { rack: &runs.first()?.rack, runs: runs.iter().collect() }))
        .collect()
}

fn rounds_table(rounds: &[Round<'_>], began: Timestamp) -> Table {
    let mut table = table(["", "rack", "nodes, by priority", "from", "to"]);
    let after = |t: Option<Timestamp>| {
        let since = t.map(|t| t.duration_since(began).as_secs_f64());
        since.map_or_else(|| "-".to_owned(), |since| format!("{since:.1} s"))
    };
    for (number, round) in rounds.iter().enumerate() {
        table.add_row([
            (number + 1).to_string(),
            round.rack.to_owned(),
            by_priority(&round.runs),
            after(round.runs.iter().map(|story| story.admitted).min()),
            after(round.runs.iter().filter_map(|story| story.healed).max()),
        ]);
    }
    aligned(table, &[0, 3, 4])
}

/// `P3: 012 017  P6: 014`, in the order of admission.
fn by_priority(runs: &[&Story]) -> String {
    let number = |story: &&Story| story.node.rsplit('-').next().unwrap_or_default().to_owned();
    let alike = runs.chunk_by(|one, next| one.priority == next.priority);
    let part = |runs: &[&Story]| {
        let numbers: Vec<_> = runs.iter().map(number).collect();
        runs.first().map(|story| format!("P{}: {}", story.priority, numbers.join(" ")))
    };
    alike.filter_map(part).collect::<Vec<_>>().join("  ")
}

/// The most at any time: nodes, and racks in which they stood.
pub fn peak(moments: &[Moment]) -> (usize, usize) {
    let nodes = moments.iter().map(|moment| moment.nodes.len()).max();
    let racks = moments.iter().map(|moment| moment.domains().len()).max();
    (nodes.unwrap_or(0), racks.unwrap_or(0))
}

/// Where more was out of service than allowed, each limit once.
pub fn passed(moments: &[Moment], allowed: Allowed) -> Vec<String> {
    let nodes = moments.iter().find(|moment| moment.nodes.len() > allowed.nodes).map(|moment| {
        format!(
            "SAFE-4: at {} {} nodes were out of service, {} allowed: {}",
            moment.t,
            moment.nodes.len(),
            allowed.nodes,
            moment.names().collect::<Vec<_>>().join(", ")
        )
    });
    let racks = moments.iter().find(|moment| moment.domains().len() > allowed.racks);
    let racks = racks.map(|moment| {
        format!(
            "SAFE-4: at {} nodes were out of service in {} racks, {} allowed: {}",
            moment.t,
            moment.domains().len(),
            allowed.racks,
            moment.domains().into_iter().collect::<Vec<_>>().join(", ")
        )
    });
    nodes.into_iter().chain(racks).collect()
}

fn limits_table(moments: &[Moment], allowed: Allowed) -> Table {
    let mut table = table(["", "most at once", "allowed"]);
    let (nodes, racks) = peak(moments);
    let row = |what: &str, most: usize, limit: usize| {
        [what.to_owned(), most.to_string(), limit.to_string()]
    };
    table.add_row(row("nodes out of service", nodes, allowed.nodes));
    table.add_row(row("racks with such nodes", racks, allowed.racks));
    aligned(table, &[1, 2])
}

fn times_table(stories: &[Story]) -> Table {
    let mut table = table(["", "p50", "max"]);
    let series = |from: fn(&Story) -> Timestamp| {
        let mut series = Series::default();
        for story in stories {
            let Some(healed) = story.healed else { continue };
            series.add(healed.duration_since(from(story)).unsigned_abs());
        }
        series
    };
    let rows = [
        ("from alert to healed, the wait for its turn included", series(|story| story.sick)),
        ("from admitted to healed", series(|story| story.admitted)),
    ];
    let seconds = |milliseconds: Option<f64>| {
        milliseconds.map_or_else(|| "-".to_owned(), |time| format!("{:.1} s", time / 1000.0))
    };
    for (what, series) in rows {
        table.add_row([what.into(), seconds(series.percentile(50)), seconds(series.max())]);
    }
    aligned(table, &[1, 2])
}

fn handover_table(handover: Option<&Handover>) -> Table {
    let mut table = table([]);
    let seconds = |time: &std::time::Duration| format!("{:.1} s", time.as_secs_f64());
    let Some(Handover { killed, at, next, went_on }) = handover else {
        table.add_row(["was not killed", ""]);
        return table;
    };
    let never = || "never".to_owned();
    let led = next.as_ref().map_or_else(never, |(_, after)| seconds(after));
    let name = next.as_ref().map_or("somebody", |(name, _)| name);
    table.add_row([format!("until {killed} was killed (SIGKILL)"), seconds(at)]);
    table.add_row([format!("without a leader, until {name} led"), led]);
    let went_on = went_on.as_ref().map_or_else(never, seconds);
    table.add_row(["from the kill to the next step of a run".to_owned(), went_on]);
    aligned(table, &[1])
}

fn requests_table(asked: &Requests, runs: usize) -> Table {
    let runs = u32::try_from(runs).unwrap_or(u32::MAX).max(1);
    let per_run = |count: u64| format!("{:.1}", per(count, runs));
    let mut table = table(["verb", "all", "per run", "of which"]);
    for (verb, resources) in asked.by_verb() {
        let all: u64 = resources.values().sum();
        let mut parts: Vec<_> = resources.iter().collect();
        parts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let parts: Vec<_> =
            parts.iter().map(|(resource, count)| format!("{resource} {count}")).collect();
        table.add_row([verb.to_owned(), all.to_string(), per_run(all), parts.join(", ")]);
    }
    let total = asked.total();
    table.add_row(["all".to_owned(), total.to_string(), per_run(total), String::new()]);
    aligned(table, &[1, 2])
}

/// A quotient for people.
fn per(count: u64, runs: u32) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, |count| f64::from(count) / f64::from(runs))
}

/// A table without lines, as wide as it needs to be.
fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    table.set_width(WIDTH);
    if N > 0 {
        table.set_header(header.map(Cell::new));
    }
    table
}

/// The same, with these columns at the right.
fn aligned(mut table: Table, right: &[usize]) -> Table {
    for column in right {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// What a table may be wide.
const WIDTH: u16 = 78;

fn show(table: &Table) {
    for line in table.to_string().lines() {
        anstream::println!(" {}", line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn story(node: &str, rack: &str, admitted: i64, healed: Option<i64>) -> Story {
        Story {
            node: node.into(),
            rack: rack.into(),
            priority: 6,
            sick: at(0),
            admitted: at(admitted),
            healed: healed.map(at),
        }
    }

    fn moment(second: i64, nodes: &[(&str, &str)]) -> Moment {
        let nodes = nodes.iter().map(|(node, rack)| ((*node).into(), (*rack).into()));
        Moment { t: at(second), nodes: nodes.collect() }
    }

    fn rows(table: &Table) -> Vec<Vec<String>> {
        let cells = |row: &comfy_table::Row| row.cell_iter().map(Cell::content).collect();
        table.row_iter().map(cells).collect()
    }

    #[test]
    fn a_round_is_what_was_admitted_in_a_row_in_one_rack() {
        let stories = [
            story("n-1", "a", 1, Some(8)),
            story("n-2", "a", 2, Some(5)),
            story("n-9", "b", 9, None),
            story("n-3", "a", 10, Some(20)),
        ];
        let found = rows(&rounds_table(&rounds(&stories), at(0)));
        let expected = [
            ["1", "a", "P6: 1 2", "1.0 s", "8.0 s"],
            ["2", "b", "P6: 9", "9.0 s", "-"],
            ["3", "a", "P6: 3", "10.0 s", "20.0 s"],
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn times_are_of_healed_nodes() {
        let stories = [
            story("n-1", "a", 1, Some(8)),
            story("n-2", "a", 2, Some(5)),
            story("n-3", "b", 3, None),
        ];
        let found = rows(&times_table(&stories));
        assert_eq!(found[0][1..], ["5.0 s", "8.0 s"]);
        assert_eq!(found[1][1..], ["3.0 s", "7.0 s"]);
        assert_eq!(rows(&times_table(&[]))[0][1..], ["-", "-"]);
    }

    #[test]
    fn the_most_at_once_is_held_against_what_is_allowed() {
        let moments = [
            moment(1, &[("n-1", "a")]),
            moment(2, &[("n-1", "a"), ("n-2", "a")]),
            moment(3, &[("n-2", "a"), ("n-7", "b")]),
            moment(4, &[]),
        ];
        assert_eq!((peak(&moments), peak(&[])), ((2, 2), (0, 0)));
        assert_eq!(passed(&moments, Allowed { nodes: 2, racks: 2 }), Vec::<String>::new());
        let found = passed(&moments, Allowed { nodes: 1, racks: 1 });
        let first =
            "SAFE-4: at 1970-01-01T00:00:02Z 2 nodes were out of service, 1 allowed: n-1, n-2";
        assert_eq!(found[0], first);
        assert!(found[1].starts_with("SAFE-4: at 1970-01-01T00:00:03Z"), "{found:?}");
    }

    #[test]
    fn a_leader_that_nobody_followed_is_told_of() {
        let mut handover = Handover {
            killed: "a".into(),
            at: Duration::from_secs(60),
            next: Some(("b".into(), Duration::from_millis(15_500))),
            went_on: None,
        };
        let taken: Vec<_> = rows(&handover_table(Some(&handover))).into_iter().flatten().collect();
        assert_eq!(
            (taken[1].as_str(), taken[3].as_str(), taken[5].as_str()),
            ("60.0 s", "15.5 s", "never")
        );
        handover.next = None;
        assert_eq!(rows(&handover_table(Some(&handover)))[1][1], "never");
        assert_eq!(rows(&handover_table(None))[0][0], "was not killed");
    }

    #[test]
    fn requests_are_shown_by_verb_and_per_run() {
        let kind = |verb: &str, resource: &str| (verb.to_owned(), resource.to_owned());
        let asked = Requests([(kind("get", "nodes"), 3), (kind("get", "pods"), 7)].into());
        let found = rows(&requests_table(&asked, 4));
        assert_eq!(found, [["get", "10", "2.5", "pods 7, nodes 3"], ["all", "10", "2.5", ""]]);
    }
}
