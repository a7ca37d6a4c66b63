//! LIVE-1 to LIVE-11: what must be so when nothing disturbs the world any more, and it has come to
//! rest.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use rerail_api::names;
use rerail_core::step::Step;
use serde_json::Value;

use super::{
    court::{Court, Seen},
    past::earlier,
    run::RunTruth,
};
use crate::{meta, store::Store};

/// What one attempt may take: a cordon, a reboot Pod, probes, the closing write, with some to spare.
const EFFECTS_PER_ATTEMPT: u32 = 12;

impl Court {
    /// The world is at rest: whatever can be cured has been. `curable` = the nodes whose machines a
    /// remedy cures.
    pub(super) fn at_rest(&mut self, store: &Store, curable: &BTreeSet<String>, at: Timestamp) {
        let mut wrong: Vec<(&'static str, String, String)> = Vec::new();
        for run in self.runs.values() {
            wrong.extend(self.unfinished(run, at));
        }
        for (name, node) in &self.nodes {
            let Some(mark) = node.mark.get() else { continue };
            let open = self.runs.get(mark).is_some_and(|run| run.is_open());
            let waits = node.hold.get() | !node.ready.get();
            if !open && !waits {
                wrong.push((
                    "LIVE-3",
                    name.clone(),
                    format!("the mark of run {mark} is left on it"),
                ));
            }
        }
        for (uid, slot) in &self.lease.slots {
            let run = self.runs.get(uid);
            let acts = run.is_some_and(|run| run.is_active() || run.frozen);
            // A machine that never reports again keeps the slot of a run that is gone.
            let silent = self.nodes.get(&slot.node).is_some_and(|node| !node.ready.get());
            if !acts && !silent {
                let name = run.map_or(uid, |run| &run.name).clone();
                wrong.push((
                    "LIVE-7",
                    name,
                    format!("it is {:?}, and holds a slot", run.and_then(RunTruth::step)),
                ));
            }
        }
        wrong.extend(self.nobody_leads(at));
        for name in curable {
            wrong.extend(self.not_cured(name).map(|message| ("LIVE-9", name.clone(), message)));
        }
        wrong.extend(self.not_told(store, at));
        if let Some(before) =
            self.at_rest.replace(self.effects).filter(|before| *before != self.effects)
        {
            let message = format!("{} writes since the world was at rest", self.effects - before);
            wrong.push(("LIVE-9", "operator".to_owned(), message));
        }
        for (property, subject, message) in wrong {
            self.blame(property, at, &subject, message);
        }
    }

    fn unfinished(&self, run: &RunTruth, at: Timestamp) -> Vec<(&'static str, String, String)> {
        let mut wrong = Vec::new();
        if run.status.step == rerail_api::remediation::StepName::Known(Step::Succeeded) {
            let most = EFFECTS_PER_ATTEMPT * (run.status.attempt + 1);
            if run.effects > most {
                wrong.push((
                    "LIVE-11",
                    run.name.clone(),
                    format!("{} effects, {most} may be", run.effects),
                ));
            }
        }
        if !run.is_active() || run.spoiled {
            return wrong;
        }
        let step = run.step();
        let paused = run.status.paused_time.is_some();
        let unresolved = run.status.said().is_some_and(|said| said.reason == "EffectUnresolved");
        if !paused && !unresolved {
            wrong.push(("LIVE-1", run.name.clone(), format!("it is still in step {step:?}")));
        }
        let deadline = run
            .status
            .steps
            .iter()
            .filter_map(|step| step.deadline.filter(|_| step.completion_time.is_none()))
            .max();
        let late =
            deadline.is_some_and(|deadline| deadline < earlier(at, SignedDuration::from_mins(1)));
        if step == Some(Step::Draining) && late && !paused {
            wrong.push((
                "LIVE-4",
                run.name.clone(),
                "its drain did not end by its deadline".to_owned(),
            ));
        }
        wrong
    }

    fn nobody_leads(&self, at: Timestamp) -> Option<(&'static str, String, String)> {
        let alive: Vec<_> = self.processes.iter().filter(|(_, process)| process.alive).collect();
        if alive.is_empty() {
            return None;
        }
        let leads = alive.iter().any(|(_, process)| {
            process.is_in_term(&self.lease.holder)
                && process.renewed >= earlier(at, self.leniency.lease)
        });
        (!leads).then(|| {
            ("LIVE-8", "Lease".to_owned(), format!("none of {} operators leads", alive.len()))
        })
    }

    fn not_cured(&self, name: &str) -> Option<String> {
        let Some(node) = self.nodes.get(name) else { return Some("the node is gone".to_owned()) };
        // A person has said to leave it, or has to decide.
        let waits = *node.hold.get()
            || *node.ignore.get()
            || *node.foreign.get()
            || self
                .runs
                .values()
                .any(|run| run.node == name && run.is_open() && run.step() == Some(Step::Held));
        if waits {
            return None;
        }
        if !node.ready.get() {
            return Some("it is not Ready".to_owned());
        }
        if *node.cordoned.get() || node.mark.get().is_some() {
            return Some("it is cordoned, or bears our mark".to_owned());
        }
        let sick = self.machines.get(name).and_then(|machine| machine.sick.keys().next());
        sick.map(|kind| format!("its machine still has {kind}"))
    }

    /// LIVE-6: whoever waits is told why.
    fn not_told(&self, store: &Store, at: Timestamp) -> Vec<(&'static str, String, String)> {
        let Some(kinds) = self.kinds else { return Vec::new() };
        let mut wrong = Vec::new();
        let old = earlier(at, SignedDuration::from_secs(60));
        for (policy, truth) in &self.policies {
            let Some(version) = truth.get().as_ref().filter(|version| version.in_force()) else {
                continue;
            };
            let Some(object) = store.get(kinds.policies, policy) else { continue };
            let waiting = object["status"]["waiting"].as_array().cloned().unwrap_or_default();
            // More than twenty are not listed.
            if waiting.len() >= 20 || truth.since() > old {
                continue;
            }
            let listed =
                |name: &str| waiting.iter().any(|waits| meta::text(waits, &["node"]) == name);
            for (name, node) in &self.nodes {
                let asks = node.conditions.iter().any(|(kind, said)| {
                    said.since < old
                        && version.triggers(kind).any(|trigger| {
                            super::policy::asks(trigger, said)
                                && super::past::later(
                                    said.since,
                                    trigger.condition.hold_for.value(),
                                ) < old
                        })
                });
                let selected = !node.control_plane
                    && node.labels.since() < old
                    && version.selects(node.labels.get());
                let open =
                    self.runs.values().any(|run| run.node == *name && run.is_open() && run.begun);
                if asks
                    && selected
                    && !open
                    && !listed(name)
                    && !*node.ignore.get()
                    && !node.deleting
                {
                    wrong.push((
                        "LIVE-6",
                        name.clone(),
                        format!("it waits, and policy {policy} does not say so"),
                    ));
                }
            }
        }
        wrong
    }

    /// LIVE-5: `rerail release-all` has ended, and every resource of ours is deleted.
    pub(super) fn released_all(&mut self, store: &Store, at: Timestamp) {
        let Some(kinds) = self.kinds else { return };
        let mut wrong: Vec<(String, &str)> = Vec::new();
        for (name, node) in &self.nodes {
            if node.mark.get().is_some() && *node.ready.get() && !*node.hold.get() {
                wrong.push((name.clone(), "it bears our mark"));
            }
        }
        for (name, run) in store.table(kinds.runs).objects() {
            if meta::finalizers(run).contains(&names::FINALIZER) {
                wrong.push((name.clone(), "it has our finalizer"));
            }
        }
        for uid in self.lease.slots.keys() {
            wrong.push((uid.clone(), "it holds a slot"));
        }
        for (subject, message) in wrong {
            self.blame("LIVE-5", at, &subject, message);
        }
    }

    /// LIVE-10: after a storm runs start in rounds of one, two, four, and none while it is open. Judged when
    /// the status of the policy is written: how far a storm is goes on record before anything starts by it.
    /// What another operator has begun is not this one's.
    pub(super) fn rounds(&mut self, seen: &Seen, policy: &str) {
        let recorded = |kind: &str| {
            let storm = self.storms.get(&(policy.to_owned(), kind.to_owned()))?;
            *storm.get()
        };
        let is_of_storms = |run: &RunTruth| {
            let mut kinds = run.status.causes.iter().map(|cause| &cause.condition_type).peekable();
            let known_before = |kind: &String| {
                let key = (policy.to_owned(), kind.clone());
                let Some(began) = self.storms_began.get(&key) else { return false };
                // While it is open anew, what began as its probe is none of it: nothing more may begin.
                let reopened = self.storms_reopened.get(&key);
                let reopened =
                    reopened.filter(|_| recorded(kind).is_some_and(|round| round.0 == 0));
                run.began > *reopened.unwrap_or(began)
            };
            kinds.peek().is_some() && kinds.all(known_before)
        };
        let under_way = self.runs.values().filter(|run| {
            run.policy == policy
                && run.is_active()
                && !run.by_person
                && run.status.ladder_start.is_none()
                && run.begun_by.as_ref() == Some(&seen.by)
                && is_of_storms(run)
        });
        let causes = |run: &RunTruth| -> BTreeSet<String> {
            run.status.causes.iter().map(|cause| cause.condition_type.clone()).collect()
        };
        let under_way: Vec<BTreeSet<String>> = under_way.map(causes).collect();
        let kinds: BTreeSet<&String> = under_way.iter().flatten().collect();
        let allowed = kinds.into_iter().filter_map(|kind| Some((kind.as_str(), recorded(kind)?.0)));
        let too_many = without_a_place(&under_way, &allowed.collect());
        for message in too_many {
            self.blame("LIVE-10", seen.at, policy, message);
        }
    }
}

/// Whose runs are more than their rounds allow. A run whose node shows several storms takes a place in
/// the round of one of them: so any set of storms may have as many runs that only they call for as their
/// rounds allow together, and no more (the marriage theorem of Hall).
fn without_a_place(runs: &[BTreeSet<String>], allowed: &BTreeMap<&str, u32>) -> Vec<String> {
    // Every set of them is looked at; no scene has so many storms at once.
    let kinds: Vec<&str> = allowed.keys().copied().take(8).collect();
    let mut wrong = Vec::new();
    for chosen in 1_u32..1 << kinds.len() {
        let chosen = kinds.iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1);
        let chosen: BTreeSet<&str> = chosen.map(|(_, kind)| *kind).collect();
        let count =
            runs.iter().filter(|run| run.iter().all(|kind| chosen.contains(&**kind))).count();
        let places: u32 = chosen.iter().filter_map(|kind| allowed.get(kind)).sum();
        if count > places as usize {
            let storms = Vec::from_iter(chosen).join(" and ");
            wrong.push(format!("{count} runs at once after a storm of {storms}, {places} may be"));
        }
    }
    wrong
}

/// What the status of a policy says of its storms, kept for [`Court::rounds`].
pub(super) fn storms_of(policy: &Value) -> Vec<(String, u32, Timestamp)> {
    let storms = policy["status"]["breaker"].as_array();
    let one = |storm: &Value| {
        let since = meta::text(storm, &["since"]).parse().ok()?;
        let allowed = match meta::text(storm, &["state"]) {
            "Open" => 0,
            "Probing" => 1,
            _ => u32::try_from(storm["allowed"].as_u64()?).ok()?,
        };
        Some((meta::text(storm, &["conditionType"]).to_owned(), allowed, since))
    };
    storms.into_iter().flatten().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_two_storms_takes_a_place_in_one_of_their_rounds() {
        let run = |kinds: &[&str]| kinds.iter().map(|kind| (*kind).to_owned()).collect();
        let runs = |all: &[&[&str]]| -> Vec<BTreeSet<String>> {
            all.iter().map(|kinds| run(kinds)).collect()
        };
        let allowed = BTreeMap::from([("A", 1), ("B", 1)]);
        let wrong = |all: &[&[&str]]| without_a_place(&runs(all), &allowed);
        assert!(wrong(&[&["A"], &["B"]]).is_empty());
        assert!(wrong(&[&["A", "B"], &["A", "B"]]).is_empty());
        assert!(wrong(&[&["A", "B"], &["A", "no storm"], &["B"]]).is_empty());
        assert_eq!(wrong(&[&["A"], &["A"]]).len(), 1);
        assert_eq!(wrong(&[&["A", "B"], &["A", "B"], &["A"]]).len(), 1);
    }
}
