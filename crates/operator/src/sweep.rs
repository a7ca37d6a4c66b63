//! SWEEP: nodes whose run is gone, deleted by force or with its finalizer taken off. All deciding is
//! `rerail_core::sweep`; here are the reads that it needs, and its effects (protocol R3, R10; LIVE-3).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt, api::ListParams, runtime::events::EventType};
use rerail_api::{
    NodeRemediation,
    convert::{self, last_remediation, pod},
    names,
};
use rerail_core::{
    facts::NodeFacts,
    ledger::{lost_run, unseen_end},
    reason::Reason,
    remediation::{PodSeen, record_without_run},
    step::Step,
    sweep::{Stray, Sweep, sweep},
};
use tokio::sync::watch;

use crate::{
    act::{self, node::NodeWriteError},
    check,
    client::{CallError, call},
    context::{Context, Shared},
    observe::objects::{self, Entry},
};

/// Between two turns passes at least this much, whatever rings.
const PACE: Duration = Duration::from_secs(1);

/// While a stray or a slot is there it is looked at at least this often.
const AT_LEAST_EVERY: Duration = Duration::from_secs(15);

/// Why a stray was not swept now; it is tried again.
#[derive(Debug, thiserror::Error)]
enum SweepError {
    /// The API server did not answer as hoped.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The node was not written.
    #[error(transparent)]
    Node(#[from] NodeWriteError),
    /// Our own annotation could not be written as JSON.
    #[error("the annotation rerail.dev/last-remediation could not be written: {0}")]
    Annotation(#[from] serde_json::Error),
}

#[derive(Default)]
struct Inner {
    strays: BTreeMap<String, Stray>,
    /// UIDs of runs that are gone and of which nothing is left.
    done: BTreeSet<String>,
}

/// Runs that are gone, by UID.
#[derive(Default)]
pub struct Strays(Mutex<Inner>);

impl Strays {
    /// Takes note of a run that is gone. What is known already stays; a run that was only a mark until
    /// now gets its face, and one whose end is seen after all its last state.
    pub fn note(&self, stray: Stray) {
        let mut all = self.lock();
        all.done.remove(&stray.run_uid);
        let known = all.strays.entry(stray.run_uid.clone()).or_insert_with(|| stray.clone());
        if stray.run.is_some() && (known.run.is_none() || !stray.unseen) {
            (known.run, known.unseen) = (stray.run, stray.unseen);
        }
    }

    /// Every one.
    pub fn snapshot(&self) -> Vec<Stray> {
        self.lock().strays.values().cloned().collect()
    }

    /// True when there is nothing to sweep.
    pub fn is_empty(&self) -> bool {
        self.lock().strays.is_empty()
    }

    /// True when the run of this UID is among them.
    fn has(&self, run_uid: &str) -> bool {
        self.lock().strays.contains_key(run_uid)
    }

    /// UIDs of runs that are gone and of which nothing is left: their slots may go.
    pub fn done(&self) -> BTreeSet<String> {
        self.lock().done.clone()
    }

    /// Forgets those that another leader has swept while this process stood by: nobody holds a slot for
    /// them any more. What is left of one is its mark, and that is found anew.
    pub fn keep(&self, has_slot: impl Fn(&str) -> bool) {
        let mut all = self.lock();
        all.strays.retain(|uid, _| has_slot(uid));
        all.done.retain(|uid| has_slot(uid));
    }

    /// Forgets those among [`Strays::done`] that nobody asks for any more.
    pub fn keep_done(&self, wanted: impl Fn(&str) -> bool) {
        self.lock().done.retain(|uid| wanted(uid));
    }

    /// Keeps what a look has shown. Nothing else: the run may have got its face meanwhile.
    fn looked_at(&self, stray: &Stray) {
        if let Some(known) = self.lock().strays.get_mut(&stray.run_uid) {
            known.report_at_end = stray.report_at_end;
        }
    }

    /// It was none.
    fn remove(&self, run_uid: &str) {
        self.lock().strays.remove(run_uid);
    }

    /// Nothing of it is left.
    fn finish(&self, run_uid: &str) {
        let mut all = self.lock();
        all.strays.remove(run_uid);
        all.done.insert(run_uid.to_owned());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the end of a run is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was seen to be deleted, in this state.
    Seen,
    /// It is not there any more. It may have gone further than is known, and have acted.
    Missed,
}

/// A run that was known and is not there any more. Called where it leaves the cache, before anybody
/// plans without it: its slot must not be free for a moment (protocol R3).
pub fn vanished(context: &Shared, object: &NodeRemediation, end: End) {
    // One that cannot be read is remembered by its mark alone.
    let Ok(run) = convert::run::run(object) else { return };
    context.wakers.sweeper.notify_one();
    context.wakers.planner.notify_one();
    if run.step.is_terminal() || (run.step == Step::Pending && end == End::Seen) {
        context.strays.finish(&run.uid);
        return;
    }
    if run.step == Step::Pending {
        return; // if it was admitted meanwhile, its slot tells ([`notice_slots`])
    }
    tracing::warn!(remediation = %run.name, node = %run.node_name, step = %run.step,
        "the run was deleted by force; its node is given back when nothing can act on it any more");
    let since = context.now();
    context.strays.note(Stray {
        run_uid: run.uid.clone(),
        node_name: run.node_name.clone(),
        since,
        unseen: end == End::Missed,
        report_at_end: None,
        run: Some(if end == End::Seen { run } else { unseen_end(&run, since) }),
    });
}

/// Takes note of every mark whose run the caches do not show as open. Before the first plan with
/// `unseen`: such a mark may be of a run that was acting until now.
pub fn notice(context: &Context, unseen: bool) {
    let marks = context.nodes.marked();
    if marks.is_empty() {
        return;
    }
    for stray in strays(marks, context.runs.snapshot(), context.now(), unseen) {
        context.strays.note(stray);
    }
}

/// The marks (name of the node, UID of the run) that no open run stands behind.
pub fn strays(
    marks: Vec<(String, String)>,
    runs: Vec<Entry<NodeRemediation>>,
    since: Timestamp,
    unseen: bool,
) -> Vec<Stray> {
    let open: BTreeSet<_> = runs.into_iter().filter_map(open_uid).collect();
    let lost = marks.into_iter().filter(|(_, run_uid)| !open.contains(run_uid));
    lost.map(|(node_name, run_uid)| Stray {
        run_uid,
        node_name,
        run: None,
        since,
        unseen,
        report_at_end: None,
    })
    .collect()
}

/// Takes note of every slot of the ledger whose run is not known: it may have been acting until now,
/// and holds its slot until nothing of it can (protocol R3, R5).
pub fn notice_slots(context: &Context) {
    let (now, done) = (context.now(), context.strays.done());
    let known: BTreeSet<_> = context.runs.snapshot().iter().filter_map(Entry::uid).collect();
    for slot in context.term.lease.ledger().slots {
        let unknown = !known.contains(&slot.run_uid)
            && !done.contains(&slot.run_uid)
            && !context.strays.has(&slot.run_uid);
        if !unknown {
            continue;
        }
        tracing::warn!(run_uid = %slot.run_uid, node = %slot.node_name,
            "the run of a slot is gone; the slot stays until nothing of it can act");
        context.strays.note(Stray {
            run_uid: slot.run_uid.clone(),
            node_name: slot.node_name.clone(),
            run: Some(lost_run(&slot, now)),
            since: now,
            unseen: true,
            report_at_end: None,
        });
    }
}

/// The UID of a run that has not ended. One that cannot be read counts as open.
fn open_uid(entry: Entry<NodeRemediation>) -> Option<String> {
    match entry {
        Entry::Good(object) => match convert::run::run(&object) {
            Ok(run) if run.step.is_terminal() => None,
            Ok(_) | Err(_) => object.uid(),
        },
        Entry::Malformed(malformed) => malformed.object.uid(),
    }
}

/// Sweeps until the operator stops.
pub async fn run(context: Arc<Context>, mut stopping: watch::Receiver<bool>) {
    while !*stopping.borrow() {
        notice(&context, false);
        notice_slots(&context);
        let recheck = match context.strays.is_empty() {
            false => Some(turn(&context).await),
            // A slot that nobody stands for is looked for whether or not anything rings.
            true if !context.term.lease.ledger().slots.is_empty() => Some(AT_LEAST_EVERY),
            true => None,
        };
        let timer = async {
            match recheck {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = stopping.changed() => break,
            () = context.wakers.sweeper.notified() => {}
            () = timer => {}
        }
        tokio::time::sleep(PACE).await;
    }
}

/// Looks at every stray, and says when to look again at the latest.
async fn turn(context: &Context) -> Duration {
    let runs = match check::all_runs(context).await {
        Ok(runs) => runs,
        Err(error) => {
            tracing::warn!(%error, "runs that are gone are not swept now; trying again");
            return AT_LEAST_EVERY;
        }
    };
    let open: BTreeMap<_, _> =
        runs.iter().filter_map(|object| Some((open_uid(objects::read(object))?, object))).collect();
    let mut pause = AT_LEAST_EVERY;
    for mut stray in context.strays.snapshot() {
        if let Some(object) = open.get(&stray.run_uid) {
            // It is there: a read was wrong, or a watch behind. Its driver goes on.
            context.strays.remove(&stray.run_uid);
            if let Entry::Good(object) = objects::read::<NodeRemediation>(object) {
                context.learn(&object);
            }
            continue;
        }
        match one(context, &mut stray).await {
            Ok(Some(recheck)) => {
                let until = recheck.duration_since(context.now());
                pause = pause.min(Duration::try_from(until).unwrap_or_default());
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(node = %stray.node_name, %error, "not swept yet; trying again");
            }
        }
        context.strays.looked_at(&stray);
        context.wakers.planner.notify_one();
    }
    pause
}

/// One look at a stray, on fresh reads, and what comes out of it.
async fn one(context: &Context, stray: &mut Stray) -> Result<Option<Timestamp>, SweepError> {
    let node = check::node(context, &stray.node_name).await?;
    let facts = node.as_ref().map(|node| node.facts.clone());
    let pods = pods(context, &stray.run_uid).await?;
    let now = context.now();
    if let Some(facts) = &facts {
        stray.observe(facts, now);
    }
    match (sweep(stray, facts.as_deref(), !pods.is_empty(), now), &node) {
        (Sweep::Done, _) | (Sweep::Close { .. }, None) => context.strays.finish(&stray.run_uid),
        (Sweep::DeletePods, _) => {
            for name in pods {
                act::pods::delete(&context.clients.act, &name).await?;
            }
        }
        (Sweep::Close { uncordon }, Some(node)) => {
            let memory = record_without_run(stray, &node.facts, now);
            let text = last_remediation::encode(&memory)?;
            let client = &context.clients.act;
            let written =
                act::node::close(client, &node.object, &stray.run_uid, uncordon, text).await?;
            context.nodes.fold(&written, context.now(), &context.wakers);
            context.strays.finish(&stray.run_uid);
            told(context, stray, &node.facts, uncordon);
        }
        (Sweep::Wait { message, recheck_at }, _) => {
            tracing::info!(node = %stray.node_name, run_uid = %stray.run_uid, %message, "not given back yet");
            return Ok(recheck_at);
        }
    }
    Ok(None)
}

/// Names of the run's Pods that the kubelet has not seen end.
async fn pods(context: &Context, run_uid: &str) -> Result<Vec<String>, CallError> {
    if !is_label_value(run_uid) {
        return Ok(Vec::new()); // no Pod can bear it, and to ask for it is an error
    }
    let pods: Api<Pod> = Api::namespaced(context.clients.read.clone(), names::NODE_NAMESPACE);
    let params = ListParams::default().labels(&format!("{}={run_uid}", names::RUN_UID));
    let found = call(|| format!("list the Pods of run {run_uid}"), pods.list(&params)).await?;
    let alive = |pod: &&Pod| match pod::seen(Some(pod)) {
        PodSeen::Waiting { .. } | PodSeen::Running { .. } => true,
        PodSeen::Unknown | PodSeen::Absent | PodSeen::Ended { .. } | PodSeen::Lost => false,
    };
    Ok(found.items.iter().filter(alive).map(ResourceExt::name_any).collect())
}

/// What Kubernetes takes as the value of a label; a mark can be any text.
fn is_label_value(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let ends = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.iter().copied().all(inside)
        && ends(bytes.first())
        && ends(bytes.last())
}

fn told(context: &Context, stray: &Stray, node: &NodeFacts, uncordon: bool) {
    context.deps.metrics.swept();
    let what = if uncordon { "given back" } else { "its mark was taken off" };
    let message =
        format!("the run of this node (UID {}) was deleted by force; {what}", stray.run_uid);
    tracing::warn!(node = %stray.node_name, run_uid = %stray.run_uid, uncordon, "swept");
    let about = crate::record::events::node_reference(&node.name, &node.uid);
    let reason = Reason::RunDeleted.name();
    context.events.publish(EventType::Warning, "Sweep", reason, &message, &about, None);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_that_no_label_could_hold_belongs_to_no_pod() {
        for (text, expected) in [
            ("6b1f6c5e-3c7e", true),
            ("", true),
            ("hello world", false),
            ("a/b", false),
            ("-a", false),
        ] {
            assert_eq!(is_label_value(text), expected, "{text}");
        }
        assert!(!is_label_value(&"a".repeat(64)));
    }
}
