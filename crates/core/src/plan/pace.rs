//! How many runs a policy starts in a sliding window (planner.md, Budgets: `maxStarts`).

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Verdict, Wait, WaitReason, World, gate::Question};
use crate::{mutant, trigger::add};

/// The recent starts by policy, oldest first.
pub(super) fn starts(world: &World) -> BTreeMap<&str, Vec<Timestamp>> {
    let mut starts: BTreeMap<&str, Vec<Timestamp>> = BTreeMap::new();
    for start in &world.ledger.starts {
        starts.entry(&start.policy).or_default().push(start.time);
    }
    starts.values_mut().for_each(|times| times.sort());
    starts
}

pub(super) fn gate(question: &Question<'_, '_>) -> Verdict {
    let Question { look, turn, entry, .. } = question;
    let policy = look.policies[entry.policy].policy;
    let (count, per) = (policy.budget.max_starts.count as usize, policy.budget.max_starts.per);
    let opened = look.world.now.saturating_sub(per).unwrap_or(Timestamp::MIN);
    let times = look.starts.get(policy.name.as_str()).map(Vec::as_slice).unwrap_or_default();
    let recent = &times[times.partition_point(|time| *time <= opened)..];
    let started = recent.len() + turn.started(entry.policy);
    let over = started.checked_sub(count).filter(|_| !mutant!("max-starts-ignored"));
    let Some(over) = over else { return Verdict::Pass };
    let seconds = per.as_secs();
    let message = format!(
        "policy {} has started {started} runs within {seconds} s; {count} are allowed (maxStarts)",
        policy.name
    );
    let wait = Wait::new(WaitReason::StartsExhausted, message);
    if count == 0 {
        return Verdict::Refuse(wait);
    }
    // Room for one when this one leaves the window; those that this plan admits leave it last.
    let leaves = recent.get(over).copied().unwrap_or(look.world.now);
    Verdict::Wait(wait.until(add(leaves, per)))
}
