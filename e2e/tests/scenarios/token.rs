//! The operator's token expires in the middle of a run, and a new one is written into its file.

use std::{path::Path, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use rerail_api::names;
use rerail_controlplane::ControlPlane;
use rerail_core::step::Step;
use rerail_e2e::{
    Cluster, ClusterOptions, Operator, OperatorOptions, PATIENCE, wait_for, with_token_file,
};
use rerail_fleet::Pool;
use tokio::time::Instant;

use crate::{
    api_faults::brisk,
    shared::{Shared, Stage, by_itself, said},
    workloads::PATIENT,
};

/// kube reads a token file again after less than a minute; the rest is the run's.
const WITHIN: Duration = Duration::from_secs(140);

/// A token of the operator that is good as long as the Secret is there.
fn bound_token(plane: &ControlPlane, secret: &str) -> String {
    let namespace = format!("--namespace={}", names::SYSTEM_NAMESPACE);
    plane.run_kubectl(&["create", "secret", "generic", secret, &namespace]).unwrap();
    let name = format!("--bound-object-name={secret}");
    let account = names::OPERATOR_SERVICE_ACCOUNT;
    let arguments = ["create", "token", account, &namespace, "--bound-object-kind=Secret", &name];
    plane.run_kubectl(&arguments).unwrap().trim().to_owned()
}

/// Deletes the Secret, and waits until the API server, which remembers tokens for a while, knows.
async fn expire(plane: &ControlPlane, secret: &str, kubeconfig: &Path) {
    let namespace = format!("--namespace={}", names::SYSTEM_NAMESPACE);
    plane.run_kubectl(&["delete", "secret", secret, &namespace]).unwrap();
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    let nodes: Api<Node> = Api::all(Client::try_from(config).unwrap());
    let look = || async {
        match nodes.list(&Default::default()).await {
            Err(kube::Error::Api(status)) if status.code == 401 => Ok(()),
            other => Err(other.map(|nodes| nodes.items.len()).map_err(|error| error.to_string())),
        }
    };
    wait_for("the old token to be refused", PATIENCE, look).await.unwrap();
}

#[test]
fn a_run_goes_on_with_a_new_token_when_the_old_one_expires() {
    by_itself(async {
        let options = ClusterOptions { fleet: brisk(), ..ClusterOptions::default() };
        let cluster = Cluster::start(options).await.unwrap();
        let (plane, proxy) = (&cluster.plane, cluster.proxy().await.unwrap());
        let token_file = plane.dir().join("operator-token");
        std::fs::write(&token_file, bound_token(plane, "first")).unwrap();
        let account = names::OPERATOR_SERVICE_ACCOUNT;
        let own = plane.kubeconfig_for_service_account(names::SYSTEM_NAMESPACE, account).unwrap();
        let kubeconfig = plane.dir().join("token-file.kubeconfig");
        with_token_file(&own, &kubeconfig, &token_file).unwrap();
        let options = OperatorOptions {
            kubeconfig: Some(kubeconfig.clone()),
            through: Some(proxy.url()),
            ..OperatorOptions::default()
        };
        let operator = Operator::start(plane, options).await.unwrap();
        let nodes = cluster.add_pool(&Pool::new("token", 1, 1)).await.unwrap();
        let node = nodes[0].clone();
        let stage = Stage { shared: Arc::new(Shared { cluster, operator }), pool: "token", nodes };

        stage.policy("Enforce", PATIENT).await;
        stage.guard(&node).await;
        stage.sicken(&node, "[P6] the token expires in mid-run").await;
        stage.blocked(&node).await;
        let plane = &stage.cluster().plane;
        expire(plane, "first", &kubeconfig).await;
        stage.release().await;
        let refused = || async {
            match proxy.seen().iter().filter(|seen| seen.status == Some(401)).count() {
                0 => Err("no request was refused"),
                _ => Ok(()),
            }
        };
        wait_for("the operator to be refused", PATIENCE, refused).await.unwrap();
        assert_eq!(stage.boots(&node), 0);
        std::fs::write(&token_file, bound_token(plane, "second")).unwrap();
        let began = Instant::now();
        let run = stage.run_in(&node, Step::Succeeded).await;
        eprintln!("from the new token to the end: {:.1} s", began.elapsed().as_secs_f64());
        assert!(began.elapsed() < WITHIN);
        assert_eq!((said(&run).0.as_str(), run.status.unwrap().attempt), ("Healed", 1));
        assert_eq!(stage.boots(&node), 1, "SAFE-1");
        assert_eq!(stage.cluster().runs_of(&node).await.unwrap().len(), 1, "SAFE-22");
        stage.is_given_back(&node, "Succeeded", "Healed").await;
        stage.finish().await;
    });
}
