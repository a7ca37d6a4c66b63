//! How much of each limit is in use.

use ratatui::text::{Line, Span};

use super::Paint;
use rerail_simulate::board::{Board, Most, Tone};

/// The longest bar. Up to so many nodes each has its own place.
const BAR: usize = 12;

/// One line for the cluster, one for each policy and its storms, one for the racks.
pub fn lines(board: &Board, paint: Paint) -> Vec<Line<'static>> {
    let policies = board.policies();
    let names = policies.keys().map(|name| name.chars().count());
    let widest = names.max().unwrap_or(0).clamp("cluster".len(), 24);
    let mut lines = Vec::new();
    let line = |name: &str, most: Most, what: &str| {
        let mut spans = vec![Span::raw(format!(" {name:<widest$}  "))];
        spans.extend(bar(most, paint));
        let part = format!("{}/{}", most.now, most.allowed);
        spans.push(Span::raw(format!("  {part:<5} {what}")));
        spans.push(Span::styled(format!(", most so far {}", most.most), paint.dim()));
        Line::from(spans)
    };
    lines.push(line("cluster", board.out(), "nodes out of service"));
    for (name, policy) in policies.iter().filter(|(_, policy)| policy.is_known) {
        let what = match policy.mode.as_str() {
            "Enforce" => "of its nodes out of service",
            _ => "of its nodes out of service; it only reports",
        };
        lines.push(line(name, policy.budget, what));
        for storm in &policy.storms {
            let text = format!(" STORM  {}: {}", storm.condition, storm.state);
            lines.push(Line::styled(text, paint.tone(Tone::Storm)));
        }
    }
    lines.push(line("racks", board.racks_open(), "worked on at once"));
    lines
}

fn bar(most: Most, paint: Paint) -> [Span<'static>; 2] {
    let width = most.allowed.clamp(1, BAR);
    let full = (most.now * width).checked_div(most.allowed).unwrap_or(0).min(width);
    let style = if most.now > most.allowed { paint.bad() } else { paint.work() };
    let rest = format!("{}{}", "░".repeat(width - full), " ".repeat(BAR - width));
    [Span::styled("█".repeat(full), style), Span::styled(rest, paint.dim())]
}
