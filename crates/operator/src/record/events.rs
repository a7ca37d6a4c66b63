//! Events on the run and on its node, so that `kubectl describe node` tells the story.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use rerail_api::NodeRemediation;

use crate::client::call;

/// Publishes Events; never in the way of a run: a lost Event costs a line in the log.
#[derive(Clone)]
pub struct Events {
    recorder: Arc<Recorder>,
}

impl Events {
    /// Publishes as `rerail-operator`.
    pub fn new(client: Client, identity: &str) -> Self {
        let instance = identity.chars().take(128).collect();
        let reporter =
            Reporter { controller: "rerail.dev/operator".into(), instance: Some(instance) };
        Events { recorder: Arc::new(Recorder::new(client, reporter)) }
    }

    /// One Event on the run and one on its node.
    pub async fn run(
        &self,
        object: &NodeRemediation,
        kind: EventType,
        action: &str,
        reason: &str,
        message: &str,
    ) {
        let run = object.object_ref(&());
        let node = node_reference(&object.spec.node_name, &object.spec.node_uid);
        self.publish(kind, action, reason, message, &run, Some(node.clone())).await;
        self.publish(kind, action, reason, message, &node, Some(run)).await;
    }

    /// One Event on any object.
    pub async fn publish(
        &self,
        kind: EventType,
        action: &str,
        reason: &str,
        message: &str,
        about: &ObjectReference,
        secondary: Option<ObjectReference>,
    ) {
        let event = Event {
            type_: kind,
            reason: reason.to_owned(),
            note: Some(message.chars().take(1000).collect()),
            action: action.to_owned(),
            secondary,
        };
        let published =
            call(|| format!("Event {reason}"), self.recorder.publish(&event, about)).await;
        if let Err(error) = published {
            tracing::warn!(%error, reason, "an Event was lost");
        }
    }
}

/// The reference that `kubectl describe node` looks for: the kubelet's Events bear the node's name in
/// place of its UID, and `describe` searches both.
pub fn node_reference(name: &str, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Node".into()),
        name: Some(name.to_owned()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}
