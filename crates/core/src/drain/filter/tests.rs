//! Tables for the filters. Every row of kubectl's own behaviour is also a shared vector, which
//! `cargo xtask vectors` runs.

use super::*;

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().expect("a timestamp")
}

fn pod(change: impl FnOnce(&mut PodFacts)) -> PodFacts {
    let mut pod = PodFacts {
        namespace: "default".into(),
        name: "p".into(),
        uid: "u".into(),
        node_name: "n".into(),
        owners: vec![owner("ReplicaSet", APPS_V1)],
        phase: PodPhase::Running,
        mirror: false,
        empty_dir: false,
        deletion_time: None,
        daemon_set_lookup: Lookup::NotAsked,
        tolerates_unschedulable: false,
        ready: true,
        ours: false,
    };
    change(&mut pod);
    pod
}

fn owner(kind: &str, api_version: &str) -> Owner {
    Owner { api_version: api_version.into(), kind: kind.into(), name: "x".into(), controller: true }
}

fn daemon_pod(api_version: &str, lookup: Lookup) -> PodFacts {
    pod(|p| {
        p.owners = vec![owner("DaemonSet", api_version)];
        p.daemon_set_lookup = lookup;
    })
}

fn strict() -> DrainOptions {
    DrainOptions {
        empty_dir: EmptyDir::Refuse,
        unmanaged: Unmanaged::Refuse,
        orphaned_daemon_set: OrphanedDaemonSet::Refuse,
        daemon_set: DaemonSetPods::Refuse,
        ..DrainOptions::default()
    }
}

fn force() -> DrainOptions {
    DrainOptions {
        empty_dir: EmptyDir::Delete,
        unmanaged: Unmanaged::Delete,
        orphaned_daemon_set: OrphanedDaemonSet::Delete,
        daemon_set: DaemonSetPods::Ignore,
        ..DrainOptions::default()
    }
}

fn evict(warnings: &[EvictWarning]) -> PodDecision {
    PodDecision::Evict { warnings: warnings.to_vec() }
}

fn refuse(reason: RefuseReason) -> PodDecision {
    PodDecision::Refuse { reason }
}

fn leave(reason: LeaveReason) -> PodDecision {
    PodDecision::Leave { reason }
}

fn left_daemon(api_version: &str) -> PodDecision {
    leave(LeaveReason::DaemonSet { api_version: api_version.into(), name: "x".into() })
}

#[test]
fn plain_and_finished_pods_leave_whatever_the_options() {
    for options in [strict(), force(), DrainOptions::default()] {
        assert_eq!(classify(&pod(|_| {}), &options, now()), evict(&[]));
        for phase in [PodPhase::Succeeded, PodPhase::Failed] {
            let finished = pod(|p| {
                p.phase = phase;
                p.owners = vec![];
                p.empty_dir = true;
            });
            assert_eq!(classify(&finished, &options, now()), evict(&[]));
        }
    }
}

#[test]
fn storage_and_bare_pods_follow_their_own_switch_and_no_warning_is_lost() {
    let bare = pod(|p| {
        p.owners = vec![Owner { controller: false, ..owner("ReplicaSet", APPS_V1) }];
        p.empty_dir = true;
    });
    let both = evict(&[EvictWarning::EmptyDirLost, EvictWarning::Unmanaged]);
    assert_eq!(classify(&bare, &force(), now()), both);
    assert_eq!(classify(&bare, &strict(), now()), refuse(RefuseReason::EmptyDir));
    let mixed = DrainOptions { empty_dir: EmptyDir::Delete, ..strict() };
    assert_eq!(classify(&bare, &mixed, now()), refuse(RefuseReason::Unmanaged));
}

#[test]
fn daemon_pods() {
    let missing = || RefuseReason::OrphanedDaemonSet { name: "x".into() };
    let failed =
        || RefuseReason::DaemonSetLookupFailed { name: "x".into(), message: "boom".into() };
    let forbidden = || RefuseReason::DaemonSetForbidden { name: "x".into() };
    let orphan = evict(&[EvictWarning::OrphanedDaemonSet]);
    for (lookup, with_force, without) in [
        (Lookup::Found, left_daemon(APPS_V1), refuse(RefuseReason::DaemonSet)),
        (Lookup::NotAsked, left_daemon(APPS_V1), refuse(RefuseReason::DaemonSet)),
        (Lookup::NotFound, orphan, refuse(missing())),
        (Lookup::Forbidden, refuse(forbidden()), refuse(forbidden())),
        (Lookup::Failed("boom".into()), refuse(failed()), refuse(failed())),
    ] {
        let daemon = daemon_pod(APPS_V1, lookup);
        assert_eq!(classify(&daemon, &force(), now()), with_force, "{daemon:?}");
        assert_eq!(classify(&daemon, &strict(), now()), without, "{daemon:?}");
        // By default nothing is looked up, so nothing that a lookup says matters.
        assert_eq!(classify(&daemon, &DrainOptions::default(), now()), left_daemon(APPS_V1));
    }
}

#[test]
fn daemons_of_every_api_group_and_pods_that_tolerate_the_cordon_stay() {
    for api_version in ["apps.kruise.io/v1alpha1", "apps/v1beta2", ""] {
        // Not looked up: only `apps/v1` can be.
        let daemon = daemon_pod(api_version, Lookup::NotFound);
        assert!(!needs_lookup(&daemon, &force()));
        assert_eq!(classify(&daemon, &force(), now()), left_daemon(api_version));
        assert_eq!(classify(&daemon, &strict(), now()), refuse(RefuseReason::DaemonSet));
    }
    let tolerant = pod(|p| p.tolerates_unschedulable = true);
    assert_eq!(classify(&tolerant, &force(), now()), leave(LeaveReason::ToleratesUnschedulable));
    assert_eq!(classify(&tolerant, &strict(), now()), refuse(RefuseReason::DaemonSet));
    // An owner that is not the controller makes no daemon.
    let other = pod(|p| p.owners[0] = Owner { controller: false, ..owner("DaemonSet", APPS_V1) });
    assert_eq!(classify(&other, &force(), now()), evict(&[EvictWarning::Unmanaged]));
}

#[test]
fn finished_daemon_pods_leave_whatever_the_group() {
    for api_version in [APPS_V1, "apps.kruise.io/v1alpha1"] {
        let mut daemon = daemon_pod(api_version, Lookup::Forbidden);
        daemon.phase = PodPhase::Failed;
        assert_eq!(classify(&daemon, &strict(), now()), evict(&[]));
        assert!(!needs_lookup(&daemon, &force()));
    }
}

#[test]
fn mirror_pods_and_our_own_pods_stay() {
    let mirror = pod(|p| {
        p.mirror = true;
        p.empty_dir = true;
        p.owners = vec![owner("Node", "v1")];
    });
    let ours = pod(|p| {
        p.ours = true;
        p.owners = vec![];
        p.phase = PodPhase::Succeeded;
    });
    for options in [strict(), force()] {
        assert_eq!(classify(&mirror, &options, now()), leave(LeaveReason::Mirror));
        assert_eq!(classify(&ours, &options, now()), leave(LeaveReason::Ours));
    }
}

#[test]
fn terminating_pods_are_skipped_after_whole_seconds_beyond_the_limit() {
    let after = |millis: i64| {
        let time = now().checked_sub(SignedDuration::from_millis(millis)).expect("in range");
        pod(|p| p.deletion_time = Some(time))
    };
    let limited = |limit: i64| DrainOptions {
        skip_terminating_after: Some(SignedDuration::from_secs(limit)),
        ..force()
    };
    for (limit, over_millis, skipped) in [
        (60, -20_000, false),
        (60, 60_000, false),
        (60, 60_999, false),
        (60, 61_000, true),
        (1, 2_000, true),
        (0, 1_000_000, false),
        (-5, 1_000_000, false),
    ] {
        let got = classify(&after(over_millis), &limited(limit), now());
        let want = if skipped {
            leave(LeaveReason::TerminatingTooLong { over_seconds: over_millis / 1000 })
        } else {
            evict(&[])
        };
        assert_eq!(got, want, "{limit} {over_millis}");
    }
    let off = DrainOptions { terminating: TerminatingPods::LeaveForPowerOff, ..strict() };
    let left = leave(LeaveReason::TerminatingBeforePowerOff);
    assert_eq!(classify(&after(-20_000), &off, now()), left);
    assert_eq!(classify(&pod(|_| {}), &off, now()), evict(&[]));
}

#[test]
fn tolerations() {
    let t = |key: &str, operator: &str, value: &str, effect: &str| Toleration {
        key: key.into(),
        operator: operator.into(),
        value: value.into(),
        effect: effect.into(),
    };
    for (toleration, want) in [
        (t("", "Exists", "", ""), true),
        (t("", "Exists", "", "NoSchedule"), true),
        (t("", "Exists", "", "NoExecute"), false),
        (t(UNSCHEDULABLE_TAINT, "Exists", "", "NoSchedule"), true),
        (t(UNSCHEDULABLE_TAINT, "", "", ""), true),
        (t(UNSCHEDULABLE_TAINT, "Equal", "true", ""), false),
        (t(UNSCHEDULABLE_TAINT, "Gt", "", ""), false),
        (t("", "", "", ""), false),
        (t("node.kubernetes.io/not-ready", "Exists", "", ""), false),
    ] {
        assert_eq!(
            tolerates_unschedulable(std::slice::from_ref(&toleration)),
            want,
            "{toleration:?}"
        );
    }
    assert!(!tolerates_unschedulable(&[]));
}

#[test]
fn texts_say_what_to_change() {
    let text = RefuseReason::Unmanaged.to_string();
    assert!(text.contains("drain.unmanaged: Delete"), "{text}");
    let text = RefuseReason::DaemonSetForbidden { name: "x".into() }.to_string();
    assert!(text.contains("grant `get` on daemonsets.apps"), "{text}");
}
