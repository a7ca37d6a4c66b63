//! The software on a machine that is on. It lives as one task, which ends with the power: a machine
//! that is down writes nothing, and whatever it had in hand is lost.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use tracing::warn;

use crate::api::{call, is_not_found};
use crate::fleet::Inner;
use crate::machine::Machine;
use crate::power::{After, Order};
use crate::truth::{Cause, EventKind};
use crate::{Error, clock, conditions, node, pods, power, restart};

const LEASE_NAMESPACE: &str = "kube-node-lease";

/// Field manager of the fleet's writes.
const MANAGER: &str = "rerail-fleet";

/// Pause before a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Runs the kubelet of a machine. `first` is true for a machine that joins the cluster; after a
/// boot a kubelet first says that it is not ready.
pub(crate) async fn run(fleet: Arc<Inner>, machine: Arc<Machine>, first: bool) {
    let reporting = async {
        if !first {
            let starting = Some(("KubeletNotReady", "kubelet is starting"));
            report_until_done(&fleet, &machine, starting).await;
            restart::report(&fleet, &machine, restart::Report::Stopped).await;
            let pause = machine.state().rng.within(&fleet.options.ready_time);
            tokio::time::sleep(pause).await;
        }
        tokio::join!(report_for_ever(&fleet, &machine, first), async {
            if !first {
                after_boot(&fleet, &machine).await;
            }
        });
    };
    let playing = async {
        if fleet.options.play_pods {
            pods::run(fleet.clone(), machine.clone()).await;
        }
    };
    tokio::join!(reporting, playing, renew_for_ever(&fleet, &machine));
}

/// What follows the kubelet's start: ordinary Pods come back, conditions heal, faults show.
async fn after_boot(fleet: &Inner, machine: &Machine) {
    let (pause, flaps, again) = {
        let mut state = machine.state();
        (
            state.rng.within(&fleet.options.settle_time),
            state.effects.flaps,
            state.effects.boots_again,
        )
    };
    tokio::time::sleep(pause).await;
    if again {
        let (cause, then) = (Cause::Spontaneous, After::Boot);
        let order = Order::Down { cause, then, delay: Duration::from_millis(1), done: None };
        // The machine's power outlives its kubelet; if it is gone, so is this task.
        let _ = machine.orders.send(order);
        return;
    }
    conditions::after_boot(fleet, machine).await;
    restart::report(fleet, machine, restart::Report::Restarted).await;
    for _ in 0..flaps {
        for flapping in [true, false] {
            machine.state().effects.flapping = flapping;
            machine.status_changed.notify_one();
            let pause = machine.state().rng.millis(500, 1500);
            tokio::time::sleep(pause).await;
        }
    }
    restart::go_on_reporting(fleet, machine).await;
}

/// Status at the kubelet's rate, and at once when something changes.
async fn report_for_ever(fleet: &Inner, machine: &Machine, first: bool) {
    // A Node object is created with the label.
    let mut labelled = first.then_some(true);
    loop {
        let (not_ready, containers) = {
            let state = machine.state();
            let not_ready = if state.effects.stays_not_ready {
                Some(("KubeletNotReady", "container runtime is down"))
            } else if state.effects.flapping {
                Some(("KubeletNotReady", "PLEG is not healthy"))
            } else {
                None
            };
            (not_ready, !state.effects.no_pods)
        };
        report_until_done(fleet, machine, not_ready).await;
        if labelled != Some(containers) {
            power::set_label(fleet, machine, containers).await;
            labelled = Some(containers);
        }
        let pause = jittered(machine, fleet.options.status_interval);
        tokio::select! {
            biased;
            () = machine.status_changed.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn report_until_done(
    fleet: &Inner,
    machine: &Machine,
    not_ready: Option<(&'static str, &'static str)>,
) {
    loop {
        match report(fleet, machine, not_ready).await {
            Ok(()) => return,
            // Nothing to report about; a kubelet would have to be started again to register.
            Err(error) if is_not_found(&error) => return,
            Err(error) => warn!("{error}"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// One report: read the node, as a kubelet does, and patch its status.
async fn report(
    fleet: &Inner,
    machine: &Machine,
    not_ready: Option<(&'static str, &'static str)>,
) -> Result<(), Error> {
    let nodes: Api<Node> = Api::all(fleet.client.clone());
    let name = &machine.spec.name;
    let what = || format!("report the status of node {name}");
    let existing = call(what, nodes.get(name)).await?;
    let (boot_id, system_uuid) = {
        let mut state = machine.state();
        // Somebody may have deleted the Node and made it again.
        state.node_uid = existing.uid().unwrap_or_default();
        let boot_id = match state.effects.same_boot_id {
            true => state.reported_boot_id.clone(),
            false => state.kernel_boot_id.clone(),
        };
        (boot_id, state.system_uuid.clone())
    };
    if node::boot_id(&existing).is_some_and(|before| before != boot_id) {
        clock::later_second_than(node::heartbeat(&existing)).await;
    }
    let report = node::Report {
        spec: &machine.spec,
        boot_id: &boot_id,
        system_uuid: &system_uuid,
        kubelet_version: &fleet.options.kubelet_version,
        not_ready,
        now: clock::now(),
    };
    let patch = Patch::Strategic(node::status_patch(&report, &existing));
    call(what, nodes.patch_status(name, &PatchParams::default(), &patch)).await?;
    let changed = {
        let mut state = machine.state();
        state.reported_boot_id = boot_id;
        std::mem::replace(&mut state.ready, not_ready.is_none()) != not_ready.is_none()
    };
    if changed {
        let kind = if not_ready.is_none() { EventKind::Ready } else { EventKind::NotReady };
        fleet.truth.record(machine.event(kind));
    }
    Ok(())
}

/// Renews the node's Lease at the kubelet's rate.
async fn renew_for_ever(fleet: &Inner, machine: &Machine) {
    if !fleet.options.leases {
        return;
    }
    let leases: Api<Lease> = Api::namespaced(fleet.client.clone(), LEASE_NAMESPACE);
    let name = &machine.spec.name;
    let mut exists = false;
    loop {
        let lease = node::lease(name, &machine.state().node_uid, clock::now());
        // Server-side apply makes the object if it is missing; the many renewals after it are
        // cheaper as merge patches.
        let (params, patch) = match exists {
            false => (PatchParams::apply(MANAGER).force(), Patch::Apply(lease)),
            true => (PatchParams::default(), Patch::Merge(lease)),
        };
        let renewed = call(
            || format!("renew the Lease of node {name}"),
            leases.patch_metadata(name, &params, &patch),
        )
        .await;
        exists = renewed.is_ok();
        let pause = match renewed {
            Ok(_) => jittered(machine, fleet.options.lease_interval),
            Err(error) => {
                warn!("{error}");
                RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Four percent more or less, so that a thousand machines that were made together do not write
/// together for ever.
fn jittered(machine: &Machine, interval: Duration) -> Duration {
    let mut state = machine.state();
    state.rng.within(&(interval.mul_f64(0.96)..=interval.mul_f64(1.04)))
}
