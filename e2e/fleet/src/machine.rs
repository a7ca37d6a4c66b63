//! What one machine is and knows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::conditions::Foreign;
use crate::power::Order;
use crate::rng::Rng;
use crate::truth::{EventKind, TruthEvent};
use crate::{Fault, Pool};

/// The power state of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// Running; its kubelet reports.
    On,
    /// Without power, and without a plan to change that.
    Off,
    /// On its way up.
    Booting,
    /// Powered, and dead: nothing but a power cycle or a reset helps.
    Hung,
}

/// What a machine is, for good.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub name: String,
    /// Position in the fleet; gives the address.
    pub number: usize,
    pub pool: Pool,
    pub rack: Option<String>,
}

impl Spec {
    /// Zone and rack, as the truth log names the failure domain.
    pub(crate) fn domain(&self) -> String {
        let rack = self.rack.as_deref().unwrap_or_default();
        [self.pool.zone.as_str(), rack]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("/")
    }
}

/// What faults make of the running boot.
#[derive(Debug, Clone, Default)]
pub(crate) struct Effects {
    pub never_boots: bool,
    pub hangs: bool,
    pub boots_again: bool,
    pub stays_not_ready: bool,
    pub flaps: u32,
    /// A flap is on: Ready is False for the moment.
    pub flapping: bool,
    pub same_boot_id: bool,
    pub slow_factor: u32,
    pub no_pods: bool,
    pub no_daemonsets: bool,
    pub conditions_stay: bool,
    pub new_conditions: Vec<(String, String, String)>,
    pub pod_runs_again: bool,
}

/// How a container of the operator ended, as the machine's disk remembers it over a boot.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub exit_code: i32,
    pub reason: &'static str,
    pub message: String,
    pub at: Timestamp,
}

/// What the machine's container runtime remembers of a Pod.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub started: Timestamp,
    pub ended: Option<Ended>,
}

/// Everything about a machine that changes.
#[derive(Debug)]
pub(crate) struct State {
    pub node_uid: String,
    pub system_uuid: String,
    pub power: Power,
    /// The kernel's boot ID. The one that the Node reports is [`State::reported_boot_id`].
    pub kernel_boot_id: String,
    pub reported_boot_id: String,
    pub booted: Instant,
    pub boots: u64,
    /// What the kubelet last reported successfully.
    pub ready: bool,
    pub rng: Rng,
    /// Faults not yet met; true for those that last.
    pub faults: Vec<(Fault, bool)>,
    pub effects: Effects,
    pub conditions: BTreeMap<String, Foreign>,
    /// What became of the operator's Pods here, by their UID.
    pub records: BTreeMap<String, Record>,
    /// The act of a reboot Pod that something keeps from taking effect.
    pub hanging_reboot: Option<TruthEvent>,
}

impl State {
    /// Takes a fault for use: a one-shot fault is gone afterwards.
    pub(crate) fn take_fault(&mut self, wanted: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let index = self.faults.iter().position(|(fault, _)| wanted(fault))?;
        match self.faults[index].1 {
            true => Some(self.faults[index].0.clone()),
            false => Some(self.faults.remove(index).0),
        }
    }

    /// True while a fault waits to be met.
    pub(crate) fn has_fault(&self, wanted: &Fault) -> bool {
        self.faults.iter().any(|(fault, _)| fault == wanted)
    }

    /// What the pending faults make of the boot that begins now. Of equal one-shot faults one is
    /// used up, so that two of them spoil two boots.
    pub(crate) fn draw_effects(&mut self) -> Effects {
        let mut effects = Effects { slow_factor: 1, ..Effects::default() };
        let (mut kept, mut met) = (Vec::new(), Vec::new());
        for (fault, lasting) in std::mem::take(&mut self.faults) {
            let used = !met.contains(&fault) && effects.add(&fault);
            if used {
                met.push(fault.clone());
            }
            if lasting || !used {
                kept.push((fault, lasting));
            }
        }
        self.faults = kept;
        effects
    }
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
            Fault::RebootCommandFails | Fault::RebootHangs | Fault::RebootPodStartsLate => {
                return false;
            }
        }
        true
    }
}

/// A machine, shared by its power, its kubelet and its handles.
pub(crate) struct Machine {
    pub spec: Spec,
    state: Mutex<State>,
    /// Something that the kubelet reports has changed.
    pub status_changed: Notify,
    /// The Pods bound to the node have changed.
    pub pods_changed: Notify,
    pub orders: mpsc::UnboundedSender<Order>,
}

/// What a test sees of a machine at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineView {
    /// Name of the node.
    pub name: String,
    /// Value of the label `pool`.
    pub pool: String,
    /// UID of the Node object.
    pub node_uid: String,
    /// The power state.
    pub power: Power,
    /// The kernel's boot ID.
    pub kernel_boot_id: String,
    /// The boot ID that the kubelet reports; older than the kernel's for a while after a boot.
    pub reported_boot_id: String,
    /// How many boots the machine has seen since it joined the fleet.
    pub boots: u64,
    /// Whether the kubelet's last successful report said Ready.
    pub ready: bool,
}

impl Machine {
    /// A machine that has power and no Node object yet.
    pub(crate) fn new(spec: Spec, mut rng: Rng) -> (Arc<Self>, mpsc::UnboundedReceiver<Order>) {
        let (orders, receiver) = mpsc::unbounded_channel();
        let boot_id = rng.uuid();
        let state = State {
            node_uid: String::new(),
            system_uuid: rng.uuid(),
            power: Power::On,
            kernel_boot_id: boot_id.clone(),
            reported_boot_id: boot_id,
            booted: Instant::now(),
            boots: 0,
            ready: false,
            rng,
            faults: Vec::new(),
            effects: Effects { slow_factor: 1, ..Effects::default() },
            conditions: BTreeMap::new(),
            records: BTreeMap::new(),
            hanging_reboot: None,
        };
        let machine = Self {
            spec,
            state: Mutex::new(state),
            status_changed: Notify::new(),
            pods_changed: Notify::new(),
            orders,
        };
        (Arc::new(machine), receiver)
    }

    /// The machine's state. Never held over an await.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn view(&self) -> MachineView {
        let state = self.state();
        MachineView {
            name: self.spec.name.clone(),
            pool: self.spec.pool.name.clone(),
            node_uid: state.node_uid.clone(),
            power: state.power,
            kernel_boot_id: state.kernel_boot_id.clone(),
            reported_boot_id: state.reported_boot_id.clone(),
            boots: state.boots,
            ready: state.ready,
        }
    }

    /// An event of this machine, to be completed by the caller; the log sets the time.
    pub(crate) fn event(&self, event: EventKind) -> TruthEvent {
        let state = self.state();
        TruthEvent {
            t: Timestamp::UNIX_EPOCH,
            event,
            node: self.spec.name.clone(),
            node_uid: state.node_uid.clone(),
            boot_id: state.kernel_boot_id.clone(),
            previous_boot_id: None,
            domain: self.spec.domain(),
            pool: self.spec.pool.name.clone(),
            control_plane: self.spec.pool.control_plane,
            cause: None,
            cordoned: None,
            cordoned_by: None,
            detail: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_shot_faults_are_used_up_and_lasting_ones_stay() {
        let spec = Spec { name: "n".into(), number: 0, pool: Pool::default(), rack: None };
        let (machine, _orders) = Machine::new(spec, Rng::of(1, "n"));
        let mut state = machine.state();
        state.faults = vec![
            (Fault::NeverBoots, false),
            (Fault::NeverBoots, false),
            (Fault::SlowBoot { factor: 5 }, true),
            (Fault::RebootCommandFails, false),
        ];
        let first = state.draw_effects();
        assert!(first.never_boots);
        assert_eq!(first.slow_factor, 5);
        assert!(state.draw_effects().never_boots);
        let third = state.draw_effects();
        assert!(!third.never_boots);
        assert_eq!(third.slow_factor, 5);
        // The failing command waits for an act, not for a boot.
        let is_command = |fault: &Fault| *fault == Fault::RebootCommandFails;
        assert!(state.take_fault(is_command).is_some());
        assert!(state.take_fault(is_command).is_none());
    }
}
