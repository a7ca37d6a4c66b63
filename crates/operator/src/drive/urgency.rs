//! A more urgent cause that appears later: priority and causes of the run's status follow. What is
//! decided is `rerail_core::remediation::more_urgent`.

use rerail_api::{
    NodeRemediation,
    convert::policy,
    remediation::{CauseSpec, NodeRemediationStatus},
};
use rerail_core::{facts::cut_message, priority::Priority, remediation::more_urgent, run::Run};

use super::Driver;

/// How many causes a status names.
const CAUSES_NAMED: usize = 16;

impl Driver {
    /// The cause that makes the run more urgent than its status says. Without the policy there are no
    /// bounds for what a message may claim, and nothing follows.
    pub(super) fn more_urgent(&self, object: &NodeRemediation, run: &Run) -> Option<CauseSpec> {
        let status = object.status.as_ref()?;
        let recorded = status.priority.and_then(|priority| u16::try_from(priority).ok());
        let policy = self.context.policies.get(&run.policy)?;
        let range = policy::priority_range(&policy.spec.priority).ok()?;
        let node = self.context.nodes.get(&run.node_name)?;
        let recorded = recorded.map(Priority);
        let (condition, priority) = more_urgent(run, recorded, range, &node, self.context.now())?;
        Some(CauseSpec {
            condition_type: condition.condition_type().to_owned(),
            reason: cut_message(&condition.reason).to_owned(),
            message: cut_message(&condition.message).to_owned(),
            priority: i32::from(priority.0),
            since: condition.status_since,
        })
    }
}

/// Puts the cause first; of one type there is one.
pub(super) fn follow(status: &mut NodeRemediationStatus, cause: CauseSpec) {
    status.priority = Some(cause.priority);
    status.causes.retain(|known| known.condition_type != cause.condition_type);
    status.causes.insert(0, cause);
    status.causes.truncate(CAUSES_NAMED);
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn cause(condition_type: &str, priority: i32) -> CauseSpec {
        CauseSpec {
            condition_type: condition_type.to_owned(),
            reason: String::new(),
            message: String::new(),
            priority,
            since: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_more_urgent_cause_comes_first_once_and_the_list_stays_bounded() {
        let causes = (0..16).map(|number| cause(&format!("C{number}"), 9)).collect();
        let mut status =
            NodeRemediationStatus { priority: Some(9), causes, ..NodeRemediationStatus::default() };
        follow(&mut status, cause("C3", 4));
        assert_eq!((status.priority, status.causes.len()), (Some(4), 16));
        assert_eq!(status.causes[0], cause("C3", 4));
        follow(&mut status, cause("New", 1));
        assert_eq!((status.priority, status.causes.len()), (Some(1), 16));
        assert_eq!(status.causes[0], cause("New", 1));
    }
}
