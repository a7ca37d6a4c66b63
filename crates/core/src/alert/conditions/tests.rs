use proptest::prelude::*;

use super::{super::read, *};

const NOON: i64 = 1_772_452_800;
const EVERY: SignedDuration = SignedDuration::from_mins(5);

fn rules() -> Rules<'static> {
    Rules {
        prefix: "AlertManager_",
        linger: SignedDuration::from_hours(96),
        heartbeat_every: EVERY,
        booted_at: None,
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(NOON + second).unwrap()
}

fn alert(name: &str, priority: &str, summary: &str, device: &str) -> Alert {
    let labels = [("alertname", name), ("priority", priority), ("device", device)];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    read(labels, Some(summary), "AlertManager_").0.unwrap()
}

/// A condition as a node has it, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored {
    kind: String,
    status: String,
    reason: String,
    message: String,
    heartbeat: Option<i64>,
    transition: Option<i64>,
}

fn stored(name: &str, status: &str, message: &str, heartbeat: i64, transition: i64) -> Stored {
    let reason = match status {
        "True" => FIRING,
        "False" => NOT_FIRING,
        _ => UNAVAILABLE,
    };
    Stored {
        kind: format!("AlertManager_{name}"),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        heartbeat: Some(heartbeat),
        transition: Some(transition),
    }
}

/// The node after the changes, and how many there were.
fn after(
    node: &[Stored],
    firing: &[(Alert, i64)],
    absence: Absence,
    rules: Rules<'_>,
    now: i64,
) -> (Vec<Stored>, usize) {
    let wants = wanted(firing.iter().map(|(alert, second)| (alert, at(*second))));
    let reported = node.iter().map(|c| Reported {
        condition_type: &c.kind,
        status: &c.status,
        reason: &c.reason,
        message: &c.message,
        heartbeat: c.heartbeat.map(at),
        transition: c.transition.map(at),
    });
    let changes = changes(reported, &wants, absence, rules, at(now));
    let mut result: Vec<Stored> = node.to_vec();
    for (kind, change) in &changes {
        result.retain(|c| c.kind != *kind);
        if let Change::Set(c) = change {
            result.push(Stored {
                kind: (*kind).to_owned(),
                status: c.status.as_str().into(),
                reason: c.reason.into(),
                message: c.message.clone(),
                heartbeat: Some(c.heartbeat.as_second() - NOON),
                transition: Some(c.transition.as_second() - NOON),
            });
        }
    }
    (result, changes.len())
}

fn quiet_at(second: i64) -> Absence {
    Absence::NotFiring { at: at(second) }
}

#[test]
fn a_condition_comes_changes_ends_and_goes() {
    let hot = |summary| [(alert("Hot", "6", summary, "sda"), 0)];
    let (node, _) = after(&[], &hot("s"), quiet_at(0), rules(), 0);
    assert_eq!(node, [stored("Hot", "True", "[P6] s", 0, 0)]);
    // The words change, not the time since when it fires.
    let later = [(alert("Hot", "4", "t", "sda"), 10)];
    let (node, _) = after(&node, &later, quiet_at(10), rules(), 10);
    assert_eq!(node, [stored("Hot", "True", "[P4] t", 10, 0)]);
    let (node, _) = after(&node, &[], quiet_at(20), rules(), 20);
    assert_eq!(node, [stored("Hot", "False", "", 20, 20)]);
    let linger = 96 * 3600;
    let (kept, _) = after(&node, &[], quiet_at(20 + linger), rules(), 20 + linger);
    assert_eq!(kept, [stored("Hot", "False", "", 20 + linger, 20)]);
    let (gone, _) = after(&kept, &[], quiet_at(21 + linger), rules(), 21 + linger);
    assert_eq!(gone, []);
    let for_ever = Rules { linger: SignedDuration::ZERO, ..rules() };
    let (kept, _) = after(&kept, &[], quiet_at(10 * linger), for_ever, 10 * linger);
    assert_eq!(kept.len(), 1);
}

#[test]
fn what_says_the_same_is_written_once_per_heartbeat_interval_and_all_in_one_write() {
    let node = [
        stored("Hot", "True", "[P6] s", 0, 0),
        stored("Old", "False", "", 60, 0),
        stored("Gone", "False", "", 100, 0),
    ];
    let firing = |second| [(alert("Hot", "6", "s", "sda"), second)];
    for now in [100, 200, 299] {
        assert_eq!(after(&node, &firing(now), quiet_at(now), rules(), now).1, 0, "at {now}");
    }
    let (later, count) = after(&node, &firing(300), quiet_at(300), rules(), 300);
    assert_eq!(count, 3);
    assert!(later.iter().all(|c| c.heartbeat == Some(300)), "{later:?}");
}

/// What one server says lags behind what another one said; no report goes back in time, not even in a write
/// that is due for another condition.
#[test]
fn a_heartbeat_never_goes_back() {
    let node = [stored("Hot", "True", "[P6] s", 400, 0), stored("Old", "False", "", 0, 0)];
    let hot = [(alert("Hot", "6", "s", "sda"), 390)];
    let (node, written) = after(&node, &hot, quiet_at(405), rules(), 410);
    assert_eq!(written, 1);
    let beats: Vec<_> = node.iter().map(|c| (c.kind.as_str(), c.heartbeat)).collect();
    assert_eq!(beats, [("AlertManager_Hot", Some(400)), ("AlertManager_Old", Some(405))]);
}

#[test]
fn while_nobody_speaks_nothing_is_written_and_then_it_is_unknown_with_its_last_words() {
    let node = [stored("Hot", "True", "[P6] s", 0, 0), stored("Old", "False", "", 0, 0)];
    assert_eq!(after(&node, &[], Absence::Held, rules(), 1000).1, 0);
    let (unknown, _) = after(&node, &[], Absence::Unknown, rules(), 1000);
    assert_eq!(
        unknown,
        [stored("Hot", "Unknown", "[P6] s", 1000, 1000), stored("Old", "Unknown", "", 1000, 1000)]
    );
    // A heartbeat still tells that somebody looks.
    let (still, _) = after(&unknown, &[], Absence::Unknown, rules(), 1300);
    assert_eq!(still[0], stored("Hot", "Unknown", "[P6] s", 1300, 1000));
    let (back, _) = after(&still, &[], quiet_at(1400), rules(), 1400);
    assert_eq!(back[0], stored("Hot", "False", "", 1400, 1400));
}

/// Who verifies a node that has booted waits for a report that is newer than the boot.
#[test]
fn after_a_boot_every_condition_is_written_anew_as_soon_as_there_is_news() {
    let node = [stored("Hot", "False", "", 100, 0)];
    let booted = Rules { booted_at: Some(at(110)), ..rules() };
    assert_eq!(after(&node, &[], quiet_at(109), booted, 112).1, 0);
    let (renewed, _) = after(&node, &[], quiet_at(111), booted, 112);
    assert_eq!(renewed, [stored("Hot", "False", "", 111, 0)]);
    assert_eq!(after(&renewed, &[], quiet_at(120), booted, 121).1, 0);
}

/// U9 of the contract: Sciuro breaks down on the first, and what a person writes by hand has no times.
#[test]
fn conditions_that_are_there_twice_or_without_times_or_from_the_future_are_set_right() {
    let twice = [stored("Hot", "True", "[P6] s", 0, 0), stored("Hot", "False", "", 0, 0)];
    let hot = [(alert("Hot", "6", "s", "sda"), 10)];
    assert_eq!(after(&twice, &hot, quiet_at(10), rules(), 10).1, 0);
    let bare =
        Stored { heartbeat: None, transition: None, ..stored("Hot", "True", "[P6] s", 0, 0) };
    let (set, _) = after(&[bare], &hot, quiet_at(10), rules(), 10);
    assert_eq!(set, [stored("Hot", "True", "[P6] s", 10, 10)]);
    let ahead = [stored("Hot", "True", "[P6] s", 1_000_000, 0)];
    let (set, _) = after(&ahead, &hot, quiet_at(10), rules(), 10);
    assert_eq!(set, [stored("Hot", "True", "[P6] s", 10, 0)]);
}

/// A minute is what clocks may differ by.
#[test]
fn a_time_that_no_clock_can_have_written_is_more_than_a_minute_ahead() {
    for (time, ahead) in [(-500, false), (0, false), (60, false), (61, true)] {
        assert_eq!(is_ahead(at(time), at(0)), ahead, "{time}");
    }
}

/// What was written at the moment of the boot is of after it.
#[test]
fn a_report_of_before_the_boot_is_written_anew_by_the_first_one_after_it() {
    let rules = Rules { booted_at: Some(at(10)), ..rules() };
    for (before, after, due) in
        [(9, 10, true), (9, 11, true), (9, 9, false), (10, 11, false), (11, 12, false)]
    {
        assert_eq!(
            rules.is_due(Some(at(before)), at(after), false, at(12)),
            due,
            "{before} {after}"
        );
    }
}

#[test]
fn of_one_name_the_most_urgent_counts_and_of_too_many_names_the_most_urgent() {
    let alerts = [
        (alert("Hot", "7", "later", "sda"), at(0)),
        (alert("Hot", "5", "second", "sdb"), at(10)),
        (alert("Hot", "5", "first", "sda"), at(5)),
    ];
    let one = wanted(alerts.iter().map(|(alert, time)| (alert, *time)));
    assert_eq!(one.conditions["AlertManager_Hot"].alert.message, "[P5] first");
    assert_eq!(one.conditions["AlertManager_Hot"].seen_at, at(10));
    let many: Vec<_> = (0..FIRING_KEPT + 10)
        .map(|n| alert(&format!("A{n:03}"), &(1000 - n).to_string(), "s", ""))
        .collect();
    let wants = wanted(many.iter().map(|alert| (alert, at(0))));
    assert_eq!((wants.conditions.len(), wants.left_out.len()), (FIRING_KEPT, 10));
    assert!(wants.left_out.contains("AlertManager_A009"));
    // What fires and has no room is not said to have ended.
    let node = [stored("A009", "True", "[P991] s", -600, -600)];
    let firing: Vec<_> = many.into_iter().map(|alert| (alert, 0)).collect();
    let (result, _) = after(&node, &firing, quiet_at(0), rules(), 0);
    assert!(result.contains(&node[0]), "{result:?}");
}

#[test]
fn alerts_with_ever_new_names_do_not_make_a_node_grow() {
    let mut node: Vec<Stored> = vec![];
    for round in 0..10 {
        let now = round * 10;
        let firing: Vec<_> =
            (0..50).map(|n| (alert(&format!("R{round}N{n}"), "9", "s", ""), now)).collect();
        node = after(&node, &firing, quiet_at(now), rules(), now).0;
        assert!(node.len() <= KEPT, "{} conditions after round {round}", node.len());
        assert_eq!(node.iter().filter(|c| c.status == "True").count(), 50);
    }
    assert!(node.iter().any(|c| c.kind.starts_with("AlertManager_R8")), "the youngest stay");
}

/// A measured value in the summary changes all the time, and is worth no write each time; another
/// priority is.
#[test]
fn new_words_are_written_once_a_minute_and_a_new_priority_at_once() {
    let node = [stored("Hot", "True", "[P6] 151", 0, 0)];
    let firing = |priority, value, second| [(alert("Hot", priority, value, "sda"), second)];
    assert_eq!(after(&node, &firing("6", "152", 59), quiet_at(59), rules(), 59).1, 0);
    let (written, _) = after(&node, &firing("6", "153", 60), quiet_at(60), rules(), 60);
    assert_eq!(written, [stored("Hot", "True", "[P6] 153", 60, 0)]);
    let (written, _) = after(&node, &firing("60", "152", 1), quiet_at(1), rules(), 1);
    assert_eq!(written, [stored("Hot", "True", "[P60] 152", 1, 0)]);
}

/// A prefix that another writer's types begin with, too.
#[test]
fn a_condition_of_another_writer_stays_as_it_is_whatever_the_prefix() {
    let theirs = Stored { reason: "AUFSUmountHung".into(), ..stored("Hot", "True", "hung", 0, 0) };
    for firing in [vec![], vec![(alert("Hot", "6", "s", "sda"), 600)]] {
        for absence in [quiet_at(600), Absence::Unknown] {
            assert_eq!(after(std::slice::from_ref(&theirs), &firing, absence, rules(), 600).1, 0);
        }
    }
}

fn any_alert() -> impl Strategy<Value = (Alert, i64)> {
    let name = prop_oneof![
        Just("Hot"),
        Just("Wet"),
        Just("Old"),
        "[A-Za-z ]{1,5}".prop_map(|s| &*s.leak())
    ];
    let parts = (name, -2..12_i64, "[a-z]{0,3}", 0..3_u8, 0..50_i64);
    parts.prop_map(|(name, priority, summary, device, seen)| {
        (alert(name, &priority.to_string(), &summary, &device.to_string()), seen)
    })
}

fn any_stored() -> impl Strategy<Value = Stored> {
    let name = prop_oneof![Just("Hot"), Just("Wet"), Just("Old"), Just("Rest")];
    let status = prop_oneof![Just("True"), Just("False"), Just("Unknown"), Just("odd")];
    let foreign = proptest::bool::weighted(0.2);
    (name, status, "[a-z]{0,3}", 0..60_i64, -400_000..60_i64, foreign).prop_map(
        |(name, status, message, heartbeat, transition, foreign)| {
            let ours = stored(name, status, &message, heartbeat, transition);
            if foreign { Stored { kind: name.to_owned(), ..ours } } else { ours }
        },
    )
}

fn any_absence() -> impl Strategy<Value = Absence> {
    prop_oneof![(0..60_i64).prop_map(quiet_at), Just(Absence::Held), Just(Absence::Unknown)]
}

proptest! {
    #[test]
    fn the_order_of_alerts_changes_nothing(
        alerts in proptest::collection::vec(any_alert(), 0..8),
        node in proptest::collection::vec(any_stored(), 0..5),
        absence in any_absence(),
    ) {
        let turned: Vec<_> = alerts.iter().rev().cloned().collect();
        prop_assert_eq!(
            after(&node, &alerts, absence, rules(), 60),
            after(&node, &turned, absence, rules(), 60)
        );
    }

    #[test]
    fn one_more_alert_changes_no_condition_of_another_name(
        alerts in proptest::collection::vec(any_alert(), 0..8),
        more in any_alert(),
        node in proptest::collection::vec(any_stored(), 0..5),
        absence in any_absence(),
    ) {
        // One of each type, as the API keeps them.
        let mut node = node;
        node.sort_by(|a, b| a.kind.cmp(&b.kind));
        node.dedup_by(|a, b| a.kind == b.kind);
        let others = |nodes: Vec<Stored>| -> Vec<(String, String, String)> {
            let others = nodes.into_iter().filter(|c| c.kind != more.0.condition_type);
            // New words may be written earlier, together with what changes.
            let urgency = |message: &str| message.split(' ').next().unwrap_or_default().to_owned();
            let mut others: Vec<_> =
                others.map(|c| (c.kind, c.status, urgency(&c.message))).collect();
            others.sort();
            others
        };
        let with: Vec<_> = alerts.iter().cloned().chain([more.clone()]).collect();
        prop_assert_eq!(
            others(after(&node, &alerts, absence, rules(), 60).0),
            others(after(&node, &with, absence, rules(), 60).0)
        );
    }

    #[test]
    fn what_is_not_ours_is_never_touched_and_a_second_look_writes_nothing(
        alerts in proptest::collection::vec(any_alert(), 0..8),
        node in proptest::collection::vec(any_stored(), 0..5),
        absence in any_absence(),
    ) {
        let foreign = |nodes: &[Stored]| -> Vec<Stored> {
            let foreign = nodes.iter().filter(|c| !c.kind.starts_with("AlertManager_"));
            foreign.cloned().collect()
        };
        let (once, _) = after(&node, &alerts, absence, rules(), 60);
        prop_assert_eq!(foreign(&node), foreign(&once));
        let (twice, count) = after(&once, &alerts, absence, rules(), 60);
        prop_assert_eq!(count, 0, "{:?} then {:?}", once, twice);
    }

    #[test]
    fn nobody_who_does_not_know_makes_anything_true_or_false(
        node in proptest::collection::vec(any_stored(), 0..5),
        unknown in any::<bool>(),
    ) {
        let absence = if unknown { Absence::Unknown } else { Absence::Held };
        let (result, _) = after(&node, &[], absence, rules(), 60);
        for c in result.iter().filter(|c| c.kind.starts_with("AlertManager_")) {
            let as_before = node.iter().any(|b| b.kind == c.kind && b.status == c.status);
            prop_assert!(as_before || c.status == "Unknown");
        }
    }
}
