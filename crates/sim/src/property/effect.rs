//! SAFE-2, SAFE-3, SAFE-9 and what else every effect of an operator must have: a term that may act, a
//! run that is adopted and has a slot, an intent on record, and reads that are not old.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rerail_api::remediation::EffectName;
use rerail_core::step::Step;
use serde_json::Value;

use super::{
    court::{Court, LEASE_KEY, Seen},
    past::{earlier, later},
    policy::{PolicyTruth, is_paused},
    run::RunTruth,
};

/// How old a read may be by which something is done (SAFE-9).
const LOOK_LASTS: SignedDuration = SignedDuration::from_secs(5);

type Wrong = Vec<(&'static str, String)>;

/// What is done for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Cordon,
    Evict,
    RebootPod(u32),
    ProbePod,
    Close,
}

impl Effect {
    fn announced_as(self) -> Option<EffectName> {
        match self {
            Effect::Cordon => Some(EffectName::Cordon),
            Effect::Evict => Some(EffectName::Drain),
            Effect::RebootPod(_) => Some(EffectName::Reboot),
            Effect::Close => Some(EffectName::Uncordon),
            Effect::ProbePod => None,
        }
    }

    /// It may be done only by who has just seen that the Lease is still his.
    fn needs_lease(self) -> bool {
        matches!(self, Effect::Cordon | Effect::Evict | Effect::RebootPod(_))
    }
}

impl Court {
    /// SAFE-2: every write of an operator, whatever it is, was sent while its Lease gave it the right.
    pub(super) fn fenced(
        &mut self,
        seen: &Seen,
        kind: usize,
        before: Option<&Value>,
        object: &Value,
    ) {
        let Some(kinds) = self.kinds else { return };
        let event = object.get("kind").and_then(Value::as_str) == Some("Event");
        if kind == kinds.leases || event || kind == usize::MAX {
            return;
        }
        // What is told now and then while it is so is no effect.
        let renewal = kind == kinds.nodes
            && before.is_some_and(|before| super::alert::only_renewed(before, object));
        // How servers stand is news long after the last of them was disturbed.
        let status = kind == kinds.sources;
        if !status && (!renewal || self.is_too_often(object, seen.at)) {
            self.effects += 1;
        }
        let Some(process) = self.processes.get(&seen.by) else { return };
        let limit = later(process.renewed, self.leniency.renew_deadline);
        let message = match process.term() {
            None => "it writes, and never had the Lease".to_owned(),
            Some(_) if process.released && seen.sent > process.renewed => {
                "it writes, and has given the Lease away".to_owned()
            }
            Some(_) if seen.sent > limit => {
                let late = seen.sent.duration_since(process.renewed).as_millis();
                format!("it sent a write {late} ms after it had last renewed the Lease")
            }
            Some((term, _)) => {
                let other = !self.lease.holder.is_empty() && self.lease.holder != *term;
                let taken = self.lease.taken.is_some_and(|taken| seen.sent > taken);
                // Who deletes or edits the Lease gives it to another before its time.
                if !other || !taken || self.lease.is_tampered(process.renewed) {
                    return;
                }
                format!("it writes, and {} has taken the Lease", self.lease.holder)
            }
        };
        let what = crate::meta::of(object, "name").to_owned();
        self.blame("SAFE-2", seen.at, &seen.by, format!("{message} ({what})"));
    }

    /// What every effect for a run must have. `node_uid` is the UID of the Node object as it is.
    pub(super) fn acted(
        &mut self,
        seen: &Seen,
        uid: &str,
        effect: Effect,
        node: &str,
        node_uid: &str,
    ) {
        let Some(run) = self.runs.get_mut(uid) else {
            self.blame(
                "SAFE-3",
                seen.at,
                uid,
                format!("{effect:?} on node {node}, for a run that nobody knows"),
            );
            return;
        };
        run.effects += 1;
        let run = &self.runs[uid];
        let name = run.name.clone();
        let mut wrong: Vec<(&'static str, String)> = Vec::new();
        if run.node_uid != node_uid {
            wrong.push((
                "SAFE-13",
                format!("{effect:?} on node UID {node_uid}, of a run of {}", run.node_uid),
            ));
        }
        // A run that was deleted by force leaves calls behind that nobody can take back.
        if run.gone.is_none() {
            self.of_run(seen, uid, effect, &mut wrong);
        }
        self.by_looks(seen, uid, effect, node, &mut wrong);
        for (property, message) in wrong {
            self.blame(property, seen.at, &name, message);
        }
    }

    fn of_run(&self, seen: &Seen, uid: &str, effect: Effect, wrong: &mut Wrong) {
        let run = &self.runs[uid];
        let process = self.processes.get(&seen.by);
        let led =
            |leader: &(i64, String)| process.is_some_and(|process| process.is_in_term(&leader.1));
        if !run.leader.at_some_time(seen.sent, led) {
            let leader = &run.leader.get().1;
            wrong.push((
                "SAFE-3",
                format!("{effect:?} by {}, and the run is of term {leader}", seen.by),
            ));
        }
        if let Some(intent) = effect.announced_as() {
            let attempt = match effect {
                Effect::RebootPod(attempt) => attempt,
                Effect::Cordon | Effect::Evict | Effect::Close | Effect::ProbePod => {
                    run.status.attempt
                }
            };
            if !run.has_announced(intent, attempt) {
                wrong.push((
                    "SAFE-3",
                    format!("{effect:?}, attempt {attempt}, was never announced"),
                ));
            }
        }
        let fits = |step: &Option<Step>| step.is_some_and(|step| in_step(effect, step));
        // A call under way lands a little later; after the closing write none of a node can.
        let since = earlier(seen.sent, SignedDuration::from_secs(1));
        let late = effect == Effect::Cordon && fits_late(run.step());
        if !late && !run.step.at_some_time(since, fits) {
            wrong.push(("SAFE-3", format!("{effect:?} in step {:?}", run.step())));
        }
        if run.frozen {
            wrong.push(("SAFE-18", format!("{effect:?} for a run that is frozen")));
        }
        let slot = self.lease.slots.contains_key(uid)
            || self.lease.is_tampered(earlier(seen.at, self.leniency.renew_deadline));
        if !slot && run.is_active() {
            wrong.push(("SAFE-4", format!("{effect:?} without a slot in the ledger")));
        }
        self.of_people(seen, run, effect, wrong);
    }

    /// True if the run's policy was there and so at any time since then.
    pub(super) fn policy_at_some_time(
        &self,
        run: &RunTruth,
        since: Timestamp,
        is_so: impl Fn(&PolicyTruth) -> bool,
    ) -> bool {
        self.policies.get(&run.policy).is_some_and(|policy| {
            policy.at_some_time(since, |version| version.as_ref().is_some_and(&is_so))
        })
    }

    /// What people and other controllers have said.
    fn of_people(&self, seen: &Seen, run: &RunTruth, effect: Effect, wrong: &mut Wrong) {
        // Before the first reboot, and again on the way to that of a retry.
        let may_turn_back =
            run.status.attempt == 0 || matches!(effect, Effect::Cordon | Effect::Evict);
        if may_turn_back && effect != Effect::Close {
            let margin = SignedDuration::from_secs(10);
            let paused =
                |entries: &Vec<_>| is_paused(entries, &run.node, &run.policy, seen.at, margin);
            if self.pauses.throughout(seen.look, paused) {
                wrong.push(("SAFE-5", format!("{effect:?} while it is paused")));
            }
            if !self.policy_at_some_time(run, seen.look, PolicyTruth::enforces) {
                wrong.push((
                    "SAFE-23",
                    format!("{effect:?}, and policy {} does not enforce", run.policy),
                ));
            } else if !self.policy_at_some_time(run, seen.look, PolicyTruth::in_force) {
                wrong.push((
                    "SAFE-5",
                    format!("{effect:?}, and policy {} is suspended", run.policy),
                ));
            }
        }
        if run.cancelled.is_some_and(|at| at < seen.look)
            && matches!(effect, Effect::Cordon | Effect::Evict | Effect::RebootPod(_))
        {
            wrong.push(("SAFE-7", format!("{effect:?} long after the run was cancelled")));
        }
        if let Some(node) = self.nodes.get(&run.node) {
            let stop =
                |value: &super::past::Recent<bool>| value.throughout(seen.look, |value| *value);
            let disrupts = matches!(effect, Effect::Cordon | Effect::Evict);
            if disrupts && stop(&node.foreign) {
                wrong.push((
                    "SAFE-7",
                    format!("{effect:?} on a node that somebody else has cordoned or claims"),
                ));
            }
            if effect != Effect::ProbePod && effect != Effect::Close && stop(&node.hold) {
                wrong.push((
                    "SAFE-5",
                    format!("{effect:?} on a node with the label rerail.dev/hold"),
                ));
            }
        }
    }

    /// SAFE-9.
    fn by_looks(&self, seen: &Seen, uid: &str, effect: Effect, node: &str, wrong: &mut Wrong) {
        let (Some(kinds), Some(process)) = (self.kinds, self.processes.get(&seen.by)) else {
            return;
        };
        if !self.leniency.reads_are_told || effect == Effect::ProbePod {
            return;
        }
        let oldest = earlier(seen.sent, LOOK_LASTS + SignedDuration::from_secs(1));
        let name = self.runs.get(uid).map(|run| run.name.as_str()).unwrap_or_default();
        let mut needed = vec![(kinds.nodes, node), (kinds.runs, name)];
        if effect.needs_lease() {
            needed.push((kinds.leases, LEASE_KEY));
        }
        for (kind, key) in needed {
            let last = process.last_read(kind, key);
            if last.is_none_or(|last| last < oldest) {
                let age = last.map(|last| seen.sent.duration_since(last).as_millis());
                wrong.push((
                    "SAFE-9",
                    format!("{effect:?}, and {key} was last read {age:?} ms before"),
                ));
            }
        }
    }
}

fn in_step(effect: Effect, step: Step) -> bool {
    match effect {
        Effect::Cordon => step == Step::Cordoning,
        Effect::Evict => step == Step::Draining,
        // A Pod that comes later finds its intent withdrawn, and refuses.
        Effect::RebootPod(_) => matches!(step, Step::Rebooting | Step::Withdrawing),
        Effect::ProbePod => step == Step::Verifying,
        Effect::Close => matches!(step, Step::Uncordoning | Step::RollingBack),
    }
}

/// Until its closing write a late cordon is the run's own, and comes off with it.
fn fits_late(step: Option<Step>) -> bool {
    matches!(step, Some(Step::RollingBack | Step::Held))
}

/// The UID of an object.
pub(super) fn uid_of(object: &Arc<Value>) -> &str {
    crate::meta::of(object, "uid")
}
