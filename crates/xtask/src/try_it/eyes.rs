//! What a spectator sees: every version of each node and run, with the time at which it came.

use std::fmt::Debug;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use rerail_api::NodeRemediation;
use serde::de::DeserializeOwned;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinSet,
};

/// What was seen.
pub enum Seen {
    /// A version of a node.
    Node(Box<Node>),
    /// A version of a run.
    Run(Box<NodeRemediation>),
}

/// Two watches, until they are dropped.
pub struct Eyes {
    /// What they see, by the clock of the truth log.
    pub seen: UnboundedReceiver<(Timestamp, Seen)>,
    _watches: JoinSet<()>,
}

impl Eyes {
    /// Opens both.
    pub fn open(client: &Client) -> Self {
        let (sender, seen) = unbounded_channel();
        let mut watches = JoinSet::new();
        let nodes = Api::<Node>::all(client.clone());
        watches.spawn(follow(nodes, sender.clone(), |node| Seen::Node(Box::new(node))));
        let runs = Api::<NodeRemediation>::all(client.clone());
        watches.spawn(follow(runs, sender, |run| Seen::Run(Box::new(run))));
        Eyes { seen, _watches: watches }
    }
}

async fn follow<K>(
    api: Api<K>,
    sender: UnboundedSender<(Timestamp, Seen)>,
    seen: impl Fn(K) -> Seen,
) where
    K: kube::Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let events = watcher(api, watcher::Config::default()).default_backoff().applied_objects();
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        // An error is followed by a new list.
        let Ok(object) = event else { continue };
        if sender.send((rerail_fleet::now(), seen(object))).is_err() {
            return;
        }
    }
}
