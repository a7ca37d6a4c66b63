//! Properties of the drain loop under any pods, answers, budget changes and steps of the clock.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::eviction::EvictionOutcome;
use super::filter::{
    DaemonSetPods, DrainOptions, EmptyDir, Lookup, OrphanedDaemonSet, Owner, PodFacts, PodPhase,
    TerminatingPods, Unmanaged,
};
use super::progress::{DrainProgress, PodRef};

const NODE: &str = "node-1";

fn timestamps() -> impl Strategy<Value = Timestamp> {
    let near = 1_800_000_000..1_800_000_300_i64;
    prop_oneof![
        8 => near.prop_map(|s| Timestamp::from_second(s).unwrap_or(Timestamp::MIN)),
        1 => Just(Timestamp::MIN),
        1 => Just(Timestamp::MAX),
    ]
}

fn owners() -> impl Strategy<Value = Vec<Owner>> {
    let kind = prop_oneof![Just("DaemonSet"), Just("ReplicaSet")];
    let group = prop_oneof![Just("apps/v1"), Just("apps.kruise.io/v1alpha1"), Just("")];
    let owner = (kind, group, any::<bool>()).prop_map(|(kind, group, controller)| Owner {
        api_version: group.into(),
        kind: kind.into(),
        name: "x".into(),
        controller,
    });
    prop::collection::vec(owner, 0..3)
}

fn pods() -> impl Strategy<Value = Vec<PodFacts>> {
    let phase = prop_oneof![
        Just(PodPhase::Pending),
        Just(PodPhase::Running),
        Just(PodPhase::Succeeded),
        Just(PodPhase::Failed),
        Just(PodPhase::Unknown),
    ];
    let lookup = prop_oneof![
        Just(Lookup::NotAsked),
        Just(Lookup::Found),
        Just(Lookup::NotFound),
        Just(Lookup::Forbidden),
        Just(Lookup::Failed("boom".into())),
    ];
    let node = prop_oneof![4 => Just(NODE), 1 => Just("node-2"), 1 => Just("")];
    let deletion = prop::option::weighted(0.3, timestamps());
    let rare = || prop::bool::weighted(0.15);
    let flags = (rare(), rare(), rare(), rare());
    let pod = (0..6_u8, node, owners(), phase, lookup, deletion, flags).prop_map(
        |(id, node, owners, phase, daemon_set_lookup, deletion_time, flags)| PodFacts {
            namespace: format!("ns-{}", id % 2),
            name: format!("p{id}"),
            uid: format!("u{id}"),
            node_name: node.into(),
            owners,
            phase,
            mirror: flags.0,
            empty_dir: flags.1,
            deletion_time,
            daemon_set_lookup,
            tolerates_unschedulable: flags.2,
            ready: true,
            ours: flags.3,
        },
    );
    prop::collection::vec(pod, 0..8)
}

fn options() -> impl Strategy<Value = DrainOptions> {
    let skip = prop::option::of(any::<i64>().prop_map(SignedDuration::from_secs));
    let orphan = prop_oneof![
        Just(OrphanedDaemonSet::Delete),
        Just(OrphanedDaemonSet::Refuse),
        Just(OrphanedDaemonSet::Leave),
    ];
    (any::<[bool; 4]>(), orphan, skip).prop_map(|(b, orphaned_daemon_set, skip)| DrainOptions {
        empty_dir: if b[0] { EmptyDir::Delete } else { EmptyDir::Refuse },
        unmanaged: if b[1] { Unmanaged::Delete } else { Unmanaged::Refuse },
        orphaned_daemon_set,
        skip_terminating_after: skip,
        grace_period_seconds: None,
        daemon_set: if b[2] { DaemonSetPods::Ignore } else { DaemonSetPods::Refuse },
        terminating: if b[3] { TerminatingPods::Wait } else { TerminatingPods::LeaveForPowerOff },
    })
}

fn outcomes() -> impl Strategy<Value = EvictionOutcome> {
    let message = String::new;
    let budget = || Some("web".to_owned());
    prop_oneof![
        Just(EvictionOutcome::Accepted),
        Just(EvictionOutcome::Gone),
        Just(EvictionOutcome::ReplacedByOther),
        any::<Option<u32>>().prop_map(move |retry_after| EvictionOutcome::BlockedByBudget {
            budget: budget(),
            needs: None,
            has: None,
            message: message(),
            retry_after,
        }),
        any::<u32>().prop_map(move |retry_after| EvictionOutcome::BudgetNotObserved {
            budget: budget(),
            message: message(),
            retry_after,
        }),
        any::<u32>().prop_map(move |retry_after| EvictionOutcome::Throttled {
            message: message(),
            retry_after,
        }),
        Just(EvictionOutcome::MultipleBudgets { message: message() }),
        Just(EvictionOutcome::BudgetMisbehaving { message: message() }),
        any::<bool>()
            .prop_map(|pod_terminating| EvictionOutcome::NamespaceTerminating { pod_terminating }),
        Just(EvictionOutcome::Forbidden { message: message() }),
        Just(EvictionOutcome::Rejected { http: 422, message: message() }),
        any::<Option<u32>>().prop_map(move |retry_after| EvictionOutcome::ServerError {
            http: 500,
            message: message(),
            retry_after,
        }),
    ]
}

/// One thing that happens to the drain.
#[derive(Debug, Clone)]
enum Happening {
    Answer(u8, EvictionOutcome),
    Budget(u8),
}

fn happenings() -> impl Strategy<Value = Vec<(Timestamp, Happening)>> {
    let answer = (0..6_u8, outcomes()).prop_map(|(id, outcome)| Happening::Answer(id, outcome));
    let budget = (0..2_u8).prop_map(Happening::Budget);
    prop::collection::vec((timestamps(), prop_oneof![3 => answer, 1 => budget]), 0..12)
}

fn play(happenings: &[(Timestamp, Happening)], resumed: u32) -> DrainProgress {
    let mut progress = DrainProgress::resumed(resumed);
    for (now, happening) in happenings {
        match happening {
            Happening::Answer(id, outcome) => {
                let namespace = format!("ns-{}", id % 2);
                let pod = PodRef { namespace, name: format!("p{id}"), uid: format!("u{id}") };
                progress.record(&pod, outcome.clone(), *now);
            }
            Happening::Budget(id) => progress.budget_changed(&format!("ns-{id}"), *now),
        }
    }
    progress
}

/// May the drain ever evict this pod? Written independently of the filters.
fn untouchable(pod: &PodFacts, options: &DrainOptions) -> bool {
    let finished = matches!(pod.phase, PodPhase::Succeeded | PodPhase::Failed);
    let daemon = pod.owners.iter().find(|o| o.controller).filter(|o| o.kind == "DaemonSet");
    let orphan = daemon.is_some_and(|o| o.api_version == "apps/v1")
        && pod.daemon_set_lookup == Lookup::NotFound
        && options.orphaned_daemon_set == OrphanedDaemonSet::Delete;
    let stays = daemon.is_some() || pod.tolerates_unschedulable;
    pod.ours || pod.mirror || pod.node_name != NODE || (stays && !finished && !orphan)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_plan_keeps_its_promises(
        pods in pods(),
        options in options(),
        happenings in happenings(),
        resumed in prop_oneof![Just(0), Just(2), Just(u32::MAX)],
        now in timestamps(),
    ) {
        let progress = play(&happenings, resumed);
        let plan = progress.plan(NODE, &pods, &options, now);
        for evicted in &plan.evict {
            let mut same = pods.iter().filter(|p| p.uid == evicted.uid && p.node_name == NODE);
            prop_assert!(same.next().is_some_and(|p| !untouchable(p, &options)), "{evicted:?}");
            prop_assert!(progress.not_before(&evicted.uid).is_none_or(|time| time <= now));
            prop_assert_eq!(plan.evict.iter().filter(|p| *p == evicted).count(), 1);
        }
        let open = plan.terminating.len() + plan.waiting.len() + plan.blocked.len()
            + plan.refused.len() + plan.failed.len() + plan.evict.len();
        if plan.done {
            prop_assert_eq!(open, 0);
        }
        if !plan.failed.is_empty() || (!plan.refused.is_empty() && !progress.begun()) {
            prop_assert!(plan.evict.is_empty() && plan.warnings.is_empty());
        }
        prop_assert!(plan.evicted <= plan.total);
        prop_assert!(plan.recheck_at.is_none_or(|time| time > now));
        // Something to do, a time to look again, or a stated reason why only a change can help.
        let waits_for_a_change = plan.done || !plan.refused.is_empty() || !plan.failed.is_empty()
            || pods.iter().any(|p| p.deletion_time.is_some())
            || happenings.iter().any(|(at, _)| *at == Timestamp::MAX);
        prop_assert!(
            waits_for_a_change || !plan.evict.is_empty() || plan.recheck_at.is_some(),
            "{:?}", plan
        );
    }

    #[test]
    fn the_plan_is_a_function_of_its_input(
        pods in pods(), options in options(), happenings in happenings(), now in timestamps(),
    ) {
        let progress = play(&happenings, 0);
        let plan = progress.plan(NODE, &pods, &options, now);
        prop_assert_eq!(progress.plan(NODE, &pods, &options, now), plan);
    }
}
