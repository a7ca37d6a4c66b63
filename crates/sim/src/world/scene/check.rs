//! What a scene that can be read must be, too, to make sense.

use std::collections::BTreeSet;

use http::Method;
use jiff::Timestamp;
use rerail_api::{RemediationPolicy, names as names_of};
use serde_json::{Value, json};

use super::{Random, Scene, SceneError, policy};
use crate::{
    Options, Store, meta,
    world::{Act, Error, api, kubelet::node_object, machine_names},
};

pub(super) fn wrong(
    place: impl Into<String>,
    problem: impl Into<String>,
    advice: &str,
) -> SceneError {
    SceneError::Wrong { place: place.into(), problem: problem.into(), advice: advice.to_owned() }
}

pub(super) fn check(scene: &Scene) -> Result<(), SceneError> {
    super::limits::check(scene)?;
    for (at, group) in scene.nodes.iter().enumerate() {
        if let Some((problem, advice)) = group.fault() {
            return Err(wrong(format!("nodes[{at}]"), problem, advice));
        }
    }
    let specs = scene.specs();
    if specs.is_empty() {
        return Err(wrong("nodes", "there is not one machine", "give a group a count above 0"));
    }
    let mut names = BTreeSet::new();
    for spec in &specs {
        if !names.insert(spec.name.clone()) {
            let problem = format!("two machines are called {}", spec.name);
            return Err(wrong("nodes", problem, "give each group a prefix of its own"));
        }
    }
    if let Some(text) = &scene.config {
        let map = json!({ "data": { (names_of::CONFIG_KEY): text } });
        let map = serde_json::from_value(map).ok();
        if let Err(error) = rerail_api::convert::config::config(map.as_ref()) {
            let advice = "write it as in the ConfigMap (docs/reference/configuration.md)";
            return Err(wrong("config", error.to_string(), advice));
        }
    }
    for (at, given) in scene.policies.iter().enumerate() {
        if !given.is_object() {
            let advice = "write `metadata` and `spec` of a RemediationPolicy";
            return Err(wrong(format!("policies[{at}]"), "it is no object", advice));
        }
        let read: Result<RemediationPolicy, _> = serde_json::from_value(policy(given.clone()));
        if let Err(error) = read {
            let advice = "write it as for kubectl (docs/reference has all fields)";
            return Err(wrong(format!("policies[{at}]"), error.to_string(), advice));
        }
    }
    check_policies(scene)?;
    super::slips::check(scene, &specs)?;
    for (at, deployment) in scene.deployments.iter().enumerate() {
        let both = |budget: &super::Budget| {
            budget.max_unavailable.is_some() == budget.min_available.is_some()
        };
        if deployment.budget.as_ref().is_some_and(both) {
            let problem = "a budget has either maxUnavailable or minAvailable";
            return Err(wrong(format!("deployments[{at}].budget"), problem, "give one of them"));
        }
    }
    for (at, deployment) in scene.deployments.iter().enumerate() {
        if let Some(node) = deployment.placed.iter().find(|node| !names.contains(*node)) {
            let problem = format!("no machine is called `{node}`");
            let advice = "name machines of `nodes`";
            return Err(wrong(format!("deployments[{at}].placed"), problem, advice));
        }
    }
    check_labels(scene)?;
    check_objects(scene)?;
    for (at, entry) in scene.timeline.iter().enumerate() {
        let place = format!("timeline[{at}]");
        check_act(&place, &entry.act, &names)?;
        check_names(scene, &names, &place, &entry.act)?;
    }
    for (at, random) in scene.random.iter().enumerate() {
        let place = format!("random[{at}]");
        check_random(&place, random)?;
        check_act(&place, &random.act, &names)?;
        check_names(scene, &names, &place, &random.act)?;
    }
    Ok(())
}

/// Labels are given to Pods, which nobody makes before it is played.
fn check_labels(scene: &Scene) -> Result<(), SceneError> {
    let deployments = scene.deployments.iter().map(|one| &one.labels).enumerate();
    let sets = scene.daemon_sets.iter().map(|one| &one.labels).enumerate();
    let deployments = deployments.map(|(at, labels)| (format!("deployments[{at}].labels"), labels));
    let sets = sets.map(|(at, labels)| (format!("daemonSets[{at}].labels"), labels));
    for (place, labels) in deployments.chain(sets) {
        let problems = meta::label_problems(&json!({ "metadata": { "labels": labels } }));
        if let Some(problem) = problems.first() {
            return Err(wrong(place, problem.body.clone(), "write them as for kubectl"));
        }
    }
    Ok(())
}

/// A pause of something that is not there, and a run for a policy that is not, or an edit of it: a slip of the
/// pen.
fn check_names(
    scene: &Scene,
    nodes: &BTreeSet<String>,
    place: &str,
    act: &Act,
) -> Result<(), SceneError> {
    let policies = || scene.policies.iter().map(|policy| meta::of(policy, "name"));
    let comes = || scene.timeline.iter().any(|entry| entry.act.creates_policy());
    let known = |name: &str| policies().any(|one| one == name) || comes();
    let (field, policy) = match act {
        Act::Remediate { policy, .. } => ("policy", policy.as_str()),
        Act::Edit { object, .. } | Act::Delete { object, .. }
            if object.resource == "remediationpolicies" =>
        {
            ("object", object.name.as_str())
        }
        Act::Pause { scope, .. } => match scope.split_once('/') {
            Some(("policy", name)) => ("scope", name),
            Some(("node", name)) if nodes.contains(name) => return Ok(()),
            None if scope == "all" => return Ok(()),
            _ => {
                let problem = format!("`{scope}` pauses nothing that is there");
                let advice = "write `all`, `policy/NAME` or `node/NAME`";
                return Err(wrong(format!("{place}.do.pause.scope"), problem, advice));
            }
        },
        _ => return Ok(()),
    };
    if known(policy) {
        return Ok(());
    }
    let there: Vec<_> = policies().collect();
    let problem = format!("no policy is called `{policy}`");
    Err(wrong(format!("{place}.do: {field}"), problem, &format!("there are {}", there.join(", "))))
}

/// Makes every object on a server that nobody sees. Policies that come later have been looked at by then.
fn check_objects(scene: &Scene) -> Result<(), SceneError> {
    let options = Options::default();
    let now = options.start;
    let mut store = Store::new(options);
    let nodes = scene.specs().into_iter().map(|spec| node_object(&spec));
    for object in nodes.chain(scene.objects()) {
        make(&mut store, now, &object)?;
    }
    Ok(())
}

/// What an API server says of each policy, with its place in the scene.
fn check_policies(scene: &Scene) -> Result<(), SceneError> {
    let options = Options::default();
    let now = options.start;
    let mut store = Store::new(options);
    let mut names = BTreeSet::new();
    for (at, given) in scene.policies.iter().enumerate() {
        let name = meta::of(given, "name");
        let place = format!("policies[{at}] ({name})");
        if !names.insert(name) {
            let advice = "leave one of them out";
            return Err(wrong(place, "there is one of this name already", advice));
        }
        make(&mut store, now, &policy(given.clone())).map_err(|error| error.at(place))?;
    }
    Ok(())
}

/// What an API server says of a policy alone.
pub(super) fn check_policy(given: &Value) -> Result<(), SceneError> {
    let options = Options::default();
    let now = options.start;
    make(&mut Store::new(options), now, &policy(given.clone()))
}

fn make(store: &mut Store, now: Timestamp, object: &Value) -> Result<(), SceneError> {
    let made = api::collection_of(store, object).and_then(|path| {
        // As kubectl: a field that nobody knows is a slip of the pen, and no wish.
        let strict = object["kind"] == "RemediationPolicy" || object["kind"] == "AlertSource";
        let path = if strict { format!("{path}?fieldValidation=Strict") } else { path };
        let (who, media) = (api::person("admin"), api::Media::Json);
        api::ask_store(store, now, who, &Method::POST, &path, media, Some(object))
    });
    made.map(drop).map_err(|error| {
        let place = format!("{} {}", meta::text(object, &["kind"]), meta::of(object, "name"));
        let problem = match error {
            // How it was asked is nobody's question here.
            Error::Refused { message, .. } => message,
            other => other.to_string(),
        };
        wrong(place, problem, "write it as for kubectl")
    })
}

fn check_random(place: &str, random: &Random) -> Result<(), SceneError> {
    if !(0.0..=1.0).contains(&random.chance) {
        let problem = format!("{} is no probability", random.chance);
        return Err(wrong(format!("{place}.chance"), problem, "give a number from 0 to 1"));
    }
    Ok(())
}

/// Machines that come later (the autoscaler's) cannot be named: their names are not known yet.
fn check_act(place: &str, act: &Act, names: &BTreeSet<String>) -> Result<(), SceneError> {
    super::slips::check_act(place, act)?;
    for pattern in act.nodes() {
        if machine_names(names.iter(), pattern).next().is_none() {
            let problem = format!("no machine is called `{pattern}`");
            let advice =
                "use a prefix of `nodes` with a number of three digits; `*` stands for anything";
            return Err(wrong(format!("{place}.do"), problem, advice));
        }
    }
    Ok(())
}
