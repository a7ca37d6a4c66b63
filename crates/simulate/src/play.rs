//! Plays a scene to its end, as fast as the machine can.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use rerail_api::duration::GoDuration;
use rerail_sim::world::{Act, Error, Scene, Source};
use tokio::{task::LocalSet, time::sleep};

use crate::{
    board::{Board, Face, Seen},
    crew::CrewError,
    report::{self, Ending, Report},
    settled::Verdict,
    stage::Stage,
};

/// How often it is looked how it stands, by the cluster's clock.
const LOOKED_EVERY: Duration = Duration::from_secs(1);

/// For so long after the last event, nodes that rest after a run that failed are waited for.
const REST: SignedDuration = SignedDuration::from_hours(6);

/// Why a scene was not played to its end.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// No runtime.
    #[error("the simulation did not start: {0}")]
    Start(std::io::Error),
    /// It needs servers that nobody plays.
    #[error(
        "timeline or random of the scenario has a condition with `source: alert`, and no Alertmanager is played; \
         leave `source` out: the condition then stands on the node as if a bridge had written it"
    )]
    Alerts,
    /// It would never end.
    #[error(
        "`random` of the scenario has no `until`, and neither has the scenario: say how long it is played"
    )]
    Endless,
    /// An operator is not at work any more, and does not say why.
    #[error("an operator ended by itself; this is a bug, and worth a report")]
    Ended,
    /// The scene cannot be played.
    #[error("the scenario cannot be played: {0}")]
    World(#[from] Error),
    /// The operator is not at work any more.
    #[error(transparent)]
    Operator(#[from] CrewError),
}

/// How a play went on until now, for whoever waits for its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Since the beginning, by the cluster's clock.
    pub elapsed: SignedDuration,
    /// Nodes that were healed.
    pub healed: usize,
    /// Nodes with which something is wrong, or in work.
    pub troubled: usize,
}

/// What a play leaves.
pub(crate) struct Played {
    pub board: Board,
    pub ending: Ending,
    /// When nodes were last in trouble, by name.
    pub troubled: BTreeMap<String, Timestamp>,
    /// When the first node was in trouble, after the policies were there.
    pub first_trouble: Option<Timestamp>,
    /// What could not be done of the scene.
    pub not_done: Vec<String>,
}

/// Plays it. Blocks the thread; `progress` is called once for each simulated second.
pub fn play(scene: &Scene, seed: u64, progress: impl FnMut(Progress)) -> Result<Report, PlayError> {
    let by_alert =
        |act: &Act| matches!(act, Act::Sicken { with, .. } if with.source == Source::Alert);
    if scene.acts().any(by_alert) {
        return Err(PlayError::Alerts);
    }
    if scene.until.is_none() && scene.random.iter().any(|random| random.until.is_none()) {
        return Err(PlayError::Endless);
    }
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build().map_err(PlayError::Start)?;
    let played = runtime.block_on(LocalSet::new().run_until(perform(scene, seed, progress)))?;
    Ok(report::of(scene, seed, &played))
}

async fn perform(
    scene: &Scene,
    seed: u64,
    mut progress: impl FnMut(Progress),
) -> Result<Played, PlayError> {
    let until = scene.until.as_ref().map(GoDuration::value);
    let begins = scene.policies_at.as_ref().map(GoDuration::value).unwrap_or_default();
    let board = Arc::new(Mutex::new(Board::new(rerail_sim::Options::default().start)));
    let spectator = board.clone();
    let see = move |seen: &Seen<'_>| lock(&spectator).see(seen);
    let mut stage = Stage::raise(scene.clone(), seed, REST, see)?;
    let (mut troubled, mut first_trouble) = (BTreeMap::new(), None);
    let ending = loop {
        sleep(LOOKED_EVERY).await;
        let mut board = lock(&board);
        let verdict = stage.look(&mut board, true);
        let now = board.now();
        for (name, entry) in board.nodes() {
            // That a new machine becomes Ready is part of the beginning.
            if !matches!(entry.face(), Face::Healthy | Face::Healed) && entry.has_been_ready() {
                if board.elapsed() >= begins {
                    first_trouble.get_or_insert(now);
                }
                troubled.insert(name.clone(), now);
            }
        }
        let troubled = troubled.values().filter(|last| **last == now).count();
        let healed = board.nodes().values().filter(|entry| entry.healed > 0).count();
        progress(Progress { elapsed: board.elapsed(), healed, troubled });
        let broken = stage.is_broken();
        match verdict {
            Verdict::Settled => break Ending::Settled,
            Verdict::TooLong => break Ending::GaveUp,
            Verdict::GoesOn if until.is_some_and(|until| board.elapsed() >= until) || broken => {
                break Ending::Stopped;
            }
            Verdict::GoesOn => {}
        }
    };
    // How the operators step down is not part of the story.
    let board = std::mem::take(&mut *lock(&board));
    let (broken, not_done) = (stage.is_broken(), stage.not_done());
    stage.strike().await?;
    if broken {
        return Err(PlayError::Ended);
    }
    Ok(Played { board, ending, troubled, first_trouble, not_done })
}

fn lock(board: &Mutex<Board>) -> MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}
