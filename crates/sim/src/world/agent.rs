//! The process of a reboot Pod: what `rerail agent reboot` does, one read at a time, so that everything
//! else may happen in between. The decision is the production one ([`rerail_core::reboot_check`]).

use rerail_api::names;
use rerail_core::reboot_check::{
    self, ACT_WITHIN_SECONDS, EXIT_COMMAND_FAILED, EXIT_REFUSED, EXIT_UNCERTAIN, Expected,
    IntentSeen, NodeSeen, Refusal, Report, RunSeen, Seen, Verdict,
};
use serde_json::Value;

use super::{
    Fault, api,
    machine::Look,
    queue::{After, PodStep, Step},
    state::State,
};
use crate::{
    meta,
    observe::{Cause, What},
};

/// What a read takes.
const READ: (u64, u64) = (2, 30);
/// A read that takes long, and how rare it is.
const SLOW_READ: (u64, u64) = (500, 4_000);
const SLOW_ONE_IN: u64 = 20;
/// How long reads that are of no use are repeated, and the pause between two (`rerail-agent`).
const RETRY_FOR: u64 = 30_000;
const PAUSE: u64 = 1_000;
/// A container's end is not told in time once in so many times.
const SILENT_ONE_IN: u64 = 3;

impl State {
    /// The process starts, and asks for its run.
    pub(super) fn begin_look(&mut self, node: &str, uid: &str) {
        let Some(record) = self.record(node, uid) else { return };
        let key = record.key.clone();
        let Some(pod) = self.known.pods.get(&key) else { return };
        let container = &pod["spec"]["containers"][0];
        let words = |field: &str| container[field].as_array().cloned().unwrap_or_default();
        let args: Vec<String> = words("command")
            .iter()
            .chain(&words("args"))
            .filter_map(|word| word.as_str().map(str::to_owned))
            .collect();
        match Expected::from_args(&args) {
            Ok(expected) => {
                let now = self.now;
                if let Some(record) = self.record(node, uid) {
                    record.look = Some(Look { expected, began: now, start: now, run: None });
                }
                self.read_in(node, uid, PodStep::ReadRun);
            }
            Err(error) => {
                self.happened(node, What::Refused(error.to_string()));
                self.end_pod(node, uid, 2, error.to_string(), false);
            }
        }
    }

    fn read_in(&mut self, node: &str, uid: &str, step: PodStep) {
        let slow = self.draw.one_in("slow read", node, SLOW_ONE_IN);
        let pause = self.millis("read", node, if slow { SLOW_READ } else { READ });
        self.pod_in(node, pause, uid, step);
    }

    fn look(&mut self, node: &str, uid: &str) -> Option<&mut Look> {
        self.record(node, uid)?.look.as_mut()
    }

    pub(super) fn read_run(&mut self, node: &str, uid: &str) {
        let cut = self.machines.get(node).is_some_and(|machine| machine.cut);
        let Some(look) = self.look(node, uid) else { return };
        let name = look.expected.run_name.clone();
        if cut {
            self.look_again(node, uid, "the API server cannot be reached");
            return;
        }
        let run = match api::read(&self.server, self.places.runs, &name) {
            None => None,
            Some(run) => match seen_run(&run) {
                Ok(seen) => Some(seen),
                Err(why) => return self.look_again(node, uid, why),
            },
        };
        if let Some(look) = self.look(node, uid) {
            look.run = run;
        }
        self.read_in(node, uid, PodStep::ReadNode);
    }

    pub(super) fn read_node(&mut self, node: &str, uid: &str) {
        let Some(machine) = self.machines.get(node) else { return };
        let (cut, kernel_boot_id) = (machine.cut, machine.boot_id.clone());
        let Some(look) = self.look(node, uid).cloned() else { return };
        if cut {
            self.look_again(node, uid, "the API server cannot be reached");
            return;
        }
        let seen_node = api::read(&self.server, self.places.nodes, &look.expected.node_name);
        let seen_node = seen_node.map(|node| NodeSeen {
            uid: meta::of(&node, "uid").to_owned(),
            unschedulable: node["spec"]["unschedulable"] == true,
            cordoned_by: meta::get(&node, "annotations")
                .and_then(|all| all[names::CORDONED_BY].as_str())
                .map(str::to_owned),
        });
        let seen = Seen { kernel_boot_id, run: look.run.clone(), node: seen_node };
        match reboot_check::check(&look.expected, &seen) {
            Verdict::Refuse(refusal) => self.refuse(node, uid, refusal),
            // Only the permission grows stale; a refusal stays one.
            Verdict::Reboot if self.now - look.start >= ACT_WITHIN_SECONDS * 1_000 => {
                self.look_again(node, uid, "what was read is too old to act on");
            }
            Verdict::Reboot => self.act_on(node, uid, &look.expected),
        }
    }

    /// Looks once more, unless the time for that is over.
    fn look_again(&mut self, node: &str, uid: &str, why: &str) {
        let now = self.now;
        let Some(look) = self.look(node, uid) else { return };
        if now - look.began >= RETRY_FOR {
            let report = report(false, None, why.to_owned());
            self.happened(node, What::Refused(why.to_owned()));
            self.end_pod(node, uid, EXIT_UNCERTAIN, report, false);
            return;
        }
        look.start = now + PAUSE;
        look.run = None;
        self.pod_in(node, PAUSE + 1, uid, PodStep::ReadRun);
    }

    fn refuse(&mut self, node: &str, uid: &str, refusal: Refusal) {
        let message = format!("nothing was done: {refusal}");
        self.happened(node, What::Refused(refusal.to_string()));
        self.end_pod(node, uid, EXIT_REFUSED, report(false, Some(refusal), message), false);
    }

    /// The reboot command is run, at this very moment.
    fn act_on(&mut self, node: &str, uid: &str, expected: &Expected) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        if machine.faults.take(&Fault::RebootCommandFails) {
            let message = "the reboot command failed".to_owned();
            self.happened(node, What::Refused(message.clone()));
            self.end_pod(node, uid, EXIT_COMMAND_FAILED, report(false, None, message), false);
            return;
        }
        let cause = Cause::Pod { run: expected.run_uid.clone(), attempt: expected.attempt };
        let hangs = machine.faults.take(&Fault::RebootHangs);
        let again = machine.faults.has(&Fault::PodRunsAgain);
        // It has done what it does, whenever the machine follows.
        self.happened(node, What::Acts(cause.clone()));
        if hangs {
            if let Some(machine) = self.machines.get_mut(node) {
                machine.hanging = Some(cause);
            }
        } else {
            let silent = again || self.draw.one_in("silent end", node, SILENT_ONE_IN);
            if let Some(record) = self.record(node, uid) {
                record.silent = silent;
            }
            let pause = self.millis("shutdown", node, self.times.shutdown);
            self.step(node, pause, Step::GoDown(cause, After::Boot));
        }
        let message = "the reboot command was started and did not fail".to_owned();
        self.end_pod(node, uid, 0, report(true, None, message), false);
    }
}

/// The termination message.
fn report(acted: bool, refusal: Option<Refusal>, message: String) -> String {
    let report = Report { acted, refusal, message };
    // A struct of a bool, an enum and a string always serialises; the sentence is the fallback.
    serde_json::to_string(&report).unwrap_or(report.message)
}

/// The run as the Pod reads it. An intent of another effect is none of ours; a reboot intent that cannot
/// be read must not pass for a withdrawn one.
fn seen_run(run: &Value) -> Result<RunSeen, &'static str> {
    let uid = meta::of(run, "uid").to_owned();
    let intent = &run["status"]["intent"];
    if intent.is_null() {
        return Ok(RunSeen { uid, reboot_intent: None });
    }
    let text = |field: &str| intent[field].as_str().map(str::to_owned);
    match intent["effect"].as_str() {
        Some("Reboot") => {}
        Some(_) => return Ok(RunSeen { uid, reboot_intent: None }),
        None => return Err("status.intent has no effect"),
    }
    let attempt = intent["attempt"].as_u64().and_then(|attempt| u32::try_from(attempt).ok());
    let seen = IntentSeen {
        attempt: attempt.ok_or("status.intent.attempt is not a number from 1")?,
        node_uid: text("nodeUID").ok_or("status.intent.nodeUID is missing")?,
        boot_id_before: text("bootIDBefore").ok_or("status.intent.bootIDBefore is missing")?,
    };
    Ok(RunSeen { uid, reboot_intent: Some(seen) })
}
