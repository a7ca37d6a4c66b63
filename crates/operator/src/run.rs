//! The operator's entry: observe, stand by, lead term after term, until told to stop.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use k8s_openapi::api::{coordination::v1::Lease, core::v1::ConfigMap};
use kube::{Api, ResourceExt, core::DynamicObject, runtime::watcher};
use rerail_api::{AlertSource, Node, NodeRemediation, RemediationPolicy, convert, names};
use rerail_core::{lease::Lost, step::Step};
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
};

use crate::{
    act, alerts,
    check::InCommon,
    client::{CallError, Clients},
    context::{Context, Shared, Suspects},
    deps::Deps,
    drive::{Driver, turns::Turns},
    lead::{Handle, keep::Keeper, own_pod::HOLD_OFF, recover::recover, seat::Seat, stand_by},
    observe::{
        config::{self, Config},
        nodes::Nodes,
        objects::{self, Entry, Objects},
        recency,
        rewind::{Rewind, Rewound},
        wake::Wakers,
        watch::{follow, follow_recent},
    },
    plan::{Planner, meltdown::Watched},
    record::events::{Events, Publisher},
    sweep::{self, Strays},
};

/// How long the last Events may take when the operator stops.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Nodes of one page of a list. A page is held whole while it is read, and the allocator keeps its
/// memory: with kube's 500 the process was a third larger for good, and its peak by two thirds
/// (`docs/design/013-slim-nodes.md`).
const NODES_A_PAGE: u32 = 50;

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

/// Runs the operator until `shutdown` resolves: then nothing new is begun, calls under way finish,
/// everything that was done is on record, and the Lease is released.
pub async fn run(
    clients: Clients,
    deps: Arc<Deps>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let (shared, publisher) = begin(clients, deps);
    let (stop, stopping) = watch::channel(false);
    let work = terms(&shared, stopping, plan_and_drive);
    until_stopped(&shared, publisher, work, stop, shutdown).await
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

/// Watches and works until the work is done or `shutdown` resolves; the work then gets the time to
/// finish what is under way.
pub(crate) async fn until_stopped(
    shared: &Arc<Shared>,
    publisher: Publisher,
    work: impl Future<Output = ()>,
    stop: watch::Sender<bool>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let mut watches = JoinSet::new();
    spawn_watches(shared, &mut watches);
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
pub(crate) async fn terms<W: Future<Output = ()>>(
    shared: &Arc<Shared>,
    stopping: watch::Receiver<bool>,
    mut work: impl FnMut(Arc<Context>, watch::Receiver<bool>) -> W,
) {
    if !synced(shared, stopping.clone()).await {
        return;
    }
    shared.deps.metrics.set_ready();
    tracing::info!("ready: standing by");
    let mut not_before = Duration::ZERO;
    while let Some((keeper, handle)) = stand_by::acquire(shared, stopping.clone(), not_before).await
    {
        let Some(lost) = term(shared, keeper, handle, stopping.clone(), &mut work).await else {
            return;
        };
        tracing::warn!(%lost, "this operator does not lead any more; it stands by");
        if lost == Lost::Released {
            not_before = shared.deps.boot_clock.since_boot().saturating_add(HOLD_OFF);
        }
    }
}

/// Leads for one term. `None`: the work is done, and the Lease released.
async fn term<W: Future<Output = ()>>(
    shared: &Arc<Shared>,
    keeper: Keeper,
    handle: Handle,
    stopping: watch::Receiver<bool>,
    work: &mut impl FnMut(Arc<Context>, watch::Receiver<bool>) -> W,
) -> Option<Lost> {
    let epoch = keeper.epoch();
    tracing::info!(epoch, "this operator leads");
    // A task of its own: nothing that the work does holds a renewal up. It ends with this one.
    let mut keeping = JoinSet::new();
    keeping.spawn(keeper.keep());
    let mut begun = None;
    let lost = {
        let at_work = async {
            let context = recover(shared.clone(), handle.clone(), epoch).await;
            shared.deps.metrics.leads(context.term.epoch);
            begun = Some(Arc::downgrade(&context));
            work(context, stopping).await;
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

fn spawn_watches(context: &Arc<Shared>, watches: &mut JoinSet<()>) {
    spawn_recent_watches(context, watches);
    let client = context.clients.read.clone();
    let all = watcher::Config::default;
    let shared = context.clone();
    let resource = objects::resource::<ConfigMap>();
    let config_maps: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), names::SYSTEM_NAMESPACE, &resource);
    let only = |name| all().fields(&format!("metadata.name={name}"));
    let (maps, pause) = (config_maps.clone(), only(names::PAUSE_CONFIG_MAP));
    watches.spawn(follow(maps, pause, "the ConfigMap rerail-pause".into(), move |event| {
        shared.pause.event(event);
        shared.wakers.all();
        shared.wakers.planner.notify_one();
    }));
    let shared = context.clone();
    let config = only(config::NAME);
    watches.spawn(follow(
        config_maps,
        config,
        "the ConfigMap rerail-config".into(),
        move |event| {
            configured(&shared, event);
        },
    ));
    spawn_alert_sources(context, watches);
    let shared = context.clone();
    let leases: Api<Lease> = Api::namespaced(client, names::SYSTEM_NAMESPACE);
    let lease = only(names::LEASE);
    watches.spawn(follow(leases, lease, "the Lease".into(), move |event| {
        shared.seat.event(event, shared.deps.boot_clock.since_boot());
    }));
}

/// The watch of the alert sources.
fn spawn_alert_sources(context: &Arc<Shared>, watches: &mut JoinSet<()>) {
    let (client, shared) = (context.clients.read.clone(), context.clone());
    let sources = Api::all_with(client, &objects::resource::<AlertSource>());
    let (config, what) = (watcher::Config::default(), "AlertSources".into());
    watches.spawn(follow(sources, config, what, move |event| {
        shared.alert_sources.event(event);
        shared.wakers.alerts.notify_one();
    }));
}

/// The watches of what starts are decided by.
fn spawn_recent_watches(context: &Arc<Shared>, watches: &mut JoinSet<()>) {
    let (client, all) = (&context.clients.read, watcher::Config::default);
    let recency = || context.clients.recency.clone();
    let shared = context.clone();
    let nodes = (Api::<Node>::all(client.clone()), all().page_size(NODES_A_PAGE));
    let handle = move |event| shared.nodes.event(event, shared.now(), &shared.wakers);
    watches.spawn(follow_recent(recency(), recency::NODES, nodes, "nodes".into(), handle));
    let shared = context.clone();
    let runs = Api::all_with(client.clone(), &objects::resource::<NodeRemediation>());
    let (runs, what) = ((runs, all()), "NodeRemediations".into());
    let handle = move |event| runs_changed(&shared, event);
    watches.spawn(follow_recent(recency(), recency::RUNS, runs, what, handle));
    let shared = context.clone();
    let policies = Api::all_with(client.clone(), &objects::resource::<RemediationPolicy>());
    let (policies, what) = ((policies, all()), "RemediationPolicies".into());
    let handle = move |event| {
        shared.policies.event(event);
        shared.wakers.all();
        shared.wakers.planner.notify_one();
    };
    watches.spawn(follow_recent(recency(), recency::POLICIES, policies, what, handle));
}

/// Takes in what was seen of the runs, and wakes whom it concerns.
fn runs_changed(shared: &Shared, event: watcher::Event<DynamicObject>) {
    let seen = shared.runs.event(event);
    for lost in &seen.missed {
        sweep::vanished(shared, lost, sweep::End::Missed);
    }
    if let Some(lost) = &seen.deleted {
        sweep::vanished(shared, lost, sweep::End::Seen);
    }
    match seen.changed {
        Some(name) => shared.wakers.run(&name),
        None => shared.wakers.all(),
    }
    shared.wakers.supervisor.notify_one();
    shared.wakers.planner.notify_one();
}

/// Takes in what was seen of `rerail-config`, and says what is wrong with it.
fn configured(context: &Shared, event: watcher::Event<DynamicObject>) {
    if !context.config.event(event) {
        return;
    }
    let problem = context.config.problem();
    context.deps.metrics.configured(problem.is_none());
    match problem {
        Some(problem) => tracing::error!(
            reason = problem.reason(),
            error = problem.error,
            "the configuration of the cluster is not in force"
        ),
        None => tracing::info!(config = ?context.config.current(), "configured"),
    }
    context.wakers.planner.notify_one();
}

/// What a term of the operator does, once everything that is open is adopted.
async fn plan_and_drive(context: Arc<Context>, stopping: watch::Receiver<bool>) {
    let planner = Planner::new(context.clone()).run(stopping.clone());
    let sweeper = sweep::run(context.clone(), stopping.clone());
    let alerts = alerts::run(context.clone(), stopping.clone());
    let drivers = supervise(context, stopping);
    tokio::join!(planner, sweeper, alerts, drivers);
}

async fn synced(context: &Shared, mut stopping: watch::Receiver<bool>) -> bool {
    loop {
        let all = context.nodes.synced()
            && context.runs.synced()
            && context.policies.synced()
            && context.pause.synced()
            && context.config.synced()
            && context.seat.observed().is_some();
        if all {
            return true;
        }
        tokio::select! {
            biased;
            _ = stopping.changed() => return false,
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
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
        let driver = Driver::new(context.clone(), &name, &object.spec.node_name);
        let pause = restart_pause(broken.get(&name).copied().unwrap_or(0));
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
