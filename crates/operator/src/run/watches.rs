//! What the operator sees of the cluster: its watches, and what they wake.

use std::sync::Arc;

use k8s_openapi::api::{coordination::v1::Lease, core::v1::ConfigMap};
use kube::{Api, core::DynamicObject, runtime::watcher};
use rerail_api::{AlertSource, Node, NodeRemediation, RemediationPolicy, names};
use tokio::task::JoinSet;

use crate::{
    context::Shared,
    observe::{
        config, objects, recency,
        watch::{follow, follow_recent},
    },
    sweep,
};

/// Nodes of one page of a list. A page is held whole while it is read, and the allocator keeps its
/// memory: with kube's 500 the process was a third larger for good, and its peak by two thirds
/// (`docs/design/013-slim-nodes.md`).
const NODES_A_PAGE: u32 = 50;

/// True when everything that starts are decided by has been seen.
pub fn synced(shared: &Shared) -> bool {
    shared.nodes.synced()
        && shared.runs.synced()
        && shared.policies.synced()
        && shared.pause.synced()
        && shared.config.synced()
        && shared.seat.observed().is_some()
}

/// Every watch of the operator.
pub fn spawn_all(context: &Arc<Shared>, watches: &mut JoinSet<()>) {
    spawn_recent(context, watches);
    let client = context.clients.read.clone();
    let all = watcher::Config::default;
    let shared = context.clone();
    let resource = objects::resource::<ConfigMap>();
    let config_maps: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), names::SYSTEM_NAMESPACE, &resource);
    let only = |name: &str| all().fields(&format!("metadata.name={name}"));
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
    alert_sources(context, watches);
    let shared = context.clone();
    let name = &context.deps.settings.lease;
    let leases: Api<Lease> = Api::namespaced(client, &name.namespace);
    let lease = only(&name.name);
    watches.spawn(follow(leases, lease, "the Lease".into(), move |event| {
        shared.seat.event(event, shared.deps.boot_clock.since_boot());
    }));
}

/// The watch of the alert sources.
pub fn alert_sources(context: &Arc<Shared>, watches: &mut JoinSet<()>) {
    let (client, shared) = (context.clients.read.clone(), context.clone());
    let sources = Api::all_with(client, &objects::resource::<AlertSource>());
    let (config, what) = (watcher::Config::default(), "AlertSources".into());
    watches.spawn(follow(sources, config, what, move |event| {
        shared.alert_sources.event(event);
        shared.wakers.alerts.notify_one();
    }));
}

/// The watch of the nodes.
pub fn nodes(context: &Arc<Shared>, watches: &mut JoinSet<()>) {
    let (shared, recency) = (context.clone(), context.clients.recency.clone());
    let api = Api::<Node>::all(context.clients.read.clone());
    let nodes = (api, watcher::Config::default().page_size(NODES_A_PAGE));
    let handle = move |event| shared.nodes.event(event, shared.now(), &shared.wakers);
    watches.spawn(follow_recent(recency, recency::NODES, nodes, "nodes".into(), handle));
}

/// The watches of what starts are decided by.
fn spawn_recent(context: &Arc<Shared>, watches: &mut JoinSet<()>) {
    nodes(context, watches);
    let (client, all) = (&context.clients.read, watcher::Config::default);
    let recency = || context.clients.recency.clone();
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
