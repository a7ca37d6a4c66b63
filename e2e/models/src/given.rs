//! What the worlds of the models are made of: nodes, conditions, a policy's contract, runs.

use jiff::{SignedDuration, Timestamp};
use rerail_core::{
    budget::CountOrPercent,
    drain::filter::{
        DaemonSetPods, DrainOptions, EmptyDir, OrphanedDaemonSet, TerminatingPods, Unmanaged,
    },
    facts::{ConditionFact, Conditions, Evidence, Labels, LastRemediation, NodeFacts, Ready},
    ledger::Slot,
    policy::{
        Action, Ageing, Attempts, Breaker, Budget, Contract, DrainContract, Mode, NodeSelector,
        OnNotCured, Policy, RebootMethod, Remedy, VerifyContract,
    },
    priority::PriorityRange,
    reason::Reason,
    run::Run,
    step::Step,
};

/// So many seconds after the beginning.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH.saturating_add(secs(1_800_000_000 + seconds)).unwrap_or(Timestamp::MAX)
}

/// So many seconds.
pub const fn secs(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

/// A condition that bears heartbeats; `time` is everything: transition, heartbeat, first seen.
pub fn condition(kind: &str, status: &str, time: Timestamp) -> ConditionFact {
    ConditionFact {
        evidence: Evidence {
            condition_type: kind.into(),
            status: status.into(),
            last_transition_time: Some(time),
            last_heartbeat_time: Some(time),
        },
        reason: "Because".into(),
        message: "".into(),
        status_since: time,
        changed_at: time,
    }
}

/// Sets a condition, and with `Ready` what follows from it.
pub fn set(node: &mut NodeFacts, condition: ConditionFact) {
    if condition.condition_type() == "Ready" {
        node.ready = match condition.status() {
            "True" => Ready::True,
            "False" => Ready::False,
            _ => Ready::Unknown,
        };
    }
    node.conditions.insert(condition);
}

/// A Ready node of this name that nobody has touched.
pub fn node(name: &str) -> NodeFacts {
    let mut node = NodeFacts {
        name: name.into(),
        uid: format!("uid-{name}"),
        labels: Labels::from([("pool", "a")]),
        control_plane: false,
        deleting: false,
        unschedulable: false,
        cordoned_by: None,
        cordon_field_ours: false,
        ready: Ready::True,
        boot_id: "boot-1".into(),
        conditions: Conditions::default(),
        last_remediation: LastRemediation::default(),
        hold: false,
        ignore: false,
        claim: None,
        out_of_service: false,
    };
    set(&mut node, condition("Ready", "True", at(0)));
    node
}

/// One reboot through the node, verified by the boot and by Ready alone.
pub fn contract() -> Contract {
    Contract {
        triggers: vec![],
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
            daemon_sets: false,
            probe_pod: false,
            timeout: SignedDuration::from_mins(20),
            on_not_cured: OnNotCured::Hold,
            settle: SignedDuration::ZERO,
        },
        attempts: Attempts {
            max: 3,
            per: SignedDuration::from_hours(24),
            backoff: SignedDuration::ZERO,
        },
    }
}

/// A person's run of this node, which nobody has admitted.
pub fn pending(uid: &str, node: &NodeFacts) -> Run {
    let slot =
        Slot { run_uid: uid.into(), node_name: node.name.clone(), node_uid: node.uid.clone() };
    let run = Run::of_slot(slot, Step::Pending, Reason::Pending, at(0));
    Run { name: format!("{uid}-of-{}", node.name), policy: POLICY.into(), ..run }
}

/// The policy of every run here.
pub const POLICY: &str = "workers";

/// That policy: every node, and so many of them out at once. Small worlds are storms at once, which are not
/// what the models are about.
pub fn policy(max_unavailable: CountOrPercent) -> Policy {
    Policy {
        name: POLICY.into(),
        generation: 1,
        mode: Mode::Enforce,
        suspended: false,
        selector: NodeSelector::All,
        priority: PriorityRange { min: 0, max: 99, default: 9 },
        ageing: Ageing::default(),
        budget: Budget { max_unavailable, ..Budget::default() },
        breaker: Breaker { correlated: CountOrPercent::Count(u32::MAX), ..Breaker::default() },
        contract: contract(),
    }
}
