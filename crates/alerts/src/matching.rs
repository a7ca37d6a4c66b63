//! Which nodes these alerts belong to, for thousands of both. An expression that compares a label with a
//! node's name needs one look-up per alert; any other is tried on every node, once per set of labels and
//! set of nodes, and remembered.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::expression::{Expression, Verdict, short_name};

/// The names of nodes, to be found by either name.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct NodeNames {
    full: BTreeSet<Arc<str>>,
    /// By the name before the first dot, where the full one has a dot.
    short: BTreeMap<String, Vec<Arc<str>>>,
}

impl NodeNames {
    /// Of these nodes.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut all = NodeNames::default();
        for name in names {
            let full: Arc<str> = name.into();
            let short = short_name(name);
            if short.len() < name.len() {
                all.short.entry(short.to_owned()).or_default().push(full.clone());
            }
            all.full.insert(full);
        }
        all
    }

    /// True if these are the very names.
    pub fn are<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> bool {
        let mut count = 0;
        let known = names.into_iter().all(|name| {
            count += 1;
            self.full.contains(name)
        });
        known && count == self.full.len()
    }

    fn called(&self, name: &str) -> impl Iterator<Item = &Arc<str>> {
        let full = self.full.get(name).into_iter();
        full.chain(self.short.get(name).into_iter().flatten())
    }
}

/// What an alert was matched with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matched {
    /// Names of the nodes that it belongs to, sorted.
    pub nodes: Vec<Arc<str>>,
    /// Why the expression failed on it, for one of the nodes that it was tried on.
    pub failed: Option<String>,
}

/// Finds the nodes of alerts.
#[derive(Debug)]
pub struct Matcher {
    expression: Expression,
    names: NodeNames,
    /// What is known of labels that were tried on every node.
    tried: BTreeMap<BTreeMap<String, String>, Matched>,
}

impl Matcher {
    /// With an expression, and no nodes yet.
    pub fn new(expression: Expression) -> Self {
        Matcher { expression, names: NodeNames::default(), tried: BTreeMap::new() }
    }

    /// From now on these are the nodes.
    pub fn set_names(&mut self, names: NodeNames) {
        if names != self.names {
            self.tried.clear();
            self.names = names;
        }
    }

    /// The nodes that are known.
    pub fn names(&self) -> &NodeNames {
        &self.names
    }

    /// Forgets labels that no alert has any more.
    pub fn keep_tried(&mut self, wanted: impl Fn(&BTreeMap<String, String>) -> bool) {
        self.tried.retain(|labels, _| wanted(labels));
    }

    /// The nodes that an alert with these labels belongs to.
    pub fn nodes_of(&mut self, labels: &BTreeMap<String, String>) -> Matched {
        let of_alert = self.expression.with_labels(labels);
        let mut matched = Matched::default();
        let mut try_on = |name: &Arc<str>| match of_alert.verdict(name) {
            Verdict::Match => matched.nodes.push(name.clone()),
            Verdict::NoMatch => {}
            Verdict::Failed(why) => matched.failed = Some(why),
        };
        let Some(name_labels) = self.expression.name_labels() else {
            if let Some(known) = self.tried.get(labels) {
                return known.clone();
            }
            self.names.full.iter().for_each(try_on);
            self.tried.insert(labels.clone(), matched.clone());
            return matched;
        };
        let values: BTreeSet<_> =
            name_labels.iter().filter_map(|label| labels.get(label)).collect();
        let candidates: BTreeSet<_> =
            values.into_iter().flat_map(|value| self.names.called(value)).collect();
        candidates.into_iter().for_each(&mut try_on);
        matched
    }
}

#[cfg(test)]
mod tests;
