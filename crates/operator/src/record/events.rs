//! Events on the node, so that `kubectl describe node` tells the story; a warning stands on the run,
//! too, whose status has every step. They are handed
//! in and published beside the work, in their order: a node that is ready to be given back does not
//! wait for what is told of it.

use std::{future::Future, pin::pin};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use rerail_api::NodeRemediation;
use tokio::sync::mpsc;

use crate::client::call;

/// How many Events may wait to be published. More than that come only when the API server takes none,
/// and then they are lost, each with a line in the log.
const WAITING: usize = 512;

/// One Event that waits.
struct Job {
    event: Event,
    about: ObjectReference,
}

/// Takes Events in; never in the way of a run.
#[derive(Clone)]
pub struct Events {
    queue: mpsc::Sender<Job>,
}

/// Publishes what was handed in.
pub struct Publisher {
    recorder: Recorder,
    queue: mpsc::Receiver<Job>,
}

impl Publisher {
    /// Publishes until `done` resolves and nothing waits any more. A lost Event costs a line in the log.
    pub async fn run(mut self, done: impl Future<Output = ()>) {
        let mut done = pin!(done);
        loop {
            let job = tokio::select! {
                biased;
                job = self.queue.recv() => job,
                () = &mut done => return,
            };
            let Some(Job { event, about }) = job else { return };
            let what = || format!("Event {}", event.reason);
            if let Err(error) = call(what, self.recorder.publish(&event, &about)).await {
                tracing::warn!(%error, reason = event.reason, "an Event was lost");
            }
        }
    }
}

impl Events {
    /// Events of `rerail-operator`, and who publishes them.
    pub fn new(client: Client, identity: &str) -> (Self, Publisher) {
        let instance = identity.chars().take(128).collect();
        let reporter =
            Reporter { controller: "rerail.dev/operator".into(), instance: Some(instance) };
        let (sender, queue) = mpsc::channel(WAITING);
        (Events { queue: sender }, Publisher { recorder: Recorder::new(client, reporter), queue })
    }

    /// One Event on the run's node; a warning also on the run.
    pub fn run(
        &self,
        object: &NodeRemediation,
        kind: EventType,
        action: &str,
        reason: &str,
        message: &str,
    ) {
        let run = object.object_ref(&());
        let node = node_reference(&object.spec.node_name, &object.spec.node_uid);
        if matches!(kind, EventType::Warning) {
            self.publish(kind, action, reason, message, &run, Some(node.clone()));
        }
        self.publish(kind, action, reason, message, &node, Some(run));
    }

    /// One Event on any object.
    pub fn publish(
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
        if self.queue.try_send(Job { event, about: about.clone() }).is_err() {
            tracing::warn!(reason, "an Event was lost: too many wait to be published");
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
