//! What people do on a stage, and what they see there.

use std::time::Duration;

use k8s_openapi::api::{core::v1::Node, events::v1::Event};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use rerail_api::{NodeRemediation, names, remediation::StepName};
use rerail_core::step::Step;
use rerail_e2e::{Operator, PATIENCE, Requests, wait_for};
use rerail_fleet::{MachineHandle, Power};
use serde_json::{Value, json};

use crate::shared::{CONDITION, Stage, said};

/// Long enough for the operator to have done what it must not do.
const QUIET: Duration = Duration::from_secs(3);

/// An operator that loops writes at least once in this time.
const REST: Duration = Duration::from_secs(4);

/// For this long it may still be at work on what has just happened.
const RESTLESS: Duration = Duration::from_secs(60);

impl Stage {
    pub async fn patch_node(&self, node: &str, manager: &str, patch: Value) {
        let nodes: Api<Node> = Api::all(self.cluster().client.clone());
        let params =
            PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
        nodes.patch(node, &params, &Patch::Merge(patch)).await.unwrap();
    }

    /// `kubectl label node`.
    pub async fn label(&self, node: &str, key: &str, value: Option<&str>) {
        self.patch_node(node, "kubectl-label", json!({"metadata": {"labels": {key: value}}})).await;
    }

    /// `kubectl cordon`.
    pub async fn cordon(&self, node: &str) {
        let patch = json!({"spec": {"unschedulable": true}});
        self.patch_node(node, "kubectl-cordon", patch).await;
    }

    /// `kubectl uncordon`.
    pub async fn uncordon(&self, node: &str) {
        let patch = json!({"spec": {"unschedulable": null}});
        self.patch_node(node, "kubectl-uncordon", patch).await;
    }

    /// `kubectl patch remediationpolicy`, of the stage's policy.
    pub async fn edit_policy(&self, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        let params = PatchParams::default();
        self.cluster().policies().patch(self.pool, &params, &patch).await.unwrap();
    }

    /// Sets `spec.cancel` of a run.
    pub async fn cancel(&self, run: &NodeRemediation) {
        let patch = Patch::Merge(json!({"spec": {"cancel": true}}));
        let name = run.name_any();
        self.cluster().runs().patch(&name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// `kubectl taint node`, as another controller would.
    pub fn taint(&self, node: &str, taint: &str) {
        self.cluster().plane.run_kubectl(&["taint", "node", node, taint]).unwrap();
    }

    /// Sets an annotation of a node, or takes it away, as another controller would.
    pub async fn annotate(&self, node: &str, key: &str, value: Option<&str>) {
        let patch = json!({"metadata": {"annotations": {key: value}}});
        self.patch_node(node, "other-controller", patch).await;
    }

    /// True while a node bears a taint with this key.
    pub async fn is_tainted(&self, node: &str, key: &str) -> bool {
        let taints = self.node(node).await.spec.and_then(|spec| spec.taints).unwrap_or_default();
        taints.iter().any(|taint| taint.key == key)
    }

    /// The node's condition becomes False, as its writer says when the cause is gone.
    pub async fn cure(&self, node: &str) {
        self.cluster().fleet.clear_condition(node, CONDITION).await.unwrap();
    }

    /// The kubelet reports now; one with nothing new to say would within five minutes.
    pub async fn kubelet_reports(&self, node: &str) {
        self.machine(node).clear_faults().await.unwrap();
    }

    /// Lets the kubelet report until the latest run of the node is in a step.
    pub async fn reports_until(&self, node: &str, step: Step) -> NodeRemediation {
        let look = || async {
            self.kubelet_reports(node).await;
            self.latest_in(node, step).await
        };
        wait_for(&format!("{node}: step {step}"), PATIENCE, look).await.unwrap()
    }

    /// Lets the condition's writer say again that it is clear, until the latest run of the node has
    /// succeeded: a report from before the verification is no evidence.
    pub async fn cured_until_healed(&self, node: &str) -> NodeRemediation {
        let look = || async {
            self.cure(node).await;
            self.latest_in(node, Step::Succeeded).await
        };
        wait_for(&format!("{node} to be healed"), PATIENCE, look).await.unwrap()
    }

    async fn latest_in(&self, node: &str, step: Step) -> Result<NodeRemediation, String> {
        let run = self.cluster().runs_of(node).await.unwrap().pop().ok_or("no run")?;
        match run.status.as_ref().map(|status| &status.step) {
            Some(StepName::Known(known)) if *known == step => Ok(run),
            other => Err(format!("{other:?}")),
        }
    }

    /// Waits until the API server says that a node is not Ready.
    pub async fn is_not_ready(&self, node: &str) {
        let look = || async {
            let status = self.node(node).await.status.unwrap_or_default();
            let mut all = status.conditions.unwrap_or_default().into_iter();
            let ready = all.find(|condition| condition.type_ == "Ready").map(|c| c.status);
            if ready.as_deref() == Some("True") { Err(ready) } else { Ok(()) }
        };
        wait_for(&format!("{node} not to be Ready"), PATIENCE, look).await.unwrap();
    }

    pub fn machine(&self, node: &str) -> MachineHandle {
        self.cluster().fleet.machine(node).unwrap()
    }

    pub fn boots(&self, node: &str) -> u64 {
        self.machine(node).view().unwrap().boots
    }

    /// Waits until the machine has gone down.
    pub async fn goes_down(&self, node: &str) {
        let machine = self.machine(node);
        machine.wait_until("down", PATIENCE, |view| view.power != Power::On).await.unwrap();
    }

    /// What the operator wrote on a node: whose cordon it is, the note, and the memory of runs.
    pub async fn marks(&self, node: &str) -> Marks {
        let node = self.node(node).await;
        let annotation = |key: &str| node.annotations().get(key).cloned();
        Marks {
            cordoned: node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false),
            owner: annotation(names::CORDONED_BY),
            note: annotation(names::CORDON_NOTE),
            memory: annotation(names::LAST_REMEDIATION)
                .map(|text| serde_json::from_str(&text).unwrap()),
        }
    }

    /// A node that is schedulable, bears no mark of ours, and knows how its last run ended.
    pub async fn is_given_back(&self, node: &str, result: &str, reason: &str) {
        let marks = self.marks(node).await;
        assert_eq!((marks.cordoned, &marks.owner, &marks.note), (false, &None, &None), "{marks:?}");
        assert_eq!(marks.last(), (result.to_owned(), reason.to_owned()));
    }

    /// A run that waits for a person, with everything by which a person finds it and learns why.
    pub async fn is_held(&self, node: &str, reason: &str, words: &str) {
        let run = self.run_in(node, Step::Held).await;
        let (said, message) = said(&run);
        assert_eq!(said, reason, "{message}");
        assert!(message.contains(words), "{message}");
        let conditions = run.status.clone().unwrap().conditions;
        let stalled = conditions.into_iter().find(|c| c.type_ == "Stalled").unwrap();
        let expected = ("True".to_owned(), reason.to_owned(), message);
        assert_eq!((stalled.status, stalled.reason, stalled.message), expected);
        let marks = self.marks(node).await;
        assert_eq!((marks.cordoned, marks.owner), (true, run.uid()));
        for (kind, name) in [("NodeRemediation", run.name_any()), ("Node", node.to_owned())] {
            let event = self.event(kind, &name, reason).await;
            assert_eq!(event.type_.as_deref(), Some("Warning"));
            assert!(event.note.as_ref().unwrap().contains(words), "{event:?}");
        }
    }

    /// Nothing loops: while nothing happens in the cluster, the operator writes nothing to it.
    pub async fn rests(&self, operator: &Operator) {
        let look = || async {
            let before = writes(operator).await;
            tokio::time::sleep(REST).await;
            let after = writes(operator).await;
            if before == after { Ok(()) } else { Err((before, after)) }
        };
        wait_for("the operator to write nothing", RESTLESS, look).await.unwrap();
    }

    /// Waits until nothing of ours keeps the node's ended runs from being deleted: a moment after their end.
    pub async fn finalizers_gone(&self, node: &str) {
        let look = || async {
            let runs = self.cluster().runs_of(node).await.map_err(|error| error.to_string())?;
            let kept = runs.iter().filter(|run| !run.finalizers().is_empty());
            let kept: Vec<_> = kept.map(ResourceExt::name_any).collect();
            if kept.is_empty() { Ok(()) } else { Err(format!("still there on {kept:?}")) }
        };
        wait_for("the finalizers to go", PATIENCE, look).await.unwrap();
    }

    /// No run was ever made for the node, and nothing was written on it.
    pub async fn is_untouched(&self, node: &str) {
        tokio::time::sleep(QUIET).await;
        let uid = self.node(node).await.uid().unwrap();
        let mut runs = self.cluster().runs_of(node).await.unwrap();
        runs.retain(|run| run.spec.node_uid == uid);
        let names: Vec<_> = runs.iter().map(ResourceExt::name_any).collect();
        assert_eq!(names, Vec::<String>::new());
        let marks = self.marks(node).await;
        assert_eq!((&marks.owner, &marks.note, &marks.memory), (&None, &None, &None));
    }

    /// Waits for an Event about an object.
    pub async fn event(&self, kind: &str, name: &str, reason: &str) -> Event {
        let look = || async {
            let found = self.events(kind, name, reason).await.into_iter().next();
            found.ok_or("no such Event".into())
        };
        let what = format!("an Event {reason} on {kind} {name}");
        wait_for::<_, String, _>(&what, PATIENCE, look).await.unwrap()
    }

    /// The Events about an object that have this reason.
    pub async fn events(&self, kind: &str, name: &str, reason: &str) -> Vec<Event> {
        let events: Api<Event> = Api::all(self.cluster().client.clone());
        let mut all = events.list(&ListParams::default()).await.unwrap().items;
        all.retain(|event| {
            let about = event.regarding.as_ref().is_some_and(|object| {
                object.kind.as_deref() == Some(kind) && object.name.as_deref() == Some(name)
            });
            about && event.reason.as_deref() == Some(reason)
        });
        all
    }
}

/// Requests by which an operator has changed something so far, but for the renewals of its Lease.
async fn writes(operator: &Operator) -> Requests {
    let mut requests = operator.api_requests().await.unwrap();
    requests.0.retain(|(verb, resource), _| {
        !["get", "list", "watch"].contains(&verb.as_str()) && resource != "leases"
    });
    requests
}

/// Time for the operator to do what it must not do.
pub async fn quiet() {
    tokio::time::sleep(QUIET).await;
}

/// What stands on a node.
#[derive(Debug)]
pub struct Marks {
    pub cordoned: bool,
    pub owner: Option<String>,
    pub note: Option<String>,
    pub memory: Option<Value>,
}

impl Marks {
    /// How the last run ended, by the node's memory.
    pub fn last(&self) -> (String, String) {
        let last = self.memory.as_ref().map(|memory| &memory["last"]).unwrap();
        (last["result"].as_str().unwrap().to_owned(), last["reason"].as_str().unwrap().to_owned())
    }
}
