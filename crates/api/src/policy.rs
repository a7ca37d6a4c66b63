//! RemediationPolicy: which nodes, which conditions, which remedy. A field exists when it works.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    duration::GoDuration,
    limits::{AgeingSpec, BreakerSpec, BudgetSpec, BudgetStatus, STORMS_KEPT, StormStatus},
};

/// What to do about which conditions on which nodes.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "rerail.dev",
    version = "v1alpha1",
    kind = "RemediationPolicy",
    plural = "remediationpolicies",
    shortname = "rpol",
    category = "rerail",
    status = "RemediationPolicyStatus",
    derive = "PartialEq",
    doc = "A RemediationPolicy says which conditions on which nodes call for which remedy, and how carefully.",
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Active", type_ = "integer", json_path = ".status.counts.active"),
    printcolumn(name = "Waiting", type_ = "integer", json_path = ".status.counts.waiting"),
    printcolumn(name = "Budget", type_ = "string", json_path = ".status.budget.summary"),
    printcolumn(name = "Blocked", type_ = "string", json_path = ".status.waiting[0].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 63").message("`metadata.name` must be at most 63 characters")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.remedies.size() <= self.attempts.max").message("`remedies` must not be more than `attempts.max`: each remedy is an attempt on the machine; allow more attempts or list fewer remedies").field_path(".remedies"))]
pub struct RemediationPolicySpec {
    /// DryRun decides and reports and touches nothing; Enforce acts. Default: DryRun. Example: `Enforce`.
    #[serde(default)]
    pub mode: Mode,
    /// True stops the policy; runs before their reboot are rolled back. Default: false. Example: `true`.
    #[serde(default)]
    pub suspended: bool,
    /// Which nodes. Control-plane nodes are never touched. Example: `{selector: {matchLabels: {pool: a}}}`.
    pub nodes: NodeSelection,
    /// Any of these being true on a node calls for a remedy; 1 to 16.
    /// Example: `[{condition: {type: KernelDeadlock}}]`.
    #[schemars(length(min = 1, max = 16))]
    pub triggers: Vec<TriggerSpec>,
    /// How the prefix `[P<n>]` of a condition's message becomes a priority; a smaller number is more
    /// urgent. Default: `{default: 9, min: 0, max: 99, ageing: {every: 6h, floor: 5}}`.
    #[serde(default)]
    pub priority: PrioritySpec,
    /// How many nodes may be out at once. Default: 10% of the nodes that the policy selects, in one
    /// failure domain at a time, and 60 starts per 1h.
    #[serde(default)]
    pub budget: BudgetSpec,
    /// When it is suspected that something else is wrong than the nodes, so that nothing starts.
    /// Default: 40% not Ready, or one condition type newly true on 25% within 10m.
    #[serde(default)]
    pub breaker: BreakerSpec,
    /// How the node is drained. Default: 30m, emptyDir pods deleted, unmanaged pods refused.
    #[serde(default)]
    pub drain: DrainSpec,
    /// The ladder: each remedy once per run, the next where the machine did not boot; 1 to 5.
    /// Default: one reboot by command within 15m.
    #[serde(default = "default_remedies")]
    #[schemars(length(min = 1, max = 5))]
    pub remedies: Vec<RemedySpec>,
    /// When a machine counts as healed. Default: Ready for 60s, DaemonSet pods and a probe Pod
    /// required, within 20m.
    #[serde(default)]
    pub verify: VerifySpec,
    /// How often a machine may be disrupted, over all its runs. Default: 3 per 24h, 10m rest after a
    /// run that did not succeed.
    #[serde(default)]
    pub attempts: AttemptsSpec,
}

/// What a policy may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    #[default]
    DryRun,
    Enforce,
}

/// Which nodes: exactly one of `selector` and `all`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.selector) != (has(self.all) && self.all)").message("set exactly one of `selector` (not empty) and `all: true`"),
    validation = Rule::new("!has(self.selector) || (has(self.selector.matchLabels) && size(self.selector.matchLabels) > 0) || (has(self.selector.matchExpressions) && size(self.selector.matchExpressions) > 0)").message("`selector` must not be empty: an empty selector would mean every node; write `all: true` if you mean that")
)]
pub struct NodeSelection {
    /// The labels that a node must have; not empty. Default: none. Example: `{matchLabels: {pool: a}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "label_selector_schema")]
    pub selector: Option<LabelSelector>,
    /// True selects every node that is no control-plane node. Default: false. Example: `true`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

/// A condition that calls for a remedy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TriggerSpec {
    /// The node condition. Example: `{type: KernelDeadlock, status: ["True"], for: 5m}`.
    pub condition: ConditionSpec,
    /// Fault: something is wrong with the node. Maintenance: routine; it does not age, and many nodes
    /// at once are no storm. Default: Fault. Example: `Maintenance`.
    #[serde(default)]
    pub class: TriggerClass,
    /// MustClear: the condition must be clear after the reboot, before the uncordon; Ignore: it need
    /// not (an uptime alert, say). Default: MustClear. Example: `Ignore`.
    #[serde(default)]
    pub verify: TriggerVerify,
    /// For how long it must be clear without a break after the boot. Default: 2m for types that begin
    /// with `AlertManager_`, else 0s. Example: `5m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clear_for: Option<GoDuration>,
}

/// What a trigger is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TriggerClass {
    #[default]
    Fault,
    Maintenance,
}

/// Must a trigger clear before the uncordon?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TriggerVerify {
    #[default]
    MustClear,
    Ignore,
}

/// Which condition, and for how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConditionSpec {
    /// The condition's type, or a prefix with a star at its end. Example: `AlertManager_*`.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316), regex(pattern = r"^[A-Za-z0-9][-A-Za-z0-9_./]*\*?$"))]
    pub condition_type: String,
    /// The statuses that count. Default: `["True"]`. Example: `["False", "Unknown"]`.
    #[serde(default = "default_statuses")]
    #[schemars(length(min = 1, max = 3))]
    pub status: Vec<ConditionStatus>,
    /// The reason that it must have. Default: any. Example: `AlertIsFiring`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub reason: Option<String>,
    /// How long the status must have lasted, by the operator's clock. Default: 0s. Example: `10m`.
    #[serde(rename = "for", default = "zero")]
    pub hold_for: GoDuration,
    /// After this long without a new report the condition counts as Unknown, which starts nothing and
    /// is no recovery; 0s = never. Default: 15m. Example: `1h`.
    #[serde(default = "default_stale_after")]
    pub stale_after: GoDuration,
}

/// A status of a node condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

/// How messages become priorities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.min <= self.default && self.default <= self.max").message("must be `min` <= `default` <= `max`"))]
pub struct PrioritySpec {
    /// Priority of a message without prefix. Default: 9. Example: `5`.
    #[serde(default = "default_priority")]
    #[schemars(range(min = 0, max = 9999))]
    pub default: u16,
    /// The most urgent priority that a message can claim. Default: 0. Example: `2`.
    #[serde(default)]
    #[schemars(range(min = 0, max = 9999))]
    pub min: u16,
    /// The least urgent priority, and that of a malformed prefix. Default: 99. Example: `20`.
    #[serde(default = "default_priority_max")]
    #[schemars(range(min = 0, max = 9999))]
    pub max: u16,
    /// How waiting makes more urgent, for triggers of class Fault. Default: one step per 6h, not beyond 5.
    #[serde(default)]
    pub ageing: AgeingSpec,
}

/// How a node is drained, through the Eviction API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrainSpec {
    /// A drain that is not done by then is rolled back. Default: 30m. Example: `1h`.
    #[serde(default = "default_drain_timeout")]
    pub timeout: GoDuration,
    /// Grace for every pod, in seconds. Default: the pod's own. Example: `60`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86400))]
    pub grace_period_seconds: Option<i64>,
    /// Pods with emptyDir volumes: Delete (their data is lost) or Refuse (the drain is rolled back).
    /// Default: Delete. Example: `Refuse`.
    #[serde(default = "delete")]
    pub empty_dir: DeleteOrRefuse,
    /// Pods that no controller would make anew: Delete or Refuse. Default: Refuse. Example: `Delete`.
    #[serde(default = "refuse")]
    pub unmanaged: DeleteOrRefuse,
    /// A pod that has been terminating for this long after its grace is not waited for any more.
    /// Default: always waited for. Example: `10m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_terminating_after: Option<GoDuration>,
}

/// What becomes of pods of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeleteOrRefuse {
    Delete,
    Refuse,
}

/// One rung of the ladder: exactly one remedy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.reboot)").message("set exactly one remedy, as in `reboot: {method: Command}`"))]
pub struct RemedySpec {
    /// Reboot through the node's own operating system. Default: none; one remedy must be given.
    /// Example: `{method: Signal}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reboot: Option<RebootSpec>,
    /// How long the machine may take to report a new boot ID. Default: 15m. Example: `30m`.
    #[serde(default = "default_remedy_timeout")]
    pub timeout: GoDuration,
}

/// A reboot through the node's own operating system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RebootSpec {
    /// Command: a privileged Pod on the node runs the reboot command that the operator is configured
    /// with. Signal: a Pod that is not privileged sends PID 1 the signal SIGRTMIN+5, on which systemd
    /// reboots. Default: Command. Example: `Signal`.
    #[serde(default)]
    pub method: RebootMethod,
}

/// How a machine is rebooted through its operating system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RebootMethod {
    #[default]
    Command,
    Signal,
}

/// When a machine counts as healed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("duration(self.timeout) > duration(self.ready)").message("`timeout` must be longer than `ready`"))]
pub struct VerifySpec {
    /// How long the node must be Ready without a break. Default: 60s. Example: `5m`.
    #[serde(default = "default_ready")]
    pub ready: GoDuration,
    /// Required: DaemonSet pods that were Ready at admission must be Ready again. Default: Required.
    /// Example: `Ignore`.
    #[serde(default)]
    pub daemon_sets: Requirement,
    /// Required: a small Pod must have run on the node after the boot. Default: Required.
    /// Example: `Ignore`.
    #[serde(default)]
    pub probe_pod: Requirement,
    /// When verification gives up. Must be longer than the triggers' writers take to report again
    /// (node-problem-detector: 5m), since only a new report shows that a machine is cured.
    /// Default: 20m. Example: `1h`.
    #[serde(default = "default_verify_timeout")]
    pub timeout: GoDuration,
    /// A machine that booted, is Ready, and still shows its trigger: Hold (cordoned until a person
    /// decides) or Uncordon (back to work, the failure on record). Default: Hold. Example: `Uncordon`.
    #[serde(default)]
    pub on_not_cured: OnNotCured,
    /// How long the run keeps its place after the uncordon. Default: 0s. Example: `10m`.
    #[serde(default = "zero")]
    pub settle: GoDuration,
}

/// Is a check required?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Requirement {
    #[default]
    Required,
    Ignore,
}

/// What becomes of a machine that is not cured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnNotCured {
    #[default]
    Hold,
    Uncordon,
}

/// How often a machine may be disrupted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttemptsSpec {
    /// At most this many reboots of a node, over all its runs, 1 to 32. Default: 3. Example: `1`.
    #[serde(default = "default_attempts")]
    #[schemars(range(min = 1, max = 32))]
    pub max: u32,
    /// In a window of this length. Default: 24h. Example: `168h`.
    #[serde(default = "default_attempts_per")]
    pub per: GoDuration,
    /// Rest of a node after a run that did not succeed; doubled per blocked drain in a row, up to 6h.
    /// Default: 10m. Example: `1h`.
    #[serde(default = "default_backoff")]
    pub backoff: GoDuration,
}

/// What the operator says of a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RemediationPolicyStatus {
    /// The generation of the spec that this status speaks of. Default: 0. Example: `3`.
    pub observed_generation: i64,
    /// Ready, Reconciling and Stalled speak of the spec only; Paused of the kill switch; BudgetExhausted
    /// and BreakerOpen of what keeps nodes waiting; Configured of `rerail-config`. Default: none.
    /// Example: `[{type: Ready, status: "True"}]`.
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
    /// How many nodes stand where. Default: zeros. Example: `{matched: 60, waiting: 2, active: 1, held: 0}`.
    pub counts: Counts,
    /// How much of the budget is in use. Default: zeros.
    pub budget: BudgetStatus,
    /// Condition types that are stopped, since they became true on many nodes at once; at most 32.
    /// Default: none. Example: `[{conditionType: KernelDeadlock, state: Open, since: "2026-01-01T00:00:00Z"}]`.
    #[schemars(length(max = STORMS_KEPT))]
    pub breaker: Vec<StormStatus>,
    /// What this policy would start now, were its mode Enforce; at most 20. Default: none.
    /// Example: `[{node: worker1a, reason: WouldStart}]`.
    #[schemars(length(max = 20))]
    pub would_start: Vec<WaitingNode>,
    /// Nodes with a trigger that do not start now, and why; at most 20. Default: none.
    /// Example: `[{node: worker1b, priority: 6, reason: BudgetExhausted}]`.
    #[schemars(length(max = 20))]
    pub waiting: Vec<WaitingNode>,
}

/// How many nodes of a policy stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Counts {
    /// Nodes that the policy selects. Default: 0. Example: `60`.
    pub matched: i32,
    /// Nodes with a trigger that do not start now. Default: 0. Example: `2`.
    pub waiting: i32,
    /// Runs that hold a slot. Default: 0. Example: `1`.
    pub active: i32,
    /// Runs that are Held. Default: 0. Example: `0`.
    pub held: i32,
}

/// A node that waits, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WaitingNode {
    /// The node. Default: empty. Example: `worker1b`.
    #[schemars(length(max = 253))]
    pub node: String,
    /// Its priority, if a trigger is true. Default: none. Example: `6`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Why, in one word. Default: empty. Example: `BudgetExhausted`.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// Why, in a sentence. Default: empty. Example: `run worker1a-0a1b2c3d is under way; one at a time`.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// The earliest time that it can change without an event. Default: none.
    /// Example: `2026-01-01T00:00:00Z`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::optional_time")]
    pub until: Option<jiff::Timestamp>,
}

macro_rules! defaults {
    ($($name:ident -> $type:ty = $value:expr;)+) => { $(fn $name() -> $type { $value })+ };
}

defaults! {
    zero -> GoDuration = GoDuration::of("0s");
    default_stale_after -> GoDuration = GoDuration::of("15m");
    default_drain_timeout -> GoDuration = GoDuration::of("30m");
    default_remedy_timeout -> GoDuration = GoDuration::of("15m");
    default_ready -> GoDuration = GoDuration::of("60s");
    default_verify_timeout -> GoDuration = GoDuration::of("20m");
    default_attempts_per -> GoDuration = GoDuration::of("24h");
    default_backoff -> GoDuration = GoDuration::of("10m");
    default_attempts -> u32 = 3;
    default_priority -> u16 = 9;
    default_priority_max -> u16 = 99;
    default_statuses -> Vec<ConditionStatus> = vec![ConditionStatus::True];
    delete -> DeleteOrRefuse = DeleteOrRefuse::Delete;
    refuse -> DeleteOrRefuse = DeleteOrRefuse::Refuse;
    default_remedies -> Vec<RemedySpec> = vec![RemedySpec {
        reboot: Some(RebootSpec { method: RebootMethod::Command }),
        timeout: default_remedy_timeout(),
    }];
}

impl Default for PrioritySpec {
    fn default() -> Self {
        PrioritySpec {
            default: default_priority(),
            min: 0,
            max: default_priority_max(),
            ageing: AgeingSpec::default(),
        }
    }
}

impl Default for DrainSpec {
    fn default() -> Self {
        DrainSpec {
            timeout: default_drain_timeout(),
            grace_period_seconds: None,
            empty_dir: delete(),
            unmanaged: refuse(),
            skip_terminating_after: None,
        }
    }
}

impl Default for VerifySpec {
    fn default() -> Self {
        VerifySpec {
            ready: default_ready(),
            daemon_sets: Requirement::default(),
            probe_pod: Requirement::default(),
            timeout: default_verify_timeout(),
            on_not_cured: OnNotCured::default(),
            settle: zero(),
        }
    }
}

impl Default for AttemptsSpec {
    fn default() -> Self {
        AttemptsSpec {
            max: default_attempts(),
            per: default_attempts_per(),
            backoff: default_backoff(),
        }
    }
}

/// A label selector with bounds, so that CEL rules over it have a bounded cost.
fn label_selector_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "nullable": true,
        "properties": {
            "matchLabels": {
                "description": "Labels with these values. Default: none. Example: `{pool: a}`.",
                "type": "object",
                "maxProperties": 32,
                "additionalProperties": { "type": "string", "maxLength": 63 },
            },
            "matchExpressions": {
                "description": "Requirements on labels. Default: none. Example: `[{key: pool, operator: Exists}]`.",
                "type": "array",
                "maxItems": 32,
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {
                            "description": "The label. Example: `pool`.",
                            "type": "string",
                            "maxLength": 317,
                        },
                        "operator": {
                            "description": "How the label is compared. Example: `In`.",
                            "type": "string",
                            "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                        },
                        "values": {
                            "description": "The values for In and NotIn. Default: none. Example: `[a, b]`.",
                            "type": "array",
                            "maxItems": 64,
                            "items": { "type": "string", "maxLength": 63 },
                        },
                    },
                    "x-kubernetes-validations": [{
                        "rule": "self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : !has(self.values) || size(self.values) == 0",
                        "message": "`values` must be given for In and NotIn, and not for Exists and DoesNotExist",
                    }],
                },
            },
        },
    })
}
