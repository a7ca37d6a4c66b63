//! What the planner decided, and why.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;

use super::{Candidate, Verdict, Wait};
use crate::{breaker::Storms, domain::Domain, priority::Priority};

/// What the planner says of one pair of node and policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairReport {
    /// The node.
    pub node: String,
    /// The policy.
    pub policy: String,
    /// The priority, where a trigger is true or the run is a person's.
    pub priority: Option<Priority>,
    /// Why it does not start; `None` = it starts now (for DryRun: it would start).
    pub wait: Option<Wait>,
}

/// What the planner decided.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Those to start now, in order.
    pub admit: Vec<Candidate>,
    /// What a DryRun policy would start, by policy.
    pub would_start: BTreeMap<String, Vec<Candidate>>,
    /// Pending runs made by the operator whose node is no candidate any more.
    pub discard: Vec<String>,
    /// Every selected pair with something to say: candidates in their order, then the others.
    pub report: Vec<PairReport>,
    /// How many nodes each policy selects.
    pub matched: BTreeMap<String, usize>,
    /// How far each budget is used, with what this plan admits. A policy's scope is always there; that
    /// of a policy in one failure domain where a candidate is.
    pub scopes: Vec<ScopeReport>,
    /// The failure domains that are open, or closed, or reserved.
    pub domains: Vec<DomainReport>,
    /// The state of each policy's breaker, to be recorded.
    pub storms: BTreeMap<String, Storms>,
    /// Why nothing of a policy starts, where too many of its nodes are not Ready.
    pub unhealthy: BTreeMap<String, String>,
    /// Why the whole cluster starts nothing, if it is a meltdown.
    pub meltdown: Option<String>,
    /// When to plan again if nothing happens before.
    pub recheck_at: Option<Timestamp>,
}

/// Where a budget holds (planner.md, Budgets).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// All nodes.
    Cluster,
    /// The nodes that a policy selects.
    Policy(String),
    /// Those of them in one failure domain.
    PolicyDomain(String, Domain),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Cluster => f.write_str("the cluster"),
            Scope::Policy(policy) => write!(f, "policy {policy}"),
            Scope::PolicyDomain(policy, domain) => {
                write!(f, "policy {policy} in failure domain {domain}")
            }
        }
    }
}

/// How far a budget is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeReport {
    /// Which.
    pub scope: Scope,
    /// How many nodes may be out at once.
    pub limit: usize,
    /// How many are now: under remediation, not Ready, cordoned or being deleted.
    pub now: usize,
    /// How many are with what this plan starts; for a DryRun policy, with what it would start.
    pub used: usize,
    /// How many are under remediation.
    pub slots: usize,
    /// How many candidates wait for this budget.
    pub blocked: usize,
}

/// How a failure domain stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainReport {
    /// Which.
    pub domain: Domain,
    /// A run of it holds a slot, or starts now.
    pub open: bool,
    /// The most urgent of its candidates that pass every gate before the domain's.
    pub waiting: Option<Priority>,
    /// The more urgent node for which it is closed.
    pub closed_by: Option<String>,
    /// The node for which its place is reserved.
    pub reserved_for: Option<String>,
}

/// What one gate says of one pair, for people who want to see all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateReport {
    /// The gate, in one word.
    pub gate: &'static str,
    /// What it says.
    pub verdict: Verdict,
}

/// All that is to be said of one pair.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Explanation {
    /// The candidate, if it is one.
    pub candidate: Option<Candidate>,
    /// Why it does not start; `None` = it starts, or there is nothing to start.
    pub wait: Option<Wait>,
    /// What each gate says of the candidate, in order, when its turn comes.
    pub gates: Vec<GateReport>,
}
