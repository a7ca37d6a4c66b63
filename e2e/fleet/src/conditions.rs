//! Conditions that others write: node-problem-detector on the node, an alert bridge from afar.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tracing::warn;

use crate::api::call;
use crate::fleet::Inner;
use crate::machine::{Machine, Power};
use crate::truth::EventKind;
use crate::{Error, clock, node};

/// Who writes a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConditionSource {
    /// Something off the node, such as an alert bridge: heartbeats go on while the machine is down.
    #[default]
    Elsewhere,
    /// Something on the node, such as node-problem-detector: silent while the machine is down.
    OnNode,
}

/// How a condition behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConditionOptions {
    /// Whether a boot heals it: it becomes False shortly after.
    pub heal_on_boot: bool,
    /// Who writes it.
    pub source: ConditionSource,
}

impl Default for ConditionOptions {
    fn default() -> Self {
        Self { heal_on_boot: true, source: ConditionSource::default() }
    }
}

/// A foreign condition as its writer knows it.
#[derive(Debug, Clone)]
pub(crate) struct Foreign {
    pub status: String,
    pub reason: String,
    pub message: String,
    pub options: ConditionOptions,
}

/// Sets a condition, and remembers it for its heartbeats.
pub(crate) async fn set(
    fleet: &Inner,
    machine: &Machine,
    kind: &str,
    foreign: Foreign,
) -> Result<(), Error> {
    let mut event = machine.event(EventKind::Condition);
    event.detail = format!("{kind}={} {}: {}", foreign.status, foreign.reason, foreign.message);
    let known = machine.state().conditions.insert(kind.to_owned(), foreign.clone());
    if known.is_some_and(|known| known.status != foreign.status) {
        // Its transition is now, whatever the API says: many at once need not be read first.
        patch(fleet, machine, kind, &foreign, &Node::default()).await?;
    } else {
        write(fleet, machine, kind, &foreign).await?;
    }
    fleet.truth.record(event);
    Ok(())
}

/// Sets a condition to False, as its writer does when the cause is gone.
pub(crate) async fn clear(fleet: &Inner, machine: &Machine, kind: &str) -> Result<(), Error> {
    let known = machine.state().conditions.get(kind).cloned();
    // The reasons of the alert bridge are part of its contract; others choose their own.
    let alert = kind.starts_with("AlertManager_");
    let foreign = Foreign {
        status: "False".to_owned(),
        reason: if alert { "AlertIsNotFiring" } else { "NoProblem" }.to_owned(),
        message: if alert { "alert is not firing" } else { "no problem" }.to_owned(),
        options: known.map(|known| known.options).unwrap_or_default(),
    };
    set(fleet, machine, kind, foreign).await
}

/// After a boot: what a boot heals is healed, and what came with the boot is set.
pub(crate) async fn after_boot(fleet: &Inner, machine: &Machine) {
    let (heals, comes) = {
        let state = machine.state();
        let stays = state.effects.conditions_stay;
        let heals: Vec<String> = state
            .conditions
            .iter()
            .filter(|(_, known)| known.options.heal_on_boot && known.status == "True" && !stays)
            .map(|(kind, _)| kind.clone())
            .collect();
        (heals, state.effects.new_conditions.clone())
    };
    for kind in heals {
        if let Err(error) = clear(fleet, machine, &kind).await {
            warn!("{error}");
        }
    }
    for (kind, reason, message) in comes {
        let options = ConditionOptions::default();
        let foreign = Foreign { status: "True".to_owned(), reason, message, options };
        if let Err(error) = set(fleet, machine, &kind, foreign).await {
            warn!("{error}");
        }
    }
}

/// Refreshes heartbeats for ever.
pub(crate) async fn refresh(fleet: Arc<Inner>) {
    loop {
        tokio::time::sleep(fleet.options.condition_interval).await;
        for machine in fleet.machines() {
            let (silent, known) = {
                let state = machine.state();
                (state.power != Power::On, state.conditions.clone())
            };
            for (kind, foreign) in known {
                if silent && foreign.options.source == ConditionSource::OnNode {
                    continue;
                }
                if let Err(error) = write(&fleet, &machine, &kind, &foreign).await {
                    warn!("{error}");
                }
            }
        }
    }
}

async fn write(
    fleet: &Inner,
    machine: &Machine,
    kind: &str,
    foreign: &Foreign,
) -> Result<(), Error> {
    let nodes: Api<Node> = Api::all(fleet.client.clone());
    let name = &machine.spec.name;
    let what = || format!("set condition {kind} of node {name}");
    let existing = call(what, nodes.get(name)).await?;
    patch(fleet, machine, kind, foreign, &existing).await
}

async fn patch(
    fleet: &Inner,
    machine: &Machine,
    kind: &str,
    foreign: &Foreign,
    existing: &Node,
) -> Result<(), Error> {
    let nodes: Api<Node> = Api::all(fleet.client.clone());
    let name = &machine.spec.name;
    let what = || format!("set condition {kind} of node {name}");
    let Foreign { status, reason, message, options: _ } = foreign;
    let condition = node::condition(existing, kind, status, reason, message, clock::now());
    let patch = Patch::Strategic(json!({"status": {"conditions": [condition]}}));
    call(what, nodes.patch_status(name, &PatchParams::default(), &patch)).await?;
    Ok(())
}
