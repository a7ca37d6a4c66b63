//! A more urgent cause that appears later raises the run's priority (planner.md, Who is a candidate; goal
//! 14).

use jiff::Timestamp;

use crate::{
    facts::{ConditionFact, NodeFacts},
    priority::{Priority, PriorityRange, priority},
    run::Run,
    step::Step,
    trigger::{self, Reading},
};

/// The most urgent trigger of the run that is more urgent than what is `recorded` for it, with its
/// priority. Never less urgent: a run keeps what it began with.
///
/// Only until the first reboot, since afterwards what the node shows may be our own doing. A run made
/// by a person has no trigger, and no cause may be given to it.
pub fn more_urgent<'a>(
    run: &Run,
    recorded: Option<Priority>,
    range: PriorityRange,
    node: &'a NodeFacts,
    now: Timestamp,
) -> Option<(&'a ConditionFact, Priority)> {
    let contract = run.contract.as_ref().filter(|_| follows(run) && run.node_uid == node.uid)?;
    let true_now = trigger::matches(&contract.triggers, node, now).filter(|found| {
        found.reading == Reading::True
            && trigger::is_new(found.condition, &node.last_remediation.evidence)
    });
    let urgent = true_now.map(|found| (found.condition, priority(&found.condition.message, range)));
    let (cause, urgent) = urgent
        .filter(|(_, urgent)| recorded.is_none_or(|recorded| *urgent < recorded))
        .min_by_key(|(cause, urgent)| (*urgent, cause.status_since, cause.condition_type()))?;
    Some((node.conditions.get(cause.condition_type())?, urgent))
}

fn follows(run: &Run) -> bool {
    let at_work = match run.step {
        Step::Cordoning | Step::Draining | Step::Held => true,
        Step::Pending
        | Step::Rebooting
        | Step::Withdrawing
        | Step::Verifying
        | Step::Uncordoning
        | Step::Settling
        | Step::RollingBack
        | Step::Succeeded
        | Step::Cancelled
        | Step::Failed => false,
    };
    at_work && !run.causes.is_empty() && run.frozen.is_none() && !run.past_no_return()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::TypePattern,
        remediation::tests::{at, condition, node, run, secs, set, trigger},
    };

    const RANGE: PriorityRange = PriorityRange { min: 2, max: 99, default: 9 };

    /// A run for `Sick` (P6) whose policy also looks at `Disk`, and a node that shows both.
    fn both(step: Step, message: &str) -> (Run, NodeFacts) {
        let mut run = run(step);
        let mut disk = trigger();
        disk.condition_type = TypePattern::parse("Disk");
        disk.hold_for = secs(60);
        run.contract.iter_mut().for_each(|contract| contract.triggers.push(disk.clone()));
        let mut node = node();
        let mut shown = condition("Disk", "True", 0);
        shown.message = message.into();
        set(&mut node, shown);
        (run, node)
    }

    fn found(run: &Run, node: &NodeFacts, recorded: u16) -> Option<(String, u16)> {
        let now = at(60);
        more_urgent(run, Some(Priority(recorded)), RANGE, node, now)
            .map(|(cause, priority)| (cause.condition_type().to_owned(), priority.0))
    }

    #[test]
    fn a_more_urgent_cause_is_followed_and_an_equal_or_lesser_one_is_not() {
        let (run, node) = both(Step::Draining, "[P3] disk");
        assert_eq!(found(&run, &node, 6), Some(("Disk".into(), 3)));
        assert_eq!(found(&run, &node, 3), None);
        assert_eq!(found(&run, &node, 2), None);
        let (run, node) = both(Step::Draining, "[P7] disk");
        assert_eq!(found(&run, &node, 6), None);
        let (run, node) = both(Step::Draining, "[P0] disk");
        assert_eq!(found(&run, &node, 6), Some(("Disk".into(), 2)), "the policy's bounds hold");
    }

    #[test]
    fn the_run_s_own_cause_may_become_more_urgent() {
        let (run, mut node) = both(Step::Draining, "[P9] disk");
        node.conditions.get_mut("Sick").unwrap().message = "[P4] worse".into();
        assert_eq!(found(&run, &node, 6), Some(("Sick".into(), 4)));
    }

    #[test]
    fn what_would_start_no_run_raises_none() {
        let (run, mut node) = both(Step::Draining, "[P3] disk");
        let disk = node.conditions.get_mut("Disk").unwrap();
        disk.status_since = at(1);
        assert_eq!(found(&run, &node, 6), None, "not for long enough");
        let disk = node.conditions.get_mut("Disk").unwrap();
        disk.status_since = at(0);
        node.last_remediation.evidence = vec![disk.evidence.clone()];
        assert_eq!(found(&run, &node, 6), None, "no new evidence");
        node.last_remediation.evidence.clear();
        node.uid = "another".into();
        assert_eq!(found(&run, &node, 6), None, "another node");
    }

    #[test]
    fn only_until_the_first_reboot_and_never_for_a_person_s_run() {
        for step in Step::ALL {
            let (run, node) = both(step, "[P3] disk");
            let before = matches!(step, Step::Cordoning | Step::Draining);
            let held = step == Step::Held && !run.past_no_return();
            assert_eq!(found(&run, &node, 6).is_some(), before || held, "{step}");
        }
        let (mut run, node) = both(Step::Draining, "[P3] disk");
        run.step = Step::Held;
        assert!(found(&run, &node, 6).is_some(), "held before the reboot");
        run.attempt = 1;
        assert_eq!(found(&run, &node, 6), None);
        run.attempt = 0;
        run.causes.clear();
        assert_eq!(found(&run, &node, 6), None);
    }
}
