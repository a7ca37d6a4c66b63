//! Tests of what a run does next. Here are the builders; the tests are below.

mod driver;
mod held;
mod injections;
mod memory;
mod others;
mod protocol;
mod random;
mod retry;
mod steps;
mod verifying;
mod world;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::{
    drain::filter::{
        DaemonSetPods, DrainOptions, EmptyDir, OrphanedDaemonSet, TerminatingPods, Unmanaged,
    },
    facts::{ConditionFact, Conditions, Evidence, Labels, LastRemediation, LastRun, Ready},
    policy::{
        self, Attempts, DrainContract, OnNotCured, Remedy, Trigger, TypePattern, VerifyContract,
    },
    reboot_check::Refusal,
    run::Retries,
};

/// So many seconds after the beginning of the test.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

pub(crate) const fn secs(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

/// A condition that bears heartbeats; `time` is everything: transition, heartbeat, first seen.
pub(crate) fn condition(kind: &str, status: &str, time: i64) -> ConditionFact {
    ConditionFact {
        evidence: Evidence {
            condition_type: kind.into(),
            status: status.into(),
            last_transition_time: Some(at(time)),
            last_heartbeat_time: Some(at(time)),
        },
        reason: "Because".into(),
        message: format!("[P6] {kind} is {status}").into(),
        status_since: at(time),
        changed_at: at(time),
    }
}

pub(crate) fn set(node: &mut NodeFacts, condition: ConditionFact) {
    if condition.condition_type() == "Ready" {
        node.ready = match condition.status() {
            "True" => Ready::True,
            "False" => Ready::False,
            _ => Ready::Unknown,
        };
    }
    node.conditions.insert(condition);
}

/// A Ready node whose condition `Sick` is True.
pub(crate) fn node() -> NodeFacts {
    let mut node = NodeFacts {
        name: "worker1a".into(),
        uid: "node-1".into(),
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
    set(&mut node, condition("Ready", "True", 0));
    set(&mut node, condition("Sick", "True", 0));
    node
}

pub(crate) fn cordon(node: &mut NodeFacts) {
    node.unschedulable = true;
    node.cordoned_by = Some("run-1".into());
    node.cordon_field_ours = true;
}

pub(crate) fn trigger() -> Trigger {
    Trigger {
        condition_type: TypePattern::parse("Sick"),
        class: policy::Class::Fault,
        statuses: vec!["True".into()],
        reason: None,
        hold_for: SignedDuration::ZERO,
        stale_after: SignedDuration::from_mins(15),
        must_clear: true,
        clear_for: SignedDuration::ZERO,
    }
}

pub(crate) fn contract() -> Contract {
    Contract {
        triggers: vec![trigger()],
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
            action: policy::Action::Reboot(RebootMethod::Command),
            timeout: SignedDuration::from_mins(15),
        }],
        verify: VerifyContract {
            ready: SignedDuration::from_secs(60),
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

/// A run of `worker1a` that nobody has admitted.
pub(crate) fn pending_run() -> Run {
    Run {
        uid: "run-1".into(),
        name: "worker1a-0a1b2c3d".into(),
        node_name: "worker1a".into(),
        node_uid: "node-1".into(),
        policy: "workers".into(),
        causes: vec!["Sick".into()],
        cancel: false,
        retries: Retries::default(),
        frozen: None,
        contract: None,
        domain: None,
        step: Step::Pending,
        reason: Reason::Pending,
        message: String::new(),
        since: at(0),
        deadline: None,
        paused_at: None,
        intent: None,
        attempt: 0,
        attempt_times: vec![],
        boot_id_before: None,
        report_before: None,
        evidence: vec![],
        daemon_sets: vec![],
        ending: None,
    }
}

/// The DaemonSets that are Ready on `worker1a`.
pub(crate) fn sets() -> Vec<String> {
    vec!["kube-system/calico-node".to_owned()]
}

/// The run of `worker1a` as it looks in a step that it entered at second 0, on the usual way there.
pub(crate) fn run(step: Step) -> Run {
    let admitted = admit(&pending_run(), &node(), &contract(), at(0));
    let attempted = Run {
        daemon_sets: sets(),
        attempt: 1,
        attempt_times: vec![at(0)],
        boot_id_before: Some("boot-1".into()),
        report_before: Some(at(-60)),
        ..admitted.clone()
    };
    let enter = |run: &Run, reason, timeout: i64| Run {
        deadline: Some(at(timeout)),
        ..run.enter(step, reason, "as usual".into(), at(0))
    };
    match step {
        Step::Pending => pending_run(),
        Step::Cordoning => admitted,
        Step::Draining => enter(&admitted, Reason::Cordoned, 1800),
        Step::Rebooting => Run {
            intent: Some(Intent {
                effect: IntentEffect::Reboot,
                attempt: 1,
                node_uid: "node-1".into(),
                boot_id_before: "boot-1".into(),
                time: at(0),
            }),
            ..enter(&attempted, Reason::RebootPodPending, 900)
        },
        Step::Withdrawing => enter(&attempted, Reason::RebootTimeout, 600),
        Step::Verifying => enter(&attempted, Reason::Booted, 1200),
        Step::Uncordoning => enter(&attempted, Reason::Verified, 600),
        Step::Settling => enter(&attempted, Reason::Settling, 300),
        Step::RollingBack => enter(&admitted, Reason::DrainTimeout, 600),
        Step::Held => Run { deadline: None, ..enter(&attempted, Reason::NoBoot, 0) },
        Step::Succeeded | Step::Cancelled | Step::Failed => {
            Run { deadline: None, ..enter(&attempted, Reason::Healed, 0) }
        }
    }
}

/// The node as a run in this step finds it, if all goes well.
pub(crate) fn node_in(step: Step) -> NodeFacts {
    let mut node = node();
    match step {
        Step::Pending | Step::Cordoning | Step::Settling => {}
        Step::Succeeded | Step::Cancelled | Step::Failed => {}
        Step::Draining
        | Step::Rebooting
        | Step::Withdrawing
        | Step::Verifying
        | Step::Uncordoning
        | Step::RollingBack
        | Step::Held => cordon(&mut node),
    }
    if matches!(step, Step::Verifying | Step::Uncordoning) {
        node.boot_id = "boot-2".into();
    }
    node
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeIs {
    There,
    Gone,
    Replaced,
}

/// A run and all that one look at the world shows of it.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    pub run: Run,
    pub node: NodeFacts,
    pub node_is: NodeIs,
    pub now: Timestamp,
    pub policy: PolicyStanding,
    pub paused: bool,
    pub drain: Option<DrainPlan>,
    pub reboot_pod: PodSeen,
    pub probe_pod: PodSeen,
    pub daemon_sets_ready: Option<Vec<String>>,
    pub memory: Memory,
}

/// The usual scene of a step, ten seconds after it was entered, for an operator that has driven the run
/// from its drain on.
pub(crate) fn scene(step: Step) -> Scene {
    let mut memory = Memory::default();
    memory.observe(&run(Step::Draining), &node(), &PodSeen::Absent, at(0));
    Scene {
        run: run(step),
        node: node_in(step),
        node_is: NodeIs::There,
        now: at(10),
        policy: PolicyStanding::InForce,
        paused: false,
        drain: None,
        reboot_pod: PodSeen::Absent,
        probe_pod: PodSeen::Absent,
        daemon_sets_ready: Some(sets()),
        memory,
    }
}

impl Scene {
    /// Decides with the memory as it is.
    pub(crate) fn decide(&self) -> Decision {
        step(
            &self.run,
            &Observation {
                now: self.now,
                node: match self.node_is {
                    NodeIs::There => NodeSeen::Present(&self.node),
                    NodeIs::Gone => NodeSeen::Gone,
                    NodeIs::Replaced => NodeSeen::Replaced,
                },
                policy: self.policy,
                paused: self.paused.then(|| "paused by alice".to_owned()),
                drain: self.drain.as_ref(),
                reboot_pod: self.reboot_pod.clone(),
                probe_pod: self.probe_pod.clone(),
                daemon_sets_ready: self.daemon_sets_ready.clone(),
                memory: &self.memory,
            },
        )
    }

    /// Looks, remembers, and decides, as the operator does.
    pub(crate) fn look(&mut self) -> Decision {
        if self.node_is == NodeIs::There {
            self.memory.observe(&self.run, &self.node, &self.reboot_pod, self.now);
        }
        self.decide()
    }

    /// The status that the decision commits; fails where it is none.
    #[track_caller]
    pub(crate) fn changed(&mut self) -> Run {
        match self.look() {
            Decision { action: Action::Change(next), .. } => *next,
            other => panic!("expected a change, got {other:?}"),
        }
    }

    /// Puts the attempts on the node's record, as an effect; fails where that is not what is to be done.
    #[track_caller]
    pub(crate) fn remembers(&mut self) {
        assert_eq!(self.effect(), Effect::Remember);
        let memory = record_attempts(&self.run, &self.node.last_remediation);
        self.node.last_remediation = memory.expect("there is news");
    }

    /// The effect; fails where there is none.
    #[track_caller]
    pub(crate) fn effect(&mut self) -> Effect {
        match self.look() {
            Decision { action: Action::Do(effect), .. } => effect,
            other => panic!("expected an effect, got {other:?}"),
        }
    }

    /// The reason of a wait; fails where something is done.
    #[track_caller]
    pub(crate) fn waits(&mut self) -> Reason {
        match self.look() {
            Decision { action: Action::Wait, reason, .. } => reason,
            other => panic!("expected a wait, got {other:?}"),
        }
    }

    /// Step and reason of the status that the decision commits.
    #[track_caller]
    pub(crate) fn goes_to(&mut self) -> (Step, Reason) {
        let next = self.changed();
        (next.step, next.reason)
    }
}

pub(crate) fn ended(exit_code: i32, finished: i64, refusal: Option<Refusal>) -> PodSeen {
    PodSeen::Ended {
        exit_code,
        finished_at: Some(at(finished)),
        report: Some(Report {
            acted: exit_code == 0,
            refusal,
            message: "the words of the Pod".into(),
        }),
    }
}

/// A node that the closing write of this run has reached.
pub(crate) fn close(node: &mut NodeFacts, run: &Run, result: Step) {
    node.cordoned_by = None;
    node.last_remediation.last = Some(LastRun {
        uid: run.uid.clone(),
        name: run.name.clone(),
        result: result.name().into(),
        reason: run.reason.name().into(),
        end_time: at(0),
    });
}
