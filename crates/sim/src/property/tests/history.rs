//! Histories made by hand, one write after the other.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rerail_api::{names, remediation::NodeRemediationStatus};
use serde_json::{Value, json};

use super::super::Judge;
use crate::{
    meta,
    observe::{Cause, Happening, Observer, Read, What},
    store::{Options, Store},
};

pub const OPERATOR: &str = "operator-1";
pub const TERM: &str = "term-1";
pub const SICK: &str = "KernelDeadlock";

pub struct History {
    pub store: Store,
    pub judge: Judge,
    pub now: Timestamp,
}

impl History {
    /// Four nodes of which three are sick, one policy, one operator that leads.
    pub fn new() -> Self {
        let mut store = Store::new(Options::default());
        store.keep_journal();
        let now = store.options.start;
        let mut history = History { store, judge: Judge::default(), now };
        history.map(names::CONFIG_CONFIG_MAP, json!({ "config.yaml": "maxUnavailable: 50%\n" }));
        history.policy(json!({ "maxUnavailable": 1 }));
        for (name, sick) in [("n1", true), ("n2", true), ("n3", false), ("n4", false)] {
            history.node(name, sick);
        }
        history.pod("default", "web", "n1");
        // Nobody has just changed anything.
        history.wait(60);
        history.happens(OPERATOR, What::OperatorStarted);
        history.lease(OPERATOR, TERM, 1, &[]);
        history
    }

    pub fn told(&self) -> Vec<String> {
        self.judge.violations().iter().map(ToString::to_string).collect()
    }

    pub fn wait(&mut self, seconds: i64) {
        self.now = self.now.saturating_add(SignedDuration::from_secs(seconds)).unwrap();
    }

    fn position(&self, kind: &str) -> usize {
        let group = match kind {
            "noderemediations" | "remediationpolicies" => names::GROUP,
            "leases" => "coordination.k8s.io",
            "poddisruptionbudgets" => "policy",
            _ => "",
        };
        self.store.position(group, kind).unwrap()
    }

    fn tell(&mut self) {
        for commit in self.store.take_journal() {
            self.judge.committed(&self.store, &commit);
        }
    }

    pub fn write(&mut self, by: &str, kind: &str, object: Value) {
        self.sent_at(self.now, by, kind, object);
    }

    pub fn sent_at(&mut self, sent: Timestamp, by: &str, kind: &str, object: Value) {
        let at = self.position(kind);
        self.store.asked = (self.now, Arc::from(by));
        self.store.sent = sent;
        self.store.commit(at, object);
        self.tell();
    }

    pub fn get(&self, kind: &str, key: &str) -> Value {
        Value::clone(self.store.get(self.position(kind), &key.to_owned()).unwrap())
    }

    pub fn change(&mut self, by: &str, kind: &str, key: &str, change: impl FnOnce(&mut Value)) {
        let mut object = self.get(kind, key);
        change(&mut object);
        self.write(by, kind, object);
    }

    pub fn delete(&mut self, by: &str, kind: &str, key: &str) {
        let at = self.position(kind);
        let last = self.get(kind, key);
        self.store.asked = (self.now, Arc::from(by));
        self.store.sent = self.now;
        self.store.remove(at, &last);
        self.tell();
    }

    pub fn happens(&mut self, subject: &str, what: What) {
        let happening = Happening { at: self.now, subject: subject.to_owned(), what };
        self.judge.happened(&self.store, &happening);
    }

    /// An alert of a machine begins or ends.
    pub fn alert(&mut self, node: &str, on: bool) {
        self.happens(node, What::Sick { condition: "AlertManager_Hot".into(), on });
    }

    /// The operator says something of that alert.
    pub fn tells_alert(&mut self, node: &str, status: &str, reason: &str) {
        let told = json!({ "type": "AlertManager_Hot", "status": status, "reason": reason });
        self.change(OPERATOR, "nodes", node, |node| {
            let conditions = node["status"]["conditions"].as_array_mut().unwrap();
            conditions.retain(|condition| condition["type"] != told["type"]);
            conditions.push(told);
        });
    }

    /// The operator looks: node, run and Lease.
    pub fn looks(&mut self, node: &str) {
        for (kind, key) in [
            ("nodes", node.to_owned()),
            ("noderemediations", node.to_owned()),
            ("leases", "rerail-system/rerail-operator".to_owned()),
        ] {
            let read = Read {
                at: self.now,
                by: Arc::from(OPERATOR),
                resource: self.position(kind),
                key: Some(key),
            };
            self.judge.read(&read);
        }
    }

    fn map(&mut self, name: &str, data: Value) {
        self.write("person", "configmaps", json!({
            "metadata": { "name": name, "namespace": names::SYSTEM_NAMESPACE, "uid": name }, "data": data }));
    }

    pub fn pause(&mut self, scope: &str) {
        let entry = json!({ "scope": scope, "by": "jane", "reason": "audit" }).to_string();
        self.map(names::PAUSE_CONFIG_MAP, json!({ "jane": entry }));
    }

    pub fn policy(&mut self, budget: Value) {
        self.write("person", "remediationpolicies", json!({
            "metadata": { "name": "p", "uid": "p" },
            "spec": { "mode": "Enforce", "nodes": { "all": true }, "triggers": [{ "condition": { "type": SICK } }],
                "budget": budget, "attempts": { "max": 2 } } }));
    }

    pub fn node(&mut self, name: &str, sick: bool) {
        let boot = format!("{name}-1");
        self.happens(
            name,
            What::Appeared { node_uid: format!("uid-{name}"), boot_id: boot.clone() },
        );
        if sick {
            self.happens(name, What::Sick { condition: SICK.to_owned(), on: true });
        }
        self.write(name, "nodes", json!({
            "metadata": { "name": name, "uid": format!("uid-{name}"), "labels": { "topology.kubernetes.io/zone": "a" } },
            "spec": {} }));
        self.reports(name, &boot, true, sick);
    }

    /// The kubelet's report.
    pub fn reports(&mut self, name: &str, boot: &str, ready: bool, sick: bool) {
        let word = |yes| if yes { "True" } else { "False" };
        let now = meta::time(self.now);
        let condition = |kind: &str, yes: bool| json!({ "type": kind, "status": word(yes), "message": "[P6] it hangs", "lastHeartbeatTime": now });
        let status = json!({ "nodeInfo": { "bootID": boot },
            "conditions": [condition("Ready", ready), condition(SICK, sick)] });
        self.change(name, "nodes", name, |node| node["status"] = status);
    }

    pub fn pod(&mut self, namespace: &str, name: &str, node: &str) {
        self.write("kubelet", "pods", json!({
            "metadata": { "name": name, "namespace": namespace, "uid": name, "labels": { "app": name } },
            "spec": { "nodeName": node },
            "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] } }));
    }

    pub fn lease(&mut self, by: &str, term: &str, epoch: i64, slots: &[&str]) {
        let slots: Vec<_> = slots
            .iter()
            .map(|node| json!({ "runUID": format!("run-{node}"), "nodeName": node, "nodeUID": format!("uid-{node}") }))
            .collect();
        let ledger =
            json!({ "version": 1, "epoch": epoch, "term": term, "nonce": "n", "slots": slots })
                .to_string();
        self.write(by, "leases", json!({
            "metadata": { "name": names::LEASE, "namespace": names::SYSTEM_NAMESPACE, "uid": "lease",
                "annotations": { names::LEDGER: ledger } },
            "spec": { "holderIdentity": term } }));
    }

    pub fn renews(&mut self, slots: &[&str]) {
        self.lease(OPERATOR, TERM, 1, slots);
    }

    // What a run goes through, step by step. Its object has the name of its node.

    pub fn pending(&mut self, node: &str) {
        self.write(OPERATOR, "noderemediations", json!({
            "apiVersion": "rerail.dev/v1alpha1", "kind": "NodeRemediation",
            "metadata": { "name": node, "uid": format!("run-{node}"), "finalizers": [names::FINALIZER] },
            "spec": { "nodeName": node, "nodeUID": format!("uid-{node}"), "policyName": "p", "cancel": false,
                "cause": { "conditionType": SICK, "reason": "", "message": "[P6] it hangs", "priority": 6,
                    "since": "2026-01-01T00:00:00Z" } } }));
    }

    pub fn status(&self, node: &str) -> NodeRemediationStatus {
        let run = self.get("noderemediations", node);
        run.get("status")
            .map(|status| serde_json::from_value(status.clone()).unwrap())
            .unwrap_or_default()
    }

    pub fn set(&mut self, node: &str, change: impl FnOnce(&mut Value)) {
        self.set_by(OPERATOR, node, change);
    }

    pub fn set_by(&mut self, by: &str, node: &str, change: impl FnOnce(&mut Value)) {
        let mut status = serde_json::to_value(self.status(node)).unwrap();
        change(&mut status);
        self.change(by, "noderemediations", node, |run| run["status"] = status);
    }

    pub fn to(&mut self, node: &str, step: &str, effect: Option<&str>) {
        let (now, boot) = (meta::time(self.now), self.boot_id(node));
        self.set(node, |status| {
            let attempt = status["attempt"].clone();
            status["step"] = json!(step);
            status["steps"].as_array_mut().unwrap().push(json!({
                "name": step, "attempt": attempt, "state": "Running", "startTime": now }));
            status["intent"] = match effect {
                None => Value::Null,
                Some(effect) => json!({ "effect": effect, "step": step, "attempt": attempt,
                    "nodeUID": format!("uid-{node}"), "bootIDBefore": boot, "epoch": 1, "time": now }),
            };
        });
    }

    pub fn boot_id(&self, node: &str) -> String {
        meta::text(&self.get("nodes", node), &["status", "nodeInfo", "bootID"]).to_owned()
    }

    /// Pending, with the slot, and then Cordoning.
    pub fn admitted(&mut self, node: &str) {
        self.pending(node);
        self.renews(&[node]);
        self.cordoning(node);
    }

    pub fn cordoning(&mut self, node: &str) {
        let policy = self.get("remediationpolicies", "p");
        let spec: rerail_api::policy::RemediationPolicySpec =
            serde_json::from_value(policy["spec"].clone()).unwrap();
        let spec = serde_json::to_value(spec).unwrap();
        let (now, boot) = (meta::time(self.now), self.boot_id(node));
        self.set(node, |status| {
            status["epoch"] = json!(1);
            status["leader"] = json!(TERM);
            status["step"] = json!("Cordoning");
            status["priority"] = json!(6);
            status["causes"] = json!([{ "conditionType": SICK, "reason": "", "message": "[P6] it hangs",
                "priority": 6, "since": now }]);
            status["plan"] = json!({ "policyGeneration": 1, "hash": "x", "triggers": spec["triggers"],
                "drain": spec["drain"], "remedies": spec["remedies"], "verify": spec["verify"],
                "attempts": spec["attempts"] });
            status["intent"] = json!({ "effect": "Cordon", "step": "Cordoning", "attempt": 0,
                "nodeUID": format!("uid-{node}"), "bootIDBefore": boot, "epoch": 1, "time": now });
        });
    }

    pub fn cordons(&mut self, node: &str) {
        self.looks(node);
        self.cordons_blindly(node);
    }

    pub fn cordons_blindly(&mut self, node: &str) {
        self.change(OPERATOR, "nodes", node, |object| {
            object["spec"]["unschedulable"] = json!(true);
            object["metadata"]["annotations"][names::CORDONED_BY] = json!(format!("run-{node}"));
        });
    }

    pub fn evicts(&mut self, node: &str, pod: &str) {
        self.looks(node);
        let now = meta::time(self.now);
        self.change(OPERATOR, "pods", pod, |pod| pod["metadata"]["deletionTimestamp"] = now);
        self.wait(2);
        self.delete("kubelet", "pods", pod);
    }

    pub fn until_drained(&mut self, node: &str) {
        self.admitted(node);
        self.cordons(node);
        self.to(node, "Draining", Some("Drain"));
        if node == "n1" {
            self.evicts(node, "default/web");
        }
    }

    pub fn rebooting(&mut self, node: &str) {
        self.set(node, |status| status["attempt"] = json!(status["attempt"].as_u64().unwrap()));
        let next = self.status(node).attempt + 1;
        let (now, boot) = (meta::time(self.now), self.boot_id(node));
        self.set(node, |status| {
            status["attempt"] = json!(next);
            status["step"] = json!("Rebooting");
            status["steps"].as_array_mut().unwrap().push(json!({
                "name": "Rebooting", "attempt": next, "state": "Running", "startTime": now }));
            status["intent"] = json!({ "effect": "Reboot", "step": "Rebooting", "attempt": next,
                "nodeUID": format!("uid-{node}"), "bootIDBefore": boot, "epoch": 1, "time": now });
        });
    }

    /// A further attempt, by its number.
    pub fn reboots_again(&mut self, node: &str, attempt: u32) {
        let boot = self.boot_id(node);
        self.set(node, |status| {
            (status["step"], status["attempt"]) = (json!("Rebooting"), json!(attempt));
            status["ladderStart"] = json!(attempt - 1);
            status["intent"] = json!({ "effect": "Reboot", "step": "Rebooting", "attempt": attempt,
                "nodeUID": format!("uid-{node}"), "bootIDBefore": boot, "epoch": 1,
                "time": "2026-01-01T00:00:00Z" });
        });
    }

    /// So many attempts go on the node's record.
    pub fn remembers(&mut self, node: &str, attempts: u32) {
        let attempts = self.attempts(attempts);
        let memory = json!({ "sequence": 0, "attempts": attempts, "rollBacks": 0 }).to_string();
        self.change(OPERATOR, "nodes", node, |object| {
            object["metadata"]["annotations"][names::LAST_REMEDIATION] = json!(memory);
        });
    }

    /// Times of so many attempts. When each was does not matter here.
    fn attempts(&self, count: u32) -> Vec<Value> {
        (0..count)
            .map(|back| meta::time(self.now - jiff::SignedDuration::from_secs(i64::from(back))))
            .collect()
    }

    pub fn own_pod(&mut self, node: &str, component: &str, attempt: u32) {
        let run = format!("run-{node}");
        let name = match component {
            names::COMPONENT_REBOOT => names::reboot_pod_name(&run, attempt),
            _ => names::probe_pod_name(&run, attempt),
        };
        self.write(OPERATOR, "pods", json!({
            "metadata": { "name": name, "namespace": names::NODE_NAMESPACE, "uid": name, "labels": {
                names::MANAGED_BY: names::MANAGED_BY_RERAIL, names::COMPONENT: component, names::RUN_UID: run } },
            "spec": { "nodeName": node, "containers": [{ "args": [format!("--attempt={attempt}")] }] } }));
    }

    pub fn cause(node: &str, attempt: u32) -> Cause {
        Cause::Pod { run: format!("run-{node}"), attempt }
    }

    /// The Pod acts, and the machine comes up with another boot ID, cured.
    pub fn boots(&mut self, node: &str, boot: &str) {
        let attempt = self.status(node).attempt;
        self.happens(node, What::Acts(History::cause(node, attempt)));
        self.happens(node, What::Down(History::cause(node, attempt)));
        self.wait(2);
        self.reports(node, &self.boot_id(node), false, true);
        self.happens(node, What::Sick { condition: SICK.to_owned(), on: false });
        self.happens(
            node,
            What::Boot { boot_id: boot.to_owned(), cause: History::cause(node, attempt) },
        );
    }

    /// Up to a machine that has booted.
    pub fn until_booted(&mut self, node: &str) {
        self.until_drained(node);
        self.rebooting(node);
        self.looks(node);
        self.own_pod(node, names::COMPONENT_REBOOT, 1);
        self.boots(node, &format!("{node}-2"));
        self.wait(2);
        self.reports(node, &format!("{node}-2"), true, false);
    }

    pub fn probes(&mut self, node: &str, attempt: u32) {
        self.own_pod(node, names::COMPONENT_PROBE, attempt);
        let key = format!(
            "{}/{}",
            names::NODE_NAMESPACE,
            names::probe_pod_name(&format!("run-{node}"), attempt)
        );
        self.change("kubelet", "pods", &key, |pod| pod["status"]["phase"] = json!("Succeeded"));
    }

    /// Up to a machine that is verified.
    pub fn until_verified(&mut self, node: &str) {
        self.until_booted(node);
        self.renews(&[node]);
        self.to(node, "Verifying", None);
        self.probes(node, 1);
        self.wait(70);
        self.renews(&[node]);
    }

    pub fn closes(&mut self, node: &str, result: &str) {
        let attempts = self.attempts(self.status(node).attempt);
        self.closes_with(node, result, attempts);
    }

    pub fn closes_with(&mut self, node: &str, result: &str, attempts: Vec<Value>) {
        self.looks(node);
        let memory = json!({ "sequence": 1, "attempts": attempts, "rollBacks": 0, "last": { "uid": format!("run-{node}"),
            "name": node, "result": result, "reason": "Healed", "endTime": meta::time(self.now) } });
        self.change(OPERATOR, "nodes", node, |object| {
            object["spec"]["unschedulable"] = json!(false);
            let annotations = object["metadata"]["annotations"].as_object_mut().unwrap();
            annotations.remove(names::CORDONED_BY);
            annotations.insert(names::LAST_REMEDIATION.to_owned(), json!(memory.to_string()));
        });
    }

    /// The whole way.
    pub fn heals(&mut self, node: &str) {
        self.until_verified(node);
        self.to(node, "Uncordoning", Some("Uncordon"));
        self.closes(node, "Succeeded");
        self.to(node, "Succeeded", None);
        self.renews(&[]);
    }

    pub fn rests(&mut self) {
        self.renews(&[]);
        let waiting = json!({ "waiting": [{ "node": "n2", "reason": "BudgetExhausted" }] });
        if self.get("remediationpolicies", "p").get("status") != Some(&waiting) {
            self.change("status", "remediationpolicies", "p", |policy| policy["status"] = waiting);
        }
        self.judge.at_rest(&self.store, &["n1".to_owned()].into(), self.now);
    }
}
