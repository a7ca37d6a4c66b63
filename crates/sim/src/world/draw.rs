//! Seeded chance. Every purpose has a stream of its own, so that what one machine does never depends on
//! how often another one draws.

use std::collections::BTreeMap;

use crate::meta::scrambled;

/// From so many milliseconds to so many.
pub type Range = (u64, u64);

/// The streams of a seed.
#[derive(Debug)]
pub(super) struct Draw {
    seed: u64,
    drawn: BTreeMap<(&'static str, String), u64>,
}

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Draw { seed, drawn: BTreeMap::new() }
    }

    /// The next number of a purpose, for one subject.
    pub(super) fn next(&mut self, purpose: &'static str, subject: &str) -> u64 {
        let number = self.drawn.entry((purpose, subject.to_owned())).or_default();
        *number += 1;
        scrambled(self.seed ^ hash(purpose) ^ hash(subject).rotate_left(17), *number)
    }

    /// Milliseconds within a range, at least one.
    pub(super) fn millis(
        &mut self,
        purpose: &'static str,
        subject: &str,
        (from, to): Range,
    ) -> u64 {
        let span = to.saturating_sub(from).saturating_add(1);
        from.saturating_add(self.next(purpose, subject) % span).max(1)
    }

    /// True once in so many times.
    pub(super) fn one_in(&mut self, purpose: &'static str, subject: &str, times: u64) -> bool {
        self.next(purpose, subject).is_multiple_of(times.max(1))
    }

    /// True with a probability between 0 and 1.
    pub(super) fn chance(&mut self, purpose: &'static str, subject: &str, chance: f64) -> bool {
        const STEPS: u32 = 1 << 24;
        let drawn = u32::try_from(self.next(purpose, subject) >> 40).unwrap_or(u32::MAX);
        f64::from(drawn) < chance * f64::from(STEPS)
    }

    /// A random-looking UUID.
    pub(super) fn uuid(&mut self, purpose: &'static str, subject: &str) -> String {
        let seed = self.next(purpose, subject);
        crate::meta::uid(seed, 0)
    }

    /// Some of a list, in the order of the list.
    pub(super) fn pick<T: Clone>(
        &mut self,
        purpose: &'static str,
        subject: &str,
        from: &[T],
        count: usize,
    ) -> Vec<T> {
        let mut left: Vec<usize> = (0..from.len()).collect();
        while left.len() > count {
            let most = u64::try_from(left.len()).unwrap_or(u64::MAX);
            let out = usize::try_from(self.next(purpose, subject) % most).unwrap_or_default();
            left.remove(out);
        }
        left.into_iter().map(|at| from[at].clone()).collect()
    }
}

/// FNV-1a: only has to tell words apart.
pub(super) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_apart_and_repeat() {
        let mut a = Draw::new(7);
        let first = a.next("boot", "n1");
        let mut b = Draw::new(7);
        b.next("boot", "n2");
        b.next("shutdown", "n1");
        assert_eq!(b.next("boot", "n1"), first, "others draw from their own streams");
        assert_ne!(b.next("boot", "n1"), first);
        assert_ne!(Draw::new(8).next("boot", "n1"), first);
    }

    #[test]
    fn what_is_drawn_is_within_its_bounds() {
        let mut draw = Draw::new(1);
        for _ in 0..500 {
            assert!((100..=300).contains(&draw.millis("x", "", (100, 300))));
        }
        assert_eq!(draw.millis("x", "", (0, 0)), 1, "time passes");
        let hits = (0..10_000).filter(|_| draw.chance("c", "", 0.25)).count();
        assert!((2_000..3_000).contains(&hits), "{hits}");
        assert!(!draw.chance("c", "", 0.0) && draw.chance("c", "", 1.0));
        assert_eq!(draw.pick("p", "", &[1, 2, 3], 5), [1, 2, 3]);
        let two = draw.pick("p", "", &[1, 2, 3], 2);
        assert!(two.len() == 2 && two[0] < two[1]);
    }
}
