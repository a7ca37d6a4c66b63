//! The priority of a condition, read from the prefix of its message: `[P6] …`.

use std::fmt;

use crate::mutant;

/// A parsed priority: smaller is more urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(pub u16);

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P{}", self.0)
    }
}

/// The bounds that a policy sets: what a node's messages may claim (a kubelet can write any message
/// about itself, so `min` keeps it from jumping the queue; SAFE-17).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriorityRange {
    /// Most urgent priority that a message can reach, 0 to 9999.
    pub min: u16,
    /// Least urgent priority, and that of a malformed prefix, 0 to 9999.
    pub max: u16,
    /// Priority of a message without prefix, between `min` and `max`.
    pub default: u16,
}

/// How a message's prefix was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// `[P<n>]`, n of one to four ASCII digits, followed by a space or the end.
    Priority(u16),
    /// The message does not begin with `[P`.
    Absent,
    /// The message begins with `[P` and is no priority.
    Malformed,
}

/// Reads the prefix of a message: `^\[P([0-9]{1,4})\]( |$)`. Total: never fails, looks at no more
/// than the first eight bytes, and takes no digits but ASCII's.
pub fn prefix(message: &str) -> Prefix {
    let Some(rest) = message.strip_prefix("[P") else { return Prefix::Absent };
    let digits = rest.bytes().take(5).take_while(u8::is_ascii_digit).count();
    if !(1..=4).contains(&digits) {
        return Prefix::Malformed;
    }
    let (number, rest) = rest.split_at(digits);
    let Some(rest) = rest.strip_prefix(']') else { return Prefix::Malformed };
    if !(rest.is_empty() || rest.starts_with(' ')) {
        return Prefix::Malformed;
    }
    number.parse().map_or(Prefix::Malformed, Prefix::Priority)
}

/// The priority of a message within a policy's range. A malformed prefix is never more urgent than
/// a parsed one: it gets `max` (SAFE-17).
pub fn priority(message: &str, range: PriorityRange) -> Priority {
    let number = match prefix(message) {
        Prefix::Priority(number) => number,
        Prefix::Absent => range.default,
        Prefix::Malformed if mutant!("malformed-is-urgent") => range.min,
        Prefix::Malformed => range.max,
    };
    Priority(number.max(range.min).min(range.max))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RANGE: PriorityRange = PriorityRange { min: 2, max: 99, default: 9 };

    #[test]
    fn people_read_it_as_in_a_message() {
        assert_eq!(Priority(6).to_string(), "P6");
    }

    #[test]
    fn reads_the_prefix_and_nothing_else() {
        let long = format!("[P{}", "9".repeat(1 << 20));
        let cases = [
            ("[P6] Kubernetes node worker1a has too many Calico interfaces", Prefix::Priority(6)),
            ("[P0]", Prefix::Priority(0)),
            ("[P0042] x", Prefix::Priority(42)),
            ("[P9999] x", Prefix::Priority(9999)),
            ("", Prefix::Absent),
            ("kubelet is posting ready status", Prefix::Absent),
            (" [P1] leading space", Prefix::Absent),
            ("[p1] lower case", Prefix::Absent),
            ("x [P1] later", Prefix::Absent),
            ("[P", Prefix::Malformed),
            ("[P]", Prefix::Malformed),
            ("[P1", Prefix::Malformed),
            ("[P1]x", Prefix::Malformed),
            ("[P1]\tx", Prefix::Malformed),
            ("[P-1] x", Prefix::Malformed),
            ("[P+1] x", Prefix::Malformed),
            ("[P1.5] x", Prefix::Malformed),
            ("[P 1] x", Prefix::Malformed),
            ("[P99999] x", Prefix::Malformed),
            ("[P999999999999] x", Prefix::Malformed),
            ("[P\u{0661}] arabic digit", Prefix::Malformed),
            ("[P\u{ff11}] full-width digit", Prefix::Malformed),
            ("[P\u{1d7d9}] mathematical digit", Prefix::Malformed),
            (long.as_str(), Prefix::Malformed),
        ];
        for (message, expected) in cases {
            assert_eq!(prefix(message), expected, "{:.40}", message);
        }
    }

    #[test]
    fn clamps_and_fills_in() {
        assert_eq!(priority("[P0] x", RANGE), Priority(2));
        assert_eq!(priority("[P100] x", RANGE), Priority(99));
        assert_eq!(priority("x", RANGE), Priority(9));
        assert_eq!(priority("[Phigh] x", RANGE), Priority(99));
    }

    proptest! {
        #[test]
        fn never_panics_and_stays_in_range(message in ".*") {
            let priority = priority(&message, RANGE);
            prop_assert!((RANGE.min..=RANGE.max).contains(&priority.0));
        }

        #[test]
        fn a_malformed_prefix_is_never_more_urgent(tail in ".*", number in 0u16..=9999) {
            let message = format!("[P{tail}");
            if prefix(&message) == Prefix::Malformed {
                let good = priority(&format!("[P{number}] x"), RANGE);
                prop_assert!(priority(&message, RANGE) >= good);
            }
        }
    }
}
