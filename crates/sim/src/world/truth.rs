//! The world as it is, whatever the API server has been told of it: for pictures and for tests.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

/// The power state of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// Running.
    On,
    /// Without power, and without a plan to change that.
    Off,
    /// On its way up.
    Booting,
    /// Powered, and dead: nothing but a power cycle helps.
    Hung,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineView {
    /// Name of its node.
    pub name: String,
    /// Rack, if it stands in one.
    pub rack: Option<String>,
    /// Zone, if it is in one.
    pub zone: Option<String>,
    /// True for a node of the control plane.
    pub control_plane: bool,
    /// UID of the Node object; empty while there is none.
    pub node_uid: String,
    /// The power state.
    pub power: Power,
    /// True when the kubelet can run Pods.
    pub ready: bool,
    /// True when the machine cannot reach the API server.
    pub cut: bool,
    /// The kernel's boot ID.
    pub boot_id: String,
    /// The boot ID that the Node shows; older than the kernel's for a while after a boot.
    pub reported_boot_id: String,
    /// How often the machine has booted since it is in the cluster.
    pub boots: u64,
    /// Conditions that are true, by their types: the truth, before it is told.
    pub sick: BTreeSet<String>,
    /// Processes of Pods that run on it.
    pub pods: usize,
}

/// The world at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth {
    /// When.
    pub at: Timestamp,
    /// The machines, by name.
    pub machines: BTreeMap<String, MachineView>,
}

impl Truth {
    /// Machines that cannot run Pods now.
    pub fn down(&self) -> impl Iterator<Item = &MachineView> {
        self.machines.values().filter(|machine| !machine.ready)
    }

    /// Machines with a condition that is true.
    pub fn sick(&self) -> impl Iterator<Item = &MachineView> {
        self.machines.values().filter(|machine| !machine.sick.is_empty())
    }
}
