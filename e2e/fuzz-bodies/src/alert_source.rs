//! AlertSources, and the expressions in them. The lines of an input that begin with `@` are labels of an
//! alert, as `@name value`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use jiff::SignedDuration;
use rerail_alerts::{
    expression::{Expression, Verdict, short_name},
    matching::{Matcher, NodeNames},
};
use rerail_api::AlertSource;
use rerail_operator::alerts::Source;
use serde_json::Value;

use crate::{
    objects::{good, object, split, stored, words_are_known},
    said::said,
};

static GOOD: LazyLock<Value> = LazyLock::new(|| good(include_str!("good/alert_source.yaml")));

/// The nodes that an alert may belong to.
const NODES: [&str; 3] = ["worker1a", "worker1a.example.com", "b.example.com"];

/// Conditions of others, which no source may write.
const OTHERS: [&str; 3] = ["Ready", "DiskPressure", "RebootRequired"];

/// A source is one that can be worked with, or is refused with a reason; its expression says the same
/// however a node is found.
pub fn alert_source(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (labels, of_source) = split(&text, '@');
    let Some(value) = object(&GOOD, &of_source) else { return };
    let Some(object) = stored::<AlertSource>(&value) else { return };
    words_are_known(&value, "/status/servers/*/state", &["Answers", "Blind", "Silent"]);
    let source = match Source::given("a", object.spec.clone(), &BTreeMap::new()) {
        Ok(source) => source,
        Err(error) => return said(&error.to_string()),
    };
    assert!(!source.prefix.is_empty() && !OTHERS.iter().any(|o| o.starts_with(&source.prefix)));
    assert!(!source.servers.is_empty() && object.spec.alertmanager.is_some() == source.replicas());
    assert!(source.poll_interval >= SignedDuration::from_secs(1));
    let pairs = labels.lines().filter_map(|line| line.split_once(' ')).take(16);
    let labels: BTreeMap<String, String> =
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let base = source.servers.first().map(String::as_str).unwrap_or_default();
    let url = source.question.alerts_url(base);
    assert!(url.starts_with(base.trim_end_matches('/')), "{url}");
    belongs(&source.expression, &labels);
}

/// To look a node up by a label is a short cut: it finds every node that the expression is true for.
fn belongs(expression: &std::sync::Arc<Expression>, labels: &BTreeMap<String, String>) {
    let mut tried = BTreeSet::new();
    for node in NODES {
        match expression.verdict(labels, node) {
            Verdict::Match => {
                tried.insert(node);
            }
            Verdict::NoMatch => {}
            Verdict::Failed(why) => said(&why),
        }
    }
    if let Some(name_labels) = expression.name_labels() {
        for node in &tried {
            let values = || name_labels.iter().filter_map(|label| labels.get(label));
            let named = values().any(|value| value == node || value == short_name(node));
            assert!(
                named,
                "{node} is found only if all nodes are tried: {name_labels:?} {labels:?}"
            );
        }
    }
    let mut matcher = Matcher::new(expression.clone());
    matcher.set_names(NodeNames::new(NODES)).finish(&mut matcher);
    matcher.trial([labels].into_iter()).finish(&mut matcher);
    let found = matcher.nodes_of(labels);
    assert_eq!(found.nodes.iter().map(|node| &**node).collect::<BTreeSet<_>>(), tried);
}
