//! The operator's Pods on a machine, as its kubelet plays them.
//!
//! A container's end is first remembered on the machine (its "disk"), then reported. A machine that
//! goes down between the two reports after the boot, which is what real kubelets do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use rerail_agent::Act;
use rerail_api::names;
use rerail_core::reboot_check::Expected;
use serde_json::Value;
use tokio::task::JoinSet;
use tracing::warn;

use crate::api::{call, is_conflict, is_not_found};
use crate::fleet::Inner;
use crate::host::FleetHost;
use crate::machine::{Ended, Machine, Record};
use crate::power::Owned;
use crate::truth::{Cause, EventKind};
use crate::{Fault, clock, pod_status};

/// Pause before a write or a token request that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How long a container that starts at last is given to do its work before its Pod, whose deletion
/// the kubelet sees now, is stopped.
const LATE_WORK: Duration = Duration::from_secs(10);

/// Exit code of a container that was stopped.
const EXIT_KILLED: i32 = 137;

/// Exit code that a container runtime gives to a container it lost with the machine.
const EXIT_UNKNOWN: i32 = 255;

struct Worker {
    task: Owned,
    stopping: bool,
}

/// Plays Pods until the machine goes down.
pub(crate) async fn run(fleet: Arc<Inner>, machine: Arc<Machine>) {
    let mut workers: BTreeMap<String, Worker> = BTreeMap::new();
    // Processes whose Pod object has vanished live on for a moment (protocol R2c).
    let mut orphans = JoinSet::new();
    loop {
        let bound = fleet.pods.of_node(&machine.spec.name);
        for (uid, pod) in &bound {
            let container = || Container::new(fleet.clone(), machine.clone(), pod.clone());
            let deleting = pod.metadata.deletion_timestamp.is_some();
            match workers.remove(uid) {
                Some(worker) if worker.stopping || !deleting => {
                    workers.insert(uid.clone(), worker);
                }
                old if deleting => {
                    let container = container();
                    let task = Owned::spawn(async move { container.stop(old).await });
                    workers.insert(uid.clone(), Worker { task, stopping: true });
                }
                _ => {
                    let container = container();
                    let task = Owned::spawn(async move { container.play().await });
                    workers.insert(uid.clone(), Worker { task, stopping: false });
                }
            }
        }
        for (uid, worker) in workers.extract_if(.., |uid, _| !bound.contains_key(uid)) {
            let machine = machine.clone();
            let linger = machine.state().rng.millis(50, 400);
            orphans.spawn(async move {
                tokio::time::sleep(linger).await;
                drop(worker.task);
                machine.state().records.remove(&uid);
            });
        }
        tokio::select! {
            biased;
            () = machine.pods_changed.notified() => {}
            Some(_) = orphans.join_next() => {}
        }
    }
}

struct Container {
    fleet: Arc<Inner>,
    machine: Arc<Machine>,
    pod: Arc<Pod>,
    /// When a kubelet first saw the Pod.
    start: Timestamp,
}

impl Container {
    fn new(fleet: Arc<Inner>, machine: Arc<Machine>, pod: Arc<Pod>) -> Self {
        let known = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
        let start = known.map_or_else(clock::now, |time| time.0);
        Self { fleet, machine, pod, start }
    }

    fn uid(&self) -> String {
        self.pod.uid().unwrap_or_default()
    }

    fn component(&self) -> &str {
        self.pod.labels().get(names::COMPONENT).map_or("", String::as_str)
    }

    /// Takes the Pod up where the machine's disk says it is.
    async fn play(&self) {
        if pod_status::is_terminal(&self.pod) {
            return;
        }
        let (record, again) = {
            let state = self.machine.state();
            (state.records.get(&self.uid()).cloned(), state.effects.pod_runs_again)
        };
        let phase = self.pod.status.as_ref().and_then(|status| status.phase.as_deref());
        match record {
            Some(_) if again && self.component() == names::COMPONENT_REBOOT => self.run().await,
            Some(Record { started, ended: Some(ended) }) => self.report_end(started, &ended).await,
            Some(Record { started, ended: None }) => self.lost(started).await,
            // Started by a fleet that was stopped meanwhile.
            None if phase == Some("Running") => self.lost(self.start).await,
            None => self.run().await,
        }
    }

    /// The container ran when the machine went down.
    async fn lost(&self, started: Timestamp) {
        let message = "the machine went down while the container ran".to_owned();
        let ended = Ended { exit_code: EXIT_UNKNOWN, reason: "Unknown", message, at: clock::now() };
        self.report_end(started, &ended).await;
    }

    /// Start, work and end, all within the Pod's own deadline.
    async fn run(&self) {
        let start = self.start;
        let work = async {
            self.write(pod_status::waiting(&self.pod, start)).await;
            while self.machine.state().effects.no_pods || self.starts_late() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let client = self.client().await;
            let pause = self.machine.state().rng.millis(30, 120);
            tokio::time::sleep(pause).await;
            let started = clock::now();
            self.remember(started, None);
            self.write(pod_status::running(&self.pod, start, started)).await;
            self.tell(EventKind::Pod, None, "started");
            (started, self.process(client.as_ref()).await)
        };
        let seconds = self.pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds);
        let limit = seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(|seconds| {
            let passed = clock::now().duration_since(start);
            let passed = Duration::try_from(passed).unwrap_or_default();
            Duration::from_secs(seconds).saturating_sub(passed)
        });
        let result = match limit {
            Some(limit) => tokio::time::timeout(limit, work).await.ok(),
            None => Some(work.await),
        };
        match result {
            Some((started, (ended, late))) => {
                self.remember(started, Some(ended.clone()));
                let end = format!("ended with exit code {}", ended.exit_code);
                self.tell(EventKind::Pod, None, &end);
                if !late {
                    self.report_end(started, &ended).await;
                }
            }
            None => self.deadline(start).await,
        }
    }

    /// Something keeps the reboot Pod's container from starting.
    fn starts_late(&self) -> bool {
        self.component() == names::COMPONENT_REBOOT
            && self.machine.state().has_fault(&Fault::RebootPodStartsLate)
    }

    /// As long as the container does not start, its kubelet sees nothing else; then it does its work.
    async fn start_and_work(&self) {
        while self.starts_late() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let ended = async {
            while self.machine.state().records.get(&self.uid()).is_none_or(|r| r.ended.is_none()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // One that does not end is stopped like any other.
        let _ = tokio::time::timeout(LATE_WORK, ended).await;
    }

    async fn deadline(&self, start: Timestamp) {
        let started = {
            let state = self.machine.state();
            state.records.get(&self.uid()).map_or(start, |record| record.started)
        };
        let message = "stopped at the Pod's deadline".to_owned();
        let ended = Ended { exit_code: EXIT_KILLED, reason: "Error", message, at: clock::now() };
        self.tell(EventKind::Pod, None, &ended.message);
        self.remember(started, Some(ended.clone()));
        self.write(pod_status::deadline(&self.pod, start, started, &ended)).await;
    }

    /// What the container does. The second value is true when its end is reported only after the
    /// boot: the kubelet had no time left.
    async fn process(&self, client: Option<&kube::Client>) -> (Ended, bool) {
        match (self.component(), client) {
            (names::COMPONENT_REBOOT, Some(client)) => self.reboot(client).await,
            _ => {
                let pause = self.machine.state().rng.millis(20, 80);
                tokio::time::sleep(pause).await;
                (ended(0, rerail_agent::probe().to_owned()), false)
            }
        }
    }

    /// The production agent with this machine under it; only its act is played.
    /// As `rerail agent reboot` reads its arguments.
    fn act(&self) -> Act {
        let arguments = self.arguments();
        if arguments.iter().any(|argument| argument == "--signal") {
            return Act::Signal;
        }
        Act::Command(arguments.into_iter().skip_while(|word| word != "--").skip(1).collect())
    }

    /// What a kernel would refuse the Pod's container: `nsenter` into the host needs a privileged one, and a
    /// signal to the host's PID 1 a capability; both need to see it.
    fn lacks(&self, act: &Act) -> Option<&'static str> {
        let spec = self.pod.spec.as_ref()?;
        let rights = spec.containers.first().and_then(|one| one.security_context.as_ref());
        let privileged = rights.is_some_and(|rights| rights.privileged == Some(true));
        let added = rights.and_then(|rights| rights.capabilities.as_ref()?.add.as_ref());
        let kills = added.is_some_and(|added| added.iter().any(|one| one == "KILL"));
        match act {
            _ if spec.host_pid != Some(true) => Some("the Pod does not share the host's PIDs"),
            Act::Command(_) if !privileged => Some("nsenter: Operation not permitted"),
            Act::Signal if !privileged && !kills => Some("kill: Operation not permitted"),
            Act::Command(_) | Act::Signal => None,
        }
    }

    async fn reboot(&self, client: &kube::Client) -> (Ended, bool) {
        let expected = match Expected::from_args(&self.arguments()) {
            Ok(expected) => expected,
            Err(error) => {
                self.tell(EventKind::Refused, None, &error.to_string());
                return (ended(2, error.to_string()), false);
            }
        };
        let cause = Cause::Pod { run: expected.run_uid.clone(), attempt: expected.attempt };
        let act = self.act();
        let host = FleetHost {
            fleet: &self.fleet,
            machine: &self.machine,
            cause: cause.clone(),
            pod: self.pod.name_any(),
            lacks: self.lacks(&act),
        };
        let outcome = rerail_agent::reboot(client, &expected, &act, &host).await;
        if !outcome.report.acted {
            self.tell(EventKind::Refused, Some(cause), &outcome.report.message);
        }
        let late = {
            let mut state = self.machine.state();
            let goes_down = outcome.report.acted && state.hanging_reboot.is_none();
            goes_down && (state.has_fault(&Fault::PodRunsAgain) || state.rng.one_in(3))
        };
        (ended(outcome.exit_code, outcome.message()), late)
    }

    /// Command and arguments of the container, in the order in which a process sees them.
    fn arguments(&self) -> Vec<String> {
        let container = self.pod.spec.as_ref().and_then(|spec| spec.containers.first());
        container
            .into_iter()
            .flat_map(|container| container.command.iter().chain(&container.args).flatten())
            .cloned()
            .collect()
    }

    /// A client with the Pod's own rights. Without one the container cannot start, as with a token
    /// that cannot be mounted. Only reboot Pods talk to the API server.
    async fn client(&self) -> Option<kube::Client> {
        if self.component() != names::COMPONENT_REBOOT {
            return None;
        }
        loop {
            match self.fleet.client_of(&self.pod).await {
                Ok(client) => return Some(client),
                Err(error) => warn!("{error}"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// The Pod is being deleted: stop what runs, report it, and let the object go.
    async fn stop(&self, old: Option<Worker>) {
        if let Some(worker) = old {
            if self.starts_late() {
                self.start_and_work().await;
            }
            let grace = self.pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
            let most = u64::try_from(grace).unwrap_or(0).saturating_mul(1000).min(400);
            let pause = self.machine.state().rng.millis(0, most);
            tokio::time::sleep(pause).await;
            drop(worker.task);
        }
        if !pod_status::is_terminal(&self.pod) {
            let (started, known) = {
                let state = self.machine.state();
                let record = state.records.get(&self.uid());
                (
                    record.map_or_else(|| self.start, |record| record.started),
                    record.and_then(|record| record.ended.clone()),
                )
            };
            let stopped = || Ended {
                exit_code: EXIT_KILLED,
                reason: "Error",
                message: "stopped, because the Pod was deleted".to_owned(),
                at: clock::now(),
            };
            self.report_end(started, &known.unwrap_or_else(stopped)).await;
        }
        self.tell(EventKind::Pod, None, "deleted");
        self.delete().await;
    }

    async fn delete(&self) {
        let (pods, name) = self.api();
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: self.pod.uid(), ..Preconditions::default() }),
            ..DeleteParams::default()
        };
        loop {
            match call(|| format!("delete Pod {name}"), pods.delete(&name, &params)).await {
                Ok(_) => return,
                Err(error) if is_not_found(&error) || is_conflict(&error) => return,
                Err(error) => warn!("{error}"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn report_end(&self, started: Timestamp, ended: &Ended) {
        self.write(pod_status::ended(&self.pod, self.start, started, ended)).await;
    }

    /// Patches the Pod's status until that is done, or the Pod is another or gone.
    async fn write(&self, patch: Value) {
        let (pods, name) = self.api();
        let patch = Patch::Strategic(patch);
        loop {
            let params = PatchParams::default();
            let write = pods.patch_status(&name, &params, &patch);
            match call(|| format!("report Pod {name}"), write).await {
                Ok(_) => return,
                Err(error) if is_not_found(&error) || is_conflict(&error) => return,
                Err(error) => warn!("{error}"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn api(&self) -> (Api<Pod>, String) {
        let namespace = self.pod.namespace().unwrap_or_default();
        (Api::namespaced(self.fleet.client.clone(), &namespace), self.pod.name_any())
    }

    fn remember(&self, started: Timestamp, ended: Option<Ended>) {
        self.machine.state().records.insert(self.uid(), Record { started, ended });
    }

    fn tell(&self, kind: EventKind, cause: Option<Cause>, detail: &str) {
        let mut event = self.machine.event(kind);
        event.cause = cause;
        event.detail = format!("{} {detail}", self.pod.name_any());
        self.fleet.truth.record(event);
    }
}

fn ended(exit_code: i32, message: String) -> Ended {
    let reason = if exit_code == 0 { "Completed" } else { "Error" };
    Ended { exit_code, reason, message, at: clock::now() }
}
