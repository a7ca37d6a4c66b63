//! Drains through the real Eviction API.

use std::time::Duration;

use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use rerail_api::remediation::StepName;
use rerail_core::step::Step;
use rerail_e2e::{PATIENCE, wait_for};
use rerail_fleet::Fault;
use serde_json::json;

use crate::{
    shared::{SHORT, Stage, play, said},
    workloads::{PATIENT, is_on, is_ready},
};

const SICK: &str = "task blocked for more than 120 seconds";

/// Workloads start on the first node only.
async fn start_on_first(stage: &Stage, kind: &str, name: &str, replicas: u32, pod: &str) {
    stage.cordon(&stage.nodes[1]).await;
    stage.workload(kind, name, Some(replicas), pod).await;
    stage.ready_on(&stage.nodes[0], name, replicas as usize).await;
    stage.uncordon(&stage.nodes[1]).await;
}

#[test]
fn pods_of_all_kinds_are_gone_before_the_reboot_and_those_of_daemonsets_stay() {
    play("drain-kinds", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        stage.workload("Deployment", "web", Some(2), "").await;
        stage.workload("StatefulSet", "db", Some(1), "").await;
        stage.workload("DaemonSet", "agent", None, "").await;
        stage.bare_pod("bare", &node, "fleet.rerail.dev/terminate-after: 2s").await;
        for (name, count) in [("web", 2), ("db", 1), ("bare", 1)] {
            stage.ready_on(&node, name, count).await;
        }
        let agent = stage.ready_on(&node, "agent", 1).await.remove(0);
        stage.policy("Enforce", SHORT).await;
        stage.sicken(&node, SICK).await;
        let run = stage.run_in(&node, Step::Rebooting).await;
        assert_eq!(stage.pods_on(&node).await, [agent.name_any()]);
        let drain = run.status.unwrap().drain.unwrap();
        assert_eq!((drain.total, drain.evicted, drain.blocked.len()), (4, 4, 0));
        stage.run_in(&node, Step::Succeeded).await;
        let after = stage.ready_on(&node, "agent", 1).await.remove(0);
        assert_eq!(after.uid(), agent.uid());
        stage.finish().await;
    });
}

#[test]
fn a_budget_with_room_is_respected_one_pod_after_another() {
    play("drain-room", 2, |stage| async move {
        let node = stage.nodes[0].clone();
        let slow = "fleet.rerail.dev/ready-after: 2s";
        start_on_first(&stage, "Deployment", "web", 3, slow).await;
        stage.budget("room", "web", "maxUnavailable: 1").await;
        stage.policy("Enforce", SHORT).await;
        stage.sicken(&node, SICK).await;
        let mut least = usize::MAX;
        loop {
            let pods = stage.pods("web").await;
            least = least.min(pods.iter().filter(|pod| is_ready(pod)).count());
            if pods.len() == 3 && pods.iter().all(|pod| is_ready(pod) && !is_on(pod, &node)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(least, 2, "Ready pods of 3");
        let run = stage.run_in(&node, Step::Succeeded).await;
        assert_eq!(run.status.unwrap().drain.unwrap().evicted, 3);
        stage.finish().await;
    });
}

#[test]
fn a_pod_that_came_back_elsewhere_under_its_name_is_left_alone() {
    play("drain-name", 2, |stage| async move {
        let (node, other) = (stage.nodes[0].clone(), stage.nodes[1].clone());
        start_on_first(&stage, "StatefulSet", "db", 1, "").await;
        // Keeps the drain going after the StatefulSet's pod has moved.
        stage.guard(&node).await;
        stage.policy("Enforce", PATIENT).await;
        stage.sicken(&node, SICK).await;
        stage.blocked(&node).await;
        let moved = stage.ready_on(&other, "db", 1).await.remove(0);
        stage.release().await;
        stage.run_in(&node, Step::Succeeded).await;
        let after = stage.ready_on(&other, "db", 1).await.remove(0);
        assert_eq!((after.name_any(), after.uid()), (moved.name_any(), moved.uid()));
        stage.finish().await;
    });
}

#[test]
fn a_blocked_drain_names_pod_and_budget_and_is_woken_by_a_change_of_the_budget() {
    play("drain-woken", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        let run = stage.blocked_drain(&node, PATIENT).await;
        let (pod, budget) = (format!("default/{}", stage.app("guarded")), stage.app("guard"));
        let blocked = run.status.clone().unwrap().drain.unwrap().blocked.remove(0);
        assert_eq!((&blocked.pod, blocked.budget.as_ref()), (&pod, Some(&budget)));
        let (reason, message) = said(&run);
        assert_eq!(reason, "DrainBlocked");
        assert!(message.contains(&pod) && message.contains(&budget), "{message}");
        for (kind, name) in [("NodeRemediation", run.name_any()), ("Node", node.clone())] {
            let event = stage.event(kind, &name, "DrainBlocked").await;
            assert!(event.note.unwrap().contains(&budget));
        }
        // Tries come 0, 5, 15, 35 s after the first: from 16 s on the next one is far away.
        tokio::time::sleep(Duration::from_secs(16)).await;
        assert!(stage.guarded().await.is_some());
        let room = Patch::Merge(json!({"spec": {"minAvailable": 0}}));
        let changed = tokio::time::Instant::now();
        stage.budgets().patch(&budget, &PatchParams::default(), &room).await.unwrap();
        wait_for("the eviction", PATIENCE, || async {
            if stage.guarded().await.is_none() { Ok(()) } else { Err("still there") }
        })
        .await
        .unwrap();
        assert!(changed.elapsed() < Duration::from_secs(15), "after {:?}", changed.elapsed());
        stage.run_in(&node, Step::Succeeded).await;
        stage.finish().await;
    });
}

#[test]
fn a_drain_that_takes_too_long_is_rolled_back_and_the_node_rests() {
    play("drain-late", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        let rest = "
  drain: {timeout: 20s, unmanaged: Delete}
  attempts: {max: 3, per: 1h, backoff: 1h}";
        let run = stage.blocked_drain(&node, rest).await;
        let marks = stage.marks(&node).await;
        assert_eq!((marks.cordoned, marks.owner, marks.note.is_some()), (true, run.uid(), true));
        let run = stage.run_in(&node, Step::Failed).await;
        let (reason, message) = said(&run);
        assert_eq!(reason, "DrainTimeout");
        assert!(message.contains(&stage.app("guarded")), "{message}");
        stage.is_given_back(&node, "Failed", "DrainTimeout").await;
        assert!(stage.guarded().await.is_some());
        assert_eq!(stage.boots(&node), 0);
        stage.waiting(&node, "Backoff").await;
        assert_eq!(stage.cluster().runs_of(&node).await.unwrap().len(), 1);
        stage.finish().await;
    });
}

/// A pod with a finalizer of somebody else ends, and stays.
async fn stuck_pod(stage: &Stage, name: &str, node: &str) {
    let app = stage.app(name);
    let yaml = format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {app}, namespace: default, labels: {{app: {app}}}, finalizers: [example.com/keep]}}
spec: {{nodeName: {node}, containers: [{{name: c, image: i}}]}}"
    );
    stage.cluster().apply(&yaml).await.unwrap();
    stage.ready_on(node, name, 1).await;
}

#[test]
fn a_pod_that_a_finalizer_keeps_is_named_and_waited_for_as_long_as_the_policy_says() {
    play("drain-stuck", 2, |stage| async move {
        let (node, other) = (stage.nodes[0].clone(), stage.nodes[1].clone());
        stuck_pod(&stage, "one", &node).await;
        stuck_pod(&stage, "two", &other).await;
        let rest = "
  drain: {timeout: 20s, unmanaged: Delete}
  attempts: {max: 3, per: 1h, backoff: 1h}";
        stage.policy("Enforce", rest).await;
        stage.sicken(&node, SICK).await;
        let waits = format!("waiting for pods to end: default/{}", stage.app("one"));
        stage
            .run_when(&node, "a pod that does not go", |status| {
                status.conditions.iter().any(|c| c.message == waits)
            })
            .await;
        let (reason, message) = said(&stage.run_in(&node, Step::Failed).await);
        assert_eq!(
            (reason.as_str(), message.contains(&waits)),
            ("DrainTimeout", true),
            "{message}"
        );
        stage.is_given_back(&node, "Failed", "DrainTimeout").await;
        assert_eq!((stage.boots(&node), stage.pods_on(&node).await.len()), (0, 1));
        // A policy that does not wait for such pods.
        let drain = json!({"timeout": "60s", "skipTerminatingAfter": "2s"});
        stage.edit_policy(json!({"drain": drain, "verify": {"ready": "1s"}})).await;
        stage.sicken(&other, SICK).await;
        stage.run_in(&other, Step::Succeeded).await;
        assert_eq!((stage.boots(&other), stage.pods_on(&other).await.len()), (1, 1));
        for (pod, node) in [("one", &node), ("two", &other)] {
            let freed = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            let pods = stage.default_pods();
            pods.patch(&stage.app(pod), &PatchParams::default(), &freed).await.unwrap();
            assert!(!stage.is_cordoned(node).await);
        }
        stage.finish().await;
    });
}

#[test]
fn a_pod_that_nobody_would_make_anew_refuses_the_drain_before_any_eviction() {
    play("drain-bare", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        stage.workload("Deployment", "web", Some(1), "").await;
        stage.bare_pod("bare", &node, "").await;
        let web = stage.ready_on(&node, "web", 1).await.remove(0);
        stage.ready_on(&node, "bare", 1).await;
        stage.policy("Enforce", "\n  attempts: {max: 3, per: 1h, backoff: 1h}").await;
        stage.sicken(&node, SICK).await;
        let (reason, message) = said(&stage.run_in(&node, Step::Failed).await);
        assert_eq!(reason, "DrainRefused");
        assert!(message.contains(&stage.app("bare")), "{message}");
        assert!(message.contains("drain.unmanaged"), "{message}");
        stage.is_given_back(&node, "Failed", "DrainRefused").await;
        assert_eq!(stage.ready_on(&node, "web", 1).await.remove(0).uid(), web.uid());
        stage.finish().await;
    });
}

#[test]
fn a_pod_with_data_on_the_node_refuses_the_drain_where_the_policy_says_so() {
    play("drain-data", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        let app = stage.app("cache");
        let yaml = format!(
            "apiVersion: v1
kind: Pod
metadata: {{name: {app}, namespace: default, labels: {{app: {app}}}}}
spec:
  nodeName: {node}
  containers: [{{name: c, image: i, volumeMounts: [{{name: data, mountPath: /data}}]}}]
  volumes: [{{name: data, emptyDir: {{}}}}]"
        );
        stage.cluster().apply(&yaml).await.unwrap();
        let pod = stage.ready_on(&node, "cache", 1).await.remove(0);
        let rest = "
  drain: {timeout: 60s, unmanaged: Delete, emptyDir: Refuse}
  attempts: {max: 3, per: 1h, backoff: 1h}";
        stage.policy("Enforce", rest).await;
        stage.sicken(&node, SICK).await;
        let (reason, message) = said(&stage.run_in(&node, Step::Failed).await);
        assert_eq!(reason, "DrainRefused");
        assert!(message.contains(&app) && message.contains("drain.emptyDir"), "{message}");
        stage.is_given_back(&node, "Failed", "DrainRefused").await;
        assert_eq!(stage.ready_on(&node, "cache", 1).await.remove(0).uid(), pod.uid());
        stage.finish().await;
    });
}

#[test]
fn a_pod_under_two_budgets_is_told_of_and_stays() {
    play("drain-two", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        stage.budget("second", "guarded", "minAvailable: 0").await;
        let rest = "
  drain: {timeout: 20s, unmanaged: Delete}
  attempts: {max: 3, per: 1h, backoff: 1h}";
        let run = stage.blocked_drain(&node, rest).await;
        let pod = stage.guarded().await;
        let (reason, message) = said(&run);
        assert_eq!(reason, "DrainBlocked");
        assert!(message.contains(&stage.app("guarded")), "{message}");
        assert!(message.contains("more than one PodDisruptionBudget"), "{message}");
        assert_eq!(said(&stage.run_in(&node, Step::Failed).await).0, "DrainTimeout");
        assert!(pod.is_some() && stage.guarded().await == pod);
        stage.is_given_back(&node, "Failed", "DrainTimeout").await;
        stage.finish().await;
    });
}

#[test]
fn a_node_whose_daemonset_pods_do_not_return_is_held() {
    play("drain-ds", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        stage.workload("DaemonSet", "agent", None, "").await;
        stage.ready_on(&node, "agent", 1).await;
        let rest = "
  remedies: [{reboot: {method: Command}, timeout: 60s}]
  verify: {ready: 1s, timeout: 10s}";
        stage.policy("Enforce", rest).await;
        stage.inject(&node, Fault::DaemonSetsDoNotReturn);
        stage.sicken(&node, SICK).await;
        let waiting = stage
            .run_when(&node, "waiting for DaemonSets", |status| {
                status.step == StepName::Known(Step::Verifying)
                    && status.conditions.iter().any(|c| c.reason == "WaitingForDaemonSets")
            })
            .await;
        assert!(said(&waiting).1.contains(&stage.app("agent")));
        stage.is_held(&node, "VerificationUnknown", &stage.app("agent")).await;
        assert_eq!(stage.boots(&node), 1);
        stage.finish().await;
    });
}
