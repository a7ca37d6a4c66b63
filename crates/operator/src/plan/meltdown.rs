//! When the last meltdown ended, so that every `for` starts again there. It lives in memory: a new
//! process takes the times at which conditions changed from the conditions themselves.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

#[derive(Debug, Default)]
struct Seen {
    melting: bool,
    ended: Option<Timestamp>,
}

/// Whether it is a meltdown, and when the last one ended.
#[derive(Debug, Default)]
pub struct Meltdown(Mutex<Seen>);

impl Meltdown {
    /// Takes in what is so now. Returns when the last one ended.
    pub fn observe(&self, melting: bool, now: Timestamp) -> Option<Timestamp> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.melting && !melting {
            seen.ended = Some(now);
        }
        seen.melting = melting;
        seen.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_last_meltdown_is_remembered() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let meltdown = Meltdown::default();
        assert_eq!(meltdown.observe(false, at(1)), None);
        assert_eq!(meltdown.observe(true, at(2)), None);
        assert_eq!(meltdown.observe(true, at(3)), None);
        assert_eq!(meltdown.observe(false, at(4)), Some(at(4)));
        assert_eq!(meltdown.observe(false, at(5)), Some(at(4)));
        assert_eq!(meltdown.observe(true, at(6)), Some(at(4)), "the clocks stand until it ends");
        assert_eq!(meltdown.observe(false, at(7)), Some(at(7)));
    }
}
