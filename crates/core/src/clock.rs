//! Whether the operator's clock can be trusted for times that outlive a process: attempts in a window,
//! the rest after a failure, `for` at the first list (hazard H05). Durations within one process are
//! measured by a steady clock and need no trust.

use jiff::{SignedDuration, Timestamp};

/// How far the API server's clock and ours may be apart before nothing is started.
pub const ALLOWED_SKEW: SignedDuration = SignedDuration::from_secs(5);

/// The API server's clock less ours, where that is certainly more than [`ALLOWED_SKEW`] either way.
///
/// `date` is the `Date` of an answer, in whole seconds; `sent` and `answered` are our times around the
/// request. The server wrote it some time in between, so that a slow answer is no skew.
pub fn skew(date: Timestamp, sent: Timestamp, answered: Timestamp) -> Option<SignedDuration> {
    let at_least = date.duration_since(answered);
    let at_most = date.duration_since(sent) + SignedDuration::from_secs(1);
    if at_least > ALLOWED_SKEW {
        Some(at_least)
    } else if at_most < -ALLOWED_SKEW {
        Some(at_most)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remediation::tests::{at, secs};

    #[test]
    fn only_a_difference_that_is_certain_counts() {
        let cases = [
            (100, 100, 100, None),
            (105, 100, 100, None),
            (106, 100, 100, Some(6)),
            (94, 100, 100, None),
            (93, 100, 100, Some(-6)),
            // An answer that took ten seconds may have been written at any time of them.
            (100, 100, 110, None),
            (110, 100, 110, None),
            (116, 100, 110, Some(6)),
            (93, 100, 110, Some(-6)),
        ];
        for (date, sent, answered, expected) in cases {
            assert_eq!(skew(at(date), at(sent), at(answered)), expected.map(secs), "{date}");
        }
    }
}
