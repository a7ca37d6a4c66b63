//! Who is next, and why not the others: `plan(&World) -> Plan`, deterministic for a snapshot. The
//! reasons are part of the result; status, Events and messages only print them. Rules: planner.md, and
//! design note 014 for how it is read.
//!
//! | module | holds |
//! |---|---|
//! | [`candidate`] | who is a candidate, and the causes |
//! | [`gather`] | all candidates, runs that exist already included |
//! | [`held`] | the ledger beside the runs, and which slots go |
//! | [`order`] | who comes first, ageing |
//! | [`slots`] | who is under remediation |
//! | [`gate`] | the chain of gates |
//! | [`domain`], [`closing`] | failure domains: open, closed, reserved |
//! | [`scope`] | budgets |
//! | [`pace`] | starts in a sliding window |
//! | [`turn`] | each candidate's turn, after what was admitted before |
//! | [`glance`] | what one look at a node shows |
//! | [`memo`] | what was seen of nodes, kept for the next plan |
//! | [`look`] | what all of them read |

mod candidate;
mod closing;
mod domain;
mod gate;
mod gather;
mod glance;
mod held;
mod look;
mod memo;
mod order;
mod pace;
mod report;
mod scope;
mod slots;
mod turn;
mod wait;

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use crate::{
    breaker::{EndedRun, Storms},
    config::ClusterConfig,
    domain::Domain,
    facts::{NodeFacts, Pauses},
    ledger::Ledger,
    policy::Policy,
    priority::Priority,
    run::Run,
    sweep::Stray,
};

use glance::Glances;

pub use candidate::Cause;
pub use held::Held;
pub use memo::Memo;
pub use report::{DomainReport, Explanation, GateReport, PairReport, Plan, Scope, ScopeReport};
pub use wait::{Verdict, Wait, WaitReason};

/// Everything the planner looks at.
#[derive(Debug, Clone)]
pub struct World {
    /// The operator's clock.
    pub now: Timestamp,
    /// Nodes by name.
    pub nodes: BTreeMap<String, Arc<NodeFacts>>,
    /// Policies that are valid, by name.
    pub policies: BTreeMap<String, Policy>,
    /// Runs that have not ended.
    pub open_runs: Vec<Run>,
    /// The kill switch; `None` when it could not be read, which counts as paused.
    pub pauses: Option<Pauses>,
    /// Runs that are gone and whose nodes are not closed yet.
    pub strays: Vec<Stray>,
    /// The API server's clock less the operator's, where they differ by more than is allowed.
    pub clock_skew: Option<SignedDuration>,
    /// A kind of objects of which what is known is too old to start anything by it.
    pub out_of_date: Option<&'static str>,
    /// The configuration of the whole cluster; `None` when none was good since the start, and nothing
    /// starts.
    pub config: Option<ClusterConfig>,
    /// Slots that the ledger holds beyond those of `open_runs` and `strays`, and the recent starts.
    pub ledger: Ledger,
    /// The storms on record, by policy.
    pub storms: BTreeMap<String, Storms>,
    /// Runs that ended lately: since the storms on record began, at least.
    pub ended: Vec<EndedRun>,
    /// It was a meltdown when this was judged last ([`Plan::meltdown`]).
    pub melting: bool,
    /// When the last meltdown ended, as far as it was over then: every `for` counts from there at the
    /// earliest.
    pub meltdown_ended: Option<Timestamp>,
    /// Where conditions come from, beside the nodes themselves.
    pub sources: Vec<Source>,
    /// When this operator began to plan.
    pub started: Timestamp,
    /// The node that the operator itself runs on: taken last among equals (hazard H31).
    pub own_node: Option<String>,
}

impl World {
    /// A world in which nothing is, with the default configuration.
    pub fn empty(now: Timestamp) -> Self {
        World {
            now,
            nodes: BTreeMap::new(),
            policies: BTreeMap::new(),
            open_runs: Vec::new(),
            pauses: Some(Pauses::default()),
            strays: Vec::new(),
            clock_skew: None,
            out_of_date: None,
            config: Some(ClusterConfig::default()),
            ledger: Ledger::default(),
            storms: BTreeMap::new(),
            ended: Vec::new(),
            melting: false,
            meltdown_ended: None,
            sources: Vec::new(),
            started: now,
            own_node: None,
        }
    }

    /// What is known of a node.
    pub fn node(&self, name: &str) -> Option<&NodeFacts> {
        self.nodes.get(name).map(|node| &**node)
    }
}

/// Something that writes conditions, whose silence says nothing until it has spoken once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name, for people.
    pub name: String,
    /// The condition types that it writes begin so.
    pub prefix: String,
    /// True once it has written what it knows.
    pub synced: bool,
}

/// A pair of node and policy that wants a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The node.
    pub node: String,
    /// The policy.
    pub policy: String,
    /// A Pending run that exists already.
    pub run: Option<String>,
    /// The triggers that are true, most urgent first; empty for a run made by a person.
    pub causes: Vec<Cause>,
    /// Of the most urgent cause, as its message says.
    pub priority: Priority,
    /// The same after ageing: what the order goes by.
    pub effective: Priority,
    /// Since when it has been waiting.
    pub since: Timestamp,
    /// The failure domain of the node.
    pub domain: Domain,
}

/// Decides who is next.
pub fn plan(world: &World) -> Plan {
    gather::Gathered::of(world, &Glances::of(world)).decide(&mut None)
}

/// The same, for whoever plans again and again: nodes that have not changed since the plan before are only
/// counted.
pub fn plan_with(memo: &mut Memo, world: &World) -> Plan {
    gather::Gathered::of(world, memo.glances(world)).decide(&mut None)
}

/// All that there is to say of one pair of node and policy, every gate included: what [`plan`] decides
/// about it, step by step.
pub fn explain(world: &World, node: &str, policy: &str) -> Explanation {
    let mut asked = Some(turn::Asked { node, policy, answer: None });
    let plan = gather::Gathered::of(world, &Glances::of(world)).decide(&mut asked);
    asked.and_then(|asked| asked.answer).unwrap_or_else(|| {
        let mut pairs = plan.report.into_iter();
        let said = pairs.find(|pair| pair.node == node && pair.policy == policy);
        Explanation { wait: said.and_then(|pair| pair.wait), ..Explanation::default() }
    })
}

#[cfg(test)]
mod tests;
