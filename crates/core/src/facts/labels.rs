//! The labels of a node, small enough to be kept for every node of a large cluster.

use std::{fmt, sync::Arc};

/// Labels, sorted by key. Each is kept as one text `key=value`, the way people write a label: no key
/// has a `=` in it (Kubernetes' syntax of qualified names). Texts that occur on many nodes are shared
/// by who fills this in.
#[derive(Clone, PartialEq, Eq, Default, Hash)]
pub struct Labels(Box<[Arc<str>]>);

fn split(text: &str) -> (&str, &str) {
    text.split_once('=').unwrap_or((text, ""))
}

/// True when the text is the label with this key. Every node of a large cluster is asked for several
/// labels: what follows the key tells most of the others apart at once.
fn has_key(text: &str, key: &str) -> bool {
    let ends_with_key = text.as_bytes().get(key.len()).is_none_or(|byte| *byte == b'=');
    ends_with_key && text.starts_with(key) && !key.contains('=')
}

impl Labels {
    /// The labels of texts `key=value`. Of several with one key the last counts.
    pub fn of_texts(texts: impl IntoIterator<Item = Arc<str>>) -> Self {
        let mut all: Vec<_> = texts.into_iter().collect();
        all.reverse();
        all.sort_by(|a, b| split(a).0.cmp(split(b).0));
        all.dedup_by(|a, b| split(a).0 == split(b).0);
        Labels(all.into_boxed_slice())
    }

    fn find(&self, key: &str) -> Option<&str> {
        self.0.iter().map(AsRef::as_ref).find(|text| has_key(text, key))
    }

    /// The value of a label.
    pub fn get(&self, key: &str) -> Option<&str> {
        Some(self.find(key)?.get(key.len() + 1..).unwrap_or_default())
    }

    /// True if there is a label with this key.
    pub fn contains_key(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Sets one label.
    pub fn insert(&mut self, key: impl AsRef<str>, value: impl AsRef<str>) {
        let text = Arc::from(format!("{}={}", key.as_ref(), value.as_ref()));
        *self = Labels::of_texts(self.0.iter().cloned().chain([text]));
    }

    /// Takes one label away.
    pub fn remove(&mut self, key: &str) {
        self.0 = self.0.iter().filter(|text| split(text).0 != key).cloned().collect();
    }

    /// Keys and values, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|text| split(text))
    }
}

impl<K: AsRef<str>, V: AsRef<str>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(labels: I) -> Self {
        let text = |(key, value): (K, V)| format!("{}={}", key.as_ref(), value.as_ref()).into();
        Labels::of_texts(labels.into_iter().map(text))
    }
}

impl<K: AsRef<str>, V: AsRef<str>, const N: usize> From<[(K, V); N]> for Labels {
    fn from(labels: [(K, V); N]) -> Self {
        labels.into_iter().collect()
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_are_shown_as_a_map() {
        let labels = Labels::from([("pool", "a"), ("zone", "z")]);
        assert_eq!(format!("{labels:?}"), r#"{"pool": "a", "zone": "z"}"#);
    }

    #[test]
    fn a_value_may_be_empty_or_hold_what_separates() {
        let labels = Labels::from([("a", ""), ("b", "x=y")]);
        assert_eq!((labels.get("a"), labels.get("b")), (Some(""), Some("x=y")));
        assert_eq!((labels.get("a="), labels.get("c")), (None, None));
    }

    proptest! {
        /// Keys that begin alike, and characters below and above `=`: sorted by key, not by text.
        #[test]
        fn labels_are_a_map(
            given in prop::collection::vec(("[-.a/z]{0,3}", "[a=]{0,2}"), 0..12),
            gone in "[-.a/z]{0,2}",
        ) {
            let mut labels: Labels = given.iter().map(|(key, value)| (key, value)).collect();
            let mut map: BTreeMap<_, _> = given.iter().cloned().collect();
            prop_assert!(labels.iter().eq(map.iter().map(|(k, v)| (k.as_str(), v.as_str()))));
            for (key, value) in &map {
                prop_assert_eq!(labels.get(key), Some(value.as_str()));
            }
            prop_assert_eq!(labels.contains_key(&gone), map.contains_key(&gone));
            labels.remove(&gone);
            map.remove(&gone);
            labels.insert("z", "new");
            map.insert("z".to_owned(), "new".to_owned());
            prop_assert_eq!(labels, map.into_iter().collect::<Labels>());
        }
    }
}
