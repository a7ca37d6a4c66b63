//! The machine under a reboot Pod's process. Everything above it is the production agent.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::Api;
use rerail_agent::{Act, Host};
use rerail_api::names;

use crate::Fault;
use crate::fleet::Inner;
use crate::machine::Machine;
use crate::power::{After, Order};
use crate::truth::{Cause, EventKind};

/// How long the fleet may look at the node between the agent's decision and the act. The look is
/// for the truth log and must not keep the act waiting for long.
const WITNESS_DEADLINE: Duration = Duration::from_secs(5);

/// A fake machine as the agent sees it.
pub(crate) struct FleetHost<'a> {
    pub fleet: &'a Inner,
    pub machine: &'a Machine,
    pub cause: Cause,
    /// Name of the Pod.
    pub pod: String,
    /// What its container lacks to reboot the machine as it is told to.
    pub lacks: Option<&'static str>,
}

impl Host for FleetHost<'_> {
    fn kernel_boot_id(&self) -> Result<String, rerail_agent::Error> {
        Ok(self.machine.state().kernel_boot_id.clone())
    }

    fn uptime(&self) -> Result<Duration, rerail_agent::Error> {
        Ok(self.machine.state().booted.elapsed())
    }

    async fn act(&self, _act: &Act) -> Result<(), rerail_agent::Error> {
        if let Some(lacks) = self.lacks {
            return Err(rerail_agent::Error::Act(lacks.to_owned()));
        }
        let fails =
            self.machine.state().take_fault(|fault| *fault == Fault::RebootCommandFails).is_some();
        if fails {
            let message = "the reboot command failed, as the test wanted".to_owned();
            return Err(rerail_agent::Error::Act(message));
        }
        let node = self.witness().await;
        let mut event = self.machine.event(EventKind::Act);
        event.cause = Some(self.cause.clone());
        event.detail = self.pod.clone();
        if let Some(node) = node {
            event.cordoned =
                Some(node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false));
            event.cordoned_by = node.annotations().get(names::CORDONED_BY).cloned();
            event.node_uid = node.uid().unwrap_or_default();
        }
        if self.machine.state().take_fault(|fault| *fault == Fault::RebootHangs).is_some() {
            self.machine.state().hanging_reboot = Some(event);
            return Ok(());
        }
        let delay = self.machine.state().rng.within(&self.fleet.options.shutdown_time);
        let order = Order::Down { cause: self.cause.clone(), then: After::Boot, delay, done: None };
        // No await from here on: the log says "act" exactly when the machine will go down.
        self.fleet.truth.record(event);
        self.machine.orders.send(order).map_err(|_| {
            rerail_agent::Error::Act("the machine was taken out of the fleet".to_owned())
        })
    }
}

impl FleetHost<'_> {
    /// The node at the moment of the act, read with the fleet's own rights.
    async fn witness(&self) -> Option<Node> {
        let nodes: Api<Node> = Api::all(self.fleet.client.clone());
        let read = nodes.get(&self.machine.spec.name);
        tokio::time::timeout(WITNESS_DEADLINE, read).await.ok()?.ok()
    }
}
