//! Is a trigger true on a node? The same function starts runs, cancels them, and verifies them.

use jiff::{SignedDuration, Timestamp};

use crate::{
    facts::{ConditionFact, EVIDENCE_KEPT, Evidence, NodeFacts},
    mutant,
    policy::Trigger,
};

/// What one condition says to one trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// The status is listed, for long enough, and fresh.
    True,
    /// The status is listed, but not yet for long enough.
    Pending {
        /// When it will have lasted long enough.
        until: Timestamp,
    },
    /// Stale; or status `Unknown` that the trigger does not list; or a listed status with another
    /// reason than the trigger's, which is not its case, and is not health either. Starts nothing,
    /// undoes nothing, and is never recovery.
    Unknown,
    /// Another status, fresh.
    Clear,
}

/// Reads a condition as a trigger sees it; the type must match already.
pub fn read(trigger: &Trigger, condition: &ConditionFact, now: Timestamp) -> Reading {
    if fresh_until(trigger, condition) < now {
        return Reading::Unknown;
    }
    if asks_for_remedy(trigger, condition) {
        let until = add(condition.status_since, trigger.hold_for);
        return if until <= now { Reading::True } else { Reading::Pending { until } };
    }
    if says_something(trigger, condition) { Reading::Unknown } else { Reading::Clear }
}

/// Until when the condition is read as [`Reading::Clear`] unless it is reported anew; `None` = it is not
/// even now.
pub(crate) fn clear_until(trigger: &Trigger, condition: &ConditionFact) -> Option<Timestamp> {
    (!says_something(trigger, condition)).then(|| fresh_until(trigger, condition))
}

/// The status is not one of health, whatever else it is.
fn says_something(trigger: &Trigger, condition: &ConditionFact) -> bool {
    lists(trigger, condition) || condition.status() == "Unknown"
}

fn lists(trigger: &Trigger, condition: &ConditionFact) -> bool {
    trigger.statuses.iter().any(|status| status == condition.status())
}

/// Status and reason are what the trigger looks for, however old the report is.
pub(crate) fn asks_for_remedy(trigger: &Trigger, condition: &ConditionFact) -> bool {
    let reason_fits = trigger.reason.as_ref().is_none_or(|reason| **reason == *condition.reason);
    lists(trigger, condition) && reason_fits
}

/// When the report becomes stale. A condition without a heartbeat never does, nor does any where
/// `staleAfter` is zero.
fn fresh_until(trigger: &Trigger, condition: &ConditionFact) -> Timestamp {
    let never = trigger.stale_after.is_zero() || mutant!("stale-is-true");
    if never || condition.evidence.last_heartbeat_time.is_none() {
        return Timestamp::MAX;
    }
    add(condition.changed_at, trigger.stale_after)
}

/// Time arithmetic that saturates: a policy's duration can never panic the operator (hazard H39).
pub fn add(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

/// A condition of a node beside the trigger that it fits.
#[derive(Debug, Clone, Copy)]
pub struct Match<'a> {
    /// Position of the trigger in the policy.
    pub index: usize,
    /// The trigger.
    pub trigger: &'a Trigger,
    /// The condition.
    pub condition: &'a ConditionFact,
    /// What the condition says.
    pub reading: Reading,
}

/// Every condition of the node that fits one of the triggers, in order of trigger and type.
pub fn matches<'a>(
    triggers: &'a [Trigger],
    node: &'a NodeFacts,
    now: Timestamp,
) -> impl Iterator<Item = Match<'a>> {
    triggers.iter().enumerate().flat_map(move |(index, trigger)| {
        let fitting =
            node.conditions.values().filter(|c| trigger.condition_type.matches(c.condition_type()));
        fitting.map(move |condition| Match {
            index,
            trigger,
            condition,
            reading: read(trigger, condition, now),
        })
    })
}

/// The reports of the conditions that fit a trigger, to be compared with later ones. Of more than
/// [`EVIDENCE_KEPT`] those that ask for a remedy are kept first: they are the ones that could start
/// a run again or fail a verification.
pub fn evidence(triggers: &[Trigger], node: &NodeFacts, now: Timestamp) -> Vec<Evidence> {
    let mut all: Vec<_> = matches(triggers, node, now)
        .map(|m| (!asks_for_remedy(m.trigger, m.condition), m.condition.evidence.clone()))
        .collect();
    all.sort();
    let mut kept: Vec<Evidence> = Vec::new();
    for (_, evidence) in all {
        if kept.len() < EVIDENCE_KEPT && !kept.contains(&evidence) {
            kept.push(evidence);
        }
    }
    kept.sort();
    kept
}

/// True when a condition's report differs from the recorded one of its type, or none is recorded.
/// Where the record is full, a type that is not in it may have been left out: no new evidence, since
/// a lagging alert must not start a second run.
pub fn is_new(condition: &ConditionFact, recorded: &[Evidence]) -> bool {
    let of_type = recorded.iter().any(|e| e.condition_type == condition.evidence.condition_type);
    if !of_type && recorded.len() >= EVIDENCE_KEPT {
        return false;
    }
    !recorded.contains(&condition.evidence)
}

/// How the triggers of a run stand together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// At least one that must clear is true (or about to be) on a report newer than the recorded.
    TrueOnNewEvidence,
    /// None is true on new evidence, but at least one cause is Unknown, absent or not reported anew,
    /// or some condition still asks for a remedy on an old or stale report.
    Unknown,
    /// No condition asks for a remedy, and every cause is clear on new evidence.
    Clear,
}

/// How the conditions that `counts` selects stand, compared with recorded reports. `causes` are the
/// condition types that started the run.
///
/// - A cause that is absent is Unknown, since an alert also vanishes when its node does not report
///   (hazard H09). So is one that is stale.
/// - A cause that bears heartbeats is clear only on a report newer than the recorded one: its writer
///   goes on reporting, so the next report comes, and a frozen one proves nothing.
/// - A cause without heartbeats is clear when its status is. Its writer reports changes only; a
///   status that changed before the boot was seen and is right will never be reported again, and
///   waiting for it would hold every such machine. It asked for a remedy when the run was admitted,
///   so that its status is newer than that in any case.
/// - A condition that is no cause and says nothing, or nothing fresh, stands in nobody's way, unless
///   its last word asked for a remedy.
pub fn standing(
    triggers: &[Trigger],
    node: &NodeFacts,
    causes: &[String],
    recorded: &[Evidence],
    now: Timestamp,
    counts: impl Fn(&Trigger) -> bool,
) -> Standing {
    let mut unknown = causes.iter().any(|cause| {
        !node.conditions.contains_key(cause)
            && triggers.iter().any(|t| counts(t) && t.condition_type.matches(cause))
    });
    for found in matches(triggers, node, now).filter(|m| counts(m.trigger)) {
        let Match { trigger, condition, reading, .. } = found;
        let new = is_new(condition, recorded);
        let caused = causes.iter().any(|cause| cause == condition.condition_type());
        match reading {
            Reading::True | Reading::Pending { .. } if new => return Standing::TrueOnNewEvidence,
            Reading::True | Reading::Pending { .. } => unknown = true,
            Reading::Unknown => unknown |= caused || asks_for_remedy(trigger, condition),
            Reading::Clear => {
                let bears_heartbeats = condition.evidence.last_heartbeat_time.is_some();
                unknown |= caused && !new && bears_heartbeats;
            }
        }
    }
    if unknown { Standing::Unknown } else { Standing::Clear }
}

#[cfg(test)]
mod tests;
