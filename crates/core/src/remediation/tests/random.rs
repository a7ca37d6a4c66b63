//! Properties of every decision, whatever run and world it is made for, sensible or not.

use proptest::prelude::*;

use super::*;
use crate::{
    drain::{
        filter::RefuseReason,
        progress::{Blocked, DrainPlan},
    },
    facts::LastRun,
    invariants,
    remediation::record_attempts,
};

fn times() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        12 => (-4000_i64..4000).prop_map(at),
        1 => Just(Timestamp::MIN),
        1 => Just(Timestamp::MAX),
    ]
}

fn pick<T: Clone + std::fmt::Debug + 'static>(all: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop::sample::select(all.to_vec())
}

fn words(all: &'static [&'static str]) -> impl Strategy<Value = String> {
    pick(all).prop_map(str::to_owned)
}

fn conditions() -> impl Strategy<Value = ConditionFact> {
    let kind = words(&["Sick", "Sick", "Ready", "Other", ""]);
    let status = words(&["True", "False", "Unknown", "", "yes"]);
    (kind, status, prop::option::of(times()), prop::option::of(times()), times(), times()).prop_map(
        |(kind, status, transition, heartbeat, status_since, changed_at)| ConditionFact {
            evidence: Evidence {
                condition_type: kind.into(),
                status: status.into(),
                last_transition_time: transition,
                last_heartbeat_time: heartbeat,
            },
            reason: "".into(),
            message: "[P1] x".into(),
            status_since,
            changed_at,
        },
    )
}

fn memories() -> impl Strategy<Value = LastRemediation> {
    let last = prop::option::weighted(0.3, words(&["run-1", "run-0"]));
    (prop::collection::vec(times(), 0..4), any::<u32>(), last).prop_map(
        |(attempts, roll_backs, last)| LastRemediation {
            attempts,
            roll_backs,
            last: last.map(|uid| LastRun {
                uid,
                name: "x".into(),
                result: "Failed".into(),
                reason: "x".into(),
                end_time: at(0),
            }),
            ..LastRemediation::default()
        },
    )
}

fn nodes() -> impl Strategy<Value = NodeFacts> {
    let mark = prop::option::weighted(0.8, words(&["run-1", "run-1", "run-1", "run-0", ""]));
    let rare = || prop::bool::weighted(0.1);
    let flags = (any::<bool>(), any::<bool>(), rare(), rare(), rare(), rare());
    let boot = words(&["boot-1", "boot-2", ""]);
    let ready = pick(&[Ready::True, Ready::True, Ready::False, Ready::Unknown]);
    (mark, flags, boot, ready, prop::collection::vec(conditions(), 0..4), memories()).prop_map(
        |(cordoned_by, flags, boot_id, ready, conditions, last_remediation)| {
            let mut node = node();
            for condition in conditions {
                node.conditions.insert(condition);
            }
            NodeFacts {
                cordoned_by,
                unschedulable: flags.0,
                cordon_field_ours: flags.1,
                deleting: flags.2,
                hold: flags.3,
                claim: flags.4.then(|| "taint x".to_owned()),
                out_of_service: flags.5,
                boot_id,
                ready,
                last_remediation,
                ..node
            }
        },
    )
}

fn intents() -> impl Strategy<Value = Intent> {
    let effect = pick(&IntentEffect::ALL);
    let uid = words(&["node-1", "node-1", "node-2"]);
    (effect, 0..3_u32, uid, words(&["boot-1", "boot-1", "boot-2", ""])).prop_map(
        |(effect, attempt, node_uid, boot_id_before)| Intent {
            effect,
            attempt,
            node_uid,
            boot_id_before,
            time: at(0),
        },
    )
}

fn durations() -> impl Strategy<Value = SignedDuration> {
    prop_oneof![4 => (0_i64..4000).prop_map(secs), 1 => Just(SignedDuration::MAX)]
}

fn contracts() -> impl Strategy<Value = Contract> {
    let hold = any::<bool>();
    let lengths = prop::collection::vec(durations(), 6);
    (0..3_usize, 0..4_u32, lengths, any::<[bool; 3]>(), hold).prop_map(
        |(rungs, max, lengths, flags, hold)| {
            let mut contract = contract();
            let rung = Remedy { timeout: lengths[0], ..contract.remedies[0].clone() };
            contract.remedies = vec![rung; rungs];
            contract.attempts = Attempts { max, per: lengths[1], backoff: lengths[2] };
            contract.drain.timeout = lengths[3];
            contract.verify = VerifyContract {
                ready: lengths[4],
                settle: lengths[5],
                daemon_sets: flags[0],
                probe_pod: flags[1],
                on_not_cured: if hold { OnNotCured::Hold } else { OnNotCured::Uncordon },
                ..contract.verify
            };
            contract.triggers[0].must_clear = flags[2];
            contract.triggers[0].stale_after = lengths[4];
            contract
        },
    )
}

/// Runs as they come out of our own writes, mostly; some fields then changed at random.
fn runs() -> impl Strategy<Value = Run> {
    let fields = (
        pick(&Step::ALL),
        pick(Reason::ALL),
        prop::option::weighted(0.9, contracts()),
        prop::option::of(intents()),
        any::<bool>(),
        any::<bool>(),
        prop::option::of(times()),
        prop::option::weighted(0.1, times()),
    );
    let ladder = (0..3_u32, prop::option::of(words(&["boot-1", "boot-1", "boot-2", ""])));
    (fields, ladder, prop::option::of(pick(Reason::ALL)), prop::bool::weighted(0.2)).prop_map(
        |(fields, (attempt, boot_id_before), ending, cancel)| {
            let (step, reason, contract, intent, usual, by_person, deadline, paused_at) = fields;
            let mut run = run(step);
            run.contract = contract;
            run.reason = reason;
            run.cancel = cancel;
            run.ending = ending;
            run.paused_at = paused_at;
            if by_person {
                run.causes.clear();
            }
            if !usual {
                (run.attempt, run.boot_id_before) = (attempt, boot_id_before);
                (run.intent, run.deadline) = (intent, deadline);
            }
            run
        },
    )
}

fn pods() -> impl Strategy<Value = PodSeen> {
    let refusals = [None, Some(Refusal::BootIDDiffers), Some(Refusal::IntentWithdrawn)];
    let ended = (pick(&[0, 1, 10, 12, 137, -1]), prop::option::of(times()), pick(&refusals));
    prop_oneof![
        Just(PodSeen::Unknown),
        Just(PodSeen::Absent),
        any::<bool>().prop_map(|deleting| PodSeen::Waiting { why: "x".into(), deleting }),
        any::<bool>().prop_map(|deleting| PodSeen::Running { deleting }),
        Just(PodSeen::Lost),
        ended.prop_map(|(exit_code, finished_at, refusal)| PodSeen::Ended {
            exit_code,
            finished_at,
            report: refusal.map(|refusal| Report {
                acted: false,
                refusal: Some(refusal),
                message: String::new(),
            }),
        }),
    ]
}

fn drains() -> impl Strategy<Value = DrainPlan> {
    let pod = || PodRef { namespace: "n".into(), name: "p".into(), uid: "u".into() };
    (any::<[bool; 6]>(), 0..3_u32).prop_map(move |(flags, evicted)| {
        let many = |flag: bool| if flag { vec![pod()] } else { vec![] };
        let blocked = Blocked { pod: pod(), budget: None, since: at(0), message: "no".to_owned() };
        DrainPlan {
            evict: many(flags[0]),
            terminating: many(flags[1]),
            blocked: if flags[2] { vec![blocked] } else { vec![] },
            refused: many(flags[3]).into_iter().map(|p| (p, RefuseReason::DaemonSet)).collect(),
            failed: many(flags[4]).into_iter().map(|p| (p, "no".into())).collect(),
            done: flags[5],
            evicted,
            ..DrainPlan::default()
        }
    })
}

fn scenes() -> impl Strategy<Value = Scene> {
    let policy = pick(&[
        PolicyStanding::InForce,
        PolicyStanding::InForce,
        PolicyStanding::InForce,
        PolicyStanding::Suspended,
        PolicyStanding::NotEnforcing,
        PolicyStanding::Deleted,
    ]);
    let node_is =
        pick(&[NodeIs::There, NodeIs::There, NodeIs::There, NodeIs::Gone, NodeIs::Replaced]);
    let rest = (node_is, times(), policy, prop::bool::weighted(0.1), prop::option::of(drains()));
    let missing = prop::option::of(prop_oneof![Just(vec![]), Just(vec!["a/b".to_owned()])]);
    (runs(), nodes(), rest, pods(), pods(), missing).prop_map(
        |(run, node, rest, reboot_pod, probe_pod, daemon_sets_ready)| {
            let (node_is, now, policy, paused, drain) = rest;
            Scene {
                run,
                node,
                node_is,
                now,
                policy,
                paused,
                drain,
                reboot_pod,
                probe_pod,
                daemon_sets_ready,
                memory: Memory::default(),
            }
        },
    )
}

fn check_change(scene: &Scene, next: &Run) -> Result<(), TestCaseError> {
    let Scene { run, node, .. } = scene;
    prop_assert_eq!(invariants::of_change(run, next), None);
    prop_assert!(!run.step.is_terminal(), "terminal is final");
    prop_assert_ne!(next, run, "a write that says nothing");
    prop_assert!(run.step.may_become(next.step), "{} → {}", run.step, next.step);
    prop_assert!(next.attempt >= run.attempt && next.attempt <= run.attempt + 1);
    let same = (&next.uid, &next.node_uid, &next.contract, &next.causes);
    prop_assert_eq!(same, (&run.uid, &run.node_uid, &run.contract, &run.causes));
    let rests = next.step.is_terminal() || matches!(next.step, Step::Pending | Step::Held);
    if next.step != run.step {
        prop_assert_eq!(next.deadline.is_none(), rests, "{} {:?}", next.step, next.deadline);
        prop_assert_eq!(next.since, scene.now);
        prop_assert_eq!(next.paused_at, None);
    }
    if next.attempt > run.attempt {
        prop_assert_eq!(next.step, Step::Rebooting);
    }
    if next.step == Step::Rebooting && run.step != Step::Rebooting {
        let intent = next.intent.as_ref().unwrap();
        prop_assert_eq!(intent.effect, IntentEffect::Reboot);
        prop_assert_eq!((intent.attempt, next.attempt), (run.attempt + 1, run.attempt + 1));
        prop_assert_eq!((&intent.node_uid, &intent.boot_id_before), (&node.uid, &node.boot_id));
        prop_assert!(!node.boot_id.is_empty() && node.in_service() && !node.hold);
        prop_assert_eq!(&node.claim, &None);
        prop_assert_eq!(node.cordon(&run.uid), Cordon::Ours);
        prop_assert!(scene.policy == PolicyStanding::InForce && !node.deleting && !run.cancel);
    }
    if matches!(next.step, Step::Succeeded | Step::Failed) && run.step != Step::Settling {
        prop_assert_eq!(node.last_remediation.last.as_ref().map(|l| &l.uid), Some(&run.uid));
    }
    if next.step == Step::Cancelled && run.step != Step::Pending && scene.node_is == NodeIs::There {
        prop_assert_eq!(node.last_remediation.last.as_ref().map(|l| &l.uid), Some(&run.uid));
    }
    Ok(())
}

fn check_effect(scene: &Scene, effect: &Effect) -> Result<(), TestCaseError> {
    let Scene { run, node, .. } = scene;
    prop_assert_eq!(scene.node_is, NodeIs::There, "nothing is done to a node that is not ours");
    prop_assert!(!run.step.is_terminal() && run.step != Step::Held && run.step != Step::Pending);
    prop_assert!(!scene.paused || run.past_no_return(), "paused");
    let ours = node.cordon(&run.uid) == Cordon::Ours;
    match effect {
        Effect::Cordon => {
            prop_assert_eq!(run.step, Step::Cordoning);
            prop_assert!(!node.hold && node.cordon(&run.uid) == Cordon::None);
            prop_assert_eq!(&node.claim, &None);
        }
        Effect::Remember => {
            prop_assert!(ours && run.attempt > 0 && !node.hold);
            prop_assert!(record_attempts(run, &node.last_remediation).is_some(), "it is news");
        }
        Effect::Evict(pods) => {
            prop_assert_eq!(run.step, Step::Draining);
            prop_assert!(!node.hold && ours && !pods.is_empty() && !run.cancel);
            prop_assert_eq!(&node.claim, &None);
        }
        Effect::CreateRebootPod(_) => {
            prop_assert_eq!(run.step, Step::Rebooting);
            prop_assert!(!node.hold && ours && !run.cancel);
            let intent = run.intent.as_ref().unwrap();
            prop_assert_eq!(intent.effect, IntentEffect::Reboot);
            prop_assert_eq!((intent.attempt, &intent.node_uid), (run.attempt, &node.uid));
            prop_assert_eq!(Some(&intent.boot_id_before), run.boot_id_before.as_ref());
        }
        Effect::DeleteRebootPod => prop_assert_eq!(run.step, Step::Withdrawing),
        Effect::CreateProbePod | Effect::DeleteProbePod => {
            prop_assert_eq!(run.step, Step::Verifying);
        }
        Effect::Close { uncordon, result, .. } => {
            prop_assert!(matches!(run.step, Step::Uncordoning | Step::RollingBack));
            prop_assert!(!uncordon || (ours && node.in_service() && !node.hold));
            prop_assert!(result.is_terminal());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn every_decision_keeps_the_rules(mut scene in scenes(), earlier in prop::option::of(nodes())) {
        if let Some(earlier) = earlier {
            scene.memory.observe(&scene.run, &earlier, &scene.reboot_pod, scene.now);
        }
        let decision = scene.look();
        match &decision.action {
            Action::Change(next) => check_change(&scene, next)?,
            Action::Do(effect) => check_effect(&scene, effect)?,
            Action::Wait => {
                let soon = decision.recheck_at.is_some_and(|time| time <= scene.now);
                prop_assert!(!soon || scene.now == Timestamp::MAX, "a busy wait: {decision:?}");
            }
        }
        prop_assert_eq!(scene.decide(), decision, "a function of its input");
    }

    #[test]
    fn in_an_unchanging_world_status_writes_come_to_an_end(mut scene in scenes()) {
        // At the end of time every deadline has passed as soon as it is set.
        scene.now = scene.now.min(at(10_000));
        let mut writes = 0;
        while let Action::Change(next) = scene.look().action {
            scene.run = *next;
            writes += 1;
            prop_assert!(writes <= 8, "{:?}", scene.run);
        }
    }
}
