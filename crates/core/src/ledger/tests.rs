mod two_leaders;

use super::*;
use crate::{facts::LastRun, remediation::tests::at};

pub(super) fn slot(run: &str) -> Slot {
    Slot {
        run_uid: run.into(),
        node_name: format!("node-of-{run}"),
        node_uid: format!("uid-of-{run}"),
    }
}

pub(super) fn a_run(uid: &str, step: Step) -> Run {
    let Slot { run_uid, node_name, node_uid } = slot(uid);
    let lost = lost_run(&slot(uid), at(0));
    Run { uid: run_uid.clone(), name: run_uid, node_name, node_uid, step, cancel: false, ..lost }
}

fn a_stray(uid: &str, since: i64) -> Stray {
    Stray {
        run_uid: uid.into(),
        node_name: format!("node-of-{uid}"),
        run: Some(lost_run(&slot(uid), at(since))),
        since: at(since),
        unseen: true,
        report_at_end: None,
    }
}

#[test]
fn a_claim_stands_until_its_run_moves_or_nothing_came_of_it() {
    use ClaimStanding::{Doubtful, Stands, Used};
    for (step, now, expected) in [
        (Some(Step::Held), 9, Stands),
        (Some(Step::Held), 10, Doubtful),
        (Some(Step::Pending), 10, Doubtful),
        (Some(Step::RollingBack), 0, Used),
        (Some(Step::Cancelled), 60, Used),
        (None, 0, Used),
    ] {
        assert_eq!(claim_standing(step, at(0), at(now)), expected, "{step:?} at {now}");
    }
}

struct Case {
    runs: Vec<Run>,
    strays: Vec<Stray>,
    in_doubt: BTreeSet<String>,
    done: BTreeSet<String>,
    nodes: BTreeMap<String, std::sync::Arc<NodeFacts>>,
    now: i64,
}

impl Case {
    fn of(runs: Vec<Run>) -> Self {
        Case {
            runs,
            strays: Vec::new(),
            in_doubt: BTreeSet::new(),
            done: BTreeSet::new(),
            nodes: BTreeMap::new(),
            now: 0,
        }
    }

    fn ask<T>(&self, question: impl FnOnce(&Known<'_>) -> T) -> T {
        question(&Known {
            runs: &self.runs,
            strays: &self.strays,
            nodes: &self.nodes,
            in_doubt: &self.in_doubt,
            done: &self.done,
            now: at(self.now),
        })
    }
}

fn ledger(runs: &[&str]) -> Ledger {
    Ledger { slots: runs.iter().map(|run| slot(run)).collect(), ..Ledger::default() }
}

fn uids(slots: &[Slot]) -> Vec<&str> {
    slots.iter().map(|slot| slot.run_uid.as_str()).collect()
}

fn set(uids: &[&str]) -> BTreeSet<String> {
    uids.iter().map(|uid| (*uid).to_owned()).collect()
}

#[test]
fn a_slot_goes_with_the_step_of_its_run_and_never_while_the_run_can_act() {
    for step in Step::ALL {
        let case = Case::of(vec![a_run("r", step)]);
        let released = case.ask(|known| releasable(&ledger(&["r"]), known));
        assert_eq!(released.is_empty(), step.holds_slot(), "{step}");
        let recovered = case.ask(|known| recovered(&ledger(&["r"]), known, &set(&[])));
        assert_eq!(!recovered.is_empty(), step.holds_slot(), "{step}");
        // Whether the entry was there makes no difference to a recovery.
        assert_eq!(case.ask(|known| super::recovered(&ledger(&[]), known, &set(&[]))), recovered);
    }
}

#[test]
fn a_run_that_is_gone_keeps_its_slot_until_nothing_of_it_is_left() {
    let held = ledger(&["r"]);
    let mut case = Case::of(Vec::new());
    assert!(case.ask(|known| releasable(&held, known)).is_empty(), "gone is no reason (R3)");
    case.strays = vec![a_stray("r", 0)];
    assert!(case.ask(|known| releasable(&held, known)).is_empty(), "its Pod may still act");
    assert_eq!(uids(&case.ask(|known| recovered(&held, known, &set(&[])))), ["r"]);
    case.now = 3600;
    assert_eq!(case.ask(|known| releasable(&held, known)), set(&["r"]), "its node is gone, too");
    case.strays.clear();
    case.done = set(&["r"]);
    assert_eq!(case.ask(|known| releasable(&held, known)), set(&["r"]));
}

/// What is on the node's record decides, before any time has passed.
#[test]
fn a_run_that_is_gone_and_whose_node_is_closed_keeps_no_slot() {
    let held = ledger(&["r"]);
    let mut case = Case::of(Vec::new());
    case.strays = vec![a_stray("r", 0)];
    let mut node = NodeFacts { uid: "uid-of-r".into(), ..crate::remediation::tests::node() };
    node.cordoned_by = None;
    node.last_remediation.last = Some(LastRun {
        uid: "r".into(),
        name: "r".into(),
        result: "Cancelled".into(),
        reason: "RunDeleted".into(),
        end_time: at(0),
    });
    case.nodes.insert("node-of-r".into(), node.clone().into());
    assert_eq!(case.ask(|known| releasable(&held, known)), set(&["r"]));
    node.cordoned_by = Some("r".into());
    case.nodes.insert("node-of-r".into(), node.into());
    assert!(case.ask(|known| releasable(&held, known)).is_empty(), "it is marked still");
}

#[test]
fn a_run_whose_end_was_not_seen_has_its_name_its_policy_and_its_attempts() {
    let known = Run {
        name: "r-name".into(),
        policy: "p".into(),
        attempt_times: vec![at(3)],
        ..a_run("r", Step::Rebooting)
    };
    let end = unseen_end(&known, at(9));
    let lost = lost_run(&slot("r"), at(9));
    let Run { name, policy, attempt_times, .. } = known;
    assert_eq!(end, Run { name, policy, attempt_times, ..lost });
}

#[test]
fn an_admission_in_doubt_keeps_its_slot_and_one_that_was_not_made_does_not() {
    let mut case = Case::of(vec![a_run("r", Step::Pending), a_run("held", Step::Held)]);
    let held = ledger(&["r", "held"]);
    assert_eq!(case.ask(|known| releasable(&held, known)), set(&["held", "r"]));
    case.in_doubt = set(&["r"]);
    assert_eq!(case.ask(|known| releasable(&held, known)), set(&["held"]));
}

#[test]
fn a_run_that_could_not_be_adopted_counts_as_holding_its_slot() {
    let case = Case::of(vec![a_run("a", Step::Pending), a_run("b", Step::Pending)]);
    let slots = case.ask(|known| recovered(&ledger(&["b"]), known, &set(&["a"])));
    assert_eq!(
        uids(&slots),
        ["a"],
        "the entry of a Pending run is dropped, that of one nobody adopted is not"
    );
}

#[test]
fn one_write_releases_and_admits_and_forgets_old_starts() {
    let start = |time: i64| Start { time: at(time), policy: "p".into() };
    let before = Ledger { starts: vec![start(0), start(80_000)], ..ledger(&["a", "b"]) };
    let change = Change {
        release: set(&["a"]),
        add: vec![slot("c"), slot("b")],
        starts: vec![start(90_000)],
        ..Change::default()
    };
    let after = before.after(&change, at(90_000));
    assert_eq!(uids(&after.slots), ["b", "c"]);
    assert_eq!(after.starts, [start(80_000), start(90_000)]);
    let many =
        Change { starts: (0..2_000).map(|n| start(90_000 + n)).collect(), ..Change::default() };
    assert_eq!(before.after(&many, at(92_000)).starts.len(), STARTS_KEPT);
}

#[test]
fn changes_that_wait_become_one_in_their_order() {
    let add = |uid| Change { add: vec![slot(uid)], ..Change::default() };
    let release = |uid| Change { release: set(&[uid]), ..Change::default() };
    assert!(Change::default().is_empty() && !add("a").is_empty() && !release("a").is_empty());
    let all = add("a").and(release("a")).and(release("b")).and(add("b"));
    let after = ledger(&["b", "x"]).after(&all, at(0));
    assert_eq!(uids(&after.slots), ["b", "x"]);
    let others = add("c").and(release("b")).and(add("d"));
    assert_eq!(uids(&ledger(&["b", "x"]).after(&others, at(0)).slots), ["x", "c", "d"]);
    let replaced = add("a").and(Change { replace: Some(vec![slot("z")]), ..Change::default() });
    assert_eq!(uids(&ledger(&["b"]).after(&replaced, at(0)).slots), ["z"]);
}

#[test]
fn every_write_of_the_ledger_keeps_the_last_meltdown_until_one_replaces_it() {
    let known = Meltdown { since: None, ended: Some(at(4)) };
    let before = Ledger { meltdown: known, ..ledger(&["a"]) };
    let replace = Change { replace: Some(vec![slot("z")]), ..Change::default() };
    let admission = Change { add: vec![slot("b")], ..Change::default() };
    for change in [Change::default(), replace.clone(), admission.clone()] {
        assert_eq!(before.after(&change, at(9)).meltdown, known, "{change:?}");
    }
    let next =
        Change { meltdown: Some(Meltdown { since: Some(at(9)), ..known }), ..Change::default() };
    assert!(!next.is_empty());
    let both = [(&admission, &next), (&next, &admission), (&next, &replace)];
    for together in both.map(|(first, second)| first.clone().and(second.clone())) {
        assert_eq!(Some(before.after(&together, at(9)).meltdown), next.meltdown);
    }
}

#[test]
fn an_epoch_is_raised_above_any_foreign_one_that_is_as_high() {
    let marks = [(3, "a_1"), (9, "b_1"), (12, "me_1")];
    assert_eq!(epoch_above(marks.into_iter(), 5, "me_1"), Some(10));
    assert_eq!(epoch_above(marks.into_iter(), 9, "me_1"), Some(10), "an equal one of another term");
    assert_eq!(epoch_above(marks.into_iter(), 10, "me_1"), None);
    assert_eq!(epoch_above(std::iter::empty(), 1, "me_1"), None);
}

#[test]
fn a_term_takes_the_ledger_over_unchanged_with_a_higher_epoch() {
    let ledger = Ledger {
        slots: vec![slot("u")],
        starts: vec![Start { time: at(0), policy: "p".into() }],
        meltdown: Meltdown { ended: Some(at(0)), ..Meltdown::default() },
    };
    let old = Document::taken_over(None, "a_1", "a_1/1".into());
    let before = Document { epoch: 4, ..old.with(ledger.clone()) };
    let after = Document::taken_over(Some(before), "b_1", "b_1/1".into());
    assert_eq!((after.epoch, after.term.as_str(), after.nonce.as_str()), (5, "b_1", "b_1/1"));
    assert_eq!(after.ledger(), ledger);
    assert_eq!((old.epoch, old.slots.len(), old.version), (1, 0, VERSION));
}
