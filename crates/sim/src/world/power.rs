//! A machine's power: down, up, and what may go wrong on the way.

use jiff::{SignedDuration, Timestamp};

use super::{
    Error, Fault, Power, PowerAct, Spec,
    fault::Effects,
    machine::{Kubelet, Machine, Process},
    queue::{After, Event, Step, Sync},
    state::State,
};
use crate::observe::{Cause, What};

/// How long a flap lasts, and the pause after it.
const FLAP: (u64, u64) = (500, 1_500);

impl State {
    /// A machine joins the cluster: up, and ready.
    pub(super) fn join(&mut self, spec: Spec) -> Result<(), Error> {
        let name = spec.name.clone();
        if self.machines.contains_key(&name) {
            return Err(Error::MachineExists(name));
        }
        let (boot, system) = (self.draw.uuid("boot id", &name), self.draw.uuid("system", &name));
        self.numbered += 1;
        let mut machine = Machine::new(spec, self.numbered, boot.clone(), system);
        machine.life = self.buried.get(&name).copied().unwrap_or_default();
        self.machines.insert(name.clone(), machine);
        self.register(&name);
        let node_uid = self.machines.get(&name).map(|one| one.node_uid.clone()).unwrap_or_default();
        self.happened(&name, What::Appeared { node_uid, boot_id: boot });
        self.happened(&name, What::Ready(true));
        self.report(&name);
        self.lease_tick(&name);
        let first = self.millis("report", &name, (1, self.times.report));
        self.step(&name, first, Step::Report);
        Ok(())
    }

    /// Plans the next step of a machine's present life.
    pub(super) fn step(&mut self, node: &str, millis: u64, step: Step) {
        let Some(machine) = self.machines.get(node) else { return };
        let event = Event::Machine(node.to_owned(), machine.life, step);
        self.plan(millis, event);
    }

    pub(super) fn machine_step(&mut self, node: &str, life: u64, step: Step) {
        if self.machines.get(node).is_none_or(|machine| machine.life != life) {
            return;
        }
        match step {
            Step::GoDown(cause, then) => self.go_down(node, &cause, then),
            Step::Boot(cause) => self.boot(node, cause),
            Step::KubeletUp => self.kubelet_up(node),
            Step::KubeletReady => self.kubelet_ready(node),
            Step::Settle => self.settle(node),
            Step::Flap(left) => self.flap(node, left),
            Step::Lease => self.lease_tick(node),
            Step::Report => {
                self.report(node);
                let pause = self.jittered("report", node, self.times.report);
                self.step(node, pause, Step::Report);
            }
        }
    }

    /// What a person, or misfortune, does to the power.
    pub(super) fn power(&mut self, node: &str, to: PowerAct) {
        let Some(machine) = self.machines.get(node) else { return };
        let on = machine.power == Power::On;
        let script = || Cause::Foreign("script".to_owned());
        match (to, on) {
            (PowerAct::Off, _) => self.go_down(node, &script(), After::Off),
            (PowerAct::Hang, true) => self.go_down(node, &script(), After::Hang),
            (PowerAct::Cycle, true) => self.go_down(node, &script(), After::Boot),
            (PowerAct::Panic, true) => self.go_down(node, &Cause::Spontaneous, After::Boot),
            (PowerAct::On | PowerAct::Cycle, false) => self.plan_boot(node, script()),
            (PowerAct::On, true) | (PowerAct::Hang | PowerAct::Panic, false) => {}
        }
    }

    /// Takes the machine's power, and with it everything that runs on it.
    pub(super) fn go_down(&mut self, node: &str, cause: &Cause, then: After) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        let was_on = machine.power == Power::On;
        machine.life += 1;
        machine.power = if then == After::Hang { Power::Hung } else { Power::Off };
        machine.kubelet = Kubelet::Off;
        machine.hanging = None;
        let was_ready = std::mem::replace(&mut machine.ready, false);
        // Processes whose object is gone leave nothing behind.
        machine.records.retain(|_, record| !record.orphan);
        for record in machine.records.values_mut() {
            (record.starting, record.stopping, record.look) = (false, false, None);
            if matches!(record.process, Process::Running(_)) {
                record.process = Process::Stopped;
            }
        }
        if was_on {
            self.happened(node, What::Down(cause.clone()));
        }
        if was_ready {
            self.happened(node, What::Ready(false));
        }
        if then == After::Boot {
            self.plan_boot(node, cause.clone());
        }
    }

    /// Decides by the pending faults how the next boot goes.
    pub(super) fn plan_boot(&mut self, node: &str, cause: Cause) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        if machine.power == Power::Booting {
            return;
        }
        machine.effects = machine.faults.draw();
        let Effects { never_boots, hangs, slow_factor, .. } = machine.effects;
        machine.power = match (never_boots, hangs) {
            (true, _) => Power::Off,
            (_, true) => Power::Hung,
            _ => Power::Booting,
        };
        if machine.power == Power::Booting {
            let time = self.millis("boot", node, self.times.boot);
            self.step(node, time.saturating_mul(u64::from(slow_factor.max(1))), Step::Boot(cause));
        }
    }

    /// The kernel starts: from now on its boot ID is another. The Node tells so a little later.
    fn boot(&mut self, node: &str, cause: Cause) {
        let boot_id = self.draw.uuid("boot id", node);
        let Some(machine) = self.machines.get_mut(node) else { return };
        machine.power = Power::On;
        machine.boots += 1;
        machine.boot_id.clone_from(&boot_id);
        // A boot without that fault sets the clock by its time server.
        let off = machine.effects.clock_off.unwrap_or_default();
        machine.clock_off = SignedDuration::from_secs(off);
        self.happened(node, What::Boot { boot_id, cause });
        self.conditions_of_boot(node);
        let pause = self.millis("kubelet", node, self.times.kubelet);
        self.step(node, pause, Step::KubeletUp);
    }

    /// The kubelet starts: it registers, says that it is not ready, and what has become of its Pods.
    fn kubelet_up(&mut self, node: &str) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        machine.kubelet = Kubelet::Up;
        self.register(node);
        self.report(node);
        self.lease_tick(node);
        self.containers_after_boot(node);
        let pause = self.millis("ready", node, self.times.ready);
        self.step(node, pause, Step::KubeletReady);
        let next = self.jittered("report", node, self.times.report);
        self.step(node, next, Step::Report);
    }

    fn kubelet_ready(&mut self, node: &str) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        if !machine.effects.stays_not_ready {
            machine.ready = true;
            self.happened(node, What::Ready(true));
        }
        self.report(node);
        self.wake(Sync::Kubelet(node.to_owned()));
        let pause = self.millis("settle", node, self.times.settle);
        self.step(node, pause, Step::Settle);
    }

    /// What follows: ordinary Pods come back, conditions are told, faults show.
    fn settle(&mut self, node: &str) {
        let Some(machine) = self.machines.get(node) else { return };
        let Effects { boots_again, flaps, .. } = machine.effects;
        if boots_again {
            self.go_down(node, &Cause::Spontaneous, After::Boot);
            return;
        }
        self.tell_conditions(node);
        self.restart_containers(node);
        if flaps > 0 {
            self.flap(node, flaps.saturating_mul(2));
        }
    }

    fn flap(&mut self, node: &str, left: u32) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        if machine.effects.stays_not_ready || left == 0 {
            return;
        }
        let down = left.is_multiple_of(2);
        machine.effects.flapping = down;
        machine.ready = !down;
        self.happened(node, What::Ready(!down));
        self.report(node);
        self.wake(Sync::Kubelet(node.to_owned()));
        let pause = self.millis("flap", node, FLAP);
        self.step(node, pause, Step::Flap(left - 1));
    }

    /// Something will go wrong.
    pub(super) fn inject(&mut self, node: &str, fault: &Fault, lasting: bool) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        machine.faults.add(fault.clone(), lasting);
        let words = format!("{fault:?}{}", if lasting { ", lasting" } else { "" });
        self.happened(node, What::Fault(words));
    }

    /// The machine's clock is set, right or wrong.
    pub(super) fn set_clock(&mut self, node: &str, seconds: i64) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        machine.clock_off = SignedDuration::from_secs(seconds);
        self.happened(node, What::Fault(format!("its clock is {seconds} s ahead")));
    }

    /// What a machine takes for the time: its kubelet, and whatever else on it writes times.
    pub(super) fn clock_of(&self, node: &str) -> Timestamp {
        let off = self.machines.get(node).map(|machine| machine.clock_off).unwrap_or_default();
        self.clock.saturating_add(off).unwrap_or(self.clock)
    }

    /// Takes away pending faults, and repairs what earlier ones did to a machine that is on. One that is
    /// off or hangs stays so until it gets power.
    pub(super) fn clear_faults(&mut self, node: &str) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        machine.faults.clear();
        let healed = std::mem::take(&mut machine.effects);
        let becomes_ready = healed.stays_not_ready || healed.flapping;
        let becomes_ready = becomes_ready && machine.kubelet == Kubelet::Up && !machine.ready;
        machine.ready |= becomes_ready;
        let on = machine.kubelet == Kubelet::Up;
        self.happened(node, What::Fault("all cleared".to_owned()));
        if becomes_ready {
            self.happened(node, What::Ready(true));
        }
        if on {
            self.report(node);
            self.restart_containers(node);
            self.wake(Sync::Kubelet(node.to_owned()));
        }
    }

    /// What kept a machine from going down lets go: it reboots now, as its reboot Pod wanted.
    pub(super) fn let_go_down(&mut self, node: &str) {
        let Some(cause) = self.machines.get_mut(node).and_then(|one| one.hanging.take()) else {
            return;
        };
        self.go_down(node, &cause, After::Boot);
    }

    /// The machine is gone for good.
    pub(super) fn vanish(&mut self, node: &str) {
        if let Some(machine) = self.machines.remove(node) {
            self.buried.insert(node.to_owned(), machine.life + 1);
            self.happened(node, What::Vanished);
        }
    }
}
