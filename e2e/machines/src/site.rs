//! A control plane with machines.

use std::collections::BTreeMap;
use std::path::Path;

use rerail_controlplane::{Binaries, ControlPlane, Options};

use crate::{disk, error::Result, host, machine::Machine};

/// A control plane of our own, and its machines. All of it ends with the value, and with the process.
#[derive(Debug)]
pub struct Site {
    /// The control plane.
    pub plane: ControlPlane,
    /// Its machines, switched on. Their nodes come when their kubelets do.
    pub machines: Vec<Machine>,
}

impl Site {
    /// Starts a machine for each of these sets of labels, which its node has. (Not
    /// [`rerail_controlplane::KUBELET_RUNNING`]: kwok would play its Pods.) `rerail` is the program that Pods of the
    /// operator run there. Makes what is not made yet, which takes minutes the first time.
    pub fn start(
        options: Options,
        rerail: &Path,
        labels: &[BTreeMap<String, String>],
    ) -> Result<Self> {
        host::prepare()?;
        let kubelet = Binaries::kubelet()?;
        let disk = disk::ensure(&rerail_controlplane::state_dir(), &kubelet, rerail)?;
        let plane = ControlPlane::start(Options { kubelets: true, ..options })?;
        let numbered = (1..).zip(labels);
        let machines =
            numbered.map(|(number, labels)| Machine::start(&plane, &disk, number, labels));
        let machines = machines.collect::<Result<_>>()?;
        Ok(Site { plane, machines })
    }
}
