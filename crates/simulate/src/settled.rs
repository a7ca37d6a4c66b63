//! Whether everything that can heal has healed.

use jiff::{SignedDuration, Timestamp};
use rerail_core::plan::WaitReason;

use crate::board::{Board, Face, Policy};

/// For so long nothing may have been under way.
const QUIET: SignedDuration = SignedDuration::from_secs(60);

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
        if since_end.is_negative() || busy(board, since_end < self.rest) {
            self.quiet_since = None;
            let too_long = since_end > PATIENCE;
            return if too_long { Verdict::TooLong } else { Verdict::GoesOn };
        }
        let since = *self.quiet_since.get_or_insert(now);
        if now.duration_since(since) >= QUIET { Verdict::Settled } else { Verdict::GoesOn }
    }
}

fn busy(board: &Board, rests_count: bool) -> bool {
    if board.nodes().is_empty() {
        return true;
    }
    let queue = board.queue();
    // Where every policy only says what it would do, whoever waits waits for ever.
    let acts = |policy: &Policy| !policy.is_known || policy.mode != "DryRun";
    let any_acts = board.policies().is_empty() || board.policies().values().any(acts);
    // A status lists a part of many, and an operator that has not spoken yet lists nobody.
    let more = board
        .policies()
        .values()
        .any(|policy| !policy.is_known || policy.waiting_number > policy.waiting.len());
    board.nodes().iter().any(|(name, entry)| match entry.face() {
        face if face.in_work() => true,
        Face::Waiting(_) if !any_acts => false,
        Face::Waiting(_) => {
            let waits = queue.iter().find(|waits| waits.node == *name);
            waits.map_or(more, |waits| {
                waits.reason.parse().is_ok_and(|reason| may_start(reason, rests_count))
            })
        }
        // By itself, or its run being undone.
        Face::Down | Face::GivenBack => {
            entry.run.as_ref().and_then(|run| run.step).is_some_and(|step| step.holds_slot())
        }
        _ => false,
    })
}

/// Whether a node that waits for this starts some time, if nobody does anything.
fn may_start(reason: WaitReason, rests_count: bool) -> bool {
    match reason {
        WaitReason::HoldLabel
        | WaitReason::Ignored
        | WaitReason::ControlPlane
        | WaitReason::CordonedByOther
        | WaitReason::ClaimedByOther
        | WaitReason::NoReachableRemedy
        | WaitReason::AttemptsExhausted
        | WaitReason::NoNewEvidence
        | WaitReason::Paused
        | WaitReason::NotConfigured
        | WaitReason::PolicyMissing
        | WaitReason::NotSelected
        | WaitReason::PolicyNotEnforcing
        | WaitReason::NodeMissing => false,
        // It rests after a run that did not succeed.
        WaitReason::Backoff => rests_count,
        WaitReason::NotLongEnough
        | WaitReason::TriggerUnknown
        | WaitReason::NodeDeleting
        | WaitReason::ActiveRun
        | WaitReason::ClockSkew
        | WaitReason::OutOfDate
        | WaitReason::Meltdown
        | WaitReason::WarmingUp
        | WaitReason::Unhealthy
        | WaitReason::Storm
        | WaitReason::OtherDomainsOpen
        | WaitReason::DomainClosed
        | WaitReason::MissingTopologyLabels
        | WaitReason::BudgetExhausted
        | WaitReason::StartsExhausted
        | WaitReason::AdmissionFailing => true,
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
        for (reason, verdict) in [
            ("BudgetExhausted", Verdict::GoesOn),
            ("NotLongEnough", Verdict::GoesOn),
            ("AttemptsExhausted", Verdict::Settled),
            ("Backoff", Verdict::Settled),
        ] {
            let mut fixture = Fixture::new();
            fixture.node(0, "n1", "rack-a", &SICK);
            fixture.policy(1, 1, &waits(reason));
            assert_eq!(looks(&mut fixture, 0, &[10, 100])[1], verdict, "{reason}");
        }
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
