//! A policy that has been validated: what `rerail-api` makes of a RemediationPolicy's spec.

use jiff::{SignedDuration, Timestamp};

use crate::{
    budget::CountOrPercent, drain::filter::DrainOptions, facts::Labels, priority::PriorityRange,
};

/// What a policy may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Decide and report, touch nothing (SAFE-23).
    DryRun,
    /// Decide and act.
    Enforce,
}

/// A validated policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Name of the RemediationPolicy.
    pub name: String,
    /// `metadata.generation` of the spec that this was made of.
    pub generation: i64,
    /// What it may do.
    pub mode: Mode,
    /// Switched off from Git.
    pub suspended: bool,
    /// Which nodes it selects.
    pub selector: NodeSelector,
    /// How messages become priorities.
    pub priority: PriorityRange,
    /// How waiting makes more urgent.
    pub ageing: Ageing,
    /// How many of its nodes may be out at once.
    pub budget: Budget,
    /// When it suspects a storm.
    pub breaker: Breaker,
    /// What a run of it promises; frozen into the run at admission.
    pub contract: Contract,
}

/// How waiting makes more urgent (planner.md, Order): one step per full `every`, never below `floor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ageing {
    /// How long a step takes; zero = priorities do not age.
    pub every: SignedDuration,
    /// The most urgent priority that ageing reaches.
    pub floor: u16,
}

impl Default for Ageing {
    fn default() -> Self {
        Ageing { every: SignedDuration::from_hours(6), floor: 5 }
    }
}

/// How many nodes of a policy may be out at once (planner.md, Budgets).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Of all the nodes that the policy selects.
    pub max_unavailable: CountOrPercent,
    /// What a percentage allows at least.
    pub min_floor: u32,
    /// How many failure domains the runs of the policy may keep open.
    pub max_domains: u32,
    /// Of the nodes that the policy selects in one failure domain.
    pub max_unavailable_per_domain: CountOrPercent,
    /// How many runs may start in a sliding window.
    pub max_starts: MaxStarts,
}

impl Default for Budget {
    fn default() -> Self {
        Budget {
            max_unavailable: CountOrPercent::Percent(10),
            min_floor: 1,
            max_domains: 1,
            max_unavailable_per_domain: CountOrPercent::Percent(100),
            max_starts: MaxStarts { count: 60, per: SignedDuration::from_hours(1) },
        }
    }
}

/// At most `count` starts in a window of length `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxStarts {
    /// How many.
    pub count: u32,
    /// The length of the sliding window.
    pub per: SignedDuration,
}

/// When a policy suspects that something else is wrong than its nodes (planner.md, Breaker).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// More nodes than this that are not Ready and hold no slot, and more than 3: nothing starts.
    pub unhealthy: CountOrPercent,
    /// At least this many nodes, and at least 3, with the same condition newly true: a storm.
    pub correlated: CountOrPercent,
    /// Newly true = within this time.
    pub window: SignedDuration,
    /// True when only a person closes it again.
    pub manual_reset: bool,
    /// When a person reset it: what opened or was newly true by then counts no more.
    pub reset_at: Option<Timestamp>,
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker {
            unhealthy: CountOrPercent::Percent(40),
            correlated: CountOrPercent::Percent(25),
            window: SignedDuration::from_mins(10),
            manual_reset: false,
            reset_at: None,
        }
    }
}

/// The part of a policy that a run freezes: later edits concern new runs only (SAFE-15).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Contract {
    /// Any of these being true makes a node a candidate.
    pub triggers: Vec<Trigger>,
    /// How the node is drained.
    pub drain: DrainContract,
    /// The ladder, first rung first; at least one.
    pub remedies: Vec<Remedy>,
    /// When the machine counts as healed.
    pub verify: VerifyContract,
    /// How often a machine may be disrupted.
    pub attempts: Attempts,
}

/// A condition that calls for a remedy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Trigger {
    /// Which condition types it looks at.
    pub condition_type: TypePattern,
    /// Fault or Maintenance.
    pub class: Class,
    /// The statuses that make it true.
    pub statuses: Vec<String>,
    /// The reason it must have; `None` = any.
    pub reason: Option<String>,
    /// How long the status must have lasted.
    pub hold_for: SignedDuration,
    /// How long an unchanged report counts; zero = for ever.
    pub stale_after: SignedDuration,
    /// True when it must have cleared before the uncordon.
    pub must_clear: bool,
    /// For how long it must have been clear without a break.
    pub clear_for: SignedDuration,
}

/// What a trigger is about. A fault comes before maintenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub enum Class {
    /// Something is wrong with the node.
    #[default]
    Fault,
    /// Routine: does not age, and many at once are no storm; budgets bound it.
    Maintenance,
}

/// A condition type, or all that begin with a prefix (`AlertManager_*`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TypePattern {
    /// Exactly this type.
    Exact(String),
    /// Every type that begins so.
    Prefix(String),
}

impl TypePattern {
    /// Reads `Type` or `Prefix*`; a star anywhere else is an ordinary character and matches nothing,
    /// since condition types have none.
    pub fn parse(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(prefix) => TypePattern::Prefix(prefix.to_owned()),
            None => TypePattern::Exact(text.to_owned()),
        }
    }

    /// True when a condition type fits.
    pub fn matches(&self, condition_type: &str) -> bool {
        match self {
            TypePattern::Exact(exact) => exact == condition_type,
            TypePattern::Prefix(prefix) => condition_type.starts_with(prefix.as_str()),
        }
    }
}

/// How a node is drained.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DrainContract {
    /// When a drain that is not done rolls back.
    pub timeout: SignedDuration,
    /// Which pods go, stay, or stop the drain.
    pub options: DrainOptions,
}

/// One rung of the ladder.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Remedy {
    /// What is done.
    pub action: Action,
    /// How long the machine may take to report a new boot ID.
    pub timeout: SignedDuration,
}

/// What a remedy does to the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A Pod on the node has its operating system reboot.
    Reboot(RebootMethod),
}

/// How a Pod on a node has the operating system reboot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RebootMethod {
    /// It runs the reboot command that the operator is configured with, in a privileged container.
    #[default]
    Command,
    /// It sends PID 1 the signal on which systemd reboots, and needs no privileged container.
    Signal,
}

impl RebootMethod {
    /// All of them.
    pub const ALL: [RebootMethod; 2] = [RebootMethod::Command, RebootMethod::Signal];

    /// What will be done, for people.
    pub fn announced(self) -> &'static str {
        match self {
            RebootMethod::Command => "a Pod on the node will run the reboot command",
            RebootMethod::Signal => "a Pod on the node will send SIGRTMIN+5 to its PID 1",
        }
    }
}

impl Action {
    /// True when it works on a node that is not Ready; a Pod needs a living kubelet.
    pub fn reaches_not_ready(self) -> bool {
        match self {
            Action::Reboot(RebootMethod::Command | RebootMethod::Signal) => false,
        }
    }
}

/// When a machine counts as healed (SAFE-19).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VerifyContract {
    /// How long the node must have been Ready without a break.
    pub ready: SignedDuration,
    /// True when the DaemonSet pods that were Ready at admission must be Ready again.
    pub daemon_sets: bool,
    /// True when a small Pod must have run on the node.
    pub probe_pod: bool,
    /// When verification gives up.
    pub timeout: SignedDuration,
    /// What happens to a machine that booted and is not cured.
    pub on_not_cured: OnNotCured,
    /// How long the run keeps its place after the uncordon.
    pub settle: SignedDuration,
}

/// What happens to a machine that booted, is Ready, and still shows the trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnNotCured {
    /// It stays cordoned until a person decides.
    Hold,
    /// It is put back to work, with the failure on record.
    Uncordon,
}

/// How often a machine may be disrupted, over all its runs (SAFE-14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attempts {
    /// At most this many attempts …
    pub max: u32,
    /// … in a window of this length.
    pub per: SignedDuration,
    /// How long a node rests after a run that did not succeed; doubled per blocked drain in a row.
    pub backoff: SignedDuration,
}

/// Which nodes a policy selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeSelector {
    /// Every node.
    All,
    /// The nodes whose labels meet every requirement; at least one is given.
    Labels(Vec<Requirement>),
}

/// One requirement of a label selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// The label is one of these values.
    In(String, Vec<String>),
    /// The label is absent, or none of these values.
    NotIn(String, Vec<String>),
    /// The label is there.
    Exists(String),
    /// The label is not there.
    DoesNotExist(String),
}

impl Requirement {
    fn met_by(&self, labels: &Labels) -> bool {
        let is_in = |key: &str, values: &[String]| {
            labels.get(key).is_some_and(|value| values.iter().any(|listed| listed == value))
        };
        match self {
            Requirement::In(key, values) => is_in(key, values),
            Requirement::NotIn(key, values) => !is_in(key, values),
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::DoesNotExist(key) => !labels.contains_key(key),
        }
    }
}

impl NodeSelector {
    /// True when a node with these labels is selected. A selector without requirements selects
    /// nothing: an empty one must never mean every machine of a company (hazard H10).
    pub fn matches(&self, labels: &Labels) -> bool {
        match self {
            NodeSelector::All => true,
            NodeSelector::Labels(requirements) => {
                !requirements.is_empty() && requirements.iter().all(|r| r.met_by(labels))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_match_as_kubernetes_does_and_empty_is_nothing() {
        let labels = Labels::from([("pool", "a")]);
        let key = || "pool".to_owned();
        let matches = |r: Requirement| NodeSelector::Labels(vec![r]).matches(&labels);
        assert!(matches(Requirement::In(key(), vec!["a".into(), "b".into()])));
        assert!(!matches(Requirement::In("other".into(), vec!["a".into()])));
        assert!(!matches(Requirement::NotIn(key(), vec!["a".into()])));
        assert!(matches(Requirement::NotIn("other".into(), vec!["a".into()])));
        assert!(matches(Requirement::Exists(key())));
        assert!(!matches(Requirement::DoesNotExist(key())));
        assert!(!NodeSelector::Labels(vec![]).matches(&labels));
        assert!(NodeSelector::All.matches(&labels));
    }

    #[test]
    fn a_star_at_the_end_is_a_prefix() {
        assert!(TypePattern::parse("AlertManager_*").matches("AlertManager_X"));
        assert!(!TypePattern::parse("AlertManager_*").matches("Ready"));
        assert!(TypePattern::parse("Ready").matches("Ready"));
        assert!(!TypePattern::parse("Ready").matches("Ready2"));
        assert!(!TypePattern::parse("*Ready").matches("NotReady"));
    }
}
