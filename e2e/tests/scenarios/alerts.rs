//! From a metric to an uncordoned node: a rule of the article in a real Prometheus, a real Alertmanager,
//! the node's condition, the run, and the end of the alert.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    runtime::{WatchStreamExt, watcher},
};
use rerail_api::AlertSource;
use rerail_core::step::Step;
use rerail_e2e::{
    Cluster, ClusterOptions, Operator, OperatorOptions, PATIENCE, free_port,
    monitoring::{
        AlertmanagerOptions, Machine, Monitoring, MonitoringOptions, Programs, alert_source,
        alertmanager,
    },
    wait_for,
};
use rerail_fleet::Pool;

use crate::shared::{SHORT, Shared, Stage, alone, by_itself, said};

/// The AlertSource `main` of all Alertmanagers, with a deadman alert, at the pace of a test.
async fn source(stage: &Stage, monitoring: &Monitoring, rest: &str) {
    let rest = format!("  pollInterval: 1s\n{rest}");
    source_named("main", stage, monitoring, &format!("  deadmanAlert: Watchdog\n{rest}")).await;
}

async fn source_named(name: &str, stage: &Stage, monitoring: &Monitoring, rest: &str) {
    let yaml = alert_source(name, &monitoring.alertmanagers, rest);
    stage.cluster().apply(&yaml).await.unwrap();
}

/// The condition of a node from an alert: status, reason, message.
pub async fn condition(
    cluster: &Cluster,
    node: &str,
    name: &str,
) -> Option<(String, String, String)> {
    of_type(cluster, node, &format!("AlertManager_{name}")).await
}

async fn of_type(cluster: &Cluster, node: &str, kind: &str) -> Option<(String, String, String)> {
    let node = Api::<Node>::all(cluster.client.clone()).get(node).await.unwrap();
    let found = node.status?.conditions?.into_iter().find(|condition| condition.type_ == kind)?;
    Some((found.status, found.reason.unwrap_or_default(), found.message.unwrap_or_default()))
}

pub async fn wait_for_condition(cluster: &Cluster, node: &str, name: &str, status: &str) {
    wait_for_type(cluster, node, &format!("AlertManager_{name}"), status).await;
}

async fn wait_for_type(cluster: &Cluster, node: &str, kind: &str, status: &str) {
    wait_for(&format!("{kind} of {node} to be {status}"), PATIENCE, || async {
        match of_type(cluster, node, kind).await {
            Some((is, ..)) if is == status => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
}

#[test]
fn a_rule_of_the_article_reboots_a_node_and_its_end_gives_it_back() {
    alone("alerts", 2, ClusterOptions::default(), |stage| async move {
        let options = MonitoringOptions::default();
        let monitoring = Monitoring::start(&stage.cluster().plane, options).await.unwrap();
        let [sick, healthy] = [stage.nodes[0].clone(), stage.nodes[1].clone()];
        monitoring.page.set(&sick, Machine { interfaces: 149, ..Machine::default() });
        monitoring.page.set(&healthy, Machine::default());
        source(&stage, &monitoring, "  warmUp: 0s").await;
        let trigger = "{condition: {type: 'AlertManager_*'}, clearFor: 2s}";
        stage.policy_on("Enforce", trigger, SHORT).await;
        monitoring.page.change(&sick, |machine| machine.interfaces = 150);
        let run = stage.run_in(&sick, Step::Rebooting).await;
        let cause = run.spec.cause.unwrap();
        assert_eq!(cause.condition_type, "AlertManager_CalicoTooManyInterfacesEarly");
        assert_eq!(
            condition(stage.cluster(), &sick, "CalicoTooManyInterfacesEarly").await.unwrap(),
            (
                "True".into(),
                "AlertIsFiring".into(),
                format!("[P6] Kubernetes node {sick} has too many Calico interfaces")
            )
        );
        // Its interfaces are gone with the boot.
        monitoring.page.change(&sick, |machine| machine.interfaces = 3);
        let run = stage.run_in(&sick, Step::Succeeded).await;
        assert_eq!(said(&run).0, "Healed");
        assert!(!stage.is_cordoned(&sick).await);
        wait_for_condition(stage.cluster(), &sick, "CalicoTooManyInterfacesEarly", "False").await;
        assert_eq!(
            condition(stage.cluster(), &healthy, "CalicoTooManyInterfacesEarly").await,
            None
        );
        stage.finish().await;
    });
}

/// What `examples/monitoring/` says of itself, by the tools of those who wrote the servers.
#[test]
fn the_rules_and_the_route_of_the_examples_are_good() {
    let programs = Programs::get().unwrap();
    let run = |program: PathBuf, arguments: &[&str]| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/monitoring");
        let output = Command::new(program).args(arguments).current_dir(folder).output().unwrap();
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {words} {:?}", output.stderr);
        words
    };
    run(programs.promtool(), &["check", "rules", "rules.yaml"]);
    run(programs.promtool(), &["test", "rules", "rules_test.yaml"]);
    run(programs.amtool(), &["check-config", "alertmanager.yaml"]);
    let route = |notify: &str| {
        let label = format!("notify={notify}");
        let file = "--config.file=alertmanager.yaml";
        run(programs.amtool(), &["config", "routes", "test", file, &label]).trim().to_owned()
    };
    assert_eq!(route("node-condition-k8s"), "node-condition-k8s");
    assert_eq!(route("chat-sre-core node-condition-k8s"), "node-condition-k8s");
    assert_eq!(route("not-node-condition-k8s"), "people");
}

/// Everything that was ever seen of a condition, in order, each change once.
pub fn changes(stage: &Stage, node: &str, kind: &str) -> Arc<Mutex<Vec<String>>> {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let (api, kind, record) = (stage.nodes_api(), kind.to_owned(), seen.clone());
    let config = watcher::Config::default().fields(&format!("metadata.name={node}"));
    tokio::spawn(async move {
        let events = watcher(api, config).applied_objects().default_backoff();
        futures::pin_mut!(events);
        while let Some(event) = events.next().await {
            let Ok(node) = event else { continue };
            let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
            let found = conditions.into_iter().find(|condition| condition.type_ == kind);
            let says = found.map_or("absent".to_owned(), |c| {
                format!("{} {}", c.status, c.message.unwrap_or_default())
            });
            let mut record = record.lock().unwrap();
            if record.last() != Some(&says) {
                record.push(says);
            }
        }
    });
    seen
}

/// SCI-3, SCI-5: an Alertmanager that begins anew knows of no alerts, and says so as if all were well.
#[test]
fn an_alertmanager_that_is_killed_for_a_minute_clears_nothing() {
    alone("silence", 1, ClusterOptions::default(), |stage| async move {
        let plane = &stage.cluster().plane;
        let options = MonitoringOptions::default();
        let monitoring = Monitoring::start(plane, options).await.unwrap();
        let node = stage.nodes[0].clone();
        monitoring.page.set(&node, Machine { interfaces: 200, ..Machine::default() });
        source(&stage, &monitoring, "").await;
        // A second one of the same Alertmanager, which does not wait for long.
        let rest = "  conditionPrefix: Impatient_\n  pollInterval: 1s\n  staleAfter: 5s";
        source_named("impatient", &stage, &monitoring, rest).await;
        let name = "CalicoTooManyInterfacesEarly";
        wait_for_condition(stage.cluster(), &node, name, "True").await;
        wait_for_type(stage.cluster(), &node, &format!("Impatient_{name}"), "True").await;
        let patient = changes(&stage, &node, &format!("AlertManager_{name}"));
        let impatient = changes(&stage, &node, &format!("Impatient_{name}"));
        plane.kill_component(&alertmanager(0)).unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        plane.start_component(&alertmanager(0)).unwrap();
        let message = format!("[P6] Kubernetes node {node} has too many Calico interfaces");
        let firing = format!("True {message}");
        let unknown = format!("Unknown {message}");
        wait_for("the impatient source to know again", PATIENCE, || async {
            let seen = impatient.lock().unwrap().clone();
            if seen == [&*firing, &*unknown, &*firing] { Ok(()) } else { Err(format!("{seen:?}")) }
        })
        .await
        .unwrap();
        // The deadman alert is one more that Alertmanager has to hear of again, maybe after the other.
        wait_for("the patient source to be shown the deadman alert", PATIENCE, || async {
            let source = stage.source("main").await;
            if source.contains("it has begun only just now") { Ok(()) } else { Err(source) }
        })
        .await
        .unwrap();
        assert_eq!(*patient.lock().unwrap(), [firing]);
        stage.finish().await;
    });
}

/// Alertmanager's own webhook, with a token from a Secret: a source that is polled once a minute knows at
/// once, of the beginning and of the end.
#[test]
fn a_push_has_the_alertmanager_asked_at_once() {
    by_itself(async {
        let cluster = Cluster::start(ClusterOptions::default()).await.unwrap();
        let port = free_port().unwrap();
        let arguments = vec![format!("--alerts-listen=127.0.0.1:{port}")];
        let options = OperatorOptions { arguments, ..OperatorOptions::default() };
        let operator = Operator::start(&cluster.plane, options).await.unwrap();
        let token = "a-token-of-the-webhook";
        let webhook = Some((format!("http://127.0.0.1:{port}/v1/alertsources/main"), token.into()));
        let alertmanagers = AlertmanagerOptions { webhook, ..AlertmanagerOptions::default() };
        let options = MonitoringOptions { alertmanagers, ..MonitoringOptions::default() };
        let monitoring = Monitoring::start(&cluster.plane, options).await.unwrap();
        let nodes = cluster.add_pool(&Pool::new("pushed", 1, 1)).await.unwrap();
        let stage = Stage { shared: Arc::new(Shared { cluster, operator }), pool: "pushed", nodes };
        let node = stage.nodes[0].clone();
        monitoring.page.set(&node, Machine::default());
        let pushed = "  warmUp: 0s\n  push: {bearerTokenSecretName: hook}";
        source(&stage, &monitoring, pushed).await;
        wait_for("a push to be refused without the Secret", PATIENCE, || async {
            let said = stage.source("main").await;
            if said.contains("there is no Secret hook") { Ok(()) } else { Err(said) }
        })
        .await
        .unwrap();
        let kubectl = |arguments: &[&str]| {
            let namespace = ["--namespace", "rerail-system"];
            stage.cluster().plane.run_kubectl(&[namespace.as_slice(), arguments].concat()).unwrap();
        };
        kubectl(&["create", "secret", "generic", "hook", &format!("--from-literal=token={token}")]);
        kubectl(&["annotate", "secret", "hook", "rerail.dev/alert-sources=main"]);
        stage.cluster().plane.run_kubectl(&["delete", "asrc", "main"]).unwrap();
        let rare = format!("  deadmanAlert: Watchdog\n  pollInterval: 1m\n{pushed}");
        source_named("main", &stage, &monitoring, &rare).await;
        wait_for("the source to be ready", PATIENCE, || async {
            let said = stage.source("main").await;
            if said.contains("Answering") && !said.contains("nobody can push") {
                Ok(())
            } else {
                Err(said)
            }
        })
        .await
        .unwrap();
        let name = "CalicoTooManyInterfacesEarly";
        for (interfaces, status) in [(200, "True"), (3, "False"), (200, "True")] {
            monitoring.page.change(&node, |machine| machine.interfaces = interfaces);
            let asked = tokio::time::Instant::now();
            wait_for_condition(stage.cluster(), &node, name, status).await;
            let took = asked.elapsed();
            assert!(took < Duration::from_secs(30), "{status} after {took:?}, by a poll");
        }
        stage.finish().await;
    });
}

impl Stage {
    fn nodes_api(&self) -> Api<Node> {
        Api::all(self.cluster().client.clone())
    }

    /// What the operator says of a source, as JSON.
    pub async fn source(&self, name: &str) -> String {
        let api: Api<AlertSource> = Api::all(self.cluster().client.clone());
        serde_json::to_string(&api.get(name).await.unwrap().status).unwrap()
    }
}
