//! `--at`: which moment is meant, and the world as it would be then if nothing changed.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp, civil::Time, tz::TimeZone};
use rerail_api::duration::GoDuration;
use rerail_core::{facts::ConditionFact, plan::World, trigger::add};

/// Why a moment cannot be planned for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MomentError {
    #[error("--at: `{0}` is no time; write `2026-03-01T22:00:00Z`, `+2h` or `22:00`")]
    Unreadable(String),
    #[error("--at: {0} is past; only what is to come can be planned")]
    Past(Timestamp),
}

/// Reads `--at`.
pub fn parse(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, MomentError> {
    let text = text.trim();
    let unreadable = || MomentError::Unreadable(text.to_owned());
    let at = if let Some(later) = text.strip_prefix('+') {
        let later: GoDuration = later.parse().map_err(|_| unreadable())?;
        add(now, later.value())
    } else if let Some(time) = clock(text) {
        let today = now.to_zoned(zone.clone());
        let on = |date: jiff::civil::Date| date.to_datetime(time).to_zoned(zone.clone());
        let at = on(today.date()).map_err(|_| unreadable())?.timestamp();
        if at > now {
            at
        } else {
            let tomorrow = today.date().tomorrow().map_err(|_| unreadable())?;
            on(tomorrow).map_err(|_| unreadable())?.timestamp()
        }
    } else {
        text.parse().map_err(|_| unreadable())?
    };
    if at < now { Err(MomentError::Past(at)) } else { Ok(at) }
}

/// `22:00` or `22:00:30`, nothing else that jiff would take for a time of day.
fn clock(text: &str) -> Option<Time> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
    (plain && text.contains(':')).then(|| text.parse().ok()).flatten()
}

/// The world at a later moment, if nothing changed until then. Whoever reports now goes on reporting:
/// the age of each report stays what it is, so that nothing becomes stale by the mere question.
pub fn at(world: World, at: Timestamp) -> World {
    let later = at.duration_since(world.now).max(SignedDuration::ZERO);
    let nodes = world.nodes.into_iter().map(|(name, mut node)| {
        let aged = |condition: &ConditionFact| ConditionFact {
            changed_at: add(condition.changed_at, later),
            ..condition.clone()
        };
        let facts = Arc::make_mut(&mut node);
        facts.conditions = facts.conditions.values().map(aged).collect();
        (name, node)
    });
    World { nodes: nodes.collect(), now: add(world.now, later), ..world }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn read(text: &str, offset_hours: i8) -> Result<String, MomentError> {
        let zone = TimeZone::fixed(jiff::tz::offset(offset_hours));
        parse(text, now(), &zone).map(|at| at.to_string())
    }

    #[test]
    fn a_moment_is_a_timestamp_a_distance_or_a_time_of_day() {
        let cases = [
            ("2026-03-01T22:00:00Z", 0, "2026-03-01T22:00:00Z"),
            ("2026-03-01T22:00:00+02:00", 0, "2026-03-01T20:00:00Z"),
            ("+2h", 0, "2026-03-01T14:00:00Z"),
            ("+1h30m", 5, "2026-03-01T13:30:00Z"),
            ("22:00", 0, "2026-03-01T22:00:00Z"),
            ("22:00", 2, "2026-03-01T20:00:00Z"),
            ("12:00", 0, "2026-03-02T12:00:00Z"),
            ("11:59:59", 0, "2026-03-02T11:59:59Z"),
            ("13:30", 2, "2026-03-02T11:30:00Z"),
        ];
        for (text, offset, expected) in cases {
            assert_eq!(read(text, offset).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_or_is_past_is_refused_with_what_to_write() {
        for text in ["", "tomorrow", "2h", "+", "+2", "-2h", "25:00", "22", "22:00Z", "2026-03-01"]
        {
            assert_eq!(read(text, 0), Err(MomentError::Unreadable(text.to_owned())), "{text}");
        }
        let past = read("2026-03-01T11:59:59Z", 0).unwrap_err();
        assert!(past.to_string().contains("is past"), "{past}");
    }
}
