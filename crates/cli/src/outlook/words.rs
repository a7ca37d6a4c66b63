//! Times and tables as people read them at night: how long, and at what time of their day.

use comfy_table::{ContentArrangement, Table, presets};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

/// How wide the answers may be, in columns.
const WIDTH: u16 = 100;

/// The moment that times are told from.
#[derive(Debug, Clone)]
pub struct Dial {
    /// The moment that is planned for.
    pub at: Timestamp,
    /// Where the reader is.
    pub zone: TimeZone,
}

impl Dial {
    /// A time of the day, with the date where that is not the same day: `22:14:05`.
    pub fn clock(&self, time: Timestamp) -> String {
        let (here, there) = (self.at.to_zoned(self.zone.clone()), time.to_zoned(self.zone.clone()));
        if here.date() == there.date() {
            return there.strftime("%H:%M:%S").to_string();
        }
        there.strftime("%Y-%m-%d %H:%M").to_string()
    }

    /// A time to come: `22:14:05, in 12m`.
    pub fn until(&self, time: Timestamp) -> String {
        let left = time.duration_since(self.at);
        if left.is_negative() || left.is_zero() {
            return "now".to_owned();
        }
        format!("{}, in {}", self.clock(time), length(left))
    }

    /// How long it is until then: `12m`.
    pub fn left(&self, time: Timestamp) -> String {
        length(time.duration_since(self.at).max(SignedDuration::ZERO))
    }

    /// How long something has lasted: `12m`.
    pub fn lasted(&self, since: Timestamp) -> String {
        length(self.at.duration_since(since).max(SignedDuration::ZERO))
    }

    /// The moment itself, with its day and zone.
    pub fn moment(&self) -> String {
        self.at.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
    }
}

/// A length of time in at most two units: `45s`, `12m`, `5h30m`, `3d`.
pub fn length(length: SignedDuration) -> String {
    let seconds = length.as_secs();
    let (days, hours) = (seconds / 86_400, seconds / 3_600);
    let (minutes, rest) = (seconds / 60, seconds % 3_600 / 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, 1..10) if seconds % 60 != 0 => format!("{minutes}m{}s", seconds % 60),
        (0, 0, _) => format!("{minutes}m"),
        (0, _, _) if rest == 0 => format!("{hours}h"),
        (0, _, _) => format!("{hours}h{rest}m"),
        (1, _, _) => format!("{hours}h"),
        _ => format!("{days}d"),
    }
}

/// Rows below a header, without lines, at most [`WIDTH`] columns wide.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH)
        .set_header(header.iter().map(|title| title.to_owned()));
    for row in rows {
        table.add_row(row);
    }
    let last = table.column_count().saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if index == last { 0 } else { 2 }));
    }
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}

/// A sentence in lines of at most [`WIDTH`] columns, those after the first indented.
pub fn wrapped(text: &str, indent: usize) -> String {
    let mut lines = String::new();
    let mut width = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > usize::from(WIDTH) {
            lines.push('\n');
            lines.push_str(&" ".repeat(indent));
            width = indent;
        } else if width > 0 {
            lines.push(' ');
            width += 1;
        }
        lines.push_str(word);
        width += length;
    }
    lines.push('\n');
    lines
}

/// `1 node`, `2 nodes`.
pub fn count(number: usize, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// At most a few names, and how many there are.
pub fn some(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_the_precision_that_a_person_needs() {
        let cases = [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (90, "1m30s"),
            (599, "9m59s"),
            (601, "10m"),
            (3_600, "1h"),
            (19_859, "5h30m"),
            (86_400, "24h"),
            (172_800, "2d"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(length(SignedDuration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn times_are_told_from_the_moment_and_in_the_readers_zone() {
        let at = "2026-03-01T21:30:00Z".parse().unwrap();
        let dial = Dial { at, zone: TimeZone::fixed(jiff::tz::offset(1)) };
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(dial.until(time("2026-03-01T21:42:30Z")), "22:42:30, in 12m");
        assert_eq!(dial.until(time("2026-03-02T05:00:00Z")), "2026-03-02 06:00, in 7h30m");
        assert_eq!(dial.until(time("2026-03-01T21:30:00Z")), "now");
        assert_eq!(dial.lasted(time("2026-03-01T21:00:00Z")), "30m");
        assert_eq!(dial.moment(), "2026-03-01 22:30:00 +01");
    }

    #[test]
    fn no_line_is_wider_than_a_hundred_columns() {
        let long = "word ".repeat(60);
        let row = vec!["a-node-with-a-long-name-01".to_owned(), "P6".into(), long.clone()];
        let text = table(&["NODE", "PRIORITY", "WHY"], [row]) + &wrapped(&long, 2);
        assert!(text.lines().count() > 6, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert!(text.lines().all(|line| line.trim_end() == line), "{text}");
    }
}
