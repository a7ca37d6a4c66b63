use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, PostParams, WatchEvent, WatchParams},
};

use serde_json::json;

use super::*;
use crate::{observe::What, store::Commit};

fn node(name: &str) -> Node {
    let mut node = Node::default();
    node.metadata.name = Some(name.to_owned());
    node
}

#[tokio::test(start_paused = true)]
async fn kubes_client_takes_it_for_an_api_server() {
    let server = Server::new(Options::default());
    let nodes: Api<Node> = Api::all(server.client());
    let made = nodes.create(&PostParams::default(), &node("a")).await.unwrap();
    assert!(made.uid().is_some());
    let again = nodes.create(&PostParams::default(), &node("a")).await.unwrap_err();
    let kube::Error::Api(status) = again else { panic!("{again}") };
    assert_eq!((status.code, status.reason.as_str()), (409, "AlreadyExists"));
}

#[tokio::test(start_paused = true)]
async fn a_watch_wakes_when_something_changes_and_ends_in_time() {
    let server = Server::new(Options::default());
    let nodes: Api<Node> = Api::all(server.client());
    let params = WatchParams::default().timeout(50).disable_bookmarks();
    let watching = tokio::spawn({
        let nodes = nodes.clone();
        async move { nodes.watch(&params, "1").await.unwrap().try_collect::<Vec<_>>().await.unwrap() }
    });
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    nodes.create(&PostParams::default(), &node("a")).await.unwrap();
    let begun = Instant::now();
    let events = watching.await.unwrap();
    assert!(matches!(events.as_slice(), [WatchEvent::Added(node)] if node.name_any() == "a"));
    assert_eq!(begun.elapsed().as_secs(), 39);
}

/// A client that gives up has not undone what it sent.
#[tokio::test(start_paused = true)]
async fn what_was_sent_is_carried_out() {
    let server =
        Server::new(Options { latency: std::time::Duration::from_secs(2), ..Options::default() });
    let nodes: Api<Node> = Api::all(server.client());
    let short = std::time::Duration::from_millis(100);
    let params = PostParams::default();
    assert!(tokio::time::timeout(short, nodes.create(&params, &node("a"))).await.is_err());
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(nodes.get("a").await.unwrap().name_any(), "a");
}

/// Remembers who changed what.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Observer for Seen {
    fn committed(&mut self, store: &Store, commit: &Commit) {
        let plural = &store.resource(commit.resource).plural;
        let key = crate::store::key_of(&commit.change.after);
        let gone = if commit.change.gone { " gone" } else { "" };
        self.0.lock().unwrap().push(format!("{}: {plural} {key}{gone}", commit.by));
    }

    fn happened(&mut self, _: &Store, happening: &Happening) {
        self.0.lock().unwrap().push(format!("{}: {:?}", happening.subject, happening.what));
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_sees_every_change_and_who_made_it() {
    let server = Server::new(Options::default());
    let seen = Seen::default();
    server.observe(seen.clone());
    let maps: Api<ConfigMap> = Api::namespaced(server.acting_as("ann").client(), "default");
    let map: ConfigMap = serde_json::from_value(json!({ "metadata": { "name": "m" } })).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
    assert!(maps.create(&PostParams::default(), &map).await.is_err());
    let at = server.now();
    server.happened(&Happening { at, subject: "n1".into(), what: What::Ready(false) });
    let maps: Api<ConfigMap> = Api::namespaced(server.acting_as("bob").client(), "default");
    maps.delete("m", &DeleteParams::default()).await.unwrap();
    assert_eq!(
        *seen.0.lock().unwrap(),
        ["ann: configmaps default/m", "n1: Ready(false)", "bob: configmaps default/m gone",]
    );
}
