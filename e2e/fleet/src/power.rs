//! A machine's power: down, up, and what may go wrong on the way.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::warn;

use crate::api::{call, is_not_found};
use crate::fleet::Inner;
use crate::machine::{Machine, Power};
use crate::truth::{Cause, EventKind};
use crate::{kubelet, node};

/// What shall become of a machine that goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    Boot,
    Off,
    Hang,
}

/// What a machine is told to do.
#[derive(Debug)]
pub(crate) enum Order {
    /// Go down after a delay.
    Down { cause: Cause, then: After, delay: Duration, done: Option<oneshot::Sender<()>> },
    /// Get power, or a reset if the machine hangs.
    On { cause: Cause, done: Option<oneshot::Sender<()>> },
}

/// A task that ends with its owner.
pub(crate) struct Owned(JoinHandle<()>);

impl Owned {
    pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is due next.
enum Next {
    GoDown { cause: Cause, then: After },
    Boot { cause: Cause },
}

struct Unit {
    fleet: Arc<Inner>,
    machine: Arc<Machine>,
    /// The software on the machine; taken away with the power.
    kubelet: Option<Owned>,
    next: Option<(Instant, Next)>,
}

/// Runs a machine that is on, until the fleet lets go of it.
pub(crate) async fn run(
    fleet: Arc<Inner>,
    machine: Arc<Machine>,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let kubelet = Some(Owned::spawn(kubelet::run(fleet.clone(), machine.clone(), true)));
    let mut unit = Unit { fleet, machine, kubelet, next: None };
    loop {
        let due = unit.next.as_ref().map(|(at, _)| *at);
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some(order) => unit.obey(order).await,
                None => return,
            },
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                match unit.next.take() {
                    Some((_, Next::GoDown { cause, then })) => unit.go_down(cause, then).await,
                    Some((_, Next::Boot { cause })) => unit.boot(cause),
                    None => {}
                }
            }
        }
    }
}

impl Unit {
    async fn obey(&mut self, order: Order) {
        let done = match order {
            Order::Down { cause, then, delay, done } => {
                if delay.is_zero() {
                    self.go_down(cause, then).await;
                } else if self.kubelet.is_some() && self.next.is_none() {
                    // A machine that is going down already goes down once.
                    self.next = Some((Instant::now() + delay, Next::GoDown { cause, then }));
                }
                done
            }
            Order::On { cause, done } => {
                let power = self.machine.state().power;
                if matches!(power, Power::Off | Power::Hung) {
                    self.plan_boot(cause);
                }
                done
            }
        };
        if let Some(done) = done {
            // Whoever ordered may have gone.
            let _ = done.send(());
        }
    }

    /// Takes the machine's power, and with it everything that runs on it.
    async fn go_down(&mut self, cause: Cause, then: After) {
        self.kubelet = None;
        self.next = None;
        {
            let mut state = self.machine.state();
            state.ready = false;
            state.hanging_reboot = None;
            state.power = if then == After::Hang { Power::Hung } else { Power::Off };
        }
        let mut event = self.machine.event(EventKind::Down);
        event.cause = Some(cause.clone());
        event.detail = match then {
            After::Boot => "rebooting",
            After::Off => "power off",
            After::Hang => "hangs",
        }
        .to_owned();
        self.fleet.truth.record(event);
        if then == After::Boot {
            self.plan_boot(cause);
        }
        set_label(&self.fleet, &self.machine, false).await;
    }

    /// Decides by the pending faults how the next boot goes.
    fn plan_boot(&mut self, cause: Cause) {
        let mut state = self.machine.state();
        state.effects = state.draw_effects();
        if state.effects.never_boots || state.effects.hangs {
            state.power = if state.effects.hangs { Power::Hung } else { Power::Off };
            return;
        }
        state.power = Power::Booting;
        let time = state.rng.within(&self.fleet.options.boot_time) * state.effects.slow_factor;
        self.next = Some((Instant::now() + time, Next::Boot { cause }));
    }

    /// The kernel starts: from now on its boot ID is another. The Node tells so a little later.
    fn boot(&mut self, cause: Cause) {
        let previous = {
            let mut state = self.machine.state();
            let new = state.rng.uuid();
            state.power = Power::On;
            state.booted = Instant::now();
            state.boots += 1;
            std::mem::replace(&mut state.kernel_boot_id, new)
        };
        let mut event = self.machine.event(EventKind::Boot);
        event.previous_boot_id = Some(previous);
        event.cause = Some(cause);
        self.fleet.truth.record(event);
        let kubelet = kubelet::run(self.fleet.clone(), self.machine.clone(), false);
        self.kubelet = Some(Owned::spawn(kubelet));
    }
}

/// Writes or takes away the label that tells kwok where containers run.
pub(crate) async fn set_label(fleet: &Inner, machine: &Machine, running: bool) {
    let nodes: Api<Node> = Api::all(fleet.client.clone());
    let name = &machine.spec.name;
    let patch = Patch::Merge(node::label_patch(running));
    let params = PatchParams::default();
    let written =
        call(|| format!("label node {name}"), nodes.patch_metadata(name, &params, &patch)).await;
    match written {
        Ok(_) => {}
        Err(error) if is_not_found(&error) => {}
        Err(error) => warn!("{error}"),
    }
}
