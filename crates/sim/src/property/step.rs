//! SAFE-1, SAFE-2, SAFE-15 to SAFE-18, SAFE-20 and SAFE-22 on every version of a run.

use std::sync::Arc;

use rerail_api::{
    NodeRemediation,
    remediation::{EffectName, FrozenPlan, NodeRemediationStatus, StepName},
};
use rerail_core::step::Step;
use serde_json::Value;

use super::{
    court::{Court, Seen},
    effect::uid_of,
    policy::PolicyTruth,
    run::{RunTruth, decode, is_end, known},
};

/// The most that a NodeRemediation may have, in bytes (SAFE-16).
const SIZE_LIMIT: usize = 16 * 1024;

/// The steps that may follow (api.md, Steps).
fn may_follow(from: Step, to: Step) -> bool {
    use Step::*;
    let next: &[Step] = match from {
        Pending => &[Cordoning, Cancelled],
        Cordoning => &[Draining, RollingBack, Held, Cancelled],
        Draining => &[Rebooting, RollingBack, Held, Cancelled],
        Rebooting => &[Verifying, Withdrawing],
        Withdrawing => &[Verifying, Rebooting, RollingBack, Held, Cancelled],
        Verifying => &[Uncordoning, Rebooting, Held, RollingBack, Cancelled],
        Uncordoning => &[Settling, Succeeded, Held, Cancelled],
        Settling => &[Succeeded, Cancelled],
        RollingBack => &[Cancelled, Failed, Held],
        Held => &[Cordoning, Verifying, RollingBack, Cancelled],
        Succeeded | Cancelled | Failed => &[],
    };
    next.contains(&to)
}

impl Court {
    pub(super) fn run_changed(
        &mut self,
        seen: &Seen,
        before: Option<&Arc<Value>>,
        after: Option<&Arc<Value>>,
        object: &Arc<Value>,
    ) {
        let uid = uid_of(object).to_owned();
        // A restore of etcd puts an older object of the same name into its place.
        let replaced = before.map(uid_of).filter(|old| *old != uid);
        if let Some(run) = replaced.and_then(|old| self.runs.get_mut(old)) {
            run.gone = Some(seen.at);
        }
        let Some(after) = after else {
            if let Some(run) = self.runs.get_mut(&uid) {
                if run.is_open() && run.begun {
                    self.sometimes.entry("run-deleted").and_modify(|n| *n += 1).or_insert(1);
                }
                run.gone = Some(seen.at);
            }
            return;
        };
        let Some(read) = decode(after) else {
            if let Some(run) = self.runs.get_mut(&uid) {
                run.spoiled = true;
            }
            return;
        };
        self.size(seen, after);
        let Some(mut run) = self.runs.remove(&uid) else {
            self.runs.insert(uid, RunTruth::new(&read));
            return;
        };
        if (before.is_none() || replaced.is_some()) && run.gone.take().is_some() {
            // It is there again: a backup was restored.
            run.spoiled = true;
        }
        let status = read.status.clone().unwrap_or_default();
        let old = std::mem::take(&mut run.status);
        let wrote = before.is_none_or(|before| before.get("status") != after.get("status"));
        if !wrote {
            run.take_in(&read, old, seen.at);
            self.runs.insert(uid, run);
            return;
        }
        run.spoiled |= !seen.ours;
        let was = run.step();
        run.take_in(&read, status, seen.at);
        let waited = matches!(was, Some(Step::Pending | Step::Held));
        if waited && run.step() == Some(Step::Cordoning) {
            (run.closed, run.admitted) = (false, Some(seen.at));
        }
        self.runs.insert(uid.clone(), run);
        self.written(seen, &uid, &read, &old);
        if seen.ours && was != known(&read.status.clone().unwrap_or_default().step) {
            self.moved(seen, &uid, was, &old);
        }
        self.sights(&uid, was, &old);
    }

    fn size(&mut self, seen: &Seen, object: &Value) {
        struct Count(usize);
        impl std::io::Write for Count {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0 += bytes.len();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut count = Count(0);
        let written = serde_json::to_writer(&mut count, object);
        if written.is_ok() && count.0 > SIZE_LIMIT && seen.ours {
            let name = crate::meta::of(object, "name").to_owned();
            self.blame("SAFE-16", seen.at, &name, format!("the run has {} bytes", count.0));
        }
    }

    /// Whoever writes a status, and whatever it says.
    fn written(
        &mut self,
        seen: &Seen,
        uid: &str,
        read: &NodeRemediation,
        old: &NodeRemediationStatus,
    ) {
        let run = &self.runs[uid];
        let (name, status) = (run.name.clone(), &run.status);
        let mut wrong: Vec<(&'static str, String)> = Vec::new();
        if !seen.ours {
            // Somebody else, or a restore of etcd: nothing of ours.
            return;
        }
        let sideways =
            status.epoch == old.epoch && !old.leader.is_empty() && status.leader != old.leader;
        if status.epoch < old.epoch || sideways {
            let message = format!(
                "its status goes from epoch {} of {} to epoch {} of {}",
                old.epoch, old.leader, status.epoch, status.leader
            );
            wrong.push(("SAFE-2", message));
        }
        let process = self.processes.get(&seen.by);
        let term = process.and_then(|process| process.term_at(seen.sent));
        let own = (status.leader.clone(), status.epoch);
        if term.is_some_and(|term| *term != own) {
            wrong.push((
                "SAFE-2",
                format!("{} writes it as {own:?}, and its term was {term:?}", seen.by),
            ));
        }
        if let Some(frozen) = status.frozen.as_ref().filter(|_| old.frozen.is_none()) {
            wrong.push(("SELF-1", format!("the operator froze it: {}", frozen.message)));
        }
        wrong.extend(contract(run, old));
        wrong.extend(attempts(run, old));
        if let Some(intent) = &status.intent {
            if intent.node_uid != read.spec.node_uid {
                wrong.push(("SAFE-13", format!("an intent for node UID {}", intent.node_uid)));
            }
            if intent.epoch != status.epoch && old.intent.as_ref() != Some(intent) {
                wrong.push((
                    "SAFE-3",
                    format!("an intent of epoch {} in a status of {}", intent.epoch, status.epoch),
                ));
            }
        }
        for (property, message) in wrong {
            self.blame(property, seen.at, &name, message);
        }
    }

    fn moved(&mut self, seen: &Seen, uid: &str, was: Option<Step>, old: &NodeRemediationStatus) {
        let run = &self.runs[uid];
        let (name, Some(is)) = (run.name.clone(), run.step()) else { return };
        let Some(was) = was else {
            self.blame("SAFE-18", seen.at, &name, format!("from a step that is not known to {is}"));
            return;
        };
        if !may_follow(was, is) {
            self.blame("SAFE-18", seen.at, &name, format!("from step {was} to {is}"));
        }
        if old.frozen.is_some() {
            self.blame("SAFE-18", seen.at, &name, format!("frozen, it goes from {was} to {is}"));
        }
        if is == Step::Cordoning {
            self.alone(seen, uid);
            self.promised(seen, uid);
            self.admitted(seen, uid);
            if let Some(run) = self.runs.get_mut(uid) {
                (run.began, run.begun_by) = (seen.at, Some(seen.by.clone()));
                run.first_began.get_or_insert(seen.at);
            }
        }
        if is == Step::Rebooting {
            self.drained(seen, uid, was);
            self.earlier_are_on_record(seen, uid);
        }
        if is == Step::Uncordoning {
            self.verified(seen, uid);
        }
        if is_end(is) {
            self.ended(seen, uid, was, is);
        }
    }

    /// SAFE-22.
    fn alone(&mut self, seen: &Seen, uid: &str) {
        let run = &self.runs[uid];
        let other = self.runs.iter().find(|(other, known)| {
            *other != uid && known.node_uid == run.node_uid && known.begun && known.is_open()
        });
        if let Some((_, other)) = other {
            let (name, message) =
                (run.name.clone(), format!("run {} of its node is open", other.name));
            self.blame("SAFE-22", seen.at, &name, message);
        }
    }

    /// SAFE-15: what is frozen is what the policy says. SAFE-17: so is the priority.
    fn promised(&mut self, seen: &Seen, uid: &str) {
        let run = &self.runs[uid];
        let name = run.name.clone();
        let retried = run.status.ladder_start.is_some();
        let Some(policy) = self.policies.get(&run.policy).filter(|_| !retried) else { return };
        let Some(plan) = &run.status.plan else {
            self.blame("SAFE-15", seen.at, &name, "it is admitted without a frozen plan");
            return;
        };
        let same = |policy: &PolicyTruth| {
            let spec = &policy.spec;
            spec.triggers == plan.triggers
                && spec.drain == plan.drain
                && spec.remedies == plan.remedies
                && spec.verify == plan.verify
                && spec.attempts == plan.attempts
        };
        let known: Vec<_> = policy.within(seen.from).flatten().collect();
        let mut wrong = Vec::new();
        if !known.iter().any(|policy| same(policy)) {
            wrong.push(("SAFE-15", format!("its plan is not what policy {} says", run.policy)));
        }
        if let (Some(cause), Some(priority)) = (run.status.causes.first(), run.status.priority) {
            let fits = |policy: &&PolicyTruth| {
                i32::from(policy.priority(&cause.message)) == cause.priority
            };
            if cause.priority != priority || !known.iter().any(fits) {
                wrong.push(("SAFE-17", format!("P{priority} for the message `{}`", cause.message)));
            }
        }
        for (property, message) in wrong {
            self.blame(property, seen.at, &name, message);
        }
    }

    /// SAFE-20, and protocol R4: an end is on record on the node before the run says so.
    fn ended(&mut self, seen: &Seen, uid: &str, was: Step, is: Step) {
        let run = &self.runs[uid];
        let name = run.name.clone();
        let node = self.nodes.get(&run.node).filter(|node| node.uid == run.node_uid);
        let here = node.is_some();
        let marked = node.is_some_and(|node| node.mark.get().as_deref() == Some(uid));
        let mut wrong = Vec::new();
        if was != Step::Pending && here && !run.closed {
            wrong.push(("SAFE-20", format!("it ends as {is} without a closing write on its node")));
        }
        if marked {
            wrong.push(("SAFE-6", format!("it ends as {is}, and its mark is on the node")));
        }
        if is == Step::Succeeded && !matches!(was, Step::Uncordoning | Step::Settling) {
            wrong.push(("SAFE-20", format!("it succeeds in step {was}")));
        }
        let acted = run.acts.iter().map(|(attempt, _)| *attempt);
        let recorded = |attempt: &u32| {
            run.status.steps.iter().any(|step| step.name == "Rebooting" && step.attempt == *attempt)
        };
        for attempt in acted.filter(|attempt| !recorded(attempt)) {
            wrong.push((
                "SAFE-20",
                format!("attempt {attempt} rebooted the machine, and its record is missing"),
            ));
        }
        for (property, message) in wrong {
            self.blame(property, seen.at, &name, message);
        }
    }

    /// What has been seen at least once.
    fn sights(&mut self, uid: &str, was: Option<Step>, old: &NodeRemediationStatus) {
        let Some(run) = self.runs.get(uid) else { return };
        let status = &run.status;
        let said = |status: &NodeRemediationStatus| status.said().map(|said| said.reason.clone());
        let reason = said(status).unwrap_or_default();
        let news = said(old).unwrap_or_default() != reason;
        let mut saw: Vec<&'static str> = Vec::new();
        if was != run.step() {
            match run.step() {
                Some(Step::Succeeded) => saw.push("run-succeeds"),
                Some(Step::RollingBack) => saw.push("run-rolls-back"),
                Some(Step::Held) => saw.push("run-held"),
                Some(Step::Withdrawing) => saw.push("reboot-withdrawn"),
                Some(Step::Failed) => saw.push("run-fails"),
                _ => {}
            }
        }
        if news && reason == "DrainBlocked" {
            saw.push("drain-blocked");
        }
        if news && reason == "DrainTimeout" {
            saw.push("drain-timeout");
        }
        if status.attempt > 1 && old.attempt < status.attempt {
            saw.push("second-attempt");
        }
        if status.paused_time.is_some() && old.paused_time.is_none() {
            saw.push("run-paused");
        }
        if run.leader.last().is_some_and(|last| !last.1.is_empty())
            && status.leader != old.leader
            && !old.leader.is_empty()
        {
            saw.push("run-adopted");
        }
        if run.cancelled.is_some() && was != run.step() && run.step() == Some(Step::Cancelled) {
            saw.push("run-cancelled");
        }
        for what in saw {
            self.saw(what);
        }
    }
}

/// SAFE-15: what was promised at admission stays.
fn contract(run: &RunTruth, old: &NodeRemediationStatus) -> Option<(&'static str, String)> {
    let before = old.plan.as_ref()?;
    let Some(plan) = &run.status.plan else {
        return Some(("SAFE-15", "its frozen plan is gone".to_owned()));
    };
    // The DaemonSets that are waited for are known when the drain is done, before the first attempt.
    let later = old.attempt == 0 && run.status.attempt <= 1;
    let daemon_sets = if later { plan.daemon_sets.clone() } else { before.daemon_sets.clone() };
    let expected = FrozenPlan { daemon_sets, ..before.clone() };
    (expected != *plan).then(|| ("SAFE-15", "its frozen plan has changed".to_owned()))
}

/// SAFE-1 and SAFE-15: attempts only grow, one at a time, each with an intent, and no more than the
/// plan has remedies.
fn attempts(run: &RunTruth, old: &NodeRemediationStatus) -> Option<(&'static str, String)> {
    let status = &run.status;
    if status.attempt < old.attempt || status.attempt > old.attempt + 1 {
        return Some((
            "SAFE-1",
            format!("its attempt goes from {} to {}", old.attempt, status.attempt),
        ));
    }
    let step = |status: &NodeRemediationStatus| status.step == StepName::Known(Step::Rebooting);
    if step(status) && !step(old) && status.attempt == old.attempt {
        return Some(("SAFE-1", format!("attempt {} is begun a second time", old.attempt)));
    }
    let announced = |status: &NodeRemediationStatus| {
        let intent = status.intent.as_ref().filter(|intent| intent.effect == EffectName::Reboot)?;
        Some((intent.attempt, intent.boot_id_before.clone()))
    };
    if let Some((attempt, boot)) = announced(status) {
        if attempt != status.attempt {
            return Some((
                "SAFE-1",
                format!("an intent for attempt {attempt} while it is at {}", status.attempt),
            ));
        }
        let known =
            announced(old).is_some_and(|(known, before)| known == attempt && before == boot);
        if !known && old.attempt == attempt {
            return Some(("SAFE-1", format!("attempt {attempt} is announced a second time")));
        }
    }
    let remedies = status.plan.as_ref().map_or(usize::MAX, |plan| plan.remedies.len());
    let tried = status.attempt.saturating_sub(status.ladder_start.unwrap_or(0));
    if tried as usize > remedies && status.attempt > old.attempt {
        return Some(("SAFE-15", format!("attempt {tried} of a plan with {remedies} remedies")));
    }
    None
}
