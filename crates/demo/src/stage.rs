//! The simulation, in a thread of its own: world, operator and API on one virtual clock.

use std::{
    net::TcpListener,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
};

use jiff::SignedDuration;
use rerail_sim::world::Scene;
use rerail_simulate::{board::Seen, crew::CrewError, settled::Verdict, stage as simulate};
use tokio::task::{LocalSet, spawn_local};

use crate::{
    Shared,
    pace::{self, RealWall},
    serve,
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
    Operator(#[from] CrewError),
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
    let spectator = shared.clone();
    let see = move |seen: &Seen<'_>| {
        // How the operators step down when it is over is not part of the story.
        if !spectator.dial.is_stopped() {
            spectator.lock().see(seen);
        }
    };
    // Who looks on does not wait for a node that had its chance.
    let mut stage = simulate::Stage::raise(play.scene, play.seed, SignedDuration::ZERO, see)?;
    let serving = spawn_local(serve::serve(listener, stage.server().clone(), shared.clone()));
    let look = || {
        if stage.is_broken() {
            shared.dial.stop();
        }
        // Judged at rest where the demo ends; where it goes on, people may change everything meanwhile.
        let verdict = stage.look(&mut shared.lock(), play.once);
        match verdict {
            Verdict::GoesOn => {}
            Verdict::Settled => shared.settled.store(true, Ordering::Relaxed),
            Verdict::TooLong => shared.gave_up.store(true, Ordering::Relaxed),
        }
        if play.once && verdict != Verdict::GoesOn {
            shared.dial.stop();
        }
    };
    pace::keep(&shared.dial, &RealWall::start(), look).await;
    serving.abort();
    stage.strike().await?;
    Ok(())
}
