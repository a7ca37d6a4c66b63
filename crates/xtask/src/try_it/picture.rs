//! The live table as text: one line per rack, then who leads and how far everything is.

use std::{collections::BTreeMap, time::Duration};

use super::board::Face;

const PLAIN: &str = "\u{1b}[0m";
const BOLD: &str = "\u{1b}[1m";
const DIM: &str = "\u{1b}[2m";
const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";
const YELLOW: &str = "\u{1b}[33m";
const BLUE: &str = "\u{1b}[34m";
const MAGENTA: &str = "\u{1b}[35m";
const CYAN: &str = "\u{1b}[36m";

/// Width of a bar.
const BAR: usize = 25;

/// Everything that the table shows.
#[derive(Debug, Clone)]
pub struct Scene<'a> {
    /// The racks with the faces of their nodes.
    pub racks: BTreeMap<&'a str, Vec<Face>>,
    /// Nodes that were sick at the start.
    pub sick: usize,
    /// Nodes out of service now, and the most that may be.
    pub unavailable: (usize, usize),
    /// Who leads, in words.
    pub leader: String,
    /// Since the beginning.
    pub elapsed: Duration,
}

/// The lines of the table.
pub fn lines(scene: &Scene<'_>) -> Vec<String> {
    let mut lines = vec![String::new()];
    lines.extend(scene.racks.iter().map(|(rack, faces)| rack_row(rack, faces)));
    let count =
        |is: fn(Face) -> bool| scene.racks.values().flatten().filter(|face| is(**face)).count();
    let healed = count(|face| face == Face::Healed);
    let waiting = count(|face| matches!(face, Face::Waiting(_)));
    let stuck = count(|face| face == Face::Stuck);
    let (used, limit) = scene.unavailable;
    lines.push(String::new());
    lines.push(legend());
    lines.push(String::new());
    lines.push(format!(
        "  healed  {}  {healed} of {}: {} in work, {waiting} waiting, {stuck} held",
        bar(healed, scene.sick, GREEN),
        scene.sick,
        count(Face::in_work),
    ));
    lines.push(format!(
        "  budget  {}  {used} of {limit} nodes out of service",
        bar(used, limit, if used > limit { RED } else { YELLOW }),
    ));
    lines.push(format!("  leader  {}", scene.leader));
    lines.push(format!("  time    {:.0} s", scene.elapsed.as_secs_f64().floor()));
    lines
}

/// One rack: a letter for each node, and the priorities that wait.
pub fn rack_row(rack: &str, faces: &[Face]) -> String {
    let letters: Vec<_> = faces.iter().map(|face| letter(*face)).collect();
    let waiting = faces.iter().filter(|face| matches!(face, Face::Waiting(_))).count();
    let in_work = faces.iter().filter(|face| face.in_work()).count();
    let healed = faces.iter().filter(|face| **face == Face::Healed).count();
    let parts = [(in_work, "in work"), (waiting, "waiting"), (healed, "healed")];
    let parts: Vec<_> = parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{number} {what}"))
        .collect();
    let name = if in_work > 0 { format!("{BOLD}{rack:<8}{PLAIN}") } else { format!("{rack:<8}") };
    format!("  {name}{}    {DIM}{}{PLAIN}", letters.join(" "), parts.join(", "))
}

/// What the letters mean.
pub fn legend() -> String {
    let meanings = [
        (letter(Face::Healthy), "healthy"),
        (letter(Face::Waiting(6)), "waits, P6"),
        (letter(Face::Draining), "drains"),
        (letter(Face::Rebooting), "reboots"),
        (letter(Face::Verifying), "verified"),
        (letter(Face::Healed), "healed"),
        (letter(Face::Stuck), "held"),
    ];
    let meanings = meanings.map(|(letter, meaning)| format!("{letter} {DIM}{meaning}{PLAIN}"));
    format!("  {}", meanings.join("  "))
}

fn letter(face: Face) -> String {
    let (color, letter) = match face {
        Face::Healthy => (DIM, "·".to_owned()),
        Face::Waiting(priority @ 0..=9) => (RED, priority.to_string()),
        Face::Waiting(_) => (RED, "+".to_owned()),
        Face::Draining => (YELLOW, "D".to_owned()),
        Face::Rebooting => (MAGENTA, "R".to_owned()),
        Face::Verifying => (BLUE, "V".to_owned()),
        Face::Healed => (GREEN, "✓".to_owned()),
        Face::Stuck => (RED, "H".to_owned()),
    };
    format!("{color}{letter}{PLAIN}")
}

/// A bar of so much of all; what is beyond it is not shown.
fn bar(part: usize, all: usize, color: &str) -> String {
    let full = (part * BAR).checked_div(all).unwrap_or(0).min(BAR);
    format!("{color}{}{DIM}{}{PLAIN}", "█".repeat(full), "░".repeat(BAR - full))
}

/// The line of a node that looks different now, with how many runs are under way.
pub fn news(
    elapsed: Duration,
    rack: &str,
    node: &str,
    priority: Option<u16>,
    face: Face,
    in_work: usize,
) -> String {
    let (color, what) = match face {
        Face::Healthy => (PLAIN, "healthy"),
        Face::Waiting(_) => (RED, "waits"),
        Face::Draining => (YELLOW, "admitted: cordoned and drained"),
        Face::Rebooting => (MAGENTA, "empty: reboots"),
        Face::Verifying => (BLUE, "booted: is verified"),
        Face::Healed => (GREEN, "healed: in service again"),
        Face::Stuck => (RED, "held"),
    };
    let priority = priority.map_or_else(String::new, |priority| format!("P{priority}"));
    let what = format!("{what:<32}{DIM}{in_work:>2} in work{PLAIN}");
    told(elapsed, color, rack, &format!("{node:<12} {priority:<4} {what}"))
}

/// A line that tells of one thing, with the time since the beginning.
pub fn told(elapsed: Duration, color: &str, who: &str, what: &str) -> String {
    format!("{:>7.1} s  {color}{who}{PLAIN}  {what}", elapsed.as_secs_f64())
}

/// For what concerns the leader.
pub const LEADER: &str = CYAN;
/// For what concerns a rack.
pub const RACK: &str = BOLD;

/// The leader's line, `since` is how long there has been none.
pub fn leader(name: Option<&str>, standby: &[&str], since: Duration) -> String {
    let others = if standby.is_empty() {
        String::new()
    } else {
        format!("  {DIM}standby: {}{PLAIN}", standby.join(", "))
    };
    match name {
        Some(name) => format!("{CYAN}{name}{PLAIN}{others}"),
        None => format!("{RED}nobody for {:.1} s{PLAIN}{others}", since.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn a_rack_is_one_letter_per_node_and_what_they_come_to() {
        let faces = [
            Face::Healthy,
            Face::Waiting(3),
            Face::Waiting(12),
            Face::Draining,
            Face::Rebooting,
            Face::Verifying,
            Face::Healed,
            Face::Stuck,
        ];
        let row = bare(&rack_row("rack-a", &faces));
        assert_eq!(row, "  rack-a  · 3 + D R V ✓ H    3 in work, 2 waiting, 1 healed");
        assert_eq!(bare(&rack_row("rack-b", &[Face::Healthy; 2])), "  rack-b  · ·    ");
    }

    #[test]
    fn a_bar_is_as_full_as_its_part_and_never_longer() {
        let full = |part, all| bare(&bar(part, all, GREEN)).matches('█').count();
        assert_eq!((full(0, 6), full(3, 6), full(6, 6), full(9, 6)), (0, 12, BAR, BAR));
        assert_eq!(full(1, 0), 0);
        assert_eq!(bare(&bar(9, 6, GREEN)).chars().count(), BAR);
    }

    #[test]
    fn the_table_fits_a_small_terminal() {
        let rack = vec![Face::Waiting(6); 10];
        let names = ["rack-a", "rack-b", "rack-c", "rack-d", "rack-e", "rack-f"];
        let standby = ["rerail-operator-b"];
        let scene = Scene {
            racks: names.map(|name| (name, rack.clone())).into(),
            sick: 25,
            unavailable: (6, 6),
            leader: leader(Some("rerail-operator-a"), &standby, Duration::ZERO),
            elapsed: Duration::from_secs(100),
        };
        let lines = lines(&scene);
        assert!(lines.len() <= 16, "{} lines", lines.len());
        for line in lines {
            assert!(bare(&line).chars().count() <= 100, "{line}");
        }
    }

    #[test]
    fn a_time_without_a_leader_is_told() {
        let text = bare(&leader(None, &["b"], Duration::from_millis(2_500)));
        assert_eq!(text, "nobody for 2.5 s  standby: b");
        assert_eq!(bare(&leader(Some("a"), &[], Duration::ZERO)), "a");
    }
}
