use proptest::prelude::*;

use super::*;
use crate::expression::DEFAULT;

const PORT: &str = r#"labels["instance"].matches("^" + ShortName + "(:[0-9]+)?$")"#;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn matcher(expression: &str, nodes: &[&str]) -> Matcher {
    let mut matcher = Matcher::new(Expression::parse(expression).unwrap());
    matcher.set_names(NodeNames::new(nodes.iter().copied())).finish(&mut matcher);
    matcher
}

fn matched(matcher: &mut Matcher, labels: &BTreeMap<String, String>) -> Matched {
    matcher.trial([labels].into_iter()).finish(matcher);
    matcher.nodes_of(labels)
}

fn nodes_of(matcher: &mut Matcher, pairs: &[(&str, &str)]) -> Vec<String> {
    matched(matcher, &labels(pairs)).nodes.iter().map(|name| name.to_string()).collect()
}

#[test]
fn an_alert_finds_its_node_by_either_name_and_two_nodes_of_one_short_name() {
    let mut found = matcher(DEFAULT, &["n1.a", "n1.b", "n2.a", "n3"]);
    assert_eq!(nodes_of(&mut found, &[("node", "n1")]), ["n1.a", "n1.b"]);
    assert_eq!(nodes_of(&mut found, &[("node", "n2.a")]), ["n2.a"]);
    assert_eq!(nodes_of(&mut found, &[("node", "n3")]), ["n3"]);
    assert_eq!(nodes_of(&mut found, &[("node", "n4")]), [""; 0]);
    assert_eq!(nodes_of(&mut found, &[("alertname", "Watchdog")]), [""; 0]);
}

#[test]
fn an_expression_that_needs_every_node_remembers_until_the_nodes_change() {
    let mut found = matcher(PORT, &["n1", "n2.a"]);
    assert_eq!(nodes_of(&mut found, &[("instance", "n2:9100")]), ["n2.a"]);
    assert_eq!(found.tried.len(), 1);
    // Only what is new is tried.
    let trial = found.set_names(NodeNames::new(["n1", "n2.a", "n2.b"]));
    assert_eq!(trial.nodes, ["n2.b".into()]);
    trial.finish(&mut found);
    assert_eq!(nodes_of(&mut found, &[("instance", "n2:9100")]), ["n2.a", "n2.b"]);
    found.set_names(NodeNames::new(["n1", "n2.b"])).finish(&mut found);
    assert_eq!(nodes_of(&mut found, &[("instance", "n2:9100")]), ["n2.b"]);
    let failed = matched(&mut found, &labels(&[("alertname", "Watchdog")]));
    assert_eq!(failed.failed.as_deref(), Some("the alert has no label `instance`"));
    found.keep_tried(|labels| labels.contains_key("instance"));
    assert_eq!(found.tried.len(), 1);
}

#[test]
fn names_know_whether_they_are_the_same() {
    let names = NodeNames::new(["a", "b"]);
    assert!(names.are(["b", "a"]));
    assert!(!names.are(["a"]) && !names.are(["a", "b", "c"]) && !names.are(["a", "c"]));
}

fn any_expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("labels.a == FullName"),
        Just("ShortName == labels['b']"),
        Just("labels.a in [ShortName, FullName]"),
        Just("'a' in labels"),
        Just("labels.b != FullName"),
        Just("labels.a.startsWith(ShortName)"),
        Just("labels.b == 'n1'"),
        Just("true"),
        Just("false"),
        Just("labels.c == 'x'"),
    ]
    .prop_map(str::to_owned);
    leaf.prop_recursive(3, 16, 3, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            two.clone().prop_map(|(a, b)| format!("({a} && {b})")),
            two.prop_map(|(a, b)| format!("({a} || {b})")),
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
        ]
    })
}

proptest! {
    /// The look-up by name finds what trying every node finds.
    #[test]
    fn a_look_up_finds_the_same_nodes_as_trying_each(
        expression in any_expression(),
        a in proptest::option::of("n[12](\\.x)?"),
        b in proptest::option::of("n[12](\\.x)?"),
    ) {
        let nodes = ["n1", "n1.x", "n1.y", "n2.x"];
        let labels: BTreeMap<String, String> = [("a", a), ("b", b)]
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect();
        let parsed = Expression::parse(&expression).unwrap();
        let expected: Vec<&str> = nodes
            .into_iter()
            .filter(|node| parsed.verdict(&labels, node) == Verdict::Match)
            .collect();
        let found = matched(&mut matcher(&expression, &nodes), &labels).nodes;
        let found: Vec<&str> = found.iter().map(|name| &**name).collect();
        prop_assert_eq!(found, expected, "{} on {:?}", expression, labels);
    }
}
