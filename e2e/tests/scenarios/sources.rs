//! AlertSources of several servers, of servers that want credentials, and many alerts at once.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::{ByteString, api::core::v1::Node};
use kube::{
    Api, ResourceExt,
    api::ListParams,
    runtime::{WatchStreamExt, watcher},
};
use rerail_controlplane::{ControlPlane, Options};
use rerail_e2e::{
    Cluster, ClusterOptions, Election, Operator, OperatorOptions, PATIENCE, from_yaml,
    monitoring::{AlertmanagerOptions, Alertmanagers, alert, alert_source, alertmanager, ended},
    wait_for,
};
use rerail_fleet::{FleetOptions, Pool};
use serde_json::Value;

use crate::{
    alerts::{changes, wait_for_condition},
    audit,
    shared::{Shared, Stage, alone, by_itself},
};

/// The AlertSource `main` of these Alertmanagers.
async fn source(stage: &Stage, alertmanagers: &Alertmanagers, rest: &str) {
    let rest = format!("  pollInterval: 1s\n  warmUp: 0s\n{rest}");
    let yaml = alert_source("main", &alertmanagers.urls, &rest);
    stage.cluster().apply(&yaml).await.unwrap();
}

async fn wait_for_source(stage: &Stage, what: &str) {
    wait_for(&format!("the source to say `{what}`"), PATIENCE, || async {
        let said = stage.source("main").await;
        if said.contains(what) { Ok(()) } else { Err(said) }
    })
    .await
    .unwrap();
}

/// SCI-4, SCI-5: what one replica does not know is no end; what one that is silent showed holds until it is
/// stale, and no longer.
#[test]
fn of_two_replicas_one_may_lag_behind_or_fall_silent() {
    alone("replicas", 1, ClusterOptions::default(), |stage| async move {
        let plane = &stage.cluster().plane;
        let options = AlertmanagerOptions { count: 2, ..AlertmanagerOptions::default() };
        let alertmanagers = Alertmanagers::start(plane, options).await.unwrap();
        let node = stage.nodes[0].clone();
        source(&stage, &alertmanagers, "  staleAfter: 10s").await;
        let seen = changes(&stage, &node, "AlertManager_Hot");
        let (hot, elsewhere) = (alert("Hot", &node, 4), alert("Hot", "node-of-another-cluster", 4));
        let tell = |number: usize, alert: Value| {
            let alertmanagers = &alertmanagers;
            async move { alertmanagers.tell(number, &[alert]).await.unwrap() }
        };
        // The second one has not been told yet: three polls of both.
        tell(0, hot.clone()).await;
        wait_for_condition(stage.cluster(), &node, "Hot", "True").await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        tell(1, hot.clone()).await;
        // Before both have been polled again, the operator knows only that the second one shows nothing.
        tokio::time::sleep(Duration::from_secs(3)).await;
        // The end reaches the first one first.
        tell(0, ended(hot.clone())).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let firing = format!("True [P4] Hot of {node}");
        let known = |seen: &Mutex<Vec<String>>| {
            let seen = seen.lock().unwrap().clone();
            seen.into_iter().filter(|says| says != "absent").collect::<Vec<_>>()
        };
        assert_eq!(known(&seen), std::slice::from_ref(&firing));
        tell(1, ended(hot.clone())).await;
        wait_for_condition(stage.cluster(), &node, "Hot", "False").await;

        // Both know, and one falls silent while it shows an alert whose end the other one knows.
        tell(0, hot.clone()).await;
        tell(1, hot.clone()).await;
        wait_for_condition(stage.cluster(), &node, "Hot", "True").await;
        wait_for_source(&stage, "\"Answering\"").await;
        plane.pause_component(&alertmanager(1)).unwrap();
        tell(0, ended(hot.clone())).await;
        wait_for_source(&stage, "PartlyAnswering").await;
        wait_for_condition(stage.cluster(), &node, "Hot", "False").await;
        plane.resume_component(&alertmanager(1)).unwrap();
        wait_for_condition(stage.cluster(), &node, "Hot", "True").await;
        tell(1, ended(hot.clone())).await;
        wait_for_condition(stage.cluster(), &node, "Hot", "False").await;
        let ends = "False ".to_owned();
        assert_eq!(
            known(&seen),
            [&firing, &ends, &firing, &ends, &firing, &ends].map(Clone::clone)
        );

        // Of a node that is not there nothing comes but a number.
        tell(0, elsewhere).await;
        wait_for_source(&stage, "\"firing\":1,\"matched\":0").await;
        stage.finish().await;
    });
}

/// Files with what a client shows: the certificate of a user of this control plane.
fn client_files(plane: &ControlPlane) {
    let kubeconfig = plane.kubeconfig_for_user("rerail-alerts-client", &[]).unwrap();
    let text = std::fs::read_to_string(kubeconfig).unwrap();
    let kubeconfig: Value = from_yaml(&text).unwrap();
    let user = &kubeconfig["users"][0]["user"];
    for (name, key) in
        [("client.crt", "client-certificate-data"), ("client.key", "client-key-data")]
    {
        let ByteString(bytes) = serde_json::from_value(user[key].clone()).unwrap();
        std::fs::write(plane.dir().join(name), bytes).unwrap();
    }
}

/// Bcrypt of the passwords `first` and `second`.
const FIRST: &str = "$2b$04$abcdefghijklmnopqrstuuvybHXQqehXl2NdtAhT6BAmwe6EZ8HOi";
const SECOND: &str = "$2b$04$abcdefghijklmnopqrstuu0m4FNu/b0Ul0dVXpD5yXn5kdSneXCgS";

fn web(pki: &Path, password: &str) -> String {
    let pki = pki.display();
    format!(
        "tls_server_config:
  cert_file: {pki}/apiserver.crt
  key_file: {pki}/apiserver.key
  client_ca_file: {pki}/ca.crt
  client_auth_type: RequireAndVerifyClientCert
basic_auth_users: {{rerail: {password}}}
"
    )
}

/// `amtool`, as somebody with a certificate and a password.
fn amtool(plane: &ControlPlane, alertmanagers: &Alertmanagers, password: &str, arguments: &[&str]) {
    let dir = plane.dir();
    let config = dir.join("amtool-http.yaml");
    let at = dir.display();
    let text = format!(
        "basic_auth: {{username: rerail, password: {password}}}
tls_config: {{ca_file: {at}/pki/ca.crt, cert_file: {at}/client.crt, key_file: {at}/client.key}}
"
    );
    std::fs::write(&config, text).unwrap();
    let output = Command::new(alertmanagers.programs.amtool())
        .arg(format!("--http.config.file={}", config.display()))
        .arg(format!("--alertmanager.url={}", alertmanagers.urls[0]))
        .args(arguments)
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {words}");
}

/// An authority, a client's certificate and a password from Secrets that name the source; and a password
/// that changes under it, without a restart and without a wrong word.
#[test]
fn credentials_come_from_secrets_and_may_change_at_any_time() {
    alone("credentials", 1, ClusterOptions::default(), |stage| async move {
        let plane = &stage.cluster().plane;
        let (dir, pki) = (plane.dir().to_owned(), plane.dir().join("pki"));
        client_files(plane);
        let web_of_first = Some(web(&pki, FIRST));
        let options = AlertmanagerOptions { web: web_of_first, ..AlertmanagerOptions::default() };
        let alertmanagers = Alertmanagers::start(plane, options).await.unwrap();
        let node = stage.nodes[0].clone();
        let access = "  access: {basicAuthSecretName: login, caSecretName: ca, clientCertificateSecretName: client}";
        source(&stage, &alertmanagers, access).await;
        wait_for_source(&stage, "there is no Secret login").await;
        let kubectl = |arguments: &[&str]| {
            let namespace = ["--namespace", "rerail-system"];
            plane.run_kubectl(&[namespace.as_slice(), arguments].concat()).unwrap();
        };
        let file =
            |key: &str, path: &str| format!("--from-file={key}={}", dir.join(path).display());
        let password = |text: &str| format!("--from-literal=password={text}");
        let user = "--from-literal=username=rerail";
        kubectl(&["create", "secret", "generic", "login", user, &password("first")]);
        kubectl(&["create", "secret", "generic", "ca", &file("ca.crt", "pki/ca.crt")]);
        let (chain, key) = (file("tls.crt", "client.crt"), file("tls.key", "client.key"));
        kubectl(&["create", "secret", "generic", "client", &chain, &key]);
        wait_for_source(&stage, "Secret login does not let AlertSource main use it").await;
        let allow = |secret: &str| {
            kubectl(&[
                "annotate",
                "--overwrite",
                "secret",
                secret,
                "rerail.dev/alert-sources=main",
            ]);
        };
        ["login", "ca", "client"].into_iter().for_each(allow);
        wait_for_source(&stage, "\"Answering\"").await;
        let labels = format!("node={node}");
        amtool(
            plane,
            &alertmanagers,
            "first",
            &["alert", "add", "Hot", &labels, "priority=4", "notify=node-condition-k8s"],
        );
        wait_for_condition(stage.cluster(), &node, "Hot", "True").await;
        let seen = changes(&stage, &node, "AlertManager_Hot");

        // The server's password changes, then the Secret. Alertmanager reads its file at every request.
        std::fs::write(dir.join("monitoring/web.yaml"), web(&pki, SECOND)).unwrap();
        wait_for_source(&stage, "the server answered 401").await;
        kubectl(&["delete", "secret", "login"]);
        kubectl(&["create", "secret", "generic", "login", user, &password("second")]);
        allow("login");
        wait_for_source(&stage, "\"Answering\"").await;
        // An authority that did not sign the server's certificate.
        kubectl(&["delete", "secret", "ca"]);
        kubectl(&["create", "secret", "generic", "ca", &file("ca.crt", "client.crt")]);
        allow("ca");
        wait_for_source(&stage, "\"Silent\"").await;
        kubectl(&["delete", "secret", "ca"]);
        kubectl(&["create", "secret", "generic", "ca", &file("ca.crt", "pki/ca.crt")]);
        allow("ca");
        wait_for_source(&stage, "\"Answering\"").await;
        let said = seen.lock().unwrap().clone();
        assert_eq!(said.len(), 1, "the condition held all the time: {said:?}");
        stage.finish().await;
    });
}

/// Nodes, and when each report of theirs was made, in the order in which the API server stored them.
type Reports = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

/// Follows what kubelets report.
fn reports(stage: &Stage) -> Reports {
    let seen = Reports::default();
    let (api, record) = (Api::<Node>::all(stage.cluster().client.clone()), seen.clone());
    tokio::spawn(async move {
        let events = watcher(api, watcher::Config::default()).applied_objects().default_backoff();
        futures::pin_mut!(events);
        while let Some(event) = events.next().await {
            let Ok(node) = event else { continue };
            let name = node.name_any();
            let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
            let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready");
            let time = ready.and_then(|ready| ready.last_heartbeat_time);
            let time = time.map(|time| time.0.to_string()).unwrap_or_default();
            record.lock().unwrap().entry(name).or_default().push(time);
        }
    });
    seen
}

/// True if a later version shows an earlier report: somebody has undone the one between.
fn is_undone(times: &[String]) -> bool {
    times.windows(2).any(|pair| pair[1] < pair[0])
}

/// SCI-1. Sciuro's patch replaces the list of conditions as it was read a moment before, and with it what a
/// kubelet has reported since.
#[test]
fn five_hundred_alerts_at_once_undo_no_report_of_a_kubelet() {
    let options = ClusterOptions {
        plane: Options {
            audit_patches: true,
            node_monitor_grace_period: Some(Duration::from_secs(3600)),
            ..Options::default()
        },
        fleet: FleetOptions {
            // A kubelet's own pace when it has something to say (`nodeStatusUpdateFrequency`).
            status_interval: Duration::from_secs(10),
            leases: false,
            play_pods: false,
            watch_nodes: false,
            ..FleetOptions::default()
        },
        ..ClusterOptions::default()
    };
    by_itself(async {
        let cluster = Cluster::start(options).await.unwrap();
        // A thousand kubelets keep the API server of a small machine busy: with the times of the other
        // scenarios the operator would lose its Lease now and then, which is not what this is about.
        let options = OperatorOptions { election: Election::DEFAULT, ..OperatorOptions::default() };
        let operator = Operator::start(&cluster.plane, options).await.unwrap();
        let nodes = cluster.add_pool(&Pool::new("flood", 1000, 1000)).await.unwrap();
        let stage = Stage { shared: Arc::new(Shared { cluster, operator }), pool: "flood", nodes };
        let plane = &stage.cluster().plane;
        let options = AlertmanagerOptions::default();
        let alertmanagers = Alertmanagers::start(plane, options).await.unwrap();
        source(&stage, &alertmanagers, "").await;
        wait_for_source(&stage, "\"Answering\"").await;
        let reports = reports(&stage);
        tokio::time::sleep(Duration::from_secs(5)).await;
        let sick: Vec<&String> = stage.nodes.iter().step_by(2).collect();
        let mut took = Vec::new();
        for round in 0..3 {
            for status in ["True", "False"] {
                let alerts = sick.iter().map(|node| alert("Hot", node, 4));
                let alerts: Vec<_> = match status {
                    "True" => alerts.collect(),
                    _ => alerts.map(ended).collect(),
                };
                let asked = tokio::time::Instant::now();
                alertmanagers.tell(0, &alerts).await.unwrap();
                wait_for(&format!("500 conditions to be {status}"), PATIENCE, || async {
                    // A list of a thousand nodes is work for the API server, too.
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    let is = with_status(stage.cluster(), status).await;
                    if is == sick.len() { Ok(()) } else { Err((round, is)) }
                })
                .await
                .unwrap();
                took.push(asked.elapsed());
            }
        }
        eprintln!("500 conditions True, False, and so on, each after {took:?}");
        let reports = reports.lock().unwrap().clone();
        let undone: Vec<_> = reports.iter().filter(|(_, times)| is_undone(times)).collect();
        let versions: usize = reports.values().map(Vec::len).sum();
        assert!(undone.is_empty(), "{undone:?}");
        let operator = audit::patches(stage.cluster(), "nodes/status", None);
        let kubelets = audit::patches(stage.cluster(), "nodes/status", Some("rerail-fleet"));
        eprintln!(
            "{} patches of ours and {} of kubelets; {versions} versions of nodes were seen",
            operator.len(),
            kubelets.len(),
        );
        assert!(operator.len() >= 6 * sick.len() && kubelets.len() > 1000);
        for body in &operator {
            let types = body["status"]["conditions"].as_array().unwrap().iter();
            let ours = |kind: &Value| kind.as_str().unwrap().starts_with("AlertManager_");
            assert!(types.map(|condition| &condition["type"]).all(ours), "{body}");
            let fields: Vec<_> = body.as_object().unwrap().keys().collect();
            assert_eq!((fields.len(), body["status"].as_object().unwrap().len()), (2, 1), "{body}");
        }
    });
}

async fn with_status(cluster: &Cluster, status: &str) -> usize {
    let nodes = Api::<Node>::all(cluster.client.clone());
    let nodes = nodes.list(&ListParams::default()).await.unwrap();
    let is = |node: &&Node| {
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.is_some_and(|conditions| {
            conditions.iter().any(|c| c.type_ == "AlertManager_Hot" && c.status == status)
        })
    };
    nodes.items.iter().filter(is).count()
}

#[test]
fn a_report_that_was_undone_would_show() {
    let times = |list: &[&str]| list.iter().map(|time| (*time).to_owned()).collect::<Vec<_>>();
    assert!(is_undone(&times(&[
        "2026-01-01T00:00:05Z",
        "2026-01-01T00:00:10Z",
        "2026-01-01T00:00:05Z"
    ])));
    assert!(!is_undone(&times(&["", "2026-01-01T00:00:05Z", "2026-01-01T00:00:05Z"])));
}
