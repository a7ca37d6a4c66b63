//! What one machine is and knows.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rerail_core::reboot_check::{Expected, RunSeen};

use super::{
    Power, Sickness, Source, Spec,
    fault::{Effects, Faults},
    truth::MachineView,
};
use crate::{observe::Cause, store::Key};

/// The software on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kubelet {
    /// Not started.
    Off,
    /// It reports.
    Up,
}

/// A condition that something writes.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub sickness: Sickness,
    /// The truth.
    pub on: bool,
    /// What was told last.
    pub told: bool,
}

/// Which of the operator's Pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ours {
    Reboot,
    Probe,
}

/// How a container ended.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub exit_code: i32,
    pub reason: &'static str,
    pub message: String,
    pub at: Timestamp,
    /// Stopped by the Pod's own deadline.
    pub deadline: bool,
}

/// What a Pod's containers do.
#[derive(Debug, Clone)]
pub(super) enum Process {
    /// Not yet started.
    Waiting,
    /// Started then.
    Running(Timestamp),
    /// They ended with the machine, and will be started again.
    Stopped,
    Ended(End),
}

/// How far a reboot Pod is.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub expected: Expected,
    /// When it began to look for the first time, in milliseconds.
    pub began: u64,
    /// When this look began.
    pub start: u64,
    pub run: Option<RunSeen>,
}

/// What the machine's disk remembers of a Pod.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub key: Key,
    pub ours: Option<Ours>,
    pub daemon: bool,
    /// When the kubelet took it.
    pub taken: Timestamp,
    pub process: Process,
    pub restarts: u64,
    /// Its start is planned.
    pub starting: bool,
    /// It was told to end.
    pub stopping: bool,
    /// Its end is not reported before the machine is up again.
    pub silent: bool,
    /// Something kept it from starting: it does its work before its deletion is seen.
    pub late: bool,
    /// The object was released: whatever is left of it is held by others.
    pub released: bool,
    /// The object is gone; the process lives on for a moment (protocol R2c).
    pub orphan: bool,
    pub look: Option<Look>,
}

/// A machine.
#[derive(Debug)]
pub(super) struct Machine {
    pub spec: Spec,
    pub number: usize,
    pub node_uid: String,
    pub system_uuid: String,
    pub power: Power,
    pub boot_id: String,
    pub reported_boot_id: String,
    pub boots: u64,
    /// Counts the times it went down: what was planned in an earlier life does not happen.
    pub life: u64,
    pub kubelet: Kubelet,
    /// The kubelet can run Pods: the truth.
    pub ready: bool,
    /// It cannot reach the API server.
    pub cut: bool,
    /// How far its clock is ahead of the true time.
    pub clock_off: SignedDuration,
    pub faults: Faults,
    pub effects: Effects,
    pub conditions: BTreeMap<String, Held>,
    pub records: BTreeMap<String, Record>,
    /// The act of a reboot Pod that something keeps from taking effect.
    pub hanging: Option<Cause>,
}

impl Machine {
    pub(super) fn new(spec: Spec, number: usize, boot_id: String, system_uuid: String) -> Self {
        Machine {
            spec,
            number,
            node_uid: String::new(),
            system_uuid,
            power: Power::On,
            reported_boot_id: boot_id.clone(),
            boot_id,
            boots: 0,
            life: 0,
            kubelet: Kubelet::Up,
            ready: true,
            cut: false,
            clock_off: SignedDuration::ZERO,
            faults: Faults::default(),
            effects: Effects::default(),
            conditions: BTreeMap::new(),
            records: BTreeMap::new(),
            hanging: None,
        }
    }

    /// The kubelet's word for why it is not ready, if it is not.
    pub(super) fn not_ready(&self) -> Option<&'static str> {
        if self.effects.stays_not_ready {
            Some("container runtime is down")
        } else if self.effects.flapping {
            Some("PLEG is not healthy")
        } else if !self.ready {
            Some("kubelet is starting")
        } else {
            None
        }
    }

    /// True when its kubelet can write.
    pub(super) fn talks(&self) -> bool {
        self.kubelet == Kubelet::Up && !self.cut
    }

    /// True when the writer of a condition can write.
    pub(super) fn writes(&self, source: Source) -> bool {
        source == Source::Elsewhere || (self.power == Power::On && !self.cut)
    }

    pub(super) fn view(&self) -> MachineView {
        let label = |key| self.spec.labels.get(key).cloned();
        let sick = self.conditions.iter().filter(|(_, held)| held.on);
        let runs = |record: &&Record| matches!(record.process, Process::Running(_));
        MachineView {
            name: self.spec.name.clone(),
            rack: label(super::RACK),
            zone: label(super::ZONE),
            control_plane: self.spec.control_plane,
            node_uid: self.node_uid.clone(),
            power: self.power,
            ready: self.ready,
            cut: self.cut,
            boot_id: self.boot_id.clone(),
            reported_boot_id: self.reported_boot_id.clone(),
            boots: self.boots,
            sick: sick.map(|(kind, _)| kind.clone()).collect(),
            pods: self.records.values().filter(runs).count(),
        }
    }
}
