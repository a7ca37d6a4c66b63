//! The operator's entry: observe, stand by, lead term after term, until told to stop.

pub(crate) mod watches;

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use kube::ResourceExt;
use rerail_api::{NodeRemediation, convert};
use rerail_core::{lease::Lost, step::Step};
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
};

use crate::{
    act,
    alerts::{self, Origin},
    check::InCommon,
    client::{CallError, Clients},
    context::{Context, Shared, Suspects},
    deps::Deps,
    drive::{Driver, turns::Turns},
    lead::{Handle, keep::Keeper, own_pod::HOLD_OFF, recover::recover, seat::Seat, stand_by},
    observe::{
        config::Config,
        nodes::Nodes,
        objects::{Entry, Objects},
        rewind::{Rewind, Rewound},
        wake::Wakers,
    },
    plan::{Planner, meltdown::Watched},
    record::events::{Events, Publisher},
    sweep::{self, Strays},
};

/// How long the last Events may take when the operator stops.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Why the operator could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The API server did not answer, or the CRDs are not there.
    #[error("{0}; is the cluster reachable, and are crds/ and config/ applied?")]
    Call(#[from] CallError),
    /// Another operator is at work.
    #[error(
        "operator {0} holds the Lease rerail-operator and renews it; it would take up what is released. Stop it first"
    )]
    HeldByOther(String),
    /// The command was told to end before it led.
    #[error(
        "it ended before it held the Lease rerail-operator and had seen every node and run, so that nothing is known of what is left; call it again and give it time"
    )]
    NothingSeen,
    /// A watch ended; without it the operator would be blind.
    #[error("a watch of the API server broke down; the operator ends, to begin anew")]
    WatchEnded,
    /// etcd was restored from a backup.
    #[error("{0}. It ends: who begins anew goes by what is there")]
    Rewound(#[from] Rewound),
}

/// What a process does while it leads, and what it has to see for that.
pub(crate) trait Duty {
    /// Begins its watches. One that ends, ends the process.
    fn watch(&self, shared: &Arc<Shared>, watches: &mut JoinSet<()>) {
        watches::spawn_all(shared, watches);
    }

    /// True when enough has been seen to lead.
    fn has_seen_enough(&self, shared: &Shared) -> bool {
        watches::synced(shared)
    }

    /// Begins a term that holds the Lease, before anything is done in it.
    fn begin(
        &self,
        shared: Arc<Shared>,
        lease: Handle,
        epoch: i64,
    ) -> impl Future<Output = Arc<Context>> {
        recover(shared, lease, epoch)
    }

    /// The work of a term. It ends when it is told to stop, or when it is done.
    fn work(
        &self,
        context: Arc<Context>,
        stopping: watch::Receiver<bool>,
    ) -> impl Future<Output = ()>;
}

/// The operator's: who is next, and every open run.
struct Operator;

impl Duty for Operator {
    async fn work(&self, context: Arc<Context>, stopping: watch::Receiver<bool>) {
        let planner = Planner::new(context.clone()).run(stopping.clone());
        let sweeper = sweep::run(context.clone(), stopping.clone());
        let alerts = alerts::run(context.clone(), Origin::Objects, false, stopping.clone());
        let drivers = supervise(context, stopping);
        tokio::join!(planner, sweeper, alerts, drivers);
    }
}

/// Runs the operator until `shutdown` resolves: then nothing new is begun, calls under way finish,
/// everything that was done is on record, and the Lease is released.
pub async fn run(
    clients: Clients,
    deps: Arc<Deps>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let (shared, publisher) = begin(clients, deps);
    until_stopped(&shared, publisher, &Operator, shutdown).await
}

/// What lasts as long as the process. From here on it writes only while it leads.
pub(crate) fn begin(clients: Clients, deps: Arc<Deps>) -> (Arc<Shared>, Publisher) {
    clients.fence.arm(deps.boot_clock.clone());
    clients.recency.arm(deps.boot_clock.clone());
    let (events, publisher) = Events::new(clients.act.clone(), &deps.identity);
    tracing::info!(identity = %deps.identity, "starting");
    let shared = Arc::new(Shared {
        in_common: InCommon::new(clients.read.clone()),
        clients,
        deps,
        seat: Seat::default(),
        rewind: Rewind::default(),
        nodes: Nodes::default(),
        runs: Objects::default(),
        policies: Objects::default(),
        alert_sources: Objects::default(),
        pause: Objects::default(),
        config: Config::default(),
        meltdown: Watched::default(),
        wakers: Wakers::default(),
        events,
        strays: Strays::default(),
        suspects: Suspects::default(),
        turns: Turns::default(),
    });
    (shared, publisher)
}

/// Watches and does its duty until that is done or `shutdown` resolves; the work then gets the time to
/// finish what is under way.
pub(crate) async fn until_stopped(
    shared: &Arc<Shared>,
    publisher: Publisher,
    duty: &impl Duty,
    shutdown: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let (stop, stopping) = watch::channel(false);
    let work = terms(shared, stopping, duty);
    let mut watches = JoinSet::new();
    duty.watch(shared, &mut watches);
    let (all_told, told) = oneshot::channel();
    let mut telling = JoinSet::new();
    telling.spawn(publisher.run(async { drop(told.await) }));
    tokio::pin!(shutdown, work);
    let done = tokio::select! {
        biased;
        () = &mut shutdown => false,
        _ = watches.join_next() => return Err(StartError::WatchEnded),
        // Whatever is under way goes by caches that speak of things that have not happened.
        rewound = shared.rewind.seen() => {
            shared.clients.fence.set(None);
            return Err(rewound.into());
        }
        () = &mut work => true,
    };
    if !done {
        tracing::info!("stopping: nothing new is begun");
        let _ = stop.send(true);
        work.await;
    }
    // Nobody has anything more to tell; the publisher ends when it has told it.
    let _ = all_told.send(());
    if tokio::time::timeout(LAST_WORDS, telling.join_next()).await.is_err() {
        tracing::warn!("the last Events were not published in time");
    }
    Ok(())
}

/// One term after the other: stands by until the Lease is free, leads until it is lost, and stands by
/// again, in the same process: an API server that is away must not make operators crash in a loop.
/// Ends when told to stop, or when the work of a term is done.
async fn terms(shared: &Arc<Shared>, stopping: watch::Receiver<bool>, duty: &impl Duty) {
    if !seen_enough(shared, stopping.clone(), duty).await {
        return;
    }
    shared.deps.metrics.set_ready();
    tracing::info!("ready: standing by");
    let mut not_before = Duration::ZERO;
    while let Some((keeper, handle)) = stand_by::acquire(shared, stopping.clone(), not_before).await
    {
        let Some(lost) = term(shared, keeper, handle, stopping.clone(), duty).await else {
            return;
        };
        tracing::warn!(%lost, "this operator does not lead any more; it stands by");
        if lost == Lost::Released {
            not_before = shared.deps.boot_clock.since_boot().saturating_add(HOLD_OFF);
        }
    }
}

/// Leads for one term. `None`: the work is done, and the Lease released.
async fn term(
    shared: &Arc<Shared>,
    keeper: Keeper,
    handle: Handle,
    stopping: watch::Receiver<bool>,
    duty: &impl Duty,
) -> Option<Lost> {
    let epoch = keeper.epoch();
    tracing::info!(epoch, "this operator leads");
    // A task of its own: nothing that the work does holds a renewal up. It ends with this one.
    let mut keeping = JoinSet::new();
    keeping.spawn(keeper.keep());
    let mut begun = None;
    let lost = {
        let at_work = async {
            let context = duty.begin(shared.clone(), handle.clone(), epoch).await;
            shared.deps.metrics.leads(context.term.epoch);
            begun = Some(Arc::downgrade(&context));
            duty.work(context, stopping).await;
        };
        tokio::select! {
            biased;
            lost = keeping.join_next() => Some(lost.and_then(Result::ok).unwrap_or(Lost::Deadline)),
            () = at_work => None,
        }
    };
    if lost.is_some() {
        shared.clients.fence.set(None);
    }
    // Drivers are told to end where they are. The term is over when the last of them has gone; until
    // then the watchdog stands.
    while begun.as_ref().is_some_and(|context| context.strong_count() > 0) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if lost.is_none() {
        handle.release().await;
        let _ = keeping.join_next().await;
    }
    shared.deps.watchdog.feed(None);
    shared.deps.metrics.stands_by();
    lost
}

async fn seen_enough(
    shared: &Shared,
    mut stopping: watch::Receiver<bool>,
    duty: &impl Duty,
) -> bool {
    while !duty.has_seen_enough(shared) {
        tokio::select! {
            biased;
            _ = stopping.changed() => return false,
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
    true
}

/// Keeps a driver for every open run. One that panics is started anew after a pause; no other run is
/// concerned (hazard H39).
pub(crate) async fn supervise(context: Arc<Context>, mut stopping: watch::Receiver<bool>) {
    let mut tasks = JoinSet::new();
    let mut driven: BTreeMap<tokio::task::Id, String> = BTreeMap::new();
    let mut broken: BTreeMap<String, u32> = BTreeMap::new();
    while !*stopping.borrow() {
        start_missing(&context, &stopping, &mut tasks, &mut driven, &broken);
        tokio::select! {
            biased;
            _ = stopping.changed() => break,
            Some(ended) = tasks.join_next_with_id() => match ended {
                Ok((id, ())) => {
                    driven.remove(&id);
                }
                Err(error) => {
                    let Some(name) = driven.remove(&error.id()) else { continue };
                    tracing::error!(remediation = %name, %error, "the driver of a run broke down; it is started anew after a pause");
                    *broken.entry(name).or_default() += 1;
                }
            },
            () = context.wakers.supervisor.notified() => {}
        }
    }
    while tasks.join_next().await.is_some() {}
}

fn start_missing(
    context: &Arc<Context>,
    stopping: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
    driven: &mut BTreeMap<tokio::task::Id, String>,
    broken: &BTreeMap<String, u32>,
) {
    for entry in context.runs.snapshot() {
        let object = match entry {
            Entry::Good(object) => object,
            Entry::Malformed(_) => continue,
        };
        let name = object.name_any();
        if driven.values().any(|known| *known == name) || !needs_driver(&object) {
            continue;
        }
        let breakdowns = broken.get(&name).copied().unwrap_or(0);
        let driver = Driver::new(context.clone(), &name, &object.spec.node_name, breakdowns > 0);
        let pause = restart_pause(breakdowns);
        let stopping = stopping.clone();
        let handle = tasks.spawn(async move {
            tokio::time::sleep(pause).await;
            driver.drive(stopping).await;
        });
        driven.insert(handle.id(), name);
    }
}

/// How long a run rests whose driver has broken down so often: a run that breaks its driver each time
/// must not keep the operator busy (hazard H39).
fn restart_pause(breakdowns: u32) -> Duration {
    match breakdowns {
        0 => Duration::ZERO,
        count => Duration::from_secs(1 << count.min(9)).min(Duration::from_secs(300)),
    }
}

/// Open runs have a driver; ended ones while our finalizer stands; Pending ones when they are to go.
/// One that cannot be read has none: it is left alone until it can be.
fn needs_driver(object: &NodeRemediation) -> bool {
    let ours = act::run::bears_finalizer(object);
    match convert::run::run(object) {
        Ok(run) if run.step.is_terminal() => ours,
        // Somebody else's finalizer keeps it; ours is off, and nothing is left to do.
        Ok(run) if run.frozen.is_some() && object.metadata.deletion_timestamp.is_some() => ours,
        Ok(run) if run.step == Step::Pending => run.cancel,
        Ok(_) => true,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hazard H39: one object that breaks its driver each time costs the others nothing.
    #[test]
    fn a_run_that_breaks_its_driver_again_and_again_rests_ever_longer() {
        let seconds = |count| restart_pause(count).as_secs();
        assert_eq!(
            [seconds(0), seconds(1), seconds(3), seconds(9), seconds(1000)],
            [0, 2, 8, 300, 300]
        );
    }
}
