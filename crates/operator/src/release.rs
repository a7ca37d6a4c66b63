//! The end of everything: every open run is cancelled and driven to its end, every mark is taken off, every
//! slot is given back, and nothing new is begun. What `rerail release-all` does, before an uninstallation or
//! because people have lost their trust (hazard H30, LIVE-5).
//!
//! It takes the Lease as any operator, and refuses while another one renews it. It is a term of the operator
//! without a planner: the same drivers undo what they would undo in any other case, with the same last looks.
//! A machine whose reboot cannot be called back is waited for.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, ResourceExt};
use rerail_api::{NodeRemediation, convert, names};
use rerail_core::{facts::Cordon, mutant};
use tokio::sync::watch;

use crate::{
    StartError, act,
    client::{CallError, Clients, call},
    context::{Context, Shared},
    deps::Deps,
    observe::objects::Entry,
    plan,
    run::{Duty, begin, supervise, until_stopped},
    sweep,
};

/// How often it is looked at what is left.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The same after something was refused: the API server may be in trouble, or a right may be missing.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Why something is left of a run of which there is neither an object nor a mark.
pub const SLOT_HELD: &str = "SlotHeld";

/// Something that is not given back yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Name of the node.
    pub node: String,
    /// Name of the run; empty where only its mark or its slot is left.
    pub run: String,
    /// Where the run stands.
    pub step: String,
    /// Why, in one word and in a sentence.
    pub reason: (String, String),
    /// True when the node bears a cordon of ours: only then a person may lift it for us.
    pub cordoned: bool,
}

/// The replicas that an operator's Deployment asks for in this cluster; while one runs, it would take
/// over what is being released.
pub async fn operator_replicas(clients: &Clients) -> Result<i32, CallError> {
    let deployments: Api<Deployment> =
        Api::namespaced(clients.read.clone(), names::SYSTEM_NAMESPACE);
    let name = names::OPERATOR_SERVICE_ACCOUNT;
    let found = call(|| format!("get Deployment {name}"), deployments.get_opt(name)).await?;
    Ok(found.and_then(|found| found.spec).map_or(0, |spec| spec.replicas.unwrap_or(1)))
}

/// A term in which everything is given back, and nothing begun.
struct Release<T> {
    /// Hears what is left.
    told: T,
    /// Nothing was left.
    released: AtomicBool,
}

impl<T: Fn(&[Left])> Duty for Release<T> {
    async fn work(&self, context: Arc<Context>, stopping: watch::Receiver<bool>) {
        self.released.store(work(context, stopping, &self.told).await, Ordering::Relaxed);
    }
}

/// Gives every node back; `shutdown` ends it early. `told` hears what is left whenever that changes.
/// Returns what is left in the end; an empty list was seen in a term of its own.
pub async fn release_all(
    clients: Clients,
    deps: Arc<Deps>,
    shutdown: impl Future<Output = ()>,
    told: impl Fn(&[Left]),
) -> Result<Vec<Left>, StartError> {
    let (shared, publisher) = begin(clients, deps);
    let release = Release { told, released: AtomicBool::new(false) };
    let all = until_stopped(&shared, publisher, &release, shutdown);
    tokio::select! {
        biased;
        holder = other_operator(&shared) => return Err(StartError::HeldByOther(holder)),
        done = all => done?,
    }
    let left = left(&shared);
    match left.is_empty() && !release.released.load(Ordering::Relaxed) {
        // Before it has led, empty caches show nothing.
        true => Err(StartError::NothingSeen),
        false => Ok(left),
    }
}

/// The operator that holds the Lease and renews it, if there is one. Before this process has it, a
/// Lease that is written again by the same holder is alive.
async fn other_operator(shared: &Shared) -> String {
    let mut first = None;
    loop {
        if let Some((lease, observed)) = shared.seat.observed()
            && let Some(seen) = observed.seen.filter(|seen| !seen.holder.is_empty())
        {
            if seen.holder.starts_with(&shared.deps.identity) {
                return std::future::pending().await;
            }
            let version = (seen.holder, lease.and_then(|lease| lease.resource_version()));
            match &first {
                None => first = Some(version),
                Some(first) if *first != version => return version.0,
                Some(_) => {}
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A term; true if nothing was left in it.
async fn work(
    context: Arc<Context>,
    stopping: watch::Receiver<bool>,
    told: impl Fn(&[Left]),
) -> bool {
    let sweeper = sweep::run(context.clone(), stopping.clone());
    let drivers = supervise(context.clone(), stopping.clone());
    let all = async { tokio::join!(sweeper, drivers) };
    tokio::pin!(all);
    tokio::select! {
        biased;
        nothing = until_nothing_is_left(&context, stopping, told) => if nothing { return true },
        _ = &mut all => return false,
    }
    // It was told to stop: the drivers stop by themselves.
    all.await;
    false
}

async fn until_nothing_is_left(
    context: &Context,
    mut stopping: watch::Receiver<bool>,
    told: impl Fn(&[Left]),
) -> bool {
    let mut before = None;
    loop {
        let done = cancel_all(context).await & plan::give_slots_back(context).await;
        let pause = if done { LOOK_EVERY } else { AFTER_FAILURE };
        let now = left(context);
        if before.as_ref() != Some(&now) {
            told(&now);
        }
        if now.is_empty() || *stopping.borrow() {
            return now.is_empty();
        }
        before = Some(now);
        tokio::select! {
            biased;
            _ = stopping.changed() => return false,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Cancels every open run that is not cancelled yet. False when some could not be; they are tried again.
async fn cancel_all(context: &Context) -> bool {
    let mut all = true;
    for object in crate::plan::good(context.runs.snapshot()) {
        if !is_open(&object) {
            continue;
        }
        if object.status.as_ref().is_some_and(|status| status.frozen.is_some()) {
            all &= delete(context, &object).await;
            continue;
        }
        if object.spec.cancel {
            continue;
        }
        match act::run::cancel(&context.clients.act, &object.name_any()).await {
            Ok(cancelled) => context.learn(&cancelled),
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                all = false;
                tracing::warn!(remediation = %object.name_any(), %error, "not cancelled yet");
            }
        }
    }
    all
}

/// A frozen run moves for nobody; deleted it goes, and what it left is swept.
async fn delete(context: &Context, object: &NodeRemediation) -> bool {
    if object.metadata.deletion_timestamp.is_some() {
        return true;
    }
    let deleted = act::run::delete(&context.clients.act, object).await;
    if let Err(error) = &deleted {
        tracing::warn!(remediation = %object.name_any(), %error, "the frozen run is not deleted yet");
    }
    deleted.is_ok()
}

fn is_open(object: &NodeRemediation) -> bool {
    convert::run::run(object).map_or(true, |run| !run.step.is_terminal())
}

/// What is not given back yet, by node.
fn left(context: &Shared) -> Vec<Left> {
    let runs = context.runs.snapshot().into_iter();
    let mut all: Vec<_> = runs.filter_map(|entry| of_run(context, entry)).collect();
    for (node, uid) in context.nodes.marked() {
        if !all.iter().any(|left| left.node == node) {
            let message = format!("the mark of run {uid}, which is gone");
            let reason = ("RunDeleted".to_owned(), message);
            let cordoned = has_our_cordon(context, &node, &uid);
            all.push(Left { node, run: String::new(), step: String::new(), reason, cordoned });
        }
    }
    let slots = context.seat.slots().into_iter().map(|slot| (slot.node_name, slot.run_uid));
    let strays = context.strays.snapshot().into_iter().filter(|stray| stray.run.is_some());
    let strays = strays.map(|stray| (stray.node_name, stray.run_uid));
    for (node, uid) in slots.chain(strays).filter(|_| !mutant!("release-all-keeps-slots")) {
        if !all.iter().any(|left| left.node == node) {
            let message =
                format!("the slot and the record of run {uid}, until nothing of it can act");
            let reason = (SLOT_HELD.to_owned(), message);
            let (run, step) = (String::new(), String::new());
            all.push(Left { node, run, step, reason, cordoned: false });
        }
    }
    all.sort_by(|a, b| (&a.node, &a.run).cmp(&(&b.node, &b.run)));
    all
}

fn has_our_cordon(context: &Shared, node: &str, run_uid: &str) -> bool {
    context.nodes.get(node).is_some_and(|node| node.cordon(run_uid) == Cordon::Ours)
}

fn of_run(context: &Shared, entry: Entry<NodeRemediation>) -> Option<Left> {
    let object = match entry {
        Entry::Good(object) => object,
        Entry::Malformed(malformed) => {
            let text = |pointer: &str| {
                let found = malformed.object.data.pointer(pointer).and_then(|v| v.as_str());
                found.unwrap_or_default().to_owned()
            };
            let node = text("/spec/nodeName");
            let uid = malformed.object.uid().unwrap_or_default();
            return Some(Left {
                cordoned: has_our_cordon(context, &node, &uid),
                node,
                run: malformed.object.name_any(),
                step: text("/status/step"),
                reason: ("Unreadable".to_owned(), malformed.error.clone()),
            });
        }
    };
    if !is_open(&object) && !act::run::bears_finalizer(&object) {
        return None;
    }
    let status = object.status.clone().unwrap_or_default();
    Some(Left {
        cordoned: has_our_cordon(
            context,
            &object.spec.node_name,
            &object.uid().unwrap_or_default(),
        ),
        node: object.spec.node_name.clone(),
        run: object.name_any(),
        step: serde_json::to_value(&status.step)
            .ok()
            .and_then(|step| step.as_str().map(str::to_owned))
            .unwrap_or_default(),
        reason: status
            .said()
            .map(|said| (said.reason.clone(), said.message.clone()))
            .unwrap_or_default(),
    })
}
