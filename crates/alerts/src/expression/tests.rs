use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn verdict(expression: &str, pairs: &[(&str, &str)], node: &str) -> Verdict {
    Expression::parse(expression).unwrap().verdict(&labels(pairs), node)
}

fn name_labels(expression: &str) -> Option<Vec<String>> {
    let expression = Expression::parse(expression).unwrap();
    expression.name_labels().map(|labels| labels.iter().cloned().collect())
}

#[test]
fn the_default_compares_the_label_node_with_both_names() {
    let fits = |node: &str, label: &str| verdict(DEFAULT, &[("node", label)], node);
    assert_eq!(fits("worker1a", "worker1a"), Verdict::Match);
    assert_eq!(fits("worker1a.example.com", "worker1a"), Verdict::Match);
    assert_eq!(fits("worker1a.example.com", "worker1a.example.com"), Verdict::Match);
    assert_eq!(fits("worker1a", "worker1a.example.com"), Verdict::NoMatch);
    assert_eq!(fits("worker1a", "worker1"), Verdict::NoMatch);
    assert_eq!(verdict(DEFAULT, &[("instance", "worker1a")], "worker1a"), Verdict::NoMatch);
}

/// Sciuro's README has such an expression, and with it an alert without these labels, such as Watchdog,
/// makes every condition of every node unknown.
#[test]
fn where_an_expression_fails_the_alert_does_not_match_and_says_why() {
    let readme = r#"labels["node"] == FullName && labels["notify"].contains("k8s")"#;
    let failed = |why: &str| Verdict::Failed(why.to_owned());
    assert_eq!(verdict(readme, &[("node", "n1")], "n1"), failed("the alert has no label `notify`"));
    assert_eq!(verdict(readme, &[("node", "n1"), ("notify", "k8s")], "n1"), Verdict::Match);
    // The side that is false settles it, as in cel-go.
    assert_eq!(verdict(readme, &[("notify", "chat")], "n1"), Verdict::NoMatch);
    let Verdict::Failed(why) = verdict("labels.node", &[("node", "true")], "n1") else { panic!() };
    assert!(why.contains("not true or false"), "{why}");
    assert!(matches!(verdict("FullName.matches('(')", &[], "n1"), Verdict::Failed(_)));
    assert!(matches!(verdict("1 / 0 == 1", &[], "n1"), Verdict::Failed(_)));
}

#[test]
fn regular_expressions_and_strings_work_as_in_sciuro() {
    let port = r#"labels["instance"].matches("^" + ShortName + "(:[0-9]+)?$")"#;
    assert_eq!(verdict(port, &[("instance", "n1:9100")], "n1.example.com"), Verdict::Match);
    assert_eq!(verdict(port, &[("instance", "n11:9100")], "n1"), Verdict::NoMatch);
    let starts = r#"has(labels.instance) && labels.instance.startsWith(FullName + ":")"#;
    assert_eq!(verdict(starts, &[("instance", "n1:9100")], "n1"), Verdict::Match);
    assert_eq!(verdict(starts, &[], "n1"), Verdict::NoMatch);
    let any = r#"["node", "host"].exists(l, l in labels && labels[l] == FullName)"#;
    assert_eq!(verdict(any, &[("host", "n1")], "n1"), Verdict::Match);
}

#[test]
fn what_is_no_expression_says_where_and_what_is_not_known_says_what() {
    let error = |text: &str| Expression::parse(text).unwrap_err();
    for text in ["", "labels[", "a ==", "\"node\" in", "labels['x'] = FullName", "\u{0}"] {
        let ExpressionError::Syntax(why) = error(text) else { panic!("{text}") };
        assert!(!why.is_empty() && !why.contains('\n'), "{text}: {why}");
    }
    let unknown = [
        ("label.node == FullName", "label"),
        ("labels.node == Fullname", "Fullname"),
        ("labels.node.split('.')[0] == ShortName", "split"),
        ("my_func(labels)", "my_func"),
        ("[1].exists(x, y == 1)", "y"),
        ("[1].exists(x, x == 1) && x == 1", "x"),
    ];
    for (text, name) in unknown {
        assert_eq!(error(text), ExpressionError::Unknown(name.into()), "{text}");
    }
}

#[test]
fn deep_expressions_are_refused_or_work_and_do_not_break_the_process() {
    // As deep as the longest expression that a source may have can be.
    let half = 2000;
    for shape in ["1+", "1==", "labels.a.", "labels['a']", "true||", "true&&", "!", "-"] {
        let long = format!("{}true", shape.repeat(4090 / shape.len()));
        if let Ok(expression) = Expression::parse(&long) {
            let _ = expression.verdict(&labels(&[("a", "b")]), "n1");
        }
    }
    for (open, close) in [("(", ")"), ("[", "]"), ("!", ""), ("-", ""), ("{1:", "}"), ("a(", ")")] {
        let deep = format!("{}true{}", open.repeat(half), close.repeat(half));
        if let Ok(expression) = Expression::parse(&deep) {
            let _ = expression.verdict(&labels(&[]), "n1");
        }
    }
    let long = vec!["labels.node == FullName"; 150].join(" || ");
    assert_eq!(verdict(&long, &[("node", "n1")], "n1"), Verdict::Match);
}

#[test]
fn what_would_take_long_for_each_alert_and_node_is_refused() {
    let size = |text: &str| matches!(Expression::parse(text), Err(ExpressionError::Size(_)));
    assert!(size("labels.exists(a, labels.exists(b, labels[a] == labels[b]))"));
    assert!(size(&format!("'{}' == FullName", "x".repeat(5000))));
    assert!(!size("labels.exists(a, labels[a] == FullName) && labels.all(b, labels[b] != '')"));
}

#[test]
fn labels_that_must_be_a_name_are_found_and_never_too_few() {
    let some = |labels: &[&str]| Some(labels.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>());
    assert_eq!(name_labels(DEFAULT), some(&["node"]));
    for (expression, expected) in [
        ("labels.node == FullName", some(&["node"])),
        ("ShortName == labels['node'] && labels.x == 'y'", some(&["node"])),
        ("labels.node in [FullName, ShortName]", some(&["node"])),
        ("labels.a == FullName || labels.b == ShortName", some(&["a", "b"])),
        ("(labels.a == FullName || labels.b == FullName) && labels.c == FullName", some(&["c"])),
        ("'a' in labels ? labels.a == FullName : labels.b == FullName", some(&["a", "b"])),
        ("labels.a == FullName || true", None),
        ("labels.a != FullName", None),
        ("!(labels.a == FullName)", None),
        ("labels.a == FullName + 'x'", None),
        ("labels.a in [FullName, 'x']", None),
        ("labels.a == labels.b", None),
        ("labels.a.startsWith(FullName)", None),
        ("has(labels.a) == (FullName == 'x')", None),
        ("['a'].exists(labels, labels == FullName)", None),
        ("true", None),
    ] {
        assert_eq!(name_labels(expression), expected, "{expression}");
    }
}
