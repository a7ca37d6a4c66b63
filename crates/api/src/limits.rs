//! Budgets, breaker and ageing: the part of a RemediationPolicy that says how many nodes at once, and
//! when something else is suspected than the nodes.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::GoDuration;

/// The highest count that a limit takes; no cluster has more nodes.
pub const COUNT_LIMIT: i32 = 100_000;

/// The most starts that a window may allow: each of them is on record in the operator's Lease.
pub const STARTS_LIMIT: u32 = 1000;

/// The most storms that a status has on record.
pub const STORMS_KEPT: usize = 32;

/// How many nodes of a policy may be out at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BudgetSpec {
    /// Nodes that may be out at once, of all that the policy selects: a count, or a percentage, which
    /// is rounded down. A node is out while it is under remediation, not Ready, cordoned or being
    /// deleted. 0 starts nothing. Default: 10%. Example: `5`.
    #[serde(default = "default_max_unavailable")]
    #[schemars(schema_with = "crate::schema::count_or_percent")]
    pub max_unavailable: IntOrString,
    /// What a percentage above 0 allows at least, so that small pools get anywhere. Default: 1.
    /// Example: `2`.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 100000))]
    pub min_floor: u32,
    /// How many failure domains the runs of this policy may keep open at once; the cluster's own
    /// `maxDomains` holds, too. Default: 1. Example: `3`.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100000))]
    pub max_domains: u32,
    /// Nodes that may be out at once, of those that the policy selects in one failure domain. `1` with
    /// a high `maxDomains` spreads. Default: 100%. Example: `1`.
    #[serde(default = "hundred_percent")]
    #[schemars(schema_with = "crate::schema::count_or_percent")]
    pub max_unavailable_per_domain: IntOrString,
    /// How many runs may start in a sliding window. Default: 60 per 1h.
    #[serde(default)]
    pub max_starts: MaxStartsSpec,
}

/// At most `count` starts in any window of length `per`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("duration(self.per) > duration('0s')").message("`per` must be longer than 0s: it is the length of the window in which `count` runs may start").field_path(".per"))]
pub struct MaxStartsSpec {
    /// How many; 1 to 1000. Default: 60. Example: `10`.
    #[serde(default = "sixty")]
    #[schemars(range(min = 1, max = 1000))]
    pub count: u32,
    /// The length of the sliding window. Default: 1h. Example: `24h`.
    #[serde(default = "an_hour")]
    pub per: GoDuration,
}

/// When a policy suspects that something else is wrong than its nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("duration(self.window) > duration('0s')").message("`window` must be longer than 0s: conditions count as newly true for that long").field_path(".window"))]
pub struct BreakerSpec {
    /// While more nodes than this, and more than 3, are not Ready and not under remediation, nothing
    /// starts: a count, or a percentage of the nodes that the policy selects. Default: 40%.
    /// Example: `20`.
    #[serde(default = "default_unhealthy")]
    #[schemars(schema_with = "crate::schema::count_or_percent")]
    pub unhealthy: IntOrString,
    /// When one condition type becomes true on at least this many nodes, and at least 3, within
    /// `window`, its detector is suspected, and nothing starts for that type: a count, or a percentage
    /// of the nodes that the policy selects. Default: 25%. Example: `10`.
    #[serde(default = "default_correlated")]
    #[schemars(schema_with = "crate::schema::count_or_percent")]
    pub correlated: IntOrString,
    /// For how long a condition counts as newly true. Default: 10m. Example: `30m`.
    #[serde(default = "ten_minutes")]
    pub window: GoDuration,
    /// Automatic: one probe run, then 1, 2, 4 … runs, and a failed one stops it again. Manual: a type
    /// stays stopped until a person sets the annotation `rerail.dev/reset-breaker` to the time of
    /// `status.breaker[].since`, or a later one. Default: Automatic. Example: `Manual`.
    #[serde(default)]
    pub reset: BreakerReset,
}

/// Who lets a stopped condition type start runs again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BreakerReset {
    #[default]
    Automatic,
    Manual,
}

/// How waiting makes more urgent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgeingSpec {
    /// A node that has waited for this long is one step more urgent, and one more for each such time
    /// after it; 0s = priorities do not age. Default: 6h. Example: `12h`.
    #[serde(default = "six_hours")]
    pub every: GoDuration,
    /// Ageing makes nothing more urgent than this. Default: 5. Example: `8`.
    #[serde(default = "five")]
    #[schemars(range(min = 0, max = 9999))]
    pub floor: u16,
}

/// How much of a policy's budget is in use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BudgetStatus {
    /// How many nodes may be out at once. Default: 0. Example: `6`.
    pub limit: i32,
    /// How many are: under remediation, not Ready, cordoned or being deleted. Default: 0. Example: `1`.
    pub used: i32,
    /// Both, for people. Default: empty. Example: `1/6`.
    #[schemars(length(max = 32))]
    pub summary: String,
}

/// A condition type that is stopped, since it became true on many nodes at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StormStatus {
    /// The condition's type. Example: `KernelDeadlock`.
    #[schemars(length(max = 316))]
    pub condition_type: String,
    /// Open: nothing starts for this type; Probing: one run may start; Ramp: `allowed` runs may.
    /// Example: `Open`.
    pub state: StormState,
    /// Runs that may start in this round. Default: 0. Example: `4`.
    #[serde(default)]
    pub allowed: u32,
    /// Since when it is in this state. Example: `2026-01-01T00:00:00Z`.
    #[schemars(schema_with = "crate::schema::time")]
    pub since: jiff::Timestamp,
}

/// How a stopped condition type stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StormState {
    Open,
    Probing,
    Ramp,
}

macro_rules! defaults {
    ($($name:ident -> $type:ty = $value:expr;)+) => { $(fn $name() -> $type { $value })+ };
}

defaults! {
    one -> u32 = 1;
    five -> u16 = 5;
    sixty -> u32 = 60;
    an_hour -> GoDuration = GoDuration::of("1h");
    six_hours -> GoDuration = GoDuration::of("6h");
    ten_minutes -> GoDuration = GoDuration::of("10m");
    default_max_unavailable -> IntOrString = IntOrString::String("10%".into());
    hundred_percent -> IntOrString = IntOrString::String("100%".into());
    default_unhealthy -> IntOrString = IntOrString::String("40%".into());
    default_correlated -> IntOrString = IntOrString::String("25%".into());
}

impl Default for BudgetSpec {
    fn default() -> Self {
        BudgetSpec {
            max_unavailable: default_max_unavailable(),
            min_floor: one(),
            max_domains: one(),
            max_unavailable_per_domain: hundred_percent(),
            max_starts: MaxStartsSpec::default(),
        }
    }
}

impl Default for MaxStartsSpec {
    fn default() -> Self {
        MaxStartsSpec { count: sixty(), per: an_hour() }
    }
}

impl Default for BreakerSpec {
    fn default() -> Self {
        BreakerSpec {
            unhealthy: default_unhealthy(),
            correlated: default_correlated(),
            window: ten_minutes(),
            reset: BreakerReset::default(),
        }
    }
}

impl Default for AgeingSpec {
    fn default() -> Self {
        AgeingSpec { every: six_hours(), floor: five() }
    }
}
