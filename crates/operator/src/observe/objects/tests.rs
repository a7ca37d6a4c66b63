use kube::core::ObjectMeta;
use rerail_api::{NodeRemediation, remediation::NodeRemediationSpec};

use super::*;

fn run(uid: &str, version: &str) -> NodeRemediation {
    let metadata = ObjectMeta {
        name: Some("r".into()),
        uid: Some(uid.into()),
        resource_version: Some(version.into()),
        ..ObjectMeta::default()
    };
    let spec = NodeRemediationSpec {
        node_name: "n".into(),
        node_uid: "n-uid".into(),
        policy_name: "p".into(),
        cause: None,
        requested_by: None,
        cancel: false,
        retries: 0,
    };
    NodeRemediation { metadata, spec, status: None }
}

fn watched(uid: &str, version: &str) -> Event<DynamicObject> {
    let value = serde_json::to_value(run(uid, version)).unwrap();
    Event::Apply(serde_json::from_value(value).unwrap())
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Version and age of what is known since then.
fn known(runs: &Objects<NodeRemediation>, since: i64) -> Option<(String, Timestamp)> {
    let (run, asked) = runs.answered("r").filter(|(_, asked)| *asked >= at(since))?;
    Some((run.resource_version().unwrap(), asked))
}

#[test]
fn an_answer_is_as_good_as_a_read_and_what_a_watch_shows_alone_is_not() {
    let runs = Objects::<NodeRemediation>::default();
    runs.event(watched("a", "5"));
    assert_eq!(known(&runs, 0), None, "a watch may lag, by how much nobody knows");
    runs.put(run("a", "6"), Some(at(10)));
    assert_eq!(known(&runs, 10), Some(("6".into(), at(10))));
    assert_eq!(known(&runs, 11), None);
    runs.event(watched("a", "5"));
    assert_eq!(known(&runs, 10), Some(("6".into(), at(10))), "the watch is behind");
    runs.event(watched("a", "7"));
    assert_eq!(known(&runs, 10), Some(("7".into(), at(10))), "newer than the answer");
    runs.put(run("a", "6"), Some(at(12)));
    assert_eq!(known(&runs, 11), None, "an answer that is older than what is known proves nothing");
    runs.put(run("a", "7"), Some(at(13)));
    assert_eq!(known(&runs, 13), Some(("7".into(), at(13))));
}

#[test]
fn another_object_of_the_name_inherits_no_answer() {
    let runs = Objects::<NodeRemediation>::default();
    runs.put(run("a", "6"), Some(at(10)));
    let seen = runs.event(watched("b", "9"));
    assert_eq!(seen.missed.len(), 1);
    assert_eq!(known(&runs, 0), None);
    assert!(runs.gone("r").is_some() && runs.get("r").is_none());
}
