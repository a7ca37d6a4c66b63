//! One line for each thing that matters, for a pipe.

use std::io::{self, Write};

use rerail_simulate::board::{AT_ONCE, Board, Told, Tone};

use crate::picture::clock;

/// Width of the column of nodes.
const NODE: usize = 12;

/// Writes what has not been written yet; how much of what was told is. What happened a moment ago may
/// still happen to more nodes, and is written when it is `over` or that moment has passed.
pub fn go_on(
    out: &mut impl Write,
    board: &Board,
    mut written: usize,
    over: bool,
) -> io::Result<usize> {
    for told in board.told().iter().skip(written) {
        if !over && board.elapsed() - told.after < AT_ONCE {
            break;
        }
        writeln!(out, "{}", line(told))?;
        written += 1;
    }
    out.flush()?;
    Ok(written)
}

/// `00:12:31  healed  worker-012    healed, in service, 2m after the cordon`.
pub fn line(told: &Told) -> String {
    let (Told { after, tone, node, .. }, what) = (told, told.text());
    let color = color(*tone);
    let end = if color.is_empty() { "" } else { "\u{1b}[0m" };
    let line = format!("{}  {color}{:<7}{end} {node:<NODE$}  {what}", clock(*after), tone.word());
    line.trim_end().to_owned()
}

fn color(tone: Tone) -> &'static str {
    match tone {
        Tone::Sick => "\u{1b}[31m",
        Tone::Waits | Tone::Calm => "",
        Tone::Work => "\u{1b}[33m",
        Tone::Boot => "\u{1b}[35m",
        Tone::Good => "\u{1b}[32m",
        Tone::Held | Tone::Bad => "\u{1b}[1;31m",
        Tone::Storm | Tone::Others => "\u{1b}[36m",
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let told = |tone, node: &str, what: &str| {
            line(&Told {
                after: SignedDuration::from_secs(751),
                tone,
                node: node.to_owned(),
                rack: "rack-b".to_owned(),
                what: what.to_owned(),
                more: 0,
                same: String::new(),
            })
        };
        let bare = |text: String| anstream::adapter::strip_str(&text).to_string();
        assert_eq!(
            bare(told(Tone::Good, "worker-012", "healed, in service")),
            "00:12:31  healed  worker-012    healed, in service"
        );
        assert_eq!(
            bare(told(Tone::Calm, "", "rerail-operator-a leads")),
            "00:12:31                        rerail-operator-a leads"
        );
    }
}
