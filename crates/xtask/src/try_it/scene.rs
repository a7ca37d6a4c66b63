//! What is shown: the machines and their work, who gets sick of what, and the rules.

use std::time::Duration;

use rerail_e2e::Election;
use rerail_fleet::FleetOptions;
use serde_json::Value;

/// Value of the label `pool` of all nodes, and the prefix of their names.
pub const POOL: &str = "worker";
/// All nodes.
pub const NODES: usize = 60;
/// They stand in so many racks, in blocks of the same size.
pub const RACKS: usize = 6;

/// An alert, as it stands on a node as a condition.
#[derive(Debug, Clone, Copy)]
pub struct Alert {
    /// The condition's type.
    pub condition: &'static str,
    /// The condition's reason, as the bridge writes it.
    pub reason: &'static str,
    /// How urgent; a smaller number is more urgent.
    pub priority: u16,
    says: &'static str,
}

impl Alert {
    /// The condition's message: the priority in front, as the bridge writes it.
    pub fn message(&self, node: &str) -> String {
        format!("[P{}] Kubernetes node {node} {}", self.priority, self.says)
    }
}

/// What stands before an alert's name to make a condition's type of it.
pub const PREFIX: &str = "AlertManager_";

const fn alert(condition: &'static str, priority: u16, says: &'static str) -> Alert {
    Alert { condition, reason: "AlertIsFiring", priority, says }
}

/// Which alerts fire on which nodes. In one rack more are sick than the budget lets go at once, and no
/// alert fires on so many nodes that the alert itself would be suspect (planner.md, Breaker).
pub const ALERTS: [(Alert, &[usize]); 3] = [
    (
        alert("AlertManager_KernelNetdeviceStuck", 3, "waits for lo to become free"),
        &[12, 17, 43, 48],
    ),
    (
        alert("AlertManager_CalicoTooManyInterfacesEarly", 6, "has too many Calico interfaces"),
        &[2, 5, 9, 14, 20, 31, 32, 34, 35, 37, 38, 40],
    ),
    (
        alert("AlertManager_WorkerUptimeTooHigh", 9, "has been up for more than 7 days"),
        &[7, 21, 24, 25, 29, 41, 46, 53, 58],
    ),
];

/// The sick nodes, each with its alert.
pub fn sick() -> impl Iterator<Item = (String, Alert)> {
    let numbered = |(alert, nodes): (Alert, &'static [usize])| {
        nodes.iter().map(move |number| (format!("{POOL}-{number:03}"), alert))
    };
    ALERTS.into_iter().flat_map(numbered)
}

/// Short times, so that nobody has to wait; a real policy leaves most of this out.
pub const POLICY: &str = r#"apiVersion: rerail.dev/v1alpha1
kind: RemediationPolicy
metadata: {name: generic-workers}
spec:
  mode: Enforce
  nodes: {selector: {matchLabels: {pool: worker}}}
  triggers:
  - condition: {type: "AlertManager_*", reason: AlertIsFiring}
    clearFor: 0s        # default 2m: an alert ends with its series, too
  budget: {maxUnavailable: "10%", maxDomains: 1}   # one rack at a time; the default
  verify: {ready: 2s}   # default 60s
"#;

/// The operator's own configuration, as by default: the limits of the whole cluster.
pub const CONFIG: Option<&str> = Some(
    r#"apiVersion: v1
kind: ConfigMap
metadata: {name: rerail-config, namespace: rerail-system}
data:
  config.yaml: |
    topologyKeys: [topology.kubernetes.io/zone, node-restriction.kubernetes.io/rack]
    maxUnavailable: "20%"
    minFloor: 1
    maxDomains: 1
"#,
);

/// The replicas of the operator at the start, by the names of their pods.
pub const REPLICAS: &[&str] = &["rerail-operator-a", "rerail-operator-b"];
/// The one that takes the place of the killed one, as a Deployment sees to.
pub const REPLACEMENT: &str = "rerail-operator-c";
/// Their times of leader election. A leader that is killed leaves nobody to lead until its Lease has
/// run out.
pub const ELECTION: Election = Election::DEFAULT;

/// One application: a Deployment and its budget.
struct App {
    name: &'static str,
    replicas: usize,
    /// Its PodDisruptionBudget's `maxUnavailable`.
    budget: &'static str,
}

const APPS: [App; 5] = [
    App { name: "frontend", replicas: 140, budget: "10%" },
    App { name: "api", replicas: 100, budget: "10%" },
    App { name: "worker", replicas: 90, budget: "15%" },
    App { name: "cache", replicas: 45, budget: "15%" },
    App { name: "gateway", replicas: 25, budget: "4" },
];

/// What has to run on each node before it counts as healed.
const DAEMON_SET: &str = "apiVersion: apps/v1
kind: DaemonSet
metadata: {name: node-exporter, namespace: default}
spec:
  selector: {matchLabels: {app: node-exporter}}
  template:
    metadata: {labels: {app: node-exporter}}
    spec:
      containers: [{name: node-exporter, image: node-exporter:1}]
";

/// All pods of the applications.
pub fn pods() -> usize {
    APPS.iter().map(|app| app.replicas).sum()
}

/// How many Deployments there are.
pub fn deployments() -> usize {
    APPS.len()
}

/// The applications and the DaemonSet as YAML.
pub fn workload() -> String {
    let documents = APPS.iter().map(|App { name, replicas, budget }| {
        format!(
            "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: default}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      nodeSelector: {{pool: {POOL}}}
      containers: [{{name: app, image: app:1}}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{name: {name}, namespace: default}}
spec:
  maxUnavailable: {budget}
  selector: {{matchLabels: {{app: {name}}}}}
"
        )
    });
    documents.chain([DAEMON_SET.to_owned()]).collect::<Vec<_>>().join("---\n")
}

/// Machines that need as long as the show can wait for them.
pub fn machines() -> FleetOptions {
    let millis = |from, to| Duration::from_millis(from)..=Duration::from_millis(to);
    FleetOptions {
        boot_time: millis(500, 1200),
        ready_time: millis(200, 500),
        settle_time: millis(200, 400),
        ..FleetOptions::default()
    }
}

/// The most that may be out of service at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// Nodes.
    pub nodes: usize,
    /// Racks in which they stand.
    pub racks: usize,
}

/// What the policy and the operator's configuration allow together, with `nodes` nodes in the cluster
/// and in the policy alike. What is not said has its default.
pub fn allowed(policy: &str, config: Option<&str>, nodes: usize) -> Allowed {
    let policy = yaml(policy);
    let config = config.map(yaml);
    let inner = config.as_ref().and_then(|config| config.pointer("/data/config.yaml")?.as_str());
    let cluster = inner.map(yaml).unwrap_or_default();
    let none = Value::Null;
    let budget = policy.pointer("/spec/budget").unwrap_or(&none);
    let of = |scope: &Value, default: &str| limit(scope, default, nodes);
    let racks = |scope: &Value| scope.get("maxDomains").and_then(Value::as_u64).unwrap_or(1);
    Allowed {
        nodes: of(budget, "10%").min(of(&cluster, "20%")),
        racks: usize::try_from(racks(budget).min(racks(&cluster))).unwrap_or(usize::MAX),
    }
}

/// planner.md, Budgets: a count, or for a percentage above 0 `max(floor(percent × N), minFloor)`.
fn limit(scope: &Value, default: &str, nodes: usize) -> usize {
    let given = scope.get("maxUnavailable");
    if let Some(count) = given.and_then(Value::as_u64) {
        return usize::try_from(count).unwrap_or(usize::MAX);
    }
    let percent = given.and_then(Value::as_str).unwrap_or(default).trim_end_matches('%');
    let percent: usize = percent.parse().unwrap_or(0);
    let floor = scope.get("minFloor").and_then(Value::as_u64).unwrap_or(1);
    match percent {
        0 => 0,
        percent => (percent * nodes / 100).max(usize::try_from(floor).unwrap_or(usize::MAX)),
    }
}

/// The YAML of this file, which is good.
fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn twenty_five_nodes_are_sick_each_of_one_thing_and_no_alert_is_a_storm() {
        let names: BTreeSet<_> = sick().map(|(node, _)| node).collect();
        assert_eq!((sick().count(), names.len()), (25, 25));
        // planner.md, Breaker: at least max(3, 25 %) of the nodes would be one.
        assert!(ALERTS.iter().all(|(_, nodes)| nodes.len() < NODES / 4));
        let (node, alert) = sick().nth(4).unwrap();
        let message = "[P6] Kubernetes node worker-002 has too many Calico interfaces";
        assert_eq!(alert.message(&node), message);
    }

    #[test]
    fn four_hundred_pods_have_budgets() {
        assert_eq!(pods(), 400);
        assert_eq!(workload().matches("kind: PodDisruptionBudget").count(), deployments());
    }

    #[test]
    fn the_narrowest_budget_counts() {
        let policy = |budget: &str| format!("spec: {{budget: {budget}}}");
        let config = |limits: &str| format!("data:\n  config.yaml: |\n    {{{limits}}}\n");
        let both = |nodes, racks| Allowed { nodes, racks };
        assert_eq!(allowed("spec: {}", None, 60), both(6, 1));
        assert_eq!(allowed(&policy("{maxUnavailable: \"10%\"}"), None, 60), both(6, 1));
        assert_eq!(allowed(&policy("{maxUnavailable: \"17%\"}"), None, 60), both(10, 1));
        assert_eq!(allowed(&policy("{maxUnavailable: \"50%\"}"), None, 60), both(12, 1));
        let tight = config("maxUnavailable: 3, maxDomains: 2");
        let loose = policy("{maxUnavailable: 5, maxDomains: 4}");
        assert_eq!(allowed(&loose, Some(&tight), 60), both(3, 2));
        assert_eq!(allowed(&policy("{maxUnavailable: \"10%\"}"), None, 5), both(1, 1));
        assert_eq!(allowed(&policy("{maxUnavailable: \"0%\"}"), None, 60), both(0, 1));
    }

    #[test]
    fn the_rules_that_are_shown_can_be_read() {
        assert_eq!(yaml(POLICY).pointer("/metadata/name").unwrap(), "generic-workers");
        assert!(CONFIG.is_none_or(|config| yaml(config).pointer("/data/config.yaml").is_some()));
        assert!(allowed(POLICY, CONFIG, NODES).nodes >= 1);
    }
}
