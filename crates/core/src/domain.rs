//! Failure domains: which nodes fall together, and are repaired together (planner.md, Domains). A run
//! keeps the domain that its node had at admission, whatever becomes of the labels (hazard H23).

use std::fmt;

use crate::facts::Labels;

/// The key under which a node that lacks every topology label is its own domain.
const NODE_NAME: &str = "metadata.name";

/// One label of a domain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainLabel {
    /// The label's key, one of the operator's `topologyKeys`.
    pub key: String,
    /// Its value on the nodes of the domain; empty where they lack it.
    pub value: String,
}

/// A failure domain: the tuple of the values of `topologyKeys`, since rack names repeat across zones.
/// Without keys there are no domains: every node is in the same one, which has no labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Domain(pub Vec<DomainLabel>);

impl Domain {
    /// The domain of a node with these labels. One that lacks all of the keys is its own domain.
    pub fn of(name: &str, labels: &Labels, topology_keys: &[String]) -> Self {
        let value = |key: &String| labels.get(key).map(str::to_owned);
        let values: Vec<_> = topology_keys.iter().map(|key| (key.clone(), value(key))).collect();
        if !values.is_empty() && values.iter().all(|(_, value)| value.is_none()) {
            return Domain(vec![DomainLabel { key: NODE_NAME.into(), value: name.into() }]);
        }
        let label = |(key, value): (String, Option<String>)| DomainLabel {
            key,
            value: value.unwrap_or_default(),
        };
        Domain(values.into_iter().map(label).collect())
    }

    /// True when [`Domain::of`] makes this one. Nothing is copied: every node of a large cluster is asked.
    pub(crate) fn is_of(&self, name: &str, labels: &Labels, topology_keys: &[String]) -> bool {
        let mut labelled = topology_keys.is_empty();
        let mut same = self.0.len() == topology_keys.len();
        for (at, key) in topology_keys.iter().enumerate() {
            let value = labels.get(key);
            labelled |= value.is_some();
            let fits =
                |own: &DomainLabel| own.key == *key && own.value == value.unwrap_or_default();
            same = same && self.0.get(at).is_some_and(fits);
        }
        if labelled {
            return same;
        }
        let own = |label: &DomainLabel| label.key == NODE_NAME && label.value == name;
        self.0.len() == 1 && self.0.iter().all(own)
    }

    /// True when there are no domains.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// True for a node that lacks every topology label and so is its own domain.
    pub fn is_unlabelled(&self) -> bool {
        self.0.iter().any(|label| label.key == NODE_NAME)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, label) in self.0.iter().enumerate() {
            let slash = if position == 0 { "" } else { "/" };
            let value = if label.value.is_empty() { "-" } else { &label.value };
            write!(f, "{slash}{value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn domain(labels: &[(&str, &str)], keys: &[&str]) -> Domain {
        let labels = labels.iter().copied().collect();
        let keys: Vec<_> = keys.iter().map(|key| key.to_string()).collect();
        Domain::of("n1", &labels, &keys)
    }

    #[test]
    fn a_domain_is_the_tuple_of_the_values() {
        let both = [("zone", "a"), ("rack", "r1")];
        let here = domain(&both, &["zone", "rack"]);
        assert_eq!(here.to_string(), "a/r1");
        assert_ne!(here, domain(&[("zone", "b"), ("rack", "r1")], &["zone", "rack"]));
        assert_eq!(domain(&[("rack", "r1")], &["zone", "rack"]).to_string(), "-/r1");
        assert!(!here.is_unlabelled() && !here.is_none());
    }

    #[test]
    fn a_node_without_any_topology_label_is_its_own_domain() {
        let own = domain(&[("other", "x")], &["zone", "rack"]);
        assert!(own.is_unlabelled());
        assert_eq!(own.to_string(), "n1");
        assert!(domain(&[("zone", "a")], &[]).is_none());
    }

    /// The random test below, of all pairs that are small.
    #[test]
    fn a_domain_is_of_a_node_if_it_would_be_made_for_that() {
        let labels: [&[(&str, &str)]; 6] = [
            &[],
            &[("a", "x")],
            &[("a", "y")],
            &[("b", "x")],
            &[("a", "x"), ("b", "x")],
            &[("a", "x"), ("b", "y")],
        ];
        let keys: [&[&str]; 5] = [&[], &["a"], &["b"], &["a", "b"], &["b", "a"]];
        let names = ["n1", "n2"];
        let mut cases = Vec::new();
        for (name, labels) in names.iter().flat_map(|name| labels.map(|labels| (*name, labels))) {
            cases.extend(keys.map(|keys| (name, labels, keys)));
        }
        for (name, labels, keys) in cases.clone() {
            let labels: Labels = labels.iter().copied().collect();
            let keys: Vec<_> = keys.iter().map(|key| key.to_string()).collect();
            let known = Domain::of(name, &labels, &keys);
            for (other, more, theirs) in cases.clone() {
                let more: Labels = more.iter().copied().collect();
                let theirs: Vec<_> = theirs.iter().map(|key| key.to_string()).collect();
                let same = known == Domain::of(other, &more, &theirs);
                assert_eq!(
                    known.is_of(other, &more, &theirs),
                    same,
                    "{known} {other} {more:?} {theirs:?}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn a_domain_is_of_the_nodes_that_have_it(
            names in prop::array::uniform2("[ab]"),
            labels in prop::array::uniform2(prop::collection::btree_map("[ab]", "[ab]?", 0..3)),
            keys in prop::array::uniform2(prop::collection::vec("[abc]", 0..3)),
        ) {
            let [labels, other] = labels.map(|labels| labels.into_iter().collect::<Labels>());
            let known = Domain::of(&names[0], &labels, &keys[0]);
            let same = known == Domain::of(&names[1], &other, &keys[1]);
            prop_assert_eq!(known.is_of(&names[1], &other, &keys[1]), same);
        }
    }
}
