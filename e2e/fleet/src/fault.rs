//! What can go wrong with a fake machine, by script.

use serde::{Deserialize, Serialize};

/// A fault of one machine. Injected once, it is used up by the machine's next boot (those of the
/// reboot command: by the next act); injected to last, it is there at every boot until
/// [`crate::MachineHandle::clear_faults`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fault {
    /// The machine goes down and stays off.
    NeverBoots,
    /// The machine goes down, gets power and hangs before its kernel starts.
    HangsAtBoot,
    /// The machine boots, becomes Ready, and a moment later boots again by itself. Lasting, this is
    /// a machine in a boot loop.
    BootsTwice,
    /// The machine boots and its kubelet reports, but the node never becomes Ready.
    StaysNotReady,
    /// After the boot, Ready goes to False and back this many times.
    Flaps {
        /// How many times.
        times: u32,
    },
    /// The kernel has a new boot ID; the kubelet goes on reporting the old one.
    SameBootId,
    /// The boot takes this many times as long.
    SlowBoot {
        /// The factor.
        factor: u32,
    },
    /// The reboot command fails: the Pod ends with exit code 12 and the machine stays up.
    RebootCommandFails,
    /// The reboot command succeeds, and the machine stays up: something keeps it from going down,
    /// such as an unmount that hangs. It goes down at [`crate::MachineHandle::let_go_down`].
    RebootHangs,
    /// The reboot Pod's container does not start, and its kubelet, busy with that, does not see that
    /// the Pod is deleted; until [`crate::MachineHandle::clear_faults`], when it starts after all.
    RebootPodStartsLate,
    /// After the boot no container starts: Pods stay Pending in ContainerCreating, although the
    /// node is Ready with a new boot ID. Seen on a real machine after a power cut.
    PodsDoNotStart,
    /// After the boot the Pods of DaemonSets that were on the node do not become Ready again.
    DaemonSetsDoNotReturn,
    /// Conditions that a boot would heal stay as they are.
    ConditionsStay,
    /// The machine boots with one more condition that is True.
    BootsWithCondition {
        /// The condition's type.
        condition: String,
        /// Its reason.
        reason: String,
        /// Its message.
        message: String,
    },
    /// The kubelet does not report the reboot Pod's end before the machine goes down, and starts it
    /// a second time after the boot (protocol R1: the kernel's boot ID must stop it).
    PodRunsAgain,
}
