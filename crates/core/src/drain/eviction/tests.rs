//! Tables for the answers of the Eviction API. The shared vectors, run by `cargo xtask vectors`,
//! hold the observed answers; these are the variations.

use proptest::prelude::*;

use super::*;

fn reply(http: u16, change: impl FnOnce(&mut StatusBody)) -> EvictionReply {
    let mut body = StatusBody { failure: true, code: http, ..StatusBody::default() };
    change(&mut body);
    EvictionReply { http, status: Some(body), ..EvictionReply::default() }
}

/// The API server's words (`k8s.io/apimachinery/pkg/apis/meta/v1`, StatusReason) in a 200 that is none.
#[test]
fn a_failure_within_a_success_is_read_by_its_reason() {
    for (reason, code) in [
        ("BadRequest", 400),
        ("Unauthorized", 401),
        ("Forbidden", 403),
        ("NotFound", 404),
        ("MethodNotAllowed", 405),
        ("Conflict", 409),
        ("Invalid", 422),
        ("TooManyRequests", 429),
        ("Timeout", 504),
        ("InternalError", 500),
        ("", 500),
    ] {
        let body = StatusBody { failure: true, reason: reason.into(), ..StatusBody::default() };
        assert_eq!(effective_code(200, Some(&body)), code, "{reason}");
        assert_eq!(effective_code(418, Some(&body)), 418, "the header is the word that counts");
        let coded = StatusBody { code: 410, ..body };
        assert_eq!(effective_code(200, Some(&coded)), 410, "{reason}");
    }
    assert_eq!(effective_code(200, None), 200);
}

#[test]
fn only_what_is_refused_for_good_is_not_asked_again() {
    for (http, permanent) in [
        (201, false),
        (404, false),
        (429, false),
        (500, false),
        (503, false),
        (403, true),
        (422, true),
    ] {
        assert_eq!(bare(http).permanent(), permanent, "{http}: {:?}", bare(http));
    }
}

#[test]
fn of_two_times_to_wait_the_header_counts_and_zero_is_none() {
    for (header, body, expected) in [
        (Some(3), Some(7), Some(3)),
        (Some(0), Some(7), Some(7)),
        (None, Some(7), Some(7)),
        (Some(0), Some(0), None),
        (None, None, None),
    ] {
        let status = StatusBody { retry_after_seconds: body, ..StatusBody::default() };
        let reply = EvictionReply {
            http: 429,
            retry_after: header,
            status: Some(status),
            ..EvictionReply::default()
        };
        assert_eq!(retry_after(&reply), expected, "{header:?} {body:?}");
    }
}

fn budget(text: &str, retry_after_seconds: Option<u32>) -> EvictionOutcome {
    EvictionOutcome::from_reply(&reply(429, |b| {
        b.retry_after_seconds = retry_after_seconds;
        b.causes = vec![StatusCause { reason: "DisruptionBudget".into(), message: text.into() }];
    }))
}

fn bare(http: u16) -> EvictionOutcome {
    EvictionOutcome::from_reply(&EvictionReply { http, ..EvictionReply::default() })
}

#[test]
fn codes_without_a_body() {
    assert_eq!(bare(201), EvictionOutcome::Accepted);
    assert_eq!(bare(200), EvictionOutcome::Accepted);
    assert_eq!(bare(404), EvictionOutcome::Gone);
    assert_eq!(bare(409), EvictionOutcome::ReplacedByOther);
    assert_eq!(bare(403), EvictionOutcome::Forbidden { message: String::new() });
    let throttled = EvictionOutcome::Throttled { message: String::new(), retry_after: 1 };
    assert_eq!(bare(429), throttled);
    for http in [400, 405, 422] {
        assert!(bare(http).permanent(), "{http}");
    }
    for http in [0, 100, 302, 401, 408, 425, 500, 502, 503, 504, 65535] {
        assert!(matches!(bare(http), EvictionOutcome::ServerError { .. }), "{http}");
    }
}

#[test]
fn a_failure_behind_a_201_is_no_success() {
    let text = "This pod has more than one PodDisruptionBudget, which is not supported.";
    let hidden = |change: fn(&mut StatusBody)| {
        EvictionOutcome::from_reply(&EvictionReply { http: 201, ..reply(0, change) })
    };
    for (code, http) in [(500, 201), (500, 500), (0, 201)] {
        let answer = EvictionReply { http, ..reply(code, |b| b.message = text.into()) };
        let want = EvictionOutcome::MultipleBudgets { message: text.into() };
        assert_eq!(EvictionOutcome::from_reply(&answer), want, "{code} {http}");
    }
    assert_eq!(hidden(|b| b.reason = "NotFound".into()), EvictionOutcome::Gone);
    assert!(matches!(hidden(|_| {}), EvictionOutcome::ServerError { http: 500, .. }));
    // The code alone says failure, too.
    let unsaid = hidden(|b| (b.failure, b.code) = (false, 409));
    assert_eq!(unsaid, EvictionOutcome::ReplacedByOther);
}

#[test]
fn budgets_are_read_from_the_cause() {
    for (text, want) in [
        (
            "The disruption budget web needs 2 healthy pods and has 1 currently",
            (Some("web"), Some(2), Some(1)),
        ),
        ("The disruption budget a.b-c needs 4294967296 healthy pods", (Some("a.b-c"), None, None)),
        ("The disruption budget needs needs 3 healthy pods", (Some("needs"), Some(3), None)),
        ("The disruption budget web does not allow evicting pods", (Some("web"), None, None)),
        ("The disruption budget \u{1b}[31mweb needs 2 and has -1", (None, Some(2), None)),
        ("The disruption budget ", (None, None, None)),
        ("", (None, None, None)),
    ] {
        let EvictionOutcome::BlockedByBudget { budget, needs, has, retry_after, .. } =
            budget(text, None)
        else {
            panic!("{text}: not blocked")
        };
        assert_eq!((budget.as_deref(), needs, has), want, "{text}");
        assert_eq!(retry_after, None);
    }
}

#[test]
fn a_budget_that_is_not_observed_names_a_wait() {
    let text = "The disruption budget web is still being processed by the server.";
    for (given, want) in [(Some(10), 10), (None, 10), (Some(0), 10), (Some(4_000_000), 60)] {
        let outcome = budget(text, given);
        let EvictionOutcome::BudgetNotObserved { budget, retry_after, .. } = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!((budget.as_deref(), retry_after), (Some("web"), want));
    }
    assert!(matches!(
        budget("some other words", Some(3)),
        EvictionOutcome::BudgetNotObserved { budget: None, retry_after: 3, .. }
    ));
}

#[test]
fn only_a_cause_makes_a_429_a_budget() {
    let outcome = EvictionOutcome::from_reply(&EvictionReply {
        retry_after: Some(7),
        ..reply(429, |b| {
            b.causes = vec![StatusCause { reason: "Other".into(), message: "x".into() }]
        })
    });
    let want = EvictionOutcome::Throttled { message: String::new(), retry_after: 7 };
    assert_eq!(outcome, want);
    assert!(!outcome.blocked_by_budget());
    assert_eq!(outcome.budget(), None);
}

#[test]
fn the_three_kinds_of_403() {
    let forbidden = |change: fn(&mut StatusBody)| EvictionOutcome::from_reply(&reply(403, change));
    assert!(matches!(
        forbidden(|b| b.details_kind = "poddisruptionbudget".into()),
        EvictionOutcome::BudgetMisbehaving { .. }
    ));
    assert!(matches!(
        forbidden(|b| b.message = "pdb disruptions allowed is negative".into()),
        EvictionOutcome::BudgetMisbehaving { .. }
    ));
    assert!(forbidden(|b| b.details_kind = "pods".into()).permanent());
    for pod_terminating in [true, false] {
        let answer = EvictionReply {
            pod_terminating,
            ..reply(403, |b| {
                let reason = NAMESPACE_CAUSE.to_owned();
                b.causes = vec![StatusCause { reason, message: String::new() }];
            })
        };
        let want = EvictionOutcome::NamespaceTerminating { pod_terminating };
        assert_eq!(EvictionOutcome::from_reply(&answer), want);
    }
}

#[test]
fn timeouts_wait_as_told_or_ten_seconds() {
    let text = "Timeout: couldn't update PodDisruptionBudget \"web\" due to conflicts";
    let outcome = EvictionOutcome::from_reply(&reply(504, |b| b.message = text.into()));
    assert_eq!(outcome.budget(), Some("web"));
    assert!(matches!(outcome, EvictionOutcome::BudgetNotObserved { retry_after: 10, .. }));
    assert!(matches!(bare(504), EvictionOutcome::ServerError { retry_after: Some(10), .. }));
}

#[test]
fn messages_are_one_bounded_line() {
    let outcome = EvictionOutcome::no_answer(&format!("a\nb\u{7}{}", "ü".repeat(1000)));
    assert!(outcome.message().starts_with("a b"), "{outcome:?}");
    assert_eq!(outcome.message().chars().count(), MESSAGE_LIMIT);
    assert!(outcome.message().ends_with('…'));
    assert!(!bare(500).message().is_empty());
}

proptest! {
    #[test]
    fn any_answer_is_read_within_the_limits(
        http in any::<u16>(),
        code in any::<u16>(),
        header in any::<Option<u32>>(),
        body_seconds in any::<Option<u32>>(),
        flags in any::<(bool, bool, bool)>(),
        reason in prop_oneof![Just("DisruptionBudget".to_owned()), ".{0,40}"],
        text in prop_oneof![
            ".{0,400}",
            "(The )?disruption budget .{0,20} needs .{0,12} (and has .{0,12} )?currently",
            ".{0,10}PodDisruptionBudget \".{0,300}\"?.{0,10}",
        ],
    ) {
        let status = flags.0.then(|| StatusBody {
            failure: flags.1,
            reason: reason.clone(),
            message: text.clone(),
            code,
            details_kind: reason.clone(),
            causes: vec![StatusCause { reason: reason.clone(), message: text.clone() }],
            retry_after_seconds: body_seconds,
        });
        let reply = EvictionReply { http, retry_after: header, status, pod_terminating: flags.2 };
        for code in [http, 429, 403, 504, 500, 201] {
            let answer = EvictionReply { http: code, ..reply.clone() };
            let outcome = EvictionOutcome::from_reply(&answer);
            prop_assert!(outcome.message().chars().count() <= MESSAGE_LIMIT);
            prop_assert!(!outcome.message().chars().any(char::is_control));
            prop_assert!(outcome.budget().is_none_or(|b| b.len() <= NAME_LIMIT));
            if code >= 300 {
                prop_assert!(outcome != EvictionOutcome::Accepted);
            }
        }
    }
}
