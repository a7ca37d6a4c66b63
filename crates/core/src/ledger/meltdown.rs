//! What is on record of the last meltdown.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The last meltdown, as far as an operator has seen it. It is on record so that every `for` starts again
/// at its end whoever leads then (planner.md, Gates: Meltdown).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Hash)]
#[serde(rename_all = "camelCase")]
pub struct Meltdown {
    /// Since when it is one; absent once its end was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When the last one ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
}

impl Meltdown {
    /// True when none was ever seen.
    pub fn is_none(&self) -> bool {
        *self == Meltdown::default()
    }

    /// What two have seen, in one: an end counts for every meltdown that began before it.
    pub fn and(self, other: Meltdown) -> Meltdown {
        let ended = self.ended.max(other.ended);
        let unseen = |since: &Timestamp| ended.is_none_or(|ended| *since > ended);
        let since = self.since.into_iter().chain(other.since).filter(unseen).min();
        Meltdown { since, ended }
    }

    /// What is known after a look: whether it is one now. The end of one that was over before anybody
    /// looked again counts from this look on, and so does one whose time is still to come: it was taken
    /// by a clock that was ahead.
    pub fn seen(self, melting: bool, now: Timestamp) -> Meltdown {
        let ended = self.ended.map(|ended| ended.min(now));
        match (melting, self.since) {
            (true, since) => Meltdown { since: since.or(Some(now)), ended },
            (false, Some(_)) => Meltdown { since: None, ended: Some(now) },
            (false, None) => Meltdown { since: None, ended },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remediation::tests::at;

    const fn melted(since: Option<Timestamp>, ended: Option<Timestamp>) -> Meltdown {
        Meltdown { since, ended }
    }

    #[test]
    fn the_end_of_the_last_meltdown_is_remembered() {
        let mut known = Meltdown::default();
        let mut look = |melting, second| {
            known = known.seen(melting, at(second));
            known
        };
        assert!(look(false, 1).is_none());
        assert_eq!(look(true, 2), melted(Some(at(2)), None));
        assert_eq!(look(true, 3), melted(Some(at(2)), None));
        assert_eq!(look(false, 4), melted(None, Some(at(4))));
        assert_eq!(look(false, 5), melted(None, Some(at(4))));
        assert_eq!(
            look(true, 6),
            melted(Some(at(6)), Some(at(4))),
            "the clocks stand until it ends"
        );
        assert_eq!(look(false, 7), melted(None, Some(at(7))));
    }

    #[test]
    fn a_meltdown_that_ended_while_nobody_led_ends_when_the_next_one_looks() {
        let before = melted(Some(at(10)), Some(at(5)));
        assert_eq!(before.seen(false, at(90)), melted(None, Some(at(90))));
        assert_eq!(before.seen(true, at(90)), before, "it goes on");
    }

    #[test]
    fn an_end_that_is_still_to_come_counts_from_now_on() {
        let ahead = melted(None, Some(at(5_000)));
        assert_eq!(ahead.seen(false, at(90)), melted(None, Some(at(90))));
        assert_eq!(ahead.seen(true, at(90)), melted(Some(at(90)), Some(at(90))));
    }

    #[test]
    fn what_one_operator_has_seen_and_what_is_on_record_are_one() {
        let (mine, record) = (melted(Some(at(10)), None), melted(None, Some(at(20))));
        assert_eq!(mine.and(record), record, "another leader has seen the end of mine");
        let later = melted(Some(at(30)), Some(at(5)));
        assert_eq!(later.and(record), melted(Some(at(30)), Some(at(20))));
        assert_eq!(mine.and(melted(Some(at(12)), None)), mine, "since it was seen first");
        assert_eq!(mine.and(Meltdown::default()), mine);
        let at_once = melted(None, Some(at(10)));
        assert_eq!(mine.and(at_once), at_once, "the end has the last word");
        for (a, b) in [(mine, record), (later, record), (mine, later)] {
            assert_eq!(a.and(b), b.and(a));
        }
    }
}
