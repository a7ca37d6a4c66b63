//! Processes of the unchanged operator: started, killed, stopped, started again.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::pending,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use rerail_operator::{
    client::Clients,
    deps::{BootClock, Clock, Deps, NoFetch, Settings, Watchdog},
    lead::own_pod,
    record::metrics::Metrics,
    release,
};
use rerail_sim::{
    Server,
    observe::{Happening, What},
};
use tokio::{
    task::{JoinError, spawn_local},
    time::{Instant, sleep, timeout},
};

use crate::{
    alertmanagers::Alertmanagers,
    draw::Draw,
    net::Net,
    process::Process,
    wire::{Gate, Wire},
};

/// How far the clocks of processes are off.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clocks {
    /// What is drawn from.
    pub seed: u64,
    /// The wall clock, at most so many milliseconds fast or slow; each process anew, as after a step.
    pub wall: u64,
    /// The clock since boot, at most so many thousandths fast or slow.
    pub rate: u64,
}

/// So long a process that is to be stopped when it writes is waited for.
const FOR_A_WRITE: Duration = Duration::from_secs(30);

/// How a process is stopped.
#[derive(Debug, Clone, Copy)]
pub struct Halt {
    /// How long.
    pub lasts: Duration,
    /// Before it decides whether it may send, or behind that.
    pub deciding: bool,
    /// When it writes next, not at once: between a look and what is done by it is a moment that no other
    /// time would hit.
    pub at_a_write: bool,
    /// The watchdog is the first to wake up.
    pub bites: bool,
}

/// The operators of a run.
pub struct Operators {
    net: Net,
    clocks: Clocks,
    /// Whom they ask what fires.
    alertmanagers: Option<Arc<Alertmanagers>>,
    /// The living process of each operator.
    alive: RefCell<BTreeMap<String, Living>>,
    /// When a process ended last.
    ended: Cell<Option<Instant>>,
    /// None is started any more.
    over: Cell<bool>,
    /// What they said when they fell over by themselves.
    pub fell: RefCell<Vec<String>>,
    /// The watchdogs of all processes that there were.
    watchdogs: RefCell<Vec<(String, Arc<Dog>)>>,
}

struct Living {
    process: Process,
    watchdog: Arc<Dog>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Operators {
    /// None yet.
    pub fn new(net: &Net, clocks: Clocks, alertmanagers: Option<Arc<Alertmanagers>>) -> Rc<Self> {
        Rc::new(Operators {
            net: net.clone(),
            clocks,
            alertmanagers,
            alive: RefCell::default(),
            ended: Cell::default(),
            over: Cell::default(),
            fell: RefCell::default(),
            watchdogs: RefCell::default(),
        })
    }

    /// Starts an operator, and starts it again whenever it has ended.
    pub async fn keep(self: Rc<Self>, operator: String) {
        for number in 1.. {
            if self.over.get() {
                return;
            }
            let process = Process::new(&operator, number);
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let (deps, clients) = self.starts(&process, Some(stop));
            let shutdown = async {
                if stopped.await.is_err() {
                    pending::<()>().await;
                }
            };
            let mut task = spawn_local(rerail_operator::run(clients, deps, shutdown));
            let (killed, back_after) = tokio::select! {
                biased;
                back_after = process.died() => (true, back_after),
                ended = &mut task => (false, self.ended(&process, ended)),
            };
            task.abort();
            process.kill(Duration::ZERO);
            self.ended.set(Some(Instant::now()));
            self.tell(&process, What::OperatorEnded { killed });
            sleep(back_after.max(Duration::from_millis(1))).await;
        }
    }

    /// A process begins: what it has and whom it asks.
    fn starts(
        &self,
        process: &Process,
        stop: Option<tokio::sync::oneshot::Sender<()>>,
    ) -> (Arc<Deps>, Clients) {
        self.tell(process, What::OperatorStarted);
        let (deps, watchdog) = self.deps(process);
        let wire = Wire::new(&self.net, process);
        let clients = Clients::over(wire, &Gate(process.clone()), &deps.metrics);
        self.watchdogs.borrow_mut().push((process.name(), watchdog.clone()));
        let living = Living { process: process.clone(), watchdog, stop };
        self.alive.borrow_mut().insert(process.operator().to_owned(), living);
        (deps, clients)
    }

    /// `kill -9` for all, and nobody starts them again.
    pub fn end_all(&self) {
        self.over.set(true);
        for living in self.alive.borrow().values() {
            living.process.kill(Duration::ZERO);
        }
    }

    /// Runs `rerail release-all` as the next process of this operator, at most so long; what is left then.
    pub async fn release(&self, operator: &str, patience: Duration) -> Vec<String> {
        let number = self.alive.borrow().get(operator).map_or(0, |one| one.process.number());
        let process = Process::new(operator, number + 1);
        let (deps, clients) = self.starts(&process, None);
        let command = release::release_all(clients, deps, sleep(patience), |_| {});
        let ended = spawn_local(command).await;
        process.kill(Duration::ZERO);
        self.tell(&process, What::OperatorEnded { killed: false });
        match ended {
            Ok(Ok(left)) => {
                let told = left.into_iter().map(|one| {
                    format!("{}: run {} is {} ({})", one.node, one.run, one.step, one.reason.0)
                });
                told.collect()
            }
            Ok(Err(error)) => vec![format!("release-all ends: {error}")],
            Err(panic) => vec![format!("release-all falls over: {panic}")],
        }
    }

    /// The processes that their watchdog would have ended though nothing held them up.
    pub fn bitten(&self) -> Vec<String> {
        let watchdogs = self.watchdogs.borrow();
        let told = watchdogs
            .iter()
            .filter_map(|(name, dog)| Some(format!("{name}: {}", dog.lock().bites?)));
        told.collect()
    }

    /// True if no process has ended for so long: whoever is left has had the time to lead.
    pub fn are_well_for(&self, long: Duration) -> bool {
        self.ended.get().is_none_or(|ended| ended.elapsed() >= long)
    }

    /// After how long the cluster starts it again.
    fn ended(
        &self,
        process: &Process,
        ended: Result<Result<(), rerail_operator::StartError>, JoinError>,
    ) -> Duration {
        let name = process.name();
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.net.note(format_args!("{name} ends: {error}")),
            Err(panic) => self.fell.borrow_mut().push(format!("{name}: {panic}")),
        }
        Duration::from_secs(10)
    }

    fn tell(&self, process: &Process, what: What) {
        let server = self.net.server();
        self.net.note(format_args!("{} {what:?}", process.name()));
        server.happened(&Happening { at: server.now(), subject: process.name(), what });
    }

    /// `kill -9`.
    pub fn kill(&self, operator: &str, back_after: Duration) {
        if let Some(living) = self.alive.borrow().get(operator) {
            living.process.kill(back_after);
        }
    }

    /// SIGTERM.
    pub fn terminate(&self, operator: &str) {
        if let Some(living) = self.alive.borrow_mut().get_mut(operator)
            && let Some(stop) = living.stop.take()
        {
            let _ = stop.send(());
        }
    }

    /// Stops a process, and lets it go on later, at most after `left`. If its watchdog is awake first, it
    /// ends then.
    pub async fn stop(&self, operator: &str, halt: Halt, left: Duration) {
        let living = self
            .alive
            .borrow()
            .get(operator)
            .map(|living| (living.process.clone(), living.watchdog.clone()));
        let Some((process, watchdog)) = living else { return };
        let began = Instant::now();
        if halt.at_a_write {
            process.stop_at_a_write(halt.deciding);
            let _ = timeout(FOR_A_WRITE.min(left), process.stopped()).await;
        }
        process.stop(halt.deciding);
        watchdog.lock().excused = true;
        sleep(halt.lasts.min(left.saturating_sub(began.elapsed()))).await;
        if halt.bites && watchdog.is_hungry() {
            process.kill(Duration::from_secs(1));
        }
        process.go_on();
        watchdog.lock().excused = true;
    }

    fn deps(&self, process: &Process) -> (Arc<Deps>, Arc<Dog>) {
        let server = self.net.server();
        let name = process.operator();
        let number = u64::from(process.number());
        let seed = self.clocks.seed;
        let mut draw = Draw::new(seed, &format!("clocks of {name}"), number);
        let off = |draw: &mut Draw, most: u64| {
            let drawn = draw.between(0, most.saturating_mul(2));
            i64::try_from(drawn).unwrap_or(i64::MAX) - i64::try_from(most).unwrap_or(i64::MAX)
        };
        let wall = off(&mut draw, self.clocks.wall);
        // The machine is the same for all processes of an operator, and so is its clock.
        let mut machine = Draw::new(seed, &format!("machine of {name}"), 0);
        let booted = Duration::from_secs(machine.between(60, 10_000_000));
        let rate = 1000 + off(&mut machine, self.clocks.rate);
        let boot_clock = Arc::new(SinceBoot {
            process: process.clone(),
            booted,
            thousandths: u32::try_from(rate).unwrap_or(1000),
            origin: self.net.began(),
        });
        let clock = Skewed { server: server.clone(), by: SignedDuration::from_millis(wall) };
        let start = clock.now().as_nanosecond();
        let watchdog = Arc::new(Dog { clock: boot_clock.clone(), fed: Mutex::default() });
        let deps = Deps {
            clock: Box::new(clock),
            boot_clock,
            watchdog: Box::new(Fed(watchdog.clone())),
            identity: own_pod::identity(name, process.number(), start),
            fetch: match &self.alertmanagers {
                Some(all) => all.asked_by(process),
                None => Arc::new(NoFetch),
            },
            pushes: Arc::default(),
            settings: Settings::outside_a_cluster(),
            metrics: Metrics::default(),
        };
        (Arc::new(deps), watchdog)
    }
}

/// A wall clock as the operator has one: read once, steady since.
struct Skewed {
    server: Server,
    by: SignedDuration,
}

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        self.server.now().saturating_add(self.by).unwrap_or(Timestamp::MAX)
    }
}

/// A clock that goes on while the process is stopped, at its own rate.
struct SinceBoot {
    process: Process,
    booted: Duration,
    thousandths: u32,
    origin: Instant,
}

impl BootClock for SinceBoot {
    fn since_boot(&self) -> Duration {
        if self.process.is_dead() {
            // Whatever is left of a process that was killed finds its right to act gone, and ends.
            return Duration::from_secs(u64::from(u32::MAX));
        }
        self.booted + self.origin.elapsed() * self.thousandths / 1000
    }
}

/// The watchdog of a process. It ends one that was stopped; no other has it to fear, since no time passes
/// while something computes.
struct Dog {
    clock: Arc<SinceBoot>,
    fed: Mutex<Meal>,
}

#[derive(Default)]
struct Meal {
    until: Option<Duration>,
    /// The process was stopped since.
    excused: bool,
    /// Why it would have ended a process that was not stopped.
    bites: Option<&'static str>,
}

impl Dog {
    fn lock(&self) -> MutexGuard<'_, Meal> {
        self.fed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self, until: Option<Duration>) -> bool {
        until.is_some_and(|until| self.clock.since_boot() >= until)
    }

    fn is_hungry(&self) -> bool {
        let until = self.lock().until;
        self.is_over(until)
    }
}

struct Fed(Arc<Dog>);

impl Watchdog for Fed {
    fn feed(&self, until: Option<Duration>) {
        let dog = &self.0;
        let mut meal = dog.lock();
        let answers = !meal.excused && !dog.clock.process.is_dead();
        if answers && dog.is_over(meal.until) {
            meal.bites = Some("its watchdog was fed too late");
        }
        if answers && dog.is_over(until) {
            meal.bites = Some("its watchdog was fed with a time that had passed");
        }
        *meal = Meal { until, excused: false, bites: meal.bites };
    }
}
