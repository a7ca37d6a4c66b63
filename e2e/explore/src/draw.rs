//! Seeded chance. Each purpose and number has a stream of its own, so that an extra draw somewhere leaves
//! all others as they were: what is left out of a history does not shuffle the rest of it.

/// A stream of numbers (splitmix64).
#[derive(Debug, Clone)]
pub struct Draw(u64);

impl Draw {
    /// The stream of a seed for one purpose; of several of the same purpose, the one with this number.
    pub fn new(seed: u64, purpose: &str, number: u64) -> Self {
        let purpose = purpose.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut draw = Draw(seed);
        for part in [purpose, number] {
            draw.0 = draw.number() ^ part;
        }
        draw
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scrambled(self.0)
    }

    /// A number below this one; 0 if that is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.number().checked_rem(limit).unwrap_or_default()
    }

    /// A number from here to there, both included.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from.saturating_add(self.below(to.saturating_sub(from).saturating_add(1)))
    }

    /// True in so many of a thousand cases.
    pub fn chance(&mut self, thousandths: u64) -> bool {
        self.below(1000) < thousandths
    }

    /// One of several; `None` of none.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let at = self.below(u64::try_from(all.len()).unwrap_or(u64::MAX));
        all.get(usize::try_from(at).unwrap_or_default())
    }
}

/// The finaliser of splitmix64: close numbers become far ones.
pub fn scrambled(number: u64) -> u64 {
    let z = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_are_apart() {
        let first = |seed, purpose, number| Draw::new(seed, purpose, number).number();
        assert_eq!(first(1, "a", 1), first(1, "a", 1));
        let all = [first(1, "a", 1), first(2, "a", 1), first(1, "b", 1), first(1, "a", 2)];
        assert!(all.iter().enumerate().all(|(at, one)| !all[..at].contains(one)), "{all:?}");
    }

    #[test]
    fn draws_keep_their_bounds_and_their_chances() {
        let mut draw = Draw::new(7, "x", 0);
        assert!((0..1000).all(|_| (3..=5).contains(&draw.between(3, 5))));
        let hits = (0..10_000).filter(|_| draw.chance(250)).count();
        assert!((2_000..3_000).contains(&hits), "{hits}");
        assert_eq!((draw.below(0), draw.one_of::<u8>(&[])), (0, None));
    }
}
