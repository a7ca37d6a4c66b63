//! What has to be written of all nodes, by what the servers of a source say together.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use super::{
    Alert,
    conditions::{Change, Reported, Rules, changes as changes_of, is_ours, wanted},
    source::View,
};
use crate::facts::{ConditionFact, NodeFacts};

/// An alert, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The alert.
    pub alert: Alert,
    /// Names of its nodes.
    pub nodes: Vec<Arc<str>>,
    /// Why the expression failed on it.
    pub failed: Option<String>,
}

/// What a source says of its conditions.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    /// What their types begin with.
    pub prefix: &'a str,
    /// How long they stay after their alert; zero: for ever.
    pub linger: SignedDuration,
    /// How often what says the same is written anew.
    pub heartbeat_interval: SignedDuration,
}

/// What has to be written of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeChanges {
    /// Its name.
    pub node: String,
    /// Its UID: what belongs to a node does not belong to the next one of its name.
    pub uid: String,
    /// Its conditions by type.
    pub changes: BTreeMap<String, Change>,
}

/// How much there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Alerts that fire.
    pub firing: usize,
    /// Of those, how many belong to a node.
    pub matched: usize,
    /// Nodes that such an alert belongs to.
    pub nodes: usize,
    /// Alerts that became no condition, since their node has too many.
    pub too_many: usize,
    /// Alerts that became no condition, since another writer has one of that type.
    pub foreign: usize,
}

/// What has to be written, node by node, and how much there is. `booted_at`: when a node was seen to have
/// booted.
pub fn changes(
    nodes: &BTreeMap<String, Arc<NodeFacts>>,
    view: &View<'_, Placed>,
    settings: Settings<'_>,
    booted_at: impl Fn(&str) -> Option<Timestamp>,
    now: Timestamp,
) -> (Vec<NodeChanges>, Counts) {
    let mut by_node: BTreeMap<&str, Vec<(&Alert, Timestamp)>> = BTreeMap::new();
    let mut firing: BTreeMap<&BTreeMap<String, String>, bool> = BTreeMap::new();
    for (placed, at) in &view.firing {
        *firing.entry(&placed.alert.labels).or_default() |= !placed.nodes.is_empty();
        for node in &placed.nodes {
            by_node.entry(node).or_default().push((&placed.alert, *at));
        }
    }
    let mut counts = Counts {
        firing: firing.len(),
        matched: firing.values().filter(|matched| **matched).count(),
        nodes: by_node.len(),
        too_many: 0,
        foreign: 0,
    };
    let prefix = settings.prefix;
    let mut all = Vec::new();
    for (name, facts) in nodes {
        let alerts = by_node.remove(name.as_str()).unwrap_or_default();
        let ours = || facts.conditions.values().filter(|c| c.condition_type().starts_with(prefix));
        if alerts.is_empty() && ours().next().is_none() {
            continue;
        }
        let wants = wanted(alerts);
        counts.too_many += wants.left_out.len();
        let foreign = |c: &&ConditionFact| {
            let kind = c.condition_type();
            wants.conditions.contains_key(kind) && !is_ours(kind, &c.reason, prefix)
        };
        counts.foreign += ours().filter(foreign).count();
        let rules = Rules {
            prefix,
            linger: settings.linger,
            heartbeat_every: jittered(settings.heartbeat_interval, name),
            booted_at: booted_at(name),
        };
        let changes = changes_of(ours().map(reported), &wants, view.absence, rules, now);
        if !changes.is_empty() {
            let changes = changes.into_iter().map(|(kind, c)| (kind.to_owned(), c)).collect();
            all.push(NodeChanges { node: name.clone(), uid: facts.uid.clone(), changes });
        }
    }
    (all, counts)
}

/// The interval, or up to a quarter less, always the same for one node: what was written at once the first
/// time is not written at once for ever after.
fn jittered(interval: SignedDuration, node: &str) -> SignedDuration {
    // FNV-1a: a fixed function, since the same node must have the same share in every process.
    let hash = node.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let parts = i32::try_from(hash % 1000).unwrap_or_default();
    interval - interval / 4000 * parts
}

fn reported(fact: &ConditionFact) -> Reported<'_> {
    Reported {
        condition_type: fact.condition_type(),
        status: fact.status(),
        reason: &fact.reason,
        message: &fact.message,
        heartbeat: fact.evidence.last_heartbeat_time,
        transition: fact.evidence.last_transition_time,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        alert::{conditions::FIRING_KEPT, read, source::Absence},
        remediation::tests::{at, condition, node, secs, set},
    };

    fn placed(name: &str) -> Placed {
        let labels = [("alertname".to_owned(), name.to_owned())].into();
        let alert = read(labels, None, "X_").0.unwrap();
        Placed { alert, nodes: vec!["n1".into()], failed: None }
    }

    #[test]
    fn alerts_that_a_node_has_no_room_for_are_counted() {
        let nodes = [("n1".to_owned(), Arc::new(node()))].into();
        let settings = Settings { prefix: "X_", linger: secs(0), heartbeat_interval: secs(300) };
        for (alerts, too_many) in [(FIRING_KEPT, 0), (FIRING_KEPT + 3, 3)] {
            let all: Vec<_> = (0..alerts).map(|number| placed(&format!("a{number:04}"))).collect();
            let firing = all.iter().map(|placed| (placed, at(5))).collect();
            let view = View { firing, absence: Absence::Unknown };
            let (written, counts) = changes(&nodes, &view, settings, |_| None, at(5));
            assert_eq!((counts.firing, counts.matched, counts.nodes), (alerts, alerts, 1));
            assert_eq!((counts.too_many, counts.foreign), (too_many, 0));
            assert_eq!(written[0].changes.len(), FIRING_KEPT);
        }
    }

    /// A condition of another writer is in the way only where an alert asks for one of its type.
    #[test]
    fn conditions_of_others_are_counted_where_an_alert_wants_their_place() {
        let settings = Settings { prefix: "X_", linger: secs(0), heartbeat_interval: secs(300) };
        let all = [placed("wanted"), placed("ours")];
        for (kind, reason, foreign) in [
            ("X_wanted", "KernelHang", 1),
            ("X_unwanted", "KernelHang", 0),
            ("X_ours", "", 0),
            ("Y_wanted", "KernelHang", 0),
        ] {
            let mut node = node();
            let mut fact = condition(kind, "True", 1);
            fact.reason = reason.into();
            set(&mut node, fact);
            let nodes = [("n1".to_owned(), Arc::new(node))].into();
            let firing = all.iter().map(|placed| (placed, at(5))).collect();
            let view = View { firing, absence: Absence::Unknown };
            let (_, counts) = changes(&nodes, &view, settings, |_| None, at(5));
            assert_eq!(counts.foreign, foreign, "{kind} {reason}");
        }
    }

    /// The same in every process and in every version: a new version must not write everything at once.
    #[test]
    fn each_node_has_its_own_share_of_the_interval_for_ever() {
        let shares =
            ["worker1a", "worker1b", "a", ""].map(|name| jittered(secs(4000), name).as_secs());
        assert_eq!(shares, [3135, 3768, 3004, 3963]);
    }
}
