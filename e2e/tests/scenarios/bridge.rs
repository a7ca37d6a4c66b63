//! `rerail alerts`: the alert bridge without the rest of the operator, as itself and in place of Sciuro.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use rerail_controlplane::{Component, Options};
use rerail_e2e::{
    Cluster, ClusterOptions, Operator, OperatorOptions, PATIENCE, config, free_port,
    monitoring::{AlertmanagerOptions, Alertmanagers, alert, alert_source, ended},
    program, wait_for,
};
use rerail_fleet::Pool;
use serde_json::json;

use crate::{
    alerts::{condition, wait_for_condition},
    audit,
    shared::by_itself,
};

/// What Sciuro's manifests give it, and no more.
const SCIURO: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: sciuro}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: sciuro, namespace: sciuro}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: sciuro}
rules:
- {apiGroups: [""], resources: [nodes], verbs: [get, list, watch]}
- {apiGroups: [""], resources: [nodes/status], verbs: [patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: sciuro}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: sciuro}
subjects: [{kind: ServiceAccount, name: sciuro, namespace: sciuro}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: sciuro, namespace: sciuro}
rules:
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create, update, delete, patch, get, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: sciuro, namespace: sciuro}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: sciuro}
subjects: [{kind: ServiceAccount, name: sciuro, namespace: sciuro}]
"#;

async fn audited() -> Cluster {
    let plane = Options { audit: true, ..Options::default() };
    Cluster::start(ClusterOptions { plane, ..ClusterOptions::default() }).await.unwrap()
}

/// What was asked for by a ServiceAccount, each thing once. Nothing was refused.
fn asked(cluster: &Cluster, user: &str) -> BTreeSet<String> {
    let requests = audit::by(cluster, user);
    let refused: Vec<_> = requests.iter().filter(|r| [401, 403].contains(&r.code)).collect();
    assert!(refused.is_empty(), "{refused:?}");
    requests.iter().map(|request| format!("{} {}", request.verb, request.resource)).collect()
}

/// Renews a Lease as Sciuro does, until told to end.
async fn renew(leases: Api<Lease>, name: &'static str, until: Arc<AtomicBool>) {
    while !until.load(Ordering::Relaxed) {
        let now = rerail_fleet::now();
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": name },
            "spec": { "holderIdentity": "sciuro-5d4f_old", "leaseDurationSeconds": 15,
                      "renewTime": format!("{now:.6}") },
        });
        let params = PatchParams::apply("sciuro").force();
        leases.patch(name, &params, &Patch::Apply(&lease)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

/// The image is swapped and nothing else: no argument, Sciuro's environment, its rights, no CRD of ours, and
/// an old replica that still leads.
#[test]
fn a_deployment_of_sciuro_goes_on_with_another_image() {
    by_itself(async {
        let cluster = audited().await;
        let plane = &cluster.plane;
        plane.run_kubectl(&["delete", "customresourcedefinitions", "--all"]).unwrap();
        let file = plane.dir().join("sciuro.yaml");
        std::fs::write(&file, SCIURO).unwrap();
        plane.apply(&file).unwrap();
        let node = cluster.add_pool(&Pool::new("swapped", 1, 1)).await.unwrap().remove(0);
        let options = AlertmanagerOptions::default();
        let alertmanagers = Alertmanagers::start(plane, options).await.unwrap();
        alertmanagers.tell(0, &[alert("Hot", &node, 4)]).await.unwrap();

        let admin = kube::Client::try_from(config(&plane.admin_kubeconfig()).await.unwrap());
        let leases: Api<Lease> = Api::namespaced(admin.unwrap(), "sciuro");
        let gone = Arc::new(AtomicBool::new(false));
        let old = tokio::spawn(renew(leases.clone(), "sciuro-leader", gone.clone()));

        let port = free_port().unwrap();
        let kubeconfig = plane.kubeconfig_for_service_account("sciuro", "sciuro").unwrap();
        let env = [
            format!("KUBECONFIG={}", kubeconfig.display()),
            format!("SCIURO_ALERTMANAGER_URL={}", alertmanagers.urls[0]),
            "SCIURO_ALERT_RECEIVER=node-condition-k8s".into(),
            "SCIURO_CEL_EXPRESSION=\"node\" in labels && labels[\"node\"] == FullName".into(),
            "SCIURO_ALERT_CACHE_TTL=1s".into(),
            "SCIURO_LEADER_NAMESPACE=sciuro".into(),
            format!("SCIURO_METRICS_ADDR=127.0.0.1:{port}"),
            "HOSTNAME=sciuro-7b9c-new".into(),
        ];
        let argv = vec![program("rerail").unwrap().display().to_string()];
        let process = Component {
            name: "sciuro".into(),
            argv,
            env: env.into(),
            guest: true,
            ..Component::default()
        };
        plane.run(&process).unwrap();
        let address = format!("127.0.0.1:{port}");
        wait_for("it to be ready", PATIENCE, || rerail_e2e::get(&address, "/readyz"))
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(condition(&cluster, &node, "Hot").await, None, "the old one leads");

        gone.store(true, Ordering::Relaxed);
        old.await.unwrap();
        wait_for_condition(&cluster, &node, "Hot", "True").await;
        let (_, _, message) = condition(&cluster, &node, "Hot").await.unwrap();
        assert_eq!(message, format!("[P4] Hot of {node}"));
        let holder = || async {
            let lease = leases.get("sciuro-leader").await.unwrap();
            lease.spec.unwrap().holder_identity.unwrap_or_default()
        };
        assert!(holder().await.starts_with("sciuro-7b9c-new"), "{}", holder().await);
        let page = rerail_e2e::get(&address, "/metrics").await.unwrap();
        for line in [
            "sync_num_cached 1\n",
            // How many is a matter of how busy the machine is.
            "sync_get_failures ",
            "reconcile_update_status{old_status=\"\",new_status=\"True\"} 1\n",
        ] {
            assert!(page.contains(&format!("\n{line}")), "{line}\n{page}");
        }
        plane.stop_component("sciuro").unwrap();
        assert_eq!(holder().await, "", "given away");
        let asked = asked(&cluster, "system:serviceaccount:sciuro:sciuro");
        let expected =
            ["get leases", "list nodes", "patch nodes/status", "update leases", "watch nodes"];
        assert_eq!(asked, expected.map(str::to_owned).into());
    });
}

/// Two of them, with what `config/alerts` gives them: one writes, and the other goes on when it dies.
#[test]
fn the_bridge_alone_follows_alert_sources_and_outlives_its_leader() {
    by_itself(async {
        let cluster = audited().await;
        let plane = &cluster.plane;
        // The whole of it, with a Deployment whose image is not there.
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/alerts");
        plane.run_kubectl(&["apply", "--server-side", "-k", config]).unwrap();
        let node = cluster.add_pool(&Pool::new("bridged", 1, 1)).await.unwrap().remove(0);
        let options = AlertmanagerOptions::default();
        let alertmanagers = Alertmanagers::start(plane, options).await.unwrap();
        let kubeconfig =
            plane.kubeconfig_for_service_account("rerail-system", "rerail-alerts").unwrap();
        let replicas = ["rerail-alerts-a", "rerail-alerts-b"].map(|name| {
            let options = OperatorOptions {
                command: "alerts",
                name: name.into(),
                kubeconfig: Some(kubeconfig.clone()),
                ..OperatorOptions::default()
            };
            Operator::start(plane, options)
        });
        let replicas = futures::future::try_join_all(replicas).await.unwrap();
        let rest = "  pollInterval: 1s\n  warmUp: 0s";
        let yaml = alert_source("main", &alertmanagers.urls, rest);
        cluster.apply(&yaml).await.unwrap();
        alertmanagers.tell(0, &[alert("Hot", &node, 4)]).await.unwrap();
        wait_for_condition(&cluster, &node, "Hot", "True").await;
        let leases: Api<Lease> = cluster.leases();
        let holder = || async {
            let lease = leases.get("rerail-alerts").await.unwrap();
            lease.spec.unwrap().holder_identity.unwrap_or_default()
        };
        let first = holder().await;
        let leader = replicas.iter().find(|replica| replica.bore(&first)).unwrap();
        leader.kill(plane).unwrap();
        alertmanagers
            .tell(0, &[ended(alert("Hot", &node, 4)), alert("Cold", &node, 5)])
            .await
            .unwrap();
        wait_for_condition(&cluster, &node, "Cold", "True").await;
        wait_for_condition(&cluster, &node, "Hot", "False").await;
        let second = holder().await;
        assert!(replicas.iter().any(|replica| replica.bore(&second) && !replica.bore(&first)));
        let asked = asked(&cluster, "system:serviceaccount:rerail-system:rerail-alerts");
        let mut expected: BTreeSet<String> = [
            "create leases",
            "list leases",
            "get leases",
            "list alertsources",
            "list nodes",
            "patch alertsources/status",
            "patch nodes/status",
            "update leases",
            "watch alertsources",
            "watch nodes",
            "create events",
        ]
        .map(str::to_owned)
        .into();
        // An Event that comes again is counted up.
        expected.extend(asked.iter().filter(|asked| *asked == "patch events").cloned());
        assert_eq!(asked, expected);
    });
}
