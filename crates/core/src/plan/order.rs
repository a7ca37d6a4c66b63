//! Who comes first (planner.md, Order): effective priority, waiting since, node name. Goals 11 and 12.

use jiff::{SignedDuration, Timestamp};

use super::{World, candidate::True, look::Entry};
use crate::{
    mutant,
    policy::{Ageing, Class},
    priority::Priority,
    trigger::add,
};

/// The priority after ageing: one more urgent for each full `every` of waiting, never beyond `floor`.
/// A priority that is more urgent than the floor stays. Only faults age.
pub(super) fn effective(
    priority: Priority,
    class: Class,
    ageing: Ageing,
    since: Timestamp,
    now: Timestamp,
) -> Priority {
    match class {
        Class::Maintenance => priority,
        Class::Fault => {
            let waited = steps(ageing.every, since, now);
            let aged = match mutant!("ageing-inverted") {
                true => u64::from(priority.0).saturating_add(waited),
                false => u64::from(priority.0).saturating_sub(waited),
            };
            let reached = u16::try_from(aged).unwrap_or(u16::MAX);
            Priority(reached.max(ageing.floor.min(priority.0)))
        }
    }
}

fn steps(every: SignedDuration, since: Timestamp, now: Timestamp) -> u64 {
    let waited = now.duration_since(since).as_nanos();
    if every <= SignedDuration::ZERO || waited <= 0 {
        return 0;
    }
    u64::try_from(waited / every.as_nanos()).unwrap_or(u64::MAX)
}

/// When the candidate becomes one more urgent, if it still can.
pub(super) fn next_step(causes: &[True<'_>], ageing: Ageing, now: Timestamp) -> Option<Timestamp> {
    let ages = causes.iter().filter(|cause| cause.class == Class::Fault);
    let step = |since: Timestamp| {
        let done = i32::try_from(steps(ageing.every, since, now)).unwrap_or(i32::MAX - 1);
        add(since, ageing.every.saturating_mul(done + 1))
    };
    if ageing.every <= SignedDuration::ZERO {
        return None;
    }
    let ages = ages.filter(|cause| cause.effective.0 > ageing.floor);
    ages.map(|cause| step(cause.condition.status_since)).min()
}

/// What the order goes by, most urgent first. The node that the operator runs on is taken last among
/// equals (hazard H31); the policy, in order of names, and the run make the order total.
pub(super) fn key<'a>(
    world: &World,
    entry: &Entry<'a>,
) -> (Priority, bool, Timestamp, &'a str, usize, Option<&'a str>) {
    let own = world.own_node.as_ref() == Some(&entry.node.name);
    let run = entry.run.map(|run| run.name.as_str());
    (entry.claim.effective, own, entry.claim.since, &entry.node.name, entry.policy, run)
}
