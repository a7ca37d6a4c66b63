//! How many nodes were out of service at once, as it really was.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{EventKind, TruthEvent};

/// The nodes that were out of service from this moment until the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// When.
    pub t: Timestamp,
    /// Names of the nodes, each with its domain (zone and rack, as the truth log has it).
    pub nodes: BTreeMap<String, String>,
}

impl Moment {
    /// Names of the nodes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    /// The domains in which nodes were out of service.
    pub fn domains(&self) -> BTreeSet<&str> {
        self.nodes.values().map(String::as_str).collect()
    }
}

/// A node's state; out of service while either is so.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    cordoned: bool,
    down: bool,
}

/// One moment per change: a node is out of service while it is cordoned, and from the time when it is
/// down or not Ready until it is Ready. Whoever took it out, it counts: a budget bounds all of them
/// together (planner.md, Budgets; SAFE-4).
///
/// Machines know nothing of cordons: `cordons` is what an observer of the API server saw, as time (by
/// the clock of the truth log), name of the node, and `spec.unschedulable`.
pub fn unavailable_over_time<'a>(
    events: &'a [TruthEvent],
    cordons: impl IntoIterator<Item = (Timestamp, &'a str, bool)>,
) -> Vec<Moment> {
    let domains: BTreeMap<&str, &str> =
        events.iter().map(|event| (event.node.as_str(), event.domain.as_str())).collect();
    let seen = cordons.into_iter().map(|(t, node, cordoned)| (t, node, Change::Cordon(cordoned)));
    let happened =
        events.iter().map(|event| (event.t, event.node.as_str(), Change::Happened(event.event)));
    let mut changes: Vec<_> = seen.chain(happened).collect();
    changes.sort_by_key(|(t, _, _)| *t);
    let mut states: BTreeMap<&str, State> = BTreeMap::new();
    let mut moments: Vec<Moment> = Vec::new();
    for (t, node, change) in changes {
        change.apply(states.entry(node).or_default());
        let out = states.iter().filter(|(_, state)| state.cordoned || state.down);
        let domain = |node: &str| domains.get(node).copied().unwrap_or_default().to_owned();
        let nodes: BTreeMap<_, _> =
            out.map(|(node, _)| ((*node).to_owned(), domain(node))).collect();
        let before = moments.last().map(|moment| &moment.nodes);
        if before.map_or(!nodes.is_empty(), |before| *before != nodes) {
            moments.push(Moment { t, nodes });
        }
    }
    moments
}

enum Change {
    Cordon(bool),
    Happened(EventKind),
}

impl Change {
    fn apply(&self, state: &mut State) {
        match self {
            Change::Cordon(cordoned) => state.cordoned = *cordoned,
            Change::Happened(kind) => match kind {
                EventKind::Down | EventKind::NotReady => state.down = true,
                EventKind::Ready => state.down = false,
                EventKind::Created | EventKind::Removed => *state = State::default(),
                EventKind::Act
                | EventKind::Refused
                | EventKind::Boot
                | EventKind::Pod
                | EventKind::Condition
                | EventKind::Fault => {}
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn event(second: i64, event: EventKind, node: &str) -> TruthEvent {
        TruthEvent {
            t: at(second),
            event,
            node: node.into(),
            node_uid: String::new(),
            boot_id: String::new(),
            previous_boot_id: None,
            domain: format!("zone-1/rack-{}", &node[..1]),
            pool: String::new(),
            control_plane: false,
            cause: None,
            cordoned: None,
            cordoned_by: None,
            detail: String::new(),
        }
    }

    fn cordon(second: i64, node: &str, cordoned: bool) -> (Timestamp, &str, bool) {
        (at(second), node, cordoned)
    }

    fn told(moments: &[Moment]) -> Vec<(i64, Vec<&str>)> {
        let names = |moment| Moment::names(moment).collect();
        moments.iter().map(|moment| (moment.t.as_second(), names(moment))).collect()
    }

    #[test]
    fn a_node_is_out_from_its_cordon_to_its_uncordon_and_counts_once_while_it_boots() {
        let events = [
            event(0, EventKind::Created, "a1"),
            event(3, EventKind::Down, "a1"),
            event(4, EventKind::Boot, "a1"),
            event(5, EventKind::Ready, "a1"),
        ];
        let moments =
            unavailable_over_time(&events, [cordon(1, "a1", true), cordon(8, "a1", false)]);
        assert_eq!(told(&moments), [(1, vec!["a1"]), (8, vec![])]);
        assert_eq!(moments[0].nodes["a1"], "zone-1/rack-a");
    }

    #[test]
    fn a_machine_that_is_down_without_a_cordon_counts_too_until_it_is_ready() {
        let events = [event(3, EventKind::Down, "a1"), event(7, EventKind::Ready, "a1")];
        let moments = unavailable_over_time(&events, []);
        assert_eq!(told(&moments), [(3, vec!["a1"]), (7, vec![])]);
        let removed = [event(3, EventKind::NotReady, "a1"), event(4, EventKind::Removed, "a1")];
        assert_eq!(told(&unavailable_over_time(&removed, [])), [(3, vec!["a1"]), (4, vec![])]);
    }

    #[test]
    fn an_uncordon_before_the_machine_is_ready_does_not_put_it_back_into_service() {
        let events = [event(2, EventKind::Down, "a1"), event(9, EventKind::Ready, "a1")];
        let moments =
            unavailable_over_time(&events, [cordon(1, "a1", true), cordon(5, "a1", false)]);
        assert_eq!(told(&moments), [(1, vec!["a1"]), (9, vec![])]);
    }

    #[test]
    fn nodes_and_domains_at_once_are_those_of_one_moment() {
        let events = ["a1", "a2", "b1"].map(|node| event(0, EventKind::Created, node));
        let cordons = [
            cordon(1, "a1", true),
            cordon(2, "a2", true),
            cordon(3, "a1", false),
            cordon(4, "a2", false),
            cordon(5, "b1", true),
        ];
        let moments = unavailable_over_time(&events, cordons);
        let most = moments.iter().map(|moment| moment.nodes.len()).max();
        assert_eq!(most, Some(2));
        assert!(moments.iter().all(|moment| moment.domains().len() <= 1), "{moments:?}");
        let mut overlapping = cordons.to_vec();
        overlapping.remove(3);
        let moments = unavailable_over_time(&events, overlapping);
        assert_eq!(moments.last().unwrap().domains().len(), 2);
    }

    #[test]
    fn what_changes_nothing_is_no_moment() {
        let events = [event(0, EventKind::Created, "a1"), event(1, EventKind::Condition, "a1")];
        assert_eq!(unavailable_over_time(&events, [cordon(2, "a1", false)]), []);
    }
}
