//! The Pods on a machine, as its kubelet plays them.
//!
//! What a container does is first remembered on the machine (its "disk"), then told. Telling is level
//! triggered: whatever the API server has not been told, or was told otherwise by others, is told at the
//! next look. A machine that goes down in between tells after the boot, as real kubelets do.

use std::sync::Arc;

use http::Method;
use rerail_api::{duration::GoDuration, names};
use serde_json::{Value, json};

use super::{
    Fault,
    api::{KUBELET, Media, PODS},
    known,
    machine::{End, Machine, Ours, Process, Record},
    pod_status,
    queue::{Event, PodStep, Sync},
    scene::{STARTS_AFTER, STOPS_AFTER, millis},
    state::State,
};
use crate::{meta, store::Key};

/// How long a container that starts at last is given to do its work before its Pod, whose deletion the
/// kubelet sees now, is stopped.
const LATE_WORK: u64 = 10_000;
/// Pause before a container that cannot start is tried again.
const RETRY: u64 = 1_000;
/// How long a process lives on whose object has vanished.
const ORPHAN: (u64, u64) = (50, 400);
/// What a Pod that does not run takes to be let go.
const RELEASE: (u64, u64) = (1, 400);

/// Exit code of a container that was stopped.
const EXIT_KILLED: i32 = 137;
/// Exit code that a container runtime gives to a container it lost with the machine.
const EXIT_UNKNOWN: i32 = 255;

impl State {
    /// Plans a step of a Pod in the machine's present life.
    pub(super) fn pod_in(&mut self, node: &str, millis: u64, uid: &str, step: PodStep) {
        let Some(machine) = self.machines.get(node) else { return };
        let event = Event::Pod(node.to_owned(), machine.life, uid.to_owned(), step);
        self.plan(millis, event);
    }

    pub(super) fn record(&mut self, node: &str, uid: &str) -> Option<&mut Record> {
        self.machines.get_mut(node)?.records.get_mut(uid)
    }

    /// The kubelet looks at its Pods.
    pub(super) fn sync_kubelet(&mut self, node: &str) {
        if !self.machines.get(node).is_some_and(Machine::talks) {
            return;
        }
        let bound = self.known.pods_on(node);
        for (key, pod) in &bound {
            self.look_at_pod(node, key, pod);
        }
        let Some(machine) = self.machines.get_mut(node) else { return };
        let there = |uid: &str| bound.iter().any(|(_, pod)| meta::of(pod, "uid") == uid);
        let mut orphans = Vec::new();
        machine.records.retain(|uid, record| {
            if there(uid) || record.orphan {
                return true;
            }
            let runs = matches!(record.process, Process::Running(_));
            record.orphan = runs;
            orphans.extend(runs.then(|| uid.clone()));
            runs
        });
        for uid in orphans {
            let linger = self.millis("orphan", node, ORPHAN);
            self.pod_in(node, linger, &uid, PodStep::Orphan);
        }
    }

    fn look_at_pod(&mut self, node: &str, key: &Key, pod: &Arc<Value>) {
        let uid = meta::of(pod, "uid").to_owned();
        if self.record(node, &uid).is_none() {
            if known::has_ended(pod) && !meta::is_deleting(pod) {
                return;
            }
            self.take_pod(node, key, pod, &uid);
        }
        let Some(machine) = self.machines.get_mut(node) else { return };
        let ready = machine.ready;
        let blocked = machine.faults.has(&Fault::RebootPodStartsLate);
        let Some(record) = machine.records.get_mut(&uid) else { return };
        if record.released {
            return;
        }
        let ended = matches!(record.process, Process::Ended(_));
        let waits = matches!(record.process, Process::Waiting);
        if meta::is_deleting(pod) {
            let busy = record.late && waits && blocked;
            if record.stopping || busy {
                return;
            }
            record.stopping = true;
            let late = record.late && !ended;
            let pause = if late { LATE_WORK } else { self.stop_time(node, &uid, pod) };
            self.pod_in(node, pause, &uid, PodStep::Stop);
            if !late {
                return;
            }
        }
        if waits && ready && self.record(node, &uid).is_some_and(|record| !record.starting) {
            let pause = self.start_time(node, pod);
            if let Some(record) = self.record(node, &uid) {
                record.starting = true;
            }
            self.pod_in(node, pause, &uid, PodStep::Start);
        }
        self.tell_pod(node, &uid);
    }

    /// A Pod that the kubelet has not seen before.
    fn take_pod(&mut self, node: &str, key: &Key, pod: &Value, uid: &str) {
        let label = |name: &str| meta::get(pod, "labels").and_then(|labels| labels[name].as_str());
        let ours = match label(names::COMPONENT) {
            Some(names::COMPONENT_REBOOT) => Some(Ours::Reboot),
            Some(names::COMPONENT_PROBE) => Some(Ours::Probe),
            _ => None,
        };
        let daemon = known::owner(pod).is_some_and(|(kind, _)| kind == "DaemonSet");
        // What another machine under this name had begun is lost with it.
        let process = match (ours, known::phase(pod)) {
            (Some(_), "Running") => Process::Stopped,
            _ => Process::Waiting,
        };
        let begun = matches!(process, Process::Stopped);
        let record = Record {
            key: key.clone(),
            ours,
            daemon,
            taken: self.clock_of(node),
            process,
            restarts: 0,
            starting: false,
            stopping: false,
            silent: false,
            late: false,
            released: false,
            orphan: false,
            look: None,
        };
        if let Some(machine) = self.machines.get_mut(node) {
            machine.records.insert(uid.to_owned(), record);
        }
        if let Some(seconds) = pod["spec"]["activeDeadlineSeconds"].as_u64() {
            self.pod_in(node, seconds.saturating_mul(1_000), uid, PodStep::Deadline);
        }
        if begun {
            let message = "the machine that ran the container is not this one".to_owned();
            self.end_pod(node, uid, EXIT_UNKNOWN, message, false);
        } else if ours.is_some() && !meta::is_deleting(pod) {
            let waiting = pod_status::waiting(pod, self.clock_of(node));
            self.write_pod(key, &waiting);
        }
    }

    fn start_time(&mut self, node: &str, pod: &Value) -> u64 {
        annotated(pod, STARTS_AFTER)
            .unwrap_or_else(|| self.draw.millis("pod start", node, self.times.pod_start))
    }

    /// What a Pod takes to end: what its process takes, at most its grace period.
    fn stop_time(&mut self, node: &str, uid: &str, pod: &Value) -> u64 {
        let runs =
            self.record(node, uid).is_some_and(|one| matches!(one.process, Process::Running(_)));
        if !runs {
            return self.millis("release", node, RELEASE);
        }
        let grace = u64::try_from(meta::grace(pod).unwrap_or(0)).unwrap_or(0).saturating_mul(1_000);
        let own = annotated(pod, STOPS_AFTER);
        let own = own.unwrap_or_else(|| self.draw.millis("pod stop", node, self.times.pod_stop));
        own.min(grace).max(1)
    }

    pub(super) fn pod_step(&mut self, node: &str, life: u64, uid: &str, step: PodStep) {
        let Some(machine) = self.machines.get(node).filter(|one| one.life == life) else { return };
        let Some(record) = machine.records.get(uid) else { return };
        match step {
            PodStep::Start => self.start_pod(node, uid),
            PodStep::Stop => self.stop_pod(node, uid),
            PodStep::Orphan => {
                if let Some(machine) = self.machines.get_mut(node) {
                    machine.records.remove(uid);
                }
            }
            PodStep::Deadline if !matches!(record.process, Process::Ended(_)) => {
                let message = "stopped at the Pod's deadline".to_owned();
                self.end_pod(node, uid, EXIT_KILLED, message, true);
            }
            _ if !matches!(record.process, Process::Running(_)) => {}
            PodStep::Done => {
                let message = "this Pod started: Pods start on this node".to_owned();
                self.end_pod(node, uid, 0, message, false);
            }
            PodStep::ReadRun => self.read_run(node, uid),
            PodStep::ReadNode => self.read_node(node, uid),
            PodStep::Deadline => {}
        }
    }

    fn start_pod(&mut self, node: &str, uid: &str) {
        let clock = self.clock_of(node);
        let Some(machine) = self.machines.get_mut(node) else { return };
        let (ready, no_pods) = (machine.ready, machine.effects.no_pods);
        let no_daemons = machine.effects.no_daemonsets;
        let blocked = machine.faults.has(&Fault::RebootPodStartsLate);
        let Some(record) = machine.records.get_mut(uid) else { return };
        record.starting = false;
        if !ready || !matches!(record.process, Process::Waiting) {
            return;
        }
        let late = blocked && record.ours == Some(Ours::Reboot);
        record.late |= late;
        if no_pods || late || (no_daemons && record.daemon) {
            record.starting = true;
            self.pod_in(node, RETRY, uid, PodStep::Start);
            return;
        }
        record.process = Process::Running(clock);
        let ours = record.ours;
        self.tell_pod(node, uid);
        match ours {
            Some(Ours::Reboot) => self.begin_look(node, uid),
            Some(Ours::Probe) => {
                let pause = self.millis("probe", node, (20, 80));
                self.pod_in(node, pause, uid, PodStep::Done);
            }
            None => {}
        }
    }

    /// A container ended.
    pub(super) fn end_pod(
        &mut self,
        node: &str,
        uid: &str,
        code: i32,
        message: String,
        deadline: bool,
    ) {
        let at = self.clock_of(node);
        let reason = if code == 0 { "Completed" } else { "Error" };
        let Some(record) = self.record(node, uid) else { return };
        record.process = Process::Ended(End { exit_code: code, reason, message, at, deadline });
        record.look = None;
        self.tell_pod(node, uid);
        self.wake(Sync::Kubelet(node.to_owned()));
    }

    /// The Pod is being deleted, and its time is over: its end is told, and the object let go.
    fn stop_pod(&mut self, node: &str, uid: &str) {
        let Some(record) = self.record(node, uid) else { return };
        let (key, ended) = (record.key.clone(), matches!(record.process, Process::Ended(_)));
        if record.ours.is_some() && !ended {
            let message = "stopped, because the Pod was deleted".to_owned();
            self.end_pod(node, uid, EXIT_KILLED, message, false);
        }
        if !self.machines.get(node).is_some_and(Machine::talks) {
            // Tried again when the network is back.
            if let Some(record) = self.record(node, uid) {
                record.stopping = false;
            }
            return;
        }
        if let Some(record) = self.record(node, uid) {
            record.released = true;
            if matches!(record.process, Process::Running(_)) {
                record.process = Process::Stopped;
            }
        }
        let options = json!({ "kind": "DeleteOptions", "apiVersion": "v1",
            "gracePeriodSeconds": 0, "preconditions": { "uid": uid } });
        let path = PODS.path(&key, "");
        let _ = self.ask(KUBELET, &Method::DELETE, &path, Media::Json, Some(&options));
    }

    /// Tells what a Pod does, if the API server has it otherwise.
    pub(super) fn tell_pod(&mut self, node: &str, uid: &str) {
        let Some(machine) = self.machines.get(node).filter(|machine| machine.talks()) else {
            return;
        };
        let Some(record) = machine.records.get(uid) else { return };
        if record.silent || record.orphan || record.released {
            return;
        }
        let pod = self.known.pods.get(&record.key);
        let Some(pod) = pod.filter(|pod| meta::of(pod, "uid") == uid).cloned() else { return };
        let (phase, ready) = (known::phase(&pod), known::is_ready(&pod));
        let status = match &record.process {
            Process::Waiting => None,
            // The node controller calls the Pods of a node that is not ready not ready, too.
            Process::Running(_) if phase == "Running" && (ready || !machine.ready) => None,
            Process::Running(since) => {
                Some(pod_status::running(&pod, record.taken, *since, record.restarts))
            }
            Process::Stopped if record.ours.is_some() || phase != "Running" || !ready => None,
            Process::Stopped => Some(pod_status::stopped(&pod, self.clock_of(node))),
            Process::Ended(_) if known::has_ended(&pod) => None,
            Process::Ended(end) => Some(pod_status::ended(&pod, record.taken, end)),
        };
        if let Some(status) = status {
            let key = record.key.clone();
            self.write_pod(&key, &status);
        }
    }

    fn write_pod(&mut self, key: &Key, status: &Value) {
        let path = PODS.path(key, "status");
        let _ = self.ask(KUBELET, &Method::PATCH, &path, Media::Strategic, Some(status));
    }

    /// Right after the kubelet's start: no container runs, those of the operator's Pods have ended.
    pub(super) fn containers_after_boot(&mut self, node: &str) {
        let at = self.clock_of(node);
        let Some(machine) = self.machines.get_mut(node) else { return };
        let again = machine.effects.pod_runs_again;
        for record in machine.records.values_mut() {
            record.silent = false;
            let Some(ours) = record.ours else { continue };
            let ran = !matches!(record.process, Process::Waiting);
            if again && ours == Ours::Reboot && ran {
                record.process = Process::Waiting;
            } else if matches!(record.process, Process::Stopped) {
                let message = "the machine went down while the container ran".to_owned();
                record.process = Process::Ended(End {
                    exit_code: EXIT_UNKNOWN,
                    reason: "Unknown",
                    message,
                    at,
                    deadline: false,
                });
            }
        }
        let uids: Vec<String> = machine.records.keys().cloned().collect();
        for uid in uids {
            self.tell_pod(node, &uid);
        }
        self.wake(Sync::Kubelet(node.to_owned()));
    }

    /// Ordinary containers are started again, apart from those that a fault keeps from it.
    pub(super) fn restart_containers(&mut self, node: &str) {
        let at = self.clock_of(node);
        let Some(machine) = self.machines.get_mut(node).filter(|machine| machine.ready) else {
            return;
        };
        let (no_pods, no_daemons) = (machine.effects.no_pods, machine.effects.no_daemonsets);
        let mut started = Vec::new();
        for (uid, record) in &mut machine.records {
            let held = no_pods || (no_daemons && record.daemon) || record.released;
            if matches!(record.process, Process::Stopped) && record.ours.is_none() && !held {
                record.process = Process::Running(at);
                record.restarts += 1;
                started.push(uid.clone());
            }
        }
        for uid in started {
            self.tell_pod(node, &uid);
        }
        self.wake(Sync::Kubelet(node.to_owned()));
    }
}

/// A duration in an annotation, in milliseconds.
fn annotated(pod: &Value, key: &str) -> Option<u64> {
    let text = meta::get(pod, "annotations")?.get(key)?.as_str()?;
    text.parse::<GoDuration>().ok().map(|duration| millis(&duration).max(1))
}
