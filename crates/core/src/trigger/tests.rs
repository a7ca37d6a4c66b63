use proptest::prelude::*;

use super::*;
use crate::{
    policy::TypePattern,
    remediation::tests::{at, condition, node, secs, set, trigger},
};

fn sick() -> Vec<String> {
    vec!["Sick".into()]
}

fn without_heartbeat(status: &str, time: i64) -> ConditionFact {
    let mut condition = condition("Sick", status, time);
    condition.evidence.last_heartbeat_time = None;
    condition
}

fn standing_of(node: &NodeFacts, recorded: &[Evidence], now: i64) -> Standing {
    standing(&[trigger()], node, &sick(), recorded, at(now), |_| true)
}

#[test]
fn a_condition_is_read_by_status_reason_time_and_freshness() {
    let with = |change: fn(&mut Trigger)| {
        let mut trigger = trigger();
        change(&mut trigger);
        trigger
    };
    let usual = with(|_| {});
    let patient = with(|t| t.hold_for = secs(60));
    let picky = with(|t| t.reason = Some("Else".into()));
    let unknown_too = with(|t| t.statuses.push("Unknown".into()));
    let never_stale = with(|t| t.stale_after = SignedDuration::ZERO);
    let until = at(60);
    let cases = [
        (&usual, "True", 10, Reading::True),
        (&usual, "False", 10, Reading::Clear),
        (&usual, "Unknown", 10, Reading::Unknown),
        (&usual, "", 10, Reading::Clear),
        (&usual, "True", 900, Reading::True),
        (&usual, "True", 901, Reading::Unknown),
        (&usual, "False", 901, Reading::Unknown),
        (&never_stale, "True", 90_000, Reading::True),
        (&patient, "True", 59, Reading::Pending { until }),
        (&patient, "True", 60, Reading::True),
        (&picky, "True", 10, Reading::Unknown),
        (&picky, "False", 10, Reading::Clear),
        (&unknown_too, "Unknown", 10, Reading::True),
    ];
    for (trigger, status, now, expected) in cases {
        let sick = condition("Sick", status, 0);
        let read = read(trigger, &sick, at(now));
        assert_eq!(read, expected, "{status} at {now}: {trigger:?}");
        let clear = clear_until(trigger, &sick).is_some_and(|until| at(now) <= until);
        assert_eq!(clear, expected == Reading::Clear, "{status} at {now}: {trigger:?}");
    }
}

#[test]
fn a_condition_without_a_heartbeat_is_never_stale() {
    assert_eq!(read(&trigger(), &without_heartbeat("True", 0), at(90_000)), Reading::True);
}

#[test]
fn durations_beyond_the_end_of_time_make_nobody_panic() {
    let mut trigger = trigger();
    trigger.hold_for = SignedDuration::MAX;
    trigger.stale_after = SignedDuration::MAX;
    let until = Timestamp::MAX;
    let reading = read(&trigger, &condition("Sick", "True", 0), at(0));
    assert_eq!(reading, Reading::Pending { until });
}

#[test]
fn evidence_is_new_when_any_part_of_the_report_differs() {
    let recorded = [condition("Sick", "True", 0).evidence];
    assert!(!is_new(&condition("Sick", "True", 0), &recorded));
    assert!(is_new(&condition("Sick", "True", 1), &recorded));
    assert!(is_new(&condition("Sick", "False", 0), &recorded));
    assert!(is_new(&condition("Other", "True", 0), &recorded));
}

#[test]
fn of_too_many_reports_those_that_ask_for_a_remedy_are_kept() {
    let mut node = node();
    for number in 0..40 {
        set(&mut node, condition(&format!("Sick{number:02}"), "False", 0));
    }
    set(&mut node, condition("Sick99", "True", 0));
    let all = Trigger { condition_type: TypePattern::parse("Sick*"), ..trigger() };
    let kept = evidence(&[all.clone(), all], &node, at(0));
    assert_eq!(kept.len(), EVIDENCE_KEPT);
    let types: Vec<_> = kept.iter().map(|e| &*e.condition_type).collect();
    assert!(types.contains(&"Sick") && types.contains(&"Sick99"), "{types:?}");
    assert!(types.is_sorted_by(|a, b| a < b), "each once: {types:?}");
}

#[test]
fn what_a_full_record_may_have_left_out_is_not_new() {
    let recorded: Vec<_> =
        (0..EVIDENCE_KEPT).map(|n| condition(&format!("Sick{n}"), "True", 0).evidence).collect();
    assert!(!is_new(&condition("Zzz", "True", 5), &recorded));
    assert!(is_new(&condition("Zzz", "True", 5), &recorded[1..]));
    assert!(is_new(&condition("Sick3", "True", 5), &recorded));
}

#[test]
fn a_cause_with_heartbeats_stands_as_its_newer_report_says() {
    let boot = [condition("Sick", "False", 5).evidence];
    let cases = [
        (condition("Sick", "False", 5), 10, Standing::Unknown),
        (condition("Sick", "False", 9), 10, Standing::Clear),
        (condition("Sick", "True", 9), 10, Standing::TrueOnNewEvidence),
        (condition("Sick", "Unknown", 9), 10, Standing::Unknown),
        (condition("Sick", "False", 9), 5000, Standing::Unknown),
    ];
    for (fact, now, expected) in cases {
        let mut node = node();
        let text = format!("{fact:?}");
        set(&mut node, fact);
        assert_eq!(standing_of(&node, &boot, now), expected, "{text}");
    }
}

#[test]
fn a_true_cause_that_is_not_reported_again_is_unknown() {
    for fact in [condition("Sick", "True", 0), without_heartbeat("True", 0)] {
        let mut node = node();
        let recorded = [fact.evidence.clone()];
        set(&mut node, fact);
        assert_eq!(standing_of(&node, &recorded, 10), Standing::Unknown);
    }
}

#[test]
fn a_cause_without_heartbeats_is_clear_when_its_status_is() {
    let mut node = node();
    set(&mut node, without_heartbeat("False", 5));
    let recorded = [without_heartbeat("False", 5).evidence];
    assert_eq!(standing_of(&node, &recorded, 90_000), Standing::Clear);
    set(&mut node, without_heartbeat("Unknown", 5));
    assert_eq!(standing_of(&node, &recorded, 90_000), Standing::Unknown);
}

#[test]
fn a_cause_that_vanished_is_no_recovery() {
    let mut node = node();
    node.conditions.remove("Sick");
    assert_eq!(standing_of(&node, &[], 10), Standing::Unknown);
}

/// Nobody waits for what no trigger that counts speaks of any more.
#[test]
fn a_cause_that_vanished_and_that_no_trigger_is_about_stands_in_nobodys_way() {
    let mut node = node();
    node.conditions.remove("Sick");
    let other = Trigger { condition_type: TypePattern::parse("Else"), ..trigger() };
    let found = standing(&[other], &node, &sick(), &[], at(10), |_| true);
    assert_eq!(found, Standing::Clear);
    let uptime = Trigger { must_clear: false, ..trigger() };
    let found = standing(&[uptime], &node, &sick(), &[], at(10), |trigger| trigger.must_clear);
    assert_eq!(found, Standing::Clear);
}

#[test]
fn a_listed_status_with_another_reason_is_no_recovery_of_a_cause() {
    let mut node = node();
    set(&mut node, condition("Sick", "True", 9));
    let picky = Trigger { reason: Some("Else".into()), ..trigger() };
    let found = standing(&[picky], &node, &sick(), &[], at(10), |_| true);
    assert_eq!(found, Standing::Unknown);
}

#[test]
fn other_conditions_count_when_they_ask_for_a_remedy_and_else_stand_in_nobodys_way() {
    let cases = [
        ("True", 9, Standing::TrueOnNewEvidence),
        ("True", -5000, Standing::Unknown),
        ("False", 9, Standing::Clear),
        ("False", -5000, Standing::Clear),
        ("Unknown", 9, Standing::Clear),
    ];
    for (status, time, expected) in cases {
        let mut node = node();
        set(&mut node, condition("Sick", "False", 9));
        set(&mut node, condition("SickToo", status, time));
        let prefix = Trigger { condition_type: TypePattern::parse("Sick*"), ..trigger() };
        let found = standing(&[prefix], &node, &sick(), &[], at(10), |_| true);
        assert_eq!(found, expected, "{status} at {time}");
    }
}

#[test]
fn triggers_that_need_not_clear_are_left_out() {
    let mut node = node();
    set(&mut node, condition("Sick", "True", 9));
    let uptime = Trigger { must_clear: false, ..trigger() };
    let found = standing(&[uptime], &node, &sick(), &[], at(10), |trigger| trigger.must_clear);
    assert_eq!(found, Standing::Clear);
}

proptest! {
    #[test]
    fn unknown_and_absent_are_never_recovery_of_a_cause(
        status in prop::sample::select(vec!["Unknown", "absent"]),
        time in -5000_i64..5000,
        now in -5000_i64..5000,
        heartbeat in any::<bool>(),
    ) {
        let mut node = node();
        node.conditions.remove("Sick");
        if status == "Unknown" {
            let with = condition("Sick", status, time);
            set(&mut node, if heartbeat { with } else { without_heartbeat(status, time) });
        }
        prop_assert_eq!(standing_of(&node, &[], now), Standing::Unknown);
    }

    #[test]
    fn a_recorded_report_is_never_new(time in -5000_i64..5000) {
        let mut node = node();
        set(&mut node, condition("Sick", "True", time));
        let recorded = evidence(&[trigger()], &node, at(0));
        prop_assert!(node.conditions.values()
            .filter(|c| c.condition_type() == "Sick")
            .all(|c| !is_new(c, &recorded)));
    }
}
