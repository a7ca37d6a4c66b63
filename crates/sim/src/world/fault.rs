//! What can go wrong with a machine, by script.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A fault of one machine. Injected once, it is used up by the machine's next boot (those of the
/// reboot command: by the next act); injected to last, it is there at every boot until the faults are
/// cleared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
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
    /// The machine comes up with its clock off, as one whose battery is dead does.
    ClockOff {
        /// So many seconds ahead of the true time; behind it where negative.
        seconds: i64,
    },
    /// The reboot command fails: the Pod ends with exit code 12 and the machine stays up.
    RebootCommandFails,
    /// The reboot command succeeds, and the machine stays up: something keeps it from going down,
    /// such as an unmount that hangs. It goes down when it is let go
    /// (`letGoDown`).
    RebootHangs,
    /// The reboot Pod's container does not start, and its kubelet, busy with that, does not see that
    /// the Pod is deleted; until the faults are cleared, when it starts after all.
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

/// What faults make of the running boot.
#[derive(Debug, Clone, Default)]
pub(super) struct Effects {
    pub never_boots: bool,
    pub hangs: bool,
    pub boots_again: bool,
    pub stays_not_ready: bool,
    pub flaps: u32,
    /// A flap is on: Ready is False for the moment.
    pub flapping: bool,
    pub same_boot_id: bool,
    /// 0 and 1 are as usual.
    pub slow_factor: u32,
    pub no_pods: bool,
    pub no_daemonsets: bool,
    pub conditions_stay: bool,
    pub new_conditions: Vec<(String, String, String)>,
    pub pod_runs_again: bool,
    /// Seconds by which its clock is off.
    pub clock_off: Option<i64>,
}

impl Effects {
    /// Adds what a fault does to a boot; false if it is no fault of boots.
    fn add(&mut self, fault: &Fault) -> bool {
        match fault {
            Fault::NeverBoots => self.never_boots = true,
            Fault::HangsAtBoot => self.hangs = true,
            Fault::BootsTwice => self.boots_again = true,
            Fault::StaysNotReady => self.stays_not_ready = true,
            Fault::Flaps { times } => self.flaps = *times,
            Fault::SameBootId => self.same_boot_id = true,
            Fault::SlowBoot { factor } => self.slow_factor = *factor,
            Fault::PodsDoNotStart => self.no_pods = true,
            Fault::DaemonSetsDoNotReturn => self.no_daemonsets = true,
            Fault::ConditionsStay => self.conditions_stay = true,
            Fault::BootsWithCondition { condition, reason, message } => {
                self.new_conditions.push((condition.clone(), reason.clone(), message.clone()));
            }
            Fault::PodRunsAgain => self.pod_runs_again = true,
            Fault::ClockOff { seconds } => self.clock_off = Some(*seconds),
            Fault::RebootCommandFails | Fault::RebootHangs | Fault::RebootPodStartsLate => {
                return false;
            }
        }
        true
    }
}

/// Faults that are not yet met, each with whether it lasts.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults(Vec<(Fault, bool)>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault, lasting: bool) {
        self.0.push((fault, lasting));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// True while a fault waits to be met.
    pub(super) fn has(&self, wanted: &Fault) -> bool {
        self.0.iter().any(|(fault, _)| fault == wanted)
    }

    /// Takes a fault for use; one that lasts stays. True if there was one.
    pub(super) fn take(&mut self, wanted: &Fault) -> bool {
        let Some(at) = self.0.iter().position(|(fault, _)| fault == wanted) else { return false };
        if !self.0[at].1 {
            self.0.remove(at);
        }
        true
    }

    /// What the pending faults make of the boot that begins now. Of equal faults that do not last one
    /// is used up, so that two of them spoil two boots.
    pub(super) fn draw(&mut self) -> Effects {
        let mut effects = Effects::default();
        let (mut kept, mut met) = (Vec::new(), Vec::new());
        for (fault, lasting) in std::mem::take(&mut self.0) {
            let used = !met.contains(&fault) && effects.add(&fault);
            if used {
                met.push(fault.clone());
            }
            if lasting || !used {
                kept.push((fault, lasting));
            }
        }
        self.0 = kept;
        effects
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_used_up_and_lasting_ones_stay() {
        let mut faults = Faults::default();
        faults.add(Fault::NeverBoots, false);
        faults.add(Fault::NeverBoots, false);
        faults.add(Fault::SlowBoot { factor: 5 }, true);
        faults.add(Fault::RebootCommandFails, false);
        let first = faults.draw();
        assert!(first.never_boots);
        assert_eq!(first.slow_factor, 5);
        assert!(faults.draw().never_boots);
        let third = faults.draw();
        assert!(!third.never_boots);
        assert_eq!(third.slow_factor, 5);
        // The failing command waits for an act, not for a boot.
        assert!(faults.take(&Fault::RebootCommandFails));
        assert!(!faults.take(&Fault::RebootCommandFails));
    }
}
