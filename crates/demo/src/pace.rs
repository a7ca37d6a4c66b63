//! How fast the cluster's time runs. The simulation has a thread and a clock of its own, which jumps to
//! whatever is due next; the pacer is a task among the others that holds the whole thread back until the
//! wall clock has come as far.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// The thread is never held back for longer at a time, so that `kubectl` has its answers soon.
const LONGEST_HOLD: Duration = Duration::from_millis(5);
/// What the cluster's clock goes on by at most, where nothing holds it back.
const LONGEST_TICK: Duration = Duration::from_secs(1);
/// How often the speed is measured.
const MEASURED_EVERY: Duration = Duration::from_secs(1);
/// Below this part of what was asked for, the machine is too slow.
const TOO_SLOW: f64 = 0.9;

/// How fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// So many seconds of the cluster in one of ours.
    Times(f64),
    /// As fast as this machine can.
    Max,
}

/// Why a text is no speed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpeedError {
    /// Not a number.
    #[error("`{0}` is no speed; write how many times real time, such as `60x`, or `max`")]
    Unreadable(String),
    /// A number with which nothing goes on, or beyond what any machine can.
    #[error("a speed of `{0}` is not possible; from `0.1x` to `10000x`, or `max`")]
    OutOfRange(String),
}

impl Speed {
    /// From the slowest to the fastest that can be asked for.
    const RANGE: std::ops::RangeInclusive<f64> = 0.1..=10_000.0;

    /// The next faster one, for a key.
    #[must_use]
    pub fn faster(self) -> Speed {
        match self {
            Speed::Times(times) if times * 2.0 <= *Speed::RANGE.end() => Speed::Times(times * 2.0),
            Speed::Times(_) | Speed::Max => Speed::Max,
        }
    }

    /// The next slower one.
    #[must_use]
    pub fn slower(self) -> Speed {
        match self {
            Speed::Times(times) => Speed::Times((times / 2.0).max(*Speed::RANGE.start())),
            Speed::Max => Speed::Times(*Speed::RANGE.end()),
        }
    }

    /// What a second of somebody outside is, in seconds of the cluster.
    pub fn stretch(self) -> f64 {
        match self {
            Speed::Times(times) => times,
            Speed::Max => *Speed::RANGE.end(),
        }
    }

    /// How far the cluster's clock goes on before it is compared with the wall's.
    fn tick(self) -> Duration {
        match self {
            Speed::Times(times) => {
                let millis = LONGEST_HOLD.mul_f64(times).as_millis();
                // Whole milliseconds: the grain of the timers.
                Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX).max(1))
                    .min(LONGEST_TICK)
            }
            Speed::Max => LONGEST_TICK,
        }
    }
}

impl std::str::FromStr for Speed {
    type Err = SpeedError;

    fn from_str(text: &str) -> Result<Self, SpeedError> {
        let text = text.trim();
        if text == "max" {
            return Ok(Speed::Max);
        }
        let number = text.strip_suffix(['x', '×']).unwrap_or(text);
        let number: f64 = number.parse().map_err(|_| SpeedError::Unreadable(text.to_owned()))?;
        if Speed::RANGE.contains(&number) {
            Ok(Speed::Times(number))
        } else {
            Err(SpeedError::OutOfRange(text.to_owned()))
        }
    }
}

impl std::fmt::Display for Speed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Speed::Times(times) => write!(f, "{}×", (times * 10.0).round() / 10.0),
            Speed::Max => f.write_str("full speed"),
        }
    }
}

/// What both threads turn at and look at.
#[derive(Debug)]
pub struct Dial {
    speed: Mutex<Speed>,
    measured: Mutex<Option<f64>>,
    paused: AtomicBool,
    stopped: AtomicBool,
}

impl Dial {
    /// At this speed.
    pub fn new(speed: Speed) -> Self {
        Dial {
            speed: Mutex::new(speed),
            measured: Mutex::default(),
            paused: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        }
    }

    /// The speed that was asked for.
    pub fn speed(&self) -> Speed {
        *lock(&self.speed)
    }

    /// Another speed.
    pub fn turn(&self, to: impl FnOnce(Speed) -> Speed) {
        let mut speed = lock(&self.speed);
        *speed = to(*speed);
        *lock(&self.measured) = None;
    }

    /// The speed as measured, where the machine does not come near what was asked for.
    pub fn behind(&self) -> Option<f64> {
        let (measured, speed) = ((*lock(&self.measured))?, self.speed());
        matches!(speed, Speed::Times(asked) if measured < asked * TOO_SLOW).then_some(measured)
    }

    /// The speed as measured.
    pub fn measured(&self) -> Option<f64> {
        *lock(&self.measured)
    }

    /// Whether time stands still.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Lets time stand still, or go on.
    pub fn pause(&self) {
        self.paused.fetch_xor(true, Ordering::Relaxed);
    }

    /// Ends the simulation.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether the simulation is to end.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The wall clock: since some moment, and how to wait by it.
pub trait Wall {
    /// Since that moment.
    fn now(&self) -> Duration;
    /// Holds the thread.
    fn hold(&self, time: Duration);
}

/// The machine's.
pub struct RealWall(std::time::Instant);

impl RealWall {
    /// From now on.
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place where virtual time meets the wall's"
    )]
    pub fn start() -> Self {
        RealWall(std::time::Instant::now())
    }
}

impl Wall for RealWall {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn hold(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// A moment on both clocks.
#[derive(Clone, Copy)]
struct Both {
    wall: Duration,
    virtually: Instant,
}

/// Keeps the pace until the dial is stopped; `each` is called once in every tick. On tokio's paused
/// clock, in the simulation's own thread.
pub async fn keep(dial: &Dial, wall: &impl Wall, mut each: impl FnMut()) {
    let here = || Both { wall: wall.now(), virtually: Instant::now() };
    let (mut origin, mut measured) = (here(), here());
    let mut speed = dial.speed();
    while !dial.is_stopped() {
        if dial.is_paused() {
            wall.hold(LONGEST_HOLD);
            // Requests are answered meanwhile; no timer fires, since the clock only goes on by sleeping.
            tokio::task::yield_now().await;
            (origin, measured) = (here(), here());
            continue;
        }
        tokio::time::sleep(speed.tick()).await;
        each();
        if dial.speed() != speed {
            speed = dial.speed();
            (origin, measured) = (here(), here());
        }
        if let Speed::Times(times) = speed {
            let due = origin.wall + origin.virtually.elapsed().div_f64(times);
            match due.checked_sub(wall.now()) {
                Some(early) => hold(wall, early),
                // What was lost is not made up for: no rush after a standstill.
                None => origin = here(),
            }
        }
        let passed = wall.now().saturating_sub(measured.wall);
        if passed >= MEASURED_EVERY {
            let virtually = measured.virtually.elapsed().as_secs_f64();
            *lock(&dial.measured) = Some(virtually / passed.as_secs_f64());
            measured = here();
        }
    }
}

/// Holds the thread for a while, in pieces.
fn hold(wall: &impl Wall, time: Duration) {
    // A tick is no longer than a piece, but where the speed is so low that a millisecond is.
    wall.hold(time.min(LONGEST_HOLD * 2));
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A wall clock that goes on by what it is held, and by `costs` with each look.
    struct FakeWall {
        now: Cell<Duration>,
        costs: Duration,
        longest: Cell<Duration>,
    }

    impl FakeWall {
        fn new(costs: Duration) -> Self {
            FakeWall { now: Cell::default(), costs, longest: Cell::default() }
        }
    }

    impl Wall for FakeWall {
        fn now(&self) -> Duration {
            self.now.set(self.now.get() + self.costs);
            self.now.get()
        }

        fn hold(&self, time: Duration) {
            self.longest.set(self.longest.get().max(time));
            self.now.set(self.now.get() + time);
        }
    }

    /// Runs for so many ticks; how much faster than the wall's the cluster's clock went.
    async fn ran(dial: &Dial, wall: &FakeWall, ticks: u32) -> f64 {
        let began = Instant::now();
        let mut left = ticks;
        keep(dial, wall, || {
            left -= 1;
            if left == 0 {
                dial.stop();
            }
        })
        .await;
        began.elapsed().as_secs_f64() / wall.now.get().as_secs_f64()
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_goes_as_fast_as_asked() {
        for times in [0.5, 1.0, 60.0, 1000.0] {
            let dial = Dial::new(Speed::Times(times));
            let wall = FakeWall::new(Duration::ZERO);
            let ratio = ran(&dial, &wall, 4000).await;
            assert!((ratio / times - 1.0).abs() < 0.01, "{times}: {ratio}");
            assert!(wall.longest.get() <= LONGEST_HOLD * 2);
            assert_eq!(dial.behind(), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_is_too_slow_says_so_and_does_not_rush_afterwards() {
        let dial = Dial::new(Speed::Times(1000.0));
        let wall = FakeWall::new(Duration::from_millis(20));
        ran(&dial, &wall, 400).await;
        assert!(dial.behind().is_some_and(|measured| measured < 200.0));
    }

    #[tokio::test(start_paused = true)]
    async fn at_full_speed_nothing_holds_it_back() {
        let dial = Dial::new(Speed::Max);
        let wall = FakeWall::new(Duration::from_micros(10));
        ran(&dial, &wall, 1000).await;
        assert_eq!(wall.longest.get(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn time_stands_still_while_it_is_paused() {
        let dial = std::rc::Rc::new(Dial::new(Speed::Times(60.0)));
        dial.pause();
        let (began, wall) = (Instant::now(), FakeWall::new(Duration::ZERO));
        let keeping = keep(&dial, &wall, || {});
        let stopping = async {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            dial.stop();
        };
        tokio::join!(keeping, stopping);
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert!(wall.now.get() > Duration::ZERO);
    }

    #[test]
    fn speeds_are_read_and_written() {
        assert_eq!("60x".parse(), Ok(Speed::Times(60.0)));
        assert_eq!("0.5".parse(), Ok(Speed::Times(0.5)));
        assert_eq!("max".parse(), Ok(Speed::Max));
        for bad in ["0", "-1x", "0x", "1e9x", "inf", "NaN"] {
            let read: Result<Speed, _> = bad.parse();
            assert_eq!(read, Err(SpeedError::OutOfRange(bad.to_owned())));
        }
        for bad in ["", "fast", "60xx", "x"] {
            let read: Result<Speed, _> = bad.parse();
            assert_eq!(read, Err(SpeedError::Unreadable(bad.to_owned())));
        }
        assert_eq!(Speed::Times(60.0).to_string(), "60×");
        assert_eq!(Speed::Times(7.5).faster(), Speed::Times(15.0));
        assert_eq!(Speed::Times(9000.0).faster(), Speed::Max);
        assert_eq!(Speed::Max.slower(), Speed::Times(10_000.0));
    }
}
