//! What the operator asks of the API server: which watches, how many requests, which rights.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{
    core::v1::Node,
    flowcontrol::v1::FlowSchema,
    rbac::v1::{ClusterRole, PolicyRule, Role},
};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
    client::Body,
};
use rerail_api::names;
use rerail_controlplane::Options;
use rerail_core::step::Step;
use rerail_e2e::{ClusterOptions, PATIENCE, config, wait_for};
use serde_json::json;

use crate::{
    audit::{self, Request},
    shared::{CONDITION, SHORT, Stage, admin, alone},
};

/// Rights that a healthy run does not use, and why the operator has them.
const UNUSED: &[(&str, &str, &str)] = &[
    ("get", "pods", "the last look at a reboot Pod that is withdrawn (drain and nodes scenarios)"),
    ("delete", "noderemediations", "a Pending run whose node is no candidate any more"),
    ("patch", "nodes/status", "conditions from alerts (alerts scenarios)"),
    ("patch", "alertsources/status", "what servers show (alerts scenarios)"),
    ("get", "secrets", "credentials of an AlertSource (alerts scenarios)"),
    ("patch", "events", "an Event that comes again within minutes is counted up"),
];

const RUNS: &str = "noderemediations";

fn audited() -> ClusterOptions {
    let plane = Options { audit: true, ..Options::default() };
    ClusterOptions { plane, ..ClusterOptions::default() }
}

/// What a watch or list selects: resource, namespace and field selector.
fn selection(request: &Request) -> (String, String, String) {
    let query = request.uri.split_once('?').map_or("", |(_, query)| query);
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut fields = pairs.filter(|(key, _)| *key == "fieldSelector");
    let selector = fields.next().map_or("", |(_, value)| value).replace("%3D", "=");
    (request.resource.clone(), request.namespace.clone(), selector)
}

fn selections(requests: &[Request], verbs: &[&str]) -> BTreeSet<(String, String, String)> {
    requests.iter().filter(|r| verbs.contains(&r.verb.as_str())).map(selection).collect()
}

fn all(list: &[(&str, &str, &str)]) -> BTreeSet<(String, String, String)> {
    list.iter().map(|(a, b, c)| (a.to_string(), b.to_string(), c.to_string())).collect()
}

#[test]
fn a_healthy_run_of_a_node_with_five_pods_costs_little_and_needs_no_other_rights() {
    alone("footprint", 2, audited(), |stage| async move {
        let node = stage.nodes[0].clone();
        let always = [
            ("nodes", "", ""),
            ("noderemediations", "", ""),
            ("remediationpolicies", "", ""),
            ("alertsources", "", ""),
            ("configmaps", names::SYSTEM_NAMESPACE, "metadata.name=rerail-pause"),
            ("configmaps", names::SYSTEM_NAMESPACE, "metadata.name=rerail-config"),
            ("leases", names::SYSTEM_NAMESPACE, "metadata.name=rerail-operator"),
        ];
        let idle = audit::by_operator(stage.cluster());
        assert_eq!(selections(&idle, &["watch"]), all(&always));

        stage.cordon(&stage.nodes[1]).await;
        stage.workload("Deployment", "web", Some(5), "").await;
        stage.ready_on(&node, "web", 5).await;
        stage.uncordon(&stage.nodes[1]).await;
        stage.policy("Enforce", SHORT).await;
        stage.sicken(&node, "[P6] task blocked for more than 120 seconds").await;
        let run = stage.run_in(&node, Step::Succeeded).await;
        assert_eq!(run.status.as_ref().unwrap().drain.as_ref().unwrap().evicted, 5);

        // The finalizer goes a moment after the end of a run, and the log knows of it another one later.
        wait_for("the end", PATIENCE, || async {
            let run = stage.cluster().runs_of(&node).await.unwrap().remove(0);
            let requests = audit::by_operator(stage.cluster());
            let said = requests.iter().any(|r| (&*r.verb, &*r.resource) == ("patch", RUNS));
            let finalizers = run.finalizers().to_vec();
            if said && finalizers.is_empty() { Ok(()) } else { Err((said, finalizers)) }
        })
        .await
        .unwrap();
        let requests = audit::by_operator(stage.cluster());
        let of_node = format!("spec.nodeName={node}");
        let mut watches = all(&always);
        watches.extend(all(&[("pods", "", &of_node), ("poddisruptionbudgets", "", "")]));
        assert_eq!(selections(&requests, &["watch"]), watches);
        assert_eq!(selections(&requests, &["list"]), watches, "nothing else is listed either");
        let refused: Vec<_> = requests.iter().filter(|r| [401, 403].contains(&r.code)).collect();
        assert!(refused.is_empty(), "{refused:?}");
        budgets_are_watched_only_during_the_drain(&stage, &run);
        every_effect_has_its_last_look(&requests);
        every_right_is_used_or_explained(&stage, &requests).await;
        report(requests.get(idle.len()..).unwrap());
        the_lease_goes_before_other_requests(&stage).await;
        stage.finish().await;
    });
}

/// Between the intent and the effect everything that could forbid it is read again (SAFE-9). The point of
/// no return is the intent of the reboot: after it a policy or a pause forbids nothing.
fn every_effect_has_its_last_look(requests: &[Request]) {
    let is = |request: &Request, verb: &str, resource: &str| {
        (&*request.verb, &*request.resource) == (verb, resource)
    };
    let everything = [
        ("get", "leases"),
        ("get", "nodes"),
        ("get", "remediationpolicies"),
        ("list", "configmaps"),
    ];
    let effects = [
        ("patch", "nodes", &everything[..]),
        ("create", "pods/eviction", &everything[..]),
        ("create", "pods", &everything[..2]),
    ];
    for (verb, resource, reads) in effects {
        let effect = requests.iter().position(|r| is(r, verb, resource)).unwrap();
        let mut before = requests[..effect].iter();
        let intent = before.rposition(|r| is(r, "update", "noderemediations/status")).unwrap();
        let look = &requests[intent..effect];
        for (get, what) in reads {
            assert!(look.iter().any(|r| is(r, get, what)), "{verb} {resource}: {what}: {look:?}");
        }
    }
}

/// By what the API server says of its answer to the operator.
async fn the_lease_goes_before_other_requests(stage: &Stage) {
    let schemas: Api<FlowSchema> = Api::all(admin(stage.cluster()).await);
    let ours = schemas.get("rerail-leader-election").await.unwrap();
    let level = ours.spec.as_ref().unwrap().priority_level_configuration.name.clone();
    assert_eq!(level, "leader-election");
    let (namespace, account) = (names::SYSTEM_NAMESPACE, names::OPERATOR_SERVICE_ACCOUNT);
    let path = stage.cluster().plane.kubeconfig_for_service_account(namespace, account).unwrap();
    let operator = Client::try_from(config(&path).await.unwrap()).unwrap();
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    for (uri, expected) in
        [(format!("{leases}/{}", names::LEASE), true), ("/api/v1/nodes/x".into(), false)]
    {
        let request = http::Request::get(&uri).body(Body::empty()).unwrap();
        let answer = operator.send(request).await.unwrap();
        let schema = &answer.headers()["x-kubernetes-pf-flowschema-uid"];
        assert_eq!(schema.to_str().ok() == ours.metadata.uid.as_deref(), expected, "{uri}");
    }
}

/// By the audit log, which has the end of a watch, too.
fn budgets_are_watched_only_during_the_drain(stage: &Stage, run: &rerail_api::NodeRemediation) {
    let steps = &run.status.as_ref().unwrap().steps;
    let began = |name: &str| steps.iter().find(|step| step.name == name).unwrap().start_time;
    let ends = audit::watch_ends(stage.cluster(), "poddisruptionbudgets");
    assert_eq!(ends.len(), 1, "{ends:?}");
    assert!(ends[0] > began("Draining") && ends[0] < began("Verifying"), "{ends:?}");
}

async fn rules(stage: &Stage) -> Vec<PolicyRule> {
    let client = admin(stage.cluster()).await;
    let name = names::OPERATOR_SERVICE_ACCOUNT;
    let cluster: Api<ClusterRole> = Api::all(client.clone());
    let mut rules = cluster.get(name).await.unwrap().rules.unwrap();
    for namespace in [names::SYSTEM_NAMESPACE, names::NODE_NAMESPACE] {
        let roles: Api<Role> = Api::namespaced(client.clone(), namespace);
        rules.extend(roles.get(name).await.unwrap().rules.unwrap());
    }
    rules
}

async fn every_right_is_used_or_explained(stage: &Stage, requests: &[Request]) {
    let used: BTreeSet<_> =
        requests.iter().map(|r| (r.verb.as_str(), r.group.as_str(), r.resource.as_str())).collect();
    let mut unused = BTreeSet::new();
    for rule in rules(stage).await {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                let verbs = rule.verbs.iter().map(String::as_str);
                let left = verbs.filter(|verb| !used.contains(&(verb, group, resource)));
                unused.extend(left.map(|verb| (verb.to_owned(), resource.clone())));
            }
        }
    }
    let explained: BTreeSet<_> =
        UNUSED.iter().map(|(v, r, _)| (v.to_string(), r.to_string())).collect();
    let silent: Vec<_> = unused.difference(&explained).collect();
    assert!(silent.is_empty(), "rights that nobody used, and no reason is given: {silent:?}");
    eprintln!("rights not used by a healthy run: {unused:?}");
}

fn report(requests: &[Request]) {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for request in requests {
        *counts.entry((&request.verb, &request.resource)).or_default() += 1;
    }
    let mut verbs: BTreeMap<&str, usize> = BTreeMap::new();
    for ((verb, _), count) in &counts {
        *verbs.entry(verb).or_default() += count;
    }
    eprintln!("requests of one run with 5 pods: {} in all, by verb {verbs:?}", requests.len());
    for ((verb, resource), count) in counts {
        eprintln!("  {count:4} {verb} {resource}");
    }
}

#[test]
fn heartbeats_that_change_nothing_cost_no_request() {
    alone("heartbeats", 2, audited(), |stage| async move {
        let (node, other) = (stage.nodes[0].clone(), stage.nodes[1].clone());
        stage.policy("DryRun", SHORT).await;
        stage.policy_when("two nodes match", |status| status.counts.matched == 2).await;
        let before = writes_and_reads(&stage);
        let nodes: Api<Node> = Api::all(admin(stage.cluster()).await);
        for beat in 0..50 {
            let time = format!("2030-01-01T00:00:{beat:02}Z");
            let ready = json!({ "type": "Ready", "lastHeartbeatTime": time });
            let patch = Patch::Strategic(json!({ "status": { "conditions": [ready] } }));
            nodes.patch_status(&node, &PatchParams::default(), &patch).await.unwrap();
        }
        // The same watch shows this later than all of them; it costs a status and an Event.
        stage.sicken(&other, "[P6] task blocked").await;
        stage.policy_when("one would start", |status| status.would_start.len() == 1).await;
        // The Event is published beside the work.
        let told = || async {
            let mut after = writes_and_reads(&stage);
            after.drain(..before.len());
            if after.len() < 2 { Err(after) } else { Ok(after) }
        };
        let after = wait_for("an Event and a status", PATIENCE, told).await.unwrap();
        let mut asked: Vec<_> =
            after.iter().map(|r| (r.verb.as_str(), r.resource.as_str())).collect();
        asked.sort();
        asked.dedup();
        let allowed = [("create", "events"), ("patch", "remediationpolicies/status")];
        assert_eq!(asked, allowed, "{CONDITION} is the only news");
        assert_eq!(after.len(), 2, "{after:?}");
        stage.finish().await;
    });
}

/// Watches are opened anew every minute, and the Lease is renewed every five seconds, whatever happens.
fn writes_and_reads(stage: &Stage) -> Vec<Request> {
    let mut requests = audit::by_operator(stage.cluster());
    requests.retain(|r| {
        r.verb != "watch" && (r.verb.as_str(), r.resource.as_str()) != ("update", "leases")
    });
    requests
}
