//! Seeded randomness: splitmix64. Each machine draws from its own stream, so that what one machine
//! does never depends on how many draws another one made.

use std::ops::RangeInclusive;
use std::time::Duration;

/// A small deterministic generator.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    /// The stream of one machine (or any other named thing) under a seed.
    pub(crate) fn of(seed: u64, name: &str) -> Self {
        // FNV-1a: only has to tell names apart.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(seed ^ hash)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n.max(1))
    }

    /// A duration within the range, to the microsecond.
    pub(crate) fn within(&mut self, range: &RangeInclusive<Duration>) -> Duration {
        let micros = |d: &Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
        let (low, high) = (micros(range.start()), micros(range.end()));
        let span = high.saturating_sub(low).saturating_add(1);
        Duration::from_micros(low.saturating_add(self.next() % span.max(1)))
    }

    /// A duration between two numbers of milliseconds.
    pub(crate) fn millis(&mut self, low: u64, high: u64) -> Duration {
        self.within(&(Duration::from_millis(low)..=Duration::from_millis(high)))
    }

    /// A UUID as a kernel would draw it (version 4).
    pub(crate) fn uuid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            0x8000 | ((b >> 48) & 0x3fff),
            b & 0xffff_ffff_ffff
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_stream_and_names_differ() {
        let draw = |seed, name| Rng::of(seed, name).uuid();
        assert_eq!(draw(1, "worker001"), draw(1, "worker001"));
        assert_ne!(draw(1, "worker001"), draw(1, "worker002"));
        assert_ne!(draw(1, "worker001"), draw(2, "worker001"));
        assert_eq!(draw(1, "worker001").len(), 36);
    }

    #[test]
    fn durations_stay_in_their_range() {
        let mut rng = Rng::of(7, "");
        for _ in 0..1000 {
            let d = rng.millis(100, 300);
            assert!(d >= Duration::from_millis(100) && d <= Duration::from_millis(300));
        }
        assert_eq!(rng.millis(5, 5), Duration::from_millis(5));
    }
}
