//! The operator's entry: observe, adopt, plan and drive until told to stop.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, ResourceExt, api::ListParams, core::DynamicObject, runtime::watcher};
use rerail_api::{
    Node, NodeRemediation, RemediationPolicy,
    convert::{self, status},
    names,
};
use rerail_core::step::Step;
use tokio::{
    sync::{Notify, oneshot, watch},
    task::JoinSet,
};

use crate::{
    act,
    client::{CallError, Clients, call},
    context::{Context, Suspects},
    deps::Deps,
    drive::Driver,
    observe::{
        config::{self, Config},
        nodes::Nodes,
        objects::{self, Entry, Objects},
        wake::Wakers,
        watch::follow,
    },
    plan::{Planner, meltdown::Meltdown},
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
    #[error("another operator has taken over the runs; this one ends. Only one replica may run")]
    Superseded,
    /// A watch ended; without it the operator would be blind.
    #[error("a watch of the API server broke down; the operator ends, to begin anew")]
    WatchEnded,
}

/// Runs the operator until `shutdown` resolves: then nothing new is begun, calls under way finish,
/// and everything that was done is on record.
pub async fn run(
    clients: Clients,
    deps: Arc<Deps>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let (context, publisher) = begin(clients, deps).await?;
    let (stop, stopping) = watch::channel(false);
    let work = work(context.clone(), stopping);
    until_stopped(&context, publisher, work, stop, shutdown).await
}

/// Begins a term of this process: higher than any that wrote a run before.
pub(crate) async fn begin(
    clients: Clients,
    deps: Arc<Deps>,
) -> Result<(Arc<Context>, Publisher), StartError> {
    let epoch = next_epoch(&clients.read).await?;
    let (events, publisher) = Events::new(clients.act.clone(), &deps.identity);
    tracing::info!(epoch, identity = %deps.identity, "starting");
    let context = Arc::new(Context {
        clients,
        deps,
        epoch,
        nodes: Nodes::default(),
        runs: Objects::default(),
        policies: Objects::default(),
        pause: Objects::default(),
        config: Config::default(),
        meltdown: Meltdown::default(),
        wakers: Wakers::default(),
        events,
        strays: Strays::default(),
        suspects: Suspects::default(),
        superseded: Notify::new(),
    });
    Ok((context, publisher))
}

/// Watches and works until the work is done or `shutdown` resolves; the work then gets the time to
/// finish what is under way.
pub(crate) async fn until_stopped(
    context: &Arc<Context>,
    publisher: Publisher,
    work: impl Future<Output = ()>,
    stop: watch::Sender<bool>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let mut watches = JoinSet::new();
    spawn_watches(context, &mut watches);
    let (all_told, told) = oneshot::channel();
    let mut telling = JoinSet::new();
    telling.spawn(publisher.run(async { drop(told.await) }));
    tokio::pin!(shutdown, work);
    let done = tokio::select! {
        biased;
        () = &mut shutdown => false,
        () = context.superseded.notified() => return Err(StartError::Superseded),
        _ = watches.join_next() => return Err(StartError::WatchEnded),
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

/// The highest epoch of any run, plus one: what an older operator still writes is refused (R6).
async fn next_epoch(client: &Client) -> Result<i64, CallError> {
    let resource = objects::resource::<NodeRemediation>();
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let runs = call(|| "list NodeRemediations".into(), api.list(&ListParams::default())).await?;
    let epochs = runs.items.iter().filter_map(|run| run.data.pointer("/status/epoch")?.as_i64());
    Ok(epochs.max().unwrap_or(0).saturating_add(1))
}

fn spawn_watches(context: &Arc<Context>, watches: &mut JoinSet<()>) {
    let client = context.clients.read.clone();
    let all = watcher::Config::default;
    let shared = context.clone();
    watches.spawn(follow(Api::<Node>::all(client.clone()), all(), "nodes".into(), move |event| {
        shared.nodes.event(event, shared.now(), &shared.wakers);
    }));
    let shared = context.clone();
    let runs: Api<DynamicObject> =
        Api::all_with(client.clone(), &objects::resource::<NodeRemediation>());
    watches.spawn(follow(runs, all(), "NodeRemediations".into(), move |event| {
        let seen = shared.runs.event(event);
        for lost in &seen.removed {
            sweep::vanished(&shared, lost);
        }
        match seen.changed {
            Some(name) => shared.wakers.run(&name),
            None => shared.wakers.all(),
        }
        shared.wakers.supervisor.notify_one();
        shared.wakers.planner.notify_one();
    }));
    let shared = context.clone();
    let policies: Api<DynamicObject> =
        Api::all_with(client.clone(), &objects::resource::<RemediationPolicy>());
    watches.spawn(follow(policies, all(), "RemediationPolicies".into(), move |event| {
        shared.policies.event(event);
        shared.wakers.all();
        shared.wakers.planner.notify_one();
    }));
    let shared = context.clone();
    let resource = objects::resource::<ConfigMap>();
    let config_maps: Api<DynamicObject> =
        Api::namespaced_with(client, names::SYSTEM_NAMESPACE, &resource);
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
}

/// Takes in what was seen of `rerail-config`, and says what is wrong with it.
fn configured(context: &Context, event: watcher::Event<DynamicObject>) {
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

/// Waits until everything is known, adopts what is open, then plans and drives.
async fn work(context: Arc<Context>, stopping: watch::Receiver<bool>) {
    if !take_over(&context, &stopping).await {
        return;
    }
    context.deps.metrics.set_ready();
    tracing::info!("ready");
    let planner = Planner::new(context.clone()).run(stopping.clone());
    let sweeper = sweep::run(context.clone(), stopping.clone());
    let drivers = supervise(context, stopping);
    tokio::join!(planner, sweeper, drivers);
}

/// Waits until everything is known, and adopts what is open. False when told to stop meanwhile.
pub(crate) async fn take_over(context: &Context, stopping: &watch::Receiver<bool>) -> bool {
    if !synced(context, stopping.clone()).await {
        return false;
    }
    adopt(context, stopping.clone()).await;
    sweep::notice(context, true);
    true
}

async fn synced(context: &Context, mut stopping: watch::Receiver<bool>) -> bool {
    loop {
        let all = context.nodes.synced()
            && context.runs.synced()
            && context.policies.synced()
            && context.pause.synced()
            && context.config.synced();
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

/// How often adoption is tried for all runs before the others go on.
const ADOPTION_ROUNDS: u32 = 5;

/// Writes this term into every open run (protocol R5, R6), so that no older operator can move one.
/// Nothing is admitted before. A run that cannot be written keeps nobody else waiting for long: its
/// driver goes on trying, and it counts as holding its slot all the while (SAFE-17).
async fn adopt(context: &Context, stopping: watch::Receiver<bool>) {
    for _ in 0..ADOPTION_ROUNDS {
        let mut left = 0;
        for entry in context.runs.snapshot() {
            if *stopping.borrow() {
                return;
            }
            let Entry::Good(object) = entry else { continue };
            if context.is_superseded_by(&object) {
                return;
            }
            let Ok(run) = convert::run::run(&object) else { continue };
            if object.status.is_none() || run.step.is_terminal() || context.is_adopted(&object) {
                continue;
            }
            let said = object.status.as_ref().and_then(|status| status.said());
            let message = said.map_or(run.message.clone(), |said| said.message.clone());
            let reason = said.and_then(|said| said.reason.parse().ok()).unwrap_or(run.reason);
            let note = status::Note { reason, message: &message };
            let status = context.status_of(&object, &run, note);
            match act::run::replace_status(&context.clients.act, &object, status).await {
                Ok(written) => context.learn(&written),
                Err(error) => {
                    left += 1;
                    tracing::warn!(remediation = %run.name, %error, "not adopted yet");
                    let _ = crate::check::run(context, &run.name).await;
                }
            }
        }
        if left == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
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
            Entry::Good(object) => *object,
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
