//! One observer: two watches, and the moment at which each event arrived. Times between two events
//! are taken from one watch, or from two watches of one process, so that their lags cancel out but
//! for their variation.

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use std::fmt::Debug;

use futures::StreamExt;
use serde::de::DeserializeOwned;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinSet,
    time::Instant,
};

/// What was seen.
#[derive(Debug)]
pub enum Object {
    /// A version of a node.
    Node(Box<Node>),
    /// A version of a pod.
    Pod(Box<Pod>),
}

/// An event and its arrival.
#[derive(Debug)]
pub struct Seen {
    /// When it arrived.
    pub at: Instant,
    /// What.
    pub object: Object,
}

/// Watches all nodes and pods until it is dropped.
pub struct Observer {
    /// The events, in the order of their arrival.
    pub events: UnboundedReceiver<Seen>,
    _watches: JoinSet<()>,
}

impl Observer {
    /// Starts both watches.
    pub fn start(client: &Client) -> Self {
        let (sender, events) = unbounded_channel();
        let mut watches = JoinSet::new();
        let nodes = Api::<Node>::all(client.clone());
        watches.spawn(follow(nodes, sender.clone(), |node| Object::Node(Box::new(node))));
        let pods = Api::<Pod>::all(client.clone());
        watches.spawn(follow(pods, sender, |pod| Object::Pod(Box::new(pod))));
        Observer { events, _watches: watches }
    }
}

async fn follow<K>(api: Api<K>, sender: UnboundedSender<Seen>, object: fn(K) -> Object)
where
    K: kube::Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let events = watcher(api, watcher::Config::default()).default_backoff().applied_objects();
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        // An error is followed by a new list; what it does not show is reported as unseen.
        let Ok(event) = event else { continue };
        if sender.send(Seen { at: Instant::now(), object: object(event) }).is_err() {
            return;
        }
    }
}
