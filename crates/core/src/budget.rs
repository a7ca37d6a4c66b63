//! How many nodes may be out at once (planner.md, Budgets; SAFE-4).

use std::fmt;

use crate::mutant;

/// A limit as people write it: `5` or `"10%"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountOrPercent {
    /// That many nodes.
    Count(u32),
    /// That many of a hundred, 0 to 100.
    Percent(u32),
}

impl CountOrPercent {
    /// The limit for a scope of `total` nodes: the count; or, for a percentage above 0, the percentage
    /// rounded down, but at least `min_floor`. 0 means none.
    pub fn limit(self, total: usize, min_floor: u32) -> usize {
        match self {
            CountOrPercent::Count(count) => count as usize,
            CountOrPercent::Percent(0) => 0,
            CountOrPercent::Percent(percent) => {
                let up = if mutant!("percent-rounded-up") { 99 } else { 0 };
                let floor = if mutant!("min-floor-ignored") { 0 } else { min_floor as usize };
                (total.saturating_mul(percent as usize).saturating_add(up) / 100).max(floor)
            }
        }
    }
}

impl fmt::Display for CountOrPercent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CountOrPercent::Count(count) => write!(f, "{count}"),
            CountOrPercent::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_rounded_down_and_have_a_floor_and_0_means_none() {
        let percent = CountOrPercent::Percent;
        let cases = [
            (percent(10), 60, 1, 6),
            (percent(17), 60, 1, 10),
            (percent(10), 3, 1, 1),
            (percent(25), 4, 1, 1),
            (percent(20), 4, 0, 0),
            (percent(0), 1000, 1, 0),
            (percent(1), 0, 1, 1),
            (percent(100), usize::MAX, 1, usize::MAX / 100),
            (CountOrPercent::Count(0), 60, 1, 0),
            (CountOrPercent::Count(5), 3, 1, 5),
        ];
        for (limit, total, floor, expected) in cases {
            assert_eq!(limit.limit(total, floor), expected, "{limit} of {total}");
        }
    }
}
