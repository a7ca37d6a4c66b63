//! Pins everything that differs from run to run, so that a simulation is a function of its seed.
//!
//! | what differs | who uses it | the pin |
//! |---|---|---|
//! | random bytes of the operating system | `RandomState` of std, `rand`, tower's jitter | `getrandom` of the C library is replaced by a stream of the seed |
//! | the wall clock | kube's `Recorder`, log lines | `clock_gettime(CLOCK_REALTIME)` is replaced by [`START`] and the time that passed on tokio's paused clock |
//! | the keys of `ahash`, one set for each process | the stores of kube's reflectors | its source of randomness is ours, and its keys are drawn before anything else |
//! | `fastrand`, seeded from clock and thread | the jitter of kube's back-off | seeded |
//! | what lasts as long as a thread | all of these | each simulation has a thread of its own |
//! | the clock of timers | everybody | a runtime of one thread whose clock was paused when it started |
//!
//! What is left to those who are simulated: `biased;` in every `tokio::select!`, no threads, no sockets,
//! no files, and no `tokio::sync::watch` for which several tasks wait at a time: in which order it wakes
//! them is drawn from a seed of tokio's own, which cannot be pinned.
//!
//! All of a program's simulations have to go through [`run`], which looks whether the pins hold: a
//! test beside them that touches ahash first would undo one.

#![cfg(target_os = "linux")]

mod branch;
mod symbols;

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use tokio::{runtime::Builder, task::LocalSet};

pub use branch::{Branch, BranchError, branch, end};
pub use symbols::START;

/// For what the keys of ahash are drawn.
const KEYS: u64 = 0x6b65_7973;

/// Stack of a simulation: futures are large where nothing is optimised.
const STACK: usize = 16 << 20;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A pin does not hold, so that nothing could be repeated.
    #[error("not pinned: {0}")]
    NotPinned(&'static str),
    /// No thread, or no runtime.
    #[error("a simulation cannot start: {0}")]
    Start(#[from] std::io::Error),
    /// What was simulated panicked.
    #[error("panicked: {0}")]
    Panicked(String),
}

/// Runs a simulation on a thread of its own, with everything pinned, and waits for its end. Within it
/// `tokio::spawn` and `tokio::task::spawn_local` work; time passes only when everybody waits.
pub fn run<F, T>(seed: u64, simulation: impl FnOnce() -> F + Send + 'static) -> Result<T, Error>
where
    F: Future<Output = T>,
    T: Send + 'static,
{
    static KEYS_ARE_OURS: OnceLock<bool> = OnceLock::new();
    let thread = |work: Box<dyn FnOnce() -> Result<T, Error> + Send>| {
        std::thread::Builder::new().name("simulation".to_owned()).stack_size(STACK).spawn(work)
    };
    if !*KEYS_ARE_OURS.get_or_init(|| std::thread::spawn(draw_keys).join().unwrap_or(false)) {
        return Err(Error::NotPinned("somebody used ahash before the first simulation"));
    }
    let simulated = thread(Box::new(move || {
        let _pinned = symbols::Pinned::new(seed);
        fastrand::seed(seed);
        probe(seed)?;
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build()?;
        let result = LocalSet::new().block_on(&runtime, async move {
            symbols::let_time_pass();
            let before = SystemTime::UNIX_EPOCH.checked_add(START);
            let now = wall_clock();
            let passed = before.and_then(|before| now.duration_since(before).ok());
            if passed.is_none_or(|passed| passed > Duration::from_secs(1)) {
                return Err(Error::NotPinned("clock_gettime is not ours"));
            }
            Ok(simulation().await)
        });
        // What the simulation left behind ends under the same pins.
        drop(runtime);
        result
    }))?;
    match simulated.join() {
        Ok(result) => result,
        Err(panic) => Err(Error::Panicked(words(&*panic))),
    }
}

/// Draws the keys that ahash has for as long as the process lives, the same ones in every process;
/// `false` if it has some already.
fn draw_keys() -> bool {
    let ours = ahash::random_state::set_random_source(symbols::Drawn).is_ok();
    let _pinned = symbols::Pinned::new(KEYS);
    let before = symbols::position();
    let _ = ahash::RandomState::with_seed(0);
    ours && symbols::position() != before
}

/// Looks whether random bytes come from the seed: std's keys, drawn twice from the same place, are the
/// same.
fn probe(seed: u64) -> Result<(), Error> {
    let fresh = || {
        std::thread::Builder::new().spawn(move || {
            let _pinned = symbols::Pinned::new(seed);
            RandomState::new().hash_one(0)
        })
    };
    let hash = |thread: std::thread::JoinHandle<u64>| thread.join().ok();
    if hash(fresh()?) == hash(fresh()?) {
        Ok(())
    } else {
        Err(Error::NotPinned("getrandom is not ours"))
    }
}

#[allow(clippy::disallowed_methods, reason = "to see whether it is pinned")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// What a panic said.
fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words").to_owned()
}
