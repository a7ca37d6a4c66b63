//! The operator ends in the middle of a run, politely or not, and another one carries it on.

use std::path::Path;

use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use rerail_api::{NodeRemediation, names, remediation::StepName};
use rerail_core::step::Step;
use rerail_e2e::{ClusterOptions, Operator, OperatorOptions, PATIENCE, wait_for};
use rerail_fleet::Fault;
use serde_json::json;

use crate::shared::{Stage, admin, alone};

/// Steps last long enough to be met in them.
const STEADY: &str = "
  drain: {timeout: 5m, unmanaged: Delete}
  remedies: [{reboot: {method: Command}, timeout: 60s}]
  verify: {ready: 3s, timeout: 60s}
  attempts: {max: 3, per: 1h, backoff: 1s}";

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Terminated,
    Killed,
}

/// The operators of a scenario, one after the other.
struct Operators {
    end: End,
    count: u32,
    name: String,
}

impl Operators {
    fn end(&self, stage: &Stage) {
        match self.end {
            End::Terminated => stage.cluster().plane.stop_component(&self.name).unwrap(),
            End::Killed => stage.cluster().plane.kill_component(&self.name).unwrap(),
        }
    }

    async fn next(&mut self, stage: &Stage) {
        self.count += 1;
        let name = format!("rerail-operator-{}", self.count);
        let options = OperatorOptions { name, ..OperatorOptions::default() };
        self.name = options.name.clone();
        Operator::start(&stage.cluster().plane, options).await.unwrap();
    }
}

/// Takes the right to write nodes from the operator: a run then stays in step Cordoning.
async fn forbid_cordons(stage: &Stage) {
    let plane = &stage.cluster().plane;
    let patch = r#"[{"op":"test","path":"/rules/1/verbs","value":["patch"]},{"op":"remove","path":"/rules/1"}]"#;
    let role = names::OPERATOR_SERVICE_ACCOUNT;
    plane.run_kubectl(&["patch", "clusterrole", role, "--type=json", "-p", patch]).unwrap();
    let account = format!("--as=system:serviceaccount:{}:{role}", names::SYSTEM_NAMESPACE);
    // It answers `no` with an exit code.
    let forbidden = || async {
        match plane.run_kubectl(&["auth", "can-i", "patch", "nodes", &account]) {
            Err(_) => Ok(()),
            Ok(answer) => Err(answer),
        }
    };
    wait_for("the operator to lose a right", PATIENCE, forbidden).await.unwrap();
}

fn allow_cordons(stage: &Stage) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    stage.cluster().plane.apply(&root.join("config/rbac")).unwrap();
}

/// Waits until another term has taken the run over.
async fn adopted(stage: &Stage, node: &str, before: &NodeRemediation) -> NodeRemediation {
    let before = before.status.clone().unwrap();
    stage
        .run_when(node, "it is adopted", |status| {
            status.epoch > before.epoch && status.leader != before.leader
        })
        .await
}

/// What an operator of an older term would write is refused, whatever it is and whatever its rights.
async fn older_terms_are_refused(stage: &Stage, run: &NodeRemediation, older: &NodeRemediation) {
    let runs: kube::Api<NodeRemediation> = kube::Api::all(admin(stage.cluster()).await);
    let (now, older) = (run.status.clone().unwrap(), older.status.clone().unwrap());
    let late = [
        json!({ "epoch": older.epoch, "leader": older.leader, "step": "Rebooting" }),
        json!({ "epoch": older.epoch, "leader": older.leader }),
        json!({ "epoch": now.epoch, "leader": older.leader }),
        json!(null),
    ];
    for status in late {
        let patch = Patch::Merge(json!({ "status": status }));
        let answer = runs.patch_status(&run.name_any(), &PatchParams::default(), &patch).await;
        let refusal = answer.map(|run| run.status).unwrap_err().to_string();
        assert!(refusal.contains("an older operator must not write this run"), "{refusal}");
    }
}

async fn ended_in(stage: &Stage, operators: &mut Operators, step: Step, node: &str) {
    match step {
        Step::Cordoning => forbid_cordons(stage).await,
        Step::Draining => stage.guard(node).await,
        Step::Rebooting => stage.inject(node, Fault::SlowBoot { factor: 10 }),
        _ => {}
    }
    let boots = stage.boots(node);
    stage.sicken(node, &format!("[P6] the operator ends in step {step}")).await;
    let run = match step {
        Step::Draining => stage.blocked(node).await,
        step => stage.run_in(node, step).await,
    };
    operators.end(stage);
    let left = stage.cluster().runs_of(node).await.unwrap().remove(0);
    assert_eq!(left.status.as_ref().unwrap().step, StepName::Known(step), "it ended elsewhere");
    operators.next(stage).await;
    let taken = adopted(stage, node, &run).await;
    match step {
        Step::Cordoning => allow_cordons(stage),
        Step::Draining => {
            older_terms_are_refused(stage, &taken, &run).await;
            stage.release().await;
        }
        _ => {}
    }
    let run = stage.run_in(node, Step::Succeeded).await;
    assert_eq!(run.status.unwrap().attempt, 1);
    assert_eq!(stage.boots(node), boots + 1, "SAFE-1");
    assert_eq!(stage.cluster().runs_of(node).await.unwrap().len(), 1, "SAFE-22");
    assert!(!stage.is_cordoned(node).await);
}

fn in_every_step(pool: &'static str, end: End) {
    alone(pool, 4, ClusterOptions::default(), |stage| async move {
        let name = stage.shared.operator.name().to_owned();
        let mut operators = Operators { end, count: 1, name };
        stage.policy("Enforce", STEADY).await;
        let steps = [Step::Cordoning, Step::Draining, Step::Rebooting, Step::Verifying];
        for (step, node) in steps.into_iter().zip(&stage.nodes.clone()) {
            ended_in(&stage, &mut operators, step, node).await;
        }
        stage.finish().await;
    });
}

#[test]
fn a_run_is_carried_on_when_the_operator_is_terminated_in_any_step() {
    in_every_step("terminated", End::Terminated);
}

#[test]
fn a_run_is_carried_on_when_the_operator_is_killed_in_any_step() {
    in_every_step("killed", End::Killed);
}
