//! What the world consists of: nodes in racks and pools, two policies, runs, a ledger, an operator.

use std::collections::BTreeSet;

use rerail_core::{
    budget::CountOrPercent,
    facts::{Labels, NodeFacts},
    ledger::Ledger,
    policy::{Class, NodeSelector, Policy, Requirement, Trigger, TypePattern},
    run::Run,
};

use crate::{
    check::Broken,
    given::{at, condition, node, policy, secs, set},
};

/// The label of the pool, by which policies select.
pub const POOL: &str = "pool";
/// The label of the rack, which is the failure domain.
pub const RACK: &str = "rack";

/// How often each fault may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Purse {
    /// Nodes; the first two are in one rack.
    pub nodes: u8,
    /// How many failure domains may be open.
    pub domains: u8,
    /// Somebody moves a node to another pool.
    pub pools: u8,
    /// Somebody moves a node to another rack.
    pub racks: u8,
    /// A person cordons a node or lifts that cordon; a kubelet falls silent or comes back.
    pub outages: u8,
    /// Somebody lowers or raises a limit.
    pub limits: u8,
    /// An admission's status write of which the operator hears nothing lands at any time.
    pub late: u8,
    /// The operator dies, and another one recovers.
    pub crashes: u8,
}

impl Purse {
    /// What may go wrong, for people.
    pub fn told(&self) -> String {
        let entries = [
            (self.nodes, "nodes"),
            (self.domains, "racks open"),
            (self.pools, "pools changed"),
            (self.racks, "racks changed"),
            (self.outages, "outages"),
            (self.limits, "limits changed"),
            (self.late, "late admissions"),
            (self.crashes, "crashes"),
        ];
        let there = entries.iter().filter(|(count, _)| *count > 0);
        there.map(|(count, name)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
    }
}

/// Rules that can be taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// An admission that is in doubt keeps its slot.
    pub doubt: bool,
    /// A run keeps the failure domain that it was admitted with.
    pub frozen: bool,
    /// Slots of the ledger count beyond those of runs that are seen to act.
    pub ledger: bool,
    /// Recovery writes every open run, so that no late write lands on it.
    pub adopts: bool,
    /// Nodes that are out for other reasons count.
    pub out: bool,
}

impl Rules {
    /// All of them.
    pub const ALL: Rules =
        Rules { doubt: true, frozen: true, ledger: true, adopts: true, out: true };
}

/// A run as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StoredRun {
    /// The run.
    pub run: Run,
    /// `metadata.resourceVersion`.
    pub version: u32,
}

/// The status write that admits a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Admission {
    /// Which run.
    pub at: usize,
    /// What is written.
    pub next: Run,
    /// On this version.
    pub version: u32,
}

/// A write of the ledger that is decided on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Put {
    /// What the ledger is then.
    pub ledger: Ledger,
    /// What follows.
    pub admissions: Vec<Admission>,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// The nodes.
    pub nodes: Vec<NodeFacts>,
    /// The runs.
    pub runs: Vec<StoredRun>,
    /// The ledger.
    pub ledger: Ledger,
    /// How many nodes of the cluster may be out.
    pub cluster_limit: u32,
    /// How many of each policy's.
    pub policy_limit: u32,
    /// The operator has died, and nobody has recovered.
    pub down: bool,
    /// A write of the ledger under way.
    pub put: Option<Put>,
    /// Status writes that follow an acknowledged write of the ledger.
    pub in_hand: Vec<Admission>,
    /// Status writes that land at any time.
    pub late: Vec<Admission>,
    /// Runs whose admission the operator has not heard of.
    pub in_doubt: BTreeSet<String>,
    /// What may still go wrong.
    pub purse: Purse,
    /// A property that does not hold.
    pub broken: Option<Broken>,
}

impl State {
    /// Every node is sick.
    pub fn new(purse: Purse) -> State {
        let sick = |at_: u8| {
            let mut node = node(&format!("n{at_}"));
            let rack = if at_ < 2 { "r1" } else { "r2" };
            node.labels = labels(if at_ == 3 { "b" } else { "a" }, rack);
            set(&mut node, condition("Sick", "True", at(0)));
            node
        };
        State {
            nodes: (0..purse.nodes).map(sick).collect(),
            runs: Vec::new(),
            ledger: Ledger::default(),
            cluster_limit: 2,
            policy_limit: 2,
            down: false,
            put: None,
            in_hand: Vec::new(),
            late: Vec::new(),
            in_doubt: BTreeSet::new(),
            purse,
            broken: None,
        }
    }

    /// The policies, each of one pool.
    pub fn policies(&self) -> [Policy; 2] {
        ["a", "b"].map(|pool| {
            let mut policy = policy(CountOrPercent::Count(self.policy_limit));
            let wanted = Requirement::In(POOL.into(), vec![pool.into()]);
            policy.name = pool.into();
            policy.selector = NodeSelector::Labels(vec![wanted]);
            policy.budget.max_unavailable_per_domain = CountOrPercent::Count(PER_RACK);
            policy.budget.max_domains = u32::from(self.purse.domains);
            policy.contract.triggers = vec![trigger()];
            policy
        })
    }

    /// This state, in which a property does not hold.
    pub fn breaks(mut self, property: &'static str, why: impl Into<String>) -> State {
        self.broken = Some(Broken::new(property, why));
        self
    }
}

/// How many nodes of a policy may be out in one rack.
pub const PER_RACK: u32 = 1;

/// The labels of a node.
pub fn labels(pool: &str, rack: &str) -> Labels {
    Labels::from([(POOL, pool), (RACK, rack)])
}

fn trigger() -> Trigger {
    Trigger {
        condition_type: TypePattern::parse("Sick"),
        class: Class::Fault,
        statuses: vec!["True".into()],
        reason: None,
        hold_for: secs(0),
        stale_after: secs(0),
        must_clear: false,
        clear_for: secs(0),
    }
}
