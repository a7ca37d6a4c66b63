//! Whether everything that can heal has healed.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rerail_core::plan::WaitReason;

use crate::board::{Board, Entry, Face, Policy, Waits};

/// For so long nothing may have been under way.
const QUIET: SignedDuration = SignedDuration::from_secs(60);

/// The same where somebody waits for others: longer than controllers and the planner need to take in that those
/// are back.
const QUIET_FOR_OTHERS: SignedDuration = SignedDuration::from_mins(15);

/// After so long, what has not healed will not.
const PATIENCE: SignedDuration = SignedDuration::from_hours(24);

/// Looks at the board again and again.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    /// When the last thing of the scene happens.
    script_ends: Timestamp,
    /// For so long after that, nodes that rest after a run that failed are waited for.
    rest: SignedDuration,
    quiet_since: Option<Timestamp>,
}

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Something goes on, or is to come.
    GoesOn,
    /// Nothing more can heal by itself.
    Settled,
    /// Too much time has passed.
    TooLong,
}

/// What is to come if nobody does anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outlook {
    /// Nothing.
    Nothing,
    /// A node waits for something that others have to end, and of which no time is known.
    Others,
    /// Somebody is at work, or the time is known at which a node may have its turn.
    More,
}

impl Watch {
    /// A scene whose last event comes then. For `rest` after it, nodes that rest after a run that failed are
    /// waited for: they may have another.
    pub fn new(script_ends: Timestamp, rest: SignedDuration) -> Self {
        Watch { script_ends, rest, quiet_since: None }
    }

    /// Looks at the board.
    pub fn look(&mut self, board: &Board) -> Verdict {
        let now = board.now();
        let since_end = now.duration_since(self.script_ends);
        let outlook = outlook(board, since_end < self.rest);
        if since_end.is_negative() || outlook == Outlook::More {
            self.quiet_since = None;
            let too_long = since_end > PATIENCE;
            return if too_long { Verdict::TooLong } else { Verdict::GoesOn };
        }
        let since = *self.quiet_since.get_or_insert(now);
        let quiet = if outlook == Outlook::Others { QUIET_FOR_OTHERS } else { QUIET };
        if now.duration_since(since) >= quiet { Verdict::Settled } else { Verdict::GoesOn }
    }
}

fn outlook(board: &Board, rests_count: bool) -> Outlook {
    if board.nodes().is_empty() {
        return Outlook::More;
    }
    // Where every policy only says what it would do, whoever waits waits for ever.
    let acts = |policy: &Policy| !policy.is_known || policy.mode != "DryRun";
    let any_acts = board.policies().is_empty() || board.policies().values().any(acts);
    let waits: BTreeMap<&str, Outlook> = board
        .queue()
        .into_iter()
        .map(|waits| (waits.node.as_str(), of_waiting(waits, board.now(), rests_count)))
        .collect();
    // A status lists a part of many, and an operator that has not spoken yet lists nobody.
    let unlisted = board.policies().values().map(|policy| match policy.is_known {
        false => Outlook::More,
        true if policy.waiting_number <= policy.waiting.len() => Outlook::Nothing,
        true => {
            let listed = policy.waiting.iter();
            let listed = listed.map(|waits| of_waiting(waits, board.now(), rests_count));
            listed.max().unwrap_or(Outlook::More).max(Outlook::Others)
        }
    });
    let unlisted = unlisted.max().unwrap_or(Outlook::Nothing);
    let of_node = |(name, entry): (&String, &Entry)| {
        let face = entry.face();
        let run = entry.run.as_ref().and_then(|run| run.step);
        if face.in_work() || run.is_some_and(|step| step.holds_slot()) {
            return Outlook::More;
        }
        let waits = waits.get(name.as_str()).copied().filter(|_| any_acts);
        match face {
            Face::Waiting(_) if any_acts => waits.unwrap_or(unlisted),
            _ => waits.unwrap_or(Outlook::Nothing),
        }
    };
    board.nodes().iter().map(of_node).max().unwrap_or(Outlook::Nothing)
}

/// What is to come of a node that waits.
fn of_waiting(waits: &Waits, now: Timestamp, rests_count: bool) -> Outlook {
    match waits.reason.parse::<WaitReason>() {
        // It rests after a run that did not succeed.
        Ok(WaitReason::Backoff) if rests_count => Outlook::More,
        Ok(WaitReason::Backoff) | Err(_) => Outlook::Nothing,
        Ok(reason) if reason.is_for_people() => Outlook::Nothing,
        Ok(_) if waits.until.is_some_and(|until| until > now) => Outlook::More,
        Ok(_) => Outlook::Others,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::board::fixture::{Fixture, Node, start};

    fn at(second: i64) -> Timestamp {
        start() + SignedDuration::from_secs(second)
    }

    const SICK: Node = Node { alert: Some("[P6] sick"), down: false, cordon: None };

    /// What is found at these seconds.
    fn looks(fixture: &mut Fixture, ends: i64, seconds: &[i64]) -> Vec<Verdict> {
        let mut watch = Watch::new(at(ends), SignedDuration::ZERO);
        let look = |second: &i64| {
            fixture.board.tick(at(*second));
            watch.look(&fixture.board)
        };
        seconds.iter().map(look).collect()
    }

    #[test]
    fn it_is_over_a_minute_after_the_last_thing() {
        let mut fixture = Fixture::new();
        fixture.node(0, "n1", "rack-a", &Node::default());
        let found = looks(&mut fixture, 100, &[10, 99, 100, 159, 160]);
        assert_eq!(found[..4], [Verdict::GoesOn; 4]);
        assert_eq!(found[4], Verdict::Settled);
    }

    #[test]
    fn who_is_in_work_or_will_have_a_turn_keeps_it_going() {
        let mut fixture = Fixture::new();
        fixture.node(0, "n1", "rack-a", &SICK);
        fixture.policy(1, 0, &json!({}));
        let day = 24 * 3600;
        let still = [Verdict::GoesOn, Verdict::GoesOn, Verdict::TooLong];
        assert_eq!(looks(&mut fixture, 0, &[10, 100, day + 1]), still, "nobody has spoken yet");
        let mut fixture = Fixture::new();
        fixture.node(0, "n1", "rack-a", &SICK);
        fixture.policy(1, 1, &json!({ "counts": { "waiting": 21 } }));
        assert_eq!(looks(&mut fixture, 0, &[10, 100])[1], Verdict::GoesOn, "it may be one more");
        fixture.policy(101, 1, &json!({ "counts": { "waiting": 0 } }));
        let settled = Verdict::Settled;
        assert_eq!(looks(&mut fixture, 0, &[110, 170])[1], settled, "no policy is concerned");
        let waits = |reason: &str| json!({ "waiting": [{ "node": "n1", "reason": reason }] });
        for (reason, verdicts) in [
            // Nothing is at work that could make room.
            ("BudgetExhausted", [Verdict::GoesOn, settled]),
            ("AttemptsExhausted", [settled, settled]),
            ("Backoff", [settled, settled]),
        ] {
            let mut fixture = Fixture::new();
            fixture.node(0, "n1", "rack-a", &SICK);
            fixture.policy(1, 1, &waits(reason));
            assert_eq!(looks(&mut fixture, 0, &[10, 100, 910])[1..], verdicts, "{reason}");
            // Somebody is.
            fixture.node(2, "n2", "rack-a", &Node::default());
            fixture.run(3, "n2", "Rebooting", "Drained", "");
            let looked = looks(&mut fixture, 0, &[1000, 5000]);
            assert_eq!(looked, [Verdict::GoesOn; 2], "{reason}");
        }
        let mut fixture = Fixture::new();
        fixture.node(0, "n1", "rack-a", &SICK);
        let until = at(7200).to_string();
        fixture.policy(
            1,
            1,
            &json!({ "waiting": [{ "node": "n1", "reason": "NotLongEnough", "until": until }] }),
        );
        let looked = looks(&mut fixture, 0, &[10, 7190, 7210, 7900, 8200]);
        assert_eq!(looked[3..], [Verdict::GoesOn, settled], "then it had its time: {looked:?}");
        let mut fixture = Fixture::new();
        fixture.node(0, "n1", "rack-a", &SICK);
        fixture.policy(1, 1, &waits("Backoff"));
        let mut patient = Watch::new(at(0), SignedDuration::from_secs(100));
        for (second, verdict) in [
            (10, Verdict::GoesOn),
            (99, Verdict::GoesOn),
            (101, Verdict::GoesOn),
            (161, Verdict::Settled),
        ] {
            fixture.board.tick(at(second));
            assert_eq!(patient.look(&fixture.board), verdict, "at {second} s");
        }
        let mut fixture = Fixture::new();
        fixture.node(0, "n1", "rack-a", &Node::default());
        fixture.run(1, "n1", "Rebooting", "Drained", "");
        assert_eq!(looks(&mut fixture, 0, &[10, 100])[1], Verdict::GoesOn);
        fixture.run(101, "n1", "Held", "NoBoot", "");
        assert_eq!(looks(&mut fixture, 0, &[110, 200])[1], Verdict::Settled);
    }
}
