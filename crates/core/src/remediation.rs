//! What a run does next: `step(run, observation) -> Decision`, pure and total.
//!
//! One decision is either a change of status, or one effect whose intent an earlier change has
//! committed, or a wait. So a crash between any two calls leaves a run that the next operator
//! observes and carries on (SAFE-1, SAFE-3), and nothing is done twice by construction.

mod closing;
mod cordoning;
mod draining;
mod held;
mod memory;
mod rebooting;
mod record;
mod retry;
mod urgency;
mod verifying;
mod withdrawing;

pub use memory::Memory;
pub use record::{record, record_attempts, record_without_run};
pub use retry::retry;
pub use urgency::more_urgent;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::{
    drain::progress::{DrainPlan, PodRef},
    facts::{ATTEMPTS_KEPT, Cordon, NodeFacts, OUT_OF_SERVICE_TAINT},
    mutant,
    policy::{self, Contract, RebootMethod},
    reason::Reason,
    reboot_check::Report,
    run::{Intent, IntentEffect, Run},
    step::Step,
    trigger::{self, Standing, add},
};

/// How long a cordon, an uncordon or a roll-back may take before the run gives up or says so.
pub const NODE_WRITE_TIMEOUT: SignedDuration = SignedDuration::from_mins(10);

/// After this long in Withdrawing the run announces that its effect cannot be resolved. It waits on.
/// A kubelet with nothing new to say reports every five minutes, and not sharply.
pub const WITHDRAW_TIMEOUT: SignedDuration = SignedDuration::from_mins(10);

/// How often a paused run is looked at: its pause may end by itself, which is no event.
const PAUSE_RECHECK: SignedDuration = SignedDuration::from_mins(1);

/// What one look at the world showed a run.
#[derive(Debug)]
pub struct Observation<'a> {
    /// The operator's clock.
    pub now: Timestamp,
    /// The node, by a fresh read.
    pub node: NodeSeen<'a>,
    /// How the policy stands.
    pub policy: PolicyStanding,
    /// Why the run is paused, if it is.
    pub paused: Option<String>,
    /// The drain, in step Draining; from a fresh list of pods when it says `done`.
    pub drain: Option<&'a DrainPlan>,
    /// The reboot Pod of the latest attempt.
    pub reboot_pod: PodSeen,
    /// The probe Pod after the latest attempt.
    pub probe_pod: PodSeen,
    /// DaemonSets (`namespace/name`) with a Ready pod on the node; `None` = not looked. From a fresh
    /// list when `drain` says `done`.
    pub daemon_sets_ready: Option<Vec<String>>,
    /// What this process has seen earlier.
    pub memory: &'a Memory,
}

/// The Node object under the run's node name.
#[derive(Debug, Clone, Copy)]
pub enum NodeSeen<'a> {
    /// The run's node.
    Present(&'a NodeFacts),
    /// No such object.
    Gone,
    /// Another object with that name.
    Replaced,
}

/// How the run's policy stands now. Tightening it concerns runs under way at once; loosening and
/// editing do not (hazard H29).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyStanding {
    /// There, in mode Enforce, not suspended; or not readable now, which undoes nothing.
    InForce,
    /// `spec.suspended`.
    Suspended,
    /// Mode is not Enforce.
    NotEnforcing,
    /// Deleted.
    Deleted,
}

/// One of the run's own Pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodSeen {
    /// Not looked at.
    Unknown,
    /// No such Pod.
    Absent,
    /// Created, container not started.
    Waiting {
        /// Why, in the kubelet's words.
        why: String,
        /// A deletion was asked for.
        deleting: bool,
    },
    /// Its container runs.
    Running {
        /// A deletion was asked for.
        deleting: bool,
    },
    /// The kubelet reports that its container terminated; `phase: Failed` alone is no proof, since
    /// the pod garbage collector writes it too (protocol R2).
    Ended {
        /// Exit code of the container.
        exit_code: i32,
        /// When, by the node's clock.
        finished_at: Option<Timestamp>,
        /// What the Pod wrote about itself, if readable.
        report: Option<Report>,
    },
    /// The Pod is over without a word of the kubelet about its container.
    Lost,
}

/// What is to be done on the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Set `unschedulable` and our mark in one patch (SAFE-6).
    Cordon,
    /// Put the run's earlier attempts on the node's record, before a further one.
    Remember,
    /// Evict these pods, each with its UID as precondition.
    Evict(Vec<PodRef>),
    /// Create the reboot Pod of the latest attempt, which reboots so.
    CreateRebootPod(RebootMethod),
    /// Delete the reboot Pod of the latest attempt, gracefully.
    DeleteRebootPod,
    /// Create the probe Pod.
    CreateProbePod,
    /// Delete the probe Pod, so that it can be tried again.
    DeleteProbePod,
    /// The closing write: marks off, outcome into `last-remediation`, in one patch (protocol R4).
    Close {
        /// Also make the node schedulable.
        uncordon: bool,
        /// The step that the run will end in.
        result: Step,
        /// Why.
        reason: Reason,
    },
}

/// What happens next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// Commit this as the run's new status.
    Change(Box<Run>),
    /// Do this after a last look, then observe again.
    Do(Effect),
    /// Nothing now.
    Wait,
}

/// A decision and its reason.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Decision {
    /// What happens next.
    pub action: Action,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, in a sentence without numbers that change by themselves.
    pub message: String,
    /// When to look again if nothing happens before; `None` = only when something happens.
    pub recheck_at: Option<Timestamp>,
}

impl Decision {
    fn change(next: Run) -> Self {
        Decision {
            reason: next.reason,
            message: next.message.clone(),
            action: Action::Change(Box::new(next)),
            recheck_at: None,
        }
    }

    fn act(effect: Effect, reason: Reason, message: impl Into<String>) -> Self {
        Decision { action: Action::Do(effect), reason, message: message.into(), recheck_at: None }
    }

    fn wait(reason: Reason, message: impl Into<String>, recheck_at: Option<Timestamp>) -> Self {
        Decision { action: Action::Wait, reason, message: message.into(), recheck_at }
    }
}

/// What the run does next.
pub fn step(run: &Run, seen: &Observation<'_>) -> Decision {
    if run.step.is_terminal() {
        return Decision::wait(run.reason, run.message.clone(), None);
    }
    if let Some(frozen) = &run.frozen {
        return Decision::wait(Reason::InvariantViolated, frozen.message.clone(), None);
    }
    let node = match seen.node {
        NodeSeen::Present(node) => node,
        NodeSeen::Gone => return without_node(run, seen, "the Node object was deleted"),
        NodeSeen::Replaced => {
            return without_node(run, seen, "another Node object has this name now");
        }
    };
    if run.step == Step::Pending {
        return pending(run, seen);
    }
    let Some(contract) = &run.contract else {
        return Decision::wait(run.reason, "the run has no frozen plan; nothing is done", None);
    };
    if let Some(decision) = pausing(run, seen) {
        return decision;
    }
    let look = Look { run, seen, node, contract };
    match run.step {
        Step::Cordoning => cordoning::step(&look),
        Step::Draining => draining::step(&look),
        Step::Rebooting => rebooting::step(&look),
        Step::Withdrawing => withdrawing::step(&look),
        Step::Verifying => verifying::step(&look),
        Step::Uncordoning => closing::uncordoning(&look),
        Step::Settling => closing::settling(&look),
        Step::RollingBack => closing::rolling_back(&look),
        Step::Held => held::step(&look),
        Step::Pending | Step::Succeeded | Step::Cancelled | Step::Failed => {
            Decision::wait(run.reason, run.message.clone(), None)
        }
    }
}

/// One run, what it sees, and what it promised.
struct Look<'a> {
    run: &'a Run,
    seen: &'a Observation<'a>,
    node: &'a NodeFacts,
    contract: &'a Contract,
}

impl Look<'_> {
    fn enter(&self, step: Step, reason: Reason, message: impl Into<String>) -> Run {
        self.run.enter(step, reason, message.into(), self.seen.now)
    }

    fn cordon(&self) -> Cordon {
        self.node.cordon(&self.run.uid)
    }

    fn deadline_passed(&self) -> bool {
        self.run.deadline.is_some_and(|deadline| deadline <= self.seen.now)
    }

    fn booted(&self) -> bool {
        self.run.booted(self.node)
    }

    fn standing(&self, counts: impl Fn(&crate::policy::Trigger) -> bool) -> Standing {
        let Look { run, seen, node, contract } = self;
        trigger::standing(&contract.triggers, node, &run.causes, &run.evidence, seen.now, counts)
    }

    fn roll_back(&self, reason: Reason, message: impl Into<String>) -> Decision {
        let mut next = self.enter(Step::RollingBack, reason, message);
        next.deadline = Some(add(self.seen.now, NODE_WRITE_TIMEOUT));
        next.intent = Some(self.intent(IntentEffect::Uncordon, self.run.attempt));
        Decision::change(next)
    }

    fn hold(&self, reason: Reason, message: impl Into<String>) -> Decision {
        Decision::change(self.enter(Step::Held, reason, message))
    }

    /// Gives up what has not rebooted the machine yet: a roll-back. A machine that an earlier try of
    /// this run has rebooted is given back only when it was verified, or when a person says so
    /// (SAFE-19): it goes back to Held.
    fn give_up(&self, reason: Reason, message: impl Into<String>) -> Decision {
        let released = reason == Reason::CancelRequested || self.cordon() != Cordon::Ours;
        if self.run.past_no_return() && !released {
            return self.hold(reason, message);
        }
        self.roll_back(reason, message)
    }

    fn withdraw(&self, reason: Reason, message: impl Into<String>) -> Decision {
        let mut next = self.enter(Step::Withdrawing, reason, message);
        next.deadline = Some(add(self.seen.now, WITHDRAW_TIMEOUT));
        Decision::change(next)
    }

    fn verify(&self) -> Decision {
        let message = format!("the machine reported boot ID {}", self.node.boot_id);
        let mut next = self.enter(Step::Verifying, Reason::Booted, message);
        next.deadline = Some(add(self.seen.now, self.contract.verify.timeout));
        next.evidence = trigger::evidence(&self.contract.triggers, self.node, self.seen.now);
        Decision::change(next)
    }

    /// The next attempt: a reboot intent, committed before anything is done (SAFE-3). An error when
    /// the ladder or the attempts are used up, or something forbids another attempt: whatever makes a
    /// run turn back before the point of no return also keeps it from a further attempt after it.
    fn next_attempt(&self) -> Result<Run, (Reason, String)> {
        let Look { run, seen, node, contract } = self;
        if node.hold {
            return Err((Reason::HoldLabel, "the node bears the label rerail.dev/hold".into()));
        }
        if self.cordon() != Cordon::Ours {
            return Err((Reason::CordonLifted, "the cordon is not ours any more".into()));
        }
        if let Some((_, message)) = turn_back(self) {
            return Err((Reason::NoBoot, message));
        }
        let Some(remedy) = run.rung().and_then(|rung| contract.remedies.get(rung as usize)) else {
            return Err((Reason::NoBoot, "every remedy of the policy was tried".into()));
        };
        if !node.in_service() && !remedy.action.reaches_not_ready() {
            let message = format!("{}, and no remedy left reaches it", why_not_in_service(node));
            return Err((Reason::Unreachable, message));
        }
        if node.boot_id.is_empty() {
            // Any later boot ID would pass for a boot.
            return Err((Reason::Unreachable, "the node reports no boot ID".into()));
        }
        if run.attempt as usize >= ATTEMPTS_KEPT {
            let message = format!("a run has at most {ATTEMPTS_KEPT} attempts");
            return Err((Reason::AttemptsExhausted, message));
        }
        let used = attempts_used(run, node, contract, seen.now);
        let used = if mutant!("attempts-not-counted") { 0 } else { used };
        if used >= contract.attempts.max as usize {
            let message = format!("{used} attempts within the policy's window; none is left");
            return Err((Reason::AttemptsExhausted, message));
        }
        let policy::Action::Reboot(method) = remedy.action;
        let reused = mutant!("attempt-reused") && run.attempt > 0;
        let attempt = if reused { run.attempt } else { run.attempt + 1 };
        let mut next = self.enter(
            Step::Rebooting,
            Reason::RebootPodPending,
            format!("attempt {attempt}: {}", method.announced()),
        );
        next.deadline = Some(add(seen.now, remedy.timeout));
        next.attempt = attempt;
        next.attempt_times.push(seen.now);
        next.boot_id_before = Some(node.boot_id.clone());
        next.report_before = node.heartbeat();
        next.intent = Some(self.intent(IntentEffect::Reboot, attempt));
        if mutant!("reboot-without-intent") {
            next.intent = None;
        }
        Ok(next)
    }

    /// Begins what [`Look::next_attempt`] gave, once the node's record has the earlier attempts. Should the
    /// run be deleted by force, whoever finds only its slot or its mark counts one attempt for it; of more
    /// than one all the others are on record by then, whoever ends when (SAFE-14). What cannot be written in
    /// time is for a person.
    fn begin(&self, next: Run) -> Decision {
        let unwritten = record_attempts(self.run, &self.node.last_remediation).is_some();
        let in_time = |deadline| self.seen.now < add(deadline, NODE_WRITE_TIMEOUT);
        if unwritten && !self.run.deadline.is_none_or(in_time) {
            let message = "the earlier attempts could not be put on the node's record in time";
            return self.hold(Reason::Unreachable, message);
        }
        if unwritten && !mutant!("lost-attempts-unwritten") {
            let message = "putting the earlier attempts on the node's record";
            return Decision::act(Effect::Remember, next.reason, message);
        }
        Decision::change(next)
    }

    fn intent(&self, effect: IntentEffect, attempt: u32) -> Intent {
        intent(self.run, self.node, effect, attempt, self.seen.now)
    }
}

/// Why a node is not in service, for people.
fn why_not_in_service(node: &NodeFacts) -> String {
    if node.out_of_service {
        return format!("the node bears the taint {OUT_OF_SERVICE_TAINT}: its machine is off");
    }
    match node.conditions.get("Ready") {
        Some(ready) if !ready.reason.is_empty() => {
            format!("the node is not Ready: {}", ready.reason)
        }
        Some(_) | None => "the node is not Ready".to_owned(),
    }
}

/// Attempts on this machine within the window, by the node's own memory and by this run. An attempt
/// that both know counts once; the two may be written with different precision.
fn attempts_used(run: &Run, node: &NodeFacts, contract: &Contract, now: Timestamp) -> usize {
    let window = now.saturating_sub(contract.attempts.per).unwrap_or(Timestamp::MIN);
    let known = node.last_remediation.attempts.iter().chain(&run.attempt_times);
    known.filter(|time| **time > window).map(|time| time.as_second()).collect::<BTreeSet<_>>().len()
}

fn intent(
    run: &Run,
    node: &NodeFacts,
    effect: IntentEffect,
    attempt: u32,
    now: Timestamp,
) -> Intent {
    Intent {
        effect,
        attempt,
        node_uid: run.node_uid.clone(),
        boot_id_before: node.boot_id.clone(),
        time: now,
    }
}

/// The admission of a Pending run: step Cordoning, with its contract frozen and its intent.
pub fn admit(run: &Run, node: &NodeFacts, contract: &Contract, now: Timestamp) -> Run {
    let message = format!("admitted by policy {}", run.policy);
    Run {
        contract: Some(contract.clone()),
        deadline: Some(add(now, NODE_WRITE_TIMEOUT)),
        intent: Some(intent(run, node, IntentEffect::Cordon, 0, now)),
        evidence: trigger::evidence(&contract.triggers, node, now),
        ..run.enter(Step::Cordoning, Reason::Admitted, message, now)
    }
}

/// Cancels a Pending run: it has touched nothing, so there is nothing to undo.
pub fn cancel_pending(run: &Run, reason: Reason, message: &str, now: Timestamp) -> Run {
    run.enter(Step::Cancelled, reason, message.to_owned(), now)
}

fn pending(run: &Run, seen: &Observation<'_>) -> Decision {
    if run.cancel {
        let message = "cancelled before it was admitted";
        return Decision::change(cancel_pending(run, Reason::CancelRequested, message, seen.now));
    }
    Decision::wait(Reason::Pending, "waiting to be admitted", None)
}

/// The node of the run is gone. Nothing is touched. With a reboot attempt under way the machine may
/// still exist, so the slot stays until nothing can act any more (protocol R2, R2c; W8).
fn without_node(run: &Run, seen: &Observation<'_>, message: &str) -> Decision {
    let end = || {
        Decision::change(run.enter(Step::Cancelled, Reason::NodeReplaced, message.into(), seen.now))
    };
    match run.step {
        Step::Rebooting => {
            let mut next =
                run.enter(Step::Withdrawing, Reason::NodeReplaced, message.into(), seen.now);
            next.deadline = Some(add(seen.now, WITHDRAW_TIMEOUT));
            Decision::change(next)
        }
        Step::Withdrawing => match withdrawing::lost_pod_harmless_at(run) {
            at if at <= seen.now => end(),
            at => Decision::wait(Reason::Withdrawing, message, Some(at)),
        },
        Step::Pending
        | Step::Cordoning
        | Step::Draining
        | Step::Verifying
        | Step::Uncordoning
        | Step::Settling
        | Step::RollingBack
        | Step::Held
        | Step::Succeeded
        | Step::Cancelled
        | Step::Failed => end(),
    }
}

/// Before the point of no return a pause stops every effect and every deadline; after it the run
/// finishes (planner.md, Gates).
fn pausing(run: &Run, seen: &Observation<'_>) -> Option<Decision> {
    let off = mutant!("pause-ignored-by-run");
    let stoppable = run.may_turn_back() && run.step != Step::Held && !off;
    match (&seen.paused, run.paused_at) {
        (Some(why), None) if stoppable => {
            let next = Run { paused_at: Some(seen.now), ..run.clone() };
            Some(Decision {
                reason: Reason::Paused,
                message: why.clone(),
                ..Decision::change(next)
            })
        }
        (Some(why), Some(_)) if stoppable => {
            let recheck = add(seen.now, PAUSE_RECHECK);
            Some(Decision::wait(Reason::Paused, why.clone(), Some(recheck)))
        }
        (_, Some(paused_at)) => {
            // A clock that was set back takes no time away from the run.
            let rest = seen.now.duration_since(paused_at).max(SignedDuration::ZERO);
            let deadline = run.deadline.map(|deadline| add(deadline, rest));
            Some(Decision::change(Run { paused_at: None, deadline, ..run.clone() }))
        }
        (_, None) => None,
    }
}

/// What makes a run turn back before the point of no return, first found first.
fn turn_back(look: &Look<'_>) -> Option<(Reason, String)> {
    let Look { run, seen, node, .. } = look;
    if run.cancel && !mutant!("cancel-ignored") {
        return Some((Reason::CancelRequested, "the run was cancelled".into()));
    }
    let policy = &run.policy;
    match seen.policy {
        _ if mutant!("policy-ignored-by-run") => {}
        PolicyStanding::InForce => {}
        PolicyStanding::Deleted => {
            return Some((Reason::PolicyDeleted, format!("policy {policy} was deleted")));
        }
        PolicyStanding::Suspended => {
            return Some((Reason::PolicySuspended, format!("policy {policy} was suspended")));
        }
        PolicyStanding::NotEnforcing => {
            let message = format!("policy {policy} does not enforce any more");
            return Some((Reason::PolicyNotEnforcing, message));
        }
    }
    if node.deleting {
        return Some((Reason::NodeDeleting, "the node is being deleted".into()));
    }
    if let Some(claim) = &node.claim {
        let message = format!("another controller is taking the node down: {claim}");
        return Some((Reason::ClaimedByOther, message));
    }
    // A retry is a person's wish, and needs no trigger.
    let retried = run.retries.after_attempt.is_some();
    if !retried && !run.causes.is_empty() && look.standing(|_| true) == Standing::Clear {
        return Some((Reason::TriggerCleared, "no trigger is true any more".into()));
    }
    None
}

#[cfg(test)]
pub(crate) mod tests;
