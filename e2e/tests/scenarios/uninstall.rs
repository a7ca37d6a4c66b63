//! Uninstalled in mid-run: by `rerail release-all`, and by hand, with nothing but what the marks say.

use std::{path::Path, process::Command};

use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use rerail_api::{NodeRemediation, names};
use rerail_core::step::Step;
use rerail_e2e::{ClusterOptions, Operator, OperatorOptions, PATIENCE, program, wait_for};
use rerail_fleet::Fault;

use crate::{
    doors::{IMPATIENT, rerail, words},
    shared::{Stage, admin, alone},
};

/// LIVE-5: no mark, no open run and no finalizer is left.
async fn nothing_is_left(stage: &Stage) {
    for node in &stage.nodes {
        let marks = stage.marks(node).await;
        assert_eq!((marks.cordoned, &marks.owner, &marks.note), (false, &None, &None), "{node}");
    }
    for run in stage.cluster().runs().list(&ListParams::default()).await.unwrap() {
        assert!(run.finalizers().is_empty(), "{:?}", run.metadata);
        assert!(!run.annotations().contains_key(names::CLEANUP_NOTE));
    }
}

/// A Deployment that asks for an operator; nothing has to run for that.
async fn deployment(stage: &Stage) -> Api<Deployment> {
    let yaml = format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: it}}}}
  template:
    metadata: {{labels: {{app: it}}}}
    spec: {{schedulerName: nobody, containers: [{{name: it, image: it}}]}}",
        name = names::OPERATOR_SERVICE_ACCOUNT,
        namespace = names::SYSTEM_NAMESPACE,
    );
    stage.cluster().apply(&yaml).await.unwrap();
    Api::namespaced(admin(stage.cluster()).await, names::SYSTEM_NAMESPACE)
}

#[test]
fn release_all_gives_every_node_back_whatever_its_run_was_doing() {
    alone("uninstall", 2, ClusterOptions::default(), |stage| async move {
        let (held, draining) = (stage.nodes[0].clone(), stage.nodes[1].clone());
        stage.policy("Enforce", IMPATIENT).await;
        stage.inject(&held, Fault::ConditionsStay);
        stage.sicken(&held, "task blocked").await;
        stage.run_in(&held, Step::Held).await;
        stage.guard(&draining).await;
        stage.sicken(&draining, "task blocked").await;
        stage.blocked(&draining).await;
        stage.cluster().plane.kill_component(stage.shared.operator.name()).unwrap();
        // While an operator is asked for, it would take everything up again.
        let deployments = deployment(&stage).await;
        let refused = rerail(stage.cluster(), &["release-all"]).await;
        assert!(!refused.status.success());
        assert!(words(&refused).contains("--replicas=0"), "{}", words(&refused));
        let name = names::OPERATOR_SERVICE_ACCOUNT;
        deployments.delete(name, &DeleteParams::foreground()).await.unwrap();
        let gone =
            || async { deployments.get_opt(name).await.unwrap().map_or(Ok(()), |_| Err("there")) };
        wait_for("the Deployment to go", PATIENCE, gone).await.unwrap();
        let released = rerail_as_admin(&stage, &["release-all", "--minutes=2"]).await;
        let said = words(&released);
        assert!(released.status.success(), "{said}");
        assert!(said.contains("every node is given back"), "{said}");
        assert!(said.contains("NODE") && said.contains(&draining), "{said}");
        nothing_is_left(&stage).await;
        let ledger = stage.cluster().ledger().await.unwrap();
        assert_eq!(ledger["slots"], serde_json::json!([]), "{ledger}");
        for node in [&held, &draining] {
            stage.is_given_back(node, "Cancelled", "CancelRequested").await;
        }
        assert_eq!(stage.boots(&draining), 0);
        let again = rerail_as_admin(&stage, &["release-all"]).await;
        assert!(again.status.success(), "with nothing to do it says so: {}", words(&again));
        by_hand(&stage, &draining).await;
    });
}

async fn rerail_as_admin(stage: &Stage, arguments: &[&str]) -> std::process::Output {
    let mut command = tokio::process::Command::new(program("rerail").unwrap());
    let kubeconfig = stage.cluster().plane.admin_kubeconfig();
    command.args(arguments).arg("--kubeconfig").arg(kubeconfig).kill_on_drop(true);
    command.output().await.unwrap()
}

/// The operator is gone for good, and nobody has `rerail`: a person reads what the marks say, and does it.
async fn by_hand(stage: &Stage, node: &str) {
    let options = OperatorOptions { name: "second".into(), ..OperatorOptions::default() };
    let operator = Operator::start(&stage.cluster().plane, options).await.unwrap();
    // Its trigger is still true: an operator begins anew.
    let run = stage.blocked(node).await;
    stage.cluster().plane.kill_component(operator.name()).unwrap();
    let note = stage.marks(node).await.note.unwrap();
    assert!(note.starts_with("cordoned by Rerail at 20"), "{note}");
    assert!(note.contains(&run.name_any()), "{note}");
    let by_hand = note.split_once("without Rerail: ").unwrap().1;
    sh(stage, by_hand);
    let run: NodeRemediation = stage.cluster().runs().get(&run.name_any()).await.unwrap();
    let note = run.annotations().get(names::CLEANUP_NOTE).unwrap();
    assert!(note.contains("set by Rerail at 20") && note.contains(node), "{note}");
    let by_hand = note.split_once(", then ").unwrap().1;
    sh(stage, by_hand);
    // Nothing holds up the resources any more.
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds");
    sh(stage, &format!("kubectl delete --timeout=120s -k {}", crds.display()));
    let marks = stage.marks(node).await;
    assert_eq!((marks.cordoned, marks.owner, marks.note), (false, None, None));
}

/// What a person types.
fn sh(stage: &Stage, commands: &str) {
    let plane = &stage.cluster().plane;
    let path = format!("{}:/usr/bin:/bin", plane.kubectl().parent().unwrap().display());
    let output = Command::new("/bin/sh")
        .args(["-ec", commands])
        .env("PATH", path)
        .env("KUBECONFIG", plane.admin_kubeconfig())
        .env("KUBECACHEDIR", plane.dir().join("kubectl-cache"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{commands}: {}", words(&output));
}
