use super::*;
use crate::report::{
    Admitted, BlockedDrain, DomainReport, Ending, Left, MostView, Report, Then, VERSION,
};

fn report() -> Report {
    let most = |most| MostView { most, limit: 9 };
    let admitted = |node: &str| Admitted {
        seconds_at: 0,
        node: node.to_owned(),
        domain: "rack-a".to_owned(),
        priority: None,
    };
    Report {
        version: VERSION,
        scenario: "x".to_owned(),
        seed: 1,
        as_expected: true,
        expects: true,
        missed: Vec::new(),
        not_done: Vec::new(),
        notes: Vec::new(),
        violations: Vec::new(),
        ending: Ending::Settled,
        played_seconds: 1000,
        nodes: 6,
        troubled: 2,
        healed: 2,
        cleared_after_seconds: Some(3600),
        from_alert: None,
        from_cordon: None,
        unavailable: most(3),
        under_remediation: most(2),
        domains_open: most(2),
        policies: Vec::new(),
        storms: Vec::new(),
        domains: vec![
            DomainReport { name: "rack-a".to_owned(), nodes: 3, most_unavailable: 1 },
            DomainReport { name: "rack-b".to_owned(), nodes: 3, most_unavailable: 2 },
        ],
        order: vec![admitted("n-2"), admitted("n-1")],
        blocked_drains: vec![BlockedDrain {
            node: "n-1".to_owned(),
            seconds_at: 5,
            for_seconds: 90,
            then: Then::WentOn,
            message: String::new(),
        }],
        briefly_blocked_drains: 3,
        left: vec![Left { node: "n-3".to_owned(), state: String::new(), why: String::new() }],
    }
}

fn said(expect: Expect) -> Vec<String> {
    missed(&expect, &report())
}

#[test]
fn what_is_not_asked_for_and_what_is_as_asked_for_is_not_missed() {
    assert!(said(Expect::default()).is_empty());
    let all = Expect {
        cleared_within: Some("1h".parse().unwrap()),
        max_unavailable: Some(3),
        max_unavailable_per_domain: Some(2),
        max_domains: Some(2),
        blocked_drains: Some(1),
        left: Some(1),
        healed: Some(2),
        order: Some(vec!["n-2".to_owned(), "n-1".to_owned()]),
    };
    assert!(said(all).is_empty());
}

#[test]
fn each_expectation_that_is_missed_is_said_with_its_figures() {
    let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    let none = Expect::default;
    for (expect, says) in [
        (
            Expect { cleared_within: Some("59m".parse().unwrap()), ..none() },
            "cleared after 1h, and within 59m expected",
        ),
        (
            Expect { max_unavailable: Some(2), ..none() },
            "nodes out of service at once: 3, and at most 2 expected",
        ),
        (
            Expect { max_unavailable_per_domain: Some(1), ..none() },
            "nodes of rack-b out of service at once: 2, and at most 1 expected",
        ),
        (
            Expect { max_domains: Some(1), ..none() },
            "failure domains worked on at once: 2, and at most 1 expected",
        ),
        (
            Expect { blocked_drains: Some(0), ..none() },
            "drains that were blocked: 1, and at most 0 expected",
        ),
        (Expect { left: Some(0), ..none() }, "nodes left in the end: 1, and at most 0 expected"),
        (Expect { healed: Some(3), ..none() }, "nodes healed: 2, and at least 3 expected"),
        (
            Expect { order: names(&["n-1", "n-2"]), ..none() },
            "admission 1 is of n-2, and of n-1 expected",
        ),
        (
            Expect { order: names(&["n-2"]), ..none() },
            "admission 2 is of n-1, and of nobody expected",
        ),
        (
            Expect { order: names(&["n-2", "n-1", "n-3"]), ..none() },
            "admission 3 is of nobody, and of n-3 expected",
        ),
    ] {
        assert_eq!(said(expect), [says]);
    }
}

#[test]
fn who_never_clears_misses_and_so_does_a_check_in_which_nothing_happens() {
    let within = Expect { cleared_within: Some("1h".parse().unwrap()), ..Expect::default() };
    let never = Report { cleared_after_seconds: None, ..report() };
    assert_eq!(
        missed(&within, &never),
        ["never cleared, and within 1h expected: 1 left in the end"]
    );
    let quiet = Report { troubled: 0, left: Vec::new(), ..never };
    let said = missed(&within, &quiet);
    assert!(said.len() == 1 && said[0].starts_with("nothing went wrong"), "{said:?}");
    // Who does not ask for that is not told.
    let gave_up = Report { ending: Ending::GaveUp, ..report() };
    let generous = Expect { max_unavailable: Some(100), ..Expect::default() };
    assert!(missed(&generous, &gave_up).is_empty());
    assert!(missed(&Expect::default(), &gave_up).is_empty(), "nothing is expected");
}
