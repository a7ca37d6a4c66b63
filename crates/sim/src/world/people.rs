//! People and foreign controllers: each sends exactly the requests that the real thing sends.

use std::sync::Arc;

use http::Method;
use rerail_api::{names, remediation::StepName};
use serde_json::{Value, json};

use super::{
    Act, Error, Spec,
    api::{self, CONFIG_MAPS, Media, NODES, PODS, RUNS, Who, person},
    known, machine_names,
    queue::{After, Event},
    state::State,
};
use crate::{meta, observe::Cause};

/// How often a foreign controller looks whether it can go on.
const PAUSE: u64 = 5_000;
/// What a person takes to start a kubelet again.
const RESTART: (u64, u64) = (1_000, 5_000);
/// What the cluster autoscaler takes to get another machine.
const NEW_MACHINE: (u64, u64) = (60_000, 180_000);

const KURED: Who<'static> = Who { name: "kured", program: "kured" };
const KURED_MARK: &str = "weave.works/kured-reboot-in-progress";
const AUTOSCALER: Who<'static> = Who { name: "cluster-autoscaler", program: "cluster-autoscaler" };
const AUTOSCALER_MARK: &str = "ToBeDeletedByClusterAutoscaler";

/// How a foreign controller goes on.
#[derive(Debug, Clone)]
pub(super) enum Follow {
    /// kured drains, and then reboots.
    KuredDrains(String),
    /// kured waits for the node to come back.
    KuredWaits(String),
    /// The autoscaler drains, and then takes the machine away.
    ScalesDown(String),
    /// The machine that comes instead.
    Joins(Spec),
    /// A kubelet is started again.
    Restarts(String),
}

impl State {
    /// The machines that an act is about.
    pub(super) fn chosen(&mut self, act: &Act) -> Result<Vec<String>, Error> {
        let mut chosen: Vec<String> = Vec::new();
        for pattern in act.nodes() {
            let mut found = machine_names(self.machines.keys(), pattern).cloned().peekable();
            if found.peek().is_none() {
                return Err(Error::NoMachine(pattern.clone()));
            }
            chosen.extend(found);
        }
        chosen.sort();
        chosen.dedup();
        Ok(match act.pick() {
            Some(count) => self.draw.pick("pick", "", &chosen, count),
            None => chosen,
        })
    }

    /// Does something; what cannot be done with one machine does not keep it from the others.
    pub(super) fn act(&mut self, act: &Act) -> Result<(), Error> {
        if act.nodes().is_empty() {
            return self.act_on_cluster(act);
        }
        let mut result = Ok(());
        for node in self.chosen(act)? {
            let done = self.act_on_node(act, &node);
            result = result.and(done);
        }
        result
    }

    fn act_on_node(&mut self, act: &Act, node: &str) -> Result<(), Error> {
        match act {
            Act::Sicken { with, .. } => self.sicken(node, with),
            Act::Cure { condition, .. } => self.cure(node, condition),
            Act::Fault { fault, lasting, .. } => self.inject(node, fault, *lasting),
            Act::ClearFaults { .. } => self.clear_faults(node),
            Act::Power { to, .. } => self.power(node, *to),
            Act::Clock { seconds, .. } => self.set_clock(node, *seconds),
            Act::ReleasePods { .. } => self.release_pods(node),
            Act::Cut { .. } => self.cut(node, true),
            Act::Mend { .. } => self.cut(node, false),
            Act::LetGoDown { .. } => self.let_go_down(node),
            Act::Cordon { by, .. } => return self.cordon(person(by), node, true),
            Act::Uncordon { by, .. } => return self.cordon(person(by), node, false),
            Act::Label { key, value, by, .. } => {
                let patch = json!({ "metadata": { "labels": { (key.as_str()): value } } });
                let path = format!("{}?fieldManager=kubectl-label", NODES.path(node, ""));
                return self.send(person(by), &Method::PATCH, &path, Media::Merge, Some(&patch));
            }
            Act::Taint { key, effect, by, .. } => {
                return self.taint(person(by), node, key, effect.as_deref());
            }
            Act::DeleteNode { by, .. } => return self.delete_node(person(by), node),
            Act::RecreateNode { by, .. } => {
                self.delete_node(person(by), node)?;
                let pause = self.millis("restart", node, RESTART);
                self.plan(pause, Event::Follow(Follow::Restarts(node.to_owned())));
            }
            Act::ReplaceMachine { by, .. } => {
                self.delete_node(person(by), node)?;
                let spec = self.machines.get(node).map(|machine| machine.spec.clone());
                self.vanish(node);
                return spec.map_or(Ok(()), |spec| self.join(spec));
            }
            Act::ScaleDown { .. } => {
                self.taint(AUTOSCALER, node, AUTOSCALER_MARK, Some("NoSchedule"))?;
                self.follow(Follow::ScalesDown(node.to_owned()));
            }
            Act::Kured { .. } => {
                self.mark(KURED, node, KURED_MARK, Some(&format!("{:.0}", self.clock)))?;
                self.cordon(KURED, node, true)?;
                self.follow(Follow::KuredDrains(node.to_owned()));
            }
            Act::Cancel { by, .. } => {
                return self.edit_run(node, by, |_| json!({ "spec": { "cancel": true } }));
            }
            Act::Retry { by, .. } => {
                return self.edit_run(node, by, |run| {
                    let retries = run["spec"]["retries"].as_u64().unwrap_or(0);
                    json!({ "spec": { "retries": retries + 1 } })
                });
            }
            Act::DeleteRun { force, by, .. } => return self.delete_run(node, *force, by),
            Act::Remediate { policy, by, .. } => return self.remediate(node, policy, by),
            _ => {}
        }
        Ok(())
    }

    fn act_on_cluster(&mut self, act: &Act) -> Result<(), Error> {
        match act {
            Act::Pause { scope, reason, by } => {
                let entry = json!({ "scope": scope, "by": by, "reason": reason }).to_string();
                let data = json!({ "data": { (by.as_str()): entry } });
                let key = format!("{}/{}", names::SYSTEM_NAMESPACE, names::PAUSE_CONFIG_MAP);
                let path = CONFIG_MAPS.path(&key, "");
                match self.ask(person(by), &Method::PATCH, &path, Media::Merge, Some(&data)) {
                    Err(Error::Refused { code: 404, .. }) => {
                        let map = json!({
                            "apiVersion": "v1", "kind": "ConfigMap",
                            "metadata": { "name": names::PAUSE_CONFIG_MAP }, "data": data["data"],
                        });
                        let path = CONFIG_MAPS.all(names::SYSTEM_NAMESPACE);
                        self.send(person(by), &Method::POST, &path, Media::Json, Some(&map))
                    }
                    patched => patched.map(drop),
                }
            }
            Act::Resume { by } => {
                let key = format!("{}/{}", names::SYSTEM_NAMESPACE, names::PAUSE_CONFIG_MAP);
                let path = CONFIG_MAPS.path(&key, "");
                self.send(person(by), &Method::DELETE, &path, Media::Json, None)
            }
            Act::Edit { object, patch, by } => {
                let path = self.path(object)?;
                let path = format!("{path}?fieldManager=kubectl-patch");
                self.send(person(by), &Method::PATCH, &path, Media::Merge, Some(patch))
            }
            Act::Create { object, by } => self.create(by, object),
            Act::Delete { object, grace, by } => {
                let path = self.path(object)?;
                let mut options = json!({ "kind": "DeleteOptions", "apiVersion": "v1",
                    "propagationPolicy": "Background" });
                if let Some(grace) = grace {
                    options["gracePeriodSeconds"] = json!(grace);
                }
                self.send(person(by), &Method::DELETE, &path, Media::Json, Some(&options))
            }
            _ => Ok(()),
        }
    }

    fn path(&self, object: &super::Named) -> Result<String, Error> {
        let super::Named { group, resource, namespace, name } = object;
        self.server.with(|store, _| api::path_of(store, group, resource, namespace, Some(name)))
    }

    /// `kubectl create`.
    pub(super) fn create(&mut self, by: &str, object: &Value) -> Result<(), Error> {
        let path = self.server.with(|store, _| api::collection_of(store, object))?;
        let path = format!("{path}?fieldManager=kubectl-create");
        self.send(person(by), &Method::POST, &path, Media::Json, Some(object))
    }

    /// A request of somebody who wants to know whether it was refused.
    fn send(
        &mut self,
        who: Who<'_>,
        method: &Method,
        path: &str,
        media: Media,
        body: Option<&Value>,
    ) -> Result<(), Error> {
        api::ask(&self.server, who, method, path, media, body).map(drop)
    }

    /// `kubectl cordon` and `kubectl uncordon`: no request where it is so already.
    fn cordon(&mut self, who: Who<'_>, node: &str, on: bool) -> Result<(), Error> {
        let existing = api::read(&self.server, self.places.nodes, &node.to_owned());
        if existing.is_some_and(|node| (node["spec"]["unschedulable"] == true) == on) {
            return Ok(());
        }
        let patch = json!({ "spec": { "unschedulable": on.then_some(true) } });
        self.send(who, &Method::PATCH, &NODES.path(node, ""), Media::Strategic, Some(&patch))
    }

    /// An annotation of a node.
    fn mark(
        &mut self,
        who: Who<'_>,
        node: &str,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), Error> {
        let patch = json!({ "metadata": { "annotations": { (key): value } } });
        self.send(who, &Method::PATCH, &NODES.path(node, ""), Media::Strategic, Some(&patch))
    }

    fn taint(
        &mut self,
        who: Who<'_>,
        node: &str,
        key: &str,
        effect: Option<&str>,
    ) -> Result<(), Error> {
        let existing = api::read(&self.server, self.places.nodes, &node.to_owned());
        let Some(existing) = existing else { return Err(Error::NoMachine(node.to_owned())) };
        let taints = existing["spec"]["taints"].as_array().cloned().unwrap_or_default();
        let mut taints: Vec<Value> =
            taints.into_iter().filter(|taint| taint["key"] != key).collect();
        taints.extend(effect.map(|effect| json!({ "key": key, "effect": effect })));
        let version = meta::of(&existing, "resourceVersion");
        let patch =
            json!({ "metadata": { "resourceVersion": version }, "spec": { "taints": taints } });
        self.send(who, &Method::PATCH, &NODES.path(node, ""), Media::Merge, Some(&patch))
    }

    fn delete_node(&mut self, who: Who<'_>, node: &str) -> Result<(), Error> {
        self.send(who, &Method::DELETE, &NODES.path(node, ""), Media::Json, None)
    }

    /// Changes the open run of a node.
    fn edit_run(
        &mut self,
        node: &str,
        by: &str,
        patch: impl FnOnce(&Value) -> Value,
    ) -> Result<(), Error> {
        let (key, run) = self.open_run(node)?;
        let path = format!("{}?fieldManager=kubectl-patch", RUNS.path(&key, ""));
        self.send(person(by), &Method::PATCH, &path, Media::Merge, Some(&patch(&run)))
    }

    fn open_run(&self, node: &str) -> Result<(String, Arc<Value>), Error> {
        let open = |run: &Value| {
            let step = serde_json::from_value(run["status"]["step"].clone());
            run["spec"]["nodeName"] == node
                && !matches!(step, Ok(StepName::Known(step)) if step.is_terminal())
        };
        let runs = api::list(&self.server, self.places.runs);
        runs.into_iter().find(|(_, run)| open(run)).ok_or_else(|| Error::NoRun(node.to_owned()))
    }

    /// Deletes the open run of a node; with force as those do whom a finalizer keeps waiting.
    fn delete_run(&mut self, node: &str, force: bool, by: &str) -> Result<(), Error> {
        let (key, run) = self.open_run(node)?;
        let options = json!({ "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background" });
        let path = RUNS.path(&key, "");
        self.send(person(by), &Method::DELETE, &path, Media::Json, Some(&options))?;
        if force && !meta::finalizers(&run).is_empty() {
            let patch = json!({ "metadata": { "finalizers": null } });
            let path = format!("{path}?fieldManager=kubectl-patch");
            self.send(person(by), &Method::PATCH, &path, Media::Merge, Some(&patch))?;
        }
        Ok(())
    }

    fn remediate(&mut self, node: &str, policy: &str, by: &str) -> Result<(), Error> {
        let existing = api::read(&self.server, self.places.nodes, &node.to_owned());
        let Some(existing) = existing else { return Err(Error::NoMachine(node.to_owned())) };
        let run = json!({
            "apiVersion": format!("{}/{}", names::GROUP, names::VERSION), "kind": "NodeRemediation",
            "metadata": { "generateName": format!("{node}-") },
            "spec": { "nodeName": node, "nodeUID": meta::of(&existing, "uid"), "policyName": policy,
                "requestedBy": by },
        });
        self.create(by, &run)
    }

    /// A foreign controller goes on.
    pub(super) fn follow(&mut self, follow: Follow) {
        match follow {
            Follow::KuredDrains(node) => {
                if self.drain(KURED, &node) {
                    self.go_down(&node, &Cause::Foreign("kured".to_owned()), After::Boot);
                    self.plan(PAUSE, Event::Follow(Follow::KuredWaits(node)));
                } else {
                    self.plan(PAUSE, Event::Follow(Follow::KuredDrains(node)));
                }
            }
            Follow::KuredWaits(node) => {
                if self.known.nodes.get(&node).is_some_and(|node| known::is_ready(node)) {
                    let _ = self.cordon(KURED, &node, false);
                    let _ = self.mark(KURED, &node, KURED_MARK, None);
                } else if self.machines.contains_key(&node) {
                    self.plan(PAUSE, Event::Follow(Follow::KuredWaits(node)));
                }
            }
            Follow::ScalesDown(node) => {
                if !self.drain(AUTOSCALER, &node) {
                    self.plan(PAUSE, Event::Follow(Follow::ScalesDown(node)));
                    return;
                }
                let spec = self.machines.get(&node).map(|machine| machine.spec.clone());
                self.vanish(&node);
                let _ = self.delete_node(AUTOSCALER, &node);
                if let Some(mut spec) = spec {
                    let stem = node.trim_end_matches(|c: char| c.is_ascii_digit());
                    self.numbered += 1;
                    spec.name = format!("{stem}{:03}", self.numbered);
                    let pause = self.millis("new machine", &node, NEW_MACHINE);
                    self.plan(pause, Event::Follow(Follow::Joins(spec)));
                }
            }
            Follow::Joins(spec) => {
                let _ = self.join(spec);
            }
            Follow::Restarts(node) => self.restart_kubelet(&node),
        }
    }

    /// Whoever holds Pods of a node by a finalizer lets those go that are being deleted.
    fn release_pods(&mut self, node: &str) {
        let released = json!({ "metadata": { "finalizers": null } });
        for (key, pod) in self.known.pods_on(node) {
            if meta::is_deleting(&pod) && !meta::finalizers(&pod).is_empty() {
                let path = PODS.path(&key, "");
                let who = person("archivist");
                let _ = self.ask(who, &Method::PATCH, &path, Media::Merge, Some(&released));
            }
        }
    }

    /// Evicts what a drain evicts; true when nothing is left of it.
    fn drain(&mut self, who: Who<'_>, node: &str) -> bool {
        let mut left = false;
        for (key, pod) in self.known.pods_on(node) {
            let daemon = known::owner(&pod).is_some_and(|(kind, _)| kind == "DaemonSet");
            if daemon || known::has_ended(&pod) {
                continue;
            }
            left = true;
            if !meta::is_deleting(&pod) {
                let eviction = json!({
                    "apiVersion": "policy/v1", "kind": "Eviction",
                    "metadata": { "namespace": meta::of(&pod, "namespace"), "name": meta::of(&pod, "name") },
                });
                // A budget may refuse; then it is tried again.
                let path = PODS.path(&key, "eviction");
                let _ = self.ask(who, &Method::POST, &path, Media::Json, Some(&eviction));
            }
        }
        !left
    }
}
