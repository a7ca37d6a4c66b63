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
