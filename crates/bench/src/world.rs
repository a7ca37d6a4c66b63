//! Worlds to plan for: nodes in racks of 20, some of which want a run.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use rerail_core::{
    budget::CountOrPercent,
    config::ClusterConfig,
    drain::filter::{
        DaemonSetPods, DrainOptions, EmptyDir, OrphanedDaemonSet, TerminatingPods, Unmanaged,
    },
    facts::{ConditionFact, Evidence, LastRemediation, NodeFacts, Ready},
    plan::World,
    policy::{
        Action, Ageing, Attempts, Breaker, Budget, Class, Contract, DrainContract, MaxStarts, Mode,
        NodeSelector, OnNotCured, Policy, RebootMethod, Remedy, Requirement, Trigger, TypePattern,
        VerifyContract,
    },
    priority::PriorityRange,
};

/// Nodes of a rack.
pub const RACK: usize = 20;

/// Racks of a zone.
const ZONE: usize = 25;

/// The condition that calls for a reboot.
pub const CONDITION: &str = "LongUptime";

/// The name of the policy.
pub const POLICY_NAME: &str = "workers";

/// The policy of every world in words; its budget is each case's own.
pub const POLICY: &str = "mode: Enforce
nodes: {selector: {matchLabels: {pool: workers}}}    # all nodes
triggers: [{condition: {type: LongUptime}, class: Maintenance}]
remedies: [{reboot: {method: Command}}]
attempts: {max: 3, per: 24h}
budget: {maxStarts: {count: 1000000, per: 1h}}       # no pace
rerail-config: racks of 20 by zone and rack; its limits as high as the policy's";

/// How many nodes may be out, and in how many racks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `maxUnavailable` of policy and cluster.
    pub nodes: u32,
    /// `maxDomains` of policy and cluster.
    pub racks: u32,
}

/// The beginning of every world.
pub fn began() -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(500_000)
}

/// So many nodes, of which `urgency` says which ones want a run, and how urgently.
pub fn world(nodes: usize, limits: Limits, urgency: impl Fn(usize) -> Option<u16>) -> World {
    let facts = |index| {
        let node = node(index, urgency(index));
        (node.name.clone(), Arc::new(node))
    };
    let max_unavailable = CountOrPercent::Count(limits.nodes);
    World {
        nodes: (0..nodes).map(facts).collect(),
        policies: BTreeMap::from([(POLICY_NAME.to_owned(), policy(limits))]),
        config: Some(ClusterConfig {
            max_unavailable,
            max_domains: limits.racks,
            ..ClusterConfig::default()
        }),
        // Long enough ago for everything that waits for a start.
        started: began() - SignedDuration::from_hours(1),
        ..World::empty(began())
    }
}

/// The rack of the node with this index.
pub fn rack(index: usize) -> usize {
    index / RACK
}

/// The index of a node with this name.
pub fn index(name: &str) -> Option<usize> {
    name.strip_prefix("worker")?.parse().ok()
}

pub(crate) fn node(index: usize, urgency: Option<u16>) -> NodeFacts {
    let name = format!("worker{index:06}");
    let rack = rack(index);
    let labels = [
        ("kubernetes.io/hostname", name.clone()),
        ("kubernetes.io/os", "linux".to_owned()),
        ("kubernetes.io/arch", "amd64".to_owned()),
        ("node-role.kubernetes.io/worker", String::new()),
        ("pool", "workers".to_owned()),
        ("topology.kubernetes.io/zone", format!("zone-{}", rack / ZONE)),
        ("node-restriction.kubernetes.io/rack", format!("rack-{}", rack % ZONE)),
    ];
    let conditions = ["MemoryPressure", "DiskPressure", "PIDPressure"];
    let healthy = conditions.map(|kind| condition(kind, "False", "is fine"));
    let ready = condition("Ready", "True", "kubelet is posting ready status");
    let wanted = match urgency {
        Some(urgency) => {
            condition(CONDITION, "True", &format!("[P{urgency}] up for more than 30 days"))
        }
        None => condition(CONDITION, "False", "uptime is fine"),
    };
    let all = healthy.into_iter().chain([ready, wanted]);
    NodeFacts {
        uid: format!("uid-{name}"),
        labels: labels.into_iter().collect(),
        control_plane: false,
        deleting: false,
        unschedulable: false,
        cordoned_by: None,
        cordon_field_ours: false,
        ready: Ready::True,
        boot_id: format!("boot-{name}"),
        conditions: all.collect(),
        last_remediation: LastRemediation::default(),
        hold: false,
        ignore: false,
        claim: None,
        out_of_service: false,
        name,
    }
}

/// A condition that has been what it is for ten minutes, of which a report came a moment ago.
pub(crate) fn condition(kind: &str, status: &str, message: &str) -> ConditionFact {
    let since = began() - SignedDuration::from_mins(10);
    ConditionFact {
        evidence: Evidence {
            condition_type: kind.into(),
            status: status.into(),
            last_transition_time: Some(since),
            last_heartbeat_time: Some(began()),
        },
        reason: "Because".into(),
        message: message.into(),
        status_since: since,
        changed_at: began(),
    }
}

fn policy(limits: Limits) -> Policy {
    let pool = Requirement::In("pool".to_owned(), vec!["workers".to_owned()]);
    Policy {
        name: POLICY_NAME.to_owned(),
        generation: 1,
        mode: Mode::Enforce,
        suspended: false,
        selector: NodeSelector::Labels(vec![pool]),
        priority: PriorityRange { min: 0, max: 99, default: 9 },
        ageing: Ageing::default(),
        budget: Budget {
            max_unavailable: CountOrPercent::Count(limits.nodes),
            max_domains: limits.racks,
            max_starts: MaxStarts { count: 1_000_000, per: SignedDuration::from_hours(1) },
            ..Budget::default()
        },
        breaker: Breaker::default(),
        contract: contract(),
    }
}

fn contract() -> Contract {
    Contract {
        triggers: vec![Trigger {
            condition_type: TypePattern::parse(CONDITION),
            class: Class::Maintenance,
            statuses: vec!["True".to_owned()],
            reason: None,
            hold_for: SignedDuration::ZERO,
            stale_after: SignedDuration::from_hours(24),
            must_clear: true,
            clear_for: SignedDuration::ZERO,
        }],
        drain: DrainContract {
            timeout: SignedDuration::from_mins(30),
            options: DrainOptions {
                empty_dir: EmptyDir::Delete,
                unmanaged: Unmanaged::Refuse,
                orphaned_daemon_set: OrphanedDaemonSet::Delete,
                skip_terminating_after: None,
                grace_period_seconds: None,
                daemon_set: DaemonSetPods::Ignore,
                terminating: TerminatingPods::Wait,
            },
        },
        remedies: vec![Remedy {
            action: Action::Reboot(RebootMethod::Command),
            timeout: SignedDuration::from_mins(15),
        }],
        verify: VerifyContract {
            ready: SignedDuration::ZERO,
            daemon_sets: true,
            probe_pod: true,
            timeout: SignedDuration::from_mins(20),
            on_not_cured: OnNotCured::Hold,
            settle: SignedDuration::ZERO,
        },
        attempts: Attempts {
            max: 3,
            per: SignedDuration::from_hours(24),
            backoff: SignedDuration::from_mins(10),
        },
    }
}
