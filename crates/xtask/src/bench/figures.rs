//! Times in a row, and what is said of them.

use std::time::Duration;

use serde::Serialize;

/// Times that were measured, in the order in which they were.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Series {
    /// In milliseconds.
    pub milliseconds: Vec<f64>,
}

impl Series {
    /// One more.
    pub fn add(&mut self, time: Duration) {
        self.milliseconds.push(time.as_secs_f64() * 1000.0);
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.milliseconds.len()
    }

    /// The smallest time that is not exceeded by so many percent of all: the nearest rank, so that
    /// it is always a time that was measured.
    pub fn percentile(&self, percent: usize) -> Option<f64> {
        let mut sorted = self.milliseconds.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied()
    }

    /// The longest.
    pub fn max(&self) -> Option<f64> {
        self.percentile(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let mut series = Series::default();
        assert_eq!((series.percentile(50), series.max()), (None, None));
        for milliseconds in (1..=200).rev() {
            series.add(Duration::from_millis(milliseconds));
        }
        let found = (series.percentile(50), series.percentile(99), series.max());
        assert_eq!(found, (Some(100.0), Some(198.0), Some(200.0)));
        series.milliseconds.truncate(1);
        assert_eq!(series.percentile(50), Some(200.0));
    }
}
