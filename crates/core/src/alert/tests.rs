use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn read_with(priority: Option<&str>, summary: Option<&str>) -> (Alert, Option<Flaw>) {
    let mut labels = labels(&[("alertname", "Hot"), ("node", "n1")]);
    labels.extend(priority.map(|priority| ("priority".to_owned(), priority.to_owned())));
    let (alert, flaw) = read(labels, summary, "AlertManager_");
    (alert.unwrap(), flaw)
}

#[test]
fn the_alert_of_the_article_becomes_the_condition_of_the_article() {
    let labels = labels(&[
        ("alertname", "CalicoTooManyInterfacesEarly"),
        ("node", "worker1a"),
        ("priority", "6"),
    ]);
    let summary = "Kubernetes node worker1a has too many Calico interfaces";
    let (alert, flaw) = read(labels, Some(summary), "AlertManager_");
    let alert = alert.unwrap();
    assert_eq!(alert.condition_type, "AlertManager_CalicoTooManyInterfacesEarly");
    assert_eq!(alert.message, "[P6] Kubernetes node worker1a has too many Calico interfaces");
    assert_eq!(flaw, None);
}

/// What Go's `strconv.Atoi` takes and what it does not; the latter counts as 9 and hurts nobody else.
#[test]
fn a_priority_is_read_as_go_reads_it_and_a_bad_one_counts_as_none() {
    for (value, expected) in [("6", 6), ("06", 6), ("+6", 6), ("-1", -1), ("0", 0), ("-0", 0)] {
        let (alert, flaw) = read_with(Some(value), Some("s"));
        assert_eq!((alert.priority, flaw), (expected, None), "{value}");
        assert_eq!(alert.message, format!("[P{expected}] s"));
    }
    for value in
        ["", " 6", "6 ", "P5", "6.0", "high", "1_0", "0x6", "٦", "99999999999999999999", "+", "--1"]
    {
        let (alert, flaw) = read_with(Some(value), Some("s"));
        assert_eq!(alert.message, "[P9] s", "{value}");
        let flaw = flaw.unwrap();
        assert_eq!(flaw.reason(), "PriorityMalformed");
        assert!(flaw.to_string().contains("counts with priority 9"), "{flaw}");
    }
    assert_eq!(read_with(None, Some("s")).0.message, "[P9] s");
}

#[test]
fn the_message_is_the_summary_where_there_is_one() {
    assert_eq!(read_with(Some("3"), Some("")).0.message, "[P3] ");
    assert_eq!(read_with(Some("3"), None).0.message, "[P3]");
    let long = format!("{}é", "x".repeat(2000));
    let message = read_with(Some("3"), Some(&long)).0.message;
    assert_eq!(message.len(), crate::facts::MESSAGE_LIMIT);
    assert!(message.starts_with("[P3] xxx"));
}

#[test]
fn a_summary_of_several_lines_is_one_line_and_moves_no_cursor() {
    let message = read_with(Some("3"), Some("two\r\nlines\u{1b}[31m é\n")).0.message;
    assert_eq!(message, "[P3] two  lines [31m é ");
}

#[test]
fn an_alert_that_can_name_no_condition_is_left_out_and_says_why() {
    let unusable = |labels| {
        let (alert, flaw) = read(labels, None, "AlertManager_");
        assert_eq!(alert, None);
        flaw.unwrap()
    };
    assert_eq!(unusable(labels(&[("node", "n1")])), Flaw::NoName);
    assert_eq!(unusable(labels(&[("alertname", "")])), Flaw::NoName);
    let longest = "x".repeat(TYPE_LIMIT - "AlertManager_".len());
    assert!(read(labels(&[("alertname", &longest)]), None, "AlertManager_").0.is_some());
    let flaw = unusable(labels(&[("alertname", &format!("{longest}x"))]));
    assert_eq!(flaw.reason(), "NameUnusable");
    assert!(flaw.to_string().len() < 250, "{flaw}");
    let flaw = unusable(labels(&[("alertname", "a\nb\u{1b}[31m")]));
    assert!(flaw.to_string().contains("`a?b?[31m`"), "{flaw}");
    let many = (0..LABELS_LIMIT).map(|n| (format!("l{n}"), String::new()));
    let many = many.chain([("alertname".to_owned(), "Many".to_owned())]).collect();
    assert_eq!(unusable(many), Flaw::Labels { alert: "Many".into(), count: LABELS_LIMIT + 1 });
    let most = (1..LABELS_LIMIT).map(|n| (format!("l{n}"), String::new()));
    let most = most.chain([(NAME_LABEL.to_owned(), "Most".to_owned())]).collect();
    assert!(matches!(read(most, None, "X_"), (Some(_), None)), "as many as are looked at");
}
