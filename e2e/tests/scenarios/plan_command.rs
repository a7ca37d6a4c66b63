//! `rerail plan` and `rerail explain node`: what they say of a policy that is not applied is what the
//! operator does when it is.

use rerail_core::step::Step;
use rerail_e2e::{PATIENCE, wait_for};
use serde_json::Value;

use crate::{
    doors::{rerail, rerail_as, words},
    shared::{CONDITION, Stage, play},
    workloads::PATIENT,
};

/// A policy for the stage, in a file.
pub fn file(stage: &Stage, name: &str, mode: &str, more: &str) -> String {
    let pool = stage.pool;
    let yaml = format!(
        "apiVersion: v1
kind: ConfigMap
metadata: {{name: beside}}
---
apiVersion: rerail.dev/v1alpha1
kind: RemediationPolicy
metadata: {{name: {pool}}}
spec:
  mode: {mode}
  nodes: {{selector: {{matchLabels: {{pool: {pool}}}}}}}
  triggers: [{{condition: {{type: {CONDITION}}}}}]
  drain: {{timeout: 60s, unmanaged: Delete}}
  remedies: [{{reboot: {{method: Command}}, timeout: 60s}}]
  verify: {{ready: 1s, timeout: 60s}}
  attempts: {{max: 3, per: 1h, backoff: 1s}}{more}
"
    );
    let path = stage.cluster().plane.dir().join(name);
    std::fs::write(&path, yaml).unwrap();
    path.display().to_string()
}

/// What `rerail` prints as JSON.
pub async fn json(stage: &Stage, arguments: &[&str]) -> Value {
    let arguments: Vec<_> = arguments.iter().copied().chain(["-o", "json"]).collect();
    let answer = rerail(stage.cluster(), &arguments).await;
    assert!(answer.status.success(), "{}", words(&answer));
    serde_json::from_slice(&answer.stdout).unwrap()
}

/// The names of the nodes that start.
fn starts(starts: &Value) -> Vec<&str> {
    starts.as_array().unwrap().iter().map(|start| start["node"].as_str().unwrap()).collect()
}

#[test]
fn a_policy_that_is_not_applied_is_previewed_and_then_does_just_that() {
    play("plan-preview", 2, |stage| async move {
        let (calm, urgent) = (stage.nodes[0].clone(), stage.nodes[1].clone());
        stage.sicken(&calm, "[P6] uptime").await;
        stage.sicken(&urgent, "[P2] disk is failing").await;
        let path = file(&stage, "preview.yaml", "Enforce", "");
        let plan = json(&stage, &["plan", "-f", &path]).await;
        assert_eq!(starts(&plan["starts"]), [urgent.as_str()], "{plan:#}");
        assert_eq!(plan["starts"][0]["priority"], 2);
        let waits = plan["waiting"].as_array().unwrap().iter().find(|w| w["node"] == calm.as_str());
        let waits = waits.unwrap_or_else(|| panic!("{plan:#}"));
        let (reason, policy) = (waits["reason"].as_str().unwrap(), &plan["policies"]);
        let previewed = policy.as_array().unwrap().iter().find(|p| p["name"] == stage.pool);
        assert_eq!(previewed.unwrap()["previewed"], true);
        let notes = plan["notes"].to_string();
        assert!(notes.contains("is previewed from") && !notes.contains("validated"), "{notes}");
        assert!(notes.contains("ConfigMap beside is no policy"), "{notes}");

        let node = json(&stage, &["explain", "node", &calm, "-f", &path]).await;
        assert_eq!((&node["state"], &node["run"]), (&"Waits".into(), &Value::Null), "{node:#}");
        let pairs = node["policies"].as_array().unwrap();
        let pair = pairs.iter().find(|pair| pair["policy"] == stage.pool).unwrap();
        let stands = pair["gates"].as_array().unwrap().iter().find(|g| g["verdict"] != "Pass");
        let stands = stands.unwrap_or_else(|| panic!("{pair:#}"));
        assert_eq!(stands["why"]["reason"], reason, "{pair:#}");
        let gate = stands["gate"].as_str().unwrap().to_owned();
        let told = words(&rerail(stage.cluster(), &["explain", "node", &calm, "-f", &path]).await);
        assert!(told.starts_with(&format!("Node {calm} waits: ")), "{told}");
        assert!(told.contains(&gate) && told.contains(reason), "{told}");

        // Nothing of this has left a trace; applied, the policy does what was shown.
        assert!(stage.cluster().policies().get_opt(stage.pool).await.unwrap().is_none());
        let text = std::fs::read_to_string(&path).unwrap();
        stage.cluster().apply(text.split_once("---\n").unwrap().1).await.unwrap();
        stage.waiting(&calm, reason).await;
        let first = stage.run_in(&urgent, Step::Succeeded).await.status.unwrap();
        let second = stage.run_in(&calm, Step::Succeeded).await.status.unwrap();
        let ended = first.steps.last().unwrap().start_time;
        assert!(ended <= second.steps.first().unwrap().start_time);
        let node = json(&stage, &["explain", "node", &calm]).await;
        assert_eq!(node["history"]["last"]["result"], "Succeeded", "{node:#}");
        stage.finish().await;
    });
}

#[test]
fn what_cannot_be_previewed_or_is_not_there_is_refused_with_what_is_wrong() {
    play("plan-refused", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        let refused = async |arguments: &[&str]| {
            let answer = rerail(stage.cluster(), arguments).await;
            assert!(!answer.status.success(), "{}", words(&answer));
            words(&answer)
        };
        // A rule that only the API server has.
        let twice = "\n  remedies: [{reboot: {method: Command}}, {reboot: {method: Command}}]";
        let path = file(&stage, "twice.yaml", "Enforce", "");
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text
            .replace("max: 3", "max: 1")
            .replace("\n  remedies: [{reboot: {method: Command}, timeout: 60s}]", twice);
        std::fs::write(&path, text).unwrap();
        let told = refused(&["plan", "-f", &path]).await;
        assert!(told.contains("the API server refuses policy plan-refused"), "{told}");
        assert!(told.contains("must not be more than `attempts.max`"), "{told}");
        let path = file(&stage, "typo.yaml", "Enforce", "\n  drian: {}");
        let told = refused(&["plan", "-f", &path]).await;
        assert!(told.contains("unknown field \"spec.drian\""), "{told}");
        let path = file(&stage, "mode.yaml", "Perhaps", "");
        let told = refused(&["explain", "node", &node, "-f", &path]).await;
        assert!(told.contains("mode.yaml:9: "), "{told}");
        let told = refused(&["explain", "node", &node.replace('-', "_")]).await;
        assert!(told.contains("did you mean") && told.contains(&node), "{told}");
        let told = refused(&["plan", "--at", "yesterday"]).await;
        assert!(told.contains("`yesterday` is no time"), "{told}");
        stage.finish().await;
    });
}

#[test]
fn a_dry_run_is_previewed_as_what_it_would_start_and_time_as_it_will_be() {
    play("plan-later", 1, |stage| async move {
        let node = stage.nodes[0].clone();
        stage.sicken(&node, "[P4] task blocked").await;
        let path = file(&stage, "later.yaml", "DryRun", "");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("KernelDeadlock}", "KernelDeadlock, for: 2h}")).unwrap();
        let now = json(&stage, &["plan", "-f", &path]).await;
        assert_eq!(now["wouldStart"], Value::Array(vec![]), "{now:#}");
        assert_eq!(now["assumptions"], Value::Array(vec![]));
        let later = json(&stage, &["plan", "-f", &path, "--at", "+3h"]).await;
        assert_eq!(starts(&later["wouldStart"][0]["starts"]), [node.as_str()], "{later:#}");
        assert_eq!(starts(&later["starts"]), [""; 0], "a DryRun policy starts nothing");
        assert!(!later["assumptions"].as_array().unwrap().is_empty());
        let told = json(&stage, &["explain", "node", &node, "-f", &path]).await;
        assert_eq!(told["state"], "Waits", "{told:#}");
        assert!(told["earliestTime"].is_string(), "{told:#}");
        stage.finish().await;
    });
}

#[test]
fn who_reads_the_plan_beside_a_run_finds_what_it_waits_for_and_nothing_that_misleads() {
    play("plan-words", 2, |stage| async move {
        let (busy, next) = (stage.nodes[0].clone(), stage.nodes[1].clone());
        stage.blocked_drain(&busy, PATIENT).await;
        stage.sicken(&next, "[P6] task umount blocked").await;
        stage.waiting(&next, "OtherDomainsOpen").await;
        let budget = stage.app("guard");

        let told = words(&rerail(stage.cluster(), &["plan"]).await);
        assert!(told.contains("; 1 node waits (OtherDomainsOpen 1); 1 run under way."), "{told}");
        assert!(!told.contains("ActiveRun"), "a node does not wait for its own run: {told}");
        let (waits, under_way) = told.split_once("UNDER WAY").unwrap();
        let of = |text: &str, node: &str| {
            let line = text.lines().find(|line| line.starts_with(node)).unwrap();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        // It starts when the other run ends; that the order may be another in hours is no time of its.
        assert_eq!(of(waits, &next)[1..4], ["P6", "OtherDomainsOpen", "-"], "{told}");
        assert!(waits.contains("at most 1 failure domain may"), "{told}");
        assert_eq!(of(under_way, &busy)[1], "Draining");
        assert!(under_way.contains(&budget), "{told}");
        let told = words(&rerail(stage.cluster(), &["explain", "node", &busy]).await);
        assert!(told.split("\nNODE").next().unwrap().contains(&budget), "{told}");

        let plan = json(&stage, &["plan"]).await;
        assert!(plan["runs"][0]["message"].as_str().unwrap().contains(&budget), "{plan:#}");
        stage.release().await;
        for node in [&busy, &next] {
            stage.run_in(node, Step::Succeeded).await;
        }
        stage.finish().await;
    });
}

#[test]
fn who_may_not_read_is_told_by_what_right_and_who_may_view_needs_no_more() {
    play("plan-rights", 1, |stage| async move {
        let plane = &stage.cluster().plane;
        let [nobody, nodes, viewer] = ["plan-nobody", "plan-nodes", "plan-viewer"]
            .map(|user| plane.kubeconfig_for_user(user, &[]).unwrap());
        for (user, role) in [("plan-nodes", "plan-nodes"), ("plan-viewer", "rerail-view")] {
            if user == role {
                let role = ["create", "clusterrole", role, "--verb=get,list", "--resource=nodes"];
                plane.run_kubectl(&role).unwrap();
            }
            let (role, of) = (format!("--clusterrole={role}"), format!("--user={user}"));
            plane.run_kubectl(&["create", "clusterrolebinding", user, &role, &of]).unwrap();
        }
        let node = stage.nodes[0].as_str();
        let told = wait_for("the viewer to have the right", PATIENCE, || async {
            let answer = rerail_as(&viewer, &["plan"]).await;
            if answer.status.success() { Ok(words(&answer)) } else { Err(words(&answer)) }
        })
        .await
        .unwrap();
        assert!(!told.contains("could not be read"), "{told}");
        for (who, lacks) in [(&nobody, "list"), (&nodes, "list resource \"remediationpolicies\"")] {
            for arguments in [&["plan"][..], &["plan", "-o", "json"], &["explain", "node", node]] {
                let answer = rerail_as(who, arguments).await;
                let told = words(&answer);
                assert!(!answer.status.success() && told.lines().count() == 1, "{told}");
                assert!(told.contains("cannot") && told.contains(lacks), "{told}");
                assert!(told.contains("kubectl create clusterrolebinding"), "{told}");
                assert!(!told.contains("Status {"), "an answer, not an object: {told}");
            }
        }
        let told = words(&rerail_as(&nobody, &["retry", "a-run"]).await);
        assert!(told.contains("this needs the right to get and patch"), "{told}");
        stage.finish().await;
    });
}
