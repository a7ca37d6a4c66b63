//! How a fleet is set up.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// Whose rights the operator's Pods have when they read their run and node.
#[derive(Debug, Clone)]
pub enum PodIdentity {
    /// The Pod's own service account, by a bound token as a kubelet would mount it: the real proof
    /// that the shipped RBAC suffices. Address and trust come from this configuration; its
    /// credentials are left out.
    ServiceAccount(Box<kube::Config>),
    /// The fleet's own client. Proves nothing about RBAC; for API servers without service accounts.
    FleetClient,
}

/// Options of a fleet. The default suits tests against a control plane with a short
/// node-monitor grace period.
#[derive(Debug, Clone)]
pub struct FleetOptions {
    /// Seed of everything that looks random: boot IDs, boot times, report orders.
    pub seed: u64,
    /// Whether machines renew a Lease. Without leases the node controller must be off or very
    /// patient, since a status report comes only every [`FleetOptions::status_interval`].
    pub leases: bool,
    /// How often a Lease is renewed; kubelets do so every 10 s.
    pub lease_interval: Duration,
    /// How often status is reported when nothing changes; kubelets do so every 5 min.
    pub status_interval: Duration,
    /// How often the writer of foreign conditions refreshes their heartbeat.
    pub condition_interval: Duration,
    /// Time from power lost to kernel started.
    pub boot_time: RangeInclusive<Duration>,
    /// Time from a successful reboot command to the machine going down.
    pub shutdown_time: RangeInclusive<Duration>,
    /// Time from the kubelet's first report (not Ready) to its second (Ready).
    pub ready_time: RangeInclusive<Duration>,
    /// Time from there to ordinary Pods running again and conditions being healed.
    pub settle_time: RangeInclusive<Duration>,
    /// Where the truth log is appended, one JSON document per line.
    pub truth_log: Option<PathBuf>,
    /// Whether the fleet runs the operator's Pods on its nodes.
    pub play_pods: bool,
    /// Whether cordons are watched ([`crate::Fleet::nodes_seen`]). The watch carries every heartbeat.
    pub watch_nodes: bool,
    /// The kubelet version that nodes report.
    pub kubelet_version: String,
}

impl Default for FleetOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            leases: true,
            lease_interval: Duration::from_secs(10),
            status_interval: Duration::from_secs(300),
            condition_interval: Duration::from_secs(60),
            boot_time: Duration::from_secs(1)..=Duration::from_secs(3),
            shutdown_time: Duration::from_millis(100)..=Duration::from_millis(300),
            ready_time: Duration::from_millis(200)..=Duration::from_secs(1),
            settle_time: Duration::from_millis(300)..=Duration::from_millis(800),
            truth_log: None,
            play_pods: true,
            watch_nodes: true,
            kubelet_version: "v1.36.3".to_owned(),
        }
    }
}

/// A group of machines that are alike. Tests keep their scenarios apart by the label `pool`.
#[derive(Debug, Clone)]
pub struct Pool {
    /// Value of the label `pool`; empty for no such label.
    pub name: String,
    /// Names are prefix and number from 1, with three digits: `worker001`.
    pub prefix: String,
    /// How many machines.
    pub nodes: usize,
    /// How many racks the machines stand in, in blocks: the first ones in `rack-a`. 0 for machines
    /// without a rack label.
    pub racks: usize,
    /// Value of `topology.kubernetes.io/zone`; empty for no such label.
    pub zone: String,
    /// True for control-plane nodes: their role label and taint instead of the worker's.
    pub control_plane: bool,
    /// More labels.
    pub labels: BTreeMap<String, String>,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            name: String::new(),
            prefix: "worker".to_owned(),
            nodes: 1,
            racks: 1,
            zone: "zone-1".to_owned(),
            control_plane: false,
            labels: BTreeMap::new(),
        }
    }
}

impl Pool {
    /// A pool of workers whose name is also the prefix of the nodes' names.
    pub fn new(name: &str, nodes: usize, racks: usize) -> Self {
        Self { name: name.to_owned(), prefix: format!("{name}-"), nodes, racks, ..Self::default() }
    }

    /// The same with one more label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The same as control-plane nodes.
    #[must_use]
    pub fn control_plane(mut self) -> Self {
        self.control_plane = true;
        self
    }

    /// The rack of the machine with this index from 0.
    pub(crate) fn rack(&self, index: usize) -> Option<String> {
        let racks = self.racks.min(self.nodes);
        if racks == 0 {
            return None;
        }
        Some(format!("rack-{}", letters(index * racks / self.nodes.max(1))))
    }
}

/// 0 is a, 25 is z, 26 is aa.
fn letters(mut number: usize) -> String {
    let mut text = Vec::new();
    loop {
        text.insert(0, b'a' + u8::try_from(number % 26).unwrap_or(0));
        number /= 26;
        if number == 0 {
            break;
        }
        number -= 1;
    }
    text.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn racks_are_even_blocks() {
        let pool = Pool { nodes: 60, racks: 6, ..Pool::default() };
        let of = |index| pool.rack(index).unwrap();
        assert_eq!((of(0), of(9), of(10), of(59)), {
            ("rack-a".into(), "rack-a".into(), "rack-b".into(), "rack-f".into())
        });
        assert_eq!(Pool { racks: 0, ..Pool::default() }.rack(0), None);
        assert_eq!((letters(25), letters(26), letters(27)), ("z".into(), "aa".into(), "ab".into()));
    }
}
