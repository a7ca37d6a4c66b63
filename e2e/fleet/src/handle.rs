//! What a test does to one machine.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::conditions::{self, ConditionOptions, Foreign};
use crate::fleet::{Fleet, Inner};
use crate::machine::{Effects, Machine, MachineView, Power};
use crate::power::{After, Order};
use crate::truth::{Cause, EventKind};
use crate::{Error, Fault, restart};

/// One machine, by name; stays good when the node is replaced.
#[derive(Clone)]
pub struct MachineHandle {
    fleet: Arc<Inner>,
    name: String,
}

impl MachineHandle {
    pub(crate) fn new(fleet: Arc<Inner>, name: String) -> Self {
        Self { fleet, name }
    }

    fn machine(&self) -> Result<Arc<Machine>, Error> {
        self.fleet.find(&self.name).ok_or_else(|| Error::NoMachine(self.name.clone()))
    }

    /// The machine as it is now.
    pub fn view(&self) -> Result<MachineView, Error> {
        Ok(self.machine()?.view())
    }

    /// Injects a fault that is used up by the next boot (or act) it spoils.
    pub fn inject(&self, fault: Fault) -> Result<(), Error> {
        self.add_fault(fault, false)
    }

    /// Injects a fault that spoils every boot (or act) until [`MachineHandle::clear_faults`].
    pub fn inject_lasting(&self, fault: Fault) -> Result<(), Error> {
        self.add_fault(fault, true)
    }

    fn add_fault(&self, fault: Fault, lasting: bool) -> Result<(), Error> {
        let machine = self.machine()?;
        let mut event = machine.event(EventKind::Fault);
        event.detail = format!("{fault:?}{}", if lasting { ", lasting" } else { "" });
        machine.state().faults.push((fault, lasting));
        self.fleet.truth.record(event);
        Ok(())
    }

    /// Takes away pending faults, and repairs what earlier ones did to a machine that is on. One
    /// that is off or hangs stays so until [`MachineHandle::power_on`].
    pub async fn clear_faults(&self) -> Result<(), Error> {
        let machine = self.machine()?;
        {
            let mut state = machine.state();
            state.faults.clear();
            state.effects = Effects { slow_factor: 1, ..Effects::default() };
        }
        let mut event = machine.event(EventKind::Fault);
        event.detail = "all cleared".to_owned();
        self.fleet.truth.record(event);
        machine.status_changed.notify_one();
        if machine.view().power == Power::On {
            restart::report(&self.fleet, &machine, restart::Report::Restarted).await;
        }
        Ok(())
    }

    /// Takes the machine's power. Returns when its kubelet is silent.
    pub async fn power_off(&self) -> Result<(), Error> {
        self.down(Cause::Script, After::Off).await
    }

    /// Gives the machine power, or resets it if it hangs; pending faults apply to the boot.
    pub async fn power_on(&self) -> Result<(), Error> {
        let (sender, done) = oneshot::channel();
        self.order(Order::On { cause: Cause::Script, done: Some(sender) }, done).await
    }

    /// Hangs the machine: its kubelet falls silent, and only a power cycle brings it back.
    pub async fn hang(&self) -> Result<(), Error> {
        self.down(Cause::Script, After::Hang).await
    }

    /// Power-cycles the machine, as a person at its BMC would.
    pub async fn power_cycle(&self) -> Result<(), Error> {
        self.down(Cause::Script, After::Boot).await
    }

    /// Lets the machine boot by itself, as after a kernel panic.
    pub async fn spontaneous_reboot(&self) -> Result<(), Error> {
        self.down(Cause::Spontaneous, After::Boot).await
    }

    /// What kept the machine from going down ([`Fault::RebootHangs`]) lets go: it reboots now, as its
    /// reboot Pod wanted. The truth log tells of the act only now. Nothing happens if no reboot hangs.
    pub async fn let_go_down(&self) -> Result<(), Error> {
        let Some(act) = self.machine()?.state().hanging_reboot.take() else { return Ok(()) };
        let cause = act.cause.clone().unwrap_or(Cause::Script);
        self.fleet.truth.record(act);
        self.down(cause, After::Boot).await
    }

    async fn down(&self, cause: Cause, then: After) -> Result<(), Error> {
        let (sender, done) = oneshot::channel();
        let order = Order::Down { cause, then, delay: Duration::ZERO, done: Some(sender) };
        self.order(order, done).await
    }

    async fn order(&self, order: Order, done: oneshot::Receiver<()>) -> Result<(), Error> {
        let gone = || Error::NoMachine(self.name.clone());
        self.machine()?.orders.send(order).map_err(|_| gone())?;
        done.await.map_err(|_| gone())
    }

    /// Sets a condition as its writer (node-problem-detector, an alert bridge) would.
    pub async fn set_condition(
        &self,
        kind: &str,
        status: &str,
        reason: &str,
        message: &str,
        options: ConditionOptions,
    ) -> Result<(), Error> {
        let foreign = Foreign {
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            options,
        };
        conditions::set(&self.fleet, &*self.machine()?, kind, foreign).await
    }

    /// Sets a condition to False, as its writer does when the cause is gone.
    pub async fn clear_condition(&self, kind: &str) -> Result<(), Error> {
        conditions::clear(&self.fleet, &*self.machine()?, kind).await
    }

    /// Waits until the machine is in a state; `what` names it.
    pub async fn wait_until(
        &self,
        what: &str,
        timeout: Duration,
        is_so: impl Fn(&MachineView) -> bool,
    ) -> Result<MachineView, Error> {
        let began = tokio::time::Instant::now();
        loop {
            let view = self.view()?;
            if is_so(&view) {
                return Ok(view);
            }
            if began.elapsed() >= timeout {
                let names = self.name.clone();
                return Err(Error::NotInTime { waited: timeout, what: what.to_owned(), names });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Fleet {
    /// Sets a condition of a node that a boot heals, as an alert bridge would.
    pub async fn set_condition(
        &self,
        node: &str,
        kind: &str,
        status: &str,
        reason: &str,
        message: &str,
    ) -> Result<(), Error> {
        let options = ConditionOptions::default();
        self.machine(node)?.set_condition(kind, status, reason, message, options).await
    }

    /// Sets a condition of a node to False.
    pub async fn clear_condition(&self, node: &str, kind: &str) -> Result<(), Error> {
        self.machine(node)?.clear_condition(kind).await
    }
}
