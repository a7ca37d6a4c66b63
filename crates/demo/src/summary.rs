//! What is said at the end: healed, held and why, in which order, within which limits, how long, and
//! what to try next.

use std::io::{self, Write};

use jiff::SignedDuration;

use rerail_simulate::board::{Board, Face, Most, length};

const BOLD: &str = "\u{1b}[1m";
const DIM: &str = "\u{1b}[2m";
const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";
const PLAIN: &str = "\u{1b}[0m";

/// Sentences are so wide.
const WIDTH: usize = 80;

/// Of the order only so much is told.
const ROUNDS: usize = 12;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Everything that can heal has healed.
    Settled,
    /// Somebody had seen enough.
    Quit,
    /// What can heal did not, in a time in which it should have.
    GaveUp,
}

/// Writes it. `program` is how the reader calls this binary.
pub fn write(
    out: &mut impl Write,
    board: &Board,
    ending: Ending,
    took: std::time::Duration,
    program: &str,
) -> io::Result<()> {
    writeln!(out)?;
    let healed = board.nodes().values().filter(|entry| entry.healed > 0).count();
    let runs = board.times().0.len();
    let again = if runs > healed { format!(", in {runs} runs") } else { String::new() };
    let nodes = if healed == 1 { "node" } else { "nodes" };
    writeln!(
        out,
        "{BOLD}{GREEN}{healed} {nodes} healed{PLAIN}{again}; {} of the cluster's time in {:.1} s",
        length(board.elapsed()),
        took.as_secs_f64()
    )?;
    not_healed(out, board, ending)?;
    order(out, board)?;
    limits(out, board)?;
    times(out, board)?;
    violations(out, board)?;
    next(out, program)
}

fn not_healed(out: &mut impl Write, board: &Board, ending: Ending) -> io::Result<()> {
    let others: Vec<_> = board
        .nodes()
        .iter()
        .filter(|(_, entry)| !matches!(entry.face(), Face::Healthy | Face::Healed))
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    let title = match ending {
        Ending::Settled => "Left for people",
        Ending::Quit => "Not done yet",
        Ending::GaveUp => "NOT HEALED in a time in which it should have been",
    };
    writeln!(out, "\n{BOLD}{title}{PLAIN}")?;
    let queue = board.queue();
    for (name, entry) in others {
        let face = entry.face();
        let waits = queue.iter().find(|waits| waits.node == **name);
        let run = entry.run.as_ref().map(|run| run.message.as_str());
        let why = match face {
            Face::Waiting(_) => waits.map(|waits| waits.message.as_str()).or(run),
            _ => run,
        };
        let text = format!("{}: {}", face.meaning(), why.unwrap_or_default());
        for (row, line) in wrapped(&text).into_iter().enumerate() {
            writeln!(out, "  {:<12} {line}", if row == 0 { name } else { "" })?;
        }
    }
    Ok(())
}

/// A sentence in lines.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(line) = lines.last_mut() else { continue };
        if line.is_empty() {
            word.clone_into(line);
        } else if line.chars().count() + 1 + word.chars().count() <= WIDTH {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// Admissions in a row in one rack.
fn order(out: &mut impl Write, board: &Board) -> io::Result<()> {
    let admissions = board.admissions();
    if admissions.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{BOLD}Order{PLAIN} {DIM}(priority: nodes, as they were admitted){PLAIN}")?;
    let rounds: Vec<_> = admissions.chunk_by(|one, next| one.rack == next.rack).collect();
    let widest = rounds.iter().filter_map(|round| Some(round.first()?.rack.len())).max();
    let widest = widest.unwrap_or(0);
    for round in rounds.iter().take(ROUNDS) {
        let Some(first) = round.first() else { continue };
        let after = crate::picture::clock(first.at.duration_since(board.start()));
        let alike = round.chunk_by(|one, next| one.priority == next.priority);
        let part = |run: &[rerail_simulate::board::Admission]| {
            let names = run.iter().map(|admission| short(&admission.node)).collect::<Vec<_>>();
            let priority = run.first().and_then(|admission| admission.priority);
            let priority = priority.map_or_else(String::new, |priority| format!("P{priority}: "));
            format!("{priority}{}", names.join(" "))
        };
        let parts = alike.map(part).collect::<Vec<_>>().join("  ");
        writeln!(out, "  {after}  {:<widest$}  {parts}", first.rack)?;
    }
    if let Some(more) = rounds.len().checked_sub(ROUNDS).filter(|more| *more > 0) {
        writeln!(out, "  and {more} more rounds")?;
    }
    Ok(())
}

/// `worker-012` is `012`.
fn short(node: &str) -> &str {
    node.rsplit('-').next().unwrap_or(node)
}

fn limits(out: &mut impl Write, board: &Board) -> io::Result<()> {
    writeln!(out, "\n{BOLD}Limits{PLAIN} {DIM}(the most at any time, and what is allowed){PLAIN}")?;
    let mut row =
        |what: &str, most: Most| writeln!(out, "  {what:<36} {:>3} of {}", most.most, most.allowed);
    row("nodes under remediation, cluster", board.under_remediation())?;
    for (name, policy) in board.policies() {
        row(&format!("nodes out of service, {name}"), policy.budget)?;
    }
    row("racks worked on", board.racks_open())
}

fn times(out: &mut impl Write, board: &Board) -> io::Result<()> {
    let (took, suffered) = board.times();
    if took.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{BOLD}Times{PLAIN} {DIM}(median, longest; by the cluster's clock){PLAIN}")?;
    for (what, times) in
        [("from the alert to healthy", suffered), ("from the cordon to healthy", took)]
    {
        let mut sorted = times.to_vec();
        sorted.sort();
        let tell = |time: Option<&SignedDuration>| time.map_or("-".into(), |time| length(*time));
        let median = tell(sorted.get(sorted.len() / 2));
        writeln!(out, "  {what:<36} {median:>7} {:>7}", tell(sorted.last()))?;
    }
    Ok(())
}

fn violations(out: &mut impl Write, board: &Board) -> io::Result<()> {
    let violations = board.violations();
    let color = if violations.is_empty() { GREEN } else { RED };
    writeln!(out, "\n{BOLD}{color}violations: {}{PLAIN}", violations.len())?;
    for violation in violations {
        writeln!(out, "  {violation}")?;
    }
    Ok(())
}

fn next(out: &mut impl Write, program: &str) -> io::Result<()> {
    writeln!(out, "\n{BOLD}Next{PLAIN}")?;
    let commands = [
        (format!("{program} demo --speed 10x"), "slower, with kubectl in a second terminal"),
        (format!("{program} demo --seed 7 --once --plain"), "another seed, as lines, to its end"),
        ("cargo xtask try".to_owned(), "the same job on a real control plane"),
    ];
    let widest = commands.iter().map(|(command, _)| command.chars().count()).max().unwrap_or(0);
    for (command, what) in commands {
        writeln!(out, "  {command:<widest$}   {DIM}{what}{PLAIN}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use rerail_simulate::board::fixture::{Fixture, Node};

    fn text(board: &Board, ending: Ending) -> String {
        let mut out = Vec::new();
        write(&mut out, board, ending, Duration::from_millis(12_300), "rerail").unwrap();
        anstream::adapter::strip_str(&String::from_utf8(out).unwrap()).to_string()
    }

    #[test]
    fn it_says_who_was_healed_who_was_not_and_why() {
        let mut fixture = Fixture::new();
        for name in ["n-1", "n-2", "n-3"] {
            fixture.node(0, name, "rack-a", &Node::default());
            fixture.run(10, name, "Cordoning", "Admitted", "");
        }
        fixture.run(100, "n-1", "Succeeded", "Healed", "");
        fixture.run(130, "n-2", "Succeeded", "Healed", "");
        fixture.run(130, "n-3", "Held", "NoBoot", &"it did not boot ".repeat(12));
        let text = text(&fixture.board, Ending::Settled);
        assert!(text.contains("2 nodes healed; 2m10s of the cluster's time in 12.3 s"), "{text}");
        assert!(
            text.contains("Left for people\n  n-3          held for a person: it did"),
            "{text}"
        );
        assert!(text.contains("  00:00:10  zone-1/rack-a  P6: 1 2 3\n"), "{text}");
        assert!(
            text.contains(
                "     2m      2m
"
            ),
            "{text}"
        );
        assert!(text.contains("violations: 0"), "{text}");
        assert!(text.contains("rerail demo --speed 10x"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }

    #[test]
    fn it_names_what_must_never_be() {
        let mut board = Board::new(rerail_simulate::board::fixture::start());
        board.violated(board.start(), "SAFE-1 n-1: booted twice".to_owned());
        let text = text(&board, Ending::Quit);
        assert!(text.contains("violations: 1\n  SAFE-1 n-1: booted twice\n"), "{text}");
    }
}
