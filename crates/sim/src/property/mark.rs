//! SAFE-6, SAFE-7 and SAFE-14 on nodes: own marks only, nothing else of a node is touched, and what it
//! remembers of its runs is all there.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use rerail_api::names;
use rerail_core::{
    facts::{ATTEMPTS_KEPT, LastRemediation},
    step::Step,
};
use serde_json::Value;

use super::{
    court::{Court, Seen},
    effect::{Effect, uid_of},
    node::{NodeTruth, annotation, at_path, is_cordoned, memory},
    past::earlier,
    run::RunTruth,
};
use crate::meta;

/// What an operator writes on nodes.
const OWN: [&str; 3] = [names::CORDONED_BY, names::CORDON_NOTE, names::LAST_REMEDIATION];

/// The longest history that is kept on a node (SAFE-16).
const MEMORY_LIMIT: usize = 8 * 1024;

impl Court {
    pub(super) fn node_changed(
        &mut self,
        seen: &Seen,
        before: Option<&Arc<Value>>,
        after: Option<&Arc<Value>>,
        object: &Arc<Value>,
    ) {
        let name = meta::of(object, "name").to_owned();
        if seen.ours {
            match (before, after) {
                (Some(before), Some(after)) => self.marked(seen, &name, before, after),
                _ => self.blame("SAFE-6", seen.at, &name, "an operator made or deleted a Node"),
            }
        }
        let Some(after) = after else {
            if let Some(node) = self.nodes.remove(&name) {
                self.vanished.push((seen.at, node.labels.get().clone(), name.clone()));
                if self.runs.values().any(|run| run.node == name && run.is_active()) {
                    self.saw("node-replaced");
                }
            }
            return;
        };
        let replaced = before.is_some_and(|before| uid_of(before) != uid_of(after));
        match self.nodes.get_mut(&name).filter(|_| before.is_some() && !replaced) {
            Some(node) => node.update(before.map(|before| &**before), after, seen.at, seen.ours),
            None => {
                let mut node = NodeTruth::new(after, seen.at);
                node.cordon_is_ours |= seen.ours;
                self.nodes.insert(name.clone(), node);
            }
        }
        if !seen.ours && self.nodes.get(&name).is_some_and(|node| node.clock_is_wrong(seen.at)) {
            self.saw("clock-wrong");
        }
        if !seen.ours
            && before.is_some_and(|before| !is_cordoned(before))
            && is_cordoned(after)
            && self.runs.values().any(|run| run.node == name && run.is_active())
        {
            self.saw("foreign-cordon");
        }
    }

    fn marked(&mut self, seen: &Seen, name: &str, before: &Arc<Value>, after: &Arc<Value>) {
        self.untouched(seen, name, before, after);
        self.reported(seen, name, before, after);
        let (was, is) = (is_cordoned(before), is_cordoned(after));
        let mark = |object| annotation(object, names::CORDONED_BY);
        let (had, has) = (mark(before), mark(after));
        let node_uid = uid_of(after).to_owned();
        if has.is_some() && has != had {
            let uid = has.unwrap_or_default().to_owned();
            if was {
                self.blame(
                    "SAFE-6",
                    seen.at,
                    name,
                    "the operator marks a node that was cordoned already",
                );
            }
            if had.is_some() {
                self.blame(
                    "SAFE-6",
                    seen.at,
                    name,
                    "the operator marks a node over another run's mark",
                );
            }
            if !is {
                self.blame(
                    "SAFE-6",
                    seen.at,
                    name,
                    "the operator marks a node without cordoning it",
                );
            }
            self.acted(seen, &uid, Effect::Cordon, name, &node_uid);
        } else if !was && is {
            self.blame("SAFE-6", seen.at, name, "the operator cordons a node without its mark");
        }
        if had.is_some() && has.is_none() || was && !is {
            self.unmarked(seen, name, had, was && !is);
        }
        let (knew, knows) = (memory(before), memory(after));
        if let Some(run) = closed_for(&knew, &knows) {
            self.puts_on_record(seen, &run, name, &knows);
            self.closing(seen, &run, name, &node_uid);
        } else if had.is_some() && has.is_none() {
            self.blame(
                "SAFE-20",
                seen.at,
                name,
                "a mark is taken off, and no outcome put on record",
            );
        } else {
            self.remembered(seen, name, &knew, &knows);
        }
    }

    /// SAFE-14: with the outcome of a run all of its attempts are on record, whoever puts it there.
    fn puts_on_record(&mut self, seen: &Seen, uid: &str, name: &str, memory: &LastRemediation) {
        let Some(run) = self.runs.get(uid) else { return };
        let begun = run.boot_before.len().min(ATTEMPTS_KEPT);
        let Some(there) = self.recorded(run, &memory.attempts).filter(|there| *there < begun)
        else {
            return;
        };
        let message = format!("{there} of {begun} attempts of run {} are on record", run.name);
        self.blame("SAFE-14", seen.at, name, message);
    }

    /// SAFE-14: a further attempt begins with the earlier ones on record: whoever finds the run deleted by
    /// force can know of one alone.
    pub(super) fn earlier_are_on_record(&mut self, seen: &Seen, uid: &str) {
        let run = &self.runs[uid];
        let earlier = run.boot_before.len().saturating_sub(1).min(ATTEMPTS_KEPT);
        let Some(node) = self.nodes.get(&run.node).filter(|node| node.uid == run.node_uid) else {
            return;
        };
        let there = self.recorded(run, &node.attempts).filter(|there| *there < earlier);
        let Some(there) = there else { return };
        let message = format!("{there} of {earlier} earlier attempts are on record");
        let name = run.name.clone();
        self.blame("SAFE-14", seen.at, &name, message);
    }

    /// How many of these attempts may be of the run; `None` where nobody can be held to it: a backup knows
    /// less, and a person may have written anything.
    fn recorded(&self, run: &RunTruth, attempts: &[Timestamp]) -> Option<usize> {
        let began = run.first_began?;
        let restored = self.restored.is_some_and(|restored| restored >= began);
        let since = earlier(began, jiff::SignedDuration::from_secs(10));
        let there = attempts.iter().filter(|attempt| **attempt >= since).count();
        (!run.spoiled && !restored).then_some(there)
    }

    /// SAFE-14: a memory that changes without an outcome only grows.
    fn remembered(&mut self, seen: &Seen, name: &str, was: &LastRemediation, is: &LastRemediation) {
        let seconds = |memory: &LastRemediation| -> BTreeSet<i64> {
            memory.attempts.iter().map(|attempt| attempt.as_second()).collect()
        };
        let full = is.attempts.len() >= ATTEMPTS_KEPT;
        if !full && !seconds(was).is_subset(&seconds(is)) {
            self.blame("SAFE-14", seen.at, name, "attempts are taken off the node's record");
        }
    }

    /// Nothing but our own marks changes: not labels, taints, others' annotations or the status.
    fn untouched(&mut self, seen: &Seen, name: &str, before: &Value, after: &Value) {
        let others = |object: &Value| -> Vec<(String, Value)> {
            let all = at_path(object, &["metadata", "annotations"]).and_then(Value::as_object);
            let foreign = all.into_iter().flatten().filter(|(key, _)| !OWN.contains(&key.as_str()));
            foreign.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        let paths: [&[&str]; 4] = [
            &["metadata", "labels"],
            &["metadata", "finalizers"],
            &["spec", "taints"],
            &["status"],
        ];
        // The server itself adds and takes the cordon's taint; conditions from alerts are the operator's.
        let value = |object: &Value, path: &[&str]| {
            let value = at_path(object, path).cloned().unwrap_or(Value::Null);
            match value {
                Value::Object(mut status) => {
                    if let Some(Value::Array(conditions)) = status.get_mut("conditions") {
                        conditions.retain(|condition| !super::alert::is_of_alert(condition));
                    }
                    Value::Object(status)
                }
                Value::Array(taints) => {
                    let foreign = |taint: &Value| {
                        meta::text(taint, &["key"]) != "node.kubernetes.io/unschedulable"
                    };
                    let rest: Vec<_> = taints.into_iter().filter(foreign).collect();
                    if rest.is_empty() { Value::Null } else { Value::Array(rest) }
                }
                other => other,
            }
        };
        let changed = paths.iter().find(|path| value(before, path) != value(after, path));
        if let Some(path) = changed {
            self.blame(
                "SAFE-6",
                seen.at,
                name,
                format!("the operator changed {} of a node", path.join(".")),
            );
        }
        if others(before) != others(after) {
            self.blame(
                "SAFE-6",
                seen.at,
                name,
                "the operator changed annotations that are not its own",
            );
        }
        let memory = annotation(after, names::LAST_REMEDIATION).map_or(0, str::len);
        if memory > MEMORY_LIMIT {
            self.blame(
                "SAFE-16",
                seen.at,
                name,
                format!("its history on the node has {memory} bytes"),
            );
        }
    }

    fn unmarked(&mut self, seen: &Seen, name: &str, had: Option<&str>, uncordons: bool) {
        let Some(node) = self.nodes.get(name) else { return };
        let ours = node.cordon_is_ours;
        let not_ready = node.ready.throughout(seen.look, |ready| !*ready);
        let held = node.hold.throughout(seen.look, |hold| *hold);
        if !uncordons {
            return;
        }
        if had.is_none() {
            self.blame("SAFE-6", seen.at, name, "the operator uncordons a node without its mark");
        } else if !ours {
            self.blame(
                "SAFE-6",
                seen.at,
                name,
                "the operator lifts a cordon that somebody else has set",
            );
        }
        if not_ready {
            self.blame("SAFE-19", seen.at, name, "the operator uncordons a node that is not Ready");
        }
        if held {
            self.blame(
                "SAFE-5",
                seen.at,
                name,
                "the operator uncordons a node with the label rerail.dev/hold",
            );
        }
        if let Some(uid) = had {
            self.given_back(seen, name, uid);
        }
    }

    /// The closing write of a run, or the sweep of one that is gone.
    fn closing(&mut self, seen: &Seen, uid: &str, name: &str, node_uid: &str) {
        let Some(run) = self.runs.get_mut(uid) else {
            // A mark that names no run that ever was: it is taken off.
            self.saw("swept");
            return;
        };
        run.closed = true;
        let ended = run.step().is_some_and(super::run::is_end);
        if run.gone.is_some() || ended {
            self.saw("swept");
            self.swept(seen, uid);
            return;
        }
        self.acted(seen, uid, Effect::Close, name, node_uid);
    }

    /// What a run that is gone may leave is waited for (protocol R3, R10).
    fn swept(&mut self, seen: &Seen, uid: &str) {
        let Some(run) = self.runs.get(uid) else { return };
        let Some(gone) = run.gone else { return };
        let may_reboot = matches!(run.step(), Some(Step::Rebooting | Step::Withdrawing));
        let acted = run.acts.last().map(|(_, at)| *at);
        let booted = self.machines.get(&run.node).is_some_and(|machine| {
            machine.boots.iter().any(|(at, _)| acted.is_none_or(|acted| *at > acted))
        });
        let early = gone > earlier(seen.at, jiff::SignedDuration::from_secs(60));
        if may_reboot && !booted && early {
            let name = run.name.clone();
            self.blame(
                "SAFE-3",
                seen.at,
                &name,
                "its node is given back while its reboot Pod may act",
            );
        }
    }
}

/// The run whose outcome is news. Attempts of a run that goes on are added without one.
fn closed_for(was: &LastRemediation, is: &LastRemediation) -> Option<String> {
    let ended = is.last.as_ref().filter(|_| is.last != was.last)?;
    Some(ended.uid.clone())
}
