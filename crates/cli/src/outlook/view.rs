//! The shape of the answers: what `-o json` prints, and what the tables are made of. Fields are only
//! added; what is here keeps its name and meaning while `version` stays the same. Times are RFC 3339.

use jiff::Timestamp;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::Serialize;

/// The version of both shapes.
pub const VERSION: u32 = 1;

/// The shapes by the command that prints them, as JSON schemas.
pub fn schemas() -> [(&'static str, schemars::Schema); 4] {
    let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    let mut generator = settings.into_generator();
    [
        ("rerail plan", generator.root_schema_for::<PlanView>()),
        ("rerail explain node", generator.root_schema_for::<NodeView>()),
        ("rerail simulate", generator.root_schema_for::<rerail_simulate::report::Report>()),
        ("rerail alerts test", generator.root_schema_for::<crate::alerts::test::TestView>()),
    ]
}

/// What both answers begin with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Frame {
    /// Version of the shape.
    pub version: u32,
    /// When the cluster was read.
    #[schemars(with = "String")]
    pub read_time: Timestamp,
    /// The moment that is planned for.
    #[schemars(with = "String")]
    pub plan_time: Timestamp,
    /// What the answer takes for granted.
    pub assumptions: Vec<String>,
    /// What the reader must know beside it: previews, what could not be read or is not valid.
    pub notes: Vec<String>,
}

/// `rerail plan -o json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanView {
    #[serde(flatten)]
    pub frame: Frame,
    /// The plan in one sentence.
    pub summary: String,
    /// What stops every start: a pause of everything, a meltdown, no configuration, clocks that differ.
    pub stops: Vec<Why>,
    /// What starts now, in order.
    pub starts: Vec<Start>,
    /// What DryRun policies would start now, in order, by policy.
    pub would_start: Vec<WouldStart>,
    /// What waits, in the order in which it will be asked.
    pub waiting: Vec<Waiting>,
    /// Runs that have not ended.
    pub runs: Vec<RunView>,
    /// Failure domains in which something is under way, or for which something waits.
    pub domains: Vec<DomainView>,
    /// Budgets.
    pub budgets: Vec<BudgetView>,
    /// Conditions that are suspected to be the detector's fault.
    pub storms: Vec<StormView>,
    /// The policies.
    pub policies: Vec<PolicyView>,
    /// When the plan can change by itself next.
    #[schemars(with = "Option<String>")]
    pub recheck_time: Option<Timestamp>,
}

/// A reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Why {
    /// In one word.
    pub reason: String,
    /// In a sentence.
    pub message: String,
    /// The earliest time that it can change by itself; absent = only by an event.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub recheck_time: Option<Timestamp>,
    /// True when it passes at that time; otherwise only the order may be another then.
    #[serde(skip)]
    pub ends_by_itself: bool,
    /// What can be done about it; only where one node is explained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Why {
    /// When it passes by itself, at the earliest.
    pub fn until(&self) -> Option<Timestamp> {
        self.recheck_time.filter(|_| self.ends_by_itself)
    }
}

/// A node that starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    /// The node.
    pub node: String,
    /// The policy.
    pub policy: String,
    /// As the message says.
    pub priority: u16,
    /// After ageing.
    pub effective_priority: u16,
    /// Since when it has been waiting.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// Its failure domain; empty where there are none.
    pub domain: String,
    /// The conditions that call for it, most urgent first; empty for a run made by a person.
    pub causes: Vec<String>,
    /// The run that exists already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

/// What a DryRun policy would start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WouldStart {
    /// The policy.
    pub policy: String,
    /// What it would start.
    pub starts: Vec<Start>,
}

/// A pair of node and policy that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// The node.
    pub node: String,
    /// The policy.
    pub policy: String,
    /// Absent while no trigger is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u16>,
    /// Why not, if not.
    #[serde(flatten)]
    pub why: Why,
}

/// A run that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunView {
    /// Its name.
    pub name: String,
    /// The node.
    pub node: String,
    /// The policy.
    pub policy: String,
    /// The step that it is in.
    pub step: String,
    /// Since when it is in this step.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// When the step must have ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub deadline: Option<Timestamp>,
    /// Why, in one word.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
    /// True while it counts against budgets and keeps its domain open.
    pub holds_slot: bool,
    /// True once an invariant has stopped it for good.
    pub frozen: bool,
    /// Reboots begun.
    pub attempts: u32,
    /// Its failure domain, frozen at admission.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

/// A failure domain that is open, closed or reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainView {
    /// The failure domain.
    pub domain: String,
    /// `Open`; `Closed`: it finishes what it began and starts nothing; `Reserved`: the next one;
    /// `Waiting`.
    pub state: String,
    /// Nodes of it whose runs are under way.
    pub under_way: Vec<String>,
    /// The most urgent candidate that waits in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most_urgent: Option<u16>,
    /// The more urgent node for which it is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_by: Option<String>,
    /// The node for which its place is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserved_for: Option<String>,
}

/// How a budget stands, with what starts now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BudgetView {
    /// `the cluster`, `policy NAME` or `policy NAME in failure domain DOMAIN`.
    pub scope: String,
    /// How many nodes may be out.
    pub limit: usize,
    /// How many are, with those that start now. What a DryRun policy would start does not count.
    pub used: usize,
    /// How many candidates wait for it.
    pub blocked: usize,
    /// Nodes of the scope that start now.
    pub starting: Vec<String>,
    /// Nodes of the scope whose runs are under way.
    pub under_way: Vec<String>,
    /// Nodes of the scope that are out otherwise: not Ready, cordoned, or being deleted.
    pub out: Vec<String>,
}

/// A condition that many nodes show at once, so that its detector is suspected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StormView {
    /// The policy.
    pub policy: String,
    /// The type of the condition.
    pub condition_type: String,
    /// `Open`, `Probing` or `Ramp`.
    pub state: String,
    /// Since when.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// Runs that may start in this round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<u32>,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyView {
    /// Its name.
    pub name: String,
    /// `Enforce`, `DryRun`.
    pub mode: String,
    /// Switched off by its spec.
    pub suspended: bool,
    /// From a file, and not applied.
    pub previewed: bool,
    /// How many nodes it selects.
    pub matched: usize,
}

/// `rerail explain node NAME -o json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeView {
    #[serde(flatten)]
    pub frame: Frame,
    /// The answer in one sentence.
    pub answer: String,
    /// `Starts`, `WouldStart`, `Waits`, `UnderWay`, `Held`, `Healthy` or `NotSelected`.
    pub state: String,
    /// The earliest time that it can start by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub earliest_time: Option<Timestamp>,
    /// What would have to change for it to start.
    pub needs: Vec<String>,
    /// The node.
    pub node: NodeFactsView,
    /// Its run that has not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunView>,
    /// What it remembers of its runs.
    pub history: HistoryView,
    /// What each policy says of it.
    pub policies: Vec<PairView>,
}

/// What matters of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeFactsView {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// `True`, `False` or `Unknown`.
    pub ready: String,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub ready_since: Option<Timestamp>,
    /// Its boot ID, as reported.
    #[serde(rename = "bootID")]
    pub boot_id: String,
    /// Whose cordon it bears, in a few words; absent = it is schedulable and bears no mark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cordon: Option<String>,
    /// It bears the label `rerail.dev/hold`.
    pub hold: bool,
    /// It bears the label `rerail.dev/ignore`.
    pub ignore: bool,
    /// It is of the control plane.
    pub control_plane: bool,
    /// It is being deleted.
    pub deleting: bool,
    /// It bears the taint `node.kubernetes.io/out-of-service`.
    pub out_of_service: bool,
    /// The mark by which another controller says that it is taking the node down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed_by: Option<String>,
    /// Its failure domain; empty where there are none.
    pub domain: String,
    /// False where it lacks every topology label, and so is its own domain.
    pub domain_labelled: bool,
    /// All its conditions.
    pub conditions: Vec<ConditionView>,
}

/// A condition of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConditionView {
    /// The type of the condition.
    #[serde(rename = "type")]
    pub condition_type: String,
    /// The status of the condition.
    pub status: String,
    /// Why, in one word.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
    /// Since when the status is what it is.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// The latest report, by its writer's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub heartbeat_time: Option<Timestamp>,
}

/// What the node remembers of its runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryView {
    /// When it was disrupted, oldest first.
    #[schemars(with = "Vec<String>")]
    pub attempts: Vec<Timestamp>,
    /// Drains in a row that were blocked and rolled back.
    pub roll_backs: u32,
    /// Its last run that ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<LastRunView>,
}

/// A run that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastRunView {
    /// Its name.
    pub name: String,
    /// `Succeeded`, `Cancelled` or `Failed`.
    pub result: String,
    /// Why, in one word.
    pub reason: String,
    /// When it ended.
    #[schemars(with = "String")]
    pub end_time: Timestamp,
}

/// What a policy says of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PairView {
    /// The policy.
    pub policy: String,
    /// `Enforce` or `DryRun`.
    pub mode: String,
    /// Switched off by its spec.
    pub suspended: bool,
    /// From a file, and not applied.
    pub previewed: bool,
    /// The policy selects the node.
    pub selected: bool,
    /// What its triggers read on the node.
    pub triggers: Vec<TriggerView>,
    /// As the most urgent message says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u16>,
    /// After ageing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective_priority: Option<u16>,
    /// The conditions that call for it, most urgent first; empty for a run made by a person.
    pub causes: Vec<String>,
    /// Its place among the candidates that enforcing policies have, or, for DryRun, that it has; from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<usize>,
    /// Why it does not start; absent = it starts, or there is nothing to start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<Why>,
    /// When it starts, if nothing changes but the time; absent = time alone is not enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub earliest_time: Option<Timestamp>,
    /// What stands against it when that which ends by itself has ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<Why>,
    /// Every gate in order; empty where the pair is no candidate.
    pub gates: Vec<GateView>,
    /// The budgets that it counts in.
    pub budgets: Vec<BudgetView>,
}

/// What a trigger reads of a condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TriggerView {
    /// As the policy writes it: a type, or a prefix with `*`.
    pub pattern: String,
    /// The condition; absent where the node has none that fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition_type: Option<String>,
    /// The status of the condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// `True`, `Pending`, `Unknown`, `Clear`, `NotReportedAnew` or `Absent`.
    pub reading: String,
    /// When a pending one is true, if nothing changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
    /// Since when the status is what it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
    /// The latest report, by its writer's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub heartbeat_time: Option<Timestamp>,
    /// As its message says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u16>,
    /// Why, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What a gate says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateView {
    /// The gate, in a few words.
    pub gate: String,
    /// `Pass`, `Wait` or `Refuse`.
    pub verdict: String,
    /// Why not, if not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
}
