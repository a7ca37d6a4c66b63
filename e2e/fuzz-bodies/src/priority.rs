//! Messages of conditions. Four bytes are the bounds of a policy, the rest is the message.

use std::{collections::BTreeMap, sync::LazyLock};

use regex::Regex;
use rerail_api::{convert, policy::PrioritySpec};
use rerail_core::{
    alert,
    facts::{MESSAGE_LIMIT, cut_message},
    priority::{Prefix, Priority, PriorityRange, prefix, priority as of_message},
};

/// The rule as the documentation has it.
static RULE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^\[P([0-9]{1,4})\]( |$)").ok());

/// No more of a message is looked at, in bytes.
const LOOKED_AT: usize = 8;

/// The prefix of a message, the priority within a policy's bounds, and what an alert makes of both.
pub fn priority(input: &[u8]) {
    let Some((bounds, message)) = input.split_first_chunk::<4>() else { return };
    let message = String::from_utf8_lossy(message);
    let range = bounds_of(*bounds);
    let read = prefix(&message);
    let by_rule = RULE.as_ref().and_then(|rule| rule.captures(&message));
    match (read, &by_rule) {
        (Prefix::Priority(number), Some(found)) => assert_eq!(found[1].parse(), Ok(number)),
        (Prefix::Absent, None) => assert!(!message.starts_with("[P"), "{message:?}"),
        (Prefix::Malformed, None) => assert!(message.starts_with("[P"), "{message:?}"),
        _ => assert!(by_rule.is_none(), "{message:?} was read as {read:?}"),
    }
    if message.is_char_boundary(LOOKED_AT.min(message.len())) {
        assert_eq!(prefix(&message[..LOOKED_AT.min(message.len())]), read, "{message:?}");
    }
    let kept = cut_message(&message);
    assert!(kept.len() <= MESSAGE_LIMIT && message.starts_with(kept));
    assert!(message.len() - kept.len() < 4 || kept.len() > MESSAGE_LIMIT - 4, "too much is cut");
    assert_eq!(prefix(kept), read, "what is kept of a message says the same");
    if let Some(range) = range {
        within(&message, read, range);
    }
    of_alert(&message);
}

/// The bounds of a policy, if they are such.
fn bounds_of([a, b, c, d]: [u8; 4]) -> Option<PriorityRange> {
    let spec = PrioritySpec {
        min: u16::from(a),
        default: u16::from_be_bytes([b & 0x3f, c]),
        max: u16::from_be_bytes([d, c]),
        ..PrioritySpec::default()
    };
    let range = convert::policy::priority_range(&spec).ok()?;
    assert!(range.min <= range.default && range.default <= range.max);
    assert!(range.max <= 9999, "a run could not say so: its schema goes to 9999");
    Some(range)
}

fn within(message: &str, read: Prefix, range: PriorityRange) {
    let found = of_message(message, range);
    assert!((range.min..=range.max).contains(&found.0), "{message:?}: {found} of {range:?}");
    match read {
        Prefix::Priority(number) => {
            assert_eq!(found.0, number.clamp(range.min, range.max), "{message:?}");
        }
        Prefix::Absent => assert_eq!(found, Priority(range.default)),
        Prefix::Malformed => {
            assert_eq!(found, Priority(range.max), "{message:?} is the least urgent there is");
        }
    }
}

/// An alert whose label `priority` is this text gets a message that is read as this priority.
fn of_alert(text: &str) {
    let labels = [(alert::NAME_LABEL, "Sick"), (alert::PRIORITY_LABEL, text)];
    let labels: BTreeMap<_, _> =
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let (read, flaw) = alert::read(labels, Some(text), alert::DEFAULT_PREFIX);
    let Some(read) = read else { panic!("a priority costs no alert: {flaw:?}") };
    let number = text.parse::<i64>().ok();
    assert_eq!(read.priority, number.unwrap_or(alert::DEFAULT_PRIORITY));
    assert_eq!(flaw.is_none(), number.is_some());
    let expected = match u16::try_from(read.priority) {
        Ok(number) if number <= 9999 => Prefix::Priority(number),
        _ => Prefix::Malformed,
    };
    assert_eq!(prefix(&read.message), expected, "{}", read.message);
}
