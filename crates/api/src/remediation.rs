//! NodeRemediation: one run, from the cordon to the uncordon, and the record of it.

use std::borrow::Cow;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use rerail_core::step::Step;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::policy::{AttemptsSpec, DrainSpec, RemedySpec, TriggerSpec, VerifySpec};

/// Only this leader, or one with a higher epoch, may write the status (protocol R6). At the schema's
/// root, since a rule on `status` itself is bypassed by a patch `{"status": null}`.
pub const EPOCH_RULE: &str = "!has(oldSelf.status) || !has(oldSelf.status.epoch) || (has(self.status) && has(self.status.epoch) && has(self.status.leader) && (self.status.epoch > oldSelf.status.epoch || (self.status.epoch == oldSelf.status.epoch && self.status.leader == oldSelf.status.leader)))";

/// One remediation of one node. Made by the operator, or by a person, who passes the same gates.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "rerail.dev",
    version = "v1alpha1",
    kind = "NodeRemediation",
    plural = "noderemediations",
    shortname = "nrem",
    category = "rerail",
    status = "NodeRemediationStatus",
    derive = "PartialEq",
    doc = "A NodeRemediation is one run of a RemediationPolicy on one node: what was done, when and why.",
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.nodeName"),
    printcolumn(name = "Priority", type_ = "integer", json_path = ".status.priority"),
    printcolumn(name = "Domain", type_ = "string", json_path = ".status.failureDomain"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.step"),
    printcolumn(name = "Succeeded", type_ = "string", json_path = r#".status.conditions[?(@.type=="Succeeded")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Succeeded")].reason"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Trigger", type_ = "string", json_path = ".spec.cause.conditionType", priority = "1"),
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.policyName", priority = "1"),
    printcolumn(name = "Attempt", type_ = "integer", json_path = ".status.attempt", priority = "1"),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Succeeded")].message"#, priority = "1"),
    selectable = ".spec.nodeName",
    selectable = ".spec.policyName",
    selectable = ".status.step",
    validation = Rule::new(EPOCH_RULE).message("`status.epoch` never falls, and stays with its leader: an older operator must not write this run any more").reason(Reason::FieldValueForbidden)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.nodeName == oldSelf.nodeName && self.nodeUID == oldSelf.nodeUID && self.policyName == oldSelf.policyName && has(self.cause) == has(oldSelf.cause) && (!has(self.cause) || self.cause == oldSelf.cause) && has(self.requestedBy) == has(oldSelf.requestedBy) && (!has(self.requestedBy) || self.requestedBy == oldSelf.requestedBy)").message("the spec cannot be changed, but for `cancel` and `retries`; create another NodeRemediation"),
    validation = Rule::new("!has(oldSelf.retries) || (has(self.retries) && self.retries >= oldSelf.retries)").message("`retries` only grows; each step of it asks for one more try of a held run"),
    validation = Rule::new("!has(oldSelf.cancel) || !oldSelf.cancel || (has(self.cancel) && self.cancel)").message("`cancel` cannot be taken back; create another NodeRemediation")
)]
pub struct NodeRemediationSpec {
    /// The node. Example: `worker1a`.
    #[schemars(length(min = 1, max = 253))]
    pub node_name: String,
    /// UID of the Node object, so that a new machine under an old name is never touched.
    /// Example: `6b1f6c5e-3c7e-4a53-9d0c-1d6b1a1a2b3c`.
    #[serde(rename = "nodeUID")]
    #[schemars(length(min = 1, max = 64))]
    pub node_uid: String,
    /// The policy whose rules apply. Example: `generic-workers`.
    #[schemars(length(min = 1, max = 63))]
    pub policy_name: String,
    /// The trigger that called for the run. Default: none, for a run made by a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<CauseSpec>,
    /// Who asked for the run. Default: empty. Example: `jane@example.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub requested_by: Option<String>,
    /// True ends the run: undone before the reboot, finished after it. Default: false. Example: `true`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancel: bool,
    /// How often the run is to be tried again: while it is Held, a larger number asks for the whole
    /// way once more, cordon, drain and the remedies from the first on, through the same gates as a
    /// new run. Only grows. Default: 0. Example: `1`.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 1000))]
    pub retries: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A trigger that was true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CauseSpec {
    /// Type of the node condition. Example: `KernelDeadlock`.
    #[schemars(length(max = 316))]
    pub condition_type: String,
    /// Its reason. Default: empty. Example: `AUFSUmountHung`.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub reason: String,
    /// Its message, cut to 1,024 bytes. Default: empty. Example: `[P6] task umount blocked`.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub message: String,
    /// Its priority within the policy's range; smaller is more urgent. Example: `6`.
    #[schemars(range(min = 0, max = 9999))]
    pub priority: i32,
    /// Since when it was true. Example: `2026-01-01T00:00:00Z`.
    #[schemars(schema_with = "crate::schema::time")]
    pub since: Timestamp,
}

/// How far a run is, and how it came there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeRemediationStatus {
    /// The term number of the operator that wrote this last. Default: 0. Example: `7`.
    pub epoch: i64,
    /// The identity of that term. Default: empty. Example: `rerail-operator-abc-1`.
    #[schemars(length(max = 256))]
    pub leader: String,
    /// The generation of the spec that this status speaks of. Default: 0. Example: `1`.
    pub observed_generation: i64,
    /// Succeeded (Unknown while the run is open), Reconciling, Stalled, and one per step. Default: none.
    /// Example: `[{type: Succeeded, status: "True", reason: Healed}]`.
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
    /// Priority of the most urgent cause; it follows one that appears before the reboot. Default: none. Example: `6`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// The failure domain of the node at admission, for people. Default: empty. Example: `a/r1`.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub failure_domain: String,
    /// Every trigger that was true at admission, most urgent first; a more urgent one that appears
    /// before the reboot is put in front. Default: none.
    #[schemars(length(max = 16))]
    pub causes: Vec<CauseSpec>,
    /// The contract, frozen at admission: later edits of the policy concern new runs. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<FrozenPlan>,
    /// Where the run stands. Default: Pending. Example: `Draining`.
    pub step: StepName,
    /// Reboots begun by this run. Default: 0. Example: `1`.
    #[schemars(range(min = 0, max = 32))]
    pub attempt: u32,
    /// How much of `spec.retries` counts no more: taken up, or asked for before the run was Held.
    /// Default: 0. Example: `1`.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 1000))]
    pub retries: u32,
    /// The attempt after which the remedies began anew, by a retry. Default: none. Example: `1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 32))]
    pub ladder_start: Option<u32>,
    /// Set once something that must always hold did not: nothing is done for the run any more.
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frozen: Option<FrozenRecord>,
    /// What was done, in order. Default: none.
    #[schemars(schema_with = "steps_schema")]
    pub steps: Vec<StepRecord>,
    /// What the operator is about to do, committed before it is done. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intent: Option<IntentRecord>,
    /// How far the drain is. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainRecord>,
    /// Reports of the trigger conditions at admission, then when the boot was first seen; a later
    /// report is new evidence. Default: none.
    #[schemars(length(max = 16))]
    pub evidence: Vec<EvidenceRecord>,
    /// Since when the deadline stands still, because of `rerail-pause`. Default: none.
    /// Example: `2026-01-01T00:00:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::optional_time")]
    pub paused_time: Option<Timestamp>,
}

impl NodeRemediationStatus {
    /// The condition `Succeeded`, whose reason and message say why the run is where it is.
    pub fn said(&self) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == "Succeeded")
    }
}

/// Why a run was stopped for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FrozenRecord {
    /// Since when. Example: `2026-01-01T00:00:00Z`.
    #[schemars(schema_with = "crate::schema::time")]
    pub time: Timestamp,
    /// Which invariant did not hold. Example: `Intent`.
    #[schemars(length(max = 64))]
    pub invariant: String,
    /// What was seen. Default: empty. Example: `an intent to Reboot stands in step Verifying`.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// The part of the policy that the run keeps to, whatever becomes of the policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FrozenPlan {
    /// Generation of the policy. Example: `3`.
    pub policy_generation: i64,
    /// First 16 hex digits of the SHA-256 of the frozen part. Example: `9f86d081884c7d65`.
    #[schemars(length(max = 64))]
    pub hash: String,
    /// The policy's triggers.
    #[schemars(length(max = 16))]
    pub triggers: Vec<TriggerSpec>,
    /// The policy's drain rules.
    pub drain: DrainSpec,
    /// The policy's remedies.
    #[schemars(length(max = 5))]
    pub remedies: Vec<RemedySpec>,
    /// The policy's verification rules.
    pub verify: VerifySpec,
    /// The policy's limits of attempts.
    pub attempts: AttemptsSpec,
    /// DaemonSets whose pod on the node was Ready when the drain was done, before the first attempt:
    /// verification waits for them. Default: none.
    /// Example: `[kube-system/kindnet]`.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub daemon_sets: Vec<String>,
    /// The failure domain of the node at admission: the values of the operator's `topologyKeys`; a
    /// node without any of them is its own domain. Default: none.
    /// Example: `[{key: topology.kubernetes.io/zone, value: a}]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub domain: Option<Vec<DomainLabelRecord>>,
}

/// One label of a failure domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainLabelRecord {
    /// The label. Example: `topology.kubernetes.io/zone`.
    #[schemars(length(max = 317))]
    pub key: String,
    /// Its value; empty where the nodes of the domain lack it. Default: empty. Example: `a`.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub value: String,
}

/// One step, or one attempt of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepRecord {
    /// The step. Example: `Rebooting`.
    #[schemars(length(max = 32))]
    pub name: String,
    /// The reboot attempt that it belongs to; 0 before the first. Example: `1`.
    #[schemars(range(min = 0, max = 32))]
    pub attempt: u32,
    /// Running, Done or Skipped. Example: `Done`.
    pub state: StepState,
    /// When it began. Example: `2026-01-01T00:00:00Z`.
    #[schemars(schema_with = "crate::schema::time")]
    pub start_time: Timestamp,
    /// When it ended. Default: none. Example: `2026-01-01T00:01:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::optional_time")]
    pub completion_time: Option<Timestamp>,
    /// When it must have ended. Default: none. Example: `2026-01-01T00:30:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::optional_time")]
    pub deadline: Option<Timestamp>,
    /// The machine's boot ID before the attempt. Default: none.
    /// Example: `f6a1c2d3-0000-4000-8000-000000000000`.
    #[serde(rename = "bootIDBefore", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub boot_id_before: Option<String>,
    /// The kubelet's last report before the attempt, as written. Default: none.
    /// Example: `2026-01-01T00:00:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::optional_time")]
    pub heartbeat_time_before: Option<Timestamp>,
    /// Why the run came to this step, in one word. Default: empty. Example: `Drained`.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub reason: String,
    /// The same in a sentence. Default: empty. Example: `the node is cordoned`.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// How a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StepState {
    Running,
    Done,
    Skipped,
}

/// An effect that was announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IntentRecord {
    /// Cordon, Drain, Reboot or Uncordon. Example: `Reboot`.
    pub effect: EffectName,
    /// The step that it belongs to. Example: `Rebooting`.
    #[schemars(length(max = 32))]
    pub step: String,
    /// The reboot attempt; 0 before the first. Example: `1`.
    #[schemars(range(min = 0, max = 32))]
    pub attempt: u32,
    /// The node that it is meant for. Example: `6b1f6c5e-3c7e-4a53-9d0c-1d6b1a1a2b3c`.
    #[serde(rename = "nodeUID")]
    #[schemars(length(max = 64))]
    pub node_uid: String,
    /// The machine's boot ID when it was announced. Example: `f6a1c2d3-0000-4000-8000-000000000000`.
    #[serde(rename = "bootIDBefore")]
    #[schemars(length(max = 64))]
    pub boot_id_before: String,
    /// The term that announced it. Example: `7`.
    pub epoch: i64,
    /// When. Example: `2026-01-01T00:00:00Z`.
    #[schemars(schema_with = "crate::schema::time")]
    pub time: Timestamp,
}

/// What an intent announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EffectName {
    Cordon,
    Drain,
    Reboot,
    Uncordon,
}

/// How far a drain is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DrainRecord {
    /// Pods that had to go. Default: 0. Example: `12`.
    pub total: u32,
    /// Pods whose eviction was accepted, or that went by themselves. Default: 0. Example: `11`.
    pub evicted: u32,
    /// Pods that wait for a budget; at most 20. Default: none.
    #[schemars(length(max = 20))]
    pub blocked: Vec<BlockedPod>,
}

/// A pod that waits for a budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockedPod {
    /// `namespace/name` of the pod. Example: `web/frontend-0`.
    #[schemars(length(max = 512))]
    pub pod: String,
    /// The PodDisruptionBudget in the pod's namespace. Default: none. Example: `frontend`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub budget: Option<String>,
    /// Since when. Example: `2026-01-01T00:00:00Z`.
    #[schemars(schema_with = "crate::schema::time")]
    pub since: Timestamp,
}

/// One report of a node condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EvidenceRecord {
    /// The condition's type. Example: `KernelDeadlock`.
    #[serde(rename = "type")]
    #[schemars(length(max = 316))]
    pub condition_type: String,
    /// Its status. Example: `True`.
    #[schemars(length(max = 16))]
    pub status: String,
    /// Its last transition, as written. Default: none. Example: `2026-01-01T00:00:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::optional_time")]
    pub last_transition_time: Option<Timestamp>,
    /// Its last heartbeat, as written. Default: none. Example: `2026-01-01T00:05:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::optional_time")]
    pub last_heartbeat_time: Option<Timestamp>,
}

/// A step in `status.step`. A name that this operator does not know freezes the run (hazard H33).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepName {
    /// A step of the graph.
    Known(Step),
    /// A name that a newer operator may have written.
    Unknown(String),
}

impl Default for StepName {
    fn default() -> Self {
        StepName::Known(Step::Pending)
    }
}

impl Serialize for StepName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            StepName::Known(step) => step.name(),
            StepName::Unknown(name) => name,
        })
    }
}

impl<'de> Deserialize<'de> for StepName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Ok(name.parse().map_or(StepName::Unknown(name), StepName::Known))
    }
}

impl JsonSchema for StepName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "StepName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<_> = Step::ALL.iter().map(|step| step.name()).collect();
        json_schema!({
            "type": "string",
            "enum": names,
            "maxLength": 32,
            "x-kubernetes-validations": step_rules(),
        })
    }
}

/// The graph of `rerail_core::step` as transition rules, one per step, so that the API server names
/// the step that cannot be left so (SAFE-18).
fn step_rules() -> Vec<serde_json::Value> {
    let rule = |step: &Step| {
        let next: Vec<_> = step.successors().iter().map(|next| next.name()).collect();
        let message = match next.as_slice() {
            [] => format!("step {step} is final; create another NodeRemediation"),
            next => format!("from step {step} a run can only go to: {}", next.join(", ")),
        };
        let allowed: Vec<_> = std::iter::once(step.name()).chain(next).collect();
        serde_json::json!({
            "rule": format!("oldSelf != '{step}' || self in ['{}']", allowed.join("','")),
            "message": message,
        })
    };
    Step::ALL.iter().map(rule).collect()
}

/// At most how many step records a run has; a ladder of 5 remedies fills 5 × 3 and a few.
pub const STEPS_KEPT: usize = 40;

fn steps_schema(generator: &mut SchemaGenerator) -> Schema {
    let item = StepRecord::json_schema(generator);
    json_schema!({
        "type": "array",
        "maxItems": STEPS_KEPT,
        "items": item,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name", "attempt"],
    })
}
