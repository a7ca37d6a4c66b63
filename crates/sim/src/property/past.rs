//! A value with its recent past. The operator acts on what it read a moment ago, so that what it did is
//! judged on everything that was true during that moment, and is wrong only if it was wrong throughout.

use jiff::{SignedDuration, Timestamp};

/// How long the past is remembered; longer than anything is tolerated.
const KEPT: SignedDuration = SignedDuration::from_secs(300);

/// A value, since when it is so, and what it was before.
#[derive(Debug, Clone)]
pub(super) struct Recent<T> {
    now: T,
    since: Timestamp,
    /// Earlier values, each with the time at which it ended; oldest first.
    before: Vec<(Timestamp, T)>,
}

impl<T: PartialEq> Recent<T> {
    /// A value that has always been so.
    pub fn always(value: T) -> Self {
        Recent { now: value, since: Timestamp::MIN, before: Vec::new() }
    }

    pub fn set(&mut self, value: T, at: Timestamp) {
        if self.now == value {
            return;
        }
        let before = std::mem::replace(&mut self.now, value);
        self.since = at;
        self.before.push((at, before));
        let oldest = earlier(at, KEPT);
        self.before.retain(|(ended, _)| *ended >= oldest);
    }

    pub fn get(&self) -> &T {
        &self.now
    }

    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// What it was just before it became what it is.
    pub fn last(&self) -> Option<&T> {
        self.before.last().map(|(_, value)| value)
    }

    /// Every value in force at some moment since then, the present one included.
    pub fn within(&self, from: Timestamp) -> impl Iterator<Item = &T> {
        let before = self.before.iter().filter(move |(ended, _)| *ended >= from);
        before.map(|(_, value)| value).chain(std::iter::once(&self.now))
    }

    /// True when it held at every moment since then.
    pub fn throughout(&self, from: Timestamp, holds: impl Fn(&T) -> bool) -> bool {
        self.within(from).all(holds)
    }

    /// True when it held at some moment since then.
    pub fn at_some_time(&self, from: Timestamp, holds: impl Fn(&T) -> bool) -> bool {
        self.within(from).any(holds)
    }
}

/// That long before.
pub(super) fn earlier(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

/// That long after.
pub(super) fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_past_counts_as_far_back_as_it_is_asked_for() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut value = Recent::always(1);
        value.set(2, at(10));
        value.set(2, at(11));
        value.set(3, at(20));
        assert_eq!((value.get(), value.since(), value.last()), (&3, at(20), Some(&2)));
        let within = |from| value.within(at(from)).copied().collect::<Vec<_>>();
        assert_eq!(within(21), [3]);
        assert_eq!(within(20), [2, 3]);
        assert_eq!(within(0), [1, 2, 3]);
        assert!(
            value.throughout(at(15), |value| *value > 1) && !value.throughout(at(9), |v| *v > 1)
        );
        assert!(value.at_some_time(at(9), |value| *value == 1));
        value.set(4, at(1000));
        assert_eq!(value.within(at(0)).count(), 1 + 1, "older ones are forgotten");
    }
}
