//! The drain of one node: all its pods and all answers so far → what to do now.
//!
//! The caller loops: read the pods, [`DrainProgress::plan`], send the evictions, give every answer
//! to [`DrainProgress::record`], and plan again when a pod or a budget changes or at `recheck_at`.
//! A pod counts as gone only when it is no longer among the pods of the node (same UID, same node
//! name), whatever the Eviction API said. All state is in memory: after a restart everything is
//! asked again, which the UID precondition makes harmless.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;

use jiff::{SignedDuration, Timestamp};

use super::eviction::{EvictionOutcome, RETRY_AFTER_RANGE};
use super::filter::{
    DrainOptions, EvictWarning, LeaveReason, PodDecision, PodFacts, RefuseReason, TerminatingPods,
    classify,
};

/// Back-off while a budget blocks: first and longest wait, in seconds; doubles in between.
const BLOCKED_SECONDS: (i64, i64) = (5, 60);
/// Back-off after server errors: first and longest wait, in seconds; doubles in between.
const SERVER_ERROR_SECONDS: (i64, i64) = (1, 30);
/// Wait, in seconds, where a person or a controller has to repair a budget first.
const REPAIR_SECONDS: i64 = 30;
/// A refusal that is for good is believed when it came this many times in a row: an API server that
/// has just started forbids everything until it knows the roles.
const BELIEVED_AFTER: u32 = 3;
/// Waits until such a refusal is asked about again: first and longest, in seconds; doubles in between.
const DOUBT_SECONDS: (i64, i64) = (5, 30);
/// How long an accepted eviction may stay invisible, in seconds, before it is asked again.
const CONFIRM_SECONDS: i64 = 60;
/// Back-off while a pod that an answer calls gone is seen on its node: first and longest wait, in
/// seconds; doubles in between. A watch that lags needs less; an untrue answer is found out soon.
const STILL_THERE_SECONDS: (i64, i64) = (2, 60);
/// Shortest time between two tries of one pod when budgets change all the time, in seconds.
const WAKE_GAP_SECONDS: i64 = 1;

/// Which pod: what an eviction needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodRef {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID, the precondition of the eviction.
    pub uid: String,
}

impl PodRef {
    /// The reference to a pod.
    #[must_use]
    pub fn of(pod: &PodFacts) -> Self {
        Self { namespace: pod.namespace.clone(), name: pod.name.clone(), uid: pod.uid.clone() }
    }
}

/// A pod that a PodDisruptionBudget keeps on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// The pod.
    pub pod: PodRef,
    /// Name of the budget, if the server told it.
    pub budget: Option<String>,
    /// First answer of this blockage.
    pub since: Timestamp,
    /// The server's last text about it.
    pub message: String,
}

/// A pod whose eviction is tried again later, for a reason that is no budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The pod.
    pub pod: PodRef,
    /// When it is tried again.
    pub until: Timestamp,
    /// The server's last text.
    pub message: String,
}

/// What to do now, and how far the drain is. Lists are in the order of the pods given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DrainPlan {
    /// Evict these now, each with its UID as precondition.
    pub evict: Vec<PodRef>,
    /// What these evictions destroy, for the log and the Events.
    pub warnings: Vec<(PodRef, EvictWarning)>,
    /// Kept by budgets as of the last answer, also while being tried again.
    pub blocked: Vec<Blocked>,
    /// Not due again yet: throttled, server error, or a namespace that is being deleted.
    pub waiting: Vec<Waiting>,
    /// On their way out: wait until they are gone.
    pub terminating: Vec<PodRef>,
    /// They stay, and do not hinder.
    pub left: Vec<(PodRef, LeaveReason)>,
    /// They hinder the drain; nothing is evicted unless evictions had already begun.
    pub refused: Vec<(PodRef, RefuseReason)>,
    /// Their eviction was refused for good, with the server's text: the drain has failed, and
    /// nothing more is evicted.
    pub failed: Vec<(PodRef, String)>,
    /// Pods that have to leave, those already gone included.
    pub total: u32,
    /// Pods that have left.
    pub evicted: u32,
    /// True if no pod has to leave any more.
    pub done: bool,
    /// Plan again then, even if nothing changes. `None`: only a change can help.
    pub recheck_at: Option<Timestamp>,
}

/// Bookkeeping for one pod.
#[derive(Debug, Clone)]
struct PodProgress {
    namespace: String,
    tries: u32,
    outcome: EvictionOutcome,
    /// How often in a row the outcome was of this kind, less one.
    streak: u32,
    tried: Timestamp,
    not_before: Timestamp,
    blockage: Option<Blockage>,
}

/// A blockage by budgets, remembered over server errors.
#[derive(Debug, Clone)]
struct Blockage {
    since: Timestamp,
    budget: Option<String>,
    message: String,
}

/// Where a pod stands in the plan.
enum Place {
    Leave(LeaveReason),
    Refuse(RefuseReason),
    Failed(String),
    Terminating,
    Wait,
    Evict(Vec<EvictWarning>),
}

/// What the answers of the Eviction API were, per pod UID.
#[derive(Debug, Clone, Default)]
pub struct DrainProgress {
    pods: BTreeMap<String, PodProgress>,
    evicted_before: u32,
    first_accepted: Option<Timestamp>,
}

impl DrainProgress {
    /// A drain that has evicted nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A drain that another process began: `evicted` pods had left by its last report. With one or
    /// more, evictions count as begun.
    #[must_use]
    pub fn resumed(evicted: u32) -> Self {
        Self { evicted_before: evicted, ..Self::default() }
    }

    /// True if an eviction was accepted: refusing the drain can no longer keep all pods in place.
    #[must_use]
    pub fn begun(&self) -> bool {
        self.evicted_before > 0 || self.first_accepted.is_some()
    }

    /// When the first eviction was accepted, by this process.
    #[must_use]
    pub fn first_accepted(&self) -> Option<Timestamp> {
        self.first_accepted
    }

    /// How often the eviction of this pod was answered, by this process.
    #[must_use]
    pub fn tries(&self, uid: &str) -> u32 {
        self.pods.get(uid).map_or(0, |p| p.tries)
    }

    /// The pod is not evicted before this time. `None`: never tried.
    #[must_use]
    pub fn not_before(&self, uid: &str) -> Option<Timestamp> {
        self.pods.get(uid).map(|p| p.not_before)
    }

    /// Takes note of an answer, received at `now`.
    pub fn record(&mut self, pod: &PodRef, outcome: EvictionOutcome, now: Timestamp) {
        if outcome == EvictionOutcome::Accepted {
            self.first_accepted.get_or_insert(now);
        }
        let before = self.pods.get(&pod.uid);
        let streak = before
            .filter(|p| discriminant(&p.outcome) == discriminant(&outcome))
            .map_or(0, |p| p.streak.saturating_add(1));
        let entry = PodProgress {
            namespace: pod.namespace.clone(),
            tries: before.map_or(0, |p| p.tries).saturating_add(1),
            blockage: blockage(before.and_then(|p| p.blockage.as_ref()), &outcome, now),
            streak,
            tried: now,
            not_before: later(now, delay(&outcome, streak)),
            outcome,
        };
        self.pods.insert(pod.uid.clone(), entry);
    }

    /// A PodDisruptionBudget of this namespace changed: pods that budgets block there are due
    /// again, at most once a second each.
    pub fn budget_changed(&mut self, namespace: &str, now: Timestamp) {
        for pod in self.pods.values_mut() {
            if pod.namespace == namespace && pod.outcome.blocked_by_budget() {
                let soonest =
                    later(pod.tried, SignedDuration::from_secs(WAKE_GAP_SECONDS)).max(now);
                pod.not_before = pod.not_before.min(soonest);
                pod.streak = 0;
            }
        }
    }

    /// Decides what to do at `now`. `pods` are all pods of the node `node`, from a complete list;
    /// pods with another node name are not on it (contracts: kubectl drain, b1) and are ignored.
    ///
    /// All or nothing (contracts: kubectl drain, D4): a refused pod stops every eviction, unless
    /// evictions had begun; then it is only reported, and keeps the drain from being done.
    #[must_use]
    pub fn plan(
        &self,
        node: &str,
        pods: &[PodFacts],
        options: &DrainOptions,
        now: Timestamp,
    ) -> DrainPlan {
        let mut plan = DrainPlan::default();
        let mut present = BTreeSet::new();
        let mut to_go = 0_u32;
        for pod in pods.iter().filter(|pod| pod.node_name == node) {
            if !present.insert(pod.uid.as_str()) {
                continue;
            }
            let place = self.place(pod, options, now);
            if !matches!(place, Place::Leave(_)) {
                to_go = to_go.saturating_add(1);
                earliest(&mut plan.recheck_at, skip_time(pod, options), now);
            }
            self.put(&mut plan, pod, place, now);
        }
        let gone = self.pods.keys().filter(|uid| !present.contains(uid.as_str())).count();
        plan.evicted = self.evicted_before.saturating_add(u32::try_from(gone).unwrap_or(u32::MAX));
        plan.total = plan.evicted.saturating_add(to_go);
        plan.done = to_go == 0;
        if !plan.failed.is_empty() || (!plan.refused.is_empty() && !self.begun()) {
            plan.evict.clear();
            plan.warnings.clear();
        }
        plan
    }

    /// Where one pod of the node stands.
    fn place(&self, pod: &PodFacts, options: &DrainOptions, now: Timestamp) -> Place {
        let warnings = match classify(pod, options, now) {
            PodDecision::Leave { reason } => return Place::Leave(reason),
            PodDecision::Refuse { reason } => return Place::Refuse(reason),
            PodDecision::Evict { warnings } => warnings,
        };
        if pod.deletion_time.is_some() {
            return Place::Terminating;
        }
        let Some(entry) = self.pods.get(&pod.uid) else {
            return Place::Evict(warnings);
        };
        if entry.outcome.permanent() && entry.streak.saturating_add(1) >= BELIEVED_AFTER {
            return Place::Failed(entry.outcome.message().to_owned());
        }
        if entry.not_before <= now {
            return Place::Evict(warnings);
        }
        if leaving(&entry.outcome) { Place::Terminating } else { Place::Wait }
    }

    /// Adds one pod to the lists it belongs to.
    fn put(&self, plan: &mut DrainPlan, pod: &PodFacts, place: Place, now: Timestamp) {
        let of = PodRef::of(pod);
        let entry = self.pods.get(&pod.uid);
        let not_before = entry.map(|e| e.not_before);
        match place {
            Place::Leave(reason) => plan.left.push((of, reason)),
            Place::Refuse(reason) => plan.refused.push((of, reason)),
            Place::Failed(message) => plan.failed.push((of, message)),
            Place::Terminating => {
                if pod.deletion_time.is_none() {
                    earliest(&mut plan.recheck_at, not_before, now);
                }
                plan.terminating.push(of);
            }
            Place::Wait => {
                earliest(&mut plan.recheck_at, not_before, now);
                match entry {
                    Some(PodProgress { blockage: Some(blockage), .. }) => {
                        plan.blocked.push(blockage.report(of));
                    }
                    Some(entry) => plan.waiting.push(Waiting {
                        pod: of,
                        until: entry.not_before,
                        message: entry.outcome.message().to_owned(),
                    }),
                    None => {}
                }
            }
            Place::Evict(warnings) => {
                plan.warnings.extend(warnings.into_iter().map(|w| (of.clone(), w)));
                if let Some(blockage) = entry.and_then(|e| e.blockage.as_ref()) {
                    plan.blocked.push(blockage.report(of.clone()));
                }
                plan.evict.push(of);
            }
        }
    }
}

impl Blockage {
    fn report(&self, pod: PodRef) -> Blocked {
        Blocked {
            pod,
            budget: self.budget.clone(),
            since: self.since,
            message: self.message.clone(),
        }
    }
}

/// The blockage after an answer: begins or goes on with a budget's no, survives answers that say
/// nothing about budgets, ends with all others.
fn blockage(
    before: Option<&Blockage>,
    outcome: &EvictionOutcome,
    now: Timestamp,
) -> Option<Blockage> {
    match outcome {
        EvictionOutcome::BlockedByBudget { .. }
        | EvictionOutcome::BudgetNotObserved { .. }
        | EvictionOutcome::MultipleBudgets { .. }
        | EvictionOutcome::BudgetMisbehaving { .. } => Some(Blockage {
            since: before.map_or(now, |b| b.since),
            budget: outcome.budget().map(str::to_owned),
            message: outcome.message().to_owned(),
        }),
        EvictionOutcome::Throttled { .. } | EvictionOutcome::ServerError { .. } => before.cloned(),
        EvictionOutcome::Accepted
        | EvictionOutcome::Gone
        | EvictionOutcome::ReplacedByOther
        | EvictionOutcome::NamespaceTerminating { .. }
        | EvictionOutcome::Forbidden { .. }
        | EvictionOutcome::Rejected { .. } => None,
    }
}

/// True if the answer says that the pod is on its way out, or already gone.
fn leaving(outcome: &EvictionOutcome) -> bool {
    match outcome {
        EvictionOutcome::Accepted | EvictionOutcome::Gone | EvictionOutcome::ReplacedByOther => {
            true
        }
        EvictionOutcome::NamespaceTerminating { pod_terminating } => *pod_terminating,
        EvictionOutcome::BlockedByBudget { .. }
        | EvictionOutcome::BudgetNotObserved { .. }
        | EvictionOutcome::Throttled { .. }
        | EvictionOutcome::MultipleBudgets { .. }
        | EvictionOutcome::Forbidden { .. }
        | EvictionOutcome::BudgetMisbehaving { .. }
        | EvictionOutcome::Rejected { .. }
        | EvictionOutcome::ServerError { .. } => false,
    }
}

/// How long to wait after an answer that came for the `streak`-th time again.
fn delay(outcome: &EvictionOutcome, streak: u32) -> SignedDuration {
    let clamped = |seconds: u32| i64::from(seconds.clamp(RETRY_AFTER_RANGE.0, RETRY_AFTER_RANGE.1));
    SignedDuration::from_secs(match outcome {
        EvictionOutcome::Accepted
        | EvictionOutcome::NamespaceTerminating { pod_terminating: true } => CONFIRM_SECONDS,
        EvictionOutcome::Gone | EvictionOutcome::ReplacedByOther => {
            doubling(STILL_THERE_SECONDS, streak)
        }
        EvictionOutcome::NamespaceTerminating { pod_terminating: false } => {
            doubling(BLOCKED_SECONDS, streak)
        }
        EvictionOutcome::BlockedByBudget { retry_after, .. } => {
            doubling(BLOCKED_SECONDS, streak).max(retry_after.map_or(0, clamped))
        }
        EvictionOutcome::BudgetNotObserved { retry_after, .. }
        | EvictionOutcome::Throttled { retry_after, .. } => clamped(*retry_after),
        EvictionOutcome::MultipleBudgets { .. } | EvictionOutcome::BudgetMisbehaving { .. } => {
            REPAIR_SECONDS
        }
        EvictionOutcome::Forbidden { .. } | EvictionOutcome::Rejected { .. } => {
            doubling(DOUBT_SECONDS, streak)
        }
        EvictionOutcome::ServerError { retry_after, .. } => {
            retry_after.map_or_else(|| doubling(SERVER_ERROR_SECONDS, streak), clamped)
        }
    })
}

/// `first`, doubled `streak` times, at most `longest`.
fn doubling((first, longest): (i64, i64), streak: u32) -> i64 {
    // 2^16 is beyond every limit here; the cap keeps the shift in range.
    first.saturating_mul(1_i64 << streak.min(16)).min(longest)
}

/// `time + wait`, at most the end of time.
fn later(time: Timestamp, wait: SignedDuration) -> Timestamp {
    time.checked_add(wait).unwrap_or(Timestamp::MAX)
}

/// When a terminating pod will no longer be waited for: the first whole second beyond the limit.
fn skip_time(pod: &PodFacts, options: &DrainOptions) -> Option<Timestamp> {
    match options.terminating {
        TerminatingPods::Wait => {}
        TerminatingPods::LeaveForPowerOff => return None,
    }
    let limit = options.skip_terminating_after.filter(SignedDuration::is_positive)?;
    let wait = SignedDuration::from_secs(limit.as_secs().saturating_add(1));
    pod.deletion_time.map(|time| later(time, wait))
}

/// Lowers `recheck_at` to `candidate` if that is in the future.
fn earliest(recheck_at: &mut Option<Timestamp>, candidate: Option<Timestamp>, now: Timestamp) {
    if let Some(time) = candidate.filter(|time| *time > now) {
        *recheck_at = Some(recheck_at.map_or(time, |at| at.min(time)));
    }
}

#[cfg(test)]
mod tests;
