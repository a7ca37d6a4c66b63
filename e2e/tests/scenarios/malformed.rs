//! Whatever is written on a node or stored as an object harms nothing else (SAFE-17).

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use rerail_api::{
    names,
    policy::{RemediationPolicyStatus, WaitingNode},
};
use rerail_core::step::Step;
use rerail_e2e::{PATIENCE, wait_for};
use rerail_fleet::truth::EventKind;
use serde_json::json;

use crate::shared::{SHORT, Stage, play};

/// As much as the API server takes: its store has room for 1.5 MiB for the whole object.
const LONG: usize = 1_400_000;

/// Who would start, and who would come after.
fn in_order(status: &RemediationPolicyStatus) -> impl Iterator<Item = &WaitingNode> {
    status.would_start.iter().chain(&status.waiting)
}

#[test]
fn a_malformed_priority_is_the_least_urgent_and_every_node_is_healed_in_order() {
    play("messages", 4, |stage| async move {
        let [long, unicode, empty, good] = [0, 1, 2, 3].map(|index| stage.nodes[index].clone());
        // The order is made up before anything starts, so that nothing depends on who came first. Each
        // node is a failure domain; the plan is of one domain at a time, and who waits is in order, too.
        stage.policy("DryRun", SHORT).await;
        let message = format!("[P999999999999] {}", "x".repeat(LONG));
        stage.sicken(&long, &message).await;
        stage.policy_when("one would start", |status| in_order(status).count() == 1).await;
        stage.sicken(&unicode, "[P٦] an Arabic six").await;
        stage.policy_when("two are in order", |status| in_order(status).count() == 2).await;
        stage.sicken(&empty, "").await;
        stage.sicken(&good, "[P5] task blocked for more than 120 seconds").await;
        let all = |status: &RemediationPolicyStatus| in_order(status).count() == 4;
        let status = stage.policy_when("all are in order", all).await;
        let order: Vec<_> =
            in_order(&status).map(|w| (w.node.clone(), w.priority.unwrap())).collect();
        let expected =
            [(good, 5), (empty, 9), (long.clone(), 99), (unicode, 99)].map(|(node, p)| (node, p));
        assert_eq!(order, expected);

        stage.policy("Enforce", SHORT).await;
        for (node, priority) in &expected {
            let run = stage.run_in(node, Step::Succeeded).await;
            assert_eq!(run.status.as_ref().unwrap().priority, Some(*priority));
        }
        let acts = stage.cluster().fleet.truth_of_pool(stage.pool);
        let acts = acts.into_iter().filter(|event| event.event == EventKind::Act);
        let acts: Vec<_> = acts.map(|event| event.node).collect();
        assert_eq!(acts, expected.map(|(node, _)| node), "the order of the reboots");
        let run = stage.cluster().runs_of(&long).await.unwrap().remove(0);
        let size = serde_json::to_string(&run).unwrap().len();
        assert!(size <= 16 * 1024, "SAFE-16: a run of {size} bytes");
        stage.finish().await;
    });
}

#[test]
fn conditions_of_odd_types_and_statuses_neither_stop_their_node_nor_others() {
    play("odd", 2, |stage| async move {
        let (node, other) = (stage.nodes[0].clone(), stage.nodes[1].clone());
        let triggers = "{condition: {type: Odd*}}, {condition: {type: KernelDeadlock}}";
        stage.policy_on("Enforce", triggers, SHORT).await;
        let fleet = &stage.cluster().fleet;
        let no_type = format!("Odd{}", "x".repeat(5000));
        let no_status = "Maybe".repeat(200);
        for (kind, status) in [(no_type.as_str(), "True"), ("OddStatus", no_status.as_str())] {
            fleet.set_condition(&node, kind, status, "R", "[P1] most urgent").await.unwrap();
        }
        // What cannot be a trigger starts nothing, and holds up nobody behind it.
        stage.sicken(&other, "[P7] task blocked").await;
        stage.run_in(&other, Step::Succeeded).await;
        assert!(stage.cluster().runs_of(&node).await.unwrap().is_empty());
        let odd = "Odd 💥 \"'{}\\ <\u{202e}>/..;$(reboot)";
        fleet.set_condition(&node, odd, "True", "R\n2", "[P3] \u{0}\u{7}").await.unwrap();
        let run = stage.run_in(&node, Step::Succeeded).await;
        let status = run.status.unwrap();
        assert_eq!((status.priority, status.causes[0].condition_type.as_str()), (Some(3), odd));
        stage.finish().await;
    });
}

async fn remember(stage: &Stage, node: &str, text: &str) {
    let nodes: Api<Node> = Api::all(stage.cluster().client.clone());
    let patch = json!({ "metadata": { "annotations": { names::LAST_REMEDIATION: text } } });
    nodes.patch(node, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

#[test]
fn a_garbled_memory_of_a_node_costs_it_its_history_and_nothing_else() {
    play("garbled", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        stage.policy("Enforce", SHORT).await;
        let garbage = [
            "not JSON".to_owned(),
            format!("{{\"sequence\": 7, \"x\": \"{}\"}}", "y".repeat(100_000)),
            r#"{"sequence": "one", "attempts": {}, "last": 5}"#.to_owned(),
            format!("{{\"sequence\": {}}}", u64::MAX),
        ];
        for (index, text) in garbage.iter().enumerate() {
            remember(&stage, &node, text).await;
            stage.sicken(&node, &format!("[P6] number {index}")).await;
            let count = |runs: &[rerail_api::NodeRemediation]| runs.len();
            let run = stage
                .run_when(&node, &format!("run {index} has succeeded"), |status| {
                    status.step == rerail_api::remediation::StepName::Known(Step::Succeeded)
                        && status.causes[0].message.ends_with(&index.to_string())
                })
                .await;
            let runs = stage.cluster().runs_of(&node).await.unwrap();
            // The name of an ended run is taken, so the next number is.
            assert_eq!(count(&runs), index + 1, "{}", run.name_any());
            let memory = stage.marks(&node).await.memory.unwrap();
            assert_eq!(memory["attempts"].as_array().unwrap().len(), 1, "{memory}");
        }
        stage.finish().await;
    });
}

/// An API server that takes no run of one node: whatever the reason, it concerns that node only.
#[test]
fn a_node_that_cannot_be_admitted_lets_others_pass() {
    play("refused", 2, |stage| async move {
        let (node, other) = (stage.nodes[0].clone(), stage.nodes[1].clone());
        let policy = format!(
            "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: refused}}
spec:
  matchConstraints:
    resourceRules:
    - {{apiGroups: [rerail.dev], apiVersions: ['*'], operations: [CREATE], resources: [noderemediations]}}
  validations: [{{expression: \"object.spec.nodeName != '{node}'\", message: not this one}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: refused}}
spec: {{policyName: refused, validationActions: [Deny]}}"
        );
        let plane = &stage.cluster().plane;
        let file = plane.dir().join("refused.yaml");
        std::fs::write(&file, policy).unwrap();
        plane.apply(&file).unwrap();
        let probe = format!(
            "apiVersion: rerail.dev/v1alpha1
kind: NodeRemediation
metadata: {{name: refused-probe}}
spec: {{nodeName: {node}, nodeUID: none, policyName: none}}"
        );
        wait_for("the API server to refuse runs of the node", PATIENCE, || async {
            if stage
                .cluster()
                .create(&probe)
                .await
                .is_err_and(|e| e.to_string().contains("not this"))
            {
                return Ok(());
            }
            let deleted = stage.cluster().runs().delete("refused-probe", &Default::default()).await;
            Err(format!("taken; deleted: {}", deleted.is_ok()))
        })
        .await
        .unwrap();
        stage.policy("Enforce", SHORT).await;
        stage.sicken(&node, "[P1] most urgent").await;
        stage.sicken(&other, "[P9] least urgent").await;
        stage.run_in(&other, Step::Succeeded).await;
        let why = stage.waiting(&node, "AdmissionFailing").await;
        assert!(why.message.contains("not this one"), "{}", why.message);
        assert!(stage.cluster().runs_of(&node).await.unwrap().is_empty());
        let plane = &stage.cluster().plane;
        plane.run_kubectl(&["delete", "-f", &file.display().to_string()]).unwrap();
        stage.run_in(&node, Step::Succeeded).await;
        stage.finish().await;
    });
}
