//! How a world is set up, and what its machines are.

use std::collections::BTreeMap;

use super::{draw::Range, scene::Taint};

/// How long things take, in milliseconds, each from and to: what it is in the end is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// From power lost to kernel started.
    pub boot: Range,
    /// From a reboot command that succeeded to the machine going down.
    pub shutdown: Range,
    /// From the kernel's start to the kubelet's first report, which is "not ready".
    pub kubelet: Range,
    /// From there to the report that it is ready.
    pub ready: Range,
    /// From there to ordinary Pods running again, and healed conditions being told.
    pub settle: Range,
    /// From a Pod being bound to it running.
    pub pod_start: Range,
    /// From a Pod being told to end to its process ending, if the grace period is not shorter.
    pub pod_stop: Range,
    /// How late anybody sees what changed: kubelets and controllers.
    pub watch: Range,
    /// How often a kubelet renews its node's Lease.
    pub lease: u64,
    /// How often a kubelet reports its node's status when nothing changes.
    pub report: u64,
    /// How often the writers of foreign conditions refresh them.
    pub heartbeat: u64,
    /// After so long without a Lease or a report, a node's Ready is Unknown.
    pub grace: u64,
}

impl Default for Times {
    fn default() -> Self {
        Times {
            boot: (20_000, 60_000),
            shutdown: (1_000, 4_000),
            kubelet: (1_000, 3_000),
            ready: (2_000, 10_000),
            settle: (2_000, 10_000),
            pod_start: (500, 4_000),
            pod_stop: (200, 5_000),
            watch: (2, 40),
            lease: 10_000,
            report: 300_000,
            heartbeat: 60_000,
            grace: 40_000,
        }
    }
}

/// How a world is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// What everything is drawn from that looks random.
    pub seed: u64,
    /// How long things take.
    pub times: Times,
}

/// What a machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Name of its node.
    pub name: String,
    /// Labels of its node, beside those that every node has.
    pub labels: BTreeMap<String, String>,
    /// True for the role and the taint of a control-plane node.
    pub control_plane: bool,
    /// The most Pods that run on it.
    pub pods: usize,
    /// Whether its node bears the label of its role.
    pub with_role: bool,
    /// Taints that its node has from the beginning.
    pub taints: Vec<Taint>,
    /// Whether its node is cordoned from the beginning.
    pub cordoned: bool,
}

/// Label of a node: the zone it is in.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// Label of a node: the rack it stands in. No kubelet may set it on itself.
pub const RACK: &str = "node-restriction.kubernetes.io/rack";
/// Label of a node with the role of the control plane, and the taint of such a node.
pub const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";
/// Label of a node with the role of a worker.
const WORKER: &str = "node-role.kubernetes.io/worker";

impl Spec {
    /// A worker.
    pub fn new(name: &str) -> Self {
        let name = name.to_owned();
        Spec {
            name,
            labels: BTreeMap::new(),
            control_plane: false,
            pods: 110,
            with_role: true,
            taints: Vec::new(),
            cordoned: false,
        }
    }

    /// All labels of its node, those that every node has among them.
    pub fn node_labels(&self) -> BTreeMap<String, String> {
        let of_all = [
            ("kubernetes.io/hostname", self.name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", "amd64"),
        ];
        let role = if self.control_plane { CONTROL_PLANE } else { WORKER };
        let role = self.with_role.then_some((role, ""));
        let given = self.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let all = of_all.into_iter().chain(role).chain(given);
        all.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    /// Whether its node has all these labels, of those that every node has, too.
    pub fn has_labels<'a>(
        &self,
        labels: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> bool {
        let all = self.node_labels();
        labels.into_iter().all(|(key, value)| all.get(key) == Some(value))
    }

    /// The same with one more label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }
}
