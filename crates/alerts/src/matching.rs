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
    expression: Arc<Expression>,
    names: NodeNames,
    /// What is known of labels that were tried on every node.
    tried: BTreeMap<BTreeMap<String, String>, Matched>,
}

impl Matcher {
    /// With an expression, and no nodes yet.
    pub fn new(expression: impl Into<Arc<Expression>>) -> Self {
        Matcher {
            expression: expression.into(),
            names: NodeNames::default(),
            tried: BTreeMap::new(),
        }
    }

    /// The nodes that are known.
    pub fn names(&self) -> &NodeNames {
        &self.names
    }

    /// True if labels were tried on every node, and what came of it is kept.
    pub fn remembers(&self) -> bool {
        !self.tried.is_empty()
    }

    /// Forgets labels that no alert has any more.
    pub fn keep_tried(&mut self, wanted: impl Fn(&BTreeMap<String, String>) -> bool) {
        self.tried.retain(|labels, _| wanted(labels));
    }

    /// From now on these are the nodes. What has to be tried on those that are new is tried by
    /// [`Trial::step`].
    pub fn set_names(&mut self, names: NodeNames) -> Trial {
        let new: Vec<Arc<str>> = names.full.difference(&self.names.full).cloned().collect();
        for matched in self.tried.values_mut() {
            matched.nodes.retain(|name| names.full.contains(name));
        }
        self.names = names;
        Trial { labels: self.tried.keys().cloned().collect(), nodes: new }
    }

    /// What has to be tried before [`Matcher::nodes_of`] knows these labels.
    pub fn trial<'a>(&mut self, all: impl Iterator<Item = &'a BTreeMap<String, String>>) -> Trial {
        if self.expression.name_labels().is_some() {
            return Trial::default();
        }
        let unknown: BTreeSet<_> = all.filter(|labels| !self.tried.contains_key(*labels)).collect();
        for labels in &unknown {
            self.tried.insert((*labels).clone(), Matched::default());
        }
        let nodes =
            if unknown.is_empty() { Vec::new() } else { self.names.full.iter().cloned().collect() };
        Trial { labels: unknown.into_iter().cloned().collect(), nodes }
    }

    /// The nodes that an alert with these labels belongs to. Of labels that have to be tried on every node
    /// and were not, none.
    pub fn nodes_of(&self, labels: &BTreeMap<String, String>) -> Matched {
        let Some(name_labels) = self.expression.name_labels() else {
            return self.tried.get(labels).cloned().unwrap_or_default();
        };
        let values: BTreeSet<_> =
            name_labels.iter().filter_map(|label| labels.get(label)).collect();
        let candidates: BTreeSet<_> =
            values.into_iter().flat_map(|value| self.names.called(value)).collect();
        let mut matched = Matched::default();
        if !candidates.is_empty() {
            let of_alert = self.expression.with_labels(labels);
            candidates.into_iter().for_each(|name| matched.note(name, of_alert.verdict(name)));
        }
        matched
    }
}

impl Matched {
    fn note(&mut self, name: &Arc<str>, verdict: Verdict) {
        match verdict {
            Verdict::Match => {
                if let Err(place) = self.nodes.binary_search(name) {
                    self.nodes.insert(place, name.clone());
                }
            }
            Verdict::NoMatch => {}
            Verdict::Failed(why) => self.failed = Some(why),
        }
    }
}

/// Labels that have to be tried on nodes. It may be millions of times, so it goes by steps, between which
/// others can do something.
#[derive(Debug, Default)]
#[must_use = "what is not tried is not known"]
pub struct Trial {
    labels: Vec<BTreeMap<String, String>>,
    nodes: Vec<Arc<str>>,
}

impl Trial {
    /// Tries all labels on one node, so that what an expression makes of the node's name, such as a
    /// compiled regular expression, serves them all. False when there is nothing left.
    pub fn step(&mut self, matcher: &mut Matcher) -> bool {
        let Some(node) = self.nodes.pop().filter(|_| !self.labels.is_empty()) else { return false };
        let Matcher { expression, tried, .. } = matcher;
        for labels in &self.labels {
            if let Some(matched) = tried.get_mut(labels) {
                matched.note(&node, expression.verdict(labels, &node));
            }
        }
        true
    }

    /// Everything at once.
    pub fn finish(mut self, matcher: &mut Matcher) {
        while self.step(matcher) {}
    }
}

#[cfg(test)]
mod tests;
