//! The audit log of the API server: what somebody asked it for.

use rerail_api::names;
use rerail_e2e::Cluster;
use serde_json::Value;

/// One request that was answered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    pub verb: String,
    pub group: String,
    /// With the subresource, if any: `pods/eviction`.
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub uri: String,
    pub code: u64,
}

fn operator() -> String {
    let account = names::OPERATOR_SERVICE_ACCOUNT;
    format!("system:serviceaccount:{}:{account}", names::SYSTEM_NAMESPACE)
}

/// What the operator has asked for so far. A watch appears when it is opened.
pub fn by_operator(cluster: &Cluster) -> Vec<Request> {
    by(cluster, &operator())
}

/// The same of any user.
pub fn by(cluster: &Cluster, user: &str) -> Vec<Request> {
    let log = std::fs::read_to_string(cluster.plane.audit_log()).unwrap();
    // The last line may be half written.
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events
        .filter(|event| event["user"]["username"] == user && is_answer(event))
        .map(|event| request(&event))
        .collect()
}

/// The bodies of patches of a resource that somebody has sent, whatever was answered; the operator without a
/// user. Only with [`rerail_controlplane::Options::audit_patches`].
pub fn patches(cluster: &Cluster, resource: &str, user: Option<&str>) -> Vec<Value> {
    let user = user.map_or_else(operator, str::to_owned);
    let log = std::fs::read_to_string(cluster.plane.audit_log()).unwrap();
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let patches = events.filter(|event| {
        let request = request(event);
        event["user"]["username"] == user.as_str()
            && is_answer(event)
            && (&*request.verb, &*request.resource) == ("patch", resource)
    });
    patches.map(|mut event| event["requestObject"].take()).collect()
}

/// A watch is written down when it is opened, and again when it ends.
fn is_answer(event: &Value) -> bool {
    let stage = if event["verb"] == "watch" { "ResponseStarted" } else { "ResponseComplete" };
    event["stage"] == stage
}

fn request(event: &Value) -> Request {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &event["objectRef"];
    let resource = match object["subresource"].as_str() {
        Some(subresource) => format!("{}/{subresource}", text(&object["resource"])),
        None => text(&object["resource"]),
    };
    Request {
        verb: text(&event["verb"]),
        group: text(&object["apiGroup"]),
        resource,
        namespace: text(&object["namespace"]),
        name: text(&object["name"]),
        uri: text(&event["requestURI"]),
        code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
    }
}

/// When watches of a resource by the operator ended.
pub fn watch_ends(cluster: &Cluster, resource: &str) -> Vec<jiff::Timestamp> {
    let log = std::fs::read_to_string(cluster.plane.audit_log()).unwrap();
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ends = events.filter(|event| {
        event["verb"] == "watch"
            && event["stage"] == "ResponseComplete"
            && event["objectRef"]["resource"] == resource
            && event["user"]["username"] == operator()
    });
    ends.map(|event| event["stageTimestamp"].as_str().unwrap().parse().unwrap()).collect()
}
