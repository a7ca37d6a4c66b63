//! Plays one run: a cluster, operators, what befalls them, and what came of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::SignedDuration;

use rerail_sim::{
    Options, Server, Store,
    observe::{Happening, Observer},
    property::{self, Judge, Leniency},
    store::{Commit, key_of},
};
use tokio::{task::spawn_local, time::sleep};

use crate::{
    befall::{self, Fates},
    branch,
    fault::Spoil,
    healed,
    lease_copies::Copies,
    net::{Net, Rules},
    operator::{Clocks, Operators},
    outcome::{Outcome, Violation},
    panics,
    plan::{Mode, Plan, Settings},
    release,
    stage::{self, Stage},
    timeline::Timeline,
};

/// Between two looks at whether everything has healed.
const LOOK: Duration = Duration::from_secs(5);
/// So long after everything has healed it is judged that it is: what an operator writes at most once a
/// minute, such as the counts of a policy, is written by then.
const HEALED: Duration = Duration::from_secs(75);
/// For so long it has to stay so.
const SOAK: Duration = Duration::from_secs(45);
/// After so long a person looks after what waits for one.
const PERSON: Duration = Duration::from_mins(10);
/// So long a run goes on after the first thing that is wrong: what follows from it is part of its story,
/// and what goes wrong for ever would take for ever.
const AFTERMATH: Duration = Duration::from_mins(10);
/// Thousandths by which clocks since boot are fast or slow, where clocks are off.
const RATE: u64 = 50;

/// What of a run is kept.
#[derive(Debug, Clone, Copy, Default)]
pub struct Keep {
    /// The lines of the trace.
    pub lines: bool,
    /// The timeline.
    pub timeline: bool,
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// The simulation did not run.
    #[error(transparent)]
    Pins(#[from] rerail_simpin::Error),
    /// The scene.
    #[error(transparent)]
    Stage(#[from] stage::StageError),
    /// It was to be played by a copy of another process.
    #[error("{0}")]
    Branch(String),
}

/// Plays a run from its beginning to its end, on a thread of its own.
pub fn play(plan: &Plan, keep: Keep) -> Result<Outcome, PlayError> {
    warm_up()?;
    let plan = plan.clone();
    Ok(rerail_simpin::run(plan.seed, move || on_this_thread(plan, keep, None))??)
}

/// Plays a run, and with it those that differ from it in one more kill point behind this request: at each
/// one the process is copied, and the copy dies there. What comes of each copy is told on standard output
/// ([`branch`]). Only in a process that does nothing else.
pub(crate) fn play_branching(plan: &Plan, behind: u64) -> Result<Outcome, PlayError> {
    warm_up()?;
    let (seed, plan) = (plan.seed, plan.clone());
    let play = move || on_this_thread(plan, Keep::default(), Some(behind));
    Ok(rerail_simpin::run(seed, play)??)
}

/// What a process makes once, when it is asked for first, draws from the randomness of whoever asks; the
/// first run would go another way than the same run later. So nobody's run is the first.
pub(crate) fn warm_up() -> Result<(), PlayError> {
    static WARM: Mutex<bool> = Mutex::new(false);
    let mut warm = WARM.lock().unwrap_or_else(PoisonError::into_inner);
    if !*warm {
        stage::read_all().map_err(stage::StageError::from)?;
        let said = Settings {
            scene: Some("small".to_owned()),
            operators: Some(2),
            mode: Some(Mode::Safety),
            ends: Some(180),
            ..Settings::default()
        };
        let plan = Plan { thousandths: 60, spoils: Spoil::all().into(), ..Plan::new(0, &said) };
        rerail_simpin::run(0, move || on_this_thread(plan, Keep::default(), None))??;
        *warm = true;
    }
    Ok(())
}

async fn on_this_thread(
    plan: Plan,
    keep: Keep,
    branches_behind: Option<u64>,
) -> Result<Outcome, stage::StageError> {
    panics::forget();
    let server = Server::new(Options { seed: plan.seed, ..Options::default() });
    let names = plan.names();
    let rules = Rules {
        seed: plan.seed,
        thousandths: plan.thousandths,
        spoils: plan.spoils.clone(),
        without: plan.without.clone(),
        aim: plan.aim,
        requests: plan.requests,
        until: plan.faults_until,
        kills: plan.kills.clone(),
        back_after: Duration::from_secs(2),
        branches_behind,
    };
    let net = Net::new(&server, rules, &names, keep.lines);
    let judge = Judge::new(leniency(&plan));
    server.observe(judge.clone());
    net.lost_replies_are_told_to(judge.clone());
    let timeline = Timeline::new(server.now());
    if keep.timeline {
        server.observe(timeline.clone());
    }
    server.observe(Traced(net.clone()));
    let copies = Copies::new(net.began());
    server.observe(copies.clone());
    let stage = Stage::set(&server, &plan)?;
    let clocks =
        Clocks { seed: plan.seed, wall: plan.clocks, rate: if plan.clocks > 0 { RATE } else { 0 } };
    let operators = Operators::new(&net, clocks, stage.alertmanagers(&plan));
    for name in names {
        spawn_local(operators.clone().keep(name));
    }
    let fates = Rc::new(Fates { net: net.clone(), operators: operators.clone(), copies, plan });
    for (number, entry) in fates.plan.mishaps.clone() {
        spawn_local(fates.clone().await_one(number, entry));
    }
    let plan = &fates.plan;
    let open = until_the_end(&net, &stage, plan, &judge, &operators).await;
    let left = release::all(&net, &stage, plan, &judge, &operators).await;
    let at = server.now();
    let mut violations: Vec<Violation> = judge.violations().into_iter().map(of_judge).collect();
    let fell = operators.fell.borrow().clone().into_iter().chain(panics::take());
    let fell = fell.chain(operators.bitten()).map(|message| ("SAFE-17", message));
    let open = open.into_iter().map(|(what, wrong)| ("HEALS", format!("{what}: {wrong}")));
    let left = left.into_iter().map(|left| ("LIVE-5", left));
    let world = stage.complaints().into_iter().map(|message| ("WORLD", message));
    violations.extend(fell.chain(open).chain(left).chain(world).map(|(property, message)| {
        Violation { property: property.to_owned(), at, subject: "-".to_owned(), message }
    }));
    let seen = judge.sometimes().into_iter().map(|(what, count)| (what.to_owned(), count));
    let spoiled = net.spoiled().into_iter().map(|(spoil, count)| (spoil.name(), count));
    let seen = seen.chain(spoiled).collect();
    // They hold the net, and the net holds the server.
    server.unobserve();
    let (requests, lasted, trace) = (net.requests(), net.elapsed(), net.take_trace());
    let outcome = Outcome {
        violations,
        seen,
        requests,
        lasted,
        trace: trace.hash(),
        lines: trace.into_lines(),
        timeline: timeline.lines(),
    };
    match net.left_at() {
        None => Ok(outcome),
        Some(at) => branch::told(at, outcome),
    }
}

/// What is not held against an operator: what it cannot know while its watches are held up, and what its
/// clock may differ.
fn leniency(plan: &Plan) -> Leniency {
    let spoiled = plan.thousandths > 0 && !plan.spoils.is_empty();
    let in_time = plan.spoils.iter().all(|spoil| spoil.is_of_watches()) || !spoiled;
    let calm = plan.mishaps.is_empty();
    let lag = SignedDuration::from_secs(if calm && in_time { 10 } else { 45 });
    let watch = SignedDuration::from_secs(if calm && !spoiled { 10 } else { 150 });
    let renew_deadline = SignedDuration::from_millis(if plan.clocks > 0 { 11_000 } else { 10_500 });
    Leniency { lag, watch, renew_deadline, ..Leniency::default() }
}

fn of_judge(violation: property::Violation) -> Violation {
    let property::Violation { property, at, subject, message } = violation;
    Violation { property: property.to_owned(), at, subject, message }
}

/// Lets time pass until the end; in liveness mode until everything has been healed for a while, and
/// stays so.
async fn until_the_end(
    net: &Net,
    stage: &Stage,
    plan: &Plan,
    judge: &Judge,
    operators: &Operators,
) -> BTreeMap<String, String> {
    let server = net.server();
    let at_rest = |nodes| server.with(|store, now| judge.at_rest(store, &nodes, now));
    let mut healed_since = None;
    let mut person_at = None;
    let mut held = BTreeSet::new();
    let mut wrong_since = None;
    while net.elapsed() < plan.ends {
        if judge.count() > 0 {
            let since = *wrong_since.get_or_insert(net.elapsed());
            if net.elapsed().saturating_sub(since) >= AFTERMATH {
                return BTreeMap::new();
            }
        }
        let left = plan.ends.saturating_sub(net.elapsed());
        sleep(LOOK.min(left).max(Duration::from_millis(1))).await;
        if plan.mode == Mode::Safety || net.elapsed() <= plan.faults_until.max(stage.told) {
            continue;
        }
        if person_at.is_none() {
            befall::calm(net, plan);
            stage.calm(plan.restores());
        }
        let mut health = healed::look(server);
        // Who says so without having tried so often is not helped.
        health.exhausted.retain(|node, most| judge.attempts(node) >= *most);
        if person_at.is_none_or(|at| net.elapsed() >= at) {
            person_at = Some(net.elapsed() + PERSON);
            stage.look_after(&health, &held.intersection(&health.held).cloned().collect());
            held.clone_from(&health.held);
        }
        if !health.open.is_empty() || !operators.are_well_for(SOAK) {
            healed_since = None;
            continue;
        }
        let since = *healed_since.get_or_insert(net.elapsed());
        if net.elapsed().saturating_sub(since) >= HEALED {
            at_rest(health.nodes.clone());
            sleep(SOAK).await;
            while !operators.are_well_for(SOAK) {
                sleep(LOOK).await;
            }
            at_rest(health.nodes);
            return BTreeMap::new();
        }
    }
    if plan.mode == Mode::Safety {
        return BTreeMap::new();
    }
    let health = healed::look(server);
    at_rest(health.nodes);
    health.open
}

/// Adds to the trace what happens in the world.
struct Traced(Net);

impl Observer for Traced {
    fn committed(&mut self, store: &Store, commit: &Commit) {
        let kind = &store.resource(commit.resource).plural;
        let (change, by) = (&commit.change, &commit.by);
        self.0.note(format_args!("{} {kind} {} {by}", change.version, key_of(&change.after)));
    }

    fn happened(&mut self, _: &Store, happening: &Happening) {
        self.0.note(format_args!("{} {:?}", happening.subject, happening.what));
    }
}
