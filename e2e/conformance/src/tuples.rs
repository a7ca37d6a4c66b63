//! What is asked of an API server, in short: (verb, resource, patch type, status code). From audit logs, and from the
//! records of cases; what is in the first and not in the second is not covered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::record::Record;
use crate::{Error, files::files_in};

/// What was asked, and the code of the answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tuple {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`; `get` for what is no
    /// resource.
    pub verb: String,
    /// `pods/eviction`, `noderemediations.rerail.dev`; a path for what is no resource.
    pub resource: String,
    /// `json`, `merge`, `strategic`, `apply`; empty for other verbs. `object` where an audit log cannot tell merge
    /// from strategic: both must be covered.
    pub patch: String,
    /// The status code.
    pub code: u16,
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, resource, patch, code } = self;
        if patch.is_empty() {
            write!(f, "{verb} {resource} {code}")
        } else {
            write!(f, "{verb}({patch}) {resource} {code}")
        }
    }
}

impl Tuple {
    /// Reads what [`fmt::Display`] writes.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (verb, resource, code) = (words.next()?, words.next()?, words.next()?);
        let (verb, patch) = match verb.strip_suffix(')').and_then(|verb| verb.split_once('(')) {
            Some((verb, patch)) => (verb, patch),
            None => (verb, ""),
        };
        Some(Self {
            verb: verb.to_owned(),
            resource: resource.to_owned(),
            patch: patch.to_owned(),
            code: code.parse().ok()?,
        })
    }

    /// What an answer of the suite covers.
    pub fn of_record(record: &Record) -> Option<Self> {
        let (act, target) = record.request.split_once(' ')?;
        let (method, patch) = match act.strip_suffix(')').and_then(|act| act.split_once('(')) {
            Some((method, patch)) => (method, patch),
            None => (act, ""),
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (resource, named) = resource_of(path);
        let watches = method == "WATCH"
            || query.split('&').any(|part| matches!(part, "watch=true" | "watch=1"));
        let verb = match (method, named) {
            _ if !is_resource(&resource) => "get",
            _ if watches => "watch",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", true) => "delete",
            ("DELETE", false) => "deletecollection",
            (_, true) => "get",
            (_, false) => "list",
        };
        let (verb, patch) = (verb.to_owned(), patch.to_owned());
        Some(Self { verb, resource, patch, code: record.status })
    }

    /// Whether these, which cases cover, cover it.
    pub fn is_covered_by(&self, covered: &BTreeSet<Self>) -> bool {
        if self.patch != "object" {
            return covered.contains(self);
        }
        ["merge", "strategic"]
            .iter()
            .all(|patch| covered.contains(&Self { patch: (*patch).to_owned(), ..self.clone() }))
    }
}

fn is_resource(resource: &str) -> bool {
    !resource.starts_with('/')
}

/// The resource of a path, and whether the path names one object of it.
fn resource_of(path: &str) -> (String, bool) {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (group, rest) = match parts.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => return (path.to_owned(), false),
    };
    let rest = match rest {
        ["namespaces", _, "status" | "finalize"] => rest,
        ["namespaces", _, inner @ ..] if !inner.is_empty() => inner,
        _ => rest,
    };
    let Some(plural) = rest.first() else { return (path.to_owned(), false) };
    let group = if group.is_empty() { String::new() } else { format!(".{group}") };
    let sub = rest.get(2).map(|sub| format!("/{sub}")).unwrap_or_default();
    (format!("{plural}{group}{sub}"), rest.len() > 1)
}

/// Who asks for something that a simulated API server must answer as the real one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The operator.
    Operator,
    /// The Pods that the operator starts on nodes.
    Agent,
    /// The fake machines.
    Fleet,
    /// The people of the scenarios.
    Tester,
    /// kubectl, whoever runs it.
    Kubectl,
    /// The garbage collector, on objects of ours.
    Collector,
}

impl Who {
    fn of_event(event: &Value) -> Option<Self> {
        let user = event["user"]["username"].as_str().unwrap_or_default();
        let agent = event["userAgent"].as_str().unwrap_or_default();
        let controllers = ["generic-garbage-collector", "metadata-informers"];
        match user {
            _ if agent.starts_with("kubectl") => Some(Self::Kubectl),
            "rerail-fleet" => Some(Self::Fleet),
            "rerail-e2e-tester" => Some(Self::Tester),
            "system:serviceaccount:rerail-system:rerail-operator" => Some(Self::Operator),
            _ if user.starts_with("system:serviceaccount:rerail") => Some(Self::Agent),
            _ if controllers.iter().any(|name| agent.ends_with(name)) => {
                let about = &event["objectRef"];
                let group = about["apiGroup"].as_str().unwrap_or_default();
                let resource = about["resource"].as_str().unwrap_or_default();
                let ours = group == "rerail.dev" || ["pods", "nodes"].contains(&resource);
                ours.then_some(Self::Collector)
            }
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Agent => "agent",
            Self::Fleet => "fleet",
            Self::Tester => "tester",
            Self::Kubectl => "kubectl",
            Self::Collector => "collector",
        }
    }
}

/// What was seen, by whom, and how often.
pub type Seen = BTreeMap<Tuple, BTreeMap<Who, u64>>;

/// Adds what an audit log shows.
pub fn add_audit(log: &str, seen: &mut Seen) {
    // The last line may be half written.
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    for event in events {
        // A watch is written down when it is opened, and again when it ends.
        let stage = if event["verb"] == "watch" { "ResponseStarted" } else { "ResponseComplete" };
        if event["stage"] != stage {
            continue;
        }
        if let (Some(who), Some(tuple)) = (Who::of_event(&event), of_event(&event)) {
            *seen.entry(tuple).or_default().entry(who).or_default() += 1;
        }
    }
}

fn of_event(event: &Value) -> Option<Tuple> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &event["objectRef"];
    let verb = text(&event["verb"]);
    let uri = text(&event["requestURI"]);
    let resource = match object["resource"].as_str() {
        Some(resource) => {
            let group = object["apiGroup"].as_str().map(|group| format!(".{group}"));
            let sub = object["subresource"].as_str().map(|sub| format!("/{sub}"));
            format!("{resource}{}{}", group.unwrap_or_default(), sub.unwrap_or_default())
        }
        None => uri.split('?').next().unwrap_or_default().to_owned(),
    };
    let patch = if verb == "patch" { patch_type(event, &uri) } else { String::new() };
    let code = u16::try_from(event["responseStatus"]["code"].as_u64()?).ok()?;
    Some(Tuple { verb, resource, patch, code })
}

/// An audit log has the body of a patch and not its type. A list is a JSON patch. An object with a kind is applied; any
/// other is a merge patch where nothing else is possible, and else one of two.
fn patch_type(event: &Value, uri: &str) -> String {
    let body = &event["requestObject"];
    let is_custom = event["objectRef"]["apiGroup"] == "rerail.dev";
    let name = if body.is_array() {
        "json"
    } else if uri.contains("force=") || (body["kind"].is_string() && uri.contains("fieldManager="))
    {
        "apply"
    } else if is_custom {
        "merge"
    } else {
        "object"
    };
    name.to_owned()
}

/// What every audit log (`*.log`) in a folder shows.
///
/// # Errors
/// If one cannot be read.
pub fn seen_in(folder: &Path) -> Result<Seen, Error> {
    let mut seen = Seen::new();
    for file in files_in(folder, "log")? {
        add_audit(&std::fs::read_to_string(&file).map_err(Error::file(&file))?, &mut seen);
    }
    Ok(seen)
}

/// The file of what was seen in the e2e suite.
pub fn seen_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recorded/seen.txt")
}

/// What [`write_seen`] wrote.
///
/// # Errors
/// If the file cannot be read.
pub fn seen() -> Result<BTreeSet<Tuple>, Error> {
    let file = seen_file();
    let text = std::fs::read_to_string(&file).map_err(Error::file(&file))?;
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| Tuple::parse(line).ok_or_else(|| Error::script("recorded/seen.txt", line)))
        .collect()
}

/// Writes what was seen, with who asked: one line each. Lines that are there already stay, since no run shows all.
///
/// # Errors
/// If the file cannot be written.
pub fn write_seen(new: &Seen) -> Result<(), Error> {
    let file = seen_file();
    let mut lines: BTreeMap<Tuple, BTreeSet<String>> = BTreeMap::new();
    let old = std::fs::read_to_string(&file).unwrap_or_default();
    for line in old.lines().filter(|line| !line.starts_with('#')) {
        if let Some(tuple) = Tuple::parse(line) {
            let who = line.split_once(" by ").map_or("", |(_, who)| who);
            lines.entry(tuple).or_default().extend(who.split(", ").map(str::to_owned));
        }
    }
    for (tuple, who) in new {
        let names = who.keys().map(|who| who.name().to_owned());
        lines.entry(tuple.clone()).or_default().extend(names);
    }
    let mut text = String::from(
        "# What the audit logs of the e2e suite and of kubectl show, and who asked. Written by\n\
         # `cargo xtask conformance --coverage DIR`, which adds to it.\n",
    );
    for (tuple, who) in lines {
        let who: Vec<String> = who.into_iter().collect();
        text.push_str(&format!("{tuple} by {}\n", who.join(", ")));
    }
    std::fs::write(&file, text).map_err(Error::file(&file))
}

/// What these answers cover.
pub fn covered(records: &[Record]) -> BTreeSet<Tuple> {
    records.iter().filter_map(Tuple::of_record).collect()
}

/// What no case covers, on purpose, with the reason. A tuple is meant when its text contains the first.
pub const LEFT_OUT: &[(&str, &str)] = &[
    (".rbac.authorization.k8s.io ", "rights are no part of what is compared"),
    (".flowcontrol.apiserver.k8s.io ", "nor is the order in which requests are served"),
    ("delete customresourcedefinitions.", "our CRDs stay for as long as the suite"),
    ("(apply) customresourcedefinitions.", "our CRDs are there before the first request"),
    ("(json) customresourcedefinitions.", "our CRDs are there before the first request"),
    ("/openapi/v3/apis/rbac.authorization.k8s.io/", "for objects that are left out"),
    ("/openapi/v3/apis/flowcontrol.apiserver.k8s.io/", "for objects that are left out"),
    (
        ".admissionregistration.k8s.io ",
        "how scenarios make the real server refuse what they choose",
    ),
    ("/openapi/v3/apis/admissionregistration.k8s.io/", "for objects that are left out"),
    (" 504", "a fault and no rule: etcd does not answer in time"),
    ("leases.coordination.k8s.io 500", "a fault and no rule: etcd is away"),
    ("noderemediations.rerail.dev 500", "a fault and no rule: etcd is away"),
    ("configmaps 500", "a fault and no rule: etcd is away"),
    ("nodes/status 429", "a fault and no rule: too many requests at once"),
    (" 304", "kubectl's own cache; a server may always say 200"),
    ("watch noderemediations.rerail.dev 429", "for a moment after a CRD was made"),
    ("watch remediationpolicies.rerail.dev 429", "for a moment after a CRD was made"),
];

/// Why a tuple is left out, if it is.
pub fn left_out(tuple: &Tuple) -> Option<&'static str> {
    let text = tuple.to_string();
    LEFT_OUT.iter().find(|(part, _)| text.contains(part)).map(|(_, reason)| *reason)
}

/// What was seen, is not left out and is covered by no record.
pub fn uncovered(seen: &BTreeSet<Tuple>, records: &[Record]) -> Vec<Tuple> {
    let covered = covered(records);
    let open = seen.iter().filter(|t| !t.is_covered_by(&covered) && left_out(t).is_none());
    open.cloned().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(request: &str, code: u16) -> String {
        let (case, step) = ("a/b".to_owned(), "1".to_owned());
        let (request, headers, body) = (request.to_owned(), BTreeMap::new(), Value::Null);
        let record = Record { case, step, request, status: code, headers, body };
        Tuple::of_record(&record).unwrap().to_string()
    }

    #[test]
    fn a_request_of_the_suite_is_the_same_kind_as_in_an_audit_log() {
        for (request, expected) in [
            ("GET /api/v1/nodes?limit=5", "list nodes 200"),
            ("GET /api/v1/nodes/a", "get nodes 200"),
            ("WATCH /api/v1/namespaces/x/pods?timeoutSeconds=1", "watch pods 200"),
            ("GET /api/v1/pods?watch=true", "watch pods 200"),
            ("POST /api/v1/namespaces/x/pods/a/eviction", "create pods/eviction 200"),
            ("POST /api/v1/namespaces", "create namespaces 200"),
            ("GET /api/v1/namespaces/x", "get namespaces 200"),
            ("PUT /api/v1/namespaces/x/status", "update namespaces/status 200"),
            ("DELETE /api/v1/namespaces/x/pods", "deletecollection pods 200"),
            ("PATCH(json) /api/v1/nodes/a", "patch(json) nodes 200"),
            ("PUT /apis/rerail.dev/v1alpha1/runs/a/status", "update runs.rerail.dev/status 200"),
            ("GET /apis/rerail.dev/v1alpha1", "get /apis/rerail.dev/v1alpha1 200"),
            ("GET /openapi/v3?timeout=32s", "get /openapi/v3 200"),
        ] {
            assert_eq!(of(request, 200), expected);
            assert_eq!(Tuple::parse(expected).unwrap().to_string(), expected);
        }
    }

    fn event(user: &str, agent: &str, verb: &str, body: &Value) -> String {
        let stage = if verb == "watch" { "ResponseStarted" } else { "ResponseComplete" };
        json!({
            "stage": stage, "verb": verb, "user": { "username": user }, "userAgent": agent,
            "requestURI": "/api/v1/nodes/a?fieldManager=x", "requestObject": body,
            "objectRef": { "resource": "nodes", "name": "a", "subresource": "status" },
            "responseStatus": { "code": 200 },
        })
        .to_string()
    }

    fn seen_by(log: &str) -> Vec<(String, Vec<Who>)> {
        let mut seen = Seen::new();
        add_audit(log, &mut seen);
        seen.into_iter()
            .map(|(tuple, who)| (tuple.to_string(), who.into_keys().collect()))
            .collect()
    }

    #[test]
    fn an_audit_log_gives_verbs_types_of_patches_and_who_asked() {
        let log = [
            event("rerail-fleet", "", "patch", &json!([{ "op": "test" }])),
            event("rerail-e2e-admin", "kubectl/v1", "patch", &json!({ "status": {} })),
            event("rerail-fleet", "", "patch", &json!({ "kind": "Node", "status": {} })),
            event("system:kube-scheduler", "", "get", &Value::Null),
            "{ \"stage\": \"Resp".to_owned(),
        ];
        let expected = [
            ("patch(apply) nodes/status 200".to_owned(), vec![Who::Fleet]),
            ("patch(json) nodes/status 200".to_owned(), vec![Who::Fleet]),
            ("patch(object) nodes/status 200".to_owned(), vec![Who::Kubectl]),
        ];
        assert_eq!(seen_by(&log.join("\n")), expected);
    }

    #[test]
    fn a_patch_of_unknown_type_needs_both() {
        let tuple = |text: &str| Tuple::parse(text).unwrap();
        let wanted = tuple("patch(object) nodes 200");
        let mut covered = BTreeSet::from([tuple("patch(merge) nodes 200")]);
        assert!(!wanted.is_covered_by(&covered));
        covered.insert(tuple("patch(strategic) nodes 200"));
        assert!(wanted.is_covered_by(&covered));
        covered.clear();
        covered.extend([tuple("patch(merge) nodes 404"), tuple("patch(strategic) nodes 404")]);
        assert!(!wanted.is_covered_by(&covered), "another code is not the same");
    }
}
