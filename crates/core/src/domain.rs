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
}
