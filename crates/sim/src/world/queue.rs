//! What will happen, in order of time.

use std::collections::{BTreeMap, BTreeSet};

use crate::observe::Cause;

/// What shall become of a machine that goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    Boot,
    Off,
    Hang,
}

/// What a machine does next; not if it went down meanwhile.
#[derive(Debug, Clone)]
pub(super) enum Step {
    GoDown(Cause, After),
    Boot(Cause),
    KubeletUp,
    KubeletReady,
    Settle,
    /// So many changes of Ready are left.
    Flap(u32),
    Lease,
    Report,
}

/// What happens with a Pod on its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PodStep {
    Start,
    Deadline,
    /// The container of a probe Pod ends.
    Done,
    ReadRun,
    ReadNode,
    Stop,
    /// A process whose object vanished ends.
    Orphan,
}

/// Who looks at what has changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sync {
    /// The kubelet of a node at its Pods.
    Kubelet(String),
    /// The node lifecycle controller at a node's taints.
    Taints(String),
    /// The taint manager at a node's Pods.
    Evict(String),
    Budget(String),
    Deployment(String),
    ReplicaSet(String),
    DaemonSet(String),
    /// A namespace gets its ServiceAccount.
    Account(String),
    Scheduler,
}

/// What happens.
#[derive(Debug, Clone)]
pub(super) enum Event {
    Sync(Sync),
    Machine(String, u64, Step),
    Pod(String, u64, String, PodStep),
    /// The writers of a node's foreign conditions refresh them.
    Heartbeat(String),
    /// Some time after a boot its healed and new conditions are told.
    TellConditions(String),
    /// The node lifecycle controller looks at all nodes.
    Monitor,
    /// Events expire, Pods of nodes that are gone are taken away.
    Sweep,
    /// What belonged to an object that is gone goes.
    Collect(String),
    /// The scene's timeline, or its random parts.
    Script(usize),
    /// The policies are applied that come later.
    Policies,
    Dice(usize),
    /// A foreign controller goes on.
    Follow(super::people::Follow),
}

/// Events by time; of those at the same time the first that was planned is first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    events: BTreeMap<(u64, u64), Event>,
    planned: u64,
    syncs: BTreeSet<Sync>,
}

impl Queue {
    /// Plans an event. A look that is planned already is not planned again.
    pub(super) fn at(&mut self, time: u64, event: Event) {
        if let Event::Sync(sync) = &event
            && !self.syncs.insert(sync.clone())
        {
            return;
        }
        self.planned += 1;
        self.events.insert((time, self.planned), event);
    }

    /// Forgets what was to be collected.
    pub(super) fn collect_nothing(&mut self) {
        self.events.retain(|_, event| !matches!(event, Event::Collect(_)));
    }

    /// True when a look is planned already.
    pub(super) fn has(&self, sync: &Sync) -> bool {
        self.syncs.contains(sync)
    }

    /// When the next event is.
    pub(super) fn next(&self) -> Option<u64> {
        self.events.first_key_value().map(|((time, _), _)| *time)
    }

    /// Takes the next event, if its time has come.
    pub(super) fn due(&mut self, now: u64) -> Option<Event> {
        let first = self.events.first_entry()?;
        if first.key().0 > now {
            return None;
        }
        let event = first.remove();
        if let Event::Sync(sync) = &event {
            self.syncs.remove(sync);
        }
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_order_and_looks_only_once() {
        let mut queue = Queue::default();
        queue.at(5, Event::Monitor);
        queue.at(3, Event::Sync(Sync::Scheduler));
        queue.at(4, Event::Sync(Sync::Scheduler));
        queue.at(5, Event::Sweep);
        assert_eq!(queue.next(), Some(3));
        assert!(queue.due(2).is_none());
        assert!(matches!(queue.due(5), Some(Event::Sync(Sync::Scheduler))));
        assert!(!queue.has(&Sync::Scheduler));
        assert!(matches!(queue.due(5), Some(Event::Monitor)));
        assert!(matches!(queue.due(5), Some(Event::Sweep)));
        assert!(queue.due(5).is_none());
    }
}
