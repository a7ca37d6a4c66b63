//! Adapter for the filters of `kubectl drain`: its options → ours, our decision → its status.
//! The only place that knows both.

use jiff::{SignedDuration, Timestamp};
use rerail_core::drain::filter::{
    DaemonSetPods, DrainOptions, EmptyDir, EvictWarning, LeaveReason, Lookup, OrphanedDaemonSet,
    Owner, PodDecision, PodFacts, PodPhase, RefuseReason, Toleration, Unmanaged, classify,
    tolerates_unschedulable,
};
use rerail_core::drain::progress::DrainProgress;
use serde::Deserialize;
use serde_json::Value;

use super::{Case, FileReport, Verdict, note_unread, plain};

/// The node that is drained; all pods of the vectors are on it.
const NODE: &str = "node";
/// The name of every owner in the recorded vectors.
const OWNER: &str = "x";
/// Kubectl's texts.
const IGNORING_DAEMONS: &str = "ignoring DaemonSet-managed Pods";
const DAEMONS: &str = "DaemonSet-managed Pods (use --ignore-daemonsets to ignore)";
const LOCAL_STORAGE: &str = "Pods with local storage (use --delete-emptydir-data to override)";
const NO_CONTROLLER: &str = "Pods that declare no controller (use --force to override)";
const DELETING_UNMANAGED: &str = "deleting Pods that declare no controller";
/// The rule that lets us differ.
const B2: &str = "b2 (DaemonSets of every API group, and pods that tolerate the cordon, stay)";

/// One set of options with its pods. Missing options are off, as in kubectl.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    #[serde(default)]
    options: String,
    #[serde(default)]
    any_error_aborts_whole_drain: Option<bool>,
    #[serde(default)]
    delete_empty_dir_data: bool,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    ignore_daemon_sets: bool,
    #[serde(default)]
    skip_wait_for_delete_timeout_seconds: i64,
    pods: Vec<Value>,
}

const GROUP_FIELDS: [&str; 7] = [
    "options",
    "anyErrorAbortsWholeDrain",
    "deleteEmptyDirData",
    "force",
    "ignoreDaemonSets",
    "skipWaitForDeleteTimeoutSeconds",
    "pods",
];

/// One pod with the status that kubectl gave it.
#[derive(Deserialize)]
struct Entry {
    pod: Pod,
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pod {
    #[serde(default)]
    name: String,
    #[serde(default)]
    owner_kind: String,
    #[serde(default)]
    owner_api_version: String,
    #[serde(default)]
    owner_name: Option<String>,
    #[serde(default)]
    owner_is_controller: bool,
    #[serde(default)]
    daemon_set_get: Option<Value>,
    #[serde(default)]
    phase: String,
    #[serde(default)]
    mirror_annotation: bool,
    #[serde(default)]
    empty_dir: bool,
    #[serde(default)]
    deletion_timestamp_age_seconds: Option<f64>,
    #[serde(default)]
    tolerations: Vec<PodToleration>,
}

const POD_FIELDS: [&str; 11] = [
    "name",
    "ownerKind",
    "ownerApiVersion",
    "ownerName",
    "ownerIsController",
    "daemonSetGet",
    "phase",
    "mirrorAnnotation",
    "emptyDir",
    "deletionTimestampAgeSeconds",
    "tolerations",
];

#[derive(Deserialize, Default)]
#[serde(default)]
struct PodToleration {
    key: String,
    operator: String,
    value: String,
    effect: String,
}

/// Kubectl's status of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Status {
    delete: bool,
    reason: Reason,
    #[serde(default)]
    message: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Reason {
    Okay,
    Warning,
    Skip,
    Error,
}

/// A pod that could be read.
struct Known {
    facts: PodFacts,
    expected: Status,
    verdict: Verdict,
}

/// Runs all groups of a file.
pub(super) fn run(entries: &[Value]) -> FileReport {
    let mut report = FileReport::default();
    for (index, entry) in entries.iter().enumerate() {
        match Group::deserialize(entry) {
            Ok(group) => run_group(&mut report, index, entry, &group),
            Err(e) => report.failures.push(format!("options {}: malformed: {e}", index + 1)),
        }
    }
    report
}

fn run_group(report: &mut FileReport, index: usize, entry: &Value, group: &Group) {
    let group_name = if group.options.is_empty() {
        format!("options {}", index + 1)
    } else {
        group.options.clone()
    };
    note_unread(&mut report.notes, &group_name, entry, &GROUP_FIELDS);
    let options = drain_options(group);
    let now = Timestamp::UNIX_EPOCH;
    let mut known = Vec::new();
    for (number, value) in group.pods.iter().enumerate() {
        let name = value.pointer("/pod/name").map_or_else(|| format!("pod {}", number + 1), plain);
        let name = format!("{group_name} / {name}");
        if let Some(pod) = value.get("pod") {
            note_unread(&mut report.notes, &name, pod, &POD_FIELDS);
        }
        let result = Entry::deserialize(value)
            .map_err(|e| format!("malformed: {e}"))
            .and_then(|entry| run_pod(&entry, number, &options, now));
        let verdict = match result {
            Ok(pod) => {
                let verdict = pod.verdict.clone();
                known.push(pod);
                verdict
            }
            Err(message) => Verdict::Wrong(message),
        };
        report.cases.push(Case { name, verdict });
    }
    let whole = match group.any_error_aborts_whole_drain {
        None => Ok(()),
        Some(true) => whole_drain(&known, &options, now),
        Some(false) => Err("whole drain: our drain always aborts on an error".to_owned()),
    };
    if let Err(message) = whole {
        report.failures.push(format!("{group_name}: {message}"));
    }
}

fn run_pod(
    entry: &Entry,
    number: usize,
    options: &DrainOptions,
    now: Timestamp,
) -> Result<Known, String> {
    let facts = pod_facts(&entry.pod, &entry.status, number, now)?;
    let decision = classify(&facts, options, now);
    let got = kubectl_status(&decision);
    let verdict = if agree(&entry.status, &got) {
        Verdict::Same
    } else if explained_by_b2(&facts, &entry.status, &got, options, now) {
        Verdict::Deliberate(format!("{B2}: kubectl: {}; ours: {}", show(&entry.status), show(&got)))
    } else {
        Verdict::Wrong(format!("expected {}, got {}", show(&entry.status), show(&got)))
    };
    Ok(Known { facts, expected: entry.status.clone(), verdict })
}

/// Kubectl's options → ours.
fn drain_options(group: &Group) -> DrainOptions {
    let seconds = group.skip_wait_for_delete_timeout_seconds;
    DrainOptions {
        empty_dir: if group.delete_empty_dir_data { EmptyDir::Delete } else { EmptyDir::Refuse },
        unmanaged: if group.force { Unmanaged::Delete } else { Unmanaged::Refuse },
        orphaned_daemon_set: if group.force {
            OrphanedDaemonSet::Delete
        } else {
            OrphanedDaemonSet::Refuse
        },
        daemon_set: if group.ignore_daemon_sets {
            DaemonSetPods::Ignore
        } else {
            DaemonSetPods::Refuse
        },
        skip_terminating_after: (seconds > 0).then(|| SignedDuration::from_secs(seconds)),
        ..DrainOptions::default()
    }
}

/// A pod of the vectors → facts.
fn pod_facts(
    pod: &Pod,
    status: &Status,
    number: usize,
    now: Timestamp,
) -> Result<PodFacts, String> {
    let owner = Owner {
        api_version: pod.owner_api_version.clone(),
        kind: pod.owner_kind.clone(),
        name: pod.owner_name.clone().unwrap_or_else(|| OWNER.to_owned()),
        controller: pod.owner_is_controller,
    };
    let tolerations: Vec<_> = pod
        .tolerations
        .iter()
        .map(|t| Toleration {
            key: t.key.clone(),
            operator: t.operator.clone(),
            value: t.value.clone(),
            effect: t.effect.clone(),
        })
        .collect();
    Ok(PodFacts {
        namespace: "default".to_owned(),
        name: pod.name.clone(),
        uid: format!("uid-{number}"),
        node_name: NODE.to_owned(),
        owners: if pod.owner_kind.is_empty() { vec![] } else { vec![owner] },
        phase: phase(&pod.phase)?,
        mirror: pod.mirror_annotation,
        empty_dir: pod.empty_dir,
        deletion_time: pod.deletion_timestamp_age_seconds.map(|s| before(now, s)).transpose()?,
        daemon_set_lookup: lookup(pod.daemon_set_get.as_ref(), status),
        tolerates_unschedulable: tolerates_unschedulable(&tolerations),
        ready: true,
        ours: false,
    })
}

fn phase(text: &str) -> Result<PodPhase, String> {
    match text {
        "Pending" => Ok(PodPhase::Pending),
        "Running" => Ok(PodPhase::Running),
        "Succeeded" => Ok(PodPhase::Succeeded),
        "Failed" => Ok(PodPhase::Failed),
        "Unknown" | "" => Ok(PodPhase::Unknown),
        other => Err(format!("cannot read the phase `{other}`")),
    }
}

fn before(now: Timestamp, age_seconds: f64) -> Result<Timestamp, String> {
    SignedDuration::try_from_secs_f64(age_seconds)
        .and_then(|age| now.checked_sub(age))
        .map_err(|e| format!("cannot read deletionTimestampAgeSeconds: {e}"))
}

/// What the GET of the DaemonSet answered; nothing said means that it exists. The vectors do not
/// record the text of other failures than 403 and 404; it goes in as kubectl printed it, so that it
/// has to come out again.
fn lookup(get: Option<&Value>, status: &Status) -> Lookup {
    match get.map(plain).as_deref() {
        None | Some("ok" | "200" | "") => Lookup::Found,
        Some("404") => Lookup::NotFound,
        Some("403") => Lookup::Forbidden,
        Some(other) => Lookup::Failed(status.message.clone().unwrap_or_else(|| other.to_owned())),
    }
}

/// Our decision → kubectl's status. Kubectl keeps only the last filter's warning (contracts:
/// kubectl drain, D3), we keep them all.
fn kubectl_status(decision: &PodDecision) -> Status {
    let (delete, reason, message) = match decision {
        PodDecision::Evict { warnings } if warnings.contains(&EvictWarning::Unmanaged) => {
            (true, Reason::Warning, DELETING_UNMANAGED.to_owned())
        }
        PodDecision::Evict { .. } => (true, Reason::Okay, String::new()),
        PodDecision::Leave { reason } => match reason {
            LeaveReason::DaemonSet { .. } | LeaveReason::ToleratesUnschedulable => {
                (false, Reason::Warning, IGNORING_DAEMONS.to_owned())
            }
            LeaveReason::Ours
            | LeaveReason::Mirror
            | LeaveReason::TerminatingTooLong { .. }
            | LeaveReason::TerminatingBeforePowerOff => (false, Reason::Skip, String::new()),
        },
        PodDecision::Refuse { reason } => (false, Reason::Error, refusal(reason)),
    };
    Status { delete, reason, message: Some(message).filter(|m| !m.is_empty()) }
}

/// Kubectl's text for a refusal.
fn refusal(reason: &RefuseReason) -> String {
    match reason {
        RefuseReason::DaemonSet => DAEMONS.to_owned(),
        RefuseReason::DaemonSetForbidden { .. } => "forbidden".to_owned(),
        RefuseReason::DaemonSetLookupFailed { message, .. } => message.clone(),
        RefuseReason::OrphanedDaemonSet { name } => format!("daemonsets.apps {name:?} not found"),
        RefuseReason::EmptyDir => LOCAL_STORAGE.to_owned(),
        RefuseReason::Unmanaged => NO_CONTROLLER.to_owned(),
    }
}

/// True if we did what the file says. A message that the file leaves out is not compared.
fn agree(expected: &Status, got: &Status) -> bool {
    expected.delete == got.delete
        && expected.reason == got.reason
        && (expected.message.is_none() || expected.message == got.message)
}

/// True if the difference is exactly b2: ours treats the pod as kubectl treats the pod of an
/// existing `apps/v1` DaemonSet, and without b2 we would agree.
fn explained_by_b2(
    facts: &PodFacts,
    expected: &Status,
    got: &Status,
    options: &DrainOptions,
    now: Timestamp,
) -> bool {
    let kind_differs = facts.daemon_set().is_some_and(|owner| owner.api_version != "apps/v1");
    if !kind_differs && !facts.tolerates_unschedulable {
        return false;
    }
    let daemon = match options.daemon_set {
        DaemonSetPods::Ignore => (false, Reason::Warning, IGNORING_DAEMONS),
        DaemonSetPods::Refuse => (false, Reason::Error, DAEMONS),
    };
    if (got.delete, got.reason, got.message.as_deref().unwrap_or("")) != daemon {
        return false;
    }
    let mut without = facts.clone();
    without.tolerates_unschedulable = false;
    for owner in &mut without.owners {
        if owner.kind == "DaemonSet" && owner.api_version != "apps/v1" {
            "not a DaemonSet for kubectl".clone_into(&mut owner.kind);
        }
    }
    agree(expected, &kubectl_status(&classify(&without, options, now)))
}

/// Any error fails the whole drain before a single eviction (contracts: kubectl drain, D4): the
/// loop evicts exactly the pods that kubectl deletes, or, if one is refused, none. Pods already
/// terminating count as evicted: they are waited for, not evicted again.
fn whole_drain(known: &[Known], options: &DrainOptions, now: Timestamp) -> Result<(), String> {
    let pods: Vec<_> = known.iter().map(|k| k.facts.clone()).collect();
    let plan = DrainProgress::new().plan(NODE, &pods, options, now);
    let deliberate = |k: &&Known| matches!(k.verdict, Verdict::Deliberate(_));
    let refused =
        |k: &Known| kubectl_status(&classify(&k.facts, options, now)).reason == Reason::Error;
    let aborts = known.iter().any(|k| k.expected.reason == Reason::Error)
        || known.iter().filter(deliberate).any(refused);
    if aborts == plan.refused.is_empty() {
        return Err(format!("whole drain: expected abort {aborts}, refused {:?}", plan.refused));
    }
    if aborts {
        return if plan.evict.is_empty() {
            Ok(())
        } else {
            Err(format!("whole drain: pods are evicted in spite of an error: {:?}", plan.evict))
        };
    }
    let goes = |k: &&Known| k.expected.delete && !deliberate(k);
    let expected = known.iter().filter(goes).count();
    let got = plan.evict.len() + plan.terminating.len();
    if expected == got {
        Ok(())
    } else {
        Err(format!("whole drain: {expected} pods should go, {got} do"))
    }
}

/// A status for a person.
fn show(status: &Status) -> String {
    let verb = if status.delete { "delete" } else { "keep" };
    match &status.message {
        Some(message) => format!("{verb}, {:?} `{message}`", status.reason),
        None => format!("{verb}, {:?}", status.reason),
    }
}
