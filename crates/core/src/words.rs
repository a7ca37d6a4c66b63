//! Words that somebody else wrote, made fit to be repeated: a status, an Event and a log line are read by
//! people, and what a kubelet, an alert or a pasted document says must neither fill them nor move a
//! terminal's cursor (SAFE-17).

/// Characters of somebody else's words that a message repeats.
pub const QUOTED: usize = 200;

/// The beginning of a text in one line, at most `limit` characters and, if it goes on, `…`. White space and
/// control characters become single blanks.
pub fn one_line(text: &str, limit: usize) -> String {
    let between = |c: char| c.is_whitespace() || c.is_control();
    let words = text.split(between).filter(|word| !word.is_empty()).enumerate();
    let mut characters =
        words.flat_map(|(index, word)| (index > 0).then_some(' ').into_iter().chain(word.chars()));
    let mut line: String = characters.by_ref().take(limit).collect();
    if characters.next().is_some() {
        line.push('…');
    }
    line
}

/// The same of what something says of itself.
pub fn quoted(words: &impl ToString) -> String {
    one_line(&words.to_string(), QUOTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_words_become_one_bounded_line() {
        for (text, expected) in [
            ("", ""),
            ("plain words", "plain words"),
            (" a\r\n\tb\u{85}c\u{2028}d ", "a b c d"),
            ("red \u{1b}[31m", "red [31m"),
            ("ééééééééééé", "ééééééééééé"),
            ("123456789012", "12345678901…"),
            ("1234567890 \n ", "1234567890"),
        ] {
            assert_eq!(one_line(text, 11), expected, "{text:?}");
        }
        assert_eq!(quoted(&"x".repeat(1 << 20)).chars().count(), QUOTED + 1);
    }
}
