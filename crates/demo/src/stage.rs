//! The simulation, in a thread of its own: world, operator and API on one virtual clock.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    sync::{Arc, PoisonError, atomic::Ordering},
    thread::JoinHandle,
};

use jiff::Timestamp;
use rerail_sim::{
    Server,
    observe::{Happening, Observer},
    property::Judge,
    store::{Commit, Store},
    world::{Scene, World},
};
use tokio::task::{LocalSet, spawn_local};

use crate::{
    Shared,
    board::{Board, Face, Seen},
    crew::Crew,
    pace::{self, RealWall},
    serve,
    settled::{self, Verdict},
};

/// Why the simulation did not start, or broke.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// No thread, or no runtime.
    #[error("it did not start: {0}")]
    Start(std::io::Error),
    /// The scene cannot be played.
    #[error("the scene cannot be played: {0}")]
    World(#[from] rerail_sim::world::Error),
    /// The operator is not at work any more.
    #[error(transparent)]
    Operator(#[from] crate::crew::CrewError),
    /// A bug.
    #[error("it broke down; this is a bug, and the words above are worth a report")]
    Broken,
}

/// What is played.
pub struct Play {
    /// The cluster, and what happens in it.
    pub scene: Scene,
    /// What everything is drawn from that looks random.
    pub seed: u64,
    /// Whether it ends when all that can heal has healed.
    pub once: bool,
}

/// The thread.
pub struct Stage(JoinHandle<Result<(), StageError>>);

impl Stage {
    /// Starts the thread.
    pub fn raise(
        play: Play,
        listener: TcpListener,
        shared: Arc<Shared>,
    ) -> Result<Stage, StageError> {
        let perform = move || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().start_paused(true).build();
            let runtime = runtime.map_err(StageError::Start)?;
            // The compiler cannot see that the operator's future may go to another thread.
            runtime.block_on(LocalSet::new().run_until(perform(play, listener, shared)))
        };
        let thread = std::thread::Builder::new().name("simulation".to_owned());
        Ok(Stage(thread.spawn(perform).map_err(StageError::Start)?))
    }

    /// True when it has ended, for whatever reason.
    pub fn is_over(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits for its end.
    pub fn end(self) -> Result<(), StageError> {
        self.0.join().unwrap_or(Err(StageError::Broken))
    }
}

async fn perform(play: Play, listener: TcpListener, shared: Arc<Shared>) -> Result<(), StageError> {
    let server = Server::new(rerail_sim::Options { seed: play.seed, ..Default::default() });
    server.observe(Spectator(shared.clone()));
    let judge = Judge::default();
    server.observe(judge.clone());
    let script_ends = script_ends(&play.scene, server.now());
    let world = World::open(&server, play.scene, play.seed)?;
    let crew = Crew::start(&server);
    let serving = serve::serve(listener, server.clone(), shared.clone());
    let serving = spawn_local(serving);
    let mut watch = settled::Watch::new(script_ends);
    let mut judged = 0;
    let look = || {
        if crew.is_broken() {
            shared.dial.stop();
        }
        let mut board = shared.lock();
        board.tick(server.now());
        let verdict = watch.look(&board);
        let over = play.once && verdict != Verdict::GoesOn;
        // Judged where the demo ends; where it goes on, people may change everything meanwhile.
        if over && verdict == Verdict::Settled && !shared.settled.load(Ordering::Relaxed) {
            server.with(|store, now| judge.at_rest(store, &curable(&board), now));
            for complaint in world.complaints() {
                board.violated(server.now(), format!("WORLD {complaint}"));
            }
        }
        for violation in judge.violations().into_iter().skip(judged) {
            let what =
                format!("{} {}: {}", violation.property, violation.subject, violation.message);
            board.violated(violation.at, what);
            judged += 1;
        }
        match verdict {
            Verdict::GoesOn => {}
            Verdict::Settled => shared.settled.store(true, Ordering::Relaxed),
            Verdict::TooLong => shared.gave_up.store(true, Ordering::Relaxed),
        }
        if over {
            shared.dial.stop();
        }
    };
    pace::keep(&shared.dial, &RealWall::start(), look).await;
    serving.abort();
    crew.stop().await?;
    drop(world);
    Ok(())
}

/// Nodes with which nothing may be wrong when nothing is under way any more: all but those that are left
/// for people.
fn curable(board: &Board) -> BTreeSet<String> {
    let well = |face| matches!(face, Face::Healthy | Face::Healed);
    let nodes = board.nodes().iter().filter(|(_, entry)| well(entry.face()));
    nodes.map(|(name, _)| name.clone()).collect()
}

fn script_ends(scene: &Scene, start: Timestamp) -> Timestamp {
    let last = scene.timeline.iter().map(|entry| entry.at.value()).max().unwrap_or_default();
    start.saturating_add(last).unwrap_or(Timestamp::MAX)
}

/// Shows every change to the board.
struct Spectator(Arc<Shared>);

impl Observer for Spectator {
    fn committed(&mut self, store: &Store, commit: &Commit) {
        // How the operators step down when it is over is not part of the story.
        if self.0.dial.is_stopped() {
            return;
        }
        let resource = &store.resource(commit.resource).plural;
        let mut board = self.0.board.lock().unwrap_or_else(PoisonError::into_inner);
        board.see(&Seen {
            at: commit.at,
            by: &commit.by,
            resource,
            object: &commit.change.after,
            gone: commit.change.gone,
        });
    }

    fn happened(&mut self, _: &Store, _: &Happening) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::fixture::{Fixture, Node};

    #[test]
    fn what_is_left_for_people_need_not_be_cured() {
        let mut fixture = Fixture::new();
        for (name, down) in [("healthy", false), ("healed", false), ("held", false), ("gone", true)]
        {
            fixture.node(0, name, "rack-a", &Node { down, ..Node::default() });
        }
        fixture.run(1, "healed", "Succeeded", "Healed", "");
        fixture.run(2, "held", "Held", "NoBoot", "");
        let nodes = curable(&fixture.board);
        assert_eq!(nodes.iter().map(String::as_str).collect::<Vec<_>>(), ["healed", "healthy"]);
    }
}
