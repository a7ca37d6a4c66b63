//! When whom to ask next.

use std::time::Duration;

use tokio::time::Instant;

/// Who pushes has a server asked at most so often: anybody who may push can cost one poll a second, and
/// no more (hazard H25).
pub const PUSH_EVERY: Duration = Duration::from_secs(1);

/// When one server is asked.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    interval: Duration,
    /// When it was asked last, if it was.
    asked: Option<Instant>,
    /// True while its answer is waited for.
    waiting: bool,
    /// True when it was pushed since it was asked last.
    pushed: bool,
}

impl Pace {
    /// Of a server that is asked so often, and now.
    pub fn new(interval: Duration) -> Self {
        Pace { interval, asked: None, waiting: false, pushed: false }
    }

    /// When it is asked next; `None` while its answer is waited for.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        if self.waiting {
            return None;
        }
        let pause = if self.pushed { PUSH_EVERY.min(self.interval) } else { self.interval };
        Some(self.asked.map_or(now, |asked| asked + pause))
    }

    /// It is asked now.
    pub fn asks(&mut self, now: Instant) {
        (self.asked, self.waiting, self.pushed) = (Some(now), true, false);
    }

    /// It has answered, or will not.
    pub fn answered(&mut self) {
        self.waiting = false;
    }

    /// Somebody says that there is something new. While an answer is waited for, the question may have
    /// been asked before there was.
    pub fn push(&mut self) {
        self.pushed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_asked_at_once_then_at_its_interval_and_after_a_push_within_a_second() {
        let second = Duration::from_secs(1);
        let start = Instant::now();
        let mut pace = Pace::new(10 * second);
        assert_eq!(pace.next(start), Some(start));
        pace.asks(start);
        assert_eq!(pace.next(start), None);
        pace.answered();
        assert_eq!(pace.next(start), Some(start + 10 * second));
        pace.push();
        assert_eq!(pace.next(start), Some(start + second));
        let later = start + 5 * second;
        pace.asks(later);
        // A push while the answer is under way may speak of something newer than the answer.
        pace.push();
        pace.answered();
        assert_eq!(pace.next(later), Some(later + second));
        pace.asks(later + second);
        pace.answered();
        assert_eq!(pace.next(later), Some(later + 11 * second));
    }
}
