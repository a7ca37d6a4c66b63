//! Shows the whole product without a cluster: the unchanged operator on a simulated one, as a picture,
//! as lines, and to `kubectl` in another terminal.
//!
//! | module | what |
//! |---|---|
//! | `stage` | the simulation (`rerail-simulate`), in a thread and on a clock of its own |
//! | [`pace`] | how fast that clock runs |
//! | `serve` | the API over HTTP on loopback |
//! | [`picture`], `screen` | the picture, and the terminal that it is drawn on |
//! | `plain`, [`summary`] | lines for a pipe, and the end |

pub mod pace;
pub mod picture;
mod plain;
mod screen;
mod serve;
mod stage;
pub mod summary;

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rerail_sim::world::{Scene, SceneError};
use rerail_simulate::board::Board;

use self::{
    pace::{Dial, RealWall, Speed, Wall},
    picture::Paint,
    serve::Kubeconfig,
    summary::Ending,
};

/// What is shown, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Lines instead of a picture.
    pub plain: bool,
    /// How fast.
    pub speed: Speed,
    /// What everything is drawn from that looks random.
    pub seed: u64,
    /// A scene; without it the one that comes with the program.
    pub scenario: Option<PathBuf>,
    /// Ends when all that can heal has healed.
    pub once: bool,
    /// Where the API is served on loopback; 0 for any free port.
    pub port: u16,
    /// Whether there may be colours.
    pub colors: bool,
    /// How the reader calls this program.
    pub program: String,
}

/// Why there is nothing to be seen.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The scene's file cannot be read.
    #[error("--scenario {path}: {source}")]
    Scenario {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It is no scene.
    #[error("--scenario {path}: {source}")]
    Scene {
        /// Which.
        path: String,
        /// Why.
        source: SceneError,
    },
    /// The API cannot be served.
    #[error(transparent)]
    Serve(#[from] serve::ServeError),
    /// The simulation did not start, or broke.
    #[error("the simulation: {0}")]
    Stage(#[from] stage::StageError),
    /// The terminal or the pipe.
    #[error("nothing can be shown: {0}")]
    Screen(io::Error),
}

/// What both threads look at.
#[derive(Debug)]
pub struct Shared {
    board: Mutex<Board>,
    dial: Dial,
    kubeconfig: Kubeconfig,
    settled: AtomicBool,
    gave_up: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    fn ending(&self) -> Ending {
        match (self.is_settled(), self.gave_up.load(Ordering::Relaxed)) {
            (true, _) => Ending::Settled,
            (false, true) => Ending::GaveUp,
            (false, false) => Ending::Quit,
        }
    }
}

/// Shows everything, until it is over or `quit` becomes true. `Ok(false)` if something was that must
/// never be, or what can heal did not. Blocks the thread.
pub fn run(options: &Options, quit: &AtomicBool) -> Result<bool, DemoError> {
    let scene = scene(options)?;
    let listener = serve::listen(options.port)?;
    let address = listener.local_addr().map_err(DemoError::Screen)?;
    let shared = Arc::new(Shared {
        board: Mutex::new(Board::new(rerail_sim::Options::default().start)),
        dial: Dial::new(options.speed),
        kubeconfig: Kubeconfig::write(address)?,
        settled: AtomicBool::default(),
        gave_up: AtomicBool::default(),
    });
    let wall = RealWall::start();
    let play = stage::Play { scene, seed: options.seed, once: options.once };
    let stage = stage::Stage::raise(play, listener, shared.clone())?;
    let shown = match options.plain {
        true => tell(&shared, &stage, quit),
        false => screen::show(&shared, &stage, quit, Paint { colors: options.colors }),
    };
    shared.dial.stop();
    let ended = stage.end();
    let shown = enough_is_enough(shown)?;
    ended?;
    if shown {
        let mut out = anstream::stdout();
        let board = shared.lock();
        let written =
            summary::write(&mut out, &board, shared.ending(), wall.now(), &options.program);
        enough_is_enough(written)?;
    }
    let board = shared.lock();
    Ok(is_good(&board, shared.ending()))
}

/// Whether everything was as it must be.
fn is_good(board: &Board, ending: Ending) -> bool {
    board.violations().is_empty() && ending != Ending::GaveUp
}

fn scene(options: &Options) -> Result<Scene, DemoError> {
    let Some(path) = &options.scenario else {
        let path = "demo".to_owned();
        return Scene::named("demo").map_err(|source| DemoError::Scene { path, source });
    };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|source| DemoError::Scenario { path: name.clone(), source })?;
    Scene::parse(&text).map_err(|source| DemoError::Scene { path: name, source })
}

/// False when whoever reads has stopped to, as `head` does.
fn enough_is_enough(shown: io::Result<()>) -> Result<bool, DemoError> {
    match shown {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(DemoError::Screen(error)),
    }
}

/// How often the lines are looked for.
const LOOKED_EVERY: Duration = Duration::from_millis(50);

/// Lines, until it is over or somebody has seen enough.
fn tell(shared: &Shared, stage: &stage::Stage, quit: &AtomicBool) -> io::Result<()> {
    let mut out = anstream::stdout();
    let path = shared.kubeconfig.path().display();
    writeln!(out, "rerail demo, simulated; in another terminal: export KUBECONFIG={path}")?;
    let (mut written, mut told_settled) = (0, false);
    loop {
        // Looked at first, so that nothing is told after it that is not written.
        let over = quit.load(Ordering::Relaxed) || shared.dial.is_stopped() || stage.is_over();
        written = plain::go_on(&mut out, &shared.lock(), written, over)?;
        if shared.is_settled() && !told_settled {
            told_settled = true;
            writeln!(out, "All that can heal has healed.")?;
        }
        if over {
            return Ok(());
        }
        std::thread::sleep(LOOKED_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use rerail_simulate::board::fixture;

    use super::*;

    #[test]
    fn a_violation_is_not_good_and_neither_is_what_never_heals() {
        let mut board = Board::new(fixture::start());
        assert!(is_good(&board, Ending::Settled) && is_good(&board, Ending::Quit));
        assert!(!is_good(&board, Ending::GaveUp));
        board.violated(fixture::start(), "SAFE-1 worker-001: booted twice".to_owned());
        assert!(!is_good(&board, Ending::Settled) && !is_good(&board, Ending::Quit));
    }
}
