//! The tier of hostile histories that every test run plays. A target of its own, and nothing in it touches
//! hash maps but by [`rerail_simpin::run`]: everything in it has to be pinned.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in helpers too")]

use std::path::Path;

use rerail_explore::{
    branch, crew,
    kill::{self, Share, Story},
    net::{KillPoint, Moment},
    plan::{Mode, Plan, Settings},
    play::{Keep, play},
    regressions, report,
    tier::{MANY, Tally, play_all},
    trace,
};

/// Seeds that are played, from 0: as few as have to show everything.
const SEEDS: u64 = MANY;

/// Seeds that find what is not mended yet. Each is played all the same, and has to go on failing until it
/// is taken off this list.
const OPEN: &[u64] = &[];

/// One in so many pairs of kill points of each story: all would be 943,000 runs, for which no test run has the
/// time. `cargo xtask explore pairs` plays as many as it is told to.
const PAIRS: [u64; 3] = [120, 200, 520];

/// One in so many of what may be late in each story. `cargo xtask explore kill` plays all.
const LATE: [usize; 3] = [1, 3, 3];

fn all_good(what: &str, tally: &Tally) {
    println!("{what}: {} runs, {} requests", tally.runs, tally.requests);
    let Some(failed) = tally.failed.first() else { return };
    for failed in &tally.failed {
        println!("{}: {:#?}", report::command(failed.seed, &failed.said), failed.why);
    }
    let story = report::failed(failed.seed, &failed.said, &mut |_, _| {}).unwrap();
    panic!("{what}: {} of {} runs failed; the first, shrunk:\n{story}", tally.failures, tally.runs);
}

fn threads() -> usize {
    crew::threads(2)
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let mut released = 0;
    for seed in 0..6 {
        let mode = Some(Mode::Safety);
        let said = Settings { faults_until: Some(240), mode, ..Settings::default() };
        let plan = Plan::new(seed, &said);
        released += usize::from(plan.released);
        let keep = Keep { lines: true, timeline: false };
        let (first, second) = (play(&plan, keep).unwrap(), play(&plan, keep).unwrap());
        assert!(first.requests > 20, "{} requests", first.requests);
        let difference = trace::first_difference(&first.lines, &second.lines);
        assert!(difference.is_none(), "seed {seed}: {difference:#?}");
        assert_eq!(first.trace, second.trace);
        // Whoever keeps no lines goes the same way.
        assert_eq!(play(&plan, Keep::default()).unwrap().trace, first.trace);
        assert_ne!(play(&Plan::new(seed + 100, &said), keep).unwrap().trace, first.trace);
    }
    assert!(released > 0, "none of them ends with release-all");
}

#[test]
fn an_operator_may_die_at_every_request() {
    for story in kill::STORIES {
        let requests = story.requests().unwrap();
        assert!(requests > 80, "{requests} requests: this is no whole run");
        let runs = story.singles(requests).map(|said| (kill::SEED, said));
        let tally = play_all(threads(), runs, |_| {});
        all_good(&format!("kill points, {story}"), &tally);
        assert_eq!(tally.runs, requests * 3);
        assert!(tally.seen["operator-killed"] >= requests * 2);
        for what in story.shows {
            assert_eq!(tally.seen[*what] / tally.runs, 1, "each run shows {what}");
        }
    }
}

#[test]
fn an_operator_may_lose_two_answers_in_a_row() {
    for story in kill::STORIES {
        let requests = story.requests().unwrap();
        let runs = story.in_a_row(requests).map(|said| (kill::SEED, said));
        let tally = play_all(threads(), runs, |_| {});
        all_good(&format!("two lost answers, {story}"), &tally);
        assert_eq!(tally.runs, requests - 1);
    }
}

#[test]
fn whatever_an_operator_asks_for_or_is_told_may_be_late() {
    for (story, one_in) in kill::STORIES.into_iter().zip(LATE) {
        let requests = story.requests().unwrap();
        let runs = story.late(requests).step_by(one_in).map(|said| (kill::SEED, said));
        let tally = play_all(threads(), runs, |_| {});
        all_good(&format!("late requests and answers, {story}"), &tally);
        assert_eq!(tally.runs, (requests * 3 - 1).div_ceil(one_in as u64));
    }
}

#[test]
fn an_operator_may_die_twice() {
    for (story, one_in) in kill::STORIES.into_iter().zip(PAIRS) {
        let requests = story.requests().unwrap();
        let runs = story.pairs(requests, Share { one_in, seed: 0 }).map(|said| (kill::SEED, said));
        let tally = play_all(threads(), runs, |_| {});
        all_good(&format!("pairs of kill points, {story}"), &tally);
        assert!(tally.runs > 1_000, "{} runs", tally.runs);
    }
}

/// What histories have in common is played once, in a process that is copied where they part. A copy is what
/// the history would have been alone, to the last line of its trace.
fn branches_are_what_they_would_have_been_alone(story: Story, kills: &[KillPoint]) {
    let said = story.settings(kills);
    let program = Path::new(env!("CARGO_BIN_EXE_rerail-explore"));
    let lines = branch::lines(program, kill::SEED, &said);
    let points: Vec<_> = lines.iter().map(|line| line.left_at).collect();
    let (original, copies) = points.split_last().unwrap();
    assert_eq!(*original, None);
    let requests = lines.last().unwrap().outcome.as_ref().unwrap().requests;
    let last = kills.last().unwrap().request;
    let all = KillPoint::all(last + 1..=requests).map(Some);
    assert_eq!(copies, all.collect::<Vec<_>>(), "each request once, in each way");
    assert!(copies.len() > 100, "{} copies", copies.len());
    for (number, branch::Line { left_at, outcome }) in lines.into_iter().enumerate() {
        let outcome = outcome.unwrap();
        assert!(outcome.is_good(), "{left_at:?}: {:#?}", outcome.violations);
        if number % 25 == 0 || left_at.is_none() {
            let kills: Vec<_> = kills.iter().copied().chain(left_at).collect();
            let alone = play(&Plan::new(kill::SEED, &story.settings(&kills)), Keep::default());
            let alone = alone.unwrap();
            let told = (outcome.trace, outcome.requests, outcome.lasted, outcome.seen);
            assert_eq!(told, (alone.trace, alone.requests, alone.lasted, alone.seen), "{kills:?}");
        }
    }
}

#[test]
fn a_branch_of_a_history_is_that_history() {
    let story = kill::STORIES[1];
    let request = story.requests().unwrap() / 2;
    let first = KillPoint { request, moment: Moment::After };
    branches_are_what_they_would_have_been_alone(story, &[first]);
}

#[test]
fn a_branch_behind_two_lost_answers_is_that_history() {
    let story = kill::STORIES[2];
    assert_eq!(story.scene, "deleted");
    let request = story.requests().unwrap() - 60;
    let lost = |request| KillPoint { request, moment: Moment::ReplyLost };
    branches_are_what_they_would_have_been_alone(story, &[lost(request), lost(request + 1)]);
}

#[test]
fn hostile_histories_break_no_property() {
    let runs = (0..SEEDS).filter(|seed| !OPEN.contains(seed));
    let tally = play_all(threads(), runs.map(|seed| (seed, Settings::default())), |_| {});
    all_good("seeds", &tally);
    for seed in OPEN {
        let known = play(&Plan::new(*seed, &Settings::default()), Keep::default()).unwrap();
        println!("OPEN, not mended: seed {seed}: {:?}", known.violations);
        assert!(!known.violations.is_empty(), "seed {seed} holds now: take it off the list");
    }
    let missing = tally.never_seen();
    assert!(missing.is_empty(), "never seen: {missing:?} among {:#?}", tally.seen);
}

#[test]
fn what_once_failed_does_not_fail_again() {
    let known = regressions::all().unwrap();
    let runs = known.iter().map(|one| (one.seed, one.settings.clone())).collect::<Vec<_>>();
    let tally = play_all(threads(), runs.into_iter(), |_| {});
    for failed in &tally.failed {
        let once = known.iter().find(|one| one.seed == failed.seed && one.settings == failed.said);
        println!("seed {} once found: {}", failed.seed, once.map_or("", |one| &one.found));
    }
    all_good("regressions", &tally);
}
